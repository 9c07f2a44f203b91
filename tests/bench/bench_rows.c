// SPDX-License-Identifier: BSD-2-Clause
/*
 * The rows of hand-off (l7/row/flow.bpf.c), packet by packet, over an empty program: BPF_PROG_TEST_RUN behind a
 * generator that restores the addresses (host_gen.bpf.c), with 200,000 other rows in the table, in interleaved
 * rounds.  A forwarded packet loses a hop each time: runs are as short as a TTL.  Then the whole chain over veth.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include <cmocka.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "flow.skel.h"
#include "host_gen.skel.h"
#include "l7/row/rows.h"
#include "tests/bench/bench.h"
#include "tests/bpf/host_bed.h"

#define ROUNDS 401
#define REPEAT 250
#define OTHERS 200000
#define OWNER 2
#define CHAIN 5000
#define ACT_UNSPEC 0xffffffffu
#define ACT_SHOT 2
#define ACT_REDIRECT 7

static struct host_gen_bpf *gen;
static struct flow_bpf *flow;

struct wide_frame {
	uint8_t byte[1514];
	uint32_t len;
};

static struct flow the_flow(int family, uint32_t other)
{
	struct flow f = { .family = (uint8_t)family, .protocol = PACKET_TCP, .sport = htons(fixture_port(FS_LISTEN)), .dport = htons(80) };

	memcpy(f.saddr, family == FLOW_V4 ? fixture_client4 : fixture_client6, family == FLOW_V4 ? 4 : 16);
	memcpy(f.daddr, family == FLOW_V4 ? fixture_vip4 : fixture_vip6, family == FLOW_V4 ? 4 : 16);
	f.saddr[0] ^= other;
	return f;
}

/* An ACK with `len` bytes on the wire, the checksum as a NIC leaves it. */
static void make_frame(struct wide_frame *w, int family, bool reply, uint32_t len)
{
	struct frame f = { .len = 0 };
	struct triple self = { { SELF } };
	uint32_t l3, l4;

	if (reply) {
		router_mac(f.byte, 1);
		vmac_encode(f.byte + 6, &self);
	} else {
		vmac_encode(f.byte, &self);
		router_mac(f.byte + 6, 1);
	}
	put16(f.byte + 12, family == FLOW_V4 ? PACKET_ETH_V4 : PACKET_ETH_V6);
	f.len = 14;
	l3 = fixture_ip(&f, family, reply, PACKET_TCP, 0, 0);
	l4 = f.len;
	if (reply)
		fixture_tcp(&f, 80, fixture_port(FS_LISTEN), 2000, 1000, F_ACK);
	else
		fixture_tcp(&f, fixture_port(FS_LISTEN), 80, 1000, 2000, F_ACK);
	fixture_close(&f, family, l3, l4, PACKET_TCP);
	memset(w, 0, sizeof(*w));
	memcpy(w->byte, f.byte, f.len);
	w->len = len > f.len ? len : f.len;
	w->byte[l3 + (family == FLOW_V4 ? 8 : 7)] = 255;
	if (family == FLOW_V6) {
		put16(w->byte + l3 + 4, w->len - l3 - 40);
		return;
	}
	put16(w->byte + l3 + 2, w->len - l3);
	put16(w->byte + l3 + 10, 0);
	put16(w->byte + l3 + 10, fixture_fold(fixture_sum(w->byte + l3, 20, 0)));
}

static double run_ns(struct bpf_program *program, const struct wide_frame *f, uint32_t want, int repeat)
{
	uint8_t out[2048];
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = f->byte, .data_size_in = f->len, .data_out = out, .data_size_out = sizeof(out),
		    .repeat = repeat);

	assert_int_equal(bpf_prog_test_run_opts(bpf_program__fd(program), &o), 0);
	assert_int_equal(o.retval, want);
	return o.duration;
}

struct path {
	const char *name;
	struct row row; /* state 0: none */
	bool egress;
	uint32_t len, act;
	bool rate; /* as packets per second of one core */
	int peer; /* outer family: a run may be done once only, for the packet grows */
	enum bench_bound bound;
	double target;
};

