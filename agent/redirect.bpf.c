// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The host data path in TC eBPF: ingress of each host link.  It finds the facts that lb/verdict.h
 * asks for, and does what the verdict says: deliver, send on to the previous owner out of the same
 * device, copy to every host, or answer a probe.
 *
 * TC rather than XDP: GRO's super-packets stay whole, taps see everything, and it works on veth,
 * bonds and bridges.  At rest a frame is judged by its addresses alone.  All state is in pinned
 * maps: the program goes on when the agent is gone.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <stddef.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#define PACKET_TC
#include "agent/redirect.h"
#include "lb/probe.h"

#define PACKET_HOST 0

char _license[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct redirect_config);
} config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct redirect_state);
} state SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, REASON_MAX);
	__type(key, __u32);
	__type(value, __u64);
} reasons SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, HOST_ID_MAX + 1);
	__type(key, __u32);
	__type(value, struct redirect_host);
} hosts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, REDIRECT_VIPS_MAX);
	__type(key, struct redirect_vip);
	__type(value, __u8);
} vips SEC(".maps");

/* The other hosts, to whom a packet without a known owner is copied: config.n_relay of them. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, HOST_ID_MAX + 1);
	__type(key, __u32);
	__type(value, __u16);
} relay SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, REDIRECT_WATCH_MAX);
	__type(key, struct flow);
	__type(value, struct redirect_watch);
} watch SEC(".maps");

/* --- What we read of the kernel's sockets; CO-RE finds the fields. --------------------------------- */

struct tcp_request_sock {
	__u32 snt_isn, rcv_isn;
} __attribute__((preserve_access_index));

struct tcp_sock {
	__u32 rcv_nxt, rcv_wnd, snd_una, write_seq;
} __attribute__((preserve_access_index));

struct sock_common {
	__u32 skc_tw_rcv_nxt;
	__u32 skc_tw_snd_nxt;
} __attribute__((preserve_access_index));

struct inet_timewait_sock {
	struct sock_common __tw_common;
	volatile unsigned char tw_substate;
} __attribute__((preserve_access_index));

struct tcp_timewait_sock {
	struct inet_timewait_sock tw_sk;
	__u32 tw_rcv_wnd;
} __attribute__((preserve_access_index));

/* --- Counters ------------------------------------------------------------------------------------- */

static __always_inline void count(__u32 reason)
{
	__u64 *n = bpf_map_lookup_elem(&reasons, &reason);

	if (n)
		*n += 1;
}

static __always_inline struct redirect_state *the_state(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&state, &zero);
}

static __always_inline void came_in(const struct detour *came)
{
	struct redirect_state *s = the_state();
	__u32 id = came->sender;
	struct redirect_host *h = bpf_map_lookup_elem(&hosts, &id);

	if (h)
		h->from += 1;
	if (s)
		s->last_in_ns = bpf_ktime_get_coarse_ns();
}

/*
 * The big pieces are global functions: the verifier proves each of them once, alone, instead of once
 * per path that leads to it.  Hence the checks of pointers that cannot be NULL.
 */

/* --- Facts ---------------------------------------------------------------------------------------- */

static __always_inline __u32 flow_tuple(const struct flow *f, struct bpf_sock_tuple *t)
{
	if (f->family == FLOW_V6) {
		__builtin_memcpy(t->ipv6.saddr, f->saddr, 16);
		__builtin_memcpy(t->ipv6.daddr, f->daddr, 16);
		t->ipv6.sport = f->sport;
		t->ipv6.dport = f->dport;
		return sizeof(t->ipv6);
	}
	t->ipv4.saddr = f->saddr[0];
	t->ipv4.daddr = f->daddr[0];
	t->ipv4.sport = f->sport;
	t->ipv4.dport = f->dport;
	return sizeof(t->ipv4);
}

