/* SPDX-License-Identifier: BSD-2-Clause */
/* The proof of an empty history against a scripted kernel: what a listing hides, what is born when, who is heard through whom. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "agent/proof.h"

enum { SELF = 1, OTHER = 2, SOCKETS = 4, NEVER = 1000 };

/* Socket i is there from listing `from` on, and its packets come through `owner`. */
static struct kernel {
	unsigned from[SOCKETS], listings, probes, asked;
	bool changed;
	uint16_t owner[SOCKETS];
	bool blind; /* the watch sees nothing */
	uint8_t flags;
	uint32_t idle_ms;
	int list_error;
} kernel;

static struct tcp_iter_socket socket_of(unsigned i)
{
	struct tcp_iter_socket s = { .family = AF_INET, .state = 1, .src_port = 80, .dst_port = (uint16_t)(5000 + i), .idle_ms = 1000 };

	return s;
}

static int list(void *ctx, tcp_list_each *each, void *each_ctx)
{
	(void)ctx;
	kernel.listings++;
	for (unsigned i = 0; i < SOCKETS; i++)
		if (kernel.listings >= kernel.from[i]) {
			struct tcp_iter_socket s = socket_of(i);

			s.flags = kernel.flags;
			s.idle_ms = kernel.idle_ms ? kernel.idle_ms : s.idle_ms;
			each(each_ctx, &s);
		}
	return kernel.list_error;
}

static int watch(void *ctx, const struct datapath_watch *w, size_t n)
{
	(void)ctx;
	(void)w;
	(void)n;
	return 0;
}

static int watched(void *ctx, struct datapath_watch *w, size_t n)
{
	(void)ctx;
	for (size_t i = 0; i < n; i++) {
		w[i].seen = !kernel.blind;
		w[i].owner = kernel.owner[w[i].client_port - 5000];
	}
	return 0;
}

static int probe(void *ctx, const struct tcp_iter_socket *s)
{
	(void)ctx;
	(void)s;
	kernel.asked++;
	if (kernel.changed)
		return 1;
	kernel.probes++;
	return 0;
}

static const struct proof_io io = { .list = list, .watch = watch, .watched = watched, .probe = probe };

static struct proof *begin(const unsigned from[SOCKETS])
{
	struct proof *p = proof_new(SELF, &io, NULL);

	assert_non_null(p);
	kernel = (struct kernel){ 0 };
	for (unsigned i = 0; i < SOCKETS; i++) {
		kernel.from[i] = from[i];
		kernel.owner[i] = i ? OTHER : SELF;
	}
	proof_begin(p, 7, 1000, 1000);
	return p;
}

/* So many listings; time goes on as the proof asks for it. */
static void run(struct proof *p, unsigned listings, uint64_t *now)
{
	unsigned until = kernel.listings + listings;

	for (unsigned i = 0; kernel.listings < until && i < 1000; i++)
		*now += proof_step(p, *now);
	assert_int_equal(kernel.listings, until);
}

/* A listing is no snapshot: a socket that the first one missed is found by the second, and is a suspect like the others. */
static void a_socket_hides_from_the_first_listing(void **state)
{
	static struct proof_result r;
	struct proof *p = begin((const unsigned[]){ 1, 1, 2, NEVER });
	uint64_t now = 1000;

	(void)state;
	run(p, 1, &now);
	assert_false(proof_result(p, now, &r)); /* one listing says nothing */
	run(p, 5, &now);
	assert_true(proof_result(p, now, &r));
	assert_int_equal(r.unknown, 0);
	assert_int_equal(r.via[OTHER], 2); /* the hidden one too is reached through the other owner */
	assert_int_equal(r.via[SELF], 1);
	proof_free(p);
}

