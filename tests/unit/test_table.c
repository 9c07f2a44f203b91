/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The bucket table against a naive oracle: random sequences of events, and after each every property
 * that DESIGN section 4 promises, recomputed here the slow way.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lb/table.h"

static uint64_t seed;

static uint32_t rnd(uint32_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 16) % n;
}

static bool can_own(const struct table_host *h)
{
	return h->standing == STANDING_SERVING && h->weight;
}

/* Without the move that has not taken its second step. */
static struct bucket rest_of(const struct bucket *b)
{
	struct bucket r = { 0 };
	int i, n = 0;

	for (i = 0; i < TRIPLE_MAX; i++)
		if (b->triple.host[i] && !(b->fresh && b->triple.host[i] == b->next))
			r.triple.host[n++] = b->triple.host[i];
	return r;
}

/* After the hosts that are gone have left. */
static void oracle_remove(struct bucket *b, const struct table_host *host)
{
	struct bucket r = { 0 };
	int i, n = 0;

	for (i = 0; i < TRIPLE_MAX; i++)
		if (b->triple.host[i] && host[b->triple.host[i]].standing != STANDING_GONE)
			r.triple.host[n++] = b->triple.host[i];
	if (b->next && host[b->next].standing != STANDING_GONE && r.triple.host[0] != b->next) {
		r.next = b->next;
		r.fresh = b->fresh;
	}
	*b = r;
}

/* Fewest changes of heirs that end in balance: tries every choice of who gets a ceiling. */
static uint32_t fewest_moves(uint32_t n, const struct table_host *host, unsigned hosts, const uint32_t *have, uint32_t homeless)
{
	uint64_t total = 0, mask;
	uint32_t best = UINT32_MAX, h;

	for (h = 1; h <= hosts; h++)
		total += can_own(&host[h]) ? host[h].weight : 0;
	for (mask = 0; mask < 1u << hosts; mask++) {
		uint32_t sum = 0, moves = homeless;
		bool fits = true;

		for (h = 1; h <= hosts && fits; h++) {
			uint64_t share = can_own(&host[h]) ? (uint64_t)n * host[h].weight : 0;
			uint32_t target = (uint32_t)(share / total);

			if (mask >> (h - 1) & 1) {
				fits = share % total;
				target++;
			}
			sum += target;
			if (can_own(&host[h]) && have[h] > target)
				moves += have[h] - target;
		}
		if (fits && sum == n && moves < best)
			best = moves;
	}
	return best;
}

struct world {
	struct table t;
	struct move move[BUCKETS_MAX];
	unsigned hosts;
	unsigned n_full_seen, n_evicted, n_refused, n_exact;
};

static void check_balance(struct world *w)
{
	uint64_t total = 0;
	uint32_t h, b;

	for (h = 1; h <= w->hosts; h++)
		total += can_own(&w->t.host[h]) ? w->t.host[h].weight : 0;
	for (h = 1; h <= w->hosts; h++) {
		int64_t count = 0, share = can_own(&w->t.host[h]) ? (int64_t)w->t.n_buckets * w->t.host[h].weight : 0;

		for (b = 0; b < w->t.n_buckets; b++)
			count += bucket_heir(&w->t.bucket[b]) == h;
		/* |count - share / total| < 1, in whole numbers */
		assert_true(llabs(count * (int64_t)total - share) < (int64_t)total);
	}
}

