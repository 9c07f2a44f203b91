/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The MAC codecs: every triple of a small POP and every host id in every place survive the round
 * trip; every address that decodes is the one spelling of what it says; layouts stay as documented.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lb/verdict.h"

static void round_trip(const struct triple *t)
{
	struct triple u, s;
	uint8_t mac[6], again[6];

	vmac_encode(mac, t);
	assert_int_equal(mac[0] & 3, 2);	/* locally administered, unicast */
	assert_int_equal(mac[0] & 0x0f, 2);	/* IEEE 802c: AAI */
	memset(&u, 0xff, sizeof(u));
	assert_true(vmac_decode(mac, &u));
	assert_memory_equal(t, &u, sizeof(u));
	if (triple_len(t) < 2)
		return;
	s = triple_shift(t);
	assert_int_equal(triple_len(&s), triple_len(t) - 1);
	assert_false(triple_has(&s, t->host[0]));
	vmac_encode(again, &s);
	assert_true(vmac_decode(again, &u));
	assert_memory_equal(&s, &u, sizeof(u));
}

static void triples(void **state)
{
	uint16_t a, b, c;

	(void)state;
	for (a = 1; a <= 40; a++) {
		for (b = 0; b <= 40; b++) {
			const uint16_t most = b ? 40 : 0;

			for (c = 0; c <= most; c++) {
				struct triple t = { { a, b, c } };

				if (b != a && c != a && (!c || c != b))
					round_trip(&t);
			}
		}
	}
	for (a = HOST_ID_MIN; a <= HOST_ID_MAX; a++) {
		uint16_t x = a == HOST_ID_MAX ? 1 : HOST_ID_MAX, y = a == 2 ? 3 : 2;
		const struct triple t[] = { { { a } }, { { a, x } }, { { x, a } }, { { a, x, y } }, { { x, a, y } }, { { x, y, a } } };
		size_t i;

		for (i = 0; i < sizeof(t) / sizeof(t[0]); i++)
			if (t[i].host[0] != t[i].host[1] && t[i].host[1] != t[i].host[2] && t[i].host[0] != t[i].host[2])
				round_trip(&t[i]);
	}
}

/* All 12-bit parts from the edges and a small range: decoding is the inverse of encoding, or refuses. */
static void one_spelling(void **state)
{
	static const uint16_t edge[] = { 0, 1, 2, 3, 4, 0x0ff, 0x100, 0x101, 0xf0f, 0xffd, 0xffe, 0xfff };
	const size_t n = sizeof(edge) / sizeof(edge[0]);
	size_t i, accepted = 0;

	(void)state;
	for (i = 0; i < n * n * n; i++) {
		uint16_t a = edge[i % n], b = edge[i / n % n], c = edge[i / n / n];
		uint8_t mac[6], again[6];
		struct triple t;

		mac_put(mac, MAC_KIND_VMAC, a, b, c);
		if (!vmac_decode(mac, &t))
			continue;
		accepted++;
		vmac_encode(again, &t);
		assert_memory_equal(mac, again, 6);
		assert_true(host_id_valid(t.host[0]));
	}
	assert_int_equal(accepted, 10 + 10 * 9 + 10 * 9 * 8); /* lists of 1 to 3 distinct ids out of 10 valid */
}

static void foreign_addresses(void **state)
{
	static const uint8_t mac[][6] = {
		{ 0, 0, 0, 0, 0, 0 },
		{ 0xff, 0xff, 0xff, 0xff, 0xff, 0xff },
		{ 0x01, 0x00, 0x5e, 0, 0, 1 },
		{ 0x33, 0x33, 0, 0, 0, 1 },
		{ 0x42, 0x20, 0x01, 0x00, 0x10, 0x01 }, /* another layout version */
		{ 0x43, 0x10, 0x01, 0x00, 0x10, 0x01 }, /* multicast */
		{ 0x42, 0x10, 0x01, 0x00, 0x20, 0x01 }, /* [1,2,1] */
		{ 0x42, 0x10, 0x01, 0x00, 0x10, 0x02 }, /* [1,1,2] */
	};
	struct triple t;
	struct detour d;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(mac) / sizeof(mac[0]); i++) {
		assert_false(vmac_decode(mac[i], &t));
		assert_false(detour_decode(mac[i], &d));
	}
}

static void detours(void **state)
{
	uint16_t sender, first;
	uint8_t reason, budget, mac[6];

	(void)state;
	for (sender = 1; sender <= HOST_ID_MAX; sender += 31) {
		for (first = 1; first <= HOST_ID_MAX; first += 37) {
			for (reason = 0; reason < 16; reason++) {
				for (budget = 0; budget < 16; budget++) {
					struct detour d = { sender, first, reason, budget }, e;
					struct triple t;

					detour_encode(mac, &d);
					assert_int_equal(mac[0] & 0x0f, 2);
					assert_false(vmac_decode(mac, &t));
					assert_int_equal(detour_decode(mac, &e), budget < DETOUR_BUDGET_MAX);
					if (budget < DETOUR_BUDGET_MAX) {
						assert_int_equal(e.sender, sender);
						assert_int_equal(e.first, first);
						assert_int_equal(e.reason, reason);
						assert_int_equal(e.budget, budget);
					}
				}
			}
		}
	}
	mac[5] |= 1; /* the reserved nibble must be 0 */
	assert_false(detour_decode(mac, &(struct detour){ 0 }));
}

/* The bytes on the wire, as docs/formats has them. */
static void layout(void **state)
{
	static const uint8_t vmac[6] = { 0x42, 0x11, 0x23, 0x45, 0x67, 0x89 };
	static const uint8_t detour[6] = { 0x52, 0x11, 0x23, 0x45, 0x67, 0x20 };
	static const uint8_t router[6] = { 0x62, 0x10, 0x00, 0x00, 0x00, 0x07 };
	const struct triple t = { { 0x123, 0x456, 0x789 } };
	const struct detour d = { 0x123, 0x456, 7, 2 };
	uint8_t mac[6];

	(void)state;
	vmac_encode(mac, &t);
	assert_memory_equal(mac, vmac, 6);
	detour_encode(mac, &d);
	assert_memory_equal(mac, detour, 6);
	router_mac(mac, 7);
	assert_memory_equal(mac, router, 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(triples),	     cmocka_unit_test(one_spelling), cmocka_unit_test(foreign_addresses),
		cmocka_unit_test(detours), cmocka_unit_test(layout),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
