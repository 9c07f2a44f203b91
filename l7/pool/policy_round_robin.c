// SPDX-License-Identifier: BSD-2-Clause
/*
 * Smooth weighted round robin (as nginx does it): everyone gains its weight, who has most is taken and pays the sum.
 * Weights 5, 1, 1 give a a b a c a a rather than a a a a a b c.
 */
#include "l7/pool/policy.h"

int policy_round_robin(struct pool *p, const struct choice *c)
{
	int64_t sum = 0;
	int best = POOL_NONE;

	FOR_EACH_BIT(i, c->mask)
	{
		p->backend[i].current += c->weight[i];
		sum += c->weight[i];
		if (best < 0 || p->backend[i].current > p->backend[best].current)
			best = (int)i;
	}
	if (best >= 0)
		p->backend[best].current -= sum;
	return best;
}
