/* SPDX-License-Identifier: BSD-2-Clause */
/* Every transition of a move's three parts: sender, receiver, row; and what the memory of moves forgets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "l7/handoff/move.h"

#define NOW 100000u
#define LATE (NOW + MOVE_DEADLINE_MS)

static const char *text(const struct move_actions *a)
{
	static char out[256];

	out[0] = '\0';
	for (unsigned i = 0; i < a->n; i++)
		snprintf(out + strlen(out), sizeof(out) - strlen(out), "%s%s", i ? ", " : "", move_action_name(a->action[i]));
	return out;
}

/* --- S ---------------------------------------------------------------------------------------------------- */
static struct move_send sender(enum move_send_state state, bool ingress)
{
	return (struct move_send){.state = state, .cid = 7, .e = 3, .to = 2, .to_inc = 20, .ingress = ingress,
				  .deadline_ms = LATE, .next_ms = NOW + MOVE_STATUS_MS};
}

static void assert_send(bool ingress, enum move_send_state from, enum move_send_event event, uint64_t inc, uint64_t now_ms,
			enum move_send_state to, const char *actions)
{
	struct move_send s = sender(from, ingress);
	struct move_actions out;

	move_send_step(&s, event, inc, now_ms, &out);
	assert_string_equal(move_send_state_name(s.state), move_send_state_name(to));
	assert_string_equal(text(&out), actions);
	if (to == SEND_GIVEN || to == SEND_RESUMED || to == SEND_LOST)
		assert_true(from == to || s.next_ms == UINT64_MAX); /* no timer is left behind */
}

static void test_send(void **state)
{
	(void)state;
	assert_send(true, SEND_IDLE, SEND_START, 0, NOW, SEND_HOLDING, "hold, export");
	assert_send(true, SEND_HOLDING, SEND_EXPORTED, 0, NOW, SEND_OFFERED, "send offer");
	assert_send(true, SEND_HOLDING, SEND_NOT_EXPORTED, 0, NOW, SEND_RESUMED, "resume");
	assert_send(true, SEND_HOLDING, SEND_TICK, 0, NOW, SEND_HOLDING, "");
	assert_send(true, SEND_HOLDING, SEND_TICK, 0, LATE, SEND_RESUMED, "resume");
	assert_send(true, SEND_HOLDING, SEND_PEER, 21, NOW, SEND_RESUMED, "resume");
	assert_send(true, SEND_HOLDING, SEND_PEER, 20, NOW, SEND_HOLDING, "");
	assert_send(true, SEND_HOLDING, SEND_ACCEPTED, 20, NOW, SEND_HOLDING, ""); /* of nothing that was offered */

	assert_send(true, SEND_OFFERED, SEND_UNSENT, 0, NOW, SEND_RESUMED, "resume");
	assert_send(true, SEND_OFFERED, SEND_ACCEPTED, 20, NOW, SEND_GIVEN, "give, send row ok");
	assert_send(false, SEND_OFFERED, SEND_ACCEPTED, 20, NOW, SEND_GIVEN, "give, send row ok");
	assert_send(true, SEND_OFFERED, SEND_ACCEPTED, 21, NOW, SEND_OFFERED, "");
	assert_send(true, SEND_OFFERED, SEND_ACCEPTED, 20, LATE, SEND_LOST, "wipe, send no row");
	assert_send(false, SEND_OFFERED, SEND_ACCEPTED, 20, LATE, SEND_LOST, "wipe, send gone");
	assert_send(true, SEND_OFFERED, SEND_REFUSED, 20, NOW, SEND_RESUMED, "resume");
	assert_send(true, SEND_OFFERED, SEND_REFUSED, 20, LATE, SEND_RESUMED, "resume");
	assert_send(true, SEND_OFFERED, SEND_REFUSED, 21, NOW, SEND_LOST, "wipe, send no row");
	assert_send(true, SEND_OFFERED, SEND_UNKNOWN, 0, NOW, SEND_LOST, "wipe, send no row");
	assert_send(false, SEND_OFFERED, SEND_LATER, 0, NOW, SEND_GIVEN, "give, send row ok");
	assert_send(false, SEND_OFFERED, SEND_LATER, 0, LATE, SEND_LOST, "wipe, send gone");
	assert_send(true, SEND_OFFERED, SEND_PEER, 20, NOW, SEND_OFFERED, "send status");
	assert_send(true, SEND_OFFERED, SEND_PEER, 21, NOW, SEND_LOST, "wipe, send no row");
	assert_send(true, SEND_OFFERED, SEND_TICK, 0, NOW, SEND_OFFERED, "");
	assert_send(true, SEND_OFFERED, SEND_TICK, 0, NOW + MOVE_STATUS_MS, SEND_OFFERED, "send status");
	assert_send(true, SEND_OFFERED, SEND_TICK, 0, LATE, SEND_LOST, "wipe, send no row");

	/* The end is the end, whatever still comes. */
	for (enum move_send_state end = SEND_GIVEN; end <= SEND_LOST; end++) {
		for (enum move_send_event event = SEND_START; event < SEND_EVENTS; event++)
			assert_send(true, end, event, 20, LATE, end, "");
	}
}

