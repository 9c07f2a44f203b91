/* SPDX-License-Identifier: BSD-2-Clause */
/* Requests that baton-l7d hands to a program.  See baton_app.h; l7/handoff/handoff_app.c is the other side. */
#include "app/baton_app.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "l7/buffer.h"
#include "l7/handoff/carrier.h"
#include "l7/tls/cert_fact.h"
#include "l7/tls/record.h"

#define PATIENCE_MS 30000
#define FULL_MS 1000	/* so long a full session is waited for */
#define SEALED_MAX (256u << 10) /* sealed at once */
#define KEPT SECTIONS		/* sections that come, are not ours to understand, and go back */

/* A session with a loop of baton-l7d.  Requests of it hold it: it may end before they do. */
struct session {
	struct baton_app *app;
	struct session *next;
	struct baton_request *requests;
	unsigned held; /* by the list, and by each request */
	int fd;	       /* -1: it has ended */
};

struct baton_app {
	int listener, epoll;
	struct sockaddr_un at;
	pthread_mutex_t lock; /* of the lists and of sessions' ends: requests may be in other threads */
	struct session *sessions;
	uint8_t *room; /* a letter */
};

struct baton_request {
	struct session *session;
	struct baton_request *next, **at; /* in its session's list */
	int fd;
	uint64_t cid, to_inc, serial; /* with e and ingress: as the letter said, and as its answer says again */
	uint32_t e;
	uint16_t ingress;
	struct record_layer *tls; /* NULL: plain */
	struct buffer raw_in, rest, out;
	char *head, *server_name;
	size_t head_len;
	struct buffer kept[KEPT];
	bool broken;
};

static const enum move_section passed_on[] = { SECTION_SNI, SECTION_ALPN, SECTION_CERTIFICATE, SECTION_HISTORY };

/* --- sessions -------------------------------------------------------------------------------------------------- */

struct baton_app *baton_app_open(const char *path)
{
	struct baton_app *app = calloc(1, sizeof(*app));
	struct epoll_event e = { .events = EPOLLIN };
	struct stat st;
	mode_t before;
	int err;

	if (!app)
		return NULL;
	app->listener = app->epoll = -1;
	app->at.sun_family = AF_UNIX;
	pthread_mutex_init(&app->lock, NULL);
	errno = ENAMETOOLONG;
	if (strlen(path) >= sizeof(app->at.sun_path))
		goto fail;
	memcpy(app->at.sun_path, path, strlen(path));
	app->room = malloc(MOVE_LETTER_MAX + 2);
	app->epoll = epoll_create1(EPOLL_CLOEXEC);
	app->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (!app->room || app->epoll < 0 || app->listener < 0)
		goto fail;
	if (!lstat(path, &st) && S_ISSOCK(st.st_mode)) {
		int probe = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
		bool alive = probe >= 0 && !connect(probe, (struct sockaddr *)&app->at, sizeof(app->at));

		if (probe >= 0)
			close(probe);
		if (!alive)
			unlink(path);
	}
	before = umask(0077);
	err = bind(app->listener, (struct sockaddr *)&app->at, sizeof(app->at));
	umask(before);
	if (err) {
		app->at.sun_path[0] = 0;
		goto fail;
	}
	if (listen(app->listener, 64) || epoll_ctl(app->epoll, EPOLL_CTL_ADD, app->listener, &e))
		goto fail;
	return app;
fail:
	err = errno;
	baton_app_close(app);
	errno = err;
	return NULL;
}

int baton_app_fd(const struct baton_app *app)
{
	return app->epoll;
}

static void session_drop(struct session *s)
{
	if (--s->held == 0)
		free(s);
}

/* Under the lock. */
static void session_end(struct session *s)
{
	struct session **at;

	if (s->fd < 0)
		return;
	close(s->fd);
	s->fd = -1;
	for (at = &s->app->sessions; *at && *at != s; at = &(*at)->next)
		;
	if (*at)
		*at = s->next;
	session_drop(s);
}

