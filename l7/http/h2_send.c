/* SPDX-License-Identifier: BSD-2-Clause */
/* How what nghttp2 has to send leaves: frames of a turn of the loop are gathered, sealed and sent together. */
#include <errno.h>

#include "l7/http/h2_inside.h"
#include "l7/tls/record.h"

#define PLAIN_HIGH (2 * RECORD_PLAIN_MAX) /* frames that are sealed before the turn ends */
#define PLAIN_MAX (PLAIN_HIGH + 65536)	   /* and one more, whatever it is */

/* When this turn of the loop ends: the frames of all streams that had something to say leave in one record, one call. */
void h2_send_soon(struct client *c)
{
	if (!c->s.writing || c->s.error)
		stream_kick(&c->s);
}

static void seal(struct client *c)
{
	struct buffer *plain = &c->h2->plain;

	if (!plain->data)
		return;
	stream_put(&c->s, buffer_head(plain), buffer_len(plain));
	buffer_free(plain);
	if (buffer_len(&c->s.out) >= STREAM_OUT_HIGH)
		stream_flush(&c->s);
}

/* What nghttp2 has to send, while the stream is not too full. */
void h2_gather(struct client *c)
{
	struct h2 *h = c->h2;
	const uint8_t *p;
	ssize_t n;

	if (h->in_session || c->dead)
		return;
	h->in_session = true;
	while (!c->s.error && !c->s.writing) {
		n = nghttp2_session_mem_send(h->session, &p);
		if (n < 0 || (n && buffer_put(&h->plain, p, (size_t)n, PLAIN_MAX)))
			c->s.error = EPROTO;
		if (n <= 0)
			break;
		if (buffer_len(&h->plain) >= PLAIN_HIGH)
			seal(c);
	}
	h->in_session = false;
}

void h2_send(struct client *c)
{
	if (c->h2->in_session || c->dead)
		return;
	h2_gather(c);
	seal(c);
	stream_flush(&c->s);
}

void h2_wait_for_room(struct client *c)
{
	if (c->wait != WAIT_BODY) /* put off by progress alone, not by whatever frame the client sends meanwhile */
		client_wait(c, WAIT_BODY);
}

static void wait_again(struct client *c)
{
	if (c->s.writing)
		h2_wait_for_room(c);
	else if (!c->h2->n_streams)
		client_wait(c, WAIT_IDLE);
	else
		client_wait(c, WAIT_ANSWER);
}

/* Streams whose window or whose turn has come back.  From the beginning each time: any of them may end others. */
static void resume_blocked(struct client *c)
{
	struct link *l;

	for (l = c->h2->streams.next; !c->dead && !c->s.writing && !c->s.error && l != &c->h2->streams;) {
		struct h2_stream *s = LINK_OF(l, struct h2_stream, link);

		l = l->next;
		if (!s->x || !s->blocked || !s->deferred)
			continue;
		s->blocked = false;
		exchange_room(s->x);
		l = c->h2->streams.next;
	}
}

/* After anything that may have made work: send, then see whether the connection is over. */
void h2_go_on(struct client *c)
{
	h2_send(c);
	resume_blocked(c);
	if (c->dead)
		return;
	seal(c);
	stream_flush(&c->s);
	if (c->s.error) {
		client_close(c);
		return;
	}
	if (!nghttp2_session_want_read(c->h2->session) && !nghttp2_session_want_write(c->h2->session) && !c->s.out.data) {
		client_linger(c);
		return;
	}
	wait_again(c);
}
