/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A client's connection: accepted, secured where its edge has TLS, then HTTP/1 (l7/http/h1.c) or HTTP/2 (l7/http/h2.c).
 */
#ifndef L7_CLIENT_H
#define L7_CLIENT_H

#include "l7/exchange.h"
#include "l7/stream.h"

#define HALF_MS 100 /* how often a client that has sent its FIN is looked at while it waits for its answer */
#define FINISH_MS 20 /* how often a socket is looked at in which the kernel seals, and says nothing when it is done */
#define LINGER_MS 1000 /* how long we read on after our FIN, so that a reset does not eat the answer */

struct h2;
struct place;

union client_address {
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	uint64_t align;
};

/* What the timer waits for: says which counter a time-out goes to. */
enum client_wait { WAIT_HANDSHAKE, WAIT_HEAD, WAIT_IDLE, WAIT_BODY, WAIT_ANSWER, WAIT_HALF, WAIT_FINISH, WAIT_LINGER };

struct client {
	struct stream s;
	struct grave grave;
	struct link link; /* in worker->clients */
	struct timer timer;
	struct snapshot *snapshot;
	const struct edge *edge;
	union client_address peer, local;
	uint64_t cid, since_ms, begun_ns; /* begun_ns: of the handshake; of a head that did not come at once, or 0 */
	uint64_t requests, finish_by_ms;
	uint8_t wait; /* enum client_wait */
	bool secure, lingering, dead;
	bool reset; /* its end is none in order */

	struct place *place; /* in l7/handoff/handoff.h; NULL: it has not moved, nor tried to */
	uint16_t ingress;    /* host id of where the network brings its packets; 0: here */
	uint32_t moves;
	uint64_t octets;     /* that were transferred before it came here */
	uint64_t came_ns;    /* its offer; 0: it began here */
	uint32_t last_route; /* and backend, of the request before */
	uint64_t last_backend;
	size_t head_n;	     /* moving: of the request that it moves for, at the beginning of s.in */
	bool moving;	     /* frozen: neither here nor there */
	bool arrived;	     /* its next request is why it came here, and this is why that was to be served here: */
	uint8_t arrived_for; /* enum move_reason */

	struct h2 *h2; /* NULL: HTTP/1 */

	struct exchange *x;
	size_t scanned;
	uint64_t body_left, body_seen;
	struct chunked chunked;
	uint8_t body; /* enum body_framing of the request */
	bool keep, expect, answer_chunked, answer_begun, tunnel, in_next, head_only;
};

void client_accept(struct worker *w, struct snapshot *snapshot, const struct edge *edge, int fd,
		   const struct sockaddr_storage *peer);
/* One that came from another host.  NULL: fd is closed. */
struct client *client_arrive(struct worker *w, struct snapshot *snapshot, const struct edge *edge, int fd);
void client_close(struct client *c); /* at once */
void client_left(struct client *c);  /* it lives on another host: gone from here without a word to anybody */
void client_linger(struct client *c); /* what is to be sent is sent, then closed */
void client_wait(struct client *c, enum client_wait wait);
void client_await_answer(struct client *c); /* a request is whole: nothing of the client's is due */
/* The next request is served by the configuration in force; false: by the one before, and it is the last: its edge is no more, or
 * asks for another certificate. */
bool client_renew(struct client *c);
bool client_agrees(const struct client *c, const struct snapshot *s); /* its edge is there, and asks as it did in the handshake */
/* Idle connections are told or closed, the others after their request. */
void client_drain(struct client *c);

void h1_begin(struct client *c);
void h1_input(struct client *c);
void h1_room(struct client *c);
void h1_resume(struct client *c); /* it does not move: its request is served from here */
void h1_gone(struct client *c); /* the connection ends: lets go of its exchange */

int h2_begin(struct client *c); /* 0, -ENOMEM */
void h2_input(struct client *c);
void h2_room(struct client *c);
void h2_gone(struct client *c);
void h2_drain(struct client *c);
unsigned h2_active(const struct client *c);

/* A short answer of our own: its body in text. */
const char *status_reason(unsigned status);

#endif
