/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of HTTP/2 share (l7/http/h2.c): the connection, and a stream of it.  h2.c is the session, h2_stream.c a
 * stream's request and its deadlines, h2_answer.c its answer, h2_send.c how frames of all streams leave together.
 */
#ifndef L7_HTTP_H2_INSIDE_H
#define L7_HTTP_H2_INSIDE_H

#include <nghttp2/nghttp2.h>
#include <stdbool.h>
#include <stdint.h>

#include "l7/buffer.h"
#include "l7/client.h"
#include "l7/exchange.h"
#include "l7/http/h2_guard.h"
#include "l7/http/head.h"

#define STREAM_WINDOW 262144 /* all streams together hold CONNECTION_WINDOW at most */

struct h2_stream {
	struct link link; /* in h2->streams */
	struct client *c;
	struct timer timer; /* the client's turn: for its head, its body, its window */
	uint64_t begun_ns;  /* of its head */
	int32_t id;
	struct exchange *x;
	struct buffer body;    /* of the request: not taken yet; bounded by the stream's window */
	bool body_ended, head_done, answer_begun, answer_ended, deferred, blocked, cut, head_only, expect, trailer_sent, answered;
	const uint8_t *p;      /* bytes of the answer that may be taken now */
	size_t n, took;
	uint64_t body_seen;
	struct buffer own;     /* the body of an answer of our own, or the small rest of a backend's */
	struct buffer trailer; /* of the answer */
};

struct h2 {
	nghttp2_session *session;
	struct link streams;
	uint32_t n_streams;
	struct h2_guard guard;
	struct client *c;
	struct timer warned; /* until the final GOAWAY */
	bool in_session; /* nghttp2 is on the stack */
	struct buffer plain; /* frames of this turn of the loop: sealed and sent together when it ends */
	bool draining, told; /* told: the final GOAWAY is out */
	bool offended;
	struct request_head head; /* of the stream whose HEADERS are being read */
	int head_status;
};

/* h2_answer.c */
extern const struct front_ops h2_front;
void h2_own_answer(struct h2_stream *s, unsigned status); /* in place of a backend's, of which nothing was sent */

/* h2_stream.c */
struct h2_stream *h2_stream_new(struct client *c, int32_t id); /* its head is due; NULL: no memory */
void h2_stream_gone(struct h2_stream *s);
void h2_stream_begin(struct client *c, struct h2_stream *s, bool ended); /* c->h2->head is whole */
void h2_stream_trailer(struct h2_stream *s, const char *value, size_t n_value, const char *name, size_t n_name, bool too_long);
void h2_push_body(struct h2_stream *s, bool progress); /* to the backend, as much as it takes */
void h2_stream_watch(struct h2_stream *s, bool progress); /* sets, leaves or stops the deadline for what the client has to do */

/* h2_send.c */
void h2_send_soon(struct client *c);
void h2_gather(struct client *c); /* not from within nghttp2 */
void h2_send(struct client *c);
void h2_wait_for_room(struct client *c);
void h2_go_on(struct client *c); /* after anything that may have made work; the client may be closed then */

#endif
