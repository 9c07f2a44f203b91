/* SPDX-License-Identifier: BSD-2-Clause */
/* The decoder of exported connections: what it takes is, written again, the same bytes. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "l7/tcp/tcp_move.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tcp_move m;
	uint8_t *again;

	if (tcp_move_get(data, size, &m))
		return 0;
	assert(tcp_move_len(&m) == size);
	again = malloc(size);
	assert(again);
	tcp_move_put(&m, again);
	assert(!memcmp(again, data, size));
	free(again);
	tcp_move_free(&m);
	return 0;
}
