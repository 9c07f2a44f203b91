/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Inside the netlink fabric; the paced and xdp fabrics stand on it.  The kernel's own tables are
 *
 *     VIP route -> resilient group -> next hop of the bucket -> permanent neighbour = vMAC -> bridge row -> port
 *
 * and every reconcile reads them and sends the difference.  Ids of next hops and groups are ours by range.
 */
#ifndef SWITCH_NETLINK_H
#define SWITCH_NETLINK_H

#include "lb/link.h"
#include "lb/table.h"
#include "switch/fabric.h"
#include "switch/nl.h"

#define NEXTHOP_ID_BASE 0x0ba70000u /* + bucket */
#define GROUP_ID_BASE 0x0ba71000u   /* + 0..GROUP_IDS-1; a wrong group is rebuilt under the next id */
#define GROUP_IDS 16u

/* Devices that we make: one keeps the bridge's carrier, one feeds frames to the proof of buckets. */
#define HOLD_IFNAME "baton-hold"
#define HOLD_PEER "baton-hold-p"
#define PROBE_IFNAME "baton-probe" /* frames come in here, as on an uplink */
#define FEED_IFNAME "baton-feed"   /* and are sent here */

struct tc;

struct netlink_port {
	char ifname[IF_NAMESIZE];
	uint16_t host, peer;
	int ifindex; /* 0: no such device now */
};

struct netlink_fabric {
	struct nl nl;
	char bridge_name[IF_NAMESIZE];
	int bridge, probe, feed;
	struct netlink_port *port;
	size_t n_ports;
	char (*uplink)[IF_NAMESIZE];
	size_t n_uplinks;
	uint8_t protocol;
	uint32_t group; /* id of the group in force; 0: none known */
	bool verified;	/* links, neighbours, next hops, group and routes were right and nobody has touched them since */
	bool touched;	/* somebody else's change has been seen since the last reconcile began */
	struct fabric_want want;
	bool has_want;
	uint8_t held[BUCKETS_MAX][6]; /* buckets' neighbours as last read or written; true while verified and not touched */
	struct tc *tc;
	struct event *watch, *settle;
	int watch_fd;
	uint32_t tc_seed, tc_buckets; /* what the TC programs were loaded for */
	uint64_t reconciles, repairs, rows, rebuilds;
	void (*reconciled)(void *ctx); /* after a reconcile of everything: devices may have changed */
	void *reconciled_ctx;
	char why[256];
};

/* netlink_links.c: bridge, ports, addresses, sysctls, our own device pairs.  Fills in ifindexes. */
int netlink_links_reconcile(struct netlink_fabric *f, uint16_t switch_id);
void netlink_links_remove(struct netlink_fabric *f);
int netlink_port_ifindex(const struct netlink_fabric *f, const char *ifname);
const char *netlink_port_name(const struct netlink_fabric *f, int ifindex);

/* netlink_tables.c: additions first, removals last; a want is in force between the two. */
int netlink_tables_reconcile(struct netlink_fabric *f, const struct fabric_want *w, bool all);
int netlink_tables_read(struct netlink_fabric *f, struct fabric_want *have);
void netlink_tables_remove(struct netlink_fabric *f);
/* Rewrites a bucket's neighbour and nothing else; for the paced fabric. */
int netlink_bucket_put(struct fabric *f, uint32_t bucket, const uint8_t mac[6]);

/* netlink_watch.c: what others do to our objects leads to a reconcile. */
int netlink_watch_start(struct netlink_fabric *f, struct event_base *base);
void netlink_watch_stop(struct netlink_fabric *f);
void netlink_watch_drain(struct netlink_fabric *f); /* sets f->touched from what is queued now */
int netlink_reconcile(struct netlink_fabric *f);    /* brings f->want in force; sets f->why on failure */

int sysctl_write(const char *value, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
