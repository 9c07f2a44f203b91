/* SPDX-License-Identifier: BSD-2-Clause */
/* Pools of a worker and their connections.  See backend.h. */
#include "l7/backend.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "l7/exchange.h"
#include "l7/object/object_own.h"
#include "l7/object/object_server.h"
#include "l7/tls/tls.h"

/* --- connections ------------------------------------------------------------------------------------- */
static void conn_bury(struct grave *g)
{
	free(LINK_OF(g, struct backend_conn, grave));
}

static void preopen(struct backend *b);

static void preopen_due(struct timer *t)
{
	struct backend *b = LINK_OF(t, struct backend, again);

	if (b->index >= 0 && !b->pool->gone)
		preopen(b);
}

/* One that nobody used is gone: another takes its place, but a backend that ends them all is not asked in a circle. */
static void preopen_again(struct backend *b)
{
	if (b->index >= 0 && b->pool->conf->preopen && !b->again.link.next)
		timer_set(b->pool->w, &b->again, monotonic_ms() + PREOPEN_AGAIN_MS);
}

static void conn_close(struct backend_conn *c)
{
	struct backend *b = c->backend;

	if (c->s.fd < 0)
		return;
	if (c->link.next && !c->x && !c->connecting)
		b->n_idle--;
	if (!c->x)
		preopen_again(b);
	link_out(&c->link);
	timer_stop(&c->timer);
	stream_close(&c->s);
	b->n_conns--;
	worker_bury(c->s.w, &c->grave, conn_bury);
	backend_ref_put(b);
}

void backend_ref_put(struct backend *b)
{
	if (--b->refs)
		return;
	timer_stop(&b->again);
	free(b);
}

static void conn_failed(struct backend_conn *c, const char *why, bool unread, enum backend_outcome outcome)
{
	struct exchange *x = c->x;

	c->backend->failures++;
	stats_inc(c->s.w->stats.backend_failures);
	if (x) {
		c->x = NULL;
		c->connecting = true; /* not counted as idle */
		conn_close(c);
		x->conn = NULL;
		exchange_conn_failed(x, why, unread, outcome);
	} else {
		conn_close(c);
	}
}

static void conn_timeout(struct timer *t)
{
	struct backend_conn *c = LINK_OF(t, struct backend_conn, timer);

	if (c->connecting)
		conn_failed(c, "connect timed out", true, OUTCOME_TIMEOUT);
	else if (!c->x)
		conn_close(c);
}

/* More of a handshake came, and it is not over. */
static void handshake_input(struct backend_conn *c)
{
	char why[160];

	if (!c->s.eof && !c->s.error)
		return;
	snprintf(why, sizeof(why), "%s", tls_failure(c->s.tls));
	stats_inc(c->s.w->stats.backend_handshakes_failed);
	if (c->backend->tls_logged_ms + TLS_LOG_MS <= monotonic_ms()) {
		c->backend->tls_logged_ms = monotonic_ms();
		log_warning("pool %s: backend %s: TLS: %s", c->backend->pool->conf->name, c->backend->text, why);
	}
	conn_failed(c, "the TLS handshake failed", true, OUTCOME_REFUSED);
}

static void conn_input(struct stream *s)
{
	struct backend_conn *c = LINK_OF(s, struct backend_conn, s);

	if (c->x && !c->connecting)
		exchange_input(c->x);
	else if (c->connecting && c->tcp)
		handshake_input(c);
	else if (c->connecting)
		conn_failed(c, "connection refused", true, OUTCOME_REFUSED);
	else if (!s->tls || s->in.data || s->eof || s->error)
		conn_close(c); /* idle: an end, or bytes that nobody asked for; session tickets are none */
}

static void idle_timer(struct backend_conn *c)
{
	timer_set(c->s.w, &c->timer, worker_ms(c->s.w) + c->backend->pool->conf->idle_ms);
}

/* Connected, and secured where the pool is. */
static void conn_ready(struct backend_conn *c)
{
	c->connecting = false;
	if (c->x) {
		idle_timer(c);
		exchange_connected(c->x, true);
	} else {
		link_out(&c->link);
		link_after(&c->backend->idle, &c->link);
		c->backend->n_idle++;
		idle_timer(c);
		wpool_next(c->backend->pool);
	}
}

