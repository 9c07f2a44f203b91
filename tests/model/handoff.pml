/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The hand-off of one connection between NODES hosts, as l7/handoff/move.h has it, with the same names.
 *
 * Node 0 is the ingress host: the client's packets arrive there.  The network loses, delays, reorders and
 * duplicates at will: a message in flight is one bit, that may be delivered at any moment, never, or twice.  Each host
 * may crash and restart between any two steps; its rows are pinned and stay, or are lost with the machine.  Time is
 * abstract: what waits for a deadline may see it pass at any moment.  A stopped process is one to which nothing happens
 * while its rows' deadlines pass.
 *
 * Rule 13, ENDED, is not here: it changes no letter and nobody's ownership (tests/unit/test_move_sim has it).
 *
 * Checked in every state:
 *   - never two sealers: of the state that move e offers there is one heir, its importer or the sender that resumed,
 *     once and for ever (claims[e] <= 1: a crash does not take back what was sealed);
 *   - rows make no loop; what was received by a kernel after its HOLD expired is never left out of a move.
 * Checked in every state in which nothing has to happen any more (so: what waits has a way out, every HOLD ends):
 *   - no HOLD, no frozen copy; a row left names a living owner; the owner is reached through the ingress host's row.
 *
 * Safeguards are taken out with -D: each must then fail (tests/model/run).
 *   NO_E          a receiver does not compare e with what it remembers
 *   NO_ROW_E      the ingress host takes a ROW whatever its e
 *   NO_BURN       "never seen" is answered without remembering it
 *   NO_INC        replies and offers are taken from and by any incarnation
 *   NO_DEADLINE   a HOLD has no end, and who waits for an answer waits for ever
 *   NO_DROP       an importer keeps its own row
 *   NO_FREEZE     the sender goes on serving until ACCEPT
 *   NO_LATE       an ACCEPT is taken after the HOLD expired
 *   NO_SETTLE     an offer of a later move is not taken as the answer to one's own
 *   NO_TIMER      what a session's end, a restart or a move leaves behind gets no timer
 *   GUESS         what is too old to be remembered is answered with REFUSE
 */
#ifndef NODES
#define NODES 3
#endif
#ifndef MOVES
#define MOVES 2
#endif
#ifndef CRASHES
#define CRASHES 1
#endif
#ifndef BREAKS
#define BREAKS 1
#endif
#define E (MOVES + 1)
#define INGRESS 0
#define NOBODY 15

/* A host's copy of the connection. */
#define NONE 0
#define LIVE 1	 /* may read, seal and answer */
#define FROZEN 2 /* in repair mode, its keys untouched */

/* enum move_row_state */
#define ROW_NONE 0
#define ROW_HOLD 1
#define ROW_FWD 2
#define ROW_CLOSING 3

/* enum move_send_state; SEND_GIVEN, SEND_RESUMED and SEND_LOST are the end of a move, and SEND_IDLE again here. */
#define SEND_IDLE 0
#define SEND_OFFERED 1

/* enum move_recv_state of the move that a host remembers.  RECV_ENDED: it owned the connection once. */
#define RECV_UNSEEN 0
#define RECV_BURNT 1
#define RECV_UNCONFIRMED 2
#define RECV_OWNED 3
#define RECV_ENDED 4

byte inc[NODES];	    /* incarnations */
byte known[NODES * NODES];  /* known[n * NODES + m]: m's incarnation as n knows it */
byte crashes = CRASHES;

byte copy[NODES];
byte since[NODES];	    /* the e at which the copy came */
byte last[NODES];	    /* the owner's counter: the e of its latest move */

byte send[NODES];	    /* enum move_send_state; the move is last[n] */
byte recv[NODES];	    /* enum move_recv_state of recv_e[n]; 0: nothing remembered */
byte recv_e[NODES];
byte floor[NODES];	    /* at or below it all is forgotten */

byte row[NODES];	    /* enum move_row_state */
byte row_e[NODES], row_owner[NODES], row_inc[NODES];
bool row_timer[NODES];

byte from[E], to[E], to_inc[E]; /* who offers move e to whom */
byte claims[E];
bool unheard[NODES];		/* a session with the ingress host ended, of which this end has not heard yet */

