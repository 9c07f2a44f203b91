/* SPDX-License-Identifier: BSD-2-Clause */
/* The operator's command: finds the verb, or the one that was probably meant. */
#include <stdio.h>
#include <string.h>

#include "cli/options.h"

static int run_help(int argc, char **argv);

static const struct verb verb_pki = { "pki", "init|issue|renew|show ...", "the POP's certificate authority", NULL, cli_pki };
static const struct verb verb_demo = { "demo", "[run|up|down]", "a whole POP in namespaces of this machine, under load", NULL, cli_demo };
static const struct verb verb_help = { "help", "[VERB]", "this list, or all about a verb", NULL, run_help };

static const struct verb *const verbs[] = {
	&verb_check, &verb_apply,   &verb_show, &verb_drain, &verb_fill, &verb_roll,
	&verb_explain, &verb_top, &verb_pki,  &verb_demo, &verb_help,
};

enum { VERBS = sizeof(verbs) / sizeof(*verbs) }; /* NOLINT(bugprone-sizeof-expression): of pointers, as meant */

static const struct verb *find(const char *name)
{
	size_t i;

	for (i = 0; i < VERBS; i++)
		if (!strcmp(verbs[i]->name, name))
			return verbs[i];
	return NULL;
}

static void print_verbs(FILE *out)
{
	size_t i;

	fprintf(out, "usage: baton VERB ...\n\n");
	for (i = 0; i < VERBS; i++)
		fprintf(out, "  %-9s %s\n", verbs[i]->name, verbs[i]->summary);
	fprintf(out, "\nEvery verb takes -j (JSON) and --help; those that ask the controller: --run DIR (its run directory).\n"
		     "Exit status: 0 done (a drain: safe), 1 failed, 2 usage, 3 refused, 4 not in time, 5 no controller,\n"
		     "130 interrupted.  baton(1), pop.yaml(5) say more.\n");
}

static int unknown(const char *name)
{
	const char *names[VERBS + 1];
	size_t i;

	for (i = 0; i < VERBS; i++)
		names[i] = verbs[i]->name;
	names[VERBS] = NULL;
	fprintf(stderr, "baton: there is no verb '%s'%s\n       baton help lists them\n", name, cli_likely(name, names));
	return EXIT_USAGE;
}

static int run_help(int argc, char **argv)
{
	const struct verb *v = argc > 1 ? find(argv[1]) : NULL;
	char help[] = "--help", name[32];
	char *words[] = { name, help, NULL };

	if (argc > 1 && !v)
		return unknown(argv[1]);
	if (!v || v == &verb_help) {
		print_verbs(stdout);
		return EXIT_DONE;
	}
	snprintf(name, sizeof(name), "%s", v->name);
	(void)v->run(2, words);
	return EXIT_DONE;
}

/* -j and --run may stand before the verb too; the words used. */
static int take_common(int argc, char **argv)
{
	int i = 1;

	for (; i < argc; i++) {
		if (!strcmp(argv[i], "-j") || !strcmp(argv[i], "--json"))
			cli.json = true;
		else if (!strcmp(argv[i], "--run") && i + 1 < argc)
			cli.run_dir = argv[++i];
		else if (!strncmp(argv[i], "--run=", 6))
			cli.run_dir = argv[i] + 6;
		else
			break;
	}
	return i - 1;
}

int main(int argc, char **argv)
{
	const struct verb *v;
	int taken = take_common(argc, argv);

	argc -= taken;
	argv += taken;
	if (argc < 2) {
		print_verbs(stderr);
		return EXIT_USAGE;
	}
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
		puts("baton " BATON_VERSION);
		return EXIT_DONE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
		print_verbs(stdout);
		return EXIT_DONE;
	}
	v = find(argv[1]);
	if (!v)
		return unknown(argv[1]);
	return v->run(argc - 1, argv + 1);
}
