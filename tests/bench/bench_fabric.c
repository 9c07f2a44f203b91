// SPDX-License-Identifier: BSD-2-Clause
/*
 * How long a table change takes on each fabric: from the view to tables in force (what a switch does between
 * hearing of a change and acknowledging it).  Every change moves every bucket to another owner.
 *
 * A fabric and a number of buckets make a bed: a network namespace with its own switch.  Beds take turns, one
 * change each, so that whatever the machine does meanwhile falls on all of them alike.  Between its changes a fabric
 * is left to hear the kernel's echoes of the last one, as it would be.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "switch/fabric.h"
#include "switch/want.h"
#include "tests/bench/bench.h"

#define HOSTS 3
#define PORTS (HOSTS + 1)
#define ROUNDS 200
#define ROUNDS_PACED 15 /* each takes as long as a real ASIC: 134 ms for 1,024 */
#define WAIT_MS 3000

struct bed {
	const struct fabric_ops *ops;
	uint32_t n_buckets;
	int netns;
	struct event_base *base;
	struct fabric *fabric;
	struct pop pop;
	struct host_conf host[HOSTS];
	struct host_link link[HOSTS];
	struct switch_conf sw;
	struct switch_port port[PORTS];
	char uplink[1][IF_NAMESIZE];
	struct vip vip;
	struct address address[2];
	struct table table;
	struct view view;
	bool carrier[PORTS], done;
	int result;
	struct samples ms;
};

static void die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
static void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

static void sh(const char *line)
{
	if (system(line))
		die("failed: %s", line);
}

/* A switch with three hosts, a peer and an uplink, in a network namespace that lives as long as this process. */
static void make_namespace(struct bed *b)
{
	static const char *const names[] = { "p1", "p2", "p3", "x2", "up0" };
	char line[256];

	if (unshare(CLONE_NEWNET))
		die("network namespaces need root");
	b->netns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	sh("ip link set lo up");
	for (size_t i = 0; i < 5; i++) {
		snprintf(line, sizeof(line), "ip link add %s type veth peer name %sr && ip link set %s up && ip link set %sr up",
			 names[i], names[i], names[i], names[i]);
		sh(line);
		if (i < PORTS)
			strcpy(b->port[i].ifname, names[i]);
	}
	strcpy(b->uplink[0], "up0");
}

static void make_pop(struct bed *b)
{
	b->pop = (struct pop){ .buckets = b->n_buckets, .hash_seed = 0x1badcafe, .route_table = 7430, .route_protocol = 186,
			       .host = b->host, .n_hosts = HOSTS, .switches = &b->sw, .n_switches = 1, .vip = &b->vip,
			       .n_vips = 1 };
	b->sw = (struct switch_conf){ .id = 1, .bridge = "hosts", .uplink = b->uplink, .n_uplinks = 1, .port = b->port,
				      .n_ports = PORTS };
	for (uint16_t i = 0; i < PORTS; i++) {
		b->port[i].host = i < HOSTS ? (uint16_t)(i + 1) : 0;
		b->port[i].peer = i < HOSTS ? 0 : 2;
		b->carrier[i] = true;
	}
	for (uint16_t i = 0; i < HOSTS; i++) {
		b->link[i] = (struct host_link){ .switch_id = 2 };
		b->host[i] = (struct host_conf){ .id = (uint16_t)(i + 1), .weight = 100, .link = &b->link[i], .n_links = 1 };
	}
	b->address[0].family = AF_INET;
	inet_pton(AF_INET, "198.51.100.80", &b->address[0].v4);
	b->address[1].family = AF_INET6;
	inet_pton(AF_INET6, "2001:db8:80::80", &b->address[1].v6);
	b->vip = (struct vip){ .address = b->address, .n_addresses = 2 };
	if (table_init(&b->table, b->n_buckets))
		die("out of memory");
	b->view.pop = &b->pop;
	b->view.table = &b->table;
}

static void applied(void *ctx, int err, const char *why)
{
	struct bed *b = ctx;

	b->result = err;
	b->done = true;
	if (err)
		fprintf(stderr, "%s, %u buckets: %s\n", b->ops->caps->name, b->n_buckets, why);
}

