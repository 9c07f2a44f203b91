/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The decision about a frame at a host: mine, or the previous owner's (Faild, NSDI'18, section 4.2;
 * strict ownership, cookies, ICMP errors and fragments are ours).  One pure function for the eBPF
 * program, the kernel module and the tests: facts in, an answer out, or the next question.  The
 * caller looks up what is asked for, fills it in and calls again; so a lookup that the answer does
 * not need is never made.
 *
 *  1. Not IP, or tagged: pass.  A vMAC whose owner is not self, or none at all: pass.
 *  2. Only what is addressed to a VIP is ever sent on, copied or dropped; all else passes.  For a
 *     frame that stays here anyway this is not even asked.
 *  3. A frame that cannot be parsed: mine while nobody else is named, else dropped: the stack might
 *     answer what we could not attribute.
 *  4. A row for the flow: to its backend.  A SYN to a closing row takes the row away and is mine.
 *  5. A packet that names no ports (a later fragment, a short ICMP quote) belongs to nobody known:
 *     delivered here, and copied once to every other host, at a bounded rate.  A copy is delivered
 *     and never copied again.  A later fragment alone can make no stack answer: reassembly waits
 *     for the first, and the first goes to the flow's owner only (rule 8).
 *  6. TCP SYN without ACK: mine.  UDP and everything else that is not TCP: mine.
 *  7. A local socket owns the flow: mine.  "Owns" is strict: a request socket only if its SYN-ACK is
 *     acknowledged; established and TIME_WAIT only if the segment fits their window; a listener
 *     never.  A valid SYN cookie, where only a listener is there: mine.
 *  8. The triple names another host: shift it and send the frame on, if the budget allows (else
 *     drop).  Nobody else is named: mine, and the stack answers; but a first TCP fragment that no
 *     socket owns is dropped, for a fragment never causes a RST.
 *  9. Never on to the host that sent the frame nor to the one that detoured it first: both have
 *     already said that it is not theirs.
 */
#ifndef LB_VERDICT_H
#define LB_VERDICT_H

#include "lb/packet.h"
#include "lb/vmac.h"

enum verdict_action {
	VERDICT_PASS,	/* not ours: untouched */
	VERDICT_MINE,	/* to the local stack, whatever its MAC */
	VERDICT_DETOUR, /* send on with verdict.to and verdict.detour */
	VERDICT_RELAY,	/* mine, and a copy to every other host while the rate allows */
	VERDICT_DROP,
	VERDICT_ROW,	/* to the row's backend */
	/* Questions: fill in the fact and ask again. */
	VERDICT_ASK_VIP,
	VERDICT_ASK_SOCKET,
	VERDICT_ASK_COOKIE,
};

/* A counter each.  The first 16 travel in the detour header, whose field has 4 bits. */
enum verdict_reason {
	REASON_NO_SOCKET = 0,	/* nothing here knows the flow */
	REASON_NO_COOKIE,	/* only a listener, and no valid SYN cookie */
	REASON_OTHER_REQUEST,	/* a request socket, but the ACK is not for its SYN-ACK */
	REASON_OTHER_TIME_WAIT,	/* a TIME_WAIT socket, but the segment is outside its window */
	REASON_OTHER_ESTABLISHED,
	REASON_ICMP_ERROR,	/* the quoted packet was not sent from here */
	REASON_RELAY_ICMP,
	REASON_RELAY_FRAGMENT,
	REASON_IN_HEADER,	/* those before it may stand in the header */

