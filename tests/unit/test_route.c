/* SPDX-License-Identifier: BSD-2-Clause */
/* Routes: each condition by example, then random tables and requests against a reader that knows only C strings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "l7/pool/route.h"

struct request {
	const char *method, *host, *path, *header, *value;
};

static struct request_head h;

static void read_request(const struct request *r)
{
	head_begin(&h, 16384);
	assert_int_equal(head_method(&h, r->method, strlen(r->method)), 0);
	assert_int_equal(head_target(&h, r->path, strlen(r->path)), 0);
	assert_int_equal(head_field(&h, "host", 4, r->host, strlen(r->host)), 0);
	if (r->header)
		assert_int_equal(head_field(&h, r->header, strlen(r->header), r->value, strlen(r->value)), 0);
	assert_int_equal(head_finish(&h, 11), 0);
}

static uint32_t find(struct route_conf *route, uint32_t n, struct request r)
{
	struct edge_conf edge = { .route = route, .n_routes = n };
	struct route_table *t = route_compile(&edge);
	uint32_t i;

	assert_non_null(t);
	read_request(&r);
	i = route_find(t, &h);
	route_table_free(t);
	return i;
}

#define GET(host_, path_) ((struct request){ "GET", host_, path_, NULL, NULL })

static void by_host(void **state)
{
	struct route_conf r[] = { { .host = "a.example" }, { .host = "*.example" }, { .host = "*.b.example" } };

	(void)state;
	assert_int_equal(find(r, 3, GET("A.example:80", "/")), 0);
	assert_int_equal(find(r, 3, GET("b.example", "/")), 1);
	assert_int_equal(find(r, 3, GET("x.b.example", "/")), 1); /* first wins */
	assert_int_equal(find(r + 2, 1, GET("x.y.b.example", "/")), 0);
	assert_int_equal(find(r, 3, GET("example", "/")), ROUTE_NONE);
	assert_int_equal(find(r, 3, GET("aexample", "/")), ROUTE_NONE);
	assert_int_equal(find(r, 3, GET("a.example.net", "/")), ROUTE_NONE);
	assert_int_equal(find(r + 2, 1, GET("b.example", "/")), ROUTE_NONE);
}

static void by_path(void **state)
{
	struct route_conf r[] = { { .path = "/img" }, { .path = "/js/" }, { .path = "/" } };

	(void)state;
	assert_int_equal(find(r, 3, GET("h", "/img")), 0);
	assert_int_equal(find(r, 3, GET("h", "/img/a")), 0);
	assert_int_equal(find(r, 3, GET("h", "//img//a")), 0);
	assert_int_equal(find(r, 3, GET("h", "/x/../img/a")), 0);
	assert_int_equal(find(r, 3, GET("h", "/%69mg/a")), 0);
	assert_int_equal(find(r, 3, GET("h", "/images")), 2);
	assert_int_equal(find(r, 3, GET("h", "/IMG")), 2);
	assert_int_equal(find(r, 3, GET("h", "/img%2Fa")), 2);
	assert_int_equal(find(r, 3, GET("h", "/js/x")), 1);
	assert_int_equal(find(r, 3, GET("h", "/js")), 2);
	assert_int_equal(find(r, 2, GET("h", "/")), ROUTE_NONE);
}

static void by_extension_method_header(void **state)
{
	char extension[2][16] = { "jpg", "png" };
	struct header_match gold = { .name = "X-Tier", .value = "gold" }, any = { .name = "x-any" };
	struct route_conf r[] = { { .extension = extension, .n_extensions = 2 },
				  { .methods = 1u << METHOD_PUT | 1u << METHOD_DELETE },
				  { .header = &gold, .n_headers = 1 },
				  { .header = &any, .n_headers = 1 } };

	(void)state;
	assert_int_equal(find(r, 4, GET("h", "/a.JPG?x.gif")), 0);
	assert_int_equal(find(r, 4, GET("h", "/a.gif?x.jpg")), ROUTE_NONE);
	assert_int_equal(find(r, 4, (struct request){ "PUT", "h", "/", NULL, NULL }), 1);
	assert_int_equal(find(r, 4, (struct request){ "POST", "h", "/", NULL, NULL }), ROUTE_NONE);
	assert_int_equal(find(r, 4, (struct request){ "GET", "h", "/", "x-tier", "gold" }), 2);
	assert_int_equal(find(r, 4, (struct request){ "GET", "h", "/", "x-tier", "golden" }), ROUTE_NONE);
	assert_int_equal(find(r, 4, (struct request){ "GET", "h", "/", "X-Any", "" }), 3);
}

