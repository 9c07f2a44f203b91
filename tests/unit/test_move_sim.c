/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The hand-off's own code (l7/handoff/move_*.c, compiled in here) under a bad network, in virtual time: four hosts move some
 * dozens of connections about while messages are lost, doubled, late and overtaken, sessions end, processes stand still,
 * processes and machines restart.  Checked all the time: one heir for each state, one copy that may seal, no move that
 * leaves behind what a kernel has acknowledged.  Checked once all is quiet: nothing held, frozen or waiting, and every
 * row leads to the owner.  And the same run with one safeguard taken out must find that.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int without; /* enum move_safeguard */
#define MOVE_WITHOUT(safeguard) (without == (safeguard))
/* The code itself, so that its safeguards can be taken out. */
#include "l7/handoff/move_memory.c" // NOLINT(bugprone-suspicious-include)
#define act act_recv
#define enter enter_recv
#include "l7/handoff/move_recv.c" // NOLINT(bugprone-suspicious-include)
#undef act
#undef enter
#define act act_send
#define enter enter_send
#define offered offered_send
#include "l7/handoff/move_send.c" // NOLINT(bugprone-suspicious-include)
#undef act
#undef enter
#undef offered
#include "l7/handoff/move_row.c" // NOLINT(bugprone-suspicious-include)

#define HOSTS 4
#define CONNS 48
#define REMEMBERED 40
#define EPOCHS 4096
#define BUSY_MS 60000
#define QUIET_MS (MOVE_ORPHAN_MS + MOVE_CONFIRM_AGAIN_MS + 60000)

enum message { M_OFFER, M_STATUS, M_ACCEPT, M_REFUSE, M_UNKNOWN, M_ROW, M_ROW_OK, M_NO_ROW, M_GONE, M_UP, M_DOWN };
enum copy { NO_COPY, LIVE, FROZEN };

struct msg {
	uint64_t at_ms, order, from_inc, to_inc, serial;
	uint32_t e;
	uint16_t from, to, conn;
	uint8_t type;
};

struct place { /* a connection at a host */
	enum copy copy;
	uint32_t last;	/* the owner's counter */
	uint32_t since; /* the e by which it came */
	uint32_t gave;	/* the e of our tenure that a passing row stands for */
	uint64_t serial;
	struct move_send s;
	struct move_row row;
};

struct host {
	uint64_t inc, stopped_ms;
	uint64_t session[HOSTS + 1]; /* the peer's incarnation; 0: none */
	uint64_t serial[HOSTS + 1];
	struct move_memory *memory;
	struct place at[CONNS];
};

static struct host host[HOSTS + 1]; /* ids from 1 */
static uint8_t claims[CONNS][EPOCHS];
static uint16_t ingress[CONNS];
static struct msg *heap;
static size_t n_heap, room_heap;
static uint64_t now, seed, order;
static char broken[160];
static bool busy;
static struct {
	uint64_t given, resumed, lost, imported, refused, ended, lost_messages, doubled, breaks, crashes, stops, forgotten;
} count;

static uint32_t dice(uint32_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)((seed >> 11) % n);
}

static bool chance(uint32_t percent)
{
	return dice(100) < percent;
}

static void __attribute__((format(printf, 1, 2))) violated(const char *fmt, ...)
{
	va_list ap;

	if (broken[0])
		return;
	va_start(ap, fmt);
	vsnprintf(broken, sizeof(broken), fmt, ap);
	va_end(ap);
}

/* --- the network: a heap by time ----------------------------------------------------------------------- */
static bool before(const struct msg *a, const struct msg *b)
{
	return a->at_ms < b->at_ms || (a->at_ms == b->at_ms && a->order < b->order);
}

static void post_at(struct msg m, uint64_t at_ms)
{
	size_t i;

	if (n_heap == room_heap) {
		struct msg *more;

		room_heap = room_heap ? room_heap * 2 : 1024;
		more = realloc(heap, room_heap * sizeof(*heap));
		assert_non_null(more);
		heap = more;
	}
	m.at_ms = at_ms;
	m.order = order++;
	for (i = n_heap++; i > 0 && before(&m, &heap[(i - 1) / 2]); i = (i - 1) / 2)
		heap[i] = heap[(i - 1) / 2];
	heap[i] = m;
}

