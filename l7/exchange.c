/* SPDX-License-Identifier: BSD-2-Clause */
/* A request and its answer.  See exchange.h. */
#include "l7/exchange.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "l7/access.h"
#include "l7/client.h"
#include "l7/decimal.h"
#include "l7/handoff/handoff.h"
#include "l7/hash.h"
#include "l7/object/object_own.h"
#include "l7/pump.h"
#include "l7/tls/tls.h"
#include "l7/http/trailer.h"

/* --- the request's head, as the backend gets it ---------------------------------------------------------- */
static void put(struct exchange *x, const char *p, size_t n)
{
	assert(x->head_len + n <= x->head_room);
	memcpy(x->head + x->head_len, p, n);
	x->head_len += (uint32_t)n;
}

#define put_text(x, text) put(x, text, sizeof(text) - 1)

static struct head_span put_span(struct exchange *x, const struct request_head *h, struct head_span s)
{
	struct head_span at = { x->head_len, s.n };

	if (s.n)
		put(x, head_text(h, s), s.n);
	return at;
}

/* Named in Connection, so meant for us alone. */
static bool nominated(const struct request_head *h, const struct head_entry *e)
{
	char name[64];

	if (!h->known[KNOWN_CONNECTION] || e->name.n >= sizeof(name))
		return false;
	memcpy(name, head_text(h, e->name), e->name.n);
	name[e->name.n] = 0;
	return head_has_token(h, KNOWN_CONNECTION, name);
}

static bool sent_on(const struct request_head *h, const struct head_entry *e)
{
	switch (e->known) {
	case KNOWN_CONNECTION: case KNOWN_KEEP_ALIVE: case KNOWN_PROXY_CONNECTION: case KNOWN_TE: case KNOWN_TRAILER:
	case KNOWN_TRANSFER_ENCODING: case KNOWN_UPGRADE: case KNOWN_HTTP2_SETTINGS: case KNOWN_EXPECT:
	case KNOWN_CONTENT_LENGTH: case KNOWN_HOST: case KNOWN_X_FORWARDED_FOR: case KNOWN_FORWARDED:
		return false; /* dropped, or written anew below */
	default:
		return !nominated(h, e);
	}
}

static void put_list(struct exchange *x, const struct request_head *h, enum head_known known)
{
	uint16_t i;

	for (i = 0; i < h->n_entries; i++)
		if (h->entry[i].known == known && h->entry[i].value.n) {
			put_span(x, h, h->entry[i].value);
			put_text(x, ", ");
		}
}

static void put_number(struct exchange *x, int64_t v)
{
	char text[DECIMAL_MAX];

	put(x, text, decimal(text, (uint64_t)v));
}

/* An address and its text. */
static const void *client_address(const struct sockaddr_storage *ss, size_t *n, char text[ADDRESS_TEXT])
{
	const struct sockaddr_in6 *in6 = (const void *)ss;

	if (ss->ss_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)ss;
		const uint8_t *byte = (const void *)&in->sin_addr;
		size_t at = 0;

		for (*n = 0; *n < 4; ++*n) {
			at += decimal(text + at, byte[*n]);
			text[at++] = *n < 3 ? '.' : 0;
		}
		return byte;
	}
	*n = 16;
	inet_ntop(AF_INET6, &in6->sin6_addr, text, ADDRESS_TEXT);
	return &in6->sin6_addr;
}

