// SPDX-License-Identifier: BSD-2-Clause
/*
 * Connections of the object server.  One state machine: a head is awaited, a body received (PUT), the commit thread
 * awaited, an answer sent; then again.
 */
#include "l7/object/object_server.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <arpa/inet.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "l7/access.h"
#include "l7/http/chunked.h"
#include "l7/object/object_server_commit.h"
#include "l7/stream.h"

#define HEAD_MAX 16384
#define WAIT_HEAD_MS 10000
#define WAIT_IDLE_MS 60000
#define WAIT_BODY_MS 30000
#define LINGER_MS 1000
#define SHARE (1u << 20) /* bytes sent before others have their turn */
#define SMALL 16384	 /* the first bytes of a file go out with the head, in one packet train */

enum where { AT_HEAD, AT_BODY, AT_COMMIT, AT_SEND, AT_LINGER };

struct per_worker {
	int fd;
	struct event event;
	struct link conns;
	struct object_server *server;
	struct worker *w;
	struct object_stats stats;
	struct object_here here;
};

struct object_server {
	struct object_store store;
	struct committer *committer;
	uint16_t host;
	unsigned attached; /* workers; counted under lock */
	pthread_mutex_t lock;
	pthread_cond_t left;
	struct per_worker worker[WORKERS_MAX];
};

struct conn {
	struct stream s;
	struct link link;
	struct grave grave;
	struct timer timer;
	struct per_worker *owner;
	enum where where;
	bool keep, dead;
	size_t scanned;

	struct object_plan plan;
	struct object_facts seen;
	struct object_kept *file; /* NULL: none */
	unsigned part;	     /* the one that is being sent */
	bool part_head;	     /* what stands before it was sent */
	uint64_t part_done;

	struct object_put put;
	bool putting;
	bool is_chunked;
	struct chunked chunked;
	uint64_t body_left;
	char name[OBJECT_NAME_MAX];
	struct commit commit;

	bool in_request;     /* for the log: */
	uint8_t method;
	uint64_t begun_ns, body_bytes, sent_before; /* sent_before: of the connection */
};

static void next_request(struct conn *c);

static void bury(struct grave *g)
{
	free(LINK_OF(g, struct conn, grave));
}

/* One line, when an answer is whole or its connection ends. */
static void log_request(struct conn *c, bool cut)
{
	struct access_object a = { .method = method_name((enum http_method)c->method), .name = c->name, .cut = cut,
				   .status = cut && c->where < AT_SEND ? 0 : c->plan.status, .bytes_in = c->body_bytes,
				   .bytes_out = c->s.sent - c->sent_before, .took_ns = monotonic_ns() - c->begun_ns };
	struct sockaddr_in6 peer = { 0 };
	socklen_t len = sizeof(peer);
	char client[INET6_ADDRSTRLEN] = "";

	c->in_request = false;
	if (!__atomic_load_n(&c->owner->server->store.conf.log, __ATOMIC_RELAXED))
		return;
	if (!getpeername(c->s.fd, (struct sockaddr *)&peer, &len) && peer.sin6_family == AF_INET6) {
		if (IN6_IS_ADDR_V4MAPPED(&peer.sin6_addr))
			inet_ntop(AF_INET, &peer.sin6_addr.s6_addr[12], client, sizeof(client));
		else
			inet_ntop(AF_INET6, &peer.sin6_addr, client, sizeof(client));
	}
	a.client = client;
	access_log_object(c->owner->w, &a);
}

static void close_conn(struct conn *c)
{
	if (c->dead)
		return;
	if (c->in_request)
		log_request(c, true);
	c->dead = true;
	link_out(&c->link);
	timer_stop(&c->timer);
	stream_close(&c->s);
	object_cache_let_go(c->file);
	c->file = NULL;
	if (c->where == AT_COMMIT)
		return; /* the commit's end buries it */
	if (c->putting)
		object_put_abort(&c->put);
	worker_bury(c->owner->w, &c->grave, bury);
}

static void wait_ms(struct conn *c, uint64_t ms)
{
	timer_set(c->owner->w, &c->timer, monotonic_ms() + ms);
}

static void timed_out(struct timer *t)
{
	close_conn(LINK_OF(t, struct conn, timer));
}

/* ---- answers ---- */

