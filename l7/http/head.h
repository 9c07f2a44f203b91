/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The head of a request, the same whether it came by HTTP/1 or HTTP/2: what routes, pools, the object
 * server and backends look at.  The parser (llhttp, nghttp2) calls head_begin, head_method, head_target
 * and head_field as it goes and head_finish at the end; each answers 0 or the HTTP status to refuse with.
 *
 * All text lies in one block, and spans are offsets into it: a head can be copied and moved with its
 * connection.  Field names are lower case.  Values have no white space at their ends.
 *
 * How a target is read (numbered, because route tricks live in the differences between readers):
 *  1. Forms: origin ("/x"), absolute ("http://host/x": its authority replaces Host, RFC 9112 3.2.2), and "*" for
 *     OPTIONS alone.  CONNECT is refused with 501.
 *  2. Bytes outside 0x21..0x7e, '#', '\', '%' without two hex digits, and %00 are refused.
 *  3. In `path`, %XX of an unreserved character is decoded (RFC 3986 6.2.2.2); all others keep their escape, in
 *     upper case.  So %2F and %5C separate nothing.
 *  4. Dot segments are removed (RFC 3986 5.2.4); one that leads above the root is refused, not clamped.
 *  5. A segment that another reader could take for a dot segment is refused: "..;x", and any whose parts are "." or ".."
 *     after %2F and %5C are decoded ("..%2Fadmin").
 *  6. Runs of '/' count as one in `path`.
 *  7. `forward` is what a backend is sent: the target's path and query as sent when rules 3 and 4 changed nothing,
 *     else `path`, '?', query.  So what was routed is what is served; runs of '/' alone stay as they were.
 */
#ifndef L7_HTTP_HEAD_H
#define L7_HTTP_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define HEAD_FIELDS_MAX 100

enum http_method {
	METHOD_GET,
	METHOD_HEAD,
	METHOD_POST,
	METHOD_PUT,
	METHOD_DELETE,
	METHOD_OPTIONS,
	METHOD_PATCH,
	METHOD_TRACE,
	METHOD_CONNECT,
	METHOD_OTHER, /* a valid token that we do not know: forwarded by its name */
	METHODS
};

/* Fields that are looked up often: found without a search. */
enum head_known {
	KNOWN_HOST,
	KNOWN_CONTENT_LENGTH,
	KNOWN_TRANSFER_ENCODING,
	KNOWN_CONNECTION,
	KNOWN_UPGRADE,
	KNOWN_EXPECT,
	KNOWN_COOKIE,
	KNOWN_RANGE,
	KNOWN_IF_RANGE,
	KNOWN_IF_MATCH,
	KNOWN_IF_NONE_MATCH,
	KNOWN_IF_MODIFIED_SINCE,
	KNOWN_IF_UNMODIFIED_SINCE,
	KNOWN_CONTENT_TYPE,
	KNOWN_CONTENT_RANGE,
	KNOWN_FORWARDED,
	KNOWN_X_FORWARDED_FOR,
	KNOWN_USER_AGENT,
	KNOWN_REFERER,
	KNOWN_TE,
	KNOWN_KEEP_ALIVE,
	KNOWN_PROXY_CONNECTION,
	KNOWN_TRAILER,
	KNOWN_HTTP2_SETTINGS,
	KNOWN_NONE,
	KNOWNS = KNOWN_NONE
};

struct head_span {
	uint32_t at, n; /* offset into text, length; n == 0: not there */
};

struct head_entry {
	struct head_span name, value;
	uint8_t known; /* enum head_known */
};

struct request_head {
	char *text; /* ours; grows up to text_max */
	uint32_t text_len, text_room, text_max;
	struct head_entry *entry; /* ours; in the order of arrival */
	uint16_t n_entries, entries_room;
	uint8_t known[KNOWNS]; /* 1 + index of the first entry of that name; 0: none */

	uint8_t method;	       /* enum http_method */
	uint8_t version;       /* 10, 11, 20 */
	bool chunked;
	bool absolute;	       /* the target named its authority (HTTP/2: always) */
	uint16_t port;	       /* of the authority; 0: none given */
	int64_t content_length; /* -1: none */
	struct head_span method_name;
	struct head_span target;    /* as sent */
	struct head_span authority; /* as sent, of an absolute target or :authority */
	struct head_span host;	    /* lower case, without port and without a final dot; IPv6 in brackets */
	struct head_span path, query, extension, forward; /* query without '?', extension lower case without '.' */
};

static inline const char *head_text(const struct request_head *h, struct head_span s)
{
	return h->text + s.at;
}

static inline bool head_is(const struct request_head *h, struct head_span s, const char *text)
{
	size_t n = strlen(text);

	return s.n == n && memcmp(h->text + s.at, text, n) == 0;
}

/* A new head of at most text_max bytes; the memory of an earlier one is used again.  Start from all zero. */
void head_begin(struct request_head *h, uint32_t text_max);
void head_free(struct request_head *h);

/* A field that a front end alone writes, of the client's certificate (RFC 9440): whoever sends it lies.  Some backends read '_' as
 * '-'.  head_field() and trailers leave it out, wherever it comes from. */
bool head_is_ours(const char *name, size_t n);

/* 0, or the status to refuse with: 400, 414 (target too long), 431 (too many fields or bytes), 500 (no memory), 501. */
int head_method(struct request_head *h, const char *name, size_t n);
int head_target(struct request_head *h, const char *target, size_t n);
int head_authority(struct request_head *h, const char *authority, size_t n); /* HTTP/2's :authority; "" is no authority */
int head_field(struct request_head *h, const char *name, size_t n_name, const char *value, size_t n_value);
/* Host rules (RFC 9112 3.2: exactly one in 1.1), length and coding (RFC 9112 6.3; both at once is refused). */
int head_finish(struct request_head *h, uint8_t version);

/* The value of a field, or a span with n == 0 and at == UINT32_MAX where there is none. */
struct head_span head_get(const struct request_head *h, enum head_known known);
const struct head_entry *head_find(const struct request_head *h, const char *name, const struct head_entry *after);
/* Is token in the comma-separated list of a field (all its lines)?  Case does not matter. */
bool head_has_token(const struct request_head *h, enum head_known known, const char *token);
/* A cookie's value; n == 0: none. */
struct head_span head_cookie(const struct request_head *h, const char *name);

enum http_method method_from_name(const char *name, size_t n);
const char *method_name(enum http_method method); /* "OTHER" for METHOD_OTHER */
/* Every method's bit in a route's mask. */
static inline uint32_t method_bit(enum http_method m)
{
	return 1u << m;
}

/* RFC 9110 5.6.2 tchar. */
bool head_is_token(const char *p, size_t n);

#endif
