/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The verbs of `baton`, a file each.  What goes wrong is said on stderr, with the remedy; with -j the
 * answer, good or bad, is one JSON object on stdout.
 */
#ifndef CLI_VERB_H
#define CLI_VERB_H

/* Exit statuses; the same list is in baton(1). */
enum exit_status {
	EXIT_DONE = 0,	       /* done; for a drain: the host is safe to reboot, the switch silent */
	EXIT_FAILED = 1,       /* it failed, or is not so */
	EXIT_USAGE = 2,	       /* wrong words on the command line */
	EXIT_REFUSED = 3,      /* the controller refused, and said why */
	EXIT_TIMEOUT = 4,      /* not finished in time; what was begun goes on */
	EXIT_UNREACHABLE = 5,  /* no controller answers here */
	EXIT_INTERRUPTED = 130, /* ctrl-C; what was begun goes on */
};

struct verb {
	const char *name;
	const char *arguments; /* "host|switch|vip NAME" */
	const char *summary;   /* one line, for the list of verbs */
	const char *help;      /* paragraphs; options are listed from their table.  NULL: run(--help) prints all */
	int (*run)(int argc, char **argv); /* argv[0] is the verb; returns an exit status */
};

extern const struct verb verb_apply, verb_check, verb_drain, verb_explain, verb_fill, verb_roll, verb_show, verb_top;

int cli_pki(int argc, char **argv);
int cli_demo(int argc, char **argv);

#endif