static void write_head(struct exchange *x, const struct exchange_request *r, const struct cert_fact *f)
{
	const struct request_head *h = &x->w->head;
	struct head_span host = h->authority.n ? h->authority : head_get(h, KNOWN_HOST);
	bool v6 = r->peer->ss_family == AF_INET6 && strchr(x->client_text, ':');
	uint16_t i;

	x->log_method = put_span(x, h, h->method_name);
	put_text(x, " ");
	x->log_target = put_span(x, h, h->forward);
	put_text(x, " HTTP/1.1\r\nHost: ");
	x->log_host = put_span(x, h, host);
	if (!host.n) { /* HTTP/1.0: the address that was meant */
		const struct sockaddr_storage *peer, *local;
		char text[ADDRESS_TEXT];
		size_t n;

		front_addresses(x, &peer, &local);
		client_address(local, &n, text);
		if (n == 16)
			put_text(x, "[");
		put(x, text, strlen(text));
		if (n == 16)
			put_text(x, "]");
	}
	put_text(x, "\r\n");
	for (i = 0; i < h->n_entries; i++) {
		const struct head_entry *e = &h->entry[i];
		struct head_span value;

		if (!sent_on(h, e))
			continue;
		put_span(x, h, e->name);
		put_text(x, ": ");
		value = put_span(x, h, e->value);
		put_text(x, "\r\n");
		if (e->known == KNOWN_USER_AGENT)
			x->log_agent = value;
		else if (e->known == KNOWN_REFERER)
			x->log_referer = value;
	}
	put_text(x, "X-Forwarded-For: ");
	put_list(x, h, KNOWN_X_FORWARDED_FOR);
	put(x, x->client_text, strlen(x->client_text));
	if (r->secure)
		put_text(x, "\r\nX-Forwarded-Proto: https\r\nForwarded: ");
	else
		put_text(x, "\r\nX-Forwarded-Proto: http\r\nForwarded: ");
	put_list(x, h, KNOWN_FORWARDED);
	if (v6)
		put_text(x, "for=\"[");
	else
		put_text(x, "for=");
	put(x, x->client_text, strlen(x->client_text));
	if (v6)
		put_text(x, "]\"");
	if (r->secure)
		put_text(x, ";proto=https\r\n");
	else
		put_text(x, ";proto=http\r\n");
	if (f)
		x->head_len += (uint32_t)cert_fact_fields(f, x->head + x->head_len);
	if (x->request_body == BODY_LENGTH) {
		put_text(x, "Content-Length: ");
		put_number(x, h->content_length);
		put_text(x, "\r\n");
	} else if (x->request_body == BODY_CHUNKED) {
		put_text(x, "Transfer-Encoding: chunked\r\n");
	}
	if (x->upgrade) {
		put_text(x, "Connection: upgrade\r\nUpgrade: ");
		put_span(x, h, head_get(h, KNOWN_UPGRADE));
		put_text(x, "\r\n\r\n");
	} else {
		put_text(x, "\r\n");
	}
}

static bool idempotent(uint8_t method)
{
	return method == METHOD_GET || method == METHOD_HEAD || method == METHOD_PUT || method == METHOD_DELETE ||
	       method == METHOD_OPTIONS || method == METHOD_TRACE;
}

