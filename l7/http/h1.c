/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * HTTP/1 on the client's side: one request after the other, those that came early wait in the buffer.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "l7/access.h"
#include "l7/client.h"
#include "l7/decimal.h"
#include "l7/handoff/handoff.h"
#include "l7/pump.h"
#include "l7/tls/ktls.h"
#include "l7/tls/tls.h"
#include "l7/http/trailer.h"

#define PIPELINE_TURN 64 /* requests */
#define KTLS_MIN (1u << 20) /* octets of an answer: in the VM, whose AES is software, CPU is the same at 1 MB and a tenth less at 16 MB */

static const struct front_ops front;
static void next(struct client *c);

const char *status_reason(unsigned status)
{
	switch (status) {
	case 400: return "Bad Request";
	case 404: return "Not Found";
	case 408: return "Request Timeout";
	case 413: return "Content Too Large";
	case 414: return "URI Too Long";
	case 417: return "Expectation Failed";
	case 431: return "Request Header Fields Too Large";
	case 501: return "Not Implemented";
	case 502: return "Bad Gateway";
	case 503: return "Service Unavailable";
	case 504: return "Gateway Timeout";
	case 505: return "HTTP Version Not Supported";
	default: return status < 500 ? "Refused" : "Internal Server Error";
	}
}

/* An answer of our own. */
static void own_answer(struct client *c, unsigned status)
{
	const char *reason = status_reason(status);
	char text[512];
	int n;

	n = snprintf(text, sizeof(text),
		     "HTTP/1.1 %u %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n%s%s\r\n%s%s%s", status, reason,
		     strlen(reason) + 1, c->keep ? "" : "Connection: close\r\n", status == 503 ? "Retry-After: 1\r\n" : "",
		     c->head_only ? "" : reason, c->head_only ? "" : "\n", "");
	stream_put(&c->s, text, (size_t)n);
	stream_flush(&c->s);
}

static void refuse(struct client *c, unsigned status, const char *why)
{
	struct worker *w = c->s.w;

	stats_inc(w->stats.refused);
	stats_inc(w->stats.answers[status / 100]);
	access_log_refused(w, c, status, why);
	c->keep = false;
	c->head_only = false;
	own_answer(c, status);
	client_linger(c);
}

void h1_begin(struct client *c)
{
	c->keep = true;
	c->begun_ns = 0;
	client_wait(c, WAIT_HEAD); /* the first request is due like its head */
}

/* The connection breaks while somebody above is at work on it: seen when the loop comes back. */
static void broken_soon(struct client *c)
{
	timer_set(c->s.w, &c->timer, 0);
}

/* --- the request's body ------------------------------------------------------------------------------------ */
static void body_over(struct client *c)
{
	c->body = BODY_NONE;
	client_await_answer(c);
}

/* 0; or the client's body is wrong: -EBADMSG, -EFBIG. */
static int push_body(struct client *c)
{
	struct exchange *x = c->x;
	struct buffer *in = &c->s.in;
	uint64_t max = c->edge->conf->body_max;
	size_t n, took;
	ptrdiff_t used;

	while (c->body != BODY_NONE && in->data && exchange_ready(x)) {
		n = buffer_len(in);
		if (c->body == BODY_CHUNKED) {
			used = chunked_next_trailer(&c->chunked, buffer_head(in), n, &n, &x->request_trailer);
			if (used < 0)
				return -EBADMSG;
			if (used)
				buffer_consume(in, (size_t)used);
			if (c->chunked.where == CHUNKED_DONE) {
				if (!trailer_fair(&x->request_trailer))
					return -EBADMSG;
				exchange_body(x, (const uint8_t *)"", 0, true);
				body_over(c);
				return 0;
			}
			if (!n)
				break;
		} else if (n > c->body_left) {
			n = (size_t)c->body_left;
		}
		if (max && c->body_seen + n > max)
			return -EFBIG;
		took = exchange_body(x, buffer_head(in), n, c->body == BODY_LENGTH && n == c->body_left);
		if (!took) {
			client_await_answer(c); /* the backend is slow, not the client */
			break;
		}
		c->body_seen += took;
		buffer_consume(in, took);
		if (c->body == BODY_CHUNKED)
			chunked_took(&c->chunked, took);
		else
			c->body_left -= took;
		client_wait(c, WAIT_BODY);
		if (c->body == BODY_LENGTH && !c->body_left) {
			body_over(c);
			return 0;
		}
	}
	stream_reopen(&c->s);
	if (c->body == BODY_LENGTH && !in->data && exchange_ready(x)) {
		uint64_t before = c->body_left;

		switch (pump_up(x, &c->s, &c->body_left)) {
		case PUMP_UP_NOT:
			c->s.direct = false;
			break;
		case PUMP_UP_CLIENT:
			c->s.direct = true;
			if (c->body_left != before)
				client_wait(c, WAIT_BODY);
			break;
		case PUMP_UP_BACKEND: /* it is slow, not the client */
			c->s.direct = true;
			client_await_answer(c);
			stream_read(&c->s, false);
			return 0;
		case PUMP_UP_DONE:
			c->s.direct = false;
			body_over(c);
			break;
		}
	}
	if (c->body != BODY_NONE || !c->s.direct)
		stream_read(&c->s, true);
	return 0;
}

