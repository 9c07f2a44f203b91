/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Any bytes as a frame.  The parser must stay inside (the sanitizers see to it) and what it says must
 * hold: a flow has a family, offsets lie in the frame, every byte behind the headers is irrelevant,
 * and the flow of an ICMP error's quote is the flow of the quoted packet turned round.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lb/verdict.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Only what a status of PACKET_OK promises. */
static void check(const struct packet *p, uint32_t len)
{
	assert(p->flow.family == FLOW_V4 || p->flow.family == FLOW_V6);
	assert(p->flow.zero == 0);
	assert(p->l3 == PACKET_ETH_LEN && p->l4 > p->l3 && p->l4 <= len);
	if (p->flow.family == FLOW_V4)
		assert(!(p->flow.saddr[1] | p->flow.saddr[3] | p->flow.daddr[1] | p->flow.daddr[3]));
	if (p->shape & PACKET_NO_OWNER)
		assert(!p->flow.sport && !p->flow.dport);
	assert(!(p->shape & PACKET_FIRST_FRAGMENT) || !(p->shape & PACKET_LATER_FRAGMENT));
	if (!packet_has_ports(p->flow.protocol))
		assert(!p->flow.sport && !p->flow.dport);
	(void)flow_hash(&p->flow, len);
}

/* Quotes the frame's packet (with its addresses as they are) in an error to its sender. */
static void check_quote(const uint8_t *data, uint32_t size, const struct packet *inner)
{
	uint8_t frame[1600] = { 0 };
	struct packet_source s = { frame, 0 };
	struct packet p;
	uint32_t quoted = size - PACKET_ETH_LEN, header;
	int v6 = inner->flow.family == FLOW_V6;

	if (quoted > 1200 || inner->shape & PACKET_ICMP_ERROR)
		return;
	header = v6 ? 40 : 20;
	memcpy(frame, data, PACKET_ETH_LEN);
	if (v6) {
		frame[14] = 0x60;
		frame[18] = (uint8_t)((quoted + 8) >> 8);
		frame[19] = (uint8_t)(quoted + 8);
		frame[20] = PACKET_ICMP6;
		frame[14 + 40] = 1;
	} else {
		frame[14] = 0x45;
		frame[16] = (uint8_t)((quoted + 28) >> 8);
		frame[17] = (uint8_t)(quoted + 28);
		frame[23] = PACKET_ICMP;
		frame[14 + 20] = 3;
	}
	memcpy(frame + 14 + header + 8, data + PACKET_ETH_LEN, quoted);
	s.len = 14 + header + 8 + quoted;
	if (packet_parse(&s, s.len, &p) != PACKET_OK)
		abort();
	check(&p, s.len);
	assert(p.shape & PACKET_ICMP_ERROR);
	if (p.shape & PACKET_NO_OWNER)
		return;
	assert(!memcmp(p.flow.saddr, inner->flow.daddr, 16) && !memcmp(p.flow.daddr, inner->flow.saddr, 16));
	assert(p.flow.sport == inner->flow.dport && p.flow.dport == inner->flow.sport);
	assert(p.flow.protocol == inner->flow.protocol);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct packet_source s = { data, (uint32_t)size };
	struct verdict_facts f = { .self = 1, .detours_on = 1, .is_vmac = 1, .triple = { { 1, 2, 3 } }, .vip = VIP_YES,
				   .socket = SOCKET_NONE, .cookie = COOKIE_NO };
	struct packet p;
	struct verdict v;
	int status;

	if (size > 65535)
		return 0;
	status = packet_parse(&s, s.len, &p);
	assert(strcmp(packet_status_name((enum packet_status)status), "?"));
	if (status == PACKET_OK) {
		check(&p, s.len);
		check_quote(data, s.len, &p);
	}
	f.status = (uint8_t)status;
	f.shape = p.shape;
	f.protocol = p.flow.protocol;
	f.tcp_flags = p.tcp_flags;
	v = verdict(&f);
	assert(v.action <= VERDICT_DROP);
	assert(status == PACKET_OK || v.action == VERDICT_PASS || v.action == VERDICT_DROP);
	return 0;
}
