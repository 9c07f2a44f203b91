/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The flow hash: known values (a change of them is a change of every switch's buckets), avalanche
 * over every input bit, and balance at 4,096 buckets no worse than random numbers would give.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lb/flow.h"

static uint64_t random_state = 0x853c49e6748fea9bull;

static uint64_t random_word(void) /* splitmix64: independent of what is tested */
{
	uint64_t z = random_state += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

static struct flow random_flow(uint8_t family)
{
	struct flow f = { .family = family, .protocol = 6 };
	int i;

	for (i = 0; i < (family == FLOW_V6 ? 4 : 1); i++) {
		f.saddr[i] = (uint32_t)random_word();
		f.daddr[i] = (uint32_t)random_word();
	}
	f.sport = (uint16_t)random_word();
	f.dport = (uint16_t)random_word();
	return f;
}

/* 198.51.100.7:40000 -> 203.0.113.80:443 */
static void known_values(void **state)
{
	static const uint8_t saddr[4] = { 198, 51, 100, 7 }, daddr[4] = { 203, 0, 113, 80 };
	static const uint8_t ports[4] = { 0x9c, 0x40, 0x01, 0xbb };
	struct flow f = { .family = FLOW_V4, .protocol = 6 };

	(void)state;
	memcpy(f.saddr, saddr, 4);
	memcpy(f.daddr, daddr, 4);
	memcpy(&f.sport, ports, 2);
	memcpy(&f.dport, ports + 2, 2);
	assert_int_equal(flow_hash(&f, 0), 0x475ccc9d);
	assert_int_equal(flow_hash(&f, 0x1badcafe), 0x3768515);
	f.family = FLOW_V6;
	assert_int_equal(flow_hash(&f, 0x1badcafe), 0xb62a4072);
}

/* Each input bit, flipped, changes each output bit in half of the cases. */
static void avalanche_of(uint8_t family)
{
	enum { ROUNDS = 4096, BITS = (int)offsetof(struct flow, family) * 8 };
	static uint32_t changed[BITS][32];
	int bit, out, i;

	memset(changed, 0, sizeof(changed));
	for (i = 0; i < ROUNDS; i++) {
		struct flow f = random_flow(family);
		uint32_t h = flow_hash(&f, 42);

		for (bit = 0; bit < BITS; bit++) {
			struct flow g = f;
			uint32_t d;

			((uint8_t *)&g)[bit / 8] ^= (uint8_t)(1u << bit % 8);
			d = h ^ flow_hash(&g, 42);
			for (out = 0; out < 32; out++)
				changed[bit][out] += d >> out & 1;
		}
	}
	for (bit = 0; bit < BITS; bit++) {
		int word = bit / 32, used = family == FLOW_V6 || word == 0 || word == 4 || word == 8;

		for (out = 0; out < 32; out++) {
			double share = (double)changed[bit][out] / ROUNDS;

			if (!used)
				assert_int_equal(changed[bit][out], 0);
			else if (share < 0.45 || share > 0.55) /* 6 sigma of a fair coin */
				fail_msg("v%d: bit %d changes bit %d in %.3f of cases", family, bit, out, share);
		}
	}
}

static void avalanche(void **state)
{
	(void)state;
	avalanche_of(FLOW_V4);
	avalanche_of(FLOW_V6);
}

static double max_over_avg(const uint32_t *count, uint32_t n, uint32_t total)
{
	uint32_t max = 0, i;

	for (i = 0; i < n; i++)
		max = count[i] > max ? count[i] : max;
	return (double)max * n / total;
}

/*
 * Few bits vary in real traffic: clients of one prefix, consecutive ports, one VIP.  Such flows must
 * spread like random numbers: for 10^6 flows over 4,096 buckets the maximum of independent uniform
 * choices is near 1.23 times the average and beyond 1.32 in fewer than one run of 10^5.
 */
static void balance_like_random(void **state)
{
	static const uint32_t buckets[] = { 256, 1024, 4096 };
	static const double limit[] = { 1.08, 1.16, 1.32 };
	enum { FLOWS = 1000000 };
	uint32_t *count = calloc(4096, sizeof(*count));
	int shape, b, i;

	(void)state;
	assert_non_null(count);
	for (shape = 0; shape < 4; shape++) {
		for (b = 0; b < 3; b++) {
			double spread;

			memset(count, 0, 4096 * sizeof(*count));
			for (i = 0; i < FLOWS; i++) {
				struct flow f = random_flow(shape == 3 ? FLOW_V6 : FLOW_V4);

				if (shape < 2) { /* 1,000 neighbours, 1,000 ports in a row (or every second one) */
					f.saddr[0] = lb_be32(0xc6336400u + (uint32_t)(i / 1000));
					f.daddr[0] = lb_be32(0xcb007150u);
					f.sport = lb_be16(32768 + (i % 1000) * (shape + 1));
					f.dport = lb_be16(443);
				}
				if (shape == 3) { /* /64s in a row with equal interface ids */
					f.saddr[0] = lb_be32(0x20010db8u);
					f.saddr[1] = lb_be32((uint32_t)i);
					f.saddr[2] = f.saddr[3] = f.daddr[1] = 0;
					f.sport = lb_be16(40000);
				}
				count[flow_bucket(&f, 0x1badcafe, buckets[b])]++;
			}
			spread = max_over_avg(count, buckets[b], FLOWS);
			if (spread > limit[b])
				fail_msg("shape %d, %u buckets: max/avg %.3f", shape, buckets[b], spread);
		}
	}
	free(count);
}

static void seed_matters(void **state)
{
	int same = 0, i;

	(void)state;
	for (i = 0; i < 10000; i++) {
		struct flow f = random_flow(FLOW_V4);

		same += flow_bucket(&f, 1, 256) == flow_bucket(&f, 2, 256);
	}
	assert_in_range(same, 10, 90); /* 39 expected */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_values),
		cmocka_unit_test(avalanche),
		cmocka_unit_test(balance_like_random),
		cmocka_unit_test(seed_matters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
