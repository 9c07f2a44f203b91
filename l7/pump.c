/* SPDX-License-Identifier: BSD-2-Clause */
/* Bodies of answers.  See pump.h. */
#include "l7/pump.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "l7/client.h"
#include "l7/exchange.h"
#include "l7/http/trailer.h"

#define SPLICE_MAX (1u << 20)
#define UP_TURNS 8 /* pipes full of one upload, before others have their turn */

/* --- splice --------------------------------------------------------------------------------------------- */
static bool pipe_take(struct worker *w, int end[2])
{
	if (end[0] >= 0)
		return true;
	if (w->n_pipes) {
		w->n_pipes--;
		end[0] = w->pipe[w->n_pipes][0];
		end[1] = w->pipe[w->n_pipes][1];
		return true;
	}
	if (pipe2(end, O_NONBLOCK | O_CLOEXEC)) {
		end[0] = end[1] = -1;
		return false;
	}
	/* Best effort: beyond the user's share of pipe memory the kernel gives a small one. */
	(void)fcntl(end[1], F_SETPIPE_SZ, SPLICE_MAX);
	return true;
}

static void pipe_give(struct worker *w, int end[2], size_t in_it)
{
	if (end[0] < 0)
		return;
	if (!in_it && w->n_pipes < PIPES_KEPT) {
		w->pipe[w->n_pipes][0] = end[0];
		w->pipe[w->n_pipes][1] = end[1];
		w->n_pipes++;
	} else {
		close(end[0]);
		close(end[1]);
	}
	end[0] = end[1] = -1;
}

void pump_free(struct exchange *x)
{
	pipe_give(x->w, x->pipe, x->in_pipe);
	pipe_give(x->w, x->up, x->in_up);
}

/* Out of the pipe into the client.  True: the pipe is empty. */
static bool pipe_out(struct exchange *x, int to, enum pump_result *r)
{
	while (x->in_pipe) {
		ssize_t n = splice(x->pipe[0], NULL, to, NULL, x->in_pipe,
				   SPLICE_F_MOVE | SPLICE_F_NONBLOCK | (x->answer_left ? SPLICE_F_MORE : 0));

		if (n <= 0) {
			*r = PUMP_BLOCKED;
			x->front->blocked(x, n < 0 && errno != EAGAIN && errno != EINTR ? errno : 0);
			return false;
		}
		x->in_pipe -= (size_t)n;
		x->owner->s.sent += (uint64_t)n;
		x->bytes_out += (uint64_t)n;
		stats_add(x->w->stats.bytes_out, n);
		stats_add(x->w->stats.spliced, n);
	}
	return true;
}

