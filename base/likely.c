/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Optimal string alignment distance (Damerau 1964, restricted: no substring is edited twice), by
 * three rows of the usual table.  Words longer than LIKELY_MAX are never anybody's typing mistake.
 */
#include "base/likely.h"

#include <ctype.h>
#include <string.h>

#define LIKELY_MAX 64

static unsigned least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

unsigned edit_distance(const char *a, const char *b)
{
	unsigned row[3][LIKELY_MAX + 1];
	unsigned *before = row[0], *last = row[1], *now = row[2];
	size_t n = strlen(a), m = strlen(b), i, j;

	if (n > LIKELY_MAX || m > LIKELY_MAX)
		return LIKELY_MAX;
	for (j = 0; j <= m; j++)
		last[j] = (unsigned)j;
	for (i = 1; i <= n; i++) {
		unsigned *spare = before;

		now[0] = (unsigned)i;
		for (j = 1; j <= m; j++) {
			int ca = tolower((unsigned char)a[i - 1]), cb = tolower((unsigned char)b[j - 1]);

			now[j] = least(least(last[j], now[j - 1]) + 1, last[j - 1] + (ca != cb));
			if (i > 1 && j > 1 && ca == tolower((unsigned char)b[j - 2]) &&
			    cb == tolower((unsigned char)a[i - 2]))
				now[j] = least(now[j], before[j - 2] + 1);
		}
		before = last;
		last = now;
		now = spare;
	}
	return last[m];
}

void likely_begin(struct likely *l, const char *typed)
{
	l->typed = typed;
	l->word = NULL;
	/* One mistake in three letters, and always one. */
	l->distance = (unsigned)strlen(typed) / 3 + 2;
}

void likely_offer(struct likely *l, const char *word)
{
	unsigned d = edit_distance(l->typed, word);

	/* A word of two letters is two edits from every other: all of it changed is no likeness. */
	if (d >= l->distance || d >= strlen(word))
		return;
	l->distance = d;
	l->word = word;
}
