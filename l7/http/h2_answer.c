/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The answer on a stream of HTTP/2: what an exchange says of it becomes nghttp2's fields and data.  nghttp2 pulls from
 * the backend's buffer, which is lent to it for a call, as the client's window allows: nothing piles up between.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "l7/decimal.h"
#include "l7/http/h2_inside.h"
#include "l7/http/trailer.h"

#define REST_MAX 8192
#define FIELDS_MAX (ANSWER_FIELDS_MAX + 4)

static nghttp2_nv nv(const char *name, size_t n_name, const char *value, size_t n_value)
{
	return (nghttp2_nv){ (uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, n_name, n_value, 0 };
}

/* Fields with their names in lower case, which *at gets. */
static size_t lower_fields(nghttp2_nv *to, const struct answer_field *field, size_t n, char *at)
{
	size_t i, k;

	for (i = 0; i < n; i++) {
		for (k = 0; k < field[i].n_name; k++)
			at[k] = (char)(field[i].name[k] >= 'A' && field[i].name[k] <= 'Z' ? field[i].name[k] | 0x20 : field[i].name[k]);
		to[i] = nv(at, field[i].n_name, field[i].value, field[i].n_value);
		at += field[i].n_name;
	}
	return n;
}

/* True: the stream ends with trailers, not with its last DATA. */
static bool send_trailer(struct h2_stream *s)
{
	struct answer_field field[TRAILER_FIELDS_MAX];
	nghttp2_nv to[TRAILER_FIELDS_MAX];
	char name[3 * CHUNKED_TRAILER_MAX];
	int n = s->trailer.data ? trailer_fields(buffer_head(&s->trailer), buffer_len(&s->trailer), field) : 0;

	if (n <= 0 || s->trailer_sent)
		return false;
	s->trailer_sent = true;
	lower_fields(to, field, (size_t)n, name);
	return !nghttp2_submit_trailer(s->c->h2->session, s->id, to, (size_t)n);
}

static ssize_t read_answer(nghttp2_session *session, int32_t id, uint8_t *buf, size_t room, uint32_t *flags,
			   nghttp2_data_source *source, void *ctx)
{
	struct h2_stream *s = source->ptr;
	size_t n;

	(void)session;
	(void)id;
	(void)ctx;
	if (s->cut)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* nghttp2 resets the stream */
	if (s->own.data) {
		n = buffer_len(&s->own) < room ? buffer_len(&s->own) : room;
		memcpy(buf, buffer_head(&s->own), n);
		buffer_consume(&s->own, n);
		if (!s->own.data && s->answer_ended)
			*flags |= NGHTTP2_DATA_FLAG_EOF;
		h2_stream_watch(s, true);
		h2_guard_useful(&s->c->h2->guard);
		return (ssize_t)n;
	}
	n = s->n < room ? s->n : room;
	if (n)
		memcpy(buf, s->p, n);
	s->p = n ? s->p + n : s->p;
	s->n -= n;
	s->took += n;
	if (n)
		h2_guard_useful(&s->c->h2->guard);
	if (s->answer_ended && !s->n)
		*flags |= NGHTTP2_DATA_FLAG_EOF | (send_trailer(s) ? NGHTTP2_DATA_FLAG_NO_END_STREAM : 0u);
	else if (!n) {
		s->deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	return (ssize_t)n;
}

static void submit(struct h2_stream *s, const nghttp2_nv *field, size_t n, bool body)
{
	nghttp2_data_provider provider = { .source.ptr = s, .read_callback = read_answer };

	s->answer_begun = true;
	if (nghttp2_submit_response(s->c->h2->session, s->id, field, n, body ? &provider : NULL))
		s->c->s.error = ENOMEM;
}

static void interim(struct h2_stream *s, const nghttp2_nv *field, size_t n)
{
	if (nghttp2_submit_headers(s->c->h2->session, NGHTTP2_FLAG_NONE, s->id, NULL, field, n, NULL) < 0)
		s->c->s.error = ENOMEM;
	h2_send_soon(s->c);
}

static void front_hint(struct exchange *x, const struct answer *a)
{
	struct h2_stream *s = x->client;
	nghttp2_nv field[FIELDS_MAX];
	char name[8192], status[DECIMAL_MAX];
	size_t room = 0, n = 1;
	uint32_t i;

	field[0] = nv(":status", 7, status, decimal(status, a->status));
	for (i = 0; i < a->n_fields; i++) {
		const struct answer_field *f = &a->field[i];

		if (h1_hop_by_hop(f->name, f->n_name) || (f->n_name == 14 && !strncasecmp(f->name, "content-length", 14)) ||
		    room + f->n_name > sizeof(name))
			continue;
		n += lower_fields(&field[n], f, 1, name + room);
		room += f->n_name;
	}
	interim(s, field, n);
}

static void front_head(struct exchange *x, const struct answer *a, int64_t length, bool upgraded)
{
	struct h2_stream *s = x->client;
	nghttp2_nv field[FIELDS_MAX];
	char status[DECIMAL_MAX], number[DECIMAL_MAX], *lower, *at;
	size_t n = 0, room = 1;
	uint32_t i;

	(void)upgraded; /* HTTP/2 requests carry no Upgrade */
	for (i = 0; i < a->n_fields; i++)
		room += a->field[i].n_name;
	at = lower = malloc(room);
	if (!lower) {
		s->c->s.error = ENOMEM;
		return;
	}
	field[n++] = nv(":status", 7, status, decimal(status, a->status));
	for (i = 0; i < a->n_fields; i++) {
		const struct answer_field *f = &a->field[i];

		if (h1_hop_by_hop(f->name, f->n_name) || (f->n_name == 14 && !strncasecmp(f->name, "content-length", 14)))
			continue;
		n += lower_fields(&field[n], f, 1, at);
		at += f->n_name;
	}
	if (length >= 0)
		field[n++] = nv("content-length", 14, number, decimal(number, (uint64_t)length));
	/* Copied by nghttp2. */
	submit(s, field, n, x->answer_body != BODY_NONE);
	free(lower);
}

/* The bytes are lent to nghttp2 for this call: what it takes is gone, what it does not is given again. */
static size_t front_body(struct exchange *x, const uint8_t *p, size_t n)
{
	struct h2_stream *s = x->client;
	struct client *c = s->c;
	size_t took;

	if (c->s.error || s->cut) {
		h2_send_soon(c);
		return n;
	}
	/* A small rest is kept until the exchange is over, which is now: so its frame says END_STREAM by itself. */
	if (x->answer_body == BODY_LENGTH && n == x->answer_left && n <= REST_MAX && !s->own.data &&
	    !buffer_put(&s->own, p, n, REST_MAX)) {
		h2_stream_watch(s, true);
		return n;
	}
	if (c->h2->in_session) { /* from within: after it */
		s->blocked = s->deferred = true;
		h2_send_soon(c);
		return 0;
	}
	s->p = p;
	s->n = n;
	s->took = 0;
	if (s->deferred) {
		s->deferred = false;
		nghttp2_session_resume_data(c->h2->session, s->id);
	}
	h2_gather(c);
	h2_send_soon(c);
	took = s->took;
	s->blocked = took < n;
	s->p = NULL;
	s->n = 0;
	if (c->s.writing)
		h2_wait_for_room(c);
	h2_stream_watch(s, took > 0);
	return took;
}

static void let_go(struct exchange *x)
{
	struct h2_stream *s = x->client;

	s->x = NULL;
	s->answer_ended = true;
	s->trailer = x->answer_trailer;
	x->answer_trailer = (struct buffer){ 0 };
	s->blocked = false;
	h2_stream_watch(s, false);
	if (s->deferred) {
		s->deferred = false;
		nghttp2_session_resume_data(s->c->h2->session, s->id);
	}
	h2_send_soon(s->c);
}

static void front_end(struct exchange *x)
{
	let_go(x);
}

void h2_own_answer(struct h2_stream *s, unsigned status)
{
	const char *reason = status_reason(status);
	char code[8];
	nghttp2_nv field[2];
	int n;

	n = snprintf(code, sizeof(code), "%u", status);
	field[0] = nv(":status", 7, code, (size_t)n);
	field[1] = nv("content-type", 12, "text/plain", 10);
	if (!s->head_only) {
		buffer_put(&s->own, reason, strlen(reason), 256);
		buffer_put(&s->own, "\n", 1, 256);
	}
	submit(s, field, 2, !s->head_only);
	s->answer_ended = true;
	h2_stream_watch(s, true);
}

static void front_fail(struct exchange *x, unsigned status)
{
	struct h2_stream *s = x->client;

	if (s->answer_begun || !status) {
		s->cut = true;
		nghttp2_submit_rst_stream(s->c->h2->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_INTERNAL_ERROR);
	} else {
		s->head_only = x->head_request;
		h2_own_answer(s, status);
	}
	let_go(x);
}

static void front_pull(struct exchange *x)
{
	struct h2_stream *s = x->client;
	const nghttp2_nv go_on_then = nv(":status", 7, "100", 3);

	if (s->expect && !s->answer_begun && !s->body_ended && !buffer_len(&s->body))
		interim(s, &go_on_then, 1);
	s->expect = false;
	h2_push_body(s, false);
	h2_send_soon(s->c); /* windows that have opened */
}

static int front_splice_to(struct exchange *x)
{
	(void)x;
	return -1;
}

static void front_blocked(struct exchange *x, int error)
{
	(void)x;
	(void)error;
}

const struct front_ops h2_front = { front_hint, front_head, front_body, front_end, front_fail, front_pull, front_splice_to, front_blocked };
