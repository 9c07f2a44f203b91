/* SPDX-License-Identifier: BSD-2-Clause */
/* Any address: what decodes must encode to the same bytes, as one kind only, and a shift stays valid. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "lb/vmac.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t mac[6];
	struct triple t, u;
	struct detour d;
	int kinds = 0;

	if (size < 6)
		return 0;
	if (vmac_decode(data, &t)) {
		kinds++;
		vmac_encode(mac, &t);
		assert(!memcmp(mac, data, 6));
		assert(t.host[0] != t.host[1] && t.host[0] != t.host[2]);
		assert(!t.host[1] || t.host[1] != t.host[2]);
		assert(t.host[1] || !t.host[2]);
		u = triple_shift(&t);
		if (triple_len(&u)) {
			vmac_encode(mac, &u);
			assert(vmac_decode(mac, &t) && !memcmp(&t, &u, sizeof(t)));
		}
	}
	if (detour_decode(data, &d)) {
		kinds++;
		detour_encode(mac, &d);
		assert(!memcmp(mac, data, 6));
		assert(d.budget < DETOUR_BUDGET_MAX);
	}
	assert(kinds <= 1);
	return 0;
}
