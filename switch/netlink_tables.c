/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The kernel's tables: read, compare, send the difference.  In one reconcile
 *
 *   1. bridge rows and neighbours that are missing or wrong, rows first: no bucket may lead to a vMAC
 *      that has no row.  1,024 neighbours take 0.7 ms to read and 2 ms to write, so where nobody else has
 *      touched them since they were right (netlink_watch.c) they are compared with what was written then;
 *   2. next hops, group, VIP routes; beneath each of these a blackhole, so that in the moment in which the kernel has
 *      deleted them all (a bridge without carrier) packets are lost, and not answered with "unreachable", which ends
 *      a client's connect() where a lost SYN is sent again;
 *   3. what is no longer wanted.
 *
 * ★ A resilient group's buckets are whatever the kernel made of the order of its members, and a next
 * hop that was deleted and restored leaves them swapped.  So the mapping is read back; a group that
 * is wrong is rebuilt under a new id, in an order that corrects what was seen, and routes move to it.
 */
#include <errno.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "lb/table.h"
#include "switch/netlink.h"
#include "switch/want.h"

struct scan {
	struct netlink_fabric *f;
	const struct fabric_want *w;
	struct nl_batch put, del;
	/* neighbours */
	bool *bucket_ok;   /* the neighbour is what it must be */
	bool *nexthop_ok;
	bool *host_ok, *host_wanted; /* by host id */
	/* bridge rows */
	bool *row_ok;
	/* groups and routes */
	bool group_seen[GROUP_IDS], group_fits[GROUP_IDS];
	uint16_t *member_at; /* kernel's bucket -> our bucket */
	bool *vip_ok, *drop_ok;
};

static bool scan_alloc(struct scan *s, struct netlink_fabric *f, const struct fabric_want *w)
{
	memset(s, 0, sizeof(*s));
	s->f = f;
	s->w = w;
	s->put.ignore[0] = 0;
	s->del.ignore[0] = ENOENT;
	s->del.ignore[1] = ESRCH;
	s->bucket_ok = calloc(BUCKETS_MAX, sizeof(bool));
	s->nexthop_ok = calloc(BUCKETS_MAX, sizeof(bool));
	s->host_ok = calloc(HOST_ID_MAX + 1, sizeof(bool));
	s->host_wanted = calloc(HOST_ID_MAX + 1, sizeof(bool));
	s->row_ok = calloc(w->n_fdb + 1, sizeof(bool));
	s->member_at = calloc(BUCKETS_MAX, sizeof(*s->member_at));
	s->vip_ok = calloc(w->n_vips + 1, sizeof(bool));
	s->drop_ok = calloc(w->n_vips + 1, sizeof(bool));
	if (!s->bucket_ok || !s->nexthop_ok || !s->host_ok || !s->host_wanted || !s->row_ok ||
	    !s->member_at || !s->vip_ok || !s->drop_ok)
		return false;
	for (size_t i = 0; i < w->n_hosts; i++)
		s->host_wanted[w->host[i]] = true;
	return true;
}

static void scan_free(struct scan *s)
{
	free(s->bucket_ok);
	free(s->nexthop_ok);
	free(s->host_ok);
	free(s->host_wanted);
	free(s->row_ok);
	free(s->member_at);
	free(s->vip_ok);
	free(s->drop_ok);
	nl_batch_free(&s->put);
	nl_batch_free(&s->del);
}

/* The id in one of our link addresses, or -1. */
static int link_id(const uint8_t address[16], enum link_kind *kind)
{
	uint8_t want[16];

	*kind = address[13];
	link_address(want, *kind, (uint16_t)(address[14] << 8 | address[15]));
	return memcmp(want, address, 16) ? -1 : address[14] << 8 | address[15];
}

/* --- bridge rows --------------------------------------------------------------------------------- */
static int row_seen(void *ctx, const struct nl_neigh *e)
{
	struct scan *s = ctx;
	const struct fdb_row *row;

	if (!e->has_mac || e->state & NUD_PERMANENT)
		return 0; /* a port's own address */
	row = fabric_want_row(s->w, e->mac);
	if (!row)
		nl_fdb_del(&s->del, e->ifindex, e->mac);
	else if (e->state & NUD_NOARP && netlink_port_ifindex(s->f, row->ifname) == e->ifindex)
		s->row_ok[row - s->w->fdb] = true;
	return 0;
}