static void begin_head(struct conn *c)
{
	char line[64];
	int n = snprintf(line, sizeof(line), "HTTP/1.1 %u %s\r\n", c->plan.status, http_reason(c->plan.status));

	c->owner->stats.answers[c->plan.status / 100]++;
	stream_put(&c->s, line, (size_t)n);
	stream_put(&c->s, c->plan.fields, strlen(c->plan.fields));
	if (c->keep)
		stream_put(&c->s, "\r\n", 2);
	else
		stream_put(&c->s, "Connection: close\r\n\r\n", 21);
	c->where = AT_SEND;
	c->part = 0;
	c->part_done = 0;
	c->part_head = c->plan.n_ranges < 2;
}

static void refuse(struct conn *c, uint16_t status, bool keep)
{
	object_refuse(&c->plan, status, time(NULL));
	c->keep = c->keep && keep;
	begin_head(c);
}

static struct object_range range_of(const struct conn *c)
{
	if (c->plan.n_ranges)
		return c->plan.range[c->part];
	return (struct object_range){ 0, c->plan.size };
}

/* Into `out`, so that head and first bytes leave together.  The file may have shrunk: then the connection ends, because
 * the length that was promised cannot be kept. */
static bool put_small(struct conn *c, uint64_t offset, size_t n)
{
	char block[SMALL];
	ssize_t got = pread(c->file->fd, block, n, (off_t)offset);

	if (got <= 0) {
		close_conn(c);
		return false;
	}
	stream_put(&c->s, block, (size_t)got);
	c->part_done += (uint64_t)got;
	c->owner->stats.bytes_out += (uint64_t)got;
	return true;
}

static bool send_some(struct conn *c, uint64_t offset, uint64_t left, size_t *share)
{
	size_t ask = left < *share ? (size_t)left : *share;
	off_t at = (off_t)offset;
	ssize_t n = sendfile(c->s.fd, c->file->fd, &at, ask);

	if (n > 0) {
		c->part_done += (uint64_t)n;
		c->s.sent += (uint64_t)n;
		c->owner->stats.bytes_out += (uint64_t)n;
		*share -= (size_t)n;
		wait_ms(c, WAIT_BODY_MS);
		return true;
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		stream_await_write(&c->s);
		return false;
	}
	close_conn(c);
	return false;
}

/* Until all is sent (true), or the socket is full, or its share is used up: then room() goes on. */
static bool send_body(struct conn *c)
{
	unsigned parts = c->plan.n_ranges ? c->plan.n_ranges : 1;
	size_t share = SHARE;
	char text[OBJECT_PART_MAX];

	while (c->part < parts) {
		struct object_range r = range_of(c);
		uint64_t left = r.length - c->part_done;

		if (!c->part_head) {
			stream_put(&c->s, text, object_part(&c->plan, c->part, text));
			c->part_head = true;
		}
		if (!left) {
			c->part++;
			c->part_done = 0;
			c->part_head = false;
			continue;
		}
		if (buffer_len(&c->s.out) && left <= SMALL && buffer_len(&c->s.out) < STREAM_OUT_HIGH) {
			if (!put_small(c, r.first + c->part_done, (size_t)left))
				return false;
			continue;
		}
		stream_flush_ahead(&c->s);
		if (c->s.error) {
			close_conn(c);
			return false;
		}
		if (c->s.writing)
			return false;
		if (!share) {
			stream_await_write(&c->s);
			return false;
		}
		if (!send_some(c, r.first + c->part_done, left, &share))
			return false;
	}
	if (c->plan.n_ranges > 1)
		stream_put(&c->s, text, object_part(&c->plan, parts, text));
	return true;
}

/* Everything is in the socket, or in `out`. */
static void answered(struct conn *c)
{
	object_cache_let_go(c->file);
	c->file = NULL;
	stream_flush(&c->s);
	if (c->s.error || (c->s.eof && !c->s.writing)) {
		close_conn(c);
		return;
	}
	if (c->s.writing)
		return; /* room() comes back here */
	if (c->in_request)
		log_request(c, false);
	if (!c->keep) {
		shutdown(c->s.fd, SHUT_WR);
		c->where = AT_LINGER;
		stream_read(&c->s, true);
		wait_ms(c, LINGER_MS);
		return;
	}
	c->where = AT_HEAD;
	c->scanned = 0;
	wait_ms(c, WAIT_IDLE_MS);
}

static void send_on(struct conn *c)
{
	if (c->plan.action == OBJECT_SEND && c->file && !send_body(c))
		return;
	answered(c);
}

