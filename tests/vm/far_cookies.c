/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * SYN cookies across two kernels, each with a secret of its own (in two namespaces of one kernel the
 * secret is the same, and proves nothing):
 *
 *    machine A: this program is client and switch          machine B
 *       v1 ---- v0 host 1, in a namespace                     eth0 host 2
 *       eth0 ================= a wire ========================'
 *
 * Both listeners are flooded with SYNs until they send cookies.  far_cookies far runs on B and
 * serves until told to go on; far_cookies near on A asks, for each data path:
 *
 *  1. A SYN to host 1 is answered by a cookie.  Then host 2 owns the bucket.  The ACK reaches host 2,
 *     which knows that it is none of its cookies; it comes back as a detour, host 1 accepts it.
 *  2. The control: the same kind of ACK with nobody else named stays at host 2, whose kernel resets it.
 *  3. A cookie of host 2's own, while host 1 is named behind it: host 2 takes it, nothing comes back.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <cmocka.h>

#include "agent/datapath.h"
#include "tests/bpf/host_bed.h"

#define TALK 0x88b5 /* local experimental: the two programs to each other */
#define FLOOD 400

static struct datapath *path;
static const struct datapath_ops *ops;
static int near_wire, far_wire;

static const struct datapath_ops *ops_named(const char *name)
{
	return strcmp(name, "module") ? &datapath_ebpf : &datapath_module;
}

static void open_path(const char *name, uint16_t self, const char *dev)
{
	static struct address address[2] = { { .family = AF_INET }, { .family = AF_INET6 } };
	static const struct vip vip = { .name = "www", .address = address, .n_addresses = 2 };
	static const uint16_t hosts[] = { 1, 2 };
	char device[1][IF_NAMESIZE] = { "" }, why[256] = "", dir[64];

	memcpy(&address[0].v4, fixture_vip4, 4);
	memcpy(&address[1].v6, fixture_vip6, 16);
	snprintf(device[0], sizeof(device[0]), "%s", dev);
	snprintf(dir, sizeof(dir), "/sys/fs/bpf/bt-far-%s", name);
	ops = ops_named(name);
	if (ops->open(self, dir, why, sizeof(why), &path))
		fail_msg("%s", why);
	assert_int_equal(ops->set_vips(path, &vip, 1), 0);
	assert_int_equal(ops->set_hosts(path, hosts, 2), 0);
	assert_int_equal(ops->set_devices(path, device, 1), 0);
}

/* Until the listener behind this wire has no room for requests any more. */
static void flood(int fd, uint16_t id, int f)
{
	struct fixture x = { "", T(id), .shape = SH_TCP, .socket = FS_LISTEN, .flags = F_SYN };
	int i;

	for (i = 0; i < FLOOD; i++) {
		struct fixture_socket s = { 1000u + (uint32_t)i, 0 };
		struct frame frame;

		fixture_frame(&frame, &x, family_of(f), &s);
		put16(frame.byte + (f ? 54 : 34), 20000u + (uint32_t)i); /* a client each; the sum must follow */
		fixture_close(&frame, family_of(f), 14, f ? 54 : 34, PACKET_TCP);
		assert_int_equal(send(fd, frame.byte, frame.len, 0), frame.len);
		if (i % 40 == 39)
			usleep(5000);
	}
}

/* --- A ---------------------------------------------------------------------------------------------------- */

static void talk(const char *word)
{
	uint8_t f[60] = { 0 };

	memset(f, 0xff, 6);
	f[6] = 2;
	put16(f + 12, TALK);
	snprintf((char *)f + 14, 32, "%s", word);
	assert_int_equal(send(far_wire, f, sizeof(f), 0), sizeof(f));
}

/* The other machine says its data path's name while it serves. */
static void await(const char *word)
{
	uint8_t b[2048];
	int tries;

	wire = far_wire;
	for (tries = 0; tries < 2000; tries++) {
		struct pollfd p = { wire, POLLIN, 0 };
		ssize_t n = poll(&p, 1, 15000) > 0 ? recv(wire, b, sizeof(b), 0) : 0;

		if (!n)
			break;
		if (n >= 60 && (b[12] << 8 | b[13]) == TALK && b[6] != 2 && !strcmp((char *)b + 14, word))
			return;
	}
	fail_msg("the other machine does not say \"%s\"", word);
}