static int rows_plan(struct scan *s)
{
	int err = nl_fdb_read(&s->f->nl, s->f->bridge, row_seen, s);

	for (size_t i = 0; i < s->w->n_fdb && !err; i++) {
		int port = netlink_port_ifindex(s->f, s->w->fdb[i].ifname);

		if (!s->row_ok[i] && port) {
			nl_fdb_put(&s->put, port, s->w->fdb[i].mac);
			s->f->rows++;
		}
	}
	return err;
}

/* --- neighbours ---------------------------------------------------------------------------------- */
static int neigh_seen(void *ctx, const struct nl_neigh *e)
{
	struct scan *s = ctx;
	enum link_kind kind;
	int id = link_id(e->address, &kind);
	bool fixed = e->has_mac && e->state & NUD_PERMANENT;

	if (id < 0)
		return 0;
	if (kind == LINK_BUCKET && (uint32_t)id < s->w->n_buckets) {
		s->bucket_ok[id] = fixed && !memcmp(e->mac, s->w->vmac[id], 6);
	} else if (kind == LINK_HOST && host_id_valid((uint16_t)id) && s->host_wanted[id]) {
		struct triple own = { { (uint16_t)id } };
		uint8_t mac[6];

		vmac_encode(mac, &own);
		s->host_ok[id] = fixed && !memcmp(e->mac, mac, 6);
	} else if ((kind == LINK_BUCKET || kind == LINK_HOST) && fixed) {
		nl_neigh_del(&s->del, s->f->bridge, e->address);
	}
	return 0;
}

static int neighs_plan(struct scan *s, bool all)
{
	int err = all ? nl_neighs_read(&s->f->nl, s->f->bridge, neigh_seen, s) : 0;
	uint8_t address[16], mac[6];

	for (uint32_t i = 0; i < s->w->n_buckets && !all; i++)
		s->bucket_ok[i] = !memcmp(s->f->held[i], s->w->vmac[i], 6);
	for (size_t i = 0; i < s->w->n_hosts && !err && all; i++) {
		struct triple own = { { s->w->host[i] } };

		if (s->host_ok[s->w->host[i]])
			continue;
		link_address(address, LINK_HOST, s->w->host[i]);
		vmac_encode(mac, &own);
		nl_neigh_put(&s->put, s->f->bridge, address, mac);
		s->f->rows++;
	}
	for (uint32_t i = 0; i < s->w->n_buckets && !err; i++) {
		if (s->bucket_ok[i])
			continue;
		link_address(address, LINK_BUCKET, (uint16_t)i);
		nl_neigh_put(&s->put, s->f->bridge, address, s->w->vmac[i]);
		s->f->rows++;
	}
	return err;
}

/* --- next hops and groups ------------------------------------------------------------------------ */
static int nexthop_seen(void *ctx, const struct nl_nexthop *e)
{
	struct scan *s = ctx;
	enum link_kind kind;

	if (e->id >= GROUP_ID_BASE && e->id < GROUP_ID_BASE + GROUP_IDS) {
		s->group_seen[e->id - GROUP_ID_BASE] = true;
		s->group_fits[e->id - GROUP_ID_BASE] = e->group && e->resilient && e->n_members == s->w->n_buckets;
	} else if (e->id >= NEXTHOP_ID_BASE && e->id < NEXTHOP_ID_BASE + BUCKETS_MAX) {
		uint32_t bucket = e->id - NEXTHOP_ID_BASE;

		if (bucket >= s->w->n_buckets)
			nl_nexthop_del(&s->del, e->id);
		else
			s->nexthop_ok[bucket] = !e->group && e->ifindex == s->f->bridge &&
						link_id(e->gateway, &kind) == (int)bucket && kind == LINK_BUCKET;
	}
	return 0;
}

static int member_seen(void *ctx, uint32_t bucket, uint32_t nexthop)
{
	struct scan *s = ctx;

	if (bucket < s->w->n_buckets && nexthop >= NEXTHOP_ID_BASE && nexthop < NEXTHOP_ID_BASE + s->w->n_buckets)
		s->member_at[bucket] = (uint16_t)(nexthop - NEXTHOP_ID_BASE);
	return 0;
}

