/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which backend answers a request.  A pool is pure: state, a request's key and now in, a backend out;
 * connections, checks and clocks are at the edge (l7/backend.c).  One instance per worker; what must be
 * agreed on by all workers and all front ends of a POP (affinity, replication) depends on the
 * configuration and on health alone, never on a worker's own history.
 *
 * Affinity: consistent hashing with bounded loads (Mirrokni et al., SODA'18) on a Maglev-style table;
 * LARD with replication: Pai et al., ASPLOS'98.
 */
#ifndef L7_POOL_H
#define L7_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "l7/conf.h"

struct pool;

enum backend_health { BACKEND_UP, BACKEND_DRAINING, BACKEND_DOWN };
enum backend_outcome { OUTCOME_OK, OUTCOME_REFUSED, OUTCOME_TIMEOUT, OUTCOME_RESET, OUTCOME_SERVER_ERROR };

struct pool_key {
	uint64_t hash;	/* of what the pool's affinity names: URL, host, cookie, client */
	uint64_t size;	/* expected bytes of the answer; 0: not known (LARD's load) */
};

struct pool *pool_new(const struct pool_conf *conf, uint64_t now_ms); /* conf must outlive it */
void pool_free(struct pool *p);
/* A new configuration: backends that stay keep their state. */
int pool_reconfigure(struct pool *p, const struct pool_conf *conf, uint64_t now_ms);

/*
 * The backend for a request, or -1: none is up (or all are full: then pool_wait).  `tried` is a bit mask
 * by backend index of those that this request has been refused by; they are taken only if nobody is left.
 */
int pool_pick(struct pool *p, const struct pool_key *key, uint64_t tried, uint64_t now_ms);
void pool_begin(struct pool *p, int backend, const struct pool_key *key); /* a request was given to it */
void pool_end(struct pool *p, int backend, const struct pool_key *key, enum backend_outcome outcome, uint64_t now_ms);
void pool_set_health(struct pool *p, int backend, enum backend_health health, uint64_t now_ms); /* active check, drain */
bool pool_may_retry(struct pool *p, uint64_t now_ms); /* the retry budget; spends from it */

struct pool_backend_status {
	enum backend_health health;
	bool ejected;	      /* by its own failures (passive), until a probe succeeds */
	uint32_t active;      /* requests now */
	uint64_t requests, failures;
	double share;	      /* of slow start, 0..1 */
};
void pool_status(const struct pool *p, int backend, struct pool_backend_status *out);

#endif
