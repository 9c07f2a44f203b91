/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Mutual-TLS sessions between daemons: TLS 1.3 over TCP, messages of a type and a body.  A
 * certificate names a role and an id (base/identity.h), and a session exists only between roles that
 * are meant to talk, of one POP.
 *
 * On the wire a message is: be32 length of what follows (2..SESSION_BODY_MAX+2), be16 type, body.
 * Types from SESSION_TYPE_OWN on are the session's own:
 *   WELCOME  server -> client, empty: you are authenticated and accepted.  A client sends nothing before it
 *   REFUSED  server -> client, text: why not; the server closes
 *   ALIVE    both, empty: every 500 ms when nothing else was sent.  A peer that is silent for 2.5 s is gone
 *            (noticed within 3 s)
 * No resumption, no early data: nothing that was recorded can be played again.
 *
 * Runs in the caller's libevent loop; not thread-safe.  The process must ignore SIGPIPE (daemon_init
 * does).  The session logs its own coming, going and refusals, with the reason; callers need not.
 */
#ifndef BASE_SESSION_H
#define BASE_SESSION_H

#include <event2/event.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/identity.h"

#define SESSION_BODY_MAX (4u << 20)
#define SESSION_QUEUE_MAX (16u << 20) /* bytes waiting to be sent; beyond it session_send says -ENOBUFS */
#define SESSION_TYPE_OWN 0xff00u
#define SESSION_PENDING_MAX 256 /* connections of a listener in the handshake; a further one ends the oldest */

struct tls_identity; /* our certificate, key and the POP's authority; reloadable; shared by sessions */
struct session;
struct session_listener;

struct session_ops {
	/* The peer is authenticated.  A server may refuse with a negative errno. */
	int (*up)(void *ctx, struct session *s, const struct identity *peer);
	/* body is valid during the call only. */
	void (*message)(void *ctx, struct session *s, uint16_t type, const uint8_t *body, size_t len);
	/* Only after an up() that returned 0.  Then an accepted session is freed by its owner (session_free, here or
	 * later); a client's reconnects by itself. */
	void (*down)(void *ctx, struct session *s, const char *why);
};

/*
 * dir holds ca.pem, cert.pem, key.pem (what `baton pki issue` writes). 0 or -errno; why: a message.
 * An expired certificate of ours loads (a data path must start without its controller), peers refuse
 * it: see tls_identity_expires().
 */
int tls_identity_load(const char *dir, struct tls_identity **out, char *why, size_t why_len);
/* For sessions made from now on; those that are up stay.  On failure the old one stays in use. */
int tls_identity_reload(struct tls_identity *t, char *why, size_t why_len);
/* After the sessions and listeners that use it. */
void tls_identity_free(struct tls_identity *t);
const struct identity *tls_identity_self(const struct tls_identity *t);
/* Seconds since the epoch: our certificate's end, or its authority's where that is sooner. */
int64_t tls_identity_expires(const struct tls_identity *t);

/* A server.  ctx goes to up(), which may give the session one of its own; roles: bit mask of 1 << enum role. */
int session_listen(struct event_base *base, struct tls_identity *tls, const struct sockaddr *addr, socklen_t len,
		   unsigned roles, const struct session_ops *ops, void *ctx, struct session_listener **out);
/* Ends what is in the handshake; sessions that are up belong to their owner. */
void session_listener_free(struct session_listener *l);
/* Where it listens: the port that the kernel chose when `addr` had 0. */
int session_listener_port(const struct session_listener *l);

/* A client that connects, and connects again with back-off (100 ms .. 5 s, jittered), until it is freed. */
int session_connect(struct event_base *base, struct tls_identity *tls, const struct sockaddr *addr, socklen_t len,
		    enum role peer, uint16_t peer_id, const struct session_ops *ops, void *ctx, struct session **out);

/* 0, -ENOTCONN (not up), -EINVAL (a type of the session's own), -EMSGSIZE or -ENOBUFS.  The body is copied. */
int session_send(struct session *s, uint16_t type, const void *body, size_t len);
/* Octets that were given to session_send and that the peer's kernel has not acknowledged: 0, and session_free loses none. */
size_t session_unsent(const struct session *s);
const struct identity *session_peer(const struct session *s);
void session_set_ctx(struct session *s, void *ctx);
/* Closes; no callback.  Allowed in any callback.  What session_send took just before may not be sent. */
void session_free(struct session *s);

/* For metrics, of this process. */
struct session_counts {
	uint64_t up, down;    /* sessions that came up, and ended after that */
	uint64_t refused;     /* incoming connections that never came up */
	uint64_t failed;      /* outgoing attempts that never came up */
	uint64_t overflowed;  /* messages that session_send refused with -ENOBUFS */
};
const struct session_counts *session_counts(void);

#endif
