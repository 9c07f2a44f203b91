/* SPDX-License-Identifier: BSD-2-Clause */
/* The comparison of verify.h. */
#include "bgp/verify.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "bgp/announce.h"

#define FRAGMENT "/usr/share/baton/baton.conf"

/* The protocols of the fragment, deploy/bird/baton.conf. */
static const char *const fragment[] = { "baton4", "baton6", "baton_pipe4", "baton_pipe6" };
#define N_FRAGMENT (sizeof(fragment) / sizeof(fragment[0]))

/* Only the first fault is told: what follows is mostly its consequence. */
__attribute__((format(printf, 2, 3))) static void complain(struct speaker_status *st, const char *fmt, ...)
{
	va_list ap;

	if (st->why[0])
		return;
	va_start(ap, fmt);
	vsnprintf(st->why, sizeof(st->why), fmt, ap);
	va_end(ap);
}

static const char *text(const struct address *a, char buf[INET6_ADDRSTRLEN])
{
	return inet_ntop(a->family, &a->v6, buf, INET6_ADDRSTRLEN);
}

static void look_at_fragment(const struct bird_report *r, struct speaker_status *st)
{
	size_t i, there = 0, up = 0;

	for (i = 0; i < N_FRAGMENT; i++) {
		const struct bird_protocol *p = bird_protocol(&r->protocols, fragment[i]);

		if (!p)
			continue;
		there++;
		if (p->up)
			up++;
		else
			complain(st, "BIRD's protocol %s is %s; run: birdc enable %s", p->name, p->state, p->name);
	}
	st->fragment_included = there == N_FRAGMENT && up == N_FRAGMENT;
	if (there < N_FRAGMENT)
		complain(st, "BIRD runs without Baton's fragment; add  include \"%s\";  to bird.conf and run: birdc configure",
			 FRAGMENT);
}

static void look_at_sessions(const struct bird_report *r, struct speaker_status *st)
{
	const struct bird_protocol *down = NULL;
	size_t i;

	for (i = 0; i < r->protocols.n; i++) {
		const struct bird_protocol *p = &r->protocols.protocol[i];

		if (p->kind != BIRD_BGP)
			continue;
		st->sessions++;
		if (p->up)
			st->sessions_up++;
		else if (!down)
			down = p;
	}
	if (!st->sessions)
		complain(st, "BIRD has no BGP session");
	else if (down)
		complain(st, "%u of %u BGP sessions up; %s is %s", st->sessions_up, st->sessions, down->name, down->state);
}

/* One exported route against what is wanted of it.  True if it is as it should be. */
static bool export_fits(const struct announcement *w, const struct bird_export *e, const struct bird_route *route,
			struct speaker_status *st)
{
	char buf[INET6_ADDRSTRLEN];

	if (!w || w->how == ANNOUNCE_NO) {
		complain(st, "session %s still exports %s, which is withdrawn", e->name, text(&route->prefix, buf));
		return false;
	}
	if (w->how == ANNOUNCE_KEEP || route->graceful_shutdown == (w->how == ANNOUNCE_GRACEFUL_SHUTDOWN))
		return true;
	complain(st,
		 w->how == ANNOUNCE_NORMAL ? "session %s exports %s with GRACEFUL_SHUTDOWN although it is in service" :
					     "session %s exports %s without GRACEFUL_SHUTDOWN; its export filter must call "
					     "baton_announce()",
		 e->name, text(&route->prefix, buf));
	return false;
}

static bool exported_by_any(const struct bird_report *r, const struct announcement *w)
{
	size_t i, j;

	for (i = 0; i < r->n_export; i++) {
		const struct bird_routes *of = &r->export[i].routes;

		if (r->export[i].kind != BIRD_BGP)
			continue;
		for (j = 0; j < of->n; j++)
			if (announcement_find(w, 1, &of->route[j].prefix))
				return true;
	}
	return false;
}

static void look_at_exports(const struct announcement *want, size_t n, const struct bird_report *r,
			    struct speaker_status *st)
{
	char buf[INET6_ADDRSTRLEN];
	size_t i, j;

	st->exported = true;
	for (i = 0; i < r->n_export; i++) {
		const struct bird_export *e = &r->export[i];

		/* In the kernel's own table our blackholes could win over the fabric's routes. */
		if (e->kind == BIRD_KERNEL && e->routes.n) {
			complain(st, "BIRD's protocol %s exports Baton's routes to the kernel; exclude them there: "
				     "export where !baton_ours();", e->name);
			continue;
		}
		for (j = 0; e->kind == BIRD_BGP && j < e->routes.n; j++)
			if (!export_fits(announcement_find(want, n, &e->routes.route[j].prefix), e, &e->routes.route[j], st))
				st->exported = false;
	}
	for (i = 0; i < n; i++) {
		if (want[i].how == ANNOUNCE_NO || want[i].how == ANNOUNCE_KEEP || exported_by_any(r, &want[i]))
			continue;
		st->exported = false;
		complain(st, "no BGP session exports %s; its export filter must call baton_announce()",
			 text(&want[i].prefix, buf));
	}
}

void verify_bird(const struct announcement *want, size_t n, const struct bird_report *r, const char *socket,
		 struct speaker_status *st)
{
	bool in_kernel = st->in_kernel;

	memset(st, 0, sizeof(*st));
	st->in_kernel = in_kernel;
	if (r->why[0]) {
		complain(st, "BIRD cannot be asked on %s: %s", socket, r->why);
		return;
	}
	st->bird_reached = true;
	look_at_fragment(r, st);
	look_at_sessions(r, st);
	look_at_exports(want, n, r, st);
	if (r->protocols.overflow)
		complain(st, "BIRD has more than %d protocols; the rest was not looked at", BIRD_PROTOCOLS_MAX);
}
