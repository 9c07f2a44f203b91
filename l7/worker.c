/* SPDX-License-Identifier: BSD-2-Clause */
/* Workers: loop, listeners, timers, calls from the main thread.  See worker.h. */
#include "l7/worker.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "l7/access.h"
#include "l7/backend.h"
#include "l7/client.h"
#include "l7/handoff/handoff.h"
#include "l7/privilege.h"
#include "l7/tls/cert_rules.h"
#include "l7/tls/record.h"
#include "l7/tls/tls.h"

#define BACKLOG 4096
#define ACCEPTS_AT_ONCE 64
#define WORKER_END_MS 500

struct call {
	struct call *next;
	void (*fn)(struct worker *w, void *arg);
	void *arg;
};

struct listener {
	struct link link;
	struct worker *w;
	struct address address;
	uint16_t port;
	const struct edge *edge; /* of the worker's snapshot */
	int fd;
	struct event *event;
	bool wanted;
};

/* --- timers ---------------------------------------------------------------------------------------------- */
static void place(struct worker *w, struct timer *t, uint64_t at_ms)
{
	uint64_t last = w->wheel_ms + WHEEL_MS * (WHEEL_SLOTS - 1);

	if (at_ms <= w->wheel_ms)
		at_ms = w->wheel_ms + 1;
	if (at_ms > last)
		at_ms = last; /* looked at again then */
	t->placed_ms = at_ms;
	link_before(&w->wheel[(at_ms + WHEEL_MS - 1) / WHEEL_MS % WHEEL_SLOTS], &t->link);
}

void timer_set(struct worker *w, struct timer *t, uint64_t due_ms)
{
	t->due_ms = due_ms;
	if (t->link.next && t->placed_ms <= due_ms)
		return;
	link_out(&t->link);
	place(w, t, due_ms);
}

void timer_stop(struct timer *t)
{
	link_out(&t->link);
}

static void on_tick(evutil_socket_t fd, short what, void *ctx)
{
	struct worker *w = ctx;
	uint64_t now = monotonic_ms();

	(void)fd;
	(void)what;
	while (w->wheel_ms + WHEEL_MS <= now) {
		struct link *slot, due;

		w->wheel_ms += WHEEL_MS; /* first: what is set meanwhile, and due already, belongs into the next slot */
		slot = &w->wheel[w->wheel_ms / WHEEL_MS % WHEEL_SLOTS];
		if (ring_empty(slot))
			continue;
		due = *slot; /* apart, since a timer that is far off may land in this slot */
		due.next->prev = due.prev->next = &due;
		ring_init(slot);
		while (!ring_empty(&due)) {
			struct timer *t = LINK_OF(due.next, struct timer, link);

			link_out(&t->link);
			if (t->due_ms > now)
				place(w, t, t->due_ms);
			else
				t->fire(t);
		}
	}
}

/* --- the dead -------------------------------------------------------------------------------------------- */
static void on_sweep(evutil_socket_t fd, short what, void *ctx)
{
	struct worker *w = ctx;

	(void)fd;
	(void)what;
	while (!ring_empty(&w->graves)) {
		struct grave *g = LINK_OF(w->graves.next, struct grave, link);

		link_out(&g->link);
		g->bury(g);
	}
}

void worker_bury(struct worker *w, struct grave *g, void (*bury)(struct grave *g))
{
	if (g->link.next)
		return;
	g->bury = bury;
	if (ring_empty(&w->graves))
		event_active(w->sweep, EV_TIMEOUT, 0);
	link_before(&w->graves, &g->link);
}

