/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The controller in virtual time: the real core, the real state machine in every switch, and a world
 * of switches that lag, fail and vanish, hosts that die and sicken, and a disk that fills up.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/control.h"

#define SWITCHES 2
#define HOSTS 4
#define LOG_MAX 2000
#define CHECKED 1000 /* ms: the default interval of checks, which the sick wait for each other */

static const char pop_text[] =
	"pop: {name: sim, buckets: 64, hash_seed: 0x1badcafe}\n"
	"controllers: [{name: c1, id: 1, listen: \"192.0.2.10:7430\"}]\n"
	"switches:\n"
	"  - {name: s1, id: 1, fabric: xdp, management: 192.0.2.21, bridge: br0, uplinks: [up0], ports: {p1: h1, p2: h2, p3: h3, p4: h4}}\n"
	"  - {name: s2, id: 2, fabric: netlink, management: 192.0.2.22, bridge: br0, uplinks: [up0], ports: {p1: h1, p2: h2, p3: h3, p4: h4}}\n"
	"hosts:\n"
	"  - {name: h1, id: 1, weight: 100, management: 192.0.2.31, links: {s1: eth0, s2: eth1}}\n"
	"  - {name: h2, id: 2, weight: 100, management: 192.0.2.32, links: {s1: eth0, s2: eth1}}\n"
	"  - {name: h3, id: 3, weight: 100, management: 192.0.2.33, links: {s1: eth0, s2: eth1}}\n"
	"  - {name: h4, id: 4, weight: 100, management: 192.0.2.34, links: {s1: eth0, s2: eth1}}\n"
	"vips:\n"
	"  - {name: www, addresses: [198.51.100.80], ports: [80/tcp], checks: [{tcp: {port: 80}}]}\n";

struct sim_switch {
	struct state state;
	uint64_t lag_ms, due[LOG_MAX + 1]; /* when a record is installed */
	bool on, failing, silent;	   /* silent: the session is gone, it goes on forwarding */
	bool announcing, drained;
	uint64_t seen; /* records delivered */
	uint64_t withdrawn_ms;
};

struct sim_host {
	bool alive, agent, ok, mute; /* mute: reports, but acknowledges nothing */
	unsigned sockets;	  /* established */
	unsigned via[HOSTS + 1]; /* proof: through whom they are reached */
	void (*spoil)(struct host_report *r); /* what else its reports say */
};

struct sim {
	struct control c;
	uint64_t now;
	struct log_bytes log[LOG_MAX];
	size_t n_log;
	bool disk_full;
	struct sim_switch sw[SWITCHES + 1];
	struct sim_host host[HOSTS + 1];
	uint64_t report_at;
	struct command_reply reply;
	uint16_t elsewhere; /* no switch reports on this one */
};

static void carry_out(struct sim *s, struct control_actions *a);

static void event(struct sim *s, struct control_event *e)
{
	struct control_actions *a = calloc(1, sizeof(*a));

	control_step(&s->c, e, s->now, a);
	if (a->replied)
		s->reply = a->reply;
	carry_out(s, a);
	free(a);
}

static void carry_out(struct sim *s, struct control_actions *a)
{
	while (a->n_records) {
		struct control_event done = { .kind = s->disk_full ? CONTROL_LOST : CONTROL_COMMITTED };
		size_t i;
		int k;

		for (i = 0; i < a->n_records; i++) {
			if (s->disk_full) {
				free((void *)(uintptr_t)a->record[i].data);
				continue;
			}
			assert_true(s->n_log < LOG_MAX);
			for (k = 1; k <= SWITCHES; k++)
				s->sw[k].due[s->n_log] = s->now + s->sw[k].lag_ms;
			s->log[s->n_log++] = a->record[i];
		}
		control_step(&s->c, &done, s->now, a);
	}
}

static void say(struct sim *s, enum control_event_kind kind, enum role role, uint16_t id, uint64_t index)
{
	struct control_event e = { .kind = kind, .role = role, .id = id, .index = index, .why = "no memory in the ASIC" };

	event(s, &e);
}

static void report_all(struct sim *s)
{
	uint16_t i, k;

	for (i = 1; i <= SWITCHES; i++) {
		struct switch_report *r = calloc(1, sizeof(*r));
		struct control_event e = { .kind = CONTROL_REPORTED, .role = ROLE_SWITCH, .id = i, .switch_report = r };

		for (k = 1; k <= HOSTS; k++)
			r->host[k] = k == s->elsewhere ? 0 : PORT_KNOWN | (s->host[k].alive ? PORT_CARRIER | PORT_DATAPATH : 0);
		r->announcing = s->sw[i].announcing;
		r->drained = s->sw[i].drained;
		if (s->sw[i].on && !s->sw[i].silent)
			event(s, &e);
		free(r);
	}
	for (i = 1; i <= HOSTS; i++) {
		struct host_report *r = calloc(1, sizeof(*r));
		struct control_event e = { .kind = CONTROL_REPORTED, .role = ROLE_HOST, .id = i, .host_report = r };

		r->services_ok = s->host[i].ok;
		r->cookie_ms = r->detour_in_ms = r->detour_out_ms = -1;
		r->established = s->host[i].sockets;
		r->via_known = true;
		r->via_index = s->c.state.view.index;
		for (k = 1; k <= HOSTS; k++)
			r->via[k] = s->host[i].via[k] != 0;
		if (s->host[i].spoil)
			s->host[i].spoil(r);
		if (s->host[i].alive && s->host[i].agent)
			event(s, &e);
		free(r);
	}
}

