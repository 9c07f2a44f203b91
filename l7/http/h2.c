/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * HTTP/2 on the client's side, by nghttp2.  Each stream is an exchange of its own, towards backends that speak
 * HTTP/1.1.  Flow control is end to end: a client's window opens as its body bytes are taken by the backend, and a
 * backend is read as its client's window allows (nghttp2 pulls from the backend's buffer: nothing piles up between).
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "l7/http/h2_inside.h"

#define STREAMS_MAX 128
#define CONNECTION_WINDOW (1 << 20)
#define GOAWAY_MS 1000 /* between the warning and the end of new streams, when the client answers no PING */

unsigned h2_active(const struct client *c)
{
	return c->h2->n_streams;
}

/* The connection ends: the client costs us more than it should. */
static void offence(struct client *c, enum h2_offence o)
{
	if (c->h2->offended)
		return;
	c->h2->offended = true;
	stats_inc(c->s.w->stats.h2_offences[o]);
	nghttp2_session_terminate_session(c->h2->session, NGHTTP2_ENHANCE_YOUR_CALM);
}

/* No new streams: those that were begun are finished. */
static void goaway(struct client *c)
{
	struct h2 *h = c->h2;

	if (h->told)
		return;
	h->told = true;
	timer_stop(&h->warned);
	nghttp2_submit_goaway(h->session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(h->session), NGHTTP2_NO_ERROR,
			      NULL, 0);
}

static int on_begin(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
	struct client *c = ctx;
	struct h2_stream *s;

	if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	s = h2_stream_new(c, frame->hd.stream_id);
	if (!s)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	nghttp2_session_set_stream_user_data(session, s->id, s);
	c->h2->head_status = 0;
	head_begin(&c->h2->head, c->edge->conf->head_max * 2);
	return 0;
}

static int on_field(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t n_name,
		    const uint8_t *value, size_t n_value, uint8_t flags, void *ctx)
{
	struct client *c = ctx;
	struct request_head *h = &c->h2->head;
	struct h2_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
	const char *v = (const char *)value;
	int status = 0, too_long;
	enum h2_offence o = h2_guard_field(&c->h2->guard, n_name + n_value, c->edge->conf->head_max, &too_long);

	(void)flags;
	if (o) {
		offence(c, o);
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	}
	if (frame->hd.type != NGHTTP2_HEADERS || !s)
		return 0;
	if (s->head_done) {
		h2_stream_trailer(s, v, n_value, (const char *)name, n_name, too_long);
		return 0;
	}
	if (too_long && !c->h2->head_status)
		c->h2->head_status = 431;
	if (c->h2->head_status)
		return 0;
	/* nghttp2 has checked pseudo-fields, their order, and that there are no connection fields (RFC 9113 8.2, 8.3). */
	if (n_name == 7 && !memcmp(name, ":method", 7))
		status = head_method(h, v, n_value);
	else if (n_name == 5 && !memcmp(name, ":path", 5))
		status = head_target(h, v, n_value);
	else if (n_name == 10 && !memcmp(name, ":authority", 10))
		status = head_authority(h, v, n_value);
	else if (n_name && name[0] != ':')
		status = head_field(h, (const char *)name, n_name, v, n_value);
	c->h2->head_status = status;
	return 0;
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *ctx)
{
	struct client *c = ctx;
	enum h2_offence o = h2_guard_frame(&c->h2->guard, hd->type, hd->type == NGHTTP2_HEADERS ? 0 : worker_ms(c->s.w));

	(void)session;
	if (o)
		offence(c, o);
	return 0;
}

/* The answer is whole and the client still sends its body: nobody reads it (RFC 9113 8.1).  Not at once: clients are known
 * that lose an answer behind which the stream is reset. */
