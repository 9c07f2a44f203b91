/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rows beside the host data path (three_hosts.h; BATON_DATAPATH=module: the kernel module), with real connections.
 * A connection that "has moved" from host 1 to host 2 is made by a row that is there before its SYN: host 1 is its
 * ingress, host 2 accepted it and answers, as after a move.  Then its bucket drains to host 3: what arrives there is
 * nobody's, goes on detour to host 1, and by the row to host 2.
 */
#include "tests/bpf/three_hosts.h"

#include "l7/row/rows.h"

static const char link0[1][IF_NAMESIZE] = { "eth0" };
static struct rows *rows[HOSTS + 1];
static uint16_t next_port = 20000;

static void pins_of(int id, char dir[64])
{
	snprintf(dir, 64, "/sys/fs/bpf/bt-3h-%d-r%d", getpid(), id);
}

static void rows_on(int id)
{
	char dir[64], why[256];

	pins_of(id, dir);
	enter(NS_HOST + id - 1);
	if (rows_open((uint16_t)id, dir, link0, 1, &rows[id], why, sizeof(why)))
		fail_msg("%s", why);
}

static void rows_off(int id, bool take_off)
{
	if (!rows[id])
		return;
	setns(ns_fd[NS_HOST + id - 1], CLONE_NEWNET);
	rows_close(rows[id], take_off);
	rows[id] = NULL;
}

/* The agent's part of start_host(). */
static void data_path_on(int id)
{
	static const uint16_t hosts[] = { 1, 2, 3 };
	struct address address[2] = { { .family = AF_INET }, { .family = AF_INET6 } };
	const struct vip vip = { .name = "www", .address = address, .n_addresses = 2 };
	char dir[64], why[256] = "";

	inet_pton(AF_INET, "203.0.113.80", &address[0].v4);
	inet_pton(AF_INET6, "2001:db8:80::80", &address[1].v6);
	snprintf(dir, sizeof(dir), "/sys/fs/bpf/bt-3h-%d-h%d", getpid(), id);
	enter(NS_HOST + id - 1);
	if (ops->open((uint16_t)id, dir, why, sizeof(why), &path[id]))
		fail_msg("%s", why);
	assert_int_equal(ops->set_vips(path[id], &vip, 1), 0);
	assert_int_equal(ops->set_hosts(path[id], hosts, 3), 0);
	assert_int_equal(ops->set_devices(path[id], link0, 1), 0);
}

static void data_path_off(int id, bool take_off)
{
	enter(NS_HOST + id - 1);
	ops->close(path[id], take_off);
	path[id] = NULL;
}

/* --- A connection that has moved ---------------------------------------------------------------------------------- */

struct moved {
	struct connection c;
	struct flow flow;
};

static void put_row(struct moved *m, int at, enum row_state row_state, int owner)
{
	const struct row row = { .state = (uint8_t)row_state, .owner = (uint16_t)owner, .cid = m->flow.sport };

	assert_int_equal(rows_put(rows[at], &m->flow, &row), 0);
}

static struct moved open_moved(int v6)
{
	struct sockaddr_storage me, vip;
	socklen_t len = vip_address(v6, &vip);
	struct moved m = { .flow = { .family = v6 ? FLOW_V6 : FLOW_V4, .protocol = 6, .dport = htons(80) } };
	struct timeval limit = { 5, 0 };
	uint16_t port = htons(next_port++);

	vip_address(v6, &me);
	if (v6) {
		inet_pton(AF_INET6, "2001:db8:7::7", &((struct sockaddr_in6 *)&me)->sin6_addr);
		((struct sockaddr_in6 *)&me)->sin6_port = port;
		memcpy(m.flow.saddr, &((struct sockaddr_in6 *)&me)->sin6_addr, 16);
		memcpy(m.flow.daddr, &((struct sockaddr_in6 *)&vip)->sin6_addr, 16);
	} else {
		inet_pton(AF_INET, "198.51.100.7", &((struct sockaddr_in *)&me)->sin_addr);
		((struct sockaddr_in *)&me)->sin_port = port;
		m.flow.saddr[0] = ((struct sockaddr_in *)&me)->sin_addr.s_addr;
		m.flow.daddr[0] = ((struct sockaddr_in *)&vip)->sin_addr.s_addr;
	}
	m.flow.sport = port;
	put_row(&m, 1, ROW_FWD, 2);
	enter(NS_CLIENT);
	m.c.client = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0);
	setsockopt(m.c.client, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	assert_int_equal(bind(m.c.client, (struct sockaddr *)&me, len), 0);
	assert_int_equal(connect(m.c.client, (struct sockaddr *)&vip, len), 0);
	fcntl(m.c.client, F_SETFL, O_NONBLOCK);
	m.c.server = accept_anywhere(v6, &m.c.host);
	assert_true(m.c.server >= 0);
	assert_int_equal(m.c.host, 2);
	return m;
}

