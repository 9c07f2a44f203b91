/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One host alone, with its real kernel: links, VIPs, routes, sockets left and the proof.
 *
 *      namespace NAME-h (the host, id 1)            NAME-s (fake switches and clients)
 *        lo   198.51.100.80, 2001:db8:80::80          lo   203.0.113.7, .8, .9, 2001:db8:7::7, ::8
 *        eth0 42:10:01:00:10:01 -------- switch 1 --- p0   62:10:00:00:00:01
 *        eth1 42:10:01:00:10:01 -------- switch 2 --- p1   a detour header: sender 2, first 2
 *
 * What clients send from .7 enters by p0 as to the owner; from .8 by p1, whose MAC is the header of a
 * detour, so it comes as host 2, the owner, would send it on.  Replies leave by eth0.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/datapath.h"
#include "agent/links.h"
#include "agent/probe.h"
#include "agent/proof.h"
#include "agent/sockets.h"
#include "agent/tcp_list.h"
#include "agent/vips.h"
#include "base/clock.h"
#include "lb/link.h"

#define SELF 1
#define PROTOCOL 186
#define VIP4 "198.51.100.80"
#define VIP6 "2001:db8:80::80"
#define PORT 8080
#define NAME "bt-agent-%d" /* a process id */
#define PINS "/sys/fs/bpf/%s"
#define LONGEST_S 60

static char name[32], pins[64];
static int host_ns, switch_ns, listener;
static struct rtnl *route, *diag;
static struct vipset vips;
static struct address addresses[2];
static struct service_port service = { IPPROTO_TCP, PORT };
static struct vip vip = { .name = "www", .address = addresses, .n_addresses = 2, .port = &service, .n_ports = 1 };
static struct pop pop = { .vip = &vip, .n_vips = 1 };
static struct filters filters;
static struct links_want want = { .self = SELF, .protocol = PROTOCOL, .filters = &filters, .n_links = 2,
				  .link = { { "eth0", 1, true }, { "eth1", 2, false } } };

static void enter(int ns)
{
	assert_int_equal(setns(ns, CLONE_NEWNET), 0);
}

