/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A software switch in XDP: packet -> bucket -> vMAC -> port.
 *
 *   uplink   VIP? -> hash -> bucket -> {vMAC, port} -> TTL, MACs -> redirect
 *   port     source guard; a vMAC -> its owner's port; the router's address -> FIB -> uplink
 *
 * The cost is the same at any number of flows: no table has a row per flow, and none grows.  What is
 * rare or hard (TTL over, IPv4 options, too large, no neighbour yet, BGP, ICMP to us) passes to
 * the kernel, whose own tables the netlink fabric keeps: same hash, same buckets.
 *
 * An entry of `buckets` and of `host_slot` is one word that user space stores through a memory mapping,
 * so a packet sees the old one or the new one and nothing between.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#define PACKET_XDP
#define FABRIC_PROG_VIPS
#include "switch/fabric_prog.h"

const volatile __u32 hash_seed;
const volatile __u32 bucket_mask;
const volatile __u8 router[6];
volatile __u32 mtu = 1500; /* the smallest of the ports */

#define AF_INET 2
#define AF_INET6 10

/* MAC in the low 48 bits, as in memory on a little-endian machine; slot of the port above; 0: nobody. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, FABRIC_BUCKETS_MAX);
	__type(key, __u32);
	__type(value, __u64);
} buckets SEC(".maps");

/* The port of a vMAC's owner: all rows of one owner lead to one port. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, FABRIC_HOSTS_MAX);
	__type(key, __u32);
	__type(value, __u64);
} host_slot SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, FABRIC_PORTS_MAX);
	__type(key, __u32);
	__type(value, __u32);
} ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP_HASH); /* key: ifindex */
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u32);
} uplinks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, FABRIC_PORTS_MAX);
	__type(key, __u32);
	__type(value, struct port_role);
} roles SEC(".maps");

/* The packet is one hop further.  `p` says that the header is there; the verifier wants to see it again. */
static __always_inline bool hop(struct xdp_md *ctx, __u32 l3, bool v6)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	if (l3 != PACKET_ETH_LEN)
		return false;
	if (v6) {
		struct packet_v6 *h = data + PACKET_ETH_LEN;

		if ((void *)(h + 1) > end)
			return false;
		h->hops--;
	} else {
		struct packet_v4 *h = data + PACKET_ETH_LEN;
		__u32 check;

		if ((void *)(h + 1) > end)
			return false;
		/* RFC 1624: the high byte of one word falls by one, so its complement's sum rises */
		check = h->check;
		check += lb_be16(0x0100);
		h->check = (__be16)(check + (check >= 0xffff));
		h->ttl--;
	}
	return true;
}

static __always_inline bool has_options(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct packet_v4 *h = data + PACKET_ETH_LEN;

	return (void *)(h + 1) > end || h->version_ihl != 0x45;
}

static __always_inline bool to_router(const __u8 dst[6])
{
	return dst[0] == router[0] && dst[1] == router[1] && dst[2] == router[2] && dst[3] == router[3] &&
	       dst[4] == router[4] && dst[5] == router[5];
}

static __always_inline int pass(enum fabric_count reason)
{
	count(reason);
	return XDP_PASS;
}

static __always_inline int drop(enum fabric_count reason)
{
	count(reason);
	return XDP_DROP;
}

SEC("xdp")
int xdp_uplink(struct xdp_md *ctx)
{
	__u32 len = ctx->data_end - ctx->data, bucket, kind;
	struct packet_eth *eth;
	__u64 *entry, e;
	struct packet p;

	/* What cannot be parsed is for TC to judge, which also sees what is not in the first buffer. */
	if (packet_parse(ctx, len, &p) != PACKET_OK)
		return pass(COUNT_UPLINK_PASS);
	kind = vip_kind(&p.flow);
	if (!kind || !addressed_to_flow(ctx, &p))
		return pass(COUNT_UPLINK_PASS);
	bucket = flow_hash(&p.flow, hash_seed) & bucket_mask;
	if (kind == VIP_PROBE) {
		eth = (void *)(long)ctx->data;
		if ((void *)(eth + 1) > (void *)(long)ctx->data_end)
			return XDP_DROP;
		eth->src[4] = bucket >> 8;
		eth->src[5] = bucket;
		return drop(COUNT_PROBE);
	}
	if (!p.ethertype_v6 && has_options(ctx))
		return pass(COUNT_VIP_OPTIONS);
	if (len > mtu + PACKET_ETH_LEN)
		return pass(COUNT_VIP_MTU);
	entry = bpf_map_lookup_elem(&buckets, &bucket);
	e = entry ? *(volatile __u64 *)entry : 0;
	if (!(e >> 48))
		return drop(COUNT_VIP_NO_OWNER);
	if (p.ttl <= 1)
		return pass(COUNT_VIP_TTL);
	if (!hop(ctx, p.l3, p.ethertype_v6))
		return pass(COUNT_UPLINK_PASS);
	eth = (void *)(long)ctx->data;
	if ((void *)(eth + 1) > (void *)(long)ctx->data_end)
		return XDP_DROP;
	*(__u32 *)eth->dst = (__u32)e;
	*(__u16 *)(eth->dst + 4) = (__u16)(e >> 32);
	for (int i = 0; i < 6; i++) /* a memcpy would lose `volatile`, and the compiler knows the initial value */
		eth->src[i] = router[i];
	count(COUNT_VIP_XDP);
	return bpf_redirect_map(&ports, (__u32)(e >> 48), XDP_DROP);
}