/* What is due on a switch is installed, as a follower would: through state_apply, digests and all. */
static void install(struct sim *s, uint16_t id)
{
	struct sim_switch *w = &s->sw[id];
	uint64_t before = w->state.view.index;

	if (!w->on || w->silent)
		return;
	while (w->seen < s->n_log && w->due[w->seen] <= s->now) {
		struct record r;
		unsigned what;
		char why[WHY_MAX];

		if (w->failing) {
			say(s, CONTROL_FAILED, ROLE_SWITCH, id, w->state.view.index + 1);
			return;
		}
		assert_int_equal(record_decode(s->log[w->seen].data, s->log[w->seen].len, &r), 0);
		assert_int_equal(state_apply(&w->state, &r, &what, why, sizeof(why)), 0);
		w->seen++;
	}
	if (!w->state.config)
		return;
	if (w->state.view.switch_admin[id] == ADMIN_OUT) {
		if (w->announcing)
			w->withdrawn_ms = s->now;
		w->announcing = false;
		w->drained = s->now - w->withdrawn_ms >= 1000;
	} else {
		w->announcing = true;
		w->drained = false;
	}
	if (w->state.view.index != before)
		say(s, CONTROL_ACKED, ROLE_SWITCH, id, w->state.view.index);
}

static void check_mixed_tables(struct sim *s);

static void advance(struct sim *s, uint64_t ms)
{
	uint64_t end = s->now + ms;
	uint16_t i;

	while (s->now < end) {
		struct control_event tick = { .kind = CONTROL_TICK };

		s->now += 5;
		for (i = 1; i <= SWITCHES; i++)
			install(s, i);
		for (i = 1; i <= HOSTS; i++)
			if (s->host[i].agent && s->host[i].alive && !s->host[i].mute)
				say(s, CONTROL_ACKED, ROLE_HOST, i, s->c.state.view.index);
		if (s->now >= s->report_at) {
			report_all(s);
			s->report_at = s->now + 100;
		}
		event(s, &tick);
		check_mixed_tables(s);
	}
}

/* Whatever the switches hold by now: who owns a bucket on one is named by the others, unless it is dead. */
static void check_mixed_tables(struct sim *s)
{
	const struct table *a = &s->sw[1].state.table, *b = &s->sw[2].state.table;
	uint32_t i;

	if (!s->sw[1].announcing || !s->sw[2].announcing) /* no packets through one: nothing is mixed */
		return;
	if (!a->n_buckets || !b->n_buckets || s->sw[1].failing || s->sw[2].failing || s->c.sw[1].excused || s->c.sw[2].excused)
		return;
	for (i = 0; i < a->n_buckets; i++) {
		uint16_t x = a->bucket[i].triple.host[0], y = b->bucket[i].triple.host[0];

		if (x && y && s->host[x].alive && s->host[y].alive) {
			assert_true(triple_has(&b->bucket[i].triple, x));
			assert_true(triple_has(&a->bucket[i].triple, y));
		}
	}
}

static struct sim *raise_pop_of(const char *text, uint16_t elsewhere)
{
	struct sim *s = calloc(1, sizeof(*s));
	struct control_actions *a = calloc(1, sizeof(*a));
	uint16_t i;

	s->now = 1000000;
	s->elsewhere = elsewhere;
	assert_int_equal(control_init(&s->c), 0);
	control_bootstrap(&s->c, text, strlen(text), s->now, a);
	if (a->reply.refused)
		fail_msg("%s", a->reply.error);
	carry_out(s, a);
	free(a);
	for (i = 1; i <= SWITCHES; i++) {
		state_init(&s->sw[i].state);
		s->sw[i].on = true;
		s->sw[i].lag_ms = 5;
		say(s, CONTROL_CONNECTED, ROLE_SWITCH, i, 0);
	}
	for (i = 1; i <= HOSTS; i++) {
		s->host[i] = (struct sim_host){ .alive = true, .agent = true, .ok = true };
		say(s, CONTROL_CONNECTED, ROLE_HOST, i, 0);
	}
	advance(s, 2000);
	return s;
}

static struct sim *raise_pop(void)
{
	return raise_pop_of(pop_text, 0);
}

static void drop_pop(struct sim *s)
{
	size_t i;

	control_free(&s->c);
	for (i = 0; i < s->n_log; i++)
		free((void *)(uintptr_t)s->log[i].data);
	for (i = 1; i <= SWITCHES; i++)
		state_free(&s->sw[i].state);
	free(s);
}

static bool order(struct sim *s, enum command_kind kind, enum object_kind object, uint16_t id, bool force)
{
	struct command cmd = { .kind = kind, .object = object, .id = id, .force = force, .reason = "test" };
	struct control_event e = { .kind = CONTROL_COMMAND, .command = &cmd };

	event(s, &e);
	return !s->reply.refused;
}

static uint32_t owned(const struct sim *s, uint16_t host)
{
	return table_owned(&s->c.state.table, host);
}

static size_t unmet(const struct sim *s, enum object_kind kind, uint16_t id, const char *want)
{
	struct condition c[CONDITIONS_MAX];
	size_t i, n = control_conditions(&s->c, kind, id, c);
	bool found = !want;

	for (i = 0; i < n; i++)
		found |= want && !strcmp(c[i].id, want);
	if (!found)
		fail_msg("no condition %s among %zu (first %s)", want, n, n ? c[0].id : "-");
	return n;
}

static bool alarmed(const struct sim *s, const char *id)
{
	size_t i;

	for (i = 0; i < s->c.n_alarms; i++)
		if (!strcmp(s->c.alarm[i].id, id))
			return true;
	return false;
}

