/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a worker remembers of the moves that were offered to it: a record per connection in a fixed table, found by cid;
 * those that are settled (burnt, ended) in a queue, oldest first, from which room is made.  Rules 5 to 7 of move.h.
 */
#include "l7/handoff/move.h"

#include <assert.h>
#include <stdlib.h>

#define NIL UINT32_MAX

struct slot {
	struct move_recv r;
	uint32_t next;		       /* of its chain, or of the free ones */
	uint32_t older, newer;	       /* of the settled ones */
	bool queued;
};

struct peer {
	uint64_t inc, floor;
};

struct move_memory {
	uint16_t self;
	uint64_t inc;
	struct slot *slot;
	uint32_t *chain;
	struct peer *peer;
	uint32_t n, used, free, oldest, newest, mask;
	uint16_t peers;
	uint64_t forgotten;
};

struct move_memory *move_memory_new(uint16_t self, uint64_t inc, uint32_t entries, uint16_t peers_max)
{
	struct move_memory *m = calloc(1, sizeof(*m));
	uint32_t chains = 1;

	if (!m)
		return NULL;
	while (chains < entries)
		chains *= 2;
	*m = (struct move_memory){.self = self, .inc = inc, .n = entries, .oldest = NIL, .newest = NIL, .mask = chains - 1,
				  .peers = peers_max};
	m->slot = calloc(entries, sizeof(*m->slot));
	m->chain = malloc(chains * sizeof(*m->chain));
	m->peer = calloc((size_t)peers_max + 1, sizeof(*m->peer));
	if (!m->slot || !m->chain || !m->peer) {
		move_memory_free(m);
		return NULL;
	}
	for (uint32_t i = 0; i < chains; i++)
		m->chain[i] = NIL;
	for (uint32_t i = 0; i < entries; i++)
		m->slot[i].next = i + 1 < entries ? i + 1 : NIL;
	return m;
}

void move_memory_free(struct move_memory *m)
{
	if (!m)
		return;
	free(m->slot);
	free(m->chain);
	free(m->peer);
	free(m);
}

/* cid is random already. */
static uint32_t *chain_of(struct move_memory *m, uint64_t cid)
{
	return &m->chain[(uint32_t)cid & m->mask];
}

static struct slot *slot_of(struct move_recv *r)
{
	return (struct slot *)(void *)r; /* its first member */
}

static void unqueue(struct move_memory *m, struct slot *s)
{
	if (!s->queued)
		return;
	if (s->older == NIL)
		m->oldest = s->newer;
	else
		m->slot[s->older].newer = s->newer;
	if (s->newer == NIL)
		m->newest = s->older;
	else
		m->slot[s->newer].older = s->older;
	s->queued = false;
}

static void requeue(struct move_memory *m, struct slot *s)
{
	uint32_t i = (uint32_t)(s - m->slot);

	unqueue(m, s);
	if (s->r.state != RECV_BURNT && s->r.state != RECV_ENDED)
		return;
	s->queued = true;
	s->newer = NIL;
	s->older = m->newest;
	if (m->newest == NIL)
		m->oldest = i;
	else
		m->slot[m->newest].newer = i;
	m->newest = i;
}

/* Before a record is forgotten or written over: its offer must never be taken for a new one. */
static void raise_floor(struct move_memory *m, const struct move_recv *r)
{
	struct peer *p = &m->peer[r->from];

	if (p->inc == r->from_inc && p->floor < r->serial)
		p->floor = r->serial;
}

static void release(struct move_memory *m, struct slot *s)
{
	uint32_t i = (uint32_t)(s - m->slot), *at = chain_of(m, s->r.cid);

	unqueue(m, s);
	while (*at != i)
		at = &m->slot[*at].next;
	*at = s->next;
	s->next = m->free;
	m->free = i;
	m->used--;
}

static struct slot *take(struct move_memory *m, uint64_t cid)
{
	struct slot *s;
	uint32_t i;

	if (m->free == NIL) {
		if (m->oldest == NIL)
			return NULL; /* all of it is owned */
		s = &m->slot[m->oldest];
		raise_floor(m, &s->r);
		release(m, s);
		m->forgotten++;
	}
	i = m->free;
	s = &m->slot[i];
	m->free = s->next;
	m->used++;
	s->next = *chain_of(m, cid);
	*chain_of(m, cid) = i;
	s->queued = false;
	return s;
}

struct move_recv *move_memory_find(struct move_memory *m, uint64_t cid)
{
	for (uint32_t i = *chain_of(m, cid); i != NIL; i = m->slot[i].next) {
		if (m->slot[i].r.cid == cid)
			return &m->slot[i].r;
	}
	return NULL;
}

void move_memory_peer(struct move_memory *m, uint16_t host, uint64_t inc)
{
	assert(host <= m->peers);
	if (m->peer[host].inc != inc)
		m->peer[host] = (struct peer){.inc = inc};
}

