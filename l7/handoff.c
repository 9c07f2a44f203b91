/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A worker's part in hand-off: it decides, steps the protocol (l7/move.h) and does the actions.  What tests/unit/
 * test_move_sim.c does in virtual time is done here with sockets, rows and sessions, under the same names.
 */
#include "l7/handoff_inside.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "l7/hash.h"

#define REMEMBERED 131072 /* connections of a worker that were offered to it, the oldest that are over forgotten first */
#define SILENT_MS 500	  /* a peer that has not answered an offer in time gets no other for so long */
#define WORD_MS 50	  /* a request that would move its connection waits so long for the move before to be confirmed */
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

static bool waits(const struct place *p)
{
	return p->s.state == SEND_OFFERED;
}

/* What is remembered of how the connection came here, while it is ours. */
static struct move_recv *tenure(const struct place *p)
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
	const struct move_recv *r = tenure(p);
	uint64_t due = UINT64_MAX;

	if (!p->all.next)
		return;
	if (!p->client && p->row.state == ROW_NONE && !r && !waits(p) && !p->app) {
		place_end(p);
		return;
	}
	if (waits(p) || p->s.state == SEND_HOLDING)
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

static void say(struct handoff *h, uint16_t to, enum move_letter_type type, uint8_t why, const struct move_letter *of)
{
	struct move_letter l = { .type = type, .why = why, .ingress = of->ingress, .e = of->e, .cid = of->cid };

	if (type == LETTER_STATUS) {
		l.to_inc = of->to_inc;
		l.serial = of->serial;
	}
	if (to && to != h->self)
		carrier_send(h->carrier, to, &l); /* lost with its session: the next one's beginning says all again */
}

/* --- S ------------------------------------------------------------------------------------------------------------ */

static void send_event(struct place *p, enum move_send_event event, uint64_t inc);

static void left(struct place *p)
{
	struct move_recv *r = tenure(p);
	struct move_actions none;

	if (r)
		move_memory_step(p->h->memory, r, RECV_LEFT, 0, monotonic_ms(), &none);
}

static void set_frozen(struct place *p, bool is)
{
	struct move_recv *r = move_memory_find(p->h->memory, p->cid);

	if (r && r->e == p->since)
		r->frozen = is;
}

/* The connection is not here any more. */
static void let_go(struct place *p)
{
	struct client *c = p->client;

	set_frozen(p, false);
	left(p);
	p->client = NULL;
	if (c->ingress)
		p->h->n_arrived--;
	client_left(c);
	end_moving(p);
}

static void give(struct place *p)
{
	struct handoff *h = p->h;

	flight_sent(p, FLIGHT_GIVEN);
	move_row_give(&p->row, &p->s, monotonic_ms());
	p->gave = p->since;
	let_go(p); /* before what waited goes on: the SYN of the port's next connection may be among it, and is not for this socket */
	row_pass(p);
	move_accepted(&h->backoff[p->s.to]);
	stats_inc(h->w->stats.moves_given);
}

static void resume(struct place *p)
{
	struct handoff *h = p->h;
	struct client *c = p->client;
	struct moving *m = p->moving;

	flight_sent(p, FLIGHT_RESUMED);
	c->x->mode = MODE_PROXY;
	c->x->reason = m->why ? REASON_REFUSED : m->exported_ns ? REASON_NO_SESSION : REASON_SOCKET;
	stats_inc(h->w->stats.move_reasons[c->x->reason]);
	p->row.state = ROW_NONE;
	row_sync(p);
	tcp_move_resume(c->s.fd);
	row_release(p);
	if (m->exported_ns)
		row_nudge(p, &m->tcp);
	set_frozen(p, false);
	c->moving = false;
	end_moving(p);
	stats_inc(h->w->stats.moves_resumed);
	stream_thaw(&c->s);
	h1_resume(c); /* may end c */
}

static void wipe(struct place *p)
{
	flight_sent(p, FLIGHT_LOST);
	p->row.state = ROW_NONE;
	row_sync(p);
	row_drop(p);
	log_warning("connection %016llx is lost: host %u did not say in time whether it has it", (unsigned long long)p->cid, p->s.to);
	let_go(p);
	stats_inc(p->h->w->stats.moves_lost);
}

