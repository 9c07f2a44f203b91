/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * baton-switchd, on every switch: it installs what the log says, proves that its buckets are everyone's,
 * announces, and reports.  It computes no table.
 *
 *     log -> view -> want (pure) -> fabric -> acknowledge          bridge rows before neighbours, removal last
 *                                     +-> proof -> announcements
 *
 * Forwarding does not depend on this process: when it ends, tables and programs stay, and the next one finds
 * them, reconciles, and starts from the follower's cached view even if no controller can be reached.
 */
#include "switch/switchd.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/log.h"
#include "bgp/speaker.h"
#include "switch/proof.h"
#include "switch/want.h"

#define REPORT_MS 1000
#define RETRY_MS 500
#define PROVE_EVERY_MS 10000
#define PROOF_FLOWS_FIRST 1024

const double apply_bucket_seconds[APPLY_BUCKETS] = { 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.2, 1 };

static void arm(struct event *e, unsigned ms)
{
	struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };

	event_add(e, &tv);
}

const struct switch_conf *switchd_conf(const struct switchd *s)
{
	const struct view *v = follower_view(s->follower);

	return v ? pop_switch(v->pop, s->id) : NULL;
}

static void report_now(struct switchd *s)
{
	json_t *report = follower_view(s->follower) ? switchd_report(s) : NULL;

	if (report)
		follower_report(s->follower, report);
	arm(s->report, REPORT_MS);
}

static void on_report(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	report_now(ctx);
}

/* What a change leads to besides its acknowledgement, for which every other switch may be waiting: that goes first. */
static void afterwards(struct switchd *s)
{
	arm(s->after, 0);
}

static void on_after(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	switchd_announce(ctx);
	report_now(ctx);
}

/* --- announcing ---------------------------------------------------------------------------------- */
enum bucket_proof switchd_proof(const struct switchd *s)
{
	const struct view *v = follower_view(s->follower);

	return proof_judge(s->buckets.all, v ? v->buckets : 0);
}

void switchd_announce(struct switchd *s)
{
	const struct view *v = follower_view(s->follower);
	struct announce_self self = { .id = s->id, .installed = s->installed, .proof = switchd_proof(s), .routed = s->want.vip,
				      .n_routed = s->installed ? s->want.n_vips : 0 };
	struct announcement *a = NULL;
	size_t n = 0;
	int err;

	if (!v || !s->speaker)
		return;
	err = announce_decide(v, &self, &a, &n);
	if (!err)
		err = speaker_want(s->speaker, a, n);
	if (err)
		log_error("VIPs cannot be announced: %s", strerror(-err));
	free(a);
}

static void on_speaker(void *ctx, const struct speaker_status *st)
{
	(void)st;
	report_now(ctx);
}

/* --- proof --------------------------------------------------------------------------------------- */
static void prove(struct switchd *s, size_t flows)
{
	struct proof_digest found;
	bool knew = s->buckets.all != 0, before = s->proven;
	int err;

	if (!s->installed || s->applying)
		return;
	err = proof_run(s->ops, s->fabric, s->want.hash_seed, s->want.n_buckets, flows, &found, s->proof_why,
			sizeof(s->proof_why));
	s->proofs++;
	/* Frames that did not come through say nothing about buckets: what was known stays known. */
	if (found.all) {
		s->proven = !err;
		if (flows == PROOF_FLOWS_FIRST)
			s->buckets = found;
		else if (found.few != s->buckets.few)
			s->buckets = (struct proof_digest){ 0, 0 }; /* other buckets than before: look closely */
	}
	if (err && (before || !knew))
		log_error("bucket equality is not proven: %s", s->proof_why);
	else if (!err && !before)
		log_notice("buckets proven: hash %s, seed %#x, %zu flows", HASH_FAMILY, s->want.hash_seed, flows);
	afterwards(s);
}

static void on_prove(evutil_socket_t fd, short what, void *ctx)
{
	struct switchd *s = ctx;

	(void)fd;
	(void)what;
	prove(s, s->buckets.all && s->proven ? PROOF_FLOWS_FEW : PROOF_FLOWS_FIRST);
	arm(s->prove, s->buckets.all ? PROVE_EVERY_MS : RETRY_MS);
}

