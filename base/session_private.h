/* SPDX-License-Identifier: BSD-2-Clause */
/* A session's insides, for session.c (its life once there is a connection) and session_listener.c. */
#ifndef BASE_SESSION_PRIVATE_H
#define BASE_SESSION_PRIVATE_H

#include <event2/buffer.h>
#include <stdbool.h>
#include <sys/queue.h>

#include "base/sockaddr.h"
#include "base/frame.h"
#include "base/tls.h"

#define SESSION_WELCOME 0xff00u
#define SESSION_REFUSED 0xff01u
#define SESSION_ALIVE 0xff02u

#define SESSION_HANDSHAKE_MS 3000 /* from connect() or accept() to WELCOME */
#define SESSION_TICK_MS 500	  /* how often the times are looked at, and ALIVE is sent */
#define SESSION_SILENT_MS 2500	  /* without a byte from the peer: it is gone */
#define SESSION_BACKOFF_MIN_MS 100
#define SESSION_BACKOFF_MAX_MS 5000
#define SESSION_SETTLED_MS 1000 /* up for so long: the next back-off begins anew */

enum session_state {
	SESSION_WAITING,    /* client: for the next attempt */
	SESSION_CONNECTING, /* client: TCP */
	SESSION_HANDSHAKE,  /* TLS */
	SESSION_GREETING,   /* client: authenticated, the server has not yet said WELCOME */
	SESSION_OPEN,
	SESSION_ENDED, /* for good: the owner frees it */
};

struct session {
	struct event_base *base;
	struct tls_identity *tls;
	const struct session_ops *ops;
	void *ctx;

	/* A server's: the listener until it is up, then NULL.  A client's: always NULL. */
	struct session_listener *listener;
	TAILQ_ENTRY(session) pending;
	bool server;

	struct sockaddr_storage addr;
	socklen_t addr_len;
	struct identity peer; /* a client's: whom it wants; a server's: set when authenticated */
	char name[128];	      /* for logs: "switch 3 (192.0.2.21:40123)" */

	enum session_state state;
	int fd;
	SSL *ssl;
	struct event *readable, *writable, *timer;
	struct frame_reader in;
	struct evbuffer *out;

	uint64_t began_ms; /* the attempt, or being up */
	uint64_t heard_ms, said_ms, ticked_ms;
	uint32_t backoff_ms;
	char last_why[256]; /* of a client's failed attempt: the same reason is not logged twice in a row */

	unsigned busy; /* callbacks of ours on the stack; freed when the last returns */
	bool freed;
};

/* For the listener: takes fd.  It ends and frees itself until it is up. */
int session_accept(struct session_listener *l, struct event_base *base, struct tls_identity *tls,
		   const struct session_ops *ops, void *ctx, int fd, const struct sockaddr *addr, socklen_t len,
		   struct session **out);

/* For the session: what its listener answers and is told. */
bool session_listener_serves(const struct session_listener *l, enum role role);
void session_listener_done(struct session_listener *l, struct session *s); /* no longer in the handshake */
bool session_listener_may_log(struct session_listener *l);

#endif
