/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * `mode: auto`: whether a request is proxied, or its connection moves to the backend that answers it.  Pure: what is known
 * in, a decision with its reason out.  In this order:
 *   1. what cannot be moved, or has nobody to take it, is proxied
 *   2. a connection that is where its answer is stays there
 *   3. on one host the descriptor is passed: nothing is exported, so it always pays
 *   4. what is expected to come through the new place (octets of answers, and a proxy's work for each request, times the
 *      requests that will follow there) must pay for the move
 *   5. a connection may not move more often than what it has transferred pays for, and two moves: else a client that
 *      alternates between objects makes hosts work for nothing
 *
 * What a move costs is counted in octets: the size of answer from which a hand-off for one request needs less CPU in total
 * than a proxy.  Measured before the design: 300 to 550 KB plain, 200 KB with TLS.  A proxy's work for a request whose answer
 * is empty is about a seventh of a move: 25 of 190 us; less is believed here, so that a move pays from the 17th small
 * answer on.  `make bench-handoff` measures it; the numbers here follow.
 */
#ifndef L7_HANDOFF_MOVE_POLICY_H
#define L7_HANDOFF_MOVE_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include "l7/conf.h"

#define MOVE_PAYS_PLAIN (256u << 10)
#define MOVE_PAYS_TLS (200u << 10)
#define MOVE_REQUEST (16u << 10) /* a proxy's work for a request, beside its octets */
#define MOVE_STAY_MAX 256	 /* requests that are believed to follow, at most */
#define MOVE_FREE 2		 /* moves that nothing has paid for yet */
#define MOVE_BACKOFF_MIN_MS 100	 /* after a busy peer's refusal; doubles */
#define MOVE_BACKOFF_MAX_MS 5000

enum move_mode { MODE_PROXY, MODE_HERE, MODE_HANDOFF };

enum move_reason {
	/* MODE_PROXY */
	REASON_CONFIGURED,   /* the route says proxy */
	REASON_PROTOCOL,     /* HTTP/2, an upgrade, CONNECT */
	REASON_UPLOAD,	     /* in the middle of a request's body */
	REASON_NOT_CAPABLE,  /* nobody at the backend's host takes connections */
	REASON_NO_SESSION,   /* no session with that host, or another version */
	REASON_BACKOFF,	     /* it refused a moment ago */
	REASON_UNCONFIRMED,  /* the last move is not settled */
	REASON_SOCKET,	     /* not ESTABLISHED, out-of-order data, large queues, options that cannot travel */
	REASON_REFUSED,	     /* it was offered, and refused: served from here after all */
	REASON_UNKNOWN_SIZE, /* nothing is known of this route's answers yet */
	REASON_SMALL,	     /* it would not pay */
	REASON_BUDGET,	     /* too many moves for what came of them */
	/* MODE_HERE */
	REASON_STAYS,
	/* MODE_HANDOFF */
	REASON_SAME_HOST,
	REASON_LARGE,	     /* this answer alone pays */
	REASON_AFFINITY,     /* what will follow pays */
	REASON_FORCED,	     /* the route says handoff */
	/* MODE_PROXY (it stands here because reasons travel by number) */
	REASON_NO_ROUTE,     /* the backend's host is elsewhere, and this host has no route to it now */
	REASONS
};

struct move_question {
	enum route_mode route_mode;
	bool protocol_moves; /* HTTP/1, no upgrade */
	bool upload;
	bool here;	     /* the backend is this process */
	bool same_host;
	bool capable, session, way, settled, socket_moves; /* way: what the client sends can be forwarded to that host */
	bool tls;
	uint64_t now_ms, backoff_until_ms;
	uint64_t size;	     /* expected; 0: not known */
	uint32_t stay;	     /* requests expected at that backend, this one included; at least 1 */
	uint32_t moves;	     /* of this connection so far */
	uint64_t octets;     /* that it has transferred since it came into being */
};

struct move_decision {
	enum move_mode mode;
	enum move_reason reason;
};

struct move_decision move_decide(const struct move_question *q);
enum move_mode move_reason_mode(enum move_reason reason);
const char *move_reason_name(enum move_reason reason);

/* --- What is learned ------------------------------------------------------------------------------------------
 *
 * Per route: the mean size of answers and how often the next request of a connection is for the same backend.  Per object:
 * its size, in a table of fixed size, four places for a hash; the place that was used longest ago is taken.
 */
struct move_sizes;

struct move_sizes *move_sizes_new(uint32_t routes, uint32_t objects); /* objects: rounded up to a power of two */
void move_sizes_free(struct move_sizes *s);
void move_sizes_object(struct move_sizes *s, uint64_t object, uint64_t octets); /* so long is it, whole */
void move_sizes_answer(struct move_sizes *s, uint32_t route, uint64_t octets);  /* an answer of the route was so long */
/* Whether a connection's next request (of any route) stayed with its backend; not, where none came. */
void move_sizes_followed(struct move_sizes *s, uint32_t route, bool same_backend);
uint64_t move_sizes_expect(const struct move_sizes *s, uint32_t route, uint64_t object); /* 0: not known */
uint32_t move_sizes_stay(const struct move_sizes *s, uint32_t route);			 /* 1 .. MOVE_STAY_MAX */

/* --- Refusals ------------------------------------------------------------------------------------------------- */
struct move_backoff {
	uint64_t until_ms;
	uint32_t next_ms;
};

void move_refused(struct move_backoff *b, uint64_t now_ms);
void move_accepted(struct move_backoff *b);

/* The receiver's side: does it take one more?  0, or enum move_refusal. */
struct move_load {
	bool draining;
	uint32_t lag_ms, lag_max_ms;	       /* of its loop */
	uint32_t connections, connections_max;
	uint32_t importing, importing_max;
	uint64_t octets, octets_max;	       /* of buffers */
};
uint8_t move_willing(const struct move_load *load);

#endif
