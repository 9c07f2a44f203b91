/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The bucket table: which host owns each bucket, and which owned it before (Faild, NSDI'18,
 * section 4.1; the two-step move is ours).  Pure: no I/O, no clock, no allocation beyond the table.
 *
 * A move takes two table states, so that tables of different age may be mixed on the switches:
 *     [A]  --prepare-->  [A,B] next = B  --every announcing switch has it-->  [B,A]
 * Whichever of the two a switch holds, it names both hosts, and a flow is found by a detour.
 *
 * A bucket's *heir* is its next, or where there is none its owner: balance counts heirs.
 */
#ifndef LB_TABLE_H
#define LB_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb/vmac.h"

#define BUCKETS_MIN 16
#define BUCKETS_MAX 4096

struct bucket {
	struct triple triple;
	uint16_t next;	/* HOST_NONE, or the member of triple that becomes owner at the second step */
	uint16_t fresh; /* 1: next joined for this move and has never owned the bucket: it can leave again */
};

/* What the table may do with a host.  Health and the operator's wishes are mapped to this. */
enum standing {
	STANDING_GONE,	   /* in no triple: unknown, dead, or proven safe to reboot */
	STANDING_RETIRING, /* gives its buckets away, stays in histories: draining or sick */
	STANDING_SERVING,  /* may own buckets in proportion to its weight */
};

struct table_host {
	uint16_t weight;  /* share of the buckets; 0: none */
	uint8_t standing; /* enum standing */
};

struct table {
	uint32_t n_buckets;
	struct bucket *bucket;			 /* owned by the table */
	struct table_host host[HOST_ID_MAX + 1]; /* by host id; [0] unused */
};

struct move {
	uint32_t bucket;
	struct bucket to;
};

struct table_change {
	uint16_t host;
	uint16_t weight;
	enum standing standing;
};

enum table_event_kind {
	TABLE_SET_HOST, /* change[]: rebalance.  GONE is immediate, others take two steps.  May be empty */
	TABLE_ACKED,	/* every announcing switch has the present table: take all second steps */
	TABLE_EMPTY,	/* host `old` has no socket that is reached through `owner`: end those histories */
};

struct table_event {
	enum table_event_kind kind;
	const struct table_change *change; /* SET_HOST: judged together, as one batch */
	size_t n_changes;
	uint16_t owner, old;  /* EMPTY; owner HOST_NONE: through any owner */
	const bool *eligible; /* ACKED, EMPTY: only buckets whose flag is set; NULL: all */
	bool forced; /* health, not an operator: where a triple is full, evict the oldest and count it */
};

struct table_plan {
	struct move *move; /* room for n_buckets, owned by the caller; in order of buckets */
	size_t n_moves;
	size_t n_evicted;	 /* histories that a forced event cut short */
	size_t n_refused;	 /* buckets that cannot move: the whole event is refused, nothing is planned */
	uint32_t refused_bucket; /* the first of them, for the message */
};

int table_init(struct table *t, uint32_t n_buckets); /* 0 or -ENOMEM / -EINVAL; all buckets empty */
void table_free(struct table *t);
int table_copy(struct table *to, const struct table *from); /* to: uninitialised; 0 or -ENOMEM */

/* Plans, changes nothing.  0, or -EBUSY when refused (see n_refused), or -ENOSPC: nobody is serving.
 * A forced event is never refused. */
int table_step(const struct table *t, const struct table_event *e, struct table_plan *plan);
/* Brings a plan, or a log entry's result, into the table. */
void table_apply(struct table *t, const struct move *move, size_t n);
/* Notes what SET_HOST said about the hosts: the other half of applying a plan of that event. */
void table_set_hosts(struct table *t, const struct table_change *change, size_t n);

uint16_t bucket_heir(const struct bucket *b);
bool bucket_valid(const struct bucket *b);	/* distinct hosts, no holes, next is a member */
bool bucket_equal(const struct bucket *a, const struct bucket *b);
uint32_t table_owned(const struct table *t, uint16_t host);	/* buckets whose owner it is */
uint32_t table_sheltered(const struct table *t, uint16_t host); /* buckets in whose history it is */
bool table_settled(const struct table *t);			/* no second step outstanding */

#endif
