/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The proof that a history is empty (DESIGN, section 4): through which owner is each of our sockets
 * reached?  Buckets move, sockets stay; a host may leave a bucket's history only when none of its
 * sockets is reached through that bucket's owner any more, and time alone proves nothing.
 *
 *  1. A round begins at an index of the log.  The VIPs' sockets are listed twice; these are the
 *     suspects.  (Twice: the list is not a snapshot, a socket may hide from one reading.)
 *  2. A socket that appears later was born under this table: its SYN came to us as the owner.  So a
 *     round holds for tables up to its index, and for switches that had installed that table before
 *     it began (the report says how long ago that was).
 *     (A connection that another host handed to us comes by that host's row, not through an owner; one whose row was
 *     here before, agent/rows_left.h sees to.)
 *  3. The data path notes for each suspect through whom its packets come.  Traffic proves itself;
 *     who is still unseen after a while is sent a keepalive probe, paced, again and again.
 *  4. A suspect that is gone does not count.  A TIME_WAIT socket counts as unseen until it is older
 *     than policy.time_wait_ms, a request socket until it is established or gone.
 *  5. Rounds follow one another at growing intervals while somebody has us in his history; the last
 *     complete one stands until the next is complete.  A change of the table begins anew.
 */
#ifndef AGENT_PROOF_H
#define AGENT_PROOF_H

#include <stdbool.h>

#include "agent/datapath.h"
#include "agent/tcp_list.h"

#define PROOF_SUSPECTS_MAX 131072 /* beyond it sockets count as unknown, until there are fewer */
#define PROOF_PROBES_PER_STEP 1000
#define PROOF_STEP_MS 50	  /* so at most 20,000 probes a second */
#define PROOF_PATIENCE_MS 150	  /* traffic has this long to prove itself */
#define PROOF_RETRY_MS 700	  /* Linux answers such a segment at most every 500 ms; doubles... */
#define PROOF_RETRY_MAX_MS 5600	  /* ...up to this */
#define PROOF_ROUND_MS 2000	  /* until the next round; doubles... */
#define PROOF_ROUND_MAX_MS 60000

/* What the proof stands on; each 0 or -errno.  probe: or 1, when the socket is not as it was listed; then nothing was sent. */
struct proof_io {
	int (*list)(void *ctx, tcp_list_each *each, void *each_ctx);
	int (*watch)(void *ctx, const struct datapath_watch *w, size_t n);
	int (*watched)(void *ctx, struct datapath_watch *w, size_t n);
	int (*probe)(void *ctx, const struct tcp_iter_socket *s);
};

struct proof;

struct proof_result {
	uint64_t index;
	uint64_t age_ms; /* since the round began */
	uint32_t unknown;
	uint32_t via[HOST_ID_MAX + 1];
};

struct proof *proof_new(uint16_t self, const struct proof_io *io, void *ctx);
void proof_free(struct proof *p); /* leaves the watch as it is */

/* A round begins, what was known is void.  time_wait_ms: policy. */
void proof_begin(struct proof *p, uint64_t index, uint32_t time_wait_ms, uint64_t now_ms);
/* The log went on without a change of the table: a round at this index begins now. */
void proof_renew(struct proof *p, uint64_t index);
/* Nobody needs a proof: nothing is watched, listed or probed until the next begin. */
void proof_stop(struct proof *p);
/* The data path is another one: what is watched is watched there.  What the old one saw last is seen or probed again. */
void proof_rewatch(struct proof *p);
bool proof_running(const struct proof *p);
/* Does what is due.  Milliseconds until the next call. */
uint32_t proof_step(struct proof *p, uint64_t now_ms);
/* False while there is nothing to say (not running, or the first listing is not done). */
bool proof_result(const struct proof *p, uint64_t now_ms, struct proof_result *out);

struct proof_stats {
	uint64_t rounds, probes, probe_errors, errors;
	int last_error;
};
const struct proof_stats *proof_stats(const struct proof *p);

#endif
