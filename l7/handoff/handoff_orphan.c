/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rows outlive the process.  The next one finds them and lets them forward for MOVE_ORPHAN_MS; meanwhile their owners hear
 * that we are another incarnation and say ROW, and the worker to whom it is said takes the row (l7/handoff/move.h, rule 11).  Which
 * worker that is the row does not tell, hence one table for all, under the lock of the rows.
 */
#include "l7/handoff/handoff_inside.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"

struct orphan {
	struct orphan *next;
	struct flow flow;
	struct row row;
};

static int count_it(void *ctx, const struct flow *f, const struct row *row)
{
	(void)f;
	(void)row;
	++*(uint32_t *)ctx;
	return 0;
}

static int adopt_it(void *ctx, const struct flow *f, const struct row *row)
{
	struct handoff_host *host = ctx;
	struct orphan *o = malloc(sizeof(*o));
	uint64_t end_ns = host->orphans_until_ms * 1000000;

	if (!o)
		abort();
	o->flow = *f;
	o->row = *row;
	o->next = host->orphan[row->cid & host->orphan_mask];
	host->orphan[row->cid & host->orphan_mask] = o;
	host->n_orphans++;
	if (row->state == ROW_HOLD && host_id_valid(row->owner)) {
		o->row.state = ROW_FWD; /* it was on its way there (row_pass) */
		o->row.deadline_ns = 0;
	}
	if (o->row.state == ROW_FWD && (!o->row.deadline_ns || o->row.deadline_ns > end_ns)) {
		o->row.deadline_ns = end_ns;
		rows_change(host->rows, f, &o->row);
	}
	return 0;
}

void orphans_adopt(struct handoff_host *host)
{
	uint32_t n = 0, chains = 1;

	rows_each(host->rows, count_it, &n);
	if (!n)
		return;
	while (chains < n)
		chains *= 2;
	host->orphan = calloc(chains, sizeof(struct orphan *));
	if (!host->orphan)
		abort();
	host->orphan_mask = chains - 1;
	host->orphans_until_ms = monotonic_ms() + MOVE_ORPHAN_MS;
	rows_each(host->rows, adopt_it, host);
	log_notice("hand-off: %u rows of the process before forward on", host->n_orphans);
}

static void forget(struct handoff_host *host, struct orphan **at, bool row_too)
{
	struct orphan *o = *at;
	struct row now;

	/* Not if the port is used again by now, and the row another connection's. */
	if (row_too && !rows_get(host->rows, &o->flow, &now) && now.cid == o->row.cid)
		rows_delete(host->rows, &o->flow);
	*at = o->next;
	free(o);
	host->n_orphans--;
}

static bool of_everybody(const struct orphan *o, uint16_t owner, uint64_t inc)
{
	(void)o, (void)owner, (void)inc;
	return true;
}

static bool of_a_past_life(const struct orphan *o, uint16_t owner, uint64_t inc)
{
	return o->row.owner == owner && (o->row.state == ROW_FWD || o->row.state == ROW_CLOSING) && o->row.inc != (uint32_t)inc;
}

static void forget_those(struct handoff_host *host, bool (*which)(const struct orphan *o, uint16_t owner, uint64_t inc),
			 uint16_t owner, uint64_t inc, bool rows_too)
{
	struct orphan **at;
	uint32_t i;

	for (i = 0; host->n_orphans && i <= host->orphan_mask; i++)
		for (at = &host->orphan[i]; *at;)
			if (which(*at, owner, inc))
				forget(host, at, rows_too);
			else
				at = &(*at)->next;
}

void orphans_free(struct handoff_host *host)
{
	forget_those(host, of_everybody, 0, 0, false);
	free(host->orphan);
	host->orphan = NULL;
}

static bool of_the_past(const struct orphan *o, uint16_t owner, uint64_t now_ns)
{
	(void)owner;
	return o->row.deadline_ns && o->row.deadline_ns <= now_ns;
}

void orphans_age(struct handoff_host *host, uint64_t now_ms)
{
	if (host->n_orphans && now_ms >= host->orphans_look_ms) {
		forget_those(host, of_the_past, 0, now_ms * 1000000, true);
		host->orphans_look_ms = now_ms + 1000;
	}
	if (host->n_orphans && now_ms > host->orphans_until_ms) {
		log_notice("hand-off: %u rows of the process before are removed: their owners said nothing", host->n_orphans);
		forget_those(host, of_everybody, 0, 0, true);
	}
}

void orphans_peer(struct handoff_host *host, uint16_t owner, uint64_t inc)
{
	pthread_mutex_lock(&host->lock);
	forget_those(host, of_a_past_life, owner, inc, true);
	pthread_mutex_unlock(&host->lock);
}

static struct place *place_with(struct handoff *h, const struct orphan *o, uint16_t ingress)
{
	struct place *p = place_new(h, o->row.cid);

	if (!p)
		return NULL;
	p->flow = o->flow;
	p->ingress = ingress;
	p->row = (struct move_row){ .state = (enum row_state)o->row.state, .cid = o->row.cid, .e = o->row.e, .owner = o->row.owner,
				    .owner_inc = carrier_inc(h->carrier, o->row.owner),
				    .deadline_ms = o->row.deadline_ns ? o->row.deadline_ns / 1000000 : UINT64_MAX };
	return p;
}

struct place *orphan_claim(struct handoff *h, uint64_t cid, uint16_t ingress)
{
	struct handoff_host *host = h->host;
	struct place *p = NULL;
	struct orphan **at;

	if (!__atomic_load_n(&host->n_orphans, __ATOMIC_RELAXED))
		return NULL;
	pthread_mutex_lock(&host->lock);
	for (at = host->n_orphans ? &host->orphan[cid & host->orphan_mask] : NULL; at && *at && !p; ) {
		if ((*at)->row.cid == cid && (p = place_with(h, *at, ingress)))
			forget(host, at, false);
		else
			at = &(*at)->next;
	}
	pthread_mutex_unlock(&host->lock);
	return p;
}
