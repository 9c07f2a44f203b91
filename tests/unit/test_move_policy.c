/* SPDX-License-Identifier: BSD-2-Clause */
/* `mode: auto`: each reason, each threshold on both sides, and what is learned in bounded memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "l7/handoff/move_policy.h"
#include "l7/handoff/move_wire.h"

static struct move_question movable(void)
{
	return (struct move_question){.protocol_moves = true, .capable = true, .session = true, .way = true, .settled = true,
				      .socket_moves = true, .now_ms = 1000, .size = 10 << 20, .stay = 1};
}

static void assert_decides(struct move_question q, enum move_mode mode, enum move_reason reason)
{
	struct move_decision d = move_decide(&q);

	assert_string_equal(move_reason_name(d.reason), move_reason_name(reason));
	assert_int_equal(d.mode, mode);
}

#define DECIDES(change, mode, reason)                                                                                          \
	do {                                                                                                                   \
		struct move_question q = movable();                                                                            \
		change;                                                                                                        \
		assert_decides(q, mode, reason);                                                                               \
	} while (0)

static void test_reasons(void **state)
{
	(void)state;
	DECIDES((void)0, MODE_HANDOFF, REASON_LARGE);
	DECIDES(q.route_mode = ROUTE_PROXY, MODE_PROXY, REASON_CONFIGURED);
	DECIDES(q.protocol_moves = false, MODE_PROXY, REASON_PROTOCOL);
	DECIDES(q.upload = true, MODE_PROXY, REASON_UPLOAD);
	DECIDES(q.capable = false, MODE_PROXY, REASON_NOT_CAPABLE);
	DECIDES(q.session = false, MODE_PROXY, REASON_NO_SESSION);
	DECIDES(q.way = false, MODE_PROXY, REASON_NO_ROUTE);
	DECIDES(q.backoff_until_ms = 1001, MODE_PROXY, REASON_BACKOFF);
	DECIDES(q.backoff_until_ms = 1000, MODE_HANDOFF, REASON_LARGE);
	DECIDES(q.settled = false, MODE_PROXY, REASON_UNCONFIRMED);
	DECIDES(q.socket_moves = false, MODE_PROXY, REASON_SOCKET);
	DECIDES(q.size = 0, MODE_PROXY, REASON_UNKNOWN_SIZE);
	/* Where its answer is, it stays, whatever else. */
	DECIDES((q.here = true, q.session = false), MODE_HERE, REASON_STAYS);
	/* The descriptor is passed, however small the answer; but not what cannot be moved. */
	DECIDES((q.same_host = true, q.size = 0), MODE_HANDOFF, REASON_SAME_HOST);
	DECIDES((q.same_host = true, q.upload = true), MODE_PROXY, REASON_UPLOAD);
	DECIDES((q.route_mode = ROUTE_HANDOFF, q.size = 1), MODE_HANDOFF, REASON_FORCED);
	DECIDES((q.route_mode = ROUTE_HANDOFF, q.session = false), MODE_PROXY, REASON_NO_SESSION);
}

static void test_thresholds(void **state)
{
	(void)state;
	DECIDES(q.size = MOVE_PAYS_PLAIN - 1, MODE_PROXY, REASON_SMALL);
	DECIDES(q.size = MOVE_PAYS_PLAIN, MODE_HANDOFF, REASON_LARGE);
	DECIDES((q.tls = true, q.size = MOVE_PAYS_TLS - 1), MODE_PROXY, REASON_SMALL);
	DECIDES((q.tls = true, q.size = MOVE_PAYS_TLS), MODE_HANDOFF, REASON_LARGE);
	/* A connection that stays: however small its answers, from so many requests on. */
	DECIDES((q.stay = MOVE_PAYS_PLAIN / MOVE_REQUEST + 1, q.size = 1), MODE_HANDOFF, REASON_AFFINITY);
	DECIDES((q.stay = MOVE_PAYS_PLAIN / MOVE_REQUEST, q.size = 1), MODE_PROXY, REASON_SMALL);
	DECIDES((q.stay = 4, q.size = (MOVE_PAYS_PLAIN + MOVE_REQUEST) / 4 - MOVE_REQUEST), MODE_HANDOFF, REASON_AFFINITY);
	DECIDES((q.stay = 4, q.size = (MOVE_PAYS_PLAIN + MOVE_REQUEST) / 4 - MOVE_REQUEST - 1), MODE_PROXY, REASON_SMALL);
	DECIDES((q.stay = 0, q.size = UINT64_MAX), MODE_HANDOFF, REASON_LARGE);
	/* The budget: two moves, and one for each size that pays. */
	DECIDES(q.moves = MOVE_FREE - 1, MODE_HANDOFF, REASON_LARGE);
	DECIDES(q.moves = MOVE_FREE, MODE_PROXY, REASON_BUDGET);
	DECIDES((q.moves = MOVE_FREE, q.octets = MOVE_PAYS_PLAIN), MODE_HANDOFF, REASON_LARGE);
	DECIDES((q.moves = MOVE_FREE + 1, q.octets = MOVE_PAYS_PLAIN), MODE_PROXY, REASON_BUDGET);
}

