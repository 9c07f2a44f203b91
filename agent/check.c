/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * All checks of this host: when each is due, what its results amount to, and what the services that
 * depend on it are worth.
 */
#include "agent/check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>


bool check_step(struct check_state *s, bool ok, uint16_t rise, uint16_t fall)
{
	enum check_verdict says = ok ? CHECK_PASSED : CHECK_FAILED;
	uint16_t enough = ok ? rise : fall;

	if (s->verdict == says) {
		s->against = 0;
		return false;
	}
	s->against++;
	if (s->verdict != CHECK_UNDECIDED && s->against < enough)
		return false;
	s->verdict = says;
	s->against = 0;
	return true;
}

/* One check on one address. */
struct probe {
	struct checks *all;
	uint32_t vip; /* position in pop->vip */
	struct check check;
	struct check_target target;
	char vip_name[NAME_LEN];
	struct check_state state;
	char why[CHECK_WHY_LEN];
	struct event *due;
	struct check_run *run;
	struct timeval started;
};

struct checks {
	struct event_base *base;
	void (*changed)(void *ctx);
	void *ctx;
	struct probe **probe;
	size_t n;
};

struct checks *checks_new(struct event_base *base, void (*changed)(void *ctx), void *ctx)
{
	struct checks *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->base = base;
	c->changed = changed;
	c->ctx = ctx;
	return c;
}

static void probe_free(struct probe *p)
{
	if (!p)
		return;
	if (p->run)
		check_run_cancel(p->run);
	if (p->due)
		event_free(p->due);
	free(p);
}

void checks_free(struct checks *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->n; i++)
		probe_free(c->probe[i]);
	free(c->probe);
	free(c);
}

static void describe(const struct probe *p, const char *why, char *out, size_t len)
{
	static const char *const kind[] = { [CHECK_TCP] = "tcp", [CHECK_HTTP] = "http", [CHECK_HTTPS] = "https" };
	char text[ADDRESS_TEXT];

	if (p->check.kind == CHECK_SCRIPT)
		snprintf(out, len, "script %.100s: %.140s", p->check.path, why);
	else
		snprintf(out, len, "%s check of %s port %u%s%.80s: %.120s", kind[p->check.kind],
			 address_print(&p->target.address, text), p->check.port, p->check.kind == CHECK_TCP ? "" : " ",
			 p->check.kind == CHECK_TCP ? "" : p->check.path, why);
}

static void wait_until_due(struct probe *p)
{
	struct timeval now, elapsed, tv = { 0, 0 };
	int64_t left;

	event_base_gettimeofday_cached(p->all->base, &now);
	evutil_timersub(&now, &p->started, &elapsed);
	left = (int64_t)p->check.interval_ms * 1000 - ((int64_t)elapsed.tv_sec * 1000000 + elapsed.tv_usec);
	if (left > (int64_t)p->check.interval_ms * 1000)
		left = (int64_t)p->check.interval_ms * 1000; /* the clock was set back */
	if (left > 0) {
		tv.tv_sec = left / 1000000;
		tv.tv_usec = left % 1000000;
	}
	evtimer_add(p->due, &tv);
}

static void probe_done(void *ctx, bool ok, const char *why)
{
	struct probe *p = ctx;
	char text[CHECK_WHY_LEN];
	bool turned, news;

	p->run = NULL;
	turned = check_step(&p->state, ok, p->check.rise, p->check.fall);
	text[0] = 0;
	if (!ok)
		describe(p, why, text, sizeof(text));
	/* While a verdict stands against the last result, its reason stands too. */
	news = p->state.verdict == (ok ? CHECK_PASSED : CHECK_FAILED) && strcmp(text, p->why);
	if (news)
		memcpy(p->why, text, sizeof(p->why));
	wait_until_due(p);
	if (turned || news)
		p->all->changed(p->all->ctx);
}

static void probe_start(evutil_socket_t fd, short what, void *ctx)
{
	struct probe *p = ctx;

	(void)fd;
	(void)what;
	event_base_gettimeofday_cached(p->all->base, &p->started);
	p->run = (p->check.kind == CHECK_SCRIPT ? check_run_script : check_run_tcp)(p->all->base, &p->check, &p->target,
										      probe_done, p);
	if (!p->run)
		probe_done(p, false, "out of memory");
}

