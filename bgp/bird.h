/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A client of BIRD's control socket, restricted to looking (`restrict`): asks which protocols there
 * are and which of our routes each BGP session exports.  Asynchronous, in the caller's loop.
 */
#ifndef BGP_BIRD_H
#define BGP_BIRD_H

#include <event2/event.h>

#include "bgp/bird_reply.h"

#define BIRD_TIMEOUT_MS 2000 /* for one round of questions; BIRD does not answer while it reads a large configuration */

/* What a BGP session, or a kernel protocol that is not ours, exports of our routes. */
struct bird_export {
	char name[BIRD_NAME_MAX + 1];
	enum bird_protocol_kind kind;
	struct bird_routes routes;
};

struct bird_report {
	char why[160]; /* not reached, or not understood; empty: all below is from one round */
	struct bird_protocols protocols;
	struct bird_export *export; /* of those that are up */
	size_t n_export;
};

struct bird;

/* done() is called once per round, and when an idle connection breaks; the report is valid during the call. */
int bird_new(struct event_base *base, const char *socket, void (*done)(void *ctx, const struct bird_report *r),
	     void *ctx, struct bird **out);
void bird_free(struct bird *b);

/* Begins a round; if one is under way another follows it, since that one may have looked too early. */
void bird_ask(struct bird *b);

#endif
