/* SPDX-License-Identifier: BSD-2-Clause */
/* The rules of reference.h. */
#include "control/reference.h"

uint64_t reference_decide(uint64_t now, const struct bucket_claim *claim, size_t n)
{
	const struct bucket_claim *best = NULL;

	for (size_t i = 0; i < n; i++) {
		const struct bucket_claim *c = &claim[i];

		if (now && (c->buckets == now || !c->buckets))
			return now;
		if (c->buckets && (!best || c->announcing > best->announcing ||
				   (c->announcing == best->announcing && c->id < best->id)))
			best = c;
	}
	return best ? best->buckets : now;
}
