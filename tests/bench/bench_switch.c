// SPDX-License-Identifier: BSD-2-Clause
/*
 * The switch program: its cost by number of flows and under a SYN flood, that no map of it grows,
 * and the xdp fabric against the kernel's plain routing, packet by packet.
 *
 * The program alone runs under BPF_PROG_TEST_RUN behind a generator that makes each packet anew; the
 * generator with an empty program is subtracted.  Forwarding uses BPF_F_TEST_XDP_LIVE_FRAMES: the
 * kernel injects real frames on a real device, on one CPU, into a sink in another namespace; the time
 * of the call is the CPU time of everything up to there.  The generator, measured with a program that
 * drops, is subtracted from both sides, round by round.
 */
#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>

#include "lb/vmac.h"
#include "switch/fabric_bpf.h"
#include "switch_gen.skel.h"
#include "tests/bench/bench.h"
#include "xdp_switch.skel.h"

#define ROUNDS 11
#define PROGRAM_PACKETS 1000000
#define LIVE_PACKETS 400000
#define BUCKETS 256

static struct switch_gen_bpf *gen;
static struct xdp_switch_bpf *sw;

static void must(int ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "bench_switch: %s: %s\n", what, strerror(errno));
		exit(1);
	}
}

static void shell(const char *command)
{
	must(system(command) == 0, command);
}

static void fill_switch(uint32_t out_ifindex)
{
	uint32_t one = VIP_SERVICE, slot = 1, b;
	__be32 vip = htonl(0xcb007150);
	struct triple t = { { 1 } };
	uint8_t mac[8] = { 0 };
	uint64_t entry;

	vmac_encode(mac, &t);
	memcpy(&entry, mac, 8);
	entry |= (uint64_t)slot << 48;
	for (b = 0; b < BUCKETS; b++)
		must(!bpf_map_update_elem(bpf_map__fd(sw->maps.buckets), &b, &entry, 0), "buckets");
	must(!bpf_map_update_elem(bpf_map__fd(sw->maps.vips4), &vip, &one, 0), "vips4");
	must(!bpf_map_update_elem(bpf_map__fd(sw->maps.ports), &slot, &out_ifindex, 0), "ports");
}

static void load(void)
{
	uint32_t key;
	int fd;

	sw = xdp_switch_bpf__open();
	must(sw != NULL, "open xdp_switch");
	sw->rodata->hash_seed = 0x1badcafe;
	sw->rodata->bucket_mask = BUCKETS - 1;
	must(!xdp_switch_bpf__load(sw), "load xdp_switch");
	gen = switch_gen_bpf__open_and_load();
	must(gen != NULL, "load generator");
	fd = bpf_program__fd(sw->progs.xdp_uplink);
	key = 0;
	must(!bpf_map_update_elem(bpf_map__fd(gen->maps.target), &key, &fd, 0), "target");
	fd = bpf_program__fd(gen->progs.empty);
	key = 1;
	must(!bpf_map_update_elem(bpf_map__fd(gen->maps.target), &key, &fd, 0), "target");
	fd = bpf_program__fd(gen->progs.drop);
	key = 2;
	must(!bpf_map_update_elem(bpf_map__fd(gen->maps.target), &key, &fd, 0), "target");
}

/* ns per packet */
static double run_program(const struct bpf_program *prog, uint32_t expect)
{
	uint8_t frame[60] = { 0 }, out[256];
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = frame, .data_size_in = sizeof(frame), .data_out = out,
		    .data_size_out = sizeof(out), .repeat = PROGRAM_PACKETS);

	must(!bpf_prog_test_run_opts(bpf_program__fd(prog), &o), "test run");
	if (o.retval != expect) {
		fprintf(stderr, "bench_switch: the program returned %u, not %u\n", o.retval, expect);
		exit(1);
	}
	return o.duration;
}