/* --- tests ----------------------------------------------------------------------------------------- */

static void test_start(void **state)
{
	struct sim *s = raise_pop();
	uint32_t b;

	(void)state;
	for (uint16_t h = 1; h <= HOSTS; h++)
		assert_int_equal(owned(s, h), 16);
	for (b = 0; b < 64; b++) /* given once, to all together: nobody has a history */
		assert_int_equal(triple_len(&s->c.state.table.bucket[b].triple), 1);
	drop_pop(s);
}

static void test_drain_until_safe(void **state)
{
	struct sim *s = raise_pop();

	(void)state;
	s->host[1].sockets = 7;
	s->host[1].via[1] = s->host[1].via[2] = 1;
	s->sw[2].lag_ms = 300;
	assert_true(order(s, COMMAND_DRAIN, OBJECT_HOST, 1, false));
	assert_int_equal(s->reply.moves, 16);
	advance(s, 250);
	assert_int_equal(owned(s, 1), 16); /* first step only: s2 has not installed it */
	advance(s, 100);
	assert_int_equal(owned(s, 1), 0);
	advance(s, 1000);
	unmet(s, OBJECT_HOST, 1, "sockets");
	unmet(s, OBJECT_HOST, 1, "sheltered");
	assert_true(table_sheltered(&s->c.state.table, 1) > 0 && table_sheltered(&s->c.state.table, 1) < 16); /* only h2's */
	s->host[1].via[2] = 0;
	advance(s, 1000);
	assert_int_equal(table_sheltered(&s->c.state.table, 1), 0);
	assert_int_equal(unmet(s, OBJECT_HOST, 1, "sockets"), 1);
	assert_int_equal(s->c.state.view.host_admin[1], ADMIN_DRAINING);
	s->host[1].sockets = 0;
	advance(s, 500);
	assert_int_equal(s->c.state.view.host_admin[1], ADMIN_OUT);
	assert_int_equal(unmet(s, OBJECT_HOST, 1, NULL), 0);
	/* A reboot: dead, then back; it is filled and has its share again. */
	s->host[1].alive = false;
	advance(s, 1000);
	s->host[1].alive = true;
	advance(s, 1500);
	assert_true(order(s, COMMAND_FILL, OBJECT_HOST, 1, false));
	advance(s, 1000);
	assert_int_equal(owned(s, 1), 16);
	drop_pop(s);
}

/* A proof that was complete before a move says nothing about the histories which that move makes. */
static void test_old_proof_ends_nothing_new(void **state)
{
	struct sim *s = raise_pop();
	uint32_t before;

	(void)state;
	assert_true(order(s, COMMAND_DRAIN, OBJECT_HOST, 4, false));
	advance(s, 2000);
	s->host[1].via[4] = 1; /* h1 will shelter flows of what h4 gets */
	assert_true(order(s, COMMAND_FILL, OBJECT_HOST, 4, false));
	advance(s, 2000);
	before = table_sheltered(&s->c.state.table, 1);
	assert_true(before > 0);
	assert_true(order(s, COMMAND_DRAIN, OBJECT_HOST, 1, false));
	s->host[1].via[2] = s->host[1].via[3] = 1; /* its flows come through the new owners from now on */
	s->report_at = s->now + 100;		   /* and the next report says so */
	advance(s, 60);
	assert_int_equal(owned(s, 1), 0);
	assert_int_equal(table_sheltered(&s->c.state.table, 1), before + 16);
	drop_pop(s);
}

static void spoil_request(struct host_report *r) { r->request = 1; }
static void spoil_time_wait(struct host_report *r) { r->time_wait = 1; }
static void spoil_other(struct host_report *r) { r->other = 1; }
static void spoil_rows(struct host_report *r) { r->rows = 1; }
static void spoil_cookie(struct host_report *r) { r->cookie_ms = COOKIE_FRESH_MS - 1; }
static void spoil_detour_in(struct host_report *r) { r->detour_in_ms = 0; }
static void spoil_detour_out(struct host_report *r) { r->detour_out_ms = 0; }
static void spoil_proxied(struct host_report *r) { r->proxied = 1; }
static void spoil_unknown(struct host_report *r) { r->via_unknown = 1; }
static void spoil_no_proof(struct host_report *r) { r->via_known = false; }

/* Safe to reboot: each thing that may be left keeps a drain from ending, alone, and is named. */
static void test_each_condition_alone(void **state)
{
	static const struct {
		void (*spoil)(struct host_report *r);
		const char *id;
	} what[] = {
		{ spoil_request, "sockets" },	    { spoil_time_wait, "sockets" },	{ spoil_other, "sockets" },
		{ spoil_rows, "rows" },		    { spoil_cookie, "cookies" },	{ spoil_detour_in, "detours" },
		{ spoil_proxied, "proxied" },	    { spoil_detour_out, "detours" },	{ spoil_unknown, "sheltered" },	{ spoil_no_proof, "sheltered" },
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(what) / sizeof(what[0]); i++) {
		struct sim *s = raise_pop();

		s->host[1].spoil = what[i].spoil;
		assert_true(order(s, COMMAND_DRAIN, OBJECT_HOST, 1, false));
		advance(s, 20000);
		unmet(s, OBJECT_HOST, 1, what[i].id);
		assert_int_equal(s->c.state.view.host_admin[1], ADMIN_DRAINING);
		s->host[1].spoil = NULL; /* the control: without it the drain ends */
		advance(s, 3000);
		assert_int_equal(s->c.state.view.host_admin[1], ADMIN_OUT);
		drop_pop(s);
	}
}

