/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Packet fixtures for the host data path: which frame, in which situation, gets which verdict.  One
 * table for the eBPF program and the kernel module, so that a difference between the two is a
 * failure.  The host under test is host 1; the client is 198.51.100.7 or 2001:db8:7::7, the VIP
 * 203.0.113.80 or 2001:db8:80::80, with a listener on port 80 and none on port 81.
 */
#ifndef TESTS_BPF_FIXTURES_H
#define TESTS_BPF_FIXTURES_H

#include <stdint.h>
#include <string.h>

#include "lb/probe.h"
#include "lb/verdict.h"

/* Which socket the client's port leads to. */
enum fixture_socket_kind {
	FS_NOTHING,	/* port 81, where nobody listens */
	FS_LISTEN,	/* port 80, a flow of which nothing is known */
	FS_REQUEST,
	FS_ESTABLISHED,
	FS_TIME_WAIT,
	FS_COOKIE,	/* an ACK that is a cookie of ours; no socket yet */
	FS_N,
};

/* What the client would send next; filled in by whoever made the socket. */
struct fixture_socket {
	uint32_t seq, ack;
};

enum fixture_shape {
	SH_TCP,
	SH_OPTIONS, /* IPv4 options; IPv6 hop-by-hop, routing, destination options */
	SH_UDP,
	SH_ECHO,
	SH_FIRST_FRAGMENT,
	SH_LATER_FRAGMENT,
	SH_ERROR,	 /* an ICMP error that quotes a segment from the VIP to the client, 8 bytes of TCP */
	SH_ERROR_LONG,	 /* ... the whole segment, behind IP options or extension headers */
	SH_ERROR_SHORT,	 /* ... the IP header alone */
	SH_ERROR_FRAGMENT, /* ... a later fragment */
	SH_VLAN,
	SH_QINQ,
	SH_ARP,
	SH_CUT_ETHERNET, /* 14 bytes */
	SH_CUT_IP,
	SH_CUT_TCP,	 /* the IP length is longer than the frame */
	SH_SHORT_TCP,	 /* the IP length ends in the middle of the TCP header */
	SH_BAD_VERSION,
	SH_BAD_HEADER,	 /* IPv4: header length 16; IPv6: an extension header that leaves the packet */
	SH_BAD_DOFF,
	SH_CHAIN,	 /* IPv6: more extension headers than are followed; IPv4: as SH_OPTIONS */
	SH_NOT_VIP,
	SH_PROBE,
	SH_PROBE_REPLY,
};

#define F_ACK TCP_FLAG_BIT_ACK
#define F_SYN TCP_FLAG_BIT_SYN
#define F_RST TCP_FLAG_BIT_RST
#define F_FIN TCP_FLAG_BIT_FIN

struct fixture {
	const char *name;
	struct triple to;
	struct detour came; /* sender 0: from the switch */
	enum fixture_shape shape;
	enum fixture_socket_kind socket;
	uint8_t flags;
	uint32_t seq_off, ack_off; /* added to what fits */
	enum verdict_action action;
	enum verdict_reason reason;
	struct triple next;
	uint8_t budget; /* of the detour header written */
	uint8_t only;	/* FLOW_V4, FLOW_V6, or 0: both */
};

#define T(...) { { __VA_ARGS__ } }
#define MINE(why) .action = VERDICT_MINE, .reason = (why)
#define PASS(why) .action = VERDICT_PASS, .reason = (why)
#define DROP(why) .action = VERDICT_DROP, .reason = (why)
#define ON(why, left, ...) .action = VERDICT_DETOUR, .reason = (why), .budget = (left), .next = T(__VA_ARGS__)
#define FROM(s, f, b) .came = { (s), (f), REASON_NO_SOCKET, (b) }
#define FAR 0x40000000u /* far out of any window */

