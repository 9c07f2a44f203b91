// SPDX-License-Identifier: BSD-2-Clause
/*
 * What a request's target means: authority, path, query, extension, and what a backend is sent.  The
 * numbered rules are in l7/http/head.h.
 */
#include "l7/http/head.h"

#include <strings.h>

#include "l7/http/head_text.h"

#define EXTENSION_MAX 15

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool unreserved(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
	       c == '_' || c == '~';
}

/* Rule 2, over the whole target; escapes with their digits. */
static bool bytes_are_good(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint8_t c = p[i];

		if (c < 0x21 || c > 0x7e || c == '#' || c == '\\')
			return false;
		if (c == '%') {
			if (n - i < 3 || hex(p[i + 1]) < 0 || hex(p[i + 2]) < 0)
				return false;
			if (p[i + 1] == '0' && p[i + 2] == '0')
				return false;
		}
	}
	return true;
}

static bool is_dots(const char *p, size_t n)
{
	return (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.');
}

/* Rule 5: parts between %2F and %5C (as they stand after rule 3), each up to a ';'. */
static bool hides_dots(const char *p, size_t n)
{
	const char *part = p, *end = p + n;

	for (;;) {
		const char *q = part, *stop;

		while (q < end && !(end - q >= 3 && q[0] == '%' && (!memcmp(q, "%2F", 3) || !memcmp(q, "%5C", 3))))
			q++;
		for (stop = part; stop < q && *stop != ';' && !(q - stop >= 3 && !memcmp(stop, "%3B", 3)); stop++)
			;
		if (is_dots(part, stop - part))
			return true;
		if (q == end)
			return false;
		part = q + 3;
	}
}

/* Rules 3 to 6: from p to out (room for n bytes), which is never longer.  Returns the length or -1: refused. */
static int normalise(const char *p, size_t n, char *out, bool *changed)
{
	size_t len = 0, segment; /* out[segment] is the '/' that opens the segment being written */
	const char *end = p + n;

	*changed = false;
	while (p < end) {
		segment = len;
		out[len++] = *p++; /* '/' */
		while (p < end && *p == '/')
			p++;
		while (p < end && *p != '/') {
			uint8_t c = *p;

			if (c != '%') {
				out[len++] = *p++;
				continue;
			}
			c = (uint8_t)((unsigned)hex(p[1]) << 4 | (unsigned)hex(p[2]));
			if (unreserved(c)) {
				out[len++] = c;
				*changed = true;
			} else {
				out[len++] = '%';
				out[len++] = p[1] >= 'a' ? p[1] & ~0x20 : p[1];
				out[len++] = p[2] >= 'a' ? p[2] & ~0x20 : p[2];
			}
			p += 3;
		}
		if (is_dots(out + segment + 1, len - segment - 1)) {
			bool up = len - segment == 3;

			*changed = true;
			len = segment;
			if (up) {
				if (len == 0)
					return -1;
				while (out[--len] != '/')
					;
			}
			if (p == end)
				out[len++] = '/'; /* "/a/." is the folder "/a/" */
		} else if (hides_dots(out + segment + 1, len - segment - 1)) {
			return -1;
		}
	}
	return (int)len;
}

static void find_extension(struct request_head *h)
{
	const char *path = head_text(h, h->path);
	uint32_t dot = h->path.n, n;
	struct head_span s;

	while (dot > 0 && path[dot - 1] != '.' && path[dot - 1] != '/')
		dot--;
	if (dot < 2 || path[dot - 1] != '.' || path[dot - 2] == '/')
		return;
	n = h->path.n - dot;
	if (n == 0 || n > EXTENSION_MAX)
		return;
	s = head_put(h, path + dot, n);
	if (s.at == UINT32_MAX)
		return;
	for (uint32_t i = 0; i < n; i++)
		if (h->text[s.at + i] >= 'A' && h->text[s.at + i] <= 'Z')
			h->text[s.at + i] |= 0x20;
	h->extension = s;
}

/* Room is taken beforehand, so that nothing moves while spans are read. */
static int set_path(struct request_head *h, uint32_t at, uint32_t n)
{
	const char *mark;
	struct head_span raw_path = { at, n };
	bool changed;
	int len;

	if (!head_room(h, 2 * (size_t)n + EXTENSION_MAX + 2))
		return 414;
	mark = memchr(h->text + at, '?', n);
	if (mark) {
		raw_path.n = mark - (h->text + at);
		h->query = (struct head_span){ at + raw_path.n + 1, n - raw_path.n - 1 };
	}
	h->path.at = h->text_len;
	len = normalise(h->text + at, raw_path.n, h->text + h->text_len, &changed);
	if (len < 0)
		return 400;
	h->path.n = len;
	h->text_len += len;
	h->forward = (struct head_span){ at, n };
	if (changed) {
		h->forward = (struct head_span){ h->text_len, h->path.n + (mark ? 1 + h->query.n : 0) };
		memcpy(h->text + h->text_len, head_text(h, h->path), h->path.n);
		if (mark)
			memcpy(h->text + h->text_len + h->path.n, mark, 1 + h->query.n);
		h->text_len += h->forward.n;
	}
	find_extension(h);
	return 0;
}

int head_target(struct request_head *h, const char *target, size_t n)
{
	uint32_t at;

	if (n == 0 || !bytes_are_good(target, n))
		return 400;
	if (n > h->text_max / 4)
		return 414;
	h->target = head_put(h, target, n);
	if (!h->target.n)
		return 414;
	at = h->target.at;
	if (target[0] == '/')
		return set_path(h, at, n);
	if (n == 1 && target[0] == '*') {
		h->path = h->forward = h->target;
		return h->method == METHOD_OPTIONS ? 0 : 400;
	}
	if ((n > 7 && !strncasecmp(target, "http://", 7)) || (n > 8 && !strncasecmp(target, "https://", 8))) {
		uint32_t begin = target[4] == ':' ? 7 : 8, end = begin;

		while (end < n && target[end] != '/' && target[end] != '?')
			end++;
		h->absolute = true;
		h->authority = (struct head_span){ at + begin, end - begin };
		if (end < n && target[end] == '/')
			return set_path(h, at + end, n - end);
		/* "http://host" and "http://host?q": the path is "/" (RFC 9112 3.2.1). */
		h->path = head_put(h, "/", 1);
		if (h->path.at == UINT32_MAX || !head_room(h, n - end))
			return 414;
		memcpy(h->text + h->text_len, h->text + at + end, n - end);
		h->text_len += n - end;
		h->forward = (struct head_span){ h->path.at, 1 + n - end };
		if (end < n)
			h->query = (struct head_span){ h->path.at + 2, n - end - 1 };
		return 0;
	}
	return 400;
}

int head_authority(struct request_head *h, const char *authority, size_t n)
{
	if (n == 0)
		return 0;
	h->authority = head_put(h, authority, n);
	h->absolute = true;
	return h->authority.n ? 0 : 431;
}

int target_host(struct request_head *h, struct head_span authority)
{
	uint32_t host_n, port = 0;
	const char *p;

	if (authority.n == 0)
		return 400;
	if (!head_room(h, authority.n))
		return 431;
	p = head_text(h, authority);
	if (p[0] == '[') {
		const char *close = memchr(p, ']', authority.n);

		if (!close || close == p + 1)
			return 400;
		host_n = close - p + 1;
		for (uint32_t i = 1; i + 1 < host_n; i++)
			if (hex(p[i]) < 0 && p[i] != ':' && p[i] != '.')
				return 400;
	} else {
		for (host_n = 0; host_n < authority.n && p[host_n] != ':'; host_n++)
			if (!unreserved(p[host_n]))
				return 400;
	}
	if (host_n < authority.n) {
		if (p[host_n] != ':')
			return 400;
		for (uint32_t i = host_n + 1; i < authority.n; i++) {
			if (p[i] < '0' || p[i] > '9')
				return 400;
			port = 10 * port + (p[i] - '0');
			if (port > 65535)
				return 400;
		}
	}
	if (host_n && p[host_n - 1] == '.')
		host_n--;
	if (host_n == 0)
		return 400;
	h->host = (struct head_span){ h->text_len, host_n };
	h->port = port;
	for (uint32_t i = 0; i < host_n; i++)
		h->text[h->text_len++] = p[i] >= 'A' && p[i] <= 'Z' ? p[i] | 0x20 : p[i];
	return 0;
}
