/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which backend answers a request.  A pool is pure: state, a request's key and now in, a backend out;
 * connections, checks and clocks are at the edge (l7/backend.c).  One instance per worker; what must be
 * agreed on by all workers and all front ends of a POP (affinity, replication) depends on the
 * configuration and on health alone, never on a worker's own history.
 *
 * Affinity: weighted rendezvous hashing over a fixed number of slots (l7/pool/rank.h), with bounded loads (Mirrokni et
 * al., SODA'18): when a backend leaves, only its keys move, and they come back with it.  What all front ends agree on
 * is the order of backends for a key; only who is passed over for being full or ejected is a worker's own affair.
 * LARD with replication: Pai et al., ASPLOS'98; its sets are a worker's own, but grow along the same order.
 */
#ifndef L7_POOL_POOL_H
#define L7_POOL_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "l7/conf.h"

#define POOL_BACKENDS_MAX 64 /* a mask has a bit for each */
#define POOL_NONE (-1)	     /* nobody is up */
#define POOL_FULL (-2)	     /* all who are up are at max_connections: the request waits */

struct pool;

enum backend_health { BACKEND_UP, BACKEND_DRAINING, BACKEND_DOWN };
enum backend_outcome { OUTCOME_OK, OUTCOME_REFUSED, OUTCOME_TIMEOUT, OUTCOME_RESET, OUTCOME_SERVER_ERROR };

struct pool_key {
	uint64_t hash;	/* of what the pool's affinity names: URL, host, cookie, client */
	uint64_t size;	/* expected bytes of the answer; 0: not known (LARD's load) */
};

struct pool *pool_new(const struct pool_conf *conf, uint64_t now_ms); /* conf must outlive it; NULL: no memory, too many */
void pool_free(struct pool *p);
/*
 * A new configuration: backends that stay (same host, address and port) keep their state, new ones start slowly.
 * moved[old index] = new index, or -1: gone; requests in flight must be told (a pool_end for one that is gone is left
 * out).  0, -ENOMEM or -E2BIG: nothing has changed.
 */
int pool_reconfigure(struct pool *p, const struct pool_conf *conf, uint64_t now_ms, int moved[POOL_BACKENDS_MAX]);

/*
 * The backend for a request, POOL_NONE or POOL_FULL.  `tried` is a bit mask by backend index of those that this
 * request has been refused by; they are taken only if nobody is left.
 */
int pool_pick(struct pool *p, const struct pool_key *key, uint64_t tried, uint64_t now_ms);
void pool_begin(struct pool *p, int backend, const struct pool_key *key); /* a request was given to it */
void pool_end(struct pool *p, int backend, const struct pool_key *key, enum backend_outcome outcome, uint64_t now_ms);
void pool_set_health(struct pool *p, int backend, enum backend_health health, uint64_t now_ms); /* active check, drain */
/*
 * A bit mask of backends to which connections come from other front ends too (hand-off): what they carry says nothing of
 * what this front end has given to whom, so affinity's bound neither looks at them nor counts them.
 */
void pool_set_home(struct pool *p, uint64_t mask);
bool pool_may_retry(struct pool *p, uint64_t now_ms); /* the retry budget; spends from it */

struct pool_backend_status {
	enum backend_health health;
	bool ejected;	      /* by its own failures (passive), until a probe succeeds */
	uint32_t active;      /* requests now */
	uint64_t requests, failures;
	double share;	      /* of slow start, 0..1 */
};
void pool_status(const struct pool *p, int backend, uint64_t now_ms, struct pool_backend_status *out);

/* The backends that hold an object, in order of preference, whatever their load: for `explain`, and for who fills a
 * replica.  Returns how many of `want` there are. */
unsigned pool_replicas(const struct pool *p, uint64_t hash, unsigned want, int *backend);

#endif
