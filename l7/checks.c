/* SPDX-License-Identifier: BSD-2-Clause */
/* Active health checks.  See checks.h. */
#include "l7/checks.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "l7/list.h"
#include "l7/tls/tls_client.h"

#define ANSWER_BYTES 64 /* as much as is looked at */

struct one {
	struct link link;
	struct l7_checks *all;
	char pool[EDGE_NAME_LEN], path[EDGE_PATH_LEN];
	struct address address;
	uint16_t port, rise, fall;
	uint32_t interval_ms, timeout_ms;
	bool up, wanted;
	uint16_t in_a_row; /* results against what is believed */
	int fd;
	struct tls_client *tls; /* NULL: plain */
	SSL *ssl; /* of this probe */
	bool sent;
	char answer[ANSWER_BYTES];
	size_t n;
	struct event *io, *timer;
};

struct l7_checks {
	struct event_base *base;
	l7_check_result *result;
	void *ctx;
	struct link ring;
};

static void arm(struct one *o, uint32_t ms)
{
	struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000 };

	evtimer_add(o->timer, &tv);
}

static void close_probe(struct one *o)
{
	if (o->io)
		event_free(o->io);
	o->io = NULL;
	SSL_free(o->ssl);
	o->ssl = NULL;
	if (o->fd >= 0)
		close(o->fd);
	o->fd = -1;
}

static void on_io(evutil_socket_t fd, short what, void *ctx);

static void await(struct one *o, short what)
{
	if (o->io)
		event_free(o->io);
	o->io = event_new(o->all->base, o->fd, what, on_io, o);
	event_add(o->io, NULL);
}

static void judged(struct one *o, bool good, const char *why)
{
	char text[ADDRESS_TEXT];

	close_probe(o);
	arm(o, o->interval_ms);
	if (good == o->up) {
		o->in_a_row = 0;
		return;
	}
	if (++o->in_a_row < (good ? o->rise : o->fall))
		return;
	o->in_a_row = 0;
	o->up = good;
	if (good)
		log_notice("pool %s: backend %s port %u is up", o->pool, address_print(&o->address, text), o->port);
	else
		log_warning("pool %s: backend %s port %u is down: %s", o->pool, address_print(&o->address, text), o->port, why);
	o->all->result(o->all->ctx, o->pool, &o->address, o->port, good);
}

/* As send() and recv(), -EAGAIN when more has to come or to go first. */
static ssize_t moved(struct one *o, int rc)
{
	if (rc > 0)
		return rc;
	switch (SSL_get_error(o->ssl, rc)) {
	case SSL_ERROR_WANT_READ:
		await(o, EV_READ);
		return -EAGAIN;
	case SSL_ERROR_WANT_WRITE:
		await(o, EV_WRITE);
		return -EAGAIN;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	default:
		return -EPROTO;
	}
}

static ssize_t give(struct one *o, const char *p, size_t n)
{
	ssize_t k;

	ERR_clear_error();
	if (o->ssl)
		return moved(o, SSL_write(o->ssl, p, (int)n));
	k = send(o->fd, p, n, MSG_NOSIGNAL);
	return k < 0 ? -errno : k;
}

static ssize_t take(struct one *o, char *p, size_t n)
{
	ssize_t k;

	ERR_clear_error();
	if (o->ssl)
		return moved(o, SSL_read(o->ssl, p, (int)n));
	k = recv(o->fd, p, n, 0);
	return k < 0 ? -errno : k;
}

static const char *reason(const struct one *o, ssize_t n)
{
	if (!n)
		return "it closed without an answer";
	return n == -EPROTO && o->ssl ? tls_client_why(o->ssl) : strerror((int)-n);
}

static void on_io(evutil_socket_t fd, short what, void *ctx)
{
	struct one *o = ctx;
	char request[EDGE_PATH_LEN + 256], text[ADDRESS_TEXT];
	ssize_t n;
	int len;

	(void)fd;
	(void)what;
	if (!o->sent) {
		address_print(&o->address, text);
		len = snprintf(request, sizeof(request),
			       "GET %s HTTP/1.1\r\nHost: %s%s%s\r\nUser-Agent: baton-l7d\r\nConnection: close\r\n\r\n", o->path,
			       strchr(text, ':') ? "[" : "", text, strchr(text, ':') ? "]" : "");
		n = give(o, request, (size_t)len);
		if (n == -EAGAIN)
			return;
		if (n != len) {
			judged(o, false, reason(o, n));
			return;
		}
		o->sent = true;
		await(o, EV_READ);
		return;
	}
	n = take(o, o->answer + o->n, sizeof(o->answer) - o->n);
	if (n == -EAGAIN) {
		if (!o->ssl)
			await(o, EV_READ);
		return;
	}
	if (n <= 0) {
		judged(o, false, reason(o, n));
		return;
	}
	o->n += (size_t)n;
	if (o->n < 13) {
		await(o, EV_READ);
		return;
	}
	if (memcmp(o->answer, "HTTP/1.", 7) || o->answer[8] != ' ')
		judged(o, false, "its answer is not HTTP/1");
	else
		judged(o, o->answer[9] == '2' || o->answer[9] == '3', "its status is neither 2xx nor 3xx");
}

