/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Letters between two processes over loopback: this one is host 1, a child is host 2, so that it can be killed and
 * stopped.  And between two of one host, with descriptors.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/pki.h"
#include "l7/handoff/carrier.h"

static char dir[64];
static struct event_base *base;
static struct tls_identity *tls;
static struct carrier *carrier;
static pid_t child;
static unsigned ups, downs, accepts, refusals;
static uint64_t child_inc;
static uint8_t fill[256 << 10];

static struct sockaddr_in loopback(int port)
{
	return (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				    .sin_port = htons((uint16_t)port)};
}

static struct tls_identity *identity(uint16_t id)
{
	char path[128], why[512];
	struct tls_identity *t;

	snprintf(path, sizeof(path), "%s/host-%u", dir, id);
	if (tls_identity_load(path, &t, why, sizeof(why)))
		fail_msg("%s", why);
	return t;
}

static void run(unsigned ms)
{
	event_base_loopexit(base, &(struct timeval){.tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000});
	event_base_dispatch(base);
}

static bool until(const unsigned *what, unsigned n, unsigned ms)
{
	for (uint64_t end = monotonic_ms() + ms; *what < n && monotonic_ms() < end;)
		run(5);
	return *what >= n;
}

/* --- host 2, a child -------------------------------------------------------------------------------------- */
struct child {
	struct carrier *c;
	bool holds; /* takes offers, and is never done with them */
};

static void child_up(void *ctx, uint16_t host, uint64_t inc)
{
	(void)ctx, (void)host, (void)inc;
}

static void child_down(void *ctx, uint16_t host)
{
	(void)ctx, (void)host;
}

#define ENDS (UINT64_C(1) << 40) /* a question about this connection: it answers, and says that it ends */

/* Accepts what came whole; answers a question with "never seen". */
static bool child_letter(void *ctx, uint16_t host, uint64_t inc, const struct move_letter *l)
{
	struct child *me = ctx;
	struct move_letter answer = {.type = LETTER_REFUSE, .why = REFUSE_STATE, .ingress = 1, .e = l->e, .cid = l->cid};
	bool whole = true;

	(void)inc;
	for (unsigned i = 0; i < SECTIONS; i++)
		whole = whole && (!l->section[i].n || !memcmp(l->section[i].p, fill, l->section[i].n));
	if (l->type == LETTER_OFFER && me->holds)
		return false;
	if (l->type == LETTER_OFFER && whole) {
		answer.type = LETTER_ACCEPT;
		answer.why = 0;
	}
	if (l->type == LETTER_STATUS)
		answer.why = REFUSE_NEVER_SEEN;
	if (l->cid == ENDS)
		carrier_leave(me->c);
	carrier_send(me->c, host, &answer);
	return true;
}

static const struct carrier_ops child_ops = {child_up, child_down, child_letter};

static int child_main(int port, uint64_t inc, bool holds, int told)
{
	struct sockaddr_in at = loopback(port), peer = loopback(1);
	struct child me = {.holds = holds};
	struct event_base *b = event_base_new();
	struct tls_identity *t = identity(2);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(60);
	if (carrier_new(b, t, (struct sockaddr *)&at, sizeof(at), inc, CARRIER_WINDOW, &child_ops, &me, &me.c) ||
	    carrier_peer(me.c, 1, (struct sockaddr *)&peer, sizeof(peer)))
		return 1;
	carrier_set_workers(me.c, 7);
	port = carrier_port(me.c);
	if (write(told, &port, sizeof(port)) != sizeof(port))
		return 1;
	event_base_dispatch(b);
	return 0;
}

/* A child on a port (0: any), and a session with it. */
static int start(int port, uint64_t inc, bool holds)
{
	struct sockaddr_in to;
	int told[2];

	assert_int_equal(pipe(told), 0);
	child = fork();
	if (child == 0)
		_exit(child_main(port, inc, holds, told[1]));
	assert_int_equal(read(told[0], &port, sizeof(port)), sizeof(port));
	close(told[0]);
	close(told[1]);
	to = loopback(port);
	assert_int_equal(carrier_peer(carrier, 2, (struct sockaddr *)&to, sizeof(to)), 0);
	return port;
}