static __always_inline struct bpf_sock *flow_lookup(struct __sk_buff *skb, const struct flow *f)
{
	struct bpf_sock_tuple t = {};

	/* Two calls, since the verifier wants to know the size. */
	if (flow_tuple(f, &t) == sizeof(t.ipv6))
		return bpf_skc_lookup_tcp(skb, &t, sizeof(t.ipv6), BPF_F_CURRENT_NETNS, 0);
	return bpf_skc_lookup_tcp(skb, &t, sizeof(t.ipv4), BPF_F_CURRENT_NETNS, 0);
}

static __always_inline enum verdict_socket judge_request(struct bpf_sock *sk, const struct packet *p)
{
	struct tcp_request_sock *r = bpf_skc_to_tcp_request_sock(sk);

	if (!r)
		return SOCKET_NONE;
	return verdict_fits_request(p, r->snt_isn, r->rcv_isn) ? SOCKET_REQUEST : SOCKET_REQUEST_OTHER;
}

static __always_inline enum verdict_socket judge_time_wait(struct bpf_sock *sk, const struct packet *p)
{
	struct tcp_timewait_sock *tw = bpf_skc_to_tcp_timewait_sock(sk);
	struct tcp_window w;
	int fits;

	if (!tw)
		return SOCKET_NONE;
	w.rcv_nxt = tw->tw_sk.__tw_common.skc_tw_rcv_nxt;
	w.rcv_wnd = tw->tw_rcv_wnd;
	w.snd_una = w.snd_end = tw->tw_sk.__tw_common.skc_tw_snd_nxt;
	fits = tw->tw_sk.tw_substate == BPF_TCP_TIME_WAIT ? verdict_fits_time_wait(p, &w) : verdict_fits_window(p, &w);
	return fits ? SOCKET_TIME_WAIT : SOCKET_TIME_WAIT_OTHER;
}

static __always_inline enum verdict_socket judge_full(struct bpf_sock *sk, const struct packet *p)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	struct tcp_window w;

	if (!tp)
		return SOCKET_NONE;
	w.rcv_nxt = tp->rcv_nxt;
	w.rcv_wnd = tp->rcv_wnd;
	w.snd_una = tp->snd_una;
	w.snd_end = tp->write_seq;
	return verdict_fits_window(p, &w) ? SOCKET_ESTABLISHED : SOCKET_ESTABLISHED_OTHER;
}

/* Gives the socket back. */
static __always_inline enum verdict_socket judge_socket(struct bpf_sock *sk, const struct packet *p)
{
	enum verdict_socket found;

	if (sk->state == BPF_TCP_LISTEN)
		found = SOCKET_LISTEN;
	else if (sk->state == BPF_TCP_NEW_SYN_RECV)
		found = judge_request(sk, p);
	else if (sk->state == BPF_TCP_TIME_WAIT)
		found = judge_time_wait(sk, p);
	else
		found = judge_full(sk, p);
	bpf_sk_release(sk);
	return found;
}

__noinline int find_socket(struct __sk_buff *skb, const struct packet *p)
{
	struct bpf_sock *sk;

	if (!p)
		return SOCKET_NONE;
	sk = flow_lookup(skb, &p->flow);
	return sk ? judge_socket(sk, p) : SOCKET_NONE;
}

/* The kernel's own check; it knows nothing of a cookie unless cookies were sent of late. */
__noinline int find_cookie(struct __sk_buff *skb, const struct packet *p)
{
	struct packet_tcp tcp;
	struct packet_v6 ip = {};
	struct bpf_sock *sk;
	long err;

	if (!p || packet_load(skb, p->l4, &tcp, sizeof(tcp)))
		return COOKIE_NO;
	if (p->flow.family == FLOW_V6 ? packet_load(skb, p->l3, &ip, sizeof(ip)) :
					packet_load(skb, p->l3, &ip, sizeof(struct packet_v4)))
		return COOKIE_NO;
	sk = flow_lookup(skb, &p->flow);
	if (!sk)
		return COOKIE_NO;
	if (p->flow.family == FLOW_V6)
		err = bpf_tcp_check_syncookie(sk, &ip, sizeof(ip), (struct tcphdr *)&tcp, sizeof(tcp));
	else
		err = bpf_tcp_check_syncookie(sk, &ip, sizeof(struct packet_v4), (struct tcphdr *)&tcp, sizeof(tcp));
	bpf_sk_release(sk);
	return err ? COOKIE_NO : COOKIE_VALID;
}