static void on_timer(evutil_socket_t unused, short what, void *ctx)
{
	struct one *o = ctx;
	const struct endpoint to = { o->address, o->port };
	struct sockaddr_storage ss;
	socklen_t len = endpoint_sockaddr(&to, &ss);

	(void)unused;
	(void)what;
	if (o->fd >= 0) {
		judged(o, false, "no answer in time");
		return;
	}
	o->sent = false;
	o->n = 0;
	o->fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (o->fd < 0 || (connect(o->fd, (struct sockaddr *)&ss, len) && errno != EINPROGRESS)) {
		judged(o, false, strerror(errno));
		return;
	}
	if (o->tls) {
		o->ssl = tls_client_ssl(o->tls);
		if (!o->ssl || !SSL_set_fd(o->ssl, o->fd)) {
			judged(o, false, "out of memory");
			return;
		}
	}
	await(o, EV_WRITE);
	arm(o, o->timeout_ms);
}

static void one_free(struct one *o)
{
	link_out(&o->link);
	close_probe(o);
	tls_client_unref(o->tls);
	event_free(o->timer);
	free(o);
}

static void want(struct l7_checks *c, const struct pool_conf *p, struct tls_client *tls, const struct backend_conf *b)
{
	struct one *o = NULL;
	struct link *l;

	for (l = c->ring.next; l != &c->ring; l = l->next) {
		o = LINK_OF(l, struct one, link);
		if (!strcmp(o->pool, p->name) && o->port == b->port && address_equal(&o->address, &b->address))
			break;
		o = NULL;
	}
	if (!o) {
		o = calloc(1, sizeof(*o));
		if (!o)
			abort();
		o->all = c;
		o->fd = -1;
		o->up = true;
		o->address = b->address;
		o->port = b->port;
		memcpy(o->pool, p->name, sizeof(o->pool));
		o->timer = evtimer_new(c->base, on_timer, o);
		link_before(&c->ring, &o->link);
		arm(o, 0);
	}
	tls_client_ref(tls);
	tls_client_unref(o->tls); /* a probe that runs has its own part of it */
	o->tls = tls;
	memcpy(o->path, p->check_path, sizeof(o->path));
	o->rise = p->check_rise;
	o->fall = p->check_fall;
	o->interval_ms = p->check_interval_ms;
	o->timeout_ms = p->check_timeout_ms;
	o->wanted = true;
}

struct l7_checks *l7_checks_new(struct event_base *base, l7_check_result *result, void *ctx)
{
	struct l7_checks *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->base = base;
	c->result = result;
	c->ctx = ctx;
	ring_init(&c->ring);
	return c;
}

void l7_checks_set(struct l7_checks *c, const struct snapshot *s)
{
	const struct l7_conf *conf = &s->conf;
	struct link *l, *next;
	uint32_t i, k;

	for (l = c->ring.next; l != &c->ring; l = l->next)
		LINK_OF(l, struct one, link)->wanted = false;
	for (i = 0; i < conf->n_pools; i++)
		for (k = 0; conf->pool[i].check && k < conf->pool[i].n_backends; k++)
			want(c, &conf->pool[i], s->pool_tls[i], &conf->pool[i].backend[k]);
	for (l = c->ring.next; l != &c->ring; l = next) {
		struct one *o = LINK_OF(l, struct one, link);

		next = l->next;
		if (!o->wanted) {
			if (!o->up) /* it is no longer judged */
				c->result(c->ctx, o->pool, &o->address, o->port, true);
			one_free(o);
		}
	}
}

void l7_checks_repeat(struct l7_checks *c)
{
	struct link *l;

	for (l = c->ring.next; l != &c->ring; l = l->next) {
		struct one *o = LINK_OF(l, struct one, link);

		if (!o->up)
			c->result(c->ctx, o->pool, &o->address, o->port, false);
	}
}

void l7_checks_free(struct l7_checks *c)
{
	struct link *l, *next;

	if (!c)
		return;
	for (l = c->ring.next; l != &c->ring; l = next) {
		next = l->next;
		one_free(LINK_OF(l, struct one, link));
	}
	free(c);
}
