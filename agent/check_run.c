/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/check_run.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static void end(struct check_run *r, bool ok)
{
	check_done *done = r->done;
	void *ctx = r->ctx;
	char why[CHECK_WHY_LEN];

	snprintf(why, sizeof(why), "%s", ok ? "" : r->why);
	check_run_cancel(r);
	done(ctx, ok, why);
}

static void timer_fired(evutil_socket_t fd, short what, void *ctx)
{
	struct check_run *r = ctx;

	(void)fd;
	(void)what;
	if (r->failing)
		end(r, false);
	else
		r->timed_out(r);
}

int check_run_init(struct check_run *r, struct event_base *base, const struct check *c, check_done *done, void *ctx,
		   void (*timed_out)(struct check_run *), void (*cleanup)(struct check_run *))
{
	struct timeval tv = { .tv_sec = c->timeout_ms / 1000, .tv_usec = (suseconds_t)(c->timeout_ms % 1000) * 1000 };

	r->check = *c;
	r->done = done;
	r->ctx = ctx;
	r->timed_out = timed_out;
	r->cleanup = cleanup;
	r->timer = evtimer_new(base, timer_fired, r);
	if (!r->timer || evtimer_add(r->timer, &tv)) {
		if (r->timer)
			event_free(r->timer);
		return -ENOMEM;
	}
	return 0;
}

void check_run_cancel(struct check_run *r)
{
	if (!r)
		return;
	event_free(r->timer);
	r->cleanup(r);
	free(r);
}

void check_run_pass(struct check_run *r)
{
	end(r, true);
}

void check_run_fail(struct check_run *r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->why, sizeof(r->why), fmt, ap);
	va_end(ap);
	end(r, false);
}

void check_run_fail_soon(struct check_run *r, const char *fmt, ...)
{
	struct timeval now = { 0, 0 };
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->why, sizeof(r->why), fmt, ap);
	va_end(ap);
	r->failing = true;
	evtimer_add(r->timer, &now);
}
