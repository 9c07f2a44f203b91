/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Three hosts behind a bridge with static FDB, real sockets, the real data path:
 *
 *    client ---- sw: route VIP -> neighbour fe80::ba70:3:0 = vMAC of the only bucket
 *                 |      br0 (router_mac), learning and flooding off
 *        +--------+--------+
 *        h1       h2       h3     eth0 = vMAC [n], VIP on lo, listener on port 80
 *
 * A drain is a rewrite of that neighbour, in two steps as the table does it.  Beside each claim stands
 * its control: the same with detours off must break.
 *
 * BATON_DATAPATH=module in the environment: the kernel module instead of the eBPF program.
 */
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
static void bucket_is(uint16_t a, uint16_t b, uint16_t c)
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

static int set_up(void **state)
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

static int tear_down(void **state)
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

static struct connection open_from(int v6, uint16_t port)
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

static void close_all(struct connection *c, int n)
{
	struct linger rst = { 1, 0 };

	for (; n; n--, c++) {
		setsockopt(c->client, SOL_SOCKET, SO_LINGER, &rst, sizeof(rst));
		close(c->client);
		close(c->server);
	}
}

/* Sends total bytes of a pattern from one to the other; 0, or the errno that ended it. */
static int transfer(int from, int to, size_t total)
{
	static uint8_t out[65536], in[65536];
	size_t sent = 0, got = 0, i;

	while (got < total) {
		struct pollfd p[2] = { { from, sent < total ? POLLOUT : 0, 0 }, { to, POLLIN, 0 } };
		ssize_t n;

		if (poll(p, 2, 3000) <= 0)
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
static int alive(struct connection *c, int n)
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

static uint64_t reason_count(int host, enum verdict_reason r)
{
	uint64_t n[REASON_MAX] = { 0 };
	struct datapath_counters c = { .reason = n, .n_reasons = REASON_MAX };

	assert_int_equal(ops->counters(path[host], &c), 0);
	return n[r];
}

static void detours(bool on)
{
	int i;

	for (i = 1; i <= HOSTS; i++)
		assert_int_equal(ops->set_detours(path[i], on), 0);
}

/* --- Tests ---------------------------------------------------------------------------------------------- */

static void drains_break_nothing(void **state)
{
	struct connection c[2][3][FLOWS];
	int v6, i;

	(void)state;
	for (v6 = 0; v6 < 2; v6++) {
		bucket_is(1, 0, 0);
		for (i = 0; i < FLOWS; i++) {
			c[v6][0][i] = open_from(v6, 0);
			assert_int_equal(c[v6][0][i].host, 1);
		}
		bucket_is(1, 2, 0); /* the first step: nothing moves yet */
		assert_int_equal(alive(c[v6][0], FLOWS), FLOWS);
		bucket_is(2, 1, 0);
		for (i = 0; i < FLOWS; i++) {
			c[v6][1][i] = open_from(v6, 0);
			assert_int_equal(c[v6][1][i].host, 2);
		}
		assert_int_equal(alive(c[v6][0], FLOWS), FLOWS);
		/* Host 2, which shelters host 1's flows, is drained too. */
		bucket_is(2, 1, 3);
		bucket_is(3, 2, 1);
		for (i = 0; i < FLOWS; i++) {
			c[v6][2][i] = open_from(v6, 0);
			assert_int_equal(c[v6][2][i].host, 3);
		}
		for (i = 0; i < 3; i++)
			assert_int_equal(alive(c[v6][i], FLOWS), FLOWS);
		/* Bulk, with super-packets, verified, through two detours. */
		assert_int_equal(transfer(c[v6][0][0].client, c[v6][0][0].server, 8 << 20), 0);
		assert_int_equal(transfer(c[v6][0][0].server, c[v6][0][0].client, 8 << 20), 0);
		bucket_is(1, 2, 3); /* home again */
		for (i = 0; i < 3; i++)
			assert_int_equal(alive(c[v6][i], FLOWS), FLOWS);
		for (i = 0; i < 3; i++)
			close_all(c[v6][i], FLOWS);
	}
	assert_true(reason_count(3, REASON_NO_COOKIE) + reason_count(3, REASON_NO_SOCKET) > 0);
	assert_true(reason_count(1, REASON_LAST) > 0);
}

static void control_without_detours(void **state)
{
	struct connection c[FLOWS];
	int i;

	(void)state;
	bucket_is(1, 0, 0);
	for (i = 0; i < FLOWS; i++)
		c[i] = open_from(0, 0);
	detours(false);
	bucket_is(2, 1, 0);
	assert_int_equal(alive(c, FLOWS), 0);
	detours(true);
	close_all(c, FLOWS);
}

/* --- The SYN race, with raw frames from a client without a kernel (198.51.100.9) -------------------------- */

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void put_be(uint8_t *p, uint32_t x, int n)
{
	for (; n; n--, x >>= 8)
		p[n - 1] = (uint8_t)x;
}

static uint32_t sum16(const uint8_t *p, int n, uint32_t sum)
{
	int i;

	for (i = 0; i < n; i++)
		sum += (uint32_t)p[i] << (i & 1 ? 0 : 8);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

struct raw {
	int fd;
	uint8_t router[6];
	uint16_t port;
};

static void raw_open(struct raw *r, uint16_t port)
{
	struct sockaddr_ll ll = { .sll_family = AF_PACKET, .sll_protocol = htons(0x0800) };
	FILE *f;
	unsigned int m[6];
	char command[128];
	int i;

	enter(NS_CLIENT);
	r->port = port;
	r->fd = socket(AF_PACKET, SOCK_RAW, htons(0x0800));
	ll.sll_ifindex = (int)if_nametoindex("c0");
	assert_int_equal(bind(r->fd, (struct sockaddr *)&ll, sizeof(ll)), 0);
	snprintf(command, sizeof(command), "ip netns exec bt-3h-%d-sw cat /sys/class/net/up0/address", getpid());
	f = popen(command, "r");
	assert_int_equal(fscanf(f, "%x:%x:%x:%x:%x:%x", &m[0], &m[1], &m[2], &m[3], &m[4], &m[5]), 6);
	pclose(f);
	for (i = 0; i < 6; i++)
		r->router[i] = (uint8_t)m[i];
}

static const uint8_t raw_ends[8] = { 198, 51, 100, 9, 203, 0, 113, 80 };

/* An IPv4 packet to the VIP from offset `at` on: header, then what is there already. */
static void raw_packet(const struct raw *r, uint8_t *f, uint8_t protocol, uint16_t fragment, int len)
{
	uint8_t *ip = f + 14;

	memcpy(f, r->router, 6);
	f[6] = 2;
	put_be(f + 12, 0x0800, 2);
	ip[0] = 0x45;
	put_be(ip + 2, (uint32_t)(20 + len), 2);
	put_be(ip + 4, r->port, 2); /* the same for all fragments */
	put_be(ip + 6, fragment, 2);
	ip[8] = 64;
	ip[9] = protocol;
	memcpy(ip + 12, raw_ends, 8);
	put_be(ip + 10, 0, 2);
	put_be(ip + 10, ~sum16(ip, 20, 0) & 0xffff, 2);
	assert_int_equal(send(r->fd, f, (size_t)(34 + len), 0), 34 + len);
}

/* Builds the segment at f + 34; returns its length. */
static int raw_segment(const struct raw *r, uint8_t *f, uint32_t seq, uint32_t ack, uint8_t flags, const char *data)
{
	uint8_t *tcp = f + 34;
	int len = (int)strlen(data);

	put_be(tcp, r->port, 2);
	put_be(tcp + 2, 80, 2);
	put_be(tcp + 4, seq, 4);
	put_be(tcp + 8, ack, 4);
	tcp[12] = 0x50;
	tcp[13] = flags;
	put_be(tcp + 14, 65000, 2);
	memcpy(tcp + 20, data, (size_t)len);
	put_be(tcp + 16, ~sum16(tcp, 20 + len, sum16(raw_ends, 8, (uint32_t)(6 + 20 + len))) & 0xffff, 2);
	return 20 + len;
}

static void raw_send(const struct raw *r, uint32_t seq, uint32_t ack, uint8_t flags, const char *data)
{
	uint8_t f[256] = { 0 };

	raw_packet(r, f, 6, 0, raw_segment(r, f, seq, ack, flags, data));
}

/* The next segment to this port with one of these flags; returns its flags, 0 after ms. */
static uint8_t raw_receive(const struct raw *r, uint8_t flags, uint32_t *seq, int ms)
{
	uint8_t f[2048];
	struct pollfd p = { r->fd, POLLIN, 0 };

	while (poll(&p, 1, ms) > 0) {
		ssize_t n = recv(r->fd, f, sizeof(f), 0);

		if (n < 54 || get32(f + 30) != 0xc6336409u || f[23] != 6 || (f[36] << 8 | f[37]) != r->port || !(f[47] & flags))
			continue;
		*seq = get32(f + 38);
		return f[47];
	}
	return 0;
}

/* Returns 1 if the connection came to live on the host that sent the first SYN-ACK, 0 if it was reset. */
static int syn_race(uint16_t port)
{
	const uint8_t syn = TCP_FLAG_BIT_SYN, ack = TCP_FLAG_BIT_ACK, rst = TCP_FLAG_BIT_RST;
	uint32_t isn1 = 0, isn2 = 0, seq;
	struct raw r;
	int host = 0, fd;
	char text[8] = "";

	raw_open(&r, port);
	bucket_is(1, 2, 0);
	raw_send(&r, 1000, 0, syn, "");
	assert_true(raw_receive(&r, syn, &isn1, 1000));
	bucket_is(2, 1, 0); /* the drain */
	usleep(20000);
	raw_send(&r, 1000, 0, syn, ""); /* the client's retransmission meets the new owner */
	assert_true(raw_receive(&r, syn, &isn2, 1000));
	while (isn2 == isn1)
		assert_true(raw_receive(&r, syn, &isn2, 1000));
	raw_send(&r, 1001, isn1 + 1, ack, "");
	raw_send(&r, 1001, isn1 + 1, ack | 8, "hello");
	if (raw_receive(&r, rst, &seq, 300)) {
		close(r.fd);
		return 0;
	}
	fd = accept_anywhere(0, &host);
	assert_true(fd >= 0);
	assert_int_equal(host, 1);
	assert_int_equal(recv(fd, text, sizeof(text), 0), 5);
	close(fd);
	close(r.fd);
	return 1;
}

static void the_syn_race(void **state)
{
	uint64_t before = reason_count(2, REASON_OTHER_REQUEST);

	(void)state;
	assert_int_equal(syn_race(41000), 1);
	assert_true(reason_count(2, REASON_OTHER_REQUEST) > before);
	detours(false); /* the control: the new owner resets it */
	assert_int_equal(syn_race(41001), 0);
	detours(true);
}

/* --- TIME_WAIT and the reused port ------------------------------------------------------------------------ */

/*
 * A connection ends on host 1, which keeps TIME_WAIT.  The client opens the next one from the same
 * port; it lives on host 2.  Then host 1 owns the bucket again and gets its packets.
 */
static int reuse(uint16_t port)
{
	struct connection old, c;
	int ok;

	bucket_is(1, 0, 0);
	old = open_from(0, port);
	assert_int_equal(old.host, 1);
	shutdown(old.server, SHUT_WR); /* the server closes first */
	usleep(50000);
	close(old.client);
	close(old.server);
	usleep(50000);
	bucket_is(2, 1, 0);
	c = open_from(0, port);
	assert_int_equal(c.host, 2);
	bucket_is(1, 2, 0);
	ok = alive(&c, 1);
	close_all(&c, 1);
	return ok;
}

static void time_wait_and_reuse(void **state)
{
	uint64_t before = reason_count(1, REASON_OTHER_TIME_WAIT);

	(void)state;
	assert_int_equal(reuse(42000), 1);
	assert_true(reason_count(1, REASON_OTHER_TIME_WAIT) > before);
	detours(false); /* the control: TIME_WAIT swallows the flow */
	assert_int_equal(reuse(42001), 0);
	detours(true);
}

/* --- Fragments and ICMP errors, across hosts ---------------------------------------------------------------- */

/* A connection of the raw client, made on host 1; then host 2 owns the bucket. */
static int raw_connect(struct raw *r, uint16_t port, uint32_t *isn)
{
	int host = 0, fd;

	raw_open(r, port);
	bucket_is(1, 0, 0);
	raw_send(r, 1000, 0, TCP_FLAG_BIT_SYN, "");
	assert_true(raw_receive(r, TCP_FLAG_BIT_SYN, isn, 1000));
	raw_send(r, 1001, *isn + 1, TCP_FLAG_BIT_ACK, "");
	fd = accept_anywhere(0, &host);
	assert_true(fd >= 0);
	assert_int_equal(host, 1);
	bucket_is(2, 1, 0);
	return fd;
}

/* A segment in two fragments: how many bytes host 1 gets. */
static ssize_t fragmented(uint16_t port)
{
	static const char data[] = "sixty-four bytes of data, in the order in which they were sent...";
	uint8_t whole[256] = { 0 }, part[256] = { 0 };
	char text[128] = "";
	struct pollfd p;
	struct raw r;
	uint32_t isn;
	ssize_t n = 0;
	int fd = raw_connect(&r, port, &isn), len = raw_segment(&r, whole, 1001, isn + 1, TCP_FLAG_BIT_ACK | 8, data);

	memcpy(part + 34, whole + 34 + 40, (size_t)(len - 40));
	raw_packet(&r, part, 6, 40 / 8, len - 40); /* the later one first: reassembly waits for the other */
	raw_packet(&r, whole, 6, 0x2000, 40);
	p = (struct pollfd){ fd, POLLIN, 0 };
	if (poll(&p, 1, 1000) > 0)
		n = recv(fd, text, sizeof(text), 0);
	if (n == (ssize_t)strlen(data))
		assert_string_equal(text, data);
	raw_send(&r, 1001 + (n > 0 ? (uint32_t)n : 0), isn + 1, TCP_FLAG_BIT_RST, "");
	close(fd);
	close(r.fd);
	return n;
}

static void fragments_reach_the_old_owner(void **state)
{
	uint64_t before = reason_count(2, REASON_RELAY_FRAGMENT);

	(void)state;
	assert_int_equal(fragmented(43000), 65);
	assert_true(reason_count(2, REASON_RELAY_FRAGMENT) > before);
	assert_true(reason_count(1, REASON_RELAYED) > 0);
	detours(false); /* the control */
	assert_true(fragmented(43001) <= 0);
	detours(true);
}

/* "Fragmentation needed, 1300", about a segment that host 1 sent: what host 1 takes its path's MTU to be then. */
static uint32_t told_to_shrink(uint16_t port)
{
	uint8_t f[256] = { 0 }, quoted[256] = { 0 }, *icmp = f + 34;
	struct tcp_info info;
	socklen_t len = sizeof(info);
	struct raw r;
	uint32_t isn, seq;
	int fd = raw_connect(&r, port, &isn);

	assert_int_equal(send(fd, "hello", 5, 0), 5);
	assert_true(raw_receive(&r, 8 /* PSH */, &seq, 1000));
	quoted[0] = 0x45;
	put_be(quoted + 2, 1500, 2);
	put_be(quoted + 6, 0x4000, 2);
	quoted[8] = 60;
	quoted[9] = 6;
	memcpy(quoted + 12, raw_ends + 4, 4);
	memcpy(quoted + 16, raw_ends, 4);
	put_be(quoted + 10, ~sum16(quoted, 20, 0) & 0xffff, 2);
	put_be(quoted + 20, 80, 2);
	put_be(quoted + 22, port, 2);
	put_be(quoted + 24, seq, 4);
	icmp[0] = 3;
	icmp[1] = 4;
	put_be(icmp + 6, 1300, 2);
	memcpy(icmp + 8, quoted, 28);
	put_be(icmp + 2, ~sum16(icmp, 36, 0) & 0xffff, 2);
	raw_packet(&r, f, 1, 0, 36);
	usleep(100000);
	assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
	raw_send(&r, 1001, isn + 1, TCP_FLAG_BIT_RST, "");
	close(fd);
	close(r.fd);
	enter(NS_HOST);
	run("ip route flush cache");
	return info.tcpi_pmtu;
}

static void icmp_errors_reach_the_old_owner(void **state)
{
	uint64_t before = reason_count(2, REASON_ICMP_ERROR);

	(void)state;
	detours(false); /* the control first: the kernel remembers a path's MTU */
	assert_int_equal(told_to_shrink(44000), 1500);
	detours(true);
	assert_int_equal(told_to_shrink(44001), 1300);
	assert_true(reason_count(2, REASON_ICMP_ERROR) > before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(drains_break_nothing),
		cmocka_unit_test(control_without_detours),
		cmocka_unit_test(the_syn_race),
		cmocka_unit_test(time_wait_and_reuse),
		cmocka_unit_test(fragments_reach_the_old_owner),
		cmocka_unit_test(icmp_errors_reach_the_old_owner),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