static int sh(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static int sh(const char *fmt, ...)
{
	char cmd[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	return system(cmd);
}

#define must(...) assert_int_equal(sh(__VA_ARGS__), 0)

/* True if `needle` is in what the command prints. */
static bool says(const char *cmd, const char *needle)
{
	static char out[65536];
	FILE *f = popen(cmd, "r");
	size_t n = fread(out, 1, sizeof(out) - 1, f);

	out[n] = 0;
	pclose(f);
	return strstr(out, needle);
}

static int apply(struct links_state *state, struct alarms *alarms)
{
	alarms->n = 0;
	return links_apply(route, &want, state, alarms);
}

static int named(const char *suffix)
{
	char path[64];
	int fd;

	must("ip netns add %s-%s", name, suffix);
	snprintf(path, sizeof(path), "/run/netns/%s-%s", name, suffix);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	return fd;
}

static int up(void **state)
{
	struct triple own = { { SELF, 0, 0 } };
	struct detour d = { .sender = 2, .first = 2, .reason = 0, .budget = 2 };
	uint8_t self[6], switch1[6], detour[6];
	char mac[3][18];

	(void)state;
	snprintf(name, sizeof(name), NAME, getpid());
	snprintf(pins, sizeof(pins), PINS, name);
	host_ns = named("h");
	switch_ns = named("s");
	vmac_encode(self, &own);
	router_mac(switch1, 1);
	detour_encode(detour, &d);
	for (int i = 0; i < 3; i++) {
		const uint8_t *m = i == 0 ? self : i == 1 ? switch1 : detour;

		snprintf(mac[i], 18, "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]);
	}
	must("ip -n %s-h link set lo up; ip -n %s-s link set lo up", name, name);
	for (int i = 0; i < 2; i++) {
		must("ip -n %s-h link add eth%d type veth peer name p%d netns %s-s", name, i, i, name);
		must("ip -n %s-s link set p%d address %s", name, i, mac[1 + i]);
		must("ip -n %s-s link set p%d up; ip -n %s-h link set eth%d up", name, i, name, i);
		must("ip -n %s-s addr add fe80::ba70:1:%d/64 dev p%d nodad", name, i + 1, i);
		must("ip -n %s-s neigh replace fe80::ba70:2:1 lladdr %s dev p%d nud permanent", name, mac[0], i);
		/* The table of a client: .7 and ::7 by p0, .8 and ::8 by p1. */
		must("ip -n %s-s route add %s/32 via inet6 fe80::ba70:2:1 dev p%d table %d", name, VIP4, i, 100 + i);
		must("ip -n %s-s -6 route add %s/128 via fe80::ba70:2:1 dev p%d table %d", name, VIP6, i, 100 + i);
		must("ip -n %s-s rule add from 203.0.113.%d lookup %d; ip -n %s-s -6 rule add from 2001:db8:7::%d lookup %d", name,
		     7 + i, 100 + i, name, 7 + i, 100 + i);
	}
	/* Raw packets are routed without regard to the source in their header. */
	must("ip -n %s-s rule add from 203.0.113.9 lookup 100; ip -n %s-s route add %s/32 via inet6 fe80::ba70:2:1 dev p0", name, name,
	     VIP4);
	for (int i = 7; i <= 9; i++)
		must("ip -n %s-s addr add 203.0.113.%d/32 dev lo; ip -n %s-s addr add 2001:db8:7::%d/128 dev lo nodad", name, i, name, i);
	enter(host_ns);
	must("sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.tcp_syncookies=0 "
	     "net.ipv4.tcp_fastopen=1");
	enter(switch_ns);
	must("sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.p0.rp_filter=0 "
	     "net.ipv4.conf.p1.rp_filter=0 net.ipv4.ip_forward=0");
	enter(host_ns);
	assert_int_equal(rtnl_open(NETLINK_ROUTE, &route), 0);
	assert_int_equal(rtnl_open(NETLINK_SOCK_DIAG, &diag), 0);
	assert_true(address_parse(&addresses[0], VIP4) && address_parse(&addresses[1], VIP6));
	assert_int_equal(vipset_build(&vips, &pop), 0);
	return 0;
}

static int remove_all(void)
{
	return sh("ip netns del %s-h; ip netns del %s-s; rm -rf %s", name, name, pins);
}

static int down(void **state)
{
	(void)state;
	rtnl_close(route);
	rtnl_close(diag);
	if (listener > 0)
		close(listener);
	return remove_all();
}

/* --- links, routes, VIPs ------------------------------------------------------------------------------ */
static void links(void **state)
{
	static struct table t;
	struct links_state s;
	struct alarms a;

	(void)state;
	assert_int_equal(table_init(&t, 16), 0);
	for (uint32_t i = 0; i < 16; i++)
		t.bucket[i] = (struct bucket){ .triple = { { SELF, 0, 0 } }, .next = 0 };
	t.bucket[3] = (struct bucket){ .triple = { { 2, SELF, 0 } }, .next = 0 };	      /* reached by a shift: [1] */
	t.bucket[4] = (struct bucket){ .triple = { { SELF, 2, 3 } }, .next = 0 };	      /* [1,2,3], and if one dies [1,2], [1,3] */
	t.bucket[5] = (struct bucket){ .triple = { { 2, 4, SELF } }, .next = SELF };    /* to be [1,2,4] */
	t.bucket[6] = (struct bucket){ .triple = { { 2, 3, 0 } }, .next = 0 };	      /* not ours */
	filters_needed(&filters, &t, SELF);
	/* [1] [1,2,3] [1,2] [1,3] [1,2,4] [1,4] */
	assert_int_equal(filters.n, 6);

	assert_int_equal(apply(&s, &a), 0);
	assert_int_equal(a.n, 0);
	assert_true(says("ip -o link show eth0", "42:10:01:00:10:01"));
	assert_true(says("ip -6 addr show dev eth1", "fe80::ba70:2:1/64"));
	assert_true(says("ip -6 neigh show dev eth1", "fe80::ba70:1:2 lladdr 62:10:00:00:00:02 PERMANENT"));
	assert_true(says("bridge fdb show dev eth0", "42:10:01:00:20:04"));
	assert_true(says("bridge fdb show dev eth0", "42:10:01:00:40:04")); /* [1,4] */
	assert_false(says("ip -o link show eth0", "PROMISC"));
	assert_true(says("ip route show default", "via inet6 fe80::ba70:1:1 dev eth0"));
	assert_false(says("ip route show default", "eth1")); /* switch 2 is not in service */
	assert_true(says("ip -6 route show default", "via fe80::ba70:1:1 dev eth0"));
	assert_true(says("cat /proc/sys/net/ipv4/conf/eth0/arp_ignore", "1"));

	/* What the table no longer needs goes, what is not ours stays. */
	must("bridge fdb add 02:00:00:00:00:09 dev eth0 self permanent");
	t.bucket[5] = (struct bucket){ .triple = { { SELF, 0, 0 } }, .next = 0 };
	filters_needed(&filters, &t, SELF);
	assert_int_equal(apply(&s, &a), 0);
	assert_false(says("bridge fdb show dev eth0", "42:10:01:00:20:04"));
	assert_true(says("bridge fdb show dev eth0", "02:00:00:00:00:09"));
	table_free(&t);

	/* Too many for any NIC: all frames. */
	filters.overflow = true;
	assert_int_equal(apply(&s, &a), 0);
	assert_true(says("ip -o link show eth0", "PROMISC"));
	filters.overflow = false;
	must("ip link set eth0 promisc off; ip link set eth1 promisc off");
}

static void routes_follow_the_switches(void **state)
{
	struct links_state s;
	struct alarms a;

	(void)state;
	want.link[1].in_service = true;
	assert_int_equal(apply(&s, &a), 0);
	assert_true(says("ip route show default", "eth0") && says("ip route show default", "eth1"));
	assert_true(says("ip -6 route show default", "eth0") && says("ip -6 route show default", "eth1"));

	int watch = rtnl_watch_open();

	assert_true(watch >= 0);
	assert_false(rtnl_watch_drain(watch));
	/* Down: out of the route, an alarm; up again: all as before, though the kernel has forgotten it. */
	must("ip link set eth0 down");
	assert_true(rtnl_watch_drain(watch)); /* the kernel said so */
	assert_false(rtnl_watch_drain(watch));
	close(watch);
	assert_int_equal(apply(&s, &a), 0);
	assert_int_equal(a.n, 1);
	assert_non_null(strstr(a.text[0], "eth0 (switch 1) is down"));
	assert_false(says("ip route show default", "eth0"));
	must("ip link set eth0 up");
	assert_false(says("ip -6 neigh show dev eth0", "PERMANENT")); /* the control: the kernel did forget */
	assert_int_equal(apply(&s, &a), 0);
	assert_true(says("ip -6 neigh show dev eth0", "fe80::ba70:1:1 lladdr 62:10:00:00:00:01 PERMANENT"));
	assert_true(says("ip -6 addr show dev eth0", "fe80::ba70:2:1/64"));
	assert_true(says("ip route show default", "eth0") && says("ip -6 route show default", "eth0"));

	/* Carrier lost at the far end. */
	must("ip -n %s-s link set p1 down", name);
	usleep(50000);
	assert_int_equal(apply(&s, &a), 0);
	assert_false(says("ip route show default", "eth1"));
	must("ip -n %s-s link set p1 up", name);
	must("ip -n %s-s addr replace fe80::ba70:1:2/64 dev p1 nodad; ip -n %s-s neigh replace fe80::ba70:2:1 lladdr "
	     "42:10:01:00:10:01 dev p1 nud permanent", name, name);
	must("ip -n %s-s route replace %s/32 via inet6 fe80::ba70:2:1 dev p1 table 101; ip -n %s-s -6 route replace %s/128 via "
	     "fe80::ba70:2:1 dev p1 table 101", name, VIP4, name, VIP6);
	usleep(50000);

	/* Nobody in service: any link is better than none.  Then only switch 1, for the tests that follow. */
	want.link[0].in_service = want.link[1].in_service = false;
	assert_int_equal(apply(&s, &a), 0);
	assert_true(says("ip route show default", "eth0") && says("ip route show default", "eth1"));
	want.link[0].in_service = true;

	/* An operator's own route: never replaced, and said when it comes first. */
	must("ip -4 route add default via inet6 fe80::ba70:1:2 dev eth1 metric 5");
	assert_int_equal(apply(&s, &a), 0);
	assert_int_equal(a.n, 1);
	assert_non_null(strstr(a.text[0], "comes before Baton's"));
	assert_true(says("ip route show default", "metric 5 "));
	must("ip -4 route del default via inet6 fe80::ba70:1:2 dev eth1 metric 5");

	must("sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.tcp_fastopen=3");
	assert_int_equal(apply(&s, &a), 0);
	assert_int_equal(a.n, 2);
	assert_non_null(strstr(a.text[0], "sysctl -w net.ipv4.conf.all.rp_filter=0"));
	assert_non_null(strstr(a.text[1], "sysctl -w net.ipv4.tcp_fastopen=1"));
	must("sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.tcp_fastopen=1");
	assert_int_equal(apply(&s, &a), 0);
	assert_int_equal(a.n, 0);

	snprintf(want.link[1].ifname, IF_NAMESIZE, "nope");
	assert_int_equal(apply(&s, &a), 0);
	assert_non_null(strstr(a.text[0], "there is no interface nope"));
	snprintf(want.link[1].ifname, IF_NAMESIZE, "eth1");
	assert_int_equal(apply(&s, &a), 0);
}

static void vip_addresses(void **state)
{
	struct vip one = vip;
	struct alarms a = { .n = 0 };

	(void)state;
	must("ip addr add 192.0.2.5/32 dev lo"); /* the operator's own */
	assert_int_equal(vips_apply(route, PROTOCOL, &vip, 1, &a), 0);
	assert_int_equal(vips_apply(route, PROTOCOL, &vip, 1, &a), 0);
	assert_true(says("ip addr show dev lo", VIP4 "/32") && says("ip -6 addr show dev lo", VIP6 "/128"));
	one.n_addresses = 1;
	assert_int_equal(vips_apply(route, PROTOCOL, &one, 1, &a), 0);
	assert_false(says("ip -6 addr show dev lo", VIP6));
	assert_true(says("ip addr show dev lo", "192.0.2.5/32"));
	must("ip addr del %s/32 dev lo", VIP4);
	assert_int_equal(vips_apply(route, PROTOCOL, &vip, 1, &a), 0);
	assert_true(says("ip addr show dev lo", VIP4 "/32") && says("ip -6 addr show dev lo", VIP6 "/128"));
	assert_int_equal(a.n, 0);
}

/* --- clients --------------------------------------------------------------------------------------------- */
struct pair {
	int client, server;
};

static socklen_t make_address(struct sockaddr_storage *ss, const char *text, uint16_t port)
{
	struct endpoint e = { .port = port };

	assert_true(address_parse(&e.address, text));
	return endpoint_sockaddr(&e, ss);
}

static struct pair connect_from(const char *client)
{
	struct sockaddr_storage from, to;
	socklen_t from_len = make_address(&from, client, 0), to_len = make_address(&to, strchr(client, ':') ? VIP6 : VIP4, PORT);
	struct pollfd pfd = { .fd = listener, .events = POLLIN };
	struct pair p;

	enter(switch_ns);
	p.client = socket(from.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(p.client, (struct sockaddr *)&from, from_len), 0);
	assert_int_equal(connect(p.client, (struct sockaddr *)&to, to_len), 0);
	enter(host_ns);
	assert_int_equal(poll(&pfd, 1, 2000), 1);
	p.server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(p.server >= 0);
	return p;
}

/* A SYN whose SYN-ACK nobody answers: from an address that no one has. */
static void half_open(uint16_t port)
{
	struct tcp_iter_socket s = { .family = AF_INET, .src_port = port, .dst_port = PORT, .snd_una = 1001, .window = 1000 };
	struct sockaddr_in to = { .sin_family = AF_INET };
	uint8_t buf[PROBE_LEN_MAX];
	size_t len;
	int fd;

	inet_pton(AF_INET, "203.0.113.10", s.src);
	inet_pton(AF_INET, VIP4, s.dst);
	inet_pton(AF_INET, VIP4, &to.sin_addr);
	len = probe_build(buf, &s, 0);
	/* ACK becomes SYN, and the checksum with it (RFC 1624). */
	uint32_t sum = (uint16_t)~(buf[36] << 8 | buf[37]);

	sum += (uint16_t)~(buf[32] << 8 | buf[33]);
	buf[33] = 0x02;
	sum += (uint32_t)(buf[32] << 8 | buf[33]);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	buf[36] = (uint8_t)(~sum >> 8);
	buf[37] = (uint8_t)~sum;
	enter(switch_ns);
	fd = socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
	assert_int_equal(sendto(fd, buf, len, 0, (struct sockaddr *)&to, sizeof(to)), (ssize_t)len);
	close(fd);
	enter(host_ns);
}

static void listen_on_vips(void)
{
	struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons(PORT) };
	int on = 1;

	listener = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	assert_int_equal(bind(listener, (struct sockaddr *)&any, sizeof(any)), 0);
	assert_int_equal(listen(listener, 128), 0);
}

static void counts(struct socket_counts *c, uint32_t time_wait_ms)
{
	assert_int_equal(sockets_count(diag, &vips, NULL, time_wait_ms, c, NULL, 0, NULL), 0);
}

static void sockets(void **state)
{
	struct socket_counts c = { 0 }, per[1];
	struct pair p[6];

	(void)state;
	listen_on_vips();
	counts(&c, 4000);
	assert_int_equal(socket_counts_left(&c), 0); /* a listener is nothing left */
	for (int i = 0; i < 6; i++)
		p[i] = connect_from(i < 4 ? "203.0.113.7" : "2001:db8:7::7");
	half_open(5001);
	half_open(5002);
	half_open(5003);
	usleep(20000);
	/* This host's own connection to the VIP, as a check makes it: not a client's. */
	struct sockaddr_storage to;
	socklen_t len = make_address(&to, VIP4, PORT);
	int own = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(own, (struct sockaddr *)&to, len), 0);
	int accepted = accept(listener, NULL, NULL);
	assert_int_equal(sockets_count(diag, &vips, NULL, 4000, &c, per, 1, NULL), 0);
	assert_int_equal(c.established, 6);
	assert_int_equal(c.request, 3);
	assert_int_equal(c.time_wait, 0);
	assert_int_equal(c.other, 0);
	assert_int_equal(per[0].established, 6);
	/* A front end's connection to a server of this host: apart from the rest, and only to that server. */
	struct server_set servers = { .at = (struct endpoint[]){ { .port = PORT } }, .n = 1 };
	uint64_t proxied;

	len = make_address(&to, "127.0.0.1", PORT);
	int front_end = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(front_end, (struct sockaddr *)&to, len), 0);
	int served = accept(listener, NULL, NULL);
	servers.at[0].address = address_of_words(AF_INET, &((struct sockaddr_in *)&to)->sin_addr);
	assert_int_equal(sockets_count(diag, &vips, &servers, 4000, &c, NULL, 0, &proxied), 0);
	assert_int_equal(proxied, 1);
	assert_int_equal(c.established, 6);
	servers.at[0].port = PORT + 1;
	assert_int_equal(sockets_count(diag, &vips, &servers, 4000, &c, NULL, 0, &proxied), 0);
	assert_int_equal(proxied, 0);
	close(front_end);
	close(served);
	close(accepted);
	close(own);

	/* The server closes first: FIN-WAIT-2 until the client does, then TIME_WAIT here. */
	close(p[0].server);
	close(p[4].server);
	usleep(20000);
	counts(&c, 4000);
	assert_int_equal(c.established, 4);
	assert_int_equal(c.other, 2);
	close(p[0].client);
	close(p[4].client);
	usleep(600000);
	counts(&c, 4000);
	assert_int_equal(c.time_wait, 2);
	assert_int_equal(c.other, 0);
	counts(&c, 300); /* they are 600 ms old by now */
	assert_int_equal(c.time_wait, 0);
	assert_int_equal(c.time_wait_old, 2);
	/* The client closes first: CLOSE-WAIT here. */
	close(p[1].client);
	usleep(20000);
	counts(&c, 300);
	assert_int_equal(c.established, 3);
	assert_int_equal(c.other, 1);
	assert_int_equal(c.request, 3);
	for (int i = 1; i < 6; i++)
		if (i != 4)
			close(p[i].server);
	for (int i = 2; i < 6; i++)
		if (i != 4)
			close(p[i].client);
}

