/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * HTTP/2 on the client's side, by nghttp2.  Each stream is an exchange of its own, towards backends that speak
 * HTTP/1.1.  Flow control is end to end: a client's window opens as its body bytes are taken by the backend, and a
 * backend is read as its client's window allows (nghttp2 pulls from the backend's buffer: nothing piles up between).
 */
#include <assert.h>
#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "l7/access.h"
#include "l7/client.h"
#include "l7/decimal.h"
#include "l7/h2_guard.h"
#include "l7/record.h"
#include "l7/tls.h"
#include "l7/trailer.h"

#define STREAMS_MAX 128
#define STREAM_WINDOW 262144 /* all streams together hold CONNECTION_WINDOW at most */
#define CONNECTION_WINDOW (1 << 20)
#define PLAIN_HIGH (2 * RECORD_PLAIN_MAX) /* frames that are sealed before the turn ends */
#define PLAIN_MAX (PLAIN_HIGH + 65536)	   /* and one more, whatever it is */
#define REST_MAX 8192
#define FIELDS_MAX (ANSWER_FIELDS_MAX + 4)
#define GOAWAY_MS 1000 /* between the warning and the end of new streams, when the client answers no PING */

struct h2_stream {
	struct link link; /* in h2->streams */
	struct client *c;
	struct timer timer; /* the client's turn: for its head, its body, its window */
	uint64_t begun_ns;  /* of its head */
	int32_t id;
	struct exchange *x;
	struct buffer body;    /* of the request: not taken yet; bounded by the stream's window */
	bool body_ended, head_done, answer_begun, answer_ended, deferred, blocked, cut, head_only, expect, trailer_sent, answered;
	const uint8_t *p;      /* bytes of the answer that may be taken now */
	size_t n, took;
	uint64_t body_seen;
	struct buffer own;     /* the body of an answer of our own, or the small rest of a backend's */
	struct buffer trailer; /* of the answer */
};

struct h2 {
	nghttp2_session *session;
	struct link streams;
	uint32_t n_streams;
	struct h2_guard guard;
	struct client *c;
	struct timer warned; /* until the final GOAWAY */
	bool in_session; /* nghttp2 is on the stack */
	struct buffer plain; /* frames of this turn of the loop: sealed and sent together when it ends */
	bool draining, told; /* told: the final GOAWAY is out */
	bool offended;
	struct request_head head; /* of the stream whose HEADERS are being read */
	int head_status;
};

static const struct front_ops front;

unsigned h2_active(const struct client *c)
{
	return c->h2->n_streams;
}

static void stream_gone(struct h2_stream *s)
{
	struct exchange *x = s->x;

	nghttp2_session_set_stream_user_data(s->c->h2->session, s->id, NULL);
	s->x = NULL;
	if (x)
		exchange_abort(x, "the client gave up the stream");
	timer_stop(&s->timer);
	link_out(&s->link);
	s->c->h2->n_streams--;
	buffer_free(&s->body);
	buffer_free(&s->own);
	buffer_free(&s->trailer);
	free(s);
}

/* --- sending -------------------------------------------------------------------------------------------------- */
/* When this turn of the loop ends: the frames of all streams that had something to say leave in one record, one call. */
static void send_soon(struct client *c)
{
	if (!c->s.writing || c->s.error)
		stream_kick(&c->s);
}

static void seal(struct client *c)
{
	struct buffer *plain = &c->h2->plain;

	if (!plain->data)
		return;
	stream_put(&c->s, buffer_head(plain), buffer_len(plain));
	buffer_free(plain);
	if (buffer_len(&c->s.out) >= STREAM_OUT_HIGH)
		stream_flush(&c->s);
}

/* What nghttp2 has to send, while the stream is not too full. */
static void gather(struct client *c)
{
	struct h2 *h = c->h2;
	const uint8_t *p;
	ssize_t n;

	if (h->in_session || c->dead)
		return;
	h->in_session = true;
	while (!c->s.error && !c->s.writing) {
		n = nghttp2_session_mem_send(h->session, &p);
		if (n < 0 || (n && buffer_put(&h->plain, p, (size_t)n, PLAIN_MAX)))
			c->s.error = EPROTO;
		if (n <= 0)
			break;
		if (buffer_len(&h->plain) >= PLAIN_HIGH)
			seal(c);
	}
	h->in_session = false;
}

static void h2_send(struct client *c)
{
	if (c->h2->in_session || c->dead)
		return;
	gather(c);
	seal(c);
	stream_flush(&c->s);
}

