/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * baton drain, baton fill.  The two differ in the verb sent and in what is waited for.  A drain's exit
 * status is its promise: 0 only when the controller has proof that the host may be rebooted.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/call.h"
#include "cli/wait.h"

static const char *const kinds[] = { "host", "switch", "vip", NULL };

struct order {
	const struct verb *verb;
	bool wait, force, dry_run;
	const char *reason;
	uint32_t timeout_ms;
	const char *kind, *name;
};

static bool is_kind(const char *word)
{
	size_t i;

	for (i = 0; kinds[i]; i++)
		if (!strcmp(word, kinds[i]))
			return true;
	return false;
}

/* EXIT_DONE, or a status after having said what is wrong with the words. */
static int read_words(struct order *o, const char *const *word, int n)
{
	if (n == 0)
		return cli_usage(o->verb, "which host, switch or vip?");
	if (!is_kind(word[0]))
		return cli_usage(o->verb, "'%s' is not a kind of thing: host, switch or vip%s", word[0],
				 cli_likely(word[0], kinds));
	if (n == 1)
		return cli_usage(o->verb, "which %s? (baton show %s lists them)", word[0],
				 !strcmp(word[0], "switch") ? "switches" : !strcmp(word[0], "vip") ? "vips" : "hosts");
	o->kind = word[0];
	o->name = word[1];
	return EXIT_DONE;
}

static void print_addresses(const json_t *answer)
{
	const json_t *a;
	size_t i;

	json_array_foreach(json_object_get(answer, "addresses"), i, a)
		printf("%s%s", i ? ", " : "", json_string_value(a));
}

/* What a switch or a VIP would do, after "would ". */
static void print_steps(const struct order *o, const json_t *answer)
{
	bool drain = o->verb == &verb_drain;
	char wait[32];

	if (!strcmp(o->kind, "vip")) {
		printf(drain ? "be withdrawn by every switch (" : "be announced again by every switch in service (");
		print_addresses(answer);
		printf(drain ? "): its connections break unless other POPs announce it too" : ")");
	} else if (!drain) {
		printf("announce ");
		print_addresses(answer);
		printf(" again once it has the table and has proven its buckets; the hosts send through it again");
	} else if (o->force) {
		printf("withdraw ");
		print_addresses(answer);
		printf(" at once, without GRACEFUL_SHUTDOWN and whoever else announces; no bucket moves");
	} else {
		printf("announce ");
		print_addresses(answer);
		printf(" with GRACEFUL_SHUTDOWN for %s, withdraw, be out when no packet comes any more and %d host%s send through others; "
		       "no bucket moves", spell_seconds(number_of(answer, "graceful_s"), wait), (int)number_of(answer, "hosts"),
		       number_of(answer, "hosts") == 1 ? "" : "s");
	}
}

static void print_plan(const struct order *o, const json_t *answer)
{
	const json_t *to = json_object_get(answer, "to"), *count;
	int moves = (int)number_of(answer, "moves");
	const char *host, *between = "";

	if (is_true(answer, "already")) {
		printf("%s %s: nothing to change\n", o->kind, o->name);
		return;
	}
	if (strcmp(o->kind, "host")) { /* no bucket moves: every switch has the same ones */
		printf("%s %s: %s", o->kind, o->name, o->dry_run ? "would " : o->verb == &verb_drain ? "leaves service" : "comes back");
		if (o->dry_run)
			print_steps(o, answer);
		puts("");
		return;
	}
	printf("%s %s: %s", o->kind, o->name, o->dry_run ? "would move " : "");
	printf("%d bucket%s%s", moves, moves == 1 ? "" : "s", o->dry_run ? "" : moves == 1 ? " moves" : " move");
	if (json_object_size(to))
		printf(" (");
	json_object_foreach((json_t *)(uintptr_t)to, host, count) {
		printf("%s%s %d", between, host, (int)json_number_value(count));
		between = ", ";
	}
	puts(json_object_size(to) ? ")" : "");
	if (number_of(answer, "evicted") > 0)
		printf("%s lose%s an old host that may still serve connections: they are cut\n",
		       (int)number_of(answer, "evicted") == 1 ? "1 bucket" : "some buckets",
		       (int)number_of(answer, "evicted") == 1 ? "s" : "");
}

static int interrupted(const struct order *o)
{
	bool drain = o->verb == &verb_drain;

	fprintf(stderr, "\nbaton: not waiting any longer; the %s of %s %s goes on.\n", o->verb->name, o->kind, o->name);
	fprintf(stderr, "       undo it:          baton %s %s %s\n", drain ? "fill" : "drain", o->kind, o->name);
	fprintf(stderr, "       wait for it:      baton %s %s %s --wait\n", o->verb->name, o->kind, o->name);
	if (cli.json) {
		json_t *answer = json_pack("{s:b, s:s, s:s, s:i}", "ok", 0, "error", "interrupted; it goes on", "remedy",
					   drain ? "baton fill" : "baton drain", "exit", EXIT_INTERRUPTED);

		cli_json(answer);
		json_decref(answer);
	}
	return EXIT_INTERRUPTED;
}

/* What -j shows at the end: the controller's last status, with what became of the order. */
static void finish_json(const struct waiting *w, const json_t *begun, int status)
{
	json_t *o = w->last ? json_deep_copy(w->last) : json_deep_copy(begun);

	json_object_set_new(o, "seconds", json_real(w->seconds));
	json_object_set_new(o, "exit", json_integer(status));
	cli_json(o);
	json_decref(o);
}

