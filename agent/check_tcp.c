/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One attempt of a TCP, HTTP or HTTPS check: connect, shake hands, ask, read the head of the answer.
 * One timer bounds the whole, one buffer bounds what is read.
 */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/check.h"
#include "agent/check_run.h"

enum phase { PHASE_CONNECT, PHASE_TLS, PHASE_SEND, PHASE_READ };

struct tcp_run {
	struct check_run run; /* first: what check_run_cancel() frees */
	enum check_kind kind;
	uint16_t port, expect;
	enum phase phase;
	int fd;
	struct event *io;
	SSL *ssl;
	char request[1024];
	size_t request_len, sent;
	char head[CHECK_HEAD_MAX];
	size_t head_len;
};

static void cleanup(struct check_run *run)
{
	struct tcp_run *r = (struct tcp_run *)run;
	struct linger reset = { .l_onoff = 1, .l_linger = 0 };

	if (r->io)
		event_free(r->io);
	SSL_free(r->ssl);
	if (r->fd >= 0) {
		/* No TIME_WAIT of ours for each attempt on each VIP. */
		(void)setsockopt(r->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		close(r->fd);
	}
}

static const char *phase_name(enum phase p)
{
	switch (p) {
	case PHASE_CONNECT:
		return "to connect";
	case PHASE_TLS:
		return "for the TLS handshake";
	case PHASE_SEND:
		return "to send the request";
	case PHASE_READ:
		return "for the answer";
	}
	return "?";
}

static void timed_out(struct check_run *run)
{
	struct tcp_run *r = (struct tcp_run *)run;

	check_run_fail(run, "timed out waiting %s", phase_name(r->phase));
}

/* The service's certificate is its clients' business: the name they use may not be the VIP's address. */
static SSL_CTX *tls_context(void)
{
	static SSL_CTX *ctx;

	if (!ctx) {
		ctx = SSL_CTX_new(TLS_client_method());
		if (ctx)
			SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
	}
	return ctx;
}

static int want(struct tcp_run *r, short what)
{
	event_del(r->io);
	return event_assign(r->io, event_get_base(r->io), r->fd, what, event_get_callback(r->io), r) ||
	       event_add(r->io, NULL);
}

/* What OpenSSL wants next, 0; or an end, having said why. */
static bool tls_again(struct tcp_run *r, int ret)
{
	unsigned long code;
	int err = SSL_get_error(r->ssl, ret);

	if (err == SSL_ERROR_WANT_READ || err == SSL_ERROR_WANT_WRITE) {
		want(r, err == SSL_ERROR_WANT_READ ? EV_READ : EV_WRITE);
		return true;
	}
	code = ERR_get_error();
	ERR_clear_error();
	if (err == SSL_ERROR_SYSCALL && !code)
		check_run_fail(&r->run, "connection closed while waiting %s", phase_name(r->phase));
	else
		check_run_fail(&r->run, "TLS: %s", code ? ERR_reason_error_string(code) : "closed by the server");
	return true;
}

/* Bytes sent or read (0: end of stream), -1 when the run waits or has ended. */
static ssize_t transfer(struct tcp_run *r, bool send_it, char *buf, size_t len)
{
	ssize_t n;

	if (r->ssl) {
		int ret = send_it ? SSL_write(r->ssl, buf, (int)len) : SSL_read(r->ssl, buf, (int)len);

		if (ret > 0)
			return ret;
		if (SSL_get_error(r->ssl, ret) == SSL_ERROR_ZERO_RETURN)
			return 0;
		tls_again(r, ret);
		return -1;
	}
	n = send_it ? send(r->fd, buf, len, MSG_NOSIGNAL) : recv(r->fd, buf, len, 0);
	if (n >= 0)
		return n;
	if (errno == EAGAIN || errno == EINTR)
		want(r, send_it ? EV_WRITE : EV_READ);
	else
		check_run_fail(&r->run, "%s while waiting %s", strerror(errno), phase_name(r->phase));
	return -1;
}

/* True when the run goes on in the next phase at once. */
static bool connected(struct tcp_run *r, const char *sni)
{
	socklen_t len = sizeof(int);
	int err = 0;

	if (getsockopt(r->fd, SOL_SOCKET, SO_ERROR, &err, &len) || err) {
		check_run_fail(&r->run, "%s", strerror(err ? err : errno));
		return false;
	}
	switch (r->kind) {
	case CHECK_TCP:
		check_run_pass(&r->run);
		return false;
	case CHECK_HTTP:
		r->phase = PHASE_SEND;
		return true;
	case CHECK_HTTPS:
		r->phase = PHASE_TLS;
		r->ssl = tls_context() ? SSL_new(tls_context()) : NULL;
		if (!r->ssl || SSL_set_fd(r->ssl, r->fd) != 1) {
			check_run_fail(&r->run, "TLS: out of memory");
			return false;
		}
		if (sni[0])
			SSL_set_tlsext_host_name(r->ssl, sni);
		SSL_set_connect_state(r->ssl);
		return true;
	case CHECK_SCRIPT:
		break;
	}
	check_run_fail(&r->run, "not a network check");
	return false;
}

static void judge(struct tcp_run *r, uint16_t status)
{
	if (r->expect ? status == r->expect : status >= 200 && status <= 399)
		check_run_pass(&r->run);
	else if (r->expect)
		check_run_fail(&r->run, "answered %u, expected %u", status, r->expect);
	else
		check_run_fail(&r->run, "answered %u, expected 2xx or 3xx", status);
}

static void read_head(struct tcp_run *r)
{
	char why[128];
	uint16_t status;

	for (;;) {
		ssize_t n = transfer(r, false, r->head + r->head_len, sizeof(r->head) - r->head_len);
		int err;

		if (n < 0)
			return;
		if (!n) {
			check_run_fail(&r->run, "connection closed %s",
				       r->head_len ? "in the head of the answer" : "without an answer");
			return;
		}
		r->head_len += (size_t)n;
		err = check_http_head(r->head, r->head_len, &status, why, sizeof(why));
		if (!err) {
			judge(r, status);
			return;
		}
		if (err != -EAGAIN || r->head_len == sizeof(r->head)) {
			check_run_fail(&r->run, "%s", err == -EAGAIN ? "the head of the answer is too long" : why);
			return;
		}
	}
}

static void ready(evutil_socket_t fd, short what, void *ctx)
{
	struct tcp_run *r = ctx;
	ssize_t n;

	(void)fd;
	(void)what;
	ERR_clear_error();
	if (r->phase == PHASE_CONNECT && !connected(r, r->run.check.host))
		return;
	if (r->phase == PHASE_TLS) {
		int ret = SSL_do_handshake(r->ssl);

		if (ret != 1) {
			tls_again(r, ret);
			return;
		}
		r->phase = PHASE_SEND;
	}
	while (r->phase == PHASE_SEND) {
		n = transfer(r, true, r->request + r->sent, r->request_len - r->sent);
		if (n < 0)
			return;
		r->sent += (size_t)n;
		if (r->sent == r->request_len)
			r->phase = PHASE_READ;
	}
	read_head(r);
}

static void make_request(struct tcp_run *r, const struct check *c, const struct address *a)
{
	char text[ADDRESS_TEXT];
	bool bracket = !c->host[0] && a->family == AF_INET6;

	r->request_len = (size_t)snprintf(r->request, sizeof(r->request),
					  "GET %s HTTP/1.1\r\nHost: %s%s%s\r\nUser-Agent: baton-agentd\r\nAccept: */*\r\n"
					  "Connection: close\r\n\r\n",
					  c->path[0] ? c->path : "/", bracket ? "[" : "",
					  c->host[0] ? c->host : address_print(a, text), bracket ? "]" : "");
	if (r->request_len >= sizeof(r->request))
		r->request_len = sizeof(r->request) - 1;
}

struct check_run *check_run_tcp(struct event_base *base, const struct check *c, const struct check_target *t,
				check_done *done, void *ctx)
{
	struct tcp_run *r = calloc(1, sizeof(*r));
	struct sockaddr_storage ss;
	struct endpoint e = { .address = t->address, .port = c->port };
	socklen_t len = endpoint_sockaddr(&e, &ss);

	if (!r)
		return NULL;
	r->fd = -1;
	if (check_run_init(&r->run, base, c, done, ctx, timed_out, cleanup)) {
		free(r);
		return NULL;
	}
	r->kind = c->kind;
	r->port = c->port;
	r->expect = c->expect;
	make_request(r, c, &t->address);
	r->fd = socket(t->address.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	r->io = event_new(base, r->fd, EV_WRITE, ready, r);
	if (r->fd < 0 || !r->io || (connect(r->fd, (struct sockaddr *)&ss, len) && errno != EINPROGRESS))
		check_run_fail_soon(&r->run, "%s", strerror(errno));
	else if (event_add(r->io, NULL))
		check_run_fail_soon(&r->run, "out of memory");
	return &r->run;
}
