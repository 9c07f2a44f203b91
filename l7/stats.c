/* SPDX-License-Identifier: BSD-2-Clause */
#include "l7/stats.h"

static void observe(struct histogram *h, uint64_t ns, uint64_t bound)
{
	uint64_t us = ns / 1000;
	unsigned i = 0;

	for (; i < STATS_BOUNDS && us > bound; i++)
		bound *= 2;
	stats_inc(h->count[i]);
	stats_add(h->sum_us, us);
}

void stats_observe(struct stats *s, enum phase phase, uint64_t ns)
{
	observe(&s->phase[phase], ns, STATS_BOUND_FIRST_US);
}

void stats_move(struct stats *s, enum move_phase phase, uint64_t ns)
{
	if (ns)
		observe(&s->move_phase[phase], ns, STATS_MOVE_FIRST_US);
}