static struct msg pop(void)
{
	struct msg top = heap[0], last = heap[--n_heap];
	size_t i = 0;

	for (;;) {
		size_t child = 2 * i + 1;

		if (child >= n_heap)
			break;
		if (child + 1 < n_heap && before(&heap[child + 1], &heap[child]))
			child++;
		if (!before(&heap[child], &last))
			break;
		heap[i] = heap[child];
		i = child;
	}
	if (n_heap)
		heap[i] = last;
	return top;
}

static bool in_session(uint8_t type)
{
	return type >= M_ROW && type <= M_GONE;
}

static void post(struct msg m)
{
	/* Now and then so late that a whole move, or its deadline, has passed. */
	uint64_t delay = chance(90) ? dice(20) : chance(80) ? dice(1000) : dice(8000);

	m.from_inc = host[m.from].inc;
	if (in_session(m.type)) {
		if (!host[m.from].session[m.to])
			return; /* the end of the session has said so */
	} else if (busy && chance(8)) {
		count.lost_messages++;
		return;
	}
	post_at(m, now + delay);
	if (busy && chance(8)) {
		count.doubled++;
		post_at(m, now + delay + dice(6000));
	}
}

/* --- actions --------------------------------------------------------------------------------------------- */
static uint64_t cid_of(uint16_t conn)
{
	return (conn + 1) * UINT64_C(0x9e3779b97f4a7c15);
}

static void claim(uint16_t h, uint16_t conn, uint32_t e)
{
	if (++claims[conn][e] > 1)
		violated("connection %u: move %u has two heirs", conn, e);
	for (uint16_t i = 1; i <= HOSTS; i++) {
		if (i != h && host[i].at[conn].copy == LIVE)
			violated("connection %u is live at %u and %u", conn, i, h);
	}
	if (host[h].at[conn].copy == LIVE)
		violated("connection %u is imported over its own live copy", conn);
	host[h].at[conn].copy = LIVE;
}

static void left(uint16_t h, uint16_t conn, struct move_actions *out)
{
	struct move_recv *r = move_memory_find(host[h].memory, cid_of(conn));

	if (r && r->e == host[h].at[conn].since && (r->state == RECV_OWNED || r->state == RECV_UNCONFIRMED))
		move_memory_step(host[h].memory, r, RECV_LEFT, 0, now, out);
}

static void frozen(uint16_t h, uint16_t conn, bool is)
{
	struct move_recv *r = move_memory_find(host[h].memory, cid_of(conn));

	if (r && r->e == host[h].at[conn].since)
		r->frozen = is;
}

static void send_event(uint16_t h, uint16_t conn, enum move_send_event event, uint64_t inc);
static void recv_actions(uint16_t h, uint16_t conn, struct move_recv *r, const struct move_offer *o,
			 const struct move_actions *out);