/* Host 2 is on the link, or elsewhere. */
static void set_peer(int family)
{
	const struct flow_peer peer = { .ifindex = 1, .mtu = 9000, .family = (uint8_t)family };
	struct flow_config config = { .self = SELF, .tunnel = family != 0 };
	uint32_t zero = 0, owner = OWNER;

	assert_int_equal(bpf_map__update_elem(flow->maps.flow_config, &zero, sizeof(zero), &config, sizeof(config), BPF_ANY), 0);
	if (family)
		assert_int_equal(bpf_map__update_elem(flow->maps.flow_peers, &owner, sizeof(owner), &peer, sizeof(peer), BPF_ANY), 0);
	else
		bpf_map__delete_elem(flow->maps.flow_peers, &owner, sizeof(owner), 0);
}

static void bench_path(const struct path *p, int family)
{
	struct samples full = { 0 }, empty = { 0 }, rate = { 0 };
	struct flow f = the_flow(family, 0);
	struct wide_frame frame;
	uint32_t slot = 0;
	char name[96];
	int i, fd, repeat;

	make_frame(&frame, family, p->egress, p->len);
	for (i = 0; i < 12; i++)
		((volatile uint8_t *)gen->bss->mac)[i] = frame.byte[i];
	fd = bpf_program__fd(p->egress ? flow->progs.flow_egress : flow->progs.flow_ingress);
	assert_int_equal(bpf_map__update_elem(gen->maps.target, &slot, sizeof(slot), &fd, sizeof(fd), BPF_ANY), 0);
	if (p->row.state)
		assert_int_equal(bpf_map__update_elem(flow->maps.rows, &f, sizeof(f), &p->row, sizeof(p->row), BPF_ANY), 0);
	else
		bpf_map__delete_elem(flow->maps.rows, &f, sizeof(f), 0);
	set_peer(p->peer);
	repeat = p->peer ? 1 : REPEAT;
	run_ns(gen->progs.gen_program, &frame, p->act, repeat);
	for (i = 0; i < ROUNDS * (p->peer ? 10 : 1); i++) {
		double base = run_ns(gen->progs.gen_empty, &frame, ACT_UNSPEC, repeat);
		double took = run_ns(gen->progs.gen_program, &frame, p->act, repeat);

		samples_add(&empty, base);
		samples_add(&full, took);
		if (took > base)
			samples_add(&rate, 1000 / (took - base));
	}
	snprintf(name, sizeof(name), "rows, %s, IPv%d", p->name, family);
	if (p->rate)
		bench_print(&(struct bench_row){ .name = name, .unit = "Mpps", .samples = &rate });
	else
		bench_print(&(struct bench_row){ .name = name, .unit = "ns", .samples = &full, .baseline = &empty, .bound = p->bound,
						 .target = p->target });
	free(full.v);
	free(empty.v);
	free(rate.v);
}

/* From the frame that is put on the wire to the one that comes back, forwarded: and, beside it, a detour's cost is in l4.json. */
static void bench_chain(struct rows *rows, int family)
{
	const struct row row = { .state = ROW_FWD, .owner = OWNER };
	struct flow f = the_flow(family, 0);
	struct samples took = { 0 };
	struct wide_frame frame;
	char name[64];
	int i;

	assert_int_equal(rows_put(rows, &f, &row), 0);
	make_frame(&frame, family, false, 0);
	drain_wire();
	for (i = 0; i < CHAIN; i++) {
		uint8_t b[2048];
		uint64_t begin = bench_now_ns();
		uint32_t n;

		assert_int_equal(send(wire, frame.byte, frame.len, 0), frame.len);
		do {
			n = next_frame(b, sizeof(b), 1000);
			assert_true(n > 0);
		} while (b[0] != MAC_KIND_VMAC);
		samples_add(&took, (double)(bench_now_ns() - begin) / 1000);
	}
	snprintf(name, sizeof(name), "rows, a frame in to its forwarding out (veth), IPv%d", family);
	bench_print(&(struct bench_row){ .name = name, .unit = "us", .samples = &took, .percentiles = true });
	rows_delete(rows, &f);
}

