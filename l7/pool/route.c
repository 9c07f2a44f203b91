// SPDX-License-Identifier: BSD-2-Clause
/* Request head -> route.  See route.h for how the table is compiled. */
#include "l7/pool/route.h"

#include <stdlib.h>
#include <strings.h>

#include "l7/hash.h"

/* One word: a host ("www.example.net"), a wildcard's domain ("*" + ".example.net"), or a first path segment. */
struct word {
	const char *text;
	uint32_t n;
	bool wildcard;
	uint64_t *routes; /* bit set */
};

struct word_table {
	struct word *slot; /* open addressing, a power of two, at most half full */
	uint32_t mask, n;
	uint64_t *any; /* routes without such a condition */
};

struct route_table {
	const struct edge_conf *edge;
	uint32_t words; /* 64-bit words of a bit set */
	struct word_table host, segment;
};

static bool host_matches(const char *want, const char *host, size_t n)
{
	size_t n_want = strlen(want);

	if (want[0] != '*')
		return n_want == n && !strncasecmp(want, host, n);
	want++, n_want--;
	return n > n_want && !strncasecmp(want, host + n - n_want, n_want);
}

static bool path_matches(const char *want, const char *path, size_t n)
{
	size_t n_want = strlen(want);

	if (n < n_want || memcmp(want, path, n_want) != 0)
		return false;
	return want[n_want - 1] == '/' || n == n_want || path[n_want] == '/';
}

static bool extension_matches(const struct route_conf *r, const struct request_head *h)
{
	for (uint32_t i = 0; i < r->n_extensions; i++)
		if (strlen(r->extension[i]) == h->extension.n &&
		    !strncasecmp(r->extension[i], head_text(h, h->extension), h->extension.n))
			return true;
	return false;
}

static bool header_matches(const struct header_match *m, const struct request_head *h)
{
	size_t n = strlen(m->name);

	for (uint16_t i = 0; i < h->n_entries; i++) {
		const struct head_entry *e = &h->entry[i];

		if (e->name.n == n && !strncasecmp(head_text(h, e->name), m->name, n) &&
		    (!m->value[0] || head_is(h, e->value, m->value)))
			return true;
	}
	return false;
}

bool route_matches(const struct route_conf *r, const struct request_head *h)
{
	if (r->methods && !(r->methods & method_bit(h->method)))
		return false;
	if (r->host[0] && !host_matches(r->host, head_text(h, h->host), h->host.n))
		return false;
	if (r->path[0] && !path_matches(r->path, head_text(h, h->path), h->path.n))
		return false;
	if (r->n_extensions && !extension_matches(r, h))
		return false;
	for (uint32_t i = 0; i < r->n_headers; i++)
		if (!header_matches(&r->header[i], h))
			return false;
	return true;
}

static struct word *word_slot(const struct word_table *t, const char *text, size_t n, bool wildcard)
{
	uint32_t i = hash_text_lower(text, n, wildcard) & t->mask;

	while (t->slot[i].routes && (t->slot[i].wildcard != wildcard || t->slot[i].n != n ||
				     strncasecmp(t->slot[i].text, text, n) != 0))
		i = (i + 1) & t->mask;
	return &t->slot[i];
}

static int word_table_init(struct word_table *t, uint32_t n_routes, uint32_t words)
{
	uint32_t room = 16;

	while (room < 2 * n_routes)
		room *= 2;
	t->slot = calloc(room, sizeof(*t->slot));
	t->any = calloc(words, sizeof(*t->any));
	t->mask = room - 1;
	return t->slot && t->any ? 0 : -1;
}

static int word_add(struct word_table *t, const char *text, size_t n, bool wildcard, uint32_t route, uint32_t words)
{
	struct word *w = word_slot(t, text, n, wildcard);

	if (!w->routes) {
		w->routes = calloc(words, sizeof(*w->routes));
		if (!w->routes)
			return -1;
		w->text = text;
		w->n = n;
		w->wildcard = wildcard;
	}
	w->routes[route / 64] |= 1ull << (route % 64);
	return 0;
}

