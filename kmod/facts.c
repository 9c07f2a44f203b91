// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The facts that lb/verdict.h asks for: is it for a VIP, which socket holds the flow and does the
 * segment fit it, is its ACK a SYN cookie of ours.  The kernel's interfaces differ between releases;
 * Kbuild probes the headers and says which is there (BATON_*).
 */
#include <linux/if_vlan.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <net/inet6_hashtables.h>
#include <net/inet_hashtables.h>
#include <net/tcp.h>

#include "kmod/baton.h"

#if defined(BATON_LOOKUP_TAKES_HASHINFO) && defined(BATON_HASHINFO_PER_NET)
#define HASHINFO(net) (net)->ipv4.tcp_death_row.hashinfo,
#elif defined(BATON_LOOKUP_TAKES_HASHINFO)
#define HASHINFO(net) &tcp_hashinfo,
#else
#define HASHINFO(net)
#endif

/* The two ends of a flow, where they stand: in a struct flow, or in the packet itself. */
struct ends {
	const __be32 *saddr, *daddr;
	__be16 sport;
	u16 dport; /* host byte order */
	u8 family;
};

static struct ends ends_of(const struct flow *f)
{
	struct ends e = { f->saddr, f->daddr, f->sport, ntohs(f->dport), f->family };

	return e;
}

/* A reference is held (sock_gen_put) to what is found. */
static struct sock *find_flow(struct net *net, const struct ends *e, int dif)
{
#if IS_ENABLED(CONFIG_IPV6)
	if (e->family == FLOW_V6)
		return __inet6_lookup_established(net, HASHINFO(net) (const struct in6_addr *)e->saddr, e->sport,
						  (const struct in6_addr *)e->daddr, e->dport, dif, 0);
#endif
	return __inet_lookup_established(net, HASHINFO(net) *e->saddr, e->sport, *e->daddr, e->dport, dif, 0);
}

/* Listeners live until the end of the RCU section; no reference. */
static struct sock *find_listener(struct net *net, const struct ends *e, int dif)
{
#if IS_ENABLED(CONFIG_IPV6)
	if (e->family == FLOW_V6)
		return inet6_lookup_listener(net, HASHINFO(net) NULL, 0, (const struct in6_addr *)e->saddr, e->sport,
					     (const struct in6_addr *)e->daddr, e->dport, dif, 0);
#endif
	return __inet_lookup_listener(net, HASHINFO(net) NULL, 0, *e->saddr, e->sport, *e->daddr, e->dport, dif, 0);
}

static enum verdict_socket judge_sock(const struct packet *p, const struct sock *sk)
{
	struct tcp_window w;

	if (sk->sk_state == TCP_NEW_SYN_RECV) {
		const struct tcp_request_sock *r = tcp_rsk(inet_reqsk((struct sock *)sk));

		return verdict_fits_request(p, r->snt_isn, r->rcv_isn) ? SOCKET_REQUEST : SOCKET_REQUEST_OTHER;
	}
	if (sk->sk_state == TCP_TIME_WAIT) {
		const struct tcp_timewait_sock *tw = tcp_twsk(sk);
		bool fits;

		w.rcv_nxt = tw->tw_rcv_nxt;
		w.rcv_wnd = tw->tw_rcv_wnd;
		w.snd_una = w.snd_end = tw->tw_snd_nxt;
		/* A closing half of a connection waits here too. */
		fits = tw->tw_sk.tw_substate == TCP_TIME_WAIT ? verdict_fits_time_wait(p, &w) : verdict_fits_window(p, &w);
		return fits ? SOCKET_TIME_WAIT : SOCKET_TIME_WAIT_OTHER;
	}
	w.rcv_nxt = READ_ONCE(tcp_sk(sk)->rcv_nxt);
	w.rcv_wnd = READ_ONCE(tcp_sk(sk)->rcv_wnd);
	w.snd_una = READ_ONCE(tcp_sk(sk)->snd_una);
	w.snd_end = READ_ONCE(tcp_sk(sk)->write_seq);
	return verdict_fits_window(p, &w) ? SOCKET_ESTABLISHED : SOCKET_ESTABLISHED_OTHER;
}

static enum verdict_socket find_ends(struct net *net, const struct packet *p, const struct ends *e, int dif)
{
	struct sock *sk = find_flow(net, e, dif);
	enum verdict_socket found;