static void do_send(uint16_t h, uint16_t conn, const struct move_actions *out)
{
	struct host *me = &host[h];
	struct place *p = &me->at[conn];
	struct move_actions more;
	struct msg m = {.from = h, .to = p->s.to, .conn = conn, .e = p->s.e, .to_inc = p->s.to_inc, .serial = p->serial};

	for (unsigned i = 0; i < out->n; i++) {
		switch (out->action[i]) {
		case MOVE_HOLD:
			move_row_hold(&p->row, &p->s);
			break;
		case MOVE_EXPORT:
			p->copy = FROZEN;
			frozen(h, conn, true);
			send_event(h, conn, chance(5) ? SEND_NOT_EXPORTED : SEND_EXPORTED, 0);
			return;
		case MOVE_SEND_OFFER:
			if (chance(3)) {
				send_event(h, conn, SEND_UNSENT, 0);
				return;
			}
			m.type = M_OFFER;
			post(m);
			break;
		case MOVE_SEND_STATUS:
			m.type = M_STATUS;
			post(m);
			break;
		case MOVE_GIVE:
			if (p->row.state != ROW_HOLD || now >= p->row.deadline_ms)
				violated("connection %u is given at %u after its HOLD expired", conn, h);
			p->copy = NO_COPY;
			move_row_give(&p->row, &p->s, now);
			p->gave = p->since;
			frozen(h, conn, false);
			left(h, conn, &more);
			count.given++;
			break;
		case MOVE_RESUME:
			p->copy = NO_COPY;
			claim(h, conn, p->s.e);
			p->row.state = ROW_NONE;
			frozen(h, conn, false);
			count.resumed++;
			break;
		case MOVE_WIPE:
			p->copy = NO_COPY;
			p->row.state = ROW_NONE;
			frozen(h, conn, false);
			left(h, conn, &more);
			count.lost++;
			break;
		case MOVE_SEND_ROW_OK:
			m.type = M_ROW_OK;
			post(m);
			break;
		case MOVE_SEND_NO_ROW:
			m.type = M_NO_ROW;
			post(m);
			break;
		case MOVE_SEND_GONE:
			m.type = M_GONE;
			m.to = ingress[conn];
			m.e = p->since;
			post(m);
			break;
		default:
			violated("a sender is to %s", move_action_name(out->action[i]));
		}
	}
}

static void send_event(uint16_t h, uint16_t conn, enum move_send_event event, uint64_t inc)
{
	struct move_actions out;

	move_send_step(&host[h].at[conn].s, event, inc, now, &out);
	do_send(h, conn, &out);
}

static bool waits(uint16_t h, uint16_t conn)
{
	return host[h].at[conn].s.state == SEND_OFFERED;
}

static void recv_event(uint16_t h, uint16_t conn, enum move_recv_event event, uint64_t inc)
{
	struct move_recv *r = move_memory_find(host[h].memory, cid_of(conn));
	struct move_actions out;

	if (!r || (r->state != RECV_OWNED && r->state != RECV_UNCONFIRMED))
		return;
	move_memory_step(host[h].memory, r, event, inc, now, &out);
	recv_actions(h, conn, r, NULL, &out);
}

static void recv_actions(uint16_t h, uint16_t conn, struct move_recv *r, const struct move_offer *o,
			 const struct move_actions *out)
{
	struct host *me = &host[h];
	struct place *p = &me->at[conn];
	uint32_t e = o ? o->e : r ? r->e : 0;
	struct msg to_s = {.from = h, .to = o ? o->from : r ? r->from : MOVE_NOBODY, .conn = conn, .e = e};
	struct msg to_i = {.from = h, .to = ingress[conn], .conn = conn, .e = e};
	struct move_actions more;
	bool drops = false;

	for (unsigned i = 0; i < out->n; i++) {
		switch (out->action[i]) {
		case MOVE_SETTLE_OWN:
			if (waits(h, conn) && p->s.e < e)
				send_event(h, conn, SEND_LATER, 0);
			break;
		case MOVE_DROP_ROW:
			drops = true; /* as l7/handoff/handoff_receiver.c: once the socket is there; of a failed import the row leads to its owner still */
			break;
		case MOVE_IMPORT:
			if (p->copy != NO_COPY)
				violated("connection %u is imported at %u over a copy", conn, h);
			if (!chance(5)) {
				if (drops)
					p->row.state = ROW_NONE;
				claim(h, conn, e);
				p->since = p->last = e;
				count.imported++;
				if (p->row.state == ROW_FWD && now < p->row.deadline_ms)
					violated("connection %u lives at %u, whose row sends its packets away", conn, h);
				move_memory_step(me->memory, r, RECV_IMPORTED, 0, now, &more);
			} else {
				move_memory_step(me->memory, r, RECV_NOT_IMPORTED, 0, now, &more);
			}
			recv_actions(h, conn, r, o, &more);
			return;
		case MOVE_SEND_ACCEPT:
			to_s.type = M_ACCEPT;
			post(to_s);
			break;
		case MOVE_SEND_REFUSE:
			to_s.type = M_REFUSE;
			post(to_s);
			count.refused++;
			break;
		case MOVE_SEND_UNKNOWN:
			to_s.type = M_UNKNOWN;
			post(to_s);
			break;
		case MOVE_SEND_ROW:
			to_i.type = M_ROW;
			post(to_i);
			break;
		case MOVE_SEND_GONE:
			to_i.type = M_GONE;
			post(to_i);
			break;
		case MOVE_END:
			p->copy = NO_COPY;
			count.ended++;
			break;
		default:
			violated("a receiver is to %s", move_action_name(out->action[i]));
		}
	}
}