static int on_sent(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
	struct h2_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
	struct client *c = ctx;

	/* Not together: nghttp2 sends a PING before a GOAWAY that was there first. */
	if (frame->hd.type == NGHTTP2_GOAWAY && c->h2->draining && !c->h2->told)
		nghttp2_submit_ping(session, NGHTTP2_FLAG_NONE, NULL);
	if (s && (frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS) && frame->hd.flags & NGHTTP2_FLAG_END_STREAM &&
	    !s->body_ended) {
		s->answered = true;
		timer_set(c->s.w, &s->timer, monotonic_ms() + LINGER_MS);
	}
	return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
	struct client *c = ctx;
	struct h2_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
	bool ended = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;

	if (frame->hd.type == NGHTTP2_PING && frame->hd.flags & NGHTTP2_FLAG_ACK && c->h2->draining)
		goaway(c); /* whatever was under way when we warned has come */
	if (!s)
		return 0;
	if (frame->hd.type == NGHTTP2_HEADERS && !s->head_done) {
		h2_stream_begin(c, s, ended);
	} else if ((frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) && ended) {
		s->body_ended = true;
		h2_push_body(s, true);
	}
	return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t n, void *ctx)
{
	struct h2_stream *s = nghttp2_session_get_stream_user_data(session, id);
	struct client *c = ctx;
	uint64_t max = c->edge->conf->body_max;

	(void)flags;
	if (n)
		h2_guard_useful(&c->h2->guard);
	if (!s || !s->x || s->cut) {
		nghttp2_session_consume(session, id, n); /* answered already: dropped */
		return 0;
	}
	s->body_seen += n;
	if (max && s->body_seen > max) {
		struct exchange *x = s->x;

		s->x = NULL;
		exchange_abort(x, "the body is larger than the edge allows");
		nghttp2_session_consume(session, id, n);
		if (s->answer_begun)
			nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
		else
			h2_own_answer(s, 413);
		return 0;
	}
	if (buffer_put(&s->body, p, n, 2 * STREAM_WINDOW))
		return NGHTTP2_ERR_CALLBACK_FAILURE; /* beyond its window: nghttp2 would have said so */
	h2_push_body(s, true);
	return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t error, void *ctx)
{
	struct h2_stream *s = nghttp2_session_get_stream_user_data(session, id);
	struct client *c = ctx;

	if (!s)
		return 0;
	if ((error || s->x) && !s->cut) {
		enum h2_offence o = h2_guard_reset(&c->h2->guard, monotonic_ms());

		if (o)
			offence(c, o);
	}
	nghttp2_session_set_stream_user_data(session, id, NULL);
	h2_stream_gone(s);
	return 0;
}

static nghttp2_session_callbacks *callbacks;
static nghttp2_option *option;

static void make_callbacks(void)
{
	if (nghttp2_session_callbacks_new(&callbacks) || nghttp2_option_new(&option))
		abort();
	nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_field);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
	nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, on_begin_frame);
	nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_sent);
	nghttp2_option_set_no_auto_window_update(option, 1);
	nghttp2_option_set_max_outbound_ack(option, 200);
}

/* --- the connection ---------------------------------------------------------------------------------------------- */
static void warned_long_enough(struct timer *t)
{
	struct h2 *h = LINK_OF(t, struct h2, warned);

	goaway(h->c);
	h2_go_on(h->c);
}

int h2_begin(struct client *c)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	const nghttp2_settings_entry settings[] = {
		{ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, STREAMS_MAX },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, c->edge->conf->head_max },
	};
	struct h2 *h = calloc(1, sizeof(*h));

	pthread_once(&once, make_callbacks);
	if (!h)
		return -ENOMEM;
	ring_init(&h->streams);
	if (nghttp2_session_server_new2(&h->session, callbacks, c, option)) {
		free(h);
		return -ENOMEM;
	}
	c->h2 = h;
	h->c = c;
	h->warned.fire = warned_long_enough;
	c->s.read_size = 16384;
	nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, settings, 3);
	nghttp2_session_set_local_window_size(h->session, NGHTTP2_FLAG_NONE, 0, CONNECTION_WINDOW);
	client_wait(c, WAIT_IDLE);
	h2_send(c);
	return 0;
}

void h2_input(struct client *c)
{
	struct h2 *h = c->h2;
	struct buffer *in = &c->s.in;

	if (c->s.error) {
		client_close(c);
		return;
	}
	while (in->data && !c->s.error) {
		ssize_t n;

		h->in_session = true;
		n = nghttp2_session_mem_recv(h->session, buffer_head(in), buffer_len(in));
		h->in_session = false;
		if (n < 0) {
			stats_inc(c->s.w->stats.h2_offences[H2_PROTOCOL]);
			h2_send(c); /* a GOAWAY says why */
			while (!ring_empty(&h->streams))
				h2_stream_gone(LINK_OF(h->streams.next, struct h2_stream, link));
			client_linger(c);
			return;
		}
		buffer_consume(in, (size_t)n);
		stream_reopen(&c->s);
	}
	stream_read(&c->s, true);
	if (c->s.eof) {
		client_close(c);
		return;
	}
	h2_go_on(c);
}

void h2_room(struct client *c)
{
	h2_go_on(c);
}

void h2_gone(struct client *c)
{
	struct h2 *h = c->h2;

	while (!ring_empty(&h->streams))
		h2_stream_gone(LINK_OF(h->streams.next, struct h2_stream, link));
	timer_stop(&h->warned);
	nghttp2_session_del(h->session);
	buffer_free(&h->plain);
	head_free(&h->head);
	free(h);
	c->h2 = NULL;
}

/*
 * Streams that were begun are finished; the client is told to begin others elsewhere.  In two steps (RFC 9113 6.8): what it
 * sends before it has read the first GOAWAY is still served; the answer to our PING tells when that is over.
 */
void h2_drain(struct client *c)
{
	struct h2 *h = c->h2;

	if (h->draining)
		return;
	h->draining = true;
	nghttp2_submit_shutdown_notice(h->session);
	timer_set(c->s.w, &h->warned, monotonic_ms() + GOAWAY_MS);
	if (h->in_session)
		h2_send_soon(c);
	else
		h2_go_on(c);
}