/* A client that alternates between two backends' small objects, and one whose objects are large. */
static unsigned moves_of(uint64_t size, unsigned requests, bool learned)
{
	struct move_sizes *s = move_sizes_new(1, 64);
	struct move_question q = movable();

	for (unsigned i = 0; i < 64 && learned; i++)
		move_sizes_followed(s, 0, true); /* what everybody else does */
	for (unsigned i = 0; i < requests; i++) {
		q.size = size;
		q.stay = move_sizes_stay(s, 0);
		if (move_decide(&q).mode == MODE_HANDOFF)
			q.moves++;
		q.octets += size;
		move_sizes_followed(s, 0, false);
	}
	move_sizes_free(s);
	return q.moves;
}

static void test_alternating(void **state)
{
	(void)state;
	assert_int_equal(moves_of(4096, 1000, false), 0);
	assert_true(moves_of(100 << 10, 1000, true) <= MOVE_FREE + 1000 * (100 << 10) / MOVE_PAYS_PLAIN);
	assert_true(moves_of(64 << 10, 50, true) < 10);
	assert_true(moves_of(1 << 20, 1000, false) > 990);
}

static void learn(struct move_sizes *s, uint32_t route, uint64_t object, uint64_t octets)
{
	move_sizes_object(s, object, octets);
	move_sizes_answer(s, route, octets);
}

static void test_sizes(void **state)
{
	struct move_sizes *s = move_sizes_new(2, 64);

	(void)state;
	assert_int_equal(move_sizes_expect(s, 0, 5), 0);
	learn(s, 0, 5, 70000);
	assert_int_equal(move_sizes_expect(s, 0, 5), 70000);
	assert_int_equal(move_sizes_expect(s, 0, 6), 0); /* one answer says nothing of a route */
	for (unsigned i = 0; i < 10; i++)
		learn(s, 0, 1000 + i, 70000);
	assert_int_equal(move_sizes_expect(s, 0, 6), 70000);
	assert_int_equal(move_sizes_expect(s, 1, 6), 0);
	learn(s, 0, 5, 10);
	assert_int_equal(move_sizes_expect(s, 0, 5), 10);
	assert_in_range(move_sizes_expect(s, 0, 6), 60000, 70000);
	learn(s, 0, 7, 0); /* an empty answer is known to be small */
	assert_int_equal(move_sizes_expect(s, 0, 7), 1);
	move_sizes_object(s, 8, 1 << 20); /* what HEAD says of an object is no answer of the route */
	assert_int_equal(move_sizes_expect(s, 0, 8), 1 << 20);
	assert_in_range(move_sizes_expect(s, 0, 6), 50000, 70000);
	/* A million objects: the memory stays, the latest are known. */
	for (uint64_t i = 1; i <= 1000000; i++)
		learn(s, 1, i, i);
	for (uint64_t i = 1000000 - 63; i <= 1000000; i++)
		assert_int_equal(move_sizes_expect(s, 1, i), i);
	assert_true(move_sizes_expect(s, 1, 1) > 900000); /* forgotten: the route's mean */
	move_sizes_free(s);
}

static void test_stay(void **state)
{
	struct move_sizes *s = move_sizes_new(1, 4);

	(void)state;
	assert_int_equal(move_sizes_stay(s, 0), 1);
	for (unsigned i = 0; i < 1000; i++)
		move_sizes_followed(s, 0, i % 2);
	assert_in_range(move_sizes_stay(s, 0), 1, 2);
	for (unsigned i = 0; i < 1000; i++)
		move_sizes_followed(s, 0, true);
	assert_int_equal(move_sizes_stay(s, 0), MOVE_STAY_MAX);
	for (unsigned i = 0; i < 1000; i++)
		move_sizes_followed(s, 0, false);
	assert_int_equal(move_sizes_stay(s, 0), 1);
	move_sizes_free(s);
}

static void test_refusals(void **state)
{
	struct move_backoff b = {0};
	struct move_load l = {.lag_max_ms = 20, .connections_max = 10, .importing_max = 4, .octets_max = 1000};
	uint64_t now = 1000;

	(void)state;
	move_refused(&b, now);
	assert_int_equal(b.until_ms, now + MOVE_BACKOFF_MIN_MS);
	for (unsigned i = 0; i < 1000; i++)
		move_refused(&b, now); /* a storm counts once */
	assert_int_equal(b.until_ms, now + MOVE_BACKOFF_MIN_MS);
	for (unsigned i = 0; i < 20; i++) {
		now = b.until_ms;
		move_refused(&b, now);
	}
	assert_int_equal(b.until_ms, now + MOVE_BACKOFF_MAX_MS);
	move_accepted(&b);
	assert_int_equal(b.until_ms, 0);

	assert_int_equal(move_willing(&l), 0);
	l.draining = true;
	assert_int_equal(move_willing(&l), REFUSE_DRAINING);
	l.draining = false;
	l.lag_ms = 20;
	assert_int_equal(move_willing(&l), 0);
	l.lag_ms = 21;
	assert_int_equal(move_willing(&l), REFUSE_BUSY);
	l.lag_ms = 0;
	l.connections = 10;
	assert_int_equal(move_willing(&l), REFUSE_BUSY);
	l.connections = 9;
	l.importing = 4;
	assert_int_equal(move_willing(&l), REFUSE_BUSY);
	l.importing = 0;
	l.octets = 1000;
	assert_int_equal(move_willing(&l), REFUSE_BUSY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reasons), cmocka_unit_test(test_thresholds), cmocka_unit_test(test_alternating),
		cmocka_unit_test(test_sizes),	cmocka_unit_test(test_stay),	   cmocka_unit_test(test_refusals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