static __always_inline int find_vip(const struct packet *p)
{
	struct redirect_vip key = { .family = p->flow.family };

	__builtin_memcpy(key.addr, p->flow.daddr, sizeof(key.addr));
	return bpf_map_lookup_elem(&vips, &key) ? VIP_YES : VIP_NO;
}

__noinline int read_packet(struct __sk_buff *skb, struct packet *p)
{
	if (!p)
		return PACKET_MALFORMED;
	return packet_parse(skb, skb->len, p);
}

__noinline int decide(const struct verdict_facts *f, struct verdict *v)
{
	if (!f || !v)
		return VERDICT_PASS;
	*v = verdict(f);
	return 0;
}

/* Everything about the frame, and then the verdict; changes nothing.  socket: what quick_socket() has found. */
static __always_inline void judge(struct __sk_buff *skb, const struct redirect_config *c, const struct packet_eth *eth,
				  int socket, struct packet *p, struct verdict_facts *f, struct verdict *v)
{
	int i;

	f->socket = (__u8)socket;
	f->self = c->self;
	f->detours_on = c->detours_on;
	f->is_vmac = (__u8)vmac_decode(eth->dst, &f->triple);
	f->detoured = (__u8)detour_decode(eth->src, &f->came);
	f->status = (__u8)read_packet(skb, p);
	if (skb->vlan_present)
		f->status = PACKET_TAGGED;
	f->shape = p->shape;
	f->protocol = p->flow.protocol;
	f->tcp_flags = p->tcp_flags;
	for (i = 0; i < 4; i++) { /* three questions, then the answer */
		decide(f, v);
		if (v->action == VERDICT_ASK_VIP)
			f->vip = (__u8)find_vip(p);
		else if (v->action == VERDICT_ASK_SOCKET)
			f->socket = (__u8)find_socket(skb, p);
		else if (v->action == VERDICT_ASK_COOKIE)
			f->cookie = (__u8)find_cookie(skb, p);
		else
			break;
	}
}

/* --- What is done --------------------------------------------------------------------------------- */

static __always_inline int deliver(struct __sk_buff *skb)
{
	/* A vMAC that is not the device's own address arrives as OTHERHOST: the stack would drop it. */
	if (skb->pkt_type != PACKET_HOST)
		bpf_skb_change_type(skb, PACKET_HOST);
	return TC_ACT_UNSPEC; /* filters behind this one see it too */
}

static __always_inline int send_on(struct __sk_buff *skb, const struct verdict *v)
{
	struct redirect_state *s = the_state();
	__u32 id = v->to.host[0];
	struct redirect_host *h = bpf_map_lookup_elem(&hosts, &id);
	__u8 mac[12];

	vmac_encode(mac, &v->to);
	detour_encode(mac + 6, &v->detour);
	if (bpf_skb_store_bytes(skb, 0, mac, sizeof(mac), 0)) {
		count(REASON_SEND_FAILED);
		return TC_ACT_SHOT;
	}
	if (h)
		h->to += 1;
	if (s)
		s->last_out_ns = bpf_ktime_get_coarse_ns();
	return (int)bpf_redirect(skb->ifindex, 0);
}

/* At most REDIRECT_RELAY_PER_WINDOW frames per window cause copies: no amplifier. */
static __always_inline int relay_allowed(void)
{
	struct redirect_state *s = the_state();
	__u64 window = bpf_ktime_get_coarse_ns() / REDIRECT_RELAY_WINDOW_NS;

	if (!s)
		return 0;
	if (s->relay_window != window) {
		s->relay_window = window;
		s->relay_used = 0;
	}
	return __sync_fetch_and_add(&s->relay_used, 1) < REDIRECT_RELAY_PER_WINDOW;
}

struct relay_job {
	struct __sk_buff *skb;
	__u16 self;
	__u8 source[6];
};