/* Frames for the new owner must not come before its filters let them in; and --force goes on without it. */
static void test_second_step_waits_for_the_new_owner(void **state)
{
	struct sim *s = raise_pop();
	struct blocked b[SWITCHES + HOSTS];

	(void)state;
	s->host[2].mute = true;
	assert_true(order(s, COMMAND_DRAIN, OBJECT_HOST, 1, false));
	advance(s, 2000);
	assert_int_equal(owned(s, 1), s->reply.to[2]); /* what h3 and h4 get has moved, h2's has not */
	assert_int_equal(control_blocked(&s->c, b, SWITCHES + HOSTS), 1);
	assert_int_equal(b[0].host_id, 2);
	assert_int_equal(b[0].switch_id, 0);
	assert_true(b[0].for_ms > 1500 && b[0].for_ms < 2100);
	assert_non_null(strstr(b[0].why, "filters"));
	say(s, CONTROL_FAILED, ROLE_HOST, 2, s->c.state.view.index);
	control_blocked(&s->c, b, SWITCHES + HOSTS);
	assert_non_null(strstr(b[0].why, "no memory in the ASIC"));
	s->host[2].mute = false;
	advance(s, 100);
	assert_int_equal(owned(s, 1), 0);
	assert_int_equal(control_blocked(&s->c, b, SWITCHES + HOSTS), 0);
	/* Again, with force. */
	s->host[3].mute = true;
	assert_true(order(s, COMMAND_FILL, OBJECT_HOST, 1, false));
	advance(s, 100);
	assert_true(order(s, COMMAND_DRAIN, OBJECT_HOST, 2, true));
	advance(s, 500);
	assert_true(owned(s, 2) > 0);
	assert_true(order(s, COMMAND_DRAIN, OBJECT_HOST, 2, true));
	advance(s, 500);
	assert_int_equal(owned(s, 2), 0);
	drop_pop(s);
}

/* A front end that does not know of the drain may still give the host requests; one that is gone gives nobody any. */
static void test_drain_waits_for_front_ends(void **state)
{
	struct sim *s = raise_pop();

	(void)state;
	say(s, CONTROL_CONNECTED, ROLE_EDGE, 2, 0);
	say(s, CONTROL_ACKED, ROLE_EDGE, 2, s->c.state.view.index);
	say(s, CONTROL_CONNECTED, ROLE_EDGE, 3, 0);
	assert_true(order(s, COMMAND_DRAIN, OBJECT_HOST, 1, false));
	advance(s, 20000);
	unmet(s, OBJECT_HOST, 1, "front-ends");
	say(s, CONTROL_ACKED, ROLE_EDGE, 2, s->c.state.view.index);
	advance(s, 3000);
	unmet(s, OBJECT_HOST, 1, "front-ends");
	assert_int_equal(s->c.state.view.host_admin[1], ADMIN_DRAINING);
	/* From now on nobody gives it anything; what it was given before may still run, and only a later report says. */
	s->host[1].spoil = spoil_proxied;
	say(s, CONTROL_GONE, ROLE_EDGE, 3, 0);
	advance(s, 3000);
	unmet(s, OBJECT_HOST, 1, "proxied");
	assert_int_equal(s->c.state.view.host_admin[1], ADMIN_DRAINING);
	s->host[1].spoil = NULL;
	advance(s, 3000);
	assert_int_equal(s->c.state.view.host_admin[1], ADMIN_OUT);
	drop_pop(s);
}

/* A fresh SYN cookie may become a socket: no history ends before it is too old. */
static void test_cookie_keeps_histories(void **state)
{
	struct sim *s = raise_pop();

	(void)state;
	s->host[1].spoil = spoil_cookie;
	assert_true(order(s, COMMAND_DRAIN, OBJECT_HOST, 1, false));
	advance(s, 20000);
	assert_int_equal(table_sheltered(&s->c.state.table, 1), 16);
	drop_pop(s);
}

static void test_no_proof_no_end(void **state)
{
	struct sim *s = raise_pop();

	(void)state;
	s->host[1].via[2] = s->host[1].via[3] = s->host[1].via[4] = 1; /* idle for ever, but alive */
	assert_true(order(s, COMMAND_DRAIN, OBJECT_HOST, 1, false));
	advance(s, 100000);
	assert_int_equal(table_sheltered(&s->c.state.table, 1), 16);
	assert_int_equal(s->c.state.view.host_admin[1], ADMIN_DRAINING);
	drop_pop(s);
}

static void test_lag_blocks_and_force_goes_on(void **state)
{
	struct sim *s = raise_pop();
	struct blocked b[SWITCHES];

	(void)state;
	s->sw[2].silent = true;
	say(s, CONTROL_GONE, ROLE_SWITCH, 2, 0);
	assert_true(order(s, COMMAND_DRAIN, OBJECT_HOST, 1, false));
	advance(s, 30000);
	assert_int_equal(owned(s, 1), 16);
	assert_int_equal(control_blocked(&s->c, b, SWITCHES), 1);
	assert_int_equal(b[0].switch_id, 2);
	assert_non_null(strstr(b[0].why, "not connected"));
	assert_true(order(s, COMMAND_DRAIN, OBJECT_HOST, 1, true));
	assert_true(s->reply.already);
	advance(s, 100);
	assert_int_equal(owned(s, 1), 0);
	/* Gone on, but not safe: s2 may still forward by the table it has. */
	advance(s, 5000);
	unmet(s, OBJECT_HOST, 1, "left-behind");
	assert_int_equal(s->c.state.view.host_admin[1], ADMIN_DRAINING);
	assert_true(order(s, COMMAND_DRAIN, OBJECT_SWITCH, 2, true));
	advance(s, 1000);
	assert_int_equal(s->c.state.view.host_admin[1], ADMIN_OUT);
	drop_pop(s);
}

