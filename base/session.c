/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One session's life.
 *
 *   client:  WAITING -> CONNECTING -> HANDSHAKE -> GREETING -> OPEN -> (WAITING ...)
 *   server:                           HANDSHAKE ------------> OPEN -> ENDED
 *
 * session_move() is the one place that assigns the state.  Whatever is ready, the same function looks
 * at all of it (session_work): OpenSSL may want to read in order to write.  Callbacks run from the
 * loop only, never from within session_send(), and may free the session.
 */
#include <assert.h>
#include <errno.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/session_private.h"

#define READS_MAX 64 /* records a turn, so that one peer cannot keep the loop */

static struct session_counts counts;

const struct session_counts *session_counts(void)
{
	return &counts;
}

static void session_work(struct session *s);
static void session_tick(struct session *s);

static void session_move(struct session *s, enum session_state to)
{
	s->state = to;
}

static void arm(struct session *s, uint32_t ms)
{
	event_add(s->timer, &(struct timeval){.tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000});
}

static void destroy(struct session *s)
{
	if (s->readable)
		event_free(s->readable);
	if (s->writable)
		event_free(s->writable);
	if (s->timer)
		event_free(s->timer);
	if (s->out)
		evbuffer_free(s->out);
	frame_reset(&s->in);
	free(s);
}

/* Every entry from the loop: what a callback frees must outlive the call. */
static void enter(struct session *s, void (*work)(struct session *))
{
	s->busy++;
	work(s);
	if (--s->busy == 0 && s->freed)
		destroy(s);
}

static void on_io(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	enter(arg, session_work);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	enter(arg, session_tick);
}

/* Closes the connection, if there is one; what was queued is gone. */
static void disconnect(struct session *s)
{
	if (s->readable)
		event_free(s->readable);
	if (s->writable)
		event_free(s->writable);
	s->readable = s->writable = NULL;
	if (s->ssl) {
		/* One close_notify, if it fits; we do not wait for the peer's. */
		ERR_clear_error();
		if (SSL_is_init_finished(s->ssl))
			SSL_shutdown(s->ssl);
		ERR_clear_error();
		SSL_free(s->ssl);
	}
	s->ssl = NULL;
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
	frame_reset(&s->in);
	evbuffer_drain(s->out, evbuffer_get_length(s->out));
}

static uint32_t jittered(uint32_t ms)
{
	uint32_t random = 0;

	/* All hosts lose a controller at the same instant; they must not return at the same instant. */
	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != (ssize_t)sizeof(random))
		random = (uint32_t)monotonic_ns();
	return ms / 2 + random % (ms / 2 + 1);
}

static void wait_for_next_attempt(struct session *s)
{
	session_move(s, SESSION_WAITING);
	arm(s, jittered(s->backoff_ms));
	s->backoff_ms = s->backoff_ms * 2 > SESSION_BACKOFF_MAX_MS ? SESSION_BACKOFF_MAX_MS : s->backoff_ms * 2;
}

static void log_never_up(struct session *s, const char *why)
{
	if (s->server) {
		if (!s->listener || session_listener_may_log(s->listener))
			log_warning("session from %s refused: %s", s->name, why);
	} else if (strcmp(s->last_why, why)) {
		log_warning("session to %s: %s (trying again)", s->name, why);
		snprintf(s->last_why, sizeof(s->last_why), "%s", why);
	}
}

/* The end of this connection.  Afterwards the caller must not go on with it. */
static void fail(struct session *s, const char *why)
{
	bool was_up = s->state == SESSION_OPEN;

	event_del(s->timer);
	if (was_up) {
		counts.down++;
		log_notice("session with %s down: %s", s->name, why);
		if (monotonic_ms() - s->began_ms >= SESSION_SETTLED_MS)
			s->backoff_ms = SESSION_BACKOFF_MIN_MS;
		s->last_why[0] = '\0';
	} else {
		if (s->server)
			counts.refused++;
		else
			counts.failed++;
		log_never_up(s, why);
	}
	disconnect(s);
	if (s->server)
		session_move(s, SESSION_ENDED);
	else
		wait_for_next_attempt(s);
	if (was_up) {
		s->ops->down(s->ctx, s, why);
	} else if (s->server) {
		if (s->listener)
			session_listener_done(s->listener, s);
		s->freed = true;
	}
}

static void queue_message(struct session *s, uint16_t type, const void *body, size_t len)
{
	uint8_t head[FRAME_HEAD];

	frame_head(head, type, len);
	evbuffer_add(s->out, head, sizeof(head));
	evbuffer_add(s->out, body, len);
}

