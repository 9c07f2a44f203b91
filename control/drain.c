/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What follows by itself: second steps once every switch that counts has the first, histories that
 * are proven empty, drains that have ended.
 *
 * The proof of an empty history needs an order of events: all switches installed the present owner of
 * a bucket (so nobody sends SYNs to the old one any more) -> SETTLED is logged at index i -> the old owner
 * begins a proof at index i or later -> it reports no socket reached through that owner.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/core.h"

#define ESTIMATE_STALE_MS 4000 /* no socket has gone for so long: no estimate */
#include "control/reference.h"

/* Must this switch have installed a state before the next one is safe?  Everyone who may still forward. */
bool switch_counts(const struct control *c, uint16_t id)
{
	const struct control_switch *sw = &c->sw[id];

	if (sw->excused)
		return false;
	if (c->state.view.switch_admin[id] != ADMIN_OUT)
		return true;
	return sw->connected && sw->reported && !sw->report.drained;
}

uint64_t control_installed(const struct control *c)
{
	const struct pop *pop = c->state.view.pop;
	uint64_t least = c->state.view.index;
	uint32_t i;

	for (i = 0; pop && i < pop->n_switches; i++)
		if (switch_counts(c, pop->switches[i].id) && c->sw[pop->switches[i].id].acked < least)
			least = c->sw[pop->switches[i].id].acked;
	return least;
}

/* The index that the slowest move outstanding needs everywhere. */
static uint64_t needed(const struct control *c)
{
	uint64_t most = 0;
	uint32_t b;

	for (b = 0; b < c->state.table.n_buckets; b++)
		if (c->state.table.bucket[b].next && c->state.changed[b] > most)
			most = c->state.changed[b];
	return most;
}

/*
 * Does the host that is to become owner let the frames through that will come then (agent/filters.h)?  One that is going,
 * or whose agent is gone, is not waited for: its moves are being taken back.
 */
static bool heir_waits(const struct control *c, uint16_t id, uint64_t index)
{
	const struct control_host *h = &c->host[id];

	return h->connected && !h->excused && h->acked < index && control_standing(&c->state, id) == STANDING_SERVING;
}

static bool heir_ready(const struct control *c, const struct state *s, uint32_t bucket)
{
	return !heir_waits(c, s->table.bucket[bucket].next, s->changed[bucket]);
}

static uint64_t needed_of_heir(const struct control *c, uint16_t id)
{
	uint64_t most = 0;
	uint32_t b;

	for (b = 0; b < c->state.table.n_buckets; b++)
		if (c->state.table.bucket[b].next == id && c->state.changed[b] > most)
			most = c->state.changed[b];
	return most;
}

static size_t blocked_by_heirs(const struct control *c, struct blocked *out, size_t room)
{
	const struct pop *pop = c->state.view.pop;
	size_t n = 0;
	uint32_t i;

	for (i = 0; i < pop->n_hosts && n < room; i++) {
		const struct control_host *h = &c->host[pop->host[i].id];
		uint64_t need = h->connected ? needed_of_heir(c, pop->host[i].id) : 0;

		if (!need || !heir_waits(c, pop->host[i].id, need))
			continue;
		out[n] = (struct blocked){ .host_id = pop->host[i].id, .for_ms = h->behind_ms ? c->now_ms - h->behind_ms : 0 };
		if (h->failed > h->acked)
			snprintf(out[n].why, WHY_MAX, "could not set its filters for %llu: %.150s", (unsigned long long)h->failed, h->fail_why);
		else
			snprintf(out[n].why, WHY_MAX, "its network filters are those of %llu, %llu is needed before it becomes owner",
				 (unsigned long long)h->acked, (unsigned long long)need);
		n++;
	}
	return n;
}