/* --- installing ---------------------------------------------------------------------------------- */
static void count_apply(struct switchd *s, int err)
{
	size_t i = 0;

	s->apply_ns_last = monotonic_ns() - s->apply_began_ns;
	s->apply_ns_sum += s->apply_ns_last;
	s->applies++;
	s->apply_failures += err != 0;
	while (i < APPLY_BUCKETS && (double)s->apply_ns_last / 1e9 > apply_bucket_seconds[i])
		i++;
	s->apply_bucket[i]++;
}

static void on_applied(void *ctx, int err, const char *why)
{
	struct switchd *s = ctx;

	s->applying = false;
	count_apply(s, err);
	if (err) {
		if (strcmp(s->fabric_why, why))
			log_error("tables of log index %llu cannot be installed: %s", (unsigned long long)s->applying_index,
				  why);
		snprintf(s->fabric_why, sizeof(s->fabric_why), "%s", why);
		follower_fail(s->follower, s->applying_index, s->fabric_why);
		arm(s->retry, RETRY_MS);
		report_now(s);
		return;
	}
	s->fabric_why[0] = 0;
	s->installed_index = s->applying_index;
	follower_ack(s->follower, s->applying_index);
	if (!s->installed) {
		s->installed = true;
		prove(s, PROOF_FLOWS_FIRST);
		arm(s->prove, s->buckets.all ? PROVE_EVERY_MS : RETRY_MS);
	}
	afterwards(s);
}

static bool withdrawn(const struct switchd *s)
{
	const struct speaker_status *st = speaker_status(s->speaker);
	const struct switch_conf *sw = switchd_conf(s);

	return st->in_kernel && (!sw->bird_socket[0] || (st->bird_reached && st->exported));
}

/*
 * Proven before it forwards.  The switch may have come back hashing otherwise, as another version does.  What the daemon before
 * left in the kernel is right, so it goes on while the new programs are only tried; if their buckets are not
 * those that the log names, the addresses are withdrawn, and nobody sends here any more when these buckets come into force.
 */
static bool must_wait(struct switchd *s, const struct view *v)
{
	char why[160];

	if (s->installed)
		return false;
	if (!s->tried) {
		s->tried = true;
		if (proof_preview(s->ops, s->fabric, &s->want, PROOF_FLOWS_FIRST, &s->buckets, why, sizeof(why)))
			log_warning("%s: the proof comes when it forwards", why);
	}
	if (switchd_proof(s) != PROOF_DIFFERENT)
		return false;
	if (s->refused_index != v->index)
		switchd_announce(s); /* once: BIRD is asked anew each time */
	if (!withdrawn(s)) {
		s->withdrawn_ms = 0;
	} else if (!s->withdrawn_ms) {
		s->withdrawn_ms = monotonic_ms();
		log_error("its buckets would be %016llx, not %016llx as the log says: withdrawn before it forwards by them",
			  (unsigned long long)s->buckets.all, (unsigned long long)v->buckets);
	}
	return !s->withdrawn_ms || monotonic_ms() - s->withdrawn_ms < v->pop->policy.silence_ms;
}

static void install(struct switchd *s)
{
	const struct view *v = follower_view(s->follower);
	const struct switch_conf *sw = switchd_conf(s);
	struct fabric_want want;
	int err;

	if (!v || !sw || !s->fabric)
		return;
	err = want_make(v, sw, host_probe_carrier(s->probe), &want);
	if (err) {
		snprintf(s->fabric_why, sizeof(s->fabric_why), "the log's table does not fit the configuration: %s",
			 strerror(-err));
		follower_fail(s->follower, v->index, s->fabric_why);
		return;
	}
	fabric_want_free(&s->want);
	s->want = want;
	if (must_wait(s, v)) {
		arm(s->retry, RETRY_MS / 5);
		if (s->refused_index != v->index) {
			s->refused_index = v->index;
			follower_fail(s->follower, v->index, "its buckets are not those that the log names: it withdraws first");
			report_now(s);
		}
		return;
	}
	s->applying = true;
	s->applying_index = v->index;
	s->apply_began_ns = monotonic_ns();
	s->ops->apply(s->fabric, &s->want, on_applied, s);
}

