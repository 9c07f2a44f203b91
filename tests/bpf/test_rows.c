// SPDX-License-Identifier: BSD-2-Clause
/*
 * Rows (l7/row/flow.h) on one host: every state of a row meets every kind of packet, in both directions and families,
 * once in BPF_PROG_TEST_RUN and once on a real wire (host_bed.h); then what is bounded, and what changes under way.
 * The same frames without a row are the control: they pass.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>

#include <cmocka.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/clock.h"
#include "agent/rows_left.h"
#include "flow.skel.h"
#include "l7/row/rows.h"
#include "tests/bpf/host_bed.h"

#define OWNER 2
#define LONG_AGO 1
#define CONCURRENT 100000
#define ACT_UNSPEC 0xffffffffu
#define ACT_SHOT 2
#define ACT_REDIRECT 7

static struct rows *rows;
static struct flow_bpf *skel; /* the same program again, for TEST_RUN */
static char pins[64];
static int behind[2], inside[2] = { -1, -1 }, host_out; /* packet sockets: behind the program, behind the TAP, out of v0 */

/* --- What a row may be, and what it does ----------------------------------------------------------------------- */

enum outcome { PASSED, HELD, FORWARDED, DROPPED, REMOVED };

static const struct kind {
	const char *name;
	struct row row;
	bool none;
} kinds[] = {
	{ "no row", .none = true },
	{ "hold", .row = { .state = ROW_HOLD } },
	{ "hold, until later", .row = { .state = ROW_HOLD, .deadline_ns = UINT64_MAX } },
	{ "hold, past its time", .row = { .state = ROW_HOLD, .deadline_ns = LONG_AGO } },
	{ "forward", .row = { .state = ROW_FWD, .owner = OWNER } },
	{ "forward, past its time", .row = { .state = ROW_FWD, .owner = OWNER, .deadline_ns = LONG_AGO } },
	{ "forward to this host", .row = { .state = ROW_FWD, .owner = SELF } },
	{ "forward to nobody", .row = { .state = ROW_FWD } },
	{ "closing", .row = { .state = ROW_CLOSING, .owner = OWNER } },
	{ "closing, past its time", .row = { .state = ROW_CLOSING, .owner = OWNER, .deadline_ns = LONG_AGO } },
	{ "ended", .row = { .state = ROW_ENDED } },
	{ "ended, past its time", .row = { .state = ROW_ENDED, .deadline_ns = LONG_AGO } },
	{ "of no state", .row = { .state = 9, .owner = OWNER } },
};
#define N_KINDS (sizeof(kinds) / sizeof(*kinds))

static bool in_force(const struct kind *k)
{
	return !k->none && k->row.deadline_ns != LONG_AGO;
}

/* --- Every packet that may come ---------------------------------------------------------------------------------- */

static const struct fixture packets[] = {
	{ "syn", T(SELF), .shape = SH_TCP, .socket = FS_LISTEN, .flags = F_SYN },
	{ "syn-ack", T(SELF), .shape = SH_TCP, .socket = FS_LISTEN, .flags = F_SYN | F_ACK },
	{ "ack", T(SELF), .shape = SH_TCP, .socket = FS_LISTEN, .flags = F_ACK },
	{ "rst", T(SELF), .shape = SH_TCP, .socket = FS_LISTEN, .flags = F_RST },
	{ "fin", T(SELF), .shape = SH_TCP, .socket = FS_LISTEN, .flags = F_FIN | F_ACK },
	{ "ack, history", T(SELF, 3), .shape = SH_TCP, .socket = FS_LISTEN, .flags = F_ACK },
	{ "ack, long history", T(SELF, 3, OWNER), .shape = SH_TCP, .socket = FS_LISTEN, .flags = F_ACK },
	{ "ack, on detour", T(SELF), FROM(3, 3, 2), .shape = SH_TCP, .socket = FS_LISTEN, .flags = F_ACK },
	{ "ack, for another host", T(3, SELF), .shape = SH_TCP, .socket = FS_LISTEN, .flags = F_ACK },
	{ "options", T(SELF), .shape = SH_OPTIONS, .socket = FS_LISTEN, .flags = F_ACK },
	{ "options, syn", T(SELF), .shape = SH_OPTIONS, .socket = FS_LISTEN, .flags = F_SYN },
	{ "long chain", T(SELF), .shape = SH_CHAIN, .socket = FS_LISTEN, .flags = F_ACK, .only = FLOW_V6 },
	{ "first fragment", T(SELF), .shape = SH_FIRST_FRAGMENT, .socket = FS_LISTEN, .flags = F_ACK },
	{ "later fragment", T(SELF), .shape = SH_LATER_FRAGMENT, .socket = FS_LISTEN, .flags = F_ACK },
	{ "error", T(SELF), .shape = SH_ERROR, .socket = FS_LISTEN },
	{ "error, long quote", T(SELF), .shape = SH_ERROR_LONG, .socket = FS_LISTEN },
	{ "error, short quote", T(SELF), .shape = SH_ERROR_SHORT, .socket = FS_LISTEN },
	{ "error, quotes a fragment", T(SELF), .shape = SH_ERROR_FRAGMENT, .socket = FS_LISTEN },
	{ "another flow", T(SELF), .shape = SH_TCP, .socket = FS_NOTHING, .flags = F_ACK },
	{ "another address", T(SELF), .shape = SH_NOT_VIP, .socket = FS_LISTEN, .flags = F_ACK },
	{ "udp", T(SELF), .shape = SH_UDP, .socket = FS_LISTEN },
	{ "echo", T(SELF), .shape = SH_ECHO, .socket = FS_LISTEN },
	{ "vlan", T(SELF), .shape = SH_VLAN, .socket = FS_LISTEN, .flags = F_ACK },
	{ "qinq", T(SELF), .shape = SH_QINQ, .socket = FS_LISTEN, .flags = F_ACK },
	{ "arp", T(SELF), .shape = SH_ARP },
	{ "cut ip", T(SELF), .shape = SH_CUT_IP, .socket = FS_LISTEN },
	{ "cut tcp", T(SELF), .shape = SH_CUT_TCP, .socket = FS_LISTEN, .flags = F_ACK },
	{ "short tcp", T(SELF), .shape = SH_SHORT_TCP, .socket = FS_LISTEN, .flags = F_ACK },
	{ "bad version", T(SELF), .shape = SH_BAD_VERSION, .socket = FS_LISTEN, .flags = F_ACK },
	{ "bad header", T(SELF), .shape = SH_BAD_HEADER, .socket = FS_LISTEN, .flags = F_ACK },
	{ "bad doff", T(SELF), .shape = SH_BAD_DOFF, .socket = FS_LISTEN, .flags = F_ACK },
};
#define N_PACKETS (sizeof(packets) / sizeof(*packets))

