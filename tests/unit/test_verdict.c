/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The verdict over every combination of facts, against an oracle that was written from the design's
 * words rather than from the code; then loop freedom: whatever hosts answer, and even if every hop's
 * destination were rewritten at random, a frame is sent on a bounded number of times.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lb/verdict.h"

enum { SELF = 1, ACK = TCP_FLAG_BIT_ACK, SYN = TCP_FLAG_BIT_SYN, RST = TCP_FLAG_BIT_RST };

/* --- The oracle: knows all facts at once, thinks in lists and words. --------------------------------- */

struct answer {
	int action, reason;
	int to[2], n_to;
};

static struct answer say(int action, int reason)
{
	return (struct answer){ .action = action, .reason = reason };
}

static struct answer oracle_of_packet(const struct verdict_facts *f)
{
	bool error = f->shape & PACKET_ICMP_ERROR, tcp = f->protocol == PACKET_TCP;
	bool syn = tcp && !error && (f->tcp_flags & SYN) && !(f->tcp_flags & ACK);
	bool fragment = tcp && !error && (f->shape & PACKET_FIRST_FRAGMENT);
	bool owned = false;
	struct answer a = say(VERDICT_DETOUR, 0);
	int i, why_owned = 0, why_not = REASON_NO_SOCKET;

	/* A vMAC of ours, an IP packet: else it is none of our business. */
	if (!f->is_vmac || f->status == PACKET_TAGGED || f->status == PACKET_NOT_IP)
		return say(VERDICT_PASS, REASON_NOT_IP);
	if (f->triple.host[0] != SELF)
		return say(VERDICT_PASS, REASON_FOREIGN);
	if (f->status != PACKET_OK)
		return say(f->triple.host[1] || f->detoured ? VERDICT_DROP : VERDICT_MINE, REASON_UNPARSED);

	/* Who else could be asked?  Named in the triple, and has not had it before. */
	for (i = 1; i < TRIPLE_MAX && f->triple.host[i]; i++)
		a.to[a.n_to++] = f->triple.host[i];
	while (f->detoured && a.n_to && (a.to[0] == f->came.sender || a.to[0] == f->came.first)) {
		a.to[0] = a.to[1];
		a.n_to--;
	}

	/* Without ports nobody can be found: everybody gets a copy, once. */
	if (f->shape & PACKET_NO_OWNER) {
		if (f->detoured)
			return say(VERDICT_MINE, REASON_RELAYED);
		if (!f->detours_on)
			return say(VERDICT_MINE, REASON_DETOURS_OFF);
		return say(VERDICT_RELAY, error ? REASON_RELAY_ICMP : REASON_RELAY_FRAGMENT);
	}
	if (f->row == VERDICT_ROW_FORWARD || (f->row == VERDICT_ROW_CLOSING && !syn))
		return say(VERDICT_ROW, REASON_ROW);
	if (f->row == VERDICT_ROW_CLOSING)
		return say(VERDICT_MINE, REASON_ROW_REMOVED);
	if (!tcp)
		return say(VERDICT_MINE, REASON_NOT_TCP);
	if (syn)
		return say(VERDICT_MINE, REASON_SYN);

	/* Does a socket own it, strictly? */
	if (f->socket == SOCKET_REQUEST)
		owned = true, why_owned = REASON_REQUEST;
	if (f->socket == SOCKET_ESTABLISHED)
		owned = true, why_owned = REASON_ESTABLISHED;
	if (f->socket == SOCKET_TIME_WAIT && !error)
		owned = true, why_owned = REASON_TIME_WAIT;
	if (f->socket == SOCKET_LISTEN && !error && (f->tcp_flags & (SYN | ACK | RST)) == ACK) {
		why_not = REASON_NO_COOKIE;
		if (f->cookie == COOKIE_VALID)
			owned = true, why_owned = REASON_COOKIE;
	}
	if (f->socket == SOCKET_REQUEST_OTHER)
		why_not = REASON_OTHER_REQUEST;
	if (f->socket == SOCKET_TIME_WAIT_OTHER)
		why_not = REASON_OTHER_TIME_WAIT;
	if (f->socket == SOCKET_ESTABLISHED_OTHER)
		why_not = REASON_OTHER_ESTABLISHED;
	if (error)
		why_not = REASON_ICMP_ERROR, why_owned = REASON_ICMP_MINE;