unsigned exchange_new(struct worker *w, const struct exchange_request *r, struct exchange **out)
{
	const struct request_head *h = &w->head;
	const struct cert_fact *certificate = r->owner->s.tls ? tls_certificate(r->owner->s.tls) : NULL;
	uint32_t at = route_find(r->edge->routes, h);
	const struct pool_conf *conf;
	char text[ADDRESS_TEXT];
	struct exchange *x;
	struct wpool *p;
	const void *client;
	size_t n_client, room;

	if (at == ROUTE_NONE)
		return 404;
	if (h->content_length > 0 && r->edge->conf->body_max && (uint64_t)h->content_length > r->edge->conf->body_max)
		return 413;
	conf = &r->snapshot->conf.pool[r->edge->conf->route[at].pool];
	p = wpool_find(w, conf->name);
	if (!p)
		return 503; /* the connection's configuration is older than the pools: gone by now */
	/* Text, ": " and CRLF for each field, and what we add, which quotes the client's address twice. */
	room = h->text_len + 6u * h->n_entries + 3u * ADDRESS_TEXT + 320 + (certificate ? cert_fact_fields_len(certificate) : 0);
	x = malloc(sizeof(*x) + room);
	if (!x)
		return 503;
	memset(x, 0, sizeof(*x));
	x->head_room = (uint32_t)room;
	x->front = r->front;
	x->client = r->client;
	x->owner = r->owner;
	x->stream = r->stream;
	x->w = w;
	x->pool = p;
	p->users++;
	x->begun_ns = worker_ns(w);
	x->method = h->method;
	x->version = h->version;
	x->idempotent = idempotent(h->method);
	x->head_request = h->method == METHOD_HEAD;
	x->slight = x->head_request || (h->method == METHOD_GET && (h->known[KNOWN_IF_NONE_MATCH] || h->known[KNOWN_IF_MODIFIED_SINCE]));
	x->upgrade = h->version == 11 && h->known[KNOWN_UPGRADE] && head_has_token(h, KNOWN_CONNECTION, "upgrade") &&
		     !h->chunked && h->content_length <= 0;
	x->request_body = h->chunked || (r->body && h->content_length < 0) ? BODY_CHUNKED
			  : h->content_length >= 0			   ? BODY_LENGTH
									   : BODY_NONE;
	x->request_done = x->request_body == BODY_NONE || (x->request_body == BODY_LENGTH && !h->content_length);
	x->pipe[0] = x->pipe[1] = x->up[0] = x->up[1] = -1;
	client = client_address(r->peer, &n_client, text);
	memcpy(x->client_text, text, sizeof(text));
	if (conf->policy == POLICY_AFFINITY || conf->policy == POLICY_LARD) /* no other asks for it */
		x->key.hash = route_key(conf, h, client, n_client);
	x->pick = -1;
	x->route = r->edge->first_route + at;
	x->reason = REASONS;
	if (w->handoff)
		x->object = hash_bytes(head_text(h, h->path), h->path.n, hash_bytes(head_text(h, h->host), h->host.n, 5));
	write_head(x, r, certificate);
	stats_inc(w->stats.active);
	stats_inc(w->stats.requests[h->version == 20 ? 2 : h->version - 10]);
	*out = x;
	return 0;
}

/* --- end ------------------------------------------------------------------------------------------------ */
static void settle(struct exchange *x, enum backend_outcome outcome)
{
	if (!x->backend)
		return;
	if (x->backend->index >= 0)
		pool_end(x->pool->pool, x->backend->index, &x->key, outcome, worker_ms(x->w));
	backend_ref_put(x->backend);
	x->backend = NULL;
}

void exchange_forget(struct exchange *x)
{
	struct wpool *p = x->pool;

	stats_add(x->w->stats.active, -1);
	free(x);
	wpool_release(p);
}

static void finish(struct exchange *x)
{
	struct worker *w = x->w;
	struct wpool *p = x->pool;
	uint64_t now = worker_ns(w);

	link_out(&x->link);
	timer_stop(&x->timer);
	pump_free(x);
	object_own_free(x->own);
	buffer_free(&x->request_trailer);
	buffer_free(&x->answer_trailer);
	stats_add(w->stats.active, -1);
	stats_inc(w->stats.answers[x->status ? x->status / 100 : 0]);
	stats_observe(&w->stats, PHASE_TOTAL, now - x->begun_ns);
	access_log_exchange(w, x, now);
	free(x);
	/* Whoever waits in the queue is served before the client's next request. */
	if (p->n_queued)
		wpool_next(p);
	wpool_release(p);
}

static void drop_conn(struct exchange *x)
{
	if (x->conn) {
		backend_release(x->conn, false);
		x->conn = NULL;
	}
}

static void fail(struct exchange *x, unsigned status, const char *why)
{
	const struct front_ops *front = x->front;

	drop_conn(x);
	if (!x->why)
		x->why = why;
	if (x->state >= EXCHANGE_ANSWERED) {
		stats_inc(x->w->stats.cut);
		status = 0;
	} else {
		x->status = (uint16_t)status;
	}
	x->state = EXCHANGE_DONE;
	/* The front lets go of x, and may not begin another request before finish(): both are asked in this order. */
	front->fail(x, status);
	finish(x);
}

void exchange_abort(struct exchange *x, const char *why)
{
	if (x->state == EXCHANGE_QUEUED && x->link.next)
		x->pool->n_queued--;
	if (!x->why)
		x->why = why;
	settle(x, OUTCOME_OK); /* not the backend's fault */
	drop_conn(x);
	finish(x);
}

