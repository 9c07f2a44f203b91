/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * NIC unicast filters: which destination addresses a host's interfaces must let through.  A bucket
 * whose owner we are is reached by its vMAC, a detour to us by a shifted one.  The set is worked out
 * from the table (pure), then the kernel's self entries are brought to it.
 */
#ifndef AGENT_FILTERS_H
#define AGENT_FILTERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/rtnl.h"
#include "lb/table.h"

/* More than this many and the interface is made promiscuous: NICs have far fewer slots (16 to 256). */
#define FILTERS_MAX 1024

struct filters {
	uint8_t mac[FILTERS_MAX][6]; /* sorted, distinct */
	size_t n;
	bool overflow; /* the table needs more than FILTERS_MAX */
};

/*
 * Every address whose owner is `self` that a frame may carry under this table: the bucket's triple as
 * it is, as it will be after the second step of its move, each with hosts removed by shifting or death.
 */
void filters_needed(struct filters *f, const struct table *t, uint16_t self);

/* Brings the interface's self entries to *f.  0, or -errno of the first entry that the NIC refused. */
int filters_apply(struct rtnl *n, unsigned ifindex, const struct filters *f);

#endif
