/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The host's eBPF program against the fixtures: in a network namespace of its own, with real sockets
 * in each state, made by talking raw frames over a veth.  Each fixture is asked of `explain`, then run
 * through `redirect` with BPF_PROG_TEST_RUN: verdict, rewritten addresses and counters must agree.
 * Then the effects on the wire (relay, probe, foreign vMAC delivered), adoption, and the speed.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/pkt_cls.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "agent/datapath.h"
#include "agent/redirect.h"
#include "redirect.skel.h"
#include "tests/bpf/host_bed.h"

static struct datapath *path;
static struct redirect_bpf *skel; /* a second loading of the program, on the same pinned maps */
static char pin_dir[64];

/* --- Set-up -------------------------------------------------------------------------------------------- */

static struct redirect_bpf *load_beside(void)
{
	struct redirect_bpf *s = redirect_bpf__open();
	struct bpf_map *map;
	char name[128];

	assert_non_null(s);
	bpf_object__for_each_map(map, s->obj) {
		snprintf(name, sizeof(name), "%s/%s", pin_dir, bpf_map__name(map));
		assert_int_equal(bpf_map__set_pin_path(map, name), 0);
	}
	assert_int_equal(redirect_bpf__load(s), 0);
	return s;
}

static void open_path(void)
{
	static struct address address[2] = { { .family = AF_INET }, { .family = AF_INET6 } };
	static struct vip vip = { .name = "www", .address = address, .n_addresses = 2 };
	static const uint16_t hosts[] = { 1, 2, 3 };
	static const char device[1][IF_NAMESIZE] = { "v0" };
	char why[256] = "";

	memcpy(&address[0].v4, fixture_vip4, 4);
	memcpy(&address[1].v6, fixture_vip6, 16);
	if (datapath_ebpf.open(SELF, pin_dir, why, sizeof(why), &path))
		fail_msg("%s", why);
	assert_int_equal(datapath_ebpf.set_vips(path, &vip, 1), 0);
	assert_int_equal(datapath_ebpf.set_hosts(path, hosts, 3), 0);
	assert_int_equal(datapath_ebpf.set_devices(path, device, 1), 0);
}

static int set_up(void **state)
{
	(void)state;
	if (make_bed())
		return -1;
	snprintf(pin_dir, sizeof(pin_dir), "/sys/fs/bpf/bt-redirect-%d", getpid());
	open_path();
	skel = load_beside();
	make_sockets();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	if (skel)
		redirect_bpf__destroy(skel);
	if (path)
		datapath_ebpf.close(path, true);
	return access(pin_dir, F_OK) ? 0 : -1; /* nothing is left behind */
}

/* --- The fixtures -------------------------------------------------------------------------------------- */

static uint64_t reason_count(enum verdict_reason r)
{
	uint64_t n[REASON_MAX] = { 0 };
	struct datapath_counters c = { .reason = n, .n_reasons = REASON_MAX };

	assert_int_equal(datapath_ebpf.counters(path, &c), 0);
	return n[r];
}

static uint32_t run_program(int fd, const struct frame *f, struct frame *out, uint32_t repeat, uint32_t *ns)
{
	struct __sk_buff ctx = { .ifindex = if_nametoindex("v0") };
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = f->byte, .data_size_in = f->len, .data_out = out->byte,
		    .data_size_out = sizeof(out->byte), .ctx_in = &ctx, .ctx_size_in = sizeof(ctx), .repeat = (int)repeat);
	int err = bpf_prog_test_run_opts(fd, &o);

	assert_int_equal(err, 0);
	out->len = o.data_size_out;
	if (ns)
		*ns = o.duration;
	return o.retval;
}

static uint32_t run(const struct frame *f, struct frame *out, uint32_t repeat, uint32_t *ns)
{
	return run_program(bpf_program__fd(skel->progs.redirect), f, out, repeat, ns);
}

static void expect_explained(const struct fixture *x, int f, const struct frame *frame)
{
	char text[128] = "", want[128];
	enum verdict_reason reason = x->reason;
	struct datapath_decision said;
	int err = datapath_ebpf.explain(path, frame->byte, frame->len, "v0", &said);

	assert_int_equal(err, 0);
	datapath_decision_text(&said, NULL, text, sizeof(text));
	/* `explain` asks the whole decision; the program takes the short way at rest. */
	if (x->shape == SH_TCP && reason == REASON_AT_REST && x->flags == F_SYN)
		reason = REASON_SYN;
	if (x->shape == SH_UDP && reason == REASON_AT_REST)
		reason = REASON_NOT_TCP;
	if (x->shape == SH_BAD_DOFF && reason == REASON_AT_REST)
		reason = REASON_UNPARSED;
	snprintf(want, sizeof(want), x->action == VERDICT_DETOUR ? "%s (%s) to host %u" : "%s (%s)",
		 verdict_action_name(x->action), verdict_reason_name(reason), x->next.host[0]);
	if (strcmp(text, want))
		fail_msg("%s (v%d): explained as \"%s\", expected \"%s\"", x->name, family_of(f), text, want);
}

