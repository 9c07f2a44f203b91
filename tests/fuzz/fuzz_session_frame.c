/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The decoder of session messages, fed in pieces of every size, against a naive reading of the whole:
 * the same messages, the same end.
 */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "base/frame.h"
#include "base/session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The oracle: the next message at data, or what is wrong. */
static int naive(const uint8_t *data, size_t size, struct frame *f, size_t *used)
{
	uint64_t len;

	if (size < 4)
		return 0;
	len = (uint64_t)data[0] * 16777216 + data[1] * 65536u + data[2] * 256u + data[3];
	if (len < 2)
		return -EPROTO;
	if (len - 2 > SESSION_BODY_MAX)
		return -EMSGSIZE;
	if (size - 4 < len)
		return 0;
	*f = (struct frame){.type = (uint16_t)(data[4] * 256 + data[5]), .body = data + 6, .len = len - 2};
	*used = 4 + len;
	return 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct frame_reader r = {.bytes = NULL};
	size_t fed = 0, at = 0, piece = 1;

	if (size < 1)
		return 0;
	piece = data[0] ? data[0] : 4096;
	data++, size--;
	for (;;) {
		struct frame got, want;
		size_t used = 0, room, n;
		int rc = frame_next(&r, &got), expect = naive(data + at, fed - at, &want, &used);
		uint8_t head[FRAME_HEAD];
		uint8_t *to;

		assert(rc == expect);
		if (rc < 0)
			break;
		if (rc > 0) {
			assert(got.type == want.type && got.len == want.len && !memcmp(got.body, want.body, got.len));
			frame_head(head, got.type, got.len);
			assert(!memcmp(head, data + at, FRAME_HEAD));
			at += used;
			continue;
		}
		if (fed == size)
			break;
		to = frame_space(&r, &room);
		assert(to && room);
		n = size - fed < piece ? size - fed : piece;
		n = n < room ? n : room;
		memcpy(to, data + fed, n);
		frame_filled(&r, n);
		fed += n;
		assert(r.room <= 16384 || r.room <= 4 * size); /* memory follows the bytes, not the claim */
	}
	frame_reset(&r);
	return 0;
}
