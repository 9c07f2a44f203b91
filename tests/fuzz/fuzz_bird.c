/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * BIRD's control socket says anything, in any pieces: whole and in pieces must be understood alike, and whatever is
 * understood can be verified.  The first byte of the input chooses the size of the pieces.
 */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "bgp/verify.h"

struct seen {
	struct bird_protocols protocols;
	struct bird_routes routes;
	int err;
	size_t lines;
};

static int on_line(void *ctx, const struct bird_line *l)
{
	struct seen *s = ctx;

	if (l->code < 0 || l->code > 9999 || strlen(l->text) > BIRD_LINE_MAX)
		abort();
	s->lines++;
	bird_protocols_line(&s->protocols, l);
	return bird_routes_line(&s->routes, l);
}

static void read_in_pieces(struct seen *s, const char *data, size_t len, size_t piece)
{
	struct bird_decoder d;
	size_t at;

	memset(s, 0, sizeof(*s));
	bird_decoder_init(&d);
	for (at = 0; at < len && !s->err; at += piece)
		s->err = bird_decode(&d, data + at, len - at < piece ? len - at : piece, on_line, s);
}

static bool same_protocols(const struct bird_protocols *a, const struct bird_protocols *b)
{
	for (size_t i = 0; i < a->n && i < b->n; i++) {
		const struct bird_protocol *x = &a->protocol[i], *y = &b->protocol[i];

		if (strcmp(x->name, y->name) || strcmp(x->state, y->state) || x->kind != y->kind || x->up != y->up)
			return false;
	}
	return a->n == b->n && a->overflow == b->overflow;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct seen a, b;
	static struct bird_report report;
	struct announcement want = { .prefix = { .family = AF_INET }, .how = ANNOUNCE_GRACEFUL_SHUTDOWN };
	struct bird_export export = { .name = "up1", .kind = BIRD_BGP };
	struct speaker_status st = { .in_kernel = true };

	if (!size)
		return 0;
	read_in_pieces(&a, (const char *)data + 1, size - 1, size);
	read_in_pieces(&b, (const char *)data + 1, size - 1, 1u + data[0] % 32);
	if (a.err != b.err || a.lines != b.lines || !same_protocols(&a.protocols, &b.protocols) ||
	    a.routes.n != b.routes.n)
		abort();
	report.protocols = a.protocols;
	export.routes = a.routes;
	report.export = &export;
	report.n_export = 1;
	inet_pton(AF_INET, "198.51.100.80", &want.prefix.v4);
	verify_bird(&want, 1, &report, "/run/bird/bird.ctl", &st);
	bird_routes_free(&a.routes);
	bird_routes_free(&b.routes);
	return 0;
}
