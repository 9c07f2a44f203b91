/* SPDX-License-Identifier: BSD-2-Clause */
/* HTTP/2 clients that misbehave.  See h2_guard.h. */
#include "l7/http/h2_guard.h"

#define FRAME_HEADERS 1
#define FRAME_CONTINUATION 9

static void window(struct h2_guard *g, uint64_t now_ms)
{
	if (now_ms - g->since_ms < H2_WINDOW_MS)
		return;
	g->since_ms = now_ms;
	g->resets = g->nuisances = 0;
}

enum h2_offence h2_guard_frame(struct h2_guard *g, uint8_t type, uint64_t now_ms)
{
	if (type == FRAME_CONTINUATION)
		return ++g->continuations > H2_CONTINUATIONS_MAX ? H2_CONTINUATIONS : H2_FAIR;
	if (type == FRAME_HEADERS) {
		g->continuations = 0;
		g->list = 0;
		return H2_FAIR;
	}
	/* DATA is a nuisance until its bytes are seen: it may be padding alone. */
	window(g, now_ms);
	return ++g->nuisances > H2_NUISANCES_MAX ? H2_FLOOD : H2_FAIR;
}

void h2_guard_useful(struct h2_guard *g)
{
	g->nuisances = g->nuisances > H2_REPAID ? g->nuisances - H2_REPAID : 0;
}

enum h2_offence h2_guard_reset(struct h2_guard *g, uint64_t now_ms)
{
	window(g, now_ms);
	return ++g->resets > H2_RESETS_MAX ? H2_RESETS : H2_FAIR;
}

enum h2_offence h2_guard_field(struct h2_guard *g, size_t n, uint64_t list_max, int *too_long)
{
	g->list += n + H2_FIELD_COST;
	*too_long = g->list > list_max;
	return g->list > H2_BOMB * list_max ? H2_LIST : H2_FAIR;
}

const char *h2_offence_text(enum h2_offence o)
{
	switch (o) {
	case H2_FAIR: return "fair";
	case H2_RESETS: return "resets";
	case H2_FLOOD: return "flood";
	case H2_CONTINUATIONS: return "continuations";
	case H2_LIST: return "header_list";
	case H2_PROTOCOL: return "protocol";
	case H2_OFFENCES: break;
	}
	return "?";
}
