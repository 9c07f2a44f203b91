/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * SYN cookies across two kernels, each with a secret of its own (in two namespaces of one kernel the
 * secret is the same, and proves nothing):
 *
 *    machine A: this program is client and switch          machine B
 *       v1 ---- v0 host 1, in a namespace                     eth0 host 2
 *       eth0 ================= a wire ========================'
 *
 * Both listeners are flooded with SYNs until they send cookies.  far_cookies far runs on B and does what it
 * is asked to over the same wire; far_cookies near on A asks, judges, and proves for each data path:
 *
 *  1. A SYN to host 1 is answered by a cookie.  Then host 2 owns the bucket.  The ACK reaches host 2,
 *     which knows that it is none of its cookies; it comes back as a detour, host 1 accepts it.
 *  2. The control: the same kind of ACK with nobody else named stays at host 2, whose kernel resets it.
 *  3. A cookie of host 2's own, while host 1 is named behind it: host 2 takes it, nothing comes back.
 *
 * No step trusts the clock.  The wire keeps the order of frames, so once B answers, it has judged whatever was
 * sent before the question, and what it sent on came before the answer.  How long a flooded queue stays full is
 * the kernel's affair: each cookie is seen to be one in the counters of who sent it.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <cmocka.h>

#include "agent/datapath.h"
#include "tests/bpf/host_bed.h"

#define TALK 0x88b5 /* local experimental: the two programs to each other */
#define FLOOD 400
#define PATIENCE_MS 20000 /* for what must come; a machine that boots is given BOOT_MS */
#define BOOT_MS 150000

static struct datapath *path;
static const struct datapath_ops *ops;
static int near_wire, far_wire;

static const struct datapath_ops *ops_named(const char *name)
{
	return strcmp(name, "module") ? &datapath_ebpf : &datapath_module;
}

static void close_path(void)
{
	if (path)
		ops->close(path, true);
	path = NULL;
}

/* 0, or 1 and a sentence in why. */
static int open_path(const char *name, uint16_t self, const char *dev, char *why, size_t len)
{
	static struct address address[2] = { { .family = AF_INET }, { .family = AF_INET6 } };
	static const struct vip vip = { .name = "www", .address = address, .n_addresses = 2 };
	static const uint16_t hosts[] = { 1, 2 };
	char device[1][IF_NAMESIZE] = { "" }, dir[64];

	memcpy(&address[0].v4, fixture_vip4, 4);
	memcpy(&address[1].v6, fixture_vip6, 16);
	snprintf(device[0], sizeof(device[0]), "%s", dev);
	snprintf(dir, sizeof(dir), "/sys/fs/bpf/bt-far-%s", name);
	ops = ops_named(name);
	if (ops->open(self, dir, why, len, &path)) {
		path = NULL;
		return 1;
	}
	snprintf(why, len, "host %u: VIP, hosts or device refused", self);
	return ops->set_vips(path, &vip, 1) || ops->set_hosts(path, hosts, 2) || ops->set_devices(path, device, 1);
}

/* The cookies that this kernel has sent in this namespace (/proc/net/netstat: a line of names, then one of values). */
static unsigned long cookies_sent(void)
{
	FILE *f = fopen("/proc/thread-self/net/netstat", "r");
	char name[8192], value[8192], *n, *v, *n_end, *v_end;
	unsigned long sent = 0;

	if (!f)
		return 0;
	while (fgets(name, sizeof(name), f) && fgets(value, sizeof(value), f)) {
		n = strtok_r(name, " ", &n_end);
		v = strtok_r(value, " ", &v_end);
		for (; n && v; n = strtok_r(NULL, " ", &n_end), v = strtok_r(NULL, " ", &v_end))
			if (!strcmp(n, "SyncookiesSent"))
				sent = strtoul(v, NULL, 10);
	}
	fclose(f);
	return sent;
}

/* --- What the two say to each other ----------------------------------------------------------------------------- */

/* near's questions are numbered and repeated until answered; far repeats its last answer to a repeated question. */
struct talk {
	uint8_t to[6], from[6], type[2];
	uint32_t serial;
	char text[106];
};

