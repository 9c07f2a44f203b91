/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct prober {
	int v4, v6;
};

static uint32_t sum(uint32_t s, const void *data, size_t len)
{
	const uint8_t *p = data;

	for (size_t i = 0; i + 1 < len; i += 2)
		s += (uint32_t)p[i] << 8 | p[i + 1];
	if (len & 1)
		s += (uint32_t)p[len - 1] << 8;
	return s;
}

static uint16_t fold(uint32_t s)
{
	s = (s & 0xffff) + (s >> 16);
	s = (s & 0xffff) + (s >> 16);
	return htons((uint16_t)~s);
}

static size_t put_tcp(uint8_t *at, const struct tcp_iter_socket *s, uint64_t now)
{
	struct tcphdr th = {
		.source = htons(s->src_port),
		.dest = htons(s->dst_port),
		.seq = htonl(s->snd_una - 1),
		.ack_seq = htonl(s->rcv_nxt),
		.ack = 1,
		.window = htons((uint16_t)(s->window < 65535 ? s->window : 65535)),
	};
	size_t addr_len = s->family == AF_INET ? 4 : 16, len = sizeof(th);
	uint8_t option[12] = { 1, 1, 8, 10 }; /* NOP NOP TIMESTAMP */
	uint32_t check;

	if (s->flags & TCP_ITER_TIMESTAMPS) {
		uint32_t tsval = (uint32_t)(now / (s->flags & TCP_ITER_USEC_TS ? 1000 : 1000000)) + s->ts_offset;

		tsval = htonl(tsval);
		memcpy(option + 4, &tsval, 4);
		tsval = htonl(s->ts_recent);
		memcpy(option + 8, &tsval, 4);
		len += sizeof(option);
	}
	th.doff = (uint16_t)(len / 4) & 0xf;
	memcpy(at, &th, sizeof(th));
	memcpy(at + sizeof(th), option, len - sizeof(th));
	check = sum(IPPROTO_TCP + (uint32_t)len, s->src, addr_len);
	check = sum(check, s->dst, addr_len);
	check = sum(check, at, len);
	th.check = fold(check);
	memcpy(at, &th, sizeof(th));
	return len;
}

size_t probe_build(uint8_t buf[PROBE_LEN_MAX], const struct tcp_iter_socket *s, uint64_t monotonic_ns)
{
	struct ip6_hdr v6 = { .ip6_nxt = IPPROTO_TCP, .ip6_hlim = 64 };
	struct iphdr v4 = { .version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_TCP, .frag_off = htons(IP_DF) };
	size_t len;

	if (s->family == AF_INET) {
		len = sizeof(v4) + put_tcp(buf + sizeof(v4), s, monotonic_ns);
		v4.tot_len = htons((uint16_t)len);
		memcpy(&v4.saddr, s->src, 4);
		memcpy(&v4.daddr, s->dst, 4);
		v4.check = fold(sum(0, &v4, sizeof(v4)));
		memcpy(buf, &v4, sizeof(v4));
		return len;
	}
	len = put_tcp(buf + sizeof(v6), s, monotonic_ns);
	v6.ip6_vfc = 0x60;
	v6.ip6_plen = htons((uint16_t)len);
	memcpy(&v6.ip6_src, s->src, 16);
	memcpy(&v6.ip6_dst, s->dst, 16);
	memcpy(buf, &v6, sizeof(v6));
	return sizeof(v6) + len;
}

int prober_open(struct prober **out)
{
	struct prober *p = calloc(1, sizeof(*p));
	int err;

	if (!p)
		return -ENOMEM;
	/* IPPROTO_RAW: the header is ours, nothing is received. */
	p->v4 = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_RAW);
	p->v6 = socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_RAW);
	if (p->v4 < 0 || p->v6 < 0) {
		err = -errno;
		prober_close(p);
		return err;
	}
	*out = p;
	return 0;
}

void prober_close(struct prober *p)
{
	if (!p)
		return;
	if (p->v4 >= 0)
		close(p->v4);
	if (p->v6 >= 0)
		close(p->v6);
	free(p);
}

int prober_send(struct prober *p, const struct tcp_iter_socket *s)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
	uint8_t buf[PROBE_LEN_MAX];
	struct timespec ts;
	ssize_t n;
	size_t len;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	len = probe_build(buf, s, (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec);
	if (s->family == AF_INET) {
		memcpy(&in.sin_addr, s->dst, 4);
		n = sendto(p->v4, buf, len, 0, (struct sockaddr *)&in, sizeof(in));
	} else {
		memcpy(&in6.sin6_addr, s->dst, 16);
		n = sendto(p->v6, buf, len, 0, (struct sockaddr *)&in6, sizeof(in6));
	}
	return n == (ssize_t)len ? 0 : n < 0 ? -errno : -EIO;
}
