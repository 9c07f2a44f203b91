/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/options.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/conf.h"
#include "base/likely.h"

struct cli_common cli = { .run_dir = RUN_DIR_DEFAULT };
static bool want_help;

static const struct cli_option common[] = {
	{ "json", 'j', OPTION_FLAG, &cli.json, NULL, "answer with one JSON object" },
	{ "run", 0, OPTION_TEXT, &cli.run_dir, "DIR", "where the controller's socket is ($BATON_RUN, or " RUN_DIR_DEFAULT ")" },
	{ "help", 'h', OPTION_FLAG, &want_help, NULL, "this text" },
	{ 0 },
};

int cli_usage(const struct verb *v, const char *fmt, ...)
{
	char *message = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&message, fmt, ap) < 0)
		abort();
	va_end(ap);
	fprintf(stderr, "baton %s: %s\n", v->name, message);
	fprintf(stderr, "usage: baton %s %s   (baton help %s says more)\n", v->name, v->arguments, v->name);
	if (cli.json) {
		json_t *o = json_pack("{s:b, s:s, s:s+, s:i}", "ok", 0, "error", message, "remedy", "baton help ", v->name,
				      "exit", EXIT_USAGE);

		json_dumpf(o, stdout, 0);
		putchar('\n');
		json_decref(o);
	}
	free(message);
	return EXIT_USAGE;
}

const char *cli_likely(const char *typed, const char *const *words)
{
	static char text[128];
	struct likely l;

	likely_begin(&l, typed);
	for (; *words; words++)
		likely_offer(&l, *words);
	if (!l.word)
		return "";
	snprintf(text, sizeof(text), " (did you mean '%s'?)", l.word);
	return text;
}

static void print_options(const struct cli_option *o)
{
	for (; o->name; o++) {
		char left[64];

		snprintf(left, sizeof(left), "%s%c%s--%s%s%s", o->letter ? "-" : "", o->letter ? o->letter : ' ',
			 o->letter ? ", " : "   ", o->name, o->argument ? " " : "", o->argument ? o->argument : "");
		printf("  %-28s %s\n", left, o->help);
	}
}

void cli_help(const struct verb *v, const struct cli_option *table)
{
	printf("usage: baton %s %s\n\n%s\n\nOptions:\n", v->name, v->arguments, v->help);
	print_options(table);
	print_options(common);
}

static const struct cli_option *find(const struct cli_option *o, const char *name, size_t len, char letter)
{
	for (; o->name; o++)
		if (letter ? o->letter == letter : name && strlen(o->name) == len && !memcmp(o->name, name, len))
			return o;
	return NULL;
}

static const char *likely_option(const struct cli_option *table, const char *typed)
{
	const char *words[64];
	size_t n = 0;
	const struct cli_option *o;

	for (o = table; o->name && n < 60; o++)
		words[n++] = o->name;
	for (o = common; o->name; o++)
		words[n++] = o->name;
	words[n] = NULL;
	return cli_likely(typed, words);
}

static int set(const struct verb *v, const struct cli_option *o, const char *value)
{
	unsigned long number;
	char *end;

	assert(value || o->kind == OPTION_FLAG || o->kind == OPTION_NO); /* a table without "argument" */
	switch (o->kind) {
	case OPTION_FLAG:
	case OPTION_NO:
		*(bool *)o->at = o->kind == OPTION_FLAG;
		return 0;
	case OPTION_TEXT:
		*(const char **)o->at = value;
		return 0;
	case OPTION_DURATION:
		if (conf_parse_duration(value, o->at))
			return 0;
		return cli_usage(v, "--%s is '%s', but must be a duration such as 500ms, 30s or 5m", o->name, value);
	case OPTION_NUMBER:
	case OPTION_NUMBER_IF:
		errno = 0;
		number = strtoul(value, &end, 10);
		if (!isdigit((unsigned char)*value) || *end || errno || number > UINT32_MAX)
			return cli_usage(v, "--%s is '%s', but must be a number", o->name, value);
		*(uint32_t *)o->at = (uint32_t)number;
		return 0;
	}
	return 0;
}

/* Takes one option from argv[i]; the number of words used, or a negative CLI_OVER. */
static int take(const struct verb *v, const struct cli_option *table, int argc, char **argv, int i)
{
	const char *a = argv[i], *equals = NULL, *value = NULL;
	bool is_long = a[1] == '-';
	const struct cli_option *o;
	int used = 1, status;

	if (is_long) {
		size_t len;

		a += 2;
		equals = strchr(a, '=');
		len = equals ? (size_t)(equals - a) : strlen(a);
		o = find(table, a, len, 0);
		if (!o)
			o = find(common, a, len, 0);
	} else {
		o = find(table, NULL, 0, a[1]);
		if (!o)
			o = find(common, NULL, 0, a[1]);
		if (o && a[2])
			equals = a + 1; /* -n5 */
	}
	if (!o)
		return CLI_OVER(cli_usage(v, "unknown option '%s'%s", argv[i], is_long ? likely_option(table, a) : ""));
	if (o->argument) {
		if (equals) {
			value = equals + 1;
		} else if (o->kind == OPTION_NUMBER_IF && (i + 1 == argc || !isdigit((unsigned char)*argv[i + 1]))) {
			value = "0";
		} else if (i + 1 < argc) {
			value = argv[i + 1];
			used = 2;
		} else {
			return CLI_OVER(cli_usage(v, "--%s needs its %s", o->name, o->argument));
		}
	} else if (equals) {
		return CLI_OVER(cli_usage(v, "--%s takes no value", o->name));
	}
	status = set(v, o, value);
	return status ? CLI_OVER(status) : used;
}

int cli_parse(const struct verb *v, const struct cli_option *table, int argc, char **argv, const char **word,
	      size_t max)
{
	const char *from_env = getenv("BATON_RUN");
	bool words_only = false;
	size_t n = 0;
	int i;

	if (from_env && *from_env)
		cli.run_dir = from_env;

	for (i = 1; i < argc; i++) /* first of all: a wrong word before it is answered in JSON too */
		if (!strcmp(argv[i], "-j") || !strcmp(argv[i], "--json"))
			cli.json = true;
	i = 1;
	while (i < argc) {
		int used = 1;

		if (!words_only && !strcmp(argv[i], "--")) {
			words_only = true;
		} else if (!words_only && argv[i][0] == '-' && argv[i][1]) {
			used = take(v, table, argc, argv, i);
			if (used < 0)
				return used;
		} else if (n == max) {
			return CLI_OVER(cli_usage(v, "'%s' is one word too many", argv[i]));
		} else {
			word[n++] = argv[i];
		}
		i += used;
	}
	if (want_help) {
		cli_help(v, table);
		return CLI_OVER(EXIT_DONE);
	}
	return (int)n;
}
