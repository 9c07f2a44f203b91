/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A worker's pools and its connections to backends: which backend (l7/pool/pool.h decides), kept connections,
 * pre-opened ones, limits, and the queue of requests that wait for a connection.
 */
#ifndef L7_BACKEND_H
#define L7_BACKEND_H

#include "l7/pool/pool.h"
#include "l7/stream.h"
#include "l7/worker.h"

#define PREOPEN_AGAIN_MS 1000
#define TLS_LOG_MS 60000 /* why handshakes with a backend fail is said this often */

struct exchange;
struct backend;

struct wpool {
	struct link link; /* in worker->pools */
	struct worker *w;
	struct snapshot *snapshot; /* what conf belongs to */
	const struct pool_conf *conf;
	struct pool *pool;
	struct backend **backend; /* as conf->backend */
	uint32_t n_backends;
	uint32_t configured; /* how often */
	uint32_t secured;    /* how often TLS towards the backends was changed */
	int moved[POOL_BACKENDS_MAX]; /* by the last time: old index to new, -1: gone */
	struct link queue; /* exchanges, oldest first */
	uint32_t n_queued;
	bool next; /* in wpool_next() */
	bool gone; /* no longer in the configuration: ends with its last request */
	uint32_t users;
};

struct backend {
	struct wpool *pool;
	int index; /* in conf->backend; -1: no longer there */
	bool down; /* says the check */
	bool spared; /* nothing new is given to it: no connection is kept */
	uint32_t refs;
	struct address address;
	uint16_t port;
	char text[ENDPOINT_TEXT];
	struct link idle; /* struct backend_conn, most recently used first */
	struct link busy; /* those that serve a request or are being made */
	struct timer again; /* to pre-open */
	uint32_t n_idle, n_conns; /* n_conns: all */
	uint64_t connects, reuses, failures, tls_logged_ms;
};

struct backend_conn {
	struct stream s;
	struct grave grave;
	struct link link;
	struct timer timer;
	struct backend *backend;
	struct exchange *x; /* NULL: idle */
	bool connecting, fresh, tcp; /* connecting: the TLS handshake too; tcp: that part is done */
	size_t scanned; /* of the answer's head */
	uint64_t used;	/* requests */
	uint32_t secured; /* as of the pool's */
};

/* Brings the worker's pools to its snapshot. */
void wpools_configure(struct worker *w);
void wpools_free(struct worker *w);
struct wpool *wpool_find(struct worker *w, const char *name);
void wpool_release(struct wpool *p); /* one user less */

/* Gives x a connection now (exchange_connected), or later, or fails it (exchange_no_backend). */
void backend_acquire(struct exchange *x);
/* Brings x->tried to the backends' present indices. */
void wpool_tried(struct exchange *x);
/* The request is over; keep: the connection can be used again. */
void backend_release(struct backend_conn *c, bool keep);
void backend_ref_put(struct backend *b);
/* What the main thread's check found. */
void wpool_health(struct wpool *p, const struct address *a, uint16_t port, bool up);
/* The worker's hosts have changed (worker->host). */
void wpools_hosts(struct worker *w);
void wpool_next(struct wpool *p); /* a connection is free: who waits? */

#endif