/* --- the proof --------------------------------------------------------------------------------------------- */
struct stand {
	struct datapath *d;
	struct tcp_list *list;
	struct prober *prober;
	bool blind; /* the control: what is watched is emptied at once */
};

static int io_list(void *ctx, tcp_list_each *each, void *each_ctx)
{
	return tcp_list_read(((struct stand *)ctx)->list, &vips, each, each_ctx);
}

static int io_watch(void *ctx, const struct datapath_watch *w, size_t n)
{
	struct stand *s = ctx;

	return datapath_ebpf.watch(s->d, w, s->blind ? 0 : n);
}

static int io_watched(void *ctx, struct datapath_watch *w, size_t n)
{
	return datapath_ebpf.watched(((struct stand *)ctx)->d, w, n);
}

static int io_probe(void *ctx, const struct tcp_iter_socket *t)
{
	int as_listed = sockets_as_listed(diag, t); /* as the agent does */

	return as_listed > 0 ? prober_send(((struct stand *)ctx)->prober, t) : as_listed < 0 ? as_listed : 1;
}

static const struct proof_io io = { io_list, io_watch, io_watched, io_probe };

static void run_proof(struct proof *p, uint32_t ms)
{
	uint64_t until = monotonic_ms() + ms;

	while (monotonic_ms() < until)
		usleep(proof_step(p, monotonic_ms()) * 1000);
}

