/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The verbs of `baton`, a file each.  argv[0] is the verb itself.  A verb returns the exit status:
 * 0 done, 1 it failed or is not so, 2 wrong usage.  What goes wrong is said on stderr, with the remedy.
 */
#ifndef CLI_VERB_H
#define CLI_VERB_H

int cli_pki(int argc, char **argv);
int cli_demo(int argc, char **argv);

#endif