static const struct fixture fixtures[] = {
	/* At rest: whatever the packet is, it is ours. */
	{ "rest syn", T(1), .shape = SH_TCP, .socket = FS_LISTEN, .flags = F_SYN, MINE(REASON_AT_REST) },
	{ "rest unknown ack", T(1), .shape = SH_TCP, .socket = FS_NOTHING, .flags = F_ACK, MINE(REASON_AT_REST) },
	{ "rest request, wrong ack", T(1), .shape = SH_TCP, .socket = FS_REQUEST, .flags = F_ACK, .ack_off = 7, MINE(REASON_AT_REST) },
	{ "rest udp", T(1), .shape = SH_UDP, .socket = FS_LISTEN, MINE(REASON_AT_REST) },
	{ "rest options", T(1), .shape = SH_OPTIONS, .socket = FS_NOTHING, .flags = F_ACK, MINE(REASON_AT_REST) },
	{ "rest echo", T(1), .shape = SH_ECHO, MINE(REASON_NOT_TCP) },
	{ "rest icmp error", T(1), .shape = SH_ERROR, .socket = FS_ESTABLISHED, MINE(REASON_AT_REST) },
	{ "rest first fragment, owned", T(1), .shape = SH_FIRST_FRAGMENT, .socket = FS_ESTABLISHED, .flags = F_ACK, MINE(REASON_ESTABLISHED) },
	{ "rest first fragment, nobody's", T(1), .shape = SH_FIRST_FRAGMENT, .socket = FS_NOTHING, .flags = F_ACK, DROP(REASON_FRAGMENT) },
	{ "rest later fragment", T(1), .shape = SH_LATER_FRAGMENT, .action = VERDICT_RELAY, .reason = REASON_RELAY_FRAGMENT },
	{ "rest short quote", T(1), .shape = SH_ERROR_SHORT, .action = VERDICT_RELAY, .reason = REASON_RELAY_ICMP },
	{ "rest malformed", T(1), .shape = SH_BAD_DOFF, .flags = F_ACK, MINE(REASON_AT_REST) },
	{ "rest bad header", T(1), .shape = SH_BAD_HEADER, .flags = F_ACK, MINE(REASON_UNPARSED) },
	{ "last, on detour", T(1), FROM(2, 2, 2), .shape = SH_TCP, .socket = FS_NOTHING, .flags = F_ACK, MINE(REASON_LAST) },

	/* History: strict ownership. */
	{ "syn", T(1, 2), .shape = SH_TCP, .socket = FS_NOTHING, .flags = F_SYN, MINE(REASON_SYN) },
	{ "syn on time-wait", T(1, 2), .shape = SH_TCP, .socket = FS_TIME_WAIT, .flags = F_SYN, .seq_off = FAR, MINE(REASON_SYN) },
	{ "nothing", T(1, 2), .shape = SH_TCP, .socket = FS_NOTHING, .flags = F_ACK, ON(REASON_NO_SOCKET, 2, 2) },
	{ "nothing, two before", T(1, 2, 3), .shape = SH_TCP, .socket = FS_NOTHING, .flags = F_ACK, ON(REASON_NO_SOCKET, 2, 2, 3) },
	{ "nothing, rst", T(1, 2), .shape = SH_TCP, .socket = FS_NOTHING, .flags = F_RST, ON(REASON_NO_SOCKET, 2, 2) },
	{ "listener, no cookie", T(1, 2), .shape = SH_TCP, .socket = FS_LISTEN, .flags = F_ACK, ON(REASON_NO_COOKIE, 2, 2) },
	{ "listener, rst", T(1, 2), .shape = SH_TCP, .socket = FS_LISTEN, .flags = F_RST, ON(REASON_NO_SOCKET, 2, 2) },
	{ "listener, syn-ack", T(1, 2), .shape = SH_TCP, .socket = FS_LISTEN, .flags = F_SYN | F_ACK, ON(REASON_NO_SOCKET, 2, 2) },
	{ "cookie", T(1, 2), .shape = SH_TCP, .socket = FS_COOKIE, .flags = F_ACK, MINE(REASON_COOKIE) },
	{ "cookie, forged", T(1, 2), .shape = SH_TCP, .socket = FS_COOKIE, .flags = F_ACK, .ack_off = 99, ON(REASON_NO_COOKIE, 2, 2) },
	{ "request", T(1, 2), .shape = SH_TCP, .socket = FS_REQUEST, .flags = F_ACK, MINE(REASON_REQUEST) },
	{ "request, rst", T(1, 2), .shape = SH_TCP, .socket = FS_REQUEST, .flags = F_RST, MINE(REASON_REQUEST) },
	{ "request, another's ack", T(1, 2), .shape = SH_TCP, .socket = FS_REQUEST, .flags = F_ACK, .ack_off = 1, ON(REASON_OTHER_REQUEST, 2, 2) },
	{ "established", T(1, 2), .shape = SH_TCP, .socket = FS_ESTABLISHED, .flags = F_ACK, MINE(REASON_ESTABLISHED) },
	{ "established, keepalive", T(1, 2), .shape = SH_TCP, .socket = FS_ESTABLISHED, .flags = F_ACK, .seq_off = -1u, MINE(REASON_ESTABLISHED) },
	{ "established, retransmission", T(1, 2), .shape = SH_TCP, .socket = FS_ESTABLISHED, .flags = F_ACK, .seq_off = -60000u, .ack_off = -60000u, MINE(REASON_ESTABLISHED) },
	{ "established, rst", T(1, 2), .shape = SH_TCP, .socket = FS_ESTABLISHED, .flags = F_RST, MINE(REASON_ESTABLISHED) },
	{ "established, other seq", T(1, 2), .shape = SH_TCP, .socket = FS_ESTABLISHED, .flags = F_ACK, .seq_off = FAR, ON(REASON_OTHER_ESTABLISHED, 2, 2) },
	{ "established, other ack", T(1, 2), .shape = SH_TCP, .socket = FS_ESTABLISHED, .flags = F_ACK, .ack_off = FAR, ON(REASON_OTHER_ESTABLISHED, 2, 2) },
	{ "time-wait, fin again", T(1, 2), .shape = SH_TCP, .socket = FS_TIME_WAIT, .flags = F_FIN | F_ACK, .seq_off = -1u, MINE(REASON_TIME_WAIT) },
	{ "time-wait, port reused", T(1, 2), .shape = SH_TCP, .socket = FS_TIME_WAIT, .flags = F_ACK, .seq_off = FAR, .ack_off = FAR, ON(REASON_OTHER_TIME_WAIT, 2, 2) },
	{ "options", T(1, 2), .shape = SH_OPTIONS, .socket = FS_NOTHING, .flags = F_ACK, ON(REASON_NO_SOCKET, 2, 2) },
	{ "options, established", T(1, 2), .shape = SH_OPTIONS, .socket = FS_ESTABLISHED, .flags = F_ACK, MINE(REASON_ESTABLISHED) },

	/* On detour: the header is kept and counts down; nobody gets it twice. */
	{ "second detour", T(1, 3), FROM(2, 2, 2), .shape = SH_TCP, .socket = FS_NOTHING, .flags = F_ACK, ON(REASON_NO_SOCKET, 1, 3) },
	{ "detour, established", T(1, 3), FROM(2, 2, 2), .shape = SH_TCP, .socket = FS_ESTABLISHED, .flags = F_ACK, MINE(REASON_ESTABLISHED) },
	{ "not to its sender", T(1, 2), FROM(2, 2, 1), .shape = SH_TCP, .socket = FS_NOTHING, .flags = F_ACK, MINE(REASON_LAST) },
	{ "not to the first either", T(1, 2, 3), FROM(3, 2, 1), .shape = SH_TCP, .socket = FS_NOTHING, .flags = F_ACK, MINE(REASON_LAST) },
	{ "past its sender", T(1, 2, 3), FROM(2, 2, 2), .shape = SH_TCP, .socket = FS_NOTHING, .flags = F_ACK, ON(REASON_NO_SOCKET, 1, 3) },
	{ "budget spent", T(1, 3), FROM(2, 2, 0), .shape = SH_TCP, .socket = FS_NOTHING, .flags = F_ACK, DROP(REASON_BUDGET) },
	{ "budget spent, ours", T(1, 3), FROM(2, 2, 0), .shape = SH_TCP, .socket = FS_ESTABLISHED, .flags = F_ACK, MINE(REASON_ESTABLISHED) },

	/* ICMP errors and fragments. */
	{ "error, ours", T(1, 2), .shape = SH_ERROR, .socket = FS_ESTABLISHED, .ack_off = -1u, MINE(REASON_ICMP_MINE) },
	{ "error, long quote", T(1, 2), .shape = SH_ERROR_LONG, .socket = FS_ESTABLISHED, .ack_off = -1u, MINE(REASON_ICMP_MINE) },
	{ "error, about a syn-ack", T(1, 2), .shape = SH_ERROR, .socket = FS_REQUEST, .ack_off = -1u, MINE(REASON_ICMP_MINE) },
	{ "error, not sent from here", T(1, 2), .shape = SH_ERROR, .socket = FS_NOTHING, ON(REASON_ICMP_ERROR, 2, 2) },
	{ "error, seq never sent", T(1, 2), .shape = SH_ERROR, .socket = FS_ESTABLISHED, .ack_off = FAR, ON(REASON_ICMP_ERROR, 2, 2) },
	{ "error, short quote", T(1, 2), .shape = SH_ERROR_SHORT, .action = VERDICT_RELAY, .reason = REASON_RELAY_ICMP },
	{ "error, quotes a fragment", T(1, 2), .shape = SH_ERROR_FRAGMENT, .action = VERDICT_RELAY, .reason = REASON_RELAY_ICMP },
	{ "a copy of an error", T(1), FROM(2, 2, 0), .shape = SH_ERROR_SHORT, MINE(REASON_RELAYED) },
	{ "first fragment", T(1, 2), .shape = SH_FIRST_FRAGMENT, .socket = FS_NOTHING, .flags = F_ACK, ON(REASON_NO_SOCKET, 2, 2) },
	{ "first fragment, the last host", T(1), FROM(2, 2, 2), .shape = SH_FIRST_FRAGMENT, .socket = FS_NOTHING, .flags = F_ACK, DROP(REASON_FRAGMENT) },
	{ "later fragment", T(1, 2), .shape = SH_LATER_FRAGMENT, .action = VERDICT_RELAY, .reason = REASON_RELAY_FRAGMENT },
	{ "a copy of a fragment", T(1), FROM(2, 2, 0), .shape = SH_LATER_FRAGMENT, MINE(REASON_RELAYED) },
	{ "udp", T(1, 2), .shape = SH_UDP, MINE(REASON_NOT_TCP) },
	{ "echo", T(1, 2), .shape = SH_ECHO, MINE(REASON_NOT_TCP) },

	/* Not ours. */
	{ "foreign", T(2, 1), .shape = SH_TCP, .socket = FS_ESTABLISHED, .flags = F_ACK, PASS(REASON_FOREIGN) },
	{ "not a vip", T(1, 2), .shape = SH_NOT_VIP, .flags = F_ACK, PASS(REASON_NOT_VIP) },
	{ "vlan", T(1, 2), .shape = SH_VLAN, .socket = FS_NOTHING, .flags = F_ACK, PASS(REASON_NOT_IP) },
	{ "qinq", T(1, 2), .shape = SH_QINQ, .socket = FS_NOTHING, .flags = F_ACK, PASS(REASON_NOT_IP) },
	{ "arp", T(1), .shape = SH_ARP, PASS(REASON_NOT_IP) },

	/* Broken: never to a stack that might answer for another. */
	{ "cut ethernet", T(1, 2), .shape = SH_CUT_ETHERNET, DROP(REASON_UNPARSED) },
	{ "cut ip", T(1, 2), .shape = SH_CUT_IP, DROP(REASON_UNPARSED) },
	{ "cut tcp", T(1, 2), .shape = SH_CUT_TCP, .flags = F_ACK, DROP(REASON_UNPARSED) },
	{ "short tcp", T(1, 2), .shape = SH_SHORT_TCP, .flags = F_ACK, DROP(REASON_UNPARSED) },
	{ "bad version", T(1, 2), .shape = SH_BAD_VERSION, .flags = F_ACK, DROP(REASON_UNPARSED) },
	{ "bad header", T(1, 2), .shape = SH_BAD_HEADER, .flags = F_ACK, DROP(REASON_UNPARSED) },
	{ "bad doff", T(1, 2), .shape = SH_BAD_DOFF, .flags = F_ACK, DROP(REASON_UNPARSED) },
	{ "cut tcp, an owned flow's", T(1, 2), .shape = SH_CUT_TCP, .socket = FS_ESTABLISHED, .flags = F_ACK, DROP(REASON_UNPARSED) },
	{ "short tcp, an owned flow's", T(1, 2), .shape = SH_SHORT_TCP, .socket = FS_ESTABLISHED, .flags = F_ACK, DROP(REASON_UNPARSED) },
	{ "bad doff, an owned flow's", T(1, 2), .shape = SH_BAD_DOFF, .socket = FS_ESTABLISHED, .flags = F_ACK, DROP(REASON_UNPARSED) },
	{ "long chain", T(1, 2), .shape = SH_CHAIN, .flags = F_ACK, DROP(REASON_UNPARSED), .only = FLOW_V6 },
	{ "long chain at rest", T(1), .shape = SH_CHAIN, .flags = F_ACK, MINE(REASON_UNPARSED), .only = FLOW_V6 },
};

