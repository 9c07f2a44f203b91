/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the log says at one index: the replicated state machine, the same code in controllers and
 * followers.  It applies records, each only if it extends the one before; it decides nothing.
 *
 * Body of a snapshot, big-endian: [32] log id (hash of the first record) | be64 settled.acked | be64
 * settled.index | [32] hash of the record at the snapshot's index | be32 text length, text | be32 buckets,
 * each struct wire_move + be64 changed | be32 n, n * struct wire_change: what is not as at the beginning.
 */
#ifndef CONTROL_STATE_H
#define CONTROL_STATE_H

#include "control/follower.h"
#include "control/record.h"

/* One configuration; shared by the states that have it in force. */
struct config {
	unsigned refs;
	char *text;
	size_t len;
	uint8_t digest[HASH_LEN];
	struct pop *pop;
};

struct state {
	struct view view; /* view.pop and view.table point into this state */
	uint8_t hash[HASH_LEN];	  /* of the record at view.index */
	uint8_t log_id[HASH_LEN]; /* of the first record */
	struct config *config;	  /* NULL before the first record */
	struct table table;
	uint64_t *changed; /* by bucket: index of the record that changed it last */
	/* The last record of that type: its index, and what all switches had installed then. */
	uint64_t settled_index, settled_acked;
};

#define WHY_MAX 256

struct config *config_new(const char *text, size_t len, char *why, size_t why_len); /* NULL: why */
struct config *config_ref(struct config *c);
void config_unref(struct config *c);

void state_init(struct state *s); /* empty: before the first record */
void state_free(struct state *s);
int state_copy(struct state *to, const struct state *from); /* to: uninitialised */
/*
 * Applies a record.  *what: enum view_change bits.  0; -EALREADY: not newer; -ENOENT: a gap;
 * -ESTALE: does not extend what is here; -EBADMSG: cannot be right (digest, range, semantics).  After any
 * of these the state is as it was; why says what an operator needs.
 */
int state_apply(struct state *s, const struct record *r, unsigned *what, char *why, size_t why_len);
/* The state as a record of type SNAPSHOT; malloc'd. */
uint8_t *state_snapshot(const struct state *s, size_t *len);

#endif
