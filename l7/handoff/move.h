/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A move: the hand-off of one live connection from its owner S to a receiver R, on the word of nobody else.
 * I is the ingress host, to which the network brings the client's packets.  Everything here is pure: a state, an event
 * and the time in, actions out; sockets, rows, keys and messages are at the edge, which does the actions in order.
 * tests/model/handoff.pml is this protocol for a model checker, with the same names, and says which rule keeps
 * what; tests/unit/test_move_sim.c runs this code over a bad network.
 *
 * Names: `cid`, the connection, 64 random bits at accept; `e`, its owner's counter, one more for each move, used up by a
 * refusal too; `inc`, a process's incarnation; `serial`, a sender's counter of offers to one peer.
 *
 * S  1 MOVE_HOLD, MOVE_EXPORT: the row holds both directions before anything is read; the socket stays, frozen
 *    2 exported: OFFER.  From here S neither seals, nor answers, nor closes.  Not exported, or not sent: MOVE_RESUME
 *    3 ACCEPT by the incarnation that was offered to, in time: MOVE_GIVE.  REFUSE by it: MOVE_RESUME (nothing was
 *      restored, so nothing can fail).  "Unknown", another incarnation, or the deadline: MOVE_WIPE: the client is reset.
 *      Silence: STATUS, at once when the peer's session is back.  Never guess
 *    4 an offer of a later move of this connection is an ACCEPT: only an heir can make one
 * R  5 an offer or a question for another incarnation than ours: unknown
 *    6 the e that is remembered: the same reply again.  A lower e, or a serial at or below what was forgotten: unknown
 *    7 unwilling, or a question about what was never offered: remembered as burnt, REFUSE
 *    8 else MOVE_DROP_ROW, MOVE_IMPORT; imported: R owns, ACCEPT.  Not imported: burnt.  Where neither is I: ROW to I once S
 *      says that what it held has gone on (ROW, confirmed), or says nothing for MOVE_ROW_AGAIN_MS, or R ends.  Any earlier
 *      what the client sends next would overtake what S holds, and after a FIN older packets meet a closed socket
 *    9 R tells I until I confirms; then, and not before, it may move the connection on.  "No row", or no word from I in
 *      time: MOVE_END.  A session with I that ends, or a new incarnation of I: it says ROW again when there is one
 * I 10 ROW changes a row, never makes one: a higher e; or the same from the row's owner, or over a HOLD that a restart
 *      left.  Confirmed or "no row".  An ACCEPT that nobody waits for counts as ROW
 *   11 GONE(ended) from the row's owner: CLOSING.  An owner's new incarnation: no row.  An owner's session that ended,
 *      or a restart of I: the row gets a timer, which ROW lifts
 *   12 where S is not I its row has a timer, longer than R waits for I; when it ends, S says GONE(ended) of its own tenure.
 *      Once I's row names R, R says GONE(ended) of this e to such an S, whose row is then only for what is under way: else
 *      a drain of S would wait for the timer
 * 13 R, when the connection ends in order: its own row is ENDED for a while, and no word changes that
 */
#ifndef L7_HANDOFF_MOVE_H
#define L7_HANDOFF_MOVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "l7/row/flow.h"

#define MOVE_DEADLINE_MS 3000	     /* of a HOLD, in the row and in the daemon: longer than a silent session lives */
#define MOVE_STATUS_MS 100	     /* silence before STATUS, and between two */
#define MOVE_CONFIRM_MS 10000	     /* R waits so long for I's first word */
#define MOVE_CONFIRM_AGAIN_MS 300000 /* and so long when I had confirmed before: the rows are there, the session is not */
#define MOVE_ROW_AGAIN_MS 500	     /* between two ROWs */
#define MOVE_PASSING_MS 30000	     /* the row of an S that is not I */
#define MOVE_ORPHAN_MS 600000	     /* a row whose owner's session ended, or that a restart found */
#define MOVE_CLOSING_MS 3000
#define MOVE_NOBODY 0 /* no host */

_Static_assert(MOVE_PASSING_MS > MOVE_CONFIRM_MS + 2 * MOVE_DEADLINE_MS, "packets must reach R until I knows it");
_Static_assert(MOVE_ORPHAN_MS > MOVE_CONFIRM_AGAIN_MS + MOVE_DEADLINE_MS, "R gives up before its row does");

/* What a simulation may take out, to see that it is missed; nothing else defines MOVE_WITHOUT. */
enum move_safeguard { WITH_ALL, NO_E, NO_BURN, NO_INC, NO_DEADLINE, NO_DROP, NO_LATE, NO_ROW_E, NO_TIMER, GUESS };
#ifndef MOVE_WITHOUT
#define MOVE_WITHOUT(safeguard) false
#endif

