/* SPDX-License-Identifier: BSD-2-Clause */
/* Request heads: each rule of l7/http/head.h by example, tricks refused, and paths against a naive normaliser. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "l7/http/head.h"

static struct request_head h;

static int target(const char *text)
{
	head_begin(&h, 16384);
	assert_int_equal(head_method(&h, "GET", 3), 0);
	return head_target(&h, text, strlen(text));
}

static const char *text_of(struct head_span s)
{
	static char buf[4][2048];
	static unsigned turn;
	char *b = buf[turn++ % 4];

	memcpy(b, s.n ? head_text(&h, s) : "", s.n);
	b[s.n] = '\0';
	return b;
}

static int field(const char *name, const char *value)
{
	return head_field(&h, name, strlen(name), value, strlen(value));
}

static void paths_are_normalised(void **state)
{
	static const struct {
		const char *target, *path, *query, *extension, *forward;
	} good[] = {
		{ "/", "/", "", "", "/" },
		{ "/a/b.HTML?x=1/../y", "/a/b.HTML", "x=1/../y", "html", "/a/b.HTML?x=1/../y" },
		{ "/%7Euser/%61", "/~user/a", "", "", "/~user/a" },
		{ "/a%2fb%20c", "/a%2Fb%20c", "", "", "/a%2fb%20c" },
		{ "/a/./b/../c?q", "/a/c", "q", "", "/a/c?q" },
		{ "/a/%2e%2E/c", "/c", "", "", "/c" },
		{ "/a/b/..", "/a/", "", "", "/a/" },
		{ "/a/.", "/a/", "", "", "/a/" },
		{ "/a/..", "/", "", "", "/" },
		{ "//a///b//", "/a/b/", "", "", "//a///b//" },
		{ "/a//../b", "/b", "", "", "/b" },
		{ "/.htaccess", "/.htaccess", "", "", "/.htaccess" },
		{ "/a.b/c", "/a.b/c", "", "", "/a.b/c" },
		{ "/a.tar.gz", "/a.tar.gz", "", "gz", "/a.tar.gz" },
		{ "/a.", "/a.", "", "", "/a." },
		{ "/a.0123456789abcdef", "/a.0123456789abcdef", "", "", "/a.0123456789abcdef" },
		{ "/...", "/...", "", "", "/..." },
		{ "/?", "/", "", "", "/?" },
		{ "/a;v=1/b", "/a;v=1/b", "", "", "/a;v=1/b" },
		{ "http://h.example/a/../b?q", "/b", "q", "", "/b?q" },
		{ "HTTPS://h.example", "/", "", "", "/" },
		{ "http://h.example?q=1", "/", "q=1", "", "/?q=1" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		int status = target(good[i].target);

		if (status)
			print_error("%s: %d\n", good[i].target, status);
		assert_int_equal(status, 0);
		assert_string_equal(text_of(h.path), good[i].path);
		assert_string_equal(text_of(h.query), good[i].query);
		assert_string_equal(text_of(h.extension), good[i].extension);
		assert_string_equal(text_of(h.forward), good[i].forward);
	}
}

static void tricks_are_refused(void **state)
{
	static const char *const bad[] = {
		"", "a", "../a", "/..", "/../a", "/a/../../b", "/%2e%2e/a", "/a/..%2fb", "/a/..%2Fb", "/a/%2e%2e%2fb",
		"/a/b%2f..", "/a%5c..%5cb", "/a/..;/b", "/a/.;x=1/b", "/a/..%3b/b", "/a\\b", "/a%", "/a%2", "/a%zz", "/a%00",
		"/a b", "/a\tb", "/a\x7f", "/a\xc3\xa4", "/a#b", "*", "http:/a", "http://", "ftp://h/a", "h.example:443", "?a",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int status = target(bad[i]);

		if (!status) {
			field("host", "h");
			status = h.absolute ? head_finish(&h, 11) : 0;
		}
		if (status != 400)
			print_error("%s: %d\n", bad[i], status);
		assert_int_equal(status, 400);
	}
	head_begin(&h, 100);
	assert_int_equal(head_method(&h, "GET", 3), 0);
	{
		char longer[102];

		memset(longer, 'a', sizeof(longer));
		longer[0] = '/';
		assert_int_equal(head_target(&h, longer, 101), 414);
	}
	head_begin(&h, 100);
	assert_int_equal(head_method(&h, "CONNECT", 7), 501);
	assert_int_equal(head_method(&h, "GE T", 4), 400);
	head_begin(&h, 100);
	assert_int_equal(head_method(&h, "OPTIONS", 7), 0);
	assert_int_equal(head_target(&h, "*", 1), 0);
}

/* The same by splitting into a list of segments, one rule after the other.  NULL: refused. */
static char *naive_path(const char *in)
{
	static char out[4096];
	char copy[2048], decoded[2048], *part[512] = { NULL };
	int n = 0, last_is_dots = 0;
	char *o = decoded;

	for (const char *p = in; *p; p++) {
		unsigned c;

		if (*p == '%') {
			if (sscanf(p + 1, "%2x", &c) != 1)
				return NULL;
			if (strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~", (int)c) && c)
				*o++ = (char)c;
			else
				o += sprintf(o, "%%%02X", c);
			p += 2;
		} else {
			*o++ = *p;
		}
	}
	*o = '\0';
	strcpy(copy, decoded);
	for (char *save, *s = strtok_r(copy, "/", &save); s; s = strtok_r(NULL, "/", &save)) {
		last_is_dots = 0;
		if (!strcmp(s, ".")) {
			last_is_dots = 1;
		} else if (!strcmp(s, "..")) {
			last_is_dots = 1;
			if (n-- == 0)
				return NULL;
		} else {
			char sub[2048], *q = sub;

			for (char *t = s; *t; t++) {
				if (!strncmp(t, "%2F", 3) || !strncmp(t, "%5C", 3)) {
					*q++ = '\n';
					t += 2;
				} else if (!strncmp(t, "%3B", 3)) {
					*q++ = ';';
					t += 2;
				} else {
					*q++ = *t;
				}
			}
			*q++ = '\n';
			*q = '\0';
			for (char *t = sub; *t; t = strchr(t, '\n') + 1) {
				size_t len = strcspn(t, ";\n");

				if ((len == 1 && t[0] == '.') || (len == 2 && t[0] == '.' && t[1] == '.'))
					return NULL;
			}
			part[n++] = s;
		}
	}
	o = out;
	for (int i = 0; i < n; i++)
		o += sprintf(o, "/%s", part[i]);
	if (n == 0 || last_is_dots || decoded[strlen(decoded) - 1] == '/')
		*o++ = '/';
	*o = '\0';
	return out;
}

static void random_paths_agree_with_a_naive_reader(void **state)
{
	static const char *const piece[] = { "/", "/", ".", "..", "a", "%2e", "%2F", "%5c", ";", "%3b", "%41", "%20", "b.c" };
	unsigned refused = 0;

	(void)state;
	srandom(7);
	for (int i = 0; i < 300000; i++) {
		char in[256] = "/";
		int n = (int)(random() % 9), status;
		const char *want;

		for (int k = 0; k < n; k++)
			strcat(in, piece[random() % (sizeof(piece) / sizeof(piece[0]))]);
		status = target(in);
		want = naive_path(in);
		if ((status == 0) != (want != NULL) || (want && strcmp(want, text_of(h.path)) != 0))
			print_error("%s: %d %s, naive %s\n", in, status, text_of(h.path), want ? want : "refuses");
		assert_int_equal(status, want ? 0 : 400);
		refused += status != 0;
		if (!want)
			continue;
		assert_string_equal(text_of(h.path), want);
		/* Idempotent, and what is forwarded is read the same by the next. */
		strcpy(in, text_of(h.forward));
		assert_int_equal(target(in), 0);
		assert_string_equal(text_of(h.path), naive_path(in));
	}
	assert_in_range(refused, 30000, 270000);
}

static int host_status(const char *host, uint8_t version)
{
	assert_int_equal(target("/"), 0);
	if (host && field("Host", host))
		return 999;
	return head_finish(&h, version);
}

static void hosts(void **state)
{
	static const char *const bad[] = { "",	   "a b",  "a/b", "a@b",   "a,b", "a:b",  "a:65536", "a:1:2", ":80",
					   "[::1", "[]:1", "[g]", "[::1]x", ".",   "a%00", "a?b",     "a\\b" };

	(void)state;
	assert_int_equal(host_status("WWW.Example.NET.:8080", 11), 0);
	assert_string_equal(text_of(h.host), "www.example.net");
	assert_int_equal(h.port, 8080);
	assert_int_equal(host_status("[2001:DB8::1]:443", 11), 0);
	assert_string_equal(text_of(h.host), "[2001:db8::1]");
	assert_int_equal(host_status("h:", 11), 0);
	assert_int_equal(h.port, 0);
	assert_int_equal(host_status(NULL, 11), 400);
	assert_int_equal(host_status(NULL, 10), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(host_status(bad[i], 11), 400);
	/* Twice is refused even when equal. */
	assert_int_equal(target("/"), 0);
	field("host", "a");
	field("HOST", "a");
	assert_int_equal(head_finish(&h, 11), 400);
	/* The target's authority wins over Host, which must be good all the same. */
	assert_int_equal(target("http://real.example:81/"), 0);
	field("host", "other.example");
	assert_int_equal(head_finish(&h, 11), 0);
	assert_string_equal(text_of(h.host), "real.example");
	assert_int_equal(h.port, 81);
	assert_int_equal(target("http://user@h.example/"), 0);
	field("host", "h.example");
	assert_int_equal(head_finish(&h, 11), 400);
	/* HTTP/2: both may be there, if they say the same. */
	assert_int_equal(target("/"), 0);
	assert_int_equal(head_authority(&h, "h.example", 9), 0);
	assert_int_equal(head_finish(&h, 20), 0);
	assert_int_equal(target("/"), 0);
	head_authority(&h, "h.example", 9);
	field("host", "g.example");
	assert_int_equal(head_finish(&h, 20), 400);
}

static int framing(uint8_t version, const char *n1, const char *v1, const char *n2, const char *v2)
{
	assert_int_equal(target("/"), 0);
	assert_int_equal(field("host", "h"), 0);
	assert_int_equal(field(n1, v1), 0);
	if (n2)
		assert_int_equal(field(n2, v2), 0);
	return head_finish(&h, version);
}

static void smuggling_shapes_are_refused(void **state)
{
	(void)state;
	assert_int_equal(framing(11, "content-length", "17", NULL, NULL), 0);
	assert_int_equal(h.content_length, 17);
	assert_int_equal(framing(11, "Transfer-Encoding", "Chunked", NULL, NULL), 0);
	assert_true(h.chunked);
	assert_int_equal(h.content_length, -1);
	assert_int_equal(framing(11, "content-length", "17", "content-length", "17"), 400);
	assert_int_equal(framing(11, "content-length", "17", "content-length", "18"), 400);
	assert_int_equal(framing(11, "content-length", "17, 17", NULL, NULL), 400);
	assert_int_equal(framing(11, "content-length", "+17", NULL, NULL), 400);
	assert_int_equal(framing(11, "content-length", "-1", NULL, NULL), 400);
	assert_int_equal(framing(11, "content-length", "0x11", NULL, NULL), 400);
	assert_int_equal(framing(11, "content-length", "", NULL, NULL), 400);
	assert_int_equal(framing(11, "content-length", "1844674407370955161600", NULL, NULL), 400);
	assert_int_equal(framing(11, "content-length", "5", "transfer-encoding", "chunked"), 400);
	assert_int_equal(framing(11, "transfer-encoding", "chunked", "transfer-encoding", "chunked"), 400);
	assert_int_equal(framing(11, "transfer-encoding", "gzip, chunked", NULL, NULL), 501);
	assert_int_equal(framing(11, "transfer-encoding", "xchunked", NULL, NULL), 501);
	assert_int_equal(framing(11, "transfer-encoding", "", NULL, NULL), 501);
	assert_int_equal(framing(10, "transfer-encoding", "chunked", NULL, NULL), 400);
	assert_int_equal(framing(20, "transfer-encoding", "chunked", NULL, NULL), 400);
	assert_int_equal(framing(20, "connection", "close", NULL, NULL), 400);
	assert_int_equal(framing(20, "te", "gzip", NULL, NULL), 400);
	assert_int_equal(framing(20, "te", "trailers", NULL, NULL), 0);
}

static void fields_are_found(void **state)
{
	static const char *const ours[] = { "client-cert", "Client-Cert", "CLIENT_CERT", "client-cert-chain", "Client_Cert-Chain",
					    "client-certs", "client-cer", "xlient-cert", "client-cert-chair" };
	const struct head_entry *e;

	(void)state;
	assert_int_equal(target("/"), 0);
	assert_int_equal(field("X-Tier", " \t gold \t"), 0);
	assert_int_equal(field("Cookie", "a=1; sid=xyz"), 0);
	assert_int_equal(field("Connection", "keep-alive, Upgrade"), 0);
	assert_int_equal(field("x-tier", ""), 0);
	assert_int_equal(field("cookie", "b=2"), 0);
	assert_int_equal(field("connection", "x"), 0);
	e = head_find(&h, "x-tier", NULL);
	assert_non_null(e);
	assert_string_equal(text_of(e->value), "gold");
	e = head_find(&h, "x-tier", e);
	assert_non_null(e);
	assert_int_equal(e->value.n, 0);
	assert_null(head_find(&h, "x-tier", e));
	assert_string_equal(text_of(head_cookie(&h, "sid")), "xyz");
	assert_string_equal(text_of(head_cookie(&h, "b")), "2");
	assert_int_equal(head_cookie(&h, "si").n, 0);
	assert_true(head_has_token(&h, KNOWN_CONNECTION, "upgrade"));
	assert_true(head_has_token(&h, KNOWN_CONNECTION, "X"));
	assert_false(head_has_token(&h, KNOWN_CONNECTION, "keep"));
	assert_int_equal(head_get(&h, KNOWN_RANGE).at, UINT32_MAX);
	assert_int_equal(field("a b", "x"), 400);
	assert_int_equal(field("", "x"), 400);
	assert_int_equal(field("a", "x\ry"), 400);
	assert_int_equal(head_field(&h, "a", 1, "x\0y", 3), 400);
	/* What a front end alone writes is nobody's, as if it had not been sent; what is nearly so called is. */
	for (size_t i = 0; i < sizeof(ours) / sizeof(*ours); i++) {
		uint16_t before = h.n_entries;

		assert_int_equal(field(ours[i], "x"), 0);
		assert_int_equal(h.n_entries, i < 5 ? before : before + 1);
		assert_int_equal(head_is_ours(ours[i], strlen(ours[i])), i < 5);
	}
	assert_int_equal(field("client-cert", "x\ry"), 400);
}

static void limits(void **state)
{
	char value[512];
	int status = 0, n = 0;

	(void)state;
	assert_int_equal(target("/"), 0);
	for (n = 0; n < HEAD_FIELDS_MAX; n++)
		assert_int_equal(field("a", "b"), 0);
	assert_int_equal(field("a", "b"), 431);
	head_begin(&h, 1000);
	memset(value, 'x', sizeof(value));
	for (n = 0; n < 90 && !status; n++)
		status = head_field(&h, "a", 1, value, sizeof(value));
	assert_int_equal(status, 431);
	assert_in_range(n, 2, 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths_are_normalised),
		cmocka_unit_test(tricks_are_refused),
		cmocka_unit_test(random_paths_agree_with_a_naive_reader),
		cmocka_unit_test(hosts),
		cmocka_unit_test(smuggling_shapes_are_refused),
		cmocka_unit_test(fields_are_found),
		cmocka_unit_test(limits),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	head_free(&h);
	return failed;
}