static bool export_it(struct place *p)
{
	struct moving *m = p->moving;

	set_frozen(p, true);
	m->error = row_hold(p);
	if (!m->error)
		m->error = freeze(p);
	if (m->error)
		return false;
	m->exported_ns = monotonic_ns();
	return true;
}

static void do_send(struct place *p, const struct move_actions *out)
{
	struct handoff *h = p->h;
	struct move_letter of = { .cid = p->cid, .e = p->s.e, .ingress = p->ingress, .to_inc = p->s.to_inc, .serial = p->serial };
	unsigned i;

	for (i = 0; i < out->n; i++) {
		switch ((enum move_action)out->action[i]) {
		case MOVE_HOLD:
			move_row_hold(&p->row, &p->s); /* into the kernel with the export, which looks whether there was room */
			break;
		case MOVE_EXPORT:
			send_event(p, export_it(p) ? SEND_EXPORTED : SEND_NOT_EXPORTED, 0);
			return;
		case MOVE_SEND_OFFER:
			p->moving->error = offer(p);
			if (p->moving->error) {
				send_event(p, SEND_UNSENT, 0);
				return;
			}
			p->moving->offered_ns = monotonic_ns();
			break;
		case MOVE_SEND_STATUS:
			/* It is slow to answer, or dead: what else would be offered to it is proxied meanwhile. */
			h->backoff[p->s.to].until_ms = monotonic_ms() + SILENT_MS;
			say(h, p->s.to, LETTER_STATUS, 0, &of);
			break;
		case MOVE_GIVE:
			give(p);
			break;
		case MOVE_RESUME:
			resume(p);
			break;
		case MOVE_WIPE:
			wipe(p);
			break;
		case MOVE_SEND_ROW_OK:
			say(h, p->s.to, LETTER_ROW, ROW_CONFIRMS, &of);
			break;
		case MOVE_SEND_NO_ROW:
			say(h, p->s.to, LETTER_GONE, GONE_NO_ROW, &of);
			break;
		case MOVE_SEND_GONE:
			of.e = p->since;
			say(h, p->ingress, LETTER_GONE, GONE_ENDED, &of);
			break;
		case MOVE_SETTLE_OWN:
		case MOVE_DROP_ROW:
		case MOVE_IMPORT:
		case MOVE_SEND_ACCEPT:
		case MOVE_SEND_REFUSE:
		case MOVE_SEND_UNKNOWN:
		case MOVE_SEND_ROW:
		case MOVE_END:
			abort(); /* a sender's never */
		}
	}
}

static void send_event(struct place *p, enum move_send_event event, uint64_t inc)
{
	struct move_actions out;

	move_send_step(&p->s, event, inc, monotonic_ms(), &out);
	do_send(p, &out);
}

/* --- R ------------------------------------------------------------------------------------------------------------- */

/* `l`: the letter that this is about (e, cid, ingress), from host `from`; an offer with its sections. */
static void do_recv(struct handoff *h, struct move_recv *r, const struct move_letter *l, uint16_t from,
		    const struct move_actions *out);

static void arrived(struct handoff *h, struct place *p, struct move_recv *r, const struct move_letter *l)
{
	p->row = (struct move_row){ .state = ROW_NONE, .deadline_ms = UINT64_MAX };
	p->since = p->last = l->e;
	h->n_arrived++;
	stats_inc(h->w->stats.moves_taken);
	(void)r;
}

/* I's row names us: that of the host from which the connection came needs to pass on only what is under way to it. */
static void confirmed(struct handoff *h, const struct move_letter *l)
{
	const struct move_recv *r = move_memory_find(h->memory, l->cid);

	if (r && r->e == l->e && r->from != r->ingress)
		say(h, r->from, LETTER_GONE, GONE_ENDED, l);
}