/* A cookie: the SYN goes to this host; s then holds what acknowledges its SYN-ACK. */
static void get_cookie(int fd, uint16_t id, int f, struct fixture_socket *s)
{
	struct fixture x = { "", T(id), .shape = SH_TCP, .socket = FS_COOKIE, .flags = F_SYN };
	struct frame frame;
	uint32_t isn;

	wire = fd;
	drain_wire();
	*s = (struct fixture_socket){ 5000, 0 };
	fixture_frame(&frame, &x, family_of(f), s);
	send_frame(&frame);
	expect_segment(f, fixture_port(FS_COOKIE), F_SYN | F_ACK, &isn);
	s->seq++;
	s->ack = isn + 1;
}

static void send_flags(int fd, struct triple to, int f, const struct fixture_socket *s, uint8_t flags)
{
	struct fixture x = { "", to, .shape = SH_TCP, .socket = FS_COOKIE, .flags = flags };
	struct frame frame;

	fixture_frame(&frame, &x, family_of(f), s);
	wire = fd;
	send_frame(&frame);
}

static void send_ack(int fd, struct triple to, int f, const struct fixture_socket *s)
{
	send_flags(fd, to, f, s, F_ACK);
}

/* The switch: a detour that comes back on one wire goes out to its owner on the other. */
static int bridge_one(int ms)
{
	uint8_t b[2048];
	int waited = 0;

	wire = far_wire;
	while (waited < ms) { /* in small steps: the other's "here I am" comes all the time */
		uint32_t n = next_frame(b, sizeof(b), 50);
		struct triple t = { 0 };
		struct detour d = { 0 };

		waited += n ? 1 : 50;
		if (!n || !vmac_decode(b, &t) || t.host[0] != 1 || !detour_decode(b + 6, &d))
			continue;
		assert_int_equal(d.sender, 2);
		assert_int_equal(d.reason, REASON_NO_COOKIE);
		assert_int_equal(send(near_wire, b, n, 0), n);
		return 1;
	}
	return 0;
}

static int accepted(int f, int ms)
{
	struct pollfd p = { listener[f], POLLIN, 0 };
	struct linger rst = { 1, 0 };
	int fd;

	if (poll(&p, 1, ms) <= 0)
		return 0;
	fd = accept(listener[f], NULL, NULL);
	assert_true(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &rst, sizeof(rst));
	close(fd);
	return 1;
}

static void near_one(const char *name)
{
	struct fixture_socket s;
	uint32_t seq;
	int f;

	await(name);
	open_path(name, 1, "v0");
	for (f = 0; f < 2; f++) {
		flood(near_wire, 1, f);
		flood(far_wire, 2, f);
		usleep(300000);
		get_cookie(near_wire, 1, f, &s);
		send_ack(far_wire, (struct triple)T(2, 1), f, &s);
		assert_int_equal(bridge_one(5000), 1);
		assert_int_equal(accepted(f, 3000), 1);
		/* The control: another cookie of host 1, when nobody names host 1 any more. */
		get_cookie(near_wire, 1, f, &s);
		wire = far_wire;
		drain_wire();
		send_ack(far_wire, (struct triple)T(2), f, &s);
		expect_segment(f, fixture_port(FS_COOKIE), F_RST, &seq);
		assert_int_equal(accepted(f, 200), 0);
		/* Host 2 knows its own. */
		get_cookie(far_wire, 2, f, &s);
		send_ack(far_wire, (struct triple)T(2, 1), f, &s);
		assert_int_equal(bridge_one(500), 0);
		send_flags(far_wire, (struct triple)T(2), f, &s, F_RST); /* the next data path begins anew */
		print_message("%s, IPv%d: host 1's cookie came home, host 2 refused it as its own\n", name, f ? 6 : 4);
	}
	ops->close(path, true);
	path = NULL;
	talk("next");
}