static void bad_body(struct client *c, int err)
{
	struct exchange *x = c->x;

	c->x = NULL;
	c->body = BODY_NONE;
	exchange_abort(x, err == -EFBIG ? "the body is larger than the edge allows" : "the body's chunked coding is wrong");
	if (c->answer_begun)
		client_close(c);
	else
		refuse(c, err == -EFBIG ? 413 : 400, "body");
}

static void push_tunnel(struct client *c)
{
	struct buffer *in = &c->s.in;
	size_t took;

	while (in->data) {
		took = exchange_body(c->x, buffer_head(in), buffer_len(in), false);
		if (!took) {
			stream_read(&c->s, false);
			return;
		}
		buffer_consume(in, took);
		stream_reopen(&c->s);
	}
	stream_read(&c->s, true);
	if (c->s.eof && c->x->conn)
		shutdown(c->x->conn->s.fd, SHUT_WR);
}

/* The backend can take bytes of the body.  Faults of the client's are found in h1_input, not here: x is in use. */
static void front_pull(struct exchange *x)
{
	static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
	struct client *c = x->client;
	int err;

	if (c->tunnel) {
		push_tunnel(c);
		return;
	}
	if (c->expect && !c->s.in.data && c->body != BODY_NONE) {
		stream_put(&c->s, go_on, sizeof(go_on) - 1);
		stream_flush(&c->s);
	}
	c->expect = false;
	if (c->body != BODY_NONE)
		client_wait(c, WAIT_BODY);
	err = push_body(c);
	if (err || (c->s.eof && c->body != BODY_NONE && !c->s.in.data)) {
		c->s.error = err == -EFBIG ? EFBIG : EBADMSG; /* refused as soon as the loop is back */
		broken_soon(c);
	} else if (c->s.error) {
		broken_soon(c);
	}
}

/* --- the answer ---------------------------------------------------------------------------------------------- */
static void put_field(struct buffer *b, const char *name, size_t n_name, const char *value, size_t n_value)
{
	h1_put_field(b, name, n_name, value, n_value, STREAM_OUT_MAX);
}

static void put_status(struct buffer *b, const struct answer *a)
{
	char line[9 + DECIMAL_MAX + 1] = "HTTP/1.1 ";
	size_t n = 9 + decimal(line + 9, a->status);

	line[n++] = ' ';
	buffer_put(b, line, n, STREAM_OUT_MAX);
	buffer_put(b, a->reason, a->n_reason, STREAM_OUT_MAX);
	buffer_put(b, "\r\n", 2, STREAM_OUT_MAX);
}

/* Fields of the answer that are written anew or belong to the backend's connection. */
static bool passed(const struct answer_field *f)
{
	switch (f->name[0] | 0x20) {
	case 'c':
		return !(f->n_name == 14 && !strncasecmp(f->name, "content-length", 14)) && !h1_hop_by_hop(f->name, f->n_name);
	case 'k': case 'p': case 't': case 'u':
		return !h1_hop_by_hop(f->name, f->n_name);
	default:
		return true;
	}
}

/* To the client as it is: sealed where there is TLS. */
static void put_plain(struct client *c, struct buffer *plain)
{
	if (plain->data)
		stream_put(&c->s, buffer_head(plain), buffer_len(plain));
	buffer_free(plain);
}

static void front_hint(struct exchange *x, const struct answer *a)
{
	struct client *c = x->client;
	struct buffer plain = { 0 };
	uint32_t i;

	/* HTTP/1.0 knows no interim answers (RFC 9110 15.2). */
	if (x->version != 11 || buffer_len(&c->s.out) >= STREAM_OUT_HIGH)
		return;
	put_status(&plain, a);
	for (i = 0; i < a->n_fields; i++)
		if (passed(&a->field[i]))
			put_field(&plain, a->field[i].name, a->field[i].n_name, a->field[i].value, a->field[i].n_value);
	buffer_put(&plain, "\r\n", 2, STREAM_OUT_MAX);
	put_plain(c, &plain);
	stream_flush(&c->s);
	if (c->s.error)
		broken_soon(c);
}

