/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Makes each packet anew before the program under test sees it (BPF_PROG_TEST_RUN does not reset a
 * packet between repeats): flow number `n` of `n_flows`, or a SYN of a random flow.  Then a tail call.
 */
#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

volatile __u64 n_flows = 1; /* 0: a SYN flood */
volatile __u64 counter;
volatile __u8 dst_mac[6];
volatile __u32 vip = 0xcb007150; /* 203.0.113.80, host byte order */

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u32);
} target SEC(".maps");

static __always_inline int make(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + 14;
	struct tcphdr *tcp = data + 34;
	__u64 i = counter++, flow;
	__u32 sum, source;
	int k;

	if ((void *)(tcp + 1) > end)
		return XDP_ABORTED;
	flow = n_flows ? (i * 2654435761u) % n_flows : bpf_get_prandom_u32();
	source = 0xc6120000 + (__u32)(flow / 50000) % 131072; /* 198.18.0.0/15, RFC 2544 */
	for (k = 0; k < 6; k++)
		eth->h_dest[k] = dst_mac[k];
	__builtin_memset(eth->h_source, 2, 6);
	eth->h_proto = bpf_htons(0x0800);
	__builtin_memset(ip, 0, sizeof(*ip) + sizeof(*tcp));
	*(__u8 *)ip = 0x45;
	ip->tot_len = bpf_htons(46);
	ip->ttl = 64;
	ip->protocol = 6;
	ip->saddr = bpf_htonl(source);
	ip->daddr = bpf_htonl(vip);
	sum = 0x4500 + 46 + (64 << 8 | 6) + (source >> 16) + (source & 0xffff) + (vip >> 16) + (vip & 0xffff);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	ip->check = bpf_htons((__u16)~sum);
	tcp->source = bpf_htons(1024 + (__u16)(flow % 50000));
	tcp->dest = bpf_htons(80);
	*((__u8 *)tcp + 12) = 0x50;
	*((__u8 *)tcp + 13) = n_flows ? 0x10 : 0x02;
	return 0;
}

#define GENERATE(slot)                          \
	if (make(ctx))                          \
		return XDP_ABORTED;             \
	bpf_tail_call_static(ctx, &target, slot); \
	return XDP_ABORTED

SEC("xdp")
int gen_switch(struct xdp_md *ctx)
{
	GENERATE(0);
}

SEC("xdp")
int gen_empty(struct xdp_md *ctx)
{
	GENERATE(1);
}

SEC("xdp")
int gen_drop(struct xdp_md *ctx)
{
	GENERATE(2);
}

SEC("xdp")
int empty(struct xdp_md *ctx __attribute__((unused)))
{
	return XDP_PASS;
}

SEC("xdp")
int drop(struct xdp_md *ctx __attribute__((unused)))
{
	return XDP_DROP;
}

SEC("tc")
int sink(struct __sk_buff *skb __attribute__((unused)))
{
	return 2; /* TC_ACT_SHOT */
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
