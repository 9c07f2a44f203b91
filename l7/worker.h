/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One thread and one loop.  Every connection, exchange and pool belongs to one worker, so nothing on a
 * request's path takes a lock.  The main thread speaks to workers by calls that are queued and run in the
 * worker's own loop.
 */
#ifndef L7_WORKER_H
#define L7_WORKER_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "l7/http/h1_parse.h"
#include "l7/list.h"
#include "l7/snapshot.h"
#include "l7/stats.h"
#include "lb/vmac.h"

#define WHEEL_SLOTS 512
#define WHEEL_MS 64 /* time-outs are this much late at most */
#define PIPES_KEPT 64

/* A deadline that moves often: putting it off is one store, its place in the wheel is looked at when it comes. */
struct timer {
	struct link link;
	uint64_t due_ms, placed_ms;
	void (*fire)(struct timer *t);
};

/* What the log says of a host, for its backends. */
enum host_service { HOST_SERVES, HOST_UNWELL, HOST_DRAINED };

struct access_log;
struct handoff;
struct wpool;

struct worker {
	unsigned id;
	pthread_t thread;
	struct event_base *base;
	struct snapshot *snapshot; /* what new connections get; ours: one reference */
	struct link listeners, clients, pools, graves;
	uint32_t n_clients;
	bool draining;
	uint8_t host[HOST_ID_MAX + 1]; /* enum host_service; without a controller all serve */

	uint64_t now_ns; /* see worker_ns() */
	bool ended;
	struct link wheel[WHEEL_SLOTS];
	uint64_t wheel_ms;
	struct event *tick, *sweep, *wake;

	int wake_fd;
	pthread_mutex_t lock; /* of the queue of calls, nothing else */
	struct call *calls, **calls_end;

	struct request_head head; /* of the request that is being read; its memory is used again */
	struct answer answer;
	int pipe[PIPES_KEPT][2]; /* empty pipes for splice */
	unsigned n_pipes;
	struct access_log *log;
	uint64_t refusal_said_ms;  /* of a client's certificate, in the log: one a second, and how many others */
	uint32_t refusals_unsaid;
	struct handoff *handoff; /* NULL: all is proxied */
	struct object_here *objects; /* NULL: no object server */
	struct stats stats;
};

int worker_start(unsigned id, struct access_log *log, struct worker **out);
/* Runs fn(w, arg) in the worker's loop, in order. */
void worker_call(struct worker *w, void (*fn)(struct worker *w, void *arg), void *arg);
/* It ends: closes what is left, and tells the peers of hand-off, within WORKER_END_MS.  Then: waits for that, and frees. */
void worker_end(struct worker *w);
void worker_stop(struct worker *w);

/* In the worker's loop: a new configuration (takes a reference), the end of accepting. */
void worker_configure(struct worker *w, struct snapshot *s);
void worker_drain(struct worker *w);

/* The time, looked at once for each event of a connection and each turn of the loop: what happens because of it
 * happens then. */
static inline uint64_t worker_ns(struct worker *w)
{
	if (!w->now_ns)
		w->now_ns = monotonic_ns();
	return w->now_ns;
}

static inline uint64_t worker_ms(struct worker *w)
{
	return worker_ns(w) / 1000000;
}

void timer_set(struct worker *w, struct timer *t, uint64_t due_ms);
void timer_stop(struct timer *t);

/* Frees an object when this turn of the loop is over: who is on the stack may still look at it. */
struct grave {
	struct link link;
	void (*bury)(struct grave *g);
};
void worker_bury(struct worker *w, struct grave *g, void (*bury)(struct grave *g));

#endif
