/* SPDX-License-Identifier: BSD-2-Clause */
/* The decoder of control socket requests: what it accepts has a verb and survives being written and read again. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/ctl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decode(const char *line, size_t size)
{
	json_t *request, *again;
	const char *verb, *verb_again;
	char why[256] = "", *text;

	if (ctl_decode(line, size, &request, &verb, why, sizeof(why))) {
		assert(why[0] && memchr(why, '\0', sizeof(why)));
		return;
	}
	assert(verb && json_is_object(request));
	text = json_dumps(request, JSON_COMPACT);
	assert(text && !strchr(text, '\n'));
	assert(!ctl_decode(text, strlen(text), &again, &verb_again, why, sizeof(why)));
	assert(!strcmp(verb, verb_again) && json_equal(request, again));
	json_decref(request);
	json_decref(again);
	free(text);
}

/* jansson is not instrumented, so the fuzzer cannot find its way into an object: the bytes are tried inside one too. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char begin[] = "{\"verb\":\"show\",\"x\":";
	char *line = malloc(sizeof(begin) + size + 1);
	size_t n = sizeof(begin) - 1;

	decode((const char *)data, size);
	memcpy(line, begin, sizeof(begin));
	memcpy(line + n, data, size);
	line[n + size] = '}';
	decode(line, n + size + 1);
	free(line);
	return 0;
}
