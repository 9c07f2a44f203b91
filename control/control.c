/* SPDX-License-Identifier: BSD-2-Clause */
/* The controller's step: notes the event, then decides, unless a batch is still on its way to the disk. */
#include "control/control.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/core.h"

int control_init(struct control *c)
{
	memset(c, 0, sizeof(*c));
	state_init(&c->state);
	state_init(&c->pending);
	c->sw = calloc(POP_SWITCHES_MAX + 1, sizeof(*c->sw));
	c->host = calloc(HOST_ID_MAX + 1, sizeof(*c->host));
	c->edge = calloc(HOST_ID_MAX + 1, sizeof(*c->edge));
	c->replan = true;
	if (!c->sw || !c->host || !c->edge) {
		control_free(c);
		return -ENOMEM;
	}
	return 0;
}

void control_free(struct control *c)
{
	state_free(&c->state);
	state_free(&c->pending);
	free(c->sw);
	free(c->host);
	free(c->edge);
	c->sw = NULL;
	c->host = NULL;
	c->edge = NULL;
}

int control_replay(struct control *c, const struct record *r, char *why, size_t why_len)
{
	unsigned what;

	return state_apply(&c->state, r, &what, why, why_len);
}

void control_bootstrap(struct control *c, const char *text, size_t len, uint64_t now_ms, struct control_actions *a)
{
	struct command_reply *r = &a->reply;
	struct batch b;
	int err;

	assert(!c->state.config);
	memset(a, 0, sizeof(*a));
	a->replied = true;
	c->now_ms = now_ms;
	err = batch_begin(&b, c, a);
	if (!err)
		err = batch_config(&b, "the first configuration", text, len, r->error, sizeof(r->error));
	if (err) {
		r->refused = true;
		batch_drop(&b);
	} else {
		batch_keep(&b);
	}
}

/* After a stall of our own everybody seems silent: what began before it begins anew. */
static void forgive_stall(struct control *c, uint64_t now)
{
	uint64_t gap = c->now_ms ? now - c->now_ms : 0;
	uint16_t id;

	if (!c->start_ms)
		c->start_ms = now;
	if (gap <= CONTROL_STALL_MS)
		return;
	c->start_ms += gap;
	for (id = 0; id <= POP_SWITCHES_MAX; id++)
		c->sw[id].report_ms += c->sw[id].reported ? gap : 0;
	for (id = 0; id <= HOST_ID_MAX; id++) {
		struct control_host *h = &c->host[id];

		h->report_ms += h->reported ? gap : 0;
		h->clean_ms += h->clean_ms ? gap : 0;
		h->spared_ms += h->spared_ms ? gap : 0;
		h->down_ms = h->good_ms = 0;
	}
}

static void note_switch(struct control *c, const struct control_event *e)
{
	struct control_switch *sw = &c->sw[e->id];

	switch (e->kind) {
	case CONTROL_CONNECTED:
		sw->connected = true;
		sw->reported = false;
		sw->acked = sw->failed = 0; /* it may have restarted from an older cache: it says what it holds */
		sw->connected_ms = c->now_ms;
		break;
	case CONTROL_GONE:
		sw->connected = false;
		break;
	case CONTROL_ACKED:
		if (e->index > c->state.view.index)
			break; /* cannot be: it never had it from us */
		sw->acked = e->index;
		if (sw->acked == c->state.view.index && c->state.view.switch_admin[e->id] != ADMIN_OUT)
			sw->excused = false;
		break;
	case CONTROL_FAILED:
		sw->failed = e->index;
		snprintf(sw->fail_why, sizeof(sw->fail_why), "%s", e->why ? e->why : "");
		break;
	case CONTROL_REPORTED:
		sw->reported = true;
		sw->report_ms = c->now_ms;
		sw->report = *e->switch_report;
		break;
	case CONTROL_TICK:
	case CONTROL_COMMAND:
	case CONTROL_COMMITTED:
	case CONTROL_LOST:
		break;
	}
}

