// SPDX-License-Identifier: BSD-2-Clause
/*
 * What follows a connection that moves, read back from its new kernel; that one eBPF read and the socket options say
 * the same; what is refused, and that a refused connection goes on unharmed; what a lost first flight costs.
 */
#include <linux/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>

#include "l7/tcp/tcp_bpf.h"
#include "tests/bpf/move_bed.h"

#define READS 2000
#define QUEUE 65536

static bool have_bpf; /* else what it restores is not expected */

static int get_option(int fd, int level, int name)
{
	socklen_t len = sizeof(int);
	int value = -1;

	assert_int_equal(getsockopt(fd, level, name, &value, &len), 0);
	return value;
}

static void set_option(int fd, int level, int name, int value)
{
	assert_int_equal(setsockopt(fd, level, name, &value, sizeof(value)), 0);
}

static struct tcp_info info_of(int fd)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
	return info;
}

static void with_bpf(bool yes)
{
	char why[512];

	tcp_move_close(false);
	if (yes && tcp_move_open(why, sizeof(why)))
		printf("without: %s\n", why);
}

static int mine_set_up(void **state)
{
	struct tcp_read r;
	int fd;

	set_up(state);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	have_bpf = !tcp_bpf_read(fd, &r);
	close(fd);
	shell("for n in c a b; do ip netns exec %s$n sysctl -qw net.ipv4.tcp_ecn=1 net.ipv4.tcp_no_metrics_save=1; done", bed.prefix);
	return 0;
}

/* --- What follows ----------------------------------------------------------------------------------------------- */