static int is_talk(const uint8_t *b, ssize_t n, uint8_t from)
{
	return n >= (ssize_t)sizeof(struct talk) && (b[12] << 8 | b[13]) == TALK && b[6] == from;
}

enum { FROM_NEAR = 2, FROM_FAR = 4 }; /* the first byte of the source */

static void talk(uint8_t from, uint32_t serial, const char *text)
{
	struct talk t = { .from = { from }, .serial = serial };

	if (from == FROM_NEAR) /* B's NIC filters, A's does not; and next_frame() hands up no broadcast */
		memset(t.to, 0xff, 6);
	else
		t.to[0] = FROM_NEAR;
	put16(t.type, TALK);
	snprintf(t.text, sizeof(t.text), "%s", text);
	assert_int_equal(send(far_wire, &t, sizeof(t), 0), sizeof(t));
}

/* --- A ---------------------------------------------------------------------------------------------------- */

static struct talk answer;

/*
 * Asks the other machine and waits for its answer.  Detours that come before it cross to host 1, as a switch
 * would let them; how many did is returned.
 */
static int ask(const char *question, int patience_ms)
{
	static uint32_t serial;
	int64_t begin = now_ms(), again = begin;
	int detours = 0;
	uint8_t b[2048];

	serial++;
	for (;;) {
		struct triple t = { 0 };
		struct detour d = { 0 };
		uint32_t n;

		if (now_ms() - begin > patience_ms)
			fail_msg("the other machine does not answer \"%s\" within %d s", question, patience_ms / 1000);
		if (now_ms() >= again) {
			talk(FROM_NEAR, serial, question);
			again = now_ms() + 500;
		}
		wire = far_wire;
		n = next_frame(b, sizeof(b), 50);
		if (is_talk(b, n, FROM_FAR)) {
			memcpy(&answer, b, sizeof(answer));
			if (answer.serial == serial)
				return detours;
		} else if (n && vmac_decode(b, &t) && t.host[0] == 1 && detour_decode(b + 6, &d)) {
			assert_int_equal(d.sender, 2);
			assert_int_equal(d.reason, REASON_NO_COOKIE);
			assert_int_equal(send(near_wire, b, n, 0), n);
			detours++;
		}
	}
}

struct far_state {
	unsigned long no_cookie, cookie, request, aged, sent;
};

/* Everything sent before has been judged there; the detours that it gave are returned. */
static int ask_state(struct far_state *s)
{
	int detours = ask("state", PATIENCE_MS);

	if (sscanf(answer.text, "no_cookie %lu cookie %lu request %lu last %lu sent %lu", &s->no_cookie, &s->cookie, &s->request,
		   &s->aged, &s->sent) != 5)
		fail_msg("the other machine's state is \"%s\"", answer.text);
	return detours;
}

static unsigned long cookies_sent_by(uint16_t id)
{
	struct far_state s;

	if (id == 1)
		return cookies_sent();
	ask_state(&s);
	return s.sent;
}

/* Until the listener behind this wire has no room for requests any more. */
static void flood(int fd, uint16_t id, int f)
{
	struct fixture x = { "", T(id), .shape = SH_TCP, .socket = FS_LISTEN, .flags = F_SYN };
	unsigned long before = cookies_sent_by(id);
	int i, tries;

	for (tries = 0; tries < 5 && cookies_sent_by(id) == before; tries++) {
		for (i = 0; i < FLOOD; i++) {
			struct fixture_socket s = { 1000u + (uint32_t)i, 0 };
			struct frame frame;

			fixture_frame(&frame, &x, family_of(f), &s);
			put16(frame.byte + (f ? 54 : 34), 20000u + (uint32_t)i); /* a client each; the sum must follow */
			fixture_close(&frame, family_of(f), 14, f ? 54 : 34, PACKET_TCP);
			assert_int_equal(send(fd, frame.byte, frame.len, 0), frame.len);
			if (i % 40 == 39)
				usleep(5000);
		}
	}
	assert_true(tries > 0 && cookies_sent_by(id) > before);
}