static bool is_of_the_flow(const struct fixture *x, int family)
{
	if (x->to.host[0] != SELF || x->socket != FS_LISTEN)
		return false;
	switch (x->shape) {
	case SH_TCP:
	case SH_OPTIONS:
	case SH_FIRST_FRAGMENT:
	case SH_ERROR:
	case SH_ERROR_LONG: return true;
	case SH_CHAIN: return family == FLOW_V4;
	default: return false;
	}
}

static enum outcome expected(const struct kind *k, const struct fixture *x, int family, uint8_t ttl)
{
	bool syn = x->shape != SH_ERROR && x->shape != SH_ERROR_LONG && (x->flags & (F_SYN | F_ACK)) == F_SYN;

	if (!in_force(k) || !is_of_the_flow(x, family))
		return PASSED;
	if (k->row.state == ROW_HOLD)
		return HELD;
	if ((k->row.state == ROW_CLOSING || k->row.state == ROW_ENDED) && syn)
		return REMOVED;
	if (k->row.state == ROW_ENDED) /* (what has a socket: l7/test_handoff_late) */
		return triple_len(&x->to) > 1 || x->shape == SH_ERROR || x->shape == SH_ERROR_LONG ? PASSED : DROPPED;
	if ((k->row.state != ROW_FWD && k->row.state != ROW_CLOSING) || k->row.owner != OWNER)
		return PASSED;
	return ttl <= 1 ? DROPPED : FORWARDED;
}

static struct flow the_flow(int family)
{
	struct flow f = { .family = (uint8_t)family, .protocol = PACKET_TCP, .sport = htons(fixture_port(FS_LISTEN)), .dport = htons(80) };

	memcpy(f.saddr, family == FLOW_V4 ? fixture_client4 : fixture_client6, family == FLOW_V4 ? 4 : 16);
	memcpy(f.daddr, family == FLOW_V4 ? fixture_vip4 : fixture_vip6, family == FLOW_V4 ? 4 : 16);
	return f;
}

static void make_frame(struct frame *f, const struct fixture *x, int family, uint8_t ttl)
{
	static const struct fixture_socket s = { 1000, 2000 };
	uint8_t *ip = f->byte + 14;

	fixture_frame(f, x, family, &s);
	if (ttl == 64 || x->shape == SH_ARP)
		return;
	if (family == FLOW_V6) {
		ip[7] = ttl;
		return;
	}
	ip[8] = ttl;
	put16(ip + 10, 0);
	put16(ip + 10, fixture_fold(fixture_sum(ip, (uint32_t)(ip[0] & 15) * 4, 0)));
}

/* As it came, but for the addresses of a host that sends on to the owner, one hop less, and a right checksum. */
static void assert_forwarded(const struct frame *in, const uint8_t *out, uint32_t len, int family)
{
	struct triple owner = { { OWNER } }, self = { { SELF } };
	struct frame want = *in;
	uint8_t *ip = want.byte + 14;

	assert_int_equal(len, in->len);
	vmac_encode(want.byte, &owner);
	vmac_encode(want.byte + 6, &self);
	if (family == FLOW_V6) {
		ip[7]--;
	} else {
		ip[8]--;
		put16(ip + 10, 0);
		put16(ip + 10, fixture_fold(fixture_sum(ip, (uint32_t)(ip[0] & 15) * 4, 0)));
	}
	assert_memory_equal(out, want.byte, len);
}

/* --- BPF_PROG_TEST_RUN ---------------------------------------------------------------------------------------------- */

static uint64_t counted(int map, uint32_t what)
{
	uint64_t n[256] = { 0 }, sum = 0;
	int cpu;

	assert_int_equal(bpf_map_lookup_elem(map, &what, n), 0);
	for (cpu = 0; cpu < libbpf_num_possible_cpus(); cpu++)
		sum += n[cpu];
	return sum;
}

static uint32_t test_run(int prog, const struct frame *f, uint8_t *out, uint32_t *len)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = f->byte, .data_size_in = f->len, .data_out = out, .data_size_out = *len,
		    .repeat = 1);

	int err = bpf_prog_test_run_opts(prog, &opts);

	if (err)
		fail_msg("TEST_RUN of %u bytes: %s", f->len, strerror(-err));
	*len = opts.data_size_out;
	return opts.retval;
}

static void set_row(int map, const struct kind *k, const struct flow *f)
{
	if (k->none)
		bpf_map_delete_elem(map, f);
	else
		assert_int_equal(bpf_map_update_elem(map, f, &k->row, BPF_ANY), 0);
}

