// SPDX-License-Identifier: BSD-2-Clause
#include "agent/rows_left.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "l7/row/rows.h"

struct reading {
	uint16_t self;
	const struct table *table;
	uint32_t hash_seed;
	uint64_t now_ns;
	uint32_t n, via[HOST_ID_MAX + 1];
};

uint16_t rows_left_owner(const struct flow *f, const struct table *t, uint32_t hash_seed)
{
	return t->n_buckets ? t->bucket[flow_bucket(f, hash_seed, t->n_buckets)].triple.host[0] : HOST_NONE;
}

static int add(void *ctx, const struct flow *f, const struct row *row)
{
	struct reading *r = ctx;
	uint16_t owner;

	if (!row_lives(row, r->now_ns) || row->state == ROW_ENDED) /* nobody needs the host for that */
		return 0;
	r->n++;
	if (row->passing)
		return 0;
	owner = rows_left_owner(f, r->table, r->hash_seed);
	if (owner != HOST_NONE && owner != r->self)
		r->via[owner]++;
	if (row->through != owner && row->through != r->self && host_id_valid(row->through))
		r->via[row->through]++;
	return 0;
}

int rows_left_read(struct rows_left *l, const char *pin_dir, uint16_t self, const struct table *t, uint32_t hash_seed,
		   uint64_t now_ms, bool *gone)
{
	static struct reading r; /* large; one thread */
	int fd = rows_pinned_open(pin_dir), err = 0;
	unsigned id;

	memset(&r, 0, sizeof(r));
	r.self = self;
	r.table = t;
	r.hash_seed = hash_seed;
	r.now_ns = now_ms * 1000000; /* of the same clock: CLOCK_MONOTONIC */
	if (fd >= 0) {
		err = rows_each_of(fd, add, &r);
		close(fd);
	} else if (fd != -ENOENT) {
		err = fd;
	}
	if (err)
		return err;
	*gone = false;
	if (r.n)
		l->n_ms = now_ms;
	if (r.n || now_ms - l->n_ms >= ROWS_LEFT_MS)
		l->n = r.n;
	for (id = HOST_ID_MIN; id <= HOST_ID_MAX; id++) {
		if (l->via[id] && !r.via[id]) {
			l->gone_ms[id] = now_ms;
			*gone = true;
		}
		l->via[id] = r.via[id];
	}
	return 0;
}

uint32_t rows_left_via(const struct rows_left *l, uint16_t owner, uint64_t round_began_ms)
{
	return l->via[owner] ? l->via[owner] : l->gone_ms[owner] && round_began_ms <= l->gone_ms[owner];
}
