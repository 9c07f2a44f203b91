/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sessions over loopback: who is let in, who is not and what the log says of it, and that the server
 * serves on after each.  Server and proper clients live in one event loop; improper ones are plain
 * sockets, a relay that records or damages, or a child process with OpenSSL.  A datagram socket stands
 * in for the journal.
 */
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/pki.h"
#include "base/session.h"

#define SERVED (1u << ROLE_HOST | 1u << ROLE_SWITCH)

static char dir[64]; /* POPs' authorities: demo, foreign (also named demo), other */
static struct event_base *base;
static struct tls_identity *server_tls;
static struct session_listener *listener;
static int port;
static int journal;
static struct event *journal_event;
static char journal_text[1 << 20];
static size_t journal_len;

/* One end of a session, as its callbacks saw it. */
struct end {
	struct session *s;
	unsigned ups, downs, messages;
	size_t last_len;
	uint16_t last_type;
	char why[256];
	struct identity peer;
	int refuse_with;
	bool echo, free_in_message, free_in_down;
};

static struct end server; /* the server's: of the latest session */

/* --- the loop --------------------------------------------------------------------------------------- */

static void on_journal(evutil_socket_t fd, short what, void *arg)
{
	(void)what, (void)arg;
	for (;;) {
		ssize_t n = recv(fd, journal_text + journal_len, sizeof(journal_text) - journal_len - 1, MSG_DONTWAIT);

		if (n <= 0)
			return;
		journal_len += (size_t)n;
		journal_text[journal_len] = '\0';
	}
}

static void run(unsigned ms)
{
	event_base_loopexit(base, &(struct timeval){.tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000});
	event_base_dispatch(base);
}

static bool until(const unsigned *what, unsigned n, unsigned ms)
{
	for (uint64_t end = monotonic_ms() + ms; *what < n && monotonic_ms() < end;)
		run(10);
	return *what >= n;
}

static bool logged(const char *text, unsigned ms)
{
	for (uint64_t end = monotonic_ms() + ms; !strstr(journal_text, text) && monotonic_ms() < end;)
		run(10);
	if (!strstr(journal_text, text))
		print_error("not logged: %s\nbut:\n%s\n", text, journal_text);
	return strstr(journal_text, text);
}

/* --- ends ------------------------------------------------------------------------------------------- */

static int on_up(void *ctx, struct session *s, const struct identity *peer)
{
	struct end *e = ctx;

	e->s = s;
	e->ups++;
	e->peer = *peer;
	return e->refuse_with;
}

static void on_message(void *ctx, struct session *s, uint16_t type, const uint8_t *body, size_t len)
{
	struct end *e = ctx;

	e->messages++;
	e->last_type = type;
	e->last_len = len;
	for (size_t i = 0; i < len; i++)
		assert_int_equal(body[i], (uint8_t)(i * 7));
	if (e->echo)
		assert_int_equal(session_send(s, type, body, len), 0);
	if (e->free_in_message) {
		session_free(s);
		e->s = NULL;
	}
}

static void on_down(void *ctx, struct session *s, const char *why)
{
	struct end *e = ctx;

	e->downs++;
	snprintf(e->why, sizeof(e->why), "%s", why);
	if (e->free_in_down || e == &server) {
		session_free(s);
		e->s = NULL;
	}
}

static const struct session_ops ops = {on_up, on_message, on_down};

static struct tls_identity *load(const char *path)
{
	struct tls_identity *t;
	char why[512];

	if (tls_identity_load(path, &t, why, sizeof(why)))
		fail_msg("%s", why);
	return t;
}

/* An identity of an authority, issued on first use. */
static struct tls_identity *identity(const char *authority, enum role role, uint16_t id)
{
	char ca[128], path[256], why[512];
	int rc;

	snprintf(ca, sizeof(ca), "%s/%s", dir, authority);
	snprintf(path, sizeof(path), "%s/%s-%u", ca, role_name(role), id);
	rc = pki_issue(ca, role, id, 0, why, sizeof(why));
	if (rc && rc != -EEXIST)
		fail_msg("%s", why);
	return load(path);
}