static __always_inline int route(struct xdp_md *ctx)
{
	__u32 len = ctx->data_end - ctx->data;
	struct bpf_fib_lookup fib = {};
	struct packet_eth *eth;
	struct packet p;
	__u32 out;

	if (packet_parse(ctx, len, &p) != PACKET_OK || p.ttl <= 1 || p.l3 != PACKET_ETH_LEN)
		return pass(COUNT_PORT_PASS);
	if (p.shape & PACKET_ICMP_ERROR) /* its flow is not its own addresses; rare */
		return pass(COUNT_PORT_PASS);
	if (vip_kind(&p.flow)) /* a route through the buckets: TC and kernel do it */
		return pass(COUNT_PORT_PASS);
	if (p.ethertype_v6) {
		fib.family = AF_INET6;
		__builtin_memcpy(fib.ipv6_src, p.flow.saddr, 16);
		__builtin_memcpy(fib.ipv6_dst, p.flow.daddr, 16);
	} else {
		if (has_options(ctx))
			return pass(COUNT_PORT_PASS);
		fib.family = AF_INET;
		fib.ipv4_src = p.flow.saddr[0];
		fib.ipv4_dst = p.flow.daddr[0];
	}
	fib.l4_protocol = p.flow.protocol;
	fib.sport = p.flow.sport;
	fib.dport = p.flow.dport;
	fib.tot_len = len - PACKET_ETH_LEN;
	fib.ifindex = ctx->ingress_ifindex;
	if (bpf_fib_lookup(ctx, &fib, sizeof(fib), 0) != BPF_FIB_LKUP_RET_SUCCESS)
		return pass(COUNT_PORT_PASS);
	out = fib.ifindex;
	if (!bpf_map_lookup_elem(&uplinks, &out)) /* not an uplink: the kernel knows how */
		return pass(COUNT_PORT_PASS);
	if (!hop(ctx, p.l3, p.ethertype_v6))
		return pass(COUNT_PORT_PASS);
	eth = (void *)(long)ctx->data;
	if ((void *)(eth + 1) > (void *)(long)ctx->data_end)
		return XDP_DROP;
	__builtin_memcpy(eth->dst, fib.dmac, 6);
	__builtin_memcpy(eth->src, fib.smac, 6);
	count(COUNT_ROUTED);
	return bpf_redirect_map(&uplinks, out, XDP_DROP);
}

SEC("xdp")
int xdp_port(struct xdp_md *ctx)
{
	__u32 ifindex = ctx->ingress_ifindex, owner;
	struct port_role *role = bpf_map_lookup_elem(&roles, &ifindex);
	struct packet_eth eth;
	__u16 a, b, c;
	__u64 *slot;

	if (!role || packet_load(ctx, 0, &eth, sizeof(eth)) || !source_allowed(eth.src, role->host))
		return drop(COUNT_GUARD);
	if (mac_get(eth.dst, MAC_KIND_VMAC, &a, &b, &c)) {
		owner = a;
		slot = bpf_map_lookup_elem(&host_slot, &owner);
		if (!slot || !*slot)
			return drop(COUNT_NO_ROW);
		if (*slot == role->slot)
			return drop(COUNT_HAIRPIN);
		count(COUNT_BRIDGED);
		return bpf_redirect_map(&ports, (__u32)*slot, XDP_DROP);
	}
	if (to_router(eth.dst) &&
	    (eth.type == lb_be16(PACKET_ETH_V4) || eth.type == lb_be16(PACKET_ETH_V6)))
		return route(ctx);
	return pass(COUNT_PORT_PASS);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