static void conn_secured(struct stream *s)
{
	conn_ready(LINK_OF(s, struct backend_conn, s));
}

static void conn_room(struct stream *s)
{
	struct backend_conn *c = LINK_OF(s, struct backend_conn, s);
	socklen_t len = sizeof(int);
	int err = 0;

	if (c->connecting) {
		getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &err, &len);
		if (err || s->error) {
			conn_failed(c, err == ECONNREFUSED ? "connection refused" : strerror(err ? err : s->error), true,
				    OUTCOME_REFUSED);
			return;
		}
		if (!s->tls) {
			conn_ready(c);
		} else if (!c->tcp) { /* our hello */
			c->tcp = true;
			tls_handshake(s->tls, &s->raw, &s->out);
			stream_flush(s);
		}
		return;
	}
	if (!c->x)
		return;
	if (s->error) { /* its end was met by writing, and may stand behind an answer */
		if (c->x->state == EXCHANGE_TUNNEL) {
			exchange_input(c->x);
			return;
		}
		exchange_unread(c->x);
	}
	c->x->front->pull(c->x);
}

/* PROXY protocol, version 2: 16 bytes, then the addresses. */
static void put_proxy_header(struct backend_conn *c, const struct exchange *x)
{
	const struct sockaddr_storage *peer = NULL, *local = NULL;
	uint8_t h[52] = "\r\n\r\n\0\r\nQUIT\n"; /* 12 bytes */
	size_t n;

	front_addresses(x, &peer, &local);
	h[12] = peer ? 0x21 : 0x20;
	if (peer && peer->ss_family == AF_INET) {
		const struct sockaddr_in *p = (const void *)peer, *l = (const void *)local;

		h[13] = 0x11;
		h[15] = 12;
		memcpy(h + 16, &p->sin_addr, 4);
		memcpy(h + 20, &l->sin_addr, 4);
		memcpy(h + 24, &p->sin_port, 2);
		memcpy(h + 26, &l->sin_port, 2);
	} else if (peer) {
		const struct sockaddr_in6 *p = (const void *)peer, *l = (const void *)local;

		h[13] = 0x21;
		h[15] = 36;
		memcpy(h + 16, &p->sin6_addr, 16);
		memcpy(h + 32, &l->sin6_addr, 16);
		memcpy(h + 48, &p->sin6_port, 2);
		memcpy(h + 50, &l->sin6_port, 2);
	}
	n = 16u + h[15];
	buffer_put(&c->s.out, h, n, STREAM_OUT_MAX); /* in the clear, before TLS */
}

static struct backend_conn *conn_new(struct backend *b, struct exchange *x)
{
	const struct endpoint to = { b->address, b->port };
	struct backend_conn *c = calloc(1, sizeof(*c));
	struct worker *w = b->pool->w;
	struct sockaddr_storage ss;
	socklen_t len = endpoint_sockaddr(&to, &ss);
	struct tls_client *tls = b->pool->snapshot->pool_tls[b->pool->conf - b->pool->snapshot->conf.pool];
	int fd = c ? socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) : -1, one = 1;

	if (fd < 0) {
		free(c);
		return NULL;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(fd, (struct sockaddr *)&ss, len) && errno != EINPROGRESS) {
		close(fd);
		free(c);
		return NULL;
	}
	c->backend = b;
	c->secured = b->pool->secured;
	b->refs++;
	b->n_conns++;
	b->connects++;
	stats_inc(w->stats.backend_connects);
	c->connecting = c->fresh = true;
	c->x = x;
	c->timer.fire = conn_timeout;
	c->s.input = conn_input;
	c->s.room = conn_room;
	c->s.secured = conn_secured;
	c->s.read_size = 32768;
	stream_open(&c->s, w, fd);
	if (tls)
		c->s.tls = tls_connect(tls);
	stream_read(&c->s, true);
	stream_await_write(&c->s);
	link_before(&b->busy, &c->link);
	timer_set(w, &c->timer, worker_ms(w) + b->pool->conf->connect_ms);
	return c;
}