static void server_listen(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				 .sin_port = htons((uint16_t)port)};

	assert_int_equal(session_listen(base, server_tls, (struct sockaddr *)&at, sizeof(at), SERVED, &ops, &server, &listener), 0);
	port = session_listener_port(listener);
}

static void client_to(struct tls_identity *tls, int to_port, uint16_t controller, struct end *e)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				 .sin_port = htons((uint16_t)to_port)};

	assert_int_equal(session_connect(base, tls, (struct sockaddr *)&to, sizeof(to), ROLE_CONTROLLER, controller, &ops, e,
					 &e->s), 0);
}

static int plain_socket(void)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				 .sin_port = htons((uint16_t)port)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

/* The control of every refusal: a proper host still gets in. */
static void assert_still_serves(void)
{
	struct tls_identity *tls = identity("demo", ROLE_HOST, 9);
	struct end e = {.ups = 0};

	client_to(tls, port, 1, &e);
	assert_true(until(&e.ups, 1, 2000));
	session_free(e.s);
	tls_identity_free(tls);
}

static int setup(void **state)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	char ca[128], why[512];

	(void)state;
	signal(SIGPIPE, SIG_IGN);
	strcpy(dir, "/tmp/test_session.XXXXXX");
	assert_non_null(mkdtemp(dir));
	for (int i = 0; i < 3; i++) {
		snprintf(ca, sizeof(ca), "%s/%s", dir, ((const char *[]){"demo", "foreign", "other"})[i]);
		if (pki_init(ca, i == 2 ? "other" : "demo", why, sizeof(why)))
			fail_msg("%s", why);
	}
	base = event_base_new();
	snprintf(at.sun_path, sizeof(at.sun_path), "%s/journal", dir);
	journal = socket(AF_UNIX, SOCK_DGRAM, 0);
	assert_int_equal(bind(journal, (struct sockaddr *)&at, sizeof(at)), 0);
	setenv("BATON_JOURNAL_SOCKET", at.sun_path, 1);
	log_open("test", LOG_LEVEL_DEBUG);
	journal_event = event_new(base, journal, EV_READ | EV_PERSIST, on_journal, NULL);
	event_add(journal_event, NULL);
	server_tls = identity("demo", ROLE_CONTROLLER, 1);
	server_listen();
	return 0;
}

static int teardown(void **state)
{
	char command[128];

	(void)state;
	session_listener_free(listener);
	if (server.s)
		session_free(server.s);
	tls_identity_free(server_tls);
	event_free(journal_event);
	close(journal);
	event_base_free(base);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

static int fresh(void **state)
{
	(void)state;
	run(20);
	memset(&server, 0, sizeof(server));
	journal_len = 0;
	journal_text[0] = '\0';
	return 0;
}

static void send_bytes(struct session *s, uint16_t type, size_t len, int expect)
{
	uint8_t *body = malloc(len + 1);

	for (size_t i = 0; i < len; i++)
		body[i] = (uint8_t)(i * 7);
	assert_int_equal(session_send(s, type, body, len), expect);
	free(body);
}

/* --- what works -------------------------------------------------------------------------------------- */

static void test_accepted(void **state)
{
	static const size_t sizes[] = {0, 1, 16384, 100000, SESSION_BODY_MAX};
	struct tls_identity *tls = identity("demo", ROLE_HOST, 3);
	struct end e = {.ups = 0};

	(void)state;
	server.echo = true;
	client_to(tls, port, 1, &e);
	assert_int_equal(session_send(e.s, 1, "", 0), -ENOTCONN);
	assert_true(until(&e.ups, 1, 2000));
	assert_int_equal(server.peer.role, ROLE_HOST);
	assert_int_equal(server.peer.id, 3);
	assert_string_equal(server.peer.pop, "demo");
	assert_int_equal(e.peer.role, ROLE_CONTROLLER);
	assert_int_equal(session_send(e.s, SESSION_TYPE_OWN, "", 0), -EINVAL);
	assert_int_equal(session_send(e.s, 1, "", SESSION_BODY_MAX + 1), -EMSGSIZE);
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		send_bytes(e.s, (uint16_t)(i + 5), sizes[i], 0);
		assert_true(until(&e.messages, i + 1, 5000));
		assert_int_equal(e.last_len, sizes[i]);
		assert_int_equal(e.last_type, i + 5);
	}
	/* Idle for longer than silence is borne: ALIVE keeps it up. */
	run(3200);
	assert_int_equal(e.downs + server.downs, 0);
	session_free(e.s);
	assert_true(until(&server.downs, 1, 1000));
	assert_string_equal(server.why, "the peer closed");
	assert_true(logged("session with host 3 (127.0.0.1:", 100));
	tls_identity_free(tls);
}

