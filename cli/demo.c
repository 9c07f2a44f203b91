/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The scenario of `baton demo`: a whole POP in network namespaces, every host and every switch of it taken out
 * of service and brought back under load, and the proof that nothing broke: counts from the client's side,
 * resets from the wire, and a control, the same drain with detours off, which must break.
 *
 * The scenario is written in the operator's own commands.  deploy/pop/pop raises and removes the POP.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/ctl.h"
#include "cli/demo.h"
#include "cli/options.h"

#define VIP4 "198.51.100.80"
#define VIP6 "2001:db8:80::80"
#define SOURCES                                                                                                      \
	"--vip", VIP4, "--vip", VIP6, "--source", "203.0.113.129", "--source", "203.0.113.130", "--source", "203.0.113.131", \
		"--source", "203.0.113.132", "--source", "2001:db8:c::81", "--source", "2001:db8:c::82", "--source",         \
		"2001:db8:c::83", "--source", "2001:db8:c::84"

enum { DRAIN_TIMEOUT_S = 60 };
#define RATE 100
#define TLS_SHARE 25 /* percent of the connections */
#define OBJECTS 64
#define LOAD_TIMEOUT_MS 5000

/* The load calls a stall a fault after its time-out only: the count is taken later than that after the last change. */
enum { SETTLE_MS = LOAD_TIMEOUT_MS + 2000, REST_S = 60 };
#define TEXT_OF(n) TEXT_OF_(n)
#define TEXT_OF_(n) #n

static void on_signal(int number)
{
	(void)number;
	demo_interrupted = 1;
}

static struct toll toll_now(const struct demo *d)
{
	/* A long connection that could not be made has failed; one that ended as it must not has broken. */
	return (struct toll){ d->brief.requests + d->lasting.requests, d->brief.failed + d->lasting.failed - d->lasting.broken,
			      d->lasting.connections, d->brief.tls + d->lasting.tls, d->lasting.broken, d->resets };
}

static struct toll toll_since(const struct demo *d, struct toll before)
{
	struct toll now = toll_now(d);

	return (struct toll){ now.requests - before.requests, now.failed - before.failed, now.connections - before.connections,
			      now.tls - before.tls, now.broken - before.broken, now.resets - before.resets };
}

/* One of the operator's commands, as he would type it.  0, or says what failed. */
static int operator(struct demo *d, int timeout_s, const char *const *words)
{
	const char *argv[32] = { d->self };
	char run_dir[DEMO_PATH + 16], text[160] = "";
	int n = 1, i, status;

	snprintf(run_dir, sizeof(run_dir), "%s/c1/run", d->dir);
	for (i = 0; words[i] && n < 28; i++) {
		argv[n++] = words[i];
		if (i == 0) {
			argv[n++] = "--run";
			argv[n++] = run_dir;
		}
		snprintf(text + strlen(text), sizeof(text) - strlen(text), " %s", words[i]);
	}
	demo_says(d, "baton%.150s", text);
	status = demo_step(d, timeout_s, argv);
	if (status == EXIT_TIMEOUT && !strcmp(words[n - 4], "--no-wait")) /* begun, not finished: what was asked */
		return 0;
	if (status > 0)
		fprintf(stderr, "\nbaton demo: `baton%s` %s (exit %d): %s\n", text, status == 124 ? "took too long" : "failed", status, d->said);
	return status;
}
#define OPERATOR(d, timeout_s, ...) operator(d, timeout_s, (const char *const[]){ __VA_ARGS__, NULL })