static void import(struct handoff *h, struct move_recv *r, const struct move_letter *l, uint16_t from)
{
	struct place *p = place_find(h, l->cid);
	struct move_actions more;
	struct client *c;

	if (!p)
		p = place_new(h, l->cid);
	if (p && !p->client) {
		p->ingress = l->ingress;
		h->why = thaw(h, p, l);
	} else {
		h->why = REFUSE_BUSY;
	}
	flight_offered(h, l, from, h->letter_ns);
	if (!h->why)
		arrived(h, p, r, l);
	move_memory_step(h->memory, r, h->why ? RECV_NOT_IMPORTED : RECV_IMPORTED, 0, monotonic_ms(), &more);
	do_recv(h, r, l, from, &more);
	if (!h->why && l->ingress == h->self)
		confirmed(h, l); /* behind ACCEPT */
	if (!p)
		return;
	c = h->why ? NULL : p->client;
	place_settle(p);
	if (c) {
		stream_thaw(&c->s);
		h1_input(c); /* may end it, or move it on */
	}
	spare_make(h, p->flow.family == FLOW_V6 ? AF_INET6 : AF_INET);
}

/* Our own earlier move of it, which its heir's offer answers. */
static void settle_own(struct handoff *h, const struct move_letter *l)
{
	struct place *p = place_find(h, l->cid);

	if (p && waits(p) && p->s.e < l->e)
		send_event(p, SEND_LATER, 0);
}

static void end_client(struct handoff *h, uint64_t cid)
{
	struct place *p = place_find(h, cid);
	struct client *c = p ? p->client : NULL;
	struct linger abort_it = { .l_onoff = 1, .l_linger = 0 };

	if (!c) {
		if (p)
			app_reset(p);
		return;
	}
	log_warning("connection %016llx is reset: its ingress host %u sends its packets elsewhere", (unsigned long long)cid,
		    p->ingress);
	setsockopt(c->s.fd, SOL_SOCKET, SO_LINGER, &abort_it, sizeof(abort_it));
	stats_inc(h->w->stats.moves_ended);
	client_close(c);
}

static void do_recv(struct handoff *h, struct move_recv *r, const struct move_letter *l, uint16_t from,
		    const struct move_actions *out)
{
	unsigned i;

	for (i = 0; i < out->n; i++) {
		switch ((enum move_action)out->action[i]) {
		case MOVE_SETTLE_OWN:
			settle_own(h, l);
			break;
		case MOVE_DROP_ROW:
			break; /* once the socket is there: until then packets are better where they are held, and if the import fails
				  the row leads to its owner still */
		case MOVE_IMPORT:
			import(h, r, l, from);
			return;
		case MOVE_SEND_ACCEPT:
			say(h, from, LETTER_ACCEPT, 0, l);
			break;
		case MOVE_SEND_REFUSE:
			stats_inc(h->w->stats.moves_refused[h->why < REFUSE_REASONS ? h->why : 0]);
			say(h, from, LETTER_REFUSE, h->why ? h->why : REFUSE_NEVER_SEEN, l);
			break;
		case MOVE_SEND_UNKNOWN:
			say(h, from, LETTER_GONE, GONE_UNKNOWN, l);
			break;
		case MOVE_SEND_ROW:
			say(h, l->ingress, LETTER_ROW, ROW_TELLS, l);
			break;
		case MOVE_SEND_GONE:
			say(h, l->ingress, LETTER_GONE, GONE_ENDED, l);
			break;
		case MOVE_END:
			end_client(h, l->cid);
			break;
		case MOVE_HOLD:
		case MOVE_EXPORT:
		case MOVE_SEND_OFFER:
		case MOVE_SEND_STATUS:
		case MOVE_GIVE:
		case MOVE_RESUME:
		case MOVE_WIPE:
		case MOVE_SEND_ROW_OK:
		case MOVE_SEND_NO_ROW:
			abort(); /* a receiver's never */
		}
	}
}

static void recv_event(struct place *p, enum move_recv_event event, uint64_t inc)
{
	struct move_recv *r = tenure(p);
	struct move_actions out;
	struct move_letter l;

	if (!r)
		return;
	l = (struct move_letter){ .cid = r->cid, .e = r->e, .ingress = r->ingress };
	move_memory_step(p->h->memory, r, event, inc, monotonic_ms(), &out);
	do_recv(p->h, r, &l, r->from, &out);
}

