/* SPDX-License-Identifier: BSD-2-Clause */
/* baton-l7d's own: what its files share. */
#ifndef L7_L7D_H
#define L7_L7D_H

#include "base/daemon.h"
#include "control/follower.h"
#include "l7/access.h"
#include "l7/checks.h"
#include "l7/worker.h"

struct handoff_host;
struct ctl_server;
struct ctl_request;
struct object_server;

struct l7d {
	struct daemon daemon;
	bool standalone;
	struct pop *pop; /* standalone: the file, as read last */
	struct follower *follower;
	struct ctl_server *ctl;
	struct worker *worker[WORKERS_MAX];
	struct access_log *log[WORKERS_MAX];
	unsigned n_workers;
	struct snapshot *snapshot;
	struct l7_checks *checks;
	struct object_server *store; /* NULL: none */
	struct store_conf store_conf; /* what it was started with */
	struct event *flush, *drained;
	struct handoff_host *handoff; /* NULL: all is proxied */
	struct event *held, *settling, *aging;
	int log_fd;
	char log_path[EDGE_PATH_LEN];
	char alarm[512]; /* why the last configuration is not in force; empty: it is */
	uint64_t drain_deadline_ms;
};

/* l7/show.c */
void l7d_ask(struct l7d *d, const char *verb, json_t *args, void (*answer)(void *to, json_t *a), void *to);
void l7d_collect(void *ctx, struct metrics *m);

#endif
