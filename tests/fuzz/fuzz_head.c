/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Request heads from lines ("METHOD TARGET", then "name: value"), and a route table from fixed routes.  Whatever comes:
 * spans lie in the text; a path that is accepted starts with '/', has no dot segment and no empty one, and is its own
 * normal form; what is forwarded reads as the same path; the compiled table agrees with asking route by route.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "l7/pool/route.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct header_match gold = { .name = "x-tier", .value = "gold" };
static char jpg[1][16] = { "jpg" };
static struct route_conf routes[] = {
	{ .host = "a.example", .path = "/img" },
	{ .host = "*.example", .extension = jpg, .n_extensions = 1 },
	{ .path = "/js/", .methods = 1u << METHOD_GET },
	{ .header = &gold, .n_headers = 1 },
	{ .path = "/" },
};
static struct edge_conf edge = { .route = routes, .n_routes = sizeof(routes) / sizeof(routes[0]) };
static struct route_table *table;

static void span_is_inside(const struct request_head *h, struct head_span s)
{
	assert(s.n == 0 || (s.at <= h->text_len && s.n <= h->text_len - s.at));
}

static void check_path(const struct request_head *h)
{
	const char *p = head_text(h, h->path), *end = p + h->path.n;

	assert(*p == '/' || (h->method == METHOD_OPTIONS && *p == '*' && h->path.n == 1));
	while (p < end && *p == '/') {
		const char *next = memchr(p + 1, '/', end - p - 1), *stop = next ? next : end;
		size_t n = stop - p - 1;

		assert(n || stop == end);
		assert(!(n == 1 && p[1] == '.') && !(n == 2 && p[1] == '.' && p[2] == '.'));
		p = stop;
	}
}

static void check_forward(const struct request_head *h)
{
	struct request_head again = { 0 };

	head_begin(&again, 65536);
	assert(head_method(&again, head_text(h, h->method_name), h->method_name.n) == 0);
	assert(head_target(&again, head_text(h, h->forward), h->forward.n) == 0);
	assert(again.path.n == h->path.n && !memcmp(head_text(&again, again.path), head_text(h, h->path), h->path.n));
	assert(again.query.n == h->query.n && !memcmp(head_text(&again, again.query), head_text(h, h->query), h->query.n));
	head_free(&again);
}

static void check(const struct request_head *h)
{
	uint32_t want = 0, got;

	span_is_inside(h, h->host);
	span_is_inside(h, h->path);
	span_is_inside(h, h->query);
	span_is_inside(h, h->extension);
	span_is_inside(h, h->forward);
	check_path(h);
	check_forward(h);
	for (uint16_t i = 0; i < h->n_entries; i++) {
		span_is_inside(h, h->entry[i].name);
		span_is_inside(h, h->entry[i].value);
	}
	assert(!(h->chunked && h->content_length >= 0));
	assert(h->version == 10 || h->host.n);
	while (want < edge.n_routes && !route_matches(&routes[want], h))
		want++;
	got = route_find(table, h);
	assert(got == (want < edge.n_routes ? want : ROUTE_NONE));
	head_cookie(h, "sid");
	head_has_token(h, KNOWN_CONNECTION, "close");
}

static const char *cut(const char **p, const char *end, char at)
{
	const char *begin = *p, *c = memchr(begin, at, end - begin);

	*p = c ? c + 1 : end;
	return c ? c : end;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct request_head h;
	const char *p = (const char *)data, *end = p + size, *a, *b;
	static const uint8_t versions[] = { 10, 11, 20, 11 };
	uint8_t version;

	if (!table)
		table = route_compile(&edge);
	if (!size)
		return 0;
	version = versions[*p++ & 3];
	head_begin(&h, 4096);
	a = p;
	b = cut(&p, end, ' ');
	if (head_method(&h, a, b - a))
		return 0;
	a = p;
	b = cut(&p, end, '\n');
	if (head_target(&h, a, b - a))
		return 0;
	while (p < end) {
		const char *name = p, *line = cut(&p, end, '\n'), *value = name, *colon = cut(&value, line, ':');
		int status = name[0] == ':' ? head_authority(&h, value, line - value) :
					      head_field(&h, name, colon - name, value, line - value);

		assert(status == 0 || status == 400 || status == 431);
		if (status)
			return 0;
	}
	if (head_finish(&h, version) == 0)
		check(&h);
	return 0;
}
