/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Services' checks against real listeners: each kind, each way to fail, the judgement, and what a
 * script leaves behind.  Listeners are children that serve one connection and end.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/check.h"

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

struct outcome {
	struct event_base *base;
	int calls;
	bool ok;
	char why[CHECK_WHY_LEN];
};

static void on_done(void *ctx, bool ok, const char *why)
{
	struct outcome *o = ctx;

	o->calls++;
	o->ok = ok;
	snprintf(o->why, sizeof(o->why), "%s", why);
	event_base_loopbreak(o->base);
}

/* --- a listener in a child ------------------------------------------------------------------------ */
struct listener {
	pid_t pid;
	uint16_t port;
	sa_family_t family;
};

enum manner { ANSWER, SILENT, CLOSE_AT_ONCE, DRIBBLE, TLS_ANSWER };

static SSL_CTX *server_context(void)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = X509_new();

	ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	X509_gmtime_adj(X509_getm_notBefore(cert), 0);
	X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
	X509_set_pubkey(cert, key);
	X509_sign(cert, key, EVP_sha256());
	SSL_CTX_use_certificate(ctx, cert);
	SSL_CTX_use_PrivateKey(ctx, key);
	X509_free(cert);
	EVP_PKEY_free(key);
	return ctx;
}

/* The child's exit status says whether it saw a complete request. */
static int serve_one(int c, enum manner manner, const char *answer)
{
	char buf[2048] = "";
	ssize_t n = 0;
	int status = 0;

	switch (manner) {
	case SILENT:
		pause();
		break;
	case CLOSE_AT_ONCE:
		n = recv(c, buf, sizeof(buf) - 1, 0); /* unread bytes would make the close a reset */
		status = n > 0 ? 0 : 1;
		break;
	case ANSWER:
		n = recv(c, buf, sizeof(buf) - 1, 0);
		status = n > 0 && strstr(buf, "\r\n\r\n") ? 0 : 1;
		if (send(c, answer, strlen(answer), MSG_NOSIGNAL) < 0)
			status = 2;
		break;
	case DRIBBLE:
		n = recv(c, buf, sizeof(buf) - 1, 0);
		for (size_t i = 0; i < strlen(answer); i++) {
			if (send(c, answer + i, 1, MSG_NOSIGNAL) < 0)
				break;
			usleep(2000);
		}
		break;
	case TLS_ANSWER: {
		SSL *ssl = SSL_new(server_context());

		SSL_set_fd(ssl, c);
		if (SSL_accept(ssl) != 1 || SSL_read(ssl, buf, sizeof(buf) - 1) <= 0)
			return 1;
		SSL_write(ssl, answer, (int)strlen(answer));
		SSL_shutdown(ssl);
		break;
	}
	}
	return status;
}

static struct listener listen_as(sa_family_t family, enum manner manner, const char *answer)
{
	struct sockaddr_storage ss = { .ss_family = family };
	struct listener l = { .family = family };
	socklen_t len = family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (family == AF_INET)
		((struct sockaddr_in *)&ss)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	else
		((struct sockaddr_in6 *)&ss)->sin6_addr = in6addr_loopback;
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&ss, len), 0);
	assert_int_equal(listen(fd, 4), 0);
	getsockname(fd, (struct sockaddr *)&ss, &len);
	l.port = ntohs(((struct sockaddr_in *)&ss)->sin_port);
	l.pid = fork();
	if (!l.pid) {
		int c;

		alarm(10);
		c = accept(fd, NULL, NULL);
		_exit(serve_one(c, manner, answer));
	}
	close(fd);
	return l;
}

static void unlisten(struct listener *l)
{
	kill(l->pid, SIGKILL);
	waitpid(l->pid, NULL, 0);
}

/* --- one attempt ---------------------------------------------------------------------------------- */
static struct check a_check(enum check_kind kind, uint16_t port)
{
	struct check c = { .kind = kind, .port = port, .path = "/health", .interval_ms = 50, .timeout_ms = 300,
			   .rise = 2, .fall = 2 };

	return c;
}