static void test_queue_overflow(void **state)
{
	struct tls_identity *tls = identity("demo", ROLE_HOST, 3);
	struct end e = {.ups = 0};

	(void)state;
	client_to(tls, port, 1, &e);
	assert_true(until(&e.ups, 1, 2000));
	for (int i = 0; i < 3; i++)
		send_bytes(e.s, 2, SESSION_BODY_MAX, 0);
	send_bytes(e.s, 2, SESSION_BODY_MAX, -ENOBUFS);
	assert_true(until(&server.messages, 3, 10000));
	send_bytes(e.s, 2, 77, 0);
	assert_true(until(&server.messages, 4, 2000));
	assert_int_equal(server.last_len, 77);
	session_free(e.s);
	tls_identity_free(tls);
}

static void test_server_restart(void **state)
{
	struct tls_identity *tls = identity("demo", ROLE_SWITCH, 2);
	struct end e = {.ups = 0};

	(void)state;
	client_to(tls, port, 1, &e);
	assert_true(until(&e.ups, 1, 2000));
	session_listener_free(listener);
	session_free(server.s);
	server.s = NULL;
	assert_true(until(&e.downs, 1, 1000));
	assert_true(logged("Connection refused (trying again)", 1000));
	run(500);
	/* The same reason again and again is one line. */
	assert_null(strstr(strstr(journal_text, "Connection refused") + 1, "Connection refused"));
	server_listen();
	assert_true(until(&e.ups, 2, 5000));
	send_bytes(e.s, 1, 10, 0);
	assert_true(until(&server.messages, 1, 1000));
	session_free(e.s);
	tls_identity_free(tls);
}

/* When the whole process stands still, what peers said meanwhile is in the sockets: nobody is silent. */
static void test_own_stall(void **state)
{
	struct tls_identity *tls = identity("demo", ROLE_HOST, 3);
	struct end e = {.ups = 0};

	(void)state;
	client_to(tls, port, 1, &e);
	assert_true(until(&e.ups, 1, 2000));
	run(700);
	sleep(4);
	run(1500);
	assert_int_equal(e.downs + server.downs, 0);
	session_free(e.s);
	tls_identity_free(tls);
}

static void test_freed_in_callbacks(void **state)
{
	struct tls_identity *tls = identity("demo", ROLE_HOST, 3);
	struct end e = {.free_in_down = true};

	(void)state;
	server.free_in_message = true;
	client_to(tls, port, 1, &e);
	assert_true(until(&e.ups, 1, 2000));
	send_bytes(e.s, 1, 10, 0);
	send_bytes(e.s, 1, 10, 0); /* lies behind the one in which the server frees */
	assert_true(until(&e.downs, 1, 2000));
	assert_int_equal(server.messages, 1);
	assert_int_equal(server.downs, 0);
	run(50);
	tls_identity_free(tls);
}

/* --- who is not let in ---------------------------------------------------------------------------------- */

