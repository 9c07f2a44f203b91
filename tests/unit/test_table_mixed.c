/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Mixed-version switches: each switch holds some past state of the table and catches up whenever it
 * likes, flows begin through any of them at any time, and the upstream moves them from switch to switch
 * as it pleases.  Every established flow must reach the host that has it, by detours along the triple of
 * whichever switch its next packet takes.  The control runs the same with second steps that wait for
 * nobody, and with histories that end without the order of proofs: both must lose flows.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "lb/table.h"

#define SWITCHES 3
#define HOSTS_MAX 6
#define BUCKETS 32
#define VERSIONS 4000
#define FLOWS 200

struct flow {
	uint32_t bucket;
	uint16_t host; /* HOST_NONE: free slot */
};

struct proof {
	bool through[HOSTS_MAX + 1]; /* owners through whom sockets are reached */
	uint64_t began;
};

struct world {
	struct table t;
	struct bucket version[VERSIONS][BUCKETS]; /* what the log says at each index */
	uint64_t last, at[SWITCHES];		  /* index of the log, and of each switch */
	uint64_t changed[BUCKETS], settled, settled_at;
	struct flow flow[FLOWS];
	struct proof proof[HOSTS_MAX + 1];
	bool dead[HOSTS_MAX + 1];
	uint16_t hosts;
	unsigned lost, checks, detours, ended, moves;
	bool hasty_steps, hasty_ends; /* the controls */
};

static uint64_t seed;

static uint32_t rnd(uint32_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 16) % n;
}

static const struct triple *held(const struct world *w, int sw, uint32_t bucket)
{
	return &w->version[w->at[sw]][bucket].triple;
}

static uint64_t installed(const struct world *w)
{
	uint64_t least = w->at[0];

	for (int i = 1; i < SWITCHES; i++)
		least = w->at[i] < least ? w->at[i] : least;
	return least;
}

static void commit(struct world *w, const struct table_plan *p)
{
	size_t i;

	w->last++;
	assert_true(w->last < VERSIONS);
	table_apply(&w->t, p->move, p->n_moves);
	for (i = 0; i < p->n_moves; i++)
		w->changed[p->move[i].bucket] = w->last;
	memcpy(w->version[w->last], w->t.bucket, sizeof(w->version[0]));
	w->moves += (unsigned)p->n_moves;
}

/* The next packet of every flow, through every switch. */
static void check_flows(struct world *w)
{
	int i, s, k;

	for (i = 0; i < FLOWS; i++) {
		struct flow *f = &w->flow[i];

		for (s = 0; f->host && s < SWITCHES; s++) {
			const struct triple *t = held(w, s, f->bucket);

			if (!t->host[0])
				continue; /* nobody was alive at that version: dropped, and sent again */
			for (k = 0; k < TRIPLE_MAX && t->host[k] && t->host[k] != f->host && !w->dead[t->host[k]]; k++)
				;
			w->checks++;
			w->detours += k > 0;
			if (k == TRIPLE_MAX || !t->host[k]) { /* nobody is left to ask: the last one resets it */
				w->lost++;
				f->host = HOST_NONE;
			} /* a dead host on the way drops the packet; it is sent again */
		}
	}
}

static void set_host(struct world *w, uint16_t host, enum standing standing, struct move *room)
{
	struct table_change c = { host, 100, standing };
	struct table_event e = { .kind = TABLE_SET_HOST, .change = &c, .n_changes = 1, .forced = standing == STANDING_GONE };
	struct table_plan p = { .move = room };
	int i;

	if (table_step(&w->t, &e, &p) || p.n_evicted)
		return; /* refused; evictions lose flows by intent */
	if (standing == STANDING_GONE) {
		w->dead[host] = true;
		for (i = 0; i < FLOWS; i++)
			if (w->flow[i].host == host)
				w->flow[i].host = HOST_NONE;
	}
	table_set_hosts(&w->t, &c, 1);
	commit(w, &p);
}

static void change_host(struct world *w, struct move *room)
{
	uint16_t host = (uint16_t)(1 + rnd(w->hosts));

	if (w->dead[host]) {
		if (installed(w) < w->last)
			return; /* comes back when no switch sends it anything by an old table */
		w->dead[host] = false;
		set_host(w, host, STANDING_SERVING, room);
	} else if (!rnd(12)) {
		set_host(w, host, STANDING_GONE, room);
	} else {
		set_host(w, host, rnd(2) ? STANDING_SERVING : STANDING_RETIRING, room);
	}
}

static void second_steps(struct world *w, struct move *room)
{
	bool eligible[BUCKETS];
	struct table_event e = { .kind = TABLE_ACKED, .eligible = eligible };
	struct table_plan p = { .move = room };

	for (int b = 0; b < BUCKETS; b++)
		eligible[b] = w->hasty_steps || w->changed[b] <= installed(w);
	assert_int_equal(table_step(&w->t, &e, &p), 0);
	if (p.n_moves)
		commit(w, &p);
}

