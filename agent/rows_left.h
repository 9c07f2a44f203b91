/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The rows of hand-off on this host (l7/flow.h), as far as a drain is concerned: connections that live elsewhere, but
 * whose packets come here.  A bucket that moved away may not forget this host while it has a row of that bucket.
 *
 *  1. A row is needed by its bucket's owner by this table, and by the owner through whom its last packet came.
 *  2. A connection that comes back is for a moment neither a row nor a socket: what was counted counts for
 *     ROWS_LEFT_MS more, in which time the lists of sockets see it.
 */
#ifndef AGENT_ROWS_LEFT_H
#define AGENT_ROWS_LEFT_H

#include <stdint.h>

#include "lb/flow.h"
#include "lb/table.h"

#define ROWS_LEFT_MS 3000

struct row;

struct rows_left {
	uint32_t n; /* rows in force */
	uint32_t via[HOST_ID_MAX + 1]; /* by owner */
	uint64_t n_ms, via_ms[HOST_ID_MAX + 1]; /* when they were last not 0 */
};

/* The host that owns the flow's bucket; HOST_NONE: nobody. */
uint16_t rows_left_owner(const struct flow *f, const struct table *t, uint32_t hash_seed);

/* Reads the pinned rows; no pin: none.  0 or -errno; what was known stands then. */
int rows_left_read(struct rows_left *l, const char *pin_dir, uint16_t self, const struct table *t, uint32_t hash_seed,
		   uint64_t now_ms);

#endif
