/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The receiver of moves.  Rules 5 to 9 of move.h.
 *
 *   UNSEEN -> IMPORTING -> UNCONFIRMED <-> OWNED -> ENDED      UNSEEN, IMPORTING -> BURNT
 *
 * A later offer of the same connection begins anew from BURNT or ENDED.
 */
#include "l7/handoff/move.h"

#include <assert.h>

static void act(struct move_actions *out, enum move_action action)
{
	assert(out->n < MOVE_ACTIONS_MAX);
	out->action[out->n++] = (uint8_t)action;
}

/* The one place that assigns the state. */
static void enter(struct move_recv *r, enum move_recv_state to, uint64_t now_ms)
{
	r->state = to;
	r->deadline_ms = r->next_ms = UINT64_MAX;
	if (to == RECV_OWNED)
		r->confirmed = true;
	if (to == RECV_UNCONFIRMED) {
		r->deadline_ms = now_ms + (r->confirmed ? MOVE_CONFIRM_AGAIN_MS : MOVE_CONFIRM_MS);
		r->next_ms = now_ms + MOVE_ROW_AGAIN_MS;
	}
}

/* To I that it is ours: ROW, or ACCEPT where S is I, which says the same. */
static void tell(struct move_recv *r, uint64_t now_ms, struct move_actions *out)
{
	act(out, r->from == r->ingress && !r->confirmed ? MOVE_SEND_ACCEPT : MOVE_SEND_ROW);
	r->next_ms = now_ms + MOVE_ROW_AGAIN_MS;
}

static void imported(struct move_recv *r, uint64_t now_ms, struct move_actions *out)
{
	enter(r, r->here ? RECV_OWNED : RECV_UNCONFIRMED, now_ms);
	act(out, MOVE_SEND_ACCEPT);
}

static void end(struct move_recv *r, uint64_t now_ms, struct move_actions *out, bool close)
{
	bool untold = r->state == RECV_UNCONFIRMED && !r->confirmed && !r->here && r->from != r->ingress;

	enter(r, RECV_ENDED, now_ms);
	if (close)
		act(out, MOVE_END);
	else if (untold)
		act(out, MOVE_SEND_ROW); /* I's row names S still: GONE is heard from a row's owner only */
	if (!r->here)
		act(out, MOVE_SEND_GONE);
}

static void owner(struct move_recv *r, enum move_recv_event event, uint64_t inc, uint64_t now_ms, struct move_actions *out)
{
	switch (event) {
	case RECV_AGAIN:
		act(out, MOVE_SEND_ACCEPT);
		break;
	case RECV_ROW_OK: /* of an incarnation before the one that we know: it may have lost the row since */
		if (r->state == RECV_UNCONFIRMED && (r->ingress_inc == inc || MOVE_WITHOUT(NO_INC)))
			enter(r, RECV_OWNED, now_ms);
		break;
	case RECV_NO_ROW:
		if (r->state == RECV_UNCONFIRMED && !r->frozen)
			end(r, now_ms, out, true);
		break;
	case RECV_INGRESS_DOWN:
		if (!r->here && r->state == RECV_OWNED)
			enter(r, RECV_UNCONFIRMED, now_ms);
		break;
	case RECV_INGRESS_UP:
		if (r->here)
			break;
		r->ingress_inc = inc;
		if (r->state == RECV_OWNED)
			enter(r, RECV_UNCONFIRMED, now_ms);
		tell(r, now_ms, out);
		break;
	case RECV_LEFT:
		enter(r, RECV_ENDED, now_ms);
		break;
	case RECV_CLOSED:
		end(r, now_ms, out, false);
		break;
	case RECV_PASSED:
		if (r->state == RECV_UNCONFIRMED && !r->confirmed && r->from != r->ingress)
			tell(r, now_ms, out);
		break;
	case RECV_TICK:
		if (now_ms >= r->deadline_ms && !r->frozen)
			end(r, now_ms, out, true);
		else if (now_ms >= r->next_ms)
			tell(r, now_ms, out);
		break;
	case RECV_OFFER:
	case RECV_UNWANTED:
	case RECV_IMPORTED:
	case RECV_NOT_IMPORTED:
	case RECV_EVENTS:
		assert(!"an owner is offered nothing");
	}
}

void move_recv_step(struct move_recv *r, enum move_recv_event event, uint64_t inc, uint64_t now_ms,
		    struct move_actions *out)
{
	switch (r->state) {
	case RECV_UNSEEN:
		assert(event == RECV_OFFER || event == RECV_UNWANTED);
		act(out, MOVE_SETTLE_OWN);
		if (event == RECV_UNWANTED) {
			enter(r, RECV_BURNT, now_ms);
			act(out, MOVE_SEND_REFUSE);
			break;
		}
		enter(r, RECV_IMPORTING, now_ms);
		if (!MOVE_WITHOUT(NO_DROP))
			act(out, MOVE_DROP_ROW);
		act(out, MOVE_IMPORT);
		break;
	case RECV_IMPORTING:
		if (event == RECV_IMPORTED) {
			imported(r, now_ms, out);
		} else if (event == RECV_NOT_IMPORTED) {
			enter(r, RECV_BURNT, now_ms);
			act(out, MOVE_SEND_REFUSE);
		}
		break;
	case RECV_BURNT:
		if (event == RECV_AGAIN)
			act(out, MOVE_SEND_REFUSE);
		break;
	case RECV_UNCONFIRMED:
	case RECV_OWNED:
		owner(r, event, inc, now_ms, out);
		break;
	case RECV_ENDED:
		if (event == RECV_AGAIN)
			act(out, MOVE_SEND_ACCEPT);
		break;
	case RECV_STATES:
		assert(!"no such state");
	}
}

const char *move_recv_state_name(enum move_recv_state state)
{
	static const char *const name[RECV_STATES] = {"unseen", "burnt", "importing", "unconfirmed", "owned", "ended"};

	return name[state];
}