/* ---- the naive reader ---- */

static int naive_route(const struct route_conf *r, const struct request *q)
{
	const char *dot, *slash;
	size_t n;
	int found = 0;

	if (r->methods && !(r->methods & 1u << (strcmp(q->method, "PUT") ? METHOD_GET : METHOD_PUT)))
		return 0;
	if (r->host[0] == '*') {
		n = strlen(r->host) - 1;
		if (strlen(q->host) <= n || strcmp(q->host + strlen(q->host) - n, r->host + 1) != 0)
			return 0;
	} else if (r->host[0] && strcmp(r->host, q->host) != 0) {
		return 0;
	}
	n = strlen(r->path);
	if (n && strncmp(r->path, q->path, n) != 0)
		return 0;
	if (n && r->path[n - 1] != '/' && q->path[n] && q->path[n] != '/')
		return 0;
	dot = strrchr(q->path, '.');
	slash = strrchr(q->path, '/');
	for (uint32_t i = 0; i < r->n_extensions; i++)
		found |= dot && dot > slash + 1 && !strcmp(dot + 1, r->extension[i]);
	if (r->n_extensions && !found)
		return 0;
	for (uint32_t i = 0; i < r->n_headers; i++)
		if (!q->header || strcmp(q->header, r->header[i].name) != 0 ||
		    (r->header[i].value[0] && strcmp(q->value, r->header[i].value) != 0))
			return 0;
	return 1;
}

#define MANY 150 /* more than two words of bits */

static const char *const hosts[] = { "a.example", "b.example", "x.a.example", "y.x.a.example", "example" };
static const char *const host_routes[] = { "", "", "a.example", "b.example", "*.example", "*.a.example", "*.x.a.example" };
static const char *const paths[] = { "/", "/img", "/img/", "/img/a.jpg", "/img/b/c.png", "/images/a.jpg", "/js/.jpg", "/js/x.y/z" };
static const char *const path_routes[] = { "", "", "/", "/img", "/img/", "/img/b", "/js", "/js/x.y/", "/images" };
#define ONE(list) (list)[(size_t)random() % (sizeof(list) / sizeof((list)[0]))]

static void random_tables_agree_with_a_naive_reader(void **state)
{
	static struct route_conf route[MANY];
	static char jpg[1][16] = { "jpg" };
	static struct header_match match[2] = { { .name = "x-tier", .value = "gold" }, { .name = "x-tier" } };
	unsigned hits = 0, late = 0;

	(void)state;
	srandom(11);
	for (int table = 0; table < 300; table++) {
		struct edge_conf edge = { .route = route, .n_routes = 1 + (uint32_t)random() % MANY };
		struct route_table *t;

		memset(route, 0, sizeof(route));
		for (uint32_t i = 0; i < edge.n_routes; i++) {
			strcpy(route[i].host, ONE(host_routes));
			strcpy(route[i].path, ONE(path_routes));
			if (random() % 3 == 0) {
				route[i].extension = jpg;
				route[i].n_extensions = 1;
			}
			if (random() % 2 == 0)
				route[i].methods = 1u << (random() % 2 ? METHOD_GET : METHOD_PUT);
			if (random() % 2 == 0) {
				route[i].header = &match[random() % 2];
				route[i].n_headers = 1;
			}
		}
		t = route_compile(&edge);
		assert_non_null(t);
		for (int q = 0; q < 300; q++) {
			struct request r = { random() % 2 ? "GET" : "PUT", ONE(hosts), ONE(paths),
					     random() % 2 ? "x-tier" : NULL, random() % 2 ? "gold" : "tin" };
			uint32_t want = 0, got;

			while (want < edge.n_routes && !naive_route(&route[want], &r))
				want++;
			if (want == edge.n_routes)
				want = ROUTE_NONE;
			read_request(&r);
			got = route_find(t, &h);
			if (got != want)
				print_error("%s %s%s: %u, naive %u\n", r.method, r.host, r.path, got, want);
			assert_int_equal(got, want);
			hits += want != ROUTE_NONE;
			late += want != ROUTE_NONE && want >= 64;
		}
		route_table_free(t);
	}
	assert_true(hits > 10000);
	assert_true(late > 20);
}

