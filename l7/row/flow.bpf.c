// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The rows of hand-off (l7/row/flow.h) in TC eBPF: ingress and egress of every host link, before the host data
 * path's own program, and ingress of the TAP, out of which held packets come back to go where the row
 * says by then.  Maps are pinned: rows forward on when the daemon is gone.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <stddef.h>

#include <bpf/bpf_helpers.h>

#define PACKET_TC
#include "l7/row/flow.h"
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

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, FLOW_PEERS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32); /* host id */
	__type(value, struct flow_peer);
} flow_peers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2 * FLOW_PEERS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct flow_from);
	__type(value, __u32); /* host id */
} flow_from SEC(".maps");

static __always_inline void count(__u32 what)
{
	__u64 *n = bpf_map_lookup_elem(&flow_counts, &what);

	if (n)
		++*n;
}

/* What a row says, all of one moment. */
struct said {
	__u64 since;
	__u16 owner;
	__u8 state, ending;
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
		said->since = *(volatile __u64 *)&r->since_ns;
		said->state = *(volatile __u8 *)&r->state;
		said->ending = *(volatile __u8 *)&r->ending;
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

/* --- Inside IP ------------------------------------------------------------------------------------------------ */

/* The longest IP packet that leaves, once a super-packet is cut into segments. */
static __always_inline __u32 longest(struct __sk_buff *skb, const struct packet *p)
{
	struct packet_tcp tcp;

	if (!skb->gso_size || packet_load(skb, p->l4, &tcp, sizeof(tcp)))
		return skb->len - PACKET_ETH_LEN;
	return p->l4 - p->l3 + (__u32)(tcp.doff >> 4) * 4 + skb->gso_size;
}

static __always_inline __be16 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__be16)~sum;
}

static __always_inline int put_outer_v4(struct __sk_buff *skb, const struct packet *p, const struct flow_peer *peer)
{
	struct packet_v4 ip = { .version_ihl = 0x45, .frag = lb_be16(0x4000), .ttl = 64 };
	__be16 type = lb_be16(PACKET_ETH_V4);

	ip.len = lb_be16((__u16)(skb->len - PACKET_ETH_LEN));
	ip.protocol = p->ethertype_v6 ? 41 : 4;
	ip.saddr = peer->self[0];
	ip.daddr = peer->addr[0];
	ip.check = fold((__u32)bpf_csum_diff(NULL, 0, (__be32 *)&ip, sizeof(ip), 0));
	return bpf_skb_store_bytes(skb, offsetof(struct packet_eth, type), &type, sizeof(type), 0) ||
	       bpf_skb_store_bytes(skb, PACKET_ETH_LEN, &ip, sizeof(ip), 0);
}

static __always_inline int put_outer_v6(struct __sk_buff *skb, const struct packet *p, const struct flow_peer *peer)
{
	struct packet_v6 ip = { .hops = 64 };
	__be16 type = lb_be16(PACKET_ETH_V6);

	/* The label tells flows apart on ways of equal cost (RFC 6438). */
	ip.version_flow = lb_be32(6u << 28 | (flow_hash(&p->flow, 0) & 0xfffff));
	ip.len = lb_be16((__u16)(skb->len - PACKET_ETH_LEN - sizeof(ip)));
	ip.next = p->ethertype_v6 ? 41 : 4;
	__builtin_memcpy(ip.saddr, peer->self, 16);
	__builtin_memcpy(ip.daddr, peer->addr, 16);
	return bpf_skb_store_bytes(skb, offsetof(struct packet_eth, type), &type, sizeof(type), 0) ||
	       bpf_skb_store_bytes(skb, PACKET_ETH_LEN, &ip, sizeof(ip), 0);
}

