/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A worker's part in hand-off: it decides, steps the protocol (l7/handoff/move.h) and does the actions.  What tests/unit/
 * test_move_sim.c does in virtual time is done here with sockets, rows and sessions, under the same names.
 */
#include "l7/handoff/handoff_inside.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "l7/hash.h"

#define REMEMBERED 131072 /* connections of a worker that were offered to it, the oldest that are over forgotten first */
#define OBJECTS 65536	  /* whose sizes a worker has learned */

/* --- places --------------------------------------------------------------------------------------------------- */

struct place *place_find(struct handoff *h, uint64_t cid)
{
	struct link *head = &h->chain[cid & (PLACE_CHAINS - 1)], *l;

	for (l = head->next; l != head; l = l->next)
		if (LINK_OF(l, struct place, chain)->cid == cid)
			return LINK_OF(l, struct place, chain);
	return NULL;
}

static void place_tick(struct timer *t);

struct place *place_new(struct handoff *h, uint64_t cid)
{
	struct place *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->h = h;
	p->cid = cid;
	p->timer.fire = place_tick;
	p->s.next_ms = p->row.deadline_ms = UINT64_MAX;
	link_before(&h->chain[cid & (PLACE_CHAINS - 1)], &p->chain);
	link_before(&h->all, &p->all);
	h->n_places++;
	return p;
}

static void place_bury(struct grave *g)
{
	free(LINK_OF(g, struct place, grave));
}

void end_moving(struct place *p)
{
	if (!p->moving)
		return;
	tcp_move_free(&p->moving->tcp);
	free(p->moving);
	p->moving = NULL;
}

static void place_end(struct place *p)
{
	if (!p->all.next)
		return;
	end_moving(p);
	timer_stop(&p->timer);
	link_out(&p->chain);
	link_out(&p->all);
	p->h->n_places--;
	worker_bury(p->h->w, &p->grave, place_bury);
}

bool place_waits(const struct place *p)
{
	return p->s.state == SEND_OFFERED;
}

/* What is remembered of how the connection came here, while it is ours. */
struct move_recv *place_tenure(const struct place *p)
{
	struct move_recv *r = move_memory_find(p->h->memory, p->cid);