enum move_action {
	/* S */
	MOVE_HOLD,	  /* row := HOLD(e) until the deadline; egress dropped */
	MOVE_EXPORT,	  /* freeze and export: then SEND_EXPORTED or SEND_NOT_EXPORTED */
	MOVE_SEND_OFFER,  /* or SEND_UNSENT, at once, when the carrier does not take it */
	MOVE_SEND_STATUS,
	MOVE_GIVE,	  /* close silently, wipe; row := FWD(R), with MOVE_PASSING_MS where S is not I; release what was held */
	MOVE_RESUME,	  /* no row (or the one before); release to this host; repair off: served by proxy */
	MOVE_WIPE,	  /* no HOLD, what was held is dropped; wipe, close */
	/* R */
	MOVE_SETTLE_OWN,  /* our own earlier move of this connection, if one still waits: step it with SEND_LATER */
	MOVE_DROP_ROW,	  /* our row of this connection */
	MOVE_IMPORT,	  /* then RECV_IMPORTED or RECV_NOT_IMPORTED */
	MOVE_SEND_ACCEPT, /* to S */
	MOVE_SEND_REFUSE, /* to S */
	MOVE_SEND_UNKNOWN, /* to S: GONE */
	MOVE_SEND_ROW,	  /* to I */
	MOVE_END,	  /* nobody reaches it: reset, wipe */
	/* both */
	MOVE_SEND_ROW_OK, /* to the owner: ROW, confirmed; by an S that is not I: passed */
	MOVE_SEND_NO_ROW, /* to the owner: GONE */
	MOVE_SEND_GONE,	  /* to I: GONE, ended */
};

#define MOVE_ACTIONS_MAX 6
struct move_actions {
	uint8_t n;
	uint8_t action[MOVE_ACTIONS_MAX]; /* enum move_action, in this order */
};

/* --- S ---------------------------------------------------------------------------------------------------- */
enum move_send_state {
	SEND_IDLE,
	SEND_HOLDING, /* the row holds, the export runs */
	SEND_OFFERED,
	SEND_GIVEN, /* these three are the end of a move */
	SEND_RESUMED,
	SEND_LOST,
	SEND_STATES
};

enum move_send_event {
	SEND_START,
	SEND_EXPORTED,
	SEND_NOT_EXPORTED,
	SEND_UNSENT,
	SEND_ACCEPTED, /* with the incarnation that says so */
	SEND_REFUSED,  /* likewise */
	SEND_UNKNOWN,
	SEND_LATER,    /* somebody offers us a later move of this connection */
	SEND_PEER,     /* a session with the peer is up: its incarnation */
	SEND_TICK,     /* at next_ms or later */
	SEND_EVENTS
};

struct move_send {
	enum move_send_state state;
	uint64_t cid;
	uint32_t e;	      /* of this move */
	uint16_t to;	      /* host id of R */
	uint64_t to_inc;      /* to whom it was offered */
	bool ingress;	      /* S is I */
	uint64_t deadline_ms; /* also the row's */
	uint64_t next_ms;     /* when SEND_TICK is wanted; UINT64_MAX: not */
};

/* SEND_GIVEN and SEND_LOST end the record of our own tenure, if there is one (of a lower e): RECV_LEFT. */
void move_send_step(struct move_send *s, enum move_send_event event, uint64_t inc, uint64_t now_ms,
		    struct move_actions *out);

/* --- R ---------------------------------------------------------------------------------------------------- */
enum move_recv_state {
	RECV_UNSEEN,
	RECV_BURNT, /* (cid, e) will never be imported here */
	RECV_IMPORTING,
	RECV_UNCONFIRMED, /* it is ours; I has not said that its row names us */
	RECV_OWNED,
	RECV_ENDED, /* it was ours */
	RECV_STATES
};

enum move_recv_event {
	RECV_OFFER,	    /* one that is new, and that we want */
	RECV_UNWANTED,	    /* one that is new, and that we do not want; or a question about what never came */
	RECV_AGAIN,	    /* an offer of, or a question about, what is remembered */
	RECV_IMPORTED,
	RECV_NOT_IMPORTED,
	RECV_ROW_OK,	    /* I confirms: its incarnation */
	RECV_NO_ROW,	    /* I has none */
	RECV_INGRESS_DOWN,  /* the session with I ended */
	RECV_INGRESS_UP,    /* one is up: its incarnation */
	RECV_LEFT,	    /* the connection was given to another host */
	RECV_CLOSED,	    /* it ended by itself */
	RECV_PASSED,	    /* S has sent on what it held, or will never */
	RECV_TICK,
	RECV_EVENTS
};

