// SPDX-License-Identifier: BSD-2-Clause
/*
 * What a client may do at every step of a move: end, reset, half-close, stop reading, miss a segment, upload, use its port again; and
 * moves over a path that loses one segment of a hundred.  No byte may be wrong, nobody reset, and the stall is measured.
 */
#include <bpf/libbpf.h>
#include <linux/tcp.h>
#include <net/if.h>

#include "loss.skel.h"
#include "tests/bpf/move_bed.h"

#define UPLOAD (3u << 20)
#define LOSSY_MOVES 400
#define HOLES 40
#define LOSSY_PATIENCE_MS 15000

static const char *const step_name[STEPS] = { "before", "held", "exported", "imported", "live", "moved" };
static enum step when; /* the step at which the test's own meddle() acts */

/* --- Ends -------------------------------------------------------------------------------------------------------------- */

/* What comes behind the data: 0 for an end, or an error. */
static int read_end(int fd)
{
	uint64_t end = now_ms() + 2000;
	char bytes[4096];
	ssize_t n;

	while (now_ms() < end) {
		struct pollfd p = { fd, POLLIN, 0 };

		poll(&p, 1, 10);
		poll_rows();
		n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
		if (n <= 0 && !(n < 0 && errno == EAGAIN))
			return n ? -errno : 0;
	}
	return -ETIMEDOUT;
}

static void half_close(struct conn *c, enum step step)
{
	if (step != when)
		return;
	say(c, 0, 3000);
	shutdown(c->client, SHUT_WR);
	usleep(3000);
}

/* The server has all that was said and the end, answers, and the client has that. */
static void client_half_closes(void **state)
{
	int family, rc;
	struct conn c;

	(void)state;
	for (family = 0; family < 2; family++) {
		for (when = STEP_BEFORE; when < STEPS; when++) {
			connect_client(&c, family ? AF_INET6 : AF_INET, (uint16_t)(4200 + when + 10 * family), true);
			say(&c, 0, 100);
			say(&c, 1, 100);
			assert_int_equal(settle(&c), 0);
			c.meddle = half_close;
			rc = move(&c, false);
			c.meddle = NULL;
			if (rc != 0 && rc != -ENOTCONN)
				fail_msg("%s: %d", step_name[when], rc);
			if (when >= STEP_IMPORTED)
				assert_int_equal(rc, 0); /* control: it did move */
			assert_int_equal(settle(&c), 0);
			assert_int_equal(read_end(c.server), 0);
			say(&c, 1, 8000);
			assert_int_equal(settle(&c), 0);
			close(c.server);
			c.server = -1;
			assert_int_equal(read_end(c.client), 0);
			disconnect_client(&c);
		}
	}
	enter(bed.home_ns);
}