/* The client never comes up, both say why. */
static void assert_refused(struct tls_identity *tls, uint16_t controller, const char *why)
{
	struct end e = {.ups = 0};

	client_to(tls, port, controller, &e);
	assert_true(logged(why, 2000));
	run(100);
	assert_int_equal(e.ups, 0);
	session_free(e.s);
	tls_identity_free(tls);
	assert_still_serves();
}

static void test_wrong_role(void **state)
{
	(void)state;
	assert_refused(identity("demo", ROLE_OPERATOR, 1), 1, "it refused us: role operator is not served on this port");
	assert_non_null(strstr(journal_text, "session from operator 1 (127.0.0.1:"));
	assert_int_equal(server.downs, 0);
}

static void test_foreign_authority(void **state)
{
	(void)state;
	assert_refused(identity("foreign", ROLE_HOST, 3), 1, "does not verify");
}

static void test_expired(void **state)
{
	char ca[128], path[160], why[512];

	(void)state;
	snprintf(ca, sizeof(ca), "%s/demo", dir);
	snprintf(path, sizeof(path), "%s/host-77", ca);
	assert_int_equal(pki_issue_between(ca, ROLE_HOST, 77, 7200, 3600, why, sizeof(why)), 0);
	assert_refused(load(path), 1, "does not verify: certificate has expired");
	snprintf(path, sizeof(path), "%s/host-78", ca);
	assert_int_equal(pki_issue_between(ca, ROLE_HOST, 78, -3600, 7200, why, sizeof(why)), 0);
	assert_refused(load(path), 1, "does not verify: certificate is not yet valid");
}

/* A server that trusts two authorities still serves one POP. */
static void test_wrong_pop(void **state)
{
	char ours[160], theirs[160], both[32768], why[512];
	char *a, *b;
	size_t a_len, b_len;

	(void)state;
	assert_refused(identity("other", ROLE_HOST, 3), 1, "does not verify");
	snprintf(ours, sizeof(ours), "%s/demo/controller-1/ca.pem", dir);
	snprintf(theirs, sizeof(theirs), "%s/other/ca.pem", dir);
	assert_int_equal(file_read(ours, 16384, &a, &a_len), 0);
	assert_int_equal(file_read(theirs, 16384, &b, &b_len), 0);
	snprintf(both, sizeof(both), "%s%s", a, b);
	assert_int_equal(file_write(ours, both, strlen(both), 0644), 0);
	assert_int_equal(tls_identity_reload(server_tls, why, sizeof(why)), 0);
	/* The foreign host trusts our authority too, else it would be the one to refuse. */
	snprintf(theirs, sizeof(theirs), "%s/other/host-3/ca.pem", dir);
	assert_int_equal(file_write(theirs, both, strlen(both), 0644), 0);
	fresh(NULL);
	assert_refused(identity("other", ROLE_HOST, 3), 1, "it is of POP demo, this is POP other");
	assert_int_equal(file_write(ours, a, a_len, 0644), 0);
	assert_int_equal(tls_identity_reload(server_tls, why, sizeof(why)), 0);
	free(a);
	free(b);
}

static void test_wrong_id(void **state)
{
	(void)state;
	assert_refused(identity("demo", ROLE_HOST, 3), 2, "controller 1 answers at this address, controller 2 was expected");
}

static void test_refused_by_daemon(void **state)
{
	struct tls_identity *tls = identity("demo", ROLE_HOST, 3);
	struct end e = {.ups = 0};

	(void)state;
	server.refuse_with = -EBUSY;
	client_to(tls, port, 1, &e);
	assert_true(logged("it refused us: Device or resource busy", 2000));
	session_free(e.s);
	tls_identity_free(tls);
	assert_int_equal(e.ups, 0);
	assert_int_equal(server.downs, 0);
	server.refuse_with = 0;
	assert_still_serves();
}

/* --- bytes that no peer of ours sends ---------------------------------------------------------------------- */

