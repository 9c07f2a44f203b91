/* SPDX-License-Identifier: BSD-2-Clause */
/* The chunked coding.  See chunked.h. */
#include "l7/http/chunked.h"

#include <assert.h>
#include <errno.h>

#include "l7/buffer.h"

static int digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Visible, white space or obs-text: what may stand in an extension or a trailer (RFC 9110 5.5). */
static int texty(uint8_t c)
{
	return c == '\t' || (c >= 0x20 && c != 0x7f);
}

/* One byte of framing; 0 or -EBADMSG.  The only place that assigns the state but for the end of data. */
static int step(struct chunked *c, uint8_t b)
{
	int d;

	switch ((enum chunked_where)c->where) {
	case CHUNKED_SIZE:
	case CHUNKED_DIGITS:
		d = digit(b);
		if (d >= 0) {
			if (c->line++ >= 15)
				return -EBADMSG;
			c->left = c->left << 4 | (unsigned)d;
			c->where = CHUNKED_DIGITS;
			return 0;
		}
		if (c->where == CHUNKED_SIZE)
			return -EBADMSG;
		c->where = b == '\r' ? CHUNKED_SIZE_LF : CHUNKED_EXTENSION;
		return b == '\r' || b == ';' ? 0 : -EBADMSG;
	case CHUNKED_EXTENSION:
	case CHUNKED_QUOTED:
	case CHUNKED_ESCAPED:
		if (++c->line > CHUNKED_LINE_MAX)
			return -EBADMSG;
		if (b == '\r' && c->where == CHUNKED_EXTENSION)
			c->where = CHUNKED_SIZE_LF;
		else if (!texty(b))
			return -EBADMSG;
		else if (c->where == CHUNKED_ESCAPED)
			c->where = CHUNKED_QUOTED;
		else if (b == '\\' && c->where == CHUNKED_QUOTED)
			c->where = CHUNKED_ESCAPED;
		else if (b == '"')
			c->where = c->where == CHUNKED_QUOTED ? CHUNKED_EXTENSION : CHUNKED_QUOTED;
		return 0;
	case CHUNKED_SIZE_LF:
		c->line = 0;
		c->where = c->left ? CHUNKED_DATA : CHUNKED_TRAILER;
		return b == '\n' ? 0 : -EBADMSG;
	case CHUNKED_DATA_CR:
		c->where = CHUNKED_DATA_LF;
		return b == '\r' ? 0 : -EBADMSG;
	case CHUNKED_DATA_LF:
		c->where = CHUNKED_SIZE;
		return b == '\n' ? 0 : -EBADMSG;
	case CHUNKED_TRAILER:
		if (b == '\r') {
			c->where = CHUNKED_END_LF;
			return 0;
		}
		c->where = CHUNKED_TRAILER_LINE;
		return b == ' ' || b == '\t' || !texty(b) || ++c->line > CHUNKED_TRAILER_MAX ? -EBADMSG : 0;
	case CHUNKED_TRAILER_LINE:
		if (b == '\r')
			c->where = CHUNKED_TRAILER_LF;
		else if (!texty(b) || ++c->line > CHUNKED_TRAILER_MAX)
			return -EBADMSG;
		return 0;
	case CHUNKED_TRAILER_LF:
		c->where = CHUNKED_TRAILER;
		return b == '\n' ? 0 : -EBADMSG;
	case CHUNKED_END_LF:
		c->where = CHUNKED_DONE;
		return b == '\n' ? 0 : -EBADMSG;
	case CHUNKED_DATA:
	case CHUNKED_DONE:
		break;
	}
	return -EBADMSG;
}

static int in_trailer(const struct chunked *c)
{
	return c->where == CHUNKED_TRAILER || c->where == CHUNKED_TRAILER_LINE || c->where == CHUNKED_TRAILER_LF;
}

ptrdiff_t chunked_next_trailer(struct chunked *c, const uint8_t *p, size_t n, size_t *n_data, struct buffer *trailer)
{
	size_t used = 0;

	*n_data = 0;
	while (c->where != CHUNKED_DATA && c->where != CHUNKED_DONE && used < n) {
		int was = trailer && in_trailer(c);

		if (step(c, p[used]))
			return -EBADMSG;
		/* The CR that begins the empty line is no part of it. */
		if (was && c->where != CHUNKED_END_LF && buffer_put(trailer, p + used, 1, 3 * CHUNKED_TRAILER_MAX))
			return -ENOBUFS;
		used++;
	}
	if (c->where == CHUNKED_DATA)
		*n_data = n - used < c->left ? n - used : (size_t)c->left;
	return (ptrdiff_t)used;
}

ptrdiff_t chunked_next(struct chunked *c, const uint8_t *p, size_t n, size_t *n_data)
{
	return chunked_next_trailer(c, p, n, n_data, NULL);
}

void chunked_took(struct chunked *c, size_t k)
{
	assert(c->where == CHUNKED_DATA && k <= c->left);
	c->left -= k;
	if (!c->left)
		c->where = CHUNKED_DATA_CR;
}