static __always_inline int encapsulate(struct __sk_buff *skb, const struct packet *p, const struct flow_peer *peer,
				       const struct flow_config *c)
{
	__u32 outer = FLOW_OUTER(peer->family), ifindex = peer->ifindex;
	__u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO;

	if (longest(skb, p) + outer > peer->mtu) {
		count(FLOW_TOO_BIG);
		return (int)bpf_redirect(c->tap, 0);
	}
	flags |= peer->family == FLOW_V4 ? BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 : BPF_F_ADJ_ROOM_ENCAP_L3_IPV6;
	/* A super-packet whose outer length would not fit its field is sent again, shorter. */
	if (!ifindex || skb->len + outer > 65535 || hop(skb, p) ||
	    bpf_skb_adjust_room(skb, (__s32)outer, BPF_ADJ_ROOM_MAC, flags) ||
	    (peer->family == FLOW_V4 ? put_outer_v4(skb, p, peer) : put_outer_v6(skb, p, peer))) {
		count(FLOW_ERROR);
		return TC_ACT_SHOT;
	}
	count(FLOW_FORWARDED);
	count(FLOW_OUT);
	return (int)bpf_redirect_neigh(ifindex, NULL, 0, 0);
}

/* Is it from a peer, to us?  The peer's id; 0: to us, but from a stranger; negative: nothing of ours. */
static __always_inline __s32 peer_of(const __be32 addr[4], const __be32 self[4], __u8 family)
{
	struct flow_from from = { .family = family };
	__u32 *host;

	__builtin_memcpy(from.self, self, 16);
	if (!bpf_map_lookup_elem(&flow_from, &from))
		return -1;
	__builtin_memcpy(from.addr, addr, 16);
	host = bpf_map_lookup_elem(&flow_from, &from);
	return host ? (__s32)*host : 0;
}

static __always_inline int is_ip_in_ip(const struct packet *p)
{
	return p->flow.protocol == 4 || p->flow.protocol == 41;
}

/* It arrives again, on the link, as what it is inside: eth_type_trans() there sees the new type. */
static __always_inline int decapsulate(struct __sk_buff *skb, const struct packet *p, const struct flow_config *c)
{
	__s32 peer = peer_of(p->flow.saddr, p->flow.daddr, p->flow.family), outer = p->l4 - p->l3;
	struct packet_eth eth;
	__u8 version;

	if (peer < 0)
		return TC_ACT_UNSPEC;
	if (!peer) {
		count(FLOW_STRANGER);
		return TC_ACT_SHOT;
	}
	if (p->shape || packet_load(skb, 0, &eth, sizeof(eth)) || packet_load(skb, p->l4, &version, sizeof(version)) ||
	    version >> 4 != (p->flow.protocol == 4 ? 4 : 6) ||
	    bpf_skb_adjust_room(skb, -outer, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO)) {
		count(FLOW_ERROR);
		return TC_ACT_SHOT;
	}
	__builtin_memcpy(eth.dst, c->mac, sizeof(eth.dst));
	eth.type = version >> 4 == 4 ? lb_be16(PACKET_ETH_V4) : lb_be16(PACKET_ETH_V6);
	if (bpf_skb_store_bytes(skb, 0, &eth, sizeof(eth), 0)) {
		count(FLOW_ERROR);
		return TC_ACT_SHOT;
	}
	count(FLOW_IN);
	return (int)bpf_redirect(c->link, BPF_F_INGRESS);
}

/* A router on the way to a peer: our packet was too long for what comes next.  Below what every way must carry, it lies. */
static __always_inline void learn_mtu(struct __sk_buff *skb, const struct packet *p)
{
	struct flow_peer *peer;
	__be32 icmp[2];
	__u32 host, mtu;
	__s32 id;

	if (packet_load(skb, p->l4, icmp, sizeof(icmp)))
		return;
	if (p->ethertype_v6)
		mtu = lb_be32(icmp[0]) >> 24 == 2 ? lb_be32(icmp[1]) : 0;
	else
		mtu = lb_be32(icmp[0]) >> 16 == 0x0304 ? lb_be32(icmp[1]) & 0xffff : 0;
	if (mtu < (p->ethertype_v6 ? 1280 : 576))
		return;
	id = peer_of(p->flow.saddr, p->flow.daddr, p->flow.family); /* the quote, reversed: from the peer to us */
	if (id <= 0)
		return;
	host = (__u32)id;
	peer = bpf_map_lookup_elem(&flow_peers, &host);
	if (!peer || mtu >= peer->mtu)
		return;
	peer->mtu = (__u16)mtu;
	count(FLOW_MTU);
}