static long relay_one(__u32 i, void *ctx)
{
	struct relay_job *job = ctx;
	struct __sk_buff *skb = job->skb;
	__u16 *host = bpf_map_lookup_elem(&relay, &i);
	struct triple to = {};
	__u8 mac[12];

	if (!host || !host_id_valid(*host) || *host == job->self)
		return 0;
	to.host[0] = *host;
	vmac_encode(mac, &to);
	__builtin_memcpy(mac + 6, job->source, 6);
	if (bpf_skb_store_bytes(skb, 0, mac, sizeof(mac), 0) || bpf_clone_redirect(skb, skb->ifindex, 0))
		count(REASON_SEND_FAILED);
	return 0;
}

static __always_inline void relay_all(struct __sk_buff *skb, const struct redirect_config *c,
				      const struct packet_eth *eth, const struct verdict *v)
{
	struct relay_job job = { .skb = skb, .self = c->self };

	if (!relay_allowed()) {
		count(REASON_RELAY_LIMITED);
		return;
	}
	detour_encode(job.source, &v->detour);
	bpf_loop(c->n_relay & 0xfff, relay_one, &job, 0);
	bpf_skb_store_bytes(skb, 0, eth, 12, 0); /* what is delivered here looks as it came */
}

/* The owner through which a watched flow's packets come: whoever got them first. */
static __always_inline void note_owner(const struct redirect_config *c, const struct packet *p,
				       const struct verdict_facts *f)
{
	struct redirect_watch *w = bpf_map_lookup_elem(&watch, &p->flow);

	if (w)
		w->owner = f->detoured ? f->came.first : c->self;
}

/*
 * The agent probes the sockets that it has listed.  One may have closed meanwhile; then the stack here,
 * or that of the host before us, would answer the peer's bare ACK with a reset, of a connection that has
 * ended well.  Whoever has anything to say sends more than a bare ACK: nothing is lost with it.
 */
static __always_inline int is_late_answer(struct __sk_buff *skb, const struct packet *p, const struct verdict_facts *f)
{
	int socket = f->socket;

	if (f->protocol != PACKET_TCP || f->shape || p->segment ||
	    (f->tcp_flags & (TCP_FLAG_BIT_ACK | TCP_FLAG_BIT_SYN | TCP_FLAG_BIT_RST)) != TCP_FLAG_BIT_ACK)
		return 0;
	if (!bpf_map_lookup_elem(&watch, &p->flow))
		return 0;
	if (socket == SOCKET_UNKNOWN)
		socket = find_socket(skb, p);
	if (socket == SOCKET_LISTEN)
		return find_cookie(skb, p) != COOKIE_VALID;
	return socket == SOCKET_NONE;
}

/* Both are 2-byte aligned in their structures and in the frame. */
static __always_inline int same_mac(const void *a, const void *b)
{
	const __u16 *x = a, *y = b;

	return x[0] == y[0] && x[1] == y[1] && x[2] == y[2];
}

static __always_inline int is_probe(const struct redirect_config *c, const struct packet_eth *eth)
{
	return eth->type == lb_be16(PROBE_ETHERTYPE) && same_mac(eth->dst, c->own_mac) &&
	       eth->src[0] == MAC_KIND_ROUTER;
}

static __always_inline int answer_probe(struct __sk_buff *skb, const struct redirect_config *c,
					const struct packet_eth *eth)
{
	struct probe probe;
	__u8 mac[12];

	if (packet_load(skb, sizeof(*eth), &probe, sizeof(probe)))
		return TC_ACT_UNSPEC;
	if (probe.magic != lb_be16(PROBE_MAGIC) || probe.version != PROBE_VERSION || probe.kind != PROBE_REQUEST)
		return TC_ACT_UNSPEC;
	probe.kind = PROBE_REPLY;
	probe.host = lb_be16(c->self);
	__builtin_memcpy(mac, eth->src, 6);
	__builtin_memcpy(mac + 6, eth->dst, 6);
	if (bpf_skb_store_bytes(skb, 0, mac, sizeof(mac), 0) ||
	    bpf_skb_store_bytes(skb, sizeof(*eth), &probe, sizeof(probe), 0))
		return TC_ACT_SHOT;
	count(REASON_PROBE);
	return (int)bpf_redirect(skb->ifindex, 0);
}

