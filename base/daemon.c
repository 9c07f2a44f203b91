/* SPDX-License-Identifier: BSD-2-Clause */
/* The frame of a daemon.  See daemon.h. */
#include "base/daemon.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/sockaddr.h"
#include "base/file.h"
#include "base/log.h"
#include "base/notify.h"

#define EXPIRY_LOOK_S 3600
#define EXPIRY_WARN_DAYS 30
#define EXPIRY_ERROR_DAYS 7
#define N_SIGNALS 3

struct daemon_inside {
	struct event *signals[N_SIGNALS];
	struct event *watchdog, *expiry;
	struct metrics_server *metrics;
	metrics_collect *collect;
	void *collect_ctx;
	int exit_status;
	bool stopping;
};

static void usage(const char *program, FILE *out)
{
	fprintf(out,
		"usage: %s [options]\n"
		"  --config FILE        pop.yaml (/etc/baton/pop.yaml)\n"
		"  --tls DIR            ca.pem, cert.pem, key.pem (/etc/baton/tls)\n"
		"  --run DIR            control socket (/run/baton)\n"
		"  --state DIR          what must survive a restart (/var/lib/baton)\n"
		"  --metrics ADDR:PORT  Prometheus metrics over HTTP (off)\n"
		"  --log LEVEL          error, warning, notice, info or debug (info)\n"
		"  --help, --version\n"
		"SIGHUP reads certificates and configuration again, SIGTERM stops.\n",
		program);
}

/* 0, -1 (all is done) or 2. */
static int parse_options(struct daemon *d, int argc, char **argv, enum log_level *level)
{
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'}, {"tls", required_argument, NULL, 't'},
		{"run", required_argument, NULL, 'r'},	  {"state", required_argument, NULL, 's'},
		{"metrics", required_argument, NULL, 'm'}, {"log", required_argument, NULL, 'l'},
		{"help", no_argument, NULL, 'h'},	  {"version", no_argument, NULL, 'v'},
		{NULL, 0, NULL, 0},
	};
	int o;

	d->config = "/etc/baton/pop.yaml";
	d->tls_dir = "/etc/baton/tls";
	d->run_dir = "/run/baton";
	d->state_dir = "/var/lib/baton";
	d->metrics_addr = NULL;
	optind = 1;
	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (o) {
		case 'c':
			d->config = optarg;
			break;
		case 't':
			d->tls_dir = optarg;
			break;
		case 'r':
			d->run_dir = optarg;
			break;
		case 's':
			d->state_dir = optarg;
			break;
		case 'm':
			d->metrics_addr = optarg;
			break;
		case 'l':
			if (log_level_parse(optarg, level)) {
				fprintf(stderr, "%s: --log %s: error, warning, notice, info or debug\n", d->program, optarg);
				return 2;
			}
			break;
		case 'h':
			usage(d->program, stdout);
			return -1;
		case 'v':
			printf("%s %s\n", d->program, BATON_VERSION);
			return -1;
		default:
			usage(d->program, stderr);
			return 2;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "%s: %s: no such argument\n", d->program, argv[optind]);
		usage(d->program, stderr);
		return 2;
	}
	return 0;
}

static void look_at_expiry(struct daemon *d)
{
	int64_t left = tls_identity_expires(d->tls) - (int64_t)time(NULL);
	long long days = (long long)(left / 86400);
	const char *remedy = "renew it (baton pki renew), copy it here and reload";

	if (left <= 0)
		log_error("the certificate in %s or its authority has expired: no peer accepts us; %s", d->tls_dir, remedy);
	else if (days < EXPIRY_ERROR_DAYS)
		log_error("the certificate in %s or its authority expires in %lld days: %s", d->tls_dir, days, remedy);
	else if (days < EXPIRY_WARN_DAYS)
		log_warning("the certificate in %s or its authority expires in %lld days: %s", d->tls_dir, days, remedy);
}

static void on_expiry(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	look_at_expiry(arg);
}

static void on_watchdog(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what, (void)arg;
	notify_send("WATCHDOG=1");
}