/* --- listeners --------------------------------------------------------------------------------------------- */
static void on_accept(evutil_socket_t fd, short what, void *ctx)
{
	struct listener *l = ctx;
	struct worker *w = l->w;
	unsigned i;

	(void)what;
	for (i = 0; i < ACCEPTS_AT_ONCE; i++) {
		struct sockaddr_storage peer;
		socklen_t len = sizeof(peer);
		int c = accept4(fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (c < 0) {
			if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
				stats_inc(w->stats.refused_full);
			return;
		}
		if (w->n_clients >= l->edge->conf->max_connections) {
			stats_inc(w->stats.refused_full);
			close(c);
			continue;
		}
		client_accept(w, w->snapshot, l->edge, c, &peer);
	}
}

static int listen_at(const struct address *a, uint16_t port)
{
	const struct endpoint at = { *a, port };
	struct sockaddr_storage ss;
	socklen_t len = endpoint_sockaddr(&at, &ss);
	int fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1, err;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
	/* The VIP may not be there yet: the agent gives it to this host when it serves. */
	if (ss.ss_family == AF_INET6) {
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
		setsockopt(fd, IPPROTO_IPV6, IPV6_FREEBIND, &one, sizeof(one));
	} else {
		setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &one, sizeof(one));
	}
	if (bind(fd, (struct sockaddr *)&ss, len) || listen(fd, BACKLOG)) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

static void listener_free(struct listener *l)
{
	link_out(&l->link);
	if (l->event)
		event_free(l->event);
	close(l->fd);
	free(l);
}

static void listener_want(struct worker *w, const struct edge *e, const struct address *a)
{
	struct listener *l;
	struct link *i;
	char text[ADDRESS_TEXT];
	int fd;

	for (i = w->listeners.next; i != &w->listeners; i = i->next) {
		l = LINK_OF(i, struct listener, link);
		if (l->port == e->conf->port && address_equal(&l->address, a)) {
			l->wanted = true;
			l->edge = e;
			return;
		}
	}
	fd = listen_at(a, e->conf->port);
	if (fd < 0) {
		log_error("edge %s: cannot listen on %s port %u: %s", e->vip, address_print(a, text), e->conf->port,
			  strerror(-fd));
		return;
	}
	l = calloc(1, sizeof(*l));
	if (!l)
		abort();
	*l = (struct listener){ .w = w, .address = *a, .port = e->conf->port, .edge = e, .fd = fd, .wanted = true };
	l->event = event_new(w->base, fd, EV_READ | EV_PERSIST, on_accept, l);
	if (!l->event || event_add(l->event, NULL))
		abort();
	link_before(&w->listeners, &l->link);
}

static void configure_listeners(struct worker *w)
{
	struct link *i, *next;
	uint32_t e, a;

	for (i = w->listeners.next; i != &w->listeners; i = i->next)
		LINK_OF(i, struct listener, link)->wanted = false;
	for (e = 0; e < w->snapshot->n_edges && !w->draining; e++)
		for (a = 0; a < w->snapshot->edge[e].n_addresses; a++)
			listener_want(w, &w->snapshot->edge[e], &w->snapshot->edge[e].address[a]);
	for (i = w->listeners.next; i != &w->listeners; i = next) {
		next = i->next;
		if (!LINK_OF(i, struct listener, link)->wanted)
			listener_free(LINK_OF(i, struct listener, link));
	}
}

/* Clients of edges that are no more, or ask for another certificate: at a request's boundary they are told to go. */
static void drain_removed(struct worker *w, const struct snapshot *old)
{
	struct link *l, *next;
	bool removed = false;
	uint32_t i;

	for (i = 0; old && i < old->n_edges; i++) {
		const struct edge *was = &old->edge[i], *e = snapshot_edge(w->snapshot, was->vip, was->conf->port);

		removed = removed || !e || !cert_rules_same(tls_context_rules(was->tls), tls_context_rules(e->tls));
	}
	for (l = w->clients.next; removed && l != &w->clients; l = next) {
		struct client *c = LINK_OF(l, struct client, link);

		next = l->next;
		if (!client_agrees(c, w->snapshot))
			client_drain(c);
		next = ring_onward(&w->clients, next);
	}
}

void worker_configure(struct worker *w, struct snapshot *s)
{
	struct snapshot *old = w->snapshot;

	w->snapshot = snapshot_ref(s);
	wpools_configure(w);
	configure_listeners(w);
	drain_removed(w, old);
	if (w->handoff)
		handoff_configure(w);
	snapshot_unref(old);
}

void worker_drain(struct worker *w)
{
	struct link *i, *next;

	w->draining = true;
	handoff_leave(w);
	while ((i = ring_take(&w->listeners))) {
		struct listener *l = LINK_OF(i, struct listener, link);

		/* Those whose handshake is done would be reset: taken, then served. */
		on_accept(l->fd, EV_READ, l);
		listener_free(l);
	}
	for (i = w->clients.next; i != &w->clients; i = next) {
		next = i->next;
		client_drain(LINK_OF(i, struct client, link));
		next = ring_onward(&w->clients, next);
	}
}

/* --- calls ------------------------------------------------------------------------------------------------- */
static void on_wake(evutil_socket_t fd, short what, void *ctx)
{
	struct worker *w = ctx;
	struct call *c, *next;
	uint64_t n;

	(void)what;
	if (read(fd, &n, sizeof(n)) < 0)
		return;
	pthread_mutex_lock(&w->lock);
	c = w->calls;
	w->calls = NULL;
	w->calls_end = &w->calls;
	pthread_mutex_unlock(&w->lock);
	for (; c; c = next) {
		next = c->next;
		c->fn(w, c->arg);
		free(c);
	}
}

void worker_call(struct worker *w, void (*fn)(struct worker *w, void *arg), void *arg)
{
	struct call *c = malloc(sizeof(*c));
	uint64_t one = 1;

	if (!c)
		abort();
	*c = (struct call){ .fn = fn, .arg = arg };
	pthread_mutex_lock(&w->lock);
	*w->calls_end = c;
	w->calls_end = &c->next;
	pthread_mutex_unlock(&w->lock);
	if (write(w->wake_fd, &one, sizeof(one)) < 0)
		log_error("worker %u: cannot be woken: %s", w->id, strerror(errno));
}

/* --- life ---------------------------------------------------------------------------------------------------- */
/* Whether one of them is on its way: its letter may be answered yet. */
static bool close_clients(struct worker *w)
{
	struct link *l, *next;
	bool moving = false;

	for (l = w->clients.next; l != &w->clients; l = next) {
		struct client *c = LINK_OF(l, struct client, link);

		next = l->next;
		if (c->moving)
			moving = true;
		else
			client_close(c); /* who waited for what it had may get it now, and end too */
		next = ring_onward(&w->clients, next);
	}
	return moving;
}

/* Other hosts' rows lead to what ends here: they are told before the sessions end, or they would lead here for minutes. */
static void say_what_ends(struct worker *w)
{
	uint64_t until = monotonic_ms() + WORKER_END_MS;
	bool moving;

	worker_drain(w);
	handoff_apps_left(w);
	do {
		moving = close_clients(w);
		w->now_ns = 0;
		event_base_loop(w->base, EVLOOP_ONCE);
	} while ((moving || !handoff_may_end(w)) && monotonic_ms() < until);
}

static void *run(void *ctx)
{
	struct worker *w = ctx;
	int err = privilege_keep(PRIVILEGE_SERVES);

	if (err)
		log_error("worker %u: giving up capabilities: %s", w->id, strerror(-err));
	while (!w->ended) {
		w->now_ns = 0;
		event_base_loop(w->base, EVLOOP_ONCE);
	}
	if (w->handoff)
		say_what_ends(w);
	record_thread_end();
	return NULL;
}

static void end(struct worker *w, void *arg)
{
	(void)arg;
	w->ended = true;
	event_base_loopbreak(w->base);
}

static void release(struct worker *w)
{
	struct link *first;

	while ((first = ring_take(&w->listeners)))
		listener_free(LINK_OF(first, struct listener, link));
	while (!ring_empty(&w->clients))
		client_close(LINK_OF(w->clients.next, struct client, link));
	handoff_detach(w);
	wpools_free(w);
	on_sweep(-1, 0, w);
	while (w->n_pipes--) {
		close(w->pipe[w->n_pipes][0]);
		close(w->pipe[w->n_pipes][1]);
	}
	snapshot_unref(w->snapshot);
	head_free(&w->head);
	if (w->tick)
		event_free(w->tick);
	if (w->sweep)
		event_free(w->sweep);
	if (w->wake)
		event_free(w->wake);
	if (w->base)
		event_base_free(w->base);
	close(w->wake_fd);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

int worker_start(unsigned id, struct access_log *log, struct worker **out)
{
	struct timeval tick = { .tv_usec = WHEEL_MS * 1000 };
	struct worker *w = calloc(1, sizeof(*w));
	struct event_config *config = event_config_new();
	int i, err;

	if (!w || !config) {
		free(w);
		if (config)
			event_config_free(config);
		return -ENOMEM;
	}
	w->id = id;
	w->log = log;
	w->calls_end = &w->calls;
	pthread_mutex_init(&w->lock, NULL);
	ring_init(&w->listeners);
	ring_init(&w->clients);
	ring_init(&w->pools);
	ring_init(&w->graves);
	for (i = 0; i < WHEEL_SLOTS; i++)
		ring_init(&w->wheel[i]);
	w->wheel_ms = monotonic_ms() / WHEEL_MS * WHEEL_MS;
	event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
	w->base = event_base_new_with_config(config);
	event_config_free(config);
	w->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (w->base && w->wake_fd >= 0) {
		w->tick = event_new(w->base, -1, EV_PERSIST, on_tick, w);
		w->sweep = event_new(w->base, -1, 0, on_sweep, w);
		w->wake = event_new(w->base, w->wake_fd, EV_READ | EV_PERSIST, on_wake, w);
	}
	if (!w->tick || !w->sweep || !w->wake || event_add(w->tick, &tick) || event_add(w->wake, NULL)) {
		release(w);
		return -ENOMEM;
	}
	err = pthread_create(&w->thread, NULL, run, w);
	if (err) {
		release(w);
		return -err;
	}
	*out = w;
	return 0;
}

void worker_end(struct worker *w)
{
	worker_call(w, end, NULL);
}

void worker_stop(struct worker *w)
{
	pthread_join(w->thread, NULL);
	release(w);
}
