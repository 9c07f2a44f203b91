// SPDX-License-Identifier: BSD-2-Clause
/*
 * Affinity: the first of a key's order who is well and not overloaded; with replicas k > 1, the least loaded of the
 * first k.  Overloaded is more than bound_percent of the average load for its weight (consistent hashing with bounded
 * loads): the key then goes to the next of its order, on every front end the same.  With hand-off a front end sees all
 * of its own host's requests and few of the others': its host would always look overloaded (pool_set_home()).
 *
 * A backend in slow start is passed over by a part of its keys, chosen by the key: each key comes back once.
 */
#include "l7/hash.h"
#include "l7/pool/policy.h"

/* With fewer in flight than this an average says nothing, and a lone burst must not scatter a key. */
#define BOUND_FLOOR 8

static bool within_bound(const struct pool *p, const struct choice *c, unsigned i, uint64_t total, uint64_t weights)
{
	uint64_t bound = p->conf->bound_percent ? p->conf->bound_percent : 125, mine = (uint64_t)p->backend[i].active + 1;

	if (p->home & 1ull << i)
		return true;
	/* mine <= ceil(bound / 100 * total * weight / weights) */
	return mine <= BOUND_FLOOR || (mine - 1) * 100 * weights < bound * total * c->weight[i];
}

static bool not_yet(const struct pool *p, const struct choice *c, unsigned i, uint64_t hash)
{
	uint32_t full = (p->conf->backend[i].weight ? p->conf->backend[i].weight : 1) * WEIGHT_ONE;

	return c->weight[i] < full && (hash_mix(hash ^ i) & 0xffff) * full >= (uint64_t)c->weight[i] << 16;
}

int policy_affinity(struct pool *p, const struct choice *c, const struct pool_key *key)
{
	const uint8_t *order = rank_of(p->rank, key->hash);
	unsigned want = p->conf->replicas ? p->conf->replicas : 1, seen = 0, tie = 0;
	uint64_t total = 1, weights = 0;
	int best = POOL_NONE, any = POOL_NONE;

	FOR_EACH_BIT(i, c->mask & ~p->home)
	{
		total += p->backend[i].active;
		weights += c->weight[i];
	}
	for (unsigned n = 0; n < p->rank->n && (seen < want || best < 0); n++) {
		unsigned i = order[n];

		if (!(c->mask & 1ull << i))
			continue;
		if (any < 0)
			any = (int)i;
		if (not_yet(p, c, i, key->hash))
			continue;
		seen++;
		if (!within_bound(p, c, i, total, weights))
			continue;
		if (best >= 0) {
			uint64_t mine = (uint64_t)p->backend[i].active, its = p->backend[best].active;

			if (lighter(its, c->weight[best], mine, c->weight[i]))
				continue;
			/* Equal: everyone has the same chance, whatever its place. */
			if (lighter(mine, c->weight[i], its, c->weight[best]))
				tie = 1;
			else if (hash_mix(++p->turn) % ++tie)
				continue;
		} else {
			tie = 1;
		}
		best = (int)i;
	}
	return best >= 0 ? best : any;
}
