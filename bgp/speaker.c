/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The speaker: keeps the kernel's routes as wanted and looks whether BIRD follows.  Once a second it
 * looks at both again, since somebody may have flushed a table or reconfigured BIRD; after a change it
 * looks at once and then ever more slowly until BIRD has followed.
 */
#include "bgp/speaker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "bgp/announce.h"
#include "bgp/bird.h"
#include "bgp/routes.h"
#include "bgp/verify.h"

#define POLL_MS 1000
#define PATIENCE_MS 100 /* looking more often than this, it is too early to complain that BIRD has not followed */
#define FIRST_LOOK_MS 1 /* BIRD learns a route within a fraction of a millisecond */

struct speaker {
	struct routes *routes;
	struct bird *bird; /* NULL: this switch has no BIRD; routes are kept for whoever reads them */
	char socket[sizeof(((struct switch_conf *)NULL)->bird_socket)];
	struct event *timer;
	unsigned delay_ms;
	struct announcement *want;
	size_t n_want;
	bool asked; /* nothing is touched before the first speaker_want */
	struct speaker_status status;
	void (*on_status)(void *ctx, const struct speaker_status *st);
	void *ctx;
};

static void set_timer(struct speaker *s)
{
	struct timeval tv = { s->delay_ms / 1000, s->delay_ms % 1000 * 1000 };

	evtimer_add(s->timer, &tv);
	s->delay_ms = s->delay_ms * 2 < POLL_MS ? s->delay_ms * 2 : POLL_MS;
}

static void set_status(struct speaker *s, const struct speaker_status *st)
{
	const struct speaker_status *old = &s->status;
	bool same = old->in_kernel == st->in_kernel && old->bird_reached == st->bird_reached &&
		    old->fragment_included == st->fragment_included && old->exported == st->exported &&
		    old->sessions_up == st->sessions_up && old->sessions == st->sessions && !strcmp(old->why, st->why);

	s->status = *st;
	if (!same && s->on_status)
		s->on_status(s->ctx, &s->status);
}

static void on_report(void *ctx, const struct bird_report *r)
{
	struct speaker *s = ctx;
	struct speaker_status st = s->status;

	if (!s->asked || !s->status.in_kernel)
		return; /* the kernel's fault is the one to tell */
	verify_bird(s->want, s->n_want, r, s->socket, &st);
	if (st.exported)
		s->delay_ms = POLL_MS;
	else if (st.bird_reached && s->delay_ms < PATIENCE_MS)
		return;
	set_status(s, &st);
}

/* Brings the kernel's routes to what is wanted.  `changed`: we were told so; else somebody else has been there. */
static int reconcile(struct speaker *s, bool changed)
{
	struct speaker_status st = s->status;
	size_t n;
	int err = routes_reconcile(s->routes, s->want, s->n_want, &n);

	if (err) {
		memset(&st, 0, sizeof(st));
		snprintf(st.why, sizeof(st.why), "the kernel refuses our announcement routes: %s", strerror(-err));
		set_status(s, &st);
		return err;
	}
	if (n && !changed) {
		log_warning("%zu announcement routes had been changed by somebody else; restored", n);
		s->delay_ms = FIRST_LOOK_MS;
	}
	if (!s->bird) {
		memset(&st, 0, sizeof(st));
		st.exported = true;
	} else if (n || changed || !st.in_kernel) {
		st.exported = false; /* until BIRD has said so */
	}
	st.in_kernel = true;
	set_status(s, &st);
	return 0;
}

static void on_timer(evutil_socket_t fd, short what, void *ctx)
{
	struct speaker *s = ctx;

	(void)fd;
	(void)what;
	set_timer(s);
	if (s->asked)
		reconcile(s, false);
	if (s->bird)
		bird_ask(s->bird);
}

int speaker_want(struct speaker *s, const struct announcement *a, size_t n)
{
	struct announcement *copy = calloc(n + 1, sizeof(*copy));
	int err;

	if (!copy)
		return -ENOMEM;
	if (n)
		memcpy(copy, a, n * sizeof(*copy));
	free(s->want);
	s->want = copy;
	s->n_want = announcements_sort(copy, n);
	s->asked = true;
	err = reconcile(s, true);
	s->delay_ms = FIRST_LOOK_MS;
	set_timer(s);
	return err;
}

void speaker_on_status(struct speaker *s, void (*status)(void *ctx, const struct speaker_status *st), void *ctx)
{
	s->on_status = status;
	s->ctx = ctx;
}

const struct speaker_status *speaker_status(const struct speaker *s)
{
	return &s->status;
}

int speaker_new(struct event_base *base, const struct pop *pop, const struct switch_conf *sw, struct speaker **out)
{
	struct speaker *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return -ENOMEM;
	memcpy(s->socket, sw->bird_socket, sizeof(s->socket));
	s->delay_ms = POLL_MS;
	s->timer = evtimer_new(base, on_timer, s);
	err = s->timer ? routes_open(pop->route_table, pop->route_protocol, &s->routes) : -ENOMEM;
	if (!err && s->socket[0])
		err = bird_new(base, s->socket, on_report, s, &s->bird);
	if (err) {
		speaker_free(s, false);
		return err;
	}
	snprintf(s->status.why, sizeof(s->status.why), "nothing was asked for yet");
	set_timer(s);
	*out = s;
	return 0;
}

void speaker_free(struct speaker *s, bool withdraw)
{
	size_t n;
	int err;

	if (!s)
		return;
	if (withdraw && s->routes) {
		err = routes_reconcile(s->routes, NULL, 0, &n);
		if (err)
			log_error("announcement routes could not be withdrawn: %s", strerror(-err));
	}
	bird_free(s->bird);
	routes_close(s->routes);
	if (s->timer)
		event_free(s->timer);
	free(s->want);
	free(s);
}