/* --- rows ---------------------------------------------------------------------------------------------------------- */

/* Rule 12: a row that passed on the packets of our own tenure has ended. */
static void row_over(struct place *p)
{
	struct move_letter l = { .cid = p->cid, .e = p->gave, .ingress = p->ingress };

	row_sync(p);
	if (p->ingress != p->h->self && p->gave && !p->client)
		say(p->h, p->ingress, LETTER_GONE, GONE_ENDED, &l);
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

void place_app_ended(struct place *p)
{
	p->app = NULL;
	if (p->client)
		return; /* handoff_closed() says the rest */
	recv_event(p, RECV_CLOSED, 0);
	place_settle(p);
}

static void decide_again(struct place *p);

static void place_tick(struct timer *t)
{
	struct place *p = LINK_OF(t, struct place, timer);
	uint64_t now = monotonic_ms();

	if (p->waits_for_word && now >= p->word_by_ms)
		decide_again(p);

	if (p->row.state == ROW_HOLD && now >= p->row.deadline_ms && !waits(p)) {
		p->row.state = ROW_NONE;
		row_sync(p);
	}
	if (waits(p) && now >= p->s.next_ms)
		send_event(p, SEND_TICK, 0);
	if (p->row.state != ROW_HOLD && move_row_tick(&p->row, now))
		row_over(p);
	recv_event(p, RECV_TICK, 0);
	app_tick(p);
	place_settle(p);
}

static void told(struct handoff *h, const struct move_letter *l, uint16_t from, uint64_t inc)
{
	struct place *p = place_find(h, l->cid);
	struct move_row none = { .state = ROW_NONE, .deadline_ms = UINT64_MAX };

	switch (move_row_told(p ? &p->row : &none, l->cid, l->e, from, inc, p && waits(p), monotonic_ms())) {
	case ROW_SAY_OK:
		row_sync(p);
		row_release(p);
		say(h, from, LETTER_ROW, ROW_CONFIRMS, l);
		break;
	case ROW_SAY_NO_ROW:
		say(h, from, LETTER_GONE, GONE_NO_ROW, l);
		break;
	case ROW_SAY_NOTHING:
		break;
	}
}

/* --- letters that come --------------------------------------------------------------------------------------------- */

/* The letter answers our offer. */
static bool answers_us(const struct place *p, const struct move_letter *l, uint16_t from)
{
	return p && waits(p) && p->s.e == l->e && p->s.to == from;
}

static void gone(struct handoff *h, struct place *p, const struct move_letter *l, uint16_t from)
{
	switch ((enum move_gone)l->why) {
	case GONE_UNKNOWN:
		if (answers_us(p, l, from))
			send_event(p, SEND_UNKNOWN, 0);
		break;
	case GONE_NO_ROW:
		if (p && p->since == l->e)
			recv_event(p, RECV_NO_ROW, 0);
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
	do_recv(h, r, l, host, &out);
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
			send_event(p, SEND_ACCEPTED, inc);
		else if (l->ingress == h->self)
			told(h, l, host, inc);
		break;
	case LETTER_REFUSE:
		if (answers_us(p, l, host)) {
			p->moving->why = l->why;
			if (l->why == REFUSE_BUSY || l->why == REFUSE_DRAINING)
				move_refused(&h->backoff[host], monotonic_ms());
			send_event(p, SEND_REFUSED, inc);
		}
		break;
	case LETTER_ROW:
		if (l->why == ROW_TELLS && answers_us(p, l, host)) {
			send_event(p, SEND_ACCEPTED, inc);
		} else if (l->why == ROW_TELLS) {
			told(h, l, host, inc);
		} else {
			move_memory_row_ok(h->memory, l->cid, l->e, inc, monotonic_ms(), &out);
			do_recv(h, NULL, l, host, &out);
			confirmed(h, l);
			if (p && p->waits_for_word)
				decide_again(p);
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

static void on_up(void *ctx, uint16_t host, uint64_t inc)
{
	struct handoff *h = ctx;
	struct link *l, *next;

	move_memory_peer(h->memory, host, inc);
	orphans_peer(h->host, host, inc);
	stats_inc(h->w->stats.sessions);
	for (l = h->all.next; l != &h->all; l = next) {
		struct place *p = LINK_OF(l, struct place, all);

		next = l->next;
		if (move_row_peer(&p->row, host, inc))
			row_over(p);
		if (p->s.to == host && (waits(p) || p->s.state == SEND_HOLDING))
			send_event(p, SEND_PEER, inc);
		if (p->ingress == host)
			recv_event(p, RECV_INGRESS_UP, inc);
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

		next = l->next;
		move_row_session_ended(&p->row, host, monotonic_ms());
		if (p->row.deadline_ms != before)
			row_sync(p);
		if (p->ingress == host)
			recv_event(p, RECV_INGRESS_DOWN, 0);
		place_settle(p);
	}
}

static const struct carrier_ops carrier_ops = { on_up, on_down, on_letter };

/* --- decisions ------------------------------------------------------------------------------------------------------- */

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

static const struct other_host *host_of(const struct snapshot *s, uint16_t id);

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

static bool travels(const struct client *c)
{
	return !is_own(c) && !c->s.eof && !c->s.error && buffer_len(&c->s.raw) <= move_section_max(SECTION_RAW_IN) &&
	       buffer_len(&c->s.out) <= move_section_max(SECTION_RAW_OUT);
}

/* `app`: a program of this host that takes the connection. */
static struct move_decision decide(struct client *c, size_t head_len, uint16_t host, const struct app *app)
{
	struct handoff *h = c->s.w->handoff;
	const struct exchange *x = c->x;
	uint8_t mode = c->edge->conf->route[x->route - c->edge->first_route].mode;
	const struct move_recv *r = c->place ? tenure(c->place) : NULL;
	struct move_question q = {
		/* A program is there to be talked to: what a proxy would cost is not the question. */
		.route_mode = mode == ROUTE_AUTO && x->pool->conf->backend[x->pick].socket[0] ? ROUTE_HANDOFF : mode,
		.protocol_moves = !x->upgrade,
		.upload = uploads(c, head_len),
		.here = host == h->self && !app,
		.same_host = app,
		.capable = host != HOST_NONE && h->carrier,
		.session = app || (h->carrier && host && carrier_inc(h->carrier, host)),
		.settled = app || !r || r->state == RECV_OWNED,
		.socket_moves = travels(c),
		.tls = c->secure,
		.now_ms = monotonic_ms(),
		.backoff_until_ms = h->backoff[host].until_ms,
		.size = move_sizes_expect(h->sizes, x->route, x->object),
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
	send_event(p, SEND_START, 0);
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
	if (d.mode != MODE_HANDOFF || !place_for(c))
		return false;
	if (app)
		return app_give(c->place, app, head_len);
	start(c, head_len, host, d.reason);
	return true;
}

/* The word that was waited for has come, or it is late. */
static void decide_again(struct place *p)
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

void handoff_closed(struct client *c)
{
	struct place *p = c->place;

	c->place = NULL;
	p->client = NULL;
	p->app = NULL;
	p->waits_for_word = false;
	if (c->ingress)
		p->h->n_arrived--;
	recv_event(p, RECV_CLOSED, 0);
	place_settle(p);
}

void handoff_learn(const struct exchange *x)
{
	struct handoff *h = x->w->handoff;

	if (x->mode == MODE_HANDOFF && x->owner->begun_ns)
		stats_move(&x->w->stats, MOVE_PHASE_FIRST, x->answer_ns - x->owner->begun_ns);
	if (x->route < h->n_routes && x->status == 200 && !x->head_request)
		move_sizes_learn(h->sizes, x->route, x->object, x->bytes_out);
}

uint16_t handoff_self(const struct worker *w)
{
	return w->handoff ? w->handoff->self : 0;
}

/* --- life -------------------------------------------------------------------------------------------------------------- */

static const struct other_host *host_of(const struct snapshot *s, uint16_t id)
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
	if (err)
		log_error("hand-off: worker %u cannot listen on port %u of the management address: %s: its requests are proxied",
			  h->w->id, at.port, strerror(-err));
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