static void wait_for_room(struct client *c)
{
	if (c->wait != WAIT_BODY) /* put off by progress alone, not by whatever frame the client sends meanwhile */
		client_wait(c, WAIT_BODY);
}

static void wait_again(struct client *c)
{
	if (c->s.writing)
		wait_for_room(c);
	else if (!c->h2->n_streams)
		client_wait(c, WAIT_IDLE);
	else
		client_wait(c, WAIT_ANSWER);
}

/* Streams whose window or whose turn has come back.  From the beginning each time: any of them may end others. */
static void resume_blocked(struct client *c)
{
	struct link *l;

	for (l = c->h2->streams.next; !c->dead && !c->s.writing && !c->s.error && l != &c->h2->streams;) {
		struct h2_stream *s = LINK_OF(l, struct h2_stream, link);

		l = l->next;
		if (!s->x || !s->blocked || !s->deferred)
			continue;
		s->blocked = false;
		exchange_room(s->x);
		l = c->h2->streams.next;
	}
}

/* After anything that may have made work: send, then see whether the connection is over. */
static void go_on(struct client *c)
{
	h2_send(c);
	resume_blocked(c);
	if (c->dead)
		return;
	seal(c);
	stream_flush(&c->s);
	if (c->s.error) {
		client_close(c);
		return;
	}
	if (!nghttp2_session_want_read(c->h2->session) && !nghttp2_session_want_write(c->h2->session) && !c->s.out.data) {
		client_linger(c);
		return;
	}
	wait_again(c);
}

/* The connection ends: the client costs us more than it should. */
static void offence(struct client *c, enum h2_offence o)
{
	if (c->h2->offended)
		return;
	c->h2->offended = true;
	stats_inc(c->s.w->stats.h2_offences[o]);
	nghttp2_session_terminate_session(c->h2->session, NGHTTP2_ENHANCE_YOUR_CALM);
}

/* --- slow clients: a stream that waits for its client has a deadline, whatever the others do ------------------------ */
static void watch(struct h2_stream *s, bool progress)
{
	struct client *c = s->c;
	bool window = s->blocked && !c->s.writing, body = s->x && !s->body_ended && !buffer_len(&s->body) && exchange_ready(s->x);

	if (s->answered)
		return; /* its timer is another */
	if (!window && !body && !s->own.data)
		timer_stop(&s->timer);
	else if (progress || !s->timer.link.next)
		timer_set(c->s.w, &s->timer, worker_ms(c->s.w) + c->edge->conf->body_ms);
}

static void own_answer(struct h2_stream *s, unsigned status);

static void stream_late(struct timer *t)
{
	struct h2_stream *s = LINK_OF(t, struct h2_stream, timer);
	struct client *c = s->c;
	struct exchange *x = s->x;

	if (s->answered) {
		s->cut = true;
		nghttp2_submit_rst_stream(c->h2->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_NO_ERROR);
		go_on(c);
		return;
	}
	if (!s->head_done) { /* HPACK's state is in the middle of it: nothing else can be read */
		stats_inc(c->s.w->stats.timeouts_head);
		nghttp2_session_terminate_session(c->h2->session, NGHTTP2_NO_ERROR);
		go_on(c);
		client_linger(c);
		return;
	}
	stats_inc(c->s.w->stats.timeouts_body);
	s->x = NULL;
	if (x)
		exchange_abort(x, s->blocked ? "the client's window stayed shut" : "the client's body did not come");
	if (s->answer_begun) {
		s->cut = true;
		nghttp2_submit_rst_stream(c->h2->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_CANCEL);
	} else {
		own_answer(s, 408);
	}
	go_on(c);
}

/* --- the answer ------------------------------------------------------------------------------------------------ */
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
		watch(s, true);
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
	send_soon(s->c);
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
		send_soon(c);
		return n;
	}
	/* A small rest is kept until the exchange is over, which is now: so its frame says END_STREAM by itself. */
	if (x->answer_body == BODY_LENGTH && n == x->answer_left && n <= REST_MAX && !s->own.data &&
	    !buffer_put(&s->own, p, n, REST_MAX)) {
		watch(s, true);
		return n;
	}
	if (c->h2->in_session) { /* from within: after it */
		s->blocked = s->deferred = true;
		send_soon(c);
		return 0;
	}
	s->p = p;
	s->n = n;
	s->took = 0;
	if (s->deferred) {
		s->deferred = false;
		nghttp2_session_resume_data(c->h2->session, s->id);
	}
	gather(c);
	send_soon(c);
	took = s->took;
	s->blocked = took < n;
	s->p = NULL;
	s->n = 0;
	if (c->s.writing)
		wait_for_room(c);
	watch(s, took > 0);
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
	watch(s, false);
	if (s->deferred) {
		s->deferred = false;
		nghttp2_session_resume_data(s->c->h2->session, s->id);
	}
	send_soon(s->c);
}