static void test_garbage(void **state)
{
	static const char *const garbage[] = {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\x16\x03\x01\xff\xff garbage garbage",
					      "{\"verb\": \"show\"}\n", "\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10"};
	char bytes[4096];

	(void)state;
	for (unsigned i = 0; i < 4 + 20; i++) {
		int fd = plain_socket();

		srandom(i);
		for (size_t n = 0; n < sizeof(bytes); n++)
			bytes[n] = (char)random();
		if (i < 4)
			assert_true(send(fd, garbage[i], strlen(garbage[i]), 0) > 0);
		else
			assert_true(send(fd, bytes, sizeof(bytes), 0) > 0);
		run(20);
		close(fd);
	}
	assert_true(logged("it does not speak TLS", 1000));
	assert_int_equal(server.ups, 0);
	run(1100);
	assert_still_serves();
}

static void test_slow_loris(void **state)
{
	uint64_t begin = monotonic_ms();
	int fd = plain_socket();

	(void)state;
	for (unsigned i = 0; !strstr(journal_text, "no TLS handshake within 3 s") && i < 50; i++) {
		char byte = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[i < 11 ? i : 10];

		send(fd, &byte, 1, MSG_NOSIGNAL);
		run(100);
	}
	assert_true(logged("no TLS handshake within 3 s", 10));
	assert_in_range(monotonic_ms() - begin, 2900, 3500);
	close(fd);
	assert_still_serves();
}

/* Whoever holds all places open shuts nobody out. */
static void test_many_idle(void **state)
{
	int fd[SESSION_PENDING_MAX + 20];

	(void)state;
	for (unsigned i = 0; i < SESSION_PENDING_MAX + 20; i++) {
		fd[i] = plain_socket();
		if (i % 16 == 0)
			run(5);
	}
	run(50);
	assert_true(logged("handshakes at once", 100));
	assert_still_serves();
	for (unsigned i = 0; i < SESSION_PENDING_MAX + 20; i++)
		close(fd[i]);
	run(1100); /* the lines that the log is allowed in a second are used up */
	fresh(NULL);
	close(plain_socket());
	assert_true(logged("more refused sessions were not logged", 1000));
}

/* A relay between a client and the server: records what the client sends; may flip a bit of the n-th byte. */
struct relay {
	int listen_fd, port;
	struct event *accept;
	struct bufferevent *to_client, *to_server;
	uint8_t record[65536];
	size_t n;
	bool damage;
};

static void relay_read(struct bufferevent *from, void *arg)
{
	struct relay *r = arg;
	struct bufferevent *to = from == r->to_client ? r->to_server : r->to_client;
	uint8_t bytes[4096];
	size_t n;

	while ((n = bufferevent_read(from, bytes, sizeof(bytes))) > 0) {
		if (from == r->to_client) {
			assert_true(r->n + n <= sizeof(r->record));
			memcpy(r->record + r->n, bytes, n);
			r->n += n;
			if (r->damage)
				bytes[n - 1] ^= 1;
		}
		bufferevent_write(to, bytes, n);
	}
}

static void relay_accept(evutil_socket_t fd, short what, void *arg)
{
	struct relay *r = arg;
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				 .sin_port = htons((uint16_t)port)};

	(void)what;
	r->to_client = bufferevent_socket_new(base, accept4(fd, NULL, NULL, SOCK_NONBLOCK), BEV_OPT_CLOSE_ON_FREE);
	r->to_server = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
	assert_int_equal(bufferevent_socket_connect(r->to_server, (struct sockaddr *)&to, sizeof(to)), 0);
	bufferevent_setcb(r->to_client, relay_read, NULL, NULL, r);
	bufferevent_setcb(r->to_server, relay_read, NULL, NULL, r);
	bufferevent_enable(r->to_client, EV_READ | EV_WRITE);
	bufferevent_enable(r->to_server, EV_READ | EV_WRITE);
}

