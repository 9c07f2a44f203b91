/* SPDX-License-Identifier: BSD-2-Clause */
/* Connections of a worker.  See stream.h. */
#include "l7/stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "l7/tls/ktls.h"
#include "l7/tls/record.h"
#include "l7/tls/tls.h"

#define ALERT_WARNING 1
#define ALERT_CLOSE_NOTIFY 0

static void stop_reading(struct stream *s)
{
	if (s->reading) {
		event_del(&s->read_event);
		s->reading = false;
	}
}

static void failed(struct stream *s, int error)
{
	if (!s->error)
		s->error = error;
	stop_reading(s);
}

/* 0, or an error has been noted. */
static void open_records(struct stream *s)
{
	uint8_t alert[2];
	int rc;

	if (!tls_done(s->tls)) {
		rc = tls_handshake(s->tls, &s->raw, &s->out);
		stream_flush(s);
		if (rc == -EAGAIN)
			return;
		if (rc) {
			failed(s, EPROTO);
			return;
		}
		s->secured(s);
		if (s->fd < 0)
			return;
	}
	if (!s->raw.data)
		return;
	rc = tls_open(s->tls, &s->raw, &s->in, STREAM_IN_MAX, &s->out); /* replies stand in the order of sealing */
	stream_flush(s);
	if (s->ktls && tls_owed_alert(s->tls, alert) && !ktls_alert(s->fd, alert[0], alert[1])) /* a courtesy: not tried again */
		s->sent += sizeof(alert);
	if (rc == -EPIPE)
		s->eof = true;
	else if (rc && rc != -EAGAIN)
		failed(s, EPROTO);
}

void stream_reopen(struct stream *s)
{
	if (s->tls && s->raw.data && !s->error)
		open_records(s);
}

static void on_read(evutil_socket_t fd, short what, void *ctx)
{
	struct stream *s = ctx;
	struct buffer *to = s->tls ? &s->raw : &s->in;
	size_t room = STREAM_IN_MAX - buffer_len(to), ask = s->read_size < room ? s->read_size : room;
	uint8_t *at;
	ssize_t n;

	(void)what;
	s->w->now_ns = 0;
	if (s->direct) {
		s->input(s);
		return;
	}
	/* What is left in the block that lies there already is used first, if it is worth a call. */
	if (to->data && to->room - to->end >= 2048 && to->room - to->end < ask)
		ask = to->room - to->end;
	at = ask ? buffer_reserve(to, ask, STREAM_IN_MAX + RECORD_PLAIN_MAX) : NULL;
	if (!at) {
		stop_reading(s); /* full: resumed by whoever empties it */
		return;
	}
	n = recv(fd, at, ask, 0);
	if (n > 0) {
		buffer_commit(to, (size_t)n);
		s->received += (uint64_t)n;
		if (s->tls)
			open_records(s);
	} else {
		if (!buffer_len(to))
			buffer_free(to);
		if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
			/* Woken by hand (event_active): a pipelined request may lie here already. */
			if (s->in.data)
				s->input(s);
			return;
		}
		if (n < 0) {
			failed(s, errno);
		} else {
			s->eof = true;
			stop_reading(s);
		}
	}
	if (s->fd >= 0)
		s->input(s);
}

static void on_write(evutil_socket_t fd, short what, void *ctx)
{
	struct stream *s = ctx;

	(void)fd;
	(void)what;
	s->w->now_ns = 0;
	event_del(s->write_event);
	s->writing = false;
	stream_write(s, "", 0);
	if (s->fd >= 0 && !s->writing)
		s->room(s);
}

void stream_open(struct stream *s, struct worker *w, int fd)
{
	s->w = w;
	s->fd = fd;
	if (!s->read_size)
		s->read_size = 16384;
	event_assign(&s->read_event, w->base, fd, EV_READ | EV_PERSIST, on_read, s);
}

void stream_close(struct stream *s)
{
	if (s->fd < 0)
		return;
	stop_reading(s);
	if (s->write_event)
		event_free(s->write_event);
	s->write_event = NULL;
	s->writing = false;
	close(s->fd);
	s->fd = -1;
	tls_free(s->tls);
	s->tls = NULL;
	free(s->ktls);
	s->ktls = NULL;
	buffer_free(&s->raw);
	buffer_free(&s->in);
	buffer_free(&s->out);
}

void stream_read(struct stream *s, bool on)
{
	if (!on)
		stop_reading(s);
	else if (!s->reading && s->fd >= 0 && !s->eof && !s->error) {
		event_add(&s->read_event, NULL);
		s->reading = true;
	}
}

/* True: there is one. */
static bool has_write_event(struct stream *s)
{
	if (s->fd < 0)
		return false;
	if (!s->write_event)
		s->write_event = event_new(s->w->base, s->fd, EV_WRITE | EV_PERSIST, on_write, s);
	if (!s->write_event)
		failed(s, ENOMEM);
	return s->write_event;
}

void stream_await_write(struct stream *s)
{
	if (!s->writing && has_write_event(s)) {
		event_add(s->write_event, NULL);
		s->writing = true;
	}
}

void stream_kick(struct stream *s)
{
	if (has_write_event(s))
		event_active(s->write_event, EV_WRITE, 0);
}