/* --- events ---------------------------------------------------------------------------------------------- */
static void row_over(uint16_t h, uint16_t conn)
{
	struct place *p = &host[h].at[conn];

	/* Rule 12: of its own tenure, if it has not come back since. */
	if (h != ingress[conn] && p->gave && p->copy == NO_COPY && !MOVE_WITHOUT(NO_TIMER))
		post((struct msg){.type = M_GONE, .from = h, .to = ingress[conn], .conn = conn, .e = p->gave});
}

static void session_down(uint16_t h, uint16_t peer)
{
	struct host *me = &host[h];

	me->session[peer] = 0;
	for (uint16_t c = 0; c < CONNS; c++) {
		struct move_recv *r = move_memory_find(me->memory, cid_of(c));

		move_row_session_ended(&me->at[c].row, peer, now);
		if (ingress[c] == peer)
			recv_event(h, c, RECV_INGRESS_DOWN, 0);
		else if (r && r->from == peer)
			recv_event(h, c, RECV_PASSED, 0);
	}
}

static void session_up(uint16_t h, uint16_t peer, uint64_t inc)
{
	struct host *me = &host[h];

	if (me->session[peer])
		session_down(h, peer);
	me->session[peer] = inc;
	move_memory_peer(me->memory, peer, inc);
	for (uint16_t c = 0; c < CONNS; c++) {
		if (move_row_peer(&me->at[c].row, peer, inc))
			row_over(h, c);
		if (me->at[c].s.to == peer && (waits(h, c) || me->at[c].s.state == SEND_HOLDING))
			send_event(h, c, SEND_PEER, inc);
		if (ingress[c] == peer)
			recv_event(h, c, RECV_INGRESS_UP, inc);
	}
}

/* Both ends hear of a session's end, at different times, and later of the next one's begin. */
static void break_session(uint16_t a, uint16_t b)
{
	struct msg *all;
	size_t n = n_heap;

	all = malloc((n + 1) * sizeof(*all));
	memcpy(all, heap, n * sizeof(*all));
	n_heap = 0;
	for (size_t i = 0; i < n; i++) {
		bool between = (all[i].from == a && all[i].to == b) || (all[i].from == b && all[i].to == a);

		if (between && in_session(all[i].type))
			continue;
		if (between && all[i].type == M_UP)
			continue; /* of the session before */
		post_at(all[i], all[i].at_ms);
	}
	free(all);
	session_down(a, b);
	session_down(b, a);
	/* Nothing is sent before both are up: a session begins with a greeting. */
	post_at((struct msg){.type = M_UP, .from = b, .to = a}, now + 1 + dice(2000));
}

static struct move_memory *new_memory(uint16_t h, uint64_t inc)
{
	struct move_memory *m = move_memory_new(h, inc, REMEMBERED, HOSTS);

	if (!m)
		abort();
	return m;
}

static void crash(uint16_t h)
{
	struct host *me = &host[h];
	bool machine = chance(40);

	count.crashes++;
	count.forgotten += move_memory_forgotten(me->memory);
	me->inc++;
	move_memory_free(me->memory);
	me->memory = new_memory(h, me->inc);
	memset(me->serial, 0, sizeof(me->serial));
	me->stopped_ms = 0;
	for (uint16_t c = 0; c < CONNS; c++) {
		struct place *p = &me->at[c];
		struct move_row row = p->row;

		memset(p, 0, sizeof(*p));
		p->s.next_ms = UINT64_MAX;
		p->row.deadline_ms = UINT64_MAX;
		if (machine)
			continue;
		p->row = row;
		move_row_adopt(&p->row, now);
	}
	for (uint16_t i = 1; i <= HOSTS; i++) {
		if (i != h)
			break_session(h, i);
	}
}

