/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Planning moves.  SET_HOST works on a scratch copy in four passes: (1) hosts that are gone leave
 * every triple; (2) each host gets a target, the floor or the ceiling of its exact share, and the
 * ceilings go to hosts that would otherwise lose a bucket, so that the sum of moves is minimal;
 * (3) buckets whose heir may not keep them move, the constrained (full) ones first, then those whose
 * triple names a host that lacks buckets, then the rest; (4) what full triples still keep from being
 * balanced is resolved along a path of moves.  The plan is the difference to the table.
 */
#include "lb/table.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct work {
	uint32_t n;
	struct bucket *bucket;
	const struct bucket *before;
	struct table_host host[HOST_ID_MAX + 1];
	uint16_t id[HOST_ID_MAX]; /* serving hosts, ascending */
	size_t n_ids;
	uint32_t target[HOST_ID_MAX + 1];
	uint32_t count[HOST_ID_MAX + 1];
	size_t cursor; /* where the search for a host that lacks buckets goes on: spreads evenly */
	bool forced;
	struct table_plan *plan;
};

int table_init(struct table *t, uint32_t n_buckets)
{
	memset(t, 0, sizeof(*t));
	if (n_buckets < BUCKETS_MIN || n_buckets > BUCKETS_MAX || (n_buckets & (n_buckets - 1)))
		return -EINVAL;
	t->bucket = calloc(n_buckets, sizeof(*t->bucket));
	if (!t->bucket)
		return -ENOMEM;
	t->n_buckets = n_buckets;
	return 0;
}

void table_free(struct table *t)
{
	free(t->bucket);
	t->bucket = NULL;
	t->n_buckets = 0;
}

int table_copy(struct table *to, const struct table *from)
{
	*to = *from;
	to->bucket = malloc(from->n_buckets * sizeof(*to->bucket));
	if (!to->bucket)
		return -ENOMEM;
	memcpy(to->bucket, from->bucket, from->n_buckets * sizeof(*to->bucket));
	return 0;
}

uint16_t bucket_heir(const struct bucket *b)
{
	return b->next ? b->next : b->triple.host[0];
}

bool bucket_equal(const struct bucket *a, const struct bucket *b)
{
	return !memcmp(&a->triple, &b->triple, sizeof(a->triple)) && a->next == b->next && a->fresh == b->fresh;
}

bool bucket_valid(const struct bucket *b)
{
	int i, j, n = triple_len(&b->triple);

	for (i = 0; i < TRIPLE_MAX; i++) {
		if (i >= n ? b->triple.host[i] != HOST_NONE : !host_id_valid(b->triple.host[i]))
			return false;
		for (j = 0; j < i && i < n; j++)
			if (b->triple.host[i] == b->triple.host[j])
				return false;
	}
	if (b->fresh > 1 || (b->fresh && !b->next))
		return false;
	return !b->next || (triple_has(&b->triple, b->next) && b->next != b->triple.host[0]);
}

static void triple_remove(struct triple *t, uint16_t host)
{
	int i, j = 0;

	for (i = 0; i < TRIPLE_MAX; i++)
		if (t->host[i] != host)
			t->host[j++] = t->host[i];
	while (j < TRIPLE_MAX)
		t->host[j++] = HOST_NONE;
}

static void bucket_remove(struct bucket *b, uint16_t host)
{
	if (host == HOST_NONE || !triple_has(&b->triple, host))
		return;
	triple_remove(&b->triple, host);
	if (b->next == host || b->next == b->triple.host[0])
		b->next = b->fresh = 0;
}

/* The bucket without a move that has not taken its second step: what the next plan starts from. */
static struct bucket bucket_rest(const struct bucket *b)
{
	struct bucket r = *b;

	if (r.fresh)
		triple_remove(&r.triple, r.next);
	r.next = r.fresh = 0;
	return r;
}

static bool bucket_can_move(const struct bucket *b, uint16_t to)
{
	struct bucket r = bucket_rest(b);

	return triple_len(&r.triple) < TRIPLE_MAX || triple_has(&r.triple, to);
}

/* The first step of a move, or the undoing of one; a bucket without an owner is simply given. */
static struct bucket bucket_moved(const struct bucket *b, uint16_t to)
{
	struct bucket r = bucket_rest(b);
	int len = triple_len(&r.triple);

