/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The head of an HTTP/1 answer (RFC 9112, sections 4 and 5), strictly: a service that answers a check
 * with something else would answer its clients so too.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/check.h"

static int fail(char *why, size_t why_len, const char *what)
{
	snprintf(why, why_len, "%s", what);
	return -EPROTO;
}

/* HTTP/1.x SP 3DIGIT [ SP reason ], without its CRLF. */
static int status_line(const char *line, size_t len, uint16_t *status)
{
	if (len < 12 || memcmp(line, "HTTP/1.", 7) || (line[7] != '0' && line[7] != '1') || line[8] != ' ')
		return -EPROTO;
	for (int i = 9; i < 12; i++)
		if (line[i] < '0' || line[i] > '9')
			return -EPROTO;
	if (len > 12 && line[12] != ' ')
		return -EPROTO;
	for (size_t i = 12; i < len; i++)
		if ((unsigned char)line[i] < ' ' && line[i] != '\t')
			return -EPROTO;
	*status = (uint16_t)((line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0'));
	return *status >= 100 && *status <= 599 ? 0 : -EPROTO;
}

/* field-name ":" anything printable; no folding. */
static int field_line(const char *line, size_t len)
{
	size_t i = 0;

	while (i < len && (isalnum((unsigned char)line[i]) || (line[i] && strchr("!#$%&'*+-.^_`|~", line[i]))))
		i++;
	if (!i || i == len || line[i] != ':')
		return -EPROTO;
	for (; i < len; i++)
		if ((unsigned char)line[i] < ' ' && line[i] != '\t')
			return -EPROTO;
	return 0;
}

int check_http_head(const char *buf, size_t len, uint16_t *status, char *why, size_t why_len)
{
	size_t at = 0;
	bool first = true;

	for (;;) {
		const char *nl = at < len ? memchr(buf + at, '\n', len - at) : NULL;
		const char *line = buf + at;
		size_t n;

		if (!nl && len >= CHECK_HEAD_MAX)
			return fail(why, why_len, "the head of the answer is too long");
		if (!nl && first && len > at && memcmp(line, "HTTP/1.", len - at < 7 ? len - at : 7))
			return fail(why, why_len, "the answer is not HTTP/1");
		if (!nl)
			return -EAGAIN;
		n = (size_t)(nl - line);
		if (!n || line[n - 1] != '\r')
			return fail(why, why_len, "a line of the answer's head does not end with CR LF");
		n--;
		at += n + 2;
		if (first && status_line(line, n, status))
			return fail(why, why_len, "the answer's status line is malformed");
		if (!first && n && field_line(line, n))
			return fail(why, why_len, "a header of the answer is malformed");
		if (first || n) {
			first = false;
			continue;
		}
		if (*status >= 200 || *status == 101)
			return 0;
		first = true; /* an interim answer: the real one follows */
	}
}