/* In flight.  Answers carry the incarnation of who gave them: one bit each. */
bool m_offer[E], m_status[E];
bool m_row[E], m_gone_i[E], m_gone_r[E];
byte m_row_ok[E];				       /* 1 + the incarnation of the ingress host */
  /* owner -> ingress: ROW, GONE; back: ROW (confirms), GONE */
byte m_accept[E], m_refuse[E];			       /* bit masks by incarnation */
bool m_unknown[E];
byte breaks = BREAKS;					/* sessions with the ingress host that may end */

hidden byte i;

/* Whoever becomes the heir of move x. */
inline claim(x)
{
	claims[x]++;
	assert(claims[x] <= 1);
	for (i : 0 .. NODES - 1) {
		assert(copy[i] != LIVE) /* nobody else may seal */
	}
}

#ifdef NO_TIMER
#define TIMERS false
#else
#define TIMERS true
#endif

inline row_set(h, state, at, owner, timer)
{
	row[h] = state;
	row_e[h] = at;
	row_owner[h] = owner;
	if
	:: owner != NOBODY -> row_inc[h] = known[h * NODES + owner]
	:: else -> row_inc[h] = 0
	fi;
	row_timer[h] = timer && TIMERS
}

inline row_drop(h) { row_set(h, ROW_NONE, 0, NOBODY, false) }

/* No two rows may point at each other. */
inline check_loops()
{
	for (i : 0 .. NODES - 1) {
		if
		:: (row[i] == ROW_FWD || row[i] == ROW_CLOSING) && row_owner[i] != i &&
		   (row[row_owner[i]] == ROW_FWD || row[row_owner[i]] == ROW_CLOSING) ->
			assert(row_owner[row_owner[i]] != i)
		:: else
		fi
	}
}

/* The connection at host h ends there, by its own end or because nobody reaches it: the row's keeper is told. */
inline end_copy(h)
{
	copy[h] = NONE;
	if
	:: recv[h] == RECV_UNCONFIRMED || recv[h] == RECV_OWNED -> recv[h] = RECV_ENDED
	:: else
	fi;
	if
	:: h != INGRESS -> m_gone_i[since[h]] = true
	:: else
	fi
}

/* S: the move's end, one of three. */
inline send_given(h)
{
	assert(row[h] == ROW_HOLD); /* else this kernel has acknowledged what the importer will never see */
	copy[h] = NONE;
	send[h] = SEND_IDLE;
	if
	:: recv[h] == RECV_UNCONFIRMED || recv[h] == RECV_OWNED -> recv[h] = RECV_ENDED
	:: else
	fi;
	row_set(h, ROW_FWD, last[h], to[last[h]], h != INGRESS);
	check_loops();
	if
	:: h == INGRESS -> m_row_ok[last[h]] = 1 + inc[INGRESS]
	:: else
	fi
}

inline send_resumed(h)
{
	claim(last[h]);
	copy[h] = LIVE;
	send[h] = SEND_IDLE;
	if
	:: row[h] == ROW_HOLD -> row_drop(h)
	:: else
	fi
}

inline send_lost(h)
{
	send[h] = SEND_IDLE;
	if
	:: row[h] == ROW_HOLD -> row_drop(h)
	:: else
	fi;
	end_copy(h)
}

#ifdef NO_ROW_E
#define NEWER(x, o) true
#else
#define NEWER(x, o) (x > row_e[INGRESS] || (x == row_e[INGRESS] && (row[INGRESS] == ROW_HOLD || row_owner[INGRESS] == o)))
#endif

/* I: host o says that it owns the connection since x. */
inline row_told(x, o)
{
	if
	:: row[INGRESS] == ROW_HOLD && send[INGRESS] == SEND_OFFERED && last[INGRESS] == x ->
		send_given(INGRESS)
	:: else ->
		if
		:: row[INGRESS] != ROW_NONE && !(row[INGRESS] == ROW_HOLD && send[INGRESS] == SEND_OFFERED) && NEWER(x, o) ->
			row_set(INGRESS, ROW_FWD, x, o, false);
			check_loops();
			m_row_ok[x] = 1 + inc[INGRESS]
		:: else -> m_gone_r[x] = true
		fi
	fi
}

