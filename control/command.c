/* SPDX-License-Identifier: BSD-2-Clause */
/* What operators ask for.  A command is planned as one batch, and refused as a whole, with the reason and
 * what would help; a dry run is the same batch, dropped. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/core.h"

static void refuse(struct command_reply *r, const char *remedy, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static void refuse(struct command_reply *r, const char *remedy, const char *fmt, ...)
{
	va_list ap;

	r->refused = true;
	snprintf(r->remedy, sizeof(r->remedy), "%s", remedy);
	va_start(ap, fmt);
	vsnprintf(r->error, sizeof(r->error), fmt, ap);
	va_end(ap);
}

static const char *host_name(const struct pop *pop, uint16_t id)
{
	const struct host_conf *h = pop_host(pop, id);

	return h ? h->name : "-";
}

static void refuse_full(const struct control *c, struct command_reply *r, const struct table_plan *plan)
{
	const struct triple *t = &c->pending.table.bucket[plan->refused_bucket].triple;
	const struct pop *pop = c->pending.view.pop;

	refuse(r, "wait until older flows have ended (baton show buckets), or use --force, which breaks the oldest",
	       "%zu buckets cannot move: bucket %u names %s, %s and %s already, and none of them may take it", plan->n_refused,
	       plan->refused_bucket, host_name(pop, t->host[0]), host_name(pop, t->host[1]), host_name(pop, t->host[2]));
}

static void count_moves(struct control *c, struct command_reply *r, const struct table_plan *plan)
{
	size_t i;

	for (i = 0; i < plan->n_moves; i++) {
		uint16_t heir = bucket_heir(&plan->move[i].to);

		if (heir == bucket_heir(&c->state.table.bucket[plan->move[i].bucket]))
			continue;
		r->moves++;
		r->to[heir]++;
	}
	r->evicted = plan->n_evicted;
}

/* Plans the moves that follow from the batch so far; false: refused. */
static bool move_buckets(struct control *c, struct batch *b, const char *reason, bool forced, struct command_reply *r)
{
	struct table_plan plan = { 0 };
	int err = batch_rebalance(b, reason, forced, &plan);

	if (!err)
		count_moves(c, r, &plan);
	else if (err == -EBUSY)
		refuse_full(c, r, &plan);
	else if (err == -ENOSPC)
		refuse(r, "fill another host first", "nobody would be left in service");
	else
		refuse(r, "look at the controller's log", "the moves cannot be planned: %s", strerror(-err));
	free(plan.move);
	return !err;
}

static bool change_one(struct batch *b, const char *reason, enum subject subject, uint8_t value, uint16_t id, struct command_reply *r)
{
	struct change ch = { (uint8_t)subject, value, id };
	int err = batch_changes(b, reason, &ch, 1);

	if (err)
		refuse(r, "look at the controller's log", "the change cannot be written: %s", strerror(-err));
	return !err;
}

static bool floor_allows(struct control *c, uint16_t id, struct command_reply *r)
{
	const struct pop *pop = c->state.view.pop;
	uint64_t total = weight_total(&c->state), serving = weight_serving(&c->state);
	const struct host_conf *h = pop_host(pop, id);

	if (control_standing(&c->state, id) != STANDING_SERVING || !h->weight)
		return true; /* nothing is taken away */
	serving -= h->weight;
	if (serving * 100 >= total * pop->policy.floor_percent)
		return true;
	refuse(r, "fill another host first, lower policy.floor, or use --force",
	       "draining host %s would leave %llu %% of the weight in service; the floor is %u %%", h->name,
	       (unsigned long long)(total ? serving * 100 / total : 0), pop->policy.floor_percent);
	return false;
}

/* A forced drain, repeated: goes on without the switches that lag. */
static void excuse_laggards(struct control *c)
{
	const struct pop *pop = c->state.view.pop;
	uint32_t i;

	for (i = 0; i < pop->n_switches; i++)
		if (c->sw[pop->switches[i].id].acked < c->state.view.index)
			c->sw[pop->switches[i].id].excused = true;
	for (i = 0; i < pop->n_hosts; i++)
		if (c->host[pop->host[i].id].acked < c->state.view.index)
			c->host[pop->host[i].id].excused = true;
}

