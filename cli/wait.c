/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The controller is asked again and again rather than told to call back: so that it may restart in
 * the middle, and so that ctrl-C here costs nothing there.
 */
#include "cli/wait.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/call.h"

#define POLL_MS 200
#define LINE_EVERY_MS 5000 /* where no terminal shows one line that changes */

/* --- progress ----------------------------------------------------------------------------------------- */

struct progress {
	bool quiet, tty, shown;
	char last[512];
	uint64_t last_ms;
};

static void progress_begin(struct progress *p, bool quiet)
{
	*p = (struct progress){ .quiet = quiet || cli.json, .tty = isatty(STDOUT_FILENO) };
}

/* A terminal gets one line that changes; anything else a line per change of state, and now and then. */
static void progress_show(struct progress *p, const char *state, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void progress_show(struct progress *p, const char *state, const char *fmt, ...)
{
	uint64_t now = cli_now_ms();
	char line[512];
	va_list ap;

	if (p->quiet)
		return;
	if (!p->tty && p->shown && !strcmp(p->last, state) && now - p->last_ms < LINE_EVERY_MS)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	printf(p->tty ? "\r\033[K%s" : "%s\n", line);
	fflush(stdout);
	p->shown = true;
	p->last_ms = now;
	snprintf(p->last, sizeof(p->last), "%s", state);
}

static void progress_end(struct progress *p)
{
	if (p->tty && p->shown)
		printf("\r\033[K");
	fflush(stdout);
}

static void append(char *buf, size_t len, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void append(char *buf, size_t len, const char *fmt, ...)
{
	size_t have = strlen(buf);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(buf + have, len - have, fmt, ap);
	va_end(ap);
}

/* --- drains ------------------------------------------------------------------------------------------- */

/* The switch, or the new owner, that a move waits for. */
static const char *blocker(const json_t *b)
{
	return *text_of(b, "host") ? text_of(b, "host") : text_of(b, "switch");
}

static void what_is_left(const json_t *status, char *buf, size_t len)
{
	const json_t *c;
	size_t i;

	buf[0] = 0;
	json_array_foreach(json_object_get(status, "conditions"), i, c)
		append(buf, len, "%s%s", i ? ", " : "", text_of(c, "text"));
	json_array_foreach(json_object_get(status, "blocked"), i, c)
		append(buf, len, "; waits for %s %s: %s", *text_of(c, "host") ? "host" : "switch", blocker(c), text_of(c, "why"));
}

/* Which conditions are not met, without their numbers: what makes a new line where there is no terminal. */
static void which_are_left(const json_t *status, char *buf, size_t len)
{
	const json_t *c;
	size_t i;

	buf[0] = 0;
	json_array_foreach(json_object_get(status, "conditions"), i, c)
		append(buf, len, "%s ", text_of(c, "id"));
	json_array_foreach(json_object_get(status, "blocked"), i, c)
		append(buf, len, "%s ", blocker(c));
}

static void show_drain(struct progress *p, const struct waiting *w, const json_t *status, double elapsed)
{
	char state[256], left[400], spent[32], more[32], estimate[64] = "";

	what_is_left(status, left, sizeof(left));
	if (is_known(status, "estimate_s"))
		snprintf(estimate, sizeof(estimate), "; about %s left",
			 spell_seconds(number_of(status, "estimate_s"), more));
	which_are_left(status, state, sizeof(state));
	progress_show(p, state, "%s %s, %s: %s%s", w->kind, w->name, spell_seconds(elapsed, spent),
		      *left ? left : "nothing left", estimate);
}

static int drain_late(const struct waiting *w)
{
	char left[400], spent[32];

	what_is_left(w->last, left, sizeof(left));
	return cli_fail(EXIT_TIMEOUT, "the drain goes on; wait again with the same command, or undo it with baton fill",
			"%s %s is not drained after %s: %s", w->kind, w->name, spell_seconds(w->seconds, spent),
			w->last ? left : "no controller answered");
}

static json_t *question(const char *verb, const struct waiting *w)
{
	return json_pack("{s:s, s:s, s:s}", "verb", verb, "kind", w->kind, "name", w->name);
}

/* True when the wait is over, with *status. */
static bool drain_over(const struct waiting *w, const json_t *answer, int asked, int *status)
{
	if (asked == EXIT_REFUSED) {
		*status = cli_fail(EXIT_REFUSED, *text_of(answer, "remedy") ? text_of(answer, "remedy") : NULL, "%s",
				   text_of(answer, "error"));
		return true;
	}
	if (asked != EXIT_DONE)
		return false;
	if (is_true(answer, "safe")) {
		*status = EXIT_DONE;
		return true;
	}
	if (!strcmp(text_of(answer, "admin"), "in")) {
		*status = cli_fail(EXIT_FAILED, "baton show log says who and why", "%s %s was filled while it drained",
				   w->kind, w->name);
		return true;
	}
	return false;
}

int wait_for_drain(struct waiting *w)
{
	uint64_t begin = cli_now_ms();
	struct progress p;
	int status = EXIT_TIMEOUT, asked;

	progress_begin(&p, w->quiet);
	for (;;) {
		json_t *answer;

		asked = cli_try(question("drain_status", w), &answer);
		w->seconds = (double)(cli_now_ms() - begin) / 1000;
		if (answer) {
			json_decref(w->last);
			w->last = answer;
		}
		if (cli_interrupted) {
			progress_end(&p);
			return EXIT_INTERRUPTED;
		}
		if (drain_over(w, w->last, asked, &status))
			break;
		if (asked == EXIT_DONE)
			show_drain(&p, w, w->last, w->seconds);
		else
			progress_show(&p, "silent", "%s %s: the controller does not answer; asking again", w->kind, w->name);
		if (w->timeout_ms && cli_now_ms() - begin >= w->timeout_ms) {
			progress_end(&p);
			return drain_late(w);
		}
		cli_sleep(POLL_MS);
	}
	progress_end(&p);
	return status;
}

/* --- fills -------------------------------------------------------------------------------------------- */

static const json_t *find_named(const json_t *list, const char *name)
{
	const json_t *e;
	size_t i;

	json_array_foreach(list, i, e)
		if (!strcmp(text_of(e, "name"), name))
			return e;
	return NULL;
}

/* Why it does not serve yet; "" if it does. */
static void why_not(const char *kind, const json_t *e, char *buf, size_t len)
{
	buf[0] = 0;
	if (!e)
		append(buf, len, "the controller does not know it");
	else if (strcmp(text_of(e, "admin"), "in"))
		append(buf, len, "it is %s", text_of(e, "admin"));
	else if (!strcmp(kind, "host") && strcmp(text_of(e, "health"), "up"))
		append(buf, len, "it is %s%s%s", text_of(e, "health"), *text_of(e, "why") ? ": " : "", text_of(e, "why"));
	else if (!strcmp(kind, "host") && number_of(e, "moving") > 0)
		append(buf, len, "%d buckets are moving", (int)number_of(e, "moving"));
	else if (!strcmp(kind, "host") && number_of(e, "weight") > 0 && number_of(e, "owned") < 1)
		append(buf, len, "it has no bucket yet");
	else if (!strcmp(kind, "switch") && !is_true(e, "announcing"))
		append(buf, len, "it does not announce%s%s", *text_of(e, "buckets_why") ? ": " : "",
		       text_of(e, "buckets_why"));
	else if (!strcmp(kind, "vip") && !json_array_size(json_object_get(e, "announced_by")))
		append(buf, len, "no switch announces it");
}

static const char *plural(const char *kind)
{
	return !strcmp(kind, "host") ? "hosts" : !strcmp(kind, "switch") ? "switches" : "vips";
}

int wait_for_service(struct waiting *w)
{
	uint64_t begin = cli_now_ms();
	char why[256] = "no controller answered", spent[32];
	struct progress p;

	progress_begin(&p, w->quiet);
	for (;;) {
		json_t *answer;

		if (cli_try(json_pack("{s:s, s:s}", "verb", "show", "what", plural(w->kind)), &answer) == EXIT_DONE)
			why_not(w->kind, find_named(json_object_get(answer, plural(w->kind)), w->name), why, sizeof(why));
		json_decref(answer);
		w->seconds = (double)(cli_now_ms() - begin) / 1000;
		if (!*why || cli_interrupted || (w->timeout_ms && cli_now_ms() - begin >= w->timeout_ms))
			break;
		progress_show(&p, why, "%s %s, %s: %s", w->kind, w->name, spell_seconds(w->seconds, spent), why);
		cli_sleep(POLL_MS);
	}
	progress_end(&p);
	if (!*why)
		return EXIT_DONE;
	if (cli_interrupted)
		return EXIT_INTERRUPTED;
	return cli_fail(EXIT_TIMEOUT, "baton show says more; it will serve as soon as that is over",
			"%s %s does not serve after %s: %s", w->kind, w->name, spell_seconds(w->seconds, spent), why);
}
