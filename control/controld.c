/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * baton-controld: the edges around the pure controller.  main() is the init ladder: options, the log
 * (replayed into the core; an empty one begins with --config), sessions, control socket, metrics, loop.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/conf.h"
#include "base/file.h"
#include "base/log.h"
#include "control/controld.h"
#include "control/wire.h"

#define LOST_LOG_MS 10000 /* a full disk is said this often */

const double move_bucket_seconds[MOVE_BUCKETS] = { 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2, 10 };

struct pending_done {
	bool called;
	int err;
};

static void on_durable(void *ctx, int err)
{
	struct pending_done *d = ctx;

	d->called = true;
	d->err = err;
}

static void log_batch(const struct control_actions *a)
{
	static const char *const type[] = { "", "config", "table", "state", "settled", "snapshot" };
	size_t i;

	for (i = 0; i < a->n_records; i++) {
		struct body_text t = { .reason = "" };
		struct record r;

		if (record_decode(a->record[i].data, a->record[i].len, &r))
			continue;
		if (r.type <= RECORD_STATE)
			body_reason(r.body, r.body_len, &t);
		log_at(r.type == RECORD_SETTLED ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO, "log %llu %s: %s", (unsigned long long)r.index,
		       type[r.type], t.reason);
	}
}

/* To the disk, then to everyone: one message for the batch.  The disk's answer is immediate. */
static enum control_event_kind carry_out(struct controller *c, struct control_actions *a)
{
	struct pending_done done = { false, 0 };
	uint64_t now = monotonic_ms();
	uint8_t *all;
	size_t i, len = 0;
	int err = c->log->ops->append(c->log, a->record, a->n_records, on_durable, &done);

	if (!err && done.called)
		err = done.err;
	if (err) {
		c->lost++;
		c->append_err = err;
		if (!c->last_lost_log_ms || now - c->last_lost_log_ms > LOST_LOG_MS) {
			log_error("%s: changes are refused, forwarding goes on", store_info(c->log)->error);
			c->last_lost_log_ms = now;
		}
	} else {
		for (i = 0; i < a->n_records; i++)
			len += a->record[i].len;
		all = malloc(len ? len : 1);
		for (len = 0, i = 0; all && i < a->n_records; i++) {
			memcpy(all + len, a->record[i].data, a->record[i].len);
			len += a->record[i].len;
		}
		if (all)
			server_broadcast(c, all, len);
		free(all);
		for (i = 0; i < a->n_records; i++)
			history_add(&c->history, a->record[i].data, a->record[i].len, now);
		log_batch(a);
	}
	for (i = 0; i < a->n_records; i++)
		free((void *)(uintptr_t)a->record[i].data);
	return err ? CONTROL_LOST : CONTROL_COMMITTED;
}

static void run_actions(struct controller *c, struct control_actions *a)
{
	while (a->n_records) {
		struct control_event e = { .kind = carry_out(c, a) };

		control_step(&c->core, &e, monotonic_ms(), a);
	}
	c->log->ops->compact(c->log, &c->core.state);
}

/* No bucket waits for a second step, and every switch that counts has installed the last change. */
static bool moves_over(const struct control *c)
{
	const struct table *t = &c->state.table;
	uint64_t last = 0;

	for (uint32_t b = 0; b < t->n_buckets; b++) {
		if (t->bucket[b].next != HOST_NONE)
			return false;
		last = c->state.changed[b] > last ? c->state.changed[b] : last;
	}
	return control_installed(c) >= last;
}

static void clock_moves(struct controller *c, const struct command_reply *reply, uint64_t began_ns)
{
	struct move_clock *m = &c->moves;
	size_t i = 0;

	if (!m->running && reply && !reply->refused && reply->moves) {
		m->running = true;
		m->began_ns = began_ns;
	}
	if (!m->running || !moves_over(&c->core))
		return;
	m->running = false;
	m->done_ns = monotonic_ns();
	m->last_ns = m->done_ns - m->began_ns;
	m->sum_ns += m->last_ns;
	m->count++;
	while (i < MOVE_BUCKETS && (double)m->last_ns / 1e9 > move_bucket_seconds[i])
		i++;
	m->bucket[i]++;
}