static void welcome(struct baton_app *app)
{
	int fd = accept4(app->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), room = 2 << 20;
	struct session *s = fd >= 0 && carrier_local_trusted(fd) ? calloc(1, sizeof(*s)) : NULL;
	struct epoll_event e = { .events = EPOLLIN, .data.ptr = s };

	if (!s || epoll_ctl(app->epoll, EPOLL_CTL_ADD, fd, &e)) {
		free(s);
		if (fd >= 0)
			close(fd);
		return;
	}
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)))
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	s->app = app;
	s->fd = fd;
	s->held = 1;
	pthread_mutex_lock(&app->lock);
	s->next = app->sessions;
	app->sessions = s;
	pthread_mutex_unlock(&app->lock);
}

/* --- requests ---------------------------------------------------------------------------------------------------- */

static void request_free(struct baton_request *r)
{
	struct baton_app *app = r->session->app;

	if (r->fd >= 0)
		close(r->fd);
	record_free(r->tls);
	buffer_free(&r->raw_in);
	buffer_free(&r->rest);
	buffer_free(&r->out);
	for (unsigned i = 0; i < KEPT; i++)
		buffer_free(&r->kept[i]);
	if (r->head)
		OPENSSL_cleanse(r->head, r->head_len);
	free(r->head);
	free(r->server_name);
	pthread_mutex_lock(&app->lock);
	if (r->at) {
		*r->at = r->next;
		if (r->next)
			r->next->at = r->at;
	}
	session_drop(r->session);
	pthread_mutex_unlock(&app->lock);
	free(r);
}

static int keep(struct buffer *b, const struct move_bytes *from)
{
	return buffer_put(b, from->p, from->n, MOVE_LETTER_MAX);
}

static char *text(const struct move_bytes *b)
{
	char *t = malloc(b->n + 1);

	if (t) {
		memcpy(t, b->p, b->n);
		t[b->n] = 0;
	}
	return t;
}

static struct baton_request *request_new(struct session *s, const struct move_letter *l, int fd)
{
	struct baton_request *r = calloc(1, sizeof(*r));
	struct record_state state;
	const struct move_bytes *b = l->section;
	int err = 0;

	if (!r) {
		close(fd);
		return NULL;
	}
	r->fd = fd;
	r->cid = l->cid;
	r->e = l->e;
	r->to_inc = l->to_inc;
	r->serial = l->serial;
	r->ingress = l->ingress;
	pthread_mutex_lock(&s->app->lock);
	r->session = s;
	s->held++;
	r->next = s->requests;
	r->at = &s->requests;
	if (r->next)
		r->next->at = &r->next;
	s->requests = r;
	pthread_mutex_unlock(&s->app->lock);

	r->head = text(&b[SECTION_HEAD]);
	r->head_len = b[SECTION_HEAD].n;
	r->server_name = text(&b[SECTION_SNI]);
	if (b[SECTION_TLS].n) {
		err = record_state_get(b[SECTION_TLS].p, b[SECTION_TLS].n, &state);
		if (!err)
			err = record_import(&state, &r->tls);
		OPENSSL_cleanse(&state, sizeof(state));
	}
	err = err || !r->head || !r->server_name || keep(&r->raw_in, &b[SECTION_RAW_IN]) || keep(&r->rest, &b[SECTION_PLAIN_IN]) ||
	      keep(&r->out, &b[SECTION_RAW_OUT]);
	for (unsigned i = 0; !err && i < sizeof(passed_on) / sizeof(*passed_on); i++)
		err = keep(&r->kept[passed_on[i]], &b[passed_on[i]]);
	if (err) {
		request_free(r);
		return NULL;
	}
	return r;
}

static int say(const struct session *s, enum move_letter_type type, uint8_t why, const struct move_letter *of)
{
	struct move_letter l = { .type = type, .why = why, .cid = of->cid, .e = of->e, .ingress = of->ingress };

	return s->fd < 0 ? -EPIPE : carrier_local_send(s->fd, &l, -1);
}

