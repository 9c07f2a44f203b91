/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pools: each policy's promise as a number (shares, bounds, who moves when a backend leaves), ejection and its back-off,
 * slow start, limits, drain, the retry budget, and what a reconfiguration keeps.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <math.h>
#include <string.h>

#include "l7/hash.h"
#include "l7/pool/policy.h"
#include "l7/pool/pool.h"

#define KEYS 20000

static struct backend_conf backends[POOL_BACKENDS_MAX];

static struct pool_conf conf_of(enum pool_policy policy, uint32_t n)
{
	for (uint32_t i = 0; i < POOL_BACKENDS_MAX; i++) {
		backends[i] = (struct backend_conf){ .host = 0xffff, .port = 80, .weight = 1 };
		backends[i].address.family = AF_INET;
		backends[i].address.v4.s_addr = htonl(0xc0000200u + i);
	}
	return (struct pool_conf){
		.policy = policy, .replicas = 1, .bound_percent = 125, .backend = backends, .n_backends = n,
		.retry_budget_percent = 20, .slow_start_ms = 10000,
	};
}

static struct pool_key key_of(uint64_t n)
{
	return (struct pool_key){ .hash = hash_mix(n + 12345) };
}

static int request(struct pool *p, uint64_t n, enum backend_outcome outcome, uint64_t now)
{
	struct pool_key key = key_of(n);
	int b = pool_pick(p, &key, 0, now);

	if (b >= 0) {
		pool_begin(p, b, &key);
		pool_end(p, b, &key, outcome, now);
	}
	return b;
}

/* ---- weighted round robin ---- */

static void round_robin_is_smooth_and_exact(void **state)
{
	struct pool_conf conf = conf_of(POLICY_ROUND_ROBIN, 3);
	struct pool *p;
	char seen[8] = "";
	unsigned count[3] = { 0 };

	(void)state;
	backends[0].weight = 5;
	p = pool_new(&conf, 1);
	for (int i = 0; i < 7; i++)
		seen[i] = (char)('a' + request(p, i, OUTCOME_OK, 1));
	assert_string_equal(seen, "aabacaa");
	for (int i = 0; i < 700; i++)
		count[request(p, i, OUTCOME_OK, 1)]++;
	assert_int_equal(count[0], 500);
	assert_int_equal(count[1], 100);
	assert_int_equal(count[2], 100);
	pool_free(p);
}

/* ---- least connections ---- */

static void least_connections_levels_by_weight(void **state)
{
	struct pool_conf conf = conf_of(POLICY_LEAST_CONNECTIONS, 4);
	struct pool *p;
	struct pool_backend_status s;

	(void)state;
	backends[2].weight = 3;
	p = pool_new(&conf, 1);
	for (int i = 0; i < 600; i++) {
		struct pool_key key = key_of(i);

		pool_begin(p, pool_pick(p, &key, 0, 1), &key);
	}
	for (int b = 0; b < 4; b++) {
		pool_status(p, b, 1, &s);
		assert_int_equal(s.active, b == 2 ? 300 : 100);
	}
	/* Who gets rid of requests gets the next ones. */
	for (int i = 0; i < 10; i++)
		pool_end(p, 1, &(struct pool_key){ 0 }, OUTCOME_OK, 1);
	for (int i = 0; i < 10; i++) {
		struct pool_key key = key_of(i);
		int b = pool_pick(p, &key, 0, 1);

		assert_int_equal(b, 1);
		pool_begin(p, b, &key);
	}
	pool_free(p);
}

static void least_connections_at_rest_takes_turns(void **state)
{
	struct pool_conf conf = conf_of(POLICY_LEAST_CONNECTIONS, 4);
	struct pool *p = pool_new(&conf, 1);
	unsigned count[4] = { 0 };

	(void)state;
	for (int i = 0; i < 400; i++)
		count[request(p, i, OUTCOME_OK, 1)]++;
	for (int b = 0; b < 4; b++)
		assert_int_equal(count[b], 100);
	pool_free(p);
}

/* ---- affinity ---- */

static void affinity_is_the_same_everywhere(void **state)
{
	struct pool_conf conf = conf_of(POLICY_AFFINITY, 7);
	struct pool *one = pool_new(&conf, 1), *other = pool_new(&conf, 99999);

	(void)state;
	for (int i = 0; i < 5000; i++) /* a history that the other does not have */
		request(one, i * 7, OUTCOME_OK, 1);
	for (int i = 0; i < KEYS; i++)
		assert_int_equal(request(one, i, OUTCOME_OK, 2), request(other, i, OUTCOME_OK, 100000));
	pool_free(one);
	pool_free(other);
}