/* 1: every bucket of the group is ours of the same number; 0: not; or -errno. */
static int group_right(struct scan *s, uint32_t id)
{
	int err;

	memset(s->member_at, 0xff, BUCKETS_MAX * sizeof(*s->member_at));
	err = nl_buckets_read(&s->f->nl, id, member_seen, s);
	if (err)
		return err;
	for (uint32_t i = 0; i < s->w->n_buckets; i++)
		if (s->member_at[i] != i)
			return 0;
	return 1;
}

static uint32_t group_free_id(struct scan *s)
{
	uint32_t from = s->f->group ? s->f->group - GROUP_ID_BASE + 1 : 0;

	for (uint32_t i = 0; i < GROUP_IDS; i++)
		if (!s->group_seen[(from + i) % GROUP_IDS])
			return GROUP_ID_BASE + (from + i) % GROUP_IDS;
	return 0;
}

/* Builds a group; if its buckets came out permuted, once more with the members so permuted as to undo that. */
static int group_build(struct scan *s)
{
	uint32_t n = s->w->n_buckets, *member = calloc(n, sizeof(*member)), *next = calloc(n, sizeof(*next)), id = 0;
	int err = member && next ? 0 : -ENOMEM;

	/* Kernels up to now (6.18) fill buckets from the last member to the first. */
	for (uint32_t i = 0; i < n && !err; i++)
		member[i] = NEXTHOP_ID_BASE + n - 1 - i;
	for (int attempt = 0; attempt < 3 && !err; attempt++) {
		id = group_free_id(s);
		if (!id) {
			err = -ENOSPC;
			break;
		}
		nl_group_put(&s->put, id, member, n, s->f->protocol);
		err = nl_commit(&s->f->nl, &s->put);
		if (err)
			break;
		s->group_seen[id - GROUP_ID_BASE] = true;
		s->f->rebuilds++;
		err = group_right(s, id);
		if (err > 0) {
			s->f->group = id;
			err = 0;
			break;
		}
		/* Bucket i got the member that stood for bucket member_at[i]: put there the one that belongs to i. */
		for (uint32_t i = 0; i < n && !err; i++) {
			for (uint32_t at = 0; at < n; at++) {
				if (member[at] == NEXTHOP_ID_BASE + s->member_at[i])
					next[at] = NEXTHOP_ID_BASE + i;
			}
		}
		memcpy(member, next, n * sizeof(*member));
		err = err ? err : attempt == 2 ? -EILSEQ : 0;
	}
	free(member);
	free(next);
	if (err == -EILSEQ)
		snprintf(s->f->why, sizeof(s->f->why), "the kernel does not keep the order of a resilient group's buckets");
	return err;
}

static int nexthops_reconcile(struct scan *s)
{
	uint8_t address[16];
	uint32_t known = s->f->group;
	int right = 0, err = nl_nexthops_read(&s->f->nl, nexthop_seen, s);

	if (err)
		return err;
	for (uint32_t i = 0; i < s->w->n_buckets; i++) {
		if (s->nexthop_ok[i])
			continue;
		link_address(address, LINK_BUCKET, (uint16_t)i);
		nl_nexthop_put(&s->put, NEXTHOP_ID_BASE + i, s->f->bridge, address, s->f->protocol);
		s->f->repairs++;
	}
	err = nl_commit(&s->f->nl, &s->put);
	if (err)
		return err;
	/* The one in force if it is right, else any that a former life left right, else a new one. */
	if (known && s->group_fits[known - GROUP_ID_BASE])
		right = group_right(s, known);
	for (uint32_t i = 0; i < GROUP_IDS && !right; i++) {
		if (s->group_fits[i] && GROUP_ID_BASE + i != known) {
			right = group_right(s, GROUP_ID_BASE + i);
			if (right > 0)
				s->f->group = GROUP_ID_BASE + i;
		}
	}
	if (right < 0)
		return right;
	if (!right) {
		if (known)
			log_warning("bucket group %#x is wrong or gone: building another", known);
		err = group_build(s);
	}
	for (uint32_t i = 0; i < GROUP_IDS && !err; i++)
		if (s->group_seen[i] && GROUP_ID_BASE + i != s->f->group)
			nl_nexthop_del(&s->del, GROUP_ID_BASE + i);
	return err;
}

