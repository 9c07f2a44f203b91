/* SPDX-License-Identifier: BSD-2-Clause */
/* BIRD's replies decoded (recorded from BIRD 2.0.12), and compared with what was wanted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bgp/announce.h"
#include "bgp/verify.h"

static const char protocols_reply[] =
	"0001 BIRD 2.0.12 ready.\n"
	"0016 Access restricted\n"
	"2002-Name       Proto      Table      State  Since         Info\n"
	"1002-device1    Device     ---        up     21:28:16.975  \n"
	" kernel1    Kernel     master4    up     21:28:16.975  \n"
	" bfd1       BFD        ---        up     21:28:16.975  \n"
	"+1002 something asynchronous in between\n"
	" baton_pipe4 Pipe       ---        up     21:28:16.975  master4 <=> baton_v4\n"
	" baton_pipe6 Pipe       ---        up     21:28:16.975  master6 <=> baton_v6\n"
	" baton4     Kernel     baton_v4   up     21:28:16.975  \n"
	" baton6     Kernel     baton_v6   up     21:28:16.975  \n"
	" up1        BGP        ---        up     2026-11-21 21:28:21.107  Established   \n"
	" up6        BGP        ---        start  21:28:16.975  Active        Socket: Connection refused\n"
	"0000 \n";

static const char routes_reply[] =
	"1007-Table master4:\n"
	" 198.51.100.80/32     blackhole [baton4 21:28:19.975] * (10)\n"
	"1008-\tType: inherit univ\n"
	"1012-\tBGP.community: (64500,65535) (65535,1)\n"
	" \tKernel.source: 173\n"
	" \tKernel.metric: 100\n"
	"1007-                     unicast [other 21:28:19.975] (100)\n"
	"1007-\n"
	" Table master6:\n"
	" 2001:db8:80::80/128  blackhole [baton6 21:28:19.977] * (10)\n"
	"1008-\tType: inherit univ\n"
	"1012-\tBGP.med: 4294967294\n"
	" \tBGP.local_pref: 0\n"
	" \tBGP.community: (64500,1) (65535,0)\n"
	" \tKernel.metric: 200\n"
	"0000 \n";

struct seen {
	struct bird_protocols protocols;
	struct bird_routes routes;
	unsigned lines, last_code, ends;
};

static int on_line(void *ctx, const struct bird_line *l)
{
	struct seen *s = ctx;

	s->lines++;
	s->last_code = (unsigned)l->code;
	s->ends += l->last;
	bird_protocols_line(&s->protocols, l);
	return bird_routes_line(&s->routes, l);
}

static struct seen *read_in_pieces(const char *text, size_t piece)
{
	struct seen *s = calloc(1, sizeof(*s));
	struct bird_decoder d;
	size_t at, len = strlen(text);

	assert_non_null(s);
	bird_decoder_init(&d);
	for (at = 0; at < len; at += piece)
		assert_int_equal(bird_decode(&d, text + at, len - at < piece ? len - at : piece, on_line, s), 0);
	return s;
}

static void seen_free(struct seen *s)
{
	bird_routes_free(&s->routes);
	free(s);
}

static void protocols_are_read(void **state)
{
	size_t piece;

	(void)state;
	for (piece = 1; piece < 100; piece += 7) {
		struct seen *s = read_in_pieces(protocols_reply, piece);
		const struct bird_protocol *up1 = bird_protocol(&s->protocols, "up1");
		const struct bird_protocol *up6 = bird_protocol(&s->protocols, "up6");

		assert_int_equal(s->lines, 13);
		assert_int_equal(s->ends, 3);
		assert_int_equal(s->protocols.n, 7); /* without device and BFD */
		assert_true(up1->up && up1->kind == BIRD_BGP);
		assert_false(up6->up);
		assert_string_equal(up6->state, "start 21:28:16.975  Active        Socket: Connection");
		assert_true(bird_protocol(&s->protocols, "baton4")->kind == BIRD_KERNEL);
		assert_null(bird_protocol(&s->protocols, "Name"));
		seen_free(s);
	}
}