static void learned_follows(struct conn *c, const char *congestion)
{
	uint8_t frame[TCP_MOVE_SEED_MAX];
	struct tcp_info info;
	struct tcp_move m;
	struct tcp_read r;
	char name[16] = "";
	socklen_t len = sizeof(name);
	bool v6 = c->flow.family == FLOW_V6;
	size_t left;
	int fd;

	put_row(c, 0, ROW_HOLD, 0);
	assert_int_equal(tcp_move_export(c->server, QUEUE, &m), 0);
	assert_int_equal(m.ecn, 1);
	assert_int_equal(m.timestamps, 1);
	/* As if from a long path that had lost: what a bed of three namespaces cannot be. */
	m.srtt_us = 80000;
	m.cwnd = 37;
	m.ssthresh = 29;
	m.pmtu = 1300;
	enter(bed.ns[1]);
	fd = tcp_move_socket(v6 ? AF_INET6 : AF_INET);
	assert_int_equal(tcp_move_import(fd, &m), 0);
	assert_int_equal(tcp_move_live(fd, &m), 0);
	rows_inject(bed.rows[1], frame, tcp_move_seed(fd, &m, frame));
	assert_int_equal(tcp_move_send(fd, &m, &left), 0);
	close(c->server);
	c->server = fd;
	c->at = 1;
	put_row(c, 0, ROW_FWD, 1);
	rows_release(bed.rows[0], &c->flow);

	info = info_of(fd);
	assert_in_range(info.tcpi_rtt, 79000, 83000);
	assert_in_range(info.tcpi_rto, 270000, 300000); /* srtt + 200 ms; without the sample 3 s, or 1 */
	assert_int_equal(info.tcpi_snd_mss, 1300 - (v6 ? 60 : 40) - 12);
	assert_int_equal(info.tcpi_unacked, 0); /* the seed's byte is acknowledged */
	if (have_bpf) {
		assert_in_range(info.tcpi_snd_cwnd, 37, 38); /* the seed may count as a byte that was acknowledged */
		assert_int_equal(info.tcpi_snd_ssthresh, 29);
		assert_true(info.tcpi_options & TCPI_OPT_ECN);
		assert_int_equal(tcp_bpf_read(fd, &r), 0);
		assert_int_equal(r.ts_recent, m.ts_recent);
		assert_true(m.ts_recent != 0);
	}
	assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len), 0);
	assert_string_equal(name, congestion);
	assert_int_equal(get_option(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
	assert_int_equal(get_option(fd, IPPROTO_TCP, TCP_KEEPIDLE), 33);
	assert_int_equal(get_option(fd, IPPROTO_TCP, TCP_KEEPINTVL), 7);
	assert_int_equal(get_option(fd, IPPROTO_TCP, TCP_KEEPCNT), 5);
	assert_int_equal(get_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 12345);
	assert_int_equal(get_option(fd, IPPROTO_TCP, TCP_NODELAY), 1);
	assert_int_equal(get_option(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_TCLASS : IP_TOS) & 0xfc, 0x28);
	tcp_move_free(&m);
	say(c, 0, 5000);
	say(c, 1, 8000);
	assert_int_equal(settle(c), 0);
}

static void follows(int family, uint16_t port, const char *congestion)
{
	bool v6 = family == AF_INET6;
	struct conn c;
	int i;

	connect_client(&c, family, port, true);
	for (i = 0; i < 20; i++) { /* until something was learned */
		say(&c, 0, 3000);
		say(&c, 1, 8000);
		assert_int_equal(settle(&c), 0);
	}
	set_option(c.server, SOL_SOCKET, SO_KEEPALIVE, 1);
	set_option(c.server, IPPROTO_TCP, TCP_KEEPIDLE, 33);
	set_option(c.server, IPPROTO_TCP, TCP_KEEPINTVL, 7);
	set_option(c.server, IPPROTO_TCP, TCP_KEEPCNT, 5);
	set_option(c.server, IPPROTO_TCP, TCP_USER_TIMEOUT, 12345);
	set_option(c.server, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_TCLASS : IP_TOS, 0x28);
	assert_int_equal(setsockopt(c.server, IPPROTO_TCP, TCP_CONGESTION, congestion, (socklen_t)strlen(congestion)), 0);
	learned_follows(&c, congestion);
	disconnect_client(&c);
	enter(bed.home_ns);
}

static void all_follows(void **state)
{
	(void)state;
	follows(AF_INET, 4100, "reno");
	follows(AF_INET6, 4101, "reno");
	follows(AF_INET, 4102, "cubic");
}

/* The control: by socket options alone the window is the initial one. */
static void little_follows_without_bpf(void **state)
{
	struct tcp_info info;
	struct conn c;

	(void)state;
	with_bpf(false);
	connect_client(&c, AF_INET, 4103, true);
	say(&c, 1, 8000);
	assert_int_equal(settle(&c), 0);
	c.meddle = NULL;
	assert_int_equal(move(&c, false), 0);
	info = info_of(c.server);
	assert_in_range(info.tcpi_snd_cwnd, 10, 11);
	assert_false(info.tcpi_options & TCPI_OPT_ECN);
	say(&c, 0, 5000);
	say(&c, 1, 8000);
	assert_int_equal(settle(&c), 0);
	disconnect_client(&c);
	enter(bed.home_ns);
	with_bpf(true);
}

/* --- Two ways to read ---------------------------------------------------------------------------------------------- */

static void same_buffer(const struct buffer *a, const struct buffer *b)
{
	assert_int_equal(buffer_len(a), buffer_len(b));
	if (buffer_len(a))
		assert_memory_equal(a->data + a->start, b->data + b->start, buffer_len(a));
}

/* b was read elapsed_ms after a at most. */
static void same_struct(struct tcp_move *a, struct tcp_move *b, uint64_t elapsed_ms)
{
	uint8_t left[TCP_MOVE_HEAD], right[TCP_MOVE_HEAD];
	struct buffer none = { NULL };

	same_buffer(&a->received, &b->received);
	same_buffer(&a->send, &b->send);
	assert_in_range(b->timestamp - a->timestamp + 5, 0, elapsed_ms + 10); /* a clock that goes on, without its last bit */
	b->timestamp = a->timestamp;
	assert_int_equal(b->ts_recent, 0);
	assert_true(a->ts_recent != 0);
	b->ts_recent = a->ts_recent;
	tcp_move_free(&(struct tcp_move){ .received = a->received, .send = a->send });
	tcp_move_free(&(struct tcp_move){ .received = b->received, .send = b->send });
	a->received = a->send = b->received = b->send = none;
	tcp_move_put(a, left);
	tcp_move_put(b, right);
	assert_memory_equal(left, right, sizeof(left));
}

/* n bytes are in the server's queue. */
static void arrived(const struct conn *c, int n)
{
	uint64_t end = now_ms() + 5000;
	int waiting = 0;

	while (!ioctl(c->server, FIONREAD, &waiting) && waiting < n && now_ms() < end)
		usleep(1000);
	assert_int_equal(waiting, n);
}

static void compare(int family, uint16_t port)
{
	struct tcp_move by_read, by_options;
	struct conn c;
	uint64_t began;
	int round;

	connect_client(&c, family, port, true);
	set_option(c.server, IPPROTO_TCP, TCP_USER_TIMEOUT, 777);
	for (round = 0; round < 3; round++) {
		if (round) {
			set_option(c.server, SOL_SOCKET, SO_KEEPALIVE, 1);
			set_option(c.server, IPPROTO_TCP, TCP_KEEPIDLE, 60);
			say(&c, 0, 3000);
			arrived(&c, 3000);
			put_row(&c, 0, ROW_HOLD, 0); /* what is said now stays unacknowledged */
			say(&c, 1, 8000);
		}
		began = now_ms();
		assert_int_equal(tcp_move_export(c.server, QUEUE, &by_read), 0);
		with_bpf(false);
		assert_int_equal(tcp_move_export(c.server, QUEUE, &by_options), 0);
		if (round) {
			assert_int_equal(buffer_len(&by_read.received), 3000);
			assert_int_equal(buffer_len(&by_read.send), 8000);
		}
		same_struct(&by_read, &by_options, now_ms() - began);
		with_bpf(true);
		drop_row(&c, 0);
		tcp_move_resume(c.server);
		assert_int_equal(settle(&c), 0);
	}
	disconnect_client(&c);
	enter(bed.home_ns);
}

static void both_say_the_same(void **state)
{
	(void)state;
	if (!have_bpf)
		skip();
	compare(AF_INET, 4110);
	compare(AF_INET6, 4111);
}

static int by_time(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t median_export(struct conn *c, const char *how)
{
	static uint64_t took[READS];
	struct tcp_move m;
	int i;

	for (i = 0; i < READS; i++) {
		took[i] = now_ns();
		assert_int_equal(tcp_move_export(c->server, QUEUE, &m), 0);
		took[i] = now_ns() - took[i];
		tcp_move_free(&m);
		assert_int_equal(tcp_move_resume(c->server), 0);
	}
	qsort(took, READS, sizeof(took[0]), by_time);
	printf("export %s: median %llu ns, p99 %llu\n", how, (unsigned long long)took[READS / 2],
	       (unsigned long long)took[READS * 99 / 100]);
	return took[READS / 2];
}

/* Shown, not judged: tests judge no speed. */
static void both_are_timed(void **state)
{
	struct conn c;

	(void)state;
	if (!have_bpf)
		skip();
	connect_client(&c, AF_INET, 4112, true);
	assert_true(median_export(&c, "by one read") > 0);
	with_bpf(false);
	assert_true(median_export(&c, "by socket options") > 0);
	with_bpf(true);
	disconnect_client(&c);
	enter(bed.home_ns);
}

/* --- A lost first flight --------------------------------------------------------------------------------------------- */

/* Milliseconds until the client has what was sent into a HOLD that drops for 20 ms. */
static uint64_t first_flight(uint16_t port, bool seeded)
{
	uint8_t frame[TCP_MOVE_SEED_MAX];
	struct row drop = { .state = ROW_HOLD, .owner = 2 };
	struct tcp_move m;
	struct conn c;
	uint64_t t;
	size_t left;
	int fd;

	connect_client(&c, AF_INET, port, true);
	say(&c, 1, 8000);
	assert_int_equal(settle(&c), 0);
	put_row(&c, 0, ROW_HOLD, 0);
	assert_int_equal(tcp_move_export(c.server, QUEUE, &m), 0);
	if (!seeded)
		m.srtt_us = 0;
	enter(bed.ns[1]);
	fd = tcp_move_socket(AF_INET);
	assert_int_equal(tcp_move_import(fd, &m), 0);
	assert_int_equal(tcp_move_live(fd, &m), 0);
	rows_inject(bed.rows[1], frame, tcp_move_seed(fd, &m, frame));
	assert_int_equal(tcp_move_send(fd, &m, &left), 0);
	close(c.server);
	c.server = fd;
	c.at = 1;
	put_row(&c, 0, ROW_FWD, 1);
	rows_release(bed.rows[0], &c.flow);
	drop.deadline_ns = deadline(20);
	assert_int_equal(rows_put(bed.rows[1], &c.flow, &drop), 0);
	t = now_ms();
	say(&c, 1, 8000);
	if (settle(&c)) /* the initial time-out is 3 s where the kernel knows nothing of the client */
		assert_int_equal(settle(&c), 0);
	t = now_ms() - t;
	assert_int_equal(rows_get(bed.rows[1], &c.flow, &drop), 0);
	assert_true(drop.dropped & ROW_DROPPED_DATA); /* control: it was lost */
	tcp_move_free(&m);
	disconnect_client(&c);
	enter(bed.home_ns);
	return t;
}

static void lost_first_flight(void **state)
{
	uint64_t with, without;

	(void)state;
	with = first_flight(4120, true);
	without = first_flight(4121, false);
	printf("a lost first flight costs %llu ms, without the seed %llu\n", (unsigned long long)with, (unsigned long long)without);
	assert_true(with < 450);
	assert_true(without > 800);
}

/* --- Refusals ------------------------------------------------------------------------------------------------------------ */

/* Refused, and then both directions still work. */
static void refused(struct conn *c, size_t queue_max, int why)
{
	struct tcp_move m;
	int i;

	for (i = 0; i < 2; i++) {
		with_bpf(i == 0);
		if (tcp_move_export(c->server, queue_max, &m) != why)
			fail_msg("not refused by %s", i ? "socket options" : "one read");
	}
	with_bpf(true);
}

static void goes_on(struct conn *c)
{
	say(c, 0, 2000);
	say(c, 1, 5000);
	assert_int_equal(settle(c), 0);
}

static void moves_now(struct conn *c)
{
	assert_int_equal(move(c, false), 0);
	goes_on(c);
}

enum { FIN_WAIT2 = 5, CLOSE_WAIT = 8 }; /* of tcpi_state: netinet/tcp.h has the names, and not beside linux/tcp.h */

static void turned(const struct conn *c, int state)
{
	uint64_t end = now_ms() + 5000;

	while (info_of(c->server).tcpi_state != state && now_ms() < end)
		usleep(1000);
	assert_int_equal(info_of(c->server).tcpi_state, state);
}

static void states_are_refused(void **state)
{
	struct tcp_move m;
	struct conn c;

	(void)state;
	connect_client(&c, AF_INET, 4130, true);
	assert_true(tcp_move_export(c.listener[0], QUEUE, &m) == -ENOTCONN); /* and is a listener still: */
	goes_on(&c);
	shutdown(c.client, SHUT_WR);
	turned(&c, CLOSE_WAIT);
	refused(&c, QUEUE, -ENOTCONN);
	say(&c, 1, 5000);
	assert_int_equal(settle(&c), 0);
	disconnect_client(&c);

	connect_client(&c, AF_INET6, 4131, true);
	goes_on(&c);
	shutdown(c.server, SHUT_WR);
	turned(&c, FIN_WAIT2);
	refused(&c, QUEUE, -ENOTCONN);
	say(&c, 0, 2000);
	assert_int_equal(settle(&c), 0);
	disconnect_client(&c);
	enter(bed.home_ns);
}

static void queues_are_refused(void **state)
{
	struct conn c;

	(void)state;
	connect_client(&c, AF_INET, 4132, true);
	say(&c, 0, 5000);
	arrived(&c, 5000);
	refused(&c, 4999, -EMSGSIZE);
	assert_int_equal(settle(&c), 0);
	put_row(&c, 0, ROW_HOLD, 0);
	say(&c, 1, 8000);
	refused(&c, 7999, -EMSGSIZE);
	drop_row(&c, 0);
	assert_int_equal(settle(&c), 0);
	moves_now(&c);
	disconnect_client(&c);
	enter(bed.home_ns);
}

/* A segment waits in the TAP while the next has come; the client, which would send the first again, does not hear of it. */
static void disorder_is_refused(void **state)
{
	struct conn c;
	uint64_t end;

	(void)state;
	connect_client(&c, AF_INET, 4133, true);
	set_option(c.client, IPPROTO_TCP, TCP_NODELAY, 1);
	goes_on(&c);
	shell("ip -n %sa neigh replace 192.0.2.10 lladdr 02:00:00:00:00:99 dev eth0", bed.prefix);
	put_row(&c, 0, ROW_HOLD, 0);
	say(&c, 0, 1000);
	usleep(500);
	poll_rows();
	drop_row(&c, 0);
	say(&c, 0, 1000);
	for (end = now_ms() + 150; !info_of(c.server).tcpi_rcv_ooopack && now_ms() < end;)
		usleep(100);
	put_row(&c, 0, ROW_HOLD, 0); /* the client's time-out comes too late */
	refused(&c, QUEUE, -EAGAIN);
	shell("ip -n %sa neigh del 192.0.2.10 dev eth0", bed.prefix);
	poll_rows();
	drop_row(&c, 0);
	rows_release(bed.rows[0], &c.flow);
	assert_int_equal(settle(&c), 0);
	moves_now(&c);
	disconnect_client(&c);
	enter(bed.home_ns);
}

static void urgent_is_refused(void **state)
{
	struct pollfd urgent = { .events = POLLPRI };
	struct conn c;
	char byte;

	(void)state;
	connect_client(&c, AF_INET, 4134, true);
	urgent.fd = c.server;
	goes_on(&c);
	assert_int_equal(send(c.client, "!", 1, MSG_OOB), 1);
	assert_int_equal(poll(&urgent, 1, 5000), 1);
	refused(&c, QUEUE, -EAGAIN);
	assert_int_equal(recv(c.server, &byte, 1, MSG_OOB), 1);
	goes_on(&c);
	moves_now(&c);
	disconnect_client(&c);
	enter(bed.home_ns);
}

/* A pair on the client's own loopback, of the protocol and with the signature that is asked for. */
static void loopback_pair(int fd[3], int protocol, bool sign)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(in);
	struct tcp_md5sig key = { .tcpm_keylen = 4, .tcpm_key = "test" };
	int i;

	enter(bed.client_ns);
	fd[2] = socket(AF_INET, SOCK_STREAM, protocol);
	fd[0] = socket(AF_INET, SOCK_STREAM, protocol);
	if (fd[2] < 0 || fd[0] < 0)
		skip(); /* not in this kernel */
	assert_int_equal(bind(fd[2], (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(getsockname(fd[2], (struct sockaddr *)&in, &len), 0);
	memcpy(&key.tcpm_addr, &in, sizeof(in));
	for (i = 0; sign && i < 3; i += 2)
		if (setsockopt(fd[i], IPPROTO_TCP, TCP_MD5SIG, &key, sizeof(key)))
			skip();
	assert_int_equal(listen(fd[2], 1), 0);
	assert_int_equal(connect(fd[0], (struct sockaddr *)&in, sizeof(in)), 0);
	fd[1] = accept(fd[2], NULL, NULL);
	assert_true(fd[1] >= 0);
}

static void kind_is_refused(int protocol, bool sign, int why)
{
	struct tcp_move m;
	char text[8];
	int fd[3], i;

	loopback_pair(fd, protocol, sign);
	for (i = 0; i < 2; i++) {
		with_bpf(i == 0);
		if (tcp_move_export(fd[1], QUEUE, &m) != why)
			fail_msg("not %d by %s", why, i ? "socket options" : "one read");
		if (!why) {
			tcp_move_free(&m);
			assert_int_equal(tcp_move_resume(fd[1]), 0);
		}
		assert_int_equal(send(fd[0], "ping", 4, 0), 4);
		assert_int_equal(recv(fd[1], text, sizeof(text), 0), 4);
		assert_int_equal(send(fd[1], "pong", 4, 0), 4);
		assert_int_equal(recv(fd[0], text, sizeof(text), 0), 4);
	}
	with_bpf(true);
	for (i = 0; i < 3; i++)
		close(fd[i]);
	enter(bed.home_ns);
}

static void mptcp_is_refused(void **state)
{
	(void)state;
	kind_is_refused(262 /* IPPROTO_MPTCP */, false, -EPROTONOSUPPORT);
}

static void md5_is_refused(void **state)
{
	(void)state;
	kind_is_refused(IPPROTO_TCP, true, -EPROTONOSUPPORT);
}

static void plain_is_not_refused(void **state) /* the control of both */
{
	(void)state;
	kind_is_refused(IPPROTO_TCP, false, 0);
}

/* A child of TCP Fast Open has data before it is ESTABLISHED: its SYN-ACK is lost to a wrong neighbour for a while. */
static void fast_open_is_refused(void **state)
{
	struct sockaddr_storage ss;
	socklen_t len = vip(AF_INET, &ss, 4135);
	const char *p = bed.prefix;
	struct conn c;
	uint64_t end;

	(void)state;
	shell("for n in a c; do ip netns exec %s$n sysctl -qw net.ipv4.tcp_fastopen=0x607; done", p);
	connect_client(&c, AF_INET, 4135, true);
	goes_on(&c);
	close(c.client);
	close(c.server);
	set_option(c.listener[0], IPPROTO_TCP, TCP_FASTOPEN, 5);
	shell("ip -n %sa neigh replace 192.0.2.10 lladdr 02:00:00:00:00:99 dev eth0", p);
	enter(bed.client_ns);
	c.client = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	memset(c.sent, 0, sizeof(c.sent));
	memset(c.got, 0, sizeof(c.got));
	sendto(c.client, (uint8_t[]){ byte_at(0, 0) }, 1, MSG_FASTOPEN, (struct sockaddr *)&ss, len);
	c.sent[0] = 1;
	c.server = accept(c.listener[0], NULL, NULL);
	assert_true(c.server >= 0);
	nonblocking(c.server);
	assert_int_equal(info_of(c.server).tcpi_state, 3); /* TCP_SYN_RECV */
	refused(&c, QUEUE, -ENOTCONN);
	shell("ip -n %sa neigh del 192.0.2.10 dev eth0", p);
	for (end = now_ms() + 5000; info_of(c.server).tcpi_state != 1 && now_ms() < end;)
		usleep(10000);
	len = sizeof(ss);
	assert_int_equal(getsockname(c.client, (struct sockaddr *)&ss, &len), 0);
	c.flow.sport = ((struct sockaddr_in *)&ss)->sin_port;
	goes_on(&c);
	moves_now(&c);
	disconnect_client(&c);
	enter(bed.home_ns);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_follows),
		cmocka_unit_test(little_follows_without_bpf),
		cmocka_unit_test(both_say_the_same),
		cmocka_unit_test(both_are_timed),
		cmocka_unit_test(lost_first_flight),
		cmocka_unit_test(states_are_refused),
		cmocka_unit_test(queues_are_refused),
		cmocka_unit_test(disorder_is_refused),
		cmocka_unit_test(urgent_is_refused),
		cmocka_unit_test(mptcp_is_refused),
		cmocka_unit_test(md5_is_refused),
		cmocka_unit_test(plain_is_not_refused),
		cmocka_unit_test(fast_open_is_refused),
	};

	return cmocka_run_group_tests(tests, mine_set_up, tear_down);
}