static void stop(void)
{
	if (child) {
		kill(child, SIGCONT);
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
	child = 0;
}

/* --- host 1 -------------------------------------------------------------------------------------------------- */
static void on_up(void *ctx, uint16_t host, uint64_t inc)
{
	(void)ctx;
	assert_int_equal(host, 2);
	child_inc = inc;
	ups++;
}

static void on_down(void *ctx, uint16_t host)
{
	(void)ctx, (void)host;
	downs++;
}

static bool on_letter(void *ctx, uint16_t host, uint64_t inc, const struct move_letter *l)
{
	(void)ctx, (void)host;
	assert_int_equal(inc, child_inc);
	if (l->type == LETTER_ACCEPT)
		accepts++;
	else
		refusals++;
	return true;
}

static const struct carrier_ops ops = {on_up, on_down, on_letter};

static struct move_letter offer(uint64_t cid, uint32_t n)
{
	struct move_letter l = {.type = LETTER_OFFER, .ingress = 1, .e = 1, .cid = cid, .to_inc = child_inc, .serial = cid};

	l.section[SECTION_TCP] = (struct move_bytes){.p = fill, .n = n};
	return l;
}

static int setup(void **state)
{
	struct sockaddr_in at = loopback(0);
	char why[512];

	(void)state;
	signal(SIGPIPE, SIG_IGN);
	strcpy(dir, "/tmp/test_carrier.XXXXXX");
	assert_non_null(mkdtemp(dir));
	if (pki_init(dir, "demo", why, sizeof(why)) || pki_issue(dir, ROLE_HOST, 1, 0, why, sizeof(why)) ||
	    pki_issue(dir, ROLE_HOST, 2, 0, why, sizeof(why)))
		fail_msg("%s", why);
	log_open("test", LOG_LEVEL_ERROR);
	for (size_t i = 0; i < sizeof(fill); i++)
		fill[i] = (uint8_t)(i * 13 + i / 256);
	base = event_base_new();
	tls = identity(1);
	assert_int_equal(carrier_new(base, tls, (struct sockaddr *)&at, sizeof(at), 11, CARRIER_WINDOW, &ops, NULL, &carrier), 0);
	return 0;
}

static int teardown(void **state)
{
	char command[128];

	(void)state;
	stop();
	carrier_free(carrier);
	tls_identity_free(tls);
	event_base_free(base);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

static int fresh(void **state)
{
	(void)state;
	stop();
	carrier_forget(carrier, 2);
	ups = downs = accepts = refusals = 0;
	child_inc = 0;
	return 0;
}

static void test_letters(void **state)
{
	struct move_letter l;
	unsigned sent = 0;

	(void)state;
	l = offer(1, 100);
	assert_int_equal(carrier_send(carrier, 2, &l), -ENOTCONN);
	start(0, 22, false);
	assert_true(until(&ups, 1, 3000));
	assert_int_equal(child_inc, 22);
	assert_int_equal(carrier_inc(carrier, 2), 22);
	assert_int_equal(carrier_workers(carrier, 2), 7);
	l = offer(1, move_section_max(SECTION_TCP) + 1);
	assert_int_equal(carrier_send(carrier, 2, &l), -EMSGSIZE);
	/* Three windows of offers: what is refused for want of room is sent when room is there. */
	for (uint64_t end = monotonic_ms() + 10000; sent < 3 * CARRIER_WINDOW / (200 << 10) && monotonic_ms() < end;) {
		int rc;

		l = offer(sent + 1, 200 << 10);
		rc = carrier_send(carrier, 2, &l);
		if (rc == 0)
			sent++;
		else
			assert_int_equal(rc, -EAGAIN);
		if (rc)
			run(2);
	}
	assert_true(until(&accepts, sent, 5000));
	assert_int_equal(refusals, 0);
	assert_true(carrier_counts(carrier)->full > 0);
	assert_int_equal(sent, 3 * CARRIER_WINDOW / (200 << 10));
}

static unsigned fill_window(void)
{
	struct move_letter l;
	unsigned n = 0;
	int rc;

	for (;;) {
		l = offer(n + 1, 200 << 10);
		rc = carrier_send(carrier, 2, &l);
		if (rc)
			break;
		n++;
	}
	assert_int_equal(rc, -EAGAIN);
	assert_true((size_t)n * (200 << 10) <= CARRIER_WINDOW);
	return n;
}

static void test_exhausted(void **state)
{
	struct move_letter l = {.type = LETTER_STATUS, .ingress = 1, .e = 1, .cid = 5, .to_inc = 22, .serial = 5};

	(void)state;
	start(0, 22, true);
	assert_true(until(&ups, 1, 3000));
	assert_true(fill_window() > 30);
	run(200); /* they have all come; none was taken */
	assert_int_equal(fill_window(), 0);
	/* What is no offer goes on: questions are answered. */
	assert_int_equal(carrier_send(carrier, 2, &l), 0);
	assert_true(until(&refusals, 1, 2000));
}

static void test_killed(void **state)
{
	struct move_letter l;
	int port;

	(void)state;
	port = start(0, 22, false);
	assert_true(until(&ups, 1, 3000));
	kill(child, SIGKILL);
	assert_true(until(&downs, 1, 1000));
	l = offer(1, 100);
	assert_int_equal(carrier_send(carrier, 2, &l), -ENOTCONN);
	waitpid(child, NULL, 0);
	start(port, 23, false);
	assert_true(until(&ups, 2, 8000));
	assert_int_equal(child_inc, 23);
	l = offer(1, 100);
	assert_int_equal(carrier_send(carrier, 2, &l), 0);
	assert_true(until(&accepts, 1, 2000));
}

static void test_stopped(void **state)
{
	uint64_t begin;
	struct move_letter l;

	(void)state;
	start(0, 22, false);
	assert_true(until(&ups, 1, 3000));
	kill(child, SIGSTOP);
	begin = monotonic_ms();
	assert_true(fill_window() > 30);
	assert_true(monotonic_ms() - begin < 500); /* it does not wait for the peer */
	assert_true(until(&downs, 1, 5000));
	assert_in_range(monotonic_ms() - begin, 2000, 4500);
	kill(child, SIGCONT);
	assert_true(until(&ups, 2, 12000));
	assert_int_equal(child_inc, 22);
	l = offer(1, 100);
	assert_int_equal(carrier_send(carrier, 2, &l), 0); /* a new session, a whole window */
	accepts = 0;
	assert_true(until(&accepts, 1, 2000));
}

static void test_leaving(void **state)
{
	struct sockaddr_in at = loopback(0), to;
	struct move_letter l;
	struct carrier *mine = carrier;
	int port;

	(void)state;
	/* The other ends: no offer, everything else. */
	port = start(0, 22, false);
	assert_true(until(&ups, 1, 3000));
	assert_true(carrier_takes(carrier, 2));
	l = (struct move_letter){.type = LETTER_STATUS, .ingress = 1, .e = 1, .cid = ENDS, .to_inc = 22, .serial = 5};
	assert_int_equal(carrier_send(carrier, 2, &l), 0);
	assert_true(until(&refusals, 1, 2000));
	run(20);
	assert_false(carrier_takes(carrier, 2));
	assert_int_equal(carrier_inc(carrier, 2), 22);
	l = offer(1, 100);
	assert_int_equal(carrier_send(carrier, 2, &l), -ESHUTDOWN);
	l.type = LETTER_STATUS;
	l.section[SECTION_TCP].n = 0;
	assert_int_equal(carrier_send(carrier, 2, &l), 0);
	assert_true(until(&refusals, 2, 2000));
	/* Its next life takes offers. */
	stop();
	assert_true(until(&downs, 1, 1000));
	start(port, 23, false);
	assert_true(until(&ups, 2, 8000));
	assert_true(carrier_takes(carrier, 2));
	/* We end: not before it has understood, and has what was sent before. */
	carrier_forget(carrier, 2);
	assert_int_equal(carrier_new(base, tls, (struct sockaddr *)&at, sizeof(at), 12, CARRIER_WINDOW, &ops, NULL, &carrier), 0);
	to = loopback(port);
	assert_int_equal(carrier_peer(carrier, 2, (struct sockaddr *)&to, sizeof(to)), 0);
	assert_true(until(&ups, 3, 8000));
	kill(child, SIGSTOP);
	l = offer(2, 200 << 10);
	assert_int_equal(carrier_send(carrier, 2, &l), 0);
	carrier_leave(carrier);
	run(300);
	assert_false(carrier_may_end(carrier));
	kill(child, SIGCONT);
	for (unsigned i = 0; i < 200 && !carrier_may_end(carrier); i++)
		run(5);
	assert_true(carrier_may_end(carrier));
	assert_true(until(&accepts, 1, 2000)); /* the answer to what was offered before */
	carrier_free(carrier);
	carrier = mine;
}

/* --- another version ------------------------------------------------------------------------------------------ */
static struct session *other_session;

static int other_up(void *ctx, struct session *s, const struct identity *peer)
{
	uint8_t greeting[16] = {2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9};

	(void)ctx, (void)peer;
	other_session = s;
	return session_send(s, CARRIER_GREETING, greeting, sizeof(greeting));
}

static void other_message(void *ctx, struct session *s, uint16_t type, const uint8_t *body, size_t len)
{
	(void)ctx, (void)s, (void)type, (void)body, (void)len;
}

static void other_down(void *ctx, struct session *s, const char *why)
{
	(void)ctx, (void)why;
	session_free(s);
	other_session = NULL;
}

static void test_another_version(void **state)
{
	static const struct session_ops other = {other_up, other_message, other_down};
	struct sockaddr_in at = loopback(0);
	struct tls_identity *t = identity(2);
	struct session_listener *listener;
	struct move_letter l = offer(1, 100);

	(void)state;
	assert_int_equal(session_listen(base, t, (struct sockaddr *)&at, sizeof(at), 1u << ROLE_HOST, &other, NULL, &listener), 0);
	at = loopback(session_listener_port(listener));
	assert_int_equal(carrier_peer(carrier, 2, (struct sockaddr *)&at, sizeof(at)), 0);
	for (unsigned i = 0; i < 300 && !carrier_counts(carrier)->foreign; i++)
		run(10);
	assert_int_equal(carrier_counts(carrier)->foreign, 1);
	l.to_inc = 1;
	assert_int_equal(carrier_send(carrier, 2, &l), -EPROTONOSUPPORT);
	assert_int_equal(ups, 0);
	carrier_forget(carrier, 2);
	run(50);
	if (other_session)
		session_free(other_session);
	session_listener_free(listener);
	tls_identity_free(t);
}

/* --- one host ----------------------------------------------------------------------------------------------------- */
static unsigned open_descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(d);
	if (!d)
		return 0;
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void send_raw(int fd, const void *bytes, size_t n, const int *fds, size_t n_fds)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(8 * sizeof(int))];
	} control = {.room = {0}};
	struct iovec part = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = n};
	struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};

	if (n_fds) {
		struct cmsghdr *h = &control.align;

		m.msg_control = control.room;
		m.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_RIGHTS;
		h->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(h), fds, n_fds * sizeof(int));
	}
	assert_int_equal(sendmsg(fd, &m, 0), n);
}