static void test_failure_blocks_with_its_words(void **state)
{
	struct sim *s = raise_pop();
	struct blocked b[SWITCHES];

	(void)state;
	s->sw[1].failing = true;
	assert_true(order(s, COMMAND_DRAIN, OBJECT_HOST, 3, false));
	advance(s, 5000);
	assert_int_equal(owned(s, 3), 16);
	assert_int_equal(control_blocked(&s->c, b, SWITCHES), 1);
	assert_non_null(strstr(b[0].why, "no memory in the ASIC"));
	s->sw[1].failing = false;
	advance(s, 100);
	assert_int_equal(owned(s, 3), 0);
	drop_pop(s);
}

static void test_undo(void **state)
{
	struct sim *s = raise_pop();
	struct bucket before[64];

	(void)state;
	memcpy(before, s->c.state.table.bucket, sizeof(before));
	s->sw[2].lag_ms = 1000;
	assert_true(order(s, COMMAND_DRAIN, OBJECT_HOST, 2, false));
	advance(s, 500);
	assert_true(order(s, COMMAND_FILL, OBJECT_HOST, 2, false));
	assert_memory_equal(before, s->c.state.table.bucket, sizeof(before));
	advance(s, 3000);
	assert_memory_equal(before, s->c.state.table.bucket, sizeof(before));
	drop_pop(s);
}

static void test_dead_waits_for_nobody(void **state)
{
	struct sim *s = raise_pop();

	(void)state;
	s->sw[2].silent = true;
	say(s, CONTROL_GONE, ROLE_SWITCH, 2, 0);
	s->host[4].alive = false;
	advance(s, 210); /* a report, and a batch */
	assert_int_equal(s->c.state.view.host_health[4], HEALTH_DEAD);
	assert_int_equal(owned(s, 4) + table_sheltered(&s->c.state.table, 4), 0);
	drop_pop(s);
}

static void test_sick_keeps_its_history(void **state)
{
	struct sim *s = raise_pop();

	(void)state;
	s->host[4].agent = false; /* killed; the data path answers */
	s->host[4].via[1] = s->host[4].via[2] = s->host[4].via[3] = 1;
	advance(s, 2800);
	assert_int_equal(owned(s, 4), 16);
	advance(s, 600 + CHECKED);
	assert_int_equal(s->c.state.view.host_health[4], HEALTH_SICK);
	assert_int_equal(owned(s, 4), 0);
	assert_int_equal(table_sheltered(&s->c.state.table, 4), 16);
	drop_pop(s);
}

static void test_burst_locks_and_floor_holds(void **state)
{
	struct sim *s = raise_pop();

	(void)state;
	s->host[1].ok = false;
	advance(s, CHECKED - 100); /* the same cause, seen by the second host's checks nearly an interval later */
	s->host[2].ok = false;
	advance(s, 2 * CHECKED);
	assert_true(alarmed(s, "burst"));
	assert_int_equal(owned(s, 1) + owned(s, 2), 32);
	s->host[2].ok = true; /* one alone is believed */
	advance(s, 500);
	assert_false(alarmed(s, "burst"));
	assert_int_equal(owned(s, 1), 0);
	s->host[2].ok = false;
	advance(s, 500 + CHECKED);
	assert_int_equal(s->c.state.view.host_health[2], HEALTH_SICK);
	s->host[3].ok = false; /* the floor of 50 % is reached */
	advance(s, 500 + CHECKED);
	assert_true(alarmed(s, "floor"));
	assert_int_equal(owned(s, 3), 32);
	assert_false(order(s, COMMAND_DRAIN, OBJECT_HOST, 4, false));
	assert_non_null(strstr(s->reply.error, "floor"));
	assert_true(order(s, COMMAND_DRAIN, OBJECT_HOST, 4, true));
	drop_pop(s);
}

/* A check of another service that is made once in ten minutes keeps nobody who is sick in service. */
static void test_sick_wait_is_bounded(void **state)
{
	char *text = NULL, *seldom = "  - {name: far, addresses: [198.51.100.81], ports: [81/tcp], checks: [{tcp: {port: 81, interval: 600s}}]}\n";
	struct sim *s;

	(void)state;
	assert_true(asprintf(&text, "%s%s", pop_text, seldom) > 0);
	s = raise_pop_of(text, 0);
	s->host[1].ok = false;
	advance(s, 3000);
	assert_int_equal(s->c.state.view.host_health[1], HEALTH_SICK);
	assert_int_equal(owned(s, 1), 0);
	drop_pop(s);
	free(text);
}

static void test_all_sick_fails_open(void **state)
{
	struct sim *s = raise_pop();

	(void)state;
	for (uint16_t h = 1; h <= HOSTS; h++)
		s->host[h].ok = false;
	advance(s, 3000);
	assert_true(alarmed(s, "all-sick"));
	for (uint16_t h = 1; h <= HOSTS; h++)
		assert_int_equal(owned(s, h), 16);
	drop_pop(s);
}

static void test_own_stall_is_nobodys_fault(void **state)
{
	struct sim *s = raise_pop();

	(void)state;
	s->now += 20000; /* stopped and continued: everybody seems silent */
	s->report_at = s->now + 200;
	advance(s, 150);
	for (uint16_t h = 1; h <= HOSTS; h++)
		assert_int_equal(s->c.state.view.host_health[h], HEALTH_UP);
	advance(s, 3000);
	for (uint16_t h = 1; h <= HOSTS; h++)
		assert_int_equal(owned(s, h), 16);
	drop_pop(s);
}

