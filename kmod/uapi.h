/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The module's netlink interface: generic netlink family "baton", version 1.  All of it concerns the
 * network namespace of the caller's socket, and all of it needs CAP_NET_ADMIN.
 *
 *   SET        what is not named stays as it is; the whole message takes effect, or, with an error, nothing of it
 *                SELF u16            who we are; 0: every frame passes untouched
 *                DETOURS u8          0: never send on (the control of every claim)
 *                VIPS { VIP binary (struct baton_vip) ... }      replaces the set
 *                VIPS_MORE { VIP ... }                           goes on with VIPS, since an attribute ends at 64 KiB;
 *                                                                together BATON_VIPS_MAX at most (-E2BIG)
 *                HOSTS binary (u16 ...)                          whom relays go to; replaces the set
 *                DEVICES { IFINDEX u32 ... }                     attaches and detaches; replaces the set;
 *                                                                -ENODEV if one does not exist
 *   GET        -> SELF, DETOURS, N_VIPS u32, N_HOSTS u32, DEVICES { IFINDEX ... }, N_WATCHED u32,
 *                 LAST_IN u64, LAST_OUT u64, LAST_COOKIE u64     CLOCK_MONOTONIC ns; 0: never
 *   COUNTERS   -> REASONS binary (u64 by enum verdict_reason)
 *                 DETOUR_HOSTS binary (struct baton_detours ...)   hosts with a count of 0 are left out
 *   WATCH      FLAGS u8 BATON_WATCH_CLEAR, FLOWS binary (struct flow ...)
 *                                    adds to the set of watched flows; CLEAR empties it first
 *   WATCHED    dump -> SEEN binary (struct baton_seen ...), flows seen since they were added
 *   EXPLAIN    IFINDEX, FRAME binary  -> ACTION u8, REASON u8, NEXT u16; nothing is sent
 *
 *   Multicast group "events": EVENT_DETACHED { IFINDEX, NAME } when an attached device vanishes.
 *
 * Multi-byte integers are in host byte order, addresses and ports in network byte order.
 */
#ifndef KMOD_UAPI_H
#define KMOD_UAPI_H

#include <linux/types.h>

#define BATON_GENL_NAME "baton"
#define BATON_GENL_VERSION 1
#define BATON_GENL_EVENTS "events"

#define BATON_VIPS_MAX 4096 /* as the eBPF path, the switch, and POP_ADDRESSES_MAX of pop/pop.h */
#define BATON_VIPS_PER_ATTRIBUTE 2048
#define BATON_DEVICES_MAX 64
#define BATON_WATCH_MAX 131072
#define BATON_WATCH_BATCH 1024 /* flows in one message */
#define BATON_FRAME_MAX 2048

enum baton_command {
	BATON_CMD_UNSPEC,
	BATON_CMD_SET,
	BATON_CMD_GET,
	BATON_CMD_COUNTERS,
	BATON_CMD_WATCH,
	BATON_CMD_WATCHED,
	BATON_CMD_EXPLAIN,
	BATON_CMD_EVENT_DETACHED,
};

enum baton_attribute {
	BATON_ATTR_UNSPEC,
	BATON_ATTR_SELF,
	BATON_ATTR_DETOURS,
	BATON_ATTR_VIPS,
	BATON_ATTR_VIP,
	BATON_ATTR_HOSTS,
	BATON_ATTR_DEVICES,
	BATON_ATTR_IFINDEX,
	BATON_ATTR_NAME,
	BATON_ATTR_N_VIPS,
	BATON_ATTR_N_HOSTS,
	BATON_ATTR_N_WATCHED,
	BATON_ATTR_LAST_IN,
	BATON_ATTR_LAST_OUT,
	BATON_ATTR_LAST_COOKIE,
	BATON_ATTR_REASONS,
	BATON_ATTR_DETOUR_HOSTS,
	BATON_ATTR_FLAGS,
	BATON_ATTR_FLOWS,
	BATON_ATTR_SEEN,
	BATON_ATTR_FRAME,
	BATON_ATTR_ACTION,
	BATON_ATTR_REASON,
	BATON_ATTR_NEXT,
	BATON_ATTR_PAD,
	BATON_ATTR_VIPS_MORE,
	BATON_ATTR_COUNT,
};
#define BATON_ATTR_MAX (BATON_ATTR_COUNT - 1)

#define BATON_WATCH_CLEAR 1

struct baton_vip {
	__u32 family; /* FLOW_V4, FLOW_V6 of lb/flow.h */
	__be32 addr[4];
};

struct baton_detours {
	__u64 to, from;
	__u16 host;
	__u16 zero[3];
};

/* A watched flow (struct flow of lb/flow.h, spelled out) and the host through which it came. */
struct baton_seen {
	__u8 flow[40];
	__u16 owner;
	__u16 zero;
};

#endif
