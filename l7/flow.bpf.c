// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The rows of hand-off (l7/flow.h) in TC eBPF: ingress and egress of every host link, before the host data
 * path's own program, and ingress of the TAP, out of which held packets come back to go where the row
 * says by then.  Maps are pinned: rows forward on when the daemon is gone.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <stddef.h>

#include <bpf/bpf_helpers.h>

#define PACKET_TC
#include "l7/flow.h"
#include "lb/packet.h"

#define PACKET_HOST 0 /* linux/if_packet.h */

char _license[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, FLOW_ROWS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct flow);
	__type(value, struct row);
} rows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct flow_config);
} flow_config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, FLOW_COUNTS);
	__type(key, __u32);
	__type(value, __u64);
} flow_counts SEC(".maps");

static __always_inline void count(__u32 what)
{
	__u64 *n = bpf_map_lookup_elem(&flow_counts, &what);

	if (n)
		++*n;
}

/* What a row says, all of one moment. */
struct said {
	__u16 owner;
	__u8 state;
};

enum found { FOUND_NONE, FOUND, FOUND_BUSY };

/*
 * The flow's row, unless it has ended.  A row that is taken away or replaced leaves its memory to the next one at once,
 * perhaps to another flow's: what was read counts only if the row is still where it was.  The increment orders the two
 * looks on every CPU.
 */
static __always_inline enum found find_row(const struct flow *f, __u64 now, struct row **at, struct said *said)
{
	struct row *r;
	__u64 deadline;
	int i;

	for (i = 0; i < 2; i++) {
		r = bpf_map_lookup_elem(&rows, f);
		if (!r)
			return FOUND_NONE;
		said->owner = *(volatile __u16 *)&r->owner;
		said->state = *(volatile __u8 *)&r->state;
		deadline = *(volatile __u64 *)&r->deadline_ns;
		if (deadline && now >= deadline) {
			count(FLOW_EXPIRED);
			return FOUND_NONE;
		}
		__sync_fetch_and_add(&r->packets, 1);
		*at = r;
		if (bpf_map_lookup_elem(&rows, f) == r)
			return FOUND;
	}
	return FOUND_BUSY;
}

/* One hop less: two hosts whose rows point at each other end a packet, not themselves. */
static __always_inline int hop(struct __sk_buff *skb, const struct packet *p)
{
	__u32 at = p->l3 & 0xff;
	__u8 ttl = p->ttl - 1;

	/* IPv6 has no checksum of its own header: a NIC's sum over the whole packet must follow. */
	if (p->ethertype_v6)
		return bpf_skb_store_bytes(skb, at + offsetof(struct packet_v6, hops), &ttl, 1, BPF_F_RECOMPUTE_CSUM);
	/* TTL is the high byte of its 16-bit word. */
	if (bpf_l3_csum_replace(skb, at + offsetof(struct packet_v4, check), lb_be16((__u16)p->ttl << 8),
				lb_be16((__u16)ttl << 8), 2))
		return -1;
	return bpf_skb_store_bytes(skb, at + offsetof(struct packet_v4, ttl), &ttl, 1, 0);
}

static __always_inline int forward(struct __sk_buff *skb, const struct packet *p, __u16 owner,
				   const struct flow_config *c)
{
	struct triple to = { { owner } }, self = { { c->self } };
	__u8 mac[12];

	if (p->ttl <= 1) {
		count(FLOW_TTL);
		return TC_ACT_SHOT;
	}
	vmac_encode(mac, &to);
	vmac_encode(mac + 6, &self);
	if (hop(skb, p) || bpf_skb_store_bytes(skb, 0, mac, sizeof(mac), 0)) {
		count(FLOW_ERROR);
		return TC_ACT_SHOT; /* half rewritten */
	}
	count(FLOW_FORWARDED);
	return (int)bpf_redirect(skb->ifindex == c->tap ? c->link : skb->ifindex, 0);
}

