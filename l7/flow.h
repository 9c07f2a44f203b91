/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Rows: what a host's kernel does with the packets of a connection that moves or has moved.  Shared by
 * l7/flow.bpf.c and l7/rows.c.  The key is struct flow (lb/flow.h) as the client's packets spell it.
 *
 *   state     ingress                               egress of the same flow
 *   HOLD      into our TAP                          dropped
 *   FWD       to the owner's host, TTL - 1          passes
 *   CLOSING   as FWD; a SYN removes the row         passes
 *
 * Past its deadline (0: none) a row is as if it were not there, whoever is dead: the program looks at the clock.
 * An ICMP error follows the packet that it quotes.
 */
#ifndef L7_FLOW_H
#define L7_FLOW_H

#include "lb/flow.h"
#include "lb/vmac.h"

#define FLOW_ROWS_MAX 262144u

enum row_state { ROW_NONE, ROW_HOLD, ROW_FWD, ROW_CLOSING };

struct row {
	__u64 cid;
	__u64 deadline_ns; /* CLOCK_MONOTONIC */
	__u64 seen_ns;	   /* the last packet that it acted on */
	__u32 e;
	__u16 owner; /* host id: FWD, CLOSING */
	__u8 state;  /* enum row_state */
	__u8 dropped; /* HOLD: what of ours was dropped on its way out: enum row_dropped bits */
};

enum row_dropped { ROW_DROPPED_ACK = 1, ROW_DROPPED_DATA = 2 };

struct flow_config {
	__u32 tap;  /* ifindex of our TAP: HOLD */
	__u32 link; /* ifindex of the link that forwards what comes back out of the TAP; others use their own */
	__u16 self;
	__u16 zero;
};

enum flow_count {
	FLOW_MISS,
	FLOW_HELD,
	FLOW_HELD_EGRESS, /* dropped */
	FLOW_FORWARDED,
	FLOW_EXPIRED, /* a row past its deadline was met */
	FLOW_REMOVED, /* by a SYN */
	FLOW_TTL,     /* dropped: it would have gone on for ever */
	FLOW_ERROR,   /* a helper failed: passed on as if there were no row */
	FLOW_COUNTS,
};

_Static_assert(sizeof(struct row) == 32, "a map value: no padding");

#endif
