/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Drains over three hosts (three_hosts.h), with real connections.  Beside each claim stands its control:
 * the same with detours off must break.
 */
#include "tests/bpf/three_hosts.h"

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
