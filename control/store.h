/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where the log is kept.  The controller appends through struct log_ops and is told when a record is
 * durable; one controller keeps it on its own disk (store.c); several will replicate it.
 *
 * On disk, in one directory: `log`, records one after another in a file that is zeroed ahead (an fsync
 * then writes no metadata); `snapshot`, a record of type SNAPSHOT followed by the CONFIG records before
 * it that rollback may want.  Replaced by rename; records in `log` up to the snapshot's index are skipped.
 */
#ifndef CONTROL_STORE_H
#define CONTROL_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "control/state.h"

#define LOG_BATCH_MAX 8
#define LOG_ROTATE (512u << 10) /* bytes of log after which a snapshot is made */
#define CONFIGS_KEPT 16

struct log;

struct log_bytes {
	const uint8_t *data;
	size_t len;
};

struct log_ops {
	/* A batch of at most LOG_BATCH_MAX encoded records.  Lost: none; a crash may keep its first ones.  0: done() was or will be called,
	 * in order, with 0 once they are durable or -errno if they never will be.  -errno: not taken. */
	int (*append)(struct log *l, const struct log_bytes *record, size_t n, void (*done)(void *ctx, int err), void *ctx);
	/* A good moment to drop what is older than this state. */
	void (*compact)(struct log *l, const struct state *s);
	void (*close)(struct log *l);
};

struct log {
	const struct log_ops *ops;
};

struct store_info {
	uint64_t bytes, snapshot_index;
	bool repaired;	    /* a torn tail was cut off at start */
	char error[WHY_MAX]; /* why nothing can be appended; empty if it can */
};

/* Called at open for each valid record: the snapshot, CONFIG records older than it, the log in order. */
typedef int store_replay(void *ctx, const struct record *r, const uint8_t *bytes, size_t len, char *why, size_t why_len);

/* 0 or -errno and why, for the operator. */
int store_open(const char *dir, store_replay *replay, void *ctx, struct log **out, char *why, size_t why_len);
const struct store_info *store_info(const struct log *l);

#endif
