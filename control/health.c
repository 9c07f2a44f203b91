/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Health.  Observing is continuous and free; judging turns observations into log entries, in batches:
 * dead first and always, then sick as far as burst lock and floor allow, then up after hold-down.
 * A host whose sickness is not acted on stays `up` in the log, and an alarm says so: the log holds
 * what was decided.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/core.h"

void alarm_raise(struct control *c, const char *id, const char *fmt, ...)
{
	struct alarm *a = NULL;
	va_list ap;
	size_t i;

	for (i = 0; i < c->n_alarms && !a; i++)
		if (!strcmp(c->alarm[i].id, id))
			a = &c->alarm[i];
	if (!a && c->n_alarms < ALARMS_MAX) {
		a = &c->alarm[c->n_alarms++];
		snprintf(a->id, sizeof(a->id), "%s", id);
		a->since_ms = c->now_ms;
	}
	if (!a)
		return;
	a->seen = true;
	va_start(ap, fmt);
	vsnprintf(a->text, sizeof(a->text), fmt, ap);
	va_end(ap);
}

enum standing control_standing(const struct state *s, uint16_t host)
{
	if (s->view.host_admin[host] == ADMIN_OUT || s->view.host_health[host] == HEALTH_DEAD)
		return STANDING_GONE;
	if (s->view.host_admin[host] == ADMIN_DRAINING || s->view.host_health[host] == HEALTH_SICK)
		return STANDING_RETIRING;
	return STANDING_SERVING;
}

uint64_t weight_total(const struct state *s)
{
	uint64_t sum = 0;
	uint32_t i;

	for (i = 0; i < s->view.pop->n_hosts; i++)
		sum += s->view.pop->host[i].weight;
	return sum;
}

uint64_t weight_serving(const struct state *s)
{
	uint64_t sum = 0;
	uint32_t i;

	for (i = 0; i < s->view.pop->n_hosts; i++)
		if (control_standing(s, s->view.pop->host[i].id) == STANDING_SERVING)
			sum += s->view.pop->host[i].weight;
	return sum;
}

/* What switches see of a host: alive through at least one; dead only if somebody looks and nobody sees it. */
static bool looked_at(const struct control *c, uint16_t id, bool *alive, bool *carrier)
{
	const struct pop *pop = c->state.view.pop;
	bool looked = false;
	uint32_t i;

	*alive = *carrier = false;
	for (i = 0; i < pop->n_switches; i++) {
		const struct control_switch *sw = &c->sw[pop->switches[i].id];
		uint8_t port = sw->report.host[id];

		if (!sw->connected || !sw->reported || !(port & PORT_KNOWN) || c->now_ms - sw->report_ms > SWITCH_SILENCE_MS)
			continue;
		looked = true;
		*carrier |= (port & PORT_CARRIER) != 0;
		*alive |= (port & (PORT_CARRIER | PORT_DATAPATH)) == (PORT_CARRIER | PORT_DATAPATH);
	}
	return looked;
}

static enum health observe(struct control *c, uint16_t id)
{
	struct control_host *h = &c->host[id];
	bool alive, carrier, looked = looked_at(c, id, &alive, &carrier), elsewhere = host_is_elsewhere(pop_host(c->state.view.pop, id));

	h->why[0] = 0;
	if (looked && !alive) {
		snprintf(h->why, sizeof(h->why), carrier ? "its data path does not answer" : "no carrier on any switch");
		return HEALTH_DEAD;
	}
	/* No switch ever reports on one elsewhere: it is its agent that says how it is. */
	if (!looked && !elsewhere && c->state.view.host_health[id] == HEALTH_DEAD) {
		snprintf(h->why, sizeof(h->why), "no switch reports on it");
		return HEALTH_DEAD;
	}
	if (!h->reported || c->now_ms - h->report_ms > c->state.view.pop->policy.agent_silence_ms) {
		if (h->reported || c->now_ms - c->start_ms > c->state.view.pop->policy.agent_silence_ms ||
		    c->state.view.host_health[id] != HEALTH_UP) {
			snprintf(h->why, sizeof(h->why), "its agent is silent");
			return HEALTH_SICK;
		}
		return HEALTH_UP; /* a controller that has just started waits before it judges */
	}
	if (!h->report.services_ok) {
		snprintf(h->why, sizeof(h->why), "%s", h->report.why);
		return HEALTH_SICK;
	}
	return HEALTH_UP;
}

