/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What forwards packets: packet -> bucket -> vMAC -> port, three tables of fixed size.  A fabric is
 * told what its tables must be; it reads what they are and applies the difference (reconcile, never
 * remember), so that it converges from any state, its own crash included.
 */
#ifndef SWITCH_FABRIC_H
#define SWITCH_FABRIC_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb/vmac.h"
#include "pop/pop.h"

struct fdb_row {
	uint8_t mac[6];
	char ifname[IF_NAMESIZE];
};

/* The whole of what a switch must hold.  Made by switch/want.c from a view; pure. */
struct fabric_want {
	uint32_t n_buckets;
	uint32_t hash_seed;
	uint8_t (*vmac)[6]; /* by bucket */
	struct fdb_row *fdb;
	size_t n_fdb;
	struct address *vip; /* route: VIP -> the bucket group */
	size_t n_vips;
	uint16_t *host; /* whose addresses on the links are resolved here, see lb/link.h */
	size_t n_hosts;
	uint16_t switch_id;
};

/* Releases what want_make() or read() allocated; a zeroed one is fine. */
void fabric_want_free(struct fabric_want *w);
int fabric_want_copy(struct fabric_want *to, const struct fabric_want *from); /* 0 or -ENOMEM */

struct fabric_caps {
	const char *name;
	const char *hash_family; /* switches of different families cannot share a POP */
	uint32_t buckets_max;
};

struct fabric_counter {
	const char *name;
	uint64_t packets;
};

#define FABRIC_COUNTERS_MAX 64

struct fabric;

struct fabric_ops {
	const struct fabric_caps *caps;
	int (*open)(const struct switch_conf *conf, const struct pop *pop, struct event_base *base, struct fabric **out);
	/* Brings the tables to `want`: what a state needs (FDB) before the neighbours, what it no longer needs after.
	 * done() is called when everything is in force, or with -errno and a reason; never before apply returns for
	 * a paced fabric.  A later apply replaces an unfinished one. */
	void (*apply)(struct fabric *f, const struct fabric_want *want, void (*done)(void *ctx, int err, const char *why), void *ctx);
	/* Reads what is held now; for `show`, `explain` and reconcile tests.  Caller frees with fabric_want_free. */
	int (*read)(struct fabric *f, struct fabric_want *have);
	/* The bucket that this fabric's real forwarding path chooses for each of n flows, for the proof of equality. */
	int (*probe_buckets)(struct fabric *f, const void *frames, size_t frame_len, size_t n, uint32_t *bucket);
	/* The same, asked of programs that such a want would bring in, before anything of it is in force. */
	int (*preview_buckets)(struct fabric *f, const struct fabric_want *want, const void *frames, size_t frame_len, size_t n,
			       uint32_t *bucket);
	/* A counter by name for each reason to drop, pass or forward; at most `max`, returns how many. */
	size_t (*counters)(struct fabric *f, struct fabric_counter *c, size_t max);
	/* Packets to VIPs so far: silence is proven by this standing still. */
	int (*vip_packets)(struct fabric *f, uint64_t *packets);
	void (*close)(struct fabric *f, bool remove); /* remove: take what is ours out of the kernel; else leave it forwarding */
};

extern const struct fabric_ops fabric_netlink, fabric_xdp, fabric_paced;

#endif