/* Ours have the MSS as their first option.  The client then sends what fits, wherever its connection moves. */
static __always_inline void lower_mss(struct __sk_buff *skb, const struct packet *p, const struct flow_config *c)
{
	__u16 limit = p->ethertype_v6 ? c->mss6 : c->mss4, mss;
	__u32 at = (__u32)p->l4 & 0xff;
	__u8 option[4];
	__be16 new;

	if (!limit || packet_load(skb, at + sizeof(struct packet_tcp), option, sizeof(option)))
		return;
	mss = (__u16)(option[2] << 8 | option[3]);
	if (option[0] != 2 || option[1] != 4 || mss <= limit)
		return;
	new = lb_be16(limit);
	if (bpf_l4_csum_replace(skb, at + offsetof(struct packet_tcp, check), lb_be16(mss), new, sizeof(new)) ||
	    bpf_skb_store_bytes(skb, at + sizeof(struct packet_tcp) + 2, &new, sizeof(new), 0))
		return;
	count(FLOW_MSS);
}

/* --- By the link ------------------------------------------------------------------------------------------------ */

static __always_inline int forward(struct __sk_buff *skb, const struct packet *p, __u16 owner,
				   const struct flow_config *c)
{
	struct triple to = { { owner } }, self = { { c->self } };
	__u8 mac[12];

	if (p->ttl <= 1) {
		count(FLOW_TTL);
		return TC_ACT_SHOT;
	}
	if (c->tunnel) {
		__u32 host = owner;
		struct flow_peer *peer = bpf_map_lookup_elem(&flow_peers, &host);

		if (peer)
			return encapsulate(skb, p, peer, c);
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

static __always_inline int is_fin(const struct packet *p)
{
	return !(p->shape & PACKET_ICMP_ERROR) &&
	       (p->tcp_flags & (TCP_FLAG_BIT_FIN | TCP_FLAG_BIT_RST)) == TCP_FLAG_BIT_FIN;
}

/* Rule 8. */
static __always_inline int settles(const struct said *said, __u64 now)
{
	return now - said->since < (said->ending == ROW_END_WAITS ? FLOW_SETTLE_MAX_NS : said->ending ? 0 : FLOW_SETTLE_NS);
}

/* Rule 9.  Does nobody wait for it? */
static __always_inline int is_late(struct __sk_buff *skb, const struct packet *p)
{
	struct bpf_sock_tuple t = {};
	struct bpf_sock *sk;
	int late;

	if (p->flow.family == FLOW_V6) {
		__builtin_memcpy(t.ipv6.saddr, p->flow.saddr, 16);
		__builtin_memcpy(t.ipv6.daddr, p->flow.daddr, 16);
		t.ipv6.sport = p->flow.sport;
		t.ipv6.dport = p->flow.dport;
		sk = bpf_skc_lookup_tcp(skb, &t, sizeof(t.ipv6), BPF_F_CURRENT_NETNS, 0);
	} else {
		t.ipv4.saddr = p->flow.saddr[0];
		t.ipv4.daddr = p->flow.daddr[0];
		t.ipv4.sport = p->flow.sport;
		t.ipv4.dport = p->flow.dport;
		sk = bpf_skc_lookup_tcp(skb, &t, sizeof(t.ipv4), BPF_F_CURRENT_NETNS, 0);
	}
	if (!sk)
		return 1;
	late = sk->state == BPF_TCP_LISTEN || (sk->state == BPF_TCP_TIME_WAIT && !p->segment);
	bpf_sk_release(sk);
	return late;
}

/* An older owner that the address names may have a connection of the same ports: that is the host data path's to say. */
static __always_inline int after_the_end(struct __sk_buff *skb, const struct packet *p, const struct packet_eth *eth)
{
	struct triple t;

	if (p->shape & PACKET_ICMP_ERROR || (vmac_decode(eth->dst, &t) && t.host[1] != HOST_NONE) || !is_late(skb, p))
		return TC_ACT_UNSPEC;
	count(FLOW_LATE);
	return TC_ACT_SHOT;
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

	if (skb->vlan_present || packet_parse(skb, skb->len, &p) != PACKET_OK)
		return TC_ACT_UNSPEC;
	c = bpf_map_lookup_elem(&flow_config, &zero);
	if (c && c->tunnel && is_ip_in_ip(&p)) {
		if (!(p.shape & PACKET_ICMP_ERROR))
			return decapsulate(skb, &p, c);
		learn_mtu(skb, &p);
		return TC_ACT_UNSPEC;
	}
	if (p.flow.protocol != PACKET_TCP || p.shape & PACKET_NO_OWNER)
		return TC_ACT_UNSPEC;
	/* The daemon's own answer to a packet that was too long: out by the routes. */
	if (c && skb->ifindex == c->tap && p.shape & PACKET_ICMP_ERROR && skb->pkt_type != PACKET_HOST)
		return (int)bpf_redirect_neigh(c->link, NULL, 0, 0);
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
		if (skb->ifindex != c->tap || !host_id_valid(said.owner) || said.owner == c->self) {
			note(r, &eth, c->self, now);
			count(FLOW_HELD);
			return (int)bpf_redirect(c->tap, 0);
		}
		said.state = ROW_FWD; /* what waited goes on as by its row: an end is noted, a SYN after it removes the row */
	}
	if ((said.state == ROW_CLOSING || said.state == ROW_ENDED || said.ending == ROW_ENDING) && is_syn(&p)) {
		bpf_map_delete_elem(&rows, &p.flow); /* the port is used again: the next connection is nobody's yet */
		count(FLOW_REMOVED);
		return TC_ACT_UNSPEC;
	}
	if (said.state == ROW_ENDED) {
		note(r, &eth, c->self, now);
		return after_the_end(skb, &p, &eth);
	}
	if ((said.state != ROW_FWD && said.state != ROW_CLOSING) || !host_id_valid(said.owner) || said.owner == c->self) {
		count(FLOW_SELF);
		return TC_ACT_UNSPEC;
	}
	if (said.state == ROW_FWD && skb->ifindex != c->tap && is_fin(&p) && settles(&said, now)) {
		*(volatile __u8 *)&r->ending = ROW_END_WAITS;
		note(r, &eth, c->self, now);
		count(FLOW_HELD);
		return (int)bpf_redirect(c->tap, 0);
	}
	if (p.tcp_flags & (TCP_FLAG_BIT_FIN | TCP_FLAG_BIT_RST) && !(p.shape & PACKET_ICMP_ERROR))
		*(volatile __u8 *)&r->ending = ROW_ENDING;
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
	__u32 zero = 0;

	if (skb->vlan_present || packet_parse(skb, skb->len, &p) != PACKET_OK || p.flow.protocol != PACKET_TCP ||
	    p.shape & (PACKET_NO_OWNER | PACKET_ICMP_ERROR))
		return TC_ACT_UNSPEC;
	if ((p.tcp_flags & (TCP_FLAG_BIT_SYN | TCP_FLAG_BIT_ACK)) == (TCP_FLAG_BIT_SYN | TCP_FLAG_BIT_ACK)) {
		struct flow_config *c = bpf_map_lookup_elem(&flow_config, &zero);

		if (c && c->tunnel)
			lower_mss(skb, &p, c);
	}
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