	if (r.triple.host[0] == to)
		return r;
	if (!len) {
		r.triple.host[0] = to;
		return r;
	}
	if (!triple_has(&r.triple, to)) {
		assert(len < TRIPLE_MAX);
		r.triple.host[len] = to;
		r.fresh = 1;
	}
	r.next = to;
	return r;
}

static bool serving(const struct work *w, uint16_t host)
{
	return host && w->host[host].standing == STANDING_SERVING && w->host[host].weight;
}

static bool lacks(const struct work *w, uint16_t host)
{
	return serving(w, host) && w->count[host] < w->target[host];
}

static void give(struct work *w, uint32_t b, uint16_t to)
{
	uint16_t heir = bucket_heir(&w->bucket[b]);

	if (serving(w, heir))
		w->count[heir]--;
	w->bucket[b] = bucket_moved(&w->bucket[b], to);
	w->count[to]++;
}

static void remove_gone(struct work *w)
{
	uint32_t b;
	int i;

	for (b = 0; b < w->n; b++)
		for (i = TRIPLE_MAX - 1; i >= 0; i--) {
			uint16_t h = w->bucket[b].triple.host[i];

			if (h && w->host[h].standing == STANDING_GONE)
				bucket_remove(&w->bucket[b], h);
		}
}

struct rank {
	uint64_t remainder;
	uint16_t id;
	bool keeps; /* the ceiling spares it a move */
};

static int rank_order(const void *pa, const void *pb)
{
	const struct rank *a = pa, *b = pb;

	if (a->keeps != b->keeps)
		return a->keeps ? -1 : 1;
	if (a->remainder != b->remainder)
		return a->remainder > b->remainder ? -1 : 1;
	return a->id < b->id ? -1 : 1;
}

/* Targets: floors first, then the left-over buckets as ceilings.  A host whose share is whole gets no
 * ceiling: its count would differ by one.  There are always enough others (remainders sum to the rest). */
static int set_targets(struct work *w)
{
	struct rank *rank = calloc(w->n_ids + 1, sizeof(*rank));
	uint64_t total = 0;
	uint32_t rest = w->n;
	size_t i, n = 0;

	if (!rank)
		return -ENOMEM;
	for (i = 0; i < w->n_ids; i++)
		total += w->host[w->id[i]].weight;
	for (i = 0; i < w->n_ids; i++) {
		uint16_t h = w->id[i];
		uint64_t share = (uint64_t)w->n * w->host[h].weight;

		w->target[h] = (uint32_t)(share / total);
		rest -= w->target[h];
		if (share % total)
			rank[n++] = (struct rank){ share % total, h, w->count[h] > w->target[h] };
	}
	assert(rest <= n);
	qsort(rank, n, sizeof(*rank), rank_order);
	for (i = 0; i < rest; i++)
		w->target[rank[i].id]++;
	free(rank);
	return 0;
}

/* Among the serving hosts of the bucket's triple, one that lacks buckets; else (any) the one nearest to it. */
static uint16_t home(const struct work *w, uint32_t b, bool any)
{
	struct bucket r = bucket_rest(&w->bucket[b]);
	uint16_t heir = bucket_heir(&w->bucket[b]), best = HOST_NONE;
	int i;

	for (i = 0; i < TRIPLE_MAX; i++) {
		uint16_t h = r.triple.host[i];

		if (h == heir || !serving(w, h) || (!any && !lacks(w, h)))
			continue;
		if (!best || (int64_t)w->target[h] - w->count[h] > (int64_t)w->target[best] - w->count[best])
			best = h;
	}
	return best;
}

/* Round robin over the hosts that lack buckets. */
static uint16_t next_lacking(struct work *w)
{
	size_t i;

	for (i = 0; i < w->n_ids; i++) {
		uint16_t h = w->id[(w->cursor + i) % w->n_ids];

		if (lacks(w, h)) {
			w->cursor = (w->cursor + i + 1) % w->n_ids;
			return h;
		}
	}
	return HOST_NONE;
}

static bool full(const struct bucket *b)
{
	struct bucket r = bucket_rest(b);

	return triple_len(&r.triple) == TRIPLE_MAX;
}

static bool must_move(const struct work *w, uint32_t b)
{
	return !serving(w, bucket_heir(&w->bucket[b]));
}