/* --- who gets which ------------------------------------------------------------------------------------ */
static struct backend_conn *conn_idle(struct backend *b, bool careful)
{
	while (!ring_empty(&b->idle)) {
		struct backend_conn *c = LINK_OF(b->idle.next, struct backend_conn, link);
		char byte;

		/* A request that cannot be sent twice: is the connection still what it was?  (Its end may be on its way all
		 * the same; nobody can know.) */
		if (careful && recv(c->s.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0) {
			conn_close(c);
			continue;
		}
		link_out(&c->link);
		link_before(&b->busy, &c->link);
		b->n_idle--;
		return c;
	}
	return NULL;
}

static void enqueue(struct exchange *x)
{
	struct wpool *p = x->pool;

	if (p->n_queued >= p->conf->max_queue) {
		stats_inc(x->w->stats.queue_full);
		exchange_no_backend(x, 503, "queue full");
		return;
	}
	stats_inc(x->w->stats.queued);
	p->n_queued++;
	x->state = EXCHANGE_QUEUED;
	link_before(&p->queue, &x->link);
	timer_set(x->w, &x->timer, worker_ms(x->w) + p->conf->response_ms);
}

static void preopen(struct backend *b)
{
	uint32_t have = b->n_idle;
	struct link *l;

	if (b->spared || b->pool->conf->proxy_protocol) /* the header that names the client goes first */
		return;
	for (l = b->busy.next; l != &b->busy; l = l->next)
		have += !LINK_OF(l, struct backend_conn, link)->x;
	for (; have < b->pool->conf->preopen && b->n_conns < b->pool->conf->max_connections; have++)
		if (!conn_new(b, NULL))
			return;
}

void wpool_tried(struct exchange *x)
{
	const struct wpool *p = x->pool;
	uint64_t now = 0, old = x->tried;
	int i;

	if (x->tried_at == p->configured)
		return;
	/* Two configurations within one request's tries: it may meet a backend again. */
	for (i = 0; old && x->tried_at + 1 == p->configured && i < POOL_BACKENDS_MAX; i++)
		if (old >> i & 1 && p->moved[i] >= 0)
			now |= UINT64_C(1) << p->moved[i];
	x->tried = now;
	x->tried_at = p->configured;
}

static void chosen(struct exchange *x, struct backend *b, int i)
{
	x->backend = b;
	b->refs++;
	x->attempts++;
	memcpy(x->backend_text, b->text, sizeof(b->text));
	x->picked_ns = worker_ns(x->w);
	if (x->attempts == 1)
		stats_observe(&x->w->stats, PHASE_QUEUE, x->picked_ns - x->begun_ns);
	pool_begin(x->pool->pool, i, &x->key);
}

/* This process's object server, which nothing is put before. */
static bool is_own(const struct exchange *x, int i)
{
	const struct pool_conf *conf = x->pool->conf;
	const struct backend_conf *b = &conf->backend[i];

	return b->host != HOST_NONE && conf->tls == BACKEND_TLS_OFF && !conf->proxy_protocol && object_own_is(x, b->host, b->port);
}

static bool answered_here(struct exchange *x, struct backend *b, int i)
{
	struct object_plan plan;

	if (!object_own_take(x, &plan))
		return false;
	chosen(x, b, i);
	object_own_answer(x, &plan);
	return true;
}

void backend_acquire(struct exchange *x)
{
	struct wpool *p = x->pool;
	uint64_t now = worker_ms(x->w);
	struct backend_conn *c;
	struct backend *b;
	int i;

	wpool_tried(x);
	if (x->pick >= 0 && x->pick_at == p->configured)
		i = x->pick;
	else
		i = pool_pick(p->pool, &x->key, x->tried, now);
	x->pick = -1;
	if (i == POOL_NONE) {
		stats_inc(x->w->stats.no_backend);
		exchange_no_backend(x, 503, "no backend is up");
		return;
	}
	if (i < 0) {
		enqueue(x);
		return;
	}
	b = p->backend[i];
	if (is_own(x, i) && answered_here(x, b, i))
		return;
	/* A pre-opened connection has no PROXY header yet, a kept one has that of its first client. */
	c = p->conf->proxy_protocol ? NULL : conn_idle(b, !x->idempotent);
	if (!c && b->n_conns >= p->conf->max_connections) {
		enqueue(x);
		return;
	}
	chosen(x, b, i);
	if (c) {
		c->x = x;
		c->fresh = false;
		c->scanned = 0;
		b->reuses++;
		stats_inc(x->w->stats.backend_reuses);
		x->conn = c;
		exchange_connected(x, false);
	} else {
		x->state = EXCHANGE_CONNECTING;
		c = conn_new(b, x);
		if (c) {
			x->conn = c;
			if (p->conf->proxy_protocol)
				put_proxy_header(c, x);
		} else {
			b->failures++;
			exchange_conn_failed(x, strerror(errno), true, OUTCOME_REFUSED);
			return;
		}
	}
	if (p->conf->preopen)
		preopen(b);
}

void backend_release(struct backend_conn *c, bool keep)
{
	struct backend *b = c->backend;
	struct wpool *p = b->pool;

	c->x = NULL;
	c->s.direct = false;
	c->used++;
	if (!keep || c->secured != p->secured || c->s.raw.data || b->index < 0 || b->spared || c->s.eof || c->s.error || c->s.out.data || c->s.in.data ||
	    b->n_idle >= p->conf->keep || p->conf->proxy_protocol) {
		c->connecting = true; /* not counted as idle */
		conn_close(c);
	} else {
		link_out(&c->link);
		link_after(&b->idle, &c->link);
		b->n_idle++;
		stream_read(&c->s, true);
		idle_timer(c);
	}
}

void wpool_next(struct wpool *p)
{
	uint32_t n = p->n_queued;

	if (p->next)
		return; /* what is answered at once ends within the loop below */
	p->next = true;
	p->users++; /* a pool that is gone ends with its last request, which may be one of these */
	/* Those who are put back go to the end: each is asked once. */
	while (n-- && !ring_empty(&p->queue)) {
		struct exchange *x = LINK_OF(p->queue.next, struct exchange, link);
		uint32_t before;

		link_out(&x->link);
		p->n_queued--;
		before = p->n_queued;
		backend_acquire(x);
		if (p->n_queued > before)
			break;
	}
	p->next = false;
	wpool_release(p);
}

/* --- configuration --------------------------------------------------------------------------------------- */
static void close_idle(struct backend *b)
{
	struct link *l, *next;

	while (!ring_empty(&b->idle))
		conn_close(LINK_OF(b->idle.next, struct backend_conn, link));
	for (l = b->busy.next; l != &b->busy; l = next) {
		struct backend_conn *c = LINK_OF(l, struct backend_conn, link);

		next = l->next;
		if (!c->x)
			conn_close(c); /* pre-opening */
	}
}

static void backend_gone(struct backend *b)
{
	b->index = -1;
	close_idle(b);
	backend_ref_put(b);
}

static void wpool_unlink(struct wpool *p)
{
	uint32_t i;

	link_out(&p->link);
	for (i = 0; i < p->n_backends; i++)
		backend_gone(p->backend[i]);
	free(p->backend);
	pool_free(p->pool);
	snapshot_unref(p->snapshot);
	free(p);
}

void wpool_release(struct wpool *p)
{
	p->users--;
	if (p->gone && !p->users)
		wpool_unlink(p);
}

static enum host_service service_of(const struct wpool *p, uint32_t i)
{
	uint16_t host = p->conf->backend[i].host;