static void check_set_host(struct world *w, const struct table_event *e)
{
	struct table_plan plan = { .move = w->move };
	struct table before;
	uint32_t have[HOST_ID_MAX + 1] = { 0 }, b, homeless = 0, changed = 0, full = 0;
	bool any = false;
	unsigned h;
	size_t i;
	int err;

	assert_int_equal(table_copy(&before, &w->t), 0);
	err = table_step(&w->t, e, &plan);
	assert_memory_equal(before.bucket, w->t.bucket, w->t.n_buckets * sizeof(struct bucket)); /* plans only */
	if (err) {
		assert_false(e->forced);
		assert_int_equal(plan.n_moves, 0);
		w->n_refused += err == -EBUSY;
		if (err == -EBUSY) { /* the reason is true: that triple is full and names nobody who could take it */
			struct bucket r = rest_of(&w->t.bucket[plan.refused_bucket]);
			struct table_host now[HOST_ID_MAX + 1];
			int k;

			memcpy(now, w->t.host, sizeof(now));
			for (i = 0; i < e->n_changes; i++)
				now[e->change[i].host] = (struct table_host){ e->change[i].weight, (uint8_t)e->change[i].standing };
			assert_int_equal(triple_len(&r.triple), TRIPLE_MAX);
			for (k = 0; k < TRIPLE_MAX; k++)
				assert_false(can_own(&now[r.triple.host[k]]));
		} else {
			assert_int_equal(err, -ENOSPC);
		}
		table_free(&before);
		return;
	}
	table_set_hosts(&w->t, e->change, e->n_changes);
	table_apply(&w->t, plan.move, plan.n_moves);
	for (h = 1; h <= w->hosts; h++)
		any |= can_own(&w->t.host[h]);
	for (b = 0; b < w->t.n_buckets; b++) {
		struct bucket old = before.bucket[b], *now = &w->t.bucket[b], rest;
		int k, lost = 0;

		assert_true(bucket_valid(now));
		oracle_remove(&old, w->t.host);
		for (k = 0; k < TRIPLE_MAX; k++)
			assert_true(!now->triple.host[k] || w->t.host[now->triple.host[k]].standing != STANDING_GONE);
		rest = rest_of(&old);
		/* Nobody who may have flows leaves a triple, but for an eviction, and the owner stays owner. */
		for (k = 0; k < TRIPLE_MAX; k++)
			lost += rest.triple.host[k] && !triple_has(&now->triple, rest.triple.host[k]);
		assert_true(lost <= (plan.n_evicted ? 1 : 0));
		if (old.triple.host[0])
			assert_int_equal(now->triple.host[0], old.triple.host[0]);
		full += triple_len(&rest.triple) == TRIPLE_MAX;
		if (!any)
			continue;
		assert_true(can_own(&w->t.host[bucket_heir(now)]));
		if (can_own(&w->t.host[bucket_heir(&old)]))
			have[bucket_heir(&old)]++;
		else
			homeless++;
		changed += bucket_heir(now) != bucket_heir(&old);
	}
	if (any && !full) {
		w->n_exact++;
		check_balance(w);
		assert_int_equal(changed, fewest_moves(w->t.n_buckets, w->t.host, w->hosts, have, homeless));
		assert_int_equal(plan.n_evicted, 0);
	}
	w->n_full_seen += full != 0;
	w->n_evicted += (unsigned)plan.n_evicted;
	table_free(&before);
}

static void check_simple(struct world *w, const struct table_event *e)
{
	struct table_plan plan = { .move = w->move };
	struct table before;
	uint32_t b;

	assert_int_equal(table_copy(&before, &w->t), 0);
	assert_int_equal(table_step(&w->t, e, &plan), 0);
	table_apply(&w->t, plan.move, plan.n_moves);
	for (b = 0; b < w->t.n_buckets; b++) {
		const struct bucket *old = &before.bucket[b], *now = &w->t.bucket[b];
		bool may = !e->eligible || e->eligible[b];
		int k;

		assert_true(bucket_valid(now));
		if (!may) {
			assert_true(bucket_equal(old, now));
		} else if (e->kind == TABLE_ACKED) {
			assert_int_equal(now->next, 0);
			assert_int_equal(bucket_heir(old), now->triple.host[0]);
			assert_int_equal(triple_len(&old->triple), triple_len(&now->triple));
			for (k = 0; k < TRIPLE_MAX; k++)
				assert_true(triple_has(&now->triple, old->triple.host[k]));
			if (old->next) /* history, newest first */
				assert_int_equal(now->triple.host[1], old->triple.host[0]);
		} else {
			for (k = 0; k < TRIPLE_MAX; k++)
				assert_true(triple_has(&now->triple, old->triple.host[k]) || old->triple.host[k] == e->old);
			assert_int_equal(now->triple.host[0], old->triple.host[0]);
			assert_int_equal(now->next, old->next);
			if (old->triple.host[0] == e->owner && e->old != e->owner && old->next != e->old)
				assert_false(triple_has(&now->triple, e->old));
		}
	}
	table_free(&before);
}