static void front_head(struct exchange *x, const struct answer *a, int64_t length, bool upgraded)
{
	struct client *c = x->client;
	struct buffer plain = { 0 }, *to = c->s.tls ? &plain : &c->s.out;
	char number[DECIMAL_MAX] = "";
	uint32_t i, room = 256 + a->n_reason;

	/* One reservation for the whole head. */
	for (i = 0; i < a->n_fields; i++)
		room += a->field[i].n_name + a->field[i].n_value + 4;
	buffer_reserve(to, room, STREAM_OUT_MAX);
	c->answer_begun = true;
	c->answer_chunked = length < 0 && !upgraded && x->answer_body != BODY_NONE && x->version == 11;
	if (length < 0 && !c->answer_chunked && x->answer_body != BODY_NONE)
		c->keep = false;
	if (c->body != BODY_NONE && !upgraded && !x->request_done && c->expect)
		c->keep = false; /* its body was never asked for, and may come or not */
	if (c->s.w->draining)
		c->keep = false;
	if (c->keep && c->s.ktls && stream_key_ends(&c->s, length > 0 ? (uint64_t)length : 0)) {
		stats_inc(c->s.w->stats.ktls_ended);
		c->keep = false;
	}
	put_status(to, a);
	for (i = 0; i < a->n_fields; i++)
		if (passed(&a->field[i]))
			put_field(to, a->field[i].name, a->field[i].n_name, a->field[i].value, a->field[i].n_value);
	if (upgraded) {
		buffer_put(to, "Connection: upgrade\r\n", 21, STREAM_OUT_MAX);
		for (i = 0; i < a->n_fields; i++)
			if (a->field[i].n_name == 7 && !strncasecmp(a->field[i].name, "upgrade", 7))
				put_field(to, "Upgrade", 7, a->field[i].value, a->field[i].n_value);
		c->tunnel = true;
		c->body = BODY_NONE;
		client_await_answer(c);
		stream_read(&c->s, true);
	} else {
		if (length >= 0) {
			put_field(to, "Content-Length", 14, number, decimal(number, (uint64_t)length));
		} else if (c->answer_chunked) {
			buffer_put(to, "Transfer-Encoding: chunked\r\n", 28, STREAM_OUT_MAX);
		}
		if (!c->keep)
			buffer_put(to, "Connection: close\r\n", 19, STREAM_OUT_MAX);
		else if (x->version == 10)
			buffer_put(to, "Connection: keep-alive\r\n", 24, STREAM_OUT_MAX);
	}
	buffer_put(to, "\r\n", 2, STREAM_OUT_MAX);
	if (c->s.tls) {
		stream_put(&c->s, buffer_head(&plain), buffer_len(&plain));
		buffer_free(&plain);
	}
	if (upgraded)
		stream_flush(&c->s);
}

static void await_client(struct client *c)
{
	if (c->s.writing && c->wait != WAIT_BODY)
		client_wait(c, WAIT_BODY);
}

static size_t front_body(struct exchange *x, const uint8_t *p, size_t n)
{
	struct client *c = x->client;
	char line[24];
	size_t took;

	if (c->s.error) {
		broken_soon(c);
		return n;
	}
	if (!n)
		return 0;
	if (c->answer_chunked) {
		if (buffer_len(&c->s.out) >= STREAM_OUT_HIGH) {
			stream_await_write(&c->s);
			await_client(c);
			return 0;
		}
		took = n;
		stream_put(&c->s, line, (size_t)snprintf(line, sizeof(line), "%zx\r\n", n));
		stream_put(&c->s, p, n);
		stream_put(&c->s, "\r\n", 2);
	} else {
		took = stream_write(&c->s, p, n);
	}
	if (c->s.error) {
		broken_soon(c);
		return n;
	}
	await_client(c);
	return took;
}

/* The exchange is over: next request, or the end. */
static void over(struct client *c)
{
	c->x = NULL;
	c->tunnel = false;
	stream_flush(&c->s);
	if (c->s.error) {
		client_close(c);
		return;
	}
	if (c->body != BODY_NONE)
		c->keep = false; /* the rest of a request that was answered early: not worth reading */
	if (!c->keep || (c->s.eof && !c->s.in.data)) {
		client_linger(c);
		return;
	}
	/* Not from here: the exchange that calls is not gone yet, and a long pipeline must not be a deep stack. */
	if (c->s.in.data || c->s.raw.data) {
		if (!c->in_next)
			stream_kick(&c->s);
	} else {
		client_wait(c, WAIT_IDLE);
		stream_read(&c->s, true);
	}
}