static void one_test_run(const struct kind *k, const struct fixture *x, int family, uint8_t ttl)
{
	int map = bpf_map__fd(skel->maps.rows), counts = bpf_map__fd(skel->maps.flow_counts);
	uint64_t held = counted(counts, FLOW_HELD), forwarded = counted(counts, FLOW_FORWARDED);
	uint8_t out[FIXTURE_FRAME_MAX + 64];
	uint32_t len = sizeof(out), act;
	struct flow f = the_flow(family);
	enum outcome want = expected(k, x, family, ttl), got = PASSED;
	struct frame in = { .len = 0 };
	struct row row;

	set_row(map, k, &f);
	make_frame(&in, x, family, ttl);
	act = test_run(bpf_program__fd(skel->progs.flow_ingress), &in, out, &len);
	held = counted(counts, FLOW_HELD) - held;
	forwarded = counted(counts, FLOW_FORWARDED) - forwarded;
	if (act == ACT_REDIRECT)
		got = held ? HELD : FORWARDED;
	else if (act == ACT_SHOT)
		got = DROPPED;
	else if (!k->none && bpf_map_lookup_elem(map, &f, &row))
		got = REMOVED;
	if (got != want || held != (want == HELD) || forwarded != (want == FORWARDED) ||
	    (act != ACT_UNSPEC && act != ACT_SHOT && act != ACT_REDIRECT))
		fail_msg("%s, %s, IPv%d: outcome %d (action %d), expected %d", k->name, x->name, family, got, (int)act, want);
	if (want == FORWARDED)
		assert_forwarded(&in, out, len, family);
	else if (want != DROPPED)
		assert_memory_equal(out, in.byte, in.len);
	if (want == HELD || want == FORWARDED) {
		assert_int_equal(bpf_map_lookup_elem(map, &f, &row), 0);
		assert_int_equal(row.packets, 1);
		assert_int_equal(row.through, x->came.sender ? x->came.first : SELF);
		assert_true(row.seen_ns > LONG_AGO);
	}
	bpf_map_delete_elem(map, &f);
}

static void ingress_by_test_run(void **state)
{
	static const uint8_t ttls[] = { 64, 2, 1, 0 };
	unsigned n = 0;
	size_t k, x, t;
	int v6;

	(void)state;
	for (v6 = 0; v6 < 2; v6++)
		for (k = 0; k < N_KINDS; k++)
			for (x = 0; x < N_PACKETS; x++)
				for (t = 0; t < sizeof(ttls); t++)
					/* (The kernel tests no frame whose IP header is cut.) */
					if ((!packets[x].only || packets[x].only == family_of(v6)) && packets[x].shape != SH_CUT_IP) {
						one_test_run(&kinds[k], &packets[x], family_of(v6), ttls[t]);
						n++;
					}
	print_message("%u combinations\n", n);
}

/* --- On the wire ------------------------------------------------------------------------------------------------------ */

/* How many frames came since; the last of them. */
static unsigned look(int fd, uint8_t *byte, uint32_t *len, int ms)
{
	struct sockaddr_ll from;
	unsigned n = 0;

	for (;;) {
		struct pollfd p = { fd, POLLIN, 0 };
		socklen_t from_len = sizeof(from);
		ssize_t got;

		if (poll(&p, 1, n ? 0 : ms) <= 0)
			return n;
		got = recvfrom(fd, byte, 2048, MSG_DONTWAIT, (struct sockaddr *)&from, &from_len);
		if (got < 14 || from.sll_pkttype == PACKET_OUTGOING || byte[0] == 0x33 || byte[0] == 0xff)
			continue;
		*len = (uint32_t)got;
		n++;
	}
}

static uint64_t waiting(void)
{
	struct rows_counts c;

	rows_poll(rows, 1);
	assert_int_equal(rows_counts(rows, &c), 0);
	return c.waiting;
}

static bool passes_as_ip(const struct fixture *x)
{
	return x->shape != SH_ARP && x->shape != SH_QINQ && x->shape != SH_VLAN;
}

static void one_on_the_wire(const struct kind *k, const struct fixture *x, int family, uint8_t ttl)
{
	enum outcome want = expected(k, x, family, ttl);
	uint8_t out[2048], stack[2048];
	uint32_t out_len = 0, stack_len = 0;
	struct flow f = the_flow(family);
	unsigned n_out, n_stack;
	struct frame in;
	struct row row;

	rows_delete(rows, &f);
	if (!k->none)
		assert_int_equal(rows_put(rows, &f, &k->row), 0);
	if (!k->none && x->flags & F_FIN)
		usleep(FLOW_SETTLE_NS / 1000); /* an end does not wait any more (ends_settle) */
	make_frame(&in, x, family, ttl);
	look(behind[family == FLOW_V6], stack, &stack_len, 0);
	send_frame(&in);
	n_out = look(wire, out, &out_len, want == FORWARDED ? 500 : 1);
	n_stack = look(behind[family == FLOW_V6], stack, &stack_len, want == PASSED || want == REMOVED ? 20 : 1);
	if (n_out != (want == FORWARDED) || (passes_as_ip(x) && n_stack != (want == PASSED || want == REMOVED)) ||
	    waiting() != (want == HELD))
		fail_msg("%s, %s, IPv%d, expected %d: %u frames out, %u to the stack, %llu held", k->name, x->name, family, want,
			 n_out, n_stack, (unsigned long long)waiting());
	if (want == FORWARDED)
		assert_forwarded(&in, out, out_len, family);
	if (want == REMOVED)
		assert_int_equal(rows_get(rows, &f, &row), -ENOENT);
	if (want == HELD) { /* and out of the TAP it goes where the row says by then, as it was */
		row = (struct row){ .state = ROW_FWD, .owner = OWNER };
		assert_int_equal(rows_put(rows, &f, &row), 0);
		rows_release(rows, &f);
		n_out = look(wire, out, &out_len, 500);
		if (ttl <= 1) {
			assert_int_equal(n_out, 0);
		} else {
			assert_int_equal(n_out, 1);
			assert_forwarded(&in, out, out_len, family);
		}
		assert_int_equal(waiting(), 0);
	}
	rows_delete(rows, &f);
}

static void ingress_on_the_wire(void **state)
{
	size_t k, x;
	int v6;

	(void)state;
	for (v6 = 0; v6 < 2; v6++)
		for (k = 0; k < N_KINDS; k++)
			for (x = 0; x < N_PACKETS; x++)
				if (!packets[x].only || packets[x].only == family_of(v6))
					one_on_the_wire(&kinds[k], &packets[x], family_of(v6), 64);
	one_on_the_wire(&kinds[4], &packets[2], FLOW_V4, 1);
	one_on_the_wire(&kinds[4], &packets[2], FLOW_V6, 1);
	one_on_the_wire(&kinds[4], &packets[2], FLOW_V6, 2); /* control */
}