static int start_load(struct demo *d)
{
	char netns[96], load[DEMO_PATH + 16], wiretap[DEMO_PATH + 16], faults[2][DEMO_PATH + 32], resets[DEMO_PATH + 16], ca[DEMO_PATH + 16];
	const char *objects = d->handoff ? "--objects" : NULL; /* only these are handed off */
	double until;

	snprintf(netns, sizeof(netns), "--net=/run/netns/%s-client", d->prefix);
	snprintf(load, sizeof(load), "%s/load", d->tools);
	snprintf(wiretap, sizeof(wiretap), "%s/wiretap", d->tools);
	snprintf(faults[0], sizeof(faults[0]), "%s/client/short.faults", d->dir);
	snprintf(faults[1], sizeof(faults[1]), "%s/client/long.faults", d->dir);
	snprintf(resets, sizeof(resets), "%s/client/resets", d->dir);
	snprintf(ca, sizeof(ca), "%s/certs/www.crt", d->dir);
	d->wiretap = demo_start(d, "wiretap", (const char *const[]){ "nsenter", netns, wiretap, SOURCES, "--log", resets, "up1", "up2", NULL },
				demo_wire_line, d);
	d->short_load = demo_start(d, "short", (const char *const[]){ "nsenter", netns, load, "short", SOURCES, "--rate", TEXT_OF(RATE),
								       "--timeout", TEXT_OF(LOAD_TIMEOUT_MS), "--faults", faults[0], "--tls-share", TEXT_OF(TLS_SHARE),
								       "--ca", ca, objects, TEXT_OF(OBJECTS), NULL }, demo_load_line, &d->brief);
	d->long_load = demo_start(d, "long", (const char *const[]){ "nsenter", netns, load, "long", SOURCES, "--concurrent", "220",
								     "--seed", "7", "--timeout", TEXT_OF(LOAD_TIMEOUT_MS), "--faults", faults[1], "--tls-share", TEXT_OF(TLS_SHARE),
								     "--ca", ca, objects, TEXT_OF(OBJECTS), NULL }, demo_load_line, &d->lasting);
	demo_witnesses_begin(d);
	for (until = demo_now_s() + 10; d->lasting.open < DEMO_LONG_CONNECTIONS || d->brief.ok < 100 || !d->wire_heard.counts;) {
		if (!demo_pump(d, 100))
			return -1;
		if (demo_now_s() > until) {
			fprintf(stderr, "baton demo: the load does not come up: %llu long connections open, %llu requests answered\n",
				(unsigned long long)d->lasting.open, (unsigned long long)d->brief.ok);
			return -1;
		}
	}
	return demo_pump(d, 2000) ? 0 : -1;
}

/* The hosts out and back, one after another; front end and nginx really end and start between drain and fill. */
static int roll_hosts(struct demo *d, const char *hosts)
{
	char command[DEMO_PATH * 2 + 64], state[DEMO_PATH + 16];

	snprintf(command, sizeof(command), "%s restart --prefix %s $BATON_HOST", d->pop, d->prefix);
	snprintf(state, sizeof(state), "%s/roll.state", d->dir);
	return OPERATOR(d, 4 * DRAIN_TIMEOUT_S, "roll", "--exec", command, "--timeout", "60s", "--up-timeout", "20s", "--state", state,
			hosts ? "--hosts" : NULL, hosts);
}

static int drain_switches(struct demo *d)
{
	unsigned i;
	int err = 0;

	for (i = 0; i < d->n_switches && !err; i++) {
		err = OPERATOR(d, DRAIN_TIMEOUT_S, "drain", "switch", d->sw[i].name, "--wait");
		if (!err)
			err = OPERATOR(d, DRAIN_TIMEOUT_S, "fill", "switch", d->sw[i].name, "--wait");
	}
	return err;
}

/* Until a host that is being drained owns no bucket: from then on its older flows live by detours alone. */
static int wait_owns_nothing(struct demo *d, const char *name)
{
	double until = demo_now_s() + 10;
	const struct demo_host *h = demo_host(d, name);

	while (!h || h->owned) {
		if (demo_now_s() > until) {
			fprintf(stderr, "\nbaton demo: %s still owns %d buckets 10 s after its drain began\n", name, h ? h->owned : -1);
			return -1;
		}
		if (!demo_pump(d, 100))
			return -1;
		h = demo_host(d, name);
	}
	return 0;
}

/* Until no bucket has a history: every flow is where its bucket is, as before the first drain. */
static int wait_rest(struct demo *d)
{
	double until = demo_now_s() + REST_S;
	unsigned i, left;

	for (;;) {
		for (i = left = 0; i < d->n_buckets; i++)
			left += d->history[i];
		for (i = 0; i < d->n_hosts; i++)
			left += (unsigned)d->host[i].sheltered;
		if (!left && d->n_buckets)
			return 0;
		if (demo_now_s() > until) {
			fprintf(stderr, "\nbaton demo: %d s after the last fill buckets still have histories\n", REST_S);
			return -1;
		}
		if (!demo_pump(d, 100))
			return -1;
	}
}