static void routes_are_read(void **state)
{
	size_t piece;

	(void)state;
	for (piece = 1; piece < 100; piece += 7) {
		struct seen *s = read_in_pieces(routes_reply, piece);

		assert_int_equal(s->routes.n, 2);
		assert_int_equal(s->routes.route[0].prefix.family, AF_INET);
		assert_int_equal(s->routes.route[0].prefix_len, 32);
		assert_false(s->routes.route[0].graceful_shutdown); /* (64500,65535) and (65535,1) are others */
		assert_int_equal(s->routes.route[1].prefix.family, AF_INET6);
		assert_true(s->routes.route[1].graceful_shutdown);
		seen_free(s);
	}
}

static void what_is_not_bird_is_refused(void **state)
{
	static const char *const text[] = { "HTTP/1.1 400 Bad Request\r\n", " continues nothing\n", "12345\n", "00 0 x\n",
					    "\n", "0000 \n continues what has ended\n" };
	struct seen s;
	struct bird_decoder d;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(text) / sizeof(text[0]); i++) {
		memset(&s, 0, sizeof(s));
		bird_decoder_init(&d);
		assert_int_equal(bird_decode(&d, text[i], strlen(text[i]), on_line, &s), -EPROTO);
	}
}

static void long_lines_are_cut(void **state)
{
	const int digits = 99985;
	char *text = malloc(100000);
	struct seen *s;

	(void)state;
	assert_non_null(text);
	assert_int_equal(snprintf(text, 100000, "1002-%0*d\n0000 \n", digits, 0), 5 + digits + 7);
	s = read_in_pieces(text, 4096);
	assert_int_equal(s->lines, 2);
	assert_int_equal(s->ends, 1);
	assert_int_equal(s->protocols.n, 0);
	seen_free(s);
	free(text);
}

/* --- verification: a healthy report, and one thing wrong at a time ------------------------------------ */
struct bed {
	struct bird_report report;
	struct bird_export export[2];
	struct bird_route route[2];
	struct announcement want[2];
	struct speaker_status st;
};

static void protocol(struct bed *b, const char *name, enum bird_protocol_kind kind)
{
	struct bird_protocol *p = &b->report.protocols.protocol[b->report.protocols.n++];

	snprintf(p->name, sizeof(p->name), "%s", name);
	p->kind = kind;
	p->up = true;
	snprintf(p->state, sizeof(p->state), "up");
}

static struct bed *bed_make(void)
{
	struct bed *b = calloc(1, sizeof(*b));
	int i;

	assert_non_null(b);
	protocol(b, "baton_pipe4", BIRD_PIPE);
	protocol(b, "baton_pipe6", BIRD_PIPE);
	protocol(b, "baton4", BIRD_KERNEL);
	protocol(b, "baton6", BIRD_KERNEL);
	protocol(b, "up1", BIRD_BGP);
	protocol(b, "kernel1", BIRD_KERNEL);
	b->want[0].prefix.family = AF_INET;
	inet_pton(AF_INET, "198.51.100.80", &b->want[0].prefix.v4);
	b->want[1].prefix.family = AF_INET6;
	inet_pton(AF_INET6, "2001:db8:80::80", &b->want[1].prefix.v6);
	for (i = 0; i < 2; i++) {
		b->want[i].how = ANNOUNCE_NORMAL;
		b->route[i].prefix = b->want[i].prefix;
		b->route[i].prefix_len = i ? 128 : 32;
	}
	b->export[0] = (struct bird_export){ .name = "up1", .kind = BIRD_BGP, .routes = { .route = b->route, .n = 2 } };
	b->export[1] = (struct bird_export){ .name = "kernel1", .kind = BIRD_KERNEL };
	b->report.export = b->export;
	b->report.n_export = 2;
	b->st.in_kernel = true;
	return b;
}

static void verify(struct bed *b)
{
	verify_bird(b->want, 2, &b->report, "/run/bird/bird.ctl", &b->st);
	assert_true(b->st.in_kernel);
}

static struct bird_protocol *find(struct bed *b, const char *name)
{
	size_t i;

	for (i = 0; strcmp(b->report.protocols.protocol[i].name, name); i++)
		;
	return &b->report.protocols.protocol[i];
}

#define assert_says(st, words) assert_non_null(strstr((st).why, words))

static void healthy_says_nothing(void **state)
{
	struct bed *b = bed_make();

	(void)state;
	verify(b);
	assert_string_equal(b->st.why, "");
	assert_true(b->st.bird_reached && b->st.fragment_included && b->st.exported);
	assert_int_equal(b->st.sessions, 1);
	assert_int_equal(b->st.sessions_up, 1);
	free(b);
}

