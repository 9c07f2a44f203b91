/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The host's eBPF program, path by path, over an empty program: BPF_PROG_TEST_RUN behind a generator
 * that restores the addresses (host_gen.bpf.c), with real sockets, in interleaved rounds.  Then the
 * whole chain on one flow over veth: from the frame that is put on the wire to the one that comes back.
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

#include "agent/datapath.h"
#include "host_gen.skel.h"
#include "redirect.skel.h"
#include "tests/bench/bench.h"
#include "tests/bpf/host_bed.h"

#define ROUNDS 31
#define REPEAT 20000
#define CHAIN 5000

static struct host_gen_bpf *gen;

static struct redirect_bpf *load_beside(const char *pin_dir)
{
	struct redirect_bpf *s = redirect_bpf__open();
	struct bpf_map *map;
	char name[128];

	if (!s)
		abort(); /* libbpf has said why */
	bpf_object__for_each_map(map, s->obj) {
		snprintf(name, sizeof(name), "%s/%s", pin_dir, bpf_map__name(map));
		assert_int_equal(bpf_map__set_pin_path(map, name), 0);
	}
	assert_int_equal(redirect_bpf__load(s), 0);
	return s;
}

static double run_ns(struct bpf_program *program, const struct frame *f, uint32_t want)
{
	struct __sk_buff ctx = { .ifindex = if_nametoindex("v0") };
	uint8_t out[FIXTURE_FRAME_MAX];
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = f->byte, .data_size_in = f->len, .data_out = out,
		    .data_size_out = sizeof(out), .ctx_in = &ctx, .ctx_size_in = sizeof(ctx), .repeat = REPEAT);

	assert_int_equal(bpf_prog_test_run_opts(bpf_program__fd(program), &o), 0);
	assert_int_equal(o.retval, want);
	return o.duration;
}

struct path {
	const char *name;
	struct fixture x;
	enum bench_bound bound;
	double target;
};

static void bench_path(const struct path *p, int f)
{
	struct samples full = { 0 }, empty = { 0 };
	struct frame frame;
	char name[64];
	int i;

	fixture_frame(&frame, &p->x, family_of(f), &socket_of[f][p->x.socket]);
	for (i = 0; i < 12; i++)
		((volatile uint8_t *)gen->bss->mac)[i] = frame.byte[i];
	for (i = 0; i < ROUNDS; i++) {
		samples_add(&empty, run_ns(gen->progs.gen_empty, &frame, (uint32_t)-1));
		samples_add(&full, run_ns(gen->progs.gen_program, &frame, p->x.action == VERDICT_DETOUR ? 7 : (uint32_t)-1));
	}
	snprintf(name, sizeof(name), "host, %s, IPv%d", p->name, family_of(f));
	bench_print(&(struct bench_row){ .name = name, .unit = "ns", .samples = &full, .baseline = &empty, .bound = p->bound,
					 .target = p->target });
}

/* A frame of a flow that nobody here knows: until it is on the wire again, with its new addresses. */
static void bench_chain(int f)
{
	const struct fixture x = { "", T(1, 2), .shape = SH_TCP, .socket = FS_NOTHING, .flags = F_ACK };
	struct samples took = { 0 };
	struct frame frame;
	char name[64];
	int i;

	fixture_frame(&frame, &x, family_of(f), &socket_of[f][FS_NOTHING]);
	drain_wire();
	for (i = 0; i < CHAIN; i++) {
		uint8_t b[2048];
		uint64_t begin = bench_now_ns();
		uint32_t n;

		send_frame(&frame);
		do {
			n = next_frame(b, sizeof(b), 1000);
			assert_true(n > 0);
		} while (b[6] != MAC_KIND_DETOUR);
		samples_add(&took, (double)(bench_now_ns() - begin) / 1000);
	}
	snprintf(name, sizeof(name), "host, a frame in to its detour out (veth), IPv%d", family_of(f));
	bench_print(&(struct bench_row){ .name = name, .unit = "us", .samples = &took, .percentiles = true });
}

int main(void)
{
	static const struct path paths[] = {
		{ "at rest", { "", T(1), .shape = SH_TCP, .socket = FS_ESTABLISHED, .flags = F_ACK }, BOUND_DIFFERENCE, 40 },
		{ "SYN", { "", T(1, 2), .shape = SH_TCP, .socket = FS_LISTEN, .flags = F_SYN }, BOUND_NONE, 0 },
		{ "established", { "", T(1, 2), .shape = SH_TCP, .socket = FS_ESTABLISHED, .flags = F_ACK }, BOUND_DIFFERENCE, 130 },
		{ "detour", { "", T(1, 2), .shape = SH_TCP, .socket = FS_NOTHING, .flags = F_ACK, ON(REASON_NO_SOCKET, 2, 2) }, BOUND_NONE, 0 },
		{ "cookie", { "", T(1, 2), .shape = SH_TCP, .socket = FS_COOKIE, .flags = F_ACK }, BOUND_NONE, 0 },
	};
	static struct address address[2] = { { .family = AF_INET }, { .family = AF_INET6 } };
	static const struct vip vip = { .name = "www", .address = address, .n_addresses = 2 };
	static const char device[1][IF_NAMESIZE] = { "v0" };
	char pin_dir[64], why[256] = "";
	struct redirect_bpf *program;
	struct datapath *path;
	uint32_t slot;
	size_t i;
	int f, fd;

	if (make_bed())
		return 1;
	snprintf(pin_dir, sizeof(pin_dir), "/sys/fs/bpf/bt-bench-%d", getpid());
	memcpy(&address[0].v4, fixture_vip4, 4);
	memcpy(&address[1].v6, fixture_vip6, 16);
	if (datapath_ebpf.open(SELF, pin_dir, why, sizeof(why), &path)) {
		fprintf(stderr, "bench_host: %s\n", why);
		return 1;
	}
	datapath_ebpf.set_vips(path, &vip, 1);
	datapath_ebpf.set_devices(path, device, 1);
	program = load_beside(pin_dir);
	make_sockets();
	gen = host_gen_bpf__open_and_load();
	assert_non_null(gen);
	for (slot = 0; slot < 2; slot++) {
		fd = slot ? bpf_program__fd(gen->progs.empty) : bpf_program__fd(program->progs.redirect);
		assert_int_equal(bpf_map_update_elem(bpf_map__fd(gen->maps.target), &slot, &fd, BPF_ANY), 0);
	}
	for (i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		for (f = 0; f < 2; f++)
			bench_path(&paths[i], f);
	for (f = 0; f < 2; f++)
		bench_chain(f);
	host_gen_bpf__destroy(gen);
	redirect_bpf__destroy(program);
	datapath_ebpf.close(path, true);
	return 0;
}