static void room(struct stream *s)
{
	struct conn *c = LINK_OF(s, struct conn, s);

	if (c->where != AT_SEND)
		return;
	send_on(c);
	if (!c->dead && c->where == AT_HEAD)
		next_request(c);
}

/* ---- PUT ---- */

static void committed(struct worker *w, void *arg)
{
	struct conn *c = LINK_OF(arg, struct conn, commit);
	int rc = c->commit.result;

	c->putting = false;
	if (c->dead) {
		worker_bury(w, &c->grave, bury);
		return;
	}
	c->where = AT_SEND;
	if (rc) {
		if (object_status(rc) >= 500)
			log_error("store: %s: %s", c->name, strerror(-rc));
		refuse(c, object_status(rc), true);
	} else {
		size_t used = strlen(c->plan.fields);

		snprintf(c->plan.fields + used, sizeof(c->plan.fields) - used, "ETag: %s\r\n", c->commit.tag);
		c->plan.action = OBJECT_ANSWER;
		begin_head(c);
	}
	send_on(c);
	if (!c->dead && c->where == AT_HEAD)
		next_request(c);
}

static void body_over(struct conn *c)
{
	c->where = AT_COMMIT;
	timer_stop(&c->timer);
	c->commit = (struct commit){ .w = c->owner->w, .done = committed, .put = &c->put, .name = c->name,
				     .plan = &c->plan, .seen = &c->seen };
	committer_add(c->owner->server->committer, &c->commit);
}

static void body_failed(struct conn *c, uint16_t status)
{
	object_put_abort(&c->put);
	c->putting = false;
	refuse(c, status, false);
}

/* Takes what is in `in`, until the body is whole or refused. */
static void take_body(struct conn *c)
{
	while (buffer_len(&c->s.in)) {
		const uint8_t *p = buffer_head(&c->s.in);
		size_t n = buffer_len(&c->s.in), data = 0;
		int rc;

		if (c->is_chunked) {
			ptrdiff_t used = chunked_next(&c->chunked, p, n, &data);

			if (used < 0) {
				body_failed(c, 400);
				return;
			}
			if (c->chunked.where == CHUNKED_DONE) {
				buffer_consume(&c->s.in, (size_t)used);
				body_over(c);
				return;
			}
			rc = data ? object_put_bytes(&c->put, p + used, data) : 0;
			if (data)
				chunked_took(&c->chunked, data);
			data += (size_t)used;
		} else {
			data = n < c->body_left ? n : (size_t)c->body_left;
			rc = object_put_bytes(&c->put, p, data);
			c->body_left -= data;
		}
		buffer_consume(&c->s.in, data);
		c->body_bytes += data;
		c->owner->stats.bytes_in += data;
		if (rc) {
			body_failed(c, object_status(rc));
			return;
		}
		if (!c->is_chunked && !c->body_left) {
			body_over(c);
			return;
		}
	}
	wait_ms(c, WAIT_BODY_MS);
}

static void begin_put(struct conn *c, const struct request_head *h)
{
	int rc = object_put_begin(&c->owner->server->store, &c->put);

	if (rc) {
		refuse(c, object_status(rc), false);
		return;
	}
	c->putting = true;
	c->where = AT_BODY;
	c->is_chunked = h->chunked;
	memset(&c->chunked, 0, sizeof(c->chunked));
	c->body_left = h->content_length > 0 ? (uint64_t)h->content_length : 0;
	if (!c->is_chunked && !c->body_left) {
		body_over(c);
		return;
	}
	if (!buffer_len(&c->s.in) && head_has_token(h, KNOWN_EXPECT, "100-continue")) {
		stream_put(&c->s, "HTTP/1.1 100 Continue\r\n\r\n", 25);
		stream_flush(&c->s);
	}
	take_body(c);
}

/* ---- requests ---- */