/* Chi-squared would reject honest slot granularity; the bound stated in rank.h is what is promised. */
static void affinity_shares_by_weight(void **state)
{
	struct pool_conf conf = conf_of(POLICY_AFFINITY, 4);
	struct pool *p;
	unsigned count[4] = { 0 };

	(void)state;
	backends[3].weight = 5;
	p = pool_new(&conf, 1);
	for (int i = 0; i < KEYS; i++)
		count[request(p, i, OUTCOME_OK, 1)]++;
	for (int b = 0; b < 4; b++)
		assert_true(fabs(count[b] / (double)KEYS - (b == 3 ? 5 : 1) / 8.0) < 0.025);
	pool_free(p);
}

/* Exactly the keys of the one that leaves move, they spread over all others, and all come back. */
static void affinity_moves_only_the_leavers_keys(void **state)
{
	struct pool_conf conf = conf_of(POLICY_AFFINITY, 8);
	struct pool *p = pool_new(&conf, 1);
	unsigned moved_to[8] = { 0 }, moved = 0;
	static int before[KEYS];

	(void)state;
	for (int i = 0; i < KEYS; i++)
		before[i] = request(p, i, OUTCOME_OK, 1);
	pool_set_health(p, 3, BACKEND_DRAINING, 1);
	for (int i = 0; i < KEYS; i++) {
		int now = request(p, i, OUTCOME_OK, 1);

		if (before[i] != 3) {
			assert_int_equal(now, before[i]);
		} else {
			moved++;
			moved_to[now]++;
		}
	}
	assert_int_equal(moved_to[3], 0);
	for (int b = 0; b < 8; b++)
		if (b != 3)
			assert_true(fabs(moved_to[b] / (double)moved - 1 / 7.0) < 0.06);
	pool_set_health(p, 3, BACKEND_UP, 1);
	for (int i = 0; i < KEYS; i++)
		assert_int_equal(request(p, i, OUTCOME_OK, 1), before[i]);
	pool_free(p);
}

/* The same when it leaves the configuration, from the middle of the list: indices move, keys do not. */
static void affinity_survives_reconfiguration(void **state)
{
	struct pool_conf conf = conf_of(POLICY_AFFINITY, 8), less = conf;
	struct backend_conf fewer[7];
	struct pool *p = pool_new(&conf, 1);
	static int before[KEYS];
	int moved[POOL_BACKENDS_MAX];

	(void)state;
	for (int i = 0; i < KEYS; i++)
		before[i] = request(p, i, OUTCOME_OK, 1);
	memcpy(fewer, backends, 3 * sizeof(fewer[0]));
	memcpy(fewer + 3, backends + 4, 4 * sizeof(fewer[0]));
	less.backend = fewer;
	less.n_backends = 7;
	assert_int_equal(pool_reconfigure(p, &less, 1, moved), 0);
	assert_int_equal(moved[2], 2);
	assert_int_equal(moved[3], -1);
	assert_int_equal(moved[4], 3);
	for (int i = 0; i < KEYS; i++)
		if (before[i] != 3)
			assert_int_equal(request(p, i, OUTCOME_OK, 1), moved[before[i]]);
	pool_free(p);
}

/* One key asked for by everyone: nobody carries more than the bound, and the surplus goes where all agree. */
static void affinity_bound_is_kept(void **state)
{
	for (unsigned percent = 110; percent <= 200; percent += 30) {
		struct pool_conf conf = conf_of(POLICY_AFFINITY, 5);
		struct pool *p;
		struct pool_key hot = key_of(1);

		(void)state;
		conf.bound_percent = (uint16_t)percent;
		backends[4].weight = 2;
		p = pool_new(&conf, 1);
		for (unsigned total = 1; total <= 1200; total++) {
			int b = pool_pick(p, &hot, 0, 1);
			struct pool_backend_status s;

			pool_begin(p, b, &hot);
			for (int i = 0; i < 5; i++) {
				double bound = ceil(percent / 100.0 * total * (i == 4 ? 2 : 1) / 6.0);

				pool_status(p, i, 1, &s);
				assert_true(s.active <= (bound > 8 ? bound : 8));
			}
		}
		pool_free(p);
	}
}