static void random_event(struct world *w)
{
	struct table_change c[3];
	bool eligible[BUCKETS_MAX];
	struct table_event e = { .forced = rnd(2) };
	uint32_t i;

	for (i = 0; i < w->t.n_buckets; i++)
		eligible[i] = rnd(4) != 0;
	switch (rnd(8)) {
	case 0:
	case 1:
		e.kind = TABLE_ACKED;
		e.eligible = rnd(2) ? eligible : NULL;
		check_simple(w, &e);
		break;
	case 2:
	case 3:
		e.kind = TABLE_EMPTY;
		e.owner = (uint16_t)(1 + rnd(w->hosts));
		e.old = (uint16_t)(1 + rnd(w->hosts));
		e.eligible = rnd(2) ? eligible : NULL;
		check_simple(w, &e);
		break;
	default:
		e.kind = TABLE_SET_HOST;
		e.n_changes = rnd(3) ? 1 : 3;
		for (i = 0; i < e.n_changes; i++)
			c[i] = (struct table_change){ (uint16_t)(1 + rnd(w->hosts)), (uint16_t)(rnd(3) ? 100 : rnd(250)),
						      rnd(5) ? STANDING_SERVING : (enum standing)rnd(2) };
		e.change = c;
		check_set_host(w, &e);
	}
}

static void test_random_sequences(void **state)
{
	static struct world w;
	unsigned run, n, refused = 0, evicted = 0, full = 0, exact = 0;

	(void)state;
	for (run = 0; run < 300; run++) {
		memset(&w, 0, sizeof(w));
		seed = 88172645463325252ull + run * 7919;
		w.hosts = 2 + rnd(6);
		assert_int_equal(table_init(&w.t, 16u << rnd(4)), 0);
		for (n = 0; n < 60; n++)
			random_event(&w);
		refused += w.n_refused;
		evicted += w.n_evicted;
		full += w.n_full_seen;
		exact += w.n_exact;
		table_free(&w.t);
	}
	print_message("refused %u, evicted %u, with full triples %u, exact %u\n", refused, evicted, full, exact);
	assert_true(refused && evicted && full && exact > 1000); /* the properties were really met in anger */
}

/* --- named situations ------------------------------------------------------------------------------ */

static struct table_plan step(struct world *w, enum table_event_kind kind, uint16_t host, enum standing standing, bool forced,
			      int expect)
{
	struct table_change c = { host, 100, standing };
	struct table_event e = { .kind = kind, .change = &c, .n_changes = 1, .forced = forced };
	struct table_plan p = { .move = w->move };

	assert_int_equal(table_step(&w->t, &e, &p), expect);
	if (!expect) {
		table_apply(&w->t, p.move, p.n_moves);
		if (kind == TABLE_SET_HOST)
			table_set_hosts(&w->t, &c, 1);
	}
	return p;
}

static void raise_pop(struct world *w, uint16_t hosts, uint32_t buckets)
{
	uint16_t h;

	memset(w, 0, sizeof(*w));
	w->hosts = hosts;
	assert_int_equal(table_init(&w->t, buckets), 0);
	for (h = 1; h <= hosts; h++) {
		step(w, TABLE_SET_HOST, h, STANDING_SERVING, false, 0);
		step(w, TABLE_ACKED, 0, 0, false, 0);
	}
	for (h = 1; h <= hosts; h++) {
		struct table_event e = { .kind = TABLE_EMPTY, .old = h };
		struct table_plan p = { .move = w->move };

		assert_int_equal(table_step(&w->t, &e, &p), 0);
		table_apply(&w->t, p.move, p.n_moves);
	}
}

static void test_undo_of_half_a_move(void **state)
{
	static struct world w;
	struct bucket before[64];

	(void)state;
	raise_pop(&w, 4, 64);
	memcpy(before, w.t.bucket, sizeof(before));
	assert_int_equal(step(&w, TABLE_SET_HOST, 1, STANDING_RETIRING, false, 0).n_moves, 16);
	assert_false(table_settled(&w.t));
	assert_int_equal(step(&w, TABLE_SET_HOST, 1, STANDING_SERVING, false, 0).n_moves, 16);
	assert_memory_equal(before, w.t.bucket, sizeof(before)); /* nothing is left of it */
	table_free(&w.t);
}