/* "/img/big" and "/img/": the segment "img".  A prefix of a segment only ("/" alone) says nothing. */
static size_t first_segment(const char *path, size_t n)
{
	const char *slash;

	if (n < 2 || path[0] != '/')
		return 0;
	slash = memchr(path + 1, '/', n - 1);
	return slash ? (size_t)(slash - path - 1) : n - 1;
}

static int add_route(struct route_table *t, uint32_t i)
{
	const struct route_conf *r = &t->edge->route[i];
	uint64_t bit = 1ull << (i % 64);
	size_t n;

	if (!r->host[0])
		t->host.any[i / 64] |= bit;
	else if (word_add(&t->host, r->host + (r->host[0] == '*'), strlen(r->host) - (r->host[0] == '*'),
			  r->host[0] == '*', i, t->words))
		return -1;
	n = first_segment(r->path, strlen(r->path));
	if (!n)
		t->segment.any[i / 64] |= bit;
	else if (word_add(&t->segment, r->path + 1, n, false, i, t->words))
		return -1;
	return 0;
}

struct route_table *route_compile(const struct edge_conf *edge)
{
	struct route_table *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->edge = edge;
	t->words = edge->n_routes / 64 + 1;
	if (word_table_init(&t->host, edge->n_routes, t->words) || word_table_init(&t->segment, edge->n_routes, t->words))
		goto fail;
	for (uint32_t i = 0; i < edge->n_routes; i++)
		if (add_route(t, i))
			goto fail;
	return t;
fail:
	route_table_free(t);
	return NULL;
}

static void word_table_free(struct word_table *t)
{
	for (uint32_t i = 0; t->slot && i <= t->mask; i++)
		free(t->slot[i].routes);
	free(t->slot);
	free(t->any);
}

void route_table_free(struct route_table *t)
{
	if (!t)
		return;
	word_table_free(&t->host);
	word_table_free(&t->segment);
	free(t);
}

#define LABELS_MAX 127 /* of a domain name of 255 bytes; more are no domain's */

/* The bit sets that a host belongs to: its own, its parents' wildcards, and those without a host. */
static unsigned host_sets(const struct route_table *t, const char *host, size_t n, const uint64_t **set)
{
	unsigned k = 0;
	const struct word *w;

	set[k++] = t->host.any;
	if (!n)
		return k;
	if ((w = word_slot(&t->host, host, n, false))->routes)
		set[k++] = w->routes;
	for (size_t i = 1; i < n && k < LABELS_MAX; i++)
		if (host[i] == '.' && (w = word_slot(&t->host, host + i, n - i, true))->routes)
			set[k++] = w->routes;
	return k;
}

uint32_t route_find(const struct route_table *t, const struct request_head *h)
{
	const char *path = head_text(h, h->path);
	const uint64_t *host[LABELS_MAX + 1], *segment = NULL;
	unsigned n_host = host_sets(t, head_text(h, h->host), h->host.n, host);
	size_t n = first_segment(path, h->path.n);

	if (n)
		segment = word_slot(&t->segment, path + 1, n, false)->routes;
	for (uint32_t w = 0; w < t->words; w++) {
		uint64_t bits = 0;

		for (unsigned k = 0; k < n_host; k++)
			bits |= host[k][w];
		bits &= t->segment.any[w] | (segment ? segment[w] : 0);
		for (; bits; bits &= bits - 1) {
			uint32_t i = 64 * w + __builtin_ctzll(bits);

			if (route_matches(&t->edge->route[i], h))
				return i;
		}
	}
	return ROUTE_NONE;
}

uint64_t route_key(const struct pool_conf *pool, const struct request_head *h, const void *client, size_t n_client)
{
	struct head_span s;

	switch (pool->affinity) {
	case AFFINITY_HOST:
		return hash_bytes(head_text(h, h->host), h->host.n, 1);
	case AFFINITY_COOKIE:
		s = head_cookie(h, pool->cookie);
		if (s.n)
			return hash_bytes(head_text(h, s), s.n, 2);
		return hash_bytes(client, n_client, 3); /* before it has the cookie */
	case AFFINITY_CLIENT:
		return hash_bytes(client, n_client, 3);
	case AFFINITY_URL:
		break;
	}
	return hash_bytes(head_text(h, h->path), h->path.n,
			  hash_bytes(head_text(h, h->query), h->query.n, hash_bytes(head_text(h, h->host), h->host.n, 4)));
}