/* Hand-off: connections come here because this host's backend has their object; that is not too many for it. */
static void affinity_keeps_what_came_home(void **state)
{
	struct pool_conf conf = conf_of(POLICY_AFFINITY, 4);
	struct pool *p = pool_new(&conf, 1);
	struct pool_key hot = key_of(1);
	struct pool_backend_status s;
	int home = pool_pick(p, &hot, 0, 1), i, key;

	(void)state;
	for (i = 0; i < 100; i++)
		pool_begin(p, home, &hot);
	assert_int_not_equal(pool_pick(p, &hot, 0, 1), home); /* control */
	pool_set_home(p, UINT64_C(1) << home);
	assert_int_equal(pool_pick(p, &hot, 0, 1), home);
	/* Nor are the others less loaded for that: what this front end gives to one of them is bound by what they have. */
	for (key = 2; (i = pool_pick(p, &(struct pool_key){ .hash = key_of(key).hash }, 0, 1)) == home; key++)
		;
	hot = key_of(key);
	for (int n = 0; n < 12; n++)
		pool_begin(p, pool_pick(p, &hot, 0, 1), &hot);
	pool_status(p, i, 1, &s);
	assert_true(s.active <= 8);
	pool_free(p);
}

/* Control for the bound: without load, the hot key stays in one place. */
static void affinity_keeps_a_key_that_does_not_overload(void **state)
{
	struct pool_conf conf = conf_of(POLICY_AFFINITY, 5);
	struct pool *p = pool_new(&conf, 1);
	int first = request(p, 1, OUTCOME_OK, 1);

	(void)state;
	for (int i = 0; i < 1000; i++)
		assert_int_equal(request(p, 1, OUTCOME_OK, 1), first);
	pool_free(p);
}

/* k of n: each object on exactly k, all k used evenly, each backend holds k/n of the objects. */
static void affinity_replicates_k_of_n(void **state)
{
	struct pool_conf conf = conf_of(POLICY_AFFINITY, 6);
	struct pool *p;
	unsigned holds[6] = { 0 };

	(void)state;
	conf.replicas = 3;
	p = pool_new(&conf, 1);
	for (int key = 0; key < 2000; key++) {
		unsigned count[6] = { 0 }, used = 0;
		int told[6];

		for (int i = 0; i < 90; i++)
			count[request(p, key, OUTCOME_OK, 1)]++;
		assert_int_equal(pool_replicas(p, key_of(key).hash, 3, told), 3);
		for (int b = 0; b < 6; b++) {
			used += count[b] > 0;
			holds[b] += count[b] > 0;
		}
		assert_int_equal(used, 3);
		for (int r = 0; r < 3; r++)
			assert_in_range(count[told[r]], 12, 52);
	}
	for (int b = 0; b < 6; b++)
		assert_true(fabs(holds[b] / 2000.0 - 0.5) < 0.06);
	pool_free(p);
}

/* When one of the k leaves, the others keep the object and exactly one more gets it. */
static void affinity_replaces_one_replica(void **state)
{
	struct pool_conf conf = conf_of(POLICY_AFFINITY, 6);
	struct pool *p;

	(void)state;
	conf.replicas = 3;
	p = pool_new(&conf, 1);
	for (int key = 0; key < 500; key++) {
		int before[3], after[3], stayed = 0;

		pool_replicas(p, key_of(key).hash, 3, before);
		pool_set_health(p, before[1], BACKEND_DRAINING, 1);
		pool_replicas(p, key_of(key).hash, 3, after);
		for (int a = 0; a < 3; a++)
			for (int b = 0; b < 3; b++)
				stayed += after[a] == before[b];
		assert_int_equal(stayed, 2);
		pool_set_health(p, before[1], BACKEND_UP, 1);
	}
	pool_free(p);
}

/* ---- LARD ---- */

static void lard_partitions_and_begins_alike(void **state)
{
	struct pool_conf conf = conf_of(POLICY_LARD, 4);
	struct pool *one = pool_new(&conf, 1), *other = pool_new(&conf, 1);
	unsigned count[4] = { 0 };

	(void)state;
	for (int i = 0; i < 4000; i++) {
		int b = request(one, i, OUTCOME_OK, 1);

		count[b]++;
		assert_int_equal(request(other, i, OUTCOME_OK, 1), b);
		assert_int_equal(request(one, i, OUTCOME_OK, 50000), b);
	}
	for (int b = 0; b < 4; b++)
		assert_in_range(count[b], 800, 1200);
	pool_free(one);
	pool_free(other);
}

