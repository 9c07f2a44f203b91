/* SPDX-License-Identifier: BSD-2-Clause */
/* A connection comes: what a move's receiver does (l7/handoff/move.h, R), with a client, letters and its memory. */
#include "l7/handoff/handoff_inside.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"

static void arrived(struct handoff *h, struct place *p, const struct move_letter *l)
{
	p->row = (struct move_row){ .state = ROW_NONE, .deadline_ms = UINT64_MAX };
	p->since = p->last = l->e;
	h->n_arrived++;
	stats_inc(h->w->stats.moves_taken);
}

/* I's row names us: that of the host from which the connection came needs to pass on only what is under way to it. */
void place_confirmed(struct handoff *h, const struct move_letter *l)
{
	const struct move_recv *r = move_memory_find(h->memory, l->cid);

	if (r && r->e == l->e && r->from != r->ingress)
		place_say(h, r->from, LETTER_GONE, GONE_ENDED, l);
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
	if (p && !h->why)
		arrived(h, p, l);
	move_memory_step(h->memory, r, h->why ? RECV_NOT_IMPORTED : RECV_IMPORTED, 0, monotonic_ms(), &more);
	place_received(h, r, l, from, &more);
	if (!h->why && l->ingress == h->self)
		place_confirmed(h, l); /* behind ACCEPT */
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

	if (p && place_waits(p) && p->s.e < l->e)
		place_send(p, SEND_LATER, 0);
}

static void end_client(struct handoff *h, uint64_t cid)
{
	struct place *p = place_find(h, cid);

	if (!p || !p->client) {
		if (p)
			app_reset(p);
		return;
	}
	log_warning("connection %016llx is reset: its ingress host %u sends its packets elsewhere", (unsigned long long)cid,
		    p->ingress);
	stats_inc(h->w->stats.moves_ended);
	place_reset(p);
}

void place_received(struct handoff *h, struct move_recv *r, const struct move_letter *l, uint16_t from,
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
			place_say(h, from, LETTER_ACCEPT, 0, l);
			break;
		case MOVE_SEND_REFUSE:
			stats_inc(h->w->stats.moves_refused[h->why < REFUSE_REASONS ? h->why : 0]);
			place_say(h, from, LETTER_REFUSE, h->why ? h->why : REFUSE_NEVER_SEEN, l);
			break;
		case MOVE_SEND_UNKNOWN:
			place_say(h, from, LETTER_GONE, GONE_UNKNOWN, l);
			break;
		case MOVE_SEND_ROW:
			place_say(h, l->ingress, LETTER_ROW, ROW_TELLS, l);
			break;
		case MOVE_SEND_GONE:
			place_say(h, l->ingress, LETTER_GONE, GONE_ENDED, l);
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

void place_recv(struct place *p, enum move_recv_event event, uint64_t inc)
{
	struct move_recv *r = place_tenure(p);
	struct move_actions out;
	struct move_letter l;

	if (!r)
		return;
	l = (struct move_letter){ .cid = r->cid, .e = r->e, .ingress = r->ingress };
	move_memory_step(p->h->memory, r, event, inc, monotonic_ms(), &out);
	place_received(p->h, r, &l, r->from, &out);
}