/* A socket as its application sees it: bytes pass both ways, unharmed. */
static void still_well(struct pair *p)
{
	char buf[8] = "";

	assert_int_equal(send(p->client, "ping", 4, 0), 4);
	assert_int_equal(recv(p->server, buf, sizeof(buf), 0), 4);
	assert_memory_equal(buf, "ping", 4);
	assert_int_equal(send(p->server, "pong", 4, 0), 4);
	assert_int_equal(recv(p->client, buf, sizeof(buf), 0), 4);
	assert_memory_equal(buf, "pong", 4);
}

static void proof(void **state)
{
	static const char device[2][IF_NAMESIZE] = { "eth0", "eth1" };
	static struct proof_result r;
	struct stand s = { 0 };
	char why[256] = "", clients[4][16] = { "203.0.113.7", "203.0.113.8", "2001:db8:7::7", "2001:db8:7::8" };
	struct pair p[8], late, mute;
	struct proof *f;

	(void)state;
	if (datapath_ebpf.open(SELF, pins, why, sizeof(why), &s.d))
		fail_msg("%s", why);
	assert_int_equal(datapath_ebpf.set_vips(s.d, &vip, 1), 0);
	assert_int_equal(datapath_ebpf.set_devices(s.d, device, 2), 0);
	if (tcp_list_open(&s.list, why, sizeof(why)))
		fail_msg("%s", why);
	assert_int_equal(prober_open(&s.prober), 0);
	f = proof_new(SELF, &io, &s);
	assert_non_null(f);

	must("sysctl -qw net.ipv4.tcp_fin_timeout=1");
	sleep(3); /* orphans of the test before are gone but for TIME_WAIT, which is old enough for us */
	for (int i = 0; i < 8; i++) /* two of each; all idle from here on */
		p[i] = connect_from(clients[i / 2]);
	mute = connect_from("203.0.113.9");
	must("ip -n %s-s addr del 203.0.113.9/32 dev lo", name);

	/* The control: with the watch emptied nobody is seen, and nothing is claimed. */
	s.blind = true;
	proof_begin(f, 7, 1000, monotonic_ms());
	assert_false(proof_result(f, monotonic_ms(), &r));
	run_proof(f, 1500);
	assert_true(proof_result(f, monotonic_ms(), &r));
	assert_true(r.unknown >= 9);
	assert_int_equal(r.via[2], 0);
	s.blind = false;

	proof_begin(f, 8, 1000, monotonic_ms());
	run_proof(f, 1500);
	assert_true(proof_result(f, monotonic_ms(), &r));
	assert_int_equal(r.index, 8);
	assert_int_equal(r.via[2], 4);
	assert_int_equal(r.unknown, 1 + 3); /* the mute one, and three request sockets that nobody finishes */
	assert_int_equal(r.via[SELF], 4);

	/* A socket born later is ours without being asked; nobody noticed the probes. */
	late = connect_from("203.0.113.7");
	run_proof(f, 300);
	assert_true(proof_result(f, monotonic_ms(), &r));
	assert_int_equal(r.via[SELF], 5);
	for (int i = 0; i < 8; i++)
		still_well(&p[i]);
	still_well(&late);

	/* They close: what came through host 2 is gone from the count without a new round. */
	for (int i = 2; i < 4; i++) {
		struct linger reset = { 1, 0 };

		setsockopt(p[i].client, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		close(p[i].client);
		close(p[i].server);
	}
	run_proof(f, 600);
	assert_true(proof_result(f, monotonic_ms(), &r));
	assert_int_equal(r.via[2], 2);

	/* The log goes on: a round at its index begins although the mute one never answered. */
	proof_renew(f, 9);
	run_proof(f, 1200);
	assert_true(proof_result(f, monotonic_ms(), &r));
	assert_int_equal(r.index, 9);
	assert_int_equal(r.via[2], 2);
	assert_true(r.age_ms < 2000);

	proof_stop(f);
	assert_false(proof_result(f, monotonic_ms(), &r));
	assert_int_equal(proof_stats(f)->errors, 0);
	assert_int_equal(proof_stats(f)->probe_errors, 0);
	proof_free(f);
	for (int i = 0; i < 8; i++)
		if (i != 2 && i != 3) {
			close(p[i].client);
			close(p[i].server);
		}
	close(late.client);
	close(late.server);
	close(mute.client);
	close(mute.server);
	tcp_list_close(s.list);
	prober_close(s.prober);
	datapath_ebpf.close(s.d, true);
}

struct wanted {
	uint16_t client_port;
	struct tcp_iter_socket found;
};

static void found_it(void *ctx, const struct tcp_iter_socket *s)
{
	struct wanted *w = ctx;

	if (s->dst_port == w->client_port)
		w->found = *s;
}

/* What was listed is looked at again before it is probed: idle it is as listed, with traffic or ended it is not. */
static void as_listed(void **state)
{
	static const char *const clients[] = { "203.0.113.7", "2001:db8:7::7" };
	struct tcp_list *list;
	char why[256];

	(void)state;
	if (tcp_list_open(&list, why, sizeof(why)))
		fail_msg("%s", why);
	for (int i = 0; i < 2; i++) {
		struct pair p = connect_from(clients[i]);
		struct sockaddr_in6 at;
		socklen_t len = sizeof(at);
		struct wanted w = { 0 };

		assert_int_equal(getsockname(p.client, (struct sockaddr *)&at, &len), 0);
		w.client_port = ntohs(at.sin6_port); /* at the same place in IPv4's */
		still_well(&p);
		usleep(100000);
		assert_int_equal(tcp_list_read(list, &vips, found_it, &w), 0);
		assert_int_equal(w.found.dst_port, w.client_port);
		assert_int_equal(sockets_as_listed(diag, &w.found), 1);
		usleep(50000);
		assert_int_equal(sockets_as_listed(diag, &w.found), 1);
		still_well(&p);
		assert_int_equal(sockets_as_listed(diag, &w.found), 0);
		usleep(100000);
		assert_int_equal(tcp_list_read(list, &vips, found_it, &w), 0);
		assert_int_equal(sockets_as_listed(diag, &w.found), 1);
		close(p.client);
		usleep(10000);
		assert_int_equal(sockets_as_listed(diag, &w.found), 0); /* CLOSE_WAIT */
		close(p.server);
		usleep(10000);
		assert_int_equal(sockets_as_listed(diag, &w.found), 0); /* gone */
	}
	tcp_list_close(list);
}

/* The tests in a process of their own, so that what they have made goes even where one of them does not end. */
static int within_its_time(pid_t tests)
{
	int status;

	for (int i = 0; i < LONGEST_S * 20; i++) {
		if (waitpid(tests, &status, WNOHANG) == tests)
			return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
		usleep(50000);
	}
	fputs("not ended within its time\n", stderr);
	kill(tests, SIGKILL);
	waitpid(tests, &status, 0);
	snprintf(name, sizeof(name), NAME, tests);
	snprintf(pins, sizeof(pins), PINS, name);
	remove_all();
	return 1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(links),   cmocka_unit_test(routes_follow_the_switches),
		cmocka_unit_test(vip_addresses), cmocka_unit_test(sockets),
		cmocka_unit_test(proof),
		cmocka_unit_test(as_listed),
	};

	pid_t child;

	if (geteuid()) {
		printf("skip: needs root\n");
		return 77;
	}
	child = fork();
	if (child < 0)
		return 1;
	return child ? within_its_time(child) : cmocka_run_group_tests(tests, up, down);
}
