/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What every daemon does alike: options, run and state directories, signals (SIGTERM stops, SIGHUP
 * reloads), systemd notification and watchdog, and the loop.
 *
 *   --config FILE   pop.yaml (/etc/baton/pop.yaml): names the controllers; the log's copy wins once seen
 *   --tls DIR       ca.pem cert.pem key.pem (/etc/baton/tls): who we are
 *   --run DIR       control socket (/run/baton)      --state DIR   what must survive (/var/lib/baton)
 *   --metrics ADDR:PORT   off when absent            --log LEVEL   --help   --version
 */
#ifndef BASE_DAEMON_H
#define BASE_DAEMON_H

#include <event2/event.h>

#include "base/session.h"

struct daemon {
	const char *program; /* "baton-switchd" */
	const char *config, *tls_dir, *run_dir, *state_dir, *metrics_addr;
	struct tls_identity *tls;
	struct event_base *base;
	void *ctx;
	void (*reload)(struct daemon *d); /* after TLS was reloaded */
	void (*stop)(struct daemon *d);	  /* before the loop ends; may be NULL */
};

/* Parses options, loads TLS, makes the loop.  0, or an exit status after having said why. */
int daemon_init(struct daemon *d, const char *program, int argc, char **argv);
/* Says READY=1 and runs until SIGTERM or daemon_stop().  Returns the exit status. */
int daemon_run(struct daemon *d);
void daemon_stop(struct daemon *d, int exit_status);
void daemon_free(struct daemon *d);

uint64_t monotonic_ns(void);
uint64_t monotonic_ms(void);

#endif
