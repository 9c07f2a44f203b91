/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The rows of hand-off on this host (l7/row/flow.h), as far as a drain is concerned: connections that live elsewhere, but
 * whose packets come here.  A bucket that moved away may not forget this host while it has a row of that bucket.
 *
 *  1. A row is needed by its bucket's owner by this table, and by the owner through whom its last packet came; but not one
 *     of a connection whose ingress host is another, which sends packets here by its own row, whatever the table says.
 *  2. A connection may come back: its row goes and a socket appears, which to a proof (agent/proof.h) looks as if born
 *     here.  So after the last row of an owner that owner counts until a round of the proof that began later is complete:
 *     that round lists the socket, and asks it.
 *  3. For a moment it is neither row nor socket: the number of all rows falls ROWS_LEFT_MS late.
 */
#ifndef AGENT_ROWS_LEFT_H
#define AGENT_ROWS_LEFT_H

#include <stdbool.h>
#include <stdint.h>

#include "lb/flow.h"
#include "lb/table.h"

#define ROWS_LEFT_MS 3000

struct rows_left {
	uint32_t n; /* rows in force */
	uint64_t n_ms; /* when there was one last */
	uint32_t via[HOST_ID_MAX + 1]; /* by owner */
	uint64_t gone_ms[HOST_ID_MAX + 1]; /* when that was first seen to be 0 again; 0: never was more */
};

/* The host that owns the flow's bucket; HOST_NONE: nobody. */
uint16_t rows_left_owner(const struct flow *f, const struct table *t, uint32_t hash_seed);

/* Reads the pinned rows; no pin: none.  0 or -errno; what was known stands then.  gone: an owner's last row went. */
int rows_left_read(struct rows_left *l, const char *pin_dir, uint16_t self, const struct table *t, uint32_t hash_seed,
		   uint64_t now_ms, bool *gone);
/* Rows that need the owner, given when the proof's last complete round began (0: there is none). */
uint32_t rows_left_via(const struct rows_left *l, uint16_t owner, uint64_t round_began_ms);

#endif