/* A bucket whose triple is full, and whose heir may not keep it: to a host in it, or evict, or refuse. */
static void move_full(struct work *w, uint32_t b)
{
	uint16_t to = home(w, b, true);

	if (to) {
		give(w, b, to);
		return;
	}
	if (!w->forced) {
		if (!w->plan->n_refused++)
			w->plan->refused_bucket = b;
		return;
	}
	/* The oldest history goes, and with it a chance that one of its flows lives on. */
	w->bucket[b] = bucket_rest(&w->bucket[b]);
	triple_remove(&w->bucket[b].triple, w->bucket[b].triple.host[TRIPLE_MAX - 1]);
	w->plan->n_evicted++;
}

static void move_mandatory(struct work *w)
{
	uint32_t b;
	uint16_t to;

	for (b = 0; b < w->n; b++)
		if (must_move(w, b) && full(&w->bucket[b]))
			move_full(w, b);
	for (b = 0; b < w->n; b++)
		if (must_move(w, b) && !full(&w->bucket[b]) && (to = home(w, b, false)))
			give(w, b, to);
	for (b = 0; b < w->n; b++) {
		if (!must_move(w, b) || full(&w->bucket[b]))
			continue;
		/* Full buckets may have over-filled the hosts that lacked: then any; balance follows. */
		to = next_lacking(w);
		give(w, b, to ? to : w->id[w->cursor++ % w->n_ids]);
	}
}

static bool has_surplus(const struct work *w, uint16_t host)
{
	return serving(w, host) && w->count[host] > w->target[host];
}

static void move_surplus(struct work *w)
{
	uint32_t b;
	uint16_t to;

	/* Homecoming first, full triples before others: they have no other choice. */
	for (b = 0; b < w->n; b++)
		if (has_surplus(w, bucket_heir(&w->bucket[b])) && full(&w->bucket[b]) && (to = home(w, b, false)))
			give(w, b, to);
	for (b = 0; b < w->n; b++)
		if (has_surplus(w, bucket_heir(&w->bucket[b])) && (to = home(w, b, false)))
			give(w, b, to);
	for (b = 0; b < w->n; b++)
		if (has_surplus(w, bucket_heir(&w->bucket[b])) && !full(&w->bucket[b]) && (to = next_lacking(w)))
			give(w, b, to);
}

/*
 * One unit of imbalance that full triples keep in place: a shortest path of hosts, from one with a
 * surplus to one that lacks, where each hop is a bucket that may make it.  False when there is none.
 */
static bool move_along_path(struct work *w)
{
	static const uint32_t none = UINT32_MAX;
	uint32_t via[HOST_ID_MAX + 1]; /* bucket by which a host was reached */
	uint16_t from[HOST_ID_MAX + 1], queue[HOST_ID_MAX];
	size_t head = 0, tail = 0, i;
	uint32_t b;

	for (i = 0; i < w->n_ids; i++) {
		via[w->id[i]] = none;
		from[w->id[i]] = HOST_NONE;
		if (has_surplus(w, w->id[i])) {
			from[w->id[i]] = w->id[i];
			queue[tail++] = w->id[i];
		}
	}
	for (; head < tail; head++) {
		uint16_t at = queue[head];

		if (lacks(w, at)) {
			while (from[at] != at) {
				uint16_t prev = from[at];

				give(w, via[at], at);
				at = prev;
			}
			return true;
		}
		for (b = 0; b < w->n; b++) {
			if (bucket_heir(&w->bucket[b]) != at)
				continue;
			for (i = 0; i < w->n_ids; i++) {
				uint16_t to = w->id[i];

				if (from[to] || !bucket_can_move(&w->bucket[b], to))
					continue;
				from[to] = at;
				via[to] = b;
				queue[tail++] = to;
			}
		}
	}
	return false;
}

static bool unbalanced(const struct work *w)
{
	size_t i;

	for (i = 0; i < w->n_ids; i++)
		if (lacks(w, w->id[i]))
			return true;
	return false;
}

static void plan_difference(const struct work *w)
{
	uint32_t b;

	w->plan->n_moves = 0;
	for (b = 0; b < w->n; b++)
		if (!bucket_equal(&w->bucket[b], &w->before[b]))
			w->plan->move[w->plan->n_moves++] = (struct move){ b, w->bucket[b] };
}

