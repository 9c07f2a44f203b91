/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The HTTP/1 edge: heads of requests and answers, and the chunked coding.  Whatever is accepted must read the same
 * however its bytes arrive: the end of a head found in any number of steps, a chunked body decoded byte by byte.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "l7/http/chunked.h"
#include "l7/http/h1_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t end_in_steps(const uint8_t *p, size_t n, size_t step)
{
	size_t scanned = 0, have, end = 0;

	for (have = step; !end; have += step) {
		if (have > n)
			have = n;
		end = h1_head_end(p, have, &scanned);
		if (have == n)
			break;
	}
	return end;
}

static void heads(const uint8_t *p, size_t n)
{
	static struct request_head head;
	static struct answer answer;
	size_t scanned = 0, end = h1_head_end(p, n, &scanned);
	const char *why;
	bool keep;

	assert(end == end_in_steps(p, n, 1) && end == end_in_steps(p, n, 7));
	if (!end)
		return;
	h1_plausible(p, n);
	if (!h1_request(&head, 32768, p, end, &keep)) {
		/* What smuggling needs was refused. */
		assert(!(head.chunked && head.content_length >= 0));
		assert(head.version == 10 || head.version == 11);
		assert(head.version == 10 || head.known[KNOWN_HOST] || head.absolute);
		for (uint16_t i = 0; i < head.n_entries; i++)
			assert(!memchr(head_text(&head, head.entry[i].value), '\n', head.entry[i].value.n) &&
			       !memchr(head_text(&head, head.entry[i].value), '\r', head.entry[i].value.n));
	}
	if (!h1_answer(&answer, p, end, &why))
		assert(!(answer.chunked && answer.content_length >= 0));
}

/* 0: not over, 1: over, -1: refused; *sum is of the data. */
static int decode(const uint8_t *p, size_t n, size_t step, uint64_t *sum, size_t *used)
{
	struct chunked c = { 0 };
	size_t at = 0, data;

	*sum = 0;
	while (at < n && c.where != CHUNKED_DONE) {
		ptrdiff_t k = chunked_next(&c, p + at, step < n - at ? step : n - at, &data);

		if (k < 0)
			return -1;
		at += (size_t)k;
		for (size_t i = 0; i < data; i++)
			*sum = *sum * 31 + p[at + i] + 1;
		if (data)
			chunked_took(&c, data);
		at += data;
	}
	*used = at;
	return c.where == CHUNKED_DONE;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *p = malloc(size ? size : 1); /* exactly as long as it is: a byte too far is seen */
	uint64_t one, all;
	size_t used_one = 0, used_all = 0;
	int a, b;

	memcpy(p, data, size);
	heads(p, size);
	a = decode(p, size, 1, &one, &used_one);
	b = decode(p, size, SIZE_MAX, &all, &used_all);
	assert(a == b && (a < 0 || (one == all && used_one == used_all)));
	free(p);
	return 0;
}