void exchange_complete(struct exchange *x, bool keep)
{
	struct backend_conn *c = x->conn;

	timer_stop(&x->timer);
	settle(x, x->status >= 500 ? OUTCOME_SERVER_ERROR : OUTCOME_OK);
	if (x->w->handoff)
		handoff_given(x);
	x->conn = NULL;
	if (c)
		backend_release(c, keep && x->request_done);
	x->state = EXCHANGE_DONE;
	x->front->end(x);
	finish(x);
}

/* --- to the backend --------------------------------------------------------------------------------------- */
static void answer_timeout(struct timer *t)
{
	struct exchange *x = LINK_OF(t, struct exchange, timer);

	stats_inc(x->w->stats.timeouts_backend);
	if (x->state == EXCHANGE_QUEUED) {
		link_out(&x->link);
		x->pool->n_queued--;
		fail(x, 503, "no connection became free");
		return;
	}
	settle(x, OUTCOME_TIMEOUT);
	fail(x, 504, x->state >= EXCHANGE_ANSWERED ? "the backend stalled" : "the backend did not answer in time");
}

static void await_answer(struct exchange *x)
{
	timer_set(x->w, &x->timer, worker_ms(x->w) + x->pool->conf->response_ms);
}

void exchange_start(struct exchange *x)
{
	x->timer.fire = answer_timeout;
	backend_acquire(x);
}

static void backend_broke(struct exchange *x, const char *why)
{
	struct backend_conn *c = x->conn;
	bool unread = false;

	x->conn = NULL;
	backend_release(c, false);
	exchange_conn_failed(x, why, unread, OUTCOME_RESET);
}

void exchange_connected(struct exchange *x, bool fresh)
{
	struct stream *s = &x->conn->s;
	size_t n;

	x->connected_ns = worker_ns(x->w);
	x->unread = false;
	if (fresh)
		stats_observe(&x->w->stats, PHASE_CONNECT, x->connected_ns - x->picked_ns);
	x->state = EXCHANGE_ASKED;
	await_answer(x);
	if (x->request_done) {
		n = stream_write(s, x->head, x->head_len);
		if (n < x->head_len)
			stream_put(s, x->head + n, x->head_len - n);
	} else {
		stream_put(s, x->head, x->head_len);
		x->front->pull(x); /* the body's first bytes go with the head */
		stream_flush(s);
	}
	if (s->error)
		backend_broke(x, strerror(s->error));
}

/* The last chunk, and what of the trailers is passed on. */
static void end_chunks(struct exchange *x, struct stream *s)
{
	struct answer_field field[TRAILER_FIELDS_MAX];
	struct buffer *t = &x->request_trailer;
	int n = t->data ? trailer_fields(buffer_head(t), buffer_len(t), field) : 0, i;

	stream_put(s, "0\r\n", 3);
	for (i = 0; i < n; i++) {
		stream_put(s, field[i].name, field[i].n_name);
		stream_put(s, ": ", 2);
		stream_put(s, field[i].value, field[i].n_value);
		stream_put(s, "\r\n", 2);
	}
	stream_put(s, "\r\n", 2);
}

static size_t send_chunk(struct exchange *x, struct stream *s, const uint8_t *p, size_t n, bool end)
{
	char line[24];
	int k;

	if (n && buffer_len(&s->out) >= STREAM_OUT_HIGH)
		return 0;
	if (n > STREAM_OUT_HIGH)
		n = STREAM_OUT_HIGH, end = false;
	if (n) {
		k = snprintf(line, sizeof(line), "%zx\r\n", n);
		stream_put(s, line, (size_t)k);
		stream_put(s, p, n);
		stream_put(s, "\r\n", 2);
	}
	if (end)
		end_chunks(x, s);
	stream_flush(s);
	return n;
}

void exchange_progress(struct exchange *x, size_t n)
{
	x->body_taken = true;
	x->bytes_in += n;
	stats_add(x->w->stats.bytes_in, n);
	await_answer(x);
}

bool exchange_ready(const struct exchange *x)
{
	return x->conn && x->state >= EXCHANGE_ASKED;
}

