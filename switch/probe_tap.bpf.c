/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * TC egress on the host bridge, for the proof of bucket equality: a frame to the probe VIP has gone the
 * whole way through TC, route, group and neighbour.  Which next hop it was given is in its dst entry;
 * the next hop's address names the bucket.  The frame ends here.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "lb/flow.h"

/* Written for each frame, read by user space: (sequence << 32 | bucket). */
__u64 tapped;
const volatile __be32 probe4;
const volatile __be32 probe6[4];

#define TAP_UNKNOWN 0xffff

static __always_inline __u32 bucket_of(const __u8 a[16])
{
	if (a[0] != 0xfe || a[1] != 0x80 || a[10] != 0xba || a[11] != 0x70 || a[13] != 3)
		return TAP_UNKNOWN;
	return (__u32)a[14] << 8 | a[15];
}

SEC("tc")
int probe_tap(struct __sk_buff *skb)
{
	struct sk_buff *kernel = (void *)skb;
	__u8 gateway[16] = {};
	unsigned long dst;

	if (skb->protocol == lb_be16(0x0800)) {
		__be32 daddr;

		if (bpf_skb_load_bytes(skb, 14 + 16, &daddr, 4) || daddr != probe4)
			return -1;
		/* _skb_refdst: bit 0 says that no reference is held */
		dst = BPF_CORE_READ(kernel, _skb_refdst) & ~3ul;
		if (BPF_CORE_READ((struct rtable *)dst, rt_gw_family) == 10)
			BPF_CORE_READ_INTO(&gateway, (struct rtable *)dst, rt_gw6);
	} else if (skb->protocol == lb_be16(0x86dd)) {
		__be32 daddr[4];

		if (bpf_skb_load_bytes(skb, 14 + 24, daddr, 16) || daddr[0] != probe6[0] || daddr[1] != probe6[1] ||
		    daddr[2] != probe6[2] || daddr[3] != probe6[3])
			return -1;
		dst = BPF_CORE_READ(kernel, _skb_refdst) & ~3ul;
		BPF_CORE_READ_INTO(&gateway, (struct rt6_info *)dst, rt6i_gateway);
	} else {
		return -1;
	}
	tapped = ((tapped >> 32) + 1) << 32 | bucket_of(gateway);
	return 2; /* TC_ACT_SHOT */
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
