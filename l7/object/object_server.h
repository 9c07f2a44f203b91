/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The object server: HTTP/1.1 on a port of its own, on every worker (SO_REUSEPORT), answering from files.  Decisions are
 * l7/object/object.h, files l7/object/object_file.h; here are connections.  Bodies go out by sendfile, a share at a time so that one
 * download does not hold its loop; a PUT's sync and rename run in a thread of their own, because they wait for a disk.
 */
#ifndef L7_OBJECT_OBJECT_SERVER_H
#define L7_OBJECT_OBJECT_SERVER_H

#include "l7/object/object_cache.h"
#include "l7/worker.h"

struct object_server;

struct object_stats {
	uint64_t connections, requests, answers[6]; /* by first digit */
	uint64_t bytes_out, bytes_in;
};

/* What a worker has of it: worker->objects, while it listens. */
struct object_here {
	const struct object_store *store;
	struct object_stats *stats;
	uint16_t host; /* id */
	struct worker *w;
	struct object_cache cache;
	struct timer sweep; /* runs while something is kept */
	bool sweeps;
};

/* object_cache_look() of it. */
int object_here_look(struct object_here *here, const char *name, struct object_facts *o, struct object_kept **file);

/* host: our own id.  0 or -errno: the directory cannot be opened, no thread. */
int object_server_new(const struct store_conf *conf, uint16_t host, struct object_server **out);
/* Each worker listens: fn of worker_call with the server as its argument.  A bind that fails is logged. */
void object_server_attach(struct worker *w, void *server);
/* In the order of an end: close listeners and connections and finish what is being published (waits for both; the
 * workers still run); free, when they have been stopped. */
void object_server_stop(struct object_server *o);
void object_server_free(struct object_server *o);
/* object_max, writable and log of a new configuration; 0 or -errno. */
int object_server_reconfigure(struct object_server *o, const struct store_conf *conf);
void object_server_stats(const struct object_server *o, struct object_stats *sum);

#endif