void health_note(struct control *c)
{
	const struct pop *pop = c->state.view.pop;
	uint32_t i;

	for (i = 0; i < pop->n_hosts; i++) {
		struct control_host *h = &c->host[pop->host[i].id];
		uint8_t logged = c->state.view.host_health[pop->host[i].id];

		h->observed = (uint8_t)observe(c, pop->host[i].id);
		if (h->observed <= logged)
			h->down_ms = 0;
		else if (!h->down_ms)
			h->down_ms = c->now_ms;
		if (h->observed != HEALTH_UP || logged == HEALTH_UP)
			h->good_ms = 0;
		else if (!h->good_ms)
			h->good_ms = c->now_ms;
		if (h->flaps && logged == HEALTH_UP && c->now_ms - h->up_ms > pop->policy.hold_down_max_ms)
			h->flaps = 0;
	}
}

static uint64_t hold_down(const struct policy *p, unsigned flaps)
{
	uint64_t ms = flaps > 16 ? p->hold_down_max_ms : (uint64_t)p->hold_down_ms << flaps;

	return ms > p->hold_down_max_ms ? p->hold_down_max_ms : ms;
}

struct verdicts {
	struct change change[LOG_BATCH_MAX * 64];
	size_t n;
	char reason[REASON_MAX + 1];
};

static void decide(struct verdicts *v, const struct host_conf *h, enum health to, const char *why)
{
	static const char *const word[] = { "up", "sick", "dead" };
	size_t at = strlen(v->reason);

	if (v->n == sizeof(v->change) / sizeof(v->change[0]))
		return; /* the next step takes the rest */
	v->change[v->n++] = (struct change){ SUBJECT_HOST_HEALTH, (uint8_t)to, h->id };
	snprintf(v->reason + at, sizeof(v->reason) - at, "%shost %s is %s%s%s", at ? "; " : "", h->name, word[to],
		 why[0] ? ": " : "", why);
}

#define SICK_WAIT_MAX_MS 2000

static bool in_service(const struct control *c, uint16_t id)
{
	return c->state.view.host_admin[id] == ADMIN_IN && c->state.view.host_health[id] == HEALTH_UP;
}

/* Sickness moves new connections away; so it must not be believed when it would take the POP down. */
static void judge_sick(struct control *c, struct verdicts *v, uint64_t serving)
{
	const struct pop *pop = c->state.view.pop;
	uint64_t total = weight_total(&c->state), sick = 0;
	unsigned n = 0, held = 0;
	char last[NAME_LEN] = "";
	uint32_t i;

	for (i = 0; i < pop->n_hosts; i++)
		if (c->host[pop->host[i].id].observed == HEALTH_SICK && in_service(c, pop->host[i].id) && pop->host[i].weight) {
			sick += pop->host[i].weight;
			n++;
		}
	if (n && sick >= serving)
		alarm_raise(c, "all-sick", "every host in service is sick: none is moved; look for a common cause (checks, network)");
	else if (n > 1 && sick * 100 > total * pop->policy.burst_percent)
		alarm_raise(c, "burst", "%u hosts (%llu of weight %llu) turned sick together: their moves are locked; "
			    "look for a common cause, or drain them by hand", n, (unsigned long long)sick, (unsigned long long)total);
	for (i = 0; i < pop->n_hosts; i++) {
		const struct host_conf *h = &pop->host[i];
		struct control_host *s = &c->host[h->id];
		bool locked = (n && sick >= serving) || (n > 1 && sick * 100 > total * pop->policy.burst_percent);

		if (s->observed != HEALTH_SICK || c->state.view.host_health[h->id] != HEALTH_UP)
			continue;
		if (!in_service(c, h->id) || !h->weight) {
			decide(v, h, HEALTH_SICK, s->why); /* draining, out, or elsewhere: nothing moves by it */
			continue;
		}
		if (locked)
			continue;
		if ((serving - h->weight) * 100 < total * pop->policy.floor_percent) {
			held++;
			snprintf(last, sizeof(last), "%s", h->name);
			continue;
		}
		serving -= h->weight;
		decide(v, h, HEALTH_SICK, s->why);
	}
	if (held)
		alarm_raise(c, "floor", "%u sick hosts stay in service (%s among them): without them less than the floor of %u %% "
			    "of the weight would serve", held, last, pop->policy.floor_percent);
}