static void near_ebpf(void **state)
{
	(void)state;
	near_one("ebpf");
}

static void near_module(void **state)
{
	(void)state;
	near_one("module");
}

static int near_set_up(void **state)
{
	int f;

	(void)state;
	shell("ip link set eth0 up promisc on");
	far_wire = packet_socket("eth0", 3);
	if (make_bed())
		return -1;
	near_wire = wire;
	shell("sysctl -qw net.ipv4.tcp_max_syn_backlog=64");
	for (f = 0; f < 2; f++) {
		listen_on(f);
		fcntl(listener[f], F_SETFL, O_NONBLOCK);
	}
	return 0;
}

/* --- B ---------------------------------------------------------------------------------------------------- */

static void far_one(const char *name)
{
	uint64_t n[REASON_MAX];
	struct datapath_counters c = { .reason = n, .n_reasons = REASON_MAX };
	uint8_t hello[60] = { 0 }, b[2048];
	int tries;

	open_path(name, 2, "eth0");
	memset(hello, 0xff, 6);
	hello[6] = 4;
	put16(hello + 12, TALK);
	snprintf((char *)hello + 14, 32, "%s", name);
	for (tries = 0; tries < 300; tries++) {
		struct pollfd p = { far_wire, POLLIN, 0 };

		assert_int_equal(send(far_wire, hello, sizeof(hello), 0), sizeof(hello));
		while (poll(&p, 1, 100) > 0) {
			ssize_t len = recv(far_wire, b, sizeof(b), 0);

			if (len >= 60 && b[6] == 2 && (b[12] << 8 | b[13]) == TALK && !strcmp((char *)b + 14, "next"))
				goto done;
		}
	}
	fail_msg("the other machine does not go on");
done:
	assert_int_equal(ops->counters(path, &c), 0);
	assert_int_equal(n[REASON_NO_COOKIE], 2); /* host 1's, v4 and v6 */
	assert_int_equal(n[REASON_COOKIE] + n[REASON_REQUEST], 2); /* its own; a request, had one been forgotten meanwhile */
	assert_true(n[REASON_COOKIE] >= 1);
	assert_true(c.last_cookie_ns > 0);
	ops->close(path, true);
	path = NULL;
}

static void far_ebpf(void **state)
{
	(void)state;
	far_one("ebpf");
}

static void far_module(void **state)
{
	(void)state;
	far_one("module");
}

static int far_set_up(void **state)
{
	int f;

	(void)state;
	shell("ip link set lo up && ip link set eth0 address 42:10:02:00:20:02 && ip link set eth0 up && "
	      "bridge fdb add 42:10:02:00:10:01 dev eth0 self && " /* [2,1]: the NIC filters, as real ones do */
	      "ip addr add 203.0.113.80/32 dev lo && ip -6 addr add 2001:db8:80::80/128 dev lo nodad && "
	      "sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0 net.ipv4.tcp_syncookies=1 net.ipv4.tcp_max_syn_backlog=64 && "
	      "ip route add 198.51.100.0/24 dev eth0 && ip neigh add 198.51.100.7 lladdr 62:10:00:00:00:01 dev eth0 nud permanent && "
	      "ip -6 route add 2001:db8:7::/64 dev eth0 && ip -6 neigh add 2001:db8:7::7 lladdr 62:10:00:00:00:01 dev eth0 nud permanent");
	far_wire = packet_socket("eth0", TALK);
	for (f = 0; f < 2; f++)
		listen_on(f);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest near_tests[] = { cmocka_unit_test(near_ebpf), cmocka_unit_test(near_module) };
	const struct CMUnitTest far_tests[] = { cmocka_unit_test(far_ebpf), cmocka_unit_test(far_module) };

	if (argc == 2 && !strcmp(argv[1], "far"))
		return cmocka_run_group_tests(far_tests, far_set_up, NULL);
	if (argc == 2 && !strcmp(argv[1], "near"))
		return cmocka_run_group_tests(near_tests, near_set_up, NULL);
	fprintf(stderr, "usage: far_cookies near|far\n");
	return 2;
}