/* Rule 1.  A promiscuous link brings frames of other hosts, whose packets are theirs to forward. */
static __always_inline int is_for_us(struct __sk_buff *skb, const struct packet_eth *eth, const struct flow_config *c)
{
	struct triple t;

	return skb->pkt_type == PACKET_HOST || (vmac_decode(eth->dst, &t) && t.host[0] == c->self);
}

static __always_inline int is_syn(const struct packet *p)
{
	return !(p->shape & PACKET_ICMP_ERROR) &&
	       (p->tcp_flags & (TCP_FLAG_BIT_SYN | TCP_FLAG_BIT_ACK)) == TCP_FLAG_BIT_SYN;
}

static __always_inline void note(struct row *r, const struct packet_eth *eth, __u16 self, __u64 now)
{
	struct detour came;

	r->seen_ns = now;
	r->through = detour_decode(eth->src, &came) ? came.first : self;
}

SEC("tc")
int flow_ingress(struct __sk_buff *skb)
{
	struct packet_eth eth;
	struct flow_config *c;
	struct row *r = NULL;
	enum found found;
	struct said said;
	struct packet p;
	__u32 zero = 0;
	__u64 now;

	if (skb->vlan_present || packet_parse(skb, skb->len, &p) != PACKET_OK || p.flow.protocol != PACKET_TCP ||
	    p.shape & PACKET_NO_OWNER)
		return TC_ACT_UNSPEC;
	c = bpf_map_lookup_elem(&flow_config, &zero);
	if (!c || packet_load(skb, 0, &eth, sizeof(eth)) || !is_for_us(skb, &eth, c)) {
		count(FLOW_MISS);
		return TC_ACT_UNSPEC;
	}
	now = bpf_ktime_get_ns();
	found = find_row(&p.flow, now, &r, &said);
	if (found == FOUND_NONE) {
		count(FLOW_MISS);
		return TC_ACT_UNSPEC;
	}
	if (found == FOUND_BUSY || !r) {
		count(FLOW_ERROR);
		return TC_ACT_SHOT;
	}
	if (said.state == ROW_HOLD) {
		note(r, &eth, c->self, now);
		count(FLOW_HELD);
		return (int)bpf_redirect(c->tap, 0);
	}
	if (said.state == ROW_CLOSING && is_syn(&p)) {
		bpf_map_delete_elem(&rows, &p.flow); /* the port is used again: the next connection is nobody's yet */
		count(FLOW_REMOVED);
		return TC_ACT_UNSPEC;
	}
	if ((said.state != ROW_FWD && said.state != ROW_CLOSING) || !host_id_valid(said.owner) || said.owner == c->self) {
		count(FLOW_SELF);
		return TC_ACT_UNSPEC;
	}
	note(r, &eth, c->self, now);
	return forward(skb, &p, said.owner, c);
}

SEC("tc")
int flow_egress(struct __sk_buff *skb)
{
	struct flow reversed = {};
	struct row *r = NULL;
	struct said said;
	struct packet p;

	if (skb->vlan_present || packet_parse(skb, skb->len, &p) != PACKET_OK || p.flow.protocol != PACKET_TCP ||
	    p.shape & (PACKET_NO_OWNER | PACKET_ICMP_ERROR))
		return TC_ACT_UNSPEC;
	__builtin_memcpy(reversed.saddr, p.flow.daddr, 16);
	__builtin_memcpy(reversed.daddr, p.flow.saddr, 16);
	reversed.sport = p.flow.dport;
	reversed.dport = p.flow.sport;
	reversed.family = p.flow.family;
	reversed.protocol = p.flow.protocol;
	if (find_row(&reversed, bpf_ktime_get_ns(), &r, &said) == FOUND_NONE || !r || said.state != ROW_HOLD)
		return TC_ACT_UNSPEC;
	r->dropped |= p.segment ? ROW_DROPPED_ACK | ROW_DROPPED_DATA : ROW_DROPPED_ACK;
	count(FLOW_HELD_EGRESS);
	return TC_ACT_SHOT;
}