/* A backend that closed with the body unread may have answered before it did (RFC 9112 9.6): what it said is read. */
void exchange_unread(struct exchange *x)
{
	struct stream *s = &x->conn->s;

	x->unread = true;
	s->error = 0;
	buffer_free(&s->out);
	stream_read(s, true);
}

size_t exchange_body(struct exchange *x, const uint8_t *p, size_t n, bool end)
{
	struct stream *s;
	size_t took;

	/* A backend that answered early and closed takes no more: what is left is read and dropped. */
	if (x->state == EXCHANGE_DONE)
		return n;
	if (!exchange_ready(x))
		return 0;
	s = &x->conn->s;
	if (s->error || x->unread)
		return x->body_taken ? n : 0;
	took = x->request_body == BODY_CHUNKED ? send_chunk(x, s, p, n, end) : stream_write(s, p, n);
	x->body_taken = x->body_taken || took;
	if (s->error) {
		exchange_unread(x);
		return x->body_taken ? n : 0; /* none of it taken: another backend may get all of it */
	}
	x->bytes_in += took;
	stats_add(x->w->stats.bytes_in, took);
	if (took == n && end)
		x->request_done = true;
	else if (took < n && !s->writing && !s->error)
		stream_await_write(s);
	if (took)
		await_answer(x);
	return took;
}

/* --- a second try ------------------------------------------------------------------------------------------ */
void exchange_no_backend(struct exchange *x, unsigned status, const char *why)
{
	fail(x, status, why);
}

void exchange_conn_failed(struct exchange *x, const char *why, bool unread, enum backend_outcome outcome)
{
	int index = x->backend ? x->backend->index : -1;
	bool may = x->state < EXCHANGE_ANSWERED && (unread || x->idempotent) && !x->body_taken && !x->answer_ns;

	wpool_tried(x);
	if (index >= 0 && index < POOL_BACKENDS_MAX)
		x->tried |= UINT64_C(1) << index;
	settle(x, outcome);
	x->why = why;
	if (may && x->attempts <= x->pool->conf->retries) {
		if (pool_may_retry(x->pool->pool, monotonic_ms())) {
			stats_inc(x->w->stats.retries);
			timer_stop(&x->timer);
			backend_acquire(x);
			return;
		}
		stats_inc(x->w->stats.retries_denied);
	}
	fail(x, 502, why);
}

/* --- the answer --------------------------------------------------------------------------------------------- */
static void begin_body(struct exchange *x, const struct answer *a)
{
	x->answer_body = BODY_CLOSE;
	x->answer_left = 0;
	if (x->head_request || a->status == 204 || a->status == 304) {
		x->answer_body = BODY_NONE;
	} else if (a->chunked) {
		x->answer_body = BODY_CHUNKED;
		memset(&x->chunked, 0, sizeof(x->chunked));
	} else if (a->content_length >= 0) {
		x->answer_body = a->content_length ? BODY_LENGTH : BODY_NONE;
		x->answer_left = (uint64_t)a->content_length;
	}
}

void exchange_answered(struct exchange *x, const struct answer *a)
{
	x->status = a->status;
	x->answer_ns = worker_ns(x->w);
	stats_observe(&x->w->stats, PHASE_ANSWER, x->answer_ns - x->connected_ns);
	begin_body(x, a);
	if (x->w->handoff)
		handoff_answered(x, a->content_length);
	if (a->status == 101) {
		x->state = EXCHANGE_TUNNEL;
		x->answer_body = BODY_CLOSE;
		timer_stop(&x->timer);
		stats_inc(x->w->stats.tunnels);
		x->request_body = BODY_CLOSE;
		x->request_done = false;
	} else {
		x->state = EXCHANGE_ANSWERED;
		if (x->conn)
			await_answer(x);
	}
	x->front->head(x, a, x->answer_body == BODY_CHUNKED || x->answer_body == BODY_CLOSE ? -1 : a->content_length,
		       x->state == EXCHANGE_TUNNEL);
}

void exchange_cut(struct exchange *x, const char *why)
{
	settle(x, OUTCOME_RESET);
	fail(x, 0, why);
}