#ifdef NO_DROP
#define DROPS false
#else
#define DROPS true
#endif
#ifdef NO_INC
#define SAME_INC(x, k) true
#else
#define SAME_INC(x, k) ((k) == to_inc[x])
#endif
#ifdef NO_SETTLE
#define SETTLES false
#else
#define SETTLES true
#endif
#ifdef NO_BURN
#define BURNS false
#else
#define BURNS true
#endif
#ifdef GUESS
#define GUESSES true
#else
#define GUESSES false
#endif
#ifdef NO_FREEZE
#define FROZEN_OR_NOT LIVE
#else
#define FROZEN_OR_NOT FROZEN
#endif

/* R: imports move x. */
inline import(x)
{
	if
	:: DROPS -> row_drop(to[x])
	:: else
	fi;
	assert(copy[to[x]] == NONE);
	claim(x);
	copy[to[x]] = LIVE;
	since[to[x]] = x;
	last[to[x]] = x;
	recv_e[to[x]] = x;
	unheard[to[x]] = false;
	m_accept[x] = m_accept[x] | (1 << inc[to[x]]);
	if
	:: to[x] == INGRESS -> recv[to[x]] = RECV_OWNED
	:: else ->
		recv[to[x]] = RECV_UNCONFIRMED;
		if
		:: from[x] != INGRESS -> m_row[x] = true /* said when S has sent on what it held, or later: it arrives at any time */
		:: else
		fi
	fi;
	check_loops()
}

#define REMEMBERS(x) (recv_e[to[x]] == (x) && recv[to[x]] != RECV_UNSEEN)
#ifdef NO_E
#define COMPARES false
#else
#define COMPARES true
#endif
#define STALE(x) (COMPARES && ((x) < recv_e[to[x]] || (x) <= floor[to[x]]))

/* R: repeats what it said of move x. */
inline repeat(x)
{
	if
	:: recv[to[x]] == RECV_BURNT -> m_refuse[x] = m_refuse[x] | (1 << inc[to[x]])
	:: else -> m_accept[x] = m_accept[x] | (1 << inc[to[x]])
	fi
}

/* R: x is older than what it remembers: it may have been accepted here. */
inline unknown(x)
{
	if
	:: GUESSES -> m_refuse[x] = m_refuse[x] | (1 << inc[to[x]])
	:: else -> m_unknown[x] = true
	fi
}

inline burn(x)
{
	recv_e[to[x]] = x;
	recv[to[x]] = RECV_BURNT;
	m_refuse[x] = m_refuse[x] | (1 << inc[to[x]])
}

#ifdef NO_LATE
#define IN_TIME(h) true
#else
#define IN_TIME(h) (row[h] == ROW_HOLD)
#endif

/* R: its own move of the connection, if one still waits, was accepted: else nobody could offer a later one. */
inline settle(x)
{
	if
	:: SETTLES && send[to[x]] == SEND_OFFERED && last[to[x]] < x ->
		if
		:: IN_TIME(to[x]) -> send_given(to[x])
		:: else -> send_lost(to[x])
		fi
	:: else
	fi
}

inline deliver_offer(x, willing)
{
	if
	:: !SAME_INC(x, inc[to[x]]) -> m_unknown[x] = true
	:: else ->
		if
		:: REMEMBERS(x) && COMPARES -> repeat(x)
		:: else ->
			if
			:: STALE(x) -> unknown(x)
			:: else ->
				settle(x);
				if
				:: willing -> import(x)
				:: else -> burn(x) /* busy, a full table, another version */
				fi
			fi
		fi
	fi
}

inline deliver_status(x)
{
	if
	:: !SAME_INC(x, inc[to[x]]) -> m_unknown[x] = true
	:: else ->
		if
		:: REMEMBERS(x) -> repeat(x)
		:: else ->
			if
			:: STALE(x) -> unknown(x)
			:: else ->
				settle(x);
				if
				:: BURNS -> burn(x)
				:: else -> m_refuse[x] = m_refuse[x] | (1 << inc[to[x]])
				fi
			fi
		fi
	fi
}

