/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * baton-agentd, on every host.  It follows the controller's log and brings the host to it (install.c),
 * runs the services' checks (check.c), counts what is left and proves histories empty (left.c), and
 * reports each second and on change.  Nothing that forwards packets depends on this process: the data
 * path is pinned, addresses and routes are the kernel's, and all of it stays when the agent ends, in
 * whatever way.  The next agent adopts it.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "agent/host.h"
#include "base/ctl.h"
#include "base/log.h"

#define REPORT_MS 1000
#define RECONCILE_MS 2000 /* also without a word from the kernel */
#define SETTLE_MS 20	  /* changes in the kernel come in bursts, our own among them */
#define FIRST_REPORT_MS 2500 /* a report without the first checks' results waits this long at most */

struct agentd {
	struct daemon daemon;
	struct host host;
	struct event *report, *reconcile, *proof, *kernel;
	struct ctl_server *ctl;
	uint64_t reported_ms;
	int kernel_fd;
	bool reconcile_soon;
};

static void arm(struct event *e, uint32_t ms)
{
	struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000 };

	evtimer_add(e, &tv);
}

/* --- what the loop calls ----------------------------------------------------------------------------- */
static void report_due(evutil_socket_t fd, short what, void *ctx)
{
	struct agentd *a = ctx;
	uint64_t now = monotonic_ms();

	(void)fd;
	(void)what;
	arm(a->report, REPORT_MS);
	host_count(&a->host, now);
	if (!checks_decided(a->host.checks) && now - a->host.started_ms < FIRST_REPORT_MS) {
		arm(a->report, 50);
		return;
	}
	a->reported_ms = now;
	follower_report(a->host.follower, host_report(&a->host, now));
}

static void reconcile_due(evutil_socket_t fd, short what, void *ctx)
{
	struct agentd *a = ctx;
	const struct view *v = follower_view(a->host.follower);

	(void)fd;
	(void)what;
	a->reconcile_soon = false;
	arm(a->reconcile, RECONCILE_MS);
	if (!v)
		return;
	host_install(&a->host, v, 0);
	if (a->kernel_fd >= 0)
		rtnl_watch_drain(a->kernel_fd); /* the echo of what was just done */
}

static void kernel_changed(evutil_socket_t fd, short what, void *ctx)
{
	struct agentd *a = ctx;

	(void)what;
	/* Once armed it is not put off: a burst that never ends must not keep us from looking. */
	if (rtnl_watch_drain(fd) && !a->reconcile_soon) {
		a->reconcile_soon = true;
		arm(a->reconcile, SETTLE_MS);
	}
}

static void proof_due(evutil_socket_t fd, short what, void *ctx)
{
	struct agentd *a = ctx;

	(void)fd;
	(void)what;
	arm(a->proof, proof_step(a->host.proof, monotonic_ms()));
}

static void checks_changed(void *ctx)
{
	struct agentd *a = ctx;

	arm(a->report, 0);
}

/* --- the follower -------------------------------------------------------------------------------------- */
static void view_changed(void *ctx, const struct view *v, unsigned what)
{
	struct agentd *a = ctx;
	struct host *h = &a->host;

	host_install(h, v, what);
	if (what & VIEW_POP && checks_set(h->checks, v->pop))
		log_error("out of memory: checks stay as they were");
	host_proof_update(h, v, what);
	arm(a->report, 0);
}

static void asked(void *ctx, json_t *question, struct follower_question *q)
{
	struct agentd *a = ctx;
	const char *verb = json_string_value(json_object_get(question, "verb"));

	follower_answer(q, host_answer(&a->host, verb ? verb : "", question));
}

static void reachable(void *ctx, bool yes)
{
	struct agentd *a = ctx;

	a->host.reachable = yes;
	if (yes)
		log_notice("a controller can be reached");
	else
		log_warning("no controller can be reached: the host goes on with what it last knew");
}

static void control_asked(void *ctx, const char *verb, json_t *args, struct ctl_request *r)
{
	struct agentd *a = ctx;

	/* Asked on this machine only, never relayed: it breaks connections on purpose. */
	if (!strcmp(verb, "detours")) {
		ctl_answer(r, host_set_detours(&a->host, json_object_get(args, "on")));
		return;
	}
	ctl_answer(r, host_answer(&a->host, verb, args));
}

