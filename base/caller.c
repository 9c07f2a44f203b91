/* SPDX-License-Identifier: BSD-2-Clause */
/* Clients of a daemon's small servers.  See caller.h. */
#include "base/caller.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

void callers_init(struct callers *s, struct event_base *base, const struct caller_kind *kind)
{
	*s = (struct callers){ .kind = kind, .base = base };
	LIST_INIT(&s->all);
}

void caller_due(struct caller *c, int seconds)
{
	event_add(c->deadline, &(struct timeval){ .tv_sec = seconds });
}

void caller_free(struct caller *c)
{
	LIST_REMOVE(c, link);
	c->of->n--;
	if (c->of->kind->gone)
		c->of->kind->gone(c);
	event_free(c->deadline);
	bufferevent_free(c->bev);
	free(c);
}

static void late(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	caller_free(arg);
}

int caller_take(struct callers *s, int fd, int due_s, struct caller **out)
{
	const struct caller_kind *k = s->kind;
	struct caller *c;

	if (s->n >= k->max) {
		close(fd);
		return -EUSERS;
	}
	c = calloc(1, k->size);
	if (!c) {
		close(fd);
		return -ENOMEM;
	}
	c->of = s;
	c->bev = bufferevent_socket_new(s->base, fd, BEV_OPT_CLOSE_ON_FREE);
	c->deadline = evtimer_new(s->base, late, c);
	if (!c->bev || !c->deadline) {
		if (c->bev)
			bufferevent_free(c->bev);
		else
			close(fd);
		if (c->deadline)
			event_free(c->deadline);
		free(c);
		return -ENOMEM;
	}
	LIST_INSERT_HEAD(&s->all, c, link);
	s->n++;
	bufferevent_setcb(c->bev, k->read, k->written, k->event, c);
	bufferevent_setwatermark(c->bev, EV_READ, 0, k->unread_max);
	bufferevent_set_timeouts(c->bev, NULL, &(struct timeval){ .tv_sec = k->write_s });
	caller_due(c, due_s);
	bufferevent_enable(c->bev, EV_READ | EV_WRITE);
	*out = c;
	return 0;
}

void callers_free(struct callers *s)
{
	struct caller *c, *next;

	for (c = LIST_FIRST(&s->all); c; c = next) {
		next = LIST_NEXT(c, link);
		caller_free(c);
	}
}
