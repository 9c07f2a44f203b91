/* SPDX-License-Identifier: BSD-2-Clause */
/* A stream of HTTP/2 as its client makes it: the head, the body and its trailers, and the client's deadlines. */
#include <stdlib.h>
#include <string.h>

#include "l7/access.h"
#include "l7/http/h2_inside.h"
#include "l7/http/trailer.h"

void h2_stream_gone(struct h2_stream *s)
{
	struct exchange *x = s->x;

	nghttp2_session_set_stream_user_data(s->c->h2->session, s->id, NULL);
	s->x = NULL;
	if (x)
		exchange_abort(x, "the client gave up the stream");
	timer_stop(&s->timer);
	link_out(&s->link);
	s->c->h2->n_streams--;
	buffer_free(&s->body);
	buffer_free(&s->own);
	buffer_free(&s->trailer);
	free(s);
}

/* --- slow clients: a stream that waits for its client has a deadline, whatever the others do ------------------------ */
void h2_stream_watch(struct h2_stream *s, bool progress)
{
	struct client *c = s->c;
	bool window = s->blocked && !c->s.writing, body = s->x && !s->body_ended && !buffer_len(&s->body) && exchange_ready(s->x);

	if (s->answered)
		return; /* its timer is another */
	if (!window && !body && !s->own.data)
		timer_stop(&s->timer);
	else if (progress || !s->timer.link.next)
		timer_set(c->s.w, &s->timer, worker_ms(c->s.w) + c->edge->conf->body_ms);
}

static void stream_late(struct timer *t)
{
	struct h2_stream *s = LINK_OF(t, struct h2_stream, timer);
	struct client *c = s->c;
	struct exchange *x = s->x;

	if (s->answered) {
		s->cut = true;
		nghttp2_submit_rst_stream(c->h2->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_NO_ERROR);
		h2_go_on(c);
		return;
	}
	if (!s->head_done) { /* HPACK's state is in the middle of it: nothing else can be read */
		stats_inc(c->s.w->stats.timeouts_head);
		nghttp2_session_terminate_session(c->h2->session, NGHTTP2_NO_ERROR);
		h2_go_on(c);
		client_linger(c);
		return;
	}
	stats_inc(c->s.w->stats.timeouts_body);
	s->x = NULL;
	if (x)
		exchange_abort(x, s->blocked ? "the client's window stayed shut" : "the client's body did not come");
	if (s->answer_begun) {
		s->cut = true;
		nghttp2_submit_rst_stream(c->h2->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_CANCEL);
	} else {
		h2_own_answer(s, 408);
	}
	h2_go_on(c);
}

struct h2_stream *h2_stream_new(struct client *c, int32_t id)
{
	struct h2_stream *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->c = c;
	s->id = id;
	s->timer.fire = stream_late;
	s->begun_ns = worker_ns(c->s.w);
	timer_set(c->s.w, &s->timer, worker_ms(c->s.w) + c->edge->conf->head_ms);
	link_before(&c->h2->streams, &s->link);
	c->h2->n_streams++;
	return s;
}

/* --- the request ------------------------------------------------------------------------------------------------- */
/* One of the request's, behind its body.  Of those that cannot be sent on the rest is dropped. */
void h2_stream_trailer(struct h2_stream *s, const char *value, size_t n_value, const char *name, size_t n_name, bool too_long)
{
	if (s->x && !too_long && trailer_passed(name, n_name))
		h1_put_field(&s->x->request_trailer, name, n_name, value, n_value, CHUNKED_TRAILER_MAX);
}

/* --- the request's body ------------------------------------------------------------------------------------------ */
void h2_push_body(struct h2_stream *s, bool progress)
{
	while (s->x && !s->x->request_done) {
		size_t n = buffer_len(&s->body), took;

		if (!n && !s->body_ended)
			break;
		took = exchange_body(s->x, n ? buffer_head(&s->body) : (const uint8_t *)"", n, s->body_ended);
		if (took) {
			buffer_consume(&s->body, took);
			nghttp2_session_consume(s->c->h2->session, s->id, took);
		}
		if (took < n || !n)
			break;
	}
	h2_stream_watch(s, progress);
}

static void refuse(struct client *c, struct h2_stream *s, unsigned status)
{
	stats_inc(c->s.w->stats.refused);
	stats_inc(c->s.w->stats.answers[status / 100]);
	access_log_refused(c->s.w, c, status, status == 404 ? "no route" : "malformed");
	h2_own_answer(s, status);
}

void h2_stream_begin(struct client *c, struct h2_stream *s, bool ended)
{
	struct worker *w = c->s.w;
	struct exchange_request r = { .front = &h2_front, .client = s, .owner = c, .stream = s->id, .secure = c->secure,
				      .body = !ended, .peer = (const void *)&c->peer };
	struct request_head swap = w->head;
	unsigned status = (unsigned)c->h2->head_status;

	s->head_done = true;
	s->body_ended = ended;
	timer_stop(&s->timer);
	c->requests++;
	h2_guard_useful(&c->h2->guard);
	if (!status)
		status = (unsigned)head_finish(&c->h2->head, 20);
	s->head_only = c->h2->head.method == METHOD_HEAD;
	s->expect = !status && c->h2->head.known[KNOWN_EXPECT];
	if (s->expect && !head_has_token(&c->h2->head, KNOWN_EXPECT, "100-continue"))
		status = 417;
	w->head = c->h2->head;
	if (!client_renew(c))
		h2_drain(c); /* its edge is no more */
	r.edge = c->edge;
	r.snapshot = c->snapshot;
	if (!status)
		status = exchange_new(w, &r, &s->x);
	c->h2->head = w->head;
	w->head = swap;
	if (status) {
		s->x = NULL;
		refuse(c, s, status);
		return;
	}
	stats_observe(&w->stats, PHASE_HEAD, s->x->begun_ns - s->begun_ns);
	if (ended)
		s->x->request_done = true;
	exchange_start(s->x);
}