/* A record of its own: only so do "before" and "after" have a meaning for a proof that begins at an index. */
static void settle(struct world *w, struct move *room)
{
	struct table_plan nothing = { .move = room };

	w->settled = installed(w);
	commit(w, &nothing);
	w->settled_at = w->last;
}

static void begin_proof(struct world *w)
{
	uint16_t host = (uint16_t)(1 + rnd(w->hosts));
	struct proof *p = &w->proof[host];
	int i, s;

	memset(p, 0, sizeof(*p));
	p->began = w->last;
	for (i = 0; i < FLOWS; i++)
		for (s = 0; w->flow[i].host == host && s < SWITCHES; s++)
			p->through[held(w, s, w->flow[i].bucket)->host[0]] = true;
}

static void end_histories(struct world *w, struct move *room)
{
	uint16_t host = (uint16_t)(1 + rnd(w->hosts));
	bool eligible[BUCKETS];
	struct table_event e = { .kind = TABLE_EMPTY, .old = host, .eligible = eligible };
	struct table_plan p = { .move = room };

	if (!w->hasty_ends && (!w->settled || w->proof[host].began < w->settled_at))
		return;
	for (int b = 0; b < BUCKETS; b++) {
		const struct bucket *k = &w->t.bucket[b];

		eligible[b] = !k->next && (w->hasty_ends || w->changed[b] <= w->settled) && !w->proof[host].through[k->triple.host[0]];
	}
	assert_int_equal(table_step(&w->t, &e, &p), 0);
	w->ended += (unsigned)p.n_moves;
	if (p.n_moves)
		commit(w, &p);
}

static void new_flow(struct world *w)
{
	struct flow *f = &w->flow[rnd(FLOWS)];
	uint32_t bucket = rnd(BUCKETS);
	uint16_t host = held(w, (int)rnd(SWITCHES), bucket)->host[0];

	if (!f->host && host && !w->dead[host])
		*f = (struct flow){ bucket, host };
}

static void run(struct world *w, unsigned number, bool hasty_steps, bool hasty_ends)
{
	struct move room[BUCKETS];
	uint16_t h;
	int i, s;

	memset(w, 0, sizeof(*w));
	seed = 88172645463325252ull + number * 104729;
	w->hosts = (uint16_t)(2 + rnd(HOSTS_MAX - 1));
	w->hasty_steps = hasty_steps;
	w->hasty_ends = hasty_ends;
	assert_int_equal(table_init(&w->t, BUCKETS), 0);
	for (h = 1; h <= w->hosts; h++)
		set_host(w, h, STANDING_SERVING, room);
	for (s = 0; s < SWITCHES; s++)
		w->at[s] = w->last;
	for (i = 0; i < 3000 && w->last < VERSIONS - 2; i++) {
		switch (rnd(16)) {
		case 0:
			change_host(w, room);
			break;
		case 1:
			second_steps(w, room);
			break;
		case 2:
		case 3:
		case 4: /* one version at a time, or a jump: rows one by one are versions, too */
			s = (int)rnd(SWITCHES);
			if (w->at[s] < w->last)
				w->at[s] += 1 + rnd((uint32_t)(w->last - w->at[s]));
			break;
		case 5:
			settle(w, room);
			break;
		case 6:
		case 7:
			begin_proof(w);
			break;
		case 8:
		case 9:
			end_histories(w, room);
			break;
		case 10:
			w->flow[rnd(FLOWS)].host = HOST_NONE;
			break;
		default:
			new_flow(w);
		}
		check_flows(w);
	}
	table_free(&w->t);
}

static void run_many(bool hasty_steps, bool hasty_ends, unsigned *lost)
{
	struct world *w = malloc(sizeof(*w));
	unsigned n, checks = 0, detours = 0, ended = 0, moves = 0;

	for (*lost = 0, n = 0; n < 200; n++) {
		run(w, n, hasty_steps, hasty_ends);
		*lost += w->lost;
		checks += w->checks;
		detours += w->detours;
		ended += w->ended;
		moves += w->moves;
	}
	print_message("%u packets, %u detoured, %u moves, %u histories ended, %u flows lost\n", checks, detours, moves, ended, *lost);
	assert_true(detours > 1000 && ended > 100 && moves > 1000);
	free(w);
}

static void test_nothing_is_lost(void **state)
{
	unsigned lost;

	(void)state;
	run_many(false, false, &lost);
	assert_int_equal(lost, 0);
}

static void test_control_second_step_at_once(void **state)
{
	unsigned lost;

	(void)state;
	run_many(true, false, &lost);
	assert_true(lost > 0);
}

static void test_control_proof_before_all_have_installed(void **state)
{
	unsigned lost;

	(void)state;
	run_many(false, true, &lost);
	assert_true(lost > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_is_lost),
		cmocka_unit_test(test_control_second_step_at_once),
		cmocka_unit_test(test_control_proof_before_all_have_installed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
