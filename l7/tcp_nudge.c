// SPDX-License-Identifier: BSD-2-Clause
/*
 * A frame as if from the client that makes our kernel acknowledge what it has.  An imported socket owes no
 * acknowledgement that it knows of, and the probe of TCP_REPAIR_OFF does not carry one (its sequence number is old:
 * the client answers and reads no further).  A client with Nagle's algorithm would wait for it 200 ms.  An old
 * segment is answered at once by an acknowledgement in sequence (RFC 9293 section 3.10.7.4).
 */
#include <netinet/in.h>
#include <string.h>

#include "l7/tcp_move.h"

#define ETH 14
#define TCP 20
#define ACK 0x10

static void put_be(uint8_t *p, uint32_t v, int bytes)
{
	while (bytes--) {
		p[bytes] = (uint8_t)v;
		v >>= 8;
	}
}

static uint32_t add(uint32_t sum, const uint8_t *p, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		sum += (uint32_t)p[i] << (i % 2 ? 0 : 8);
	return sum;
}

static uint16_t fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static uint8_t *ip_header(const struct tcp_move *m, uint8_t *p, uint32_t *sum)
{
	*sum = IPPROTO_TCP + TCP;
	if (m->vip.family == AF_INET) {
		p[0] = 0x45;
		put_be(p + 2, 20 + TCP, 2);
		p[8] = 64;
		p[9] = IPPROTO_TCP;
		memcpy(p + 12, &m->client.v4, 4);
		memcpy(p + 16, &m->vip.v4, 4);
		put_be(p + 10, fold(add(0, p, 20)), 2);
		*sum = add(*sum, p + 12, 8);
		return p + 20;
	}
	p[0] = 0x60;
	put_be(p + 4, TCP, 2);
	p[6] = IPPROTO_TCP;
	p[7] = 64;
	memcpy(p + 8, &m->client.v6, 16);
	memcpy(p + 24, &m->vip.v6, 16);
	*sum = add(*sum, p + 8, 32);
	return p + 40;
}

size_t tcp_move_nudge(const struct tcp_move *m, uint8_t frame[TCP_MOVE_NUDGE_MAX])
{
	uint32_t sum, window = m->snd_wnd >> m->snd_wscale;
	uint8_t *p;

	memset(frame, 0, TCP_MOVE_NUDGE_MAX);
	put_be(frame + 12, m->vip.family == AF_INET ? 0x0800 : 0x86dd, 2);
	p = ip_header(m, frame + ETH, &sum);
	put_be(p, m->client_port, 2);
	put_be(p + 2, m->vip_port, 2);
	put_be(p + 4, m->rcv_wup - 1, 4); /* before all that is in the window: read no further than this */
	put_be(p + 8, m->snd_una, 4);
	p[12] = TCP / 4 << 4;
	p[13] = ACK;
	put_be(p + 14, window > UINT16_MAX ? UINT16_MAX : window, 2);
	put_be(p + 16, fold(add(sum, p, TCP)), 2);
	return (size_t)(p + TCP - frame);
}
