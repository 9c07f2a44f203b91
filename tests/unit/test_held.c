// SPDX-License-Identifier: BSD-2-Clause
/* Packets that wait: in order, and bounded in number, bytes, flows and age. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "l7/row/held.h"

static uint8_t frame[65536];
static uint32_t next_expected, n_seen;

static struct flow flow_of(uint32_t i)
{
	struct flow f = { .family = FLOW_V4, .protocol = 6, .sport = (__be16)i, .saddr = { i >> 16 } };

	return f;
}

static bool add(struct held *h, uint32_t flow, uint32_t number, uint32_t len, uint64_t now)
{
	struct flow f = flow_of(flow);

	memcpy(frame, &number, sizeof(number));
	return held_add(h, &f, frame, len, number, 0, now);
}

static void in_order(void *ctx, uint8_t *p, uint32_t len)
{
	uint32_t number;

	(void)len;
	memcpy(&number, p, sizeof(number));
	assert_int_equal(number, next_expected);
	next_expected += *(uint32_t *)ctx;
	n_seen++;
}

static void expect_release(struct held *h, uint32_t flow, uint32_t first, uint32_t step, uint32_t n)
{
	struct flow f = flow_of(flow);

	next_expected = first;
	n_seen = 0;
	held_release(h, &f, in_order, &step);
	assert_int_equal(n_seen, n);
}

static void order(void **state)
{
	struct held *h = held_new();
	uint32_t i;

	(void)state;
	for (i = 0; i < 200; i++)
		assert_true(add(h, i % 2, i, 100, 1));
	assert_int_equal(held_counts(h)->packets, 200);
	assert_int_equal(held_counts(h)->bytes, 20000);
	assert_int_equal(held_counts(h)->flows, 2);
	expect_release(h, 1, 1, 2, 100);
	expect_release(h, 1, 0, 0, 0); /* once */
	expect_release(h, 0, 0, 2, 100);
	assert_int_equal(held_counts(h)->packets + held_counts(h)->bytes + held_counts(h)->flows + held_counts(h)->dropped, 0);
	held_free(h);
}

/* Beyond a bound the newest goes: what is released is the beginning of what was sent. */
static void bound_of_a_flow(void **state)
{
	struct held *h = held_new();
	uint32_t i, n = HELD_FLOW_BYTES_MAX / 60000;

	(void)state;
	for (i = 0; i < HELD_FLOW_PACKETS_MAX + 44; i++)
		assert_int_equal(add(h, 1, i, 60, 1), i < HELD_FLOW_PACKETS_MAX);
	assert_int_equal(held_counts(h)->dropped, 44);
	assert_true(add(h, 2, 0, 60, 1)); /* control: another flow's are welcome */
	expect_release(h, 1, 0, 1, HELD_FLOW_PACKETS_MAX);
	for (i = 0; i < n + 3; i++)
		assert_int_equal(add(h, 3, i, 60000, 1), i < n);
	expect_release(h, 3, 0, 1, n);
	assert_int_equal(held_counts(h)->dropped, 47);
	held_free(h);
}

static void bound_of_the_host(void **state)
{
	struct held *h = held_new();
	uint32_t i, n = HELD_HOST_BYTES_MAX / 60000;

	(void)state;
	for (i = 0; i < n + 10; i++)
		assert_int_equal(add(h, i / 8, i, 60000, 1), i < n);
	assert_int_equal(held_counts(h)->dropped, 10);
	assert_true(held_counts(h)->bytes <= HELD_HOST_BYTES_MAX);
	expect_release(h, 0, 0, 1, 8);
	assert_true(add(h, 100000, 0, 60000, 1)); /* room again */
	held_free(h);
	h = held_new();
	for (i = 0; i < HELD_HOST_FLOWS_MAX + 5; i++)
		assert_int_equal(add(h, i, i, 60, 1), i < HELD_HOST_FLOWS_MAX);
	assert_int_equal(held_counts(h)->flows, HELD_HOST_FLOWS_MAX);
	held_free(h);
}

static void age(void **state)
{
	struct held *h = held_new();
	uint32_t i;

	(void)state;
	for (i = 0; i < 10; i++)
		assert_true(add(h, 1, i, 100, 1000 + 100 * i));
	assert_true(add(h, 2, 0, 100, 1000));
	held_age(h, 1000 + HELD_AGE_MAX_MS); /* control: the oldest is just in time */
	assert_int_equal(held_counts(h)->packets, 11);
	held_age(h, 1000 + HELD_AGE_MAX_MS + 450);
	assert_int_equal(held_counts(h)->flows, 1);
	assert_int_equal(held_counts(h)->dropped, 6);
	expect_release(h, 1, 5, 1, 5);
	held_free(h);
}

static void drop(void **state)
{
	struct flow f = flow_of(1);
	struct held *h = held_new();

	(void)state;
	assert_true(add(h, 1, 1, 100, 1));
	assert_true(add(h, 2, 1, 100, 1));
	held_drop(h, &f);
	held_drop(h, &f);
	assert_int_equal(held_counts(h)->dropped, 1);
	expect_release(h, 1, 0, 0, 0);
	expect_release(h, 2, 1, 0, 1);
	held_free(h);
}

/* A client that waits long sends its FIN again; what only looks like it is kept: an ACK, a longer one, one of another flow. */
static void again(void **state)
{
	struct flow f = flow_of(1), g = flow_of(2);
	struct held *h = held_new();

	(void)state;
	assert_true(held_add(h, &f, frame, 60, 1000, 24, 1));
	assert_true(held_add(h, &f, frame, 60, 1024, 1, 1));
	assert_false(held_add(h, &f, frame, 60, 1024, 1, 300));
	assert_false(held_add(h, &f, frame, 60, 1000, 24, 300));
	assert_int_equal(held_counts(h)->again, 2);
	assert_true(held_add(h, &f, frame, 60, 1000, 25, 300));
	assert_true(held_add(h, &f, frame, 60, 1000, 0, 300));
	assert_true(held_add(h, &f, frame, 60, 1000, 0, 300));
	assert_true(held_add(h, &g, frame, 60, 1024, 1, 300));
	assert_int_equal(held_counts(h)->packets, 6);
	held_drop(h, &f);
	assert_true(held_add(h, &f, frame, 60, 1024, 1, 400)); /* nothing waits any more */
	held_free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(order), cmocka_unit_test(bound_of_a_flow),
					    cmocka_unit_test(bound_of_the_host), cmocka_unit_test(age), cmocka_unit_test(drop),
					    cmocka_unit_test(again) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