static void deliver(const struct msg *m)
{
	struct host *me = &host[m->to];
	struct place *p = &me->at[m->conn];
	struct move_actions out;
	struct move_recv *r;
	struct move_offer o = {.cid = cid_of(m->conn), .e = m->e, .from = m->from, .ingress = ingress[m->conn],
			       .from_inc = m->from_inc, .to_inc = m->to_inc, .serial = m->serial,
			       .ingress_inc = me->session[ingress[m->conn]]};
	bool heard = me->session[m->from] == m->from_inc;

	switch (m->type) {
	case M_OFFER:
	case M_STATUS:
		r = m->type == M_OFFER ? move_memory_offer(me->memory, &o, chance(85), now, &out)
				       : move_memory_status(me->memory, &o, now, &out);
		recv_actions(m->to, m->conn, r, &o, &out);
		break;
	case M_ACCEPT:
		if (waits(m->to, m->conn) && p->s.e == m->e && p->s.to == m->from) {
			send_event(m->to, m->conn, SEND_ACCEPTED, m->from_inc);
			break;
		}
		if (m->to != ingress[m->conn])
			break;
		/* fall through */
	case M_ROW:
		if (!heard)
			break;
		if (waits(m->to, m->conn) && p->s.e == m->e && p->s.to == m->from) {
			send_event(m->to, m->conn, SEND_ACCEPTED, m->from_inc);
			break;
		}
		switch (move_row_told(&p->row, o.cid, m->e, m->from, m->from_inc, waits(m->to, m->conn), now)) {
		case ROW_SAY_OK:
			post((struct msg){.type = M_ROW_OK, .from = m->to, .to = m->from, .conn = m->conn, .e = m->e});
			break;
		case ROW_SAY_NO_ROW:
			post((struct msg){.type = M_NO_ROW, .from = m->to, .to = m->from, .conn = m->conn, .e = m->e});
			break;
		case ROW_SAY_NOTHING:
			break;
		}
		break;
	case M_REFUSE:
		if (waits(m->to, m->conn) && p->s.e == m->e && p->s.to == m->from)
			send_event(m->to, m->conn, SEND_REFUSED, m->from_inc);
		break;
	case M_UNKNOWN:
		if (waits(m->to, m->conn) && p->s.e == m->e && p->s.to == m->from)
			send_event(m->to, m->conn, SEND_UNKNOWN, 0);
		break;
	case M_ROW_OK:
		if (!heard)
			break;
		if (m->from != ingress[m->conn]) {
			r = move_memory_find(me->memory, o.cid);
			if (r && r->e == m->e && r->from == m->from)
				recv_event(m->to, m->conn, RECV_PASSED, 0);
			break;
		}
		move_memory_row_ok(me->memory, o.cid, m->e, m->from_inc, now, &out);
		recv_actions(m->to, m->conn, NULL, &o, &out);
		break;
	case M_NO_ROW:
		r = move_memory_find(me->memory, o.cid);
		if (heard && r && r->e == m->e)
			recv_event(m->to, m->conn, RECV_NO_ROW, 0);
		break;
	case M_GONE:
		if (heard)
			move_row_gone(&p->row, o.cid, m->e, m->from, now);
		break;
	case M_UP:
		session_up(m->to, m->from, host[m->from].inc);
		session_up(m->from, m->to, host[m->to].inc);
		break;
	default:
		violated("no such message");
	}
}

