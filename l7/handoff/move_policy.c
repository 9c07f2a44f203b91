/* SPDX-License-Identifier: BSD-2-Clause */
/* Whether a connection moves.  See move_policy.h. */
#include "l7/handoff/move_policy.h"

#include <assert.h>
#include <stdlib.h>

#include "l7/handoff/move_wire.h"

#define WAYS 4
#define SHIFT 3		     /* a new sample weighs an eighth */
#define ONE (1u << 16)	     /* a probability */
#define SETTLES 4	     /* samples of a route before its mean is believed */

static struct move_decision decided(enum move_mode mode, enum move_reason reason)
{
	return (struct move_decision){mode, reason};
}

/* Rule 1: the first obstacle, or REASONS. */
static enum move_reason obstacle(const struct move_question *q)
{
	if (q->route_mode == ROUTE_PROXY)
		return REASON_CONFIGURED;
	if (!q->protocol_moves)
		return REASON_PROTOCOL;
	if (q->upload)
		return REASON_UPLOAD;
	if (!q->capable)
		return REASON_NOT_CAPABLE;
	if (!q->session)
		return REASON_NO_SESSION;
	if (!q->way)
		return REASON_NO_ROUTE;
	if (q->now_ms < q->backoff_until_ms)
		return REASON_BACKOFF;
	if (!q->settled)
		return REASON_UNCONFIRMED;
	if (!q->socket_moves)
		return REASON_SOCKET;
	return REASONS;
}

struct move_decision move_decide(const struct move_question *q)
{
	uint64_t pays = q->tls ? MOVE_PAYS_TLS : MOVE_PAYS_PLAIN, stay = q->stay ? q->stay : 1;
	uint64_t each = (pays + MOVE_REQUEST + stay - 1) / stay; /* divided, not multiplied: sizes may be anything */
	enum move_reason no;

	if (q->here)
		return decided(MODE_HERE, REASON_STAYS);
	no = obstacle(q);
	if (no != REASONS)
		return decided(MODE_PROXY, no);
	if (q->same_host)
		return decided(MODE_HANDOFF, REASON_SAME_HOST);
	if (q->route_mode == ROUTE_HANDOFF)
		return decided(MODE_HANDOFF, REASON_FORCED);
	if (q->size == 0)
		return decided(MODE_PROXY, REASON_UNKNOWN_SIZE);
	if (each > MOVE_REQUEST && q->size < each - MOVE_REQUEST)
		return decided(MODE_PROXY, REASON_SMALL);
	if (q->moves >= MOVE_FREE && q->moves - MOVE_FREE >= q->octets / pays)
		return decided(MODE_PROXY, REASON_BUDGET);
	return decided(MODE_HANDOFF, q->size >= pays ? REASON_LARGE : REASON_AFFINITY);
}

enum move_mode move_reason_mode(enum move_reason reason)
{
	return reason < REASON_STAYS || reason == REASON_NO_ROUTE ? MODE_PROXY : reason == REASON_STAYS ? MODE_HERE : MODE_HANDOFF;
}

const char *move_reason_name(enum move_reason reason)
{
	static const char *const name[REASONS] = {
		"configured", "protocol", "upload",    "not_capable", "no_session", "backoff",  "unconfirmed", "socket",
		"refused",    "unknown_size", "small",  "budget", "stays",	   "same_host",	 "large",    "affinity",    "forced",      "no_route"};

	return name[reason];
}

/* --- what is learned ------------------------------------------------------------------------------------------- */
struct known_object {
	uint64_t hash; /* 0: free */
	uint64_t size;
	uint32_t used;
};

struct known_route {
	uint64_t mean;
	uint32_t samples, same; /* same: of ONE */
};

struct move_sizes {
	uint32_t routes, sets, clock;
	struct known_route *route;
	struct known_object *object;
};