static void answer(struct conn *c, const struct request_head *h)
{
	struct object_server *o = c->owner->server;
	bool has_body = h->chunked || h->content_length > 0;
	int status = object_name(h, c->name), rc;

	c->method = h->method;
	memset(&c->seen, 0, sizeof(c->seen));
	if (!status) {
		rc = h->method == METHOD_GET || h->method == METHOD_HEAD ? object_here_look(&c->owner->here, c->name, &c->seen, &c->file)
									 : object_look(&o->store, c->name, &c->seen, NULL);
		status = rc ? object_status(rc) : 0;
	}
	if (status && h->method != METHOD_OPTIONS) {
		refuse(c, (uint16_t)status, !has_body);
		return;
	}
	object_plan(&o->store.conf, h, &c->seen, time(NULL), o->store.salt, &c->plan);
	switch (c->plan.action) {
	case OBJECT_PUT:
		begin_put(c, h);
		return;
	case OBJECT_DELETE:
		rc = object_delete(&o->store, c->name, &c->plan, &c->seen);
		if (rc) {
			refuse(c, object_status(rc), !has_body);
			return;
		}
		break;
	case OBJECT_SEND:
	case OBJECT_ANSWER:
		break;
	}
	/* A body that nobody wants is not read: the connection ends with the answer. */
	c->keep = c->keep && !has_body;
	begin_head(c);
}

/* All requests that are there, one after the other; more wait in `in` while an answer is sent. */
static void next_request(struct conn *c)
{
	struct request_head *h = &c->owner->w->head;

	while (!c->dead && c->where == AT_HEAD && buffer_len(&c->s.in)) {
		const uint8_t *p = buffer_head(&c->s.in);
		size_t n = buffer_len(&c->s.in), end = h1_head_end(p, n, &c->scanned);
		int status;

		if (!end && n < HEAD_MAX && h1_plausible(p, n)) {
			wait_ms(c, WAIT_HEAD_MS);
			break;
		}
		c->owner->stats.requests++;
		c->in_request = true;
		c->begun_ns = monotonic_ns();
		c->body_bytes = 0;
		c->sent_before = c->s.sent;
		c->name[0] = '\0';
		c->keep = false;
		status = end && end <= HEAD_MAX ? h1_request(h, HEAD_MAX, p, end, &c->keep) : n < HEAD_MAX ? 400 : 431;
		buffer_consume(&c->s.in, end ? end : n);
		c->scanned = 0;
		if (status)
			refuse(c, (uint16_t)status, false);
		else
			answer(c, h);
		if (c->where == AT_SEND)
			send_on(c);
	}
	if (!c->dead && c->s.eof && c->where == AT_HEAD)
		close_conn(c);
	else if (!c->dead && c->where != AT_SEND && c->where != AT_COMMIT)
		stream_read(&c->s, true);
}

static void input(struct stream *s)
{
	struct conn *c = LINK_OF(s, struct conn, s);

	if (s->error) {
		close_conn(c);
		return;
	}
	switch (c->where) {
	case AT_HEAD:
		next_request(c);
		break;
	case AT_BODY:
		take_body(c);
		if (!c->dead && c->where == AT_BODY && s->eof)
			close_conn(c); /* it broke off: nothing was published */
		else if (!c->dead && c->where == AT_SEND)
			send_on(c);
		else if (!c->dead && c->where == AT_BODY)
			stream_read(s, true);
		break;
	case AT_LINGER:
		buffer_consume(&s->in, buffer_len(&s->in));
		if (s->eof)
			close_conn(c);
		else
			stream_read(s, true);
		break;
	case AT_COMMIT:
	case AT_SEND:
		break; /* pipelined: its turn comes */
	}
}

static void secured(struct stream *s)
{
	(void)s;
}

/* ---- listening ---- */

static void accepted(struct per_worker *pw, int fd)
{
	struct conn *c = calloc(1, sizeof(*c));
	int one = 1;

	if (!c) {
		close(fd);
		return;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	c->owner = pw;
	c->timer.fire = timed_out;
	c->s.input = input;
	c->s.room = room;
	c->s.secured = secured;
	stream_open(&c->s, pw->w, fd);
	link_before(&pw->conns, &c->link);
	pw->stats.connections++;
	wait_ms(c, WAIT_HEAD_MS);
	stream_read(&c->s, true);
}

static void on_accept(evutil_socket_t fd, short what, void *ctx)
{
	struct per_worker *pw = ctx;

	(void)what;
	for (int i = 0; i < 64; i++) {
		int client = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (client < 0)
			return;
		accepted(pw, client);
	}
}

static int listen_on(uint16_t port)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_ANY_INIT };
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1, zero = 0, rc;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
	setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) || listen(fd, 4096)) {
		rc = -errno;
		close(fd);
		return rc;
	}
	return fd;
}

