// SPDX-License-Identifier: BSD-2-Clause
/*
 * Round trips over chosen buckets, timed in the client's network namespace.
 *
 *   rtt reset IFNAME GATEWAY_MAC SOURCE VIP SEED BUCKETS FLOWS BUCKET...
 *       Faild's method (NSDI'18, section 6.3): a segment without SYN of a connection that nobody has; the RST that
 *       comes back is timed.  FLOWS flows from SOURCE:random to VIP:80 that fall into one of the buckets.
 *   rtt request VIP SEED BUCKETS FLOWS
 *       FLOWS kept connections to VIP:80; a small request and its answer are timed on each in turn.
 *
 * Each line "N" on standard input makes N rounds over all flows and prints one JSON line: the flows' buckets, their
 * times in nanoseconds, who answered (request), how many got no answer (1 s; a request: 5 s).  Nothing sleeps between send and
 * receive: waking a process would cost more than what is measured.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lb/flow.h"

#define FLOWS_MAX 512
#define LIMIT_NS 1000000000ull /* for a RST: nobody sends it again */
#define REQUEST_LIMIT_NS 5000000000ull

struct trip {
	uint16_t sport; /* host byte order */
	uint32_t bucket;
	int fd;
	char host[16]; /* who answered last */
};

static struct trip trip[FLOWS_MAX];
static int n_trips, out_fd, in_fd;
static struct in_addr source, vip;
static uint32_t seed, n_buckets, lost;
static struct sockaddr_ll gateway;

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void die(const char *what)
{
	fprintf(stderr, "rtt: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint32_t bucket_of(struct in_addr from, uint16_t sport)
{
	struct flow f = { .family = FLOW_V4, .protocol = IPPROTO_TCP, .sport = htons(sport), .dport = htons(80) };

	f.saddr[0] = from.s_addr;
	f.daddr[0] = vip.s_addr;
	return flow_bucket(&f, seed, n_buckets);
}

static uint16_t fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static uint32_t sum16(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint32_t sum = 0;

	for (size_t i = 0; i + 1 < len; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	return sum;
}

static void segment(uint8_t packet[40], uint16_t sport)
{
	struct iphdr ip = { .version = 4, .ihl = 5, .tot_len = htons(40), .frag_off = htons(0x4000), .ttl = 64,
			    .protocol = IPPROTO_TCP, .saddr = source.s_addr, .daddr = vip.s_addr };
	struct tcphdr tcp = { .source = htons(sport), .dest = htons(80), .seq = htonl(1000), .ack_seq = htonl(2000),
			      .doff = 5, .ack = 1, .window = htons(1000) };

	ip.check = htons(fold(sum16(&ip, 20)));
	tcp.check = htons(fold(sum16(&ip.saddr, 8) + IPPROTO_TCP + 20 + sum16(&tcp, 20)));
	memcpy(packet, &ip, 20);
	memcpy(packet + 20, &tcp, 20);
}

static int64_t reset_trip(struct trip *t)
{
	uint8_t packet[40], got[2048];
	uint64_t from;

	segment(packet, t->sport);
	from = now_ns();
	if (sendto(out_fd, packet, sizeof(packet), 0, (struct sockaddr *)&gateway, sizeof(gateway)) != sizeof(packet))
		die("send");
	while (now_ns() - from < LIMIT_NS) {
		struct sockaddr_ll at;
		socklen_t len = sizeof(at);
		ssize_t n = recvfrom(in_fd, got, sizeof(got), MSG_DONTWAIT, (struct sockaddr *)&at, &len);
		struct tcphdr tcp;

		if (n < 40 || at.sll_pkttype == PACKET_OUTGOING || got[9] != IPPROTO_TCP)
			continue;
		memcpy(&tcp, got + 4 * (got[0] & 15), sizeof(tcp));
		if (tcp.rst && ntohs(tcp.dest) == t->sport && !memcmp(got + 12, &vip, 4))
			return (int64_t)(now_ns() - from);
	}
	return -1;
}

static int64_t request_trip(struct trip *t)
{
	static const char request[] = "GET /whoami HTTP/1.1\r\nHost: www.example\r\n\r\n";
	char got[2048];
	size_t have = 0;
	uint64_t from = now_ns();

	if (send(t->fd, request, sizeof(request) - 1, MSG_NOSIGNAL) < 0)
		return -1;
	while (now_ns() - from < REQUEST_LIMIT_NS) {
		ssize_t n = recv(t->fd, got + have, sizeof(got) - 1 - have, MSG_DONTWAIT);
		char *body;

		if (n == 0 || (n < 0 && errno != EAGAIN))
			return -1;
		if (n < 0)
			continue;
		have += (size_t)n;
		got[have] = 0;
		body = strstr(got, "\r\n\r\n");
		if (!body || got[have - 1] != '\n' || body + 4 == got + have)
			continue;
		n = (ssize_t)(now_ns() - from);
		snprintf(t->host, sizeof(t->host), "%.*s", (int)strcspn(body + 4, "\n"), body + 4);
		return n;
	}
	return -1;
}

static void rounds(long n, int64_t (*one)(struct trip *t))
{
	static int64_t *ns[FLOWS_MAX];

	lost = 0;
	for (int i = 0; i < n_trips; i++)
		ns[i] = calloc((size_t)n, sizeof(*ns[i]));
	for (long r = 0; r < n; r++) {
		for (int i = 0; i < n_trips; i++) {
			ns[i][r] = one(&trip[i]);
			lost += ns[i][r] < 0;
		}
	}
	printf("{\"lost\": %u, \"flows\": [", lost);
	for (int i = 0; i < n_trips; i++) {
		printf("%s{\"bucket\": %u, \"host\": \"%s\", \"ns\": [", i ? ", " : "", trip[i].bucket, trip[i].host);
		for (long r = 0; r < n; r++)
			printf("%s%lld", r ? "," : "", (long long)ns[i][r]);
		printf("]}");
		free(ns[i]);
	}
	printf("]}\n");
	fflush(stdout);
}

static bool listed(uint32_t bucket, char **list)
{
	for (; *list; list++)
		if ((uint32_t)atoi(*list) == bucket)
			return true;
	return false;
}

/* The socket sees every device: without this, other traffic of a busy moment fills it, and an answer would be
 * counted as lost that had come. */
static void only_resets(int fd)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 9), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_TCP, 0, 6),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 12), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ntohl(vip.s_addr), 0, 4),
		BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0), BPF_STMT(BPF_LD | BPF_B | BPF_IND, 13),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x04, 0, 1), BPF_STMT(BPF_RET | BPF_K, 0xffff),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct sock_fprog program = { sizeof(code) / sizeof(code[0]), code };

	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)))
		die("packet filter");
}

