/* SPDX-License-Identifier: BSD-2-Clause */
/* The codec of session messages.  See frame.h. */
#include "base/frame.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/session.h"

#define ROOM_MIN 16384u

uint8_t *frame_space(struct frame_reader *r, size_t *room)
{
	if (r->begin == r->end) {
		r->begin = r->end = 0;
		/* What one large message needed is not kept. */
		if (r->room > ROOM_MIN * 16)
			frame_reset(r);
	}
	if (r->begin && r->end == r->room) {
		memmove(r->bytes, r->bytes + r->begin, r->end - r->begin);
		r->end -= r->begin;
		r->begin = 0;
	}
	if (r->end == r->room) {
		size_t bigger = r->room ? r->room * 2 : ROOM_MIN;
		uint8_t *bytes = realloc(r->bytes, bigger);

		if (!bytes)
			return NULL;
		r->bytes = bytes;
		r->room = bigger;
	}
	*room = r->room - r->end;
	return r->bytes + r->end;
}

void frame_filled(struct frame_reader *r, size_t n)
{
	assert(n <= r->room - r->end);
	r->end += n;
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

int frame_next(struct frame_reader *r, struct frame *f)
{
	const uint8_t *p = r->bytes + r->begin;
	size_t have = r->end - r->begin;
	uint32_t len;

	if (have < 4)
		return 0;
	len = get32(p);
	if (len < 2)
		return -EPROTO;
	if (len > SESSION_BODY_MAX + 2)
		return -EMSGSIZE;
	if (have < 4 + (size_t)len)
		return 0;
	f->type = (uint16_t)(p[4] << 8 | p[5]);
	f->body = p + FRAME_HEAD;
	f->len = len - 2;
	r->begin += 4 + (size_t)len;
	return 1;
}

void frame_reset(struct frame_reader *r)
{
	free(r->bytes);
	memset(r, 0, sizeof(*r));
}

void frame_head(uint8_t head[FRAME_HEAD], uint16_t type, size_t body_len)
{
	uint32_t len = (uint32_t)body_len + 2;

	head[0] = (uint8_t)(len >> 24);
	head[1] = (uint8_t)(len >> 16);
	head[2] = (uint8_t)(len >> 8);
	head[3] = (uint8_t)len;
	head[4] = (uint8_t)(type >> 8);
	head[5] = (uint8_t)type;
}
