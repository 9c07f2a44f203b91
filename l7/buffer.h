/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A byte queue with a maximum: contiguous, compacted when it must grow.  Every unread and unsent byte
 * of a connection lies in one of these and nowhere else, so that a connection can be frozen, written
 * down and moved at any moment.
 */
#ifndef L7_BUFFER_H
#define L7_BUFFER_H

#include <stddef.h>
#include <stdint.h>

struct buffer {
	uint8_t *data; /* malloc'd; NULL while empty: an idle connection costs nothing here */
	size_t start, end, room;
};

static inline size_t buffer_len(const struct buffer *b)
{
	return b->end - b->start;
}

static inline uint8_t *buffer_head(struct buffer *b)
{
	return b->data + b->start;
}

/* Room for n more bytes at the end (up to max in all).  NULL: -ENOBUFS or no memory. */
uint8_t *buffer_reserve(struct buffer *b, size_t n, size_t max);
void buffer_commit(struct buffer *b, size_t n);  /* n bytes were written into what was reserved */
void buffer_consume(struct buffer *b, size_t n); /* n bytes were used; frees the memory when it is empty */
int buffer_put(struct buffer *b, const void *p, size_t n, size_t max); /* 0 or -ENOBUFS, whole or not at all */
void buffer_free(struct buffer *b);

#endif