#define N_FIXTURES (sizeof(fixtures) / sizeof(fixtures[0]))

/* --- Frames ------------------------------------------------------------------------------------------ */

static const uint8_t fixture_client4[4] = { 198, 51, 100, 7 }, fixture_vip4[4] = { 203, 0, 113, 80 };
static const uint8_t fixture_client6[16] = { 0x20, 1, 0x0d, 0xb8, 0, 7, [15] = 7 };
static const uint8_t fixture_vip6[16] = { 0x20, 1, 0x0d, 0xb8, 0, 0x80, [15] = 0x80 };

#define FIXTURE_FRAME_MAX 512

struct frame {
	uint8_t byte[FIXTURE_FRAME_MAX];
	uint32_t len;
};

static inline uint16_t fixture_port(enum fixture_socket_kind kind)
{
	return (uint16_t)(40000 + kind);
}

static inline uint16_t fixture_service(enum fixture_socket_kind kind)
{
	return kind == FS_NOTHING ? 81 : 80;
}

static inline void put16(uint8_t *p, uint32_t x)
{
	p[0] = (uint8_t)(x >> 8);
	p[1] = (uint8_t)x;
}

static inline void put32(uint8_t *p, uint32_t x)
{
	put16(p, x >> 16);
	put16(p + 2, x);
}

