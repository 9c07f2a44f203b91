/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How often a test does a thing.  Under KASAN (tests/vm/kasan) everything takes many times as long, and fewer rounds find
 * as much: it sees the first mistake.  0: not there at all.
 */
#ifndef TESTS_VM_ROUNDS_H
#define TESTS_VM_ROUNDS_H

#include <stdlib.h>
#include <string.h>

static inline int rounds(int usual, int kasan)
{
	const char *kind = getenv("BATON_VM_KIND");

	return kind && !strcmp(kind, "kasan") ? kasan : usual;
}

#endif
