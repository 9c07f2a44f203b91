/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The demo's witnesses: short load, long load, wiretap.  A witness that is dead, stopped or never spoke has
 * seen nothing break, and that would look like success; so each must live until it is told to end, speak all
 * the while, and close with a count that it calls its last.
 */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli/demo.h"

/* Longer than any pause that a busy machine makes; each writes five counts a second. */
enum { SILENCE_S = 5 };

static void complain(struct demo *d, const struct child *c, const char *what)
{
	if (!d->doubt[0])
		fprintf(stderr, "\nbaton demo: the witness \"%s\" %s: nothing is proven without it\n", c ? c->name : "?", what);
	snprintf(d->doubt, sizeof(d->doubt), "%s %s", c ? c->name : "?", what);
}

static void watch_one(struct demo *d, const struct child *c, const struct demo_heard *heard, double now)
{
	if (!c || (c->ended && !c->told))
		complain(d, c, "ended before it was told to");
	else if (now - (heard->counts ? heard->at_s : d->witnesses_s) > SILENCE_S)
		complain(d, c, heard->counts ? "has fallen silent" : "never wrote a count");
}

void demo_witnesses_begin(struct demo *d)
{
	d->witnesses_s = demo_now_s();
	d->doubt[0] = 0;
}

bool demo_witnesses_well(struct demo *d)
{
	double now = demo_now_s();

	/* An interrupt from the terminal reaches them too. */
	if (d->witnesses_s <= 0 || demo_interrupted || d->doubt[0])
		return !d->doubt[0];
	watch_one(d, d->wiretap, &d->wire_heard, now);
	watch_one(d, d->short_load, &d->brief.heard, now);
	watch_one(d, d->long_load, &d->lasting.heard, now);
	return !d->doubt[0];
}

static void end_one(struct demo *d, struct child *c, const struct demo_heard *heard)
{
	if (!c)
		return;
	demo_end(c, SIGTERM);
	if (!heard->last)
		complain(d, c, heard->counts ? "did not close with its last count" : "never wrote a count");
}

bool demo_witnesses_end(struct demo *d)
{
	bool well = demo_witnesses_well(d);

	/* The wiretap first: what is cut by ending the load is not counted. */
	end_one(d, d->wiretap, &d->wire_heard);
	end_one(d, d->short_load, &d->brief.heard);
	end_one(d, d->long_load, &d->lasting.heard);
	d->witnesses_s = 0;
	well = well && !d->doubt[0];
	d->doubt[0] = 0; /* what follows, removing the POP, needs no witness */
	d->wiretap = d->short_load = d->long_load = NULL;
	return well;
}

/*
 * Of each second the most that were open at one of the load's words; of all seconds the least.  So the only dips forgiven
 * are those shorter than a second: the load runs behind for a moment, finds that many lives ended meanwhile, and opens as many.
 */
void demo_causes(const struct demo *d, char *out, size_t size)
{
	const json_t *of[] = { d->brief.causes, d->lasting.causes };
	size_t len = 0;

	*out = 0;
	for (size_t i = 0; i < 2; i++) {
		const char *what;
		json_t *n;

		json_object_foreach((json_t *)(uintptr_t)of[i], what, n) {
			len += (size_t)snprintf(out + len, size - len, "%s%s %s %lld times", len ? ", " : "", i ? "long" : "short", what,
						(long long)json_integer_value(n));
			if (len >= size)
				return;
		}
	}
}

void demo_least_open(struct demo_load *l, double now)
{
	if (l->second_s <= 0) {
		l->second_s = now;
		l->most_in_second = 0;
		l->least_open = UINT64_MAX;
	}
	if (l->open > l->most_in_second)
		l->most_in_second = l->open;
	if (now - l->second_s < 1)
		return;
	if (l->most_in_second < l->least_open)
		l->least_open = l->most_in_second;
	l->second_s = now;
	l->most_in_second = 0;
}