	REASON_AT_REST = 16,	/* nobody else is named */
	REASON_SYN,
	REASON_ESTABLISHED,
	REASON_REQUEST,
	REASON_TIME_WAIT,
	REASON_COOKIE,
	REASON_LAST,		/* everybody named was asked */
	REASON_NOT_TCP,
	REASON_ICMP_MINE,
	REASON_RELAYED,		/* a copy that another host made */
	REASON_DETOURS_OFF,	/* would have been sent on */
	REASON_ROW,
	REASON_ROW_REMOVED,
	REASON_NOT_VIP,
	REASON_FOREIGN,		/* another host's vMAC */
	REASON_NOT_IP,
	REASON_BUDGET,		/* dropped: sent on too often */
	REASON_FRAGMENT,	/* dropped: a first fragment that no socket owns */
	REASON_UNPARSED,	/* dropped, or delivered while nobody else is named */
	/* Not verdicts, but counted beside them. */
	REASON_PROBE,		/* a probe was answered */
	REASON_RELAY_LIMITED,	/* a relay that the rate did not allow */
	REASON_SEND_FAILED,
	REASON_PROBE_ANSWER,	/* dropped: the answer to our own keepalive probe of a connection that is gone */
	REASON_MAX,
};

_Static_assert(REASON_IN_HEADER <= 16, "the detour header has 4 bits for the reason");

enum verdict_vip { VIP_UNKNOWN, VIP_NO, VIP_YES };

/* What the lookup of the flow found, judged by verdict_socket_*() below. */
enum verdict_socket {
	SOCKET_UNKNOWN,
	SOCKET_NONE,
	SOCKET_LISTEN,
	SOCKET_REQUEST,	    /* ... and the packet fits it */
	SOCKET_REQUEST_OTHER,
	SOCKET_TIME_WAIT,
	SOCKET_TIME_WAIT_OTHER,
	SOCKET_ESTABLISHED, /* any full socket that is not a listener */
	SOCKET_ESTABLISHED_OTHER,
};

enum verdict_cookie { COOKIE_UNKNOWN, COOKIE_NO, COOKIE_VALID };
enum verdict_row { VERDICT_NO_ROW, VERDICT_ROW_FORWARD, VERDICT_ROW_CLOSING };

struct verdict_facts {
	__u16 self;
	__u8 detours_on;
	__u8 is_vmac;		/* the destination is a vMAC: triple holds it */
	struct triple triple;
	__u8 detoured;		/* the source is a detour header: came holds it */
	struct detour came;
	__u8 status;		/* enum packet_status */
	__u8 shape, protocol, tcp_flags; /* of struct packet */
	__u8 row, vip, socket, cookie;
};

struct verdict {
	__u8 action; /* enum verdict_action */
	__u8 reason; /* enum verdict_reason */
	struct triple to;
	struct detour detour;
};

/* The shifted triple, without those who have had the frame (rule 9).  Empty: nobody else is named. */
LB_INLINE struct triple verdict_next(const struct verdict_facts *f)
{
	struct triple t = triple_shift(&f->triple);
	int i;

	for (i = 0; i < TRIPLE_MAX - 1; i++)
		if (t.host[0] != HOST_NONE && f->detoured &&
		    (t.host[0] == f->came.sender || t.host[0] == f->came.first))
			t = triple_shift(&t);
	return t;
}

LB_INLINE struct verdict verdict_say(enum verdict_action action, enum verdict_reason reason)
{
	struct verdict v = { .action = (__u8)action, .reason = (__u8)reason };

	return v;
}

/* The header of a frame that self sends on; the budget was checked. */
LB_INLINE struct detour verdict_header(const struct verdict_facts *f, enum verdict_reason reason)
{
	struct detour d = { f->self, f->self, (__u8)reason, DETOUR_BUDGET_MAX - 1 };

	if (f->detoured) {
		d.first = f->came.first;
		d.reason = f->came.reason;
		d.budget = (__u8)(f->came.budget - 1);
	}
	return d;
}

/* Nobody here owns it (reason): to the next host in the triple. */
LB_INLINE struct verdict verdict_send_on(const struct verdict_facts *f, const struct triple *next,
					 enum verdict_reason reason)
{
	struct verdict v = verdict_say(VERDICT_DETOUR, reason);