static double run_live(const struct bpf_program *prog, int ifindex)
{
	uint8_t frame[60] = { 0 };
	struct xdp_md ctx = { .data_end = sizeof(frame), .ingress_ifindex = (uint32_t)ifindex };
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = frame, .data_size_in = sizeof(frame), .ctx_in = &ctx,
		    .ctx_size_in = sizeof(ctx), .repeat = LIVE_PACKETS, .flags = BPF_F_TEST_XDP_LIVE_FRAMES,
		    .batch_size = 64);
	uint64_t start = bench_now_ns();

	must(!bpf_prog_test_run_opts(bpf_program__fd(prog), &o), "live frames");
	return (double)(bench_now_ns() - start) / LIVE_PACKETS;
}

static size_t entries(int map)
{
	uint8_t key[64], next[64];
	size_t n = 0;
	int err = bpf_map_get_next_key(map, NULL, next);

	for (; !err; n++) {
		memcpy(key, next, sizeof(key));
		err = bpf_map_get_next_key(map, key, next);
	}
	return n;
}

static size_t all_entries(void)
{
	return entries(bpf_map__fd(sw->maps.vips4)) + entries(bpf_map__fd(sw->maps.vips6)) +
	       entries(bpf_map__fd(sw->maps.roles)) + entries(bpf_map__fd(sw->maps.uplinks));
}

static void bench_program(void)
{
	static const struct {
		uint64_t flows;
		const char *name;
	} runs[] = {
		{ 1, "switch program, 1 flow" },	    { 10000, "switch program, 10^4 flows" },
		{ 1000000, "switch program, 10^6 flows" }, { 10000000, "switch program, 10^7 flows" },
		{ 0, "switch program, SYN flood" },
	};
	enum { N = sizeof(runs) / sizeof(runs[0]) };
	struct samples net[N] = { 0 }, grown = { 0 };
	size_t before = all_entries();
	int round, i;

	for (round = 0; round < ROUNDS; round++) {
		for (i = 0; i < N; i++) {
			double empty;

			gen->bss->counter = 0;
			gen->data->n_flows = runs[i].flows;
			empty = run_program(gen->progs.gen_empty, XDP_PASS);
			gen->bss->counter = 0;
			samples_add(&net[i], run_program(gen->progs.gen_switch, XDP_REDIRECT) - empty);
		}
	}
	samples_add(&grown, (double)all_entries() - (double)before);
	bench_print(&(struct bench_row){ .name = runs[0].name, .unit = "ns over empty", .samples = &net[0] });
	for (i = 1; i < N; i++)
		bench_print(&(struct bench_row){ .name = runs[i].name, .unit = "ns over empty", .samples = &net[i],
						 .baseline = &net[0], .bound = BOUND_RATIO, .target = 1.2 });
	bench_print(&(struct bench_row){ .name = "switch maps, growth over all of it", .unit = "entries",
					 .samples = &grown, .bound = BOUND_VALUE, .target = 0 });
}

static void bench_live(void)
{
	struct samples xdp = { 0 }, kernel = { 0 }, generator = { 0 };
	int in = (int)if_nametoindex("in0"), round;
	/* /sys shows another namespace's devices: ask the tool. */
	FILE *f = popen("ip -o link show in0 | sed 's/.*ether \\([^ ]*\\).*/\\1/'", "r");
	unsigned m[6];
	int i;

	must(f && fscanf(f, "%x:%x:%x:%x:%x:%x", &m[0], &m[1], &m[2], &m[3], &m[4], &m[5]) == 6, "address of in0");
	pclose(f);
	for (i = 0; i < 6; i++)
		gen->bss->dst_mac[i] = (uint8_t)m[i];
	gen->data->n_flows = 10000;
	for (round = 0; round < ROUNDS; round++) {
		double alone = run_live(gen->progs.gen_drop, in);

		samples_add(&generator, alone);
		samples_add(&kernel, run_live(gen->progs.gen_empty, in) - alone);
		samples_add(&xdp, run_live(gen->progs.gen_switch, in) - alone);
	}
	bench_print(&(struct bench_row){ .name = "generator alone", .unit = "ns/packet", .samples = &generator });
	bench_print(&(struct bench_row){ .name = "xdp fabric against plain kernel routing", .unit = "ns/packet",
					 .samples = &xdp, .baseline = &kernel, .bound = BOUND_RATIO, .target = 0.2 });
}