/* What is remembered of a connection that was once offered here. */
struct move_recv {
	enum move_recv_state state;
	uint64_t cid;
	uint32_t e;
	uint16_t from;	      /* S */
	uint64_t from_inc, serial;
	uint16_t ingress;     /* I */
	bool here;	      /* I is this host */
	bool confirmed;	      /* once */
	bool frozen;	      /* a move of ours goes on: it must not end now */
	uint64_t ingress_inc; /* as known; 0: not */
	uint64_t deadline_ms, next_ms; /* UINT64_MAX: none */
};

void move_recv_step(struct move_recv *r, enum move_recv_event event, uint64_t inc, uint64_t now_ms,
		    struct move_actions *out);

/*
 * All that a worker remembers, in bounded memory.  What is burnt or ended may be forgotten, the oldest first, when room is
 * needed: then its serial becomes its sender's floor, so that nothing forgotten is ever taken for new.
 */
struct move_memory;

struct move_offer {
	uint64_t cid;
	uint32_t e;
	uint16_t from, ingress;
	uint64_t from_inc, to_inc, serial;
	uint64_t ingress_inc; /* as R knows it; 0: not */
};

struct move_memory *move_memory_new(uint16_t self, uint64_t inc, uint32_t entries, uint16_t peers_max);
void move_memory_free(struct move_memory *m);
/* A session with a peer is up: what it offered as another incarnation is no longer listened to. */
void move_memory_peer(struct move_memory *m, uint16_t host, uint64_t inc);
/* An offer, or a question about one.  The record, or NULL: not listened to, or answered with "unknown".  `willing` is
 * looked at only where there is something to decide. */
struct move_recv *move_memory_offer(struct move_memory *m, const struct move_offer *o, bool willing, uint64_t now_ms,
				    struct move_actions *out);
struct move_recv *move_memory_status(struct move_memory *m, const struct move_offer *o, uint64_t now_ms,
				     struct move_actions *out);
struct move_recv *move_memory_find(struct move_memory *m, uint64_t cid);
/* Every other event of a record; the record stays valid until the next offer or question. */
void move_memory_step(struct move_memory *m, struct move_recv *r, enum move_recv_event event, uint64_t inc,
		      uint64_t now_ms, struct move_actions *out);
/* I confirms what is not ours: MOVE_SEND_GONE, so that its row does not name a host where there is nothing. */
void move_memory_row_ok(struct move_memory *m, uint64_t cid, uint32_t e, uint64_t inc, uint64_t now_ms,
			struct move_actions *out);
uint32_t move_memory_used(const struct move_memory *m);
uint64_t move_memory_forgotten(const struct move_memory *m);

/* --- I, and every row ----------------------------------------------------------------------------------------- */
/* Its states are the kernel's: enum row_state (l7/row/flow.h). */

struct move_row {
	enum row_state state;
	uint64_t cid;
	uint32_t e;
	uint16_t owner;
	uint64_t owner_inc;
	uint64_t deadline_ms; /* UINT64_MAX: none */
};

enum move_row_answer { ROW_SAY_NOTHING, ROW_SAY_OK, ROW_SAY_NO_ROW };

void move_row_hold(struct move_row *r, const struct move_send *s);
void move_row_give(struct move_row *r, const struct move_send *s, uint64_t now_ms);
/* `sending`: a move of ours holds this row; then only its own answer changes it. */
enum move_row_answer move_row_told(struct move_row *r, uint64_t cid, uint32_t e, uint16_t from, uint64_t from_inc,
				   bool sending, uint64_t now_ms);
void move_row_gone(struct move_row *r, uint64_t cid, uint32_t e, uint16_t from, uint64_t now_ms);
/* These may end the row (ROW_NONE); true: it was one that passed packets on for a connection that we gave away. */
bool move_row_peer(struct move_row *r, uint16_t host, uint64_t inc);
bool move_row_tick(struct move_row *r, uint64_t now_ms);
/* Its end, at the host where it was when it had moved: for MOVE_CLOSING_MS, from its owner's e. */
void move_row_ends(struct move_row *r, uint64_t cid, uint32_t e, uint64_t now_ms);
void move_row_session_ended(struct move_row *r, uint16_t host, uint64_t now_ms);
void move_row_adopt(struct move_row *r, uint64_t now_ms); /* found after a restart */

const char *move_send_state_name(enum move_send_state state);
const char *move_recv_state_name(enum move_recv_state state);
const char *move_action_name(enum move_action action);

#endif