static void expect_run(const struct fixture *x, int f, const struct frame *frame)
{
	static const uint32_t code[] = { [VERDICT_PASS] = (uint32_t)TC_ACT_UNSPEC, [VERDICT_MINE] = (uint32_t)TC_ACT_UNSPEC,
					 [VERDICT_RELAY] = (uint32_t)TC_ACT_UNSPEC, [VERDICT_DROP] = TC_ACT_SHOT,
					 [VERDICT_DETOUR] = TC_ACT_REDIRECT };
	uint64_t before = reason_count(x->reason);
	struct frame out = { .len = 0 };
	uint32_t ret;

	ret = run(frame, &out, 1, NULL);
	if (ret != code[x->action])
		fail_msg("%s (v%d): returned %d", x->name, family_of(f), (int)ret);
	if (reason_count(x->reason) != before + 1)
		fail_msg("%s (v%d): not counted as %s", x->name, family_of(f), verdict_reason_name(x->reason));
	assert_int_equal(out.len, frame->len);
	if (memcmp(out.byte + 12, frame->byte + 12, frame->len - 12))
		fail_msg("%s (v%d): changed more than the addresses", x->name, family_of(f));
	if (x->action == VERDICT_DETOUR) {
		struct detour d = { 0 };
		struct triple t;

		assert_true(vmac_decode(out.byte, &t));
		assert_memory_equal(&t, &x->next, sizeof(t));
		assert_true(detour_decode(out.byte + 6, &d));
		assert_int_equal(d.sender, SELF);
		assert_int_equal(d.first, x->came.sender ? x->came.first : SELF);
		assert_int_equal(d.reason, x->came.sender ? x->came.reason : x->reason);
		assert_int_equal(d.budget, x->budget);
	} else if (memcmp(out.byte, frame->byte, 12)) {
		fail_msg("%s (v%d): addresses changed", x->name, family_of(f));
	}
}

/* BPF_PROG_TEST_RUN takes no frame that is shorter than its IP header: over the wire then. */
static int too_short(const struct frame *frame, int f)
{
	return frame->len < (f ? 54u : 34u);
}

static void expect_count(const struct fixture *x, const struct frame *frame)
{
	uint64_t before = reason_count(x->reason);

	send_frame(frame);
	usleep(20000);
	if (reason_count(x->reason) != before + 1)
		fail_msg("%s, %u bytes: not counted as %s", x->name, frame->len, verdict_reason_name(x->reason));
}

static void all_fixtures(void **state)
{
	size_t i, n = 0;
	int f;

	(void)state;
	for (i = 0; i < N_FIXTURES; i++) {
		for (f = 0; f < 2; f++) {
			const struct fixture *x = &fixtures[i];
			struct frame frame;

			if (x->only && x->only != family_of(f))
				continue;
			fixture_frame(&frame, x, family_of(f), &socket_of[f][x->socket]);
			n++;
			if (too_short(&frame, f)) {
				expect_count(x, &frame);
				continue;
			}
			expect_explained(x, f, &frame);
			expect_run(x, f, &frame);
		}
	}
	print_message("%zu fixtures\n", n);
}

/* The control: with detours off every would-be detour is delivered. */
static void detours_off(void **state)
{
	size_t i;

	(void)state;
	assert_int_equal(datapath_ebpf.set_detours(path, false), 0);
	for (i = 0; i < N_FIXTURES; i++) {
		struct frame frame, out;

		if (fixtures[i].action != VERDICT_DETOUR)
			continue;
		fixture_frame(&frame, &fixtures[i], FLOW_V4, &socket_of[0][fixtures[i].socket]);
		assert_int_equal((int)run(&frame, &out, 1, NULL), TC_ACT_UNSPEC);
		assert_memory_equal(out.byte, frame.byte, frame.len);
	}
	assert_int_equal(datapath_ebpf.set_detours(path, true), 0);
}

/* --- On the wire --------------------------------------------------------------------------------------- */

