/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * For each key the order in which backends are asked: weighted rendezvous hashing (Thaler and Ravishankar; weights as
 * -w / ln u) of backends' identities over a fixed number of slots, computed once.  It depends on the configuration
 * alone, so every front end has the same; health only passes over entries.  Removing a backend leaves the order of
 * the others as it is: exactly its own keys move, and spread by weight.
 */
#ifndef L7_POOL_RANK_H
#define L7_POOL_RANK_H

#include <stdint.h>

#include "l7/conf.h"

#define RANK_SLOTS 4096 /* share of a backend among n: within about sqrt(n / 4096), so 3 % for 4 */

struct rank {
	uint8_t n;
	uint8_t order[]; /* [RANK_SLOTS][n] */
};

struct rank *rank_new(const struct backend_conf *backend, uint32_t n); /* free() it; NULL: no memory */

static inline const uint8_t *rank_of(const struct rank *r, uint64_t hash)
{
	return r->order + (size_t)(hash >> 52) * r->n;
}
_Static_assert(RANK_SLOTS == 1 << (64 - 52), "the top bits of a hash name its slot");

#endif