size_t control_blocked(const struct control *c, struct blocked *out, size_t room)
{
	const struct pop *pop = c->state.view.pop;
	uint64_t need = pop ? needed(c) : 0;
	size_t n = 0;
	uint32_t i;

	for (i = 0; pop && i < pop->n_switches && n < room; i++) {
		uint16_t id = pop->switches[i].id;
		const struct control_switch *sw = &c->sw[id];

		if (!switch_counts(c, id) || sw->acked >= need)
			continue;
		out[n].switch_id = id;
		out[n].host_id = HOST_NONE;
		out[n].for_ms = sw->behind_ms ? c->now_ms - sw->behind_ms : 0;
		if (sw->failed > sw->acked)
			snprintf(out[n].why, WHY_MAX, "could not install %llu: %.150s", (unsigned long long)sw->failed, sw->fail_why);
		else if (!sw->connected)
			snprintf(out[n].why, WHY_MAX, "is not connected (last installed %llu, %llu is needed)",
				 (unsigned long long)sw->acked, (unsigned long long)need);
		else
			snprintf(out[n].why, WHY_MAX, "has installed %llu, %llu is needed", (unsigned long long)sw->acked,
				 (unsigned long long)need);
		n++;
	}
	return pop ? n + blocked_by_heirs(c, out + n, room - n) : n;
}

static void second_steps(struct control *c, struct batch *b, uint64_t installed)
{
	const struct state *s = &c->pending;
	bool *eligible = calloc(s->table.n_buckets, sizeof(*eligible)), any = false;
	struct table_event e = { .kind = TABLE_ACKED, .eligible = eligible };
	struct table_plan plan = { 0 };
	uint32_t i;

	for (i = 0; eligible && i < s->table.n_buckets; i++) {
		eligible[i] = s->table.bucket[i].next && s->changed[i] <= installed && heir_ready(c, s, i);
		any |= eligible[i];
	}
	if (any)
		batch_event(b, "second step", &e, &plan);
	free(plan.move);
	free(eligible);
}

/* Tells hosts that proofs which begin from here on count for what has been installed everywhere. */
static void settle(struct control *c, struct batch *b, uint64_t installed)
{
	const struct state *s = &c->pending;
	uint32_t i;

	for (i = 0; i < s->table.n_buckets; i++) {
		const struct bucket *k = &s->table.bucket[i];

		if (k->triple.host[1] && !k->next && s->changed[i] <= installed && s->changed[i] > s->settled_acked) {
			batch_settled(b, installed);
			return;
		}
	}
}

static bool proof_counts(const struct control *c, const struct control_host *h)
{
	const struct host_report *r = &h->report;

	/* Pending, not committed: what settles in this very batch needs a proof that begins after it. */
	return h->reported && h->connected && r->via_known && !r->via_unknown && r->via_index >= c->pending.settled_index &&
	       c->pending.settled_index && (r->cookie_ms < 0 || r->cookie_ms >= COOKIE_FRESH_MS);
}

static void end_histories(struct control *c, struct batch *b)
{
	const struct pop *pop = c->state.view.pop;
	const struct state *s = &c->pending;
	bool *eligible = calloc(s->table.n_buckets, sizeof(*eligible));
	uint32_t i, k;

	for (i = 0; eligible && i < pop->n_hosts; i++) {
		const struct control_host *h = &c->host[pop->host[i].id];
		struct table_event e = { .kind = TABLE_EMPTY, .old = pop->host[i].id, .eligible = eligible };
		struct table_plan plan = { 0 };
		bool any = false;
		char reason[REASON_MAX];

		if (!table_sheltered(&s->table, e.old) || !proof_counts(c, h))
			continue;
		for (k = 0; k < s->table.n_buckets; k++) {
			const struct bucket *bk = &s->table.bucket[k];

			eligible[k] = triple_has(&bk->triple, e.old) && bk->triple.host[0] != e.old && !bk->next &&
				      s->changed[k] <= s->settled_acked && !h->report.via[bk->triple.host[0]];
			any |= eligible[k];
		}
		snprintf(reason, sizeof(reason), "host %s has no flow left there", pop->host[i].name);
		if (any)
			batch_event(b, reason, &e, &plan);
		free(plan.move);
	}
	free(eligible);
}

static void add(struct condition *out, size_t *n, const char *id, double value, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));

static void add(struct condition *out, size_t *n, const char *id, double value, const char *fmt, ...)
{
	va_list ap;

	if (*n == CONDITIONS_MAX)
		return;
	out[*n].id = id;
	out[*n].value = value;
	va_start(ap, fmt);
	vsnprintf(out[*n].text, WHY_MAX, fmt, ap);
	va_end(ap);
	(*n)++;
}

static bool detour_recent(const struct control *c, int64_t ms)
{
	return ms >= 0 && ms < c->state.view.pop->policy.silence_ms;
}

