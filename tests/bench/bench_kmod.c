// SPDX-License-Identifier: BSD-2-Clause
/*
 * The kernel module against the eBPF program, by real frames: three veth pairs alike, one with the module on it,
 * one with the eBPF program, one with neither (the bed).  One thread sends, and the kernel takes each frame
 * through the receiving half before send() returns, so the sender's time is the frame's whole CPU.
 *
 *     v1 -> v0      nothing: what the two others cost besides
 *     e1 -> e0      eBPF at TC ingress
 *     m1 -> m0      the module at netfilter ingress
 *
 * Frames die right behind the data path (a wrong IPv4 checksum; IPv6 is off on the devices), so that the stack's
 * work for a segment is not measured three times over.  Rounds are short and interleaved; a sample is the least
 * of LEAST_OF rounds, since whatever else the machine does can only add to one.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "agent/datapath.h"
#include "tests/bench/bench.h"
#include "tests/bpf/host_bed.h"

#define SAMPLES 15
#define LEAST_OF 6
#define FRAMES 400
#define WARM 64

enum { BED, EBPF, MODULE, N_BEDS };

static const char near_end[N_BEDS][IF_NAMESIZE] = { "v0", "e0", "m0" };
static const char far_end[N_BEDS][IF_NAMESIZE] = { "v1", "e1", "m1" };
static int out[N_BEDS];
static struct datapath *path[N_BEDS];
static const struct datapath_ops *const ops[N_BEDS] = { NULL, &datapath_ebpf, &datapath_module };

struct kind {
	const char *name;
	struct fixture x;
	enum verdict_reason reason;
};

/* ns of one frame, over n that are sent one after another. */
static double send_ns(int bed, const struct frame *f, int n)
{
	uint64_t begin = bench_now_ns();
	int i;

	for (i = 0; i < n; i++)
		assert_int_equal(send(out[bed], f->byte, f->len, 0), f->len);
	return (double)(bench_now_ns() - begin) / n;
}

static double least_ns(double have, int bed, const struct frame *f)
{
	double took;

	send_ns(bed, f, WARM);
	took = send_ns(bed, f, FRAMES);
	return took < have ? took : have;
}

static uint64_t count(int bed, enum verdict_reason reason)
{
	uint64_t by_reason[REASON_MAX] = { 0 };
	struct datapath_counters c = { .reason = by_reason, .n_reasons = REASON_MAX };

	assert_int_equal(ops[bed]->counters(path[bed], &c), 0);
	return by_reason[reason];
}

static void bench_kind(const struct kind *k, int f)
{
	static const struct fixture rest = { "", T(SELF), .shape = SH_TCP, .socket = FS_ESTABLISHED, .flags = F_ACK };
	const uint64_t sent = (uint64_t)SAMPLES * LEAST_OF * (FRAMES + WARM);
	struct samples added[N_BEDS] = { { 0 } };
	uint64_t before[N_BEDS] = { 0 };
	struct frame frame, bare;
	char name[96];
	int i, j, bed;

	fixture_frame(&frame, &k->x, family_of(f), &socket_of[f][k->x.socket]);
	fixture_frame(&bare, &rest, family_of(f), &socket_of[f][FS_ESTABLISHED]);
	if (!f)
		frame.byte[14 + 10] ^= 0xff, bare.byte[14 + 10] ^= 0xff;
	for (bed = EBPF; bed < N_BEDS; bed++)
		before[bed] = count(bed, k->reason);
	for (i = 0; i < SAMPLES; i++) {
		double least[N_BEDS] = { INFINITY, INFINITY, INFINITY };

		for (j = 0; j < LEAST_OF; j++)
			for (bed = 0; bed < N_BEDS; bed++)
				least[bed] = least_ns(least[bed], bed, bed == BED ? &bare : &frame);
		for (bed = EBPF; bed < N_BEDS; bed++)
			samples_add(&added[bed], least[bed] - least[BED]);
		samples_add(&added[BED], least[BED]);
	}
	/* Each frame was judged, and as this path has it. */
	for (bed = EBPF; bed < N_BEDS; bed++)
		assert_int_equal(count(bed, k->reason) - before[bed], sent);
	snprintf(name, sizeof(name), "module over eBPF, %s, IPv%d", k->name, family_of(f));
	bench_print(&(struct bench_row){ .name = name, .unit = "ns", .samples = &added[MODULE], .baseline = &added[EBPF],
					 .bound = BOUND_RATIO, .target = 1.2 });
	snprintf(name, sizeof(name), "a frame over the bed without either, IPv%d (for %s)", family_of(f), k->name);
	bench_print(&(struct bench_row){ .name = name, .unit = "ns", .samples = &added[BED] });
}

static void open_path(int bed, char *pin_dir)
{
	static struct address address[2] = { { .family = AF_INET }, { .family = AF_INET6 } };
	static const struct vip vip = { .name = "www", .address = address, .n_addresses = 2 };
	char why[256] = "";

	memcpy(&address[0].v4, fixture_vip4, 4);
	memcpy(&address[1].v6, fixture_vip6, 16);
	if (ops[bed]->open(SELF, pin_dir, why, sizeof(why), &path[bed]))
		fail_msg("%s", why);
	assert_int_equal(ops[bed]->set_vips(path[bed], &vip, 1), 0);
	assert_int_equal(ops[bed]->set_detours(path[bed], true), 0);
	assert_int_equal(ops[bed]->set_devices(path[bed], &near_end[bed], 1), 0);
}

static void make_beds(void)
{
	const int yes = 1;
	int bed;

	shell("for l in e m; do ip link add ${l}0 address 42:10:01:00:10:01 type veth peer name ${l}1; "
	      "sysctl -qw net.ipv4.conf.${l}0.rp_filter=0; done");
	shell("for d in v0 e0 e1 m0 m1; do sysctl -qw net.ipv6.conf.$d.disable_ipv6=1; ip link set $d up; done");
	close(wire); /* a tap would cost one bed what it does not cost the others */
	for (bed = 0; bed < N_BEDS; bed++) {
		out[bed] = packet_socket(far_end[bed], 0);
		assert_int_equal(setsockopt(out[bed], SOL_PACKET, PACKET_QDISC_BYPASS, &yes, sizeof(yes)), 0);
	}
}

static void test_bench(void **state)
{
	static const struct kind kinds[] = {
		{ "at rest", { "", T(SELF), .shape = SH_TCP, .socket = FS_ESTABLISHED, .flags = F_ACK }, REASON_AT_REST },
		{ "established", { "", T(SELF, 2), .shape = SH_TCP, .socket = FS_ESTABLISHED, .flags = F_ACK }, REASON_ESTABLISHED },
		{ "redirect", { "", T(SELF, 2), .shape = SH_TCP, .socket = FS_NOTHING, .flags = F_ACK }, REASON_NO_SOCKET },
	};
	char pin_dir[64];
	size_t i;
	int f;

	(void)state;
	assert_int_equal(make_bed(), 0);
	make_sockets();
	make_beds();
	snprintf(pin_dir, sizeof(pin_dir), "/sys/fs/bpf/bt-bench-kmod-%d", getpid());
	open_path(EBPF, pin_dir);
	open_path(MODULE, pin_dir);
	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		for (f = 0; f < 2; f++)
			bench_kind(&kinds[i], f);
	ops[EBPF]->close(path[EBPF], true);
	ops[MODULE]->close(path[MODULE], true);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_bench) };
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	if (sched_setaffinity(0, sizeof(one), &one))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
