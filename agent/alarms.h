/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is wrong on this host now, in words for the operator: each names the object and the remedy.
 * A level, not an event: made anew by each reconcile, reported to the controller as it stands.
 */
#ifndef AGENT_ALARMS_H
#define AGENT_ALARMS_H

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define ALARMS_MAX 32
#define ALARM_LEN 256

struct alarms {
	char text[ALARMS_MAX][ALARM_LEN]; /* beyond the maximum: dropped, the first ones matter most */
	size_t n;
};

static inline __attribute__((format(printf, 2, 3))) void alarm_add(struct alarms *a, const char *fmt, ...)
{
	va_list ap;

	if (a->n == ALARMS_MAX)
		return;
	va_start(ap, fmt);
	vsnprintf(a->text[a->n], ALARM_LEN, fmt, ap);
	va_end(ap);
	for (size_t i = 0; i < a->n; i++)
		if (!strcmp(a->text[i], a->text[a->n]))
			return;
	a->n++;
}

#endif
