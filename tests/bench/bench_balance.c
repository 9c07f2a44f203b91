// SPDX-License-Identifier: BSD-2-Clause
/*
 * How evenly flows fall into buckets: max/avg over 10^6 random flows, against the same number of draws
 * from a good generator (what perfect randomness gives at that number of buckets).
 */
#include <string.h>

#include "lb/flow.h"
#include "tests/bench/bench.h"

#define FLOWS 1000000
#define ROUNDS 9

static uint64_t state = 0x9e3779b97f4a7c15ull;

static uint64_t draw(void) /* splitmix64: the baseline, and the source of flows */
{
	uint64_t z = (state += 0x9e3779b97f4a7c15ull);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

static double worst(const uint32_t *count, uint32_t n)
{
	uint32_t i, max = 0;

	for (i = 0; i < n; i++)
		max = count[i] > max ? count[i] : max;
	return (double)max * n / FLOWS;
}

/* Clients as they are: few networks, ports in sequence, one VIP; not uniformly random words. */
static void random_flow(struct flow *f, uint32_t i, int family)
{
	uint64_t r = draw();

	memset(f, 0, sizeof(*f));
	f->family = (__u8)family;
	f->protocol = 6;
	f->saddr[0] = (__be32)lb_be32(0xc6336400 | (r & 0xff));
	f->daddr[0] = (__be32)lb_be32(0xcb007150);
	if (family == FLOW_V6) {
		f->saddr[3] = (__be32)(r >> 8);
		f->daddr[3] = (__be32)lb_be32(0x80);
	}
	f->sport = (__be16)lb_be16(32768 + i % 28232);
	f->dport = (__be16)lb_be16(443);
}

int main(void)
{
	static const uint32_t sizes[] = { 256, 1024, 4096 };
	static uint32_t count[4096];
	size_t k;

	for (k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
		struct samples ours = { 0 }, ideal = { 0 };
		char name[64];
		uint32_t i;
		int round;

		for (round = 0; round < ROUNDS; round++) {
			uint32_t seed = (uint32_t)draw();

			memset(count, 0, sizeof(count));
			for (i = 0; i < FLOWS; i++) {
				struct flow f;

				random_flow(&f, i, i & 1 ? FLOW_V4 : FLOW_V6);
				count[flow_bucket(&f, seed, sizes[k])]++;
			}
			samples_add(&ours, worst(count, sizes[k]));
			memset(count, 0, sizeof(count));
			for (i = 0; i < FLOWS; i++)
				count[draw() & (sizes[k] - 1)]++;
			samples_add(&ideal, worst(count, sizes[k]));
		}
		snprintf(name, sizeof(name), "balance, %u buckets", sizes[k]);
		bench_print(&(struct bench_row){ .name = name, .unit = "max/avg", .samples = &ours, .baseline = &ideal,
						 .bound = BOUND_RATIO, .target = 1.05 });
	}
	return 0;
}
