/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Rows: what a host's kernel does with the packets of a connection that moves or has moved.  Shared by
 * l7/row/flow.bpf.c and l7/row/rows.c.  The key is struct flow (lb/flow.h) as the client's packets spell it.
 *
 *   state     ingress                               egress of the same flow
 *   HOLD      into our TAP                          dropped
 *   FWD       to the owner's host, TTL - 1          passes
 *   CLOSING   as FWD; a SYN removes the row         passes
 *   ENDED     to our socket, or dropped; likewise   passes
 *
 * A HOLD that names an owner is on its way to FWD: what comes back out of the TAP goes to the owner, what comes by a link
 * into the TAP still, so that nothing overtakes what has waited.
 *
 *  1. Only a frame that is for this host is looked at: to the device's own address, or to a vMAC whose head is
 *     this host.  Tagged frames, what cannot be parsed, and what is not TCP passes.
 *  2. Past its deadline (0: none) a row is as if it were not there, whoever is dead: the program looks at the clock.
 *     So is one that forwards to this host itself.
 *  3. An ICMP error follows the packet that it quotes.  What names no ports (a later fragment, a short quote) passes:
 *     the host data path copies it to every host.
 *  4. A forwarded frame goes from [self] to [owner], out of the link by which it came; with TTL 1 it is dropped.
 *  5. An owner in the map of peers is not on our links: its packets travel inside IP (RFC 2003 for IPv4 in IPv4,
 *     RFC 4213 for IPv6 in IPv4, RFC 2473 in IPv6), the oldest and shortest encapsulation, which every NIC segments and
 *     every router understands: there is nothing to say about a flow that its own header does not.  Outside: DF, no ECN
 *     (RFC 6040, compatibility mode), TTL 64.
 *  6. While there are peers, SYN-ACKs name an MSS that fits inside IP on the way to each.  A packet that is too long
 *     all the same goes to the TAP; the daemon answers it with an ICMP error that names the size that fits.  An ICMP
 *     error about a packet of ours to a peer lowers that size (RFC 2003, section 5.1).
 *  7. Inside IP, only from a peer's address to ours: taken out, and looked at again as if it had come by the link.
 *     From anybody else to such an address of ours: dropped.
 *  8. A first FIN that comes within FLOW_SETTLE_NS of FWD's beginning goes to the TAP and waits there for as long: packets that
 *     the client sent before it may be on another CPU's queue or another host's way still, and would meet a closed socket, which
 *     answers with a reset.  Whatever else is overtaken, TCP puts into order.  The same FIN again follows the first: it must
 *     come neither before it nor long after it.
 *  9. ENDED: the connection had moved, and ended here.  Older packets of the client's may wait at hosts that it came through
 *     when its end has come straight, since its bucket is ours by now.  What is addressed to nobody else, and finds no socket
 *     of the connection, is dropped: the stack would answer with a reset; so is what carries nothing to one in TIME_WAIT: that
 *     would answer with an ACK, and a client that has closed with a reset.
 */
#ifndef L7_ROW_FLOW_H
#define L7_ROW_FLOW_H

#include "lb/flow.h"
#include "lb/vmac.h"

#define FLOW_ROWS_MAX 262144u
#define FLOW_PEERS_MAX 4096u
#define FLOW_SETTLE_MAX_NS (10 * FLOW_SETTLE_NS) /* a row older than that lets FINs pass: nobody may be there to read the TAP */
#define FLOW_SETTLE_NS 20000000u /* shorter than a client's retransmission timer, longer than a packet's delay on a busy host */

enum row_state { ROW_NONE, ROW_HOLD, ROW_FWD, ROW_CLOSING, ROW_ENDED };

struct row {
	__u64 cid;
	__u64 deadline_ns; /* CLOCK_MONOTONIC */
	__u64 since_ns;	   /* rows_put() */
	__u64 seen_ns;	   /* the last packet that it acted on */
	__u64 packets;	   /* that met it, both directions, as the stack counts: a super-packet is one */
	__u32 e;
	__u16 owner;   /* host id: FWD, CLOSING */
	__u16 through; /* the bucket's owner when the last packet came; HOST_NONE: none came yet */
	__u8 state;    /* enum row_state */
	__u8 dropped;  /* HOLD: what of ours was dropped on its way out: enum row_dropped bits */
	__u8 ending;   /* FWD: enum row_ending */
	__u8 passing;  /* this host is not the connection's ingress host: it sends on what was under way to it when it gave it */
	__u32 inc;     /* of the owner's incarnation the low half: a restart finds out whether the owner has restarted too */
};