static void tick(void)
{
	for (uint16_t h = 1; h <= HOSTS; h++) {
		if (host[h].stopped_ms > now)
			continue;
		for (uint16_t c = 0; c < CONNS; c++) {
			struct place *p = &host[h].at[c];

			if (p->row.state == ROW_HOLD && now >= p->row.deadline_ms && !waits(h, c))
				p->row.state = ROW_NONE;
			if (p->s.state == SEND_OFFERED && now >= p->s.next_ms)
				send_event(h, c, SEND_TICK, 0);
			if (p->row.state != ROW_HOLD && move_row_tick(&p->row, now))
				row_over(h, c);
			recv_event(h, c, RECV_TICK, 0);
		}
	}
}

/* One thing that a connection's owner does. */
static void something(void)
{
	uint16_t c = (uint16_t)dice(CONNS), h, to;
	struct place *p = NULL;
	struct move_recv *r;

	for (h = 1; h <= HOSTS; h++) {
		p = &host[h].at[c];
		if (p->copy == LIVE && host[h].stopped_ms <= now)
			break;
	}
	if (h > HOSTS)
		return;
	r = move_memory_find(host[h].memory, cid_of(c));
	if (chance(2)) {
		p->copy = NO_COPY;
		if (p->since && p->row.state == ROW_NONE)
			move_row_ends(&p->row, cid_of(c), p->last, now);
		recv_event(h, c, RECV_CLOSED, 0);
		return;
	}
	do
		to = (uint16_t)(1 + dice(HOSTS));
	while (to == h);
	if (!host[h].session[to] || (r && r->e == p->since && r->state == RECV_UNCONFIRMED) || p->last + 1 >= EPOCHS)
		return;
	p->s = (struct move_send){.state = SEND_IDLE, .cid = cid_of(c), .e = ++p->last, .to = to,
				  .to_inc = host[h].session[to], .ingress = h == ingress[c], .next_ms = UINT64_MAX};
	p->serial = ++host[h].serial[to];
	send_event(h, c, SEND_START, 0);
}

/* Once all is quiet. */
static void judge(void)
{
	for (uint16_t c = 0; c < CONNS; c++) {
		for (uint16_t h = 1; h <= HOSTS; h++) {
			struct place *p = &host[h].at[c];
			struct move_recv *r = move_memory_find(host[h].memory, cid_of(c));
			struct move_row *i = &host[ingress[c]].at[c].row;

			if (p->row.state == ROW_HOLD)
				violated("connection %u is held at %u for ever", c, h);
			if (p->copy == FROZEN)
				violated("connection %u is frozen at %u for ever", c, h);
			if (r && r->state == RECV_UNCONFIRMED)
				violated("connection %u waits at %u for ever", c, h);
			if (p->row.state != ROW_NONE &&
			    (p->row.state != ROW_FWD || host[p->row.owner].at[c].copy != LIVE || p->row.owner_inc != host[p->row.owner].inc))
				violated("connection %u has a row at %u without an owner", c, h);
			if (p->copy == LIVE && h == ingress[c] && i->state != ROW_NONE)
				violated("connection %u lives at its ingress host, behind a row", c);
			if (p->copy == LIVE && h != ingress[c] && (i->state != ROW_FWD || i->owner != h))
				violated("connection %u lives at %u, where nobody sends its packets", c, h);
		}
	}
}

static void begin(uint64_t with)
{
	seed = with * UINT64_C(0x9e3779b97f4a7c15) + 1;
	now = 1000;
	n_heap = 0;
	broken[0] = '\0';
	memset(claims, 0, sizeof(claims));
	for (uint16_t h = 1; h <= HOSTS; h++) {
		struct host *me = &host[h];

		memset(me, 0, sizeof(*me));
		me->inc = 1;
		me->memory = new_memory(h, 1);
		for (uint16_t i = 1; i <= HOSTS; i++) {
			me->session[i] = 1;
			move_memory_peer(me->memory, i, 1);
		}
		for (uint16_t c = 0; c < CONNS; c++) {
			me->at[c].s.next_ms = UINT64_MAX;
			me->at[c].row.deadline_ms = UINT64_MAX;
		}
	}
	for (uint16_t c = 0; c < CONNS; c++) {
		ingress[c] = (uint16_t)(1 + c % HOSTS);
		host[ingress[c]].at[c].copy = LIVE;
	}
}