/* A hot target gets a second server when its first is above the high mark, not before; and loses it again. */
static void lard_replicates_under_load_and_shrinks(void **state)
{
	struct pool_conf conf = conf_of(POLICY_LARD, 4);
	struct pool *p = pool_new(&conf, 1);
	struct pool_key hot = key_of(1);
	unsigned count[4] = { 0 };
	int first = pool_pick(p, &hot, 0, 1), b, second = -1;

	(void)state;
	for (int i = 0; i < 66; i++) {
		b = pool_pick(p, &hot, 0, 1);
		assert_int_equal(b, first);
		pool_begin(p, b, &hot);
		count[b]++;
	}
	for (int i = 0; i < 60; i++) {
		b = pool_pick(p, &hot, 0, 2);
		assert_int_not_equal(b, first);
		if (second < 0)
			second = b;
		assert_int_equal(b, second); /* one more, not all */
		pool_begin(p, b, &hot);
		count[b]++;
	}
	for (int i = 0; i < 4; i++)
		for (; count[i]; count[i]--)
			pool_end(p, i, &hot, OUTCOME_OK, 3);
	/* Within K both serve; past K one of them leaves and it is one again. */
	b = pool_pick(p, &hot, 0, 2 + LARD_SHRINK_MS);
	assert_true(b == first || b == second);
	b = pool_pick(p, &hot, 0, 3 + LARD_SHRINK_MS);
	for (int i = 0; i < 100; i++) {
		int again = pool_pick(p, &hot, 0, 4 + LARD_SHRINK_MS);

		assert_int_equal(again, b);
		pool_begin(p, again, &hot);
		if (i == 50)
			break;
	}
	pool_free(p);
}

/* Large answers are load too: 20 of 16 MB leave no room for a 21st beside them. */
static void lard_counts_bytes(void **state)
{
	struct pool_conf conf = conf_of(POLICY_LARD, 4);
	struct pool *p = pool_new(&conf, 1);
	struct pool_key large = key_of(1);
	int first = pool_pick(p, &large, 0, 1);

	(void)state;
	large.size = 16 << 20;
	pool_begin(p, first, &large);
	assert_int_not_equal(pool_pick(p, &large, 0, 1), first);
	pool_end(p, first, &large, OUTCOME_OK, 1);
	assert_int_equal(lard_load(&large), 257);
	pool_free(p);
}

static void lard_memory_is_bounded(void **state)
{
	struct pool_conf conf = conf_of(POLICY_LARD, 4);
	struct pool *p = pool_new(&conf, 1);

	(void)state;
	for (int i = 0; i < 20 * LARD_TARGETS; i++)
		assert_in_range(request(p, i, OUTCOME_OK, 1), 0, 3);
	pool_free(p);
}

/* ---- health ---- */

static void ejection_backs_off_and_probes_with_one(void **state)
{
	struct pool_conf conf = conf_of(POLICY_ROUND_ROBIN, 2);
	struct pool *p = pool_new(&conf, 1);
	struct pool_key key = key_of(0);
	struct pool_backend_status s;
	uint64_t now = 1000, out = 1000;

	(void)state;
	for (int i = 0; i < 5; i++) {
		pool_begin(p, 0, &key);
		pool_end(p, 0, &key, OUTCOME_RESET, now);
	}
	pool_status(p, 0, now, &s);
	assert_true(s.ejected);
	assert_int_equal(s.failures, 5);
	for (int round = 0; round < 9; round++) {
		int probes = 0;

		for (int i = 0; i < 50; i++)
			assert_int_equal(pool_pick(p, &key, 0, now + out - 1), 1);
		now += out;
		for (int i = 0; i < 50; i++) {
			int b = pool_pick(p, &key, 0, now);

			if (b == 0) {
				pool_begin(p, 0, &key);
				probes++;
			}
		}
		assert_int_equal(probes, 1);
		pool_end(p, 0, &key, OUTCOME_REFUSED, now);
		out = out < 64000 ? 2 * out : 64000;
	}
	now += out;
	pool_begin(p, 0, &key);
	pool_end(p, 0, &key, OUTCOME_OK, now);
	pool_status(p, 0, now, &s);
	assert_false(s.ejected);
	assert_true(s.share < 0.2); /* and starts slowly */
	pool_free(p);
}

