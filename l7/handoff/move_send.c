/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The sender of a move.  Rules 1 to 4 of move.h.
 *
 *   IDLE -> HOLDING -> OFFERED -> GIVEN | RESUMED | LOST
 *              `-> RESUMED
 */
#include "l7/handoff/move.h"

#include <assert.h>

static void act(struct move_actions *out, enum move_action action)
{
	assert(out->n < MOVE_ACTIONS_MAX);
	out->action[out->n++] = (uint8_t)action;
}

/* The one place that assigns the state. */
static void enter(struct move_send *s, enum move_send_state to, uint64_t now_ms, struct move_actions *out)
{
	s->state = to;
	s->next_ms = UINT64_MAX;
	switch (to) {
	case SEND_IDLE:
	case SEND_STATES:
		assert(!"a move goes on");
		break;
	case SEND_HOLDING:
		s->deadline_ms = s->next_ms = now_ms + MOVE_DEADLINE_MS;
		act(out, MOVE_HOLD);
		act(out, MOVE_EXPORT);
		break;
	case SEND_OFFERED:
		s->next_ms = now_ms + MOVE_STATUS_MS;
		act(out, MOVE_SEND_OFFER);
		break;
	case SEND_GIVEN:
		act(out, MOVE_GIVE);
		act(out, MOVE_SEND_ROW_OK);
		break;
	case SEND_RESUMED:
		act(out, MOVE_RESUME);
		break;
	case SEND_LOST:
		act(out, MOVE_WIPE);
		if (s->ingress)
			act(out, MOVE_SEND_NO_ROW); /* should R have it all the same, it learns at once */
		else
			act(out, MOVE_SEND_GONE);
		break;
	}
}

/* Past the deadline the row holds no more: this kernel may have acknowledged what R will never see. */
static bool late(const struct move_send *s, uint64_t now_ms)
{
	return now_ms >= s->deadline_ms && !MOVE_WITHOUT(NO_LATE);
}

static bool the_same(const struct move_send *s, uint64_t inc)
{
	return inc == s->to_inc || MOVE_WITHOUT(NO_INC);
}

static void ask(struct move_send *s, uint64_t now_ms, struct move_actions *out)
{
	s->next_ms = now_ms + MOVE_STATUS_MS;
	act(out, MOVE_SEND_STATUS);
}

static void offered(struct move_send *s, enum move_send_event event, uint64_t inc, uint64_t now_ms,
		    struct move_actions *out)
{
	switch (event) {
	case SEND_UNSENT:
		enter(s, SEND_RESUMED, now_ms, out);
		break;
	case SEND_ACCEPTED:
		if (the_same(s, inc))
			enter(s, late(s, now_ms) ? SEND_LOST : SEND_GIVEN, now_ms, out);
		break;
	case SEND_REFUSED: /* even when late: its own socket has missed nothing */
		enter(s, the_same(s, inc) ? SEND_RESUMED : SEND_LOST, now_ms, out);
		break;
	case SEND_UNKNOWN:
		enter(s, SEND_LOST, now_ms, out);
		break;
	case SEND_LATER:
		enter(s, late(s, now_ms) ? SEND_LOST : SEND_GIVEN, now_ms, out);
		break;
	case SEND_PEER:
		if (the_same(s, inc))
			ask(s, now_ms, out);
		else
			enter(s, SEND_LOST, now_ms, out);
		break;
	case SEND_TICK:
		if (now_ms >= s->deadline_ms && !MOVE_WITHOUT(NO_DEADLINE))
			enter(s, SEND_LOST, now_ms, out);
		else if (now_ms >= s->next_ms)
			ask(s, now_ms, out);
		break;
	case SEND_START:
	case SEND_EXPORTED:
	case SEND_NOT_EXPORTED:
	case SEND_EVENTS:
		assert(!"the edge's own events come in order");
	}
}

void move_send_step(struct move_send *s, enum move_send_event event, uint64_t inc, uint64_t now_ms,
		    struct move_actions *out)
{
	out->n = 0;
	switch (s->state) {
	case SEND_IDLE:
		assert(event == SEND_START);
		enter(s, SEND_HOLDING, now_ms, out);
		break;
	case SEND_HOLDING:
		/* Nothing has left this host: whatever else happens, it goes on here. */
		if (event == SEND_EXPORTED)
			enter(s, SEND_OFFERED, now_ms, out);
		else if (event == SEND_NOT_EXPORTED || (event == SEND_TICK && now_ms >= s->deadline_ms) ||
			 (event == SEND_PEER && inc != s->to_inc))
			enter(s, SEND_RESUMED, now_ms, out);
		break;
	case SEND_OFFERED:
		offered(s, event, inc, now_ms, out);
		break;
	case SEND_GIVEN: /* what comes late or twice is for the row's keeper */
	case SEND_RESUMED:
	case SEND_LOST:
		break;
	case SEND_STATES:
		assert(!"no such state");
	}
}

const char *move_send_state_name(enum move_send_state state)
{
	static const char *const name[SEND_STATES] = {"idle", "holding", "offered", "given", "resumed", "lost"};

	return name[state];
}

const char *move_action_name(enum move_action action)
{
	static const char *const name[] = {
		"hold", "export", "send offer", "send status", "give", "resume", "wipe", "settle own", "drop row", "import",
		"send accept", "send refuse", "send unknown", "send row", "end", "send row ok", "send no row", "send gone"};

	return name[action];
}
