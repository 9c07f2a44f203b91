// SPDX-License-Identifier: BSD-2-Clause
/*
 * Collecting a request's head: methods, fields, and the rules that only hold once all of it is there.
 * What a target means is in l7/http/target.c.
 */
#include "l7/http/head.h"

#include <errno.h>
#include <stdlib.h>
#include <strings.h>

#include "l7/http/head_text.h"

static const char *const methods[METHODS] = {
	[METHOD_GET] = "GET",	[METHOD_HEAD] = "HEAD",	      [METHOD_POST] = "POST",	[METHOD_PUT] = "PUT",
	[METHOD_DELETE] = "DELETE", [METHOD_OPTIONS] = "OPTIONS", [METHOD_PATCH] = "PATCH", [METHOD_TRACE] = "TRACE",
	[METHOD_CONNECT] = "CONNECT", [METHOD_OTHER] = "OTHER",
};

static const char *const known_names[KNOWNS] = {
	[KNOWN_HOST] = "host",
	[KNOWN_CONTENT_LENGTH] = "content-length",
	[KNOWN_TRANSFER_ENCODING] = "transfer-encoding",
	[KNOWN_CONNECTION] = "connection",
	[KNOWN_UPGRADE] = "upgrade",
	[KNOWN_EXPECT] = "expect",
	[KNOWN_COOKIE] = "cookie",
	[KNOWN_RANGE] = "range",
	[KNOWN_IF_RANGE] = "if-range",
	[KNOWN_IF_MATCH] = "if-match",
	[KNOWN_IF_NONE_MATCH] = "if-none-match",
	[KNOWN_IF_MODIFIED_SINCE] = "if-modified-since",
	[KNOWN_IF_UNMODIFIED_SINCE] = "if-unmodified-since",
	[KNOWN_CONTENT_TYPE] = "content-type",
	[KNOWN_CONTENT_RANGE] = "content-range",
	[KNOWN_FORWARDED] = "forwarded",
	[KNOWN_X_FORWARDED_FOR] = "x-forwarded-for",
	[KNOWN_USER_AGENT] = "user-agent",
	[KNOWN_REFERER] = "referer",
	[KNOWN_TE] = "te",
	[KNOWN_KEEP_ALIVE] = "keep-alive",
	[KNOWN_PROXY_CONNECTION] = "proxy-connection",
	[KNOWN_TRAILER] = "trailer",
	[KNOWN_HTTP2_SETTINGS] = "http2-settings",
};

/* RFC 9110 5.6.2 */
static const bool tchar[256] = {
	['!'] = 1, ['#'] = 1, ['$'] = 1, ['%'] = 1, ['&'] = 1, ['\''] = 1, ['*'] = 1, ['+'] = 1, ['-'] = 1, ['.'] = 1,
	['^'] = 1, ['_'] = 1, ['`'] = 1, ['|'] = 1, ['~'] = 1, ['0' ... '9'] = 1, ['a' ... 'z'] = 1, ['A' ... 'Z'] = 1,
};

bool head_is_token(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!tchar[(uint8_t)p[i]])
			return false;
	return n > 0;
}

enum http_method method_from_name(const char *name, size_t n)
{
	for (int m = 0; m < METHOD_OTHER; m++)
		if (name[0] == methods[m][0] && strlen(methods[m]) == n && !memcmp(name, methods[m], n))
			return m;
	return METHOD_OTHER;
}

const char *method_name(enum http_method method)
{
	return methods[method];
}

char *head_room(struct request_head *h, size_t n)
{
	uint32_t want;
	char *text;

	if (n > h->text_max || h->text_len > h->text_max - n)
		return NULL;
	if (h->text_room - h->text_len < n) {
		want = h->text_room ? h->text_room : 1024;
		while (want - h->text_len < n)
			want *= 2;
		text = realloc(h->text, want);
		if (!text)
			return NULL;
		h->text = text;
		h->text_room = want;
	}
	return h->text + h->text_len;
}

struct head_span head_put(struct request_head *h, const char *p, size_t n)
{
	struct head_span s = { h->text_len, (uint32_t)n };
	char *to = head_room(h, n);

	if (!to)
		return (struct head_span){ UINT32_MAX, 0 };
	memcpy(to, p, n);
	h->text_len += n;
	return s;
}