/*
 * The frame of a host at rest: for [self], and an ordinary TCP or UDP packet, which verdict() calls
 * mine whatever else is true.  Two comparisons, no parsing, no lookup of VIPs or sockets.
 */
static __always_inline int at_rest(struct __sk_buff *skb, const struct redirect_config *c)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	const __u16 *mac = data;
	const __u8 *ip = data + PACKET_ETH_LEN;
	__u8 protocol;

	if (data + PACKET_ETH_LEN + sizeof(struct packet_v4) > end || c->watching)
		return 0;
	if (!same_mac(mac, c->own_mac) || *(const __u8 *)(mac + 3) == MAC_KIND_DETOUR)
		return 0;
	if (mac[6] == lb_be16(PACKET_ETH_V4)) {
		if (ip[0] != 0x45 || (ip[6] & 0x3f) || ip[7])
			return 0;
		protocol = ip[9];
	} else if (mac[6] == lb_be16(PACKET_ETH_V6)) {
		protocol = ip[6];
	} else {
		return 0;
	}
	return protocol == PACKET_TCP || protocol == PACKET_UDP;
}

/*
 * The usual question of a bucket with a history, asked without the whole of parsing and judging: for a
 * plain TCP segment from the switch, with our vMAC and another host behind it, which socket it fits.
 * SOCKET_ESTABLISHED is the verdict already (lb/verdict.h, rule 7); any other answer is a fact for it.
 * SOCKET_UNKNOWN: not such a segment, or one that only the parser can tell.
 */
static __always_inline int quick_socket(struct __sk_buff *skb, const struct redirect_config *c)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	const struct packet_eth *eth = data;
	const struct packet_tcp *tcp;
	struct bpf_sock_tuple t;
	struct bpf_sock *sk;
	struct triple triple;
	struct packet p;
	__u32 room, doff;

	if (data + PACKET_ETH_LEN + sizeof(struct packet_v4) + sizeof(*tcp) > end || eth->src[0] == MAC_KIND_DETOUR)
		return SOCKET_UNKNOWN;
	if (!vmac_decode(eth->dst, &triple) || triple.host[0] != c->self || triple.host[1] == HOST_NONE)
		return SOCKET_UNKNOWN;
	if (eth->type == lb_be16(PACKET_ETH_V4)) {
		const struct packet_v4 *ip = data + PACKET_ETH_LEN;

		tcp = (const void *)(ip + 1);
		room = lb_be16(ip->len);
		if (ip->version_ihl != 0x45 || ip->frag & lb_be16(0x3fff) || ip->protocol != PACKET_TCP ||
		    PACKET_ETH_LEN + room > skb->len || room < sizeof(*ip) + sizeof(*tcp))
			return SOCKET_UNKNOWN;
		room -= sizeof(*ip);
		t.ipv4.saddr = ip->saddr;
		t.ipv4.daddr = ip->daddr;
		t.ipv4.sport = tcp->sport;
		t.ipv4.dport = tcp->dport;
	} else {
		const struct packet_v6 *ip = data + PACKET_ETH_LEN;

		tcp = (const void *)(ip + 1);
		if (eth->type != lb_be16(PACKET_ETH_V6) || (const void *)(tcp + 1) > end)
			return SOCKET_UNKNOWN;
		room = lb_be16(ip->len);
		if (*(const __u8 *)ip >> 4 != 6 || ip->next != PACKET_TCP ||
		    PACKET_ETH_LEN + sizeof(*ip) + room > skb->len || room < sizeof(*tcp))
			return SOCKET_UNKNOWN;
		__builtin_memcpy(t.ipv6.saddr, ip->saddr, 16);
		__builtin_memcpy(t.ipv6.daddr, ip->daddr, 16);
		t.ipv6.sport = tcp->sport;
		t.ipv6.dport = tcp->dport;
	}
	doff = (__u32)(tcp->doff >> 4) * 4;
	p.tcp_flags = tcp->flags;
	p.shape = 0;
	if (doff < sizeof(*tcp) || doff > room || (p.tcp_flags & (TCP_FLAG_BIT_SYN | TCP_FLAG_BIT_ACK)) == TCP_FLAG_BIT_SYN)
		return SOCKET_UNKNOWN;
	p.seq = lb_be32(tcp->seq);
	p.ack = lb_be32(tcp->ack);
	p.segment = room - doff + !!(p.tcp_flags & TCP_FLAG_BIT_SYN) + !!(p.tcp_flags & TCP_FLAG_BIT_FIN);
	/* Two calls, since the verifier wants to know the size. */
	if (eth->type == lb_be16(PACKET_ETH_V4))
		sk = bpf_skc_lookup_tcp(skb, &t, sizeof(t.ipv4), BPF_F_CURRENT_NETNS, 0);
	else
		sk = bpf_skc_lookup_tcp(skb, &t, sizeof(t.ipv6), BPF_F_CURRENT_NETNS, 0);
	return sk ? judge_socket(sk, &p) : SOCKET_NONE;
}