static void test_flapping_backs_off(void **state)
{
	struct sim *s = raise_pop();
	uint64_t came[3];
	int i;

	(void)state;
	for (i = 0; i < 3; i++) {
		uint64_t from;

		s->host[1].ok = false;
		advance(s, 500 + CHECKED);
		assert_int_equal(s->c.state.view.host_health[1], HEALTH_SICK);
		s->host[1].ok = true;
		for (from = s->now; s->c.state.view.host_health[1] != HEALTH_UP && s->now - from < 60000;)
			advance(s, 50);
		came[i] = s->now - from;
	}
	assert_in_range(came[0], 1700, 2300); /* one flap: twice the second */
	assert_in_range(came[1], 3700, 4300);
	assert_in_range(came[2], 7700, 8300);
	drop_pop(s);
}

static void test_disk_full(void **state)
{
	struct sim *s = raise_pop();
	uint64_t index = s->c.state.view.index;

	(void)state;
	s->disk_full = true;
	order(s, COMMAND_DRAIN, OBJECT_HOST, 1, false);
	advance(s, 500);
	assert_int_equal(s->c.state.view.index, index); /* nothing half done */
	assert_int_equal(s->c.state.view.host_admin[1], ADMIN_IN);
	s->disk_full = false;
	assert_true(order(s, COMMAND_DRAIN, OBJECT_HOST, 1, false));
	advance(s, 100);
	assert_int_equal(owned(s, 1), 0);
	drop_pop(s);
}

/* kill -9 after every prefix of the log: the next run converges to the same end. */
static void test_killed_anywhere(void **state)
{
	struct sim *s = raise_pop();
	size_t end, start = s->n_log, cut;

	(void)state;
	assert_true(order(s, COMMAND_DRAIN, OBJECT_HOST, 1, false));
	advance(s, 2000);
	assert_int_equal(s->c.state.view.host_admin[1], ADMIN_OUT);
	end = s->n_log;
	assert_true(end - start >= 5); /* state, first step, second step, settled, histories, out */
	for (cut = start + 1; cut <= end; cut++) {
		struct sim *t = calloc(1, sizeof(*t));
		char why[WHY_MAX];
		size_t i;

		t->now = s->now + 1;
		assert_int_equal(control_init(&t->c), 0);
		for (i = 0; i < cut; i++) {
			struct record r;
			uint8_t *copy = malloc(s->log[i].len);

			memcpy(copy, s->log[i].data, s->log[i].len);
			t->log[t->n_log++] = (struct log_bytes){ copy, s->log[i].len };
			assert_int_equal(record_decode(copy, s->log[i].len, &r), 0);
			assert_int_equal(control_replay(&t->c, &r, why, sizeof(why)), 0);
		}
		for (i = 1; i <= SWITCHES; i++) {
			state_init(&t->sw[i].state);
			t->sw[i].on = true;
			say(t, CONTROL_CONNECTED, ROLE_SWITCH, (uint16_t)i, 0);
		}
		for (i = 1; i <= HOSTS; i++) {
			t->host[i] = (struct sim_host){ .alive = true, .agent = true, .ok = true };
			say(t, CONTROL_CONNECTED, ROLE_HOST, (uint16_t)i, 0);
		}
		advance(t, 2000);
		assert_int_equal(t->c.state.view.host_admin[1], ADMIN_OUT);
		assert_int_equal(owned(t, 1) + table_sheltered(&t->c.state.table, 1), 0);
		for (i = 2; i <= HOSTS; i++)
			assert_in_range(owned(t, (uint16_t)i), 21, 22);
		assert_true(table_settled(&t->c.state.table));
		drop_pop(t);
	}
	drop_pop(s);
}

static void test_switch_drain(void **state)
{
	struct sim *s = raise_pop();

	(void)state;
	assert_true(order(s, COMMAND_DRAIN, OBJECT_SWITCH, 1, false));
	advance(s, 1500);
	assert_int_equal(s->c.state.view.switch_admin[1], ADMIN_DRAINING);
	unmet(s, OBJECT_SWITCH, 1, "graceful");
	advance(s, 800);
	assert_int_equal(s->c.state.view.switch_admin[1], ADMIN_OUT);
	unmet(s, OBJECT_SWITCH, 1, "counters");
	advance(s, 1500);
	assert_int_equal(unmet(s, OBJECT_SWITCH, 1, NULL), 0);
	assert_false(order(s, COMMAND_DRAIN, OBJECT_SWITCH, 2, false));
	assert_non_null(strstr(s->reply.error, "last one"));
	/* Off: a host's drain does not wait for it.  On again, with the latest table. */
	s->sw[1].silent = true;
	say(s, CONTROL_GONE, ROLE_SWITCH, 1, 0);
	assert_true(order(s, COMMAND_DRAIN, OBJECT_HOST, 1, false));
	advance(s, 500);
	assert_int_equal(owned(s, 1), 0);
	assert_true(order(s, COMMAND_FILL, OBJECT_SWITCH, 1, false));
	assert_true(order(s, COMMAND_FILL, OBJECT_HOST, 1, false));
	advance(s, 1000);
	assert_int_equal(owned(s, 1), 0); /* waits for it now */
	s->sw[1].silent = false;
	say(s, CONTROL_CONNECTED, ROLE_SWITCH, 1, 0);
	advance(s, 500);
	assert_int_equal(owned(s, 1), 16);
	drop_pop(s);
}