static struct outcome attempt_at(const struct check *c, sa_family_t family)
{
	struct outcome o = { .base = event_base_new() };
	struct check_target t = { .vip = "www" };
	struct address a = { .family = family };
	struct vip vip = { .name = "www", .address = &a, .n_addresses = 1 };

	if (family == AF_INET)
		a.v4.s_addr = htonl(INADDR_LOOPBACK);
	else
		a.v6 = in6addr_loopback;
	t.address = a;
	t.conf = &vip;
	assert_non_null((c->kind == CHECK_SCRIPT ? check_run_script : check_run_tcp)(o.base, c, &t, on_done, &o));
	assert_int_equal(o.calls, 0); /* never from within start */
	event_base_dispatch(o.base);
	assert_int_equal(o.calls, 1);
	event_base_free(o.base);
	return o;
}

static struct outcome attempt(enum check_kind kind, enum manner manner, const char *answer)
{
	struct listener l = listen_as(AF_INET, manner, answer);
	struct check c = a_check(kind, l.port);
	struct outcome o = attempt_at(&c, AF_INET);

	unlisten(&l);
	return o;
}

static void passes(struct outcome o)
{
	if (!o.ok)
		fail_msg("%s", o.why);
}

static void fails(struct outcome o, const char *why)
{
	assert_false(o.ok);
	if (!strstr(o.why, why))
		fail_msg("\"%s\" does not say \"%s\"", o.why, why);
}

static void tcp(void **state)
{
	struct check c = a_check(CHECK_TCP, 1);

	(void)state;
	passes(attempt(CHECK_TCP, SILENT, ""));
	fails(attempt_at(&c, AF_INET), "Connection refused");
}