static void on_retry(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	install(ctx);
}

static void on_probe(void *ctx)
{
	struct switchd *s = ctx;

	report_now(s); /* the controller may have to take the host out */
	install(s);    /* rows of a host without carrier lead to a peer */
}

/* --- the shape of the switch --------------------------------------------------------------------- */
static uint64_t fnv(uint64_t h, const void *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		h = (h ^ ((const uint8_t *)data)[i]) * 0x100000001b3ull;
	return h;
}

/* What, when it changes, needs devices and programs opened anew; tables alone do not. */
static void shape_of(const struct pop *pop, const struct switch_conf *sw, char text[65])
{
	uint64_t h = 0xcbf29ce484222325ull;

	h = fnv(h, sw->bridge, strlen(sw->bridge) + 1);
	for (uint32_t i = 0; i < sw->n_uplinks; i++)
		h = fnv(h, sw->uplink[i], strlen(sw->uplink[i]) + 1);
	for (uint32_t i = 0; i < sw->n_ports; i++) {
		h = fnv(h, sw->port[i].ifname, strlen(sw->port[i].ifname) + 1);
		h = fnv(h, &sw->port[i].host, sizeof(sw->port[i].host));
		h = fnv(h, &sw->port[i].peer, sizeof(sw->port[i].peer));
	}
	h = fnv(h, sw->bird_socket, strlen(sw->bird_socket));
	snprintf(text, 65, "%d %u %#x %u %u %u %016llx", sw->fabric, pop->buckets, pop->hash_seed, pop->route_protocol,
		 pop->route_table, pop->policy.datapath_silence_ms, (unsigned long long)h);
}

static const struct fabric_ops *ops_of(enum fabric_kind kind)
{
	switch (kind) {
	case FABRIC_NETLINK: return &fabric_netlink;
	case FABRIC_XDP: return &fabric_xdp;
	case FABRIC_PACED: return &fabric_paced;
	}
	return NULL;
}

static void close_parts(struct switchd *s, bool remove)
{
	if (s->fabric)
		s->ops->close(s->fabric, remove);
	if (s->speaker)
		speaker_free(s->speaker, remove);
	host_probe_free(s->probe);
	s->fabric = NULL;
	s->speaker = NULL;
	s->probe = NULL;
	s->installed = s->applying = false;
	s->buckets = (struct proof_digest){ 0, 0 };
	s->proven = s->tried = false;
	s->withdrawn_ms = s->refused_index = 0;
}

static int open_parts(struct switchd *s, const struct pop *pop, const struct switch_conf *sw)
{
	const char *what = "probes of hosts";
	int err = host_probe_new(s->daemon.base, sw, pop->policy.datapath_silence_ms, on_probe, s, &s->probe);

	s->ops = ops_of(sw->fabric);
	assert(s->ops);
	if (!err) {
		what = "the fabric";
		err = s->ops->open(sw, pop, s->daemon.base, &s->fabric);
	}
	if (!err) {
		what = "the announcements";
		err = speaker_new(s->daemon.base, pop, sw, &s->speaker);
	}
	if (err) {
		snprintf(s->fabric_why, sizeof(s->fabric_why), "%s cannot be opened: %s", what, strerror(-err));
		log_error("%s", s->fabric_why);
		close_parts(s, false);
		return err;
	}
	speaker_on_status(s->speaker, on_speaker, s);
	return 0;
}

/* --- the log ------------------------------------------------------------------------------------- */
static void on_changed(void *ctx, const struct view *v, unsigned what)
{
	struct switchd *s = ctx;
	const struct switch_conf *sw = pop_switch(v->pop, s->id);
	char shape[65];

	if (!s->follower) /* the cached view, from inside follower_new(): start() comes back to it */
		return;
	if (!sw) {
		log_error("the configuration in force names no switch with id %u: keeping what is installed", s->id);
		follower_fail(s->follower, v->index, "the configuration in force does not name this switch");
		return;
	}
	shape_of(v->pop, sw, shape);
	if (!s->fabric || strcmp(shape, s->shape)) {
		close_parts(s, false);
		if (open_parts(s, v->pop, sw)) {
			follower_fail(s->follower, v->index, s->fabric_why);
			return;
		}
		memcpy(s->shape, shape, sizeof(shape));
	}
	if (s->installed && !s->applying && !s->fabric_why[0] && !(what & (VIEW_POP | VIEW_TABLE))) {
		s->installed_index = v->index;
		follower_ack(s->follower, v->index);
		afterwards(s);
	} else {
		install(s);
	}
}