static void close_moved(struct moved *m)
{
	close_all(&m->c, 1);
	usleep(10000); /* its RST goes by the row too */
	rows_delete(rows[1], &m->flow);
}

static struct row row_at(int host, const struct moved *m)
{
	struct row row;

	assert_int_equal(rows_get(rows[host], &m->flow, &row), 0);
	return row;
}

static uint64_t count_at(int host, enum flow_count what)
{
	struct rows_counts c;

	enter(NS_HOST + host - 1);
	assert_int_equal(rows_counts(rows[host], &c), 0);
	return c.kernel[what];
}

static void both_families(struct moved m[2])
{
	bucket_is(1, 0, 0);
	m[0] = open_moved(0);
	m[1] = open_moved(1);
}

static int both_alive(struct moved m[2])
{
	return alive(&m[0].c, 1) + alive(&m[1].c, 1);
}

/* --- Tests ------------------------------------------------------------------------------------------------------------ */

/* Through three hosts, each way that a bucket can go. */
static void drains_of_moved_connections(void **state)
{
	struct moved m[2];
	uint64_t detours3;
	int i;

	(void)state;
	both_families(m);
	assert_int_equal(both_alive(m), 2);
	assert_int_equal(row_at(1, &m[0]).through, 1);
	bucket_is(1, 3, 0);
	assert_int_equal(both_alive(m), 2);
	detours3 = reason_count(3, REASON_NO_SOCKET) + reason_count(3, REASON_NO_COOKIE);
	bucket_is(3, 1, 0);
	assert_int_equal(both_alive(m), 2);
	assert_true(reason_count(3, REASON_NO_SOCKET) + reason_count(3, REASON_NO_COOKIE) > detours3);
	for (i = 0; i < 2; i++)
		assert_int_equal(row_at(1, &m[i]).through, 3); /* the row knows that it is needed for host 3's bucket */
	bucket_is(2, 3, 1); /* to where it lives: nobody is asked */
	assert_int_equal(both_alive(m), 2);
	bucket_is(3, 2, 1); /* host 2 owns it: the detour ends there */
	assert_int_equal(both_alive(m), 2);
	bucket_is(3, 1, 0);
	assert_int_equal(both_alive(m), 2);
	rows_delete(rows[1], &m[0].flow); /* control */
	rows_delete(rows[1], &m[1].flow);
	assert_int_equal(both_alive(m), 0);
	close_moved(&m[0]);
	close_moved(&m[1]);
}

/* The last hop of that chain: from [1], as the guard of the switch's port wants it, to [2], one hop less. */
static void what_host_2_gets(void **state)
{
	static const uint16_t ethertype[] = { 0x0800, 0x86dd };
	const struct triple one = { { 1 } }, two = { { 2 } };
	struct moved m[2];
	uint8_t want[12];
	int v6;

	(void)state;
	vmac_encode(want, &two);
	vmac_encode(want + 6, &one);
	both_families(m);
	bucket_is(3, 1, 0);
	for (v6 = 0; v6 < 2; v6++) {
		struct sockaddr_ll ll = { .sll_family = AF_PACKET, .sll_protocol = htons(ethertype[v6]) };
		struct timeval limit = { 1, 0 };
		uint8_t b[2048];
		ssize_t n;
		int fd;

		enter(NS_HOST + 1);
		fd = socket(AF_PACKET, SOCK_RAW, htons(ethertype[v6]));
		ll.sll_ifindex = (int)if_nametoindex("eth0");
		assert_int_equal(bind(fd, (struct sockaddr *)&ll, sizeof(ll)), 0);
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
		assert_int_equal(send(m[v6].c.client, "x", 1, 0), 1);
		do {
			struct sockaddr_ll from;
			socklen_t len = sizeof(from);

			n = recvfrom(fd, b, sizeof(b), 0, (struct sockaddr *)&from, &len);
		} while (n > 0 && b[14 + (v6 ? 6 : 9)] != IPPROTO_TCP);
		assert_true(n > 54);
		assert_memory_equal(b, want, 12);
		assert_int_equal(b[14 + (v6 ? 7 : 8)], 62); /* the switch took one, host 1 one; detours none */
		close(fd);
		close_moved(&m[v6]);
	}
}