/* What a move pays: HOLD, FWD, and none again. */
static void bench_updates(struct rows *rows)
{
	const struct row hold = { .state = ROW_HOLD, .deadline_ns = UINT64_MAX }, fwd = { .state = ROW_FWD, .owner = OWNER };
	struct samples put = { 0 }, change = { 0 }, delete = { 0 };
	struct flow f = the_flow(FLOW_V4, 0);
	int i;

	for (i = 0; i < 20000; i++) {
		uint64_t t[4] = { bench_now_ns() };

		rows_put(rows, &f, &hold);
		t[1] = bench_now_ns();
		rows_put(rows, &f, &fwd);
		t[2] = bench_now_ns();
		rows_delete(rows, &f);
		t[3] = bench_now_ns();
		samples_add(&put, (double)(t[1] - t[0]) / 1000);
		samples_add(&change, (double)(t[2] - t[1]) / 1000);
		samples_add(&delete, (double)(t[3] - t[2]) / 1000);
	}
	bench_print(&(struct bench_row){ .name = "rows, to HOLD, from user space", .unit = "us", .samples = &put, .percentiles = true });
	bench_print(&(struct bench_row){ .name = "rows, HOLD to FWD, from user space", .unit = "us", .samples = &change, .percentiles = true });
	bench_print(&(struct bench_row){ .name = "rows, deleted, from user space", .unit = "us", .samples = &delete, .percentiles = true });
}

int main(void)
{
	static const struct path paths[] = {
		{ "miss", { .state = 0 }, .act = ACT_UNSPEC, .bound = BOUND_DIFFERENCE, .target = 100 },
		{ "hit, forwarded", { .state = ROW_FWD, .owner = OWNER }, .act = ACT_REDIRECT, .bound = BOUND_DIFFERENCE, .target = 250 },
		{ "held", { .state = ROW_HOLD, .deadline_ns = UINT64_MAX }, .act = ACT_REDIRECT, .bound = BOUND_DIFFERENCE, .target = 200 },
		{ "egress, miss", { .state = 0 }, .egress = true, .act = ACT_UNSPEC, .bound = BOUND_DIFFERENCE, .target = 100 },
		{ "egress, held", { .state = ROW_HOLD, .deadline_ns = UINT64_MAX }, .egress = true, .act = ACT_SHOT },
		{ "hit, forwarded in IPv4 (single runs)", { .state = ROW_FWD, .owner = OWNER }, .act = ACT_REDIRECT, .peer = FLOW_V4 },
		{ "hit, forwarded in IPv6 (single runs)", { .state = ROW_FWD, .owner = OWNER }, .act = ACT_REDIRECT, .peer = FLOW_V6 },
		{ "forwarding rate of a core, 64 bytes", { .state = ROW_FWD, .owner = OWNER }, .len = 64, .act = ACT_REDIRECT, .rate = true },
		{ "forwarding rate of a core, 1,514 bytes", { .state = ROW_FWD, .owner = OWNER }, .len = 1514, .act = ACT_REDIRECT, .rate = true },
	};
	const struct row other = { .state = ROW_FWD, .owner = OWNER + 1 };
	char pins[64], why[256];
	uint32_t slot, i;
	struct rows *rows;
	int f, fd;

	if (make_bed())
		return 1;
	shell("ip addr del 203.0.113.80/32 dev lo && ip -6 addr del 2001:db8:80::80/128 dev lo && "
	      "ip route add blackhole 203.0.113.0/24 && ip -6 route add blackhole 2001:db8:80::/64");
	flow = flow_bpf__open_and_load();
	gen = host_gen_bpf__open_and_load();
	if (!flow || !gen)
		return 1;
	fd = bpf_program__fd(gen->progs.empty);
	slot = 1;
	assert_int_equal(bpf_map__update_elem(gen->maps.target, &slot, sizeof(slot), &fd, sizeof(fd), BPF_ANY), 0);
	for (i = 1; i <= OTHERS; i++) {
		struct flow o = the_flow(i & 1 ? FLOW_V4 : FLOW_V6, i);

		assert_int_equal(bpf_map__update_elem(flow->maps.rows, &o, sizeof(o), &other, sizeof(other), BPF_ANY), 0);
	}
	for (f = 0; f < 2; f++)
		for (i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
			bench_path(&paths[i], family_of(f));
	flow_bpf__destroy(flow);
	snprintf(pins, sizeof(pins), "/sys/fs/bpf/bt-bench-rows-%d", (int)getpid());
	if (rows_open(SELF, pins, (const char[1][IF_NAMESIZE]){ "v0" }, 1, &rows, why, sizeof(why))) {
		fprintf(stderr, "%s\n", why);
		return 1;
	}
	bench_updates(rows);
	for (f = 0; f < 2; f++)
		bench_chain(rows, family_of(f));
	rows_close(rows, true);
	return 0;
}
