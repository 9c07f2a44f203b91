/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Each fabric alone, driven here, in network namespaces of this test's own; no controller, no daemon.
 *
 *        namespace E                 namespace S (this process)
 *        up0r  ------------------->  up0
 *        h1e h2e h3e  <------------  p1 p2 p3   (host ports)
 *        x2e          <------------  x2         (peer port to switch 2)
 *
 * Frames are sent and received on packet sockets in E: what is counted came through the real thing.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "switch/netlink.h"
#include "switch/proof.h"
#include "switch/want.h"

#define SEED 0x1badcafeu
#define EDGES 4 /* h1e h2e h3e x2e */
#define UP EDGES
#define FRAMES 4096

static struct bed {
	const struct fabric_ops *ops;
	struct fabric *fabric;
	struct event_base *base;
	int netns_s, netns_e;
	pid_t holder;
	int sock[EDGES + 1];
	uint8_t up_mac[6];
	struct pop pop;
	struct host_conf host[3];
	struct host_link link[3];
	struct switch_conf sw;
	struct switch_port port[EDGES];
	char uplink[1][IF_NAMESIZE];
	struct vip vip;
	struct address address[2];
	struct table table;
	struct view view;
	bool carrier[EDGES];
	int result;
	bool done;
	char why[256];
} bed;

static const char *const edge[EDGES + 1] = { "h1e", "h2e", "h3e", "x2e", "up0r" };
static const char *const port[EDGES + 1] = { "p1", "p2", "p3", "x2", "up0" };
static uint8_t frames[FRAMES][PROOF_FRAME_LEN];
static uint32_t frame_bucket[FRAMES];

static const struct fabric_ops *const every[] = { &fabric_netlink, &fabric_xdp };
#define each_fabric(ops) for (size_t at_ = 0; at_ < 2 && ((ops) = every[at_], true); at_++)

__attribute__((format(printf, 1, 2))) static void sh(const char *fmt, ...)
{
	char line[2048];
	va_list ap;
	int status;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	status = system(line);
	if (status)
		fail_msg("%s: exit %d", line, WEXITSTATUS(status));
}

static int packet_socket(const char *ifname)
{
	struct sockaddr_ll at = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL),
				  .sll_ifindex = (int)if_nametoindex(ifname) };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, htons(ETH_P_ALL)), size = 64 << 20;

	assert_true(fd >= 0 && at.sll_ifindex);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	return fd;
}

