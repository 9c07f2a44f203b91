/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Prometheus text exposition (0.0.4) over HTTP on one address.  A daemon registers a collector that
 * writes samples when it is scraped: nothing is kept twice.
 */
#ifndef BASE_METRICS_H
#define BASE_METRICS_H

#include <event2/event.h>
#include <stdint.h>
#include <sys/socket.h>

struct metrics;		/* one page being written */
struct metrics_server;

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

typedef void metrics_collect(void *ctx, struct metrics *m);

int metrics_serve(struct event_base *base, const struct sockaddr *addr, socklen_t len, metrics_collect *collect,
		  void *ctx, struct metrics_server **out);
void metrics_server_free(struct metrics_server *s);

/* Begins a family: HELP and TYPE are written once. */
void metric_family(struct metrics *m, const char *name, enum metric_kind kind, const char *help);
/* labels: name, value, name, value, ..., NULL */
void metric_sample(struct metrics *m, double value, const char *labels, ...) __attribute__((sentinel));

#endif