/* --- On its way out ----------------------------------------------------------------------------------------------------- */

enum reply { R_ACK, R_DATA, R_SYN_ACK, R_FIN, R_RST, R_FIRST_FRAGMENT, R_LATER_FRAGMENT, R_UDP, R_ERROR, R_N };

/* From the VIP to the client; R_ERROR quotes a packet of the client's. */
static void make_reply(struct frame *f, enum reply what, int family)
{
	static const uint8_t flags[R_N] = { F_ACK, F_ACK, F_SYN | F_ACK, F_FIN | F_ACK, F_RST, F_ACK, F_ACK };
	const struct triple self = { { SELF } };
	uint16_t frag = what == R_FIRST_FRAGMENT ? 0x2000 : what == R_LATER_FRAGMENT ? 185 : 0;
	uint8_t protocol = what == R_UDP ? PACKET_UDP : what != R_ERROR ? PACKET_TCP : family == FLOW_V4 ? PACKET_ICMP : PACKET_ICMP6;
	uint32_t l3, l4;

	memset(f, 0, sizeof(*f));
	router_mac(f->byte, 1);
	vmac_encode(f->byte + 6, &self);
	put16(f->byte + 12, family == FLOW_V4 ? PACKET_ETH_V4 : PACKET_ETH_V6);
	f->len = 14;
	l3 = fixture_ip(f, family, 1, protocol, 0, frag);
	l4 = f->len;
	if (what == R_ERROR) {
		f->byte[f->len] = family == FLOW_V4 ? 3 : 1; /* unreachable: the port */
		f->byte[f->len + 1] = family == FLOW_V4 ? 3 : 4;
		f->len += 8;
		fixture_ip(f, family, 0, PACKET_TCP, 0, 0);
		fixture_tcp(f, fixture_port(FS_LISTEN), 80, 1000, 2000, F_ACK);
	} else {
		fixture_tcp(f, 80, fixture_port(FS_LISTEN), 2000, 1000, flags[what]);
		if (what == R_DATA)
			f->len += 100;
	}
	fixture_close(f, family, l3, l4, protocol);
}

static void egress(void **state)
{
	uint8_t out[2048], dropped;
	size_t k;
	int v6, what;

	(void)state;
	for (v6 = 0; v6 < 2; v6++) {
		struct flow f = the_flow(family_of(v6));

		for (k = 0; k < N_KINDS; k++) {
			for (what = 0; what < R_N; what++) {
				bool holds = in_force(&kinds[k]) && kinds[k].row.state == ROW_HOLD && what <= R_FIRST_FRAGMENT;
				uint32_t len = sizeof(out), act;
				struct frame reply;
				struct row row;

				make_reply(&reply, what, family_of(v6));
				set_row(bpf_map__fd(skel->maps.rows), &kinds[k], &f);
				act = test_run(bpf_program__fd(skel->progs.flow_egress), &reply, out, &len);
				if (act != (holds ? ACT_SHOT : ACT_UNSPEC))
					fail_msg("%s, reply %d, IPv%d: action %d", kinds[k].name, what, family_of(v6), (int)act);
				rows_delete(rows, &f);
				if (!kinds[k].none)
					assert_int_equal(rows_put(rows, &f, &kinds[k].row), 0);
				if (send(host_out, reply.byte, reply.len, 0) != reply.len && !holds)
					fail_msg("send: %s", strerror(errno));
				if (look(wire, out, &len, holds ? 1 : 500) != !holds)
					fail_msg("%s, reply %d, IPv%d: on the wire", kinds[k].name, what, family_of(v6));
				if (!holds) {
					assert_int_equal(len, reply.len);
					assert_memory_equal(out, reply.byte, len);
				}
				if (kinds[k].none)
					continue;
				dropped = !holds ? 0 : what == R_DATA || what == R_SYN_ACK || what == R_FIN ? ROW_DROPPED_ACK | ROW_DROPPED_DATA : ROW_DROPPED_ACK;
				assert_int_equal(rows_get(rows, &f, &row), 0);
				assert_int_equal(row.dropped, dropped);
				rows_delete(rows, &f);
			}
		}
	}
}

/* --- Bounds ---------------------------------------------------------------------------------------------------------------- */

static void send_numbered(uint32_t first, uint32_t n)
{
	const struct fixture x = { "", T(SELF, 3), .shape = SH_TCP, .socket = FS_LISTEN, .flags = F_ACK };
	struct frame f;
	uint32_t i;

	for (i = first; i < first + n; i++) {
		const struct fixture_socket s = { i, 2000 };

		fixture_frame(&f, &x, FLOW_V4, &s);
		send_frame(&f);
		if (i % 200 == 199)
			rows_poll(rows, 1);
	}
}

/* n frames with sequence numbers from first on, in order, at fd. */
static void expect_numbered(int fd, uint32_t first, uint32_t n)
{
	uint8_t b[2048];
	uint32_t i;

	for (i = first; i < first + n;) {
		struct pollfd p = { fd, POLLIN, 0 };
		struct sockaddr_ll from;
		socklen_t len = sizeof(from);

		assert_true(poll(&p, 1, 500) > 0);
		if (recvfrom(fd, b, sizeof(b), 0, (struct sockaddr *)&from, &len) < 54 || from.sll_pkttype == PACKET_OUTGOING ||
		    b[23] != PACKET_TCP)
			continue;
		assert_int_equal(get32(b + 38), i);
		i++;
	}
}

