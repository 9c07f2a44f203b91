/* SPDX-License-Identifier: BSD-2-Clause */
#include "l7/stats.h"

void stats_observe(struct stats *s, enum phase phase, uint64_t ns)
{
	struct histogram *h = &s->phase[phase];
	uint64_t us = ns / 1000, bound = STATS_BOUND_FIRST_US;
	unsigned i = 0;

	for (; i < STATS_BOUNDS && us > bound; i++)
		bound *= 2;
	stats_inc(h->count[i]);
	stats_add(h->sum_us, us);
}
