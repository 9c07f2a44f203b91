/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A host on a wire, for tests of its data path: a network namespace with
 *
 *    v1 (the switch's end, raw frames) ---- v0 (the host's link) ---- real sockets, one in each state
 *
 * Sockets are made by talking raw frames over the wire, so the host has them as it would have them.
 * cmocka and <sys/socket.h> are included before.
 */
#ifndef TESTS_BPF_HOST_BED_H
#define TESTS_BPF_HOST_BED_H

#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tests/bpf/fixtures.h"

#define SELF 1

static int wire = -1; /* v1: the switch's end */
static int listener[2] = { -1, -1 };
static struct fixture_socket socket_of[2][FS_N]; /* by family (0: v4) */

static int family_of(int i)
{
	return i ? FLOW_V6 : FLOW_V4;
}

static void shell(const char *command)
{
	int rc = system(command);

	if (rc)
		fail_msg("`%s` failed: %d", command, rc);
}

/* --- The wire ----------------------------------------------------------------------------------------- */

static void send_frame(const struct frame *f)
{
	assert_int_equal(send(wire, f->byte, f->len, 0), f->len);
}

/* The next frame that host 1 sent, of any kind but neighbour discovery; 0 when none comes within ms. */
static uint32_t next_frame(uint8_t *byte, uint32_t room, int ms)
{
	struct sockaddr_ll from;
	socklen_t len = sizeof(from);

	for (;;) {
		struct pollfd p = { wire, POLLIN, 0 };
		ssize_t n;

		if (poll(&p, 1, ms) <= 0)
			return 0;
		len = sizeof(from);
		n = recvfrom(wire, byte, room, 0, (struct sockaddr *)&from, &len);
		if (n < 14 || from.sll_pkttype == PACKET_OUTGOING)
			continue;
		if (byte[0] == 0x33 || byte[0] == 0xff) /* the kernel's own multicast */
			continue;
		return (uint32_t)n;
	}
}

__attribute__((unused)) static void drain_wire(void)
{
	uint8_t byte[2048];

	while (next_frame(byte, sizeof(byte), 20))
		;
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

/* Waits for a segment with these flags to the client's port, however many others come first (of a flood, say). */
static void expect_segment(int f, uint16_t port, uint8_t flags, uint32_t *seq)
{
	int64_t end = now_ms() + 10000;
	uint8_t b[2048];
	int l4 = f ? 54 : 34, ms;

	while ((ms = (int)(end - now_ms())) > 0) {
		uint32_t n = next_frame(b, sizeof(b), ms);

		if (n < (uint32_t)l4 + 20 || b[l4 + 2] != port >> 8 || b[l4 + 3] != (port & 0xff) || b[l4 + 13] != flags)
			continue;
		*seq = get32(b + l4 + 4);
		return;
	}
	fail_msg("no segment with flags %#x to port %u within 10 s", flags, port);
}

static void send_tcp(int f, enum fixture_socket_kind kind, uint8_t flags)
{
	const struct fixture x = { "", T(SELF), .shape = SH_TCP, .socket = kind, .flags = flags };
	struct frame frame;

	fixture_frame(&frame, &x, family_of(f), &socket_of[f][kind]);
	send_frame(&frame);
}

/* --- Sockets in every state ---------------------------------------------------------------------------- */

static void make_request(int f, enum fixture_socket_kind kind)
{
	struct fixture_socket *s = &socket_of[f][kind];
	uint32_t isn;

	s->seq = 0x10000000u * (uint32_t)kind + 5;
	send_tcp(f, kind, F_SYN);
	expect_segment(f, fixture_port(kind), F_SYN | F_ACK, &isn);
	s->seq++;
	s->ack = isn + 1;
}

static int make_established(int f, enum fixture_socket_kind kind)
{
	struct pollfd p = { listener[f], POLLIN, 0 };

	make_request(f, kind);
	send_tcp(f, kind, F_ACK);
	assert_int_equal(poll(&p, 1, 1000), 1);
	return accept(listener[f], NULL, NULL);
}

static void make_time_wait(int f)
{
	struct fixture_socket *s = &socket_of[f][FS_TIME_WAIT];
	int fd = make_established(f, FS_TIME_WAIT);
	uint32_t seq;

	close(fd);
	expect_segment(f, fixture_port(FS_TIME_WAIT), F_FIN | F_ACK, &seq);
	s->ack = seq + 1;
	send_tcp(f, FS_TIME_WAIT, F_FIN | F_ACK);
	s->seq++;
	usleep(20000);
}

static void listen_on(int f)
{
	struct sockaddr_in a4 = { .sin_family = AF_INET, .sin_port = htons(80) };
	struct sockaddr_in6 a6 = { .sin6_family = AF_INET6, .sin6_port = htons(80) };
	int one = 1;

	memcpy(&a4.sin_addr, fixture_vip4, 4);
	memcpy(&a6.sin6_addr, fixture_vip6, 16);
	listener[f] = socket(f ? AF_INET6 : AF_INET, SOCK_STREAM, 0);
	assert_true(listener[f] >= 0);
	setsockopt(listener[f], SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	assert_int_equal(bind(listener[f], f ? (void *)&a6 : (void *)&a4, f ? sizeof(a6) : sizeof(a4)), 0);
	assert_int_equal(listen(listener[f], 16), 0);
}

__attribute__((unused)) static void make_sockets(void)
{
	int f;

	for (f = 0; f < 2; f++) {
		socket_of[f][FS_NOTHING] = socket_of[f][FS_LISTEN] = (struct fixture_socket){ 1000, 2000 };
		listen_on(f);
		make_time_wait(f);
		make_established(f, FS_ESTABLISHED);
		make_request(f, FS_REQUEST);
	}
	/* Cookies whether needed or not: the SYN leaves no request socket. */
	shell("sysctl -qw net.ipv4.tcp_syncookies=2");
	for (f = 0; f < 2; f++)
		make_request(f, FS_COOKIE);
}

/* --- The namespace ------------------------------------------------------------------------------------- */

/* A packet socket on a device; protocol 3 (ETH_P_ALL) taps it before the data path, any other behind it. */
static int packet_socket(const char *device, uint16_t protocol)
{
	struct sockaddr_ll ll = { .sll_family = AF_PACKET, .sll_protocol = htons(protocol) };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(protocol));

	ll.sll_ifindex = (int)if_nametoindex(device);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&ll, sizeof(ll)), 0);
	return fd;
}

static int make_bed(void)
{
	if (unshare(CLONE_NEWNET)) {
		print_error("needs root\n");
		return -1;
	}
	shell("ip link set lo up && ip link add v0 address 42:10:01:00:10:01 type veth peer name v1 && "
	      "sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 "
	      "net.ipv4.tcp_syncookies=1 net.ipv6.conf.v1.disable_ipv6=1 && "
	      "ip link set v0 up && ip link set v1 up && sysctl -qw net.ipv4.conf.v0.rp_filter=0 && "
	      "ip addr add 203.0.113.80/32 dev lo && ip -6 addr add 2001:db8:80::80/128 dev lo nodad && "
	      "ip -6 addr add fe80::1:1/64 dev v0 nodad && "
	      "ip route add 198.51.100.0/24 dev v0 && ip neigh add 198.51.100.7 lladdr 62:10:00:00:00:01 dev v0 nud permanent && "
	      "ip -6 route add 2001:db8:7::/64 dev v0 && ip -6 neigh add 2001:db8:7::7 lladdr 62:10:00:00:00:01 dev v0 nud permanent");
	wire = packet_socket("v1", 3);
	return 0;
}

#endif