/* Oldest first, to the owner or to our own stack; too many are dropped and counted, and late ones go at once. */
static void released_in_order(void **state)
{
	struct row hold = { .state = ROW_HOLD }, fwd = { .state = ROW_FWD, .owner = OWNER };
	struct flow f = the_flow(FLOW_V4);
	struct rows_counts before, c;
	uint8_t b[2048];
	uint32_t len;

	(void)state;
	look(wire, b, &len, 1);
	assert_int_equal(rows_put(rows, &f, &hold), 0);
	rows_counts(rows, &before);
	send_numbered(0, HELD_FLOW_PACKETS_MAX + 44);
	assert_int_equal(waiting(), HELD_FLOW_PACKETS_MAX);
	rows_counts(rows, &c);
	assert_int_equal(c.dropped - before.dropped, 44);
	assert_int_equal(look(wire, b, &len, 5), 0); /* control: until then, nothing */
	assert_int_equal(rows_put(rows, &f, &fwd), 0);
	rows_release(rows, &f);
	expect_numbered(wire, 0, HELD_FLOW_PACKETS_MAX);

	assert_int_equal(rows_put(rows, &f, &hold), 0);
	send_numbered(5000, 50);
	assert_int_equal(waiting(), 50);
	rows_delete(rows, &f);
	rows_release(rows, &f);
	expect_numbered(inside[0], 5000, 50);

	/* In the TAP, not read yet, when the row changes. */
	assert_int_equal(rows_put(rows, &f, &hold), 0);
	send_numbered(6000, 20);
	assert_int_equal(rows_put(rows, &f, &fwd), 0);
	rows_counts(rows, &before);
	rows_poll(rows, 1);
	rows_counts(rows, &c);
	assert_int_equal(c.late - before.late, 20);
	expect_numbered(wire, 6000, 20);
	rows_delete(rows, &f);
}

/* A HOLD that names an owner: what comes out of the TAP goes there, what comes meanwhile still waits. */
static void nothing_overtakes(void **state)
{
	struct row hold = { .state = ROW_HOLD }, sorting = { .state = ROW_HOLD, .owner = OWNER };
	struct flow f = the_flow(FLOW_V4);
	uint8_t b[2048];
	uint32_t len;

	(void)state;
	look(wire, b, &len, 1);
	assert_int_equal(rows_put(rows, &f, &hold), 0);
	send_numbered(7000, 20);
	assert_int_equal(waiting(), 20);
	assert_int_equal(rows_put(rows, &f, &sorting), 0);
	send_numbered(7020, 10);
	assert_int_equal(look(wire, b, &len, 5), 0);
	rows_poll(rows, 1);
	assert_int_equal(rows_release(rows, &f), 30);
	expect_numbered(wire, 7000, 30);
	assert_int_equal(rows_release(rows, &f), 0);
	rows_delete(rows, &f);
}

/* What a SYN has removed stays removed, though somebody had looked at it before and changes it only now. */
static void not_put_back(void **state)
{
	const struct row closing = { .state = ROW_CLOSING, .owner = OWNER, .cid = 7 };
	const struct fixture syn = { "", T(SELF), .shape = SH_TCP, .socket = FS_LISTEN, .flags = F_SYN };
	struct flow f = the_flow(FLOW_V4);
	struct frame frame = { .len = 0 };
	struct row row;

	(void)state;
	assert_int_equal(rows_put(rows, &f, &closing), 0);
	assert_int_equal(rows_change(rows, &f, &closing), 0); /* control: it is there */
	assert_int_equal(rows_get(rows, &f, &row), 0);
	make_frame(&frame, &syn, FLOW_V4, 64);
	send_frame(&frame);
	assert_int_equal(rows_get(rows, &f, &row), -ENOENT);
	assert_int_equal(rows_change(rows, &f, &closing), -ENOENT);
	assert_int_equal(rows_get(rows, &f, &row), -ENOENT);
}

static void send_end(uint32_t number)
{
	const struct fixture x = { "", T(SELF, 3), .shape = SH_TCP, .socket = FS_LISTEN, .flags = F_FIN | F_ACK };
	const struct fixture_socket s = { number, 2000 };
	struct frame f;

	fixture_frame(&f, &x, FLOW_V4, &s);
	send_frame(&f);
}

/* A FIN `us` after the row's beginning, and not so late on a busy machine that it need not wait. */
static void send_end_in_time(const struct flow *f, const struct row *fwd, unsigned us, uint32_t number)
{
	uint8_t b[2048];
	uint32_t len;
	int i;

	for (i = 0; i < 50; i++) {
		uint64_t began = monotonic_ns();

		assert_int_equal(rows_put(rows, f, fwd), 0);
		usleep(us);
		send_end(number);
		if (monotonic_ns() - began < FLOW_SETTLE_NS * 9 / 10)
			return;
		waiting(); /* it may have gone either way */
		rows_drop(rows, f);
		usleep(FLOW_SETTLE_NS / 1000);
		rows_settle(rows);
		look(wire, b, &len, 1);
	}
	fail_msg("this machine is too slow");
}