	return r && r->e == p->since && (r->state == RECV_OWNED || r->state == RECV_UNCONFIRMED) ? r : NULL;
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* After every event: when the next look is due, or that nothing is left to look at. */
void place_settle(struct place *p)
{
	const struct move_recv *r = place_tenure(p);
	uint64_t due = UINT64_MAX;

	if (!p->all.next)
		return;
	if (!p->client && p->row.state == ROW_NONE && !r && !place_waits(p) && !p->app) {
		place_end(p);
		return;
	}
	if (place_waits(p) || p->s.state == SEND_HOLDING)
		due = p->s.next_ms;
	if (p->row.state != ROW_NONE)
		due = sooner(due, p->row.deadline_ms);
	if (r)
		due = sooner(due, sooner(r->next_ms, r->deadline_ms));
	if (p->waits_for_word)
		due = sooner(due, p->word_by_ms);
	if (p->app && p->client)
		due = sooner(due, p->app_by_ms);
	if (due == UINT64_MAX)
		timer_stop(&p->timer);
	else
		timer_set(p->h->w, &p->timer, due);
}

/* --- letters ----------------------------------------------------------------------------------------------------- */

void place_say(struct handoff *h, uint16_t to, enum move_letter_type type, uint8_t why, const struct move_letter *of)
{
	struct move_letter l = { .type = type, .why = why, .ingress = of->ingress, .e = of->e, .cid = of->cid };

	if (type == LETTER_STATUS) {
		l.to_inc = of->to_inc;
		l.serial = of->serial;
	}
	if (to && to != h->self)
		carrier_send(h->carrier, to, &l); /* lost with its session: the next one's beginning says all again */
}

/* --- rows ---------------------------------------------------------------------------------------------------------- */

/* Rule 12: a row that passed on the packets of our own tenure has ended. */
static void row_over(struct place *p)
{
	struct move_letter l = { .cid = p->cid, .e = p->gave, .ingress = p->ingress };

	row_sync(p);
	if (p->ingress != p->h->self && p->gave && !p->client)
		place_say(p->h, p->ingress, LETTER_GONE, GONE_ENDED, &l);
}

void place_client_left(struct place *p)
{
	struct client *c = p->client;

	p->client = NULL;
	if (c->ingress)
		p->h->n_arrived--;
	client_left(c);
	end_moving(p);
	place_settle(p);
}

/* Not by the descriptor's end alone: a program that was asked whether it takes the connection has the descriptor too. */
void place_reset(struct place *p)
{
	struct linger abort_it = { .l_onoff = 1, .l_linger = 0 };
	struct sockaddr nobody = { .sa_family = AF_UNSPEC };
	struct client *c = p->client;

	c->reset = true;
	if (connect(c->s.fd, &nobody, sizeof(nobody)))
		setsockopt(c->s.fd, SOL_SOCKET, SO_LINGER, &abort_it, sizeof(abort_it));
	client_close(c);
}

void place_app_ended(struct place *p)
{
	p->app = NULL;
	if (p->client)
		return; /* handoff_closed() says the rest */
	if (p->since)
		row_ends(p);
	place_recv(p, RECV_CLOSED, 0);
	place_settle(p);
}

static void place_tick(struct timer *t)
{
	struct place *p = LINK_OF(t, struct place, timer);
	uint64_t now = monotonic_ms();

	if (p->waits_for_word && now >= p->word_by_ms)
		place_decide_again(p);

	if (now >= p->row.deadline_ms && (p->row.state == ROW_ENDED || (p->row.state == ROW_HOLD && !place_waits(p)))) {
		p->row.state = ROW_NONE;
		row_sync(p);
	}
	if (place_waits(p) && now >= p->s.next_ms)
		place_send(p, SEND_TICK, 0);
	if (p->row.state != ROW_HOLD && move_row_tick(&p->row, now))
		row_over(p);
	place_recv(p, RECV_TICK, 0);
	app_tick(p);
	place_settle(p);
}

static void told(struct handoff *h, const struct move_letter *l, uint16_t from, uint64_t inc)
{
	struct place *p = place_find(h, l->cid);
	struct move_row none = { .state = ROW_NONE, .deadline_ms = UINT64_MAX };

	switch (move_row_told(p ? &p->row : &none, l->cid, l->e, from, inc, p && place_waits(p), monotonic_ms())) {
	case ROW_SAY_OK:
		row_sync(p);
		row_release(p);
		place_say(h, from, LETTER_ROW, ROW_CONFIRMS, l);
		break;
	case ROW_SAY_NO_ROW:
		place_say(h, from, LETTER_GONE, GONE_NO_ROW, l);
		break;
	case ROW_SAY_NOTHING:
		break;
	}
}

/* --- letters that come --------------------------------------------------------------------------------------------- */

/* The letter answers our offer. */
static bool answers_us(const struct place *p, const struct move_letter *l, uint16_t from)
{
	return p && place_waits(p) && p->s.e == l->e && p->s.to == from;
}

static void gone(struct handoff *h, struct place *p, const struct move_letter *l, uint16_t from)
{
	switch ((enum move_gone)l->why) {
	case GONE_UNKNOWN:
		if (answers_us(p, l, from))
			place_send(p, SEND_UNKNOWN, 0);
		break;
	case GONE_NO_ROW:
		if (p && p->since == l->e)
			place_recv(p, RECV_NO_ROW, 0);
		break;
	case GONE_ENDED:
		if (p) {
			move_row_gone(&p->row, l->cid, l->e, from, monotonic_ms());
			if (p->row.state == ROW_CLOSING)
				row_sync(p);
		}
		break;
	}
	(void)h;
}

/* S, which is not I, has sent on what it held: what comes next may come by I's row. */
static void passed(struct place *p, const struct move_letter *l, uint16_t from)
{
	const struct move_recv *r = p ? place_tenure(p) : NULL;

	if (r && r->e == l->e && r->from == from)
		place_recv(p, RECV_PASSED, 0);
}

static uint8_t willing(struct handoff *h, const struct move_letter *l)
{
	/* Neither when it ends itself nor when the operator takes its host out of service does it take what would have to go on. */
	bool draining = h->w->draining || h->w->host[h->self] == HOST_DRAINED;
	struct move_load load = { .draining = draining, .lag_max_ms = 1,
				  .connections = h->n_arrived, .connections_max = h->w->snapshot->conf.handoff.max_connections,
				  .importing_max = 1, .octets_max = 1 };
	uint8_t why = move_willing(&load);

	return why ? why : could_thaw(h, l);
}

static void offered(struct handoff *h, uint16_t host, uint64_t inc, const struct move_letter *l)
{
	struct move_offer o = { .cid = l->cid, .e = l->e, .from = host, .ingress = l->ingress, .from_inc = inc,
				.to_inc = l->to_inc, .serial = l->serial, .ingress_inc = carrier_inc(h->carrier, l->ingress) };
	struct move_actions out;
	struct move_recv *r;

	if (l->type == LETTER_OFFER) {
		h->letter_ns = monotonic_ns();
		h->why = willing(h, l);
		if (h->why)
			flight_offered(h, l, host, h->letter_ns);
		r = move_memory_offer(h->memory, &o, !h->why, monotonic_ms(), &out);
	} else {
		h->why = 0;
		r = move_memory_status(h->memory, &o, monotonic_ms(), &out);
	}
	place_received(h, r, l, host, &out);
}

static bool on_letter(void *ctx, uint16_t host, uint64_t inc, const struct move_letter *l)
{
	struct handoff *h = ctx;
	struct place *p = place_find(h, l->cid);
	struct move_actions out;

	if (!p)
		p = orphan_claim(h, l->cid, l->ingress);
	switch (l->type) {
	case LETTER_OFFER:
	case LETTER_STATUS:
		offered(h, host, inc, l);
		break;
	case LETTER_ACCEPT:
		if (answers_us(p, l, host))
			place_send(p, SEND_ACCEPTED, inc);
		else if (l->ingress == h->self)
			told(h, l, host, inc);
		break;
	case LETTER_REFUSE:
		if (answers_us(p, l, host)) {
			p->moving->why = l->why;
			if (l->why == REFUSE_BUSY || l->why == REFUSE_DRAINING)
				move_refused(&h->backoff[host], monotonic_ms());
			place_send(p, SEND_REFUSED, inc);
		}
		break;
	case LETTER_ROW:
		if (l->why == ROW_TELLS && answers_us(p, l, host)) {
			place_send(p, SEND_ACCEPTED, inc);
		} else if (l->why == ROW_TELLS) {
			told(h, l, host, inc);
		} else if (host != l->ingress) {
			passed(p, l, host);
		} else {
			move_memory_row_ok(h->memory, l->cid, l->e, inc, monotonic_ms(), &out);
			place_received(h, NULL, l, host, &out);
			place_confirmed(h, l);
			if (p && p->waits_for_word)
				place_decide_again(p);
		}
		break;
	case LETTER_GONE:
		gone(h, p, l, host);
		break;
	case LETTER_TYPES:
		break;
	}
	p = place_find(h, l->cid);
	if (p)
		place_settle(p);
	return true;
}

/* --- sessions -------------------------------------------------------------------------------------------------------- */

/* Worker N speaks with worker N: those above the smaller number have nobody there. */
static void compare_workers(const struct handoff *h, uint16_t host)
{
	unsigned there = carrier_workers(h->carrier, host), here = h->host->workers;

	if (h->w->id == 0 && there && there != here)
		log_warning("hand-off: host %u has %u workers and this host, %u, has %u: between them only %u of them hand "
			    "connections off, the others proxy; start baton-l7d with the same --workers on both", host, there, h->self, here,
			    there < here ? there : here);
}

static void on_up(void *ctx, uint16_t host, uint64_t inc)
{
	struct handoff *h = ctx;
	struct link *l, *next;

	move_memory_peer(h->memory, host, inc);
	orphans_peer(h->host, host, inc);
	stats_inc(h->w->stats.sessions);
	compare_workers(h, host);
	for (l = h->all.next; l != &h->all; l = next) {
		struct place *p = LINK_OF(l, struct place, all);

		next = l->next;
		if (move_row_peer(&p->row, host, inc))
			row_over(p);
		if (p->s.to == host && (place_waits(p) || p->s.state == SEND_HOLDING))
			place_send(p, SEND_PEER, inc);
		if (p->ingress == host)
			place_recv(p, RECV_INGRESS_UP, inc);
		place_settle(p);
	}
}

static void on_down(void *ctx, uint16_t host)
{
	struct handoff *h = ctx;
	struct link *l, *next;

	stats_add(h->w->stats.sessions, -1);
	for (l = h->all.next; l != &h->all; l = next) {
		struct place *p = LINK_OF(l, struct place, all);
		uint64_t before = p->row.deadline_ms;
		const struct move_recv *r;

		next = l->next;
		move_row_session_ended(&p->row, host, monotonic_ms());
		if (p->row.deadline_ms != before)
			row_sync(p);
		if (p->ingress == host)
			place_recv(p, RECV_INGRESS_DOWN, 0);
		else if ((r = place_tenure(p)) && r->from == host)
			place_recv(p, RECV_PASSED, 0);
		place_settle(p);
	}
}

static const struct carrier_ops carrier_ops = { on_up, on_down, on_letter };

/* --- life -------------------------------------------------------------------------------------------------------------- */

const struct other_host *host_of(const struct snapshot *s, uint16_t id)
{
	uint32_t i;

	for (i = 0; i < s->n_hosts; i++)
		if (s->host[i].id == id)
			return &s->host[i];
	return NULL;
}

static void open_carrier(struct handoff *h)
{
	const struct snapshot *s = h->w->snapshot;
	const struct other_host *self = host_of(s, h->self);
	struct sockaddr_storage ss;
	struct endpoint at;
	int err;

	if (!self || !s->conf.handoff.enabled)
		return;
	at = (struct endpoint){ self->management, (uint16_t)(s->conf.handoff.port + h->w->id) };
	err = carrier_new(h->w->base, h->tls, (struct sockaddr *)&ss, endpoint_sockaddr(&at, &ss), h->host->inc, CARRIER_WINDOW,
			  &carrier_ops, h, &h->carrier);
	if (!err)
		carrier_set_workers(h->carrier, h->host->workers);
	else
		log_error("hand-off: worker %u cannot listen on port %u of the management address: %s: its requests are proxied",
			  h->w->id, at.port, strerror(-err));
}

static bool leaves(const struct snapshot *s, uint32_t pool)
{
	uint32_t e, r;

	for (e = 0; e < s->n_edges; e++)
		for (r = 0; r < s->edge[e].conf->n_routes; r++)
			if (s->edge[e].conf->route[r].pool == pool && s->edge[e].conf->route[r].mode != ROUTE_PROXY)
				return true;
	return false;
}

/* Connections come to this host's backends from elsewhere too. */
static void set_homes(struct handoff *h, const struct snapshot *s)
{
	uint32_t i, b;

	for (i = 0; i < s->conf.n_pools; i++) {
		const struct pool_conf *conf = &s->conf.pool[i];
		struct wpool *pool = wpool_find(h->w, conf->name);
		uint64_t mask = 0;

		for (b = 0; s->conf.handoff.enabled && h->carrier && leaves(s, i) && b < conf->n_backends; b++)
			mask |= conf->backend[b].host == h->self ? UINT64_C(1) << b : 0;
		if (pool)
			pool_set_home(pool->pool, mask);
	}
}

void handoff_configure(struct worker *w)
{
	struct handoff *h = w->handoff;
	const struct snapshot *s = w->snapshot;
	struct sockaddr_storage ss;
	uint32_t id;

	if (!h->carrier)
		open_carrier(h);
	if (!h->sizes || s->n_routes != h->n_routes) {
		move_sizes_free(h->sizes);
		h->sizes = move_sizes_new(s->n_routes, OBJECTS);
		h->n_routes = h->sizes ? s->n_routes : 0;
	}
	h->queue_max = (size_t)s->conf.handoff.queue_max;
	for (id = HOST_ID_MIN; h->carrier && id <= HOST_ID_MAX; id++) {
		const struct other_host *o = s->conf.handoff.enabled && id != h->self ? host_of(s, (uint16_t)id) : NULL;
		struct endpoint at = { .port = (uint16_t)(s->conf.handoff.port + w->id) };

		if (!o) {
			carrier_forget(h->carrier, (uint16_t)id);
			continue;
		}
		at.address = o->management;
		if (carrier_peer(h->carrier, (uint16_t)id, (struct sockaddr *)&ss, endpoint_sockaddr(&at, &ss)))
			log_error("hand-off: no session with host %u", id);
	}
	set_homes(h, s);
}

void handoff_attach(struct worker *w, void *arg)
{
	struct handoff *h = calloc(1, sizeof(*h));
	char why[256];
	unsigned i;

	if (!h)
		abort();
	h->w = w;
	h->host = arg;
	h->self = h->host->self;
	for (i = 0; i < PLACE_CHAINS; i++)
		ring_init(&h->chain[i]);
	ring_init(&h->all);
	h->spare[0] = h->spare[1] = -1;
	ring_init(&h->apps);
	h->memory = move_memory_new(h->self, h->host->inc, REMEMBERED, HOST_ID_MAX);
	if (!h->memory)
		abort();
	/* One of our own: sessions are made and certificates read again in different threads. */
	if (tls_identity_load(h->host->tls_dir, &h->tls, why, sizeof(why))) {
		log_error("hand-off: %s", why);
		move_memory_free(h->memory);
		free(h);
		return;
	}
	w->handoff = h;
	if (w->snapshot)
		handoff_configure(w);
}

void handoff_leave(struct worker *w)
{
	if (w->handoff && w->handoff->carrier)
		carrier_leave(w->handoff->carrier);
}

void handoff_apps_left(struct worker *w)
{
	struct link *l, *next;

	for (l = w->handoff->all.next; l != &w->handoff->all; l = next) {
		struct place *p = LINK_OF(l, struct place, all);

		next = l->next;
		if (p->app && !p->client)
			place_app_ended(p);
	}
}

bool handoff_may_end(const struct worker *w)
{
	return !w->handoff->carrier || carrier_may_end(w->handoff->carrier);
}

void handoff_detach(struct worker *w)
{
	struct handoff *h = w->handoff;

	if (!h)
		return;
	carrier_free(h->carrier);
	h->carrier = NULL;
	apps_end(h);
	while (!ring_empty(&h->all))
		place_end(LINK_OF(h->all.next, struct place, all));
	for (int i = 0; i < 2; i++)
		if (h->spare[i] >= 0)
			close(h->spare[i]);
	w->handoff = NULL;
	tls_identity_free(h->tls);
	move_memory_free(h->memory);
	move_sizes_free(h->sizes);
	free(h);
}
