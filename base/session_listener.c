/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where sessions come in.  Whoever can reach the port can make us accept; what that costs is bounded:
 * SESSION_PENDING_MAX handshakes, 3 s each, the oldest makes room (so that nobody can shut others out
 * by holding all places), and ten lines of log a second.
 */
#include <errno.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/session_private.h"
#include "base/sockaddr.h"

#define LOG_LINES_PER_S 10
#define ACCEPT_PAUSE_MS 100

struct session_listener {
	struct event_base *base;
	struct tls_identity *tls;
	struct evconnlistener *listener;
	struct event *resume;
	unsigned roles;
	const struct session_ops *ops;
	void *ctx;
	TAILQ_HEAD(, session) pending; /* oldest first */
	unsigned n_pending;
	uint64_t log_second;
	unsigned log_lines, log_suppressed;
};

bool session_listener_serves(const struct session_listener *l, enum role role)
{
	return l->roles & 1u << role;
}

void session_listener_done(struct session_listener *l, struct session *s)
{
	TAILQ_REMOVE(&l->pending, s, pending);
	l->n_pending--;
}

bool session_listener_may_log(struct session_listener *l)
{
	uint64_t second = monotonic_ms() / 1000;

	if (second != l->log_second) {
		if (l->log_suppressed)
			log_warning("%u more refused sessions were not logged", l->log_suppressed);
		l->log_second = second;
		l->log_lines = l->log_suppressed = 0;
	}
	if (l->log_lines++ < LOG_LINES_PER_S)
		return true;
	l->log_suppressed++;
	return false;
}

static void on_accept(struct evconnlistener *ev, evutil_socket_t fd, struct sockaddr *addr, int len, void *arg)
{
	struct session_listener *l = arg;
	struct session *s;

	(void)ev;
	if (l->n_pending >= SESSION_PENDING_MAX) {
		if (session_listener_may_log(l))
			log_warning("%d handshakes at once: the oldest ends", SESSION_PENDING_MAX);
		session_free(TAILQ_FIRST(&l->pending));
	}
	if (session_accept(l, l->base, l->tls, l->ops, l->ctx, fd, addr, (socklen_t)len, &s))
		return;
	TAILQ_INSERT_TAIL(&l->pending, s, pending);
	l->n_pending++;
}

/* Out of descriptors: accept() would fail again at once and for ever, so it rests a moment. */
static void on_accept_error(struct evconnlistener *ev, void *arg)
{
	struct session_listener *l = arg;

	if (session_listener_may_log(l))
		log_error("accept: %s", strerror(errno));
	evconnlistener_disable(ev);
	event_add(l->resume, &(struct timeval){.tv_usec = ACCEPT_PAUSE_MS * 1000});
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
	struct session_listener *l = arg;

	(void)fd, (void)what;
	evconnlistener_enable(l->listener);
}

int session_listen(struct event_base *base, struct tls_identity *tls, const struct sockaddr *addr, socklen_t len,
		   unsigned roles, const struct session_ops *ops, void *ctx, struct session_listener **out)
{
	struct session_listener *l = calloc(1, sizeof(*l));
	int rc;

	if (!l)
		return -ENOMEM;
	TAILQ_INIT(&l->pending);
	l->base = base;
	l->tls = tls;
	l->roles = roles;
	l->ops = ops;
	l->ctx = ctx;
	l->resume = evtimer_new(base, on_resume, l);
	errno = ENOMEM;
	if (l->resume)
		l->listener = evconnlistener_new_bind(base, on_accept, l,
						      LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE, 128,
						      addr, (int)len);
	if (!l->listener) {
		rc = -errno;
		if (l->resume)
			event_free(l->resume);
		free(l);
		return rc;
	}
	evconnlistener_set_error_cb(l->listener, on_accept_error);
	*out = l;
	return 0;
}

void session_listener_free(struct session_listener *l)
{
	if (!l)
		return;
	while (!TAILQ_EMPTY(&l->pending))
		session_free(TAILQ_FIRST(&l->pending));
	evconnlistener_free(l->listener);
	event_free(l->resume);
	free(l);
}

int session_listener_port(const struct session_listener *l)
{
	return sockaddr_bound_port(evconnlistener_get_fd(l->listener));
}
