/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a frame says: the flow it belongs to and what the verdict needs to know about it.  One parser
 * for the switch (XDP and TC), the host (TC and kernel module), tests and fuzzers; how bytes are
 * reached is in lb/packet_load.h.
 *
 *  1. Ethernet.  A VLAN tag, in the frame or stripped by the NIC, single or double: PACKET_TAGGED.
 *     Host links and uplinks are untagged, so such a frame is not ours and passes.
 *  2. IPv4 with options; IPv6 with at most PACKET_EXTENSIONS_MAX extension headers (hop-by-hop,
 *     routing, destination, fragment, authentication), beyond which it is PACKET_EXTENSIONS.
 *  3. TCP, UDP, SCTP: ports.  TCP: flags, sequence numbers, length.  Other protocols: no ports.
 *  4. A first fragment carries ports and is hashed like any packet of its flow.  A later fragment
 *     has none: ports are 0, PACKET_LATER_FRAGMENT is set, and its bucket is chosen by addresses.
 *  5. An ICMP or ICMPv6 error: the flow is the quoted packet's, reversed, since the quoted packet
 *     went from the VIP to the client: thus it hashes like the flow it belongs to.  Where the quote
 *     does not reach the ports (or is a later fragment), PACKET_NO_OWNER is set, ports are 0.
 *  6. A length that the frame does not hold is PACKET_TRUNCATED; a header that contradicts itself,
 *     PACKET_MALFORMED.  *p is then filled only as far as parsing came: use the status alone.
 */
#ifndef LB_PACKET_H
#define LB_PACKET_H

#include "lb/flow.h"
#include "lb/packet_load.h"

#define PACKET_EXTENSIONS_MAX 8

#define PACKET_ETH_LEN 14
#define PACKET_ETH_V4 0x0800
#define PACKET_ETH_V6 0x86dd
#define PACKET_ETH_VLAN 0x8100
#define PACKET_ETH_QINQ 0x88a8

#define PACKET_ICMP 1
#define PACKET_TCP 6
#define PACKET_UDP 17
#define PACKET_ICMP6 58
#define PACKET_SCTP 132

enum packet_status {
	PACKET_OK,
	PACKET_NOT_IP,	   /* ARP, LLDP, a probe, ... */
	PACKET_TAGGED,
	PACKET_TRUNCATED,
	PACKET_MALFORMED,
	PACKET_EXTENSIONS, /* more IPv6 extension headers than we follow */
};

/* struct packet.shape */
#define PACKET_FIRST_FRAGMENT 0x01
#define PACKET_LATER_FRAGMENT 0x02
#define PACKET_ICMP_ERROR 0x04
#define PACKET_NO_OWNER 0x08 /* the flow has no ports although its protocol has: owner unknown */

/* struct packet.tcp_flags, as in the header */
#define TCP_FLAG_BIT_FIN 0x01
#define TCP_FLAG_BIT_SYN 0x02
#define TCP_FLAG_BIT_RST 0x04
#define TCP_FLAG_BIT_ACK 0x10

struct packet {
	struct flow flow;
	__u16 l3, l4;	  /* offsets from the start of the frame */
	__u32 seq, ack;	  /* host byte order; of a TCP error's quote: seq only */
	__u32 segment;	  /* TCP: sequence space used, SYN and FIN counted */
	__u8 shape, tcp_flags, ttl;
	__u8 ethertype_v6; /* 1: IPv6 */
	__u16 ethertype;  /* host byte order */
};

struct packet_eth {
	__u8 dst[6], src[6];
	__be16 type;
};

struct packet_v4 {
	__u8 version_ihl, tos;
	__be16 len, id, frag;
	__u8 ttl, protocol;
	__be16 check;
	__be32 saddr, daddr;
};

struct packet_v6 {
	__be32 version_flow;
	__be16 len;
	__u8 next, hops;
	__be32 saddr[4], daddr[4];
};

struct packet_tcp {
	__be16 sport, dport;
	__be32 seq, ack;
	__u8 doff, flags;
	__be16 window, check, urgent;
};

/* Where the IP layer ended: what is above, where it starts, where the packet ends. */
struct packet_ip {
	__u32 l4, end;
	__u8 protocol, first_fragment, later_fragment;
};

/* `quoted`: inside an ICMP error, where the packet may be cut off anywhere behind its headers. */
LB_INLINE int packet_parse_v4(struct packet_source *s, __u32 off, __u32 frame_len, int quoted,
			      struct packet *p, struct packet_ip *ip)
{
	struct packet_v4 h;
	__u32 ihl, len;
	__u16 frag;