/* 1,000 routes of a host each: found without looking at all of them.  The control asks them one by one. */
static void thousand_hosts_are_quick(void **state)
{
	struct route_conf *route = calloc(1000, sizeof(*route));
	struct edge_conf edge = { .route = route, .n_routes = 1000 };
	struct route_table *t;
	clock_t compiled, one_by_one;
	uint32_t i;

	(void)state;
	for (i = 0; i < 1000; i++)
		snprintf(route[i].host, sizeof(route[i].host), "%swww%u.example", i % 10 ? "" : "*.", i);
	t = route_compile(&edge);
	read_request(&GET("www999.example", "/a/b"));
	compiled = clock();
	for (int k = 0; k < 20000; k++)
		assert_int_equal(route_find(t, &h), 999);
	compiled = clock() - compiled;
	one_by_one = clock();
	for (int k = 0; k < 20000; k++) {
		for (i = 0; !route_matches(&route[i], &h); i++)
			;
		assert_int_equal(i, 999);
	}
	one_by_one = clock() - one_by_one;
	assert_true(compiled * 5 < one_by_one);
	route_table_free(t);
	free(route);
}

static void keys_follow_what_affinity_names(void **state)
{
	struct pool_conf url = { .affinity = AFFINITY_URL }, host = { .affinity = AFFINITY_HOST },
			 cookie = { .affinity = AFFINITY_COOKIE, .cookie = "sid" }, client = { .affinity = AFFINITY_CLIENT };
	uint64_t a[4], b[4];

	(void)state;
	read_request(&(struct request){ "GET", "h.example", "/a?x", "cookie", "sid=1" });
	a[0] = route_key(&url, &h, "\1\2\3\4", 4);
	a[1] = route_key(&host, &h, "\1\2\3\4", 4);
	a[2] = route_key(&cookie, &h, "\1\2\3\4", 4);
	a[3] = route_key(&client, &h, "\1\2\3\4", 4);
	read_request(&(struct request){ "GET", "H.example:80", "/./a?y", "cookie", "z=0; sid=1" });
	b[0] = route_key(&url, &h, "\1\2\3\5", 4);
	b[1] = route_key(&host, &h, "\1\2\3\5", 4);
	b[2] = route_key(&cookie, &h, "\1\2\3\5", 4);
	b[3] = route_key(&client, &h, "\1\2\3\5", 4);
	assert_true(a[0] != b[0]); /* the query is part of it */
	assert_true(a[1] == b[1]);
	assert_true(a[2] == b[2]);
	assert_true(a[3] != b[3]);
	read_request(&(struct request){ "GET", "h.example", "/b/../a?x", NULL, NULL });
	assert_true(route_key(&url, &h, "", 0) == a[0]); /* one object, however it is spelt */
	assert_true(route_key(&cookie, &h, "\1\2\3\4", 4) == a[3]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(by_host),
		cmocka_unit_test(by_path),
		cmocka_unit_test(by_extension_method_header),
		cmocka_unit_test(random_tables_agree_with_a_naive_reader),
		cmocka_unit_test(thousand_hosts_are_quick),
		cmocka_unit_test(keys_follow_what_affinity_names),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	head_free(&h);
	return failed;
}