/* --- start and end ------------------------------------------------------------------------------------- */
static int fail(const char *what, int err)
{
	log_error("%s: %s", what, strerror(err < 0 ? -err : err));
	return 1;
}

static void name_boot(struct host *h)
{
	uint64_t random = 0;

	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		random = monotonic_ns();
	snprintf(h->boot, sizeof(h->boot), "%016llx", (unsigned long long)random);
}

static int watch_kernel(struct agentd *a)
{
	a->kernel_fd = rtnl_watch_open();
	if (a->kernel_fd < 0)
		return a->kernel_fd;
	a->kernel = event_new(a->daemon.base, a->kernel_fd, EV_READ | EV_PERSIST, kernel_changed, a);
	return a->kernel && !event_add(a->kernel, NULL) ? 0 : -ENOMEM;
}

static int start(struct agentd *a)
{
	static const struct follower_ops ops = { .changed = view_changed, .ask = asked, .reachable = reachable };
	struct host *h = &a->host;
	struct conf_errors errors = { 0 };
	struct pop *boot;
	int err;

	h->daemon = &a->daemon;
	h->self = tls_identity_self(a->daemon.tls)->id;
	if (tls_identity_self(a->daemon.tls)->role != ROLE_HOST) {
		log_error("the certificate in %s is not a host's; baton pki issue host NAME", a->daemon.tls_dir);
		return 1;
	}
	h->started_ms = monotonic_ms();
	h->reachable = true; /* until the follower says otherwise */
	name_boot(h);
	err = rtnl_open(NETLINK_ROUTE, &h->rtnl);
	if (err)
		return fail("netlink", err);
	err = host_left_open(h);
	if (err)
		return fail("socket tables", err);
	h->checks = checks_new(a->daemon.base, checks_changed, a);
	a->report = evtimer_new(a->daemon.base, report_due, a);
	a->reconcile = evtimer_new(a->daemon.base, reconcile_due, a);
	a->proof = evtimer_new(a->daemon.base, proof_due, a);
	if (!h->checks || !a->report || !a->reconcile || !a->proof)
		return fail("start", ENOMEM);
	err = watch_kernel(a);
	if (err)
		return fail("watching the kernel's links and routes", err);
	boot = pop_load(a->daemon.config, &errors);
	if (!boot) {
		conf_errors_print(&errors, stderr);
		conf_errors_free(&errors);
		return 1;
	}
	err = follower_new(a->daemon.base, a->daemon.tls, boot, a->daemon.state_dir, &ops, a, &h->follower);
	pop_free(boot);
	if (err)
		return fail("following the controller's log", err);
	err = ctl_serve(a->daemon.base, a->daemon.socket, control_asked, a, &a->ctl);
	if (err)
		return fail(a->daemon.socket, err);
	arm(a->report, 50);
	arm(a->reconcile, RECONCILE_MS);
	arm(a->proof, PROOF_STEP_MS);
	return daemon_metrics(&a->daemon, host_collect, h);
}

static void stop(struct agentd *a)
{
	struct event *event[] = { a->report, a->reconcile, a->proof, a->kernel };
	struct host *h = &a->host;

	ctl_server_free(a->ctl);
	follower_free(h->follower);
	for (size_t i = 0; i < sizeof(event) / sizeof(event[0]); i++)
		if (event[i])
			event_free(event[i]);
	checks_free(h->checks);
	/* Everything else stays: the host goes on forwarding without us. */
	if (h->proof && proof_running(h->proof))
		proof_stop(h->proof);
	if (h->datapath)
		h->ops->close(h->datapath, false);
	host_left_close(h);
	rtnl_close(h->rtnl);
	vipset_free(&h->vips);
	free(h->servers.at);
	if (a->kernel_fd >= 0)
		close(a->kernel_fd);
}

int main(int argc, char **argv)
{
	static struct agentd a = { .kernel_fd = -1 };
	int status = daemon_init(&a.daemon, "baton-agentd", argc, argv);

	if (status)
		return status < 0 ? 0 : status;
	signal(SIGPIPE, SIG_IGN);
	status = start(&a);
	if (!status)
		status = daemon_run(&a.daemon);
	stop(&a);
	daemon_free(&a.daemon);
	return status;
}
