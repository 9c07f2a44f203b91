// SPDX-License-Identifier: BSD-2-Clause
/*
 * Least connections: the fewest requests in flight for its weight, this one included (so that a heavy idle backend
 * comes before a light one).  Ties go round robin: at low load it is one.
 */
#include "l7/pool/policy.h"

int policy_least_connections(struct pool *p, const struct choice *c)
{
	struct choice ties = { .now_ms = c->now_ms };
	int best = POOL_NONE;

	FOR_EACH_BIT(i, c->mask)
	{
		uint64_t mine = (uint64_t)p->backend[i].active + 1;

		if (best >= 0 && !lighter(mine, c->weight[i], (uint64_t)p->backend[best].active + 1, c->weight[best])) {
			if (!lighter((uint64_t)p->backend[best].active + 1, c->weight[best], mine, c->weight[i])) {
				ties.mask |= 1ull << i;
				ties.weight[i] = c->weight[i];
			}
			continue;
		}
		best = (int)i;
		ties.mask = 1ull << i;
		ties.weight[i] = c->weight[i];
	}
	return policy_round_robin(p, &ties);
}
