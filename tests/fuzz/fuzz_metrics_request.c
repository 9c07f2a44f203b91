/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The decoder of metrics requests: a known status, 200 only for what it should be, the same verdict
 * once it is given however much follows, and none later than the bound.  Then the same bytes as label values.
 */
#include <assert.h>
#include <event2/buffer.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/metrics.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void collect(void *ctx, struct metrics *m)
{
	metric_family(m, "baton_fuzz", METRIC_GAUGE, ctx);
	metric_sample(m, 1, "value", ctx, NULL);
}

/* HELP, TYPE and one sample: three lines, whatever the label holds; quotes closed. */
static void check_page(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1), *page;
	struct evbuffer *b = evbuffer_new();
	unsigned lines = 0;

	memcpy(text, data, size);
	text[size] = '\0';
	metrics_page(collect, text, b);
	evbuffer_add(b, "", 1);
	page = (char *)evbuffer_pullup(b, -1);
	for (const char *c = page; *c; c++)
		lines += *c == '\n';
	assert(lines == 3);
	assert(!strcmp(page + strlen(page) - 5, "\"} 1\n"));
	evbuffer_free(b);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int status = 0, head = 0;

	for (size_t n = 0; n <= size && !status; n++) {
		status = metrics_request((const char *)data, n, &head);
		assert(status || n < METRICS_HEAD_MAX);
	}
	assert(status == 0 || status == 200 || status == 400 || status == 404 || status == 405 || status == 431);
	if (status == 200) {
		assert(!memcmp(data, head ? "HEAD /metrics" : "GET /metrics", head ? 13 : 12));
		assert(memmem(data, size, " HTTP/1.", 8));
	}
	if (size < 65536)
		check_page(data, size);
	return 0;
}