void move_memory_step(struct move_memory *m, struct move_recv *r, enum move_recv_event event, uint64_t inc, uint64_t now_ms,
		      struct move_actions *out)
{
	out->n = 0;
	move_recv_step(r, event, inc, now_ms, out);
	requeue(m, slot_of(r));
}

static struct move_recv *unknown(struct move_actions *out)
{
	out->action[out->n++] = MOVE_WITHOUT(GUESS) ? MOVE_SEND_REFUSE : MOVE_SEND_UNKNOWN;
	return NULL;
}

/* A record for an offer that nobody here has heard of.  NULL, and the answer: it is stale, or there is no room for it. */
static struct move_recv *fresh(struct move_memory *m, const struct move_offer *o, struct move_recv *old,
			       struct move_actions *out)
{
	struct slot *s = old ? slot_of(old) : NULL;

	if (!MOVE_WITHOUT(NO_E)) {
		if (o->serial <= m->peer[o->from].floor || (old && o->e < old->e))
			return unknown(out);
	}
	if (old && (old->state == RECV_OWNED || old->state == RECV_UNCONFIRMED || old->state == RECV_IMPORTING) && !old->frozen)
		return unknown(out); /* of what is ours nobody else can make an offer */
	if (old)
		raise_floor(m, old);
	else
		s = take(m, o->cid);
	if (!s) {
		/* All that is remembered is owned.  The floor remembers this one well enough to refuse it for ever. */
		m->peer[o->from].floor = o->serial;
		out->action[out->n++] = MOVE_SEND_REFUSE;
		return NULL;
	}
	unqueue(m, s);
	s->r = (struct move_recv){.state = RECV_UNSEEN, .cid = o->cid, .e = o->e, .from = o->from, .from_inc = o->from_inc,
				  .serial = o->serial, .ingress = o->ingress, .here = o->ingress == m->self,
				  .ingress_inc = o->ingress_inc, .deadline_ms = UINT64_MAX, .next_ms = UINT64_MAX};
	return &s->r;
}

/* Rule 5, and that the sender is who the session says. */
static bool listens(const struct move_memory *m, const struct move_offer *o)
{
	return o->from <= m->peers && o->from != m->self && m->peer[o->from].inc == o->from_inc;
}

struct move_recv *move_memory_offer(struct move_memory *m, const struct move_offer *o, bool willing, uint64_t now_ms,
				    struct move_actions *out)
{
	struct move_recv *r = move_memory_find(m, o->cid);

	out->n = 0;
	if (!listens(m, o))
		return NULL;
	if (o->to_inc != m->inc && !MOVE_WITHOUT(NO_INC))
		return unknown(out);
	if (r && r->e == o->e && !MOVE_WITHOUT(NO_E)) {
		move_memory_step(m, r, RECV_AGAIN, 0, now_ms, out);
		return r;
	}
	r = fresh(m, o, r, out);
	if (!r)
		return NULL;
	move_memory_step(m, r, willing ? RECV_OFFER : RECV_UNWANTED, 0, now_ms, out);
	return r;
}

struct move_recv *move_memory_status(struct move_memory *m, const struct move_offer *o, uint64_t now_ms,
				     struct move_actions *out)
{
	struct move_recv *r = move_memory_find(m, o->cid);

	out->n = 0;
	if (!listens(m, o))
		return NULL;
	if (o->to_inc != m->inc && !MOVE_WITHOUT(NO_INC))
		return unknown(out);
	if (r && r->e == o->e) {
		move_memory_step(m, r, RECV_AGAIN, 0, now_ms, out);
		return r;
	}
	if (MOVE_WITHOUT(NO_BURN) && !(r && o->e < r->e) && o->serial > m->peer[o->from].floor) {
		out->action[out->n++] = MOVE_SEND_REFUSE;
		return NULL;
	}
	r = fresh(m, o, r, out);
	if (!r)
		return NULL;
	move_memory_step(m, r, RECV_UNWANTED, 0, now_ms, out);
	return r;
}

void move_memory_row_ok(struct move_memory *m, uint64_t cid, uint32_t e, uint64_t inc, uint64_t now_ms,
			struct move_actions *out)
{
	struct move_recv *r = move_memory_find(m, cid);

	out->n = 0;
	if (r && r->e == e && (r->state == RECV_UNCONFIRMED || r->state == RECV_OWNED))
		move_memory_step(m, r, RECV_ROW_OK, inc, now_ms, out);
	else
		out->action[out->n++] = MOVE_SEND_GONE;
}

uint32_t move_memory_used(const struct move_memory *m)
{
	return m->used;
}

uint64_t move_memory_forgotten(const struct move_memory *m)
{
	return m->forgotten;
}
