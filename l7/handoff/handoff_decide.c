/* SPDX-License-Identifier: BSD-2-Clause */
/* Whether a request's connection moves: what l7/handoff/move_policy.h is asked, and what is done with its answer. */
#include "l7/handoff/handoff_inside.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "l7/hash.h"

#define WORD_MS 50	  /* a request that would move its connection waits so long for the move before to be confirmed */

/* Of a request's body only what lies in our buffer may have come: then it goes along. */
static bool uploads(const struct client *c, size_t head_len)
{
	size_t more = buffer_len(&c->s.in) - head_len;

	if (c->body == BODY_NONE)
		return false;
	if (c->expect && !more && !c->s.raw.data)
		return false; /* it waits for a 100, which the receiver says as well */
	return c->body == BODY_CHUNKED || c->body_left > more;
}


/* This host's own programs, its agent's health checks first of all: nobody else's answer would reach them. */
static bool is_own(const struct client *c)
{
	const struct other_host *self = host_of(c->s.w->snapshot, c->s.w->handoff->self);
	const struct address *m = self ? &self->management : NULL;
	const struct in6_addr *a6 = &c->peer.v6.sin6_addr;
	uint32_t a4 = c->peer.v4.sin_addr.s_addr;

	if (c->ingress)
		return false; /* it has come from elsewhere */
	if (c->peer.v4.sin_family == AF_INET)
		return a4 == c->local.v4.sin_addr.s_addr || ntohl(a4) >> 24 == 127 || (m && m->family == AF_INET && a4 == m->v4.s_addr);
	return IN6_ARE_ADDR_EQUAL(a6, &c->local.v6.sin6_addr) || IN6_IS_ADDR_LOOPBACK(a6) ||
	       (m && m->family == AF_INET6 && IN6_ARE_ADDR_EQUAL(a6, &m->v6));
}

/* What the kernel seals (l7/tls/ktls.h) moves when all of it is TCP's; a program would seal once more. */
static bool unsealed(const struct client *c, const struct app *app)
{
	return !c->s.ktls || (!app && stream_settled(&c->s));
}

static bool travels(const struct client *c)
{
	return !is_own(c) && !c->s.eof && !c->s.error && buffer_len(&c->s.raw) <= move_section_max(SECTION_RAW_IN) &&
	       buffer_len(&c->s.out) <= move_section_max(SECTION_RAW_OUT);
}

static bool is_inside_ip(const struct client *c, uint16_t host)
{
	const struct other_host *o = host_of(c->s.w->snapshot, host);

	return o && o->inside_ip;
}

/* `app`: a program of this host that takes the connection. */
static struct move_decision decide(struct client *c, size_t head_len, uint16_t host, const struct app *app)
{
	struct handoff *h = c->s.w->handoff;
	const struct exchange *x = c->x;
	uint8_t mode = c->edge->conf->route[x->route - c->edge->first_route].mode;
	const struct move_recv *r = c->place ? place_tenure(c->place) : NULL;
	struct move_question q = {
		/* A program is there to be talked to: what a proxy would cost is not the question. */
		.route_mode = mode == ROUTE_AUTO && x->pool->conf->backend[x->pick].socket[0] ? ROUTE_HANDOFF : mode,
		.protocol_moves = !x->upgrade,
		.upload = uploads(c, head_len),
		.here = host == h->self && !app,
		.same_host = app,
		.capable = host != HOST_NONE && h->carrier,
		.session = app || (h->carrier && host && carrier_takes(h->carrier, host)),
		.way = app || !is_inside_ip(c, host) || rows_reach(h->host->rows, host),
		.settled = app || !r || r->state == RECV_OWNED,
		.socket_moves = travels(c) && ((host == h->self && !app) || unsealed(c, app)),
		.tls = c->secure,
		.now_ms = monotonic_ms(),
		.backoff_until_ms = h->backoff[host].until_ms,
		.size = x->slight ? 1 : move_sizes_expect(h->sizes, x->route, x->object),
		.stay = move_sizes_stay(h->sizes, x->route),
		.moves = c->moves,
		.octets = c->octets + c->s.sent + c->s.received,
	};

	return move_decide(&q);
}

static void start(struct client *c, size_t head_len, uint16_t host, enum move_reason reason)
{
	struct handoff *h = c->s.w->handoff;
	struct place *p = c->place;

	c->moving = true;
	c->head_n = head_len;
	timer_stop(&c->timer);
	stream_freeze(&c->s);
	p->moving->reason = reason;
	p->moving->begun_ns = monotonic_ns();
	p->s = (struct move_send){ .state = SEND_IDLE, .cid = p->cid, .e = ++p->last, .to = host,
				   .to_inc = carrier_inc(h->carrier, host), .ingress = p->ingress == h->self, .next_ms = UINT64_MAX };
	p->serial = ++h->serial[host];
	place_send(p, SEND_START, 0);
	place_settle(p);
}

static struct place *place_for(struct client *c)
{
	struct handoff *h = c->s.w->handoff;
	struct place *p = c->place ? c->place : place_new(h, c->cid);

	if (!p)
		return NULL;
	if (!c->place) {
		p->ingress = h->self;
		p->client = c;
		c->place = p;
		flow_of(c, &p->flow);
	}
	if (!p->moving)
		p->moving = calloc(1, sizeof(*p->moving));
	return p->moving ? p : NULL;
}

/* The connection came for this request: a backend of this host answers it, others only if none of ours can. */
static void at_home(struct client *c)
{
	const struct wpool *pool = c->x->pool;
	uint32_t i;

	c->arrived = false;
	c->x->mode = MODE_HANDOFF;
	c->x->reason = c->arrived_for;
	for (i = 0; i < pool->n_backends; i++)
		if (pool->conf->backend[i].host != c->s.w->handoff->self)
			c->x->tried |= UINT64_C(1) << i;
	c->x->tried_at = pool->configured;
}