static void end_chunks(struct exchange *x)
{
	struct answer_field field[TRAILER_FIELDS_MAX];
	struct buffer plain = { 0 }, *t = &x->answer_trailer;
	struct client *c = x->client;
	int n = t->data ? trailer_fields(buffer_head(t), buffer_len(t), field) : 0, i;

	if (n <= 0) {
		stream_put(&c->s, "0\r\n\r\n", 5);
		return;
	}
	buffer_put(&plain, "0\r\n", 3, STREAM_OUT_MAX);
	for (i = 0; i < n; i++)
		put_field(&plain, field[i].name, field[i].n_name, field[i].value, field[i].n_value);
	buffer_put(&plain, "\r\n", 2, STREAM_OUT_MAX);
	put_plain(c, &plain);
}

static void front_end(struct exchange *x)
{
	struct client *c = x->client;

	if (c->answer_chunked)
		end_chunks(x);
	over(c);
}

static void front_fail(struct exchange *x, unsigned status)
{
	struct client *c = x->client;

	c->x = NULL;
	if (!status || c->answer_begun) {
		/* A body that ends too early must look so: no closing chunk, and a reset rather than a proper end where only that
		 * tells (an answer that ends with its connection). */
		struct linger abort_it = { .l_onoff = 1, .l_linger = 0 };

		stream_flush(&c->s);
		c->reset = !c->answer_chunked;
		if (c->s.fd >= 0 && c->reset)
			setsockopt(c->s.fd, SOL_SOCKET, SO_LINGER, &abort_it, sizeof(abort_it));
		client_close(c);
		return;
	}
	if (c->body != BODY_NONE)
		c->keep = false;
	c->head_only = x->head_request;
	own_answer(c, status);
	over(c);
}

/* Of what comes from a file: with TLS the kernel seals it, where that pays and can be. */
static bool sealed_below(const struct client *c, const struct exchange *x)
{
	if (!x->own)
		return false; /* from a backend, a record could wait for bytes that come late */
	return c->s.ktls || (ktls_here() && c->edge->conf->kernel_tls == KERNEL_TLS_AUTO && !c->s.never_ktls && x->answer_left >= KTLS_MIN &&
			     !stream_key_ends(&c->s, x->answer_left));
}

static int front_splice_to(struct exchange *x)
{
	struct client *c = x->client;

	if (c->answer_chunked || (c->s.tls && !sealed_below(c, x)))
		return -1;
	if (x->own)
		stream_flush_ahead(&c->s); /* the file is there */
	else
		stream_flush(&c->s);
	if (c->s.error) {
		broken_soon(c);
		return -1;
	}
	if (c->s.writing || c->s.out.data) {
		await_client(c);
		return -1;
	}
	if (c->s.tls && !stream_seal_below(&c->s))
		return -1;
	return c->s.fd;
}

static void front_blocked(struct exchange *x, int error)
{
	struct client *c = x->client;

	if (error) {
		c->s.error = error;
		broken_soon(c);
		return;
	}
	stream_await_write(&c->s);
	await_client(c);
}

static const struct front_ops front = { front_hint, front_head, front_body, front_end, front_fail, front_pull, front_splice_to, front_blocked };

void front_addresses(const struct exchange *x, const struct sockaddr_storage **peer, const struct sockaddr_storage **local)
{
	const struct client *c = x->owner;

	*peer = (const void *)&c->peer;
	*local = (const void *)&c->local;
}

