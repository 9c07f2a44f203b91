/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Kernel network objects over rtnetlink: links, bridge rows, neighbours, next hops, routes.  One
 * build and one parse for each object, in nl_OBJECT.c; transport in nl.c.
 *
 * libmnl builds the messages, because what we need is outside libnl-route 3.7: resilient groups and their
 * buckets, IPv4 routes through IPv6 next-hop objects, and batches of which only the last message is
 * acknowledged (1,024 neighbours in 1.7 ms; an acknowledgement for each costs five times that).
 */
#ifndef SWITCH_NL_H
#define SWITCH_NL_H

#include <libmnl/libmnl.h>
#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pop/pop.h"

struct nl {
	int fd;
	uint32_t seq, portid;
	char why[160]; /* the kernel's words about the last error, or empty */
};

/* Requests queued for one send.  A zeroed one is empty. */
struct nl_batch {
	uint8_t *buf;
	size_t len, cap;
	size_t last; /* offset of the last message */
	size_t n;
	bool failed;	 /* out of memory while building */
	int ignore[2];	 /* errno values that are no error here, e.g. ENOENT when deleting */
};

int nl_open(struct nl *n);
void nl_close(struct nl *n);

/* Begins a message of family header size `header`; room: what its attributes may need at most. */
struct nlmsghdr *nl_message(struct nl_batch *b, uint16_t type, uint16_t flags, size_t header, size_t room);
void nl_message_end(struct nl_batch *b, struct nlmsghdr *h);
/* Sends the batch, waits for the acknowledgement of its last message.  0, or the first error.  Empties it. */
int nl_commit(struct nl *n, struct nl_batch *b);
void nl_batch_free(struct nl_batch *b);
/* Sends the one message in b as a dump; each() returns 0 or stops it with -errno.  -EAGAIN: changed meanwhile. */
int nl_dump(struct nl *n, struct nl_batch *b, int (*each)(void *ctx, const struct nlmsghdr *h), void *ctx);

/* --- links ------------------------------------------------------------------------------------- */
struct nl_link {
	int ifindex, master;
	char ifname[IF_NAMESIZE], kind[16];
	uint8_t mac[6];
	unsigned flags; /* IFF_* */
	bool carrier;
	bool port_open; /* a bridge port that learns or floods */
	uint32_t mtu;
};

struct nl_links {
	struct nl_link *link;
	size_t n;
};

int nl_links_read(struct nl *n, struct nl_links *out);
void nl_links_free(struct nl_links *l);
const struct nl_link *nl_links_find(const struct nl_links *l, const char *ifname);
void nl_bridge_add(struct nl_batch *b, const char *ifname, const uint8_t mac[6]);
void nl_veth_add(struct nl_batch *b, const char *ifname, const char *peer);
void nl_link_set_mac(struct nl_batch *b, int ifindex, const uint8_t mac[6]);
void nl_link_set_up(struct nl_batch *b, int ifindex);
void nl_link_set_master(struct nl_batch *b, int ifindex, int master);
void nl_link_close_port(struct nl_batch *b, int ifindex); /* no learning, no flooding of any kind */
void nl_link_del(struct nl_batch *b, int ifindex);
/* Fills nl_link from a message; also for RTM_NEWLINK notifications. */
void nl_link_parse(const struct nlmsghdr *h, struct nl_link *out);

/* --- neighbours and bridge rows ------------------------------------------------------------------ */
struct nl_neigh {
	int ifindex, master;
	uint16_t state;
	uint8_t flags;
	uint8_t address[16]; /* IPv6 neighbours only */
	uint8_t mac[6];
	bool has_mac;
};

void nl_neigh_put(struct nl_batch *b, int ifindex, const uint8_t address[16], const uint8_t mac[6]);
void nl_neigh_del(struct nl_batch *b, int ifindex, const uint8_t address[16]);
int nl_neighs_read(struct nl *n, int ifindex, int (*each)(void *ctx, const struct nl_neigh *e), void *ctx);
void nl_fdb_put(struct nl_batch *b, int port, const uint8_t mac[6]);
void nl_fdb_del(struct nl_batch *b, int port, const uint8_t mac[6]);
int nl_fdb_read(struct nl *n, int bridge, int (*each)(void *ctx, const struct nl_neigh *e), void *ctx);

/* --- addresses, next hops, routes ------------------------------------------------------------------ */
void nl_address_put(struct nl_batch *b, int ifindex, const uint8_t address[16]);
int nl_address_has(struct nl *n, int ifindex, const uint8_t address[16]); /* 1, 0 or -errno */

struct nl_nexthop {
	uint32_t id;
	int ifindex;
	uint8_t gateway[16];
	uint8_t protocol;
	bool group;
	size_t n_members;
	bool resilient;
};

void nl_nexthop_put(struct nl_batch *b, uint32_t id, int ifindex, const uint8_t gateway[16], uint8_t protocol);
void nl_nexthop_del(struct nl_batch *b, uint32_t id);
void nl_group_put(struct nl_batch *b, uint32_t id, const uint32_t *member, size_t n, uint8_t protocol);
int nl_nexthops_read(struct nl *n, int (*each)(void *ctx, const struct nl_nexthop *e), void *ctx);
/* Which next hop each bucket of a resilient group leads to. */
int nl_buckets_read(struct nl *n, uint32_t group, int (*each)(void *ctx, uint32_t bucket, uint32_t nexthop), void *ctx);

struct nl_route {
	struct address dst;
	uint8_t prefix_len, protocol, type; /* RTN_* */
	uint32_t table, nexthop_id, metric;
};

/* The last of all routes to one address: looked at only where no other leads anywhere. */
#define NL_DROP_METRIC UINT32_MAX

void nl_route_put(struct nl_batch *b, const struct address *dst, uint32_t nexthop_id, uint8_t protocol);
void nl_route_del(struct nl_batch *b, const struct address *dst, uint8_t protocol);
/* A blackhole beneath that route: without any route the kernel would answer "unreachable". */
void nl_drop_put(struct nl_batch *b, const struct address *dst, uint8_t protocol);
void nl_drop_del(struct nl_batch *b, const struct address *dst, uint8_t protocol);
/* Routes of the main table and that protocol. */
int nl_routes_read(struct nl *n, sa_family_t family, uint8_t protocol,
		   int (*each)(void *ctx, const struct nl_route *e), void *ctx);

#endif
