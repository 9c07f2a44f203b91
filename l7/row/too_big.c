// SPDX-License-Identifier: BSD-2-Clause
#include "l7/row/too_big.h"

#include <string.h>

#include "lb/packet.h"

#define QUOTE4_MAX 548u /* RFC 1812, section 4.3.2.3: 576 in all */
#define QUOTE6_MAX 1232u

static uint32_t sum_of(const uint8_t *p, size_t len, uint32_t sum)
{
	size_t i;

	for (i = 0; i < len; i++)
		sum += (uint32_t)p[i] << (i & 1 ? 0 : 8);
	return sum;
}

static void put16(uint8_t *p, uint32_t x)
{
	p[0] = (uint8_t)(x >> 8);
	p[1] = (uint8_t)x;
}

static void put_sum(uint8_t *p, uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	put16(p, ~sum & 0xffff);
}

static size_t too_big_v4(const uint8_t *ip, size_t len, uint32_t mtu, uint8_t *out)
{
	size_t quote = len < QUOTE4_MAX ? len : QUOTE4_MAX;
	uint8_t *icmp = out + 20;

	memset(out, 0, 28);
	out[0] = 0x45;
	put16(out + 2, (uint32_t)(28 + quote));
	out[8] = 64;
	out[9] = PACKET_ICMP;
	memcpy(out + 12, ip + 16, 4);
	memcpy(out + 16, ip + 12, 4);
	put_sum(out + 10, sum_of(out, 20, 0));
	icmp[0] = 3;
	icmp[1] = 4;
	put16(icmp + 6, mtu);
	memcpy(icmp + 8, ip, quote);
	put_sum(icmp + 2, sum_of(icmp, 8 + quote, 0));
	return 28 + quote;
}

static size_t too_big_v6(const uint8_t *ip, size_t len, uint32_t mtu, uint8_t *out)
{
	size_t quote = len < QUOTE6_MAX ? len : QUOTE6_MAX;
	uint8_t *icmp = out + 40;

	memset(out, 0, 48);
	out[0] = 0x60;
	put16(out + 4, (uint32_t)(8 + quote));
	out[6] = PACKET_ICMP6;
	out[7] = 64;
	memcpy(out + 8, ip + 24, 16);
	memcpy(out + 24, ip + 8, 16);
	icmp[0] = 2;
	put16(icmp + 4, mtu >> 16);
	put16(icmp + 6, mtu);
	memcpy(icmp + 8, ip, quote);
	put_sum(icmp + 2, sum_of(icmp, 8 + quote, sum_of(out + 8, 32, (uint32_t)(8 + quote) + PACKET_ICMP6)));
	return 48 + quote;
}

size_t too_big(const uint8_t *frame, size_t len, uint32_t mtu, uint8_t out[TOO_BIG_MAX])
{
	const uint8_t *ip = frame + PACKET_ETH_LEN;
	int v6;

	if (len < PACKET_ETH_LEN + sizeof(struct packet_v4))
		return 0;
	v6 = frame[12] == 0x86 && frame[13] == 0xdd;
	if (v6 ? len < PACKET_ETH_LEN + sizeof(struct packet_v6) : frame[12] != 0x08 || frame[13] != 0x00)
		return 0;
	memcpy(out, frame + 6, 6);
	memcpy(out + 6, frame, 6);
	memcpy(out + 12, frame + 12, 2);
	len -= PACKET_ETH_LEN;
	return PACKET_ETH_LEN + (v6 ? too_big_v6(ip, len, mtu, out + PACKET_ETH_LEN) : too_big_v4(ip, len, mtu, out + PACKET_ETH_LEN));
}
