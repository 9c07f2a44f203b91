// SPDX-License-Identifier: BSD-2-Clause
/*
 * A pool: who may be taken (health, passive ejection, limits, slow start, what was tried), what is counted, and the
 * retry budget.  Who is taken is a policy's choice (l7/policy_*.c).
 */
#include "l7/pool/pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "l7/pool/policy.h"

/* Passive ejection: as many failures in a row, then out for 1, 2, 4 ... 64 s; afterwards one request is the probe. */
#define EJECT_AFTER 5
#define EJECT_MS 1000
#define EJECT_EXPONENT_MAX 6
#define SLOW_SHARE_MIN (WEIGHT_ONE / 10) /* a slow start's first share */

/*
 * The retry budget: each request deposits retry_budget_percent hundredths of a retry.  What is deposited is kept up to
 * RETRY_MAX, because a backend that dies takes all its requests with it at once; what is free refills up to RETRY_FREE,
 * because at a low rate a share of nothing is nothing.
 */
#define RETRY_ONE 100
#define RETRY_MAX (1000 * RETRY_ONE)
#define RETRY_FREE (100 * RETRY_ONE)
#define RETRY_FREE_PER_S (10 * RETRY_ONE)

static int pool_tables(const struct pool_conf *conf, struct rank **rank)
{
	if (conf->n_backends > POOL_BACKENDS_MAX)
		return -E2BIG;
	*rank = rank_new(conf->backend, conf->n_backends);
	return *rank ? 0 : -ENOMEM;
}

struct pool *pool_new(const struct pool_conf *conf, uint64_t now_ms)
{
	struct pool *p = calloc(1, sizeof(*p));

	if (!p || pool_tables(conf, &p->rank))
		goto fail;
	if (conf->policy == POLICY_LARD && !(p->lard = lard_new()))
		goto fail;
	p->conf = conf;
	p->retry_tokens = RETRY_FREE;
	p->retry_since_ms = now_ms;
	return p;
fail:
	pool_free(p);
	return NULL;
}

void pool_free(struct pool *p)
{
	if (!p)
		return;
	free(p->rank);
	lard_free(p->lard);
	free(p);
}

static bool same_backend(const struct backend_conf *a, const struct backend_conf *b)
{
	return a->host == b->host && a->port == b->port && address_equal(&a->address, &b->address);
}

int pool_reconfigure(struct pool *p, const struct pool_conf *conf, uint64_t now_ms, int moved[POOL_BACKENDS_MAX])
{
	struct pool_backend backend[POOL_BACKENDS_MAX] = { 0 };
	const struct pool_conf *old = p->conf;
	struct lard *lard = p->lard;
	struct rank *rank;
	int rc = pool_tables(conf, &rank);

	if (rc)
		return rc;
	if (conf->policy == POLICY_LARD && !lard && !(lard = lard_new())) {
		free(rank);
		return -ENOMEM;
	}
	for (uint32_t n = 0; n < conf->n_backends; n++)
		backend[n].slow_since_ms = now_ms ? now_ms : 1;
	for (uint32_t o = 0; o < old->n_backends; o++) {
		moved[o] = -1;
		for (uint32_t n = 0; n < conf->n_backends; n++) {
			if (same_backend(&old->backend[o], &conf->backend[n])) {
				moved[o] = (int)n;
				backend[n] = p->backend[o];
			}
		}
	}
	if (lard)
		lard_forget(lard);
	free(p->rank);
	memcpy(p->backend, backend, sizeof(backend));
	p->home = 0; /* by index: to be said anew */
	p->rank = rank;
	p->lard = lard;
	p->conf = conf;
	return 0;
}

void pool_set_home(struct pool *p, uint64_t mask)
{
	p->home = mask;
}

static uint32_t share(const struct pool *p, const struct pool_backend *b, uint64_t now_ms)
{
	uint64_t since = now_ms - b->slow_since_ms, part;

	if (!b->slow_since_ms || !p->conf->slow_start_ms || since >= p->conf->slow_start_ms)
		return WEIGHT_ONE;
	part = since * WEIGHT_ONE / p->conf->slow_start_ms;
	return part > SLOW_SHARE_MIN ? (uint32_t)part : SLOW_SHARE_MIN;
}

static bool barred(const struct pool_backend *b, uint64_t now_ms)
{
	return b->ejected && (b->probing || now_ms < b->eject_until_ms);
}

static void weigh(const struct pool *p, struct choice *c)
{
	FOR_EACH_BIT(i, c->mask)
	{
		uint32_t weight = p->conf->backend[i].weight ? p->conf->backend[i].weight : 1;

		c->weight[i] = weight * share(p, &p->backend[i], c->now_ms);
	}
}

