/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A configuration in force: immutable, shared by all workers, freed with its last reference.  Client
 * connections keep the one that they began with for their handshake; each request is served by the newest.
 */
#ifndef L7_SNAPSHOT_H
#define L7_SNAPSHOT_H

#include <stdint.h>

#include "l7/conf.h"
#include "l7/pool/route.h"
#include "pop/pop.h"

struct tls_client;
struct tls_context;

struct edge {
	const struct edge_conf *conf;
	const char *vip; /* its name */
	struct address *address;
	uint32_t n_addresses;
	struct route_table *routes;
	uint32_t first_route; /* its routes' numbers in the whole configuration begin here */
	struct tls_context *tls; /* NULL: plain */
};

/* Another host of the POP, whose baton-l7d a connection may move to. */
struct other_host {
	uint16_t id;
	struct address management;
	bool inside_ip; /* routers lead there: what rows forward to it travels inside IP */
};

struct snapshot {
	int refs;
	uint64_t index; /* of the log */
	struct l7_conf conf; /* a copy of our own */
	struct tls_client **pool_tls; /* as conf.pool; NULL: plain */
	struct edge *edge;
	uint32_t n_edges, n_routes;
	struct other_host *host; /* all of the POP, this one too */
	uint32_t n_hosts;
};

/* self: this host's id.  NULL and why: a certificate directory cannot be read, say.  Takes tickets from the process (l7/tls/ticket.h). */
struct snapshot *snapshot_new(const struct pop *pop, uint64_t index, uint16_t self, char *why, size_t why_len);
struct snapshot *snapshot_ref(struct snapshot *s);
void snapshot_unref(struct snapshot *s);
/* The edge that has this address and port, or of this VIP and port; or NULL. */
const struct edge *snapshot_edge_at(const struct snapshot *s, const struct address *a, uint16_t port);
const struct edge *snapshot_edge(const struct snapshot *s, const char *vip, uint16_t port);

#endif