static void test_overlapping_drains(void **state)
{
	struct sim *s = raise_pop();

	(void)state;
	for (uint16_t h = 1; h <= HOSTS; h++)
		s->host[1].via[h] = s->host[2].via[h] = 1;
	assert_true(order(s, COMMAND_DRAIN, OBJECT_HOST, 1, false));
	advance(s, 500);
	assert_true(order(s, COMMAND_DRAIN, OBJECT_HOST, 2, false)); /* it shelters nobody yet, but owns some of h1's */
	advance(s, 500);
	assert_int_equal(owned(s, 1) + owned(s, 2), 0);
	assert_int_equal(owned(s, 3), 32);
	assert_int_equal(table_sheltered(&s->c.state.table, 1), 16);
	memset(s->host[1].via, 0, sizeof(s->host[1].via));
	memset(s->host[2].via, 0, sizeof(s->host[2].via));
	advance(s, 1000);
	assert_int_equal(s->c.state.view.host_admin[1], ADMIN_OUT);
	assert_int_equal(s->c.state.view.host_admin[2], ADMIN_OUT);
	drop_pop(s);
}

static void test_apply(void **state)
{
	struct sim *s = raise_pop();
	struct command cmd = { .kind = COMMAND_APPLY, .reason = "weights" };
	struct control_event e = { .kind = CONTROL_COMMAND, .command = &cmd };
	char text[sizeof(pop_text)], *at;

	(void)state;
	memcpy(text, pop_text, sizeof(text));
	at = strstr(text, "weight: 100");
	memcpy(at, "weight: 300", 11);
	cmd.text = text;
	cmd.text_len = strlen(text);
	cmd.dry_run = true;
	event(s, &e);
	assert_false(s->reply.refused);
	assert_true(s->reply.moves > 0);
	advance(s, 200);
	assert_int_equal(owned(s, 1), 16); /* dry */
	cmd.dry_run = false;
	event(s, &e);
	advance(s, 500);
	assert_int_equal(owned(s, 1), 32);
	assert_in_range(owned(s, 2), 10, 11);
	at = strstr(text, "buckets: 64");
	memcpy(at, "buckets: 32", 11);
	event(s, &e);
	assert_true(s->reply.refused);
	drop_pop(s);
}

/* h4 is elsewhere: whatever happens to the others, no bucket, no history and no switch ever names it. */
static const char elsewhere_text[] =
	"pop: {name: sim, buckets: 64, hash_seed: 0x1badcafe}\n"
	"controllers: [{name: c1, id: 1, listen: \"192.0.2.10:7430\"}]\n"
	"switches:\n"
	"  - {name: s1, id: 1, fabric: xdp, management: 192.0.2.21, bridge: br0, uplinks: [up0], ports: {p1: h1, p2: h2, p3: h3}}\n"
	"  - {name: s2, id: 2, fabric: xdp, management: 192.0.2.22, bridge: br0, uplinks: [up0], ports: {p1: h1, p2: h2, p3: h3}}\n"
	"hosts:\n"
	"  - {name: h1, id: 1, management: 192.0.2.31, links: {s1: eth0, s2: eth1}}\n"
	"  - {name: h2, id: 2, management: 192.0.2.32, links: {s1: eth0, s2: eth1}}\n"
	"  - {name: h3, id: 3, management: 192.0.2.33, links: {s1: eth0, s2: eth1}}\n"
	"  - {name: h4, id: 4, management: 203.0.113.34, elsewhere: [eth0]}\n"
	"vips:\n"
	"  - {name: www, addresses: [198.51.100.80], ports: [80/tcp], checks: [{tcp: {port: 80}}]}\n";

static void assert_unnamed(const struct sim *s, uint16_t host)
{
	uint32_t b;

	for (b = 0; b < 64; b++) {
		const struct bucket *k = &s->c.state.table.bucket[b];

		assert_false(triple_has(&k->triple, host) || k->next == host);
		assert_false(triple_len(&k->triple) && !k->triple.host[0]);
	}
}

static void test_elsewhere_owns_nothing(void **state)
{
	struct sim *s = raise_pop_of(elsewhere_text, 4);
	uint32_t seed = 1, i;

	(void)state;
	assert_int_equal(s->c.state.view.host_health[4], HEALTH_UP); /* by its agent's word alone */
	assert_int_equal(owned(s, 1) + owned(s, 2) + owned(s, 3), 64);
	for (i = 0; i < 300; i++) {
		uint16_t h = (uint16_t)(1 + (seed = seed * 1664525 + 1013904223) / 7 % HOSTS);

		switch (seed >> 28) {
		case 0: case 1: case 2: order(s, COMMAND_DRAIN, OBJECT_HOST, h, seed & 1 << 20); break;
		case 3: case 4: case 5: case 6: order(s, COMMAND_FILL, OBJECT_HOST, h, seed & 1 << 20); break;
		case 7: case 8: s->host[h].ok = !s->host[h].ok; break;
		case 9: s->host[h].agent = !s->host[h].agent; break;
		case 10: s->host[h].alive = !s->host[h].alive; break;
		default: break;
		}
		advance(s, 100 + (seed >> 16) % 1500);
		assert_unnamed(s, 4);
	}
	/* The others all dead: rather nobody than one whom no switch can reach. */
	for (i = 1; i <= 3; i++)
		s->host[i].alive = false;
	s->host[4] = (struct sim_host){ .alive = true, .agent = true, .ok = true };
	advance(s, 3000);
	assert_unnamed(s, 4);
	assert_int_equal(owned(s, HOST_NONE), 64);
	order(s, COMMAND_FILL, OBJECT_HOST, 4, false);
	assert_true(order(s, COMMAND_DRAIN, OBJECT_HOST, 4, false)); /* it takes nothing from a POP that has nothing */
	drop_pop(s);
}