/* --- requests -------------------------------------------------------------------------------------------------- */
/* True: a request was begun. */
static bool begin(struct client *c)
{
	struct worker *w = c->s.w;
	struct buffer *in = &c->s.in;
	struct request_head *h = &w->head;
	struct exchange_request r = { .front = &front, .client = c, .owner = c, .edge = c->edge, .secure = c->secure,
				      .peer = (const void *)&c->peer, .snapshot = c->snapshot };
	uint32_t max = c->edge->conf->head_max;
	unsigned status;
	size_t n;

	if (!c->scanned && !h1_plausible(buffer_head(in), buffer_len(in))) {
		refuse(c, 400, "not HTTP");
		return false;
	}
	n = h1_head_end(buffer_head(in), buffer_len(in), &c->scanned);
	if (n > max || (!n && buffer_len(in) > max)) {
		refuse(c, 431, "head too long");
		return false;
	}
	if (!n) {
		if (!c->begun_ns)
			c->begun_ns = worker_ns(c->s.w);
		if (c->wait != WAIT_HEAD)
			client_wait(c, WAIT_HEAD); /* from its first byte on, however slow they come */
		stream_read(&c->s, true);
		return false;
	}
	c->scanned = 0;
	status = (unsigned)h1_request(h, max * 2, buffer_head(in), n, &c->keep);
	if (status) {
		refuse(c, status, "malformed");
		return false;
	}
	c->head_only = h->method == METHOD_HEAD;
	c->expect = h->known[KNOWN_EXPECT] && h->version == 11;
	if (c->expect && !head_has_token(h, KNOWN_EXPECT, "100-continue")) {
		refuse(c, 417, "expectation");
		return false;
	}
	client_renew(c);
	r.edge = c->edge;
	r.snapshot = c->snapshot;
	c->requests++;
	status = exchange_new(w, &r, &c->x);
	if (status) {
		c->x = NULL;
		buffer_consume(in, n);
		refuse(c, status, status == 404 ? "no route" : "limit");
		return false;
	}
	stats_observe(&w->stats, PHASE_HEAD, c->begun_ns ? c->x->begun_ns - c->begun_ns : 0);
	c->begun_ns = 0;
	c->body = h->chunked ? BODY_CHUNKED : h->content_length > 0 ? BODY_LENGTH : BODY_NONE;
	c->body_left = h->content_length > 0 ? (uint64_t)h->content_length : 0;
	c->body_seen = 0;
	memset(&c->chunked, 0, sizeof(c->chunked));
	c->answer_begun = c->answer_chunked = false;
	if (w->handoff && handoff_try(c, n))
		return true;
	buffer_consume(in, n);
	client_await_answer(c);
	exchange_start(c->x);
	return true;
}

void h1_resume(struct client *c)
{
	buffer_consume(&c->s.in, c->head_n);
	client_await_answer(c);
	exchange_start(c->x);
}

/*
 * Requests that are answered at once are begun one after the other, PIPELINE_TURN of them before others have their turn; and
 * none before what was said so far has left, or the answers would pile up before a client that only asks.
 */
static void next(struct client *c)
{
	unsigned n = 0;

	c->in_next = true;
	while (!c->dead && !c->lingering && !c->x && c->s.in.data && !c->s.writing) {
		if (n++ == PIPELINE_TURN)
			stream_await_write(&c->s);
		else if (begin(c))
			stream_reopen(&c->s);
		else
			break;
	}
	c->in_next = false;
	if (c->dead || c->lingering)
		return;
	if (!c->x && c->s.in.data && c->s.writing)
		await_client(c); /* h1_room() comes back here */
	else if (!c->x && c->s.eof) /* nothing more will come, and what there is is no request */
		client_linger(c);
	else if (!c->x && !c->s.in.data) {
		client_wait(c, WAIT_IDLE);
		stream_read(&c->s, true);
	}
}

void h1_input(struct client *c)
{
	int err;

	if (c->s.error) {
		err = c->s.error;
		c->s.error = 0;
		if (c->x && (err == EBADMSG || err == EFBIG)) /* found by front_pull; the socket is sound */
			bad_body(c, -err);
		else
			client_close(c);
		return;
	}
	if (!c->x) {
		next(c);
		return;
	}
	if (c->tunnel) {
		push_tunnel(c);
		return;
	}
	if (c->body != BODY_NONE) {
		err = push_body(c);
		if (!err && (c->s.error || (c->s.eof && c->body != BODY_NONE && !c->s.in.data))) {
			struct exchange *x = c->x; /* the client left in the middle of its request */

			c->x = NULL;
			exchange_abort(x, "the client left");
			client_close(c);
		} else if (err) {
			bad_body(c, err);
		}
	} else if (c->s.eof && c->wait == WAIT_ANSWER) {
		client_await_answer(c);
	}
	/* Else: a request that came early waits until the answer is out. */
}

void h1_room(struct client *c)
{
	if (c->s.error) {
		client_close(c);
		return;
	}
	if (c->wait == WAIT_BODY && c->x && c->body == BODY_NONE)
		client_await_answer(c);
	if (c->x)
		exchange_room(c->x);
	else
		next(c);
}

void h1_gone(struct client *c)
{
	struct exchange *x = c->x;

	c->x = NULL;
	if (x)
		exchange_abort(x, "the client left");
}