static void test_homecoming_and_even_spread(void **state)
{
	static struct world w;
	uint16_t was[64];
	uint32_t b;

	(void)state;
	raise_pop(&w, 4, 64);
	for (b = 0; b < 64; b++)
		was[b] = w.t.bucket[b].triple.host[0];
	step(&w, TABLE_SET_HOST, 2, STANDING_RETIRING, false, 0);
	step(&w, TABLE_ACKED, 0, 0, false, 0);
	assert_int_equal(table_owned(&w.t, 2), 0);
	assert_int_equal(table_sheltered(&w.t, 2), 16);
	for (uint16_t h = 1; h <= 4; h++)
		if (h != 2)
			assert_in_range(table_owned(&w.t, h), 21, 22); /* 5 or 6 more each */
	step(&w, TABLE_SET_HOST, 2, STANDING_SERVING, false, 0);
	step(&w, TABLE_ACKED, 0, 0, false, 0);
	for (b = 0; b < 64; b++)
		assert_int_equal(w.t.bucket[b].triple.host[0], was[b]);
	table_free(&w.t);
}

static void test_full_triple_refuses_an_operator_and_not_health(void **state)
{
	static struct world w;
	struct table_plan p;
	uint16_t h;

	(void)state;
	raise_pop(&w, 5, 32);
	/* Two drains whose flows never end fill the triples of some buckets; the third finds them full. */
	for (h = 1; h <= 2; h++) {
		step(&w, TABLE_SET_HOST, h, STANDING_RETIRING, false, 0);
		step(&w, TABLE_ACKED, 0, 0, false, 0);
	}
	for (h = 3; h <= 5; h++)
		if (table_owned(&w.t, h)) {
			struct table_change c = { h, 100, STANDING_RETIRING };
			struct table_event e = { .kind = TABLE_SET_HOST, .change = &c, .n_changes = 1 };
			bool hit = false;

			for (uint32_t b = 0; b < 32; b++)
				hit |= w.t.bucket[b].triple.host[0] == h && triple_len(&w.t.bucket[b].triple) == 3;
			p = (struct table_plan){ .move = w.move };
			assert_int_equal(table_step(&w.t, &e, &p), hit ? -EBUSY : 0);
			if (!hit)
				continue;
			assert_true(p.n_refused > 0);
			p = step(&w, TABLE_SET_HOST, h, STANDING_RETIRING, true, 0);
			assert_true(p.n_evicted > 0);
			table_free(&w.t);
			return;
		}
	fail_msg("no triple was full");
}

static void test_dead_leaves_at_once(void **state)
{
	static struct world w;

	(void)state;
	raise_pop(&w, 3, 64);
	step(&w, TABLE_SET_HOST, 1, STANDING_RETIRING, false, 0);
	step(&w, TABLE_SET_HOST, 1, STANDING_GONE, true, 0);
	assert_int_equal(table_owned(&w.t, 1) + table_sheltered(&w.t, 1), 0);
	assert_true(table_settled(&w.t)); /* the heirs own at once: nobody is waited for */
	assert_int_equal(table_owned(&w.t, 2), 32);
	table_free(&w.t);
}

static void test_last_host(void **state)
{
	static struct world w;

	(void)state;
	raise_pop(&w, 1, 16);
	step(&w, TABLE_SET_HOST, 1, STANDING_RETIRING, false, -ENOSPC);
	step(&w, TABLE_SET_HOST, 1, STANDING_GONE, true, 0);
	assert_int_equal(table_owned(&w.t, HOST_NONE), 16);
	table_free(&w.t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_sequences),
		cmocka_unit_test(test_undo_of_half_a_move),
		cmocka_unit_test(test_homecoming_and_even_spread),
		cmocka_unit_test(test_full_triple_refuses_an_operator_and_not_health),
		cmocka_unit_test(test_dead_leaves_at_once),
		cmocka_unit_test(test_last_host),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