static inline uint32_t fixture_sum(const uint8_t *p, uint32_t len, uint32_t sum)
{
	uint32_t i;

	for (i = 0; i < len; i++)
		sum += (uint32_t)p[i] << (i & 1 ? 0 : 8);
	return sum;
}

static inline uint16_t fixture_fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

/* Appends an IPv4 or IPv6 header with `extra` bytes of options or extension headers; returns its offset. */
static inline uint32_t fixture_ip(struct frame *f, int family, int reverse, uint8_t protocol, int options, uint16_t frag)
{
	uint8_t *p = f->byte + f->len;
	uint32_t at = f->len;

	if (family == FLOW_V4) {
		uint32_t ihl = options ? 28 : 20;

		memset(p, 0, ihl);
		p[0] = (uint8_t)(0x40 | ihl / 4);
		put16(p + 6, frag);
		p[8] = 64;
		p[9] = protocol;
		memcpy(p + 12, reverse ? fixture_vip4 : fixture_client4, 4);
		memcpy(p + 16, reverse ? fixture_client4 : fixture_vip4, 4);
		if (options)
			memset(p + 20, 1, 8); /* no-operation */
		f->len += ihl;
		return at;
	}
	memset(p, 0, 40);
	p[0] = 0x60;
	p[6] = protocol;
	p[7] = 64;
	memcpy(p + 8, reverse ? fixture_vip6 : fixture_client6, 16);
	memcpy(p + 24, reverse ? fixture_client6 : fixture_vip6, 16);
	f->len += 40;
	if (options) { /* hop-by-hop, destination options (16 bytes), and so on */
		int i;

		p[6] = 0;
		for (i = 0; i < options; i++) {
			uint8_t *e = f->byte + f->len;
			uint32_t len = i == 1 ? 16 : 8;

			memset(e, 0, len);
			e[0] = i + 1 == options ? protocol : 60;
			e[1] = (uint8_t)(len / 8 - 1);
			e[2] = 1; /* PadN */
			e[3] = (uint8_t)(len - 4);
			f->len += len;
		}
	}
	if (frag) {
		uint8_t *e = f->byte + f->len;

		memset(e, 0, 8);
		e[0] = protocol;
		p[6] = 44;
		put16(e + 2, frag == 0x2000 ? 1 : (frag & 0x1fff) << 3);
		put32(e + 4, 4711);
		f->len += 8;
	}
	return at;
}

