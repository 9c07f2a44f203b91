/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * TC ingress on bridge ports: the source guard.  Sources speak (lb/vmac.h), so a host must not be able
 * to speak for another.  An unknown port passes nothing.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#define PACKET_TC
#include "switch/fabric_prog.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, FABRIC_PORTS_MAX);
	__type(key, __u32);
	__type(value, struct port_role);
} roles SEC(".maps");

SEC("tc")
int port_guard(struct __sk_buff *skb)
{
	__u32 ifindex = skb->ifindex;
	struct port_role *role = bpf_map_lookup_elem(&roles, &ifindex);
	struct packet_eth eth;

	if (!role || packet_load(skb, 0, &eth, sizeof(eth)) || !source_allowed(eth.src, role->host)) {
		count(COUNT_GUARD);
		return 2; /* TC_ACT_SHOT */
	}
	return -1; /* TC_ACT_UNSPEC */
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
