/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the switch's eBPF programs and user space agree on: counters by reason, VIP map values, map
 * sizes.  A counter is one slot of a per-CPU array; its name is in fabric_counter_name().
 */
#ifndef SWITCH_FABRIC_BPF_H
#define SWITCH_FABRIC_BPF_H

#define FABRIC_BUCKETS_MAX 4096
#define FABRIC_HOSTS_MAX 4096
#define FABRIC_VIPS_MAX 4096
#define FABRIC_PORTS_MAX 8192

/* The value of an address in the VIP maps. */
#define VIP_SERVICE 1
#define VIP_PROBE 2 /* for the proof of bucket equality; never leaves the switch */

/* What a bridge port is, by ifindex. */
struct port_role {
	__u16 host; /* host id at the other end, or 0: a peer switch */
	__u16 slot; /* 1.. */
};

enum fabric_count {
	COUNT_VIP_TC,	       /* packets to VIPs that took the kernel's path */
	COUNT_VIP_XDP,	       /* ... and XDP's */
	COUNT_VIP_NO_OWNER,    /* dropped: nobody owns the bucket */
	COUNT_VIP_BAD,	       /* dropped: truncated, malformed, too many extension headers */
	COUNT_VIP_TTL,	       /* left to the kernel: time to live is over */
	COUNT_VIP_OPTIONS,     /* left to the kernel: IPv4 options */
	COUNT_VIP_MTU,	       /* left to the kernel: larger than a port takes */
	COUNT_UPLINK_PASS,     /* not for a VIP: left to the kernel */
	COUNT_GUARD,	       /* dropped: a source address that this port's host may not use */
	COUNT_BRIDGED,	       /* XDP: host to host */
	COUNT_NO_ROW,	       /* dropped: a vMAC whose owner is not known here */
	COUNT_HAIRPIN,	       /* dropped: would leave by the port it came in */
	COUNT_ROUTED,	       /* XDP: host to uplink */
	COUNT_PORT_PASS,       /* from a host, left to the kernel */
	COUNT_PROBE,	       /* frames of the proof */
	COUNT_MAX,
};

static inline const char *fabric_counter_name(enum fabric_count c)
{
	switch (c) {
	case COUNT_VIP_TC: return "vip_kernel";
	case COUNT_VIP_XDP: return "vip_xdp";
	case COUNT_VIP_NO_OWNER: return "drop_no_owner";
	case COUNT_VIP_BAD: return "drop_malformed";
	case COUNT_VIP_TTL: return "pass_ttl";
	case COUNT_VIP_OPTIONS: return "pass_options";
	case COUNT_VIP_MTU: return "pass_mtu";
	case COUNT_UPLINK_PASS: return "pass_uplink";
	case COUNT_GUARD: return "drop_source";
	case COUNT_BRIDGED: return "bridged";
	case COUNT_NO_ROW: return "drop_no_row";
	case COUNT_HAIRPIN: return "drop_hairpin";
	case COUNT_ROUTED: return "routed";
	case COUNT_PORT_PASS: return "pass_port";
	case COUNT_PROBE: return "probe";
	case COUNT_MAX: break;
	}
	return "?";
}

#endif