/*
 * A common cause shows at one host up to an interval of its checks later than at another: the sick wait for each other so long,
 * else the first of a burst would be moved before there is one.  But not for checks that are made seldom: meanwhile the sick
 * would be given new connections.
 */
static uint64_t sick_wait_ms(const struct pop *pop)
{
	uint32_t longest = 0, i, k;

	for (i = 0; i < pop->n_vips; i++)
		for (k = 0; k < pop->vip[i].n_checks; k++)
			if (pop->vip[i].check[k].interval_ms > longest)
				longest = pop->vip[i].check[k].interval_ms;
	return (uint64_t)pop->policy.batch_ms + (longest < SICK_WAIT_MAX_MS ? longest : SICK_WAIT_MAX_MS);
}

static void judge_downs(struct control *c, struct verdicts *v)
{
	const struct pop *pop = c->state.view.pop;
	uint64_t serving = weight_serving(&c->state);
	bool dead_due = false, sick_due = false;
	uint32_t i;

	for (i = 0; i < pop->n_hosts; i++) {
		const struct control_host *h = &c->host[pop->host[i].id];
		uint64_t ms = h->down_ms ? c->now_ms - h->down_ms : 0;

		dead_due |= ms >= pop->policy.batch_ms && h->observed == HEALTH_DEAD;
		sick_due |= ms >= sick_wait_ms(pop) && h->observed == HEALTH_SICK;
	}
	for (i = 0; (dead_due || sick_due) && i < pop->n_hosts; i++) {
		const struct host_conf *h = &pop->host[i];

		if (c->host[h->id].observed != HEALTH_DEAD || c->state.view.host_health[h->id] == HEALTH_DEAD)
			continue;
		if (in_service(c, h->id))
			serving -= h->weight;
		decide(v, h, HEALTH_DEAD, c->host[h->id].why);
	}
	if (sick_due)
		judge_sick(c, v, serving);
}

static void judge_ups(struct control *c, struct verdicts *v)
{
	const struct pop *pop = c->state.view.pop;
	/* An empty table is given to all who are well by then: nobody has flows that would have to move. */
	bool first = table_owned(&c->state.table, HOST_NONE) == c->state.table.n_buckets, due = false;
	uint32_t i;

	for (i = 0; i < pop->n_hosts; i++) {
		const struct control_host *h = &c->host[pop->host[i].id];

		due |= h->good_ms && c->now_ms - h->good_ms >= hold_down(&pop->policy, h->flaps);
	}
	for (i = 0; due && i < pop->n_hosts; i++) {
		const struct control_host *h = &c->host[pop->host[i].id];
		uint64_t hold = hold_down(&pop->policy, h->flaps);

		if (h->good_ms && (c->now_ms - h->good_ms + pop->policy.batch_ms >= hold || (first && !h->flaps)))
			decide(v, &pop->host[i], HEALTH_UP, "");
	}
}

void health_judge(struct control *c, struct batch *b)
{
	struct verdicts *v = calloc(1, sizeof(*v));
	struct table_plan plan = { 0 };
	size_t i;

	if (!v)
		return;
	judge_downs(c, v);
	judge_ups(c, v);
	if (v->n && !batch_changes(b, v->reason, v->change, v->n)) {
		for (i = 0; i < v->n; i++) {
			struct control_host *h = &c->host[v->change[i].id];

			if (v->change[i].value == HEALTH_UP)
				h->up_ms = c->now_ms;
			else if (in_service(c, v->change[i].id)) /* a reboot after a drain is no flap */
				h->flaps++;
			h->down_ms = h->good_ms = 0;
		}
		batch_rebalance(b, v->reason, true, &plan);
		free(plan.move);
	}
	free(v);
}