static void send_flags(int fd, struct triple to, int f, const struct fixture_socket *s, uint8_t flags)
{
	struct fixture x = { "", to, .shape = SH_TCP, .socket = FS_COOKIE, .flags = flags };
	struct frame frame;

	fixture_frame(&frame, &x, family_of(f), s);
	wire = fd;
	send_frame(&frame);
}

static void send_ack(int fd, struct triple to, int f, const struct fixture_socket *s)
{
	send_flags(fd, to, f, s, F_ACK);
}

/* A cookie: the SYN goes to this host; s then holds what acknowledges its SYN-ACK. */
static void get_cookie(int fd, uint16_t id, int f, struct fixture_socket *s)
{
	const struct triple to = T(id);
	int tries;

	for (tries = 0; tries < 5; tries++) {
		unsigned long before = cookies_sent_by(id);
		uint32_t isn;

		wire = fd;
		drain_wire();
		*s = (struct fixture_socket){ 5000, 0 };
		send_flags(fd, to, f, s, F_SYN);
		expect_segment(f, fixture_port(FS_COOKIE), F_SYN | F_ACK, &isn);
		s->seq++;
		s->ack = isn + 1;
		if (cookies_sent_by(id) > before)
			return;
		/* The queue had forgotten its flood: that was a request.  It ends, and the queue is filled again. */
		send_flags(fd, to, f, s, F_RST);
		flood(fd, id, f);
	}
	fail_msg("host %u sends no cookies", id);
}

static int accepted(int f, int ms)
{
	struct pollfd p = { listener[f], POLLIN, 0 };
	struct linger rst = { 1, 0 };
	int fd;

	if (poll(&p, 1, ms) <= 0)
		return 0;
	fd = accept(listener[f], NULL, NULL);
	assert_true(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &rst, sizeof(rst));
	close(fd);
	return 1;
}

/* The three proofs, in one family. */
static void prove(int f)
{
	struct far_state before, after;
	struct fixture_socket s;
	uint32_t seq;

	flood(near_wire, 1, f);
	flood(far_wire, 2, f); /* of late it sent cookies: it looks, and does not only say that none can be valid */
	get_cookie(near_wire, 1, f, &s);
	ask_state(&before);
	send_ack(far_wire, (struct triple)T(2, 1), f, &s);
	assert_int_equal(ask_state(&after), 1);
	assert_int_equal(after.no_cookie - before.no_cookie, 1);
	assert_int_equal(accepted(f, PATIENCE_MS), 1);
	/* The control: another cookie of host 1, when nobody names host 1 any more. */
	get_cookie(near_wire, 1, f, &s);
	send_ack(far_wire, (struct triple)T(2), f, &s);
	wire = far_wire;
	expect_segment(f, fixture_port(FS_COOKIE), F_RST, &seq);
	assert_int_equal(ask_state(&before), 0);
	assert_int_equal(accepted(f, 0), 0);
	/* Host 2 knows its own. */
	get_cookie(far_wire, 2, f, &s);
	send_ack(far_wire, (struct triple)T(2, 1), f, &s);
	assert_int_equal(ask_state(&after), 0);
	assert_int_equal(after.cookie - before.cookie, 1);
	assert_int_equal(after.no_cookie, before.no_cookie);
	assert_true(after.aged > 0);
	send_flags(far_wire, (struct triple)T(2), f, &s, F_RST); /* the next data path begins anew */
}

static void home_by_one_and_refused_by_the_other(void **state)
{
	(void)state;
	prove(0);
	prove(1);
}

/* Both machines put the data path on, and take it off whatever happened in between. */
static int near_opens(void **state)
{
	char question[64], why[256] = "";

	snprintf(question, sizeof(question), "open %s", (const char *)*state);
	ask(question, BOOT_MS);
	if (strcmp(answer.text, "opened")) {
		print_error("the other machine: %s\n", answer.text);
		return -1;
	}
	if (open_path(*state, 1, "v0", why, sizeof(why))) {
		print_error("%s\n", why);
		return -1;
	}
	return 0;
}

static int near_closes(void **state)
{
	int f;

	(void)state;
	close_path();
	ask("close", PATIENCE_MS);
	for (f = 0; f < 2; f++)
		while (accepted(f, 0))
			;
	return 0;
}