static void relay_open(struct relay *r)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(at);

	memset(r, 0, sizeof(*r));
	r->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(r->listen_fd, (struct sockaddr *)&at, len), 0);
	listen(r->listen_fd, 1);
	getsockname(r->listen_fd, (struct sockaddr *)&at, &len);
	r->port = ntohs(at.sin_port);
	r->accept = event_new(base, r->listen_fd, EV_READ, relay_accept, r);
	event_add(r->accept, NULL);
}

static void relay_close(struct relay *r)
{
	event_free(r->accept);
	close(r->listen_fd);
	bufferevent_free(r->to_client);
	bufferevent_free(r->to_server);
}

static void test_replay_and_truncation(void **state)
{
	struct tls_identity *tls = identity("demo", ROLE_HOST, 3);
	struct end e = {.ups = 0};
	struct relay r;
	int fd;

	(void)state;
	relay_open(&r);
	client_to(tls, r.port, 1, &e);
	assert_true(until(&e.ups, 1, 2000));
	send_bytes(e.s, 1, 100, 0);
	assert_true(until(&server.messages, 1, 1000));
	session_free(e.s);
	run(50);
	relay_close(&r);
	assert_true(r.n > 500);
	/* All of it again: the server's own random bytes differ, so nothing of it opens. */
	fresh(NULL);
	fd = plain_socket();
	assert_int_equal(send(fd, r.record, r.n, 0), r.n);
	assert_true(logged("refused: TLS: ", 1000));
	close(fd);
	assert_int_equal(server.ups, 0);
	assert_still_serves();
	/* Cut at every place, by steps. */
	for (size_t cut = 1; cut < r.n; cut += 97) {
		fresh(NULL);
		fd = plain_socket();
		assert_int_equal(send(fd, r.record, cut, 0), cut);
		run(10);
		close(fd);
		run(10);
		assert_int_equal(server.ups, 0);
	}
	run(1100);
	assert_still_serves();
	tls_identity_free(tls);
}

static void test_damage_in_flight(void **state)
{
	struct tls_identity *tls = identity("demo", ROLE_HOST, 3);
	struct end e = {.ups = 0};
	struct relay r;

	(void)state;
	relay_open(&r);
	client_to(tls, r.port, 1, &e);
	assert_true(until(&e.ups, 1, 2000));
	r.damage = true;
	send_bytes(e.s, 1, 100, 0);
	assert_true(until(&server.downs, 1, 2000));
	assert_int_equal(server.messages, 0);
	assert_non_null(strstr(server.why, "bad record mac"));
	session_free(e.s);
	relay_close(&r);
	assert_still_serves();
	tls_identity_free(tls);
}

/* A peer with a good certificate that speaks TLS by itself: sends `bytes`, then is silent. */
static pid_t rogue(const uint8_t *bytes, size_t len)
{
	char cert[160], key[160], ca[160];
	pid_t pid = fork();
	SSL_CTX *ctx;
	SSL *ssl;

	if (pid)
		return pid;
	alarm(20);
	snprintf(ca, sizeof(ca), "%s/demo/ca.pem", dir);
	snprintf(cert, sizeof(cert), "%s/demo/host-3/cert.pem", dir);
	snprintf(key, sizeof(key), "%s/demo/host-3/key.pem", dir);
	ctx = SSL_CTX_new(TLS_client_method());
	ssl = SSL_CTX_use_certificate_file(ctx, cert, SSL_FILETYPE_PEM) == 1 &&
		      SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) == 1
		      ? SSL_new(ctx)
		      : NULL;
	if (!ssl || !SSL_set_fd(ssl, plain_socket()) || SSL_connect(ssl) != 1)
		_exit(1);
	if (len)
		SSL_write(ssl, bytes, (int)len);
	pause();
	_exit(0);
}

