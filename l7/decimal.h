/* SPDX-License-Identifier: BSD-2-Clause */
/* Numbers as text where snprintf would cost more than all else that is done with them. */
#ifndef L7_DECIMAL_H
#define L7_DECIMAL_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define DECIMAL_MAX 20

/* Not terminated: returns how many bytes of `to` it takes. */
static inline size_t decimal(char to[DECIMAL_MAX], uint64_t v)
{
	char text[DECIMAL_MAX], *p = text + sizeof(text);
	size_t n;

	do
		*--p = (char)('0' + v % 10);
	while (v /= 10);
	n = (size_t)(text + sizeof(text) - p);
	memcpy(to, p, n);
	return n;
}

#endif
