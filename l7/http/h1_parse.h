/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * HTTP/1 heads, whole ones: nothing is parsed before the empty line is there, so that a head needs no
 * parser state between two reads (a connection at rest, or one that moves, is only its bytes).  llhttp in
 * its strict mode does the grammar; what it lets pass is refused here.  Bodies: l7/http/chunked.h.
 */
#ifndef L7_HTTP_H1_PARSE_H
#define L7_HTTP_H1_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "l7/buffer.h"
#include "l7/http/head.h"

#define ANSWER_FIELDS_MAX 128

/*
 * The length of the head at the beginning of n bytes, empty line included; 0: not all of it is there.
 * *scanned remembers how far was looked (0 at first), so that a head byte by byte costs no more than its length.
 * A bare LF LF ends a head too: so that the parser refuses it now rather than after a time-out.
 */
size_t h1_head_end(const uint8_t *p, size_t n, size_t *scanned);

/* Can these first bytes still become a request?  False: answer 400 at once (TLS on a plain port, say). */
bool h1_plausible(const uint8_t *p, size_t n);

/* 0, or the status to refuse with.  *keep: the client may send another request after this one. */
int h1_request(struct request_head *h, uint32_t text_max, const uint8_t *p, size_t n, bool *keep);

struct answer_field {
	const char *name, *value;
	uint32_t n_name, n_value;
};

/* The head of an answer; points into the bytes that it was read from. */
struct answer {
	uint16_t status;
	uint8_t version;	/* 10, 11 */
	bool chunked, keep, upgrade;
	int64_t content_length; /* -1: none */
	const char *reason;
	uint32_t n_reason;
	uint32_t n_fields;
	struct answer_field field[ANSWER_FIELDS_MAX];
};

/* 0 or -EBADMSG with *why.  head: was it HEAD that was asked (no body follows)? */
int h1_answer(struct answer *a, const uint8_t *p, size_t n, const char **why);

/* Fields that belong to one connection and are not sent on (RFC 9110 7.6.1). */
bool h1_hop_by_hop(const char *name, size_t n);

/* "name: value\r\n", whole or, where `to` would grow beyond max, not at all. */
void h1_put_field(struct buffer *to, const char *name, size_t n_name, const char *value, size_t n_value, size_t max);

#endif
