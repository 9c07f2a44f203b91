/* SPDX-License-Identifier: BSD-2-Clause */
/* Answers of one's own object server, without a connection (l7/object/object_own.h). */
#include "l7/object/object_own.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <time.h>
#include <unistd.h>

#include "l7/client.h"
#include "l7/exchange.h"
#include "l7/object/object_server.h"

#define HEAD_MAX 65536
#define BLOCK 65536
#define SENDFILE_MIN 16384 /* below it a copy leaves with the head, in one packet train */
#define SHARE (1u << 20)   /* bytes before others have their turn */

struct object_own {
	struct object_here *here; /* the server outlives its workers */
	struct object_kept *file; /* NULL: no body */
	uint64_t at;
};

bool object_own_is(const struct exchange *x, uint16_t host, uint16_t port)
{
	const struct object_here *here = x->w->objects;

	return here && here->host == host && here->store->conf.port == port;
}

void object_own_free(struct object_own *o)
{
	if (!o)
		return;
	object_cache_let_go(o->file);
	free(o);
}

enum given { GIVEN_ALL, GIVEN_SOME, GIVEN_TURN, GIVEN_CUT };

static void gave(struct exchange *x, size_t n)
{
	x->own->at += n;
	x->answer_left -= n;
	x->bytes_out += n;
	stats_add(x->w->stats.bytes_out, n);
	x->own->here->stats->bytes_out += n;
}

/* By the kernel alone, where nothing is between the file and the client's socket. */
static enum given send_file(struct exchange *x, int to, size_t *share)
{
	while (x->answer_left) {
		size_t ask = x->answer_left < *share ? (size_t)x->answer_left : *share;
		off_t at = (off_t)x->own->at;
		ssize_t n;

		if (!ask)
			return GIVEN_TURN;
		n = sendfile(to, x->own->file->fd, &at, ask);
		if (!n)
			return GIVEN_CUT;
		if (n < 0) {
			x->front->blocked(x, errno == EAGAIN || errno == EINTR ? 0 : errno);
			return GIVEN_SOME;
		}
		x->owner->s.sent += (uint64_t)n;
		if (x->owner->s.ktls)
			stats_add(x->w->stats.ktls_bytes, n);
		*share -= (size_t)n;
		gave(x, (size_t)n);
	}
	return GIVEN_ALL;
}

static enum given give(struct exchange *x)
{
	/* (Frames of HTTP/2 take turns by themselves.) */
	size_t share = x->version == 20 ? SIZE_MAX : SHARE;
	uint8_t block[BLOCK];

	while (x->answer_left) {
		size_t ask = x->answer_left < sizeof(block) ? (size_t)x->answer_left : sizeof(block), took;
		int to = x->answer_left >= SENDFILE_MIN ? x->front->splice_to(x) : -1;
		ssize_t n;

		if (to >= 0)
			return send_file(x, to, &share);
		if (!share)
			return GIVEN_TURN;
		n = pread(x->own->file->fd, block, ask, (off_t)x->own->at);
		if (n <= 0)
			return GIVEN_CUT;
		took = x->front->body(x, block, (size_t)n);
		gave(x, took);
		if (took < (size_t)n)
			return GIVEN_SOME;
		share -= share < took ? share : took;
	}
	return GIVEN_ALL;
}

void object_own_room(struct exchange *x)
{
	switch (give(x)) {
	case GIVEN_ALL:
		exchange_complete(x, false);
		break;
	case GIVEN_SOME:
		break;
	case GIVEN_TURN:
		x->front->blocked(x, 0);
		break;
	case GIVEN_CUT: /* the length that was promised cannot be kept */
		exchange_cut(x, "the file became shorter");
		break;
	}
}

/* False: several ranges. */
static bool look(struct exchange *x, struct object_own *o, struct object_plan *plan)
{
	const struct object_store *store = x->w->objects->store;
	struct request_head *h = &x->w->head;
	struct object_facts facts = { 0 };
	char name[OBJECT_NAME_MAX];
	time_t now = time(NULL);
	bool keep;
	int status = h1_request(h, HEAD_MAX, (const uint8_t *)x->head, x->head_len, &keep), err;

	if (!status)
		status = object_name(h, name);
	if (!status) {
		err = object_here_look(x->w->objects, name, &facts, &o->file);
		status = err ? object_status(err) : 0;
	}
	if (status) {
		object_refuse(plan, (uint16_t)status, now);
		return true;
	}
	object_plan(&store->conf, h, &facts, now, store->salt, plan);
	if (plan->n_ranges > 1)
		return false;
	o->at = plan->n_ranges ? plan->range[0].first : 0;
	return true;
}

static size_t print(const struct object_plan *plan, char *text, size_t room)
{
	return (size_t)snprintf(text, room, "HTTP/1.1 %u %s\r\n%s\r\n", plan->status, http_reason(plan->status), plan->fields);
}

bool object_own_take(struct exchange *x, struct object_plan *plan)
{
	struct object_own *o;

	if ((x->method != METHOD_GET && x->method != METHOD_HEAD) || x->request_body != BODY_NONE || !x->request_done || x->upgrade)
		return false;
	o = malloc(sizeof(*o));
	if (!o)
		return false;
	*o = (struct object_own){ .here = x->w->objects };
	if (!look(x, o, plan)) {
		object_own_free(o);
		return false;
	}
	x->own = o;
	return true;
}

void object_own_answer(struct exchange *x, const struct object_plan *plan)
{
	struct object_stats *stats = x->w->objects->stats;
	char text[OBJECT_FIELDS_MAX + 64];
	const char *why;

	timer_stop(&x->timer); /* of its wait for room, if it had to */
	x->connected_ns = worker_ns(x->w);
	stats->requests++;
	stats->answers[plan->status / 100]++;
	/* As if it had come by a connection: what is passed on, and how, is the front's affair. */
	if (h1_answer(&x->w->answer, (uint8_t *)text, print(plan, text, sizeof(text)), &why)) {
		exchange_conn_failed(x, why, false, OUTCOME_SERVER_ERROR);
		return;
	}
	exchange_answered(x, &x->w->answer);
	if (plan->action != OBJECT_SEND || !x->own->file)
		x->answer_left = 0;
	object_own_room(x);
}