/* Held while the bucket has moved: the frames come out of the TAP with a detour header as their source. */
static void held_on_detour(void **state)
{
	struct moved m[2];
	char b[16];
	int i;

	(void)state;
	both_families(m);
	bucket_is(3, 1, 0);
	for (i = 0; i < 2; i++) {
		put_row(&m[i], 1, ROW_HOLD, 2);
		assert_int_equal(send(m[i].c.client, "held", 4, 0), 4);
		usleep(20000);
		rows_poll(rows[1], 1);
		assert_int_equal(recv(m[i].c.server, b, sizeof(b), 0), -1); /* control: it waits */
		put_row(&m[i], 1, ROW_FWD, 2);
		rows_release(rows[1], &m[i].flow);
		usleep(20000);
		assert_int_equal(recv(m[i].c.server, b, sizeof(b), 0), 4);
		assert_memory_equal(b, "held", 4);
		assert_int_equal(alive(&m[i].c, 1), 1);
		close_moved(&m[i]);
	}
}

/* Where ours stand, whoever came first, went, came back, or put himself on again. */
static void beside_the_data_path(void **state)
{
	static const char *const what[] = {
		"the agent first", "rows first",      "the agent again",	    "the agent's devices again",
		"rows again",	   "rows taken off", "the agent's path taken off", "both again",
	};
	struct moved m[2];
	unsigned i;
	int id;

	(void)state;
	both_families(m);
	bucket_is(3, 1, 0);
	for (i = 0; i < sizeof(what) / sizeof(*what); i++) {
		for (id = 1; id <= HOSTS; id++) {
			switch (i) {
			case 0: break;
			case 1: data_path_off(id, true); rows_off(id, false); rows_on(id); data_path_on(id); break;
			case 2: data_path_off(id, false); data_path_on(id); break;
			case 3:
				enter(NS_HOST + id - 1);
				assert_int_equal(ops->set_devices(path[id], link0, 0), 0);
				assert_int_equal(ops->set_devices(path[id], link0, 1), 0);
				break;
			case 4: rows_off(id, false); rows_on(id); break;
			case 5:
				rows_off(id, true);
				rows_on(id);
				if (id == 1) {
					put_row(&m[0], 1, ROW_FWD, 2);
					put_row(&m[1], 1, ROW_FWD, 2);
				}
				break;
			case 6: data_path_off(id, true); data_path_on(id); break;
			default: data_path_off(id, false); rows_off(id, false); data_path_on(id); rows_on(id); break;
			}
		}
		if (both_alive(m) != 2)
			fail_msg("after: %s", what[i]);
		assert_int_equal(row_at(1, &m[0]).through, 3);
	}
	close_moved(&m[0]);
	close_moved(&m[1]);
}

static uint32_t retransmitted(int fd)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);

	assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
	return info.tcpi_total_retrans;
}

/* Super-packets go through whole, with a bulk upload on its way, by a detour and a row. */
static void bulk(void **state)
{
	const size_t size = 32 << 20;
	struct moved m[2];
	uint64_t packets;
	int i;

	(void)state;
	both_families(m);
	bucket_is(3, 1, 0);
	for (i = 0; i < 2; i++) {
		packets = row_at(1, &m[i]).packets;
		assert_int_equal(transfer(m[i].c.client, m[i].c.server, size), 0);
		packets = row_at(1, &m[i]).packets - packets;
		print_message("IPv%d: %zu MB in %llu packets of the row, %u sent again\n", i ? 6 : 4, size >> 20,
			      (unsigned long long)packets, retransmitted(m[i].c.client));
		assert_true(packets < size / 1448 / 2);
		assert_int_equal(transfer(m[i].c.server, m[i].c.client, size), 0);
		close_moved(&m[i]);
	}
}

/* As much of the pattern as fits. */
static size_t say(int fd, size_t sent, size_t size)
{
	static uint8_t out[65536];
	size_t n = size - sent < sizeof(out) ? size - sent : sizeof(out), i;
	ssize_t done;

	for (i = 0; i < n; i++)
		out[i] = (uint8_t)((sent + i) * 2654435761u >> 24);
	done = n ? send(fd, out, n, MSG_NOSIGNAL) : 0;
	return sent + (done > 0 ? (size_t)done : 0);
}

