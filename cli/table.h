/* SPDX-License-Identifier: BSD-2-Clause */
/* Text in columns: cells are collected, widths follow from them. */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include <stdio.h>

struct text_table;

/* The heading: names of columns between '|', a leading '>' aligns a column right. */
struct text_table *text_table_new(const char *heading);
/* Cells come in order; a row is full when all columns have one. */
void text_cell(struct text_table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Prints and frees; an empty table prints its heading only. */
void text_table_end(struct text_table *t, FILE *out);

#endif