static void make_namespaces(void)
{
	struct ifreq req = { 0 };
	char c, path[64];
	int ready[2], fd;

	assert_int_equal(pipe(ready), 0);
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	bed.netns_s = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	bed.holder = fork();
	if (!bed.holder) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (unshare(CLONE_NEWNET) || write(ready[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
	close(ready[0]);
	close(ready[1]);
	snprintf(path, sizeof(path), "/proc/%d/ns/net", bed.holder);
	bed.netns_e = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(bed.netns_s >= 0 && bed.netns_e >= 0);
	sh("ip link set lo up");
	for (int i = 0; i <= EDGES; i++)
		sh("ip link add %s type veth peer name %s netns %d && ip link set %s up", port[i], edge[i], bed.holder,
		   port[i]);
	setns(bed.netns_e, CLONE_NEWNET);
	for (int i = 0; i <= EDGES; i++) {
		sh("sysctl -qw net.ipv6.conf.%s.disable_ipv6=1 && ip link set %s up && ethtool -K %s tx off gro on >/dev/null",
		   edge[i], edge[i], edge[i]);
		bed.sock[i] = packet_socket(edge[i]);
	}
	setns(bed.netns_s, CLONE_NEWNET);
	strcpy(req.ifr_name, "up0");
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(ioctl(fd, SIOCGIFHWADDR, &req), 0);
	memcpy(bed.up_mac, req.ifr_hwaddr.sa_data, 6);
	close(fd);
}

static void make_pop(uint32_t n_buckets)
{
	bed.pop = (struct pop){ .buckets = n_buckets, .hash_seed = SEED, .route_table = 4711, .route_protocol = 186,
				.host = bed.host, .n_hosts = 3, .switches = &bed.sw, .n_switches = 1, .vip = &bed.vip,
				.n_vips = 1 };
	for (uint16_t i = 0; i < 3; i++) {
		bed.link[i] = (struct host_link){ .switch_id = 2 };
		bed.host[i] = (struct host_conf){ .id = (uint16_t)(i + 1), .weight = 100, .link = &bed.link[i],
						  .n_links = 1 };
	}
	bed.sw = (struct switch_conf){ .id = 1, .bridge = "hosts", .uplink = bed.uplink, .n_uplinks = 1,
				       .port = bed.port, .n_ports = EDGES };
	strcpy(bed.uplink[0], "up0");
	for (uint16_t i = 0; i < EDGES; i++) {
		bed.port[i] = (struct switch_port){ .host = i < 3 ? (uint16_t)(i + 1) : 0, .peer = i < 3 ? 0 : 2 };
		strcpy(bed.port[i].ifname, port[i]);
		bed.carrier[i] = true;
	}
	memset(bed.address, 0, sizeof(bed.address));
	bed.address[0].family = AF_INET;
	inet_pton(AF_INET, "198.51.100.80", &bed.address[0].v4);
	bed.address[1].family = AF_INET6;
	inet_pton(AF_INET6, "2001:db8:80::80", &bed.address[1].v6);
	bed.vip = (struct vip){ .address = bed.address, .n_addresses = 2 };
	assert_int_equal(table_init(&bed.table, n_buckets), 0);
	bed.view.pop = &bed.pop;
	bed.view.table = &bed.table;
}

/* Bucket i belongs to 1 + (i + shift) % 2, the other host is its history; host 3 owns nothing. */
static void owners(uint32_t shift)
{
	for (uint32_t i = 0; i < bed.table.n_buckets; i++) {
		uint16_t a = (uint16_t)(1 + (i + shift) % 2);

		bed.table.bucket[i].triple = (struct triple){ { a, (uint16_t)(3 - a), HOST_NONE } };
	}
}

static void applied(void *ctx, int err, const char *why)
{
	(void)ctx;
	bed.result = err;
	bed.done = true;
	snprintf(bed.why, sizeof(bed.why), "%s", why ? why : "");
}

static void turn(unsigned ms)
{
	uint64_t until = monotonic_ms() + ms;

	while (monotonic_ms() < until) {
		event_base_loop(bed.base, EVLOOP_NONBLOCK);
		usleep(500);
	}
}

static void apply_begin(void)
{
	struct fabric_want w;

	assert_int_equal(want_make(&bed.view, &bed.sw, bed.carrier, &w), 0);
	bed.done = false;
	bed.ops->apply(bed.fabric, &w, applied, NULL);
	fabric_want_free(&w);
}

static int apply(void)
{
	uint64_t until = monotonic_ms() + 3000;

	apply_begin();
	while (!bed.done && monotonic_ms() < until)
		event_base_loop(bed.base, EVLOOP_NONBLOCK);
	assert_true(bed.done);
	if (bed.result)
		print_message("apply: %s\n", bed.why);
	return bed.result;
}

/* NULL if what the fabric reads back is what is wanted; else what differs. */
static const char *differs(void)
{
	struct fabric_want w, have;
	const char *what = NULL;

	assert_int_equal(want_make(&bed.view, &bed.sw, bed.carrier, &w), 0);
	if (bed.ops->read(bed.fabric, &have))
		return "read";
	if (have.n_buckets != w.n_buckets || memcmp(have.vmac, w.vmac, (size_t)6 * w.n_buckets))
		what = "buckets";
	else if (have.n_fdb != w.n_fdb)
		what = "the number of bridge rows";
	else if (have.n_vips != w.n_vips)
		what = "VIP routes";
	else if (have.n_hosts != w.n_hosts)
		what = "hosts";
	for (size_t i = 0; i < w.n_fdb && !what; i++)
		if (memcmp(have.fdb[i].mac, w.fdb[i].mac, 6) || strcmp(have.fdb[i].ifname, w.fdb[i].ifname))
			what = "bridge rows";
	fabric_want_free(&w);
	fabric_want_free(&have);
	return what;
}

static void assert_right(size_t flows)
{
	const char *what = differs();
	char why[256] = "";

	if (what)
		fail_msg("%s: %s differ", bed.ops->caps->name, what);
	if (proof_run(bed.ops, bed.fabric, SEED, bed.pop.buckets, flows, NULL, why, sizeof(why)))
		fail_msg("%s: %s", bed.ops->caps->name, why);
}

/* Frames to vMACs that arrived at an edge. */
static size_t drain(int i)
{
	uint8_t frame[2048];
	struct sockaddr_ll from;
	socklen_t len = sizeof(from);
	size_t n = 0;

	while (recvfrom(bed.sock[i], frame, sizeof(frame), 0, (struct sockaddr *)&from, &len) > 0)
		n += from.sll_pkttype != PACKET_OUTGOING && frame[0] == MAC_KIND_VMAC;
	return n;
}

static void drain_all(void)
{
	for (int i = 0; i <= EDGES; i++)
		drain(i);
}

/* The kernel says a little later that a device is up, and only then forwards a bridge to it. */
static void ports_up(void)
{
	for (int i = 0; i < EDGES; i++)
		sh("for n in $(seq 200); do ip link show dev %s | grep -q 'state UP' && break; sleep 0.01; done", port[i]);
}

static void up(const struct fabric_ops *ops, uint32_t n_buckets)
{
	make_namespaces();
	make_pop(n_buckets);
	owners(0);
	ports_up();
	bed.ops = ops;
	bed.base = event_base_new();
	assert_int_equal(ops->open(&bed.sw, &bed.pop, bed.base, &bed.fabric), 0);
}

static void down(void)
{
	bed.ops->close(bed.fabric, true);
	sh("! { ip route show proto 186; ip -6 route show proto 186; } | grep .");
	event_base_free(bed.base);
	for (int i = 0; i <= EDGES; i++)
		close(bed.sock[i]);
	kill(bed.holder, SIGKILL);
	waitpid(bed.holder, NULL, 0);
	close(bed.netns_s);
	close(bed.netns_e);
	table_free(&bed.table);
}

static void frames_make(size_t n)
{
	proof_frames(bed.address, frames, frame_bucket, n, SEED, bed.pop.buckets);
	for (size_t i = 0; i < n; i++)
		memcpy(frames[i], bed.up_mac, 6);
}

static void frames_send(size_t n)
{
	frames_make(n);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(send(bed.sock[UP], frames[i], PROOF_FRAME_LEN, 0), PROOF_FRAME_LEN);
	usleep(50000);
}

/* --- tests --------------------------------------------------------------------------------------- */
static void test_frames_reach_their_owner(void **state)
{
	const struct fabric_ops *ops;

	(void)state;
	each_fabric(ops) {
		size_t want[3] = { 0 };
		uint64_t packets;

		up(ops, 256);
		assert_int_equal(apply(), 0);
		assert_right(512);
		drain_all();
		frames_send(2000);
		for (size_t i = 0; i < 2000; i++)
			want[bed.table.bucket[frame_bucket[i]].triple.host[0] - 1]++;
		for (int h = 0; h < 3; h++) {
			size_t got = drain(h);

			print_message("%s: host %d: %zu of %zu frames\n", ops->caps->name, h + 1, got, want[h]);
			assert_int_equal(got, want[h]);
		}
		assert_int_equal(ops->vip_packets(bed.fabric, &packets), 0);
		assert_int_equal(packets, 2000);
		down();
	}
}

static void test_another_seed_is_seen(void **state)
{
	const struct fabric_ops *ops;

	(void)state;
	each_fabric(ops) {
		char why[256];

		up(ops, 256);
		bed.pop.hash_seed = SEED + 1; /* as if another seed had reached the programs */
		assert_int_equal(apply(), 0);
		assert_int_equal(proof_run(ops, bed.fabric, SEED, 256, 256, NULL, why, sizeof(why)), -EILSEQ);
		print_message("%s: %s\n", ops->caps->name, why);
		assert_int_equal(proof_run(ops, bed.fabric, SEED + 1, 256, 256, NULL, why, sizeof(why)), 0);
		bed.pop.hash_seed = SEED;
		assert_int_equal(apply(), 0);
		assert_right(256);
		down();
	}
}

static struct proof_digest previewed(uint32_t seed)
{
	struct proof_digest found;
	struct fabric_want w;
	char why[256] = "";

	assert_int_equal(want_make(&bed.view, &bed.sw, bed.carrier, &w), 0);
	w.hash_seed = seed;
	if (proof_preview(bed.ops, bed.fabric, &w, 256, &found, why, sizeof(why)))
		fail_msg("%s: %s", bed.ops->caps->name, why);
	fabric_want_free(&w);
	return found;
}

/* What programs would do is known before they are in force, and trying them changes nothing. */
static void test_programs_are_tried_before_they_are_in_force(void **state)
{
	const struct fabric_ops *ops;

	(void)state;
	each_fabric(ops) {
		struct proof_digest right, wrong, found;
		uint64_t packets;
		char why[256];

		up(ops, 256);
		right = previewed(SEED); /* of a fabric that holds nothing yet */
		assert_true(right.all && right.few);
		assert_int_equal(apply(), 0);
		assert_int_equal(proof_run(ops, bed.fabric, SEED, 256, 256, &found, why, sizeof(why)), 0);
		assert_int_equal(found.all, right.all);
		assert_int_equal(found.few, right.few);
		wrong = previewed(SEED + 1);
		assert_int_not_equal(wrong.all, right.all);
		assert_right(256); /* what forwards is as before */
		drain_all();
		frames_send(200);
		assert_int_equal(ops->vip_packets(bed.fabric, &packets), 0);
		assert_int_equal(packets, 200);
		/* And what was said of them is so. */
		bed.pop.hash_seed = SEED + 1;
		assert_int_equal(apply(), 0);
		assert_int_equal(proof_run(ops, bed.fabric, SEED + 1, 256, 256, &found, why, sizeof(why)), 0);
		assert_int_equal(found.all, wrong.all);
		bed.pop.hash_seed = SEED;
		down();
	}
}

static void test_from_garbage(void **state)
{
	const struct fabric_ops *ops;

	(void)state;
	each_fabric(ops) {
		up(ops, 64);
		sh("set -e; ip link add hosts address 02:00:00:00:00:99 type bridge; ip link set hosts up\n"
		   "ip link set p1 master hosts\n"
		   "bridge fdb add 42:10:02:00:10:01 dev p1 master static; bridge fdb add 42:10:09:00:90:09 dev p1 master static\n"
		   "ip -6 neigh add fe80::ba70:3:5 lladdr 02:00:00:00:00:07 nud permanent dev hosts\n"
		   "ip -6 neigh add fe80::ba70:3:fff lladdr 02:00:00:00:00:07 nud permanent dev hosts\n"
		   "ip nexthop add id %u via fe80::ba70:3:9 dev hosts; ip nexthop add id %u via fe80::ba70:3:9 dev hosts\n"
		   "ip nexthop add id %u group %u/%u type resilient buckets 64\n"
		   "ip route add 198.51.100.80 nhid %u proto 186; ip route add 203.0.113.9 nhid %u proto 186",
		   NEXTHOP_ID_BASE, NEXTHOP_ID_BASE + 1, GROUP_ID_BASE, NEXTHOP_ID_BASE, NEXTHOP_ID_BASE + 1,
		   GROUP_ID_BASE, GROUP_ID_BASE);
		assert_int_equal(apply(), 0);
		assert_right(256);
		down();
	}
}

/* A group whose members are in another order, as after a next hop was deleted and restored. */
static void test_a_permuted_group_is_rebuilt(void **state)
{
	struct netlink_fabric *f;
	struct nl_batch b = { 0 };
	uint32_t member[64];
	struct nl nl;

	(void)state;
	up(&fabric_netlink, 64);
	assert_int_equal(apply(), 0);
	f = (struct netlink_fabric *)bed.fabric;
	for (uint32_t i = 0; i < 64; i++)
		member[i] = NEXTHOP_ID_BASE + (i * 29 + 3) % 64;
	nl_group_put(&b, GROUP_ID_BASE + 9, member, 64, 186);
	nl_route_put(&b, &bed.address[0], GROUP_ID_BASE + 9, 186);
	nl_route_put(&b, &bed.address[1], GROUP_ID_BASE + 9, 186);
	nl_nexthop_del(&b, f->group);
	assert_int_equal(nl_open(&nl), 0);
	assert_int_equal(nl_commit(&nl, &b), 0);
	nl_close(&nl);
	nl_batch_free(&b);
	turn(100);
	assert_int_not_equal(f->group, GROUP_ID_BASE + 9);
	assert_right(256);
	down();
}

static void test_foreign_hands(void **state)
{
	static const char *const what[] = {
		"ip nexthop flush >/dev/null 2>&1 || true",
		"ip link set hosts down", /* the kernel deletes next hops, routes, addresses */
		"ip link set hosts down; sleep 0.02; ip link set hosts up",
		"ip nexthop del id 195493895",
		"ip -6 neigh flush dev hosts nud permanent",
		"ip -6 neigh replace fe80::ba70:3:7 lladdr 02:00:00:00:00:07 nud permanent dev hosts",
		"ip route del 198.51.100.80; ip -6 route del 2001:db8:80::80",
		"bridge fdb del 42:10:01:00:10:01 dev p1 master; bridge fdb replace 42:10:02:00:20:02 dev p1 master static",
		"bridge link set dev p1 learning on flood on",
		"ip link set p1 nomaster",
		"ip link set p1 down",
		"ip link set hosts address 02:00:00:00:00:05",
		"ip addr flush dev hosts",
		"ip link del baton-hold",
		"for i in p1 p2 p3 x2 baton-hold-p; do ip link set $i down; done",
		"tc qdisc del dev up0 clsact",
	};
	const struct fabric_ops *ops;

	(void)state;
	each_fabric(ops) {
		up(ops, 64);
		assert_int_equal(apply(), 0);
		for (size_t i = 0; i < sizeof(what) / sizeof(what[0]); i++) {
			sh("%s", what[i]);
			if (!i)
				assert_non_null(differs()); /* the control: it did break something */
			turn(120);
			print_message("%s: %s\n", ops->caps->name, what[i]);
			assert_right(128);
		}
		ports_up(); /* two rounds ago they were down */
		drain_all();
		frames_send(500);
		assert_int_equal(drain(0) + drain(1), 500);
		down();
	}
}

/* What becomes of a client's connect() to the VIP: 0 it goes on trying, else its error.  As IPv4 it has options, which XDP leaves to the kernel. */
static int client_connects(int family)
{
	static const uint8_t no_operations[4] = { 1, 1, 1, 1 };
	struct sockaddr_in6 to6 = { .sin6_family = AF_INET6, .sin6_port = htons(80), .sin6_addr = bed.address[1].v6 };
	struct sockaddr_in to4 = { .sin_family = AF_INET, .sin_port = htons(80), .sin_addr = bed.address[0].v4 };
	bool v6 = family == AF_INET6;
	socklen_t len = sizeof(int);
	int fd, err = 0;

	setns(bed.netns_e, CLONE_NEWNET);
	fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setns(bed.netns_s, CLONE_NEWNET);
	assert_true(fd >= 0);
	if (!v6)
		assert_int_equal(setsockopt(fd, IPPROTO_IP, IP_OPTIONS, no_operations, sizeof(no_operations)), 0);
	assert_int_equal(connect(fd, v6 ? (struct sockaddr *)&to6 : (struct sockaddr *)&to4, v6 ? sizeof(to6) : sizeof(to4)), -1);
	assert_int_equal(errno, EINPROGRESS);
	for (int i = 0; i < 30 && !err; i++) {
		usleep(10000);
		assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len), 0);
	}
	close(fd);
	return err;
}

/* A route to the VIPs by way of up0, from a client with an address of each family. */
static void client_up(void)
{
	sh("ip address add 192.0.2.2/30 dev up0; ip address add 2001:db8:1::2/64 dev up0 nodad");
	setns(bed.netns_e, CLONE_NEWNET);
	sh("sysctl -qw net.ipv6.conf.up0r.disable_ipv6=0 && ip address add 192.0.2.1/30 dev up0r && "
	   "ip address add 2001:db8:1::1/64 dev up0r nodad && ip route add 198.51.100.80 via 192.0.2.2 && "
	   "ip -6 route add 2001:db8:80::80 via 2001:db8:1::2");
	setns(bed.netns_s, CLONE_NEWNET);
}

#define DROPS "{ ip route show type blackhole proto 186; ip -6 route show type blackhole proto 186; }"

/* While the kernel has deleted the routes, clients' packets are lost and not answered; a VIP that goes leaves nothing. */
static void test_without_routes_packets_are_dropped(void **state)
{
	const struct fabric_ops *ops;

	(void)state;
	each_fabric(ops) {
		bool to_kernel = ops == &fabric_netlink; /* XDP has no need of routes but for what it leaves to the kernel */

		up(ops, 64);
		client_up();
		assert_int_equal(apply(), 0);
		sh("ip link set hosts down; ! ip route show proto 186 | grep -v ^blackhole; ! ip -6 route show proto 186 | grep -v ^blackhole");
		assert_int_equal(client_connects(AF_INET), 0);
		assert_int_equal(client_connects(AF_INET6), 0);
		/* The control: without them it says so. */
		sh("ip route flush type blackhole proto 186; ip -6 route flush type blackhole proto 186; ! " DROPS " | grep .");
		assert_int_equal(client_connects(AF_INET), ENETUNREACH);
		if (to_kernel)
			assert_int_not_equal(client_connects(AF_INET6), 0);
		turn(120);
		assert_right(128);
		sh("test $(" DROPS " | grep -cE '^blackhole (198.51.100.80|2001:db8:80::80) .*metric 4294967295') = 2");
		bed.vip.n_addresses = 1;
		assert_int_equal(apply(), 0);
		assert_right(128);
		sh(DROPS " | grep -q '198.51.100.80 ' && ! " DROPS " | grep 2001:db8:80::80");
		down();
	}
}

struct storm {
	volatile bool stop;
	size_t sent, got;
};

static void *storm_run(void *arg)
{
	struct storm *s = arg;

	while (!s->stop) {
		for (int i = 0; i < 16; i++)
			s->sent += send(bed.sock[UP], frames[s->sent % FRAMES], PROOF_FRAME_LEN, 0) > 0;
		for (int h = 0; h < EDGES; h++)
			s->got += drain(h);
	}
	usleep(50000);
	for (int h = 0; h < EDGES; h++)
		s->got += drain(h);
	return NULL;
}

static void storm_begin(struct storm *s, pthread_t *thread)
{
	drain_all();
	frames_make(FRAMES);
	memset(s, 0, sizeof(*s));
	assert_int_equal(pthread_create(thread, NULL, storm_run, s), 0);
}

static int order(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void time_changes(void)
{
	uint64_t took[40];

	for (uint32_t i = 0; i < 40; i++) {
		uint64_t from;

		owners(i);
		from = monotonic_ns();
		assert_int_equal(apply(), 0);
		took[i] = monotonic_ns() - from;
		turn(10);
	}
	qsort(took, 40, sizeof(took[0]), order);
	print_message("%s: change of 1024 buckets: p50 %.2f ms, p95 %.2f ms\n", bed.ops->caps->name,
		      (double)took[20] / 1e6, (double)took[38] / 1e6);
}

static void test_a_batch_under_traffic_loses_nothing(void **state)
{
	const struct fabric_ops *ops;

	(void)state;
	each_fabric(ops) {
		struct storm s;
		pthread_t thread;

		up(ops, 1024);
		assert_int_equal(apply(), 0);
		turn(50);
		storm_begin(&s, &thread);
		for (uint32_t i = 0; i < 40; i++) {
			owners(i + 1);
			assert_int_equal(apply(), 0);
			turn(10);
		}
		s.stop = true;
		pthread_join(thread, NULL);
		print_message("%s: 40 changes of 1024 buckets: %zu frames sent, %zu arrived\n", ops->caps->name, s.sent,
			      s.got);
		assert_true(s.sent > 10000);
		assert_int_equal(s.got, s.sent);
		time_changes();
		if (ops == &fabric_netlink) { /* the control: this storm does see a loss */
			storm_begin(&s, &thread);
			turn(20);
			sh("ip link set hosts down");
			turn(50);
			s.stop = true;
			pthread_join(thread, NULL);
			print_message("control, bridge down: %zu sent, %zu arrived\n", s.sent, s.got);
			assert_true(s.got < s.sent);
		}
		down();
	}
}

/* The xdp fabric runs both of its paths and compares them; the proof compares each with flow_hash(). */
static void test_ten_thousand_flows_alike(void **state)
{
	const struct fabric_ops *ops;

	(void)state;
	each_fabric(ops) {
		up(ops, 1024);
		assert_int_equal(apply(), 0);
		assert_right(10000);
		down();
	}
}

static void send_as_host(int i, uint16_t sender, uint16_t to, const uint8_t *source)
{
	struct triple own = { { sender } }, target = { { to } };
	uint8_t frame[60] = { 0 };

	vmac_encode(frame, &target);
	vmac_encode(frame + 6, &own);
	if (source)
		memcpy(frame + 6, source, 6);
	frame[12] = 0x08;
	assert_int_equal(send(bed.sock[i], frame, sizeof(frame), 0), 60);
	usleep(30000);
}

static void test_host_ports(void **state)
{
	const struct fabric_ops *ops;

	(void)state;
	each_fabric(ops) {
		struct detour d = { .sender = 1, .first = 3, .reason = 1, .budget = 1 };
		uint8_t source[6];

		up(ops, 64);
		assert_int_equal(apply(), 0);
		drain_all();
		send_as_host(0, 1, 2, NULL);
		assert_int_equal(drain(1), 1);
		detour_encode(source, &d);
		send_as_host(0, 1, 2, source);
		assert_int_equal(drain(1), 1);
		d.sender = 3; /* speaks for another */
		detour_encode(source, &d);
		send_as_host(0, 1, 2, source);
		send_as_host(0, 3, 2, NULL);
		send_as_host(0, 1, 2, (const uint8_t *)"\x62\x10\x00\x00\x00\x01");
		send_as_host(0, 1, 2, (const uint8_t *)"\x02\x00\x00\x00\x00\x01");
		assert_int_equal(drain(1), 0);
		send_as_host(0, 1, 1, NULL); /* back out of its own port */
		assert_int_equal(drain(0), 0);
		send_as_host(3, 1, 2, NULL); /* a peer's host 1 */
		assert_int_equal(drain(1), 1);
		bed.carrier[2] = false; /* host 3 by the peer */
		assert_int_equal(apply(), 0);
		drain_all();
		send_as_host(0, 1, 3, NULL);
		assert_int_equal(drain(3), 1);
		send_as_host(3, 1, 3, NULL);
		assert_int_equal(drain(3) + drain(2), 0);
		down();
	}
}

static void test_paced(void **state)
{
	char path[] = "/tmp/baton-paced-XXXXXX";
	int fd = mkstemp(path);
	uint64_t from;

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	setenv("BATON_PACED_KNOBS", path, 1);
	up(&fabric_paced, 1024);
	assert_int_equal(apply(), 0);
	owners(1);
	from = monotonic_ms();
	assert_int_equal(apply(), 0);
	from = monotonic_ms() - from;
	print_message("paced: 1024 rows in %llu ms\n", (unsigned long long)from);
	assert_in_range(from, 130, 400);
	assert_right(128);
	sh("echo fail 100 > %s", path);
	owners(0);
	assert_int_equal(apply(), -EIO);
	assert_non_null(differs());
	sh("echo stall 100 > %s", path);
	apply_begin();
	turn(300);
	assert_false(bed.done);
	sh(": > %s", path);
	turn(400);
	assert_true(bed.done && !bed.result);
	assert_right(128);
	down();
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_frames_reach_their_owner),
		cmocka_unit_test(test_another_seed_is_seen),
		cmocka_unit_test(test_programs_are_tried_before_they_are_in_force),
		cmocka_unit_test(test_host_ports),
		cmocka_unit_test(test_from_garbage),
		cmocka_unit_test(test_a_permuted_group_is_rebuilt),
		cmocka_unit_test(test_foreign_hands),
		cmocka_unit_test(test_without_routes_packets_are_dropped),
		cmocka_unit_test(test_a_batch_under_traffic_loses_nothing),
		cmocka_unit_test(test_ten_thousand_flows_alike),
		cmocka_unit_test(test_paced),
	};

	if (geteuid()) {
		puts("skipped: needs root");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