static void reset(struct conn *c, enum step step)
{
	struct linger now = { 1, 0 };

	if (step != when)
		return;
	setsockopt(c->client, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(c->client);
	c->client = socket(AF_INET, SOCK_DGRAM, 0); /* something to close */
	usleep(3000);
}

static void client_resets(void **state)
{
	struct conn c;
	int rc;

	(void)state;
	for (when = STEP_BEFORE; when < STEPS; when++) {
		connect_client(&c, AF_INET, (uint16_t)(4220 + when), true);
		say(&c, 0, 100);
		assert_int_equal(settle(&c), 0);
		c.meddle = reset;
		rc = move(&c, false);
		if (rc != 0 && rc != -ENOTCONN)
			fail_msg("%s: %d", step_name[when], rc);
		rc = read_end(c.server);
		if (rc != -ECONNRESET && rc != -EPIPE)
			fail_msg("reset %s: the server reads %d", step_name[when], rc);
		disconnect_client(&c);
	}
	enter(bed.home_ns);
}

/* The client is reset, and its port connects again while the old connection's rows are there. */
static void port_is_used_again(void **state)
{
	struct sockaddr_storage me, ss;
	struct row row = { .state = ROW_CLOSING, .owner = 2 };
	socklen_t len = sizeof(me);
	struct conn c;
	int fd, one = 1;

	(void)state;
	connect_client(&c, AF_INET, 4230, true);
	say(&c, 0, 100);
	assert_int_equal(settle(&c), 0);
	assert_int_equal(getsockname(c.client, (struct sockaddr *)&me, &len), 0);
	assert_int_equal(move(&c, false), 0);
	when = STEP_MOVED;
	reset(&c, STEP_MOVED);
	assert_int_equal(read_end(c.server), -ECONNRESET);
	close(c.server);
	assert_int_equal(rows_put(bed.rows[0], &c.flow, &row), 0); /* as its owner says when a connection has ended */
	enter(bed.client_ns);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	assert_int_equal(bind(fd, (struct sockaddr *)&me, len), 0);
	len = vip(AF_INET, &ss, 4230);
	assert_int_equal(connect(fd, (struct sockaddr *)&ss, len), 0);
	close(c.client);
	c.client = fd;
	c.server = accept(c.listener[0], NULL, NULL);
	nonblocking(c.client);
	nonblocking(c.server);
	c.at = 0;
	c.meddle = NULL;
	memset(c.sent, 0, sizeof(c.sent));
	memset(c.got, 0, sizeof(c.got));
	say(&c, 0, 2000);
	say(&c, 1, 8000);
	assert_int_equal(settle(&c), 0);
	assert_int_equal(move(&c, false), 0);
	say(&c, 0, 2000);
	say(&c, 1, 8000);
	assert_int_equal(settle(&c), 0);
	disconnect_client(&c);
	enter(bed.home_ns);
}

/* --- A closed window ------------------------------------------------------------------------------------------------------ */

static void window_opens(struct conn *c, enum step step)
{
	int i;

	if (step == when)
		for (i = 0; i < 20 && hear(c, 1) > 0; i++)
			usleep(500);
}

/* Until the client has no room, everything that left is acknowledged, and more waits. */
static void close_window(struct conn *c)
{
	struct tcp_info info = { 0 };
	socklen_t len;
	int i;

	for (i = 0; i < 1000 && (info.tcpi_unacked || info.tcpi_notsent_bytes < 10000); i++) {
		if (info.tcpi_notsent_bytes < 10000)
			say(c, 1, 4000);
		usleep(1000);
		len = sizeof(info);
		assert_int_equal(getsockopt(c->server, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
	}
	assert_true(info.tcpi_notsent_bytes > 0 && !info.tcpi_unacked); /* control: it is the window */
}

static void zero_window(void **state)
{
	struct conn c;
	uint64_t t;
	int rc;

	(void)state;
	bed.receive = 16384;
	for (when = STEP_BEFORE; when <= STEPS; when++) { /* STEPS: it opens after the move */
		connect_client(&c, AF_INET, (uint16_t)(4240 + when), true);
		close_window(&c);
		c.meddle = window_opens;
		rc = move(&c, false);
		if (rc < 0)
			fail_msg("%d: %d", when, rc);
		if (when == STEPS)
			assert_int_equal(rc, 0);
		t = now_ms();
		assert_int_equal(settle(&c), 0);
		t = now_ms() - t;
		printf("a window that opens %s: moved %s, the rest took %llu ms\n", when < STEPS ? step_name[when] : "after the move",
		       rc ? "not now" : "yes", (unsigned long long)t);
		assert_true(t < 1000);
		say(&c, 0, 3000);
		say(&c, 1, 8000);
		assert_int_equal(settle(&c), 0);
		disconnect_client(&c);
	}
	bed.receive = 0;
	enter(bed.home_ns);
}

/* --- An upload --------------------------------------------------------------------------------------------------------------- */

static void upload_while_moving(struct conn *c, uint32_t total, int *moved, int *put_off, uint64_t *stall)
{
	uint64_t end = now_ms() + 30000, last = now_ms();
	int rc;

	*moved = *put_off = 0;
	*stall = 0;
	while (c->got[0] < total && now_ms() < end) {
		if (c->sent[0] < total)
			say(c, 0, 8000);
		poll_rows();
		rc = hear(c, 0);
		assert_true(rc >= 0);
		if (rc > 0) {
			*stall = now_ms() - last > *stall ? now_ms() - last : *stall;
			last = now_ms();
		}
		if (chance(c, 15) == 0) {
			rc = move(c, false);
			assert_true(rc >= 0);
			*moved += rc == 0;
			*put_off += rc != 0;
		}
	}
	assert_true(c->got[0] >= total);
}

static void an_upload_moves(void **state)
{
	int family, moved, put_off;
	uint64_t stall;
	struct conn c;

	(void)state;
	for (family = 0; family < 2; family++) {
		connect_client(&c, family ? AF_INET6 : AF_INET, (uint16_t)(4260 + family), true);
		upload_while_moving(&c, UPLOAD, &moved, &put_off, &stall);
		printf("an upload of %u bytes: %d moves, %d put off, longest stall %llu ms\n", UPLOAD, moved, put_off,
		       (unsigned long long)stall);
		assert_true(moved > 5);
		assert_int_equal(settle(&c), 0);
		disconnect_client(&c);
	}
	enter(bed.home_ns);
}

/* --- Loss ----------------------------------------------------------------------------------------------------------------------- */

static struct loss_bpf *lose_on_client(uint32_t one_in)
{
	LIBBPF_OPTS(bpf_tc_hook, both, .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);
	struct loss_bpf *l;
	unsigned i;

	/* Segments are lost, not bundles of forty. */
	shell("for n in c a b; do ip netns exec %s$n ethtool -K eth0 tso off gso off gro off > /dev/null; done", bed.prefix);
	enter(bed.client_ns);
	both.ifindex = (int)if_nametoindex("eth0");
	l = loss_bpf__open_and_load();
	if (!l)
		abort(); /* libbpf has said why */
	bpf_tc_hook_create(&both);
	for (i = 0; i < 2; i++) {
		LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = both.ifindex, .attach_point = i ? BPF_TC_EGRESS : BPF_TC_INGRESS);
		LIBBPF_OPTS(bpf_tc_opts, opts, .prog_fd = bpf_program__fd(l->progs.lose), .handle = 1, .priority = 1);

		assert_int_equal(bpf_tc_attach(&hook, &opts), 0);
	}
	l->bss->one_in = one_in;
	return l;
}

static void leave_client(struct loss_bpf *l)
{
	enter(bed.client_ns);
	shell("ip netns exec %sc tc qdisc del dev eth0 clsact", bed.prefix);
	loss_bpf__destroy(l);
	enter(bed.home_ns);
}

/* As settle, with the patience that losses of losses need. */
static int settle_lossy(struct conn *c)
{
	uint64_t end = now_ms() + LOSSY_PATIENCE_MS;
	int rc;

	do
		rc = settle(c);
	while (rc == -ETIMEDOUT && now_ms() < end);
	return rc;
}

static int by_time(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void lossy(int family, uint16_t port, bool moving, uint64_t took[LOSSY_MOVES], struct loss_bpf *l)
{
	int i, rc, moved = 0, put_off = 0;
	struct conn c;
	uint64_t t;

	connect_client(&c, family, port, true);
	for (i = 0; i < LOSSY_MOVES; i++) {
		t = now_ms();
		say(&c, 0, 1 + chance(&c, 3000));
		say(&c, 1, 1 + chance(&c, 8000));
		rc = moving ? move(&c, chance(&c, 8) == 0) : 0;
		if (rc < 0)
			fail_msg("move %d: %d", i, rc);
		moved += rc == 0;
		put_off += rc != 0;
		say(&c, 1, 1 + chance(&c, 8000));
		rc = settle_lossy(&c);
		if (rc)
			fail_msg("after %d moves: %d", moved, rc);
		took[i] = now_ms() - t;
	}
	qsort(took, LOSSY_MOVES, sizeof(took[0]), by_time);
	printf("IPv%d, 1 %% loss, %s: %d rounds, %d resumed or put off; a round's p50 %llu, p90 %llu, p99 %llu, worst %llu ms; lost %llu of "
	       "%llu\n", family == AF_INET ? 4 : 6, moving ? "moving" : "staying", LOSSY_MOVES, put_off,
	       (unsigned long long)took[LOSSY_MOVES / 2], (unsigned long long)took[LOSSY_MOVES * 9 / 10],
	       (unsigned long long)took[LOSSY_MOVES * 99 / 100], (unsigned long long)took[LOSSY_MOVES - 1],
	       (unsigned long long)l->bss->lost, (unsigned long long)l->bss->seen);
	if (moving)
		assert_true(moved > LOSSY_MOVES / 2);
	disconnect_client(&c);
}

static void one_percent_is_lost(void **state)
{
	static uint64_t stays[LOSSY_MOVES], moves[LOSSY_MOVES];
	struct loss_bpf *l = lose_on_client(100);
	int moved, put_off, family;
	uint64_t stall;
	struct conn c;

	(void)state;
	for (family = 0; family < 2; family++) {
		lossy(family ? AF_INET6 : AF_INET, (uint16_t)(4270 + 4 * family), false, stays, l);
		lossy(family ? AF_INET6 : AF_INET, (uint16_t)(4271 + 4 * family), true, moves, l);
		connect_client(&c, family ? AF_INET6 : AF_INET, (uint16_t)(4272 + 4 * family), true);
		upload_while_moving(&c, UPLOAD, &moved, &put_off, &stall); /* SACK holes come and go */
		printf("1 %% loss, an upload: %d moves, %d put off, longest stall %llu ms\n", moved, put_off, (unsigned long long)stall);
		assert_int_equal(settle_lossy(&c), 0);
		disconnect_client(&c);
	}
	assert_true(l->bss->lost > 50); /* control */
	leave_client(l);
}

/* The first segment of a flight is lost and the rest is acknowledged selectively, of which the new kernel hears only later. */
static void sack_holes(void **state)
{
	struct loss_bpf *l = lose_on_client(0);
	int i, moved = 0, family;
	uint64_t t, worst;
	struct conn c;

	(void)state;
	for (family = 0; family < 2; family++) {
		connect_client(&c, family ? AF_INET6 : AF_INET, (uint16_t)(4280 + family), true);
		say(&c, 1, 8000);
		assert_int_equal(settle(&c), 0);
		for (i = 0, worst = 0; i < HOLES; i++) {
			t = now_ms();
			l->bss->next_large = 1;
			say(&c, 1, 8000);
			moved += move(&c, false) == 0;
			assert_int_equal(settle(&c), 0);
			t = now_ms() - t;
			worst = t > worst ? t : worst;
		}
		printf("a hole in what is in flight: worst of %d moves %llu ms\n", HOLES, (unsigned long long)worst);
		assert_true(worst < 1000);
		disconnect_client(&c);
	}
	assert_true(moved > HOLES);
	assert_true(l->bss->lost >= 2 * HOLES);
	leave_client(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(client_half_closes), cmocka_unit_test(client_resets), cmocka_unit_test(port_is_used_again),
		cmocka_unit_test(zero_window), cmocka_unit_test(an_upload_moves), cmocka_unit_test(one_percent_is_lost),
		cmocka_unit_test(sack_holes),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