/* True: splice has done what can be done now. */
static bool spliced(struct exchange *x, enum pump_result *r)
{
	struct stream *s = &x->conn->s;
	int to;

	if (!x->in_pipe && (x->answer_body != BODY_LENGTH || x->answer_left < SPLICE_MIN || s->in.data || s->tls))
		return false;
	to = x->front->splice_to(x);
	if (to < 0) {
		if (x->in_pipe)
			*r = PUMP_BLOCKED;
		return x->in_pipe > 0;
	}
	if (!pipe_take(x->w, x->pipe))
		return false;
	for (;;) {
		ssize_t n;

		if (!pipe_out(x, to, r))
			return true;
		if (!x->answer_left) {
			*r = PUMP_DONE;
			return true;
		}
		n = splice(s->fd, NULL, x->pipe[1], NULL, x->answer_left < SPLICE_MAX ? x->answer_left : SPLICE_MAX,
			   SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
		if (n > 0) {
			x->in_pipe = (size_t)n;
			x->answer_left -= (uint64_t)n;
			s->received += (uint64_t)n;
			continue;
		}
		if (n == 0)
			s->eof = true;
		else if (errno != EAGAIN && errno != EINTR)
			s->error = errno;
		*r = PUMP_MORE;
		return true;
	}
}

/* Out of the pipe into the backend.  True: the pipe is empty. */
static bool up_out(struct exchange *x, struct stream *to, bool more)
{
	while (x->in_up) {
		ssize_t n = splice(x->up[0], NULL, to->fd, NULL, x->in_up,
				   SPLICE_F_MOVE | SPLICE_F_NONBLOCK | (more ? SPLICE_F_MORE : 0));

		if (n <= 0) {
			if (n < 0 && errno != EAGAIN && errno != EINTR)
				exchange_unread(x);
			else
				stream_await_write(to);
			return false;
		}
		x->in_up -= (size_t)n;
		to->sent += (uint64_t)n;
		stats_add(x->w->stats.spliced_in, n);
	}
	return true;
}

enum pump_up pump_up(struct exchange *x, struct stream *from, uint64_t *left)
{
	struct stream *to = &x->conn->s;
	unsigned i;

	if (x->request_body != BODY_LENGTH || x->unread || from->tls || to->tls || from->in.data ||
	    (!x->in_up && *left < SPLICE_MIN) || !pipe_take(x->w, x->up))
		return PUMP_UP_NOT;
	stream_flush(to); /* the head, and what came with it */
	if (to->error) {
		exchange_unread(x);
		return PUMP_UP_NOT;
	}
	if (to->out.data)
		return PUMP_UP_BACKEND;
	for (i = 0;; i++) {
		ssize_t n;

		if (!up_out(x, to, *left > 0))
			return x->unread ? PUMP_UP_NOT : PUMP_UP_BACKEND;
		if (!*left) {
			x->request_done = true;
			return PUMP_UP_DONE;
		}
		if (i == UP_TURNS)
			return PUMP_UP_CLIENT; /* others have their turn */
		n = splice(from->fd, NULL, x->up[1], NULL, *left < SPLICE_MAX ? *left : SPLICE_MAX, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
		if (n > 0) {
			x->in_up = (size_t)n;
			*left -= (uint64_t)n;
			from->received += (uint64_t)n;
			exchange_progress(x, (size_t)n);
			continue;
		}
		if (n == 0)
			from->eof = true;
		else if (errno != EAGAIN && errno != EINTR)
			from->error = errno;
		return PUMP_UP_CLIENT;
	}
}

/* --- copies ----------------------------------------------------------------------------------------------- */
static size_t give(struct exchange *x, size_t n)
{
	struct buffer *in = &x->conn->s.in;
	size_t took = n ? x->front->body(x, buffer_head(in), n) : 0;

	if (took)
		buffer_consume(in, took);
	x->bytes_out += took;
	stats_add(x->w->stats.bytes_out, took);
	return took;
}

static enum pump_result pump_length(struct exchange *x)
{
	struct buffer *in = &x->conn->s.in;
	size_t n = buffer_len(in), took;

	if (n > x->answer_left)
		n = (size_t)x->answer_left; /* what lies behind it ends the connection */
	took = give(x, n);
	x->answer_left -= took;
	if (!x->answer_left)
		return PUMP_DONE;
	return took < n ? PUMP_BLOCKED : PUMP_MORE;
}

static enum pump_result pump_chunked(struct exchange *x)
{
	struct buffer *in = &x->conn->s.in;

	while (in->data) {
		size_t n, took;
		ptrdiff_t used = chunked_next_trailer(&x->chunked, buffer_head(in), buffer_len(in), &n, &x->answer_trailer);

		if (used < 0)
			return PUMP_BAD;
		if (used)
			buffer_consume(in, (size_t)used);
		if (x->chunked.where == CHUNKED_DONE)
			return trailer_fair(&x->answer_trailer) ? PUMP_DONE : PUMP_BAD;
		if (!n)
			break;
		took = give(x, n);
		chunked_took(&x->chunked, took);
		if (took < n)
			return PUMP_BLOCKED;
	}
	return PUMP_MORE;
}

enum pump_result pump(struct exchange *x)
{
	struct buffer *in = &x->conn->s.in;
	enum pump_result r = PUMP_MORE;
	size_t n;

	switch ((enum body_framing)x->answer_body) {
	case BODY_NONE:
		return PUMP_DONE;
	case BODY_LENGTH:
		if (spliced(x, &r)) {
			x->conn->s.direct = true;
			return r;
		}
		x->conn->s.direct = false;
		r = pump_length(x);
		/* The first part came with the head; the rest is spliced at once rather than read into memory. */
		if (r == PUMP_MORE && spliced(x, &r))
			x->conn->s.direct = true;
		return r;
	case BODY_CHUNKED:
		return pump_chunked(x);
	case BODY_CLOSE:
		n = buffer_len(in);
		return give(x, n) < n ? PUMP_BLOCKED : PUMP_MORE;
	}
	return PUMP_BAD;
}