/* 1: a head was read; 0: more bytes are needed; -1: x is gone. */
static int read_head(struct exchange *x)
{
	struct backend_conn *c = x->conn;
	struct buffer *in = &c->s.in;
	struct answer *a = &x->w->answer;
	const char *why = "the answer's head is too long";
	size_t n;

	for (;;) {
		n = in->data ? h1_head_end(buffer_head(in), buffer_len(in), &c->scanned) : 0;
		if (!n && buffer_len(in) < STREAM_IN_MAX - 2048)
			return 0;
		if (!n || h1_answer(a, buffer_head(in), n, &why)) {
			settle(x, OUTCOME_SERVER_ERROR);
			x->answer_ns = 1; /* never asked again: it did answer */
			fail(x, 502, why);
			return -1;
		}
		c->scanned = 0;
		if (a->status >= 200 || (a->status == 101 && x->upgrade))
			break;
		if (a->status == 101 || ++x->interim > INTERIM_MAX) {
			settle(x, OUTCOME_SERVER_ERROR);
			x->answer_ns = 1;
			fail(x, 502, a->status == 101 ? "it switches protocols unasked" : "too many interim answers");
			return -1;
		}
		if (a->status == 103) /* 100 and 102 are ours to give */
			x->front->hint(x, a);
		buffer_consume(in, n);
	}
	exchange_answered(x, a);
	c->used = a->keep && x->answer_body != BODY_CLOSE ? c->used : UINT64_MAX; /* not to be kept */
	buffer_consume(in, n);
	return 1;
}

/* How a backend may end: where its answer has no length, that is its end (under TLS, if it says so). */
static void ended(struct exchange *x)
{
	struct stream *s = &x->conn->s;

	if (x->state >= EXCHANGE_ANSWERED && x->answer_body == BODY_CLOSE && !s->error && (!s->tls || tls_ended(s->tls))) {
		if (x->state == EXCHANGE_TUNNEL)
			x->request_done = true;
		exchange_complete(x, false);
	} else if (x->state >= EXCHANGE_ANSWERED) {
		exchange_cut(x, "the backend ended in the middle of its answer");
	} else {
		backend_broke(x, s->error ? strerror(s->error) : "the backend closed without an answer");
	}
}

void exchange_input(struct exchange *x)
{
	struct stream *s = &x->conn->s;
	enum pump_result r;

	if (x->state == EXCHANGE_ASKED) {
		int head = read_head(x);

		if (!head && (s->eof || s->error))
			ended(x);
		if (head <= 0)
			return;
	}
	r = pump(x);
	/* Under TLS records may wait until there is room for what is in them. */
	while (r == PUMP_MORE && s->raw.data) {
		size_t had = buffer_len(&s->in);

		stream_reopen(s);
		if (buffer_len(&s->in) == had)
			break;
		r = pump(x);
	}
	switch (r) {
	case PUMP_MORE:
		if (s->eof || s->error) {
			ended(x);
			break;
		}
		if (x->state == EXCHANGE_ANSWERED) {
			await_answer(x); /* progress */
			stream_flush(&x->owner->s); /* a head whose body is not there yet, an event whose next one is not */
		}
		stream_read(s, true);
		break;
	case PUMP_BLOCKED:
		stream_read(s, false);
		timer_stop(&x->timer); /* the client is slow, not the backend: the front has its own time-out */
		break;
	case PUMP_DONE:
		exchange_complete(x, x->conn->used != UINT64_MAX);
		break;
	case PUMP_BAD:
		settle(x, OUTCOME_SERVER_ERROR);
		fail(x, 0, "the answer's chunked coding is wrong");
		break;
	}
}

void exchange_room(struct exchange *x)
{
	if (x->own) {
		if (x->state == EXCHANGE_ANSWERED)
			object_own_room(x);
		return;
	}
	if (x->state == EXCHANGE_ANSWERED)
		await_answer(x);
	if (x->state == EXCHANGE_ANSWERED || x->state == EXCHANGE_TUNNEL)
		exchange_input(x);
}