static void half_stays_however_bad(void **state)
{
	struct pool_conf conf = conf_of(POLICY_ROUND_ROBIN, 4);
	struct pool *p = pool_new(&conf, 1);
	struct pool_backend_status s;
	int ejected = 0;

	(void)state;
	for (int i = 0; i < 400; i++)
		assert_in_range(request(p, i, OUTCOME_SERVER_ERROR, 1), 0, 3);
	for (int b = 0; b < 4; b++) {
		pool_status(p, b, 1, &s);
		ejected += s.ejected;
	}
	assert_int_equal(ejected, 2);
	pool_free(p);
}

static void a_success_between_failures_forgives(void **state)
{
	struct pool_conf conf = conf_of(POLICY_ROUND_ROBIN, 2);
	struct pool *p = pool_new(&conf, 1);
	struct pool_key key = key_of(0);
	struct pool_backend_status s;

	(void)state;
	for (int i = 0; i < 100; i++) {
		pool_begin(p, 0, &key);
		pool_end(p, 0, &key, i % 5 == 4 ? OUTCOME_OK : OUTCOME_TIMEOUT, 1);
	}
	pool_status(p, 0, 1, &s);
	assert_false(s.ejected);
	pool_free(p);
}

/* Share of requests in the second that begins at each quarter of the ramp: it climbs to the full one. */
static void slow_start_climbs(void **state)
{
	static const enum pool_policy policies[] = { POLICY_ROUND_ROBIN, POLICY_AFFINITY };

	(void)state;
	for (int k = 0; k < 2; k++) {
		struct pool_conf conf = conf_of(policies[k], 4);
		struct pool *p = pool_new(&conf, 1);
		unsigned count[5] = { 0 };

		pool_set_health(p, 0, BACKEND_DOWN, 500);
		for (int i = 0; i < 1000; i++)
			assert_int_not_equal(request(p, i, OUTCOME_OK, 600), 0);
		pool_set_health(p, 0, BACKEND_UP, 1000);
		for (int q = 0; q <= 4; q++)
			for (int i = 0; i < 4000; i++)
				count[q] += request(p, i, OUTCOME_OK, 1000 + 2500 * q) == 0;
		for (int q = 1; q <= 4; q++)
			assert_true(count[q] > count[q - 1]);
		assert_in_range(count[0], 60, 160);
		assert_in_range(count[4], 900, 1100);
		pool_free(p);
	}
}

static void draining_gets_nothing_new(void **state)
{
	(void)state;
	for (int policy = POLICY_ROUND_ROBIN; policy <= POLICY_LARD; policy++) {
		struct pool_conf conf = conf_of(policy, 3);
		struct pool *p = pool_new(&conf, 1);

		for (int i = 0; i < 200; i++)
			request(p, i, OUTCOME_OK, 1);
		pool_set_health(p, 1, BACKEND_DRAINING, 1);
		for (int i = 0; i < 200; i++)
			assert_int_not_equal(request(p, i, OUTCOME_OK, 1), 1);
		pool_set_health(p, 0, BACKEND_DOWN, 1);
		pool_set_health(p, 2, BACKEND_DOWN, 1);
		assert_int_equal(request(p, 1, OUTCOME_OK, 1), POOL_NONE);
		pool_free(p);
	}
}

static void tried_ones_come_last(void **state)
{
	(void)state;
	for (int policy = POLICY_ROUND_ROBIN; policy <= POLICY_LARD; policy++) {
		struct pool_conf conf = conf_of(policy, 3);
		struct pool *p = pool_new(&conf, 1);

		for (int i = 0; i < 300; i++) {
			struct pool_key key = key_of(i);
			int a = pool_pick(p, &key, 0, 1), b = pool_pick(p, &key, 1ull << a, 1),
			    c = pool_pick(p, &key, 1ull << a | 1ull << b, 1);

			assert_int_equal(1 << a | 1 << b | 1 << c, 7);
			assert_in_range(pool_pick(p, &key, 7, 1), 0, 2);
		}
		pool_free(p);
	}
}

static void full_is_not_none(void **state)
{
	(void)state;
	for (int policy = POLICY_ROUND_ROBIN; policy <= POLICY_LARD; policy++) {
		struct pool_conf conf = conf_of(policy, 3);
		struct pool *p;
		struct pool_backend_status s;

		conf.max_connections = 7;
		p = pool_new(&conf, 1);
		for (int i = 0; i < 21; i++) {
			struct pool_key key = key_of(0);

			pool_begin(p, pool_pick(p, &key, 0, 1), &key);
		}
		for (int b = 0; b < 3; b++) {
			pool_status(p, b, 1, &s);
			assert_int_equal(s.active, 7);
		}
		assert_int_equal(request(p, 0, OUTCOME_OK, 1), POOL_FULL);
		pool_end(p, 2, &(struct pool_key){ 0 }, OUTCOME_OK, 1);
		assert_int_equal(request(p, 0, OUTCOME_OK, 1), 2);
		pool_free(p);
	}
}

