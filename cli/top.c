/* SPDX-License-Identifier: BSD-2-Clause */
/* baton top: status and hosts, again and again. */
#include <stdio.h>
#include <unistd.h>

#include "cli/call.h"
#include "cli/show.h"

/* One picture.  On a terminal it replaces the one before. */
static void draw(bool tty)
{
	json_t *status, *hosts;
	int asked = cli_try(json_pack("{s:s}", "verb", "status"), &status);

	(void)cli_try(json_pack("{s:s, s:s}", "verb", "show", "what", "hosts"), &hosts);
	if (tty)
		printf("\033[H\033[J");
	if (asked == EXIT_DONE) {
		show_status(status);
		putchar('\n');
		show_hosts(hosts);
	} else {
		printf("no controller answers in %s\n", cli.run_dir);
	}
	if (tty)
		printf("\nctrl-C ends this\n");
	else
		putchar('\n');
	fflush(stdout);
	json_decref(status);
	json_decref(hosts);
}

/* One object a line: for programs. */
static void emit(void)
{
	json_t *status, *hosts;
	int asked = cli_try(json_pack("{s:s}", "verb", "status"), &status);

	if (cli_try(json_pack("{s:s, s:s}", "verb", "show", "what", "hosts"), &hosts) == EXIT_DONE && asked == EXIT_DONE) {
		json_object_set(status, "host", json_object_get(hosts, "hosts"));
		json_dumpf(status, stdout, JSON_COMPACT);
		putchar('\n');
		fflush(stdout);
	}
	json_decref(hosts);
	json_decref(status);
}

static int run(int argc, char **argv)
{
	uint32_t every = 1000, times = 0, i;
	const char *word[1];
	json_t *first = NULL;
	int n, status;
	const struct cli_option table[] = {
		{ "every", 'd', OPTION_DURATION, &every, "TIME", "between two pictures (1s)" },
		{ "times", 'n', OPTION_NUMBER, &times, "N", "so many pictures, then end" },
		{ 0 },
	};

	n = cli_parse(&verb_top, table, argc, argv, word, 0);
	if (n < 0)
		return CLI_OVER(n);
	status = cli_call(json_pack("{s:s}", "verb", "status"), &first);
	json_decref(first);
	if (status)
		return status;
	cli_catch_interrupt();
	for (i = 0; !cli_interrupted && (!times || i < times); i++) {
		if (i)
			cli_sleep(every);
		if (cli.json)
			emit();
		else
			draw(isatty(STDOUT_FILENO));
	}
	return EXIT_DONE;
}

const struct verb verb_top = {
	"top",
	"[--every TIME] [--times N]",
	"the POP, live",
	"Shows `baton show status` and `baton show hosts` once a second.  With -j, one object a line.",
	run,
};