/* Lengths and checksums, once everything above is in place. */
static inline void fixture_close(struct frame *f, int family, uint32_t l3, uint32_t l4, uint8_t protocol)
{
	uint8_t *p = f->byte + l3;
	uint32_t len = f->len - l4, sum = len + protocol;
	int check = protocol == PACKET_TCP ? 16 : protocol == PACKET_UDP ? 6 : 2;

	if (family == FLOW_V4) {
		put16(p + 2, f->len - l3);
		put16(p + 10, 0);
		put16(p + 10, fixture_fold(fixture_sum(p, (uint32_t)(p[0] & 15) * 4, 0)));
		sum = fixture_sum(p + 12, 8, protocol == PACKET_ICMP ? 0 : sum);
		if (protocol == PACKET_ICMP)
			sum = 0;
	} else {
		put16(p + 4, f->len - l3 - 40);
		sum = fixture_sum(p + 8, 32, sum);
	}
	if (len < (uint32_t)check + 2)
		return;
	put16(f->byte + l4 + check, 0);
	put16(f->byte + l4 + check, fixture_fold(fixture_sum(f->byte + l4, len, sum)));
}

static inline uint32_t fixture_tcp(struct frame *f, uint16_t sport, uint16_t dport, uint32_t seq, uint32_t ack, uint8_t flags)
{
	uint8_t *p = f->byte + f->len;
	uint32_t at = f->len;

	memset(p, 0, 20);
	put16(p, sport);
	put16(p + 2, dport);
	put32(p + 4, seq);
	put32(p + 8, flags & F_ACK ? ack : 0);
	p[12] = 0x50;
	p[13] = flags;
	put16(p + 14, 65000);
	f->len += 20;
	return at;
}

