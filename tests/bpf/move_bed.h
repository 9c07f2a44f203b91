/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A bed for moves of live TCP connections, shared by tests/bpf/test_move*.c: three namespaces and a bridge, rows on both
 * hosts, a connection whose every byte is known, and one move with a place to interfere at each of its steps.
 *
 *      client (192.0.2.10) ---- bridge ---- host A: vMAC [1], the VIP on lo, the flow's ingress
 *                                     \---- host B: vMAC [2], the VIP on lo, a listener on it too
 */
#ifndef TESTS_BPF_MOVE_BED_H
#define TESTS_BPF_MOVE_BED_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
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
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "l7/row/rows.h"
#include "l7/tcp/tcp_move.h"

#define PATIENCE_MS 3000

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function" /* not every test needs all of it */

static struct {
	char prefix[32];
	int client_ns, ns[2], home_ns;
	int receive; /* bytes of the clients' receive buffers; 0: the kernel's */
	struct rows *rows[2];
} bed;

static void shell(const char *format, ...)
{
	char command[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(command, sizeof(command), format, args);
	va_end(args);
	if (system(command))
		fail_msg("failed: %s", command);
}

static int open_ns(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "/run/netns/%s%s", bed.prefix, name);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static void enter(int ns)
{
	assert_int_equal(setns(ns, CLONE_NEWNET), 0);
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static uint64_t deadline(unsigned ms)
{
	return (now_ms() + ms) * 1000000;
}

static int set_up(void **state)
{
	const char *p = bed.prefix;
	char pins[128], why[256];
	int i;

	(void)state;
	if (geteuid()) {
		puts("SKIP: needs root");
		exit(77);
	}
	snprintf(bed.prefix, sizeof(bed.prefix), "bt-move-%d-", (int)getpid());
	bed.home_ns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (tcp_move_open(why, sizeof(why)))
		printf("without: %s\n", why);
	shell("for n in s c a b; do ip netns add %s$n && ip -n %s$n link set lo up; done", p, p);
	shell("ip -n %ss link add name br0 type bridge && ip -n %ss link set br0 up", p, p);
	for (i = 0; i < 3; i++) {
		const char n = "cab"[i];
		struct triple t = { { (uint16_t)i } };
		uint8_t mac[6] = { 2, 0, 0, 0, 0, 9 };

		if (i)
			vmac_encode(mac, &t);
		shell("ip -n %ss link add name port-%c type veth peer name eth0 netns %s%c", p, n, p, n);
		shell("ip -n %ss link set port-%c master br0 up", p, n);
		shell("ip -n %s%c link set eth0 address %02x:%02x:%02x:%02x:%02x:%02x", p, n, mac[0], mac[1], mac[2], mac[3],
		      mac[4], mac[5]);
		shell("ip netns exec %s%c sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.eth0.accept_dad=0 "
		      "net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0 "
		      "net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2", p, n);
		shell("ip -n %s%c link set eth0 up", p, n);
		shell("ip -n %s%c addr add 192.0.2.%d/24 dev eth0", p, n, i ? i : 10);
		shell("ip -n %s%c addr add 2001:db8:1::%d/64 dev eth0 nodad", p, n, i ? i : 10);
		if (i) {
			shell("ip -n %s%c addr add 198.51.100.80/32 dev lo", p, n);
			shell("ip -n %s%c addr add 2001:db8:80::80/128 dev lo nodad", p, n);
		}
	}
	shell("ip -n %sc route add 198.51.100.80 via 192.0.2.1 && ip -n %sc route add 2001:db8:80::80 via 2001:db8:1::1", p, p);
	bed.client_ns = open_ns("c");
	bed.ns[0] = open_ns("a");
	bed.ns[1] = open_ns("b");
	for (i = 0; i < 2; i++) {
		enter(bed.ns[i]);
		snprintf(pins, sizeof(pins), "/sys/fs/bpf/%s%c", p, "ab"[i]);
		if (rows_open((uint16_t)(i + 1), pins, (const char[1][IF_NAMESIZE]){ "eth0" }, 1, &bed.rows[i], why,
			      sizeof(why)))
			fail_msg("%s", why);
	}
	enter(bed.home_ns);
	return 0;
}

static int tear_down(void **state)
{
	int i;

	(void)state;
	for (i = 0; i < 2; i++) {
		if (bed.rows[i]) {
			enter(bed.ns[i]);
			rows_close(bed.rows[i], true);
		}
	}
	enter(bed.home_ns);
	tcp_move_close(false);
	shell("for n in s c a b; do ip netns del %s$n; done", bed.prefix);
	return 0;
}

/* Where a test may interfere with a move. */
enum step { STEP_BEFORE, STEP_HELD, STEP_EXPORTED, STEP_IMPORTED, STEP_LIVE, STEP_MOVED, STEPS };

/* --- A connection -------------------------------------------------------------------------------------------- */

struct conn {
	int client, server, listener[2];
	int at; /* the host that owns it */
	struct flow flow;
	uint64_t sent[2], got[2]; /* bytes by direction: 0 to the server, 1 to the client */
	bool rows;
	uint32_t seed;
	void (*meddle)(struct conn *c, enum step step);
	uint64_t resent, refreshed, slipped;
	struct { uint64_t worst, slow; } moved, refused; /* ms; rounds over 50 */
};

static uint32_t chance(struct conn *c, uint32_t n)
{
	c->seed = c->seed * 1664525 + 1013904223;
	return (c->seed >> 8) % n;
}

static uint8_t byte_at(int direction, uint64_t offset)
{
	return (uint8_t)(offset * 0x9e3779b97f4a7c15ull >> 56 ^ (unsigned)direction);
}

static void nonblocking(int fd)
{
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

static socklen_t vip(int family, struct sockaddr_storage *ss, uint16_t port)
{
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ss;
	struct sockaddr_in *in = (struct sockaddr_in *)ss;

	memset(ss, 0, sizeof(*ss));
	ss->ss_family = (sa_family_t)family;
	if (family == AF_INET) {
		in->sin_port = htons(port);
		inet_pton(AF_INET, "198.51.100.80", &in->sin_addr);
		return sizeof(*in);
	}
	in6->sin6_port = htons(port);
	inet_pton(AF_INET6, "2001:db8:80::80", &in6->sin6_addr);
	return sizeof(*in6);
}

static void connect_client(struct conn *c, int family, uint16_t port, bool rows)
{
	struct sockaddr_storage ss;
	socklen_t len = vip(family, &ss, port);
	int i, one = 1;

	memset(c, 0, sizeof(*c));
	c->rows = rows;
	c->seed = port;
	for (i = 0; i < 2; i++) {
		enter(bed.ns[i]);
		c->listener[i] = socket(family, SOCK_STREAM, 0);
		setsockopt(c->listener[i], SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		assert_int_equal(bind(c->listener[i], (struct sockaddr *)&ss, len), 0);
		assert_int_equal(listen(c->listener[i], 8), 0);
	}
	enter(bed.client_ns);
	c->client = socket(family, SOCK_STREAM, 0);
	if (bed.receive)
		setsockopt(c->client, SOL_SOCKET, SO_RCVBUF, &bed.receive, sizeof(bed.receive));
	assert_int_equal(connect(c->client, (struct sockaddr *)&ss, len), 0);
	c->server = accept(c->listener[0], NULL, NULL);
	assert_true(c->server >= 0);
	nonblocking(c->client);
	nonblocking(c->server);
	setsockopt(c->server, IPPROTO_TCP, 1 /* TCP_NODELAY */, &one, sizeof(one));
	len = sizeof(ss);
	assert_int_equal(getsockname(c->client, (struct sockaddr *)&ss, &len), 0);
	c->flow = (struct flow){ .family = family == AF_INET ? FLOW_V4 : FLOW_V6, .protocol = 6, .dport = htons(port) };
	if (family == AF_INET) {
		c->flow.sport = ((struct sockaddr_in *)&ss)->sin_port;
		c->flow.saddr[0] = ((struct sockaddr_in *)&ss)->sin_addr.s_addr;
		inet_pton(AF_INET, "198.51.100.80", c->flow.daddr);
	} else {
		c->flow.sport = ((struct sockaddr_in6 *)&ss)->sin6_port;
		memcpy(c->flow.saddr, &((struct sockaddr_in6 *)&ss)->sin6_addr, 16);
		inet_pton(AF_INET6, "2001:db8:80::80", c->flow.daddr);
	}
}

static void disconnect_client(struct conn *c)
{
	close(c->client);
	if (c->server >= 0)
		close(c->server);
	close(c->listener[0]);
	close(c->listener[1]);
	rows_delete(bed.rows[0], &c->flow);
	rows_delete(bed.rows[1], &c->flow);
}

/* direction 0: the client says n bytes; 1: the server. */
static void say(struct conn *c, int direction, size_t n)
{
	uint8_t bytes[8192];
	ssize_t done;
	size_t i;

	for (i = 0; i < n; i++)
		bytes[i] = byte_at(direction, c->sent[direction] + i);
	done = send(direction ? c->server : c->client, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (done > 0)
		c->sent[direction] += (uint64_t)done;
}

static void poll_rows(void)
{
	rows_poll(bed.rows[0], now_ms());
	rows_poll(bed.rows[1], now_ms());
}

/* Reads what has come in that direction: how many bytes, or -errno. */
static int hear(struct conn *c, int direction)
{
	uint8_t bytes[65536];
	ssize_t n = recv(direction ? c->client : c->server, bytes, sizeof(bytes), MSG_DONTWAIT), i;

	if (n <= 0)
		return n ? (errno == EAGAIN ? 0 : -errno) : -EPIPE;
	for (i = 0; i < n; i++)
		if (bytes[i] != byte_at(direction, c->got[direction] + (uint64_t)i))
			return -EBADMSG;
	c->got[direction] += (uint64_t)n;
	return (int)n;
}

/* Until both have all that the other said. */
static int settle(struct conn *c)
{
	uint64_t end = now_ms() + PATIENCE_MS;
	int i, rc;

	while (c->got[0] < c->sent[0] || c->got[1] < c->sent[1]) {
		struct pollfd fds[4] = { { c->client, POLLIN, 0 }, { c->server, POLLIN, 0 }, { rows_fd(bed.rows[0]), POLLIN, 0 },
					 { rows_fd(bed.rows[1]), POLLIN, 0 } };

		poll(fds, 4, 50);
		poll_rows();
		for (i = 0; i < 2; i++) {
			rc = c->got[i] < c->sent[i] ? hear(c, i) : 0;
			if (rc < 0)
				return rc;
		}
		if (now_ms() > end)
			return -ETIMEDOUT;
	}
	return 0;
}

/* --- A move ------------------------------------------------------------------------------------------------------ */

static void put_row(struct conn *c, int host, enum row_state row_state, int owner)
{
	struct row row = { .state = (uint8_t)row_state, .owner = (uint16_t)(owner + 1) };

	if (row_state == ROW_HOLD)
		row.deadline_ns = deadline(2000);
	if (c->rows)
		assert_int_equal(rows_put(bed.rows[host], &c->flow, &row), 0);
}

static void drop_row(struct conn *c, int host)
{
	if (c->rows)
		rows_delete(bed.rows[host], &c->flow);
}

static void nudge(struct conn *c, const struct tcp_move *m)
{
	uint8_t frame[TCP_MOVE_NUDGE_MAX];

	if (c->rows)
		rows_inject(bed.rows[c->at], frame, tcp_move_nudge(m, frame));
}

static void interfere(struct conn *c, enum step step)
{
	if (c->meddle)
		c->meddle(c, step);
	poll_rows();
}

static int move(struct conn *c, bool refuse)
{
	int from = c->at, to = !from, fd, err;
	struct tcp_move m, copy;
	uint8_t frame[TCP_MOVE_SEED_MAX], *wire;
	struct row row;
	size_t len, left;

	interfere(c, STEP_BEFORE);
	put_row(c, from, ROW_HOLD, 0);
	interfere(c, STEP_HELD);
	err = tcp_move_export(c->server, 65536, &m);
	if (err) { /* not now: it goes on where it is */
		drop_row(c, from);
		poll_rows();
		rows_release(bed.rows[from], &c->flow);
		return err == -EAGAIN || err == -EMSGSIZE ? 1 : err;
	}
	interfere(c, STEP_EXPORTED);
	usleep(chance(c, 4) ? 0 : 200); /* others' work before it can be sent */
	err = tcp_move_refresh(c->server, 65536, &m);
	if (err < 0) {
		drop_row(c, from);
		tcp_move_resume(c->server);
		rows_release(bed.rows[from], &c->flow);
		nudge(c, &m);
		tcp_move_free(&m);
		return err;
	}
	c->refreshed += (uint64_t)err;
	if (c->rows && !rows_get(bed.rows[from], &c->flow, &row) && row.dropped) {
		tcp_move_dropped(&m, row.dropped);
		c->resent++;
	}
	len = tcp_move_len(&m);
	wire = malloc(len);
	tcp_move_put(&m, wire);
	tcp_move_free(&m);
	assert_int_equal(tcp_move_get(wire, len, &copy), 0);
	free(wire);
	if (chance(c, 2))
		say(c, 0, 1 + chance(c, 4000)); /* while it belongs to nobody */
	poll_rows();
	if (refuse) {
		drop_row(c, from);
		err = tcp_move_resume(c->server);
		rows_release(bed.rows[from], &c->flow);
		nudge(c, &copy);
		tcp_move_free(&copy);
		return err ? err : 1;
	}
	enter(bed.ns[to]);
	fd = tcp_move_socket(c->flow.family == FLOW_V4 ? AF_INET : AF_INET6);
	assert_true(fd >= 0);
	err = tcp_move_import(fd, &copy);
	interfere(c, STEP_IMPORTED);
	if (!err)
		err = tcp_move_live(fd, &copy);
	drop_row(c, to);
	if (!err) {
		if (c->rows)
			rows_inject(bed.rows[to], frame, tcp_move_seed(fd, &copy, frame));
		err = tcp_move_send(fd, &copy, &left);
	}
	if (err) {
		tcp_move_free(&copy);
		close(fd);
		return err;
	}
	c->slipped += tcp_move_refresh(c->server, 65536, &copy) != 0;
	close(c->server); /* silent */
	c->server = fd;
	c->at = to;
	if (copy.owes_ack)
		nudge(c, &copy);
	tcp_move_free(&copy);
	interfere(c, STEP_LIVE);
	put_row(c, from, ROW_FWD, to);
	poll_rows();
	rows_release(bed.rows[from], &c->flow);
	interfere(c, STEP_MOVED);
	return 0;
}

#pragma GCC diagnostic pop

#endif