static void run_to(uint64_t end, uint64_t step)
{
	for (; now < end && !broken[0]; now += step) {
		while (n_heap && heap[0].at_ms <= now && !broken[0]) {
			struct msg m = pop();

			if (host[m.to].stopped_ms > now)
				post_at(m, host[m.to].stopped_ms);
			else
				deliver(&m);
		}
		tick();
		if (busy)
			something();
		if (busy && dice(4000) == 0)
			crash((uint16_t)(1 + dice(HOSTS)));
		if (busy && dice(1500) == 0) {
			uint16_t a = (uint16_t)(1 + dice(HOSTS)), b = (uint16_t)(1 + dice(HOSTS));

			if (a != b) {
				count.breaks++;
				break_session(a, b);
			}
		}
		if (busy && dice(2000) == 0) {
			host[1 + dice(HOSTS)].stopped_ms = now + dice(5000);
			count.stops++;
		}
	}
}

/* NULL, or what was violated first. */
static const char *simulate(uint64_t with, uint64_t busy_ms)
{
	begin(with);
	busy = true;
	run_to(now + busy_ms, 5);
	busy = false;
	run_to(now + 20000, 50);
	run_to(now + QUIET_MS, 500);
	if (!broken[0])
		judge();
	for (uint16_t h = 1; h <= HOSTS; h++) {
		count.forgotten += move_memory_forgotten(host[h].memory);
		move_memory_free(host[h].memory);
	}
	return broken[0] ? broken : NULL;
}

static void test_holds(void **state)
{
	(void)state;
	without = WITH_ALL;
	memset(&count, 0, sizeof(count));
	/* SEEDS=n: more of them. */
	for (uint64_t i = 1; i <= (getenv("SEEDS") ? strtoull(getenv("SEEDS"), NULL, 10) : 40); i++) {
		const char *why = simulate(i, BUSY_MS);

		if (why)
			fail_msg("seed %" PRIu64 ", at %" PRIu64 " ms: %s", i, now, why);
	}
	print_message("# given %" PRIu64 " resumed %" PRIu64 " lost %" PRIu64 " imported %" PRIu64 " refused %" PRIu64
		      " ended %" PRIu64 " forgotten %" PRIu64 "\n# messages lost %" PRIu64 " doubled %" PRIu64 ", sessions ended %" PRIu64
		      ", restarts %" PRIu64 ", stops %" PRIu64 "\n",
		      count.given, count.resumed, count.lost, count.imported, count.refused, count.ended, count.forgotten,
		      count.lost_messages, count.doubled, count.breaks, count.crashes, count.stops);
	/* It saw what it claims to have seen. */
	assert_true(count.given > 1000 && count.resumed > 1000 && count.lost > 100 && count.ended > 10 && count.crashes > 50);
	assert_true(count.forgotten > 100 && count.breaks > 50 && count.stops > 50);
}

static void without_it(int safeguard, const char *name)
{
	const char *why = NULL;
	uint64_t i;

	without = safeguard;
	for (i = 1; i <= 300 && !why; i++)
		why = simulate(i, BUSY_MS);
	without = WITH_ALL;
	if (!why)
		fail_msg("nothing was violated without %s", name);
	print_message("# without %s, seed %" PRIu64 ": %s\n", name, i - 1, why);
}

static void test_each_safeguard(void **state)
{
	(void)state;
	without_it(NO_E, "the comparison of e");
	without_it(NO_BURN, "the burn");
	without_it(NO_INC, "the incarnation");
	without_it(NO_DEADLINE, "the deadline");
	without_it(NO_DROP, "dropping one's own row");
	without_it(NO_LATE, "the look at the clock");
	without_it(NO_ROW_E, "the comparison of a row's e");
	without_it(NO_TIMER, "the timers of rows");
	without_it(GUESS, "the unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_holds),
		cmocka_unit_test(test_each_safeguard),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