static inline void fixture_eth(struct frame *f, const struct triple *to, const struct detour *came, uint16_t type)
{
	vmac_encode(f->byte, to);
	if (came->sender)
		detour_encode(f->byte + 6, came);
	else
		router_mac(f->byte + 6, 1);
	put16(f->byte + 12, type);
	f->len = 14;
}

static inline void fixture_error(struct frame *f, const struct fixture *x, int family, const struct fixture_socket *s)
{
	uint8_t icmp = family == FLOW_V4 ? PACKET_ICMP : PACKET_ICMP6;
	uint32_t l3 = fixture_ip(f, family, 0, icmp, 0, 0), l4 = f->len, quote, tcp;
	int long_quote = x->shape == SH_ERROR_LONG;

	memset(f->byte + f->len, 0, 8);
	f->byte[f->len] = family == FLOW_V4 ? 3 : 2; /* fragmentation needed, packet too big */
	f->byte[f->len + 1] = family == FLOW_V4 ? 4 : 0;
	put16(f->byte + f->len + 6, 1400);
	f->len += 8;
	quote = fixture_ip(f, family, 1, PACKET_TCP, long_quote ? 2 : 0, x->shape == SH_ERROR_FRAGMENT ? 185 : 0);
	tcp = fixture_tcp(f, fixture_service(x->socket), fixture_port(x->socket), s->ack + x->ack_off, s->seq, F_ACK);
	if (family == FLOW_V4) /* the quoted packet was longer than its quote */
		put16(f->byte + quote + 2, 1500);
	else
		put16(f->byte + quote + 4, 1460);
	f->len = x->shape == SH_ERROR_SHORT ? tcp : long_quote ? f->len : tcp + 8;
	fixture_close(f, family, l3, l4, icmp);
}