static int plan_set_host(struct work *w, const struct table_event *e)
{
	uint32_t b;
	size_t i;
	uint16_t h;
	int err;

	for (i = 0; i < e->n_changes; i++) {
		assert(host_id_valid(e->change[i].host));
		w->host[e->change[i].host].weight = e->change[i].weight;
		w->host[e->change[i].host].standing = (uint8_t)e->change[i].standing;
	}
	for (h = HOST_ID_MIN; h <= HOST_ID_MAX; h++)
		if (serving(w, h))
			w->id[w->n_ids++] = h;
	if (!w->n_ids && !w->forced)
		return -ENOSPC;
	remove_gone(w);
	if (!w->n_ids)
		return 0;
	for (b = 0; b < w->n; b++)
		if (!must_move(w, b))
			w->count[bucket_heir(&w->bucket[b])]++;
	err = set_targets(w);
	if (err)
		return err;
	move_mandatory(w);
	if (w->plan->n_refused)
		return -EBUSY;
	move_surplus(w);
	while (unbalanced(w) && move_along_path(w))
		;
	return 0;
}

static void plan_acked(struct work *w, const struct table_event *e)
{
	uint32_t b;

	for (b = 0; b < w->n; b++) {
		struct bucket *k = &w->bucket[b];
		struct triple old = k->triple;
		int i, n = 0;

		if (!k->next || (e->eligible && !e->eligible[b]))
			continue;
		k->triple.host[n++] = k->next;
		for (i = 0; i < TRIPLE_MAX; i++)
			if (old.host[i] != k->next && n < TRIPLE_MAX)
				k->triple.host[n++] = old.host[i];
		k->next = k->fresh = 0;
	}
}

static void plan_empty(struct work *w, const struct table_event *e)
{
	uint32_t b;

	for (b = 0; b < w->n; b++) {
		struct bucket *k = &w->bucket[b];

		if (e->eligible && !e->eligible[b])
			continue;
		/* Never the owner, and not a host that is about to be one. */
		if (k->triple.host[0] == e->old || k->next == e->old)
			continue;
		if (e->owner == HOST_NONE || k->triple.host[0] == e->owner)
			bucket_remove(k, e->old);
	}
}

int table_step(const struct table *t, const struct table_event *e, struct table_plan *plan)
{
	struct work *w = calloc(1, sizeof(*w));
	int err = 0;

	plan->n_moves = plan->n_evicted = plan->n_refused = 0;
	plan->refused_bucket = 0;
	if (!w)
		return -ENOMEM;
	w->n = t->n_buckets;
	w->before = t->bucket;
	w->forced = e->forced;
	w->plan = plan;
	memcpy(w->host, t->host, sizeof(w->host));
	w->bucket = malloc(t->n_buckets * sizeof(*w->bucket));
	if (!w->bucket) {
		free(w);
		return -ENOMEM;
	}
	memcpy(w->bucket, t->bucket, t->n_buckets * sizeof(*w->bucket));
	switch (e->kind) {
	case TABLE_SET_HOST:
		err = plan_set_host(w, e);
		break;
	case TABLE_ACKED:
		plan_acked(w, e);
		break;
	case TABLE_EMPTY:
		plan_empty(w, e);
		break;
	}
	if (!err)
		plan_difference(w);
	free(w->bucket);
	free(w);
	return err;
}

void table_apply(struct table *t, const struct move *move, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++) {
		assert(move[i].bucket < t->n_buckets);
		t->bucket[move[i].bucket] = move[i].to;
	}
}

void table_set_hosts(struct table *t, const struct table_change *change, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++) {
		t->host[change[i].host].weight = change[i].weight;
		t->host[change[i].host].standing = (uint8_t)change[i].standing;
	}
}

uint32_t table_owned(const struct table *t, uint16_t host)
{
	uint32_t b, n = 0;

	for (b = 0; b < t->n_buckets; b++)
		n += t->bucket[b].triple.host[0] == host;
	return n;
}

uint32_t table_sheltered(const struct table *t, uint16_t host)
{
	uint32_t b, n = 0;

	for (b = 0; b < t->n_buckets; b++)
		n += t->bucket[b].triple.host[0] != host && triple_has(&t->bucket[b].triple, host);
	return n;
}

bool table_settled(const struct table *t)
{
	uint32_t b;

	for (b = 0; b < t->n_buckets; b++)
		if (t->bucket[b].next)
			return false;
	return true;
}