/* --force went on without them; but as long as one may forward by an older table, nobody is safe. */
static void left_behind(const struct control *c, struct condition *out, size_t *n)
{
	const struct pop *pop = c->state.view.pop;
	uint32_t i;

	for (i = 0; i < pop->n_switches; i++) {
		uint16_t id = pop->switches[i].id;

		if (c->sw[id].excused && c->state.view.switch_admin[id] != ADMIN_OUT && c->sw[id].acked < c->state.view.index)
			add(out, n, "left-behind", 1, "switch %s was left behind by --force and may still send it frames: "
			    "bring it back, or take it out: baton drain switch %s --force", pop->switches[i].name,
			    pop->switches[i].name);
	}
}

/* A front end that still gives requests to the host's servers; HOST_NONE: every one that is connected knows better. */
static uint16_t unaware_edge(const struct control *c, const struct control_host *h)
{
	const struct pop *pop = c->state.view.pop;
	uint32_t i;

	for (i = 0; i < pop->n_hosts; i++) {
		const struct control_edge *e = &c->edge[pop->host[i].id];

		if (e->connected && e->acked < h->out_index)
			return pop->host[i].id;
	}
	return HOST_NONE;
}

/* Does its latest report speak of the time since it is in no table, and since no front end gives it anything new? */
static bool report_is_late_enough(const struct control *c, uint16_t id)
{
	const struct control_host *h = &c->host[id];

	if (!h->reported || !h->connected || (h->clean_ms && h->report_ms <= h->clean_ms))
		return false;
	return c->state.view.host_admin[id] == ADMIN_IN || (h->spared_ms && h->report_ms > h->spared_ms);
}

static size_t host_conditions(const struct control *c, uint16_t id, struct condition *out)
{
	const struct control_host *h = &c->host[id];
	const struct host_report *r = &h->report;
	uint32_t owned = table_owned(&c->state.table, id), sheltered = table_sheltered(&c->state.table, id);
	uint32_t sockets = r->established + r->request + r->time_wait + r->other;
	uint16_t edge = unaware_edge(c, h);
	size_t n = 0;

	if (c->state.view.host_admin[id] == ADMIN_IN)
		add(out, &n, "admin", 1, "is in service: it is not being drained");
	if (owned)
		add(out, &n, "owned", owned, "owns %u buckets", owned);
	if (sheltered)
		add(out, &n, "sheltered", sheltered, "shelters older flows of %u buckets", sheltered);
	if (!owned && !sheltered && !h->clean_ms)
		add(out, &n, "installed", 1, "a switch may still hold its id: not all have installed its removal");
	if (!host_is_elsewhere(pop_host(c->state.view.pop, id)))
		left_behind(c, out, &n);
	if (c->state.view.host_health[id] == HEALTH_DEAD)
		return n; /* its sockets are gone with it */
	if (edge != HOST_NONE)
		add(out, &n, "front-ends", 1, "the front end of %s has not confirmed that it gives it nothing new",
		    pop_host(c->state.view.pop, edge)->name);
	if (!report_is_late_enough(c, id)) {
		add(out, &n, "report", 1, h->connected ? "no report yet since the last change" : "its agent is not connected");
		return n;
	}
	if (sockets)
		add(out, &n, "sockets", sockets, "%u socket%s on service addresses (%u established, %u half-open, %u closing, "
		    "%u young TIME_WAIT)", sockets, sockets == 1 ? "" : "s", r->established, r->request, r->other, r->time_wait);
	if (r->proxied)
		add(out, &n, "proxied", r->proxied, "%u request%s that front ends have given to its servers", r->proxied,
		    r->proxied == 1 ? "" : "s");
	if (r->rows)
		add(out, &n, "rows", r->rows, "%u rows of handed-off flows", r->rows);
	if (r->cookie_ms >= 0 && r->cookie_ms < COOKIE_FRESH_MS)
		add(out, &n, "cookies", (double)(COOKIE_FRESH_MS - r->cookie_ms), "a SYN cookie may still come back for %.0f s",
		    (double)(COOKIE_FRESH_MS - r->cookie_ms) / 1000);
	if (detour_recent(c, r->detour_in_ms) || detour_recent(c, r->detour_out_ms))
		add(out, &n, "detours", c->state.view.pop->policy.silence_ms, "detours still pass through it");
	return n;
}