/* The second drain begins while the first host's flows are sheltered, some of them behind the second host. */
static int drain_overlapping(struct demo *d)
{
	int err = OPERATOR(d, DRAIN_TIMEOUT_S, "drain", "host", "h1", "--no-wait");

	if (!err)
		err = wait_owns_nothing(d, "h1");
	if (!err && !demo_host(d, "h1")->sheltered) {
		fprintf(stderr, "\nbaton demo: no bucket's history names h1, so the second drain overlaps with nothing\n");
		return -1;
	}
	if (!err)
		err = OPERATOR(d, DRAIN_TIMEOUT_S, "drain", "host", "h2", "--wait");
	if (!err)
		err = OPERATOR(d, DRAIN_TIMEOUT_S, "drain", "host", "h1", "--wait");
	if (!err)
		err = OPERATOR(d, DRAIN_TIMEOUT_S, "fill", "host", "h1");
	if (!err)
		err = OPERATOR(d, DRAIN_TIMEOUT_S, "fill", "host", "h2");
	return err;
}

static int set_detours(struct demo *d, bool on)
{
	unsigned i;

	for (i = 0; i < d->n_hosts; i++) {
		char path[DEMO_PATH + 64];
		json_t *answer = NULL, *request = json_pack("{s:s, s:b}", "verb", "detours", "on", on);
		int err;

		snprintf(path, sizeof(path), "%s/%s/run/agentd.sock", d->dir, d->host[i].name);
		err = ctl_call(path, request, 2000, &answer);
		json_decref(request);
		if (err || !json_is_true(json_object_get(answer, "ok"))) {
			fprintf(stderr, "baton demo: %s: detours could not be switched: %s\n", path,
				err ? strerror(-err) : json_string_value(json_object_get(answer, "error")));
			json_decref(answer);
			return -1;
		}
		json_decref(answer);
	}
	return 0;
}

/* The same drain without detours: if it breaks nothing either, the figures above prove nothing. */
static int control_run(struct demo *d, struct outcome *o)
{
	struct toll before;

	demo_says(d, "the control: one drain with detours off");
	if (set_detours(d, false))
		return -1;
	before = toll_now(d);
	if (OPERATOR(d, DRAIN_TIMEOUT_S, "drain", "host", "h3", "--no-wait"))
		return -1;
	if (wait_owns_nothing(d, "h3") || !demo_pump(d, 4000))
		return -1;
	o->control = toll_since(d, before);
	return 0;
}

static void count_detours(const struct demo *d, struct outcome *o)
{
	unsigned i;

	o->mine = o->detoured = 0;
	for (i = 0; i < d->n_hosts; i++) {
		o->mine += d->host[i].mine;
		o->detoured += d->host[i].detoured;
	}
}

static int all_drains(struct demo *d, struct outcome *o, unsigned *n_drains)
{
	unsigned expected = d->quick ? 1 : d->n_hosts + d->n_switches + 2, i;
	uint64_t answered = d->brief.ok;
	double begun = demo_now_s();

	d->lasting.second_s = 0; /* the least is that of the drains, not of the start */
	if (d->quick ? roll_hosts(d, "h1") : roll_hosts(d, NULL) || drain_switches(d) || drain_overlapping(d))
		return -1;
	demo_says(d, "until every flow is where its bucket is");
	if (!demo_pump(d, SETTLE_MS) || wait_rest(d))
		return -1;
	o->drains = toll_now(d);
	demo_causes(d, o->causes, sizeof(o->causes));
	o->answered = d->brief.ok - answered;
	o->due = (uint64_t)((demo_now_s() - begun) * RATE);
	o->least_open = d->lasting.least_open;
	count_detours(d, o);
	d->answers_s = 0;
	demo_watch_answers(d);
	demo_answers_all(d, o->answers);
	o->handoff = d->handoff;
	*n_drains = d->n_drains;
	for (i = 0; i < d->n_drains; i++)
		if (d->drain[i].seconds < 0)
			break;
	if (i < d->n_drains || d->n_drains < expected) {
		fprintf(stderr, "baton demo: %u drains were to end, %u did\n", expected, i);
		return -1;
	}
	return 0;
}