#define WAITS(x) (send[from[x]] == SEND_OFFERED && last[from[x]] == (x))

inline deliver_accept(x, k)
{
	if
	:: WAITS(x) && SAME_INC(x, k) ->
		if
		:: IN_TIME(from[x]) -> send_given(from[x])
		:: else ->
			send_lost(from[x]);
			if
			:: from[x] == INGRESS -> m_gone_r[x] = true
			:: else
			fi
		fi
	:: WAITS(x) && !SAME_INC(x, k) -> skip
	:: else ->
		/* It was given up, or a restart forgot it: at the ingress host the row says what holds. */
		if
		:: from[x] == INGRESS && known[INGRESS * NODES + to[x]] == k -> row_told(x, to[x])
		:: else
		fi
	fi
}

inline deliver_refuse(x, k)
{
	if
	:: WAITS(x) && SAME_INC(x, k) -> send_resumed(from[x])
	:: WAITS(x) && !SAME_INC(x, k) -> send_lost(from[x])
	:: else
	fi
}

inline deliver_unknown(x)
{
	if
	:: WAITS(x) -> send_lost(from[x])
	:: else
	fi
}

/* A row is over by its timer or with its owner's incarnation.  A host that gave the connection away, and is not the
 * ingress host, then says that its own tenure is over: nobody else may be left who could. */
inline row_ends(h)
{
	row_drop(h);
	if
	:: h != INGRESS && since[h] != 0 && copy[h] == NONE -> m_gone_i[since[h]] = true
	:: else
	fi
}

/* Everybody who hears that m has a new incarnation: its rows go, its moves are lost, and an owner says ROW again. */
inline learn(h, m)
{
	known[h * NODES + m] = inc[m];
	if
	:: (row[h] == ROW_FWD || row[h] == ROW_CLOSING) && row_owner[h] == m && row_inc[h] != inc[m] -> row_ends(h)
	:: else
	fi;
	if
	:: send[h] == SEND_OFFERED && to[last[h]] == m && !SAME_INC(last[h], inc[m]) -> send_lost(h)
	:: else
	fi;
	if
	:: m == INGRESS && (recv[h] == RECV_OWNED || recv[h] == RECV_UNCONFIRMED) ->
		recv[h] = RECV_UNCONFIRMED;
		m_row[since[h]] = true
	:: else
	fi
}

inline crash(h, machine)
{
	crashes--;
	inc[h]++;
	copy[h] = NONE;
	send[h] = SEND_IDLE;
	recv[h] = RECV_UNSEEN;
	recv_e[h] = 0;
	floor[h] = 0;
	since[h] = 0;
	last[h] = 0;
	unheard[h] = false;
	known[h * NODES + h] = inc[h];
	if
	:: row[h] == ROW_FWD || row[h] == ROW_CLOSING ->
		if
		:: machine -> row_drop(h)
		:: else -> row_set(h, ROW_FWD, row_e[h], row_owner[h], true)
		fi
	:: row[h] == ROW_HOLD ->
		if
		:: machine -> row_drop(h)
		:: else /* its deadline is in the row */
		fi
	:: else
	fi
}

/* Checked where nothing has to happen any more: no message within a session, no deadline, no news of a peer. */
inline judge()
{
	for (i : 0 .. NODES - 1) {
		assert(row[i] != ROW_HOLD);
		assert(copy[i] != FROZEN);
		assert(send[i] == SEND_IDLE);
		assert(recv[i] != RECV_UNCONFIRMED);
		assert(row[i] == ROW_NONE || (row[i] == ROW_FWD && copy[row_owner[i]] == LIVE && row_inc[i] == inc[row_owner[i]]));
		if
		:: copy[i] == LIVE && i == INGRESS -> assert(row[i] == ROW_NONE)
		:: copy[i] == LIVE && i != INGRESS -> assert(row[INGRESS] == ROW_FWD && row_owner[INGRESS] == i)
		:: else
		fi
	}
}

