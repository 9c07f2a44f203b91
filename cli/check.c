/* SPDX-License-Identifier: BSD-2-Clause */
/* baton check: a file alone, without a controller: what is wrong with it, and what to know about it. */
#include <stdio.h>
#include <stdlib.h>

#include "cli/advice.h"
#include "cli/call.h"
#include "pop/diff.h"

#define CONFIG_DEFAULT "/etc/baton/pop.yaml"

struct advice {
	const char *path;
	json_t *list;
	size_t n;
};

static void take(void *ctx, const char *id, const char *text)
{
	struct advice *a = ctx;

	a->n++;
	if (!cli.json)
		printf("%s: advice: %s\n", a->path, text);
	json_array_append_new(a->list, json_pack("{s:s, s:s}", "id", id, "text", text));
}

static json_t *faults_json(const struct conf_errors *errors)
{
	json_t *list = json_array();
	size_t i;

	for (i = 0; i < errors->n; i++)
		json_array_append_new(list, json_pack("{s:i, s:i, s:s, s:s}", "line", (int)errors->error[i].line, "column",
						      (int)errors->error[i].column, "message", errors->error[i].message,
						      "source", errors->error[i].source ? errors->error[i].source : ""));
	return list;
}

static void summarise(const struct pop *pop)
{
	struct spread s = pop_spread(pop, HOST_NONE);

	printf("POP %s is right: %u switch%s, %u host%s, %u VIP%s; %u buckets, ", pop->name, pop->n_switches,
	       pop->n_switches == 1 ? "" : "es", pop->n_hosts, pop->n_hosts == 1 ? "" : "s", pop->n_vips,
	       pop->n_vips == 1 ? "" : "s", pop->buckets);
	if (s.least == s.most)
		printf("%u for each host\n", s.most);
	else
		printf("%u to %u for each host (at most %.1f%% over its share)\n", s.least, s.most, s.over_percent);
}

static int report(const struct pop *pop, struct conf_errors *errors, const char *path, bool strict, bool dump)
{
	struct advice a = { .path = path, .list = json_array() };
	int status = pop ? EXIT_DONE : EXIT_FAILED;

	if (pop)
		pop_advise(pop, take, &a);
	if (strict && a.n)
		status = EXIT_FAILED;
	if (cli.json) {
		json_t *o = json_pack("{s:b, s:s, s:o, s:O, s:i}", "ok", pop != NULL, "file", path, "errors",
				      faults_json(errors), "advice", a.list, "exit", status);

		if (pop && dump)
			json_object_set_new(o, "pop", pop_to_json(pop));
		cli_json(o);
		json_decref(o);
	} else if (pop && dump) {
		json_t *o = pop_to_json(pop);

		cli_json(o);
		json_decref(o);
	} else if (pop) {
		summarise(pop);
	} else {
		conf_errors_print(errors, stderr);
		fprintf(stderr, "%zu error%s\n", errors->n, errors->n == 1 ? "" : "s");
	}
	json_decref(a.list);
	return status;
}

static int run(int argc, char **argv)
{
	const char *word[1] = { CONFIG_DEFAULT };
	bool strict = false, dump = false;
	struct conf_errors errors;
	struct pop *pop;
	int n, status;
	const struct cli_option table[] = {
		{ "strict", 0, OPTION_FLAG, &strict, NULL, "advice is a failure too" },
		{ "dump", 0, OPTION_FLAG, &dump, NULL, "print all of it as JSON, defaults filled in" },
		{ 0 },
	};

	n = cli_parse(&verb_check, table, argc, argv, word, 1);
	if (n < 0)
		return CLI_OVER(n);
	pop = pop_load(word[0], &errors);
	status = report(pop, &errors, word[0], strict, dump);
	conf_errors_free(&errors);
	pop_free(pop);
	return status;
}

const struct verb verb_check = {
	"check",
	"[FILE] [--strict]",
	"find what is wrong with a pop.yaml, and what will surprise",
	"Reads a configuration (" CONFIG_DEFAULT ") without asking anybody.  Every error is printed as\n"
	"file:line:column: error: ..., with the line, a caret and the likely word.  Advice is what is allowed\n"
	"but will surprise: the balance that so many buckets can have, services that a drain breaks, floors\n"
	"that forbid a drain, hosts that hang on one switch.\n"
	"Exit status: 0 right, 1 errors (with --strict: or advice).",
	run,
};
