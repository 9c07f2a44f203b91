/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The flight recorder: the last FLIGHTS moves of a worker, those that it began and those that were offered to it, with
 * how long each step took.  Written by the worker, read in its loop.
 */
#include "l7/handoff/handoff_inside.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"

static struct flight *next(struct handoff *h)
{
	struct flight *f = &h->flight[h->n_flights++ % FLIGHTS];
	struct timespec now;

	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	*f = (struct flight){ .at_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000 };
	return f;
}

/* A span of two of the monotonic clock's readings, in ns; 0: one of them was not taken. */
static uint32_t span(uint64_t from, uint64_t to)
{
	return !from || !to ? 0 : to - from > UINT32_MAX ? UINT32_MAX : (uint32_t)(to - from);
}

void flight_sent(struct place *p, enum flight_end end)
{
	const struct moving *m = p->moving;
	struct stats *st = &p->h->w->stats;
	uint64_t now = monotonic_ns();
	struct flight *f = next(p->h);

	f->begun_ns = m->begun_ns;
	f->cid = p->cid;
	f->e = p->s.e;
	f->from = p->h->self;
	f->to = p->s.to;
	f->ingress = p->ingress;
	f->end = (uint8_t)end;
	f->reason = (uint8_t)m->reason;
	f->why = m->why;
	f->error = (int16_t)m->error;
	f->octets = m->octets;
	f->span[MOVE_PHASE_EXPORT] = span(m->begun_ns, m->exported_ns);
	f->span[MOVE_PHASE_OFFER] = span(m->exported_ns, m->offered_ns);
	f->span[MOVE_PHASE_ANSWER] = span(m->offered_ns, now);
	f->span[MOVE_PHASE_HELD] = span(m->begun_ns, now);
	stats_move(st, MOVE_PHASE_EXPORT, f->span[MOVE_PHASE_EXPORT]);
	stats_move(st, MOVE_PHASE_OFFER, f->span[MOVE_PHASE_OFFER]);
	stats_move(st, MOVE_PHASE_ANSWER, f->span[MOVE_PHASE_ANSWER]);
	stats_move(st, MOVE_PHASE_HELD, f->span[MOVE_PHASE_HELD]);
}

void flight_offered(struct handoff *h, const struct move_letter *l, uint16_t from, uint64_t begun_ns)
{
	struct flight *f = next(h);

	f->begun_ns = begun_ns;
	f->cid = l->cid;
	f->e = l->e;
	f->from = from;
	f->to = h->self;
	f->ingress = l->ingress;
	f->end = h->why ? FLIGHT_REFUSED : FLIGHT_TAKEN;
	f->reason = REASONS;
	f->why = h->why;
	f->octets = (uint32_t)move_letter_len(l);
	f->span[MOVE_PHASE_IMPORT] = span(begun_ns, monotonic_ns());
	stats_move(&h->w->stats, MOVE_PHASE_IMPORT, f->span[MOVE_PHASE_IMPORT]);
}

const char *move_phase_name(enum move_phase phase)
{
	static const char *const name[MOVE_PHASES] = { "export", "offer", "answer", "held", "import", "first_byte" };

	return name[phase];
}

static json_t *one(const struct flight *f)
{
	static const char *const end[] = { "given", "resumed", "lost", "taken", "refused" };
	char cid[20];
	json_t *o;
	int i;

	snprintf(cid, sizeof(cid), "%016llx", (unsigned long long)f->cid);
	o = json_pack("{s:I, s:s, s:I, s:i, s:i, s:i, s:s, s:s, s:I}", "time_ms", (json_int_t)f->at_ms, "cid", cid, "e",
		      (json_int_t)f->e, "from", f->from, "to", f->to, "ingress", f->ingress, "end", end[f->end], "reason",
		      f->reason < REASONS ? move_reason_name((enum move_reason)f->reason) : "", "octets", (json_int_t)f->octets);
	if (f->begun_ns)
		json_object_set_new(o, "monotonic_ns", json_integer((json_int_t)f->begun_ns));
	if (f->why)
		json_object_set_new(o, "why", json_string(move_refusal_name(f->why)));
	if (f->error)
		json_object_set_new(o, "error", json_integer(f->error));
	for (i = 0; i < MOVE_PHASES; i++)
		if (f->span[i]) {
			char key[32];

			snprintf(key, sizeof(key), "%s_ns", move_phase_name((enum move_phase)i));
			json_object_set_new(o, key, json_integer(f->span[i]));
		}
	return o;
}

void handoff_flights(const struct worker *w, json_t *rows, size_t limit)
{
	const struct handoff *h = w->handoff;
	uint64_t i, n;

	if (!h)
		return;
	n = h->n_flights < FLIGHTS ? h->n_flights : FLIGHTS;
	for (i = 0; i < n && json_array_size(rows) < limit; i++)
		json_array_append_new(rows, one(&h->flight[(h->n_flights - 1 - i) % FLIGHTS]));
}