static void http(void **state)
{
	struct listener l;
	struct check c;
	int status;

	(void)state;
	passes(attempt(CHECK_HTTP, ANSWER, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
	passes(attempt(CHECK_HTTP, ANSWER, "HTTP/1.0 302 Found\r\nLocation: /x\r\n\r\n"));
	passes(attempt(CHECK_HTTP, ANSWER, "HTTP/1.1 204\r\n\r\n"));
	passes(attempt(CHECK_HTTP, ANSWER, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"));
	passes(attempt(CHECK_HTTP, DRIBBLE, "HTTP/1.1 200 OK\r\nA: b\r\n\r\n"));
	fails(attempt(CHECK_HTTP, ANSWER, "HTTP/1.1 503 Unavailable\r\n\r\n"), "answered 503, expected 2xx or 3xx");
	fails(attempt(CHECK_HTTP, ANSWER, "SSH-2.0-OpenSSH_9.2\r\n"), "malformed");
	fails(attempt(CHECK_HTTP, ANSWER, "220 mail ready"), "not HTTP/1");
	fails(attempt(CHECK_HTTP, ANSWER, "HTTP/1.1 200 OK\n\n"), "CR LF");
	fails(attempt(CHECK_HTTP, ANSWER, "HTTP/1.1 200 OK\r\nBad header\r\n\r\n"), "header");
	fails(attempt(CHECK_HTTP, ANSWER, "HTTP/1.1 200 OK\r\nA: b\r\n"), "in the head");
	fails(attempt(CHECK_HTTP, CLOSE_AT_ONCE, ""), "without an answer");
	fails(attempt(CHECK_HTTP, SILENT, ""), "timed out waiting for the answer");

	/* IPv6, and a listener that confirms that it got a whole request. */
	l = listen_as(AF_INET6, ANSWER, "HTTP/1.1 200 OK\r\n\r\n");
	c = a_check(CHECK_HTTP, l.port);
	passes(attempt_at(&c, AF_INET6));
	waitpid(l.pid, &status, 0);
	assert_int_equal(status, 0);

	l = listen_as(AF_INET, ANSWER, "HTTP/1.1 418 Teapot\r\n\r\n");
	c = a_check(CHECK_HTTP, l.port);
	c.expect = 418;
	passes(attempt_at(&c, AF_INET));
	unlisten(&l);
	l = listen_as(AF_INET, ANSWER, "HTTP/1.1 200 OK\r\n\r\n");
	c.port = l.port;
	fails(attempt_at(&c, AF_INET), "answered 200, expected 418");
	unlisten(&l);
}

static void http_head_is_bounded(void **state)
{
	char *big = calloc(1, CHECK_HEAD_MAX * 2);

	(void)state;
	strcpy(big, "HTTP/1.1 200 OK\r\nX: ");
	memset(big + strlen(big), 'a', CHECK_HEAD_MAX + 100);
	fails(attempt(CHECK_HTTP, ANSWER, big), "too long");
	free(big);
}

static void http_head_split_anywhere(void **state)
{
	const char *head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n";
	uint16_t status = 0;
	char why[64];

	(void)state;
	for (size_t i = 0; i < strlen(head); i++)
		assert_int_equal(check_http_head(head, i, &status, why, sizeof(why)), -EAGAIN);
	assert_int_equal(check_http_head(head, strlen(head), &status, why, sizeof(why)), 0);
	assert_int_equal(status, 200);
	static const char *const bad[] = { "HTTP/1.1  200 OK\r\n", "HTTP/1.1 2000 OK\r\n", "HTTP/1.1 99 OK\r\n", "HTTP/2.0 200 OK\r\n",
					   "http/1.1 200 OK\r\n", "HTTP/1.1 600 No\r\n", "HTTP/1.1 200 \x01\r\n",
					   "HTTP/1.1 200 OK\r\n folded: x\r\n", "HTTP/1.1 200 OK\r\nA : b\r\n", "\r\n" };
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(check_http_head(bad[i], strlen(bad[i]), &status, why, sizeof(why)), -EPROTO);
}

static void https(void **state)
{
	(void)state;
	passes(attempt(CHECK_HTTPS, TLS_ANSWER, "HTTP/1.1 200 OK\r\n\r\n"));
	fails(attempt(CHECK_HTTPS, TLS_ANSWER, "HTTP/1.1 500 Oops\r\n\r\n"), "answered 500");
	fails(attempt(CHECK_HTTPS, ANSWER, "HTTP/1.1 400 Plain\r\n\r\n"), "TLS: ");
	fails(attempt(CHECK_HTTPS, CLOSE_AT_ONCE, ""), "TLS: unexpected eof");
	fails(attempt(CHECK_HTTPS, SILENT, ""), "timed out waiting for the TLS handshake");
}

static struct outcome script(const char *text)
{
	struct check c = a_check(CHECK_SCRIPT, 80);
	char path[] = "/tmp/test_check_XXXXXX";
	struct outcome o;
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_true(write(fd, text, strlen(text)) > 0);
	fchmod(fd, 0700);
	close(fd);
	snprintf(c.path, sizeof(c.path), "%s", path);
	o = attempt_at(&c, AF_INET);
	unlink(path);
	return o;
}

static void scripts(void **state)
{
	char left[] = "/tmp/test_check_left_XXXXXX", text[256];
	uint64_t began;
	struct stat st;
	int fd = mkstemp(left);

	(void)state;
	close(fd);
	unlink(left);
	passes(script("#!/bin/sh\n[ \"$BATON_VIP\" = www ] && [ \"$BATON_ADDRESSES\" = 127.0.0.1 ] && [ \"$BATON_PORT\" = 80 ]\n"));
	fails(script("#!/bin/sh\necho disk is full; echo more\nexit 3\n"), "exit status 3: disk is full");
	fails(script("#!/bin/sh\nkill -SEGV $$\n"), "killed by signal 11");
	fails(script("#!/nonexistent\n"), "cannot run");
	passes(script("#!/bin/sh\nhead -c 300000 /dev/zero\n")); /* more than a pipe holds */

	/* At the time limit the whole process group goes: the grandchild never gets to write its file. */
	began = now_ms();
	snprintf(text, sizeof(text), "#!/bin/sh\n(sleep 1; touch %s) &\nsleep 5\n", left);
	fails(script(text), "did not end in time");
	assert_true(now_ms() - began < 1000);
	usleep(1200000);
	assert_int_not_equal(stat(left, &st), 0);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no zombie either */
}

static void judgement(void **state)
{
	struct check_state s = { 0 };

	(void)state;
	assert_true(check_step(&s, true, 3, 2)); /* the first decides */
	assert_int_equal(s.verdict, CHECK_PASSED);
	assert_false(check_step(&s, false, 3, 2));
	assert_false(check_step(&s, true, 3, 2)); /* forgiven */
	assert_false(check_step(&s, false, 3, 2));
	assert_true(check_step(&s, false, 3, 2));
	assert_int_equal(s.verdict, CHECK_FAILED);
	assert_false(check_step(&s, true, 3, 2));
	assert_false(check_step(&s, true, 3, 2));
	assert_false(check_step(&s, false, 3, 2));
	assert_false(check_step(&s, true, 3, 2));
	assert_false(check_step(&s, true, 3, 2));
	assert_true(check_step(&s, true, 3, 2));
}

/* --- the schedule --------------------------------------------------------------------------------- */
struct watch {
	struct event_base *base;
	struct checks *checks;
	enum check_verdict until;
	char why[CHECK_WHY_LEN];
};

static void on_change(void *ctx)
{
	struct watch *w = ctx;

	if (checks_service(w->checks, 0, w->why, sizeof(w->why)) == w->until)
		event_base_loopbreak(w->base);
}

static void give_up(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	event_base_loopbreak(ctx);
}

static void wait_for(struct watch *w, enum check_verdict v)
{
	struct timeval limit = { 5, 0 };
	struct event *timer = evtimer_new(w->base, give_up, w->base);

	w->until = v;
	evtimer_add(timer, &limit);
	event_base_dispatch(w->base);
	event_free(timer);
	assert_int_equal(checks_service(w->checks, 0, w->why, sizeof(w->why)), v);
}

static int listen_on(uint16_t *port)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(*port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(listen(fd, 64), 0);
	getsockname(fd, (struct sockaddr *)&in, &len);
	*port = ntohs(in.sin_port);
	return fd;
}

static void schedule(void **state)
{
	struct address a = { .family = AF_INET, .v4.s_addr = htonl(INADDR_LOOPBACK) };
	uint16_t port = 0;
	int fd = listen_on(&port);
	struct check c = a_check(CHECK_TCP, port);
	struct vip vip = { .name = "www", .address = &a, .n_addresses = 1, .check = &c, .n_checks = 1 };
	struct pop pop = { .vip = &vip, .n_vips = 1 };
	struct watch w = { .base = event_base_new() };

	(void)state;
	w.checks = checks_new(w.base, on_change, &w);
	assert_int_equal(checks_set(w.checks, &pop), 0);
	assert_false(checks_decided(w.checks));
	wait_for(&w, CHECK_PASSED);
	assert_true(checks_decided(w.checks));
	assert_string_equal(w.why, "");
	close(fd);
	wait_for(&w, CHECK_FAILED);
	assert_non_null(strstr(w.why, "tcp check of 127.0.0.1 port"));
	assert_non_null(strstr(w.why, "refused"));
	/* The same configuration again: the verdict stays. */
	assert_int_equal(checks_set(w.checks, &pop), 0);
	assert_int_equal(checks_service(w.checks, 0, w.why, sizeof(w.why)), CHECK_FAILED);
	fd = listen_on(&port);
	wait_for(&w, CHECK_PASSED);
	/* Another configuration: begins undecided. */
	c.rise = 7;
	assert_int_equal(checks_set(w.checks, &pop), 0);
	assert_int_equal(checks_service(w.checks, 0, w.why, sizeof(w.why)), CHECK_UNDECIDED);
	close(fd);
	checks_free(w.checks);
	event_base_free(w.base);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tcp),	    cmocka_unit_test(http),    cmocka_unit_test(http_head_is_bounded),
		cmocka_unit_test(http_head_split_anywhere),	       cmocka_unit_test(https),
		cmocka_unit_test(scripts),  cmocka_unit_test(judgement), cmocka_unit_test(schedule),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