/* --- R ---------------------------------------------------------------------------------------------------- */
static void assert_recv(uint16_t from, uint16_t ingress, enum move_recv_state at, enum move_recv_event event, uint64_t inc,
			uint64_t now_ms, enum move_recv_state to, const char *actions)
{
	struct move_recv r = {.state = at, .cid = 7, .e = 3, .from = from, .from_inc = 10, .serial = 5, .ingress = ingress,
			      .here = ingress == 2, .confirmed = at == RECV_OWNED, .ingress_inc = 30,
			      .deadline_ms = NOW + MOVE_CONFIRM_MS, .next_ms = NOW + MOVE_ROW_AGAIN_MS};
	struct move_actions out = {.n = 0};

	move_recv_step(&r, event, inc, now_ms, &out);
	assert_string_equal(move_recv_state_name(r.state), move_recv_state_name(to));
	assert_string_equal(text(&out), actions);
}

static void test_recv(void **state)
{
	(void)state;
	/* S is 1; I is 1, or 2 (here), or 3. */
	assert_recv(1, 1, RECV_UNSEEN, RECV_OFFER, 0, NOW, RECV_IMPORTING, "settle own, drop row, import");
	assert_recv(1, 1, RECV_UNSEEN, RECV_UNWANTED, 0, NOW, RECV_BURNT, "settle own, send refuse");
	assert_recv(1, 1, RECV_IMPORTING, RECV_IMPORTED, 0, NOW, RECV_UNCONFIRMED, "send accept");
	assert_recv(1, 3, RECV_IMPORTING, RECV_IMPORTED, 0, NOW, RECV_UNCONFIRMED, "send accept");
	assert_recv(1, 3, RECV_UNCONFIRMED, RECV_CLOSED, 0, NOW, RECV_ENDED, "send row, send gone");
	assert_recv(1, 3, RECV_OWNED, RECV_CLOSED, 0, NOW, RECV_ENDED, "send gone");
	assert_recv(1, 3, RECV_UNCONFIRMED, RECV_PASSED, 0, NOW, RECV_UNCONFIRMED, "send row");
	assert_recv(1, 1, RECV_UNCONFIRMED, RECV_PASSED, 0, NOW, RECV_UNCONFIRMED, "");
	assert_recv(1, 3, RECV_OWNED, RECV_PASSED, 0, NOW, RECV_OWNED, "");
	assert_recv(1, 2, RECV_IMPORTING, RECV_IMPORTED, 0, NOW, RECV_OWNED, "send accept");
	assert_recv(1, 1, RECV_IMPORTING, RECV_NOT_IMPORTED, 0, NOW, RECV_BURNT, "send refuse");
	assert_recv(1, 1, RECV_BURNT, RECV_AGAIN, 0, NOW, RECV_BURNT, "send refuse");
	assert_recv(1, 1, RECV_ENDED, RECV_AGAIN, 0, NOW, RECV_ENDED, "send accept");
	for (enum move_recv_event e = RECV_IMPORTED; e < RECV_EVENTS; e++) {
		assert_recv(1, 1, RECV_BURNT, e, 0, NOW, RECV_BURNT, "");
		assert_recv(1, 1, RECV_ENDED, e, 0, NOW, RECV_ENDED, "");
	}
	for (enum move_recv_state s = RECV_UNCONFIRMED; s <= RECV_OWNED; s++) {
		assert_recv(1, 1, s, RECV_AGAIN, 0, NOW, s, "send accept");
		assert_recv(1, 1, s, RECV_LEFT, 0, NOW, RECV_ENDED, "");
		assert_recv(1, 1, s, RECV_CLOSED, 0, NOW, RECV_ENDED, "send gone");
		assert_recv(1, 2, s, RECV_CLOSED, 0, NOW, RECV_ENDED, "");
	}
	assert_recv(1, 1, RECV_UNCONFIRMED, RECV_ROW_OK, 30, NOW, RECV_OWNED, "");
	assert_recv(1, 1, RECV_UNCONFIRMED, RECV_ROW_OK, 29, NOW, RECV_UNCONFIRMED, "");
	assert_recv(1, 1, RECV_UNCONFIRMED, RECV_NO_ROW, 0, NOW, RECV_ENDED, "end, send gone");
	assert_recv(1, 1, RECV_OWNED, RECV_NO_ROW, 0, NOW, RECV_OWNED, "");
	assert_recv(1, 1, RECV_OWNED, RECV_INGRESS_DOWN, 0, NOW, RECV_UNCONFIRMED, "");
	assert_recv(1, 2, RECV_OWNED, RECV_INGRESS_DOWN, 0, NOW, RECV_OWNED, "");
	assert_recv(1, 1, RECV_OWNED, RECV_INGRESS_UP, 31, NOW, RECV_UNCONFIRMED, "send row");
	assert_recv(1, 1, RECV_UNCONFIRMED, RECV_INGRESS_UP, 31, NOW, RECV_UNCONFIRMED, "send accept");
	assert_recv(1, 3, RECV_UNCONFIRMED, RECV_INGRESS_UP, 31, NOW, RECV_UNCONFIRMED, "send row");
	assert_recv(1, 3, RECV_UNCONFIRMED, RECV_TICK, 0, NOW, RECV_UNCONFIRMED, "");
	assert_recv(1, 3, RECV_UNCONFIRMED, RECV_TICK, 0, NOW + MOVE_ROW_AGAIN_MS, RECV_UNCONFIRMED, "send row");
	assert_recv(1, 3, RECV_UNCONFIRMED, RECV_TICK, 0, NOW + MOVE_CONFIRM_MS, RECV_ENDED, "end, send gone");
}