static void probe_is_answered(void **state)
{
	struct fixture x = { "probe", T(SELF), .shape = SH_PROBE };
	const struct triple own = T(SELF);
	struct frame f;
	uint8_t b[2048], mac[6];

	(void)state;
	drain_wire();
	fixture_frame(&f, &x, FLOW_V4, &socket_of[0][0]);
	send_frame(&f);
	assert_int_equal(next_frame(b, sizeof(b), 1000), 60);
	router_mac(mac, 1);
	assert_memory_equal(b, mac, 6);
	vmac_encode(mac, &own);
	assert_memory_equal(b + 6, mac, 6);
	assert_int_equal(b[14 + 3], PROBE_REPLY);
	assert_int_equal(b[14 + 5], SELF);
	assert_memory_equal(b + 14 + 8, f.byte + 14 + 8, 60 - 22);
	x.shape = SH_PROBE_REPLY; /* a reply is never answered */
	fixture_frame(&f, &x, FLOW_V4, &socket_of[0][0]);
	send_frame(&f);
	assert_int_equal(next_frame(b, sizeof(b), 100), 0);
}

/* A later fragment goes to hosts 2 and 3, once each, not to host 1, and within the rate. */
static void relay_copies(void **state)
{
	const struct fixture x = { "relay", T(SELF), .shape = SH_LATER_FRAGMENT };
	uint64_t limited = reason_count(REASON_RELAY_LIMITED);
	struct frame f;
	uint8_t b[2048];
	int i, seen[4] = { 0 }, copies = 0;

	(void)state;
	drain_wire();
	usleep(200000);
	fixture_frame(&f, &x, FLOW_V4, &socket_of[0][0]);
	send_frame(&f);
	while (next_frame(b, sizeof(b), 200)) {
		struct triple t = { 0 };
		struct detour d = { 0 };

		assert_true(vmac_decode(b, &t) && triple_len(&t) == 1 && t.host[0] < 4);
		assert_true(detour_decode(b + 6, &d));
		assert_int_equal(d.sender, SELF);
		assert_int_equal(d.budget, 0);
		assert_memory_equal(b + 12, f.byte + 12, f.len - 12);
		seen[t.host[0]]++;
	}
	assert_int_equal(seen[1], 0);
	assert_int_equal(seen[2], 1);
	assert_int_equal(seen[3], 1);
	for (i = 0; i < 400; i++)
		send_frame(&f);
	while (next_frame(b, sizeof(b), 200))
		copies++;
	assert_true(reason_count(REASON_RELAY_LIMITED) > limited);
	assert_in_range(copies, 2, 2 * REDIRECT_RELAY_PER_WINDOW * 3);
}

/* [1,2] is not v0's own address: without the change of pkt_type the stack would drop the SYN. */
static void foreign_vmac_is_delivered(void **state)
{
	const struct fixture x = { "syn", T(SELF, 2), .shape = SH_TCP, .socket = FS_LISTEN, .flags = F_SYN };
	struct frame f;
	uint32_t seq;

	(void)state;
	fixture_frame(&f, &x, FLOW_V4, &socket_of[0][FS_LISTEN]);
	send_frame(&f);
	expect_segment(0, fixture_port(FS_LISTEN), F_SYN | F_ACK, &seq);
}

/* --- Watched flows, counters, adoption ----------------------------------------------------------------- */

static void watched_flows(void **state)
{
	struct datapath_watch w[2] = { 0 };
	struct fixture x = { "", T(SELF), .shape = SH_TCP, .socket = FS_ESTABLISHED, .flags = F_ACK };
	struct frame f, out;
	int i;

	(void)state;
	for (i = 0; i < 2; i++) {
		w[i].client.family = w[i].vip.family = AF_INET;
		memcpy(&w[i].client.v4, fixture_client4, 4);
		memcpy(&w[i].vip.v4, fixture_vip4, 4);
		w[i].client_port = fixture_port(i ? FS_REQUEST : FS_ESTABLISHED);
		w[i].vip_port = 80;
	}
	assert_int_equal(datapath_ebpf.watch(path, w, 2), 0);
	fixture_frame(&f, &x, FLOW_V4, &socket_of[0][FS_ESTABLISHED]);
	run(&f, &out, 1, NULL);
	assert_int_equal(datapath_ebpf.watched(path, w, 2), 0);
	assert_true(w[0].seen && w[0].owner == SELF); /* directly */
	assert_false(w[1].seen);
	x.came = (struct detour){ 3, 2, 0, 1 }; /* by 2, which detoured it first, and 3 */
	fixture_frame(&f, &x, FLOW_V4, &socket_of[0][FS_ESTABLISHED]);
	run(&f, &out, 1, NULL);
	datapath_ebpf.watched(path, w, 2);
	assert_int_equal(w[0].owner, 2);
	assert_int_equal(datapath_ebpf.watch(path, NULL, 0), 0);
}