inline offer(h, m)
{
	last[h]++;
	from[last[h]] = h;
	to[last[h]] = m;
	to_inc[last[h]] = known[h * NODES + m];
	row_set(h, ROW_HOLD, last[h], NOBODY, false);
	copy[h] = FROZEN_OR_NOT;
	send[h] = SEND_OFFERED;
	m_offer[last[h]] = true
}

/* The next move waits for the ingress host's word.  (Taken out, the model holds as well: the wait bounds the chain of
 * rows that a packet may follow, it keeps nothing else.) */
#define SETTLED(h) (recv[h] != RECV_UNCONFIRMED)

/* What happens between two hosts. */
#define PAIR(h, m) \
	:: d_step { copy[h] == LIVE && send[h] == SEND_IDLE && last[h] < MOVES && SETTLED(h) -> offer(h, m); skip } \
	:: d_step { known[(h) * NODES + (m)] != inc[m] -> learn(h, m); skip }

/* The session of host h with the ingress host ends: what was on its way is lost, and each end hears of it.  Within a
 * session nothing is lost, so this is how ROW and GONE are. */
#define SESSION(h) \
	:: d_step { breaks > 0 && !unheard[h] && (copy[h] == LIVE || row_owner[INGRESS] == h) -> \
		breaks--; \
		for (i : 1 .. MOVES) { \
			if \
			:: to[i] == h -> m_row[i] = false; m_row_ok[i] = 0; m_gone_i[i] = false; m_gone_r[i] = false \
			:: else \
			fi \
		} \
		if \
		:: row[INGRESS] != ROW_HOLD && row[INGRESS] != ROW_NONE && row_owner[INGRESS] == h -> row_timer[INGRESS] = TIMERS \
		:: else \
		fi; \
		unheard[h] = true; skip } \
	:: d_step { unheard[h] -> \
		unheard[h] = false; \
		if \
		:: recv[h] == RECV_OWNED || recv[h] == RECV_UNCONFIRMED -> recv[h] = RECV_UNCONFIRMED; m_row[since[h]] = true \
		:: else \
		fi; \
		skip }

/* What happens on one host by itself: deadlines, an end, a crash. */
#ifdef NO_DEADLINE
#define DEADLINE(h)
#else
#define DEADLINE(h) \
	:: d_step { row[h] == ROW_HOLD -> row_drop(h); skip } \
	:: d_step { send[h] == SEND_OFFERED && row[h] != ROW_HOLD -> send_lost(h); skip }
#endif
#ifdef NO_DEADLINE
#define HELD(h) false
#else
#define HELD(h) (row[h] == ROW_HOLD || send[h] == SEND_OFFERED)
#endif
#define QUIET_HOST(h) (!HELD(h) && !row_timer[h] && !(copy[h] == LIVE && recv[h] == RECV_UNCONFIRMED) && !unheard[h])
#define QUIET_PAIR(h, m) (known[(h) * NODES + (m)] == inc[m] && known[(m) * NODES + (h)] == inc[h])
#define QUIET_MOVE(x) (!m_row[x] && !m_row_ok[x] && !m_gone_i[x] && !m_gone_r[x])
#define HOST(h) \
	DEADLINE(h) \
	:: d_step { row_timer[h] -> row_ends(h); skip } \
	:: d_step { copy[h] == LIVE && recv[h] == RECV_UNCONFIRMED -> end_copy(h); skip } \
	:: d_step { copy[h] == LIVE && send[h] == SEND_IDLE -> end_copy(h); skip } \
	:: d_step { recv[h] == RECV_BURNT || recv[h] == RECV_ENDED -> recv[h] = RECV_UNSEEN; floor[h] = recv_e[h]; skip } \
	:: d_step { crashes > 0 -> crash(h, false); skip } \
	:: d_step { crashes > 0 && row[h] != ROW_NONE -> crash(h, true); skip }

/* What happens to the messages of a move.  OFFER, STATUS and their answers stay in flight for ever: whatever is delivered
 * may be delivered again, late or never.  ROW and GONE come within a session: delivered, perhaps twice, or the
 * session ends. */
