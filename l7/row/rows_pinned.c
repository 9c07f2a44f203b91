// SPDX-License-Identifier: BSD-2-Clause
/* A map of rows, read (l7/row/rows.h). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include <bpf/bpf.h>

#include "l7/row/rows.h"

#define BATCH 4096

int rows_pinned_open(const char *pin_dir)
{
	char path[320];

	snprintf(path, sizeof(path), "%s/rows", pin_dir);
	return bpf_obj_get(path);
}

/* Many at a time: a full table is read in milliseconds, and a row that goes meanwhile disturbs nothing. */
int rows_each_of(int map_fd, int (*each)(void *ctx, const struct flow *f, const struct row *row), void *ctx)
{
	struct flow *key = calloc(BATCH, sizeof(*key));
	struct row *row = calloc(BATCH, sizeof(*row));
	uint32_t next, n, i;
	void *from = NULL;
	int err = key && row ? 0 : -ENOMEM, last = 0;

	while (!err && !last) {
		n = BATCH;
		last = bpf_map_lookup_batch(map_fd, from, &next, key, row, &n, NULL);
		if (last && last != -ENOENT) /* -ENOENT: and that was all */
			err = last;
		for (i = 0; i < n && !err; i++)
			err = each(ctx, &key[i], &row[i]);
		from = &next;
	}
	free(key);
	free(row);
	return err;
}

bool row_lives(const struct row *row, uint64_t now_ns)
{
	return row->state != ROW_NONE && (!row->deadline_ns || now_ns < row->deadline_ns);
}
