/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What every daemon does alike: options, run and state directories, signals (SIGTERM stops, SIGHUP
 * reloads), systemd notification and watchdog, the certificate's expiry alarm, and the loop.
 *
 *   --config FILE   pop.yaml (/etc/baton/pop.yaml): names the controllers; the log's copy wins once seen
 *   --tls DIR       ca.pem cert.pem key.pem (/etc/baton/tls): who we are
 *   --run DIR       control socket (/run/baton)      --state DIR   what must survive (/var/lib/baton)
 *   --metrics ADDR:PORT   off when absent            --log LEVEL   --help   --version
 */
#ifndef BASE_DAEMON_H
#define BASE_DAEMON_H

#include <event2/event.h>
#include <limits.h>

#include "base/clock.h"
#include "base/metrics.h"
#include "base/session.h"

struct daemon_inside;

struct daemon {
	const char *program; /* "baton-switchd" */
	const char *config, *tls_dir, *run_dir, *state_dir, *metrics_addr;
	char socket[PATH_MAX]; /* of the control socket: RUN/switchd.sock; the daemon serves it (base/ctl.h) */
	struct tls_identity *tls;
	struct event_base *base;
	void *ctx;
	void (*reload)(struct daemon *d); /* after TLS was reloaded; may be NULL */
	void (*stop)(struct daemon *d);	  /* before the loop ends; may be NULL */
	struct daemon_inside *inside;
};

/*
 * Parses options, opens the log, makes run and state directories, loads TLS, makes the loop.  0; -1 when there is
 * nothing more to do (--help: exit 0); or an exit status (1, or 2 for wrong usage) after having said why.
 */
int daemon_init(struct daemon *d, const char *program, int argc, char **argv);
/* Serves metrics on --metrics: `collect` (may be NULL) after what all daemons tell.  0, or an exit status. */
int daemon_metrics(struct daemon *d, metrics_collect *collect, void *ctx);
/* Says READY=1 and runs until SIGTERM, SIGINT or daemon_stop().  Returns the exit status. */
int daemon_run(struct daemon *d);
void daemon_stop(struct daemon *d, int exit_status);
void daemon_free(struct daemon *d);

/* One line for `systemctl status`: what the daemon does now. */
void daemon_status(struct daemon *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