#define ANSWER(x, k) \
	:: d_step { m_accept[x] & (1 << (k)) -> deliver_accept(x, (k)); skip } \
	:: d_step { m_refuse[x] & (1 << (k)) -> deliver_refuse(x, (k)); skip }
#define HEARD(x) (known[INGRESS * NODES + to[x]] == to_inc[x])
#define MOVE(x) \
	:: d_step { m_offer[x] -> deliver_offer(x, true); skip } \
	:: d_step { m_offer[x] -> deliver_offer(x, false); skip } \
	:: d_step { WAITS(x) && !m_status[x] -> m_status[x] = true; skip } \
	:: d_step { m_status[x] -> deliver_status(x); skip } \
	ANSWER(x, 0) \
	ANSWER(x, 1) \
	:: d_step { m_unknown[x] -> deliver_unknown(x); skip } \
	:: d_step { m_row[x] -> m_row[x] = false; deliver_row(x); skip } \
	:: d_step { m_row[x] -> deliver_row(x); skip } \
	:: d_step { m_row_ok[x] -> deliver_row_ok(x); m_row_ok[x] = 0; skip } \
	:: d_step { m_gone_i[x] -> m_gone_i[x] = false; deliver_gone_i(x); skip } \
	:: d_step { m_gone_r[x] -> m_gone_r[x] = false; deliver_gone_r(x); skip }

inline deliver_row(x)
{
	if
	:: HEARD(x) -> row_told(x, to[x])
	:: else
	fi
}

#define OWNS(x) (recv_e[to[x]] == x && (recv[to[x]] == RECV_UNCONFIRMED || recv[to[x]] == RECV_OWNED))

#ifdef NO_INC
#define SAYS(x) true
#else
#define SAYS(x) (m_row_ok[x] == 1 + known[to[x] * NODES + INGRESS])
#endif

inline deliver_row_ok(x)
{
	if
	:: OWNS(x) ->
		if
		:: !unheard[to[x]] && SAYS(x) -> recv[to[x]] = RECV_OWNED
		:: else
		fi
	:: else -> m_gone_i[x] = true /* the row names a host where there is nothing */
	fi
}

inline deliver_gone_i(x)
{
	if
	:: row[INGRESS] == ROW_FWD && row_owner[INGRESS] == to[x] && x >= row_e[INGRESS] ->
		row_set(INGRESS, ROW_CLOSING, row_e[INGRESS], row_owner[INGRESS], true)
	:: else
	fi
}

inline deliver_gone_r(x)
{
	if
	:: recv_e[to[x]] == x && recv[to[x]] == RECV_UNCONFIRMED && copy[to[x]] == LIVE -> end_copy(to[x])
	:: else
	fi
}

#if NODES > 2
#define QUIET_NODES (QUIET_HOST(0) && QUIET_HOST(1) && QUIET_HOST(2) && QUIET_PAIR(0, 1) && QUIET_PAIR(0, 2) && QUIET_PAIR(1, 2))
#else
#define QUIET_NODES (QUIET_HOST(0) && QUIET_HOST(1) && QUIET_PAIR(0, 1))
#endif
#if MOVES > 2
#define QUIET_MOVES (QUIET_MOVE(1) && QUIET_MOVE(2) && QUIET_MOVE(3))
#elif MOVES > 1
#define QUIET_MOVES (QUIET_MOVE(1) && QUIET_MOVE(2))
#else
#define QUIET_MOVES QUIET_MOVE(1)
#endif

init {
	d_step {
		for (i : 0 .. NODES - 1) {
			row_owner[i] = NOBODY
		}
		copy[INGRESS] = LIVE;
		skip
	}
	do
	PAIR(0, 1)
	PAIR(1, 0)
	SESSION(1)
	HOST(0)
	HOST(1)
#if NODES > 2
	PAIR(0, 2)
	PAIR(1, 2)
	PAIR(2, 0)
	PAIR(2, 1)
	SESSION(2)
	HOST(2)
#endif
	MOVE(1)
#if MOVES > 1
	MOVE(2)
#endif
#if MOVES > 2
	MOVE(3)
#endif
	:: d_step { QUIET_NODES && QUIET_MOVES -> judge(); skip }
	od
}