static void front_end(struct exchange *x)
{
	let_go(x);
}

static void own_answer(struct h2_stream *s, unsigned status)
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
	watch(s, true);
}

static void front_fail(struct exchange *x, unsigned status)
{
	struct h2_stream *s = x->client;

	if (s->answer_begun || !status) {
		s->cut = true;
		nghttp2_submit_rst_stream(s->c->h2->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_INTERNAL_ERROR);
	} else {
		s->head_only = x->head_request;
		own_answer(s, status);
	}
	let_go(x);
}

/* --- the request's body ------------------------------------------------------------------------------------------ */
static void push_body(struct h2_stream *s, bool progress)
{
	while (s->x && !s->x->request_done) {
		size_t n = buffer_len(&s->body), took;

		if (!n && !s->body_ended)
			break;
		took = exchange_body(s->x, n ? buffer_head(&s->body) : (const uint8_t *)"", n, s->body_ended);
		if (took) {
			buffer_consume(&s->body, took);
			nghttp2_session_consume(s->c->h2->session, s->id, took);
		}
		if (took < n || !n)
			break;
	}
	watch(s, progress);
}

static void front_pull(struct exchange *x)
{
	struct h2_stream *s = x->client;
	const nghttp2_nv go_on_then = nv(":status", 7, "100", 3);

	if (s->expect && !s->answer_begun && !s->body_ended && !buffer_len(&s->body))
		interim(s, &go_on_then, 1);
	s->expect = false;
	push_body(s, false);
	send_soon(s->c); /* windows that have opened */
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

static const struct front_ops front = { front_hint, front_head, front_body, front_end, front_fail, front_pull, front_splice_to, front_blocked };

/* --- what nghttp2 calls ------------------------------------------------------------------------------------------- */
static int on_begin(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
	struct client *c = ctx;
	struct h2_stream *s;

	if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	s = calloc(1, sizeof(*s));
	if (!s)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	s->c = c;
	s->id = frame->hd.stream_id;
	s->timer.fire = stream_late;
	s->begun_ns = worker_ns(c->s.w);
	timer_set(c->s.w, &s->timer, worker_ms(c->s.w) + c->edge->conf->head_ms);
	link_before(&c->h2->streams, &s->link);
	c->h2->n_streams++;
	nghttp2_session_set_stream_user_data(session, s->id, s);
	c->h2->head_status = 0;
	head_begin(&c->h2->head, c->edge->conf->head_max * 2);
	return 0;
}

/* One of the request's, behind its body.  Of those that cannot be sent on the rest is dropped. */
static int trailer(struct h2_stream *s, const char *value, size_t n_value, const char *name, size_t n_name, bool too_long)
{
	struct buffer *to;
	uint8_t *at;

	if (!s->x || too_long || !trailer_passed(name, n_name))
		return 0;
	to = &s->x->request_trailer;
	at = buffer_reserve(to, n_name + n_value + 4, CHUNKED_TRAILER_MAX);
	if (!at)
		return 0;
	memcpy(at, name, n_name);
	memcpy(at + n_name, ": ", 2);
	memcpy(at + n_name + 2, value, n_value);
	memcpy(at + n_name + 2 + n_value, "\r\n", 2);
	buffer_commit(to, n_name + n_value + 4);
	return 0;
}

static int on_field(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t n_name,
		    const uint8_t *value, size_t n_value, uint8_t flags, void *ctx)
{
	struct client *c = ctx;
	struct request_head *h = &c->h2->head;
	struct h2_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
	const char *v = (const char *)value;
	int status = 0, too_long;
	enum h2_offence o = h2_guard_field(&c->h2->guard, n_name + n_value, c->edge->conf->head_max, &too_long);

	(void)flags;
	if (o) {
		offence(c, o);
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	}
	if (frame->hd.type != NGHTTP2_HEADERS || !s)
		return 0;
	if (s->head_done)
		return trailer(s, v, n_value, (const char *)name, n_name, too_long);
	if (too_long && !c->h2->head_status)
		c->h2->head_status = 431;
	if (c->h2->head_status)
		return 0;
	/* nghttp2 has checked pseudo-fields, their order, and that there are no connection fields (RFC 9113 8.2, 8.3). */
	if (n_name == 7 && !memcmp(name, ":method", 7))
		status = head_method(h, v, n_value);
	else if (n_name == 5 && !memcmp(name, ":path", 5))
		status = head_target(h, v, n_value);
	else if (n_name == 10 && !memcmp(name, ":authority", 10))
		status = head_authority(h, v, n_value);
	else if (n_name && name[0] != ':')
		status = head_field(h, (const char *)name, n_name, v, n_value);
	c->h2->head_status = status;
	return 0;
}

static void refuse(struct client *c, struct h2_stream *s, unsigned status)
{
	stats_inc(c->s.w->stats.refused);
	stats_inc(c->s.w->stats.answers[status / 100]);
	access_log_refused(c->s.w, c, status, status == 404 ? "no route" : "malformed");
	own_answer(s, status);
}

static void begin(struct client *c, struct h2_stream *s, bool ended)
{
	struct worker *w = c->s.w;
	struct exchange_request r = { .front = &front, .client = s, .owner = c, .stream = s->id, .secure = c->secure,
				      .body = !ended, .peer = (const void *)&c->peer };
	struct request_head swap = w->head;
	unsigned status = (unsigned)c->h2->head_status;

	s->head_done = true;
	s->body_ended = ended;
	timer_stop(&s->timer);
	c->requests++;
	h2_guard_useful(&c->h2->guard);
	if (!status)
		status = (unsigned)head_finish(&c->h2->head, 20);
	s->head_only = c->h2->head.method == METHOD_HEAD;
	s->expect = !status && c->h2->head.known[KNOWN_EXPECT];
	if (s->expect && !head_has_token(&c->h2->head, KNOWN_EXPECT, "100-continue"))
		status = 417;
	w->head = c->h2->head;
	if (!client_renew(c))
		h2_drain(c); /* its edge is no more */
	r.edge = c->edge;
	r.snapshot = c->snapshot;
	if (!status)
		status = exchange_new(w, &r, &s->x);
	c->h2->head = w->head;
	w->head = swap;
	if (status) {
		s->x = NULL;
		refuse(c, s, status);
		return;
	}
	stats_observe(&w->stats, PHASE_HEAD, s->x->begun_ns - s->begun_ns);
	if (ended)
		s->x->request_done = true;
	exchange_start(s->x);
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *ctx)
{
	struct client *c = ctx;
	enum h2_offence o = h2_guard_frame(&c->h2->guard, hd->type, hd->type == NGHTTP2_HEADERS ? 0 : worker_ms(c->s.w));

	(void)session;
	if (o)
		offence(c, o);
	return 0;
}

/* The answer is whole and the client still sends its body: nobody reads it (RFC 9113 8.1).  Not at once: clients are known
 * that lose an answer behind which the stream is reset. */
static int on_sent(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
	struct h2_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
	struct client *c = ctx;

	/* Not together: nghttp2 sends a PING before a GOAWAY that was there first. */
	if (frame->hd.type == NGHTTP2_GOAWAY && c->h2->draining && !c->h2->told)
		nghttp2_submit_ping(session, NGHTTP2_FLAG_NONE, NULL);
	if (s && (frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS) && frame->hd.flags & NGHTTP2_FLAG_END_STREAM &&
	    !s->body_ended) {
		s->answered = true;
		timer_set(c->s.w, &s->timer, monotonic_ms() + LINGER_MS);
	}
	return 0;
}

/* No new streams: those that were begun are finished. */
static void goaway(struct client *c)
{
	struct h2 *h = c->h2;

	if (h->told)
		return;
	h->told = true;
	timer_stop(&h->warned);
	nghttp2_submit_goaway(h->session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(h->session), NGHTTP2_NO_ERROR,
			      NULL, 0);
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
	struct client *c = ctx;
	struct h2_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
	bool ended = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;

	if (frame->hd.type == NGHTTP2_PING && frame->hd.flags & NGHTTP2_FLAG_ACK && c->h2->draining)
		goaway(c); /* whatever was under way when we warned has come */
	if (!s)
		return 0;
	if (frame->hd.type == NGHTTP2_HEADERS && !s->head_done) {
		begin(c, s, ended);
	} else if ((frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) && ended) {
		s->body_ended = true;
		push_body(s, true);
	}
	return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t n, void *ctx)
{
	struct h2_stream *s = nghttp2_session_get_stream_user_data(session, id);
	struct client *c = ctx;
	uint64_t max = c->edge->conf->body_max;

	(void)flags;
	if (n)
		h2_guard_useful(&c->h2->guard);
	if (!s || !s->x || s->cut) {
		nghttp2_session_consume(session, id, n); /* answered already: dropped */
		return 0;
	}
	s->body_seen += n;
	if (max && s->body_seen > max) {
		struct exchange *x = s->x;

		s->x = NULL;
		exchange_abort(x, "the body is larger than the edge allows");
		nghttp2_session_consume(session, id, n);
		if (s->answer_begun)
			nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
		else
			own_answer(s, 413);
		return 0;
	}
	if (buffer_put(&s->body, p, n, 2 * STREAM_WINDOW))
		return NGHTTP2_ERR_CALLBACK_FAILURE; /* beyond its window: nghttp2 would have said so */
	push_body(s, true);
	return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t error, void *ctx)
{
	struct h2_stream *s = nghttp2_session_get_stream_user_data(session, id);
	struct client *c = ctx;

	if (!s)
		return 0;
	if ((error || s->x) && !s->cut) {
		enum h2_offence o = h2_guard_reset(&c->h2->guard, monotonic_ms());

		if (o)
			offence(c, o);
	}
	nghttp2_session_set_stream_user_data(session, id, NULL);
	stream_gone(s);
	return 0;
}

static nghttp2_session_callbacks *callbacks;
static nghttp2_option *option;

static void make_callbacks(void)
{
	if (nghttp2_session_callbacks_new(&callbacks) || nghttp2_option_new(&option))
		abort();
	nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_field);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
	nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, on_begin_frame);
	nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_sent);
	nghttp2_option_set_no_auto_window_update(option, 1);
	nghttp2_option_set_max_outbound_ack(option, 200);
}

