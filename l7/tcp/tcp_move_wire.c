// SPDX-License-Identifier: BSD-2-Clause
/* A TCP connection as bytes (the layout is in l7/tcp/tcp_move.h). */
#include <errno.h>
#include <string.h>

#include "l7/tcp/tcp_move.h"

enum flags { FLAG_TIMESTAMPS = 1, FLAG_SACK = 2, FLAG_WSCALE = 4, FLAG_NODELAY = 8, FLAG_KEEPALIVE = 16, FLAG_OWES_ACK = 32,
	     FLAG_ECN = 64, FLAGS_ALL = 127 };

static void put_be(uint8_t *p, uint32_t v, int bytes)
{
	while (bytes--) {
		p[bytes] = (uint8_t)v;
		v >>= 8;
	}
}

static uint32_t get_be(const uint8_t *p, int bytes)
{
	uint32_t v = 0;

	while (bytes--)
		v = v << 8 | *p++;
	return v;
}

static void put_address(uint8_t *p, const struct address *a)
{
	memset(p, 0, 16);
	if (a->family == AF_INET6)
		memcpy(p, &a->v6, 16);
	else
		memcpy(p, &a->v4, 4);
}

static int get_address(const uint8_t *p, int family, struct address *a)
{
	static const uint8_t zero[12];

	memset(a, 0, sizeof(*a));
	a->family = family == 6 ? AF_INET6 : AF_INET;
	if (family == 6)
		memcpy(&a->v6, p, 16);
	else
		memcpy(&a->v4, p, 4);
	return family == 4 && memcmp(p + 4, zero, 12) ? -EINVAL : 0;
}

/* The fields of four bytes, in their order from byte 60 on. */
#define WORDS 12
static void words_of(struct tcp_move *m, uint32_t *word[WORDS])
{
	uint32_t *const all[WORDS] = { &m->snd_wl1, &m->snd_wnd, &m->max_window, &m->rcv_wnd, &m->rcv_wup, &m->timestamp,
				       &m->ts_recent, &m->srtt_us, &m->rttvar_us, &m->cwnd, &m->ssthresh,
				       &m->user_timeout_ms };

	memcpy(word, all, sizeof(all));
}

size_t tcp_move_len(const struct tcp_move *m)
{
	return TCP_MOVE_HEAD + buffer_len(&m->received) + buffer_len(&m->send);
}

void tcp_move_put(const struct tcp_move *from, uint8_t *out)
{
	struct tcp_move copy = *from, *m = &copy;
	size_t received = buffer_len(&m->received), send = buffer_len(&m->send);
	uint32_t *word[WORDS];
	int i;

	memset(out, 0, TCP_MOVE_HEAD);
	out[0] = TCP_MOVE_FORMAT;
	out[1] = m->vip.family == AF_INET6 ? 6 : 4;
	put_be(out + 2, (m->timestamps ? FLAG_TIMESTAMPS : 0) | (m->sack ? FLAG_SACK : 0) | (m->wscale ? FLAG_WSCALE : 0) |
				(m->nodelay ? FLAG_NODELAY : 0) | (m->keepalive ? FLAG_KEEPALIVE : 0) | (m->owes_ack ? FLAG_OWES_ACK : 0) |
				(m->ecn ? FLAG_ECN : 0), 2);
	put_be(out + 4, m->client_port, 2);
	put_be(out + 6, m->vip_port, 2);
	put_address(out + 8, &m->client);
	put_address(out + 24, &m->vip);
	put_be(out + 40, m->snd_una, 4);
	put_be(out + 44, m->unsent, 4);
	put_be(out + 48, m->rcv_nxt, 4);
	put_be(out + 52, (uint32_t)received, 4);
	put_be(out + 56, (uint32_t)send, 4);
	words_of(m, word);
	for (i = 0; i < WORDS; i++)
		put_be(out + 60 + 4 * i, *word[i], 4);
	put_be(out + 108, m->mss_clamp, 2);
	put_be(out + 110, m->pmtu, 2);
	put_be(out + 112, m->keep_idle_s, 2);
	put_be(out + 114, m->keep_interval_s, 2);
	out[116] = m->snd_wscale;
	out[117] = m->rcv_wscale;
	out[118] = m->tos;
	out[119] = m->keep_count;
	memcpy(out + 120, m->congestion, strnlen(m->congestion, sizeof(m->congestion)));
	if (received)
		memcpy(out + TCP_MOVE_HEAD, m->received.data + m->received.start, received);
	if (send)
		memcpy(out + TCP_MOVE_HEAD + received, m->send.data + m->send.start, send);
}

