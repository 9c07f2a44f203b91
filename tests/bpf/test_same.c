/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The two data paths against the same fixtures, on the wire: each frame is asked of `explain` and then
 * really sent to the host, once with the eBPF program on its link, once with the kernel module.  What
 * is seen is written down whole: the explanation, every counter that moved, what the stack behind the
 * data path got (its bytes, and whether as its own or as another host's), and every frame that came
 * back out.  It must be what the fixture says, and the same from both, byte for byte.
 *
 * Sockets are made first; then all that comes in meets a black hole in the routes, so that the stack answers nothing and no
 * frame changes a socket for the next.  Where the kernel takes no modules, the module's half is done
 * by the same program in a VM (tests/vm/run), where its absence is a failure.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <cmocka.h>

#include "agent/datapath.h"
#include "tests/bpf/host_bed.h"
#include "tests/vm/rounds.h"

#define PATHS 2
#define FRAMES_MAX 4

static const struct datapath_ops *const ops_of[PATHS] = { &datapath_ebpf, &datapath_module };
static const struct datapath_ops *ops;
static struct datapath *path;
static char pin_dir[64];

/* Behind the data path on v0, by protocol. */
static const uint16_t stack_protocol[] = { 0x0800, 0x86dd, 0x0806, PROBE_ETHERTYPE };
static int stack[4] = { -1, -1, -1, -1 };

/* --- What was seen of one frame -------------------------------------------------------------------------- */

struct seen_frame {
	uint8_t byte[FIXTURE_FRAME_MAX + 64];
	uint32_t len;
};

struct seen {
	char text[128];
	uint64_t moved[REASON_MAX];
	uint64_t to, from;	   /* all hosts' detours */
	unsigned int delivered, other; /* to the stack; of them not as its own */
	struct seen_frame stack, out[FRAMES_MAX];
	unsigned int n_out;
};

static struct seen seen[PATHS][N_FIXTURES][2];
static struct seen watched[PATHS][N_FIXTURES][2]; /* again, while every flow is watched */
static bool have[PATHS];

struct counted {
	uint64_t reason[REASON_MAX], to, from;
};

static struct counted count_all(void)
{
	static uint64_t to[HOST_ID_MAX + 1], from[HOST_ID_MAX + 1];
	struct counted n = { .to = 0 };
	struct datapath_counters c = { .reason = n.reason, .n_reasons = REASON_MAX, .detour_to = to, .detour_from = from };
	int i;

	assert_int_equal(ops->counters(path, &c), 0);
	for (i = 0; i <= HOST_ID_MAX; i++) {
		n.to += to[i];
		n.from += from[i];
	}
	return n;
}

static void look_at_stack(struct seen *s)
{
	size_t i;

	for (i = 0; i < sizeof(stack) / sizeof(stack[0]); i++) {
		struct sockaddr_ll from;
		socklen_t len = sizeof(from);
		uint8_t b[2048];
		ssize_t n;

		while ((n = recvfrom(stack[i], b, sizeof(b), MSG_DONTWAIT, (struct sockaddr *)&from, &len)) >= 0) {
			if (from.sll_pkttype == PACKET_OUTGOING || from.sll_pkttype == PACKET_MULTICAST || b[0] == 0x33)
				continue;
			s->delivered++;
			s->other += from.sll_pkttype == PACKET_OTHERHOST;
			assert_true((size_t)n <= sizeof(s->stack.byte));
			s->stack.len = (uint32_t)n;
			memcpy(s->stack.byte, b, (size_t)n);
		}
	}
}

/* Copies of a relay may leave in any order: by their destination. */
static void look_at_wire(struct seen *s, int ms)
{
	struct seen_frame f = { { 0 }, 0 };
	unsigned int i;

	while ((f.len = next_frame(f.byte, sizeof(f.byte), ms))) {
		if (f.byte[6] != MAC_KIND_DETOUR && f.byte[0] != MAC_KIND_ROUTER)
			continue; /* the kernel's own, e.g. a SYN-ACK again */
		if (f.byte[0] == MAC_KIND_ROUTER && (f.byte[12] << 8 | f.byte[13]) != PROBE_ETHERTYPE)
			continue;
		assert_true(s->n_out < FRAMES_MAX);
		for (i = s->n_out++; i && memcmp(s->out[i - 1].byte, f.byte, 6) > 0; i--)
			s->out[i] = s->out[i - 1];
		memset(f.byte + f.len, 0, sizeof(f.byte) - f.len); /* a longer one that was passed over */
		s->out[i] = f;
	}
}

static void watch_one(struct seen *s, const struct frame *f)
{
	struct counted before, after;
	struct datapath_decision said;
	int i, err;

	memset(s, 0, sizeof(*s));
	err = ops->explain(path, f->byte, f->len, "v0", &said);
	if (err)
		snprintf(s->text, sizeof(s->text), "cannot be asked");
	else
		datapath_decision_text(&said, NULL, s->text, sizeof(s->text));
	before = count_all();
	send_frame(f);
	look_at_wire(s, 12); /* the wire is a function call: what comes is there at once */
	look_at_stack(s);
	after = count_all();
	for (i = 0; i < REASON_MAX; i++)
		s->moved[i] = after.reason[i] - before.reason[i];
	s->to = after.to - before.to;
	s->from = after.from - before.from;
}

/* --- What the fixture says ------------------------------------------------------------------------------- */

static void expect_frame(const struct fixture *x, const struct frame *sent, const struct seen_frame *got, const struct triple *to,
			 unsigned int budget)
{
	struct triple t = { 0 };
	struct detour d = { 0 };

	if (!vmac_decode(got->byte, &t) || memcmp(&t, to, sizeof(t)) || !detour_decode(got->byte + 6, &d) || d.sender != SELF)
		fail_msg("%s: came back with the wrong addresses", x->name);
	assert_int_equal(d.first, x->came.sender ? x->came.first : SELF);
	assert_int_equal(d.reason, x->came.sender ? x->came.reason : x->reason);
	assert_int_equal(d.budget, budget);
	if (got->len != sent->len || memcmp(got->byte + 12, sent->byte + 12, sent->len - 12))
		fail_msg("%s: came back changed behind the addresses", x->name);
}

static void expect_seen(const struct fixture *x, const struct frame *f, const struct seen *s)
{
	static const struct triple relayed[2] = { T(2), T(3) };
	unsigned int i;

	for (i = 0; i < REASON_MAX; i++)
		if (s->moved[i] != (i == x->reason))
			fail_msg("%s (%s): %s counted %u times, expected %s once", x->name, ops->name,
				 verdict_reason_name((enum verdict_reason)i), (unsigned int)s->moved[i], verdict_reason_name(x->reason));
	assert_int_equal(s->to, x->action == VERDICT_DETOUR);
	assert_int_equal(s->from, x->came.sender && x->action != VERDICT_PASS);
	assert_int_equal(s->n_out, x->action == VERDICT_DETOUR ? 1 : x->action == VERDICT_RELAY ? 2 : 0);
	if (x->action == VERDICT_DETOUR)
		expect_frame(x, f, &s->out[0], &x->next, x->budget);
	for (i = 0; x->action == VERDICT_RELAY && i < 2; i++)
		expect_frame(x, f, &s->out[i], &relayed[i], 0);
	if ((x->action == VERDICT_MINE || x->action == VERDICT_RELAY) && (s->delivered != 1 || s->other) && f->len > 14)
		fail_msg("%s (%s): delivered %u times, %u of them as another host's", x->name, ops->name, s->delivered, s->other);
	if ((x->action == VERDICT_DETOUR || x->action == VERDICT_DROP) && s->delivered)
		fail_msg("%s (%s): reached the stack", x->name, ops->name);
}

/* --- Cases ------------------------------------------------------------------------------------------------ */

static int open_path(int which, char *why, size_t why_len)
{
	static struct address address[2] = { { .family = AF_INET }, { .family = AF_INET6 } };
	static struct vip vip = { .name = "www", .address = address, .n_addresses = 2 };
	static const uint16_t hosts[] = { 1, 2, 3 };
	static const char device[1][IF_NAMESIZE] = { "v0" };
	int err;

	memcpy(&address[0].v4, fixture_vip4, 4);
	memcpy(&address[1].v6, fixture_vip6, 16);
	ops = ops_of[which];
	err = ops->open(SELF, pin_dir, why, why_len, &path);
	if (err)
		return err;
	assert_int_equal(ops->set_vips(path, &vip, 1), 0);
	assert_int_equal(ops->set_hosts(path, hosts, 3), 0);
	assert_int_equal(ops->set_devices(path, device, 1), 0);
	return 0;
}

/* Every flow of the fixtures is watched: nobody is at rest any more, and late answers to probes go no further. */
static void run_watched(int which)
{
	struct datapath_watch w[2 * FS_N];
	unsigned int late = 0;
	size_t i;
	int f;

	memset(w, 0, sizeof(w));
	for (i = 0; i < 2 * FS_N; i++) {
		f = i >= FS_N;
		w[i].client.family = w[i].vip.family = f ? AF_INET6 : AF_INET;
		memcpy(f ? (void *)&w[i].client.v6 : (void *)&w[i].client.v4, f ? fixture_client6 : fixture_client4, f ? 16 : 4);
		memcpy(f ? (void *)&w[i].vip.v6 : (void *)&w[i].vip.v4, f ? fixture_vip6 : fixture_vip4, f ? 16 : 4);
		w[i].client_port = fixture_port((enum fixture_socket_kind)(i % FS_N));
		w[i].vip_port = fixture_service((enum fixture_socket_kind)(i % FS_N));
	}
	assert_int_equal(ops->watch(path, w, 2 * FS_N), 0);
	for (i = 0; i < N_FIXTURES; i++) {
		const struct fixture *x = &fixtures[i];
		/* A bare ACK of a flow that nobody here knows. */
		bool is_late = (x->shape == SH_TCP || x->shape == SH_OPTIONS) && x->flags == F_ACK &&
			       (x->socket == FS_NOTHING || x->socket == FS_LISTEN || (x->socket == FS_COOKIE && x->ack_off));

		for (f = 0; f < 2; f++) {
			struct seen *s = &watched[which][i][f];
			struct frame frame;

			if (x->only && x->only != family_of(f))
				continue;
			fixture_frame(&frame, x, family_of(f), &socket_of[f][x->socket]);
			watch_one(s, &frame);
			is_late &= x->action == VERDICT_MINE || x->action == VERDICT_DETOUR;
			if (s->moved[REASON_PROBE_ANSWER] != is_late || (is_late && (s->delivered || s->n_out)))
				fail_msg("%s (%s), watched: an answer to a probe %s", x->name, ops->name, is_late ? "went on" : "was seen");
			late += is_late;
		}
	}
	assert_true(late > 0);
	assert_int_equal(ops->watched(path, w, 2 * FS_N), 0);
	for (f = 0; f < 2; f++) {
		assert_true(w[f * FS_N + FS_ESTABLISHED].seen);
		assert_int_equal(w[f * FS_N + FS_ESTABLISHED].owner, SELF + 1); /* the last of them: on detour, first got by 2 */
	}
	assert_int_equal(ops->watch(path, NULL, 0), 0);
}

static void run_path(int which)
{
	char why[256] = "";
	size_t i;
	int f, err = open_path(which, why, sizeof(why));

	if (err && which && !getenv("BATON_IN_VM")) {
		print_message("# skip: %s; make vm does it on kernels that take it\n", why);
		skip();
	}
	if (err)
		fail_msg("%s", why);
	drain_wire();
	for (i = 0; i < N_FIXTURES; i++) {
		for (f = 0; f < 2; f++) {
			const struct fixture *x = &fixtures[i];
			struct frame frame;

			if (x->only && x->only != family_of(f))
				continue;
			fixture_frame(&frame, x, family_of(f), &socket_of[f][x->socket]);
			watch_one(&seen[which][i][f], &frame);
			expect_seen(x, &frame, &seen[which][i][f]);
		}
	}
	run_watched(which);
	have[which] = true;
	ops->close(path, true);
	path = NULL;
}

static void ebpf_does_what_the_fixtures_say(void **state)
{
	(void)state;
	if (!rounds(1, 0))
		skip(); /* minutes go by until that kernel has verified an eBPF program: the module's half only */
	run_path(0);
}

static void module_does_what_the_fixtures_say(void **state)
{
	(void)state;
	run_path(1);
}

/* Both, in full: the first thing to look at when they differ. */
static void show(const struct seen *s)
{
	unsigned int i, j;

	print_message("%s; delivered %u, not as its own %u, out %u, to %u, from %u\n", s->text, s->delivered, s->other, s->n_out,
		      (unsigned int)s->to, (unsigned int)s->from);
	for (i = 0; i <= s->n_out; i++) {
		const struct seen_frame *f = i ? &s->out[i - 1] : &s->stack;

		print_message("  %s %3u:", i ? "out" : "stack", f->len);
		for (j = 0; j < f->len && j < sizeof(f->byte); j++)
			print_message("%02x", f->byte[j]);
		print_message("\n");
	}
}

static void both_do_the_same(void **state)
{
	size_t i, n = 0;
	int f, again;

	(void)state;
	if (!have[0] || !have[1]) {
		print_message("# skip: only one data path ran\n");
		skip();
	}
	for (i = 0; i < 2 * N_FIXTURES; i++) {
		for (f = 0; f < 2; f++) {
			const struct seen *a, *b;

			again = i >= N_FIXTURES;
			a = again ? &watched[0][i - N_FIXTURES][f] : &seen[0][i][f];
			b = again ? &watched[1][i - N_FIXTURES][f] : &seen[1][i][f];

			/* BPF_PROG_TEST_RUN takes no frame that is shorter than its IP header. */
			if (strcmp(a->text, b->text) && strcmp(a->text, "cannot be asked"))
				fail_msg("%s (v%d): eBPF explains \"%s\", the module \"%s\"", fixtures[i % N_FIXTURES].name, family_of(f), a->text, b->text);
			if (memcmp(a->moved, b->moved, sizeof(*a) - offsetof(struct seen, moved))) {
				show(a);
				show(b);
				fail_msg("%s (v%d): the two differ", fixtures[i % N_FIXTURES].name, family_of(f));
			}
			n++;
		}
	}
	print_message("%zu fixtures, no difference\n", n);
}

/* The control: one that is set otherwise is seen to differ. */
static void a_difference_is_seen(void **state)
{
	const struct fixture x = { "nothing", T(1, 2), .shape = SH_TCP, .socket = FS_NOTHING, .flags = F_ACK };
	static struct seen on, off;
	char why[256] = "";
	struct frame f;

	(void)state;
	assert_int_equal(open_path(rounds(0, 1), why, sizeof(why)), 0);
	fixture_frame(&f, &x, FLOW_V4, &socket_of[0][FS_NOTHING]);
	watch_one(&on, &f);
	assert_int_equal(ops->set_detours(path, false), 0);
	watch_one(&off, &f);
	assert_true(memcmp(on.moved, off.moved, sizeof(on) - offsetof(struct seen, moved)));
	assert_int_equal(off.delivered, 1);
	assert_int_equal(on.delivered, 0);
	ops->close(path, true);
	path = NULL;
}

static int set_up(void **state)
{
	size_t i;

	(void)state;
	if (make_bed())
		return -1;
	snprintf(pin_dir, sizeof(pin_dir), "/sys/fs/bpf/bt-same-%d", getpid());
	make_sockets();
	for (i = 0; i < sizeof(stack) / sizeof(stack[0]); i++)
		stack[i] = packet_socket("v0", stack_protocol[i]);
	/* What comes in finds no route; what the sockets send (a SYN-ACK again) does. */
	for (i = 0; i < 2; i++)
		shell(i ? "for v in -4 -6; do ip $v rule del pref 0; done" :
			  "for v in -4 -6; do ip $v rule add pref 5 iif v0 blackhole; ip $v rule add pref 10 lookup local; done");
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	if (path)
		ops->close(path, true);
	return access(pin_dir, F_OK) ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ebpf_does_what_the_fixtures_say),
		cmocka_unit_test(module_does_what_the_fixtures_say),
		cmocka_unit_test(both_do_the_same),
		cmocka_unit_test(a_difference_is_seen),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
