/* SPDX-License-Identifier: BSD-2-Clause */
/* What an HTTP/2 client may do, and trailers: those that are passed on, and those that are not. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "l7/http/chunked.h"
#include "l7/http/h2_guard.h"
#include "l7/http/trailer.h"

enum { DATA, HEADERS, PING = 6, CONTINUATION = 9 };

static void pings_end_it(void **state)
{
	struct h2_guard g = { 0 };

	(void)state;
	for (unsigned i = 0; i < H2_NUISANCES_MAX; i++)
		assert_int_equal(h2_guard_frame(&g, PING, 20000), H2_FAIR);
	assert_int_equal(h2_guard_frame(&g, PING, 20000), H2_FLOOD);
	/* Over time they are fine. */
	g = (struct h2_guard){ 0 };
	for (unsigned i = 0; i < 20 * H2_NUISANCES_MAX; i++)
		assert_int_equal(h2_guard_frame(&g, PING, 20000 + i * H2_WINDOW_MS / (H2_NUISANCES_MAX - 1)), H2_FAIR);
}

static void bytes_pay(void **state)
{
	struct h2_guard g = { 0 };

	(void)state;
	for (unsigned i = 0; i < 100000; i++) {
		assert_int_equal(h2_guard_frame(&g, DATA, 20000), H2_FAIR);
		h2_guard_useful(&g);
	}
	/* Empty DATA has none. */
	for (unsigned i = 0; i < H2_NUISANCES_MAX; i++)
		assert_int_equal(h2_guard_frame(&g, DATA, 20000), H2_FAIR);
	assert_int_equal(h2_guard_frame(&g, DATA, 20000), H2_FLOOD);
}

static void resets_are_counted_by_time(void **state)
{
	struct h2_guard g = { 0 };

	(void)state;
	for (unsigned i = 0; i < H2_RESETS_MAX; i++) {
		h2_guard_useful(&g); /* requests do not pay for them */
		assert_int_equal(h2_guard_reset(&g, 20000), H2_FAIR);
	}
	assert_int_equal(h2_guard_reset(&g, 20000 + H2_WINDOW_MS - 1), H2_RESETS);
	assert_int_equal(h2_guard_reset(&g, 20000 + H2_WINDOW_MS), H2_FAIR);
}

static void heads_have_an_end(void **state)
{
	struct h2_guard g = { 0 };
	int too_long;

	(void)state;
	for (unsigned round = 0; round < 3; round++) {
		assert_int_equal(h2_guard_frame(&g, HEADERS, 0), H2_FAIR);
		for (unsigned i = 0; i < H2_CONTINUATIONS_MAX; i++)
			assert_int_equal(h2_guard_frame(&g, CONTINUATION, 0), H2_FAIR);
	}
	assert_int_equal(h2_guard_frame(&g, CONTINUATION, 0), H2_CONTINUATIONS);
	h2_guard_frame(&g, HEADERS, 0);
	assert_int_equal(h2_guard_field(&g, 1000 - H2_FIELD_COST, 1000, &too_long), H2_FAIR);
	assert_false(too_long);
	assert_int_equal(h2_guard_field(&g, 0, 1000, &too_long), H2_FAIR);
	assert_true(too_long);
	assert_int_equal(h2_guard_field(&g, 3000, 1000, &too_long), H2_LIST);
}

static void trailers(void **state)
{
	static const char good[] = "X-Sum: 1\r\nContent-Length: 5\r\nhost:b\r\nx-late:\t yes \r\nTrailer: x\r\nempty:\r\n";
	static const char *const bad[] = { "no colon\r\n", ": empty\r\n", "a b: c\r\n", "a: b\n", "a: b" };
	struct answer_field f[TRAILER_FIELDS_MAX];
	char many[TRAILER_FIELDS_MAX * 6 + 7], *at = many;

	(void)state;
	assert_int_equal(trailer_fields((const uint8_t *)good, sizeof(good) - 1, f), 3);
	assert_memory_equal(f[0].name, "X-Sum", 5);
	assert_int_equal(f[1].n_value, 3);
	assert_memory_equal(f[1].value, "yes", 3);
	assert_int_equal(f[2].n_value, 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(trailer_fields((const uint8_t *)bad[i], strlen(bad[i]), f), -EBADMSG);
	for (int i = 0; i <= TRAILER_FIELDS_MAX; i++, at += 6)
		memcpy(at, "a: b\r\n", 7);
	assert_int_equal(trailer_fields((const uint8_t *)many, (size_t)(at - many), f), -EBADMSG);
	assert_int_equal(trailer_fields((const uint8_t *)many, (size_t)(at - many) - 6, f), TRAILER_FIELDS_MAX);
	assert_false(trailer_passed("Set-Cookie", 10));
	assert_false(trailer_passed(":status", 7));
	assert_false(trailer_passed("Client-Cert", 11));
	assert_false(trailer_passed("client_cert_chain", 17));
	assert_true(trailer_passed("grpc-status", 11));
}

/* The same lines, however their bytes arrive. */
static void trailers_are_collected(void **state)
{
	static const char body[] = "3;x\r\nabc\r\n0\r\nA: 1\r\nB: 2\r\n\r\n";

	(void)state;
	for (size_t step = 1; step < sizeof(body); step++) {
		struct chunked c = { 0 };
		struct buffer t = { 0 };
		size_t at = 0, data;

		while (c.where != CHUNKED_DONE) {
			size_t n = sizeof(body) - 1 - at < step ? sizeof(body) - 1 - at : step;
			ptrdiff_t used = chunked_next_trailer(&c, (const uint8_t *)body + at, n, &data, &t);

			assert_true(used >= 0);
			at += (size_t)used;
			if (data)
				chunked_took(&c, data);
			at += data;
		}
		assert_int_equal(buffer_len(&t), 12);
		assert_memory_equal(buffer_head(&t), "A: 1\r\nB: 2\r\n", 12);
		buffer_free(&t);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pings_end_it), cmocka_unit_test(bytes_pay), cmocka_unit_test(resets_are_counted_by_time),
		cmocka_unit_test(heads_have_an_end), cmocka_unit_test(trailers), cmocka_unit_test(trailers_are_collected),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