static size_t hear(int fd, size_t got)
{
	static uint8_t in[65536];
	ssize_t n = recv(fd, in, sizeof(in), 0), i;

	for (i = 0; i < n; i++)
		assert_int_equal(in[i], (uint8_t)((got + (size_t)i) * 2654435761u >> 24));
	return got + (n > 0 ? (size_t)n : 0);
}

/* HOLD, release, HOLD again, under a bulk upload: nothing is lost but what the bounds drop, and TCP sends that again. */
static void bulk_held(void **state)
{
	const size_t size = 16 << 20;
	struct moved m[2];
	int i, tick, holds;

	(void)state;
	both_families(m);
	for (i = 0; i < 2; i++) {
		size_t sent = 0, got = 0;
		struct rows_counts c;
		uint64_t before, begin = count_at(1, FLOW_HELD);

		holds = 0;
		rows_counts(rows[1], &c);
		before = c.dropped + c.tap_dropped;
		while (got < size) {
			struct pollfd p[2] = { { m[i].c.client, sent < size ? POLLOUT : 0, 0 }, { m[i].c.server, POLLIN, 0 } };

			if (got > (size_t)(holds + 1) * (size / 20)) {
				put_row(&m[i], 1, ROW_HOLD, 2);
				for (tick = 0; tick < 5; tick++) {
					sent = say(m[i].c.client, sent, size);
					got = hear(m[i].c.server, got);
					usleep(400);
					rows_poll(rows[1], 1);
				}
				put_row(&m[i], 1, ROW_FWD, 2);
				rows_release(rows[1], &m[i].flow);
				holds++;
			}
			rows_poll(rows[1], 1);
			assert_true(poll(p, 2, 3000) > 0);
			sent = say(m[i].c.client, sent, size);
			got = hear(m[i].c.server, got);
		}
		rows_counts(rows[1], &c);
		print_message("IPv%d: %d holds, %llu held, %llu dropped, %u sent again\n", i ? 6 : 4, holds,
			      (unsigned long long)(count_at(1, FLOW_HELD) - begin), (unsigned long long)(c.dropped + c.tap_dropped - before),
			      retransmitted(m[i].c.client));
		assert_true(count_at(1, FLOW_HELD) > begin + 10);
		close_moved(&m[i]);
	}
}

/* An ICMP error about what host 2 sent comes to the bucket's owner, host 3, and must reach host 2: its path MTU falls. */
static void errors_reach_the_owner(void **state)
{
	struct moved m[2];
	int v6;

	(void)state;
	both_families(m);
	bucket_is(3, 1, 0);
	for (v6 = 0; v6 < 2; v6++) {
		int mtu = 0, tries;
		socklen_t len = sizeof(mtu);

		/* The switch's uplink becomes narrow: what is too long for it, it answers with an error. */
		assert_int_equal(getsockopt(m[v6].c.server, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_MTU : IP_MTU, &mtu, &len), 0);
		assert_int_equal(mtu, 1500); /* control */
		enter(NS_SWITCH);
		run("ip link set up0 mtu 1400");
		assert_int_equal(transfer(m[v6].c.server, m[v6].c.client, 100000), 0);
		for (tries = 0; tries < 20 && mtu != 1400; tries++) {
			usleep(10000);
			len = sizeof(mtu);
			assert_int_equal(getsockopt(m[v6].c.server, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_MTU : IP_MTU, &mtu, &len), 0);
		}
		assert_int_equal(mtu, 1400);
		enter(NS_SWITCH);
		run("ip link set up0 mtu 1500");
		enter(NS_HOST + 1); /* the next family and test begin anew */
		run("ip route flush cache; ip -6 route flush cache");
		close_moved(&m[v6]);
	}
}

static int start(void **state)
{
	int id, err = set_up(state);

	for (id = 1; id <= HOSTS && !err; id++)
		rows_on(id);
	return err;
}

static int stop(void **state)
{
	int id;

	for (id = 1; id <= HOSTS; id++)
		rows_off(id, true);
	return tear_down(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(drains_of_moved_connections), cmocka_unit_test(what_host_2_gets), cmocka_unit_test(held_on_detour),
		cmocka_unit_test(beside_the_data_path),	       cmocka_unit_test(bulk),		   cmocka_unit_test(bulk_held),
		cmocka_unit_test(errors_reach_the_owner),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
