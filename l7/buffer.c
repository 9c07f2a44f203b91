// SPDX-License-Identifier: BSD-2-Clause
/* The byte queue of l7/buffer.h. */
#include "l7/buffer.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ROOM_MIN 512 /* what the first byte costs */

uint8_t *buffer_reserve(struct buffer *b, size_t n, size_t max)
{
	size_t len = buffer_len(b), room;
	uint8_t *data;

	if (n > max || len > max - n)
		return NULL;
	if (b->data && b->room - b->end >= n)
		return b->data + b->end;
	/* Moving what is there is paid for by the bytes that were consumed before it: at most three for one. */
	if (b->data && b->room - len >= n && b->start >= b->room / 4) {
		memmove(b->data, b->data + b->start, len);
		b->start = 0;
		b->end = len;
		return b->data + len;
	}
	room = b->room > ROOM_MIN / 2 ? b->room * 2 : ROOM_MIN;
	if (room > max)
		room = max;
	if (room < len + n)
		room = len + n;
	data = malloc(room);
	if (!data)
		return NULL;
	if (b->data)
		memcpy(data, b->data + b->start, len);
	free(b->data);
	*b = (struct buffer){ .data = data, .end = len, .room = room };
	return data + len;
}

void buffer_commit(struct buffer *b, size_t n)
{
	assert(n <= b->room - b->end);
	b->end += n;
}

void buffer_consume(struct buffer *b, size_t n)
{
	assert(n <= buffer_len(b));
	b->start += n;
	if (b->start == b->end)
		buffer_free(b);
}

int buffer_put(struct buffer *b, const void *p, size_t n, size_t max)
{
	uint8_t *to;

	if (!n)
		return 0;
	to = buffer_reserve(b, n, max);
	if (!to)
		return -ENOBUFS;
	memcpy(to, p, n);
	b->end += n;
	return 0;
}

void buffer_free(struct buffer *b)
{
	free(b->data);
	*b = (struct buffer){ .data = NULL };
}