static void on_stop(evutil_socket_t signal, short what, void *arg)
{
	(void)what;
	log_notice("stopping (%s)", strsignal((int)signal));
	daemon_stop(arg, 0);
}

static void on_reload(evutil_socket_t signal, short what, void *arg)
{
	struct daemon *d = arg;
	char why[512];

	(void)signal, (void)what;
	notify_send("RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)(monotonic_ns() / 1000));
	if (tls_identity_reload(d->tls, why, sizeof(why)))
		log_error("reload: %s (the old certificate stays in use)", why);
	else
		log_notice("reload: certificate read again");
	look_at_expiry(d);
	if (d->reload)
		d->reload(d);
	notify_send("READY=1");
}

/* The watchdog is fed by the loop: a loop that hangs is a daemon that hangs. */
static int add_events(struct daemon *d)
{
	struct daemon_inside *in = d->inside;
	uint64_t watchdog_us = notify_watchdog_us() / 2;
	struct timeval every = {.tv_sec = (time_t)(watchdog_us / 1000000), .tv_usec = (suseconds_t)(watchdog_us % 1000000)};

	in->signals[0] = evsignal_new(d->base, SIGTERM, on_stop, d);
	in->signals[1] = evsignal_new(d->base, SIGINT, on_stop, d);
	in->signals[2] = evsignal_new(d->base, SIGHUP, on_reload, d);
	for (unsigned i = 0; i < N_SIGNALS; i++) {
		if (!in->signals[i] || event_add(in->signals[i], NULL))
			return -ENOMEM;
	}
	in->expiry = event_new(d->base, -1, EV_PERSIST, on_expiry, d);
	if (!in->expiry || event_add(in->expiry, &(struct timeval){.tv_sec = EXPIRY_LOOK_S}))
		return -ENOMEM;
	if (watchdog_us) {
		in->watchdog = event_new(d->base, -1, EV_PERSIST, on_watchdog, d);
		if (!in->watchdog || event_add(in->watchdog, &every))
			return -ENOMEM;
	}
	return 0;
}

static int make_dirs(const struct daemon *d)
{
	int rc = file_make_dir(d->run_dir, 0755);
	const char *dir = d->run_dir;

	if (!rc) {
		dir = d->state_dir;
		rc = file_make_dir(dir, 0700);
	}
	if (rc)
		log_error("%s: cannot make this directory: %s", dir, strerror(-rc));
	return rc;
}

int daemon_init(struct daemon *d, const char *program, int argc, char **argv)
{
	enum log_level level = LOG_LEVEL_INFO;
	const char *dash = strrchr(program, '-');
	char why[512];
	int rc;

	memset(d, 0, sizeof(*d));
	d->program = program;
	rc = parse_options(d, argc, argv, &level);
	if (rc)
		return rc;
	log_open(program, level);
	/* A peer that leaves while we write is an error of that write, not our end. */
	signal(SIGPIPE, SIG_IGN);
	if ((size_t)snprintf(d->socket, sizeof(d->socket), "%s/%s.sock", d->run_dir, dash ? dash + 1 : program) >=
	    sizeof(d->socket)) {
		log_error("%s: too long a name", d->run_dir);
		return 1;
	}
	if (make_dirs(d))
		return 1;
	if (tls_identity_load(d->tls_dir, &d->tls, why, sizeof(why))) {
		log_error("%s", why);
		return 1;
	}
	look_at_expiry(d);
	d->inside = calloc(1, sizeof(*d->inside));
	d->base = event_base_new();
	if (!d->inside || !d->base || add_events(d)) {
		log_error("cannot make the event loop: %s", strerror(errno));
		daemon_free(d);
		return 1;
	}
	return 0;
}

/* What all daemons tell. */
static void collect_common(struct daemon *d, struct metrics *m)
{
	const struct session_counts *c = session_counts();

	metric_family(m, "baton_build_info", METRIC_GAUGE, "Constantly 1; the version is its label.");
	metric_sample(m, 1, "program", d->program, "version", BATON_VERSION, NULL);
	metric_family(m, "baton_certificate_expiry_timestamp_seconds", METRIC_GAUGE,
		      "When the daemon's certificate or its authority ends, seconds since the epoch.");
	metric_sample(m, (double)tls_identity_expires(d->tls), NULL);
	metric_family(m, "baton_log_messages_total", METRIC_COUNTER, "Messages logged, by level.");
	for (unsigned i = LOG_LEVEL_ERROR; i <= LOG_LEVEL_DEBUG; i++)
		metric_sample(m, (double)log_count(i), "level", log_level_name(i), NULL);
	metric_family(m, "baton_log_lost_total", METRIC_COUNTER, "Messages that the journal did not take.");
	metric_sample(m, (double)log_lost(), NULL);
	metric_family(m, "baton_sessions", METRIC_GAUGE, "Sessions that are up.");
	metric_sample(m, (double)(c->up - c->down), NULL);
	metric_family(m, "baton_session_ends_total", METRIC_COUNTER,
		      "Sessions that were up and ended, incoming ones refused, outgoing attempts failed.");
	metric_sample(m, (double)c->down, "how", "down", NULL);
	metric_sample(m, (double)c->refused, "how", "refused", NULL);
	metric_sample(m, (double)c->failed, "how", "failed", NULL);
	metric_family(m, "baton_session_overflows_total", METRIC_COUNTER, "Messages that did not fit into a session's queue.");
	metric_sample(m, (double)c->overflowed, NULL);
}

static void collect_all(void *ctx, struct metrics *m)
{
	struct daemon *d = ctx;

	collect_common(d, m);
	if (d->inside->collect)
		d->inside->collect(d->inside->collect_ctx, m);
}

int daemon_metrics(struct daemon *d, metrics_collect *collect, void *ctx)
{
	struct sockaddr_storage at;
	socklen_t len;
	int rc;

	if (!d->metrics_addr)
		return 0;
	if (sockaddr_parse(d->metrics_addr, &at, &len)) {
		log_error("--metrics %s: expected ADDR:PORT, such as 127.0.0.1:9430 or [::1]:9430", d->metrics_addr);
		return 2;
	}
	d->inside->collect = collect;
	d->inside->collect_ctx = ctx;
	rc = metrics_serve(d->base, (struct sockaddr *)&at, len, collect_all, d, &d->inside->metrics);
	if (rc) {
		log_error("--metrics %s: cannot listen: %s", d->metrics_addr, strerror(-rc));
		return 1;
	}
	return 0;
}

int daemon_run(struct daemon *d)
{
	notify_send("READY=1");
	if (!d->inside->stopping && event_base_dispatch(d->base) < 0) {
		log_error("the event loop failed: %s", strerror(errno));
		d->inside->exit_status = 1;
	}
	return d->inside->exit_status;
}

void daemon_stop(struct daemon *d, int exit_status)
{
	if (d->inside->stopping)
		return;
	d->inside->stopping = true;
	d->inside->exit_status = exit_status;
	notify_send("STOPPING=1");
	if (d->stop)
		d->stop(d);
	event_base_loopexit(d->base, NULL);
}

void daemon_free(struct daemon *d)
{
	struct daemon_inside *in = d->inside;

	if (in) {
		for (unsigned i = 0; i < N_SIGNALS; i++) {
			if (in->signals[i])
				event_free(in->signals[i]);
		}
		if (in->expiry)
			event_free(in->expiry);
		if (in->watchdog)
			event_free(in->watchdog);
		metrics_server_free(in->metrics);
		free(in);
	}
	tls_identity_free(d->tls);
	if (d->base)
		event_base_free(d->base);
	memset(d, 0, sizeof(*d));
}

void daemon_status(struct daemon *d, const char *fmt, ...)
{
	char text[400];
	va_list args;

	(void)d;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	for (char *c = text; *c; c++) {
		if (*c == '\n')
			*c = ' '; /* a newline would begin another assignment */
	}
	notify_send("STATUS=%s", text);
}