void controller_step(struct controller *c, struct control_event *e, struct command_reply *reply)
{
	struct control_actions *a = calloc(1, sizeof(*a));
	uint64_t began_ns = monotonic_ns();

	if (!a)
		return;
	control_step(&c->core, e, monotonic_ms(), a);
	if (reply)
		*reply = a->reply;
	run_actions(c, a);
	clock_moves(c, e->command && !e->command->dry_run ? reply : NULL, began_ns);
	free(a);
}

static void on_tick(evutil_socket_t fd, short events, void *ctx)
{
	struct control_event e = { .kind = CONTROL_TICK };

	(void)fd;
	(void)events;
	controller_step(ctx, &e, NULL);
}

static int on_replay(void *ctx, const struct record *r, const uint8_t *bytes, size_t len, char *why, size_t why_len)
{
	struct controller *c = ctx;
	int err = control_replay(&c->core, r, why, why_len);

	if (err == -EALREADY && r->type == RECORD_CONFIG) { /* older than the snapshot: for rollback */
		history_keep_config(&c->history, r);
		return 0;
	}
	if (!err && r->type != RECORD_SNAPSHOT)
		history_add(&c->history, bytes, len, 0);
	return err;
}

static int open_log(struct controller *c)
{
	char dir[4096], why[WHY_MAX] = "";
	int err;

	snprintf(dir, sizeof(dir), "%s/log", c->d.state_dir);
	err = store_open(dir, on_replay, c, &c->log, why, sizeof(why));
	if (err) {
		log_error("cannot read the log in %s: %s (%s)", dir, why, strerror(-err));
		return err;
	}
	if (store_info(c->log)->repaired)
		log_warning("the log in %s ended in a record that was cut short; it was never acknowledged and is gone", dir);
	return 0;
}

static int bootstrap(struct controller *c)
{
	struct control_actions *a = calloc(1, sizeof(*a));
	char *text = NULL;
	size_t len = 0;
	int err;

	if (!a)
		return -ENOMEM;
	err = file_read(c->d.config, CONF_TEXT_MAX, &text, &len);
	if (err) {
		log_error("the log is empty and %s cannot be read: %s", c->d.config, strerror(-err));
		free(a);
		return err;
	}
	control_bootstrap(&c->core, text, len, monotonic_ms(), a);
	if (a->reply.refused) {
		log_error("the log is empty and %s is not valid: %s; run baton check", c->d.config, a->reply.error);
		err = -EINVAL;
	} else {
		run_actions(c, a);
		err = c->core.state.config ? 0 : -EIO;
		log_notice("a new log begins with %s", c->d.config);
	}
	free(text);
	free(a);
	return err;
}

static int start(struct controller *c)
{
	const struct timeval tick = { 0, CONTROL_TICK_MS * 1000 };
	char why[WHY_MAX] = "";
	int err;

	if (control_init(&c->core) || open_log(c) || (!c->core.state.config && bootstrap(c)))
		return 1;
	err = server_start(c, why, sizeof(why));
	if (err) {
		log_error("%s", why);
		return 1;
	}
	err = ctl_serve(c->d.base, c->d.socket, verbs_handle, c, &c->ctl);
	if (err) {
		log_error("cannot serve %s: %s", c->d.socket, strerror(-err));
		return 1;
	}
	if (daemon_metrics(&c->d, metrics_write, c))
		return 1;
	c->tick = event_new(c->d.base, -1, EV_PERSIST, on_tick, c);
	if (!c->tick || event_add(c->tick, &tick))
		return 1;
	log_notice("controller of POP %s, log at index %llu", c->core.state.view.pop->name,
		   (unsigned long long)c->core.state.view.index);
	return 0;
}

static void stop(struct controller *c)
{
	if (c->tick)
		event_free(c->tick);
	server_stop(c);
	if (c->ctl)
		ctl_server_free(c->ctl);
	if (c->log)
		c->log->ops->close(c->log);
	history_free(&c->history);
	control_free(&c->core);
}

int main(int argc, char **argv)
{
	struct controller *c = calloc(1, sizeof(*c));
	int status;

	if (!c)
		return 1;
	status = daemon_init(&c->d, "baton-controld", argc, argv);
	if (status) {
		free(c);
		return status < 0 ? 0 : status;
	}
	c->started_ms = monotonic_ms();
	status = start(c);
	if (!status)
		status = daemon_run(&c->d);
	stop(c);
	daemon_free(&c->d);
	free(c);
	return status;
}