/* baton-l7d's ingress host sends the connection's packets elsewhere: whoever writes to it finds it broken. */
static void lost(struct session *s, uint64_t cid)
{
	struct baton_request *r;

	pthread_mutex_lock(&s->app->lock);
	for (r = s->requests; r && r->cid != cid; r = r->next)
		;
	if (r)
		shutdown(r->fd, SHUT_RDWR);
	pthread_mutex_unlock(&s->app->lock);
}

static struct baton_request *session_read(struct session *s)
{
	struct baton_app *app = s->app;
	struct baton_request *r = NULL;
	struct move_letter l;
	int fd, rc = carrier_local_receive(s->fd, app->room, MOVE_LETTER_MAX + 2, &l, &fd);

	if (rc == -EAGAIN || rc == -EINTR)
		return NULL;
	if (rc == -EPROTO || rc == -EPROTONOSUPPORT)
		return NULL; /* dropped: its sender gives up waiting for a word of ours */
	if (rc <= 0) {
		pthread_mutex_lock(&app->lock);
		session_end(s); /* frees it, unless requests of it are held */
		pthread_mutex_unlock(&app->lock);
		return NULL;
	}
	if (l.type == LETTER_OFFER) {
		r = request_new(s, &l, fd);
		/* Who cannot be told keeps what it has: then it is not ours. */
		if (say(s, r ? LETTER_ACCEPT : LETTER_REFUSE, r ? 0 : REFUSE_BUSY, &l) && r) {
			request_free(r);
			r = NULL;
		}
	} else if (l.type == LETTER_GONE) {
		lost(s, l.cid);
	}
	OPENSSL_cleanse(app->room, move_letter_len(&l) + 2);
	return r;
}

struct baton_request *baton_app_next(struct baton_app *app, int timeout_ms)
{
	struct epoll_event e;
	struct baton_request *r;
	int n;

	for (;;) {
		n = epoll_wait(app->epoll, &e, 1, timeout_ms);
		if (n <= 0) {
			if (!n)
				errno = EAGAIN;
			return NULL;
		}
		if (!e.data.ptr) {
			welcome(app);
			continue;
		}
		r = session_read(e.data.ptr);
		if (r)
			return r;
	}
}

const char *baton_request_head(const struct baton_request *r, size_t *n)
{
	*n = r->head_len;
	return r->head;
}

const char *baton_request_body(const struct baton_request *r, size_t *n)
{
	*n = buffer_len(&r->rest);
	return *n ? (const char *)r->rest.data + r->rest.start : "";
}

void baton_request_used(struct baton_request *r, size_t n)
{
	buffer_consume(&r->rest, n < buffer_len(&r->rest) ? n : buffer_len(&r->rest));
}

uint64_t baton_request_cid(const struct baton_request *r)
{
	return r->cid;
}

const char *baton_request_server_name(const struct baton_request *r)
{
	return r->server_name;
}

const unsigned char *baton_request_certificate(const struct baton_request *r, unsigned number, size_t *n)
{
	const struct buffer *b = &r->kept[SECTION_CERTIFICATE];
	size_t len = buffer_len(b);
	const uint8_t *der;

	*n = 0;
	if (len <= CERT_RULES_LEN || !cert_der(b->data + b->start + CERT_RULES_LEN, len - CERT_RULES_LEN, number, &der, n))
		return NULL;
	return der;
}

int baton_request_socket(const struct baton_request *r)
{
	return r->fd;
}

/* --- the answer ------------------------------------------------------------------------------------------------------ */

