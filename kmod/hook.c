// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What is done with a frame at netfilter's ingress hook: deliver it, send it on to the previous
 * owner, copy it to every host, or answer a probe.  The twin of agent/redirect.bpf.c; a difference
 * between the two is a bug.
 */
#include <linux/etherdevice.h>
#include <linux/if_vlan.h>
#include <net/dst.h>

#include "kmod/baton.h"
#include "lb/probe.h"

static struct baton_counts *counts(struct baton_net *bn)
{
	return this_cpu_ptr(bn->counts);
}

/* A vMAC that is not the device's own address arrives as OTHERHOST: the stack would drop it. */
static unsigned int deliver(struct sk_buff *skb)
{
	skb->pkt_type = PACKET_HOST;
	return NF_ACCEPT;
}

/*
 * Out of the device by which it came, with new addresses.  Takes the skb whole: GRO's super-packets
 * are segmented again by the stack below.  Taps may hold clones, hence the private copy of the header.
 */
static bool send(struct baton_net *bn, struct sk_buff *skb, struct net_device *dev, const u8 mac[2 * ETH_ALEN])
{
	skb_push(skb, (unsigned int)-skb_mac_offset(skb));
	if (skb_ensure_writable(skb, ETH_HLEN)) {
		counts(bn)->reason[REASON_SEND_FAILED]++;
		kfree_skb(skb);
		return false;
	}
	memcpy(skb->data, mac, 2 * ETH_ALEN);
	skb_forward_csum(skb);
#ifdef BATON_CLEAR_TSTAMP
	skb_clear_tstamp(skb);
#else
	skb->tstamp = 0;
#endif
	nf_reset_ct(skb);
	skb_dst_drop(skb);
	skb->dev = dev;
	dev_queue_xmit(skb);
	return true;
}

static unsigned int send_on(struct baton_net *bn, struct sk_buff *skb, struct net_device *dev, const struct verdict *v)
{
	struct baton_counts *n = counts(bn);
	u8 mac[2 * ETH_ALEN];

	vmac_encode(mac, &v->to);
	detour_encode(mac + ETH_ALEN, &v->detour);
	if (send(bn, skb, dev, mac)) {
		n->host[v->to.host[0]].to++;
		n->last_out_ns = ktime_get_coarse_ns();
	}
	return NF_STOLEN;
}

static bool relay_allowed(struct baton_counts *n)
{
	u64 window = div_u64(ktime_get_coarse_ns(), BATON_RELAY_WINDOW_NS);

	if (n->relay_window != window) {
		n->relay_window = window;
		n->relay_used = 0;
	}
	return n->relay_used++ < BATON_RELAY_PER_WINDOW;
}

static void relay_all(struct baton_net *bn, const struct baton_conf *c, const struct sk_buff *skb,
		      struct net_device *dev, const struct verdict *v)
{
	struct baton_counts *n = counts(bn);
	u8 mac[2 * ETH_ALEN];
	u32 i;

	if (!relay_allowed(n)) {
		n->reason[REASON_RELAY_LIMITED]++;
		return;
	}
	detour_encode(mac + ETH_ALEN, &v->detour);
	for (i = 0; i < c->n_hosts; i++) {
		struct triple to = { { c->host[i] } };
		struct sk_buff *copy;

		if (c->host[i] == c->self)
			continue;
		copy = skb_copy(skb, GFP_ATOMIC);
		if (!copy) {
			n->reason[REASON_SEND_FAILED]++;
			continue;
		}
		vmac_encode(mac, &to);
		send(bn, copy, dev, mac);
	}
}

static bool is_probe(const struct baton_conf *c, const struct ethhdr *eth)
{
	return eth->h_proto == htons(PROBE_ETHERTYPE) && ether_addr_equal(eth->h_dest, c->own_mac) &&
	       eth->h_source[0] == MAC_KIND_ROUTER;
}

/* lb/probe.h, rule 2.  False: not a request that we know; the stack sees it. */
static bool answer_probe(struct baton_net *bn, const struct baton_conf *c, struct sk_buff *skb,
			 struct net_device *dev)
{
	int base = skb_mac_offset(skb) + ETH_HLEN;
	struct probe probe;
	u8 mac[2 * ETH_ALEN];

	if (skb_copy_bits(skb, base, &probe, sizeof(probe)))
		return false;
	if (probe.magic != htons(PROBE_MAGIC) || probe.version != PROBE_VERSION || probe.kind != PROBE_REQUEST)
		return false;
	ether_addr_copy(mac, eth_hdr(skb)->h_source);
	ether_addr_copy(mac + ETH_ALEN, eth_hdr(skb)->h_dest);
	probe.kind = PROBE_REPLY;
	probe.host = htons(c->self);
	if (skb_ensure_writable(skb, base + (int)sizeof(probe)) || skb_store_bits(skb, base, &probe, sizeof(probe))) {
		kfree_skb(skb);
		return true;
	}
	counts(bn)->reason[REASON_PROBE]++;
	send(bn, skb, dev, mac);
	return true;
}