	if (!sk)
		return find_listener(net, e, dif) ? SOCKET_LISTEN : SOCKET_NONE;
	found = judge_sock(p, sk);
	sock_gen_put(sk);
	return found;
}

static enum verdict_socket find_socket(struct net *net, const struct packet *p, int dif)
{
	struct ends e = ends_of(&p->flow);

	return find_ends(net, p, &e, dif);
}

/*
 * The usual question of a bucket with a history, asked without the whole of parsing and judging: for a
 * plain TCP segment from the switch, with our vMAC and another host behind it, which socket it fits.
 * SOCKET_ESTABLISHED is the verdict already (lb/verdict.h, rule 7); any other answer is a fact for it.
 * SOCKET_UNKNOWN: not such a segment, or one that only the parser can tell.  As in agent/redirect.bpf.c.
 */
enum verdict_socket baton_quick_socket(struct baton_net *bn, const struct baton_conf *c, const struct sk_buff *skb,
				       const struct net_device *dev)
{
	u32 len = skb->len - (u32)skb_mac_offset(skb), linear = skb_headlen(skb) - (u32)skb_mac_offset(skb);
	const struct packet_eth *eth = (const void *)skb_mac_header(skb);
	const struct packet_tcp *tcp;
	struct triple triple;
	struct packet p;
	struct ends e;
	u32 room, doff;

	if (linear < sizeof(*eth) + sizeof(struct packet_v4) + sizeof(*tcp) || eth->src[0] == MAC_KIND_DETOUR)
		return SOCKET_UNKNOWN;
	if (!vmac_decode(eth->dst, &triple) || triple.host[0] != c->self || triple.host[1] == HOST_NONE)
		return SOCKET_UNKNOWN;
	if (eth->type == htons(ETH_P_IP)) {
		const struct packet_v4 *ip = (const void *)(eth + 1);

		tcp = (const void *)(ip + 1);
		room = ntohs(ip->len);
		if (ip->version_ihl != 0x45 || ip->frag & htons(0x3fff) || ip->protocol != PACKET_TCP ||
		    sizeof(*eth) + room > len || room < sizeof(*ip) + sizeof(*tcp))
			return SOCKET_UNKNOWN;
		room -= sizeof(*ip);
		e.family = FLOW_V4;
		e.saddr = &ip->saddr;
		e.daddr = &ip->daddr;
	} else {
		const struct packet_v6 *ip = (const void *)(eth + 1);

		tcp = (const void *)(ip + 1);
		if (eth->type != htons(ETH_P_IPV6) || linear < sizeof(*eth) + sizeof(*ip) + sizeof(*tcp))
			return SOCKET_UNKNOWN;
		room = ntohs(ip->len);
		if (*(const u8 *)ip >> 4 != 6 || ip->next != PACKET_TCP || sizeof(*eth) + sizeof(*ip) + room > len ||
		    room < sizeof(*tcp))
			return SOCKET_UNKNOWN;
		e.family = FLOW_V6;
		e.saddr = ip->saddr;
		e.daddr = ip->daddr;
	}
	doff = (u32)(tcp->doff >> 4) * 4;
	p.tcp_flags = tcp->flags;
	p.shape = 0;
	if (doff < sizeof(*tcp) || doff > room || (p.tcp_flags & (TCP_FLAG_BIT_SYN | TCP_FLAG_BIT_ACK)) == TCP_FLAG_BIT_SYN)
		return SOCKET_UNKNOWN;
	p.seq = ntohl(tcp->seq);
	p.ack = ntohl(tcp->ack);
	p.segment = room - doff + !!(p.tcp_flags & TCP_FLAG_BIT_SYN) + !!(p.tcp_flags & TCP_FLAG_BIT_FIN);
	e.sport = tcp->sport;
	e.dport = ntohs(tcp->dport);
	return find_ends(bn->net, &p, &e, dev->ifindex);
}

static int cookie_mss(const void *ip, const struct tcphdr *th, u8 family)
{
#if IS_ENABLED(CONFIG_IPV6)
	if (family == FLOW_V6)
#ifdef BATON_COOKIE_TAKES_COOKIE
		return __cookie_v6_check(ip, th, ntohl(th->ack_seq) - 1);
#else
		return __cookie_v6_check(ip, th);
#endif
#endif
#ifdef BATON_COOKIE_TAKES_COOKIE
	return __cookie_v4_check(ip, th, ntohl(th->ack_seq) - 1);
#else
	return __cookie_v4_check(ip, th);
#endif
}