static __always_inline const struct redirect_config *the_config(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&config, &zero);
}

/* Everything that is not at rest. */
static __noinline int consider(struct __sk_buff *skb, int socket)
{
	const struct redirect_config *c = the_config();
	struct verdict_facts f = {};
	struct verdict v = {};
	struct packet_eth eth;
	struct packet p = {};

	if (!c || packet_load(skb, 0, &eth, sizeof(eth)))
		return TC_ACT_UNSPEC;
	if (is_probe(c, &eth))
		return answer_probe(skb, c, &eth);
	judge(skb, c, &eth, socket, &p, &f, &v);
	count(v.reason);
	if (f.detoured && v.action != VERDICT_PASS)
		came_in(&f.came);
	if (c->watching && f.status == PACKET_OK && (v.action == VERDICT_MINE || v.action == VERDICT_DETOUR) &&
	    is_late_answer(skb, &p, &f)) {
		count(REASON_PROBE_ANSWER);
		return TC_ACT_SHOT;
	}
	switch (v.action) {
	case VERDICT_MINE:
		if (c->watching && f.status == PACKET_OK && !(f.shape & PACKET_ICMP_ERROR))
			note_owner(c, &p, &f);
		if (v.reason == REASON_COOKIE) {
			struct redirect_state *s = the_state();

			if (s)
				s->last_cookie_ns = bpf_ktime_get_coarse_ns();
		}
		return deliver(skb);
	case VERDICT_DETOUR:
		return send_on(skb, &v);
	case VERDICT_RELAY:
		relay_all(skb, c, &eth, &v);
		return deliver(skb);
	case VERDICT_DROP:
		return TC_ACT_SHOT;
	default:
		return TC_ACT_UNSPEC;
	}
}

SEC("tc")
int redirect(struct __sk_buff *skb)
{
	const struct redirect_config *c = the_config();
	int socket;

	if (!c || !c->self)
		return TC_ACT_UNSPEC;
	if (skb->vlan_present)
		return consider(skb, SOCKET_UNKNOWN);
	if (at_rest(skb, c)) {
		count(REASON_AT_REST);
		return deliver(skb);
	}
	socket = quick_socket(skb, c);
	if (socket == SOCKET_ESTABLISHED && !c->watching) {
		count(REASON_ESTABLISHED);
		return deliver(skb);
	}
	return consider(skb, socket);
}

/* What `redirect` would decide, told rather than done: BPF_PROG_TEST_RUN for `baton explain`. */
SEC("tc")
int explain(struct __sk_buff *skb)
{
	const struct redirect_config *c = the_config();
	struct verdict_facts f = {};
	struct verdict v = {};
	struct packet_eth eth;
	struct packet p = {};

	if (!c || packet_load(skb, 0, &eth, sizeof(eth)))
		return (int)REDIRECT_EXPLAIN(VERDICT_PASS, REASON_NOT_IP, 0);
	judge(skb, c, &eth, SOCKET_UNKNOWN, &p, &f, &v);
	return (int)REDIRECT_EXPLAIN(v.action, v.reason, v.to.host[0]);
}
