/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A TCP connection of a worker: a raw descriptor, what was read and not used, what is to be sent and was
 * not yet.  Read events stay registered from accept to close (level-triggered: no epoll_ctl per request);
 * write events only while the socket is full.
 */
#ifndef L7_STREAM_H
#define L7_STREAM_H

#include <event2/event_struct.h>
#include <stdbool.h>
#include <stdint.h>

#include "l7/buffer.h"
#include "l7/worker.h"

#define STREAM_IN_MAX 65536   /* unread bytes; reading pauses at it */
#define STREAM_OUT_MAX 262144 /* unsent bytes; who writes is told to wait long before */
#define STREAM_OUT_HIGH 65536

struct ktls;
struct record_state;
struct tls;

struct stream {
	int fd; /* -1: closed */
	struct worker *w;
	struct event read_event, *write_event; /* NULL until the socket is full for the first time: most never are */
	bool reading, writing;
	bool eof;    /* the peer sent FIN, or close_notify */
	int error;   /* errno of a socket that broke; EPROTO: of its TLS */
	struct tls *tls; /* NULL: plain */
	struct ktls *ktls; /* the kernel seals, and what is in `out` is plain; NULL: what is in `out` is sealed */
	bool never_ktls;   /* it was tried: this connection's suite is none of the kernel's */
	struct buffer raw; /* TLS: records that were not opened yet */
	struct buffer in, out;
	bool direct;       /* do not read: input() moves bytes by itself (splice) */
	bool ahead;	   /* stream_flush_ahead() */
	size_t read_size;  /* how much to ask for at once */
	uint64_t received, sent;
	void (*input)(struct stream *s);    /* bytes in `in`, or eof, or error */
	void (*room)(struct stream *s);     /* `out` is empty again; a connect has ended */
	void (*secured)(struct stream *s);  /* TLS handshake done */
};

void stream_open(struct stream *s, struct worker *w, int fd);
void stream_close(struct stream *s);
void stream_read(struct stream *s, bool on); /* pause and resume */
void stream_await_write(struct stream *s);
/* Sends and asks for more, as if the socket had room again, when this turn of the loop ends. */
void stream_kick(struct stream *s);
/* Whether a socket that is not read any more was reset. */
bool stream_broken(struct stream *s);
/* Opens what lies in raw, when there is room in `in` again. */
void stream_reopen(struct stream *s);

/* No event until thawed: the connection moves, or does not. */
void stream_freeze(struct stream *s);
void stream_thaw(struct stream *s);

/* To be sent with the next flush. 0 or -ENOBUFS. */
int stream_put(struct stream *s, const void *p, size_t n);
/* Sends what is in `out`, then p.  Returns how many bytes of p are done with (sent or sealed); the rest is the
 * caller's, room() is called when it makes sense to try again.  Errors show up as s->error. */
size_t stream_write(struct stream *s, const void *p, size_t n);
static inline void stream_flush(struct stream *s)
{
	if (s->out.data && !s->writing)
		stream_write(s, "", 0);
}

/* What the caller sends by itself follows at once (sendfile): in the same segment. */
static inline void stream_flush_ahead(struct stream *s)
{
	s->ahead = true;
	stream_flush(s);
	s->ahead = false;
}

/* --- Sealing in the kernel (l7/tls/ktls.h) ---
 * From now on, for life: true, if it is so.  `out` is empty. */
bool stream_seal_below(struct stream *s);
/* All that was given to the socket is in TCP's queue, and `out` is empty: the connection may move. */
bool stream_settled(const struct stream *s);
/* Of a settled one with TLS: what it is.  0 or -errno.  The caller wipes it. */
int stream_tls_state(const struct stream *s, struct record_state *state);
/* n octets more are to be said, and then nothing may be: a KeyUpdate is owed, or the key is nearly worn. */
bool stream_key_ends(const struct stream *s, uint64_t n);

/* The last that is said, close_notify.  True: all is in TCP's queue, which survives a close; or it is in vain (error).  False: ask again. */
bool stream_finish(struct stream *s);

#endif