	return host <= HOST_ID_MAX ? (enum host_service)p->w->host[host] : HOST_SERVES;
}

/*
 * A backend is as its check says, unless its host is to be spared.  What the operator drains gets nothing new; what the
 * controller believes to be unwell gets nothing while others are left.  Not longer: a host's health can hang on this
 * very answer, and a POP whose hosts are all unwell would never come back.
 */
static void judge(struct wpool *p)
{
	bool others = false;
	uint32_t i;

	for (i = 0; i < p->n_backends; i++)
		others |= !p->backend[i]->down && service_of(p, i) == HOST_SERVES;
	for (i = 0; i < p->n_backends; i++) {
		enum host_service s = service_of(p, i);
		enum backend_health h = BACKEND_UP;

		if (p->backend[i]->down)
			h = BACKEND_DOWN;
		else if (s == HOST_DRAINED || (s == HOST_UNWELL && others))
			h = BACKEND_DRAINING;
		pool_set_health(p->pool, (int)i, h, monotonic_ms());
		p->backend[i]->spared = h != BACKEND_UP;
		if (h != BACKEND_UP)
			close_idle(p->backend[i]);
		else
			preopen(p->backend[i]);
	}
}

/* Backends that stay are the same objects: their connections and requests go on. */
static int take_backends(struct wpool *p, const struct pool_conf *conf)
{
	struct backend **now = calloc(conf->n_backends, sizeof(struct backend *));
	uint32_t i, k;

	if (!now)
		return -ENOMEM;
	for (i = 0; i < conf->n_backends; i++) {
		const struct backend_conf *bc = &conf->backend[i];

		for (k = 0; k < p->n_backends && !now[i]; k++)
			if (p->backend[k] && p->backend[k]->port == bc->port && address_equal(&p->backend[k]->address, &bc->address)) {
				now[i] = p->backend[k];
				p->backend[k] = NULL;
			}
		if (!now[i]) {
			now[i] = calloc(1, sizeof(struct backend));
			if (!now[i])
				abort();
			now[i]->refs = 1;
			now[i]->pool = p;
			now[i]->again.fire = preopen_due;
			now[i]->address = bc->address;
			now[i]->port = bc->port;
			endpoint_print(&(struct endpoint){ bc->address, bc->port }, now[i]->text);
			ring_init(&now[i]->idle);
			ring_init(&now[i]->busy);
		}
		now[i]->index = (int)i;
	}
	for (k = 0; k < p->n_backends; k++)
		if (p->backend[k])
			backend_gone(p->backend[k]);
	free(p->backend);
	p->backend = now;
	p->n_backends = conf->n_backends;
	return 0;
}

static void wpool_configure(struct worker *w, const struct pool_conf *conf)
{
	struct wpool *p = wpool_find(w, conf->name);
	struct snapshot *old;

	if (!p) {
		p = calloc(1, sizeof(*p));
		if (!p)
			abort();
		p->w = w;
		ring_init(&p->queue);
		link_before(&w->pools, &p->link);
		p->pool = pool_new(conf, monotonic_ms());
	} else if (pool_reconfigure(p->pool, conf, monotonic_ms(), p->moved)) {
		abort();
	}
	if (p->conf && (p->conf->tls != conf->tls || strcmp(p->conf->tls_name, conf->tls_name) || strcmp(p->conf->tls_ca, conf->tls_ca))) {
		p->secured++; /* connections that were secured otherwise serve their request and end */
		for (uint32_t i = 0; i < p->n_backends; i++)
			close_idle(p->backend[i]);
	}
	p->configured++;
	if (!p->pool || take_backends(p, conf))
		abort();
	old = p->snapshot;
	p->snapshot = snapshot_ref(w->snapshot);
	p->conf = conf;
	p->gone = false;
	snapshot_unref(old);
	judge(p);
	for (uint32_t i = 0; i < p->n_backends; i++)
		preopen(p->backend[i]);
	wpool_next(p);
}

void wpools_configure(struct worker *w)
{
	struct link *l, *next;
	uint32_t i;

	for (l = w->pools.next; l != &w->pools; l = l->next)
		LINK_OF(l, struct wpool, link)->gone = true;
	for (i = 0; i < w->snapshot->conf.n_pools; i++)
		wpool_configure(w, &w->snapshot->conf.pool[i]);
	for (l = w->pools.next; l != &w->pools; l = next) {
		struct wpool *p = LINK_OF(l, struct wpool, link);

		next = l->next;
		if (p->gone && !p->users)
			wpool_unlink(p);
	}
}

void wpools_free(struct worker *w)
{
	struct link *l, *next;

	for (l = w->pools.next; l != &w->pools; l = next) {
		next = l->next;
		wpool_unlink(LINK_OF(l, struct wpool, link));
	}
}

struct wpool *wpool_find(struct worker *w, const char *name)
{
	struct link *l;

	for (l = w->pools.next; l != &w->pools; l = l->next)
		if (!strcmp(LINK_OF(l, struct wpool, link)->conf->name, name))
			return LINK_OF(l, struct wpool, link);
	return NULL;
}

void wpool_health(struct wpool *p, const struct address *a, uint16_t port, bool up)
{
	uint32_t i;

	for (i = 0; i < p->n_backends; i++)
		if (p->backend[i]->port == port && address_equal(&p->backend[i]->address, a))
			p->backend[i]->down = !up;
	judge(p);
	wpool_next(p);
}

void wpools_hosts(struct worker *w)
{
	struct link *l, *next;

	for (l = w->pools.next; l != &w->pools; l = next) {
		next = l->next;
		judge(LINK_OF(l, struct wpool, link));
		wpool_next(LINK_OF(l, struct wpool, link));
	}
}