void head_begin(struct request_head *h, uint32_t text_max)
{
	char *text = h->text;
	struct head_entry *entry = h->entry;
	uint32_t text_room = h->text_room;
	uint16_t entries_room = h->entries_room;

	memset(h, 0, sizeof(*h));
	h->text = text;
	h->entry = entry;
	h->text_room = text_room;
	h->entries_room = entries_room;
	/* What is derived (host, path, forward) takes at most three more times the target. */
	h->text_max = text_max < UINT32_MAX / 8 ? 4 * text_max : UINT32_MAX / 2;
	h->content_length = -1;
}

void head_free(struct request_head *h)
{
	free(h->text);
	free(h->entry);
	memset(h, 0, sizeof(*h));
}

int head_method(struct request_head *h, const char *name, size_t n)
{
	if (!head_is_token(name, n))
		return 400;
	h->method = method_from_name(name, n);
	if (h->method == METHOD_CONNECT)
		return 501;
	h->method_name = head_put(h, name, n);
	return h->method_name.n ? 0 : 431;
}

/* The length chooses; of each length there are few. */
static enum head_known known_from_name(const char *name, size_t n)
{
	for (int k = 0; k < KNOWNS; k++)
		if (name[0] == known_names[k][0] && strlen(known_names[k]) == n && !memcmp(name, known_names[k], n))
			return k;
	return KNOWN_NONE;
}

bool head_is_ours(const char *name, size_t n)
{
	static const char ours[] = "client-cert-chain";
	size_t i;

	if (n != 11 && n != sizeof(ours) - 1)
		return false;
	for (i = 0; i < n; i++) {
		char c = name[i] >= 'A' && name[i] <= 'Z' ? (char)(name[i] | 0x20) : name[i] == '_' ? '-' : name[i];

		if (c != ours[i])
			return false;
	}
	return true;
}

int head_field(struct request_head *h, const char *name, size_t n_name, const char *value, size_t n_value)
{
	struct head_entry *e;

	if (!head_is_token(name, n_name))
		return 400;
	for (size_t i = 0; i < n_value; i++)
		if (((uint8_t)value[i] < 0x20 && value[i] != '\t') || value[i] == 0x7f)
			return 400;
	if (head_is_ours(name, n_name))
		return 0;
	while (n_value && (*value == ' ' || *value == '\t'))
		value++, n_value--;
	while (n_value && (value[n_value - 1] == ' ' || value[n_value - 1] == '\t'))
		n_value--;
	if (h->n_entries == HEAD_FIELDS_MAX)
		return 431;
	if (h->n_entries == h->entries_room) {
		uint16_t room = h->entries_room ? HEAD_FIELDS_MAX : 24;

		e = realloc(h->entry, room * sizeof(*e));
		if (!e)
			return 500;
		h->entry = e;
		h->entries_room = room;
	}
	e = &h->entry[h->n_entries];
	e->name = head_put(h, name, n_name);
	if (!e->name.n)
		return 431;
	for (size_t i = 0; i < n_name; i++) {
		char *c = h->text + e->name.at + i;

		if (*c >= 'A' && *c <= 'Z')
			*c |= 0x20;
	}
	e->value = head_put(h, value, n_value);
	if (e->value.at == UINT32_MAX)
		return 431;
	e->known = known_from_name(head_text(h, e->name), n_name);
	h->n_entries++;
	if (e->known != KNOWN_NONE && !h->known[e->known])
		h->known[e->known] = h->n_entries;
	return 0;
}

struct head_span head_get(const struct request_head *h, enum head_known known)
{
	if (!h->known[known])
		return (struct head_span){ UINT32_MAX, 0 };
	return h->entry[h->known[known] - 1].value;
}

const struct head_entry *head_find(const struct request_head *h, const char *name, const struct head_entry *after)
{
	for (const struct head_entry *e = after ? after + 1 : h->entry; e < h->entry + h->n_entries; e++)
		if (head_is(h, e->name, name))
			return e;
	return NULL;
}

bool head_has_token(const struct request_head *h, enum head_known known, const char *token)
{
	size_t n = strlen(token);

	for (uint16_t i = h->known[known]; i && i <= h->n_entries; i++) {
		const struct head_entry *e = &h->entry[i - 1];
		const char *p = head_text(h, e->value), *end = p + e->value.n;

		if (e->known != known)
			continue;
		while (p < end) {
			const char *comma = memchr(p, ',', end - p), *stop = comma ? comma : end, *last = stop;

			while (p < last && (*p == ' ' || *p == '\t'))
				p++;
			while (last > p && (last[-1] == ' ' || last[-1] == '\t'))
				last--;
			if ((size_t)(last - p) == n && !strncasecmp(p, token, n))
				return true;
			p = stop + 1;
		}
	}
	return false;
}

