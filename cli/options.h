/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Options of a verb, as a table: parsed anywhere among the words, explained by `help`, and when one is
 * unknown the likely one is named.  Every verb takes -j, --run and -h besides its own.
 */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/verb.h"

enum option_kind {
	OPTION_FLAG,	 /* bool: true */
	OPTION_NO,	 /* bool: false */
	OPTION_TEXT,	 /* const char * */
	OPTION_DURATION, /* uint32_t, milliseconds */
	OPTION_NUMBER,	 /* uint32_t */
	OPTION_NUMBER_IF, /* uint32_t; 0 unless the next word is a number */
};

struct cli_option {
	const char *name; /* without --; NULL ends the table */
	char letter;	  /* or 0 */
	enum option_kind kind;
	void *at;
	const char *argument; /* "NAME", for help */
	const char *help;
};

/* What all verbs share; set by cli_parse(). */
extern struct cli_common {
	bool json;
	const char *run_dir;
} cli;

#define RUN_DIR_DEFAULT "/run/baton"

/*
 * Splits argv into options and words.  The number of words (argv[0] excluded), stored in `word`; or
 * -1 - status when the verb is over: after --help, or after having said what is wrong.
 */
int cli_parse(const struct verb *v, const struct cli_option *table, int argc, char **argv, const char **word,
	      size_t max);
#define CLI_OVER(n) (-1 - (n))

void cli_help(const struct verb *v, const struct cli_option *table);
/* Says what is wrong with the words, and how the verb is used.  Returns EXIT_USAGE. */
int cli_usage(const struct verb *v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The likely one of the NULL-terminated words, for " (did you mean 'x'?)"; "" if there is none. */
const char *cli_likely(const char *typed, const char *const *words);

#endif
