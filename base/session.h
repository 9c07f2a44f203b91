/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Mutual-TLS sessions between daemons: TLS 1.3 over TCP, messages of a type and a body.  A
 * certificate names a role and an id in a URI subject alternative name, baton://POP/ROLE/ID, and a
 * session exists only between roles that are meant to talk.
 *
 * On the wire a message is: be32 length of what follows (2..SESSION_BODY_MAX+2), be16 type, body.
 * Runs in the caller's libevent loop; not thread-safe.
 */
#ifndef BASE_SESSION_H
#define BASE_SESSION_H

#include <event2/event.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define SESSION_BODY_MAX (4u << 20)
#define SESSION_QUEUE_MAX (16u << 20) /* bytes waiting to be sent; beyond it session_send says -ENOBUFS */

enum role { ROLE_CONTROLLER, ROLE_SWITCH, ROLE_HOST, ROLE_OPERATOR };

struct identity {
	char pop[64];
	enum role role;
	uint16_t id;
};

struct tls_identity; /* our certificate, key and the POP's authority; reloadable; shared by sessions */
struct session;
struct session_listener;

struct session_ops {
	/* The peer is authenticated.  A server may refuse with a negative errno. */
	int (*up)(void *ctx, struct session *s, const struct identity *peer);
	void (*message)(void *ctx, struct session *s, uint16_t type, const uint8_t *body, size_t len);
	/* After this the session is freed by its owner (session_free) or, for a client, reconnects by itself. */
	void (*down)(void *ctx, struct session *s, const char *why);
};

/* dir holds ca.pem, cert.pem, key.pem (what `baton pki issue` writes). 0 or -errno; why: a message. */
int tls_identity_load(const char *dir, struct tls_identity **out, char *why, size_t why_len);
int tls_identity_reload(struct tls_identity *t, char *why, size_t why_len);
void tls_identity_free(struct tls_identity *t);
const struct identity *tls_identity_self(const struct tls_identity *t);
int64_t tls_identity_expires(const struct tls_identity *t); /* seconds since the epoch */

/* A server: ctx_of_new is called for each accepted connection, before up(); roles: bit mask of 1 << enum role. */
int session_listen(struct event_base *base, struct tls_identity *tls, const struct sockaddr *addr, socklen_t len,
		   unsigned roles, const struct session_ops *ops, void *ctx, struct session_listener **out);
void session_listener_free(struct session_listener *l);

/* A client that connects, and connects again with back-off (100 ms .. 5 s), until it is freed. */
int session_connect(struct event_base *base, struct tls_identity *tls, const struct sockaddr *addr, socklen_t len,
		    enum role peer, uint16_t peer_id, const struct session_ops *ops, void *ctx, struct session **out);

/* 0, -ENOTCONN, -EMSGSIZE or -ENOBUFS.  The body is copied. */
int session_send(struct session *s, uint16_t type, const void *body, size_t len);
const struct identity *session_peer(const struct session *s);
void session_set_ctx(struct session *s, void *ctx);
void session_free(struct session *s); /* closes; no callback */

#endif