static int wait_for(const struct order *o, const json_t *begun)
{
	struct waiting w = { .kind = o->kind, .name = o->name, .timeout_ms = o->timeout_ms };
	bool drain = o->verb == &verb_drain;
	int status = drain ? wait_for_drain(&w) : wait_for_service(&w);
	char spent[32];

	if (status == EXIT_INTERRUPTED) {
		status = interrupted(o);
	} else if (status == EXIT_DONE && cli.json) {
		finish_json(&w, begun, status);
	} else if (status == EXIT_DONE) {
		spell_seconds(w.seconds, spent);
		if (!drain)
			printf("%s %s serves again (%s)\n", o->kind, o->name, spent);
		else if (!strcmp(o->kind, "host"))
			printf("host %s is drained (%s): safe to reboot\n", o->name, spent);
		else
			printf("%s %s is out of service (%s)\n", o->kind, o->name, spent);
	}
	json_decref(w.last);
	return status;
}

/* Without waiting, a drain is done only if it was done already. */
static int begun_only(const struct order *o, const json_t *begun)
{
	bool drain = o->verb == &verb_drain, safe = !drain;
	int status;

	if (drain && !o->dry_run) {
		json_t *answer;

		safe = cli_try(json_pack("{s:s, s:s, s:s}", "verb", "drain_status", "kind", o->kind, "name", o->name),
			       &answer) == EXIT_DONE &&
		       is_true(answer, "safe");
		json_decref(answer);
	}
	status = safe || o->dry_run ? EXIT_DONE : EXIT_TIMEOUT;
	if (cli.json) {
		json_t *answer = json_deep_copy(begun);

		json_object_set_new(answer, "safe", json_boolean(drain && safe && !o->dry_run));
		json_object_set_new(answer, "exit", json_integer(status));
		cli_json(answer);
		json_decref(answer);
	} else if (status == EXIT_TIMEOUT) {
		printf("begun, not finished: baton drain %s %s --wait waits for it\n", o->kind, o->name);
	}
	return status;
}

static int run(struct order *o, const struct cli_option *table, int argc, char **argv)
{
	const char *word[2];
	json_t *answer = NULL;
	int n, status;

	n = cli_parse(o->verb, table, argc, argv, word, 2);
	if (n < 0)
		return CLI_OVER(n);
	status = read_words(o, word, n);
	if (status)
		return status;
	status = cli_call(json_pack("{s:s, s:s, s:s, s:b, s:s, s:b}", "verb", o->verb->name, "kind", o->kind, "name",
				    o->name, "force", o->force, "reason", o->reason, "dry_run", o->dry_run),
			  &answer);
	if (status == EXIT_DONE) {
		if (!cli.json)
			print_plan(o, answer);
		if (o->wait && !o->dry_run) {
			cli_catch_interrupt();
			status = wait_for(o, answer);
		} else {
			status = begun_only(o, answer);
		}
	}
	json_decref(answer);
	return status;
}

static int run_drain(int argc, char **argv)
{
	struct order o = { .verb = &verb_drain, .wait = true, .reason = "" };
	const struct cli_option table[] = {
		{ "wait", 'w', OPTION_FLAG, &o.wait, NULL, "wait until it is safe (the default)" },
		{ "no-wait", 0, OPTION_NO, &o.wait, NULL, "begin only; exit 4 unless it is safe already" },
		{ "timeout", 't', OPTION_DURATION, &o.timeout_ms, "TIME", "wait no longer; the drain goes on" },
		{ "reason", 'r', OPTION_TEXT, &o.reason, "TEXT", "kept in the log" },
		{ "force", 'f', OPTION_FLAG, &o.force, NULL, "below the floor, and where histories are full" },
		{ "dry-run", 'n', OPTION_FLAG, &o.dry_run, NULL, "say what would move, or why not" },
		{ 0 },
	};

	return run(&o, table, argc, argv);
}

static int run_fill(int argc, char **argv)
{
	struct order o = { .verb = &verb_fill, .reason = "" };
	const struct cli_option table[] = {
		{ "wait", 'w', OPTION_FLAG, &o.wait, NULL, "wait until it serves again" },
		{ "timeout", 't', OPTION_DURATION, &o.timeout_ms, "TIME", "wait no longer; the fill goes on" },
		{ "reason", 'r', OPTION_TEXT, &o.reason, "TEXT", "kept in the log" },
		{ "force", 'f', OPTION_FLAG, &o.force, NULL, "even where a check of the controller forbids it" },
		{ "dry-run", 'n', OPTION_FLAG, &o.dry_run, NULL, "say what would move" },
		{ 0 },
	};

	return run(&o, table, argc, argv);
}

const struct verb verb_drain = {
	"drain",
	"host|switch|vip NAME [--timeout TIME] [--force] [--dry-run]",
	"take a host, a switch or a VIP out of service, breaking nothing",
	"Takes it out of service and waits until nothing needs it any more.\n"
	"  host    New connections go elsewhere, old ones are sent on to it while they live.  Exit 0 means\n"
	"          safe to reboot: no socket, no row, no SYN cookie, and in no switch's table.\n"
	"  switch  Announces with GRACEFUL_SHUTDOWN, withdraws, and waits until it is silent.\n"
	"  vip     Withdraws the addresses from every switch.\n"
	"ctrl-C ends the waiting, not the drain.  `baton fill` undoes a drain at any time.\n"
	"Exit status: 0 safe, 1 filled meanwhile, 3 refused, 4 not finished in time, 5 no controller.",
	run_drain,
};

const struct verb verb_fill = {
	"fill",
	"host|switch|vip NAME [--wait] [--timeout TIME] [--dry-run]",
	"bring it back into service; undoes a drain at any time",
	"Brings a host, a switch or a VIP back into service.  A host gets its share of buckets back, those\n"
	"first whose flows may still live on it.  With --wait, exit 0 means that it serves.\n"
	"Exit status: 0 done, 3 refused, 4 not in service in time, 5 no controller.",
	run_fill,
};