static int scenario(struct demo *d)
{
	struct outcome o = { 0 };
	unsigned n_drains = 0;
	bool passed, alive;

	if (start_load(d))
		return 1;
	if (all_drains(d, &o, &n_drains))
		return 1;
	if (control_run(d, &o))
		return 1;
	o.seconds = demo_now_s() - d->begun_s;
	demo_draw(d, true);
	alive = demo_witnesses_end(d);
	passed = demo_proven(&o) && alive;
	if (!alive)
		snprintf(o.why, sizeof(o.why), "a witness was not well to its end (see above)");
	demo_print_table(d, &o, n_drains);
	if (demo_write_json(d, &o, n_drains, passed))
		return 1;
	if (passed)
		printf("Nothing failed, nothing broke; without detours %llu connections did.\n", (unsigned long long)o.control.broken);
	else
		printf("FAILED: %s\n", o.why);
	return passed ? 0 : 1;
}

static int pop_verb(struct demo *d, const char *verb, int timeout_s)
{
	bool up = !strcmp(verb, "up");

	return demo_step(d, timeout_s, (const char *const[]){ d->pop, verb, "--prefix", d->prefix, up ? "--no-hints" : NULL,
							      up && !d->handoff ? "--no-handoff" : NULL, NULL });
}

/* Takes the evidence of a failure along before the POP's files go. */
static void keep_evidence(const struct demo *d)
{
	char command[DEMO_PATH * 3];
	int len = (int)(strrchr(d->self, '/') - d->self);

	snprintf(command, sizeof(command),
		 "rm -rf '%.*s/demo.logs'; mkdir -p '%.*s/demo.logs'; cd '%s' && for f in */*.log client/*.faults client/resets pop.yaml; do "
		 "[ -s \"$f\" ] && cp \"$f\" '%.*s/demo.logs/'$(echo \"$f\" | tr / -); done",
		 len, d->self, len, d->self, d->dir, len, d->self);
	if (system(command) >= 0)
		fprintf(stderr, "baton demo: logs are in %.*s/demo.logs\n", len, d->self);
}

int demo_run(struct demo *d)
{
	struct sigaction sa = { .sa_handler = on_signal };
	int status;

	if (geteuid()) {
		fprintf(stderr, "baton demo: network namespaces need root: run it with sudo\n");
		return 2;
	}
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGHUP, &sa, NULL);
	setvbuf(stdout, NULL, d->tty ? _IOFBF : _IOLBF, 1 << 16);
	snprintf(d->dir, sizeof(d->dir), "/run/baton-pop/%.64s", d->prefix);
	demo_says(d, "raising the POP: client, 2 upstream routers, 2 switches, 4 hosts with baton-l7d before nginx");
	status = pop_verb(d, "up", 120);
	if (status) {
		bool interrupted = demo_interrupted;

		fprintf(stderr, interrupted ? "baton demo: interrupted\n" : "baton demo: the POP does not come up: %s\n", d->said);
		demo_interrupted = 0;
		pop_verb(d, "down", 60);
		return interrupted ? EXIT_INTERRUPTED : EXIT_FAILED;
	}
	snprintf(d->controller, sizeof(d->controller), "%.400s/c1/run/controld.sock", d->dir);
	demo_pump(d, 500);
	if (d->tty)
		printf("\033[2J");
	status = scenario(d);
	demo_witnesses_end(d); /* of a scenario that was cut short */
	demo_end_all(d);
	d->controller[0] = 0;
	if (status && !demo_interrupted)
		keep_evidence(d);
	if (demo_interrupted) {
		fprintf(stderr, "baton demo: interrupted\n");
		demo_interrupted = 0; /* removing must not be cut short */
		status = EXIT_INTERRUPTED;
	}
	demo_says(d, "removing the POP");
	if (pop_verb(d, "down", 60)) {
		fprintf(stderr, "baton demo: something was left behind: %s\n", d->said);
		status = 1;
	}
	return status;
}