/*
 * The frame of a host at rest: for [self], and an ordinary TCP or UDP packet, which verdict() calls
 * mine whatever else is true.  Two comparisons, no parsing, no lookup.
 */
static bool at_rest(const struct baton_conf *c, const struct sk_buff *skb)
{
	const struct ethhdr *eth = eth_hdr(skb);
	const u8 *ip = (const u8 *)(eth + 1);
	u8 protocol;

	/* Both headers in the linear part, counted from where the data begins now. */
	if (skb_headlen(skb) < sizeof(struct packet_v4) + ETH_HLEN + skb_mac_offset(skb))
		return false;
	if (!ether_addr_equal(eth->h_dest, c->own_mac) || eth->h_source[0] == MAC_KIND_DETOUR)
		return false;
	if (eth->h_proto == htons(ETH_P_IP)) {
		if (ip[0] != 0x45 || (ip[6] & 0x3f) || ip[7])
			return false;
		protocol = ip[9];
	} else if (eth->h_proto == htons(ETH_P_IPV6)) {
		protocol = ip[6];
	} else {
		return false;
	}
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP;
}

static unsigned int consider(struct baton_net *bn, const struct baton_conf *c, struct baton_watch *watch,
			     struct sk_buff *skb, struct net_device *dev, enum verdict_socket socket)
{
	struct baton_counts *n = counts(bn);
	struct baton_judged j;
	struct baton_watched *seen = NULL;

	if (is_probe(c, eth_hdr(skb)))
		return answer_probe(bn, c, skb, dev) ? NF_STOLEN : NF_ACCEPT;
	baton_judge(bn, c, skb, dev, socket, &j);
	n->reason[j.verdict.reason]++;
	if (j.facts.detoured && j.verdict.action != VERDICT_PASS) {
		n->host[j.facts.came.sender].from++;
		n->last_in_ns = ktime_get_coarse_ns();
	}
	if (watch && j.facts.status == PACKET_OK && !(j.facts.shape & PACKET_ICMP_ERROR))
		seen = baton_watch_find(watch, &j.packet.flow);
	if (seen && (j.verdict.action == VERDICT_MINE || j.verdict.action == VERDICT_DETOUR) &&
	    baton_late_answer(bn, skb, dev, &j)) {
		n->reason[REASON_PROBE_ANSWER]++;
		return NF_DROP;
	}
	switch ((enum verdict_action)j.verdict.action) {
	case VERDICT_MINE:
		/* The owner through which a watched flow's packets come: whoever got them first. */
		if (seen)
			WRITE_ONCE(seen->owner, j.facts.detoured ? j.facts.came.first : c->self);
		if (j.verdict.reason == REASON_COOKIE)
			n->last_cookie_ns = ktime_get_coarse_ns();
		return deliver(skb);
	case VERDICT_DETOUR:
		return send_on(bn, skb, dev, &j.verdict);
	case VERDICT_RELAY:
		relay_all(bn, c, skb, dev, &j.verdict);
		return deliver(skb);
	case VERDICT_DROP:
		return NF_DROP;
	case VERDICT_PASS:
	case VERDICT_ROW:
	case VERDICT_ASK_VIP:
	case VERDICT_ASK_SOCKET:
	case VERDICT_ASK_COOKIE:
		break;
	}
	return NF_ACCEPT;
}

/* Softirq, under RCU (netfilter's), on one CPU: per-CPU counters need no more. */
unsigned int baton_hook(void *priv, struct sk_buff *skb, const struct nf_hook_state *state)
{
	struct baton_dev *d = priv;
	struct baton_net *bn = d->bn;
	const struct baton_conf *c = rcu_dereference(bn->conf);
	struct baton_watch *watch = rcu_dereference(bn->watch);
	enum verdict_socket socket;

	if (!c || !c->self || !skb_mac_header_was_set(skb) || skb_mac_offset(skb) > -ETH_HLEN)
		return NF_ACCEPT;
	if (skb_vlan_tag_present(skb))
		return consider(bn, c, watch, skb, state->in, SOCKET_UNKNOWN);
	if (!watch && at_rest(c, skb)) {
		counts(bn)->reason[REASON_AT_REST]++;
		return deliver(skb);
	}
	socket = baton_quick_socket(bn, c, skb, state->in);
	if (socket == SOCKET_ESTABLISHED && !watch) {
		counts(bn)->reason[REASON_ESTABLISHED]++;
		return deliver(skb);
	}
	return consider(bn, c, watch, skb, state->in, socket);
}
