/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Three hosts behind a bridge with static FDB, real sockets, the real data path:
 *
 *    client ---- sw: route VIP -> neighbour fe80::ba70:3:0 = vMAC of the only bucket
 *                 |      br0 (router_mac), learning and flooding off
 *        +--------+--------+
 *        h1       h2       h3     eth0 = vMAC [n], VIP on lo, listener on port 80
 *
 * A drain is a rewrite of that neighbour, in two steps as the table does it.
 * BATON_DATAPATH=module in the environment: the kernel module instead of the eBPF program.
 */
#ifndef TESTS_BPF_THREE_HOSTS_H
#define TESTS_BPF_THREE_HOSTS_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/datapath.h"
#include "lb/link.h"
#include "lb/verdict.h"

#define HOSTS 3
#define FLOWS 20
#ifndef TRANSFER_MS
#define TRANSFER_MS 3000 /* without a byte that arrives, a connection counts as broken */
#endif

enum { NS_CLIENT, NS_SWITCH, NS_HOST /* + host id - 1 */, NS_N = NS_HOST + HOSTS };

static const char *const ns_name[NS_N] = { "c", "sw", "h1", "h2", "h3" };
static int ns_fd[NS_N];
static const struct datapath_ops *ops = &datapath_ebpf;
static struct datapath *path[HOSTS + 1];
static int listener[HOSTS + 1][2];

