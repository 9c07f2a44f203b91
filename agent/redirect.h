/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the eBPF data path (redirect.bpf.c) and its user space (datapath_ebpf.c) share: the shapes of
 * the pinned maps.  A change of a shape is seen at adoption; the maps are then made anew.
 */
#ifndef AGENT_REDIRECT_H
#define AGENT_REDIRECT_H

#include "lb/flow.h"
#include "lb/verdict.h"

#define REDIRECT_VIPS_MAX 4096
#define REDIRECT_WATCH_MAX 131072

/* Relayed frames (not copies) that a host may cause in each window. */
#define REDIRECT_RELAY_WINDOW_NS 100000000ull
#define REDIRECT_RELAY_PER_WINDOW 32

struct redirect_config {
	__u16 self;
	__u16 n_relay;		/* hosts in the map `relay` */
	__u8 own_mac[6];	/* the vMAC of [self] */
	__u8 detours_on;
	__u8 watching;		/* the map `watch` is not empty: look at every packet */
};

/* Times of CLOCK_MONOTONIC, coarse; written by any CPU, the last one wins. */
struct redirect_state {
	__u64 last_in_ns, last_out_ns, last_cookie_ns;
	__u64 relay_window;	/* number of the window */
	__u64 relay_used;	/* in it */
};

struct redirect_host {
	__u64 to, from; /* frames sent on to and received on detour from */
};

struct redirect_vip {
	__u32 family;	/* FLOW_V4, FLOW_V6 */
	__be32 addr[4]; /* as in struct flow */
};

struct redirect_watch {
	__u16 owner;	/* HOST_NONE until seen */
	__u16 zero;
};

/* What the program `explain` returns: enum verdict_action, reason, and the next host. */
#define REDIRECT_EXPLAIN(action, reason, next) ((__u32)(action) | (__u32)(reason) << 8 | (__u32)(next) << 16)

#endif