static void on_sweep(struct timer *t)
{
	struct object_here *here = LINK_OF(t, struct object_here, sweep);

	here->sweeps = object_cache_sweep(&here->cache, worker_ms(here->w));
	if (here->sweeps)
		timer_set(here->w, t, worker_ms(here->w) + OBJECT_KEPT_MS);
}

int object_here_look(struct object_here *here, const char *name, struct object_facts *o, struct object_kept **file)
{
	uint64_t now_ms = worker_ms(here->w);

	if (!here->sweeps) {
		here->sweeps = true;
		timer_set(here->w, &here->sweep, now_ms + OBJECT_KEPT_MS);
	}
	return object_cache_look(&here->cache, name, now_ms, o, file);
}

static void object_here_init(struct per_worker *pw)
{
	struct object_here *here = &pw->here;

	*here = (struct object_here){ .store = &pw->server->store, .stats = &pw->stats, .host = pw->server->host, .w = pw->w };
	here->sweep.fire = on_sweep;
	object_cache_init(&here->cache, here->store);
}

void object_server_attach(struct worker *w, void *server)
{
	struct object_server *o = server;
	struct per_worker *pw = &o->worker[w->id];

	*pw = (struct per_worker){ .server = o, .w = w };
	ring_init(&pw->conns);
	object_here_init(pw);
	pthread_mutex_lock(&o->lock);
	o->attached++;
	pthread_mutex_unlock(&o->lock);
	pw->fd = listen_on(o->store.conf.port);
	if (pw->fd < 0) {
		log_error("store: port %u: %s; is another server using it?", o->store.conf.port, strerror(-pw->fd));
		return;
	}
	w->objects = &pw->here;
	event_assign(&pw->event, w->base, pw->fd, EV_READ | EV_PERSIST, on_accept, pw);
	event_add(&pw->event, NULL);
}

static void detach(struct worker *w, void *server)
{
	struct object_server *o = server;
	struct per_worker *pw = &o->worker[w->id];

	w->objects = NULL;
	if (pw->fd >= 0) {
		event_del(&pw->event);
		close(pw->fd);
		pw->fd = -1;
	}
	while (!ring_empty(&pw->conns))
		close_conn(LINK_OF(pw->conns.next, struct conn, link));
	timer_stop(&pw->here.sweep);
	object_cache_sweep(&pw->here.cache, UINT64_MAX);
	pthread_mutex_lock(&o->lock);
	o->attached--;
	pthread_cond_signal(&o->left);
	pthread_mutex_unlock(&o->lock);
}

void object_server_stop(struct object_server *o)
{
	for (unsigned i = 0; i < WORKERS_MAX; i++)
		if (o->worker[i].w)
			worker_call(o->worker[i].w, detach, o);
	pthread_mutex_lock(&o->lock);
	while (o->attached)
		pthread_cond_wait(&o->left, &o->lock);
	pthread_mutex_unlock(&o->lock);
	committer_free(o->committer);
	o->committer = NULL;
}

int object_server_new(const struct store_conf *conf, uint16_t host, struct object_server **out)
{
	struct object_server *o = calloc(1, sizeof(*o));
	int rc;

	if (!o)
		return -ENOMEM;
	o->host = host;
	rc = object_open(&o->store, conf);
	if (rc) {
		free(o);
		return rc;
	}
	rc = committer_new(&o->committer);
	if (rc) {
		object_close(&o->store);
		free(o);
		return rc;
	}
	pthread_mutex_init(&o->lock, NULL);
	pthread_cond_init(&o->left, NULL);
	*out = o;
	return 0;
}

void object_server_free(struct object_server *o)
{
	if (!o)
		return;
	pthread_mutex_destroy(&o->lock);
	pthread_cond_destroy(&o->left);
	object_close(&o->store);
	free(o);
}

int object_server_reconfigure(struct object_server *o, const struct store_conf *conf)
{
	return object_reconfigure(&o->store, conf);
}

void object_server_stats(const struct object_server *o, struct object_stats *sum)
{
	memset(sum, 0, sizeof(*sum));
	for (unsigned i = 0; i < WORKERS_MAX; i++) {
		const struct object_stats *s = &o->worker[i].stats;

		sum->connections += s->connections;
		sum->requests += s->requests;
		sum->bytes_in += s->bytes_in;
		sum->bytes_out += s->bytes_out;
		for (int k = 0; k < 6; k++)
			sum->answers[k] += s->answers[k];
	}
}