struct move_sizes *move_sizes_new(uint32_t routes, uint32_t objects)
{
	struct move_sizes *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->routes = routes;
	s->sets = 1;
	while (s->sets * WAYS < objects && s->sets < 1u << 24)
		s->sets *= 2;
	s->route = calloc(routes ? routes : 1, sizeof(*s->route));
	s->object = calloc((size_t)s->sets * WAYS, sizeof(*s->object));
	if (!s->route || !s->object) {
		move_sizes_free(s);
		return NULL;
	}
	return s;
}

void move_sizes_free(struct move_sizes *s)
{
	if (!s)
		return;
	free(s->route);
	free(s->object);
	free(s);
}

static struct known_object *set_of(const struct move_sizes *s, uint64_t hash)
{
	return &s->object[(size_t)(hash & (s->sets - 1)) * WAYS];
}

static uint64_t nonzero(uint64_t hash)
{
	return hash ? hash : 1;
}

static uint64_t blend(uint64_t old, uint64_t new)
{
	return new >= old ? old + ((new - old) >> SHIFT) : old - ((old - new) >> SHIFT);
}

void move_sizes_answer(struct move_sizes *s, uint32_t route, uint64_t octets)
{
	struct known_route *r = &s->route[route];

	assert(route < s->routes);
	r->mean = r->samples ? blend(r->mean, octets) : octets;
	if (r->samples < SETTLES)
		r->samples++;
}

void move_sizes_object(struct move_sizes *s, uint64_t object, uint64_t octets)
{
	struct known_object *set = set_of(s, object), *at = &set[0];

	object = nonzero(object);
	for (unsigned i = 0; i < WAYS; i++) {
		if (set[i].hash == object) {
			at = &set[i];
			break;
		}
		if (s->clock - set[i].used > s->clock - at->used)
			at = &set[i];
	}
	/* The last size, not a mean: an object changes seldom, and then for good. */
	*at = (struct known_object){.hash = object, .size = octets ? octets : 1, .used = s->clock++};
}

void move_sizes_followed(struct move_sizes *s, uint32_t route, bool same_backend)
{
	struct known_route *r = &s->route[route];

	assert(route < s->routes);
	if (same_backend)
		r->same += (ONE - r->same + 31) >> 5; /* rounded up, so that it arrives at ONE */
	else
		r->same -= r->same >> 5;
}

uint64_t move_sizes_expect(const struct move_sizes *s, uint32_t route, uint64_t object)
{
	const struct known_object *set = set_of(s, object);

	object = nonzero(object);
	for (unsigned i = 0; i < WAYS; i++) {
		if (set[i].hash == object)
			return set[i].size;
	}
	assert(route < s->routes);
	return s->route[route].samples >= SETTLES ? s->route[route].mean : 0;
}

/* A run whose every next request stays with probability p is 1 / (1 - p) long. */
uint32_t move_sizes_stay(const struct move_sizes *s, uint32_t route)
{
	uint32_t leaves;

	assert(route < s->routes);
	leaves = ONE - s->route[route].same;
	return leaves <= ONE / MOVE_STAY_MAX ? MOVE_STAY_MAX : ONE / leaves;
}

/* --- refusals --------------------------------------------------------------------------------------------------- */
void move_refused(struct move_backoff *b, uint64_t now_ms)
{
	uint32_t ms = b->next_ms ? b->next_ms : MOVE_BACKOFF_MIN_MS;

	/* Offers that were under way together are refused together, and count once. */
	if (now_ms < b->until_ms)
		return;
	b->until_ms = now_ms + ms;
	b->next_ms = ms * 2 > MOVE_BACKOFF_MAX_MS ? MOVE_BACKOFF_MAX_MS : ms * 2;
}

void move_accepted(struct move_backoff *b)
{
	*b = (struct move_backoff){0};
}

uint8_t move_willing(const struct move_load *l)
{
	if (l->draining)
		return REFUSE_DRAINING;
	if (l->lag_ms > l->lag_max_ms || l->connections >= l->connections_max || l->importing >= l->importing_max ||
	    l->octets >= l->octets_max)
		return REFUSE_BUSY;
	return 0;
}