/* First those that are well and untried; then those tried; at last the ejected ones, rather than nobody. */
int pool_pick(struct pool *p, const struct pool_key *key, uint64_t tried, uint64_t now_ms)
{
	struct choice c;
	uint64_t up = 0, room = 0, well = 0;

	for (uint32_t i = 0; i < p->conf->n_backends; i++) {
		const struct pool_backend *b = &p->backend[i];
		uint64_t bit = 1ull << i;

		if (b->health != BACKEND_UP)
			continue;
		up |= bit;
		if (p->conf->max_connections && b->active >= p->conf->max_connections)
			continue;
		room |= bit;
		if (!barred(b, now_ms))
			well |= bit;
	}
	if (!room)
		return up ? POOL_FULL : POOL_NONE;
	c.mask = well & ~tried;
	if (!c.mask)
		c.mask = room & ~tried;
	if (!c.mask)
		c.mask = well ? well : room;
	c.now_ms = now_ms;
	weigh(p, &c);
	switch (p->conf->policy) {
	case POLICY_ROUND_ROBIN:
		return policy_round_robin(p, &c);
	case POLICY_LEAST_CONNECTIONS:
		return policy_least_connections(p, &c);
	case POLICY_AFFINITY:
		return policy_affinity(p, &c, key);
	case POLICY_LARD:
		return policy_lard(p, &c, key);
	}
	return POOL_NONE;
}

void pool_begin(struct pool *p, int backend, const struct pool_key *key)
{
	struct pool_backend *b = &p->backend[backend];

	b->active++;
	b->requests++;
	b->load += lard_load(key);
	if (b->ejected)
		b->probing = true;
	if (p->retry_tokens < RETRY_MAX)
		p->retry_tokens += p->conf->retry_budget_percent;
}

/* Half of those that are up may be ejected: the rest is needed, however bad it is. */
static bool may_eject(const struct pool *p)
{
	uint32_t up = 0, ejected = 0;

	for (uint32_t i = 0; i < p->conf->n_backends; i++) {
		up += p->backend[i].health == BACKEND_UP;
		ejected += p->backend[i].health == BACKEND_UP && p->backend[i].ejected;
	}
	return 2 * (ejected + 1) <= up;
}

static void eject(struct pool_backend *b, uint64_t now_ms)
{
	b->ejected = true;
	b->probing = false;
	b->failed = 0;
	b->eject_until_ms = now_ms + ((uint64_t)EJECT_MS << b->ejections);
	if (b->ejections < EJECT_EXPONENT_MAX)
		b->ejections++;
}

/* Back among the others: slowly, and with its back-off forgiven only once it has held. */
static void reinstate(struct pool_backend *b, uint64_t now_ms)
{
	b->ejected = b->probing = false;
	b->failed = 0;
	b->slow_since_ms = now_ms ? now_ms : 1;
}

void pool_end(struct pool *p, int backend, const struct pool_key *key, enum backend_outcome outcome, uint64_t now_ms)
{
	struct pool_backend *b = &p->backend[backend];
	uint32_t load = lard_load(key);

	if (b->active)
		b->active--;
	b->load -= load < b->load ? load : b->load;
	if (outcome == OUTCOME_OK) {
		b->failed = 0;
		if (b->ejected)
			reinstate(b, now_ms);
		else if (share(p, b, now_ms) == WEIGHT_ONE)
			b->ejections = 0;
		return;
	}
	b->failures++;
	if (b->ejected) {
		/* Requests from before the ejection say nothing new; a probe's failure does. */
		if (b->probing)
			eject(b, now_ms);
		return;
	}
	if (++b->failed >= EJECT_AFTER) {
		if (may_eject(p))
			eject(b, now_ms);
		else
			b->failed = EJECT_AFTER - 1;
	}
}

void pool_set_health(struct pool *p, int backend, enum backend_health health, uint64_t now_ms)
{
	struct pool_backend *b = &p->backend[backend];

	if (b->health == health)
		return;
	/* What was only draining is warm. */
	if (health == BACKEND_UP && b->health == BACKEND_DOWN)
		reinstate(b, now_ms);
	b->health = health;
}

bool pool_may_retry(struct pool *p, uint64_t now_ms)
{
	uint64_t since = now_ms - p->retry_since_ms, more = since * RETRY_FREE_PER_S / 1000;

	if (more) {
		p->retry_since_ms = now_ms;
		if (p->retry_tokens < RETRY_FREE)
			p->retry_tokens = more < RETRY_FREE - p->retry_tokens ? p->retry_tokens + more : RETRY_FREE;
	}
	if (p->retry_tokens < RETRY_ONE)
		return false;
	p->retry_tokens -= RETRY_ONE;
	return true;
}

void pool_status(const struct pool *p, int backend, uint64_t now_ms, struct pool_backend_status *out)
{
	const struct pool_backend *b = &p->backend[backend];

	*out = (struct pool_backend_status){
		.health = b->health,
		.ejected = b->ejected,
		.active = b->active,
		.requests = b->requests,
		.failures = b->failures,
		.share = (double)share(p, b, now_ms) / WEIGHT_ONE,
	};
}

unsigned pool_replicas(const struct pool *p, uint64_t hash, unsigned want, int *backend)
{
	const uint8_t *order = rank_of(p->rank, hash);
	unsigned found = 0;

	for (unsigned n = 0; n < p->rank->n && found < want; n++)
		if (p->backend[order[n]].health == BACKEND_UP)
			backend[found++] = order[n];
	return found;
}
