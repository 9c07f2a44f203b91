/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The word that somebody probably meant: the nearest of a set by edit distance (Damerau's: a swap of
 * two neighbours counts as one), near enough not to be a guess.
 */
#ifndef BASE_LIKELY_H
#define BASE_LIKELY_H

#include <stddef.h>

unsigned edit_distance(const char *a, const char *b);

struct likely {
	const char *typed;
	const char *word; /* the best so far, or NULL; borrowed */
	unsigned distance;
};

void likely_begin(struct likely *l, const char *typed);
void likely_offer(struct likely *l, const char *word);

#endif
