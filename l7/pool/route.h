/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which route a request takes: the first of an edge's routes whose every condition holds (host exact or
 * "*.example.net" for one or more labels before it, path prefix at a segment boundary, extension, method,
 * header).  Pure; compiled once when a configuration is loaded, read by all workers.
 *
 * Compiled: routes are grouped by host.  A request's host is looked up in a hash table (itself, then each of
 * its parent domains for wildcards, then "any"); each hit names a bit set of routes, and so does the first path
 * segment.  The sets' intersection, lowest bit first, is what is compared in full: with 1,000 routes of which
 * each names its host, one or two comparisons.
 */
#ifndef L7_POOL_ROUTE_H
#define L7_POOL_ROUTE_H

#include <stdint.h>

#include "l7/conf.h"
#include "l7/http/head.h"

#define ROUTE_NONE UINT32_MAX

struct route_table;

/* edge must outlive it.  NULL: no memory. */
struct route_table *route_compile(const struct edge_conf *edge);
void route_table_free(struct route_table *t);

/* Index into edge->route, or ROUTE_NONE (answer 404).  The head is finished (head_finish answered 0). */
uint32_t route_find(const struct route_table *t, const struct request_head *h);

/* Does this one route match?  What the compiled table must agree with. */
bool route_matches(const struct route_conf *r, const struct request_head *h);

/* What a pool's affinity names, hashed for pool_pick; `client` is the client's address (4 or 16 bytes). */
uint64_t route_key(const struct pool_conf *pool, const struct request_head *h, const void *client, size_t n_client);

#endif