/* Every bucket goes to the next host; which one it leaves shelters its flows. */
static double change(struct bed *b, uint32_t round)
{
	uint64_t from, until = monotonic_ms() + WAIT_MS;
	struct fabric_want w;

	for (uint32_t i = 0; i < b->n_buckets; i++) {
		uint16_t owner = (uint16_t)(1 + (i + round) % HOSTS), before = (uint16_t)(1 + (i + round + 2) % HOSTS);

		b->table.bucket[i].triple = (struct triple){ { owner, before, HOST_NONE } };
	}
	b->done = false;
	from = bench_now_ns();
	if (want_make(&b->view, &b->sw, b->carrier, &w))
		die("out of memory");
	b->ops->apply(b->fabric, &w, applied, b);
	while (!b->done && monotonic_ms() < until)
		event_base_loop(b->base, EVLOOP_ONCE);
	from = bench_now_ns() - from;
	fabric_want_free(&w);
	if (!b->done || b->result)
		die("%s, %u buckets: the change did not come into force", b->ops->caps->name, b->n_buckets);
	return (double)from / 1e6;
}

/* What it says is in force must be: a bench of a change that does not happen would be quick. */
static void verify(struct bed *b)
{
	struct fabric_want w, have;

	if (want_make(&b->view, &b->sw, b->carrier, &w) || b->ops->read(b->fabric, &have))
		die("%s: cannot be read back", b->ops->caps->name);
	if (have.n_buckets != w.n_buckets || memcmp(have.vmac, w.vmac, (size_t)6 * w.n_buckets) || have.n_fdb != w.n_fdb)
		die("%s, %u buckets: tables are not what they should be", b->ops->caps->name, b->n_buckets);
	fabric_want_free(&w);
	fabric_want_free(&have);
}

static void settle(struct bed *b, unsigned ms)
{
	uint64_t until = monotonic_ms() + ms;

	do {
		event_base_loop(b->base, EVLOOP_NONBLOCK);
		usleep(500);
	} while (monotonic_ms() < until);
}

static void open_bed(struct bed *b)
{
	make_namespace(b);
	make_pop(b);
	b->base = event_base_new();
	if (!b->base || b->ops->open(&b->sw, &b->pop, b->base, &b->fabric))
		die("%s: cannot be opened", b->ops->caps->name);
	change(b, 0);
	settle(b, 100);
}

static void turn(struct bed *b, uint32_t round)
{
	double ms;

	if (setns(b->netns, CLONE_NEWNET))
		die("setns");
	ms = change(b, round);
	if (round > 2) /* the first changes also warm the caches */
		samples_add(&b->ms, ms);
	settle(b, 8);
	verify(b);
}

int main(void)
{
	static const struct fabric_ops *const every[] = { &fabric_netlink, &fabric_xdp, &fabric_paced };
	static const uint32_t sizes[] = { 64, 256, 1024 };
	static struct bed bed[9];
	char name[64];
	size_t i;

	if (setpriority(PRIO_PROCESS, 0, -10)) /* as systemd runs baton-switchd */
		die("needs root");
	for (i = 0; i < 9; i++) {
		bed[i].ops = every[i / 3];
		bed[i].n_buckets = sizes[i % 3];
		open_bed(&bed[i]);
	}
	for (uint32_t round = 1; round <= ROUNDS; round++)
		for (i = 0; i < 9; i++)
			if (bed[i].ops != &fabric_paced || round <= ROUNDS_PACED)
				turn(&bed[i], round);
	for (i = 0; i < 9; i++) {
		bool bound = bed[i].ops != &fabric_paced && bed[i].n_buckets == 1024;

		snprintf(name, sizeof(name), "table change, %s, %u buckets", bed[i].ops->caps->name, bed[i].n_buckets);
		bench_print(&(struct bench_row){ .name = name, .unit = "ms", .samples = &bed[i].ms, .percentiles = true,
						 .bound = bound ? BOUND_P95 : BOUND_NONE, .target = 5 });
		setns(bed[i].netns, CLONE_NEWNET);
		bed[i].ops->close(bed[i].fabric, true);
	}
	return 0;
}