static void note_host(struct control *c, const struct control_event *e)
{
	struct control_host *h = &c->host[e->id];

	switch (e->kind) {
	case CONTROL_CONNECTED:
		h->connected = true;
		h->acked = h->failed = 0;
		break;
	case CONTROL_GONE:
		h->connected = false;
		break;
	case CONTROL_ACKED:
		if (e->index <= c->state.view.index)
			h->acked = e->index;
		if (h->acked == c->state.view.index)
			h->excused = false;
		break;
	case CONTROL_FAILED:
		h->failed = e->index;
		snprintf(h->fail_why, sizeof(h->fail_why), "%s", e->why ? e->why : "");
		break;
	case CONTROL_REPORTED:
		h->reported = true;
		h->report_ms = c->now_ms;
		h->report = *e->host_report;
		break;
	case CONTROL_TICK:
	case CONTROL_COMMAND:
	case CONTROL_COMMITTED:
	case CONTROL_LOST:
		break;
	}
}

static void note_edge(struct control *c, const struct control_event *e)
{
	struct control_edge *g = &c->edge[e->id];

	if (e->kind == CONTROL_CONNECTED)
		*g = (struct control_edge){ .connected = true };
	else if (e->kind == CONTROL_GONE)
		g->connected = false;
	else if (e->kind == CONTROL_ACKED && e->index <= c->state.view.index)
		g->acked = e->index;
}

static void committed(struct control *c)
{
	assert(c->busy);
	state_free(&c->state);
	c->state = c->pending;
	c->state.view.pop = c->state.config->pop;
	c->state.view.table = &c->state.table;
	state_init(&c->pending);
	c->evicted += c->pending_evicted;
	c->busy = false;
}

static void lost(struct control *c)
{
	state_free(&c->pending);
	c->busy = false;
	c->replan = true;
}

static void sweep_alarms(struct control *c)
{
	size_t i = 0;

	while (i < c->n_alarms)
		if (c->alarm[i].seen)
			i++;
		else
			c->alarm[i] = c->alarm[--c->n_alarms];
}

static void decide(struct control *c, struct control_actions *a)
{
	struct table_plan plan = { 0 };
	struct batch b;
	size_t i;

	for (i = 0; i < c->n_alarms; i++)
		c->alarm[i].seen = false;
	health_note(c);
	if (batch_begin(&b, c, a))
		return;
	if (c->replan) { /* an earlier run may have ended between a change and its moves */
		int err = batch_rebalance(&b, "after a restart", false, &plan);

		free(plan.move);
		if (err) {
			batch_rebalance(&b, "after a restart", true, &plan);
			free(plan.move);
		}
		c->replan = false;
	}
	health_judge(c, &b);
	drain_progress(c, &b);
	batch_keep(&b);
	sweep_alarms(c);
}

void control_step(struct control *c, const struct control_event *e, uint64_t now_ms, struct control_actions *a)
{
	memset(a, 0, sizeof(*a));
	forgive_stall(c, now_ms);
	c->now_ms = now_ms;
	if (e->kind == CONTROL_COMMITTED)
		committed(c);
	else if (e->kind == CONTROL_LOST)
		lost(c);
	else if (e->kind == CONTROL_COMMAND)
		command_run(c, e->command, a);
	else if (e->role == ROLE_SWITCH && e->id >= 1 && e->id <= POP_SWITCHES_MAX)
		note_switch(c, e);
	else if (e->role == ROLE_HOST && host_id_valid(e->id))
		note_host(c, e);
	else if (e->role == ROLE_EDGE && host_id_valid(e->id))
		note_edge(c, e);
	/* After a loss the disk decides when to try again: the next tick. */
	if (!c->busy && c->state.config && e->kind != CONTROL_LOST && e->kind != CONTROL_COMMAND)
		decide(c, a);
}