/* A FIN right behind a move waits for what may be under way still; nothing else does, nor one that comes later. */
static void ends_settle(void **state)
{
	struct row fwd = { .state = ROW_FWD, .owner = OWNER }, hold = { .state = ROW_HOLD };
	struct pollfd timer = { rows_timer_fd(rows), POLLIN, 0 };
	struct flow f = the_flow(FLOW_V4);
	uint8_t b[2048];
	uint32_t len;
	struct row row;

	(void)state;
	look(wire, b, &len, 1);
	assert_int_equal(rows_put(rows, &f, &fwd), 0);
	send_numbered(8000, 1);
	expect_numbered(wire, 8000, 1);
	send_end_in_time(&f, &fwd, 0, 8001);
	send_end(8001); /* again: it waits already */
	assert_int_equal(waiting(), 1);
	assert_int_equal(look(wire, b, &len, 1), 0);
	send_numbered(8000, 1); /* what was under way */
	expect_numbered(wire, 8000, 1);
	assert_int_equal(rows_get(rows, &f, &row), 0);
	assert_int_equal(row.ending, ROW_END_WAITS);
	assert_int_equal(poll(&timer, 1, 500), 1);
	rows_settle(rows);
	expect_numbered(wire, 8001, 1);
	assert_int_equal(waiting(), 0);
	assert_int_equal(poll(&timer, 1, 0), 0); /* nobody is woken for nothing */
	assert_int_equal(rows_get(rows, &f, &row), 0);
	assert_int_equal(row.ending, ROW_ENDING);
	send_end(8001); /* the row is old enough: control */
	expect_numbered(wire, 8001, 1);

	/* One that is sent again follows the first: not before it when the row is older by then, not long after it. */
	send_end_in_time(&f, &fwd, FLOW_SETTLE_NS / 2000, 8005);
	assert_int_equal(waiting(), 1);
	usleep(FLOW_SETTLE_NS * 6 / 10000);
	send_end(8005);
	assert_int_equal(waiting(), 1);
	assert_int_equal(look(wire, b, &len, 1), 0);
	assert_int_equal(poll(&timer, 1, 500), 1);
	rows_settle(rows);
	expect_numbered(wire, 8005, 1);
	assert_int_equal(waiting(), 0);
	assert_int_equal(rows_put(rows, &f, &(struct row){ .state = ROW_FWD, .owner = OWNER, .ending = ROW_ENDING }), 0);
	send_end(8005);
	expect_numbered(wire, 8005, 1);

	/* Another move begins meanwhile: it waits for that. */
	send_end_in_time(&f, &fwd, 0, 8002);
	assert_int_equal(waiting(), 1);
	assert_int_equal(rows_put(rows, &f, &hold), 0);
	assert_int_equal(poll(&timer, 1, 500), 1);
	rows_settle(rows);
	assert_int_equal(look(wire, b, &len, 5), 0);
	assert_int_equal(waiting(), 1);
	assert_int_equal(rows_put(rows, &f, &fwd), 0);
	assert_int_equal(rows_release(rows, &f), 1);
	expect_numbered(wire, 8002, 1);
	rows_delete(rows, &f);
}

/* Nobody reads the TAP: the kernel drops what is too much, and says so; the rest is there. */
static void tap_full(void **state)
{
	struct row hold = { .state = ROW_HOLD };
	struct flow f = the_flow(FLOW_V4);
	struct rows_counts before, c;
	const struct fixture x = { "", T(SELF), .shape = SH_TCP, .socket = FS_LISTEN, .flags = F_ACK };
	struct frame frame;
	int i;

	(void)state;
	assert_int_equal(waiting(), 0);
	assert_int_equal(rows_put(rows, &f, &hold), 0);
	rows_counts(rows, &before);
	make_frame(&frame, &x, FLOW_V4, 64);
	for (i = 0; i < 3000; i++)
		send_frame(&frame);
	rows_counts(rows, &c);
	assert_int_equal(c.kernel[FLOW_HELD] - before.kernel[FLOW_HELD], 3000);
	assert_true(c.tap_dropped > before.tap_dropped);
	rows_poll(rows, 1);
	rows_counts(rows, &c);
	assert_int_equal(c.waiting, HELD_FLOW_PACKETS_MAX);
	assert_int_equal(c.waiting + (c.dropped - before.dropped) + (c.tap_dropped - before.tap_dropped), 3000);
	rows_age(rows, 1 + HELD_AGE_MAX_MS); /* control: just young enough */
	assert_int_equal(waiting(), HELD_FLOW_PACKETS_MAX);
	rows_age(rows, 2 + HELD_AGE_MAX_MS);
	assert_int_equal(waiting(), 0);
	rows_delete(rows, &f);
}

static int count_rows(void *ctx, const struct flow *f, const struct row *row)
{
	(void)f;
	*(uint32_t *)ctx += row_lives(row, 1000);
	return 0;
}

/* How many are pinned, as the agent reads them. */
static int pinned(uint32_t *n)
{
	int fd = rows_pinned_open(pins), err;

	*n = 0;
	if (fd < 0)
		return fd;
	err = rows_each_of(fd, count_rows, n);
	close(fd);
	return err;
}

/* A full table refuses, keeps what it has, and takes again once there is room. */
static void table_full(void **state)
{
	struct row fwd = { .state = ROW_FWD, .owner = OWNER };
	struct flow f = the_flow(FLOW_V4), first = f;
	uint32_t n, in_all;
	struct row row;
	int err = 0;

	(void)state;
	for (n = 0; n < FLOW_ROWS_MAX + 1000 && !err; n++) {
		f.saddr[0] = htonl(0x0a000000 + n);
		if (!n)
			first = f;
		err = rows_put(rows, &f, &fwd);
	}
	assert_int_equal(err, -E2BIG);
	assert_in_range(n, FLOW_ROWS_MAX - 1000, FLOW_ROWS_MAX + 1);
	assert_int_equal(rows_get(rows, &first, &row), 0);
	assert_int_equal(pinned(&in_all), 0);
	assert_int_equal(in_all, n - 1); /* each is seen, and once */
	f = the_flow(FLOW_V4);
	assert_int_equal(rows_put(rows, &f, &fwd), -E2BIG);
	one_on_the_wire(&kinds[0], &packets[2], FLOW_V4, 64); /* whose connection cannot have a row passes */
	assert_int_equal(rows_put(rows, &first, &fwd), 0);    /* one that is there can change */
	assert_int_equal(rows_delete(rows, &first), 0);
	assert_int_equal(rows_put(rows, &f, &fwd), 0);
	one_on_the_wire(&kinds[4], &packets[2], FLOW_V4, 64);
	while (n--) {
		f.saddr[0] = htonl(0x0a000000 + n);
		rows_delete(rows, &f);
	}
}