enum row_ending {
	ROW_LASTS,
	ROW_ENDING,    /* the client's FIN or RST has gone on; a SYN is another connection's now, and removes the row */
	ROW_END_WAITS, /* its FIN waits in the TAP */
};

enum row_dropped { ROW_DROPPED_ACK = 1, ROW_DROPPED_DATA = 2 };

/* An owner that is reached through IP. */
struct flow_peer {
	__be32 addr[4]; /* outer destination; IPv4 uses word 0 */
	__be32 self[4]; /* outer source */
	__u32 ifindex;	/* where the route to it leads; 0: there is none now */
	__u16 mtu;	/* of that way; what routers said of it is learnt */
	__u8 family;	/* FLOW_V4, FLOW_V6 */
	__u8 zero;
};

/* Who may send us packets inside IP: outer source and destination.  Source 0: that this address is one of ours. */
struct flow_from {
	__be32 addr[4];
	__be32 self[4];
	__u32 family;
};

struct flow_config {
	__u32 tap;  /* ifindex of our TAP: HOLD */
	__u32 link; /* ifindex of the link that forwards what comes back out of the TAP; others use their own */
	__u16 self;
	__u16 tunnel; /* there are peers */
	__u16 mss4, mss6; /* of SYN-ACKs; 0: as they are */
	__u8 mac[6];	  /* of `link` */
	__u16 zero;
};

#define FLOW_OUTER(family) ((family) == FLOW_V4 ? 20u : 40u) /* octets of the outer header */

enum flow_count {
	FLOW_MISS,
	FLOW_HELD,
	FLOW_HELD_EGRESS, /* dropped */
	FLOW_FORWARDED,
	FLOW_EXPIRED, /* a row past its deadline was met */
	FLOW_REMOVED, /* by a SYN */
	FLOW_TTL,     /* dropped: it would have gone on for ever */
	FLOW_ERROR,   /* dropped: a helper failed in the middle, or the row changed twice meanwhile */
	FLOW_SELF,    /* a row that forwards to this host: passed on as if there were none */
	FLOW_OUT,     /* forwarded inside IP (counted in FLOW_FORWARDED too) */
	FLOW_IN,      /* taken out of IP */
	FLOW_STRANGER, /* dropped: inside IP, to us, but not from a peer */
	FLOW_TOO_BIG, /* inside IP it would not fit: to the daemon, which tells the client */
	FLOW_MSS,     /* a SYN-ACK's was lowered */
	FLOW_MTU,     /* a router said that a peer's way is narrower */
	FLOW_LATE,    /* dropped: of a connection that has ended here */
	FLOW_COUNTS,
};

_Static_assert(sizeof(struct row) == 56, "a map value: no padding");
_Static_assert(sizeof(struct flow_peer) == 40, "a map value: no padding");
_Static_assert(sizeof(struct flow_from) == 36, "a map key: no padding");

static inline const char *flow_count_name(enum flow_count c)
{
	switch (c) {
	case FLOW_MISS: return "miss";
	case FLOW_HELD: return "held";
	case FLOW_HELD_EGRESS: return "held_egress";
	case FLOW_FORWARDED: return "forwarded";
	case FLOW_EXPIRED: return "expired";
	case FLOW_REMOVED: return "removed";
	case FLOW_TTL: return "ttl";
	case FLOW_ERROR: return "error";
	case FLOW_SELF: return "self";
	case FLOW_OUT: return "tunnel_out";
	case FLOW_IN: return "tunnel_in";
	case FLOW_STRANGER: return "tunnel_stranger";
	case FLOW_TOO_BIG: return "too_big";
	case FLOW_MSS: return "mss";
	case FLOW_MTU: return "peer_mtu";
	case FLOW_LATE: return "late";
	case FLOW_COUNTS: break;
	}
	return "?";
}

static inline const char *row_state_name(enum row_state s)
{
	switch (s) {
	case ROW_NONE: return "none";
	case ROW_HOLD: return "hold";
	case ROW_FWD: return "forward";
	case ROW_CLOSING: return "closing";
	case ROW_ENDED: return "ended";
	}
	return "?";
}

#endif