/* Did this connection's requests stay with one backend? */
static void note_backend(struct client *c, uint64_t backend)
{
	struct handoff *h = c->s.w->handoff;

	if (c->last_route < h->n_routes)
		move_sizes_followed(h->sizes, c->last_route, c->last_backend == backend);
	c->last_route = c->x->route;
	c->last_backend = backend;
}

void handoff_last(const struct client *c)
{
	struct handoff *h = c->s.w->handoff;

	if (c->last_route < h->n_routes)
		move_sizes_followed(h->sizes, c->last_route, false);
}

static struct app *app_of(struct handoff *h, const struct backend_conf *b)
{
	return b->socket[0] && b->host == h->self ? app_at(h, b->socket) : NULL;
}

/* The connection came for this request, which a program here answers. */
static bool came_for_app(struct client *c, size_t head_len)
{
	struct handoff *h = c->s.w->handoff;
	const struct wpool *pool = c->x->pool;
	struct app *app = NULL;
	uint32_t i;

	for (i = 0; i < pool->n_backends && !app; i++)
		app = app_of(h, &pool->conf->backend[i]);
	return app && !c->x->upgrade && !uploads(c, head_len) && place_for(c) && app_give(c->place, app, head_len);
}

/* What the pool has picked: does the connection go there?  True: it is on its way, or waits for I's word to go. */
static bool goes(struct client *c, size_t head_len, bool may_wait)
{
	struct exchange *x = c->x;
	uint16_t host = x->pool->conf->backend[x->pick].host;
	struct app *app = app_of(c->s.w->handoff, &x->pool->conf->backend[x->pick]);
	struct move_decision d = decide(c, head_len, host, app);
	struct place *p;

	if (d.reason == REASON_UNCONFIRMED && may_wait) {
		p = c->place;
		c->moving = p->waits_for_word = true;
		c->head_n = head_len;
		p->word_by_ms = monotonic_ms() + WORD_MS;
		timer_stop(&c->timer);
		stream_freeze(&c->s);
		place_settle(p);
		return true;
	}
	x->mode = (uint8_t)d.mode;
	x->reason = (uint8_t)d.reason;
	stats_inc(c->s.w->stats.move_reasons[d.reason]);
	if (d.reason == REASON_SOCKET && c->s.ktls)
		stats_inc(c->s.w->stats.ktls_stayed);
	if (d.mode != MODE_HANDOFF || !place_for(c))
		return false;
	if (app)
		return app_give(c->place, app, head_len);
	start(c, head_len, host, d.reason);
	return true;
}

/* The word that was waited for has come, or it is late. */
void place_decide_again(struct place *p)
{
	struct client *c = p->client;

	p->waits_for_word = c->moving = false;
	if (c->x->pick_at == c->x->pool->configured && goes(c, c->head_n, false))
		return;
	stream_thaw(&c->s);
	h1_resume(c);
}

bool handoff_try(struct client *c, size_t head_len)
{
	struct handoff *h = c->s.w->handoff;
	struct exchange *x = c->x;
	struct wpool *pool = x->pool;
	const char *text;

	if (c->arrived) {
		at_home(c);
		return came_for_app(c, head_len);
	}
	if (x->route >= h->n_routes)
		return false;
	x->pick = pool_pick(pool->pool, &x->key, 0, monotonic_ms());
	x->pick_at = pool->configured;
	if (x->pick < 0)
		return false;
	text = pool->backend[x->pick]->text;
	note_backend(c, hash_bytes(text, strlen(text), 6));
	return goes(c, head_len, true);
}

void handoff_ends(struct client *c)
{
	if (c->moves && !c->reset && !c->s.error)
		row_ends(c->place);
}

void handoff_closed(struct client *c)
{
	struct place *p = c->place;

	handoff_ends(c);
	c->place = NULL;
	p->client = NULL;
	p->app = NULL;
	p->waits_for_word = false;
	if (c->ingress)
		p->h->n_arrived--;
	place_recv(p, RECV_CLOSED, 0);
	place_settle(p);
}

/*
 * Sizes are learned from heads: a large answer is known to be large while it runs, and one that the client cuts short is
 * no smaller for it.  A part (206) says what answers of this route are like, nothing of the object.  HEAD says what GET
 * would give (RFC 9110 8.6), but 0 is also what servers say that do not know; of a 304's length the same is true, and
 * most have none.
 */
static void learn(const struct exchange *x, uint64_t octets)
{
	struct handoff *h = x->w->handoff;

	if (x->route >= h->n_routes || (x->status != 200 && x->status != 206))
		return;
	if (x->status == 200 && (x->method == METHOD_GET || (x->head_request && octets)))
		move_sizes_object(h->sizes, x->object, octets);
	if (!x->head_request)
		move_sizes_answer(h->sizes, x->route, octets);
}

void handoff_answered(const struct exchange *x, int64_t length)
{
	if (x->mode == MODE_HANDOFF && x->owner->came_ns)
		stats_move(&x->w->stats, MOVE_PHASE_FIRST, x->answer_ns - x->owner->came_ns);
	if (length >= 0)
		learn(x, (uint64_t)length);
}

/* Without a length its end tells. */
void handoff_given(const struct exchange *x)
{
	if (x->answer_body == BODY_CHUNKED || x->answer_body == BODY_CLOSE)
		learn(x, x->bytes_out);
}

uint16_t handoff_self(const struct worker *w)
{
	return w->handoff ? w->handoff->self : 0;
}