/* In the long run retries are at most the budget's share, and a dead backend's burst still goes through. */
static void retries_are_budgeted(void **state)
{
	struct pool_conf conf = conf_of(POLICY_ROUND_ROBIN, 2);
	struct pool *p = pool_new(&conf, 0);
	struct pool_key key = key_of(0);
	unsigned granted = 0, burst = 0;

	(void)state;
	while (pool_may_retry(p, 0))
		burst++;
	assert_int_equal(burst, 100);
	for (int i = 0; i < 100000; i++) {
		pool_begin(p, 0, &key);
		pool_end(p, 0, &key, OUTCOME_OK, 0);
		granted += pool_may_retry(p, 0);
	}
	assert_in_range(granted, 19990, 20010);
	assert_false(pool_may_retry(p, 0));
	assert_true(pool_may_retry(p, 1000)); /* a trickle for the quiet */
	for (burst = 0; pool_may_retry(p, 1000); burst++)
		;
	assert_in_range(burst, 8, 10);
	pool_free(p);
}

static void reconfiguration_keeps_state(void **state)
{
	struct pool_conf conf = conf_of(POLICY_LEAST_CONNECTIONS, 3), more = conf;
	struct backend_conf other[4];
	struct pool *p = pool_new(&conf, 1);
	struct pool_key key = key_of(0);
	struct pool_backend_status s;
	int moved[POOL_BACKENDS_MAX];

	(void)state;
	for (int i = 0; i < 9; i++)
		pool_begin(p, 1, &key);
	pool_set_health(p, 2, BACKEND_DOWN, 1);
	other[0] = backends[40];
	other[1] = backends[2];
	other[2] = backends[1];
	other[3] = backends[41];
	more.backend = other;
	more.n_backends = 4;
	assert_int_equal(pool_reconfigure(p, &more, 5000, moved), 0);
	assert_int_equal(moved[0], -1);
	assert_int_equal(moved[1], 2);
	assert_int_equal(moved[2], 1);
	pool_status(p, 2, 5000, &s);
	assert_int_equal(s.active, 9);
	pool_status(p, 1, 5000, &s);
	assert_int_equal(s.health, BACKEND_DOWN);
	pool_status(p, 0, 5000, &s);
	assert_true(s.share < 0.2);
	more.n_backends = POOL_BACKENDS_MAX + 1;
	assert_int_equal(pool_reconfigure(p, &more, 5000, moved), -E2BIG);
	pool_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_robin_is_smooth_and_exact),
		cmocka_unit_test(least_connections_levels_by_weight),
		cmocka_unit_test(least_connections_at_rest_takes_turns),
		cmocka_unit_test(affinity_is_the_same_everywhere),
		cmocka_unit_test(affinity_shares_by_weight),
		cmocka_unit_test(affinity_moves_only_the_leavers_keys),
		cmocka_unit_test(affinity_survives_reconfiguration),
		cmocka_unit_test(affinity_bound_is_kept),
		cmocka_unit_test(affinity_keeps_what_came_home),
		cmocka_unit_test(affinity_keeps_a_key_that_does_not_overload),
		cmocka_unit_test(affinity_replicates_k_of_n),
		cmocka_unit_test(affinity_replaces_one_replica),
		cmocka_unit_test(lard_partitions_and_begins_alike),
		cmocka_unit_test(lard_replicates_under_load_and_shrinks),
		cmocka_unit_test(lard_counts_bytes),
		cmocka_unit_test(lard_memory_is_bounded),
		cmocka_unit_test(ejection_backs_off_and_probes_with_one),
		cmocka_unit_test(half_stays_however_bad),
		cmocka_unit_test(a_success_between_failures_forgives),
		cmocka_unit_test(slow_start_climbs),
		cmocka_unit_test(draining_gets_nothing_new),
		cmocka_unit_test(tried_ones_come_last),
		cmocka_unit_test(full_is_not_none),
		cmocka_unit_test(retries_are_budgeted),
		cmocka_unit_test(reconfiguration_keeps_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