/* What a drain is told (agent/rows_left.h): whose bucket needs this host, and for how long after the last row. */
static void what_is_left(void **state)
{
	static struct rows_left l;
	struct row fwd = { .state = ROW_FWD, .owner = OWNER }, over = { .state = ROW_FWD, .owner = OWNER, .deadline_ns = LONG_AGO };
	struct row through = { .state = ROW_HOLD, .through = 5 }, ended = { .state = ROW_ENDED };
	struct row passing = { .state = ROW_FWD, .owner = OWNER, .through = 5, .passing = 1 };
	struct flow f = the_flow(FLOW_V4), g = the_flow(FLOW_V6), h = f;
	struct table t;
	uint32_t i;
	bool gone;

	(void)state;
	assert_int_equal(table_init(&t, 64), 0);
	for (i = 0; i < t.n_buckets; i++)
		t.bucket[i].triple = (struct triple){ { i == flow_bucket(&f, 7, 64) ? 3 : SELF } };
	assert_int_equal(rows_left_owner(&f, &t, 7), 3);
	assert_int_equal(rows_left_read(&l, pins, SELF, &t, 7, 10000, &gone), 0);
	assert_int_equal(l.n, 0); /* control */
	assert_int_equal(rows_new(rows, &f, &ended), 0);
	assert_int_equal(rows_new(rows, &f, &passing), -EEXIST);
	assert_int_equal(rows_left_read(&l, pins, SELF, &t, 7, 12000, &gone), 0);
	assert_int_equal(l.n, 0); /* nobody waits for it */
	assert_int_equal(rows_put(rows, &f, &passing), 0);
	assert_int_equal(rows_left_read(&l, pins, SELF, &t, 7, 15000, &gone), 0);
	assert_int_equal(l.n, 1); /* a drain waits for it, but no bucket needs this host for it */
	assert_int_equal(l.via[3], 0);
	assert_int_equal(l.via[5], 0);
	h.sport ^= 1;
	assert_int_equal(rows_put(rows, &f, &fwd), 0);
	assert_int_equal(rows_put(rows, &g, &through), 0);
	assert_int_equal(rows_put(rows, &h, &over), 0); /* has ended: not counted */
	assert_int_equal(rows_left_read(&l, pins, SELF, &t, 7, 20000, &gone), 0);
	assert_int_equal(l.n, 2);
	assert_int_equal(l.via[3], 1);
	assert_int_equal(l.via[5], 1);
	assert_int_equal(l.via[SELF], 0);
	rows_delete(rows, &f);
	rows_delete(rows, &g);
	rows_delete(rows, &h);
	assert_int_equal(gone, false);
	assert_int_equal(rows_left_via(&l, 3, 30000), 1); /* whatever round there was */
	assert_int_equal(rows_left_read(&l, pins, SELF, &t, 7, 20000 + ROWS_LEFT_MS - 1, &gone), 0);
	assert_int_equal(gone, true);
	assert_int_equal(l.n, 2); /* they may be sockets by now that nobody has listed yet */
	assert_int_equal(rows_left_via(&l, 3, 20000), 1); /* that round may have missed such a socket */
	assert_int_equal(rows_left_via(&l, 3, 20000 + ROWS_LEFT_MS), 0);
	assert_int_equal(rows_left_via(&l, 4, 0), 0); /* control: never needed */
	assert_int_equal(rows_left_read(&l, pins, SELF, &t, 7, 20000 + ROWS_LEFT_MS, &gone), 0);
	assert_int_equal(gone, false);
	assert_int_equal(l.n, 0);
	assert_int_equal(rows_left_read(&l, "/sys/fs/bpf/no-such-place", SELF, &t, 7, 30000, &gone), 0);
	table_free(&t);
}

/* --- Changes under way -------------------------------------------------------------------------------------------------------- */

static bool stop_flipping;

/* The memory of a row that goes is at once that of the next: another flow's, with another owner. */
static void *flip(void *arg)
{
	struct row row[2] = { { .state = ROW_HOLD, .owner = 4 }, { .state = ROW_FWD, .owner = OWNER } };
	struct row others = { .state = ROW_FWD, .owner = OWNER + 1 };
	struct flow f = the_flow(FLOW_V4), other = f;
	unsigned i;

	(void)arg;
	other.sport ^= 1;
	for (i = 0; !__atomic_load_n(&stop_flipping, __ATOMIC_RELAXED); i++) {
		if (i % 3 == 2)
			rows_delete(rows, &f);
		else
			rows_put(rows, &f, &row[i % 3]);
		rows_put(rows, &other, &others);
		rows_delete(rows, &other);
	}
	return NULL;
}

static uint64_t outcomes(const struct rows_counts *c)
{
	return c->kernel[FLOW_MISS] + c->kernel[FLOW_HELD] + c->kernel[FLOW_FORWARDED] + c->kernel[FLOW_ERROR];
}