static int near_set_up(void **state)
{
	int f;

	(void)state;
	shell("ip link set eth0 up promisc on");
	far_wire = packet_socket("eth0", 3);
	if (make_bed())
		return -1;
	near_wire = wire;
	shell("sysctl -qw net.ipv4.tcp_max_syn_backlog=64");
	for (f = 0; f < 2; f++) {
		listen_on(f);
		fcntl(listener[f], F_SETFL, O_NONBLOCK);
	}
	return 0;
}

static int near_tear_down(void **state)
{
	(void)state;
	ask("end", PATIENCE_MS);
	return 0;
}

/* --- B ---------------------------------------------------------------------------------------------------- */

static void describe(char *text, size_t len)
{
	uint64_t n[REASON_MAX] = { 0 };
	struct datapath_counters c = { .reason = n, .n_reasons = REASON_MAX };

	if (!path || ops->counters(path, &c))
		snprintf(text, len, "no data path");
	else
		snprintf(text, len, "no_cookie %lu cookie %lu request %lu last %lu sent %lu", n[REASON_NO_COOKIE], n[REASON_COOKIE],
			 n[REASON_REQUEST], c.last_cookie_ns, cookies_sent());
}

static void obey(const char *question, char *text, size_t len)
{
	if (!strncmp(question, "open ", 5)) {
		close_path();
		if (!open_path(question + 5, 2, "eth0", text, len))
			snprintf(text, len, "opened");
	} else if (!strcmp(question, "state")) {
		describe(text, len);
	} else {
		close_path();
		snprintf(text, len, "closed");
	}
}

/* Serves until told to end; not for ever, should the other machine be gone. */
static int far(void)
{
	char text[sizeof(((struct talk *)0)->text)] = "";
	struct pollfd p = { .events = POLLIN };
	uint32_t last = 0;
	uint8_t b[2048];
	struct talk t;
	int f;

	shell("ip link set lo up && ip link set eth0 address 42:10:02:00:20:02 && ip link set eth0 up && "
	      "bridge fdb add 42:10:02:00:10:01 dev eth0 self && " /* [2,1]: the NIC filters, as real ones do */
	      "ip addr add 203.0.113.80/32 dev lo && ip -6 addr add 2001:db8:80::80/128 dev lo nodad && "
	      "sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0 net.ipv4.tcp_syncookies=1 net.ipv4.tcp_max_syn_backlog=64 && "
	      "ip route add 198.51.100.0/24 dev eth0 && ip neigh add 198.51.100.7 lladdr 62:10:00:00:00:01 dev eth0 nud permanent && "
	      "ip -6 route add 2001:db8:7::/64 dev eth0 && ip -6 neigh add 2001:db8:7::7 lladdr 62:10:00:00:00:01 dev eth0 nud permanent");
	p.fd = far_wire = packet_socket("eth0", TALK);
	for (f = 0; f < 2; f++)
		listen_on(f);
	while (poll(&p, 1, BOOT_MS) > 0) {
		ssize_t n = recv(far_wire, b, sizeof(b), 0);

		if (!is_talk(b, n, FROM_NEAR))
			continue;
		memcpy(&t, b, sizeof(t));
		if (t.serial != last) {
			obey(t.text, text, sizeof(text));
			last = t.serial;
		}
		talk(FROM_FAR, last, text);
		if (!strcmp(t.text, "end"))
			return 0;
	}
	print_error("far_cookies: the other machine has said nothing for %d s\n", BOOT_MS / 1000);
	return 1;
}

int main(int argc, char **argv)
{
#define BOTH_ON(name) \
	{ "cookies_of_two_kernels_" #name, home_by_one_and_refused_by_the_other, near_opens, near_closes, (void *)(uintptr_t)#name }
	const struct CMUnitTest near_tests[] = { BOTH_ON(ebpf), BOTH_ON(module) };

	if (argc == 2 && !strcmp(argv[1], "far"))
		return far();
	if (argc == 2 && !strcmp(argv[1], "near"))
		return cmocka_run_group_tests(near_tests, near_set_up, near_tear_down);
	fprintf(stderr, "usage: far_cookies near|far\n");
	return 2;
}
