/* SPDX-License-Identifier: BSD-2-Clause */
/* The letters of a move: there and back, each limit on both sides, every cut, and versions to come. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "l7/handoff/move_wire.h"

static uint8_t bytes[MOVE_LETTER_MAX + 64], fill[MOVE_LETTER_MAX];

static struct move_letter letter(enum move_letter_type type)
{
	struct move_letter l = {.type = type, .ingress = 3, .e = 9, .cid = 0x1122334455667788};

	if (type == LETTER_OFFER || type == LETTER_STATUS) {
		l.to_inc = 77;
		l.serial = 5;
	} else if (type != LETTER_ACCEPT) {
		l.why = 1;
	}
	return l;
}

static struct move_bytes some(uint32_t n)
{
	return (struct move_bytes){.p = fill, .n = n};
}

static void assert_same(const struct move_letter *a, const struct move_letter *b)
{
	assert_true(a->type == b->type && a->why == b->why && a->ingress == b->ingress && a->e == b->e && a->cid == b->cid);
	assert_true(a->to_inc == b->to_inc && a->serial == b->serial);
	for (unsigned i = 0; i < SECTIONS; i++) {
		assert_int_equal(a->section[i].n, b->section[i].n);
		if (a->section[i].n)
			assert_memory_equal(a->section[i].p, b->section[i].p, a->section[i].n);
	}
}

static void test_round_trip(void **state)
{
	struct move_letter l, back;

	(void)state;
	for (size_t i = 0; i < sizeof(fill); i++)
		fill[i] = (uint8_t)(i * 7);
	for (enum move_letter_type t = LETTER_OFFER; t < LETTER_TYPES; t++) {
		l = letter(t);
		assert_int_equal(move_letter_len(&l), MOVE_HEAD_LEN);
		move_letter_put(&l, bytes);
		assert_int_equal(move_letter_get((uint16_t)t, bytes, MOVE_HEAD_LEN, &back), 0);
		assert_same(&l, &back);
		assert_int_equal(move_letter_get((uint16_t)t, bytes, MOVE_HEAD_LEN - 1, &back), -EPROTO);
		if (t != LETTER_OFFER)
			assert_int_equal(move_letter_get((uint16_t)t, bytes, MOVE_HEAD_LEN + 1, &back), -EPROTO);
	}
	/* Octets, once, so that a change is seen. */
	l = letter(LETTER_STATUS);
	move_letter_put(&l, bytes);
	assert_memory_equal(bytes, "\1\0\0\3\0\0\0\x09\x11\x22\x33\x44\x55\x66\x77\x88\0\0\0\0\0\0\0\x4d\0\0\0\0\0\0\0\5", 32);
}

static void test_sections(void **state)
{
	struct move_letter l = letter(LETTER_OFFER), back;
	size_t n;

	(void)state;
	for (unsigned i = 0; i < SECTIONS; i++)
		l.section[i] = some(i == SECTION_HISTORY ? 29 : 10 + i);
	n = move_letter_len(&l);
	move_letter_put(&l, bytes);
	assert_int_equal(move_letter_get(LETTER_OFFER, bytes, n, &back), 0);
	assert_same(&l, &back);
	/* Every cut is an error, but where a section ends. */
	for (size_t cut = MOVE_HEAD_LEN; cut < n; cut++) {
		size_t at = MOVE_HEAD_LEN;

		for (unsigned i = 0; i < SECTIONS && at < cut; i++)
			at += MOVE_SECTION_HEAD + l.section[i].n;
		assert_int_equal(move_letter_get(LETTER_OFFER, bytes, cut, &back), at == cut ? 0 : -EPROTO);
	}
	/* All of a section's room, and one more. */
	for (unsigned i = 0; i < SECTIONS; i++) {
		uint32_t max = move_section_max(i);

		l = letter(LETTER_OFFER);
		l.section[i] = some(max);
		n = move_letter_len(&l);
		assert_int_equal(n, MOVE_HEAD_LEN + MOVE_SECTION_HEAD + max);
		move_letter_put(&l, bytes);
		assert_int_equal(move_letter_get(LETTER_OFFER, bytes, n, &back), 0);
		l.section[i].n++;
		assert_int_equal(move_letter_len(&l), 0);
		bytes[MOVE_HEAD_LEN + 4 + 3]++;
		if (bytes[MOVE_HEAD_LEN + 4 + 3] == 0)
			bytes[MOVE_HEAD_LEN + 4 + 2]++;
		assert_int_equal(move_letter_get(LETTER_OFFER, bytes, n + 1, &back), -EPROTO);
	}
	/* All of them full are still one letter. */
	l = letter(LETTER_OFFER);
	for (unsigned i = 0; i < SECTIONS; i++)
		l.section[i] = some(move_section_max(i));
	assert_in_range(move_letter_len(&l), 1, MOVE_LETTER_MAX);
}

static void test_wrong(void **state)
{
	struct move_letter l = letter(LETTER_OFFER), back;
	size_t n;

	(void)state;
	l.section[SECTION_TCP] = some(4);
	l.section[SECTION_TLS] = some(4);
	n = move_letter_len(&l);
	move_letter_put(&l, bytes);
	/* Twice, or out of order. */
	bytes[MOVE_HEAD_LEN + 12 + 1] = SECTION_TCP;
	assert_int_equal(move_letter_get(LETTER_OFFER, bytes, n, &back), -EPROTO);
	bytes[MOVE_HEAD_LEN + 1] = SECTION_TLS;
	assert_int_equal(move_letter_get(LETTER_OFFER, bytes, n, &back), -EPROTO);
	/* Of a version to come: it can be refused by its name. */
	move_letter_put(&l, bytes);
	bytes[MOVE_HEAD_LEN + 12 + 1] = SECTIONS;
	assert_int_equal(move_letter_get(LETTER_OFFER, bytes, n, &back), -EPROTONOSUPPORT);
	assert_true(back.cid == l.cid && back.e == l.e && back.serial == l.serial && back.to_inc == l.to_inc);
	move_letter_put(&l, bytes);
	bytes[0] = 2;
	assert_int_equal(move_letter_get(LETTER_OFFER, bytes, n, &back), -EPROTONOSUPPORT);
	assert_true(back.cid == l.cid && back.e == l.e);
	/* Nobody's connection, move, ingress, incarnation, serial; reasons that are none. */
	for (unsigned at = 2; at < 32; at += at == 2 ? 2 : at == 4 ? 4 : 8) {
		unsigned len = at == 2 ? 2 : at == 4 ? 4 : 8;

		move_letter_put(&l, bytes);
		memset(bytes + at, 0, len);
		assert_int_equal(move_letter_get(LETTER_OFFER, bytes, n, &back), -EPROTO);
	}
	for (enum move_letter_type t = LETTER_OFFER; t < LETTER_TYPES; t++) {
		l = letter(t);
		l.why = REFUSE_REASONS;
		move_letter_put(&l, bytes);
		assert_int_equal(move_letter_get((uint16_t)t, bytes, MOVE_HEAD_LEN, &back), -EPROTO);
		l = letter(t);
		l.why = l.why ? 0 : 1;
		move_letter_put(&l, bytes);
		assert_int_equal(move_letter_get((uint16_t)t, bytes, MOVE_HEAD_LEN, &back), -EPROTO);
	}
	assert_int_equal(move_letter_get(0, bytes, MOVE_HEAD_LEN, &back), -EPROTO);
	assert_int_equal(move_letter_get(LETTER_TYPES, bytes, MOVE_HEAD_LEN, &back), -EPROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_sections),
		cmocka_unit_test(test_wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
