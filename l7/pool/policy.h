/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What pool.c gives to the policies, one file each: the backends' state, a mask of those that may be taken, and the
 * weights of this moment.  A policy answers with one of the mask's bits.  Nobody else includes this.
 */
#ifndef L7_POOL_POLICY_H
#define L7_POOL_POLICY_H

#include "l7/pool/pool.h"
#include "l7/pool/rank.h"

#define WEIGHT_ONE 256 /* weights carry 8 bits of fraction: a slow start's share */

struct pool_backend {
	enum backend_health health;
	bool ejected, probing; /* probing: one request finds out whether it is well again */
	uint8_t ejections;     /* in a row: the back-off's exponent */
	uint8_t failed;	       /* in a row */
	uint64_t eject_until_ms, slow_since_ms; /* 0: not slow */
	uint32_t active;
	uint64_t load; /* LARD's: active, the large ones counted by their size */
	uint64_t requests, failures;
	int64_t current; /* smooth weighted round robin */
};

struct pool {
	const struct pool_conf *conf;
	struct pool_backend backend[POOL_BACKENDS_MAX];
	struct rank *rank;
	struct lard *lard;
	uint64_t home;		/* pool_set_home() */
	uint32_t turn;		/* breaks ties */
	uint64_t retry_tokens;	/* hundredths of a retry */
	uint64_t retry_since_ms;
};

/* Who may be taken (at least one bit) and what each weighs now. */
struct choice {
	uint64_t mask;
	uint32_t weight[POOL_BACKENDS_MAX];
	uint64_t now_ms;
};

int policy_round_robin(struct pool *p, const struct choice *c);
int policy_least_connections(struct pool *p, const struct choice *c);
int policy_affinity(struct pool *p, const struct choice *c, const struct pool_key *key);

#define LARD_LOW 25	     /* Pai et al., section 2.4: below, a node has idle resources */
#define LARD_HIGH 65	     /* above, it delays its requests */
#define LARD_SHRINK_MS 20000 /* K: a set that has not changed for so long loses a member */
#define LARD_TARGETS 16384   /* remembered, per worker and pool; the one not asked for longest gives way */

struct lard *lard_new(void);
void lard_free(struct lard *l);
void lard_forget(struct lard *l); /* indices have changed */
int policy_lard(struct pool *p, const struct choice *c, const struct pool_key *key);
/* One request's load: one, and one more for each 64 KiB of its answer. */
uint32_t lard_load(const struct pool_key *key);

#define FOR_EACH_BIT(i, mask)                                                                                                  \
	for (uint64_t bits_##i = (mask), i; /* NOLINT(bugprone-macro-parentheses): a name that is declared takes none */         \
	     bits_##i && ((i) = (uint64_t)__builtin_ctzll(bits_##i), true); bits_##i &= bits_##i - 1)

/* a / wa < b / wb without dividing */
static inline bool lighter(uint64_t a, uint32_t wa, uint64_t b, uint32_t wb)
{
	return a * wb < b * wa;
}

#endif
