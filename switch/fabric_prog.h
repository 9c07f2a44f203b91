/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Shared by the switch's eBPF programs: counters, VIP lookup, the source guard.  Include after
 * <bpf/bpf_helpers.h>, with PACKET_XDP or PACKET_TC defined.
 */
#ifndef SWITCH_FABRIC_PROG_H
#define SWITCH_FABRIC_PROG_H

#include "lb/packet.h"
#include "lb/vmac.h"
#include "switch/fabric_bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNT_MAX);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

static __always_inline void count(enum fabric_count reason)
{
	__u32 key = reason;
	__u64 *c = bpf_map_lookup_elem(&counters, &key);

	if (c)
		*c += 1;
}

#ifdef FABRIC_PROG_VIPS
struct vip6 {
	__be32 word[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, FABRIC_VIPS_MAX);
	__type(key, __be32);
	__type(value, __u32);
} vips4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, FABRIC_VIPS_MAX);
	__type(key, struct vip6);
	__type(value, __u32);
} vips6 SEC(".maps");

/* 0, VIP_SERVICE or VIP_PROBE. */
static __always_inline __u32 vip_kind(const struct flow *f)
{
	__u32 *v = NULL;

	if (f->family == FLOW_V4)
		v = bpf_map_lookup_elem(&vips4, &f->daddr[0]);
	else if (f->family == FLOW_V6)
		v = bpf_map_lookup_elem(&vips6, &f->daddr);
	return v ? *v : 0;
}

/*
 * An ICMP error is hashed by what it quotes; it must also be addressed to whom it quotes, or anybody
 * could steer packets for third parties into the host bridge.
 */
static __always_inline bool addressed_to_flow(struct packet_source *ctx, const struct packet *p)
{
	__be32 outer[4] = {};

	if (!(p->shape & PACKET_ICMP_ERROR))
		return true;
	if (p->ethertype_v6) {
		if (packet_load(ctx, p->l3 + 24, outer, 16))
			return false;
		return outer[0] == p->flow.daddr[0] && outer[1] == p->flow.daddr[1] &&
		       outer[2] == p->flow.daddr[2] && outer[3] == p->flow.daddr[3];
	}
	return !packet_load(ctx, p->l3 + 16, outer, 4) && outer[0] == p->flow.daddr[0];
}
#endif

/*
 * Who may use which source address on a bridge port.  A host: its own, and detour headers that name
 * it as their sender.  A peer switch: what its hosts may use, and routers' addresses.
 */
static __always_inline bool source_allowed(const __u8 src[6], __u16 host)
{
	struct detour d;
	__u16 a, b, c;

	if (detour_decode(src, &d))
		return !host || d.sender == host;
	if (mac_get(src, MAC_KIND_VMAC, &a, &b, &c))
		return a == b && b == c && (!host || a == host);
	return !host && mac_get(src, MAC_KIND_ROUTER, &a, &b, &c);
}

#endif