/* Writes what is queued as far as the socket takes it. */
static void flush(struct session *s)
{
	size_t left;

	while ((left = evbuffer_get_length(s->out)) > 0) {
		int n = (int)(left < 16384 ? left : 16384), rc;
		unsigned char *bytes = evbuffer_pullup(s->out, n);
		char why[256];

		ERR_clear_error();
		errno = 0;
		rc = bytes ? SSL_write(s->ssl, bytes, n) : -1;
		if (rc > 0) {
			evbuffer_drain(s->out, (size_t)rc);
			s->said_ms = monotonic_ms();
			continue;
		}
		switch (SSL_get_error(s->ssl, rc)) {
		case SSL_ERROR_WANT_WRITE:
			event_add(s->writable, NULL);
			return;
		case SSL_ERROR_WANT_READ:
			return;
		}
		tls_why(s->ssl, rc, why, sizeof(why));
		fail(s, why);
		return;
	}
}

static void come_up(struct session *s)
{
	session_move(s, SESSION_OPEN);
	counts.up++;
	s->began_ms = s->heard_ms = s->said_ms = s->ticked_ms = monotonic_ms();
	arm(s, SESSION_TICK_MS);
}

/* A server's refusal after authentication: the peer is told, since it can do something about it. */
static void refuse(struct session *s, const char *why)
{
	evbuffer_drain(s->out, evbuffer_get_length(s->out));
	queue_message(s, SESSION_REFUSED, why, strlen(why));
	flush(s);
	if (!s->freed && s->ssl)
		fail(s, why);
}

static void server_authenticated(struct session *s)
{
	struct identity peer;
	char why[256], from[SOCKADDR_TEXT_MAX];
	int rc;

	if (tls_peer(s->tls, s->ssl, &peer, why, sizeof(why))) {
		refuse(s, why);
		return;
	}
	s->peer = peer;
	snprintf(s->name, sizeof(s->name), "%s %u (%s)", role_name(peer.role), peer.id,
		 sockaddr_print((struct sockaddr *)&s->addr, from));
	if (!session_listener_serves(s->listener, peer.role)) {
		snprintf(why, sizeof(why), "role %s is not served on this port", role_name(peer.role));
		refuse(s, why);
		return;
	}
	session_listener_done(s->listener, s);
	s->listener = NULL;
	/* In front of what up() may send. */
	queue_message(s, SESSION_WELCOME, "", 0);
	come_up(s);
	rc = s->ops->up(s->ctx, s, &s->peer);
	if (s->freed)
		return;
	if (rc) {
		session_move(s, SESSION_HANDSHAKE); /* it never was up */
		counts.up--;
		snprintf(why, sizeof(why), "%s", strerror(-rc));
		refuse(s, why);
		return;
	}
	log_info("session with %s up", s->name);
}

/* Whether the server is the one that we were told to expect at this address. */
static void client_authenticated(struct session *s)
{
	struct identity peer;
	char why[256];

	if (tls_peer(s->tls, s->ssl, &peer, why, sizeof(why))) {
		fail(s, why);
		return;
	}
	if (peer.role != s->peer.role || peer.id != s->peer.id) {
		snprintf(why, sizeof(why), "%s %u answers at this address, %s %u was expected", role_name(peer.role), peer.id,
			 role_name(s->peer.role), s->peer.id);
		fail(s, why);
		return;
	}
	s->peer = peer;
	session_move(s, SESSION_GREETING);
}

static void handshake(struct session *s)
{
	char why[256];
	int rc;

	ERR_clear_error();
	errno = 0;
	rc = SSL_do_handshake(s->ssl);
	if (rc == 1) {
		if (s->server)
			server_authenticated(s);
		else
			client_authenticated(s);
		return;
	}
	switch (SSL_get_error(s->ssl, rc)) {
	case SSL_ERROR_WANT_WRITE:
		event_add(s->writable, NULL);
		return;
	case SSL_ERROR_WANT_READ:
		return;
	}
	tls_why(s->ssl, rc, why, sizeof(why));
	fail(s, why);
}

