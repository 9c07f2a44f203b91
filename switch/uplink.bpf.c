/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * TC ingress on uplinks, for the kernel's own forwarding: makes the kernel choose our bucket.
 *
 * With fib_multipath_hash_policy=1 the kernel takes a packet's hash, if it is marked as an L4 hash, shifts
 * it right by one and takes the remainder by the group's buckets.  bpf_set_hash() marks it so; hence
 * the hash is the bucket, shifted left.  (Over veth, what would be used otherwise is the sender's own
 * random number, which changes when it retransmits.)
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#define PACKET_TC
#define FABRIC_PROG_VIPS
#include "switch/fabric_prog.h"

const volatile __u32 hash_seed;
const volatile __u32 bucket_mask;

#define ACT_NEXT (-1) /* TC_ACT_UNSPEC: whatever else is attached here goes on */
#define ACT_DROP 2    /* TC_ACT_SHOT */

SEC("tc")
int uplink(struct __sk_buff *skb)
{
	struct packet p;
	int status = packet_parse(skb, skb->len, &p);
	__u32 kind, bucket;

	if (status == PACKET_NOT_IP || status == PACKET_TAGGED)
		return ACT_NEXT;
	kind = vip_kind(&p.flow);
	if (!kind) {
		count(COUNT_UPLINK_PASS);
		return ACT_NEXT;
	}
	if (status != PACKET_OK) {
		count(COUNT_VIP_BAD);
		return ACT_DROP;
	}
	if (!addressed_to_flow(skb, &p)) {
		count(COUNT_UPLINK_PASS);
		return ACT_NEXT;
	}
	bucket = flow_hash(&p.flow, hash_seed) & bucket_mask;
	if (kind == VIP_PROBE)
		skb->cb[0] = bucket; /* for who asks by a test run, before this is attached */
	bpf_set_hash(skb, bucket << 1);
	count(kind == VIP_PROBE ? COUNT_PROBE : COUNT_VIP_TC);
	return ACT_NEXT;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