/* One elsewhere has no buckets: none move. */
static void host_moves(struct control *c, const struct command *cmd, struct batch *b, const char *reason, struct command_reply *r)
{
	if (!host_is_elsewhere(pop_host(c->state.view.pop, cmd->id)))
		move_buckets(c, b, reason, cmd->force, r);
}

static void drain_host(struct control *c, const struct command *cmd, struct batch *b, const char *reason, struct command_reply *r)
{
	if (c->state.view.host_admin[cmd->id] != ADMIN_IN) {
		r->already = true;
		if (cmd->force && !cmd->dry_run)
			excuse_laggards(c);
		return;
	}
	if (!cmd->force && !floor_allows(c, cmd->id, r))
		return;
	if (change_one(b, reason, SUBJECT_HOST_ADMIN, ADMIN_DRAINING, cmd->id, r))
		host_moves(c, cmd, b, reason, r);
}

static void fill_host(struct control *c, const struct command *cmd, struct batch *b, const char *reason, struct command_reply *r)
{
	if (c->state.view.host_admin[cmd->id] == ADMIN_IN) {
		r->already = true;
		return;
	}
	if (change_one(b, reason, SUBJECT_HOST_ADMIN, ADMIN_IN, cmd->id, r))
		host_moves(c, cmd, b, reason, r);
}

static bool traffic_goes_elsewhere(struct control *c, uint16_t id, struct command_reply *r)
{
	const struct pop *pop = c->state.view.pop;
	const char *name = pop_switch(pop, id)->name;
	unsigned others = 0;
	uint32_t i, k;

	for (i = 0; i < pop->n_switches; i++) {
		const struct control_switch *sw = &c->sw[pop->switches[i].id];

		others += pop->switches[i].id != id && c->state.view.switch_admin[pop->switches[i].id] == ADMIN_IN &&
			  sw->connected && sw->reported && sw->report.announcing;
	}
	if (!others) {
		refuse(r, "fill another switch first, wait until it announces, or use --force",
		       "switch %s is the last one that announces", name);
		return false;
	}
	for (i = 0; i < pop->n_hosts; i++) {
		uint16_t host = pop->host[i].id;
		bool reached = false;

		for (k = 0; k < pop->n_switches; k++)
			reached |= pop->switches[k].id != id && c->state.view.switch_admin[pop->switches[k].id] == ADMIN_IN &&
				   (c->sw[pop->switches[k].id].report.host[host] & PORT_DATAPATH);
		if (!reached && !host_is_elsewhere(&pop->host[i]) && control_standing(&c->state, host) != STANDING_GONE) {
			refuse(r, "drain that host first, repair its other link, or use --force",
			       "host %s is reachable through switch %s only", pop->host[i].name, name);
			return false;
		}
	}
	return true;
}

static void drain_switch(struct control *c, const struct command *cmd, struct batch *b, const char *reason, struct command_reply *r)
{
	uint8_t admin = c->state.view.switch_admin[cmd->id];

	if (admin == ADMIN_OUT || (admin == ADMIN_DRAINING && !cmd->force)) {
		r->already = true;
		if (cmd->force && !cmd->dry_run)
			c->sw[cmd->id].excused = true;
		return;
	}
	if (!cmd->force && !traffic_goes_elsewhere(c, cmd->id, r))
		return;
	change_one(b, reason, SUBJECT_SWITCH_ADMIN, cmd->force ? ADMIN_OUT : ADMIN_DRAINING, cmd->id, r);
	if (cmd->force && !cmd->dry_run)
		c->sw[cmd->id].excused = true;
}

static void set_simple(struct batch *b, enum subject subject, uint8_t now, uint8_t to, uint16_t id, const char *reason,
		       struct command_reply *r)
{
	if (now == to)
		r->already = true;
	else
		change_one(b, reason, subject, to, id, r);
}