	if (off + sizeof(h) > frame_len || packet_load(s, off, &h, sizeof(h)))
		return PACKET_TRUNCATED;
	ihl = (__u32)(h.version_ihl & 0xf) * 4;
	len = lb_be16(h.len);
	if (h.version_ihl >> 4 != 4 || ihl < sizeof(h))
		return PACKET_MALFORMED;
	if (!len || quoted)
		len = frame_len - off; /* a super-packet beyond 64 KiB (BIG TCP); what a quote has left */
	if (len < ihl && !quoted)
		return PACKET_MALFORMED;
	if (!quoted && off + len > frame_len)
		return PACKET_TRUNCATED;
	frag = lb_be16(h.frag);
	ip->l4 = off + ihl;
	ip->end = off + len;
	ip->protocol = h.protocol;
	ip->later_fragment = (frag & 0x1fff) != 0;
	ip->first_fragment = (frag & 0x3fff) == 0x2000;
	p->ttl = h.ttl;
	p->flow.family = FLOW_V4;
	p->flow.saddr[0] = h.saddr;
	p->flow.daddr[0] = h.daddr;
	return PACKET_OK;
}

LB_INLINE int packet_parse_v6(struct packet_source *s, __u32 off, __u32 frame_len, int quoted,
			      struct packet *p, struct packet_ip *ip)
{
	struct packet_v6 h;
	__u32 len;
	__u8 next;
	int i;

	if (off + sizeof(h) > frame_len || packet_load(s, off, &h, sizeof(h)))
		return PACKET_TRUNCATED;
	if (lb_be32(h.version_flow) >> 28 != 6)
		return PACKET_MALFORMED;
	len = lb_be16(h.len);
	if (!len || quoted)
		len = frame_len - off - (__u32)sizeof(h); /* jumbogram or BIG TCP; what a quote has left */
	if (!quoted && off + sizeof(h) + len > frame_len)
		return PACKET_TRUNCATED;
	ip->end = off + (__u32)sizeof(h) + len;
	ip->first_fragment = ip->later_fragment = 0;
	p->ttl = h.hops;
	p->flow.family = FLOW_V6;
	__builtin_memcpy(p->flow.saddr, h.saddr, 16);
	__builtin_memcpy(p->flow.daddr, h.daddr, 16);
	off += (__u32)sizeof(h);
	next = h.next;
	for (i = 0; i <= PACKET_EXTENSIONS_MAX; i++) {
		__u8 ext[4];

		ip->protocol = next;
		ip->l4 = off;
		if (next != 0 && next != 43 && next != 44 && next != 51 && next != 60)
			return off > ip->end && !quoted ? PACKET_MALFORMED : PACKET_OK;
		if (off + 8 > ip->end && !quoted)
			return PACKET_MALFORMED; /* the chain leaves the packet */
		if (packet_load(s, off, ext, sizeof(ext)))
			return PACKET_TRUNCATED;
		/* One expression for the three length units, since each branch here doubles the verifier's work. */
		off += 8 + ((__u32)(ext[1] & -(next != 44)) << (3 - (next == 51)));
		if (next == 44) {
			__u16 frag = (__u16)(ext[2] << 8 | ext[3]);

			ip->first_fragment = frag & 1;
			if (frag & 0xfff8) { /* what follows is the middle of something */
				ip->first_fragment = 0;
				ip->later_fragment = 1;
				ip->protocol = ext[0];
				ip->l4 = off;
				return PACKET_OK;
			}
		}
		next = ext[0];
	}
	return PACKET_EXTENSIONS;
}

LB_INLINE int packet_has_ports(__u8 protocol)
{
	return protocol == PACKET_TCP || protocol == PACKET_UDP || protocol == PACKET_SCTP;
}

LB_INLINE int packet_parse_l4(struct packet_source *s, const struct packet_ip *ip, struct packet *p)
{
	if (ip->protocol == PACKET_TCP) {
		struct packet_tcp h;
		__u32 doff;

		if (ip->end < ip->l4 + sizeof(h))
			return PACKET_MALFORMED;
		if (packet_load(s, ip->l4, &h, sizeof(h)))
			return PACKET_TRUNCATED;
		doff = (__u32)(h.doff >> 4) * 4;
		if (doff < sizeof(h) || (ip->end < ip->l4 + doff && !ip->first_fragment))
			return PACKET_MALFORMED;
		p->flow.sport = h.sport;
		p->flow.dport = h.dport;
		p->seq = lb_be32(h.seq);
		p->ack = lb_be32(h.ack);
		p->tcp_flags = h.flags;
		p->segment = ip->end - ip->l4 - doff + !!(h.flags & TCP_FLAG_BIT_SYN) +
			     !!(h.flags & TCP_FLAG_BIT_FIN);
	} else if (packet_has_ports(ip->protocol)) {
		__be16 h[4]; /* UDP: ports, length, checksum; SCTP begins alike */

		if (ip->end < ip->l4 + sizeof(h))
			return PACKET_MALFORMED;
		if (packet_load(s, ip->l4, h, sizeof(h)))
			return PACKET_TRUNCATED;
		p->flow.sport = h[0];
		p->flow.dport = h[1];
	}
	return PACKET_OK;
}

