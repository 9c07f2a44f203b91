/* SPDX-License-Identifier: BSD-2-Clause */
/* A connection leaves: what a move's sender does (l7/handoff/move.h, S), with the client, its row and letters. */
#include "l7/handoff/handoff_inside.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"

#define SILENT_MS 500	  /* a peer that has not answered an offer in time gets no other for so long */

static void left(struct place *p)
{
	struct move_recv *r = place_tenure(p);
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
			place_send(p, export_it(p) ? SEND_EXPORTED : SEND_NOT_EXPORTED, 0);
			return;
		case MOVE_SEND_OFFER:
			p->moving->error = offer(p);
			if (p->moving->error) {
				place_send(p, SEND_UNSENT, 0);
				return;
			}
			p->moving->offered_ns = monotonic_ns();
			break;
		case MOVE_SEND_STATUS:
			/* It is slow to answer, or dead: what else would be offered to it is proxied meanwhile. */
			h->backoff[p->s.to].until_ms = monotonic_ms() + SILENT_MS;
			place_say(h, p->s.to, LETTER_STATUS, 0, &of);
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
			place_say(h, p->s.to, LETTER_ROW, ROW_CONFIRMS, &of);
			break;
		case MOVE_SEND_NO_ROW:
			place_say(h, p->s.to, LETTER_GONE, GONE_NO_ROW, &of);
			break;
		case MOVE_SEND_GONE:
			of.e = p->since;
			place_say(h, p->ingress, LETTER_GONE, GONE_ENDED, &of);
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

void place_send(struct place *p, enum move_send_event event, uint64_t inc)
{
	struct move_actions out;

	move_send_step(&p->s, event, inc, monotonic_ms(), &out);
	do_send(p, &out);
}
