// SPDX-License-Identifier: BSD-2-Clause
/*
 * Rows whose owner is elsewhere (l7/row/flow.h, rules 5 to 7): over IPv4 and IPv6, inside IPv4 and IPv6.
 *
 *                     eth0  I  m0 --.
 *     client c0 ------------         router  ---- eth0  R     I: host 1, the ingress; R: host 2, elsewhere
 *            c1 ----------------------'                       both have the VIP and a listener on it
 *
 * The client's packets go to I, into IP, over the router to R; R answers the client directly.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
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
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "l7/row/rows.h"

enum { CLIENT, INGRESS, ROUTER, REMOTE, N_NS };

static const char *const ns_name[N_NS] = { "c", "i", "w", "r" };
static const char *const outer_i[2] = { "192.0.2.1", "2001:db8:1::1" }, *const outer_r[2] = { "192.0.2.5", "2001:db8:2::2" };
static const char *const vip_text[2] = { "203.0.113.80", "2001:db8:80::80" }, *const client_text[2] = { "198.51.100.7", "2001:db8:7::7" };
static char prefix[32];
static int ns[N_NS], home, listener[2][2]; /* by host (0: I), by family */
static struct rows *rows[2];
static uint16_t next_port = 30000;

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

static void enter(int which)
{
	assert_int_equal(setns(which < 0 ? home : ns[which], CLONE_NEWNET), 0);
}

static struct address address(const char *text)
{
	struct address a;

	assert_true(address_parse(&a, text));
	return a;
}

/* --- The bed -------------------------------------------------------------------------------------------------------- */

/* Inside the family of the outer addresses (0: IPv4, 1: IPv6; -1: nobody is anybody's peer). */
static void peers(int outer)
{
	int h;

	for (h = 0; h < 2; h++) {
		struct address self = address(h ? outer_r[outer == 1] : outer_i[outer == 1]);
		struct rows_peer other = { .host = (uint16_t)(h ? 1 : 2), .address = address(h ? outer_i[outer == 1] : outer_r[outer == 1]) };

		enter(h ? REMOTE : INGRESS);
		assert_int_equal(rows_set_peers(rows[h], &self, 1, &other, outer >= 0), 0);
	}
}

static void wires(void)
{
	enter(INGRESS);
	run("ip link add eth0 address 42:10:01:00:10:01 type veth peer name c0 netns %sc && ip link add m0 type veth peer name w0 netns %sw", prefix, prefix);
	run("ip link set lo up; ip link set eth0 up; ip link set m0 up; sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0");
	run("ip addr add 192.0.2.1/30 dev m0; ip -6 addr add 2001:db8:1::1/64 dev m0 nodad; ip route add default via 192.0.2.2; "
	    "ip -6 route add default via 2001:db8:1::2; ip -6 addr add fe80::1/64 dev eth0 nodad");
	/* What I answers itself goes to the client by its link. */
	run("ip addr add 198.51.100.129/25 dev eth0; ip route add 198.51.100.7 dev eth0; ip -6 route add 2001:db8:7::7 dev eth0");
	enter(REMOTE);
	run("ip link add eth0 address 42:10:02:00:20:02 type veth peer name w1 netns %sw && ip link set lo up && ip link set eth0 up", prefix);
	run("ip addr add 192.0.2.5/30 dev eth0; ip -6 addr add 2001:db8:2::2/64 dev eth0 nodad; ip route add default via 192.0.2.6; "
	    "ip -6 route add default via 2001:db8:2::1; sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0");
	enter(ROUTER);
	run("ip link add w2 type veth peer name c1 netns %sc; ip link set lo up; for l in w0 w1 w2; do ip link set $l up; done; "
	    "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.rp_filter=0", prefix);
	run("ip addr add 192.0.2.2/30 dev w0; ip addr add 192.0.2.6/30 dev w1; ip addr add 198.51.100.1/25 dev w2; "
	    "ip -6 addr add 2001:db8:1::2/64 dev w0 nodad; ip -6 addr add 2001:db8:2::1/64 dev w1 nodad; ip -6 addr add 2001:db8:7::1/64 dev w2 nodad");
	enter(CLIENT);
	run("ip link set lo up; ip link set c0 up; ip link set c1 up; sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.c0.rp_filter=0 "
	    "net.ipv4.conf.c1.rp_filter=0 net.ipv4.tcp_mtu_probing=0 net.ipv4.conf.all.arp_ignore=0");
	run("ip addr add 198.51.100.7/25 dev c1; ip -6 addr add 2001:db8:7::7/64 dev c1 nodad; "
	    "ip neigh add 203.0.113.80 lladdr 42:10:01:00:10:01 dev c0 nud permanent; ip route add 203.0.113.80 dev c0 src 198.51.100.7; "
	    "ip -6 neigh add 2001:db8:80::80 lladdr 42:10:01:00:10:01 dev c0 nud permanent; ip -6 route add 2001:db8:80::80 dev c0 src 2001:db8:7::7");
	run("m=$(cat /sys/class/net/c0/address 2>/dev/null || ip -o link show c0 | sed 's/.*ether \\([^ ]*\\).*/\\1/'); "
	    "ip netns exec %si ip neigh replace 198.51.100.7 lladdr $(ip -o link show c0 | sed 's/.*ether \\([^ ]*\\).*/\\1/') dev eth0 nud permanent; "
	    "ip netns exec %si ip -6 neigh replace 2001:db8:7::7 lladdr $(ip -o link show c0 | sed 's/.*ether \\([^ ]*\\).*/\\1/') dev eth0 nud permanent", prefix, prefix);
}