static size_t switch_conditions(const struct control *c, uint16_t id, struct condition *out)
{
	const struct control_switch *sw = &c->sw[id];
	const struct pop *pop = c->state.view.pop;
	uint8_t admin = c->state.view.switch_admin[id];
	unsigned egress = 0;
	size_t n = 0;
	uint32_t i;

	if (admin == ADMIN_IN)
		add(out, &n, "admin", 1, "is in service: it is not being drained");
	if (admin == ADMIN_DRAINING) {
		uint64_t gone = sw->phase_ms ? c->now_ms - sw->phase_ms : 0;
		uint64_t left = gone < pop->policy.graceful_shutdown_ms ? pop->policy.graceful_shutdown_ms - gone : 0;

		add(out, &n, "graceful", (double)left, sw->phase_ms ? "announces GRACEFUL_SHUTDOWN for %.1f s more"
			: "has not installed GRACEFUL_SHUTDOWN yet (%.1f s to follow)", (double)left / 1000);
	}
	if (admin != ADMIN_OUT)
		return n;
	if (sw->connected && sw->reported && sw->report.announcing)
		add(out, &n, "withdraw", 1, "still announces");
	if (!sw->excused && (!sw->connected || !sw->reported || !sw->report.drained))
		add(out, &n, "counters", 1, sw->connected ? "packets to service addresses may still arrive"
			: "is not connected: nobody can say that no packets arrive");
	for (i = 0; i < pop->n_hosts; i++)
		egress += c->host[pop->host[i].id].connected && c->host[pop->host[i].id].acked < sw->out_index;
	if (egress)
		add(out, &n, "egress", egress, "%u hosts have not confirmed that they send nothing through it", egress);
	return n;
}

static size_t vip_conditions(const struct control *c, uint16_t at, struct condition *out)
{
	const struct pop *pop = c->state.view.pop;
	size_t n = 0;

	if (c->state.view.vip_admin[at] == ADMIN_IN)
		add(out, &n, "admin", 1, "is in service: it is not being drained");
	else if (control_installed(c) < c->state.view.index)
		add(out, &n, "withdraw", 1, "VIP %s: not all switches have confirmed the withdrawal", pop->vip[at].name);
	return n;
}

size_t control_conditions(const struct control *c, enum object_kind kind, uint16_t id, struct condition out[CONDITIONS_MAX])
{
	switch (kind) {
	case OBJECT_HOST:
		return host_conditions(c, id, out);
	case OBJECT_SWITCH:
		return switch_conditions(c, id, out);
	case OBJECT_VIP:
		return vip_conditions(c, id, out);
	}
	return 0;
}

static double left_now(const struct control_host *h)
{
	return h->report.established + h->report.request + h->report.other;
}

/* Sockets go at some rate: linear over the time watched so far.  Not known while none has gone of late: what
 * lingers says nothing about when it ends. */
double control_estimate_s(const struct control *c, uint16_t host)
{
	const struct control_host *h = &c->host[host];
	double now = left_now(h), s = (double)(c->now_ms - h->left_ms) / 1000;

	if (!h->left_ms || s < 0.5 || h->left_before <= now || c->now_ms - h->least_ms > ESTIMATE_STALE_MS)
		return -1;
	return now / ((h->left_before - now) / s);
}