static void assert_rogue_ended(const uint8_t *bytes, size_t len, const char *why, unsigned from_ms, unsigned to_ms)
{
	uint64_t begin = monotonic_ms();
	pid_t pid;

	fresh(NULL);
	pid = rogue(bytes, len);
	assert_true(until(&server.downs, 1, 5000));
	assert_string_equal(server.why, why);
	assert_in_range(monotonic_ms() - begin, from_ms, to_ms);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	assert_still_serves();
}

static void test_bad_frames(void **state)
{
	tls_identity_free(identity("demo", ROLE_HOST, 3));
	(void)state;
	assert_rogue_ended((const uint8_t *)"\x00\x40\x00\x03\x00\x01", 6, "it sent a message larger than the limit", 0, 2000);
	assert_rogue_ended((const uint8_t *)"\xff\xff\xff\xff\x00\x01", 6, "it sent a message larger than the limit", 0, 2000);
	assert_rogue_ended((const uint8_t *)"\x00\x00\x00\x01\x00\x01", 6, "it sent a malformed message", 0, 2000);
	assert_rogue_ended((const uint8_t *)"\x00\x00\x00\x00", 4, "it sent a malformed message", 0, 2000);
}

static void test_silent_peer(void **state)
{
	tls_identity_free(identity("demo", ROLE_HOST, 3));
	(void)state;
	assert_rogue_ended(NULL, 0, "the peer is silent", 2400, 3300);
}

/* --- reload -------------------------------------------------------------------------------------------------- */

static void test_reload(void **state)
{
	struct tls_identity *tls = identity("demo", ROLE_HOST, 30);
	char ca[128], key[160], why[512];
	int64_t before = tls_identity_expires(tls);
	struct end e = {.ups = 0};

	(void)state;
	snprintf(ca, sizeof(ca), "%s/demo", dir);
	snprintf(key, sizeof(key), "%s/host-30/key.pem", ca);
	client_to(tls, port, 1, &e);
	assert_true(until(&e.ups, 1, 2000));
	/* A bad new one: said, and the old one stays. */
	assert_int_equal(chmod(key, 0644), 0);
	assert_int_equal(tls_identity_reload(tls, why, sizeof(why)), -EPERM);
	assert_non_null(strstr(why, "chmod 0600"));
	assert_int_equal(chmod(key, 0600), 0);
	assert_int_equal(pki_renew(ca, ROLE_HOST, 30, 20, false, why, sizeof(why)), 0);
	assert_int_equal(tls_identity_reload(tls, why, sizeof(why)), 0);
	assert_true(tls_identity_expires(tls) < before);
	run(100);
	assert_int_equal(e.downs, 0); /* what is up stays up */
	session_free(e.s);
	e.ups = 0;
	client_to(tls, port, 1, &e);
	assert_true(until(&e.ups, 1, 2000));
	session_free(e.s);
	tls_identity_free(tls);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_accepted, fresh),
		cmocka_unit_test_setup(test_queue_overflow, fresh),
		cmocka_unit_test_setup(test_server_restart, fresh),
		cmocka_unit_test_setup(test_own_stall, fresh),
		cmocka_unit_test_setup(test_freed_in_callbacks, fresh),
		cmocka_unit_test_setup(test_wrong_role, fresh),
		cmocka_unit_test_setup(test_foreign_authority, fresh),
		cmocka_unit_test_setup(test_expired, fresh),
		cmocka_unit_test_setup(test_wrong_pop, fresh),
		cmocka_unit_test_setup(test_wrong_id, fresh),
		cmocka_unit_test_setup(test_refused_by_daemon, fresh),
		cmocka_unit_test_setup(test_garbage, fresh),
		cmocka_unit_test_setup(test_slow_loris, fresh),
		cmocka_unit_test_setup(test_many_idle, fresh),
		cmocka_unit_test_setup(test_replay_and_truncation, fresh),
		cmocka_unit_test_setup(test_damage_in_flight, fresh),
		cmocka_unit_test_setup(test_bad_frames, fresh),
		cmocka_unit_test_setup(test_silent_peer, fresh),
		cmocka_unit_test_setup(test_reload, fresh),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
