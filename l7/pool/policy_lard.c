// SPDX-License-Identifier: BSD-2-Clause
/*
 * Locality-aware request distribution with replication (Pai et al., ASPLOS'98, figure 3): a target is served by a
 * set of backends, so that their caches partition the content; a set grows when its members are busy and somebody
 * else is idle, and shrinks when it has not changed for 20 s.
 *
 * Ours differs in two places.  A new target starts with the first of its order (l7/pool/rank.h) rather than with the
 * least loaded, unless that one is busy: so front ends that know nothing of each other mostly begin alike.  And the
 * memory of targets is bounded: four-way sets, the one not asked for longest gives way (it starts again the same way).
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "l7/hash.h"
#include "l7/pool/policy.h"

#define WAYS 4
#define LOAD_UNIT 65536
#define LOAD_MAX 1024

struct target {
	uint64_t hash, servers; /* servers == 0: free */
	uint64_t changed_ms, asked;
};

struct lard {
	uint64_t clock; /* counts questions */
	struct target target[LARD_TARGETS / WAYS][WAYS];
};

struct lard *lard_new(void)
{
	return calloc(1, sizeof(struct lard));
}

void lard_free(struct lard *l)
{
	free(l);
}

void lard_forget(struct lard *l)
{
	memset(l->target, 0, sizeof(l->target));
}

uint32_t lard_load(const struct pool_key *key)
{
	uint64_t more = key->size / LOAD_UNIT;

	return 1 + (uint32_t)(more < LOAD_MAX ? more : LOAD_MAX);
}

static struct target *find(struct lard *l, uint64_t hash)
{
	struct target *set = l->target[hash_mix(hash) % (LARD_TARGETS / WAYS)], *oldest = &set[0];

	for (unsigned i = 0; i < WAYS; i++) {
		if (set[i].servers && set[i].hash == hash) {
			set[i].asked = ++l->clock;
			return &set[i];
		}
		if (set[i].asked < oldest->asked)
			oldest = &set[i];
	}
	*oldest = (struct target){ .hash = hash, .asked = ++l->clock };
	return oldest;
}

static int by_load(const struct pool *p, const struct choice *c, uint64_t mask, bool most)
{
	int best = POOL_NONE;

	FOR_EACH_BIT(i, mask)
	{
		const struct pool_backend *b = &p->backend[i];

		if (best < 0 || (most ? lighter(p->backend[best].load, c->weight[best], b->load, c->weight[i]) :
					lighter(b->load, c->weight[i], p->backend[best].load, c->weight[best])))
			best = (int)i;
	}
	return best;
}

/* A backend's load as that of one with the average weight, so that the paper's thresholds hold for it. */
static uint64_t scaled(const struct pool *p, const struct choice *c, int i, uint64_t mean)
{
	return p->backend[i].load * mean / (c->weight[i] ? c->weight[i] : 1);
}

static int first_of_order(const struct pool *p, const struct choice *c, uint64_t hash)
{
	const uint8_t *order = rank_of(p->rank, hash);

	for (unsigned n = 0; n < p->rank->n; n++)
		if (c->mask & 1ull << order[n])
			return order[n];
	return POOL_NONE;
}

int policy_lard(struct pool *p, const struct choice *c, const struct pool_key *key)
{
	struct target *t = find(p->lard, key->hash);
	uint64_t servers = t->servers & c->mask, mean = 0;
	int idle = by_load(p, c, c->mask, false), take, most;

	assert(c->mask && idle >= 0);
	FOR_EACH_BIT(i, c->mask) mean += c->weight[i];
	mean /= (unsigned)__builtin_popcountll(c->mask);
	if (!servers) {
		take = first_of_order(p, c, key->hash);
		if (scaled(p, c, take, mean) > LARD_HIGH && scaled(p, c, idle, mean) < LARD_LOW)
			take = idle;
		assert(take >= 0);
		/* A target whose only servers are away for a moment keeps them: they have it in their caches. */
		if (!t->servers) {
			t->servers = 1ull << take;
			t->changed_ms = c->now_ms;
		}
		return take;
	}
	take = by_load(p, c, servers, false);
	if ((scaled(p, c, take, mean) > LARD_HIGH && scaled(p, c, idle, mean) < LARD_LOW) ||
	    scaled(p, c, take, mean) > 2 * LARD_HIGH) {
		take = idle;
		if (!(t->servers & 1ull << idle)) {
			t->servers |= 1ull << idle;
			t->changed_ms = c->now_ms;
		}
	} else if ((servers & (servers - 1)) && c->now_ms - t->changed_ms > LARD_SHRINK_MS) {
		assert(take >= 0);
		most = by_load(p, c, servers & ~(1ull << take), true);
		assert(most >= 0);
		t->servers &= ~(1ull << most);
		t->changed_ms = c->now_ms;
	}
	return take;
}
