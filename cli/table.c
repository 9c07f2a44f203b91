/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/table.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS_MAX 24

struct text_table {
	size_t columns;
	bool right[COLUMNS_MAX];
	size_t width[COLUMNS_MAX];
	char **cell;
	size_t n, room;
};

static void add(struct text_table *t, char *text)
{
	size_t width, column = t->n % t->columns;

	if (!text)
		abort();
	width = strlen(text);
	if (t->n == t->room) {
		t->room = t->room ? t->room * 2 : 64;
		t->cell = realloc(t->cell, t->room * sizeof(*t->cell));
		if (!t->cell)
			abort();
	}
	if (width > t->width[column])
		t->width[column] = width;
	t->cell[t->n++] = text;
}

struct text_table *text_table_new(const char *heading)
{
	struct text_table *t = calloc(1, sizeof(*t));
	char *copy = strdup(heading), *rest = copy, *name;
	size_t i;

	if (!t || !copy)
		abort();
	t->columns = 1;
	for (i = 0; heading[i]; i++)
		t->columns += heading[i] == '|';
	for (i = 0; i < t->columns && i < COLUMNS_MAX; i++) {
		name = strsep(&rest, "|");
		t->right[i] = *name == '>';
		add(t, strdup(name + t->right[i]));
	}
	free(copy);
	return t;
}

void text_cell(struct text_table *t, const char *fmt, ...)
{
	va_list ap;
	char *text;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		abort();
	va_end(ap);
	add(t, text);
}

void text_table_end(struct text_table *t, FILE *out)
{
	size_t i;

	for (i = 0; i < t->n; i++) {
		size_t column = i % t->columns;
		bool last = column + 1 == t->columns;
		int width = (int)t->width[column];

		if (t->right[column])
			fprintf(out, "%*s", width, t->cell[i]);
		else if (last)
			fputs(t->cell[i], out);
		else
			fprintf(out, "%-*s", width, t->cell[i]);
		fputs(last ? "\n" : "  ", out);
		free(t->cell[i]);
	}
	free(t->cell);
	free(t);
}
