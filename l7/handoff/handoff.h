/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Hand-off: a client's connection moves to the baton-l7d of the host where its answer is, and is an ordinary client
 * there, whose request a backend of that host answers.  What travels is TCP, TLS, the bytes that were read and not used,
 * and the request's head as it was read: who receives it parses, routes and serves it like any other.  Whoever cannot is
 * asked for nothing: the request is proxied.
 *
 * Each worker has its own: sessions with the worker of the same number on every other host (l7/handoff/carrier.h), what it
 * remembers of moves (l7/handoff/move.h), and a place for each connection that moves, has moved, or may come back.  So a
 * connection stays with workers of one number, and nothing takes a lock but the host's rows and their TAP, which belong
 * to the process.
 */
#ifndef L7_HANDOFF_HANDOFF_H
#define L7_HANDOFF_HANDOFF_H

#include <jansson.h>
#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "l7/handoff/move_policy.h"
#include "l7/stats.h"

struct client;
struct exchange;
struct handoff_host;
struct pop;
struct worker;

/* --- The process's: main thread ------------------------------------------------------------------------------- */
struct handoff_host_conf {
	uint16_t self, workers;
	const char *tls_dir, *pin_dir;
	const char (*link)[IF_NAMESIZE]; /* data links */
	size_t n_links;
};

/* 0, or -errno and why. */
int handoff_host_open(const struct handoff_host_conf *conf, struct handoff_host **out, char *why, size_t why_len);
/* When the workers have ended.  Rows forward on. */
void handoff_host_close(struct handoff_host *host);
int handoff_host_fd(const struct handoff_host *host); /* readable: held packets are there, handoff_host_poll */
void handoff_host_poll(struct handoff_host *host);
int handoff_host_timer(const struct handoff_host *host); /* readable: handoff_host_settle is due */
void handoff_host_settle(struct handoff_host *host);
void handoff_host_age(struct handoff_host *host); /* every 100 ms */
/* Which hosts are reached inside IP. */
void handoff_host_peers(struct handoff_host *host, const struct pop *pop);
struct rows_counts;
int handoff_host_rows(struct handoff_host *host, struct rows_counts *out); /* 0 or -errno */

/* --- A worker's: in its loop ---------------------------------------------------------------------------------- */
void handoff_attach(struct worker *w, void *host); /* fn of worker_call */
void handoff_configure(struct worker *w);	   /* the worker's snapshot is another one */
/* The worker takes nothing more, and its peers know it.  And: they know all that there was to be said. */
void handoff_leave(struct worker *w);
bool handoff_may_end(const struct worker *w);
void handoff_apps_left(struct worker *w); /* what programs have ends with this process */
void handoff_detach(struct worker *w);

/*
 * A request has been read, its head is the first head_len bytes of c->s.in: does its connection move?  True: it is
 * being moved, and h1_resume() is called, perhaps before this returns, if it is to be served from here after all.
 */
bool handoff_try(struct client *c, size_t head_len);
/* A client with a place: its connection is being ended by us; and: it is closed. */
void handoff_ends(struct client *c);
void handoff_closed(struct client *c);
void handoff_last(const struct client *c); /* the connection ends: no request follows */
/* An answer's head has come; length: its Content-Length, -1: none.  And: it was given whole. */
void handoff_answered(const struct exchange *x, int64_t length);
void handoff_given(const struct exchange *x);
/* The last moves, newest first, up to limit rows in all. */
void handoff_flights(const struct worker *w, json_t *rows, size_t limit);
const char *move_phase_name(enum move_phase phase);
uint16_t handoff_self(const struct worker *w);	 /* host id; 0: no hand-off */

#endif