static inline void fixture_frame(struct frame *f, const struct fixture *x, int family, const struct fixture_socket *s)
{
	uint16_t type = family == FLOW_V4 ? PACKET_ETH_V4 : PACKET_ETH_V6;
	uint16_t sport = fixture_port(x->socket), dport = fixture_service(x->socket);
	uint32_t l3, l4;
	int options = 0;

	memset(f, 0, sizeof(*f));
	fixture_eth(f, &x->to, &x->came, type);
	if (x->shape == SH_ARP) {
		put16(f->byte + 12, 0x0806);
		f->len = 60;
		return;
	}
	if (x->shape == SH_PROBE || x->shape == SH_PROBE_REPLY) {
		uint8_t *p = f->byte + 14;

		put16(f->byte + 12, PROBE_ETHERTYPE);
		put16(p, PROBE_MAGIC);
		p[2] = PROBE_VERSION;
		p[3] = x->shape == SH_PROBE ? PROBE_REQUEST : PROBE_REPLY;
		put32(p + 8, 0xfeedface);
		f->len = 60;
		return;
	}
	if (x->shape == SH_VLAN || x->shape == SH_QINQ) {
		put16(f->byte + f->len - 2, x->shape == SH_VLAN ? PACKET_ETH_VLAN : PACKET_ETH_QINQ);
		put16(f->byte + f->len, 100);
		if (x->shape == SH_QINQ) {
			put16(f->byte + f->len + 2, PACKET_ETH_VLAN);
			put16(f->byte + f->len + 4, 7);
			f->len += 4;
		}
		put16(f->byte + f->len + 2, type);
		f->len += 4;
	}
	if (x->shape == SH_CUT_ETHERNET)
		return;
	if (x->shape >= SH_ERROR && x->shape <= SH_ERROR_FRAGMENT) {
		fixture_error(f, x, family, s);
		return;
	}
	if (x->shape == SH_UDP || x->shape == SH_ECHO) {
		uint8_t protocol = x->shape == SH_UDP ? PACKET_UDP : family == FLOW_V4 ? PACKET_ICMP : PACKET_ICMP6;

		l3 = fixture_ip(f, family, 0, protocol, 0, 0);
		l4 = f->len;
		if (x->shape == SH_UDP) {
			put16(f->byte + l4, sport);
			put16(f->byte + l4 + 2, dport);
			put16(f->byte + l4 + 4, 16);
		} else {
			f->byte[l4] = family == FLOW_V4 ? 8 : 128;
		}
		f->len += 16;
		fixture_close(f, family, l3, l4, protocol);
		return;
	}
	if (x->shape == SH_OPTIONS)
		options = 3;
	if (x->shape == SH_CHAIN)
		options = PACKET_EXTENSIONS_MAX + 2;
	l3 = fixture_ip(f, family, 0, PACKET_TCP, options,
			x->shape == SH_FIRST_FRAGMENT ? 0x2000 : x->shape == SH_LATER_FRAGMENT ? 185 : 0);
	l4 = fixture_tcp(f, sport, dport, s->seq + x->seq_off, s->ack + x->ack_off, x->flags);
	if (x->shape == SH_BAD_DOFF)
		f->byte[l4 + 12] = 0x40;
	if (x->shape == SH_NOT_VIP)
		f->byte[l3 + (family == FLOW_V4 ? 19 : 39)] ^= 1;
	fixture_close(f, family, l3, l4, PACKET_TCP);
	switch (x->shape) {
	case SH_CUT_IP: f->len = l3 + 12; break;
	case SH_CUT_TCP: f->len = l4 + 10; break;
	case SH_SHORT_TCP: put16(f->byte + l3 + (family == FLOW_V4 ? 2 : 4), family == FLOW_V4 ? 32 : 12); break;
	case SH_BAD_VERSION: f->byte[l3] ^= 0x30; break;
	case SH_BAD_HEADER:
		if (family == FLOW_V4) {
			f->byte[l3] = 0x44;
		} else {
			f->byte[l3 + 6] = 60;
			f->byte[l4 + 1] = 200;
		}
		break;
	default: break;
	}
}

#endif