/* --- routes -------------------------------------------------------------------------------------- */
static int route_seen(void *ctx, const struct nl_route *e)
{
	struct scan *s = ctx;
	bool drop = e->type == RTN_BLACKHOLE && e->metric == NL_DROP_METRIC;

	if (e->prefix_len != (e->dst.family == AF_INET6 ? 128 : 32))
		return 0;
	for (size_t i = 0; i < s->w->n_vips; i++) {
		if (address_equal(&s->w->vip[i], &e->dst)) {
			if (drop)
				s->drop_ok[i] = true;
			else if (e->nexthop_id == s->f->group)
				s->vip_ok[i] = true;
			return 0;
		}
	}
	if (drop)
		nl_drop_del(&s->del, &e->dst, e->protocol);
	else if (e->nexthop_id >= GROUP_ID_BASE && e->nexthop_id < GROUP_ID_BASE + GROUP_IDS)
		nl_route_del(&s->del, &e->dst, e->protocol);
	return 0;
}

static int routes_reconcile(struct scan *s)
{
	int err = nl_routes_read(&s->f->nl, AF_INET, s->f->protocol, route_seen, s);

	if (!err)
		err = nl_routes_read(&s->f->nl, AF_INET6, s->f->protocol, route_seen, s);
	for (size_t i = 0; i < s->w->n_vips && !err; i++) {
		if (!s->drop_ok[i])
			nl_drop_put(&s->put, &s->w->vip[i], s->f->protocol);
		if (!s->vip_ok[i])
			nl_route_put(&s->put, &s->w->vip[i], s->f->group, s->f->protocol);
		s->f->repairs += !s->drop_ok[i] + !s->vip_ok[i];
	}
	return err ? err : nl_commit(&s->f->nl, &s->put);
}

/* --- the whole ----------------------------------------------------------------------------------- */
/* A table that changed under a dump is read again; whoever changes it all the time is reported. */
static int reconcile_once(struct netlink_fabric *f, const struct fabric_want *w, bool all, const char **step)
{
	struct scan s;
	int err = scan_alloc(&s, f, w) ? 0 : -ENOMEM;

	*step = "bridge rows";
	if (!err)
		err = rows_plan(&s);
	if (!err)
		err = nl_commit(&f->nl, &s.put);
	*step = "neighbours";
	if (!err)
		err = neighs_plan(&s, all);
	if (!err)
		err = nl_commit(&f->nl, &s.put);
	if (!err)
		memcpy(f->held, w->vmac, w->n_buckets * sizeof(*f->held));
	*step = "next hops";
	if (!err && all)
		err = nexthops_reconcile(&s);
	*step = "VIP routes";
	if (!err && all)
		err = routes_reconcile(&s);
	*step = "rows that are no longer wanted";
	if (!err)
		err = nl_commit(&f->nl, &s.del);
	scan_free(&s);
	return err;
}

int netlink_tables_reconcile(struct netlink_fabric *f, const struct fabric_want *w, bool all)
{
	const char *step = "";
	int err = 0;

	for (int i = 0; i < 5; i++) {
		f->why[0] = 0;
		err = reconcile_once(f, w, all, &step);
		if (err != -EAGAIN && err != -EINTR && err != -EBUSY)
			break;
	}
	if (err && !f->why[0])
		snprintf(f->why, sizeof(f->why), "%s: %s%s%s", step, strerror(-err), f->nl.why[0] ? ": " : "", f->nl.why);
	return err;
}

struct reader {
	struct netlink_fabric *f;
	struct fabric_want *have;
	size_t cap;
};

static int read_row(void *ctx, const struct nl_neigh *e)
{
	struct reader *r = ctx;
	const char *name = netlink_port_name(r->f, e->ifindex);

	if (!e->has_mac || e->state & NUD_PERMANENT || !name)
		return 0;
	if (r->have->n_fdb == r->cap) {
		size_t cap = r->cap ? r->cap * 2 : 256;
		struct fdb_row *row = realloc(r->have->fdb, cap * sizeof(*row));

		if (!row)
			return -ENOMEM;
		r->have->fdb = row;
		r->cap = cap;
	}
	memcpy(r->have->fdb[r->have->n_fdb].mac, e->mac, 6);
	snprintf(r->have->fdb[r->have->n_fdb++].ifname, IF_NAMESIZE, "%s", name);
	return 0;
}

