// SPDX-License-Identifier: BSD-2-Clause
/*
 * Two frames as if from the client, for our own kernel.
 *
 * The nudge makes it acknowledge what it has.  An imported socket owes no acknowledgement that it knows of, and the probe
 * of TCP_REPAIR_OFF does not carry one (its sequence number is old: the client answers and reads no further).  A client
 * with Nagle's algorithm would wait for it 200 ms.  An old segment is answered at once by an acknowledgement in sequence
 * (RFC 9293 section 3.10.7.4).
 *
 * The seed acknowledges the byte that the import put in flight.  Imported bytes were sent at no known time, so its RTT is
 * taken from the timestamp echoed (RFC 7323 section 4), which we choose; its own timestamp becomes ts_recent.
 */
#include <netinet/in.h>
#include <string.h>

#include "l7/tcp/tcp_move.h"
#include "l7/tcp/tcp_sockopt.h"

#define ETH 14
#define TCP 20
#define STAMPS 12 /* the timestamp option, padded as everybody does */
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

static uint8_t *ip_header(const struct tcp_move *m, uint8_t *p, size_t segment, uint32_t *sum)
{
	*sum = IPPROTO_TCP + (uint32_t)segment;
	if (m->vip.family == AF_INET) {
		p[0] = 0x45;
		put_be(p + 2, 20 + (uint32_t)segment, 2);
		p[8] = 64;
		p[9] = IPPROTO_TCP;
		memcpy(p + 12, &m->client.v4, 4);
		memcpy(p + 16, &m->vip.v4, 4);
		put_be(p + 10, fold(add(0, p, 20)), 2);
		*sum = add(*sum, p + 12, 8);
		return p + 20;
	}
	p[0] = 0x60;
	put_be(p + 4, (uint32_t)segment, 2);
	p[6] = IPPROTO_TCP;
	p[7] = 64;
	memcpy(p + 8, &m->client.v6, 16);
	memcpy(p + 24, &m->vip.v6, 16);
	*sum = add(*sum, p + 8, 32);
	return p + 40;
}

/* An acknowledgement of all that the client has, from `seq` on, with `options` bytes of room behind the header. */
static uint8_t *acknowledgement(const struct tcp_move *m, uint8_t *frame, uint32_t seq, size_t options, uint32_t *sum)
{
	uint32_t window = m->snd_wnd >> m->snd_wscale;
	uint8_t *p;

	memset(frame, 0, ETH);
	put_be(frame + 12, m->vip.family == AF_INET ? 0x0800 : 0x86dd, 2);
	p = ip_header(m, frame + ETH, TCP + options, sum);
	put_be(p, m->client_port, 2);
	put_be(p + 2, m->vip_port, 2);
	put_be(p + 4, seq, 4);
	put_be(p + 8, m->snd_una, 4);
	p[12] = (uint8_t)((TCP + options) / 4 << 4);
	p[13] = ACK;
	put_be(p + 14, window > UINT16_MAX ? UINT16_MAX : window, 2);
	return p;
}

size_t tcp_move_nudge(const struct tcp_move *m, uint8_t frame[TCP_MOVE_NUDGE_MAX])
{
	uint32_t sum;
	uint8_t *p;

	memset(frame, 0, TCP_MOVE_NUDGE_MAX);
	p = acknowledgement(m, frame, m->rcv_wup - 1, 0, &sum); /* before all that is in the window: read no further */
	put_be(p + 16, fold(add(sum, p, TCP)), 2);
	return (size_t)(p + TCP - frame);
}

size_t tcp_move_seed(int fd, const struct tcp_move *m, uint8_t frame[TCP_MOVE_SEED_MAX])
{
	static const uint8_t stamps[4] = { 1, 1, 8, 10 }; /* two of no operation, timestamps, 10 bytes */
	uint32_t now, sum;
	uint8_t *p;

	if (!m->timestamps || !m->srtt_us || get_u32(fd, TCP_TIMESTAMP, &now))
		return 0;
	memset(frame, 0, TCP_MOVE_SEED_MAX);
	p = acknowledgement(m, frame, m->rcv_nxt, STAMPS, &sum);
	memcpy(p + TCP, stamps, sizeof(stamps));
	put_be(p + TCP + 4, m->ts_recent, 4);
	put_be(p + TCP + 8, now - (m->srtt_us + 500) / 1000, 4);
	put_be(p + 16, fold(add(sum, p, TCP + STAMPS)), 2);
	return (size_t)(p + TCP + STAMPS - frame);
}