/* --- the connection ---------------------------------------------------------------------------------------------- */
static void warned_long_enough(struct timer *t)
{
	struct h2 *h = LINK_OF(t, struct h2, warned);

	goaway(h->c);
	go_on(h->c);
}

int h2_begin(struct client *c)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	const nghttp2_settings_entry settings[] = {
		{ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, STREAMS_MAX },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, c->edge->conf->head_max },
	};
	struct h2 *h = calloc(1, sizeof(*h));

	pthread_once(&once, make_callbacks);
	if (!h)
		return -ENOMEM;
	ring_init(&h->streams);
	if (nghttp2_session_server_new2(&h->session, callbacks, c, option)) {
		free(h);
		return -ENOMEM;
	}
	c->h2 = h;
	h->c = c;
	h->warned.fire = warned_long_enough;
	c->s.read_size = 16384;
	nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, settings, 3);
	nghttp2_session_set_local_window_size(h->session, NGHTTP2_FLAG_NONE, 0, CONNECTION_WINDOW);
	client_wait(c, WAIT_IDLE);
	h2_send(c);
	return 0;
}

void h2_input(struct client *c)
{
	struct h2 *h = c->h2;
	struct buffer *in = &c->s.in;

	if (c->s.error) {
		client_close(c);
		return;
	}
	while (in->data && !c->s.error) {
		ssize_t n;

		h->in_session = true;
		n = nghttp2_session_mem_recv(h->session, buffer_head(in), buffer_len(in));
		h->in_session = false;
		if (n < 0) {
			stats_inc(c->s.w->stats.h2_offences[H2_PROTOCOL]);
			h2_send(c); /* a GOAWAY says why */
			while (!ring_empty(&h->streams))
				stream_gone(LINK_OF(h->streams.next, struct h2_stream, link));
			client_linger(c);
			return;
		}
		buffer_consume(in, (size_t)n);
		stream_reopen(&c->s);
	}
	stream_read(&c->s, true);
	if (c->s.eof) {
		client_close(c);
		return;
	}
	go_on(c);
}

void h2_room(struct client *c)
{
	go_on(c);
}

void h2_gone(struct client *c)
{
	struct h2 *h = c->h2;

	while (!ring_empty(&h->streams))
		stream_gone(LINK_OF(h->streams.next, struct h2_stream, link));
	timer_stop(&h->warned);
	nghttp2_session_del(h->session);
	buffer_free(&h->plain);
	head_free(&h->head);
	free(h);
	c->h2 = NULL;
}

/*
 * Streams that were begun are finished; the client is told to begin others elsewhere.  In two steps (RFC 9113 6.8): what it
 * sends before it has read the first GOAWAY is still served; the answer to our PING tells when that is over.
 */
void h2_drain(struct client *c)
{
	struct h2 *h = c->h2;

	if (h->draining)
		return;
	h->draining = true;
	nghttp2_submit_shutdown_notice(h->session);
	timer_set(c->s.w, &h->warned, monotonic_ms() + GOAWAY_MS);
	if (h->in_session)
		send_soon(c);
	else
		go_on(c);
}