static void test_local(void **state)
{
	static uint8_t room[MOVE_LETTER_MAX + 2], bytes[4096];
	struct move_letter l, back;
	int fd[2], inside[2], got, rc, many[6];
	unsigned before = open_descriptors(), sent = 0;
	char c;

	(void)state;
	assert_int_equal(carrier_local_pair(fd), 0);
	assert_true(carrier_local_trusted(fd[0]));
	assert_int_equal(carrier_local_receive(fd[1], room, sizeof(room), &back, &got), -EAGAIN);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, inside), 0);
	child_inc = 1;
	l = offer(7, 0);
	l.section[SECTION_TLS] = (struct move_bytes){.p = fill, .n = 224};
	l.section[SECTION_PLAIN_IN] = (struct move_bytes){.p = fill, .n = 60000};
	assert_int_equal(carrier_local_send(fd[0], &l, inside[0]), 0);
	assert_int_equal(carrier_local_receive(fd[1], room, sizeof(room), &back, &got), 1);
	assert_true(back.cid == 7 && back.section[SECTION_PLAIN_IN].n == 60000);
	assert_memory_equal(back.section[SECTION_PLAIN_IN].p, fill, 60000);
	assert_true(fcntl(got, F_GETFD) & FD_CLOEXEC);
	/* It is the same socket. */
	assert_int_equal(write(inside[1], "x", 1), 1);
	assert_int_equal(read(got, &c, 1), 1);
	close(got);
	/* An offer without, a word with a descriptor, two and too many of them, garbage: none stays open. */
	l.section[SECTION_PLAIN_IN].n = 0;
	move_letter_put(&l, bytes + 2);
	bytes[0] = 0, bytes[1] = LETTER_OFFER;
	for (int i = 0; i < 6; i++)
		many[i] = inside[0];
	for (size_t n_fds = 0; n_fds <= 6; n_fds += n_fds == 2 ? 4 : 2) {
		send_raw(fd[0], bytes, 2 + move_letter_len(&l), many, n_fds);
		assert_int_equal(carrier_local_receive(fd[1], room, sizeof(room), &back, &got), -EPROTO);
	}
	bytes[1] = LETTER_STATUS;
	send_raw(fd[0], bytes, 2 + MOVE_HEAD_LEN, many, 1);
	assert_int_equal(carrier_local_receive(fd[1], room, sizeof(room), &back, &got), -EPROTO);
	send_raw(fd[0], "x", 1, many, 1);
	assert_int_equal(carrier_local_receive(fd[1], room, sizeof(room), &back, &got), -EPROTO);
	assert_int_equal(open_descriptors(), before + 4);
	/* Who does not read is not waited for. */
	l.section[SECTION_PLAIN_IN].n = 60000;
	while ((rc = carrier_local_send(fd[0], &l, inside[0])) == 0)
		assert_true(++sent < 1000);
	assert_int_equal(rc, -EAGAIN);
	assert_true(sent > 0);
	close(fd[1]);
	rc = carrier_local_send(fd[0], &l, inside[0]);
	assert_true(rc == -EPIPE || rc == -ECONNRESET);
	assert_int_equal(carrier_local_receive(fd[0], room, sizeof(room), &back, &got) <= 0, 1);
	close(fd[0]);
	close(inside[0]);
	close(inside[1]);
	assert_int_equal(open_descriptors(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_letters, fresh),	     cmocka_unit_test_setup(test_exhausted, fresh),
		cmocka_unit_test_setup(test_killed, fresh),	     cmocka_unit_test_setup(test_stopped, fresh),
		cmocka_unit_test_setup(test_leaving, fresh),
		cmocka_unit_test_setup(test_another_version, fresh), cmocka_unit_test_setup(test_local, fresh),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