	if (!a.n_to && !fragment) /* nobody else: the stack answers as it would anyway */
		return say(VERDICT_MINE, f->detoured || f->triple.host[1] ? REASON_LAST : REASON_AT_REST);
	if (owned)
		return say(VERDICT_MINE, why_owned);
	if (!a.n_to)
		return say(VERDICT_DROP, REASON_FRAGMENT);
	if (f->detoured && f->came.budget == 0)
		return say(VERDICT_DROP, REASON_BUDGET);
	if (!f->detours_on)
		return say(VERDICT_MINE, REASON_DETOURS_OFF);
	a.reason = why_not;
	return a;
}

static struct answer oracle(const struct verdict_facts *f)
{
	struct answer a = oracle_of_packet(f);
	bool touched = a.action == VERDICT_DETOUR || a.action == VERDICT_RELAY || a.action == VERDICT_DROP;

	/* A parsed packet to another address may stay or pass, but we do nothing to it. */
	return touched && f->status == PACKET_OK && f->vip == VIP_NO ? say(VERDICT_PASS, REASON_NOT_VIP) : a;
}

/* --- Every combination ------------------------------------------------------------------------------ */

static void dump(const struct verdict_facts *f, const struct verdict *v, const struct answer *a)
{
	fail_msg("triple %u,%u,%u detoured %u from %u first %u budget %u status %u shape %#x protocol %u flags %#x "
		 "row %u vip %u socket %u cookie %u detours %u: %s/%s, oracle %s/%s",
		 f->triple.host[0], f->triple.host[1], f->triple.host[2], f->detoured, f->came.sender, f->came.first,
		 f->came.budget, f->status, f->shape, f->protocol, f->tcp_flags, f->row, f->vip, f->socket, f->cookie,
		 f->detours_on, verdict_action_name(v->action), verdict_reason_name(v->reason),
		 verdict_action_name((enum verdict_action)a->action), verdict_reason_name((enum verdict_reason)a->reason));
}

/* Asks as the data paths do: facts unknown until asked for, none asked twice. */
static struct verdict ask(const struct verdict_facts *truth)
{
	struct verdict_facts f = *truth;
	int asked_vip = 0, asked_socket = 0, asked_cookie = 0;

	f.vip = f.socket = f.cookie = 0;
	for (;;) {
		struct verdict v = verdict(&f);

		if (v.action == VERDICT_ASK_VIP && !asked_vip++)
			f.vip = truth->vip;
		else if (v.action == VERDICT_ASK_SOCKET && !asked_socket++)
			f.socket = truth->socket;
		else if (v.action == VERDICT_ASK_COOKIE && !asked_cookie++)
			f.cookie = truth->cookie;
		else
			return v;
	}
}

static void compare(const struct verdict_facts *f)
{
	struct verdict v = ask(f);
	struct answer a = oracle(f);

	if (v.action != a.action || v.reason != a.reason)
		dump(f, &v, &a);
	if (v.action == VERDICT_DETOUR) {
		if (v.to.host[0] != a.to[0] || v.to.host[1] != (a.n_to > 1 ? a.to[1] : 0) || v.to.host[2] ||
		    v.detour.sender != SELF || v.detour.first != (f->detoured ? f->came.first : SELF) ||
		    v.detour.reason != (f->detoured ? f->came.reason : v.reason) ||
		    v.detour.budget != (f->detoured ? f->came.budget - 1 : DETOUR_BUDGET_MAX - 1))
			dump(f, &v, &a);
	}
	if (v.action == VERDICT_RELAY && v.detour.budget)
		dump(f, &v, &a);
}

static size_t n_compared;