/* The control: what comes later than both was born under this table, and is ours without being asked. */
static void a_socket_born_later_is_ours(void **state)
{
	static struct proof_result r;
	struct proof *p = begin((const unsigned[]){ 1, 1, 3, NEVER });
	uint64_t now = 1000;

	(void)state;
	run(p, 6, &now);
	assert_true(proof_result(p, now, &r));
	assert_int_equal(r.unknown, 0);
	assert_int_equal(r.via[OTHER], 1);
	assert_int_equal(r.via[SELF], 2);
	proof_free(p);
}

/* Nobody is heard: everybody is unknown, asked again and again, and nothing is claimed. */
static void who_is_not_heard_is_unknown(void **state)
{
	static struct proof_result r;
	struct proof *p = begin((const unsigned[]){ 1, 1, 2, NEVER });
	uint64_t now = 1000;

	(void)state;
	kernel.blind = true;
	run(p, 30, &now);
	assert_true(proof_result(p, now, &r));
	assert_int_equal(r.unknown, 3);
	assert_int_equal(r.via[OTHER], 0);
	assert_true(kernel.probes >= 6);
	kernel.blind = false;
	run(p, 3, &now);
	assert_true(proof_result(p, now, &r));
	assert_int_equal(r.unknown, 0);
	assert_int_equal(r.via[OTHER], 2);
	proof_free(p);
}

/* A probe that meets the end of a connection is answered with a reset: where an answer is due, it waits for it, but not for ever. */
static void who_owes_an_answer_is_asked_later(void **state)
{
	const struct {
		uint8_t flags;
		uint32_t idle_ms;
		bool asked;
	} of[] = { { 0, 200, false }, { 0, 400, true }, { TCP_ITER_OWES, 400, false }, { TCP_ITER_OWES, 1900, false }, { TCP_ITER_OWES, 2100, true } };

	(void)state;
	for (size_t i = 0; i < sizeof(of) / sizeof(of[0]); i++) {
		struct proof *p = begin((const unsigned[]){ 1, 1, 1, NEVER });
		uint64_t now = 1000;

		kernel.blind = true;
		kernel.flags = of[i].flags;
		kernel.idle_ms = of[i].idle_ms;
		run(p, 30, &now);
		assert_int_equal(kernel.probes > 0, of[i].asked);
		proof_free(p);
	}
}

/* A socket that has spoken or ended since it was listed is not probed then; the next list may show it idle again. */
static void who_has_changed_is_asked_later(void **state)
{
	static struct proof_result r;
	struct proof *p = begin((const unsigned[]){ 1, 1, 2, NEVER });
	uint64_t now = 1000;

	(void)state;
	kernel.blind = kernel.changed = true;
	run(p, 30, &now);
	assert_true(kernel.asked > 0);
	assert_int_equal(kernel.probes, 0);
	assert_int_equal(proof_stats(p)->probes, 0);
	assert_int_equal(proof_stats(p)->probe_errors, 0);
	assert_true(proof_result(p, now, &r));
	assert_int_equal(r.unknown, 3);
	kernel.changed = false;
	run(p, 3, &now);
	assert_true(kernel.probes > 0);
	proof_free(p);
}

/* A listing that fails is none: two must have succeeded. */
static void a_listing_that_fails_does_not_count(void **state)
{
	static struct proof_result r;
	struct proof *p = begin((const unsigned[]){ 1, 1, 4, NEVER });
	uint64_t now = 1000;

	(void)state;
	kernel.list_error = -5;
	run(p, 3, &now);
	assert_false(proof_result(p, now, &r));
	kernel.list_error = 0;
	run(p, 5, &now);
	assert_true(proof_result(p, now, &r));
	assert_int_equal(r.via[OTHER], 2); /* the third of them was there in the first listing that succeeded */
	assert_int_equal(proof_stats(p)->errors, 3);
	proof_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_socket_hides_from_the_first_listing),
		cmocka_unit_test(a_socket_born_later_is_ours),
		cmocka_unit_test(who_is_not_heard_is_unknown),
		cmocka_unit_test(who_owes_an_answer_is_asked_later),
		cmocka_unit_test(who_has_changed_is_asked_later),
		cmocka_unit_test(a_listing_that_fails_does_not_count),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