static void unreached(void **state)
{
	struct bed *b = bed_make();

	(void)state;
	snprintf(b->report.why, sizeof(b->report.why), "Connection refused");
	verify(b);
	assert_false(b->st.bird_reached || b->st.exported);
	assert_says(b->st, "/run/bird/bird.ctl: Connection refused");
	free(b);
}

static void fragment_missing_or_disabled(void **state)
{
	struct bed *b = bed_make();

	(void)state;
	find(b, "baton6")->name[0] = 'x';
	verify(b);
	assert_false(b->st.fragment_included);
	assert_says(b->st, "include \"/usr/share/baton/baton.conf\"");
	free(b);

	b = bed_make();
	find(b, "baton4")->up = false;
	verify(b);
	assert_false(b->st.fragment_included);
	assert_says(b->st, "birdc enable baton4");
	free(b);
}

static void sessions_down(void **state)
{
	struct bed *b = bed_make();

	(void)state;
	find(b, "up1")->up = false;
	snprintf(find(b, "up1")->state, 64, "start Active");
	b->report.n_export = 0;
	verify(b);
	assert_false(b->st.exported);
	assert_int_equal(b->st.sessions_up, 0);
	assert_says(b->st, "0 of 1 BGP sessions up; up1 is start Active");
	free(b);

	b = bed_make();
	find(b, "up1")->kind = BIRD_PIPE;
	verify(b);
	assert_says(b->st, "no BGP session");
	free(b);
}

static void wrong_exports(void **state)
{
	struct bed *b = bed_make();

	(void)state;
	b->export[0].routes.n = 1; /* IPv6 missing */
	verify(b);
	assert_false(b->st.exported);
	assert_says(b->st, "no BGP session exports 2001:db8:80::80");
	free(b);

	b = bed_make();
	b->want[0].how = ANNOUNCE_NO;
	verify(b);
	assert_false(b->st.exported);
	assert_says(b->st, "up1 still exports 198.51.100.80");
	free(b);

	b = bed_make();
	b->want[1].how = ANNOUNCE_GRACEFUL_SHUTDOWN;
	verify(b);
	assert_false(b->st.exported);
	assert_says(b->st, "without GRACEFUL_SHUTDOWN");
	b->route[1].graceful_shutdown = true;
	verify(b);
	assert_true(b->st.exported);
	b->want[1].how = ANNOUNCE_NORMAL;
	verify(b);
	assert_false(b->st.exported);
	assert_says(b->st, "with GRACEFUL_SHUTDOWN although");
	b->want[1].how = ANNOUNCE_KEEP; /* whatever it is */
	verify(b);
	assert_true(b->st.exported);
	b->export[0].routes.n = 1;
	verify(b);
	assert_true(b->st.exported);
	free(b);
}

static void nothing_wanted_nothing_exported(void **state)
{
	struct bed *b = bed_make();

	(void)state;
	b->want[0].how = b->want[1].how = ANNOUNCE_NO;
	b->export[0].routes.n = 0;
	verify(b);
	assert_true(b->st.exported);
	find(b, "up1")->up = false; /* drained, and the upstream gone: withdrawn all the same */
	b->report.n_export = 0;
	verify(b);
	assert_true(b->st.exported);
	free(b);
}

static void leak_into_the_kernel(void **state)
{
	struct bed *b = bed_make();

	(void)state;
	b->export[1].routes = b->export[0].routes;
	verify(b);
	assert_true(b->st.exported);
	assert_says(b->st, "kernel1 exports Baton's routes to the kernel");
	free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(protocols_are_read),
		cmocka_unit_test(routes_are_read),
		cmocka_unit_test(what_is_not_bird_is_refused),
		cmocka_unit_test(long_lines_are_cut),
		cmocka_unit_test(healthy_says_nothing),
		cmocka_unit_test(unreached),
		cmocka_unit_test(fragment_missing_or_disabled),
		cmocka_unit_test(sessions_down),
		cmocka_unit_test(wrong_exports),
		cmocka_unit_test(nothing_wanted_nothing_exported),
		cmocka_unit_test(leak_into_the_kernel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