static void open_reset(char **arg)
{
	unsigned mac[6];

	gateway = (struct sockaddr_ll){ .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP), .sll_halen = 6,
					.sll_ifindex = (int)if_nametoindex(arg[0]) };
	if (!gateway.sll_ifindex || sscanf(arg[1], "%x:%x:%x:%x:%x:%x", &mac[0], &mac[1], &mac[2], &mac[3], &mac[4], &mac[5]) != 6)
		die("interface or gateway");
	for (int i = 0; i < 6; i++)
		gateway.sll_addr[i] = (unsigned char)mac[i];
	out_fd = socket(AF_PACKET, SOCK_DGRAM, 0);
	in_fd = socket(AF_PACKET, SOCK_DGRAM, htons(ETH_P_IP)); /* of all interfaces: the answer may take another way */
	if (out_fd < 0 || in_fd < 0)
		die("packet socket");
	only_resets(in_fd);
	for (int tries = 0; n_trips < atoi(arg[6]) && tries < 10000000; tries++) {
		uint16_t sport = (uint16_t)(20000 + rand() % 40000);

		if (listed(bucket_of(source, sport), arg + 7))
			trip[n_trips++] = (struct trip){ .sport = sport, .bucket = bucket_of(source, sport) };
	}
}

static void open_request(int n)
{
	for (; n_trips < n; n_trips++) {
		struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(80), .sin_addr = vip }, self;
		struct trip *t = &trip[n_trips];
		socklen_t len = sizeof(self);
		int one = 1;

		t->fd = socket(AF_INET, SOCK_STREAM, 0);
		if (t->fd < 0 || connect(t->fd, (struct sockaddr *)&to, sizeof(to)))
			die("connect");
		setsockopt(t->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		getsockname(t->fd, (struct sockaddr *)&self, &len);
		t->sport = ntohs(self.sin_port);
		t->bucket = bucket_of(self.sin_addr, t->sport);
	}
}

int main(int argc, char **argv)
{
	bool reset = argc > 8 && !strcmp(argv[1], "reset");
	char **arg = argv + (reset ? 5 : 2), line[32];

	if (!reset && (argc != 6 || strcmp(argv[1], "request"))) {
		fprintf(stderr, "usage: see the head of tests/load/rtt.c\n");
		return 2;
	}
	if (inet_pton(AF_INET, arg[0], &vip) != 1 || (reset && inet_pton(AF_INET, argv[4], &source) != 1))
		die("address");
	seed = (uint32_t)strtoul(arg[1], NULL, 0);
	n_buckets = (uint32_t)atoi(arg[2]);
	if (atoi(arg[3]) < 1 || atoi(arg[3]) > FLOWS_MAX)
		die("number of flows");
	if (reset)
		open_reset(argv + 2);
	else
		open_request(atoi(arg[3]));
	while (fgets(line, sizeof(line), stdin))
		rounds(atol(line), reset ? reset_trip : request_trip);
	return 0;
}