/* --- rows --------------------------------------------------------------------------------------------------- */
static struct move_row row(enum row_state state)
{
	return (struct move_row){.state = state, .cid = 7, .e = 3, .owner = state == ROW_HOLD ? MOVE_NOBODY : 2,
				 .owner_inc = 20, .deadline_ms = state == ROW_FWD ? UINT64_MAX : LATE};
}

static void assert_told(enum row_state at, uint64_t cid, uint32_t e, uint16_t from, bool sending, uint64_t now_ms,
			enum move_row_answer answer)
{
	struct move_row r = row(at), before = r;

	assert_int_equal(move_row_told(&r, cid, e, from, 40, sending, now_ms), answer);
	if (answer == ROW_SAY_OK)
		assert_true(r.state == ROW_FWD && r.owner == from && r.e == e && r.owner_inc == 40 && r.deadline_ms == UINT64_MAX);
	else
		assert_memory_equal(&r, &before, sizeof(r));
}

static void test_row(void **state)
{
	struct move_row r;

	(void)state;
	assert_told(ROW_NONE, 7, 3, 2, false, NOW, ROW_SAY_NO_ROW);
	assert_told(ROW_FWD, 7, 3, 2, false, NOW, ROW_SAY_OK); /* again */
	assert_told(ROW_FWD, 7, 3, 4, false, NOW, ROW_SAY_NO_ROW);
	assert_told(ROW_FWD, 7, 4, 4, false, NOW, ROW_SAY_OK);
	assert_told(ROW_FWD, 7, 2, 2, false, NOW, ROW_SAY_NO_ROW);
	assert_told(ROW_FWD, 8, 4, 4, false, NOW, ROW_SAY_NO_ROW); /* the port was used again */
	assert_told(ROW_CLOSING, 7, 4, 4, false, NOW, ROW_SAY_OK);
	assert_told(ROW_HOLD, 7, 3, 4, false, NOW, ROW_SAY_OK); /* a restart left it */
	assert_told(ROW_HOLD, 7, 3, 4, false, LATE, ROW_SAY_NO_ROW);
	assert_told(ROW_HOLD, 7, 3, 4, true, NOW, ROW_SAY_NO_ROW);
	assert_told(ROW_ENDED, 7, 4, 4, false, NOW, ROW_SAY_NO_ROW); /* where it has ended no word brings it back */

	r = row(ROW_FWD);
	move_row_gone(&r, 7, 3, 4, NOW);
	assert_int_equal(r.state, ROW_FWD);
	move_row_gone(&r, 7, 2, 2, NOW);
	assert_int_equal(r.state, ROW_FWD);
	assert_false(move_row_peer(&r, 4, 21));
	assert_false(move_row_peer(&r, 2, 20));
	move_row_session_ended(&r, 4, NOW);
	assert_true(r.deadline_ms == UINT64_MAX);
	move_row_session_ended(&r, 2, NOW);
	assert_true(r.deadline_ms == NOW + MOVE_ORPHAN_MS);
	move_row_adopt(&r, NOW + 5); /* no more time than it had */
	assert_true(r.deadline_ms == NOW + MOVE_ORPHAN_MS);
	move_row_gone(&r, 7, 3, 2, NOW);
	assert_true(r.state == ROW_CLOSING && r.deadline_ms == NOW + MOVE_CLOSING_MS);
	assert_false(move_row_tick(&r, NOW));
	assert_true(move_row_tick(&r, NOW + MOVE_CLOSING_MS));
	assert_int_equal(r.state, ROW_NONE);
	r = row(ROW_FWD);
	assert_true(move_row_peer(&r, 2, 21));
	assert_int_equal(r.state, ROW_NONE);
	move_row_ends(&r, 7, 3, NOW);
	move_row_gone(&r, 7, 3, 2, NOW + 5);
	move_row_session_ended(&r, 2, NOW + 5);
	move_row_adopt(&r, NOW + 5);
	assert_false(move_row_peer(&r, 2, 21));
	assert_true(r.state == ROW_ENDED && r.owner == MOVE_NOBODY && r.deadline_ms == NOW + MOVE_CLOSING_MS);
	assert_false(move_row_tick(&r, NOW + MOVE_CLOSING_MS)); /* it passed nothing on */
	assert_int_equal(r.state, ROW_NONE);
}

