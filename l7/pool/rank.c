// SPDX-License-Identifier: BSD-2-Clause
/* The table of orders.  See rank.h. */
#include "l7/pool/rank.h"

#include <math.h>
#include <stdlib.h>

#include "l7/hash.h"

struct score {
	double value;
	uint8_t backend;
};

/* What a backend is, apart from its place in the list: its name must not depend on its neighbours. */
static uint64_t identity(const struct backend_conf *b)
{
	uint64_t h = hash_bytes(&b->address.v6, b->address.family == AF_INET6 ? 16 : 4, b->port);

	return b->address.family ? h : hash_mix(0x10000ull + b->host) ^ hash_mix(b->port);
}

static int better(const void *a, const void *b)
{
	const struct score *x = a, *y = b;

	if (x->value != y->value)
		return x->value > y->value ? -1 : 1;
	return (int)x->backend - (int)y->backend;
}

struct rank *rank_new(const struct backend_conf *backend, uint32_t n)
{
	struct rank *r = malloc(sizeof(*r) + (size_t)RANK_SLOTS * n);
	struct score score[256];
	uint64_t id[256];

	if (!r)
		return NULL;
	r->n = n;
	for (uint32_t b = 0; b < n; b++)
		id[b] = identity(&backend[b]);
	for (uint32_t slot = 0; slot < RANK_SLOTS; slot++) {
		for (uint32_t b = 0; b < n; b++) {
			double u = ((double)(hash_mix(id[b] ^ hash_mix(slot + 1)) >> 11) + 0.5) / 9007199254740992.0;

			score[b] = (struct score){ -(double)backend[b].weight / log(u), (uint8_t)b };
		}
		qsort(score, n, sizeof(score[0]), better);
		for (uint32_t i = 0; i < n; i++)
			r->order[(size_t)slot * n + i] = score[i].backend;
	}
	return r;
}