static void with_lookups(struct verdict_facts *f)
{
	int x;

	/* A fact of 2 x 8 x 2 x 3 values: VIP, socket, cookie, row. */
	for (x = 0; x < 2 * 8 * 2 * 3; x++) {
		f->vip = (uint8_t)(VIP_NO + x % 2);
		f->socket = (uint8_t)(SOCKET_NONE + x / 2 % 8);
		f->cookie = (uint8_t)(COOKIE_NO + x / 16 % 2);
		f->row = (uint8_t)(x / 32);
		compare(f);
		n_compared++;
	}
}

static void with_packets(struct verdict_facts *f)
{
	static const uint8_t protocols[] = { PACKET_TCP, PACKET_UDP, PACKET_ICMP };
	static const uint8_t flags[] = { 0, SYN, ACK, RST, SYN | ACK, SYN | RST, ACK | RST, SYN | ACK | RST };
	int shape, flag, protocol, status;

	for (status = PACKET_OK; status <= PACKET_EXTENSIONS; status++) {
		f->status = (uint8_t)status;
		for (shape = 0; shape < 16; shape++) {
			/* What was not parsed has no shape: try the smallest and the largest. */
			if (status != PACKET_OK && shape != 0 && shape != 15)
				continue;
			f->shape = (uint8_t)shape;
			for (protocol = 0; protocol < 3; protocol++) {
				f->protocol = protocols[protocol];
				for (flag = 0; flag < 8; flag++) {
					f->tcp_flags = flags[flag];
					with_lookups(f);
				}
			}
		}
	}
}

/* Calls back for every list of one to three distinct hosts of 1..n. */
static void each_triple(uint16_t n, void (*visit)(const struct triple *t, void *ctx), void *ctx)
{
	uint16_t a, b, c;

	for (a = 1; a <= n; a++) {
		for (b = 0; b <= n; b++) {
			const uint16_t last = b ? n : 0;

			for (c = 0; c <= last; c++) {
				struct triple t = { { a, b, c } };

				if (b != a && c != a && (!c || c != b))
					visit(&t, ctx);
			}
		}
	}
}

static void each_source(const struct triple *t, void *ctx)
{
	struct verdict_facts f = { .self = SELF, .triple = *t, .is_vmac = 1 };
	int x;

	(void)ctx;
	for (f.detours_on = 0; f.detours_on < 2; f.detours_on++) {
		f.detoured = 0;
		with_packets(&f);
		f.detoured = 1;
		for (x = 0; x < 2 * 2 * 3; x++) {
			f.came.sender = (uint16_t)(2 + x % 2);
			f.came.first = (uint16_t)(2 + x / 2 % 2);
			f.came.budget = (uint8_t)(x / 4);
			f.came.reason = REASON_OTHER_REQUEST;
			with_packets(&f);
		}
	}
}

static void every_combination(void **state)
{
	struct verdict_facts none = { .self = SELF, .detours_on = 1 };

	(void)state;
	with_packets(&none); /* not a vMAC */
	each_triple(3, each_source, NULL);
	print_message("%zu combinations\n", n_compared);
	assert_true(n_compared > 10000000);
}

/* --- Loop freedom ------------------------------------------------------------------------------------ */

static uint64_t random_state = 88172645463325252ull;

static uint32_t random_below(uint32_t n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)((random_state >> 32) % n);
}

struct walk {
	bool hostile; /* between hosts the destination becomes any vMAC of the receiver */
	bool forged;  /* the first frame carries a detour header already */
	bool stubborn; /* every host knows nothing: the longest way */
	size_t walks, longest;
};

static struct triple random_triple(uint16_t head, int n)
{
	struct triple t = { { head, 0, 0 } };
	uint16_t b = (uint16_t)(1 + random_below((uint32_t)n)), c = (uint16_t)(1 + random_below((uint32_t)n));

	if (b != head)
		t.host[1] = b;
	if (t.host[1] && c != b && c != head)
		t.host[2] = c;
	return t;
}