static void host_progress(struct control *c, struct batch *b)
{
	const struct pop *pop = c->state.view.pop;
	uint64_t installed = control_installed(c);
	uint32_t i, k;

	for (i = 0; i < pop->n_hosts; i++) {
		uint16_t id = pop->host[i].id;
		struct control_host *h = &c->host[id];
		struct condition cond[CONDITIONS_MAX];
		bool draining = c->state.view.host_admin[id] == ADMIN_DRAINING;
		char reason[REASON_MAX];
		bool named = false;
		uint64_t need = needed_of_heir(c, id);

		if (!need || !heir_waits(c, id, need))
			h->behind_ms = 0;
		else if (!h->behind_ms)
			h->behind_ms = c->now_ms;
		for (k = 0; k < c->state.table.n_buckets && !named; k++)
			named = triple_has(&c->state.table.bucket[k].triple, id);
		/* Not exactly when it left the last triple, but never before it: nothing is outstanding.  (Of one elsewhere no switch
		 * ever hears.) */
		if (named)
			h->clean_ms = 0;
		else if (!h->clean_ms && (installed >= c->state.view.index || host_is_elsewhere(&pop->host[i])))
			h->clean_ms = c->now_ms;
		if (c->state.view.host_admin[id] == ADMIN_IN)
			h->out_index = h->spared_ms = 0;
		else if (!h->out_index)
			h->out_index = c->state.view.index;
		else if (!h->spared_ms && unaware_edge(c, h) == HOST_NONE)
			h->spared_ms = c->now_ms;
		if (draining && !h->drain_ms) {
			h->drain_ms = c->now_ms;
			h->left_ms = c->now_ms;
			h->left_before = h->left_least = left_now(h);
			h->least_ms = c->now_ms;
		} else if (c->state.view.host_admin[id] == ADMIN_IN) {
			h->drain_ms = h->left_ms = 0;
		}
		if (left_now(h) < h->left_least) {
			h->left_least = left_now(h);
			h->least_ms = c->now_ms;
		}
		if (draining && !host_conditions(c, id, cond)) {
			struct change ch = { SUBJECT_HOST_ADMIN, ADMIN_OUT, id };

			snprintf(reason, sizeof(reason), "host %s is safe to reboot", pop->host[i].name);
			batch_changes(b, reason, &ch, 1);
		}
	}
}

static void switch_progress(struct control *c, struct batch *b)
{
	const struct pop *pop = c->state.view.pop;
	uint32_t i;

	for (i = 0; i < pop->n_switches; i++) {
		uint16_t id = pop->switches[i].id;
		struct control_switch *sw = &c->sw[id];
		char reason[REASON_MAX];

		if (sw->acked >= c->state.view.index)
			sw->behind_ms = 0;
		else if (!sw->behind_ms)
			sw->behind_ms = c->now_ms;
		if (c->state.view.switch_admin[id] != ADMIN_OUT)
			sw->out_index = 0;
		else if (!sw->out_index)
			sw->out_index = c->state.view.index;
		if (c->state.view.switch_admin[id] != ADMIN_DRAINING) {
			sw->phase_ms = 0;
			continue;
		}
		if (!sw->phase_ms && sw->connected && sw->acked >= c->state.view.index)
			sw->phase_ms = c->now_ms;
		if (sw->phase_ms && c->now_ms - sw->phase_ms >= pop->policy.graceful_shutdown_ms) {
			struct change ch = { SUBJECT_SWITCH_ADMIN, ADMIN_OUT, id };

			snprintf(reason, sizeof(reason), "switch %s withdraws", pop->switches[i].name);
			batch_changes(b, reason, &ch, 1);
		}
	}
}

/* The log names whose buckets are right (reference.h). */
static void name_reference(struct control *c, struct batch *b)
{
	const struct pop *pop = c->state.view.pop;
	struct bucket_claim claim[POP_SWITCHES_MAX];
	struct change change[8];
	char reason[REASON_MAX];
	uint64_t right;
	size_t n = 0;

	for (uint32_t i = 0; i < pop->n_switches; i++) {
		uint16_t id = pop->switches[i].id;
		const struct control_switch *sw = &c->sw[id];

		if (c->state.view.switch_admin[id] != ADMIN_OUT && !sw->excused)
			claim[n++] = (struct bucket_claim){ id, sw->report.announcing, sw->report.buckets };
	}
	right = reference_decide(c->state.view.buckets, claim, n);
	if (right == c->state.view.buckets)
		return;
	for (uint16_t i = 0; i < 8; i++)
		change[i] = (struct change){ SUBJECT_BUCKETS, (uint8_t)(right >> (56 - 8 * i)), i };
	snprintf(reason, sizeof(reason), "switches that announce must have the buckets %016llx", (unsigned long long)right);
	batch_changes(b, reason, change, 8);
}

void drain_progress(struct control *c, struct batch *b)
{
	uint64_t installed;

	switch_progress(c, b);
	name_reference(c, b);
	installed = control_installed(c);
	second_steps(c, b, installed);
	settle(c, b, installed);
	end_histories(c, b);
	host_progress(c, b);
}