static bool same(const struct probe *a, const struct probe *b)
{
	const struct check *x = &a->check, *y = &b->check;

	return !strcmp(a->vip_name, b->vip_name) && x->kind == y->kind && x->port == y->port &&
	       !strcmp(x->path, y->path) && !strcmp(x->host, y->host) && x->expect == y->expect &&
	       x->interval_ms == y->interval_ms && x->timeout_ms == y->timeout_ms && x->rise == y->rise &&
	       x->fall == y->fall &&
	       (x->kind == CHECK_SCRIPT || address_equal(&a->target.address, &b->target.address));
}

static struct probe *probe_new(struct checks *c, const struct pop *pop, uint32_t vip, const struct check *check,
			       const struct address *a)
{
	struct probe *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->all = c;
	p->vip = vip;
	p->check = *check;
	snprintf(p->vip_name, sizeof(p->vip_name), "%s", pop->vip[vip].name);
	p->target = (struct check_target){ .vip = p->vip_name, .conf = &pop->vip[vip] };
	if (a)
		p->target.address = *a;
	p->due = evtimer_new(c->base, probe_start, p);
	if (!p->due) {
		free(p);
		return NULL;
	}
	return p;
}

/* Takes over the running probe that is the same, if there is one; else starts the new one. */
static struct probe *adopt(struct checks *c, struct probe *fresh, size_t serial)
{
	struct timeval soon = { 0, (suseconds_t)(serial % 50) * 1000 }; /* not all in one instant */

	for (size_t i = 0; i < c->n; i++) {
		struct probe *old = c->probe[i];

		if (!old || !same(old, fresh))
			continue;
		old->vip = fresh->vip;
		old->target.conf = fresh->target.conf;
		c->probe[i] = NULL;
		probe_free(fresh);
		return old;
	}
	evtimer_add(fresh->due, &soon);
	return fresh;
}

int checks_set(struct checks *c, const struct pop *pop)
{
	struct probe **list;
	size_t room = 0, n = 0;

	for (uint32_t i = 0; i < pop->n_vips; i++)
		room += (size_t)pop->vip[i].n_checks * (pop->vip[i].n_addresses ? pop->vip[i].n_addresses : 1);
	list = calloc(room ? room : 1, sizeof(struct probe *));
	if (!list)
		return -ENOMEM;
	for (uint32_t i = 0; i < pop->n_vips; i++) {
		const struct vip *vip = &pop->vip[i];

		for (uint32_t j = 0; j < vip->n_checks; j++) {
			bool script = vip->check[j].kind == CHECK_SCRIPT;

			for (uint32_t k = 0; k < (script ? 1 : vip->n_addresses); k++) {
				struct probe *p = probe_new(c, pop, i, &vip->check[j], script ? NULL : &vip->address[k]);

				if (p) {
					list[n] = adopt(c, p, n);
					n++;
				}
			}
		}
	}
	for (size_t i = 0; i < c->n; i++)
		probe_free(c->probe[i]);
	free(c->probe);
	c->probe = list;
	c->n = n;
	return 0;
}

enum check_verdict checks_service(const struct checks *c, uint32_t vip, char *why, size_t why_len)
{
	enum check_verdict worst = CHECK_PASSED; /* a VIP without checks is served by whoever is alive */

	why[0] = 0;
	for (size_t i = 0; i < c->n; i++) {
		const struct probe *p = c->probe[i];

		if (p->vip != vip || p->state.verdict == CHECK_PASSED)
			continue;
		if (p->state.verdict == CHECK_FAILED) {
			snprintf(why, why_len, "%s", p->why);
			return CHECK_FAILED;
		}
		worst = CHECK_UNDECIDED;
		describe(p, "not run yet", why, why_len);
	}
	return worst;
}

bool checks_decided(const struct checks *c)
{
	for (size_t i = 0; i < c->n; i++)
		if (c->probe[i]->state.verdict == CHECK_UNDECIDED)
			return false;
	return true;
}
