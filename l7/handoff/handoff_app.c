/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Connections that a program of this host answers (app/baton_app.h): the descriptor is passed, so nothing of TCP is exported,
 * no row is needed, and the host stays the connection's owner for every other host.  It waits for ACCEPT as between hosts:
 * from the letter until the answer nothing is sealed here; REFUSE resumes; a program that ends in between, or says nothing
 * in time, may have sealed, so that the client is reset.  Later the program gives the connection back by a letter
 * of the same kind, or says that it has ended.
 */
#include "l7/handoff/handoff_inside.h"

#include <errno.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "l7/tls/tls.h"

#define AGAIN_MS 1000	 /* between two tries to reach a program */
#define LETTERS_TURN 64	 /* read in one turn of the loop */

/* A session with a program: one for each worker and path. */
struct app {
	struct link link;
	struct handoff *h;
	char path[BACKEND_SOCKET_LEN];
	int fd; /* -1: nobody there */
	struct event event;
	uint64_t again_ms;
	bool complained;
};

/* Told once, until it is there again. */
static void missing(struct app *a, int err)
{
	a->again_ms = monotonic_ms() + AGAIN_MS;
	if (!a->complained)
		log_warning("backend's socket %s: %s: requests go to its port", a->path, strerror(err));
	a->complained = true;
}

/* --- the program ends ------------------------------------------------------------------------------------------------ */

static void reset(struct place *p)
{
	stats_inc(p->h->w->stats.moves_lost);
	place_app_ended(p);
	place_reset(p);
}

static void app_down(struct app *a, int err)
{
	struct handoff *h = a->h;
	struct link *l, *next;

	event_del(&a->event);
	close(a->fd);
	a->fd = -1;
	missing(a, err);
	for (l = h->all.next; l != &h->all; l = next) {
		struct place *p = LINK_OF(l, struct place, all);

		next = l->next;
		if (p->app != a)
			continue;
		if (p->client)
			reset(p);
		else
			place_app_ended(p);
		next = ring_onward(&h->all, next);
	}
}

void app_tick(struct place *p)
{
	if (!p->app || !p->client || monotonic_ms() < p->app_by_ms)
		return;
	log_warning("connection %016llx is lost: the program at %s did not say in time whether it has it", (unsigned long long)p->cid,
		    p->app->path);
	reset(p);
}

void app_reset(struct place *p)
{
	struct move_letter l = { .type = LETTER_GONE, .why = GONE_ENDED, .cid = p->cid, .e = p->last, .ingress = p->ingress };

	if (p->app && p->app->fd >= 0)
		carrier_local_send(p->app->fd, &l, -1);
}

/* --- letters ------------------------------------------------------------------------------------------------------------ */

static void accepted(struct place *p)
{
	stats_inc(p->h->w->stats.apps_given);
	place_client_left(p);
}

static void refused(struct place *p)
{
	struct client *c = p->client;

	p->app = NULL;
	c->moving = false;
	c->x->mode = MODE_PROXY;
	c->x->reason = REASON_REFUSED;
	stats_inc(p->h->w->stats.move_reasons[REASON_REFUSED]);
	stream_thaw(&c->s);
	h1_resume(c);
}

static void returned(struct place *p, const struct move_letter *l, int fd)
{
	struct client *c = thaw_here(p, l, fd);

	p->app = NULL;
	if (!c) {
		place_app_ended(p);
		return;
	}
	stats_inc(p->h->w->stats.apps_returned);
	place_settle(p);
	stream_thaw(&c->s);
	h1_input(c);
}

static void on_app_letter(struct app *a, const struct move_letter *l, int fd)
{
	struct place *p = place_find(a->h, l->cid);

	if (!p || p->app != a) {
		if (fd >= 0)
			close(fd);
		return;
	}
	if (l->type == LETTER_OFFER && !p->client) {
		returned(p, l, fd);
		return;
	}
	if (fd >= 0)
		close(fd);
	if (l->type == LETTER_ACCEPT && p->client)
		accepted(p);
	else if (l->type == LETTER_REFUSE && p->client)
		refused(p);
	else if (l->type == LETTER_GONE && !p->client)
		place_app_ended(p);
}

static void app_readable(evutil_socket_t unused, short what, void *arg)
{
	struct app *a = arg;
	uint8_t *room = a->h->app_room;
	struct move_letter l;
	unsigned i;
	int fd, rc;

	(void)unused;
	(void)what;
	for (i = 0; i < LETTERS_TURN && a->fd >= 0; i++) {
		rc = carrier_local_receive(a->fd, room, MOVE_LETTER_MAX + 2, &l, &fd);
		if (rc == -EAGAIN || rc == -EINTR)
			return;
		if (rc <= 0) {
			app_down(a, rc ? -rc : ECONNRESET);
			return;
		}
		on_app_letter(a, &l, fd);
		OPENSSL_cleanse(room, move_letter_len(&l) + 2);
	}
}

/* --- giving --------------------------------------------------------------------------------------------------------------- */

static int reach(struct app *a)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int room = 2 << 20, err, fd;

	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	memcpy(at.sun_path, a->path, sizeof(at.sun_path));
	if (connect(fd, (struct sockaddr *)&at, sizeof(at))) {
		err = -errno;
		close(fd);
		return err;
	}
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)))
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	a->fd = fd;
	a->complained = false;
	event_assign(&a->event, a->h->w->base, fd, EV_READ | EV_PERSIST, app_readable, a);
	event_add(&a->event, NULL);
	return 0;
}

struct app *app_at(struct handoff *h, const char *path)
{
	struct app *a = NULL;
	struct link *l;
	int err;

	for (l = h->apps.next; l != &h->apps; l = l->next)
		if (!strcmp(LINK_OF(l, struct app, link)->path, path))
			a = LINK_OF(l, struct app, link);
	if (!a) {
		if (!h->app_room)
			h->app_room = malloc(MOVE_LETTER_MAX + 2);
		a = h->app_room ? calloc(1, sizeof(*a)) : NULL;
		if (!a)
			return NULL;
		a->h = h;
		a->fd = -1;
		memcpy(a->path, path, strlen(path)); /* shorter than a->path, by pop.yaml's rule */
		link_before(&h->apps, &a->link);
	}
	if (a->fd < 0 && monotonic_ms() >= a->again_ms) {
		err = reach(a);
		if (err)
			missing(a, -err);
	}
	return a->fd >= 0 ? a : NULL;
}

bool app_give(struct place *p, struct app *a, size_t head_len)
{
	struct client *c = p->client;
	int err;

	c->head_n = head_len;
	err = offer_here(p, a->fd);
	if (err) {
		c->x->mode = MODE_PROXY;
		c->x->reason = err == -EAGAIN ? REASON_BACKOFF : REASON_NO_SESSION;
		stats_inc(p->h->w->stats.move_reasons[c->x->reason]);
		end_moving(p);
		return false; /* an ended session is noticed by its event */
	}
	p->app = a;
	p->app_by_ms = monotonic_ms() + c->x->pool->conf->response_ms; /* it may be busy with others */
	c->moving = true;
	timer_stop(&c->timer);
	stream_freeze(&c->s);
	place_settle(p);
	return true;
}

void apps_end(struct handoff *h)
{
	struct link *first;

	while ((first = ring_take(&h->apps))) {
		struct app *a = LINK_OF(first, struct app, link);

		if (a->fd >= 0) {
			event_del(&a->event);
			close(a->fd);
		}
		free(a);
	}
	free(h->app_room);
	h->app_room = NULL;
}