static socklen_t sockaddr_of(int v6, const char *text, uint16_t port, struct sockaddr_storage *ss)
{
	struct endpoint e = { address(text), port };

	(void)v6;
	return endpoint_sockaddr(&e, ss);
}

static int set_up(void **state)
{
	static const char link[1][IF_NAMESIZE] = { "eth0" };
	int i, h, v6, one = 1;

	(void)state;
	if (geteuid()) {
		puts("SKIP: needs root");
		exit(77);
	}
	snprintf(prefix, sizeof(prefix), "bt-tun-%d-", (int)getpid());
	home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	for (i = 0; i < N_NS; i++) {
		char path[96];

		run("ip netns add %s%s && ip netns exec %s%s sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0 "
		    "net.ipv4.conf.default.rp_filter=0", prefix, ns_name[i], prefix, ns_name[i]);
		snprintf(path, sizeof(path), "/run/netns/%s%s", prefix, ns_name[i]);
		ns[i] = open(path, O_RDONLY | O_CLOEXEC);
	}
	wires();
	for (h = 0; h < 2; h++) {
		char pins[64], why[256];

		enter(h ? REMOTE : INGRESS);
		run("ip addr add 203.0.113.80/32 dev lo && ip -6 addr add 2001:db8:80::80/128 dev lo nodad");
		snprintf(pins, sizeof(pins), "/sys/fs/bpf/%s%s", prefix, h ? "r" : "i");
		if (rows_open((uint16_t)(h + 1), pins, link, 1, &rows[h], why, sizeof(why)))
			fail_msg("%s", why);
		for (v6 = 0; v6 < 2; v6++) {
			struct sockaddr_storage ss;
			socklen_t len = sockaddr_of(v6, vip_text[v6], 80, &ss);

			listener[h][v6] = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
			setsockopt(listener[h][v6], SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
			assert_int_equal(bind(listener[h][v6], (struct sockaddr *)&ss, len), 0);
			assert_int_equal(listen(listener[h][v6], 16), 0);
		}
	}
	return 0;
}

static int tear_down(void **state)
{
	int i;

	(void)state;
	for (i = 0; i < 2; i++) {
		if (!rows[i])
			continue;
		enter(i ? REMOTE : INGRESS);
		rows_close(rows[i], true);
	}
	enter(-1);
	for (i = 0; i < N_NS; i++)
		run("ip netns del %s%s", prefix, ns_name[i]);
	return 0;
}

/* --- Connections ------------------------------------------------------------------------------------------------------- */

struct conn {
	int client, server, host; /* 0: I accepted it, 1: R; -1: nobody */
	struct flow flow;
};

static struct conn open_conn(int v6, bool moved)
{
	struct flow f = { .family = v6 ? FLOW_V6 : FLOW_V4, .protocol = IPPROTO_TCP, .dport = htons(80) };
	const struct row row = { .state = ROW_FWD, .owner = 2 };
	struct address client = address(client_text[v6]), vip = address(vip_text[v6]);
	struct sockaddr_storage me, to;
	uint16_t port = next_port++;
	socklen_t len = sockaddr_of(v6, client_text[v6], port, &me);
	struct timeval limit = { 2, 0 };
	struct conn c = { -1, -1, -1, f };
	struct pollfd p[2];

	sockaddr_of(v6, vip_text[v6], 80, &to);
	c.flow.sport = htons(port);
	memcpy(c.flow.saddr, &client.v6, v6 ? 16 : 4);
	memcpy(c.flow.daddr, &vip.v6, v6 ? 16 : 4);
	if (moved)
		assert_int_equal(rows_put(rows[0], &c.flow, &row), 0);
	enter(CLIENT);
	c.client = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0);
	setsockopt(c.client, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	assert_int_equal(bind(c.client, (struct sockaddr *)&me, len), 0);
	if (connect(c.client, (struct sockaddr *)&to, len))
		return c;
	fcntl(c.client, F_SETFL, O_NONBLOCK);
	p[0] = (struct pollfd){ listener[0][v6], POLLIN, 0 };
	p[1] = (struct pollfd){ listener[1][v6], POLLIN, 0 };
	assert_true(poll(p, 2, 1000) > 0);
	c.host = p[1].revents & POLLIN ? 1 : 0;
	c.server = accept4(listener[c.host][v6], NULL, NULL, SOCK_NONBLOCK);
	assert_true(c.server >= 0);
	return c;
}

static void close_conn(struct conn *c)
{
	struct linger rst = { 1, 0 };

	setsockopt(c->client, SOL_SOCKET, SO_LINGER, &rst, sizeof(rst));
	close(c->client);
	if (c->server >= 0)
		close(c->server);
	usleep(5000);
	rows_delete(rows[0], &c->flow);
}

/* total verified bytes; the daemon of I reads its TAP meanwhile.  0 or an errno. */
static int transfer(int from, int to, size_t total)
{
	static uint8_t out[65536], in[65536];
	size_t sent = 0, got = 0, i;
	int idle = 0;

	while (got < total) {
		struct pollfd p[3] = { { from, sent < total ? POLLOUT : 0, 0 }, { to, POLLIN, 0 }, { rows_fd(rows[0]), POLLIN, 0 } };
		ssize_t n;

		if (poll(p, 3, 100) <= 0 && ++idle > 30)
			return ETIMEDOUT;
		rows_poll(rows[0], monotonic_ms());
		if (sent < total) {
			size_t want = total - sent < sizeof(out) ? total - sent : sizeof(out);

			for (i = 0; i < want; i++)
				out[i] = (uint8_t)((sent + i) * 2654435761u >> 24);
			n = send(from, out, want, MSG_NOSIGNAL | MSG_DONTWAIT);
			if (n < 0 && errno != EAGAIN)
				return errno;
			sent += n > 0 ? (size_t)n : 0;
		}
		n = recv(to, in, sizeof(in), MSG_DONTWAIT);
		if (!n || (n < 0 && errno != EAGAIN))
			return n ? errno : EPIPE;
		for (i = 0; n > 0 && i < (size_t)n; i++)
			if (in[i] != (uint8_t)((got + i) * 2654435761u >> 24))
				return EILSEQ;
		got += n > 0 ? (size_t)n : 0;
		idle = n > 0 ? 0 : idle;
	}
	return 0;
}

static uint64_t count_of(int h, enum flow_count what)
{
	struct rows_counts c;

	enter(h ? REMOTE : INGRESS);
	assert_int_equal(rows_counts(rows[h], &c), 0);
	return c.kernel[what];
}

static int mss_of(const struct conn *c)
{
	int mss = 0;
	socklen_t len = sizeof(mss);

	assert_int_equal(getsockopt(c->client, IPPROTO_TCP, TCP_MAXSEG, &mss, &len), 0);
	return mss;
}

/* --- Tests ----------------------------------------------------------------------------------------------------------------- */

static void four_ways(void **state)
{
	int inner, outer;

	(void)state;
	for (outer = 0; outer < 2; outer++) {
		peers(outer);
		for (inner = 0; inner < 2; inner++) {
			uint64_t out = count_of(0, FLOW_OUT), in = count_of(1, FLOW_IN), big = count_of(0, FLOW_TOO_BIG);
			struct conn c = open_conn(inner, true);
			struct tcp_info info;
			socklen_t len = sizeof(info);
			struct row row;
			int err;

			assert_int_equal(c.host, 1);
			err = transfer(c.client, c.server, 8 << 20);
			if (!err)
				err = transfer(c.server, c.client, 8 << 20);
			if (err)
				fail_msg("IPv%d in IPv%d: %s", inner ? 6 : 4, outer ? 6 : 4, strerror(err));
			assert_int_equal(rows_get(rows[0], &c.flow, &row), 0);
			assert_int_equal(getsockopt(c.client, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
			print_message("IPv%d in IPv%d: %llu packets out, %llu in, %u sent again, MSS %d\n", inner ? 6 : 4, outer ? 6 : 4,
				      (unsigned long long)(count_of(0, FLOW_OUT) - out), (unsigned long long)(count_of(1, FLOW_IN) - in),
				      info.tcpi_total_retrans, mss_of(&c));
			assert_true(count_of(0, FLOW_OUT) - out > 100);
			assert_int_equal(count_of(0, FLOW_OUT) - out, count_of(1, FLOW_IN) - in);
			assert_true(count_of(0, FLOW_OUT) - out < (8 << 20) / 1400 / 2); /* super-packets stay whole */
			assert_int_equal(count_of(0, FLOW_TOO_BIG), big);	/* the MSS saw to it */
			close_conn(&c);
		}
	}
	peers(-1);
}

/* A connection that begins at I may move: its SYN-ACK says what will fit then.  Nothing is said where nobody is elsewhere. */
static void mss_is_lowered(void **state)
{
	int outer, inner;

	(void)state;
	for (outer = -1; outer < 2; outer++) {
		peers(outer);
		for (inner = 0; inner < 2; inner++) {
			int want = 1500 - (inner ? 60 : 40) - (outer < 0 ? 0 : outer ? 40 : 20) - 12; /* timestamps */
			struct conn c = open_conn(inner, false);

			assert_int_equal(c.host, 0);
			assert_int_equal(mss_of(&c), want);
			assert_int_equal(rows_mss(rows[0], inner ? AF_INET6 : AF_INET), outer < 0 ? 0 : want + 12);
			assert_int_equal(transfer(c.client, c.server, 100000), 0); /* the checksum is right */
			close_conn(&c);
		}
	}
	peers(-1);
}

/* The way to R becomes narrower than what the client was told, at I's own device or at the router. */
static void path_mtu(void **state)
{
	int inner, outer, at_router;

	(void)state;
	for (at_router = 0; at_router < 2; at_router++) {
		for (outer = 0; outer < 2; outer++) {
			for (inner = 0; inner < 2; inner++) {
				struct rows_counts before, after;
				uint64_t learnt = count_of(0, FLOW_MTU);
				struct conn c;
				int err;

				peers(outer);
				c = open_conn(inner, true);
				assert_int_equal(c.host, 1);
				assert_int_equal(transfer(c.client, c.server, 100000), 0);
				rows_counts(rows[0], &before);
				enter(at_router ? ROUTER : INGRESS);
				run("ip link set %s mtu 1380", at_router ? "w1" : "m0");
				if (!at_router)
					peers(outer); /* as after a change of links */
				err = transfer(c.client, c.server, 300000);
				enter(INGRESS);
				rows_counts(rows[0], &after);
				if (err)
					fail_msg("IPv%d in IPv%d, narrow %s: %s; %llu too big, %llu answered, %llu learnt", inner ? 6 : 4,
						 outer ? 6 : 4, at_router ? "at the router" : "here", strerror(err),
						 (unsigned long long)(after.kernel[FLOW_TOO_BIG] - before.kernel[FLOW_TOO_BIG]),
						 (unsigned long long)(after.too_big - before.too_big),
						 (unsigned long long)(after.kernel[FLOW_MTU] - learnt));
				assert_true(after.kernel[FLOW_TOO_BIG] > before.kernel[FLOW_TOO_BIG]);
				assert_true(after.too_big > before.too_big);
				assert_int_equal(count_of(0, FLOW_MTU) > learnt, at_router);
				assert_true(mss_of(&c) <= 1380 - (outer ? 40 : 20) - (inner ? 60 : 40));
				close_conn(&c);
				enter(at_router ? ROUTER : INGRESS);
				run("ip link set %s mtu 1500", at_router ? "w1" : "m0");
				enter(CLIENT);
				run("ip route flush cache; ip -6 route flush cache; ip tcp_metrics flush all 2>/dev/null; true");
				enter(INGRESS); /* the kernel believed the router too */
				run("ip route flush cache; ip -6 route flush cache");
			}
		}
	}
	peers(-1);
}

/* A raw packet inside IP from the router's namespace, with any outer source. */
static void send_inside(const char *outer_source, const char *outer_destination, uint16_t port)
{
	uint8_t p[60] = { 0x45, [3] = 60, [6] = 0x40, [8] = 64, [9] = 4 };
	uint8_t *ip = p + 20, *tcp = p + 40;
	struct address a = address(outer_source), b = address(outer_destination), c = address("198.51.100.7"), d = address("203.0.113.80");
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr = b.v4 };
	int fd, one = 1, i;
	uint32_t sum = 0;

	memcpy(p + 12, &a.v4, 4);
	memcpy(p + 16, &b.v4, 4);
	ip[0] = 0x45;
	ip[3] = 40;
	ip[6] = 0x40;
	ip[8] = 64;
	ip[9] = IPPROTO_TCP;
	memcpy(ip + 12, &c.v4, 4);
	memcpy(ip + 16, &d.v4, 4);
	for (i = 0; i < 20; i += 2)
		sum += (uint32_t)ip[i] << 8 | ip[i + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	ip[10] = (uint8_t)(~sum >> 8);
	ip[11] = (uint8_t)~sum;
	tcp[0] = (uint8_t)(port >> 8);
	tcp[1] = (uint8_t)port;
	tcp[3] = 80;
	tcp[7] = 1;
	tcp[12] = 0x50;
	tcp[13] = 2; /* SYN */
	tcp[14] = 0xff;
	sum = IPPROTO_TCP + 20;
	for (i = 12; i < 40; i += 2)
		sum += (uint32_t)ip[i] << 8 | ip[i + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	tcp[16] = (uint8_t)(~sum >> 8);
	tcp[17] = (uint8_t)~sum;
	enter(ROUTER);
	fd = socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
	setsockopt(fd, IPPROTO_IP, IP_HDRINCL, &one, sizeof(one));
	assert_int_equal(sendto(fd, p, sizeof(p), 0, (struct sockaddr *)&to, sizeof(to)), (int)sizeof(p));
	close(fd);
	usleep(20000);
}

/* From whom it is taken: from peers' addresses to the address of ours that they are peers of, and nothing else. */
static void strangers(void **state)
{
	uint64_t in, stranger;

	(void)state;
	peers(0);
	in = count_of(1, FLOW_IN);
	stranger = count_of(1, FLOW_STRANGER);
	send_inside("192.0.2.1", "192.0.2.5", 50001); /* control: the peer */
	assert_int_equal(count_of(1, FLOW_IN), in + 1);
	assert_int_equal(count_of(1, FLOW_STRANGER), stranger);
	send_inside("192.0.2.2", "192.0.2.5", 50002);
	send_inside("198.51.100.99", "192.0.2.5", 50003);
	assert_int_equal(count_of(1, FLOW_IN), in + 1);
	assert_int_equal(count_of(1, FLOW_STRANGER), stranger + 2);
	peers(-1);
	send_inside("192.0.2.1", "192.0.2.5", 50004); /* no peer any more */
	assert_int_equal(count_of(1, FLOW_IN), in + 1);
	peers(1); /* peers over IPv6 only: IPv4 inside IPv4 is somebody else's */
	send_inside("192.0.2.1", "192.0.2.5", 50005);
	assert_int_equal(count_of(1, FLOW_IN), in + 1);
	assert_int_equal(count_of(1, FLOW_STRANGER), stranger + 2);
	peers(-1);
}

/* The process ends, or starts again: packets go on as they did. */
static void without_the_daemon(void **state)
{
	static const char link[1][IF_NAMESIZE] = { "eth0" };
	char pins[64], why[256];
	struct conn c;

	(void)state;
	peers(0);
	c = open_conn(0, true);
	assert_int_equal(c.host, 1);
	enter(INGRESS);
	rows_close(rows[0], false);
	assert_int_equal(send(c.client, "x", 1, 0), 1);
	usleep(20000);
	assert_int_equal(recv(c.server, why, sizeof(why), 0), 1);
	snprintf(pins, sizeof(pins), "/sys/fs/bpf/%si", prefix);
	assert_int_equal(rows_open(1, pins, link, 1, &rows[0], why, sizeof(why)), 0);
	assert_int_equal(transfer(c.client, c.server, 100000), 0); /* before anybody has named the peers again */
	close_conn(&c);
	peers(-1);
	c = open_conn(0, true); /* control: without a peer the row goes by the link, where no host 2 is */
	assert_int_equal(c.host, -1);
	close_conn(&c);
}

static void wrong_peers(void **state)
{
	struct address v4 = address("192.0.2.1");
	struct rows_peer peer[] = { { 2, address("192.0.2.5") }, { 3, address("2001:db8:2::2") }, { 1, address("192.0.2.9") }, { 0, address("192.0.2.9") } };

	(void)state;
	enter(INGRESS);
	assert_int_equal(rows_set_peers(rows[0], &v4, 1, peer, 4), -EINVAL); /* another family; ourselves; nobody */
	assert_true(rows_mss(rows[0], AF_INET) == 1440);	     /* the first is one all the same */
	peers(-1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(four_ways), cmocka_unit_test(mss_is_lowered),	    cmocka_unit_test(path_mtu),
		cmocka_unit_test(strangers), cmocka_unit_test(without_the_daemon), cmocka_unit_test(wrong_peers),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