static void host_counters(void **state)
{
	static uint64_t to[HOST_ID_MAX + 1], from[HOST_ID_MAX + 1];
	struct datapath_counters c = { .detour_to = to, .detour_from = from };
	uint64_t was_to, was_from;
	const struct fixture x = { "", T(SELF, 4094), FROM(7, 7, 2), .shape = SH_TCP, .socket = FS_NOTHING, .flags = F_ACK };
	struct frame f, out;

	(void)state;
	datapath_ebpf.counters(path, &c);
	was_to = to[4094];
	was_from = from[7];
	fixture_frame(&f, &x, FLOW_V4, &socket_of[0][FS_NOTHING]);
	run(&f, &out, 1, NULL);
	datapath_ebpf.counters(path, &c);
	assert_int_equal(to[4094], was_to + 1);
	assert_int_equal(from[7], was_from + 1);
	assert_true(c.last_detour_in_ns && c.last_detour_out_ns && c.last_cookie_ns);
}

/* The agent goes and comes back: probes are answered in between, counters and VIPs go on. */
static void adoption(void **state)
{
	uint64_t before = reason_count(REASON_PROBE);

	datapath_ebpf.close(path, false);
	path = NULL;
	open_path();
	assert_true(before > 0);
	assert_int_equal(reason_count(REASON_PROBE), before);
	datapath_ebpf.close(path, false);
	path = NULL;
	{ /* nobody there */
		const struct fixture x = { "probe", T(SELF), .shape = SH_PROBE };
		struct frame f;
		uint8_t b[2048];

		drain_wire();
		fixture_frame(&f, &x, FLOW_V4, &socket_of[0][0]);
		send_frame(&f);
		assert_int_equal(next_frame(b, sizeof(b), 1000), 60);
	}
	open_path();
	all_fixtures(state);
}

/* --- Speed --------------------------------------------------------------------------------------------- */

static int compare_u32(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* A frame that the program changes would be another one at the second pass: detours are not measured here. */
static uint32_t median_ns(int fd, int f, const struct fixture *x)
{
	struct frame frame, out;
	uint32_t ns[15];
	int i;

	fixture_frame(&frame, x, family_of(f), &socket_of[f][x->socket]);
	for (i = 0; i < 15; i++)
		run_program(fd, &frame, &out, 20000, &ns[i]);
	qsort(ns, 15, sizeof(ns[0]), compare_u32);
	return ns[7];
}

/* return TC_ACT_UNSPEC */
static int load_empty(void)
{
	const struct bpf_insn insn[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = TC_ACT_UNSPEC },
		{ .code = BPF_JMP | BPF_EXIT },
	};

	return bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "empty", "GPL", insn, 2, NULL);
}

/* Over an empty program.  Generous limits, since machines differ and are shared; `make bench-l4` measures. */
static void speed(void **state)
{
	static const struct {
		struct fixture x;
		uint32_t limit_ns;
	} row[] = {
		{ { "not ip", T(SELF), .shape = SH_ARP }, 400 },
		{ { "at rest", T(SELF), .shape = SH_TCP, .socket = FS_ESTABLISHED, .flags = F_ACK }, 400 },
		{ { "syn", T(SELF, 2), .shape = SH_TCP, .socket = FS_LISTEN, .flags = F_SYN }, 1000 },
		{ { "established", T(SELF, 2), .shape = SH_TCP, .socket = FS_ESTABLISHED, .flags = F_ACK }, 1500 },
		{ { "cookie", T(SELF, 2), .shape = SH_TCP, .socket = FS_COOKIE, .flags = F_ACK }, 3000 },
	};
	int f, full = bpf_program__fd(skel->progs.redirect), empty = load_empty();
	size_t i;

	(void)state;
	assert_true(empty >= 0);
	for (i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		for (f = 0; f < 2; f++) {
			uint32_t base = median_ns(empty, f, &row[i].x), ns = median_ns(full, f, &row[i].x);

			print_message("%-12s v%d %5u ns, empty program %u, difference %d\n", row[i].x.name, family_of(f), ns,
				      base, (int)(ns - base));
			assert_true(ns < base + row[i].limit_ns);
		}
	}
	close(empty);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_fixtures),	     cmocka_unit_test(detours_off),
		cmocka_unit_test(probe_is_answered), cmocka_unit_test(relay_copies),
		cmocka_unit_test(foreign_vmac_is_delivered), cmocka_unit_test(watched_flows),
		cmocka_unit_test(host_counters),     cmocka_unit_test(adoption),
		cmocka_unit_test(speed),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
