/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The thread that publishes objects: syncing a gigabyte takes seconds, in which a loop must not stand still.  Jobs are
 * done in the order in which they came; the answer goes back to the worker by worker_call.  A job belongs to its
 * connection, which outlives it; so the queue needs no bound of its own.
 */
#ifndef L7_OBJECT_OBJECT_SERVER_COMMIT_H
#define L7_OBJECT_OBJECT_SERVER_COMMIT_H

#include "l7/object/object_file.h"
#include "l7/worker.h"

struct committer;

struct commit {
	struct commit *next;
	struct worker *w;
	void (*done)(struct worker *w, void *commit);
	struct object_put *put;
	const char *name;
	const struct object_plan *plan;
	const struct object_facts *seen;
	int result;
	char tag[OBJECT_TAG_MAX];
};

int committer_new(struct committer **out);
void committer_add(struct committer *c, struct commit *job);
void committer_free(struct committer *c); /* after the jobs that were added */

#endif
