/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * baton apply: the file is checked here, the difference is asked of the controller by a dry run, and
 * what the operator confirmed is what is applied: the dry run's digest and log index go along, so a
 * change in between is refused.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/call.h"
#include "pop/pop.h"

#define CONFIG_DEFAULT "/etc/baton/pop.yaml"
#define NO_INDEX UINT32_MAX

struct change {
	char *text; /* NULL: a rollback */
	uint32_t rollback;
	bool dry_run, yes;
};

static json_t *request(const struct change *c, bool dry_run, const json_t *planned)
{
	json_t *r;

	if (!c->text)
		r = json_pack("{s:s, s:i, s:b, s:s}", "verb", "rollback", "index", (int)c->rollback, "dry_run", dry_run, "confirm",
			      planned ? text_of(planned, "digest") : "");
	else
		r = json_pack("{s:s, s:s, s:b, s:s}", "verb", "apply", "text", c->text, "dry_run", dry_run, "confirm",
			      planned ? text_of(planned, "digest") : "");
	if (c->text && planned && is_known(planned, "index"))
		json_object_set(r, "index", json_object_get(planned, "index"));
	return r;
}

static void print_diff(const json_t *answer)
{
	const json_t *d;
	size_t i;

	json_array_foreach(json_object_get(answer, "diff"), i, d) {
		const char *op = text_of(d, "op");

		printf("%c %s %s%s%s\n", !strcmp(op, "add") ? '+' : !strcmp(op, "remove") ? '-' : '~', text_of(d, "kind"),
		       text_of(d, "name"), *text_of(d, "text") ? ": " : "", text_of(d, "text"));
	}
	if (is_true(answer, "unchanged"))
		puts("nothing changes");
	else
		printf("%d bucket%s would move\n", (int)number_of(answer, "moves"),
		       number_of(answer, "moves") == 1 ? "" : "s");
	if (number_of(answer, "evicted") > 0)
		printf("! %d old histories would be cut: connections break\n", (int)number_of(answer, "evicted"));
}

/* EXIT_DONE if the operator agrees. */
static int confirm(const struct change *c)
{
	char line[16];

	if (c->yes)
		return EXIT_DONE;
	if (cli.json || !isatty(STDIN_FILENO))
		return cli_fail(EXIT_USAGE, "add --yes, or --dry-run to see the difference only",
				"nobody can be asked whether to apply this");
	printf("Apply? [y/N] ");
	fflush(stdout);
	if (fgets(line, sizeof(line), stdin) && (line[0] == 'y' || line[0] == 'Y'))
		return EXIT_DONE;
	fputs("baton: nothing was changed\n", stderr);
	return EXIT_FAILED;
}

static int carry_out(const struct change *c)
{
	json_t *planned = NULL, *done = NULL;
	int status = cli_call(request(c, true, NULL), &planned);

	if (status == EXIT_DONE && !cli.json)
		print_diff(planned);
	if (status == EXIT_DONE && (c->dry_run || is_true(planned, "unchanged"))) {
		if (cli.json)
			cli_json(planned);
	} else if (status == EXIT_DONE) {
		status = confirm(c);
		if (status == EXIT_DONE)
			status = cli_call(request(c, false, planned), &done);
		if (status == EXIT_DONE && cli.json)
			cli_json(done);
		else if (status == EXIT_DONE)
			printf("applied at log index %d; undo it with: baton apply --rollback\n", (int)number_of(done, "index"));
	}
	json_decref(planned);
	json_decref(done);
	return status;
}

/* The text, when it is right; NULL after every fault has been printed. */
static char *read_checked(const char *path)
{
	struct conf_errors errors;
	struct pop *pop = NULL;
	char *text = NULL;
	size_t len = 0;
	int err = conf_slurp(path, &text, &len);

	if (err) {
		conf_errors_file(&errors, path, err);
		text = NULL;
	} else {
		pop = pop_parse(text, len, path, &errors);
	}
	if (!pop) {
		conf_errors_print(&errors, stderr);
		cli_fail(EXIT_FAILED, "correct them; baton check says the same without a controller",
			 "%zu error%s in %s: nothing was sent", errors.n, errors.n == 1 ? "" : "s", path);
		free(text);
		text = NULL;
	}
	conf_errors_free(&errors);
	pop_free(pop);
	return text;
}

static int run(int argc, char **argv)
{
	const char *word[1] = { CONFIG_DEFAULT };
	struct change c = { .rollback = NO_INDEX };
	int n, status;
	const struct cli_option table[] = {
		{ "dry-run", 'n', OPTION_FLAG, &c.dry_run, NULL, "show the difference, change nothing" },
		{ "yes", 'y', OPTION_FLAG, &c.yes, NULL, "do not ask" },
		{ "rollback", 0, OPTION_NUMBER_IF, &c.rollback, "[INDEX]", "the configuration before, or that of a log index, instead of a file" },
		{ 0 },
	};

	n = cli_parse(&verb_apply, table, argc, argv, word, 1);
	if (n < 0)
		return CLI_OVER(n);
	if (c.rollback != NO_INDEX) {
		if (n)
			return cli_usage(&verb_apply, "either a file or --rollback");
		return carry_out(&c);
	}
	c.text = read_checked(word[0]);
	if (!c.text)
		return EXIT_FAILED;
	status = carry_out(&c);
	free(c.text);
	return status;
}

const struct verb verb_apply = {
	"apply",
	"[FILE] [--dry-run] [--yes] | --rollback [INDEX]",
	"bring a pop.yaml into force, after showing the difference",
	"Checks a configuration (" CONFIG_DEFAULT "), shows what it would change, asks, and applies it\n"
	"through the controller's log, from which every daemon takes it.  What is applied is what was shown:\n"
	"if something else changes in between, nothing is done.  Some things are fixed while a POP lives\n"
	"(buckets, hash_seed, ids): a change of them is refused.\n"
	"Exit status: 0 applied (or nothing changes), 1 errors in the file, or not confirmed, 3 refused,\n"
	"5 no controller.",
	run,
};