/* Its drain takes nothing from anybody, waits for its own connections, and does not wait for switches. */
static void test_elsewhere_drains(void **state)
{
	struct sim *s = raise_pop_of(elsewhere_text, 4);

	(void)state;
	s->host[4].sockets = 3;
	s->sw[1].silent = true; /* it does not wait for switches */
	say(s, CONTROL_GONE, ROLE_SWITCH, 1, 0);
	assert_true(order(s, COMMAND_DRAIN, OBJECT_HOST, 4, false));
	assert_int_equal(s->reply.moves, 0);
	advance(s, 1000);
	assert_int_equal(unmet(s, OBJECT_HOST, 4, "sockets"), 1);
	assert_int_equal(s->c.state.view.host_admin[4], ADMIN_DRAINING);
	s->host[4].sockets = 0;
	advance(s, 500);
	assert_int_equal(s->c.state.view.host_admin[4], ADMIN_OUT);
	s->sw[1].silent = false;
	say(s, CONTROL_CONNECTED, ROLE_SWITCH, 1, 0);
	assert_true(order(s, COMMAND_FILL, OBJECT_HOST, 4, false));
	assert_int_equal(s->reply.moves, 0);
	/* At the floor, where no other host may be drained, it may. */
	assert_true(order(s, COMMAND_DRAIN, OBJECT_HOST, 1, false));
	advance(s, 2000);
	assert_false(order(s, COMMAND_DRAIN, OBJECT_HOST, 2, false));
	assert_true(order(s, COMMAND_DRAIN, OBJECT_HOST, 4, false));
	/* A switch can be drained though it is not behind the other. */
	assert_true(order(s, COMMAND_DRAIN, OBJECT_SWITCH, 1, false));
	drop_pop(s);
}

/* Its sickness is believed, and neither locks other moves nor is locked by theirs; its silence is sickness, never death. */
static void test_elsewhere_sickens_alone(void **state)
{
	struct sim *s = raise_pop_of(elsewhere_text, 4);

	(void)state;
	s->host[4].ok = s->host[3].ok = false; /* of two with weight it would be a burst */
	advance(s, 500 + CHECKED);
	assert_false(alarmed(s, "burst"));
	assert_int_equal(s->c.state.view.host_health[4], HEALTH_SICK);
	assert_int_equal(s->c.state.view.host_health[3], HEALTH_SICK);
	s->host[4].ok = true;
	advance(s, 5000);
	assert_int_equal(s->c.state.view.host_health[4], HEALTH_UP);
	s->host[4].alive = false;
	advance(s, 5000);
	assert_int_equal(s->c.state.view.host_health[4], HEALTH_SICK);
	drop_pop(s);
}

/* From behind switches to elsewhere and back only while it is out. */
static void test_elsewhere_is_not_applied_in_service(void **state)
{
	struct sim *s = raise_pop();
	struct command cmd = { .kind = COMMAND_APPLY, .reason = "moved", .text = elsewhere_text, .text_len = strlen(elsewhere_text) };
	struct control_event e = { .kind = CONTROL_COMMAND, .command = &cmd };

	(void)state;
	event(s, &e);
	assert_true(s->reply.refused);
	assert_non_null(strstr(s->reply.error, "h4 would be taken off its switches"));
	assert_true(order(s, COMMAND_DRAIN, OBJECT_HOST, 4, false));
	advance(s, 3000);
	assert_int_equal(s->c.state.view.host_admin[4], ADMIN_OUT);
	event(s, &e);
	assert_false(s->reply.refused);
	s->elsewhere = 4;
	assert_true(order(s, COMMAND_FILL, OBJECT_HOST, 4, false));
	advance(s, 3000);
	assert_unnamed(s, 4);
	drop_pop(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_start),
		cmocka_unit_test(test_drain_until_safe),
		cmocka_unit_test(test_old_proof_ends_nothing_new),
		cmocka_unit_test(test_each_condition_alone),
		cmocka_unit_test(test_second_step_waits_for_the_new_owner),
		cmocka_unit_test(test_drain_waits_for_front_ends),
		cmocka_unit_test(test_cookie_keeps_histories),
		cmocka_unit_test(test_no_proof_no_end),
		cmocka_unit_test(test_lag_blocks_and_force_goes_on),
		cmocka_unit_test(test_failure_blocks_with_its_words),
		cmocka_unit_test(test_undo),
		cmocka_unit_test(test_dead_waits_for_nobody),
		cmocka_unit_test(test_sick_keeps_its_history),
		cmocka_unit_test(test_burst_locks_and_floor_holds),
		cmocka_unit_test(test_sick_wait_is_bounded), cmocka_unit_test(test_all_sick_fails_open),
		cmocka_unit_test(test_own_stall_is_nobodys_fault),
		cmocka_unit_test(test_flapping_backs_off),
		cmocka_unit_test(test_disk_full),
		cmocka_unit_test(test_killed_anywhere),
		cmocka_unit_test(test_switch_drain),
		cmocka_unit_test(test_overlapping_drains),
		cmocka_unit_test(test_apply),
		cmocka_unit_test(test_elsewhere_owns_nothing),
		cmocka_unit_test(test_elsewhere_drains),
		cmocka_unit_test(test_elsewhere_sickens_alone),
		cmocka_unit_test(test_elsewhere_is_not_applied_in_service),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