/* Errors quote a packet; informational messages (echo, neighbour discovery) do not. */
LB_INLINE int packet_icmp_is_error(__u8 family, __u8 type)
{
	if (family == FLOW_V6)
		return type >= 1 && type <= 127;
	return type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
}

LB_INLINE int packet_parse_quote(struct packet_source *s, __u32 off, __u32 frame_len, struct packet *p)
{
	struct packet q = {};
	struct packet_ip ip = {};
	__be32 h[2]; /* both ports, and TCP's sequence number: 8 bytes are always quoted (RFC 792) */
	int status;

	p->shape |= PACKET_ICMP_ERROR;
	if (p->flow.family == FLOW_V6)
		status = packet_parse_v6(s, off, frame_len, 1, &q, &ip);
	else
		status = packet_parse_v4(s, off, frame_len, 1, &q, &ip);
	if (status == PACKET_MALFORMED)
		return status;
	if (!q.flow.family) { /* no address is quoted: the error's own must do */
		p->shape |= PACKET_NO_OWNER;
		return PACKET_OK;
	}
	__builtin_memcpy(p->flow.saddr, q.flow.daddr, 16);
	__builtin_memcpy(p->flow.daddr, q.flow.saddr, 16);
	p->flow.protocol = ip.protocol;
	if (status != PACKET_OK || ip.later_fragment || ip.l4 + sizeof(h) > frame_len ||
	    packet_load(s, ip.l4, h, sizeof(h))) {
		p->shape |= PACKET_NO_OWNER;
		return PACKET_OK;
	}
	if (packet_has_ports(ip.protocol)) {
		__u32 ports = lb_be32(h[0]);

		p->flow.sport = (LB_FORCE __be16)lb_be16(ports & 0xffff); /* reversed: the quote's destination */
		p->flow.dport = (LB_FORCE __be16)lb_be16(ports >> 16);
		p->seq = lb_be32(h[1]);
	}
	return PACKET_OK;
}

/* The IP packet at l3 of a frame of frame_len bytes; ethertype in host byte order.  enum packet_status. */
LB_INLINE int packet_parse_ip(struct packet_source *s, __u32 l3, __u16 ethertype, __u32 frame_len,
			      struct packet *p)
{
	struct packet_ip ip = {};
	__u8 icmp[4];
	int status;

	p->l3 = (__u16)l3;
	if (ethertype == PACKET_ETH_V4)
		status = packet_parse_v4(s, l3, frame_len, 0, p, &ip);
	else if (ethertype == PACKET_ETH_V6)
		status = packet_parse_v6(s, l3, frame_len, 0, p, &ip);
	else
		return PACKET_NOT_IP;
	if (status != PACKET_OK)
		return status;
	p->ethertype_v6 = ethertype == PACKET_ETH_V6;
	p->l4 = (__u16)ip.l4;
	p->flow.protocol = ip.protocol;
	if (ip.later_fragment) {
		p->shape |= PACKET_LATER_FRAGMENT | PACKET_NO_OWNER;
		return PACKET_OK;
	}
	if (ip.first_fragment)
		p->shape |= PACKET_FIRST_FRAGMENT;
	if (ip.protocol != (p->ethertype_v6 ? PACKET_ICMP6 : PACKET_ICMP))
		return packet_parse_l4(s, &ip, p);
	if (ip.end < ip.l4 + 8)
		return PACKET_MALFORMED;
	if (packet_load(s, ip.l4, icmp, sizeof(icmp)))
		return PACKET_TRUNCATED;
	if (!packet_icmp_is_error(p->flow.family, icmp[0]))
		return PACKET_OK;
	return packet_parse_quote(s, ip.l4 + 8, ip.end, p);
}

/* A whole frame.  enum packet_status. */
LB_INLINE int packet_parse(struct packet_source *s, __u32 frame_len, struct packet *p)
{
	struct packet_eth eth;

	__builtin_memset(p, 0, sizeof(*p));
	if (packet_load(s, 0, &eth, sizeof(eth)))
		return PACKET_TRUNCATED;
	p->ethertype = lb_be16(eth.type);
	if (p->ethertype == PACKET_ETH_VLAN || p->ethertype == PACKET_ETH_QINQ)
		return PACKET_TAGGED;
	return packet_parse_ip(s, PACKET_ETH_LEN, p->ethertype, frame_len, p);
}

LB_INLINE const char *packet_status_name(enum packet_status s)
{
	switch (s) {
	case PACKET_OK: return "ok";
	case PACKET_NOT_IP: return "not_ip";
	case PACKET_TAGGED: return "tagged";
	case PACKET_TRUNCATED: return "truncated";
	case PACKET_MALFORMED: return "malformed";
	case PACKET_EXTENSIONS: return "extensions";
	}
	return "?";
}

#endif