static void random_facts(struct verdict_facts *f, const struct walk *w)
{
	static const uint8_t flags[] = { 0, ACK, RST, ACK | RST, SYN | ACK };

	f->protocol = PACKET_TCP;
	f->vip = VIP_YES;
	f->shape = (uint8_t)random_below(16);
	f->tcp_flags = flags[random_below(5)];
	f->socket = w->stubborn ? SOCKET_NONE : (uint8_t)(SOCKET_NONE + random_below(8));
	f->cookie = (uint8_t)(COOKIE_NO + random_below(2));
}

/* One frame from the switch until somebody keeps it. */
static void walk(const struct triple *start, void *ctx)
{
	struct walk *w = ctx;
	struct verdict_facts f = { .detours_on = 1, .is_vmac = 1, .triple = *start };
	uint8_t mac[6];
	size_t sent = 0;

	random_facts(&f, w);
	f.detoured = w->forged;
	f.came.sender = f.came.first = (uint16_t)(1 + random_below(6));
	f.came.budget = (uint8_t)random_below(DETOUR_BUDGET_MAX);
	for (;;) {
		struct verdict v;

		f.self = f.triple.host[0];
		v = ask(&f);
		if (v.action == VERDICT_RELAY)
			assert_int_equal(v.detour.budget, 0);
		if (v.action != VERDICT_DETOUR)
			break;
		sent++;
		assert_true(sent <= DETOUR_BUDGET_MAX);
		assert_int_not_equal(v.to.host[0], f.self);
		if (f.detoured)
			assert_int_not_equal(v.to.host[0], f.came.sender);
		/* Over the wire: both addresses must survive their codecs. */
		detour_encode(mac, &v.detour);
		assert_true(detour_decode(mac, &f.came));
		f.detoured = 1;
		vmac_encode(mac, &v.to);
		assert_true(vmac_decode(mac, &f.triple));
		if (w->hostile)
			f.triple = random_triple((uint16_t)(1 + random_below(6)), 6);
		if (!w->stubborn)
			f.socket = (uint8_t)(SOCKET_NONE + random_below(8));
	}
	w->walks++;
	w->longest = sent > w->longest ? sent : w->longest;
}

static void no_loops(void **state)
{
	struct walk w;
	int mode, i;

	(void)state;
	for (mode = 0; mode < 8; mode++) {
		w = (struct walk){ .hostile = mode & 1, .forged = mode & 2, .stubborn = mode & 4 };
		for (i = 0; i < 2000; i++)
			each_triple(6, walk, &w);
		print_message("hostile %d forged %d stubborn %d: %zu frames, sent on at most %zu times\n", w.hostile,
			      w.forged, w.stubborn, w.walks, w.longest);
		/* Honest frames pass at most two others; only a rewritten one can use up its budget. */
		assert_int_equal(w.longest, w.hostile && !w.forged ? DETOUR_BUDGET_MAX : 2);
	}
}

/* The control of the test above: without the budget, a rewritten frame goes on for ever. */
static void loops_without_budget(void **state)
{
	struct verdict_facts f = { .detours_on = 1, .is_vmac = 1, .protocol = PACKET_TCP, .vip = VIP_YES,
				   .tcp_flags = ACK, .socket = SOCKET_NONE, .triple = { { 1, 2, 3 } } };
	size_t sent;

	(void)state;
	for (sent = 0; sent < 1000; sent++) {
		struct verdict v;

		f.self = f.triple.host[0];
		v = verdict(&f);
		if (v.action != VERDICT_DETOUR)
			break;
		f.came = v.detour;
		f.came.budget = DETOUR_BUDGET_MAX - 1;
		f.detoured = 1;
		f.triple = (struct triple){ { v.to.host[0], (uint16_t)(4 + sent % 7), (uint16_t)(20 + sent % 7) } };
	}
	assert_int_equal(sent, 1000);
}

/* --- Windows ----------------------------------------------------------------------------------------- */