void stream_freeze(struct stream *s)
{
	event_del(&s->read_event);
	if (s->write_event)
		event_del(s->write_event);
	s->reading = s->writing = false;
}

void stream_thaw(struct stream *s)
{
	stream_read(s, true);
	if (s->out.data)
		stream_await_write(s);
}

bool stream_broken(struct stream *s)
{
	socklen_t len = sizeof(int);
	int err = 0;

	if (s->fd >= 0 && !s->error && !getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &err, &len) && err)
		failed(s, err);
	return s->error != 0;
}

int stream_put(struct stream *s, const void *p, size_t n)
{
	int rc;

	if (s->tls && !s->ktls)
		rc = tls_seal(s->tls, p, n, &s->out, STREAM_OUT_MAX);
	else
		rc = buffer_put(&s->out, p, n, STREAM_OUT_MAX);
	if (rc)
		failed(s, ENOBUFS);
	return rc;
}

static size_t write_plain(struct stream *s, const void *p, size_t n)
{
	size_t had = buffer_len(&s->out), used;
	struct iovec v[2];
	struct msghdr m = { .msg_iov = v };
	int flags = MSG_NOSIGNAL | (s->ahead ? MSG_MORE : 0);
	ssize_t sent;

	if (s->error || s->writing)
		return 0;
	if (had)
		v[m.msg_iovlen++] = (struct iovec){ buffer_head(&s->out), had };
	if (n)
		v[m.msg_iovlen++] = (struct iovec){ (void *)(uintptr_t)p, n };
	if (!m.msg_iovlen)
		return 0;
	if (m.msg_iovlen == 1)
		sent = send(s->fd, v[0].iov_base, v[0].iov_len, flags);
	else
		sent = sendmsg(s->fd, &m, flags);
	if (sent < 0) {
		if (errno != EAGAIN && errno != EINTR) {
			failed(s, errno);
			return 0;
		}
		sent = 0;
	}
	s->sent += (uint64_t)sent;
	used = (size_t)sent < had ? (size_t)sent : had;
	if (used)
		buffer_consume(&s->out, used);
	if ((size_t)sent < had + n)
		stream_await_write(s);
	return (size_t)sent - used;
}

size_t stream_write(struct stream *s, const void *p, size_t n)
{
	size_t done = 0;

	if (s->fd < 0)
		return 0;
	if (!s->tls || s->ktls || !n)
		return write_plain(s, p, n);
	while (done < n && !s->error) {
		size_t k = n - done < RECORD_PLAIN_MAX ? n - done : RECORD_PLAIN_MAX;

		if (buffer_len(&s->out) >= STREAM_OUT_HIGH) {
			write_plain(s, "", 0);
			if (s->writing || s->error)
				break;
		}
		if (stream_put(s, (const uint8_t *)p + done, k))
			break;
		done += k;
	}
	if (!s->writing)
		write_plain(s, "", 0);
	return done;
}

/* --- Sealing in the kernel ------------------------------------------------------------------------------------ */

bool stream_seal_below(struct stream *s)
{
	int err = -ENOMEM;

	if (s->ktls)
		return true;
	s->ktls = calloc(1, sizeof(*s->ktls));
	if (s->ktls)
		err = tls_seal_below(s->tls, s->fd, s->sent, s->ktls);
	if (!err) {
		stats_inc(s->w->stats.ktls_begun);
		return true;
	}
	stats_inc(s->w->stats.ktls_denied);
	s->never_ktls = true;
	free(s->ktls);
	s->ktls = NULL;
	return false;
}

bool stream_settled(const struct stream *s)
{
	return !s->ktls || (!s->out.data && ktls_settled(s->ktls, s->fd, tls_state(s->tls), s->sent));
}

int stream_tls_state(const struct stream *s, struct record_state *state)
{
	tls_export(s->tls, state);
	return s->ktls ? ktls_records(s->fd, state, &state->write.seq) : 0;
}

bool stream_key_ends(const struct stream *s, uint64_t n)
{
	const struct record_state *state = tls_state(s->tls);
	uint64_t records = state->write.seq;

	if (state->version != 0x0304) /* 1.2 has no other key */
		return false;
	if (s->ktls && ktls_records(s->fd, state, &records))
		return true;
	return state->owes_update || records + n / RECORD_PLAIN_MAX >= RECORD_REKEY_AFTER / 2;
}

/* What the kernel has sealed is not in `out`: close_notify follows what is. */
static bool say_closed(struct stream *s)
{
	int err = s->ktls->closed ? 0 : ktls_alert(s->fd, ALERT_WARNING, ALERT_CLOSE_NOTIFY);

	if (err == -EAGAIN)
		return false;
	if (err)
		failed(s, -err);
	else if (!s->ktls->closed)
		s->sent += 2;
	s->ktls->closed = true;
	return true;
}

bool stream_finish(struct stream *s)
{
	if (s->tls && !s->ktls && tls_done(s->tls))
		tls_close_notify(s->tls, &s->out);
	stream_flush(s);
	if (s->error)
		return true;
	if (s->out.data)
		return false;
	return !s->ktls || (say_closed(s) && (s->error || stream_settled(s)));
}
