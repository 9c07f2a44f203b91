/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Prometheus text exposition (0.0.4) over HTTP on one address.  A daemon registers a collector that
 * writes samples when it is scraped: nothing is kept twice.
 *
 * The server knows GET and HEAD of /metrics.  Bounds: METRICS_CLIENTS_MAX connections, a request
 * head of METRICS_HEAD_MAX bytes within 5 s, 10 s without the client taking a byte of the page.
 */
#ifndef BASE_METRICS_H
#define BASE_METRICS_H

#include <event2/event.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define METRICS_CLIENTS_MAX 16
#define METRICS_HEAD_MAX 8192

struct metrics;		/* one page being written */
struct metrics_server;
struct evbuffer;

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

typedef void metrics_collect(void *ctx, struct metrics *m);

int metrics_serve(struct event_base *base, const struct sockaddr *addr, socklen_t len, metrics_collect *collect,
		  void *ctx, struct metrics_server **out);
void metrics_server_free(struct metrics_server *s);
/* Where it listens: the port that the kernel chose when `addr` had 0. */
int metrics_server_port(const struct metrics_server *s);

/*
 * Begins a family: HELP and TYPE are written once, all samples of a family follow it.  By convention
 * the name begins with baton_, that of a counter ends with _total, and units are base units (_seconds, _bytes).
 */
void metric_family(struct metrics *m, const char *name, enum metric_kind kind, const char *help);
/* A sample of a counter or gauge.  labels: name, value, name, value, ..., NULL; values in any bytes. */
void metric_sample(struct metrics *m, double value, ...) __attribute__((sentinel));
/* A histogram: upper bounds, ascending; count[i] observations within bound[i] and above the one before,
 * count[n] above all bounds; their sum. */
void metric_histogram(struct metrics *m, const double *bound, const uint64_t *count, size_t n, double sum, ...)
	__attribute__((sentinel));

/* The page of a collector, as a scrape would get it. */
void metrics_page(metrics_collect *collect, void *ctx, struct evbuffer *out);

/* The decoder of a request head: 0 when more bytes are needed, else the HTTP status to answer with
 * (200: a page; *head_only for HEAD). */
int metrics_request(const char *bytes, size_t len, int *head_only);

#endif
