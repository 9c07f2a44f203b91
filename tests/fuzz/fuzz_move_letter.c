/* SPDX-License-Identifier: BSD-2-Clause */
/* The decoder of a move's letters: what it takes is written again octet by octet the same; what it points to is inside. */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "l7/handoff/move_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct move_letter l;
	uint8_t *again;
	int rc;

	if (size < 1)
		return 0;
	rc = move_letter_get(data[0], data + 1, size - 1, &l);
	assert(rc == 0 || rc == -EPROTO || rc == -EPROTONOSUPPORT);
	if (rc)
		return 0;
	for (unsigned i = 0; i < SECTIONS; i++) {
		if (l.section[i].n)
			assert(l.section[i].p > data && l.section[i].p + l.section[i].n <= data + size);
	}
	assert(move_letter_len(&l) == size - 1);
	again = malloc(size - 1);
	assert(again);
	move_letter_put(&l, again);
	assert(!memcmp(again, data + 1, size - 1));
	free(again);
	return 0;
}