struct head_span head_cookie(const struct request_head *h, const char *name)
{
	size_t n = strlen(name);

	for (uint16_t i = h->known[KNOWN_COOKIE]; i && i <= h->n_entries; i++) {
		const struct head_entry *e = &h->entry[i - 1];
		const char *p = head_text(h, e->value), *end = p + e->value.n;

		if (e->known != KNOWN_COOKIE)
			continue;
		while (p < end) {
			const char *semi = memchr(p, ';', end - p), *stop = semi ? semi : end;

			while (p < stop && *p == ' ')
				p++;
			if ((size_t)(stop - p) > n && !memcmp(p, name, n) && p[n] == '=')
				return (struct head_span){ (uint32_t)(p + n + 1 - h->text), (uint32_t)(stop - p - n - 1) };
			p = stop + 1;
		}
	}
	return (struct head_span){ UINT32_MAX, 0 };
}

/* Digits only, and no list: "5, 5" and a second line are refused rather than understood. */
static int read_length(struct request_head *h)
{
	struct head_span v = head_get(h, KNOWN_CONTENT_LENGTH);
	const char *p;
	int64_t length = 0;

	if (v.at == UINT32_MAX)
		return 0;
	for (uint16_t i = h->known[KNOWN_CONTENT_LENGTH]; i < h->n_entries; i++)
		if (h->entry[i].known == KNOWN_CONTENT_LENGTH)
			return 400;
	if (v.n == 0 || v.n > 18)
		return 400;
	p = head_text(h, v);
	for (uint32_t i = 0; i < v.n; i++) {
		if (p[i] < '0' || p[i] > '9')
			return 400;
		length = 10 * length + (p[i] - '0');
	}
	h->content_length = length;
	return 0;
}

/* RFC 9112 6.1: we read one coding, and one only. */
static int read_coding(struct request_head *h)
{
	struct head_span v = head_get(h, KNOWN_TRANSFER_ENCODING);

	if (v.at == UINT32_MAX)
		return 0;
	if (h->version != 11)
		return 400;
	for (uint16_t i = h->known[KNOWN_TRANSFER_ENCODING]; i < h->n_entries; i++)
		if (h->entry[i].known == KNOWN_TRANSFER_ENCODING)
			return 400;
	if (h->content_length >= 0)
		return 400;
	if (v.n != 7 || strncasecmp(head_text(h, v), "chunked", 7))
		return 501;
	h->chunked = true;
	return 0;
}

/* RFC 9113 8.2.2: what belongs to a connection has no place in HTTP/2; te may say "trailers". */
static int no_connection_fields(const struct request_head *h)
{
	static const uint8_t forbidden[] = { KNOWN_CONNECTION, KNOWN_KEEP_ALIVE, KNOWN_PROXY_CONNECTION,
					     KNOWN_TRANSFER_ENCODING, KNOWN_UPGRADE };
	struct head_span te = head_get(h, KNOWN_TE);

	for (size_t i = 0; i < sizeof(forbidden); i++)
		if (h->known[forbidden[i]])
			return 400;
	return te.n && !head_is(h, te, "trailers") ? 400 : 0;
}

static int read_host(struct request_head *h)
{
	struct head_span host = head_get(h, KNOWN_HOST);
	int status;

	for (uint16_t i = h->known[KNOWN_HOST]; i && i < h->n_entries; i++)
		if (h->entry[i].known == KNOWN_HOST)
			return 400;
	if (host.at == UINT32_MAX && !h->absolute)
		return h->version == 10 ? 0 : 400;
	/* Host must be well formed even where the target's authority wins; in HTTP/2 they must agree. */
	if (host.at != UINT32_MAX) {
		struct head_span authority = h->authority;

		status = target_host(h, host);
		if (status)
			return status;
		if (h->version == 20 && authority.n &&
		    (authority.n != host.n || strncasecmp(head_text(h, authority), head_text(h, host), host.n)))
			return 400;
	}
	return h->absolute ? target_host(h, h->authority) : 0;
}

int head_finish(struct request_head *h, uint8_t version)
{
	int status;

	h->version = version;
	if (!h->method_name.n || !h->target.n)
		return 400;
	if (version == 20 && (status = no_connection_fields(h)))
		return status;
	if ((status = read_host(h)))
		return status;
	if ((status = read_length(h)))
		return status;
	return read_coding(h);
}
