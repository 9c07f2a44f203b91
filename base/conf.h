/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A reader of YAML driven by schema tables.  Every fault of a text is found in one call; each is
 * printed as  file:line:column: error: message, then the line, a caret, and the likely word.
 * The tables belong to the folders that use them.  (libyaml's event parser: start_mark gives line and column.)
 */
#ifndef BASE_CONF_H
#define BASE_CONF_H

#include <stddef.h>
#include <stdio.h>

struct conf_error {
	unsigned line, column; /* from 1 */
	char *message;	       /* with the likely word, if there is one */
	char *source;	       /* the line's text */
};

struct conf_errors {
	const char *name; /* of the file */
	struct conf_error *error;
	size_t n;
};

void conf_errors_print(const struct conf_errors *e, FILE *out);
void conf_errors_free(struct conf_errors *e);

#endif