static int read_neigh(void *ctx, const struct nl_neigh *e)
{
	struct reader *r = ctx;
	enum link_kind kind;
	int id = link_id(e->address, &kind);

	if (id < 0 || !e->has_mac || !(e->state & NUD_PERMANENT))
		return 0;
	if (kind == LINK_BUCKET && (uint32_t)id < r->have->n_buckets)
		memcpy(r->have->vmac[id], e->mac, 6);
	else if (kind == LINK_HOST && r->have->n_hosts < HOST_ID_MAX)
		r->have->host[r->have->n_hosts++] = (uint16_t)id;
	return 0;
}

static int read_route(void *ctx, const struct nl_route *e)
{
	struct reader *r = ctx;

	if (e->nexthop_id == r->f->group && r->f->group && r->have->n_vips < POP_VIPS_MAX)
		r->have->vip[r->have->n_vips++] = e->dst;
	return 0;
}

static int row_order(const void *a, const void *b)
{
	const struct fdb_row *x = a, *y = b;

	return memcmp(x->mac, y->mac, sizeof(x->mac));
}

int netlink_tables_read(struct netlink_fabric *f, struct fabric_want *have)
{
	struct reader r = { .f = f, .have = have };
	int err;

	memset(have, 0, sizeof(*have));
	have->n_buckets = f->has_want ? f->want.n_buckets : 0;
	have->hash_seed = f->want.hash_seed;
	have->switch_id = f->want.switch_id;
	have->vmac = calloc(have->n_buckets + 1, sizeof(*have->vmac));
	have->vip = calloc(POP_VIPS_MAX, sizeof(*have->vip));
	have->host = calloc(HOST_ID_MAX + 1, sizeof(*have->host));
	err = have->vmac && have->vip && have->host ? 0 : -ENOMEM;
	if (!err)
		err = nl_fdb_read(&f->nl, f->bridge, read_row, &r);
	if (!err)
		err = nl_neighs_read(&f->nl, f->bridge, read_neigh, &r);
	if (!err)
		err = nl_routes_read(&f->nl, AF_INET, f->protocol, read_route, &r);
	if (!err)
		err = nl_routes_read(&f->nl, AF_INET6, f->protocol, read_route, &r);
	if (err)
		fabric_want_free(have);
	else if (have->n_fdb)
		qsort(have->fdb, have->n_fdb, sizeof(*have->fdb), row_order);
	return err;
}

/* A want of nothing takes everything of ours out. */
void netlink_tables_remove(struct netlink_fabric *f)
{
	struct fabric_want nothing = { 0 };
	struct scan s;

	if (scan_alloc(&s, f, &nothing)) {
		/* Routes before the group, the group before its next hops: deletions are sent in this order. */
		f->group = 0;
		nl_routes_read(&f->nl, AF_INET, f->protocol, route_seen, &s);
		nl_routes_read(&f->nl, AF_INET6, f->protocol, route_seen, &s);
		for (uint32_t i = 0; i < GROUP_IDS; i++)
			nl_nexthop_del(&s.del, GROUP_ID_BASE + i);
		nl_nexthops_read(&f->nl, nexthop_seen, &s);
		nl_neighs_read(&f->nl, f->bridge, neigh_seen, &s);
		nl_fdb_read(&f->nl, f->bridge, row_seen, &s);
		nl_commit(&f->nl, &s.del);
	}
	scan_free(&s);
}

int netlink_bucket_put(struct fabric *fabric, uint32_t bucket, const uint8_t mac[6])
{
	struct netlink_fabric *f = (struct netlink_fabric *)fabric;
	struct nl_batch b = { 0 };
	uint8_t address[16];
	int err;

	link_address(address, LINK_BUCKET, (uint16_t)bucket);
	nl_neigh_put(&b, f->bridge, address, mac);
	err = nl_commit(&f->nl, &b);
	nl_batch_free(&b);
	if (err)
		f->touched = true;
	else
		memcpy(f->held[bucket], mac, 6);
	return err;
}