/* --- the memory ------------------------------------------------------------------------------------------- */
static const char *offered(struct move_memory *m, uint64_t cid, uint32_t e, uint64_t serial, bool willing, uint64_t to_inc)
{
	struct move_offer o = {.cid = cid, .e = e, .from = 1, .ingress = 1, .from_inc = 10, .to_inc = to_inc, .serial = serial};
	struct move_actions out, more;
	struct move_recv *r = move_memory_offer(m, &o, willing, NOW, &out);

	if (r && r->state == RECV_IMPORTING)
		move_memory_step(m, r, RECV_IMPORTED, 0, NOW, &more);
	return text(&out);
}

static const char *asked(struct move_memory *m, uint64_t cid, uint32_t e, uint64_t serial)
{
	struct move_offer o = {.cid = cid, .e = e, .from = 1, .ingress = 1, .from_inc = 10, .to_inc = 20, .serial = serial};
	struct move_actions out;

	move_memory_status(m, &o, NOW, &out);
	return text(&out);
}

static void test_memory(void **state)
{
	struct move_memory *m = move_memory_new(2, 20, 4, 8);
	struct move_actions out;

	(void)state;
	assert_string_equal(offered(m, 1, 1, 1, true, 20), ""); /* of no session that we know */
	move_memory_peer(m, 1, 10);
	assert_string_equal(offered(m, 1, 1, 1, true, 19), "send unknown");
	assert_string_equal(offered(m, 1, 1, 1, true, 20), "settle own, drop row, import");
	assert_string_equal(offered(m, 1, 1, 1, true, 20), "send accept");
	assert_string_equal(asked(m, 1, 1, 1), "send accept");
	assert_string_equal(offered(m, 1, 2, 2, true, 20), "send unknown"); /* of what is ours nobody else can make an offer */
	assert_string_equal(asked(m, 2, 1, 3), "settle own, send refuse"); /* never seen, now burnt */
	assert_string_equal(offered(m, 2, 1, 3, true, 20), "send refuse");
	assert_string_equal(offered(m, 2, 2, 4, true, 20), "settle own, drop row, import"); /* the next move is another */
	assert_string_equal(asked(m, 2, 1, 3), "send unknown");
	/* Room is made from what is settled, and what was forgotten is not taken for new. */
	assert_string_equal(offered(m, 3, 1, 5, false, 20), "settle own, send refuse");
	assert_string_equal(offered(m, 4, 1, 6, true, 20), "settle own, drop row, import");
	assert_string_equal(offered(m, 5, 1, 7, true, 20), "settle own, drop row, import");
	assert_int_equal(move_memory_forgotten(m), 1);
	assert_string_equal(offered(m, 3, 1, 5, true, 20), "send unknown");
	assert_string_equal(asked(m, 3, 1, 5), "send unknown");
	/* All of it is owned: refused, for good. */
	assert_string_equal(offered(m, 6, 1, 8, true, 20), "send refuse");
	move_memory_step(m, move_memory_find(m, 4), RECV_CLOSED, 0, NOW, &out);
	assert_string_equal(offered(m, 6, 1, 8, true, 20), "send unknown");
	assert_string_equal(offered(m, 6, 2, 9, true, 20), "settle own, drop row, import");
	assert_int_equal(move_memory_used(m), 4);
	/* A confirmation of what is not ours. */
	move_memory_row_ok(m, 4, 1, 30, NOW, &out);
	assert_string_equal(text(&out), "send gone");
	move_memory_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_send),
		cmocka_unit_test(test_recv),
		cmocka_unit_test(test_row),
		cmocka_unit_test(test_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