static void windows(void **state)
{
	struct tcp_window w = { .rcv_nxt = 1000, .rcv_wnd = 65535, .snd_una = 0xfffffff0u, .snd_end = 100 };
	struct packet p = { .tcp_flags = ACK, .seq = 1000, .ack = 50 };

	(void)state;
	assert_true(verdict_fits_window(&p, &w));
	p.seq = 999; /* a keepalive */
	assert_true(verdict_fits_window(&p, &w));
	p.seq = 1000 + 65535; /* the last byte that may be sent, and one more */
	assert_true(verdict_fits_window(&p, &w));
	p.seq++;
	assert_false(verdict_fits_window(&p, &w));
	p.seq = 1000;
	p.segment = 60000; /* a super-packet */
	assert_true(verdict_fits_window(&p, &w));
	p.seq = 1000 - 60000; /* sent again, whole */
	assert_true(verdict_fits_window(&p, &w));
	p.segment = 0;
	p.seq = 1000 - WINDOW_SLACK - 1;
	assert_false(verdict_fits_window(&p, &w));
	p.seq = 1000;
	p.ack = 101; /* acknowledges what was never sent */
	assert_false(verdict_fits_window(&p, &w));
	p.tcp_flags = RST; /* no ACK: its number means nothing */
	assert_true(verdict_fits_window(&p, &w));
	p.tcp_flags = ACK;
	p.ack = 0xffffff00u; /* an old one */
	assert_true(verdict_fits_window(&p, &w));
	p.ack = 100 - 2 * WINDOW_SLACK;
	assert_false(verdict_fits_window(&p, &w));
	p.shape = PACKET_ICMP_ERROR;
	p.seq = 99;
	assert_true(verdict_fits_window(&p, &w));
	p.seq = 101;
	assert_false(verdict_fits_window(&p, &w));
}

static void time_wait(void **state)
{
	struct tcp_window w = { .rcv_nxt = 1000, .rcv_wnd = 65535, .snd_una = 500, .snd_end = 500 };
	struct packet p = { .tcp_flags = ACK | TCP_FLAG_BIT_FIN, .seq = 999, .segment = 1, .ack = 500 };

	(void)state;
	assert_true(verdict_fits_time_wait(&p, &w)); /* the FIN again */
	p.seq = 1000; /* new data, or the next connection's */
	assert_false(verdict_fits_time_wait(&p, &w));
	p.seq = 900;
	assert_true(verdict_fits_time_wait(&p, &w));
	p.ack = 501;
	assert_false(verdict_fits_time_wait(&p, &w));
	p.tcp_flags = RST;
	assert_true(verdict_fits_time_wait(&p, &w));
}

static void requests(void **state)
{
	struct packet p = { .tcp_flags = ACK, .ack = 7001, .seq = 501 };

	(void)state;
	assert_true(verdict_fits_request(&p, 7000, 500));
	assert_false(verdict_fits_request(&p, 7001, 500));
	p.tcp_flags = RST;
	assert_true(verdict_fits_request(&p, 1, 500));
	assert_false(verdict_fits_request(&p, 1, 501));
	p.tcp_flags = RST | ACK;
	assert_false(verdict_fits_request(&p, 1, 500));
	p.shape = PACKET_ICMP_ERROR;
	p.seq = 7000;
	assert_true(verdict_fits_request(&p, 7000, 500));
}

static void names(void **state)
{
	int i, j;

	(void)state;
	for (i = 0; i < REASON_MAX; i++)
		for (j = i + 1; j < REASON_MAX; j++)
			if (strcmp(verdict_reason_name((enum verdict_reason)i), "unused"))
				assert_string_not_equal(verdict_reason_name((enum verdict_reason)i),
							verdict_reason_name((enum verdict_reason)j));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_combination),
		cmocka_unit_test(no_loops),
		cmocka_unit_test(loops_without_budget),
		cmocka_unit_test(windows),
		cmocka_unit_test(time_wait),
		cmocka_unit_test(requests),
		cmocka_unit_test(names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
