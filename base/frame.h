/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Messages out of a byte stream: be32 length of what follows, be16 type, body.  No I/O: the session
 * puts decrypted bytes in and takes messages out.  The buffer grows with the bytes that came, not
 * with the length that a peer announces.
 */
#ifndef BASE_FRAME_H
#define BASE_FRAME_H

#include <stddef.h>
#include <stdint.h>

#define FRAME_HEAD 6u /* length and type */

struct frame_reader {
	uint8_t *bytes;
	size_t begin, end, room;
};

struct frame {
	uint16_t type;
	const uint8_t *body; /* valid until the next frame_space() */
	size_t len;
};

/* Where to put bytes; *room >= 1.  NULL when memory is short. */
uint8_t *frame_space(struct frame_reader *r, size_t *room);
void frame_filled(struct frame_reader *r, size_t n);
/* 1 and a message, 0 when more bytes are needed, -EMSGSIZE or -EPROTO when the stream is broken for good. */
int frame_next(struct frame_reader *r, struct frame *f);
void frame_reset(struct frame_reader *r); /* empty, memory freed */

void frame_head(uint8_t head[FRAME_HEAD], uint16_t type, size_t body_len);

#endif