static int get_congestion(const uint8_t *p, char out[TCP_MOVE_CONGESTION_LEN])
{
	size_t n = strnlen((const char *)p, TCP_MOVE_CONGESTION_LEN), i;

	if (n == TCP_MOVE_CONGESTION_LEN)
		return -EINVAL;
	for (i = 0; i < TCP_MOVE_CONGESTION_LEN; i++)
		if (i < n ? p[i] <= ' ' || p[i] > '~' : p[i])
			return -EINVAL;
	memcpy(out, p, TCP_MOVE_CONGESTION_LEN);
	return 0;
}

int tcp_move_get(const uint8_t *p, size_t len, struct tcp_move *m)
{
	uint32_t received, send, flags, *word[WORDS];
	int i;

	memset(m, 0, sizeof(*m));
	if (len < TCP_MOVE_HEAD || p[0] != TCP_MOVE_FORMAT || (p[1] != 4 && p[1] != 6))
		return -EINVAL;
	flags = get_be(p + 2, 2);
	m->client_port = (uint16_t)get_be(p + 4, 2);
	m->vip_port = (uint16_t)get_be(p + 6, 2);
	m->snd_una = get_be(p + 40, 4);
	m->unsent = get_be(p + 44, 4);
	m->rcv_nxt = get_be(p + 48, 4);
	received = get_be(p + 52, 4);
	send = get_be(p + 56, 4);
	words_of(m, word);
	for (i = 0; i < WORDS; i++)
		*word[i] = get_be(p + 60 + 4 * i, 4);
	m->mss_clamp = (uint16_t)get_be(p + 108, 2);
	m->pmtu = (uint16_t)get_be(p + 110, 2);
	m->keep_idle_s = (uint16_t)get_be(p + 112, 2);
	m->keep_interval_s = (uint16_t)get_be(p + 114, 2);
	m->snd_wscale = p[116];
	m->rcv_wscale = p[117];
	m->tos = p[118];
	m->keep_count = p[119];
	m->timestamps = flags & FLAG_TIMESTAMPS;
	m->sack = flags & FLAG_SACK;
	m->wscale = flags & FLAG_WSCALE;
	m->nodelay = flags & FLAG_NODELAY;
	m->keepalive = flags & FLAG_KEEPALIVE;
	m->owes_ack = flags & FLAG_OWES_ACK;
	m->ecn = flags & FLAG_ECN;
	if (flags & ~(uint32_t)FLAGS_ALL || !m->client_port || !m->vip_port || received > TCP_MOVE_QUEUE_MAX ||
	    send > TCP_MOVE_QUEUE_MAX || len != TCP_MOVE_HEAD + (size_t)received + send || m->unsent > send ||
	    m->snd_wscale > 14 || m->rcv_wscale > 14 || (!m->wscale && (m->snd_wscale || m->rcv_wscale)) || m->tos & 3 ||
	    get_address(p + 8, p[1], &m->client) || get_address(p + 24, p[1], &m->vip) ||
	    get_congestion(p + 120, m->congestion))
		return -EINVAL;
	if (buffer_put(&m->received, p + TCP_MOVE_HEAD, received, TCP_MOVE_QUEUE_MAX) ||
	    buffer_put(&m->send, p + TCP_MOVE_HEAD + received, send, TCP_MOVE_QUEUE_MAX)) {
		tcp_move_free(m);
		return -ENOMEM;
	}
	return 0;
}
