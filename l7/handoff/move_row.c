/* SPDX-License-Identifier: BSD-2-Clause */
/* What changes a row, and who may.  Rules 10 to 13 of move.h. */
#include "l7/handoff/move.h"

static void row_end(struct move_row *r)
{
	*r = (struct move_row){.state = ROW_NONE, .deadline_ms = UINT64_MAX};
}

static uint64_t timer(uint64_t now_ms, uint64_t ms)
{
	return MOVE_WITHOUT(NO_TIMER) ? UINT64_MAX : now_ms + ms;
}

void move_row_hold(struct move_row *r, const struct move_send *s)
{
	*r = (struct move_row){.state = ROW_HOLD, .cid = s->cid, .e = s->e, .owner = MOVE_NOBODY,
			       .deadline_ms = MOVE_WITHOUT(NO_DEADLINE) ? UINT64_MAX : s->deadline_ms};
}

void move_row_give(struct move_row *r, const struct move_send *s, uint64_t now_ms)
{
	*r = (struct move_row){.state = ROW_FWD, .cid = s->cid, .e = s->e, .owner = s->to, .owner_inc = s->to_inc,
			       .deadline_ms = s->ingress ? UINT64_MAX : timer(now_ms, MOVE_PASSING_MS)};
}

enum move_row_answer move_row_told(struct move_row *r, uint64_t cid, uint32_t e, uint16_t from, uint64_t from_inc,
				   bool sending, uint64_t now_ms)
{
	bool newer;

	if (r->state == ROW_NONE || r->state == ROW_ENDED || r->cid != cid || sending || (r->state == ROW_HOLD && now_ms >= r->deadline_ms))
		return ROW_SAY_NO_ROW;
	newer = e > r->e || (e == r->e && (r->state == ROW_HOLD || r->owner == from));
	if (!newer && !MOVE_WITHOUT(NO_ROW_E))
		return ROW_SAY_NO_ROW;
	*r = (struct move_row){.state = ROW_FWD, .cid = cid, .e = e, .owner = from, .owner_inc = from_inc,
			       .deadline_ms = UINT64_MAX};
	return ROW_SAY_OK;
}

void move_row_gone(struct move_row *r, uint64_t cid, uint32_t e, uint16_t from, uint64_t now_ms)
{
	if (r->state != ROW_FWD || r->cid != cid || r->owner != from || e < r->e)
		return;
	r->state = ROW_CLOSING;
	r->deadline_ms = timer(now_ms, MOVE_CLOSING_MS);
}

void move_row_ends(struct move_row *r, uint64_t cid, uint32_t e, uint64_t now_ms)
{
	*r = (struct move_row){.state = ROW_ENDED, .cid = cid, .e = e, .owner = MOVE_NOBODY, .deadline_ms = timer(now_ms, MOVE_CLOSING_MS)};
}

bool move_row_peer(struct move_row *r, uint16_t host, uint64_t inc)
{
	if ((r->state != ROW_FWD && r->state != ROW_CLOSING) || r->owner != host || r->owner_inc == inc)
		return false;
	row_end(r);
	return true;
}

bool move_row_tick(struct move_row *r, uint64_t now_ms)
{
	bool passing = r->state == ROW_FWD || r->state == ROW_CLOSING;

	if (r->state == ROW_NONE || now_ms < r->deadline_ms)
		return false;
	row_end(r);
	return passing;
}

void move_row_session_ended(struct move_row *r, uint16_t host, uint64_t now_ms)
{
	uint64_t end = timer(now_ms, MOVE_ORPHAN_MS);

	if (r->state == ROW_FWD && r->owner == host && end < r->deadline_ms)
		r->deadline_ms = end;
}

void move_row_adopt(struct move_row *r, uint64_t now_ms)
{
	uint64_t end = timer(now_ms, MOVE_ORPHAN_MS);

	if (r->state == ROW_FWD && end < r->deadline_ms)
		r->deadline_ms = end;
}