/* How many frames have come through a device of the sink. */
static long sunk(const char *device)
{
	char command[256];
	long n = 0;
	FILE *f;

	snprintf(command, sizeof(command), "nsenter --net=/run/netns/bench-sw-%d ip -s -o link show %s | "
		 "awk '{for(i=1;i<NF;i++) if($i==\"RX:\") {for(j=i;j<=NF;j++) if($j ~ /^[0-9]+$/ && ++k==2) {print $j; exit}}}'",
		 (int)getpid(), device);
	f = popen(command, "r");
	if (!f || fscanf(f, "%ld", &n) != 1)
		n = -1;
	if (f)
		pclose(f);
	return n;
}

static void topology(void)
{
	char command[1600];

	/* The kernel's sink drops at TC, XDP's sink in XDP: each the cheapest for its kind of frame. */
	snprintf(command, sizeof(command),
		 "ns=bench-sw-%d; ip netns add $ns; in=\"nsenter --net=/run/netns/$ns\";"
		 "ip link add name in0 type veth peer name in1 && ip link set in1 netns $ns &&"
		 "ip link add name outk0 type veth peer name outk1 && ip link set outk1 netns $ns &&"
		 "ip link add name outx0 type veth peer name outx1 && ip link set outx1 netns $ns &&"
		 "for d in in0 outk0 outx0; do ip link set $d up; done &&"
		 "for d in in1 outk1 outx1; do $in ip link set $d up; done &&"
		 "sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.in0.rp_filter=0 &&"
		 "ip addr add 192.0.2.1/24 dev outk0 && ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev outk0 &&"
		 "ip route add 203.0.113.0/24 via 192.0.2.2 dev outk0 && ip route add 198.18.0.0/15 dev in0 &&"
		 "$in tc qdisc add dev outk1 clsact",
		 (int)getpid());
	shell(command);
}

static void sinks(int on)
{
	char command[400];

	if (!on) {
		snprintf(command, sizeof(command), "ip netns del bench-sw-%d; rm -rf /sys/fs/bpf/bench-sw-%d", (int)getpid(),
			 (int)getpid());
		if (system(command))
			fprintf(stderr, "bench_switch: the namespace is left\n");
		return;
	}
	snprintf(command, sizeof(command), "mkdir -p /sys/fs/bpf/bench-sw-%d", (int)getpid());
	shell(command);
	snprintf(command, sizeof(command), "/sys/fs/bpf/bench-sw-%d/drop", (int)getpid());
	must(!bpf_program__pin(gen->progs.drop, command), "pin");
	snprintf(command, sizeof(command), "/sys/fs/bpf/bench-sw-%d/sink", (int)getpid());
	must(!bpf_program__pin(gen->progs.sink, command), "pin");
	snprintf(command, sizeof(command),
		 "p=/sys/fs/bpf/bench-sw-%d; in=\"nsenter --net=/run/netns/bench-sw-%d\";"
		 "$in ip link set outx1 xdpdrv pinned $p/drop && $in tc filter add dev outk1 ingress bpf da pinned $p/sink",
		 (int)getpid(), (int)getpid());
	shell(command);
}

int main(void)
{
	cpu_set_t cpu;
	long before_k, before_x;

	CPU_ZERO(&cpu);
	CPU_SET(0, &cpu);
	sched_setaffinity(0, sizeof(cpu), &cpu);
	must(!unshare(CLONE_NEWNET), "unshare");
	topology();
	load();
	sinks(1);
	fill_switch(if_nametoindex("outx0"));
	bench_program();
	before_k = sunk("outk1");
	before_x = sunk("outx1");
	bench_live();
	/* Speed of packets that went nowhere would be no speed. */
	before_k = sunk("outk1") - before_k;
	before_x = sunk("outx1") - before_x;
	sinks(0);
	if (before_k < (long)ROUNDS * LIVE_PACKETS * 95 / 100 || before_x < (long)ROUNDS * LIVE_PACKETS * 95 / 100) {
		fprintf(stderr, "bench_switch: of %d frames the kernel delivered %ld, xdp %ld\n", ROUNDS * LIVE_PACKETS, before_k,
			before_x);
		return 1;
	}
	return 0;
}