static int send_all(struct baton_request *r, const uint8_t *p, size_t n)
{
	while (n) {
		struct pollfd w = { r->fd, POLLOUT, 0 };
		ssize_t sent = send(r->fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
		int ready;

		if (sent > 0) {
			p += sent;
			n -= (size_t)sent;
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN && errno != EWOULDBLOCK)
			return -errno;
		ready = poll(&w, 1, PATIENCE_MS);
		if (!ready)
			return -ETIMEDOUT;
		if (ready < 0 && errno != EINTR)
			return -errno;
	}
	return 0;
}

/* What was sealed goes out in the order of sealing. */
static int flush(struct baton_request *r)
{
	size_t n = buffer_len(&r->out);
	int err = n ? send_all(r, buffer_head(&r->out), n) : 0;

	if (!err && n)
		buffer_consume(&r->out, n);
	return err;
}

int baton_request_write(struct baton_request *r, const void *p, size_t n)
{
	const uint8_t *at = p;
	int err = r->broken ? -EPIPE : flush(r);

	while (!err && n && r->tls) {
		size_t part = n < SEALED_MAX / 2 ? n : SEALED_MAX / 2;

		err = record_seal(r->tls, at, part, &r->out, SEALED_MAX);
		if (!err)
			err = flush(r);
		at += part;
		n -= part;
	}
	if (!err && n)
		err = send_all(r, at, n);
	r->broken = r->broken || err;
	return err;
}

void baton_request_end(struct baton_request *r)
{
	struct move_letter l = { .cid = r->cid, .e = r->e, .ingress = r->ingress };

	if (r->tls && !r->broken && !record_close_notify(r->tls, &r->out))
		flush(r);
	pthread_mutex_lock(&r->session->app->lock);
	say(r->session, LETTER_GONE, GONE_ENDED, &l);
	pthread_mutex_unlock(&r->session->app->lock);
	request_free(r);
}

static struct move_bytes bytes(struct buffer *b)
{
	return (struct move_bytes){ b->data ? buffer_head(b) : NULL, (uint32_t)buffer_len(b) };
}

static int give_back(struct baton_request *r, const struct move_letter *l)
{
	int err, tries = 0;

	do {
		pthread_mutex_lock(&r->session->app->lock);
		err = r->session->fd < 0 ? -EPIPE : carrier_local_send(r->session->fd, l, r->fd);
		pthread_mutex_unlock(&r->session->app->lock);
		if (err == -EAGAIN) /* it has much to read: rare */
			poll(NULL, 0, 1);
	} while (err == -EAGAIN && tries++ < FULL_MS);
	return err;
}

int baton_request_return(struct baton_request *r)
{
	struct move_letter l = { .type = LETTER_OFFER, .cid = r->cid, .e = r->e, .ingress = r->ingress, .to_inc = r->to_inc,
				 .serial = r->serial };
	uint8_t tls[RECORD_STATE_LEN];
	struct record_state state;
	int err = r->broken ? -EPIPE : flush(r);

	if (err) {
		baton_request_end(r);
		return err;
	}
	if (r->tls) {
		record_export(r->tls, &state);
		record_state_put(&state, tls);
		OPENSSL_cleanse(&state, sizeof(state));
		l.section[SECTION_TLS] = (struct move_bytes){ tls, sizeof(tls) };
	}
	l.section[SECTION_RAW_IN] = bytes(&r->raw_in);
	l.section[SECTION_PLAIN_IN] = bytes(&r->rest);
	for (unsigned i = 0; i < sizeof(passed_on) / sizeof(*passed_on); i++)
		l.section[passed_on[i]] = bytes(&r->kept[passed_on[i]]);
	err = give_back(r, &l);
	OPENSSL_cleanse(tls, sizeof(tls));
	if (err)
		baton_request_end(r);
	else
		request_free(r); /* its descriptor and keys are baton-l7d's */
	return err;
}

void baton_app_close(struct baton_app *app)
{
	if (!app)
		return;
	while (app->sessions) {
		while (app->sessions->requests)
			baton_request_end(app->sessions->requests);
		pthread_mutex_lock(&app->lock);
		session_end(app->sessions);
		pthread_mutex_unlock(&app->lock);
	}
	if (app->listener >= 0) {
		close(app->listener);
		if (app->at.sun_path[0])
			unlink(app->at.sun_path);
	}
	if (app->epoll >= 0)
		close(app->epoll);
	pthread_mutex_destroy(&app->lock);
	free(app->room);
	free(app);
}