	if (f->detoured && !f->came.budget)
		return verdict_say(VERDICT_DROP, REASON_BUDGET);
	if (!f->detours_on)
		return verdict_say(VERDICT_MINE, REASON_DETOURS_OFF);
	v.to = *next;
	v.detour = verdict_header(f, reason);
	return v;
}

/* Rule 5.  The copies carry budget 0: they are delivered, never copied or sent on. */
LB_INLINE struct verdict verdict_relay(const struct verdict_facts *f)
{
	enum verdict_reason reason = f->shape & PACKET_ICMP_ERROR ? REASON_RELAY_ICMP : REASON_RELAY_FRAGMENT;
	struct verdict v = verdict_say(VERDICT_RELAY, reason);

	if (f->detoured)
		return verdict_say(VERDICT_MINE, REASON_RELAYED);
	if (!f->detours_on)
		return verdict_say(VERDICT_MINE, REASON_DETOURS_OFF);
	v.detour = verdict_header(f, reason);
	v.detour.budget = 0;
	return v;
}

/* Rules 7 and 8 for a TCP segment, or an ICMP error about one. */
LB_INLINE struct verdict verdict_by_socket(const struct verdict_facts *f)
{
	int error = f->shape & PACKET_ICMP_ERROR, fragment = !error && f->shape & PACKET_FIRST_FRAGMENT;
	struct triple next = verdict_next(f);
	enum verdict_reason reason = REASON_NO_SOCKET;

	/* Whatever is here is the last to be asked: the stack may answer. */
	if (next.host[0] == HOST_NONE && !fragment)
		return verdict_say(VERDICT_MINE, triple_len(&f->triple) > 1 || f->detoured ? REASON_LAST : REASON_AT_REST);
	switch ((enum verdict_socket)f->socket) {
	case SOCKET_UNKNOWN:
		return verdict_say(VERDICT_ASK_SOCKET, REASON_NO_SOCKET);
	case SOCKET_REQUEST:
		return verdict_say(VERDICT_MINE, error ? REASON_ICMP_MINE : REASON_REQUEST);
	case SOCKET_ESTABLISHED:
		return verdict_say(VERDICT_MINE, error ? REASON_ICMP_MINE : REASON_ESTABLISHED);
	case SOCKET_TIME_WAIT: /* nothing is in flight from it: an error cannot be about it */
		if (!error)
			return verdict_say(VERDICT_MINE, REASON_TIME_WAIT);
		break;
	case SOCKET_LISTEN:
		if (error || (f->tcp_flags & (TCP_FLAG_BIT_ACK | TCP_FLAG_BIT_SYN | TCP_FLAG_BIT_RST)) != TCP_FLAG_BIT_ACK)
			break;
		if (f->cookie == COOKIE_UNKNOWN)
			return verdict_say(VERDICT_ASK_COOKIE, REASON_NO_COOKIE);
		if (f->cookie == COOKIE_VALID)
			return verdict_say(VERDICT_MINE, REASON_COOKIE);
		reason = REASON_NO_COOKIE;
		break;
	case SOCKET_REQUEST_OTHER:
		reason = REASON_OTHER_REQUEST;
		break;
	case SOCKET_TIME_WAIT_OTHER:
		reason = REASON_OTHER_TIME_WAIT;
		break;
	case SOCKET_ESTABLISHED_OTHER:
		reason = REASON_OTHER_ESTABLISHED;
		break;
	case SOCKET_NONE:
		break;
	}
	if (next.host[0] == HOST_NONE)
		return verdict_say(VERDICT_DROP, REASON_FRAGMENT);
	return verdict_send_on(f, &next, error ? REASON_ICMP_ERROR : reason);
}