static void on_ask(void *ctx, json_t *question, struct follower_question *q)
{
	follower_answer(q, switchd_answer(ctx, question));
}

static void on_reachable(void *ctx, bool reachable)
{
	struct switchd *s = ctx;

	s->reachable = reachable;
	if (reachable)
		log_notice("a controller is reached");
	else
		log_warning("no controller can be reached: forwarding goes on with the tables of log index %llu",
			    (unsigned long long)s->installed_index);
}

static void on_ctl(void *ctx, const char *verb, json_t *args, struct ctl_request *r)
{
	(void)verb;
	ctl_answer(r, switchd_answer(ctx, args));
}

static const struct follower_ops follower_calls = { .changed = on_changed, .ask = on_ask, .reachable = on_reachable };

static int start(struct switchd *s)
{
	struct event_base *base = s->daemon.base;
	struct conf_errors errors = { 0 };
	uint64_t random = 0;
	int err;

	s->boot_pop = pop_load(s->daemon.config, &errors);
	if (!s->boot_pop) {
		conf_errors_print(&errors, stderr);
		conf_errors_free(&errors);
		return 1;
	}
	s->id = tls_identity_self(s->daemon.tls)->id;
	if (tls_identity_self(s->daemon.tls)->role != ROLE_SWITCH) {
		log_error("%s: not a switch's certificate: issue one with baton pki issue", s->daemon.tls_dir);
		return 1;
	}
	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		return 1;
	snprintf(s->boot, sizeof(s->boot), "%016llx", (unsigned long long)random);
	s->report = event_new(base, -1, 0, on_report, s);
	s->retry = event_new(base, -1, 0, on_retry, s);
	s->prove = event_new(base, -1, 0, on_prove, s);
	s->after = event_new(base, -1, 0, on_after, s);
	if (!s->report || !s->retry || !s->prove || !s->after)
		return 1;
	err = ctl_serve(base, s->daemon.socket, on_ctl, s, &s->ctl);
	if (err) {
		log_error("control socket %s: %s", s->daemon.socket, strerror(-err));
		return 1;
	}
	err = follower_new(base, s->daemon.tls, s->boot_pop, s->daemon.state_dir, &follower_calls, s, &s->follower);
	if (err) {
		log_error("the controller's log cannot be followed: %s", strerror(-err));
		return 1;
	}
	arm(s->report, REPORT_MS);
	arm(s->prove, PROVE_EVERY_MS);
	/* A view from the cache is installed at once, controller or no controller. */
	if (follower_view(s->follower) && !s->fabric)
		on_changed(s, follower_view(s->follower), VIEW_POP | VIEW_TABLE | VIEW_HOSTS | VIEW_SWITCHES | VIEW_VIPS);
	return daemon_metrics(&s->daemon, switchd_collect, s);
}

int main(int argc, char **argv)
{
	static struct switchd s;
	int status = daemon_init(&s.daemon, "baton-switchd", argc, argv);

	if (status)
		return status < 0 ? 0 : status;
	s.daemon.ctx = &s;
	status = start(&s);
	if (!status)
		status = daemon_run(&s.daemon);
	/* What forwards stays. */
	close_parts(&s, false);
	ctl_server_free(s.ctl);
	if (s.follower)
		follower_free(s.follower);
	if (s.report)
		event_free(s.report);
	if (s.retry)
		event_free(s.retry);
	if (s.prove)
		event_free(s.prove);
	if (s.after)
		event_free(s.after);
	fabric_want_free(&s.want);
	pop_free(s.boot_pop);
	daemon_free(&s.daemon);
	return status;
}