static void greeted(struct session *s, const struct frame *f)
{
	char why[256];
	size_t n = f->len < 200 ? f->len : 200;

	if (f->type == SESSION_WELCOME) {
		come_up(s);
		s->last_why[0] = '\0';
		log_info("session with %s up", s->name);
		if (s->ops->up(s->ctx, s, &s->peer) && !s->freed)
			fail(s, "declined");
		return;
	}
	if (f->type == SESSION_REFUSED)
		snprintf(why, sizeof(why), "it refused us: %.*s", (int)n, (const char *)f->body);
	else
		snprintf(why, sizeof(why), "message type %u before WELCOME", f->type);
	fail(s, why);
}

/* All whole messages.  A callback may end or free the session. */
static void deliver(struct session *s)
{
	struct frame f;
	int rc;

	while ((rc = frame_next(&s->in, &f)) > 0) {
		if (s->state == SESSION_GREETING)
			greeted(s, &f);
		else if (f.type < SESSION_TYPE_OWN)
			s->ops->message(s->ctx, s, f.type, f.body, f.len);
		/* ALIVE has said what it says by coming; types of the future are skipped. */
		if (s->freed || !s->ssl)
			return;
	}
	if (rc == -EMSGSIZE)
		fail(s, "it sent a message larger than the limit");
	else if (rc < 0)
		fail(s, "it sent a malformed message");
}

static void receive(struct session *s)
{
	for (unsigned i = 0; i < READS_MAX; i++) {
		size_t room;
		uint8_t *at = frame_space(&s->in, &room);
		char why[256];
		int n;

		if (!at) {
			fail(s, "out of memory");
			return;
		}
		ERR_clear_error();
		errno = 0;
		n = SSL_read(s->ssl, at, (int)room);
		if (n > 0) {
			frame_filled(&s->in, (size_t)n);
			s->heard_ms = monotonic_ms();
			deliver(s);
			if (s->freed || !s->ssl)
				return;
			continue;
		}
		switch (SSL_get_error(s->ssl, n)) {
		case SSL_ERROR_WANT_READ:
			return;
		case SSL_ERROR_WANT_WRITE:
			event_add(s->writable, NULL);
			return;
		}
		tls_why(s->ssl, n, why, sizeof(why));
		fail(s, why);
		return;
	}
	/* More may lie decrypted in OpenSSL, of which the descriptor knows nothing. */
	event_active(s->readable, EV_READ, 0);
}

static bool watch(struct session *s)
{
	s->readable = event_new(s->base, s->fd, EV_READ | EV_PERSIST, on_io, s);
	s->writable = event_new(s->base, s->fd, EV_WRITE, on_io, s);
	return s->readable && s->writable;
}

/* TCP is there: TLS begins. */
static int begin_tls(struct session *s)
{
	int one = 1;

	setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	s->ssl = tls_connection(s->tls, s->fd, s->server);
	if (!s->ssl)
		return -ENOMEM;
	session_move(s, SESSION_HANDSHAKE);
	return event_add(s->readable, NULL) ? -ENOMEM : 0;
}

static void connected(struct session *s)
{
	int error = 0;
	socklen_t len = sizeof(error);

	getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &len);
	if (error)
		fail(s, strerror(error));
	else if (begin_tls(s))
		fail(s, "out of memory");
}

static void session_work(struct session *s)
{
	if (s->state == SESSION_CONNECTING)
		connected(s);
	if (s->state == SESSION_HANDSHAKE && s->ssl)
		handshake(s);
	if (!s->freed && (s->state == SESSION_GREETING || s->state == SESSION_OPEN))
		receive(s);
	if (!s->freed && s->state == SESSION_OPEN)
		flush(s);
}

