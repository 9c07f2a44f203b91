/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The client of bird.h.  One round: `show protocols`, then `show route export` for each BGP session
 * that is up and for each kernel protocol that is not ours.  The connection stays for the next round.
 */
#include "bgp/bird.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

enum step {
	STEP_CLOSED,
	STEP_GREETING,	/* connecting; BIRD speaks first: 0001 BIRD 2.0.12 ready. */
	STEP_RESTRICT,	/* 0016 Access restricted */
	STEP_IDLE,	/* between rounds */
	STEP_PROTOCOLS, /* show protocols */
	STEP_EXPORT,	/* show route export, for report.export[at] */
};

struct bird {
	struct event_base *base;
	struct bufferevent *bev;
	struct event *deadline;
	char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	void (*done)(void *ctx, const struct bird_report *r);
	void *ctx;
	enum step step;
	bool round, again;
	size_t at;
	struct bird_decoder decoder;
	struct bird_report report;
};

static void report_clear(struct bird *b)
{
	size_t i;

	for (i = 0; i < b->report.n_export; i++)
		bird_routes_free(&b->report.export[i].routes);
	free(b->report.export);
	memset(&b->report, 0, sizeof(b->report));
}

static void close_bird(struct bird *b)
{
	if (b->bev)
		bufferevent_free(b->bev);
	b->bev = NULL;
	b->step = STEP_CLOSED;
}

static void round_ends(struct bird *b)
{
	bool again = b->again;

	event_del(b->deadline);
	b->round = b->again = false;
	b->done(b->ctx, &b->report);
	report_clear(b);
	/* Not after a failure: the caller's timer decides when to try again. */
	if (again && b->step == STEP_IDLE)
		bird_ask(b);
}

static void fail(struct bird *b, const char *why)
{
	close_bird(b);
	report_clear(b);
	snprintf(b->report.why, sizeof(b->report.why), "%s", why);
	round_ends(b);
}

static void say(struct bird *b, enum step step, const char *command)
{
	b->step = step;
	evbuffer_add_printf(bufferevent_get_output(b->bev), "%s\n", command);
}

static void ask_export(struct bird *b)
{
	char command[256];

	if (b->at == b->report.n_export) {
		b->step = STEP_IDLE;
		round_ends(b);
		return;
	}
	snprintf(command, sizeof(command), "show route export '%s' where proto = \"baton4\" || proto = \"baton6\" all",
		 b->report.export[b->at].name);
	say(b, STEP_EXPORT, command);
}

static int choose_exports(struct bird *b)
{
	const struct bird_protocols *p = &b->report.protocols;
	size_t i;

	b->at = 0;
	b->report.export = calloc(p->n + 1, sizeof(*b->report.export));
	if (!b->report.export)
		return -ENOMEM;
	for (i = 0; i < p->n; i++) {
		const struct bird_protocol *from = &p->protocol[i];
		struct bird_export *to = &b->report.export[b->report.n_export];

		if (!from->up || from->kind == BIRD_PIPE || !strcmp(from->name, "baton4") || !strcmp(from->name, "baton6"))
			continue;
		memcpy(to->name, from->name, sizeof(to->name));
		to->kind = from->kind;
		b->report.n_export++;
	}
	return 0;
}

/* The end of a reply: what to say next. */
static int reply_ends(struct bird *b, const struct bird_line *l)
{
	switch (b->step) {
	case STEP_GREETING:
		if (l->code != 1)
			return -EPROTO;
		say(b, STEP_RESTRICT, "restrict");
		return 0;
	case STEP_RESTRICT:
		if (l->code != 16)
			return -EPROTO;
		say(b, STEP_PROTOCOLS, "show protocols");
		return 0;
	case STEP_PROTOCOLS:
		if (l->code != 0 || choose_exports(b))
			return -EPROTO;
		ask_export(b);
		return 0;
	case STEP_EXPORT:
		/* A session that has just gone down or away has no tables (9xxx): it exports nothing. */
		b->at++;
		ask_export(b);
		return 0;
	case STEP_IDLE:
	case STEP_CLOSED: break;
	}
	return -EPROTO;
}

static int on_line(void *ctx, const struct bird_line *l)
{
	struct bird *b = ctx;

	if (l->last)
		return reply_ends(b, l);
	if (b->step == STEP_PROTOCOLS)
		bird_protocols_line(&b->report.protocols, l);
	else if (b->step == STEP_EXPORT)
		return bird_routes_line(&b->report.export[b->at].routes, l);
	return 0;
}

static void on_read(struct bufferevent *bev, void *ctx)
{
	struct bird *b = ctx;
	char data[4096];
	size_t len;
	int err;

	while (b->bev == bev && (len = bufferevent_read(bev, data, sizeof(data))) > 0) {
		err = bird_decode(&b->decoder, data, len, on_line, b);
		if (err)
			fail(b, err == -ENOMEM ? "no memory" : "what answers is not BIRD, or a BIRD that Baton does not know");
	}
}

static void on_event(struct bufferevent *bev, short what, void *ctx)
{
	struct bird *b = ctx;
	int err = errno;

	(void)bev;
	if (what & BEV_EVENT_CONNECTED)
		return;
	fail(b, what & BEV_EVENT_EOF ? "it closed the connection" : strerror(err ? err : ECONNREFUSED));
}

static void on_deadline(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	fail(ctx, "no answer within 2 s");
}

static void connect_bird(struct bird *b)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };

	bird_decoder_init(&b->decoder);
	b->bev = bufferevent_socket_new(b->base, -1, BEV_OPT_CLOSE_ON_FREE);
	if (!b->bev) {
		fail(b, "no memory");
		return;
	}
	memcpy(to.sun_path, b->path, sizeof(to.sun_path));
	bufferevent_setcb(b->bev, on_read, NULL, on_event, b);
	bufferevent_enable(b->bev, EV_READ | EV_WRITE);
	b->step = STEP_GREETING;
	/* A refusal is told through on_event, which closes. */
	bufferevent_socket_connect(b->bev, (struct sockaddr *)&to, sizeof(to));
}

void bird_ask(struct bird *b)
{
	static const struct timeval limit = { BIRD_TIMEOUT_MS / 1000, BIRD_TIMEOUT_MS % 1000 * 1000 };

	if (b->round) {
		b->again = true;
		return;
	}
	b->round = true;
	evtimer_add(b->deadline, &limit);
	if (b->step == STEP_IDLE)
		say(b, STEP_PROTOCOLS, "show protocols");
	else
		connect_bird(b);
}

int bird_new(struct event_base *base, const char *socket, void (*done)(void *ctx, const struct bird_report *r),
	     void *ctx, struct bird **out)
{
	struct bird *b;

	if (strlen(socket) >= sizeof(b->path))
		return -ENAMETOOLONG;
	b = calloc(1, sizeof(*b));
	if (!b)
		return -ENOMEM;
	b->base = base;
	b->done = done;
	b->ctx = ctx;
	memcpy(b->path, socket, strlen(socket));
	b->deadline = evtimer_new(base, on_deadline, b);
	if (!b->deadline) {
		free(b);
		return -ENOMEM;
	}
	*out = b;
	return 0;
}

void bird_free(struct bird *b)
{
	if (!b)
		return;
	close_bird(b);
	report_clear(b);
	event_free(b->deadline);
	free(b);
}
