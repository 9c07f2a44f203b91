/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Decoder of the chunked coding (RFC 9112 7.1), strict: sizes are 1 to 15 hex digits, lines end in CRLF,
 * extensions are passed over (CHUNKED_LINE_MAX bytes a line), trailers are passed over or collected
 * (CHUNKED_TRAILER_MAX bytes in all).  Its state is data and moves with its connection.  Copies nothing.
 */
#ifndef L7_HTTP_CHUNKED_H
#define L7_HTTP_CHUNKED_H

#include <stddef.h>
#include <stdint.h>

struct buffer;

#define CHUNKED_LINE_MAX 256
#define CHUNKED_TRAILER_MAX 8192

enum chunked_where { CHUNKED_SIZE, CHUNKED_DIGITS, CHUNKED_EXTENSION, CHUNKED_QUOTED, CHUNKED_ESCAPED, CHUNKED_SIZE_LF,
		     CHUNKED_DATA, CHUNKED_DATA_CR, CHUNKED_DATA_LF, CHUNKED_TRAILER, CHUNKED_TRAILER_LINE,
		     CHUNKED_TRAILER_LF, CHUNKED_END_LF, CHUNKED_DONE };

struct chunked { /* all zero: the beginning */
	uint64_t left;	/* of this chunk */
	uint16_t line;	/* bytes of this line, or of the trailer */
	uint8_t where;
};

/*
 * Passes over framing.  Returns how many bytes of p were used, or -EBADMSG.  Stops when data is next
 * (*n_data bytes of it follow in p after those used; the caller takes k of them and says so with chunked_took),
 * at the end (where == CHUNKED_DONE), or when p is used up.
 */
ptrdiff_t chunked_next(struct chunked *c, const uint8_t *p, size_t n, size_t *n_data);
/* The same; the trailer's lines, each with its CRLF, are added to `trailer`.  -ENOBUFS: no memory. */
ptrdiff_t chunked_next_trailer(struct chunked *c, const uint8_t *p, size_t n, size_t *n_data, struct buffer *trailer);
void chunked_took(struct chunked *c, size_t k);

#endif