/* Rules 4 to 9, for a packet that was parsed, whatever its address. */
LB_INLINE struct verdict verdict_of_packet(const struct verdict_facts *f)
{
	if (f->shape & PACKET_NO_OWNER)
		return verdict_relay(f);
	if (f->row != VERDICT_NO_ROW) {
		if (f->row == VERDICT_ROW_CLOSING && f->protocol == PACKET_TCP && !(f->shape & PACKET_ICMP_ERROR) &&
		    (f->tcp_flags & (TCP_FLAG_BIT_SYN | TCP_FLAG_BIT_ACK)) == TCP_FLAG_BIT_SYN)
			return verdict_say(VERDICT_MINE, REASON_ROW_REMOVED);
		return verdict_say(VERDICT_ROW, REASON_ROW);
	}
	if (f->protocol != PACKET_TCP)
		return verdict_say(VERDICT_MINE, REASON_NOT_TCP);
	if (!(f->shape & PACKET_ICMP_ERROR) &&
	    (f->tcp_flags & (TCP_FLAG_BIT_SYN | TCP_FLAG_BIT_ACK)) == TCP_FLAG_BIT_SYN)
		return verdict_say(VERDICT_MINE, REASON_SYN);
	return verdict_by_socket(f);
}

LB_INLINE struct verdict verdict(const struct verdict_facts *f)
{
	struct verdict v;

	if (!f->is_vmac || f->status == PACKET_NOT_IP || f->status == PACKET_TAGGED)
		return verdict_say(VERDICT_PASS, REASON_NOT_IP);
	if (f->triple.host[0] != f->self)
		return verdict_say(VERDICT_PASS, REASON_FOREIGN);
	if (f->status != PACKET_OK) {
		if (f->triple.host[1] == HOST_NONE && !f->detoured)
			return verdict_say(VERDICT_MINE, REASON_UNPARSED);
		return verdict_say(VERDICT_DROP, REASON_UNPARSED);
	}
	v = verdict_of_packet(f);
	if (v.action != VERDICT_DETOUR && v.action != VERDICT_RELAY && v.action != VERDICT_DROP)
		return v;
	if (f->vip == VIP_UNKNOWN)
		return verdict_say(VERDICT_ASK_VIP, REASON_NOT_VIP);
	if (f->vip == VIP_NO)
		return verdict_say(VERDICT_PASS, REASON_NOT_VIP);
	return v;
}

/* --- Does a packet fit a socket?  Sequence arithmetic is modulo 2^32 (RFC 9293, section 3.4). --- */

/*
 * How far behind a window an old duplicate may lie, at least.  Generous, since a segment that is
 * wrongly refused is reset by the last host, while of the segments of a *different* connection on
 * the same ports one in 2^20 is wrongly taken.
 */
#define WINDOW_SLACK (4u << 20)

/*
 * snd_end is the end of what was written, not snd_nxt: the kernel advances snd_nxt only after a
 * segment has left, and on a fast wire its acknowledgement is back before that.
 */
struct tcp_window {
	__u32 rcv_nxt, rcv_wnd;
	__u32 snd_una, snd_end;
};

LB_INLINE int tcp_between(__u32 x, __u32 low, __u32 high)
{
	return x - low <= high - low;
}

LB_INLINE __u32 window_back(__u32 size)
{
	return size > WINDOW_SLACK ? size : WINDOW_SLACK;
}

/* The segment of p, or the segment that an ICMP error quotes, against a socket's window. */
LB_INLINE int verdict_fits_window(const struct packet *p, const struct tcp_window *w)
{
	__u32 sent_back = w->snd_end - window_back(w->snd_end - w->snd_una) - (w->snd_end - w->snd_una);

	if (p->shape & PACKET_ICMP_ERROR)
		return tcp_between(p->seq, sent_back, w->snd_end);
	if (p->tcp_flags & TCP_FLAG_BIT_ACK && !tcp_between(p->ack, sent_back, w->snd_end))
		return 0;
	return tcp_between(p->seq + p->segment, w->rcv_nxt - window_back(w->rcv_wnd),
			   w->rcv_nxt + w->rcv_wnd + p->segment);
}

/*
 * Tighter, for a socket in TIME_WAIT (not one that only waits for the peer's FIN: that is a window as
 * above).  Both sides are closed, so nothing new can come, only what was sent before; while the next
 * connection of a client on the same ports begins just ahead, where its clock has driven its initial
 * sequence number (RFC 6528).  A duplicate that is wrongly refused costs nobody a connection.
 */