/* The stack's own rules: cookies are on, one was sent of late, and the ACK is one. */
static enum verdict_cookie find_cookie(struct net *net, struct sk_buff *skb, const struct packet *p, int dif)
{
	int base = skb_mac_offset(skb);
	struct tcphdr tcp_buf;
	union {
		struct iphdr v4;
		struct ipv6hdr v6;
	} ip_buf;
	const struct tcphdr *th = skb_header_pointer(skb, base + p->l4, sizeof(tcp_buf), &tcp_buf);
	const void *ip = skb_header_pointer(skb, base + p->l3,
					    p->flow.family == FLOW_V6 ? sizeof(ip_buf.v6) : sizeof(ip_buf.v4), &ip_buf);
	struct ends e = ends_of(&p->flow);
	struct sock *sk = find_listener(net, &e, dif);

	if (!th || !ip || !sk || !READ_ONCE(net->ipv4.sysctl_tcp_syncookies) || tcp_synq_no_recent_overflow(sk))
		return COOKIE_NO;
	return cookie_mss(ip, th, p->flow.family) ? COOKIE_VALID : COOKIE_NO;
}

/* Everything about the frame, then the verdict; changes nothing.  Under RCU; skb->data may be anywhere
 * behind the MAC header.  socket: what baton_quick_socket() has found. */
void baton_judge(struct baton_net *bn, const struct baton_conf *c, struct sk_buff *skb, const struct net_device *dev,
		 enum verdict_socket socket, struct baton_judged *j)
{
	const struct ethhdr *eth = eth_hdr(skb);
	struct verdict_facts *f = &j->facts;
	int dif = dev->ifindex;

	memset(f, 0, sizeof(*f));
	f->socket = (u8)socket;
	f->self = c->self;
	f->detours_on = c->detours_on;
	f->is_vmac = (u8)vmac_decode(eth->h_dest, &f->triple);
	f->detoured = (u8)detour_decode(eth->h_source, &f->came);
	f->status = (u8)packet_parse(skb, skb->len - skb_mac_offset(skb), &j->packet);
	if (skb_vlan_tag_present(skb))
		f->status = PACKET_TAGGED;
	f->shape = j->packet.shape;
	f->protocol = j->packet.flow.protocol;
	f->tcp_flags = j->packet.tcp_flags;
	for (;;) { /* each question is asked once */
		j->verdict = verdict(f);
		if (j->verdict.action == VERDICT_ASK_VIP)
			f->vip = baton_conf_has_vip(c, &j->packet.flow) ? VIP_YES : VIP_NO;
		else if (j->verdict.action == VERDICT_ASK_SOCKET)
			f->socket = (u8)find_socket(bn->net, &j->packet, dif);
		else if (j->verdict.action == VERDICT_ASK_COOKIE)
			f->cookie = (u8)find_cookie(bn->net, skb, &j->packet, dif);
		else
			return;
	}
}

/*
 * A bare ACK of a watched flow of which nothing is here: the answer to the agent's keepalive probe of a
 * connection that has ended meanwhile.  The stack, here or at the host before us, would reset it; whoever
 * has anything to say sends more than a bare ACK.
 */
bool baton_late_answer(struct baton_net *bn, struct sk_buff *skb, const struct net_device *dev, struct baton_judged *j)
{
	const struct packet *p = &j->packet;
	u8 socket = j->facts.socket;

	if (p->flow.protocol != PACKET_TCP || p->shape || p->segment ||
	    (p->tcp_flags & (TCP_FLAG_BIT_ACK | TCP_FLAG_BIT_SYN | TCP_FLAG_BIT_RST)) != TCP_FLAG_BIT_ACK)
		return false;
	if (socket == SOCKET_UNKNOWN)
		socket = (u8)find_socket(bn->net, p, dev->ifindex);
	if (socket == SOCKET_LISTEN)
		return find_cookie(bn->net, skb, p, dev->ifindex) != COOKIE_VALID;
	return socket == SOCKET_NONE;
}
