/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Announcing VIPs.  What to announce is a pure decision (announce_decide); how is the kernel's route
 * table: routes of our own protocol number in our own table, which BIRD learns through a fragment
 * that we ship and its operator includes.  We never write the operator's file.  The route's metric
 * chooses the attributes: 100 normal, 200 GRACEFUL_SHUTDOWN (RFC 8326) and lower preference.
 */
#ifndef BGP_SPEAKER_H
#define BGP_SPEAKER_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>

#include "pop/pop.h"

enum announce {
	ANNOUNCE_NO,
	ANNOUNCE_NORMAL,
	ANNOUNCE_GRACEFUL_SHUTDOWN,
	ANNOUNCE_KEEP, /* what the kernel holds now, whatever it is, stays: we do not know enough yet */
};

struct announcement {
	struct address prefix; /* /32 or /128 */
	enum announce how;
};

struct speaker;

struct speaker_status {
	bool in_kernel;	    /* the routes are what was wanted */
	bool bird_reached;  /* its control socket answers */
	bool fragment_included;
	bool exported;	    /* BIRD has the routes with the wanted attributes */
	unsigned sessions_up, sessions;
	char why[256];	    /* what is wrong, for the operator; empty if nothing */
};

int speaker_new(struct event_base *base, const struct pop *pop, const struct switch_conf *sw, struct speaker **out);
void speaker_free(struct speaker *s, bool withdraw);
/* Reconciles the kernel's table; then asks BIRD.  status() is called on every change of status. */
int speaker_want(struct speaker *s, const struct announcement *a, size_t n);
void speaker_on_status(struct speaker *s, void (*status)(void *ctx, const struct speaker_status *st), void *ctx);
const struct speaker_status *speaker_status(const struct speaker *s);

#endif