/* Frames on the wire: each to the owner of its own row. */
static unsigned count_owners_frames(void)
{
	const struct triple owner = { { OWNER } };
	uint8_t b[2048], mac[6];
	unsigned n = 0;

	vmac_encode(mac, &owner);
	while (next_frame(b, sizeof(b), 0)) {
		if (b[0] != MAC_KIND_VMAC)
			continue;
		if (memcmp(b, mac, 6))
			fail_msg("a frame to %02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4], b[5]);
		n++;
	}
	return n;
}

/* While rows change as fast as they can, every packet meets exactly one outcome, of its own row. */
static void concurrent_update(void **state)
{
	const struct fixture x = { "", T(SELF), .shape = SH_TCP, .socket = FS_LISTEN, .flags = F_ACK };
	struct rows_counts before, c;
	unsigned i, seen = 0;
	struct frame frame;
	pthread_t thread;
	struct flow f;

	(void)state;
	make_frame(&frame, &x, FLOW_V4, 64);
	rows_counts(rows, &before);
	stop_flipping = false;
	assert_int_equal(pthread_create(&thread, NULL, flip, NULL), 0);
	for (i = 0; i < CONCURRENT; i++) {
		send_frame(&frame);
		if (i % 50 == 49)
			seen += count_owners_frames();
	}
	__atomic_store_n(&stop_flipping, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	usleep(20000);
	seen += count_owners_frames();
	rows_counts(rows, &c);
	print_message("%d packets: missed %llu, held %llu, forwarded %llu (%u seen), row busy %llu, torn %llu\n", CONCURRENT,
		      (unsigned long long)(c.kernel[FLOW_MISS] - before.kernel[FLOW_MISS]),
		      (unsigned long long)(c.kernel[FLOW_HELD] - before.kernel[FLOW_HELD]),
		      (unsigned long long)(c.kernel[FLOW_FORWARDED] - before.kernel[FLOW_FORWARDED]), seen,
		      (unsigned long long)(c.kernel[FLOW_ERROR] - before.kernel[FLOW_ERROR]),
		      (unsigned long long)(c.kernel[FLOW_SELF] - before.kernel[FLOW_SELF]));
	assert_true(c.kernel[FLOW_MISS] > before.kernel[FLOW_MISS] && c.kernel[FLOW_HELD] > before.kernel[FLOW_HELD]);
	assert_true(c.kernel[FLOW_FORWARDED] > before.kernel[FLOW_FORWARDED]);
	assert_int_equal(c.kernel[FLOW_SELF], before.kernel[FLOW_SELF]);
	/* The device's own chatter is counted as a miss. */
	assert_in_range(outcomes(&c) - outcomes(&before), CONCURRENT, CONCURRENT + 10);
	f = the_flow(FLOW_V4);
	rows_delete(rows, &f);
	assert_int_equal(waiting(), 0); /* what came late is not held */
	rows_drop(rows, &f);
	drain_wire();
}

/* Rows of another version's shape, of a process that ended, of a link that was made anew. */
static void opened_again(void **state)
{
	struct row fwd = { .state = ROW_FWD, .owner = OWNER, .cid = 7 }, row;
	struct flow f = the_flow(FLOW_V4);
	const char link[1][IF_NAMESIZE] = { "v0" }, none[1][IF_NAMESIZE] = { "no-such" };
	struct rows *second = NULL;
	char why[256];
	uint32_t n;
	int fd;

	(void)state;
	assert_int_equal(rows_put(rows, &f, &fwd), 0);
	assert_true(rows_open(SELF, pins, none, 1, &second, why, sizeof(why)) < 0); /* does not take off what is there */
	print_message("%s\n", why);
	one_on_the_wire(&kinds[4], &packets[2], FLOW_V4, 64);
	assert_int_equal(rows_put(rows, &f, &fwd), 0);
	rows_close(rows, false);
	rows = NULL;
	assert_int_equal(pinned(&n), 0);
	assert_int_equal(n, 1);
	{ /* with nobody there it forwards on */
		uint8_t out[2048];
		struct frame in;
		uint32_t len;

		make_frame(&in, &packets[2], FLOW_V4, 64);
		send_frame(&in);
		assert_int_equal(look(wire, out, &len, 500), 1);
		assert_forwarded(&in, out, len, FLOW_V4);
	}
	assert_int_equal(rows_open(SELF, pins, link, 1, &rows, why, sizeof(why)), 0);
	assert_int_equal(rows_get(rows, &f, &row), 0);
	assert_int_equal(row.cid, 7);
	/* Somebody takes all filters off; the next look puts ours back. */
	shell("tc qdisc del dev v0 clsact");
	rows_age(rows, 1000000);
	one_on_the_wire(&kinds[4], &packets[2], FLOW_V4, 64);
	rows_close(rows, true);
	rows = NULL;
	assert_int_equal(pinned(&n), -ENOENT);
	assert_int_equal(n, 0);
	/* A pin of another shape. */
	mkdir(pins, 0700);
	fd = bpf_map_create(BPF_MAP_TYPE_HASH, "rows", 40, 8, 16, NULL);
	snprintf(why, sizeof(why), "%s/rows", pins);
	assert_int_equal(bpf_obj_pin(fd, why), 0);
	close(fd);
	assert_int_equal(rows_open(SELF, pins, link, 1, &rows, why, sizeof(why)), 0);
	one_on_the_wire(&kinds[4], &packets[2], FLOW_V4, 64);
}

/* --- The bed --------------------------------------------------------------------------------------------------------------------- */

static int set_up(void **state)
{
	struct flow_config config = { .self = SELF };
	uint32_t zero = 0;
	char why[256];

	(void)state;
	if (geteuid()) {
		puts("SKIP: needs root");
		exit(77);
	}
	if (make_bed())
		return -1;
	/* Nothing here is anybody's: the stack answers nothing. */
	shell("ip addr del 203.0.113.80/32 dev lo && ip -6 addr del 2001:db8:80::80/128 dev lo && "
	      "ip route add blackhole 203.0.113.0/24 && ip -6 route add blackhole 2001:db8:80::/64");
	snprintf(pins, sizeof(pins), "/sys/fs/bpf/bt-rows-%d", (int)getpid());
	if (rows_open(SELF, pins, (const char[1][IF_NAMESIZE]){ "v0" }, 1, &rows, why, sizeof(why))) {
		print_error("%s\n", why);
		return -1;
	}
	behind[0] = packet_socket("v0", 0x0800);
	behind[1] = packet_socket("v0", 0x86dd);
	host_out = packet_socket("v0", 0);
	inside[0] = packet_socket("baton-held0", 0x0800);
	skel = flow_bpf__open_and_load();
	if (!skel)
		return -1;
	return bpf_map__update_elem(skel->maps.flow_config, &zero, sizeof(zero), &config, sizeof(config), BPF_ANY);
}

static int tear_down(void **state)
{
	(void)state;
	if (rows)
		rows_close(rows, true);
	flow_bpf__destroy(skel);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ingress_by_test_run), cmocka_unit_test(ingress_on_the_wire), cmocka_unit_test(egress),
		cmocka_unit_test(released_in_order),
		cmocka_unit_test(nothing_overtakes),  cmocka_unit_test(ends_settle),   cmocka_unit_test(not_put_back),   cmocka_unit_test(tap_full),	      cmocka_unit_test(table_full),
		cmocka_unit_test(what_is_left),	cmocka_unit_test(concurrent_update),   cmocka_unit_test(opened_again),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
