/* SPDX-License-Identifier: BSD-2-Clause */
/* Whose buckets are right: each rule of control/reference.h, and what must never happen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "bgp/announce.h"
#include "control/reference.h"

#define A 0xaaaau
#define B 0xbbbbu
#define C 0xccccu

#define decide(now, ...) \
	reference_decide(now, (struct bucket_claim[]){ __VA_ARGS__ }, \
			 sizeof((struct bucket_claim[]){ __VA_ARGS__ }) / sizeof(struct bucket_claim))

static void test_the_first(void **state)
{
	(void)state;
	assert_int_equal(reference_decide(0, NULL, 0), 0);
	assert_int_equal(decide(0, { 1, false, 0 }, { 2, false, 0 }), 0);
	assert_int_equal(decide(0, { 2, false, B }, { 1, false, A }), A);
	assert_int_equal(decide(0, { 1, false, 0 }, { 2, false, B }), B);
	assert_int_equal(decide(0, { 1, false, A }, { 2, true, B }, { 3, true, C }), B); /* who announces is right */
}

static void test_a_newcomer_changes_nothing(void **state)
{
	(void)state;
	assert_int_equal(decide(B, { 1, false, A }, { 2, true, B }), B);
	assert_int_equal(decide(B, { 1, true, A }, { 2, true, B }, { 3, true, A }), B); /* nor do many */
}

static void test_silence_is_no_consent(void **state)
{
	(void)state;
	/* Switch 2 may be the one that carries the traffic: its session is down since the controller started. */
	assert_int_equal(decide(B, { 1, false, A }, { 2, false, 0 }), B);
	/* Out of service or excused: not among the claims any more. */
	assert_int_equal(decide(B, { 1, false, A }), A);
	assert_int_equal(reference_decide(B, NULL, 0), B);
}

static void test_judge(void **state)
{
	(void)state;
	assert_int_equal(proof_judge(0, A), PROOF_PENDING);
	assert_int_equal(proof_judge(A, 0), PROOF_PENDING);
	assert_int_equal(proof_judge(A, A), PROOF_EQUAL);
	assert_int_equal(proof_judge(A, B), PROOF_DIFFERENT);
}

/* Over random claims: a POP in which somebody announced never goes dark by this decision alone, and what stands is kept. */
static void test_never_dark(void **state)
{
	(void)state;
	srand(7);
	for (int round = 0; round < 100000; round++) {
		struct bucket_claim c[5];
		size_t n = 1 + (size_t)rand() % 5, equal = 0, known = 0, before = 0, silent = 0;
		uint64_t now = (uint64_t)rand() % 4, next;

		for (size_t i = 0; i < n; i++) {
			c[i] = (struct bucket_claim){ (uint16_t)(i + 1), false, (uint64_t)rand() % 4 };
			c[i].announcing = c[i].buckets && c[i].buckets == now && rand() % 2;
			before += c[i].announcing;
			known += c[i].buckets != 0;
			silent += !c[i].buckets;
		}
		next = reference_decide(now, c, n);
		for (size_t i = 0; i < n; i++)
			equal += next && c[i].buckets == next;
		if (before)
			assert_int_equal(next, now);
		if (known && !(now && silent))
			assert_true(equal > 0);
		assert_int_equal(reference_decide(next, c, n), next); /* it rests */
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_first),
		cmocka_unit_test(test_a_newcomer_changes_nothing),
		cmocka_unit_test(test_silence_is_no_consent),
		cmocka_unit_test(test_judge),
		cmocka_unit_test(test_never_dark),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
