/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A fabric for tests: the netlink fabric, as slow as a real ASIC.  Bucket rows are rewritten one at a time,
 * by default 1,024 in 134 ms (Faild, NSDI'18, section 6.2), and traffic flows all the while through a
 * table that is half old and half new.
 *
 * BATON_PACED_KNOBS names a file of words, read at each apply and whenever a stalled one looks again:
 *     pace US     microseconds for a row (131)
 *     fail N      the apply fails after N rows
 *     stall N     the apply stops after N rows, until the word is gone
 *     seed N      flows are hashed with another seed: buckets that are not the others'
 */
#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "switch/netlink.h"
#include "switch/proof.h"

#define ROW_US 131
#define TICK_US 1000

struct paced_fabric {
	struct fabric *kernel;
	struct event *tick;
	struct fabric_want want; /* being applied */
	uint8_t (*now)[6];	 /* by bucket: what is in force */
	uint32_t n_now;
	bool busy;
	uint32_t next;		 /* bucket to look at */
	uint32_t rows;		 /* rewritten in this apply */
	uint64_t begun_ns;
	unsigned pace_us, fail_at, stall_at; /* UINT_MAX: never */
	unsigned seed;			     /* 0: the log's */
	void (*done)(void *ctx, int err, const char *why);
	void *ctx;
};

static struct paced_fabric *of(struct fabric *f)
{
	return (struct paced_fabric *)f;
}

static void read_knobs(struct paced_fabric *f)
{
	const char *path = getenv("BATON_PACED_KNOBS");
	FILE *in = path ? fopen(path, "re") : NULL;
	char word[16];
	unsigned n;

	f->pace_us = ROW_US;
	f->fail_at = f->stall_at = UINT32_MAX;
	f->seed = 0;
	while (in && fscanf(in, "%15s %u", word, &n) == 2) {
		if (!strcmp(word, "pace"))
			f->pace_us = n;
		else if (!strcmp(word, "fail"))
			f->fail_at = n;
		else if (!strcmp(word, "stall"))
			f->stall_at = n;
		else if (!strcmp(word, "seed"))
			f->seed = n;
	}
	if (in)
		fclose(in);
}

static void rearm(struct paced_fabric *f, unsigned us)
{
	struct timeval tv = { .tv_sec = us / 1000000, .tv_usec = us % 1000000 };

	event_add(f->tick, &tv);
}

static void finish(struct paced_fabric *f, int err, const char *why)
{
	f->busy = false;
	event_del(f->tick);
	f->done(f->ctx, err, why);
}

/* Rows are written; what is no longer needed may go, and everything is verified. */
static void all_applied(void *ctx, int err, const char *why)
{
	finish(ctx, err, why);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct paced_fabric *f = arg;
	uint64_t due = (monotonic_ns() - f->begun_ns) / 1000 / (f->pace_us ? f->pace_us : 1);

	(void)fd;
	(void)what;
	while (f->next < f->want.n_buckets) {
		uint32_t b = f->next;
		int err;

		if (!memcmp(f->now[b], f->want.vmac[b], 6)) {
			f->next++;
			continue;
		}
		if (f->rows >= f->fail_at) {
			finish(f, -EIO, "the paced fabric was told to fail here");
			return;
		}
		if (f->rows >= f->stall_at) {
			read_knobs(f);
			rearm(f, 10 * TICK_US);
			return;
		}
		if (f->rows >= due) {
			rearm(f, TICK_US);
			return;
		}
		err = netlink_bucket_put(f->kernel, b, f->want.vmac[b]);
		if (err) {
			finish(f, err, "a bucket's neighbour cannot be written");
			return;
		}
		memcpy(f->now[b], f->want.vmac[b], 6);
		f->rows++;
		f->next++;
	}
	fabric_netlink.apply(f->kernel, &f->want, all_applied, f);
}

/* What the new state needs is in place (old and new bridge rows, old buckets): begin with the rows. */
static void needs_applied(void *ctx, int err, const char *why)
{
	struct paced_fabric *f = ctx;

	if (err) {
		finish(f, err, why);
		return;
	}
	f->next = f->rows = 0;
	f->begun_ns = monotonic_ns();
	rearm(f, TICK_US);
}

static int row_order(const void *a, const void *b)
{
	return memcmp(((const struct fdb_row *)a)->mac, ((const struct fdb_row *)b)->mac, 6);
}

/* The want with the buckets as they are now, and the bridge rows of both states. */
static int between(const struct paced_fabric *f, const struct fabric_want *have, struct fabric_want *out)
{
	struct fdb_row *rows;
	int err = fabric_want_copy(out, &f->want);
	size_t wanted;

	if (err)
		return err;
	rows = realloc(out->fdb, (out->n_fdb + have->n_fdb + 1) * sizeof(*rows));
	if (!rows) {
		fabric_want_free(out);
		return -ENOMEM;
	}
	out->fdb = rows;
	wanted = out->n_fdb;
	for (size_t i = 0; i < have->n_fdb; i++)
		if (!bsearch(&have->fdb[i], f->want.fdb, f->want.n_fdb, sizeof(*rows), row_order))
			out->fdb[wanted++] = have->fdb[i];
	out->n_fdb = wanted;
	qsort(out->fdb, wanted, sizeof(*rows), row_order);
	memcpy(out->vmac, f->now, out->n_buckets * sizeof(*out->vmac));
	return 0;
}

static void paced_apply(struct fabric *fabric, const struct fabric_want *want,
			void (*done)(void *ctx, int err, const char *why), void *ctx)
{
	struct paced_fabric *f = of(fabric);
	struct fabric_want have = { 0 }, first = { 0 };
	int err;

	event_del(f->tick); /* a later apply replaces an unfinished one */
	read_knobs(f);
	f->done = done;
	f->ctx = ctx;
	fabric_want_free(&f->want);
	err = fabric_want_copy(&f->want, want);
	if (!err && f->seed)
		f->want.hash_seed = f->seed;
	if (!err && f->n_now != want->n_buckets) {
		/* The first apply has nothing to be slow about: there is no traffic before it. */
		free(f->now);
		f->now = calloc(want->n_buckets, sizeof(*f->now));
		f->n_now = f->now ? want->n_buckets : 0;
		if (!f->now) {
			done(ctx, -ENOMEM, "out of memory");
			return;
		}
		memcpy(f->now, want->vmac, want->n_buckets * sizeof(*f->now));
	} else if (!err) {
		err = fabric_netlink.read(f->kernel, &have);
	}
	if (!err)
		err = between(f, &have, &first);
	fabric_want_free(&have);
	if (err) {
		done(ctx, err, "the present tables cannot be read");
		return;
	}
	f->busy = true;
	fabric_netlink.apply(f->kernel, &first, needs_applied, f);
	fabric_want_free(&first);
}

static int paced_open(const struct switch_conf *conf, const struct pop *pop, struct event_base *base,
		      struct fabric **out)
{
	struct paced_fabric *f = calloc(1, sizeof(*f));
	int err;

	if (!f)
		return -ENOMEM;
	f->tick = event_new(base, -1, 0, on_tick, f);
	err = f->tick ? fabric_netlink.open(conf, pop, base, &f->kernel) : -ENOMEM;
	if (err) {
		if (f->tick)
			event_free(f->tick);
		free(f);
		return err;
	}
	*out = (struct fabric *)f;
	return 0;
}

static int paced_read(struct fabric *f, struct fabric_want *have)
{
	return fabric_netlink.read(of(f)->kernel, have);
}

static int paced_probe_buckets(struct fabric *f, const void *frames, size_t frame_len, size_t n, uint32_t *bucket)
{
	return fabric_netlink.probe_buckets(of(f)->kernel, frames, frame_len, n, bucket);
}

static int paced_preview_buckets(struct fabric *fabric, const struct fabric_want *want, const void *frames, size_t frame_len,
				 size_t n, uint32_t *bucket)
{
	struct paced_fabric *f = of(fabric);
	struct fabric_want other = *want;

	read_knobs(f);
	if (f->seed)
		other.hash_seed = f->seed;
	return fabric_netlink.preview_buckets(f->kernel, &other, frames, frame_len, n, bucket);
}

static size_t paced_counters(struct fabric *f, struct fabric_counter *c, size_t max)
{
	return fabric_netlink.counters(of(f)->kernel, c, max);
}

static int paced_vip_packets(struct fabric *f, uint64_t *packets)
{
	return fabric_netlink.vip_packets(of(f)->kernel, packets);
}

static void paced_close(struct fabric *fabric, bool remove)
{
	struct paced_fabric *f = of(fabric);

	event_free(f->tick);
	fabric_netlink.close(f->kernel, remove);
	fabric_want_free(&f->want);
	free(f->now);
	free(f);
}

static const struct fabric_caps caps = { .name = "paced", .hash_family = HASH_FAMILY, .buckets_max = 4096 };

const struct fabric_ops fabric_paced = {
	.caps = &caps,
	.open = paced_open,
	.apply = paced_apply,
	.read = paced_read,
	.probe_buckets = paced_probe_buckets,
	.preview_buckets = paced_preview_buckets,
	.counters = paced_counters,
	.vip_packets = paced_vip_packets,
	.close = paced_close,
};
