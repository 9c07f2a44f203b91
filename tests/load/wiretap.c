/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Counts TCP resets on the wire, of the load's flows only: those between a service address and one of
 * the load's sources.  A socket filter in the kernel passes nothing but resets, so that watching costs
 * next to nothing; a JSON object a line says how many came from the service and how many from the client.
 *
 *   wiretap --vip ADDR... --source ADDR... [--every MS] [--log FILE] INTERFACE...
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { ADDRS_MAX = 32, IFS_MAX = 8 };

struct addr {
	int family;
	uint8_t bytes[16];
};

static struct addr vip[ADDRS_MAX], source[ADDRS_MAX];
static unsigned n_vips, n_sources;
static uint64_t from_service, from_client, unrelated;
static FILE *log_file;
static volatile sig_atomic_t stopping;

/* On a SOCK_DGRAM packet socket offset 0 is the network header: IPv4 without fragments, or IPv6 without extension headers. */
static struct sock_filter resets[] = {
	BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0),
	BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xf0),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x60, 8, 0),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x40, 0, 11),
	BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 9),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_TCP, 0, 9),
	BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 6),
	BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x1fff, 7, 0),
	BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0),
	BPF_STMT(BPF_LD | BPF_B | BPF_IND, 13),
	BPF_STMT(BPF_JMP | BPF_JA, 3),
	/* 11: IPv6 */
	BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 6),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_TCP, 0, 2),
	BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 40 + 13),
	/* 14: flags are in A */
	BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x04, 1, 0),
	BPF_STMT(BPF_RET | BPF_K, 0),
	BPF_STMT(BPF_RET | BPF_K, 256),
};

static int open_tap(const char *ifname)
{
	struct sock_fprog prog = { sizeof(resets) / sizeof(resets[0]), resets };
	struct sockaddr_ll sa = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
	int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0); /* protocol 0: nothing comes before bind */

	sa.sll_ifindex = (int)if_nametoindex(ifname);
	if (fd < 0 || !sa.sll_ifindex || setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)) ||
	    bind(fd, (struct sockaddr *)&sa, sizeof(sa))) {
		fprintf(stderr, "wiretap: %s: %s\n", ifname, strerror(errno));
		exit(2);
	}
	return fd;
}

static bool among(const struct addr *set, unsigned n, int family, const void *bytes)
{
	size_t len = family == AF_INET ? 4 : 16;
	unsigned i;

	for (i = 0; i < n; i++)
		if (set[i].family == family && !memcmp(set[i].bytes, bytes, len))
			return true;
	return false;
}

static void judge(const uint8_t *p, size_t len)
{
	char a[INET6_ADDRSTRLEN], b[INET6_ADDRSTRLEN];
	const uint8_t *src, *dst, *tcp;
	struct timespec ts;
	int family;

	if (len < 20)
		return;
	family = p[0] >> 4 == 4 ? AF_INET : AF_INET6;
	tcp = family == AF_INET ? p + (p[0] & 15) * 4 : p + 40;
	if (tcp + 20 > p + len)
		return;
	src = family == AF_INET ? p + 12 : p + 8;
	dst = family == AF_INET ? p + 16 : p + 24;
	if (among(vip, n_vips, family, src) && among(source, n_sources, family, dst))
		from_service++;
	else if (among(source, n_sources, family, src) && among(vip, n_vips, family, dst))
		from_client++;
	else
		unrelated++;
	if (!log_file)
		return;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	fprintf(log_file, "%llu %s.%u > %s.%u flags=%02x\n", (unsigned long long)ts.tv_sec * 1000 + (unsigned long long)ts.tv_nsec / 1000000,
		inet_ntop(family, src, a, sizeof(a)), tcp[0] << 8 | tcp[1], inet_ntop(family, dst, b, sizeof(b)),
		tcp[2] << 8 | tcp[3], tcp[13]);
	fflush(log_file);
}

static void add_addr(struct addr *set, unsigned *n, const char *text)
{
	struct addr *a = &set[*n];

	a->family = strchr(text, ':') ? AF_INET6 : AF_INET;
	if (*n == ADDRS_MAX || inet_pton(a->family, text, a->bytes) != 1) {
		fprintf(stderr, "wiretap: %s: not an address, or too many\n", text);
		exit(2);
	}
	++*n;
}

static void print_counts(bool last)
{
	printf("{\"last\": %s, \"resets\": %llu, \"from_service\": %llu, \"from_client\": %llu, \"unrelated\": %llu}\n",
	       last ? "true" : "false", (unsigned long long)from_service + from_client, (unsigned long long)from_service,
	       (unsigned long long)from_client, (unsigned long long)unrelated);
	fflush(stdout);
}

static void on_signal(int number)
{
	(void)number;
	stopping = 1;
}

int main(int argc, char **argv)
{
	static const struct option options[] = { { "vip", 1, NULL, 'v' }, { "source", 1, NULL, 's' }, { "every", 1, NULL, 'e' },
						 { "log", 1, NULL, 'l' }, { 0 } };
	struct pollfd fds[IFS_MAX];
	unsigned n_fds = 0, i;
	int every_ms = 200, c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'v': add_addr(vip, &n_vips, optarg); break;
		case 's': add_addr(source, &n_sources, optarg); break;
		case 'e': every_ms = atoi(optarg); break;
		case 'l':
			log_file = fopen(optarg, "w");
			if (!log_file) {
				perror(optarg);
				return 2;
			}
			break;
		default: return 2;
		}
	}
	for (; optind < argc && n_fds < IFS_MAX; optind++)
		fds[n_fds++] = (struct pollfd){ .fd = open_tap(argv[optind]), .events = POLLIN };
	if (!n_fds || !n_vips || !n_sources) {
		fprintf(stderr, "usage: wiretap --vip ADDR... --source ADDR... [--every MS] [--log FILE] INTERFACE...\n");
		return 2;
	}
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	while (!stopping) {
		uint8_t packet[256];
		ssize_t n;

		poll(fds, n_fds, every_ms);
		for (i = 0; i < n_fds; i++)
			while ((n = recv(fds[i].fd, packet, sizeof(packet), MSG_DONTWAIT)) > 0)
				judge(packet, (size_t)n);
		print_counts(false);
	}
	print_counts(true);
	return 0;
}