static void attempt(struct session *s)
{
	s->began_ms = monotonic_ms();
	session_move(s, SESSION_CONNECTING);
	arm(s, SESSION_HANDSHAKE_MS);
	s->fd = socket(s->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (s->fd < 0 || (connect(s->fd, (struct sockaddr *)&s->addr, s->addr_len) && errno != EINPROGRESS)) {
		fail(s, strerror(errno));
		return;
	}
	if (!watch(s) || event_add(s->writable, NULL))
		fail(s, "out of memory");
}

/*
 * When this process itself stood still (stopped, starved), what the peer sent meanwhile is still in the
 * socket: silence is judged only after a tick that came in time.
 */
static void look_at_times(struct session *s)
{
	uint64_t now = monotonic_ms();
	bool stood_still = now - s->ticked_ms > SESSION_TICK_MS + 1000;

	s->ticked_ms = now;
	if (!stood_still && now - s->heard_ms >= SESSION_SILENT_MS) {
		fail(s, "the peer is silent");
		return;
	}
	if (now - s->said_ms >= SESSION_TICK_MS / 2 && evbuffer_get_length(s->out) == 0) {
		queue_message(s, SESSION_ALIVE, "", 0);
		flush(s);
	}
	if (!s->freed && s->state == SESSION_OPEN)
		arm(s, SESSION_TICK_MS);
}

static void session_tick(struct session *s)
{
	switch (s->state) {
	case SESSION_WAITING:
		attempt(s);
		break;
	case SESSION_CONNECTING:
		fail(s, "no answer to connect");
		break;
	case SESSION_HANDSHAKE:
		fail(s, "no TLS handshake within 3 s");
		break;
	case SESSION_GREETING:
		fail(s, "no welcome within 3 s");
		break;
	case SESSION_OPEN:
		look_at_times(s);
		break;
	case SESSION_ENDED:
		break;
	}
}

static struct session *session_new(struct event_base *base, struct tls_identity *tls, const struct session_ops *ops,
				   void *ctx, const struct sockaddr *addr, socklen_t len)
{
	struct session *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->base = base;
	s->tls = tls;
	s->ops = ops;
	s->ctx = ctx;
	s->fd = -1;
	memcpy(&s->addr, addr, len);
	s->addr_len = len;
	s->out = evbuffer_new();
	s->timer = evtimer_new(base, on_timer, s);
	if (!s->out || !s->timer) {
		destroy(s);
		return NULL;
	}
	return s;
}

int session_accept(struct session_listener *l, struct event_base *base, struct tls_identity *tls,
		   const struct session_ops *ops, void *ctx, int fd, const struct sockaddr *addr, socklen_t len,
		   struct session **out)
{
	struct session *s = session_new(base, tls, ops, ctx, addr, len);

	if (!s) {
		close(fd);
		return -ENOMEM;
	}
	s->server = true;
	s->fd = fd;
	sockaddr_print(addr, s->name);
	if (!watch(s) || begin_tls(s)) {
		disconnect(s);
		destroy(s);
		return -ENOMEM;
	}
	s->listener = l;
	arm(s, SESSION_HANDSHAKE_MS);
	*out = s;
	return 0;
}

int session_connect(struct event_base *base, struct tls_identity *tls, const struct sockaddr *addr, socklen_t len,
		    enum role peer, uint16_t peer_id, const struct session_ops *ops, void *ctx, struct session **out)
{
	char at[SOCKADDR_TEXT_MAX];
	struct session *s;

	if (len > sizeof(s->addr))
		return -EINVAL;
	s = session_new(base, tls, ops, ctx, addr, len);
	if (!s)
		return -ENOMEM;
	s->peer = (struct identity){.role = peer, .id = peer_id};
	snprintf(s->name, sizeof(s->name), "%s %u (%s)", role_name(peer), peer_id, sockaddr_print(addr, at));
	s->backoff_ms = SESSION_BACKOFF_MIN_MS;
	session_move(s, SESSION_WAITING);
	arm(s, 0);
	*out = s;
	return 0;
}

int session_send(struct session *s, uint16_t type, const void *body, size_t len)
{
	if (s->state != SESSION_OPEN || s->freed)
		return -ENOTCONN;
	if (type >= SESSION_TYPE_OWN)
		return -EINVAL;
	if (len > SESSION_BODY_MAX)
		return -EMSGSIZE;
	if (evbuffer_get_length(s->out) + FRAME_HEAD + len > SESSION_QUEUE_MAX) {
		counts.overflowed++;
		return -ENOBUFS;
	}
	queue_message(s, type, body, len);
	event_active(s->writable, EV_WRITE, 0);
	return 0;
}

size_t session_unsent(const struct session *s)
{
	int in_kernel = 0;

	if (s->state != SESSION_OPEN || s->freed)
		return 0;
	if (ioctl(s->fd, SIOCOUTQ, &in_kernel))
		in_kernel = 0;
	return evbuffer_get_length(s->out) + (size_t)in_kernel;
}

const struct identity *session_peer(const struct session *s)
{
	return &s->peer;
}

void session_set_ctx(struct session *s, void *ctx)
{
	s->ctx = ctx;
}

void session_free(struct session *s)
{
	if (!s || s->freed)
		return;
	if (s->state == SESSION_OPEN)
		counts.down++;
	s->freed = true;
	event_del(s->timer);
	disconnect(s);
	session_move(s, SESSION_ENDED);
	if (s->listener)
		session_listener_done(s->listener, s);
	if (!s->busy)
		destroy(s);
}