#define TIME_WAIT_BACK 65535u

LB_INLINE int verdict_fits_time_wait(const struct packet *p, const struct tcp_window *w)
{
	if (p->tcp_flags & TCP_FLAG_BIT_ACK && !tcp_between(p->ack, w->snd_end - TIME_WAIT_BACK, w->snd_end))
		return 0;
	return tcp_between(p->seq + p->segment, w->rcv_nxt - TIME_WAIT_BACK, w->rcv_nxt);
}

/* snt_isn, rcv_isn: of the SYN-ACK that this host sent and of the SYN that it answers. */
LB_INLINE int verdict_fits_request(const struct packet *p, __u32 snt_isn, __u32 rcv_isn)
{
	if (p->shape & PACKET_ICMP_ERROR)
		return p->seq == snt_isn;
	if (p->tcp_flags & TCP_FLAG_BIT_ACK)
		return p->ack == snt_isn + 1;
	return p->tcp_flags & TCP_FLAG_BIT_RST && p->seq == rcv_isn + 1;
}

LB_INLINE const char *verdict_reason_name(enum verdict_reason r)
{
	switch (r) {
	case REASON_NO_SOCKET: return "detour_no_socket";
	case REASON_NO_COOKIE: return "detour_no_cookie";
	case REASON_OTHER_REQUEST: return "detour_other_request";
	case REASON_OTHER_TIME_WAIT: return "detour_other_time_wait";
	case REASON_OTHER_ESTABLISHED: return "detour_other_established";
	case REASON_ICMP_ERROR: return "detour_icmp_error";
	case REASON_RELAY_ICMP: return "relay_icmp_error";
	case REASON_RELAY_FRAGMENT: return "relay_fragment";
	case REASON_IN_HEADER: return "unused";
	case REASON_AT_REST: return "mine_at_rest";
	case REASON_SYN: return "mine_syn";
	case REASON_ESTABLISHED: return "mine_established";
	case REASON_REQUEST: return "mine_request";
	case REASON_TIME_WAIT: return "mine_time_wait";
	case REASON_COOKIE: return "mine_cookie";
	case REASON_LAST: return "mine_last";
	case REASON_NOT_TCP: return "mine_not_tcp";
	case REASON_ICMP_MINE: return "mine_icmp_error";
	case REASON_RELAYED: return "mine_relayed";
	case REASON_DETOURS_OFF: return "mine_detours_off";
	case REASON_ROW: return "row";
	case REASON_ROW_REMOVED: return "row_removed";
	case REASON_NOT_VIP: return "pass_not_vip";
	case REASON_FOREIGN: return "pass_foreign";
	case REASON_NOT_IP: return "pass_not_ip";
	case REASON_BUDGET: return "drop_budget";
	case REASON_FRAGMENT: return "drop_fragment";
	case REASON_UNPARSED: return "unparsed";
	case REASON_PROBE: return "probe";
	case REASON_RELAY_LIMITED: return "relay_limited";
	case REASON_SEND_FAILED: return "send_failed";
	case REASON_PROBE_ANSWER: return "drop_probe_answer";
	case REASON_MAX: break;
	}
	return "unused";
}

LB_INLINE const char *verdict_action_name(enum verdict_action a)
{
	switch (a) {
	case VERDICT_PASS: return "pass";
	case VERDICT_MINE: return "mine";
	case VERDICT_DETOUR: return "detour";
	case VERDICT_RELAY: return "relay";
	case VERDICT_DROP: return "drop";
	case VERDICT_ROW: return "row";
	case VERDICT_ASK_VIP: return "ask_vip";
	case VERDICT_ASK_SOCKET: return "ask_socket";
	case VERDICT_ASK_COOKIE: return "ask_cookie";
	}
	return "?";
}

#endif