/* What a new configuration must not do to a running POP. */
static bool config_allowed(struct control *c, const struct pop *new, struct command_reply *r)
{
	const struct pop *old = c->state.view.pop;
	uint32_t i;

	if (strcmp(old->name, new->name) || old->buckets != new->buckets || old->hash_seed != new->hash_seed) {
		refuse(r, "keep them as they are: every flow's bucket follows from them",
		       "name, buckets and hash_seed of a POP are fixed for its life");
		return false;
	}
	for (i = 0; i < old->n_hosts; i++) {
		const struct host_conf *was = &old->host[i], *is = pop_host(new, was->id);

		if (control_standing(&c->state, was->id) == STANDING_GONE || (is && host_is_elsewhere(is) == host_is_elsewhere(was)))
			continue;
		refuse(r, "drain it first", "host %s would be %s while it is in service", was->name,
		       !is ? "removed" : host_is_elsewhere(is) ? "taken off its switches" : "put behind switches");
		return false;
	}
	for (i = 0; i < old->n_switches; i++)
		if (!pop_switch(new, old->switches[i].id) && c->state.view.switch_admin[old->switches[i].id] != ADMIN_OUT) {
			refuse(r, "drain it first", "switch %s would be removed while it is in service", old->switches[i].name);
			return false;
		}
	return true;
}

static void apply_config(struct control *c, const struct command *cmd, struct batch *b, const char *reason, struct command_reply *r)
{
	char why[WHY_MAX] = "";
	int err;

	if (cmd->text_len == c->state.config->len && !memcmp(cmd->text, c->state.config->text, cmd->text_len)) {
		r->already = true;
		return;
	}
	err = batch_config(b, reason, cmd->text, cmd->text_len, why, sizeof(why));
	if (err) {
		refuse(r, "run baton check", "the configuration cannot be applied: %s", why[0] ? why : strerror(-err));
		return;
	}
	if (config_allowed(c, c->pending.view.pop, r))
		move_buckets(c, b, reason, cmd->force, r);
}

void command_run(struct control *c, const struct command *cmd, struct control_actions *a)
{
	static const char *const verb[] = { "drain", "fill", "apply" }, *const object[] = { "host", "switch", "vip" };
	const struct pop *pop = c->state.view.pop;
	struct command_reply *r = &a->reply;
	char reason[REASON_MAX + 1];
	struct batch b;

	a->replied = true;
	memset(r, 0, sizeof(*r));
	if (c->busy) {
		refuse(r, "try again", "another change is being written to the log");
		return;
	}
	if (batch_begin(&b, c, a)) {
		refuse(r, "free some memory", "no memory");
		return;
	}
	if (cmd->kind == COMMAND_APPLY)
		snprintf(reason, sizeof(reason), "apply%s%s", cmd->reason && *cmd->reason ? ": " : "", cmd->reason ? cmd->reason : "");
	else
		snprintf(reason, sizeof(reason), "%s %s %s%s%s", verb[cmd->kind], object[cmd->object],
			 cmd->object == OBJECT_HOST ? pop_host(pop, cmd->id)->name :
			 cmd->object == OBJECT_SWITCH ? pop_switch(pop, cmd->id)->name : pop->vip[cmd->id].name,
			 cmd->reason && *cmd->reason ? ": " : "", cmd->reason ? cmd->reason : "");
	if (cmd->kind == COMMAND_APPLY)
		apply_config(c, cmd, &b, reason, r);
	else if (cmd->object == OBJECT_VIP)
		set_simple(&b, SUBJECT_VIP_ADMIN, c->state.view.vip_admin[cmd->id],
			   cmd->kind == COMMAND_DRAIN ? ADMIN_OUT : ADMIN_IN, cmd->id, reason, r);
	else if (cmd->object == OBJECT_SWITCH && cmd->kind == COMMAND_FILL)
		set_simple(&b, SUBJECT_SWITCH_ADMIN, c->state.view.switch_admin[cmd->id], ADMIN_IN, cmd->id, reason, r);
	else if (cmd->object == OBJECT_SWITCH)
		drain_switch(c, cmd, &b, reason, r);
	else if (cmd->kind == COMMAND_DRAIN)
		drain_host(c, cmd, &b, reason, r);
	else
		fill_host(c, cmd, &b, reason, r);
	if (r->refused || cmd->dry_run)
		batch_drop(&b);
	else
		batch_keep(&b);
}