static void run(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void run(const char *format, ...)
{
	char command[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(command, sizeof(command), format, args);
	va_end(args);
	if (system(command))
		fail_msg("`%s` failed", command);
}

static void enter(int ns)
{
	assert_int_equal(setns(ns_fd[ns], CLONE_NEWNET), 0);
}

/* --- The POP ----------------------------------------------------------------------------------------- */

static void mac_text(const struct triple *t, char text[18])
{
	uint8_t m[6];

	vmac_encode(m, t);
	snprintf(text, 18, "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]);
}

/* The bucket's vMAC becomes this: one replace of a permanent neighbour. */
__attribute__((unused)) static void bucket_is(uint16_t a, uint16_t b, uint16_t c)
{
	const struct triple t = { { a, b, c } };
	char mac[18];

	mac_text(&t, mac);
	enter(NS_SWITCH);
	run("ip -6 neigh replace fe80::ba70:3:0 lladdr %s dev br0 nud permanent", mac);
}

static void make_host(int id)
{
	const struct triple own = { { (uint16_t)id } };
	char mac[18];

	mac_text(&own, mac);
	enter(NS_SWITCH);
	run("ip link add p%d type veth peer name eth0 netns bt-3h-%d-h%d address %s && ip link set p%d master br0 up && "
	    "bridge link set dev p%d learning off flood off mcast_flood off", id, getpid(), id, mac, id, id);
	enter(NS_HOST + id - 1);
	run("ip link set lo up && ip link set eth0 up && ip addr add 203.0.113.80/32 dev lo && "
	    "ip -6 addr add 2001:db8:80::80/128 dev lo nodad && ip -6 addr add fe80::ba70:2:%d/64 dev eth0 nodad && "
	    "sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0 net.ipv4.tcp_syncookies=0 && "
	    "ip -6 neigh replace fe80::ba70:1:1 lladdr 62:10:00:00:00:01 dev eth0 nud permanent && "
	    "ip -4 route replace default via inet6 fe80::ba70:1:1 dev eth0 && ip -6 route replace default via fe80::ba70:1:1 dev eth0", id);
}

static void make_fdb(void)
{
	struct triple t;
	uint16_t *h = t.host;
	char mac[18];

	enter(NS_SWITCH);
	for (h[0] = 1; h[0] <= HOSTS; h[0]++) {
		for (h[1] = 0; h[1] <= HOSTS; h[1]++) {
			for (h[2] = 0; h[2] <= (h[1] ? HOSTS : 0); h[2]++) {
				if (h[1] == h[0] || h[2] == h[0] || (h[2] && h[2] == h[1]))
					continue;
				mac_text(&t, mac);
				run("bridge fdb add %s dev p%d master static", mac, h[0]);
			}
		}
	}
}

static void make_network(void)
{
	int i;

	for (i = 0; i < NS_N; i++) {
		char file[64];

		run("ip netns add bt-3h-%d-%s", getpid(), ns_name[i]);
		snprintf(file, sizeof(file), "/run/netns/bt-3h-%d-%s", getpid(), ns_name[i]);
		ns_fd[i] = open(file, O_RDONLY | O_CLOEXEC);
		assert_true(ns_fd[i] >= 0);
	}
	enter(NS_SWITCH);
	run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 && "
	    "ip link set lo up && ip link add br0 address 62:10:00:00:00:01 type bridge mcast_snooping 0 && ip link set br0 up && "
	    "ip -6 addr add fe80::ba70:1:1/64 dev br0 nodad && "
	    "ip link add up0 type veth peer name c0 netns bt-3h-%d-c && ip link set up0 up && "
	    "ip addr add 198.51.100.1/24 dev up0 && ip -6 addr add 2001:db8:7::1/64 dev up0 nodad", getpid());
	for (i = 1; i <= HOSTS; i++)
		make_host(i);
	make_fdb();
	bucket_is(1, 0, 0);
	run("ip route replace 203.0.113.80/32 via inet6 fe80::ba70:3:0 dev br0 && ip -6 route replace 2001:db8:80::80/128 via fe80::ba70:3:0 dev br0");
	enter(NS_CLIENT);
	run("ip link set lo up && ip link set c0 up && ip addr add 198.51.100.7/24 dev c0 && ip -6 addr add 2001:db8:7::7/64 dev c0 nodad && "
	    "ip route replace default via 198.51.100.1 && ip -6 route replace default via 2001:db8:7::1 && "
	    "ip neigh replace 198.51.100.1 lladdr $(ip netns exec bt-3h-%d-sw cat /sys/class/net/up0/address) dev c0 nud permanent", getpid());
	enter(NS_SWITCH);
	run("m=$(ip netns exec bt-3h-%d-c cat /sys/class/net/c0/address) && ip neigh replace 198.51.100.9 lladdr $m dev up0 nud permanent", getpid());
}

static socklen_t vip_address(int v6, struct sockaddr_storage *a)
{
	memset(a, 0, sizeof(*a));
	if (v6) {
		struct sockaddr_in6 *s = (void *)a;

		s->sin6_family = AF_INET6;
		s->sin6_port = htons(80);
		inet_pton(AF_INET6, "2001:db8:80::80", &s->sin6_addr);
		return sizeof(*s);
	} else {
		struct sockaddr_in *s = (void *)a;

		s->sin_family = AF_INET;
		s->sin_port = htons(80);
		inet_pton(AF_INET, "203.0.113.80", &s->sin_addr);
		return sizeof(*s);
	}
}

static void start_host(int id)
{
	static const char device[1][IF_NAMESIZE] = { "eth0" };
	static const uint16_t hosts[] = { 1, 2, 3 };
	struct address address[2] = { { .family = AF_INET }, { .family = AF_INET6 } };
	const struct vip vip = { .name = "www", .address = address, .n_addresses = 2 };
	char dir[64], why[256] = "";
	int v6, one = 1;

	inet_pton(AF_INET, "203.0.113.80", &address[0].v4);
	inet_pton(AF_INET6, "2001:db8:80::80", &address[1].v6);
	enter(NS_HOST + id - 1);
	snprintf(dir, sizeof(dir), "/sys/fs/bpf/bt-3h-%d-h%d", getpid(), id);
	if (ops->open((uint16_t)id, dir, why, sizeof(why), &path[id]))
		fail_msg("%s", why);
	assert_int_equal(ops->set_vips(path[id], &vip, 1), 0);
	assert_int_equal(ops->set_hosts(path[id], hosts, 3), 0);
	assert_int_equal(ops->set_devices(path[id], device, 1), 0);
	for (v6 = 0; v6 < 2; v6++) {
		struct sockaddr_storage a;
		socklen_t len = vip_address(v6, &a);
		int fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
		assert_int_equal(listen(fd, 128), 0);
		listener[id][v6] = fd;
	}
}

__attribute__((unused)) static int set_up(void **state)
{
	int i;

	(void)state;
	if (geteuid()) {
		print_error("needs root\n");
		return -1;
	}
	if (getenv("BATON_DATAPATH") && !strcmp(getenv("BATON_DATAPATH"), "module"))
		ops = &datapath_module;
	make_network();
	for (i = 1; i <= HOSTS; i++)
		start_host(i);
	return 0;
}

/* What each host decided: the first thing to look at when a test fails. */
static void show_reasons(void)
{
	uint64_t n[REASON_MAX] = { 0 };
	struct datapath_counters c = { .reason = n, .n_reasons = REASON_MAX };
	int i, r;

	for (i = 1; i <= HOSTS; i++) {
		ops->counters(path[i], &c);
		for (r = 0; r < REASON_MAX; r++)
			if (n[r])
				print_message("host %d %s %llu\n", i, verdict_reason_name((enum verdict_reason)r), (unsigned long long)n[r]);
	}
}

__attribute__((unused)) static int tear_down(void **state)
{
	char command[64];
	int i;

	(void)state;
	for (i = 1; i <= HOSTS; i++) {
		if (!path[i])
			continue;
		setns(ns_fd[NS_HOST + i - 1], CLONE_NEWNET);
		ops->close(path[i], true);
	}
	for (i = 0; i < NS_N; i++) {
		snprintf(command, sizeof(command), "ip netns del bt-3h-%d-%s", getpid(), ns_name[i]);
		if (system(command))
			return -1;
	}
	return 0;
}

/* --- Connections -------------------------------------------------------------------------------------- */

struct connection {
	int client, server;
	int host; /* where it was accepted */
};

static int accept_anywhere(int v6, int *host)
{
	struct pollfd p[HOSTS];
	int i;

	for (i = 0; i < HOSTS; i++)
		p[i] = (struct pollfd){ listener[i + 1][v6], POLLIN, 0 };
	if (poll(p, HOSTS, 2000) <= 0)
		return -1;
	for (i = 0; i < HOSTS; i++) {
		if (p[i].revents & POLLIN) {
			*host = i + 1;
			return accept4(p[i].fd, NULL, NULL, SOCK_NONBLOCK);
		}
	}
	return -1;
}

__attribute__((unused)) static struct connection open_from(int v6, uint16_t port)
{
	struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct connection c = { -1, -1, 0 };
	struct timeval limit = { 5, 0 };
	struct sockaddr_storage a;
	socklen_t len = vip_address(v6, &a);
	int one = 1;

	enter(NS_CLIENT);
	c.client = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0);
	setsockopt(c.client, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (port)
		assert_int_equal(bind(c.client, (struct sockaddr *)&any, sizeof(any)), 0);
	setsockopt(c.client, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)); /* of connect() too */
	assert_int_equal(connect(c.client, (struct sockaddr *)&a, len), 0);
	fcntl(c.client, F_SETFL, O_NONBLOCK);
	c.server = accept_anywhere(v6, &c.host);
	assert_true(c.server >= 0);
	return c;
}

__attribute__((unused)) static void close_all(struct connection *c, int n)
{
	struct linger rst = { 1, 0 };

	for (; n; n--, c++) {
		setsockopt(c->client, SOL_SOCKET, SO_LINGER, &rst, sizeof(rst));
		close(c->client);
		close(c->server);
	}
}

/* Sends total bytes of a pattern from one to the other; 0, or the errno that ended it. */
__attribute__((unused)) static int transfer(int from, int to, size_t total)
{
	static uint8_t out[65536], in[65536];
	size_t sent = 0, got = 0, i;

	while (got < total) {
		struct pollfd p[2] = { { from, sent < total ? POLLOUT : 0, 0 }, { to, POLLIN, 0 } };
		ssize_t n;

		if (poll(p, 2, TRANSFER_MS) <= 0)
			return ETIMEDOUT;
		if (sent < total) {
			size_t want = total - sent < sizeof(out) ? total - sent : sizeof(out);

			for (i = 0; i < want; i++)
				out[i] = (uint8_t)((sent + i) * 2654435761u >> 24);
			n = send(from, out, want, MSG_NOSIGNAL);
			if (n < 0 && errno != EAGAIN)
				return errno;
			sent += n > 0 ? (size_t)n : 0;
		}
		n = recv(to, in, sizeof(in), 0);
		if (n == 0)
			return EPIPE;
		if (n < 0 && errno != EAGAIN)
			return errno;
		for (i = 0; n > 0 && i < (size_t)n; i++)
			if (in[i] != (uint8_t)((got + i) * 2654435761u >> 24))
				return EILSEQ;
		got += n > 0 ? (size_t)n : 0;
		if (p[0].revents & (POLLERR | POLLHUP)) {
			int err = 0;
			socklen_t len = sizeof(err);

			getsockopt(from, SOL_SOCKET, SO_ERROR, &err, &len);
			return err ? err : EPIPE;
		}
	}
	return 0;
}

/* How many of n still carry bytes both ways. */
__attribute__((unused)) static int alive(struct connection *c, int n)
{
	int ok = 0;

	for (; n; n--, c++) {
		int err = transfer(c->client, c->server, 1000);

		if (!err)
			err = transfer(c->server, c->client, 1000);
		if (err)
			print_message("connection to host %d: %s\n", c->host, strerror(err));
		if (err == ECONNRESET && !ok)
			show_reasons();
		ok += !err;
	}
	return ok;
}

__attribute__((unused)) static uint64_t reason_count(int host, enum verdict_reason r)
{
	uint64_t n[REASON_MAX] = { 0 };
	struct datapath_counters c = { .reason = n, .n_reasons = REASON_MAX };

	assert_int_equal(ops->counters(path[host], &c), 0);
	return n[r];
}

__attribute__((unused)) static void detours(bool on)
{
	int i;

	for (i = 1; i <= HOSTS; i++)
		assert_int_equal(ops->set_detours(path[i], on), 0);
}

#endif
