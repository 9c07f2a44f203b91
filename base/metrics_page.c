/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One page of metrics, as text (prometheus.io/docs/instrumenting/exposition_formats, 0.0.4).  Names
 * are our own and asserted; label values come from anywhere and are escaped, and what is not UTF-8
 * in them is replaced, because one such byte makes Prometheus refuse the whole page.
 */
#include <assert.h>
#include <event2/buffer.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/metrics.h"

struct metrics {
	struct evbuffer *out;
	char family[128];
	enum metric_kind kind;
};

static bool name_ok(const char *name)
{
	static const char first[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_";
	static const char rest[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";

	return *name && strchr(first, *name) && name[strspn(name, rest)] == '\0';
}

/* The length of the UTF-8 sequence at s (1 to 4), or 0: overlong forms, surrogates and what is past U+10FFFF too. */
static size_t utf8_len(const unsigned char *s)
{
	unsigned min, code;
	size_t n;

	if (s[0] < 0x80)
		return 1;
	if ((s[0] & 0xe0) == 0xc0)
		n = 2, min = 0x80, code = s[0] & 0x1fu;
	else if ((s[0] & 0xf0) == 0xe0)
		n = 3, min = 0x800, code = s[0] & 0x0fu;
	else if ((s[0] & 0xf8) == 0xf0)
		n = 4, min = 0x10000, code = s[0] & 0x07u;
	else
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80) /* the NUL ends here too */
			return 0;
		code = code << 6 | (s[i] & 0x3fu);
	}
	return code < min || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) ? 0 : n;
}

static void put(struct evbuffer *out, const char *text)
{
	evbuffer_add(out, text, strlen(text));
}

static void put_escaped(struct evbuffer *out, const char *text, bool quoted)
{
	for (const char *s = text; *s;) {
		size_t n = utf8_len((const unsigned char *)s);

		if (n == 0) {
			put(out, "\xef\xbf\xbd"); /* U+FFFD */
			n = 1;
		} else if (*s == '\\') {
			put(out, "\\\\");
		} else if (*s == '\n') {
			put(out, "\\n");
		} else if (*s == '"' && quoted) {
			put(out, "\\\"");
		} else {
			evbuffer_add(out, s, n);
		}
		s += n;
	}
}

static void put_value(struct evbuffer *out, double value)
{
	if (isnan(value))
		put(out, " NaN\n");
	else if (isinf(value))
		put(out, value > 0 ? " +Inf\n" : " -Inf\n");
	else
		evbuffer_add_printf(out, " %.17g\n", value);
}

void metric_family(struct metrics *m, const char *name, enum metric_kind kind, const char *help)
{
	static const char *const word[] = {
		[METRIC_COUNTER] = "counter", [METRIC_GAUGE] = "gauge", [METRIC_HISTOGRAM] = "histogram"};
	size_t len = strlen(name);

	assert(name_ok(name) && len < sizeof(m->family));
	memcpy(m->family, name, len + 1);
	m->kind = kind;
	evbuffer_add_printf(m->out, "# HELP %s ", name);
	put_escaped(m->out, help, false);
	evbuffer_add_printf(m->out, "\n# TYPE %s %s\n", name, word[kind]);
}

/* family, suffix and labels; `le`, if any, is the last label. */
static void put_series(struct metrics *m, const char *suffix, va_list args, const char *le)
{
	const char *between = "{", *name;

	put(m->out, m->family);
	put(m->out, suffix);
	while ((name = va_arg(args, const char *))) {
		const char *value = va_arg(args, const char *);

		assert(value && name_ok(name));
		evbuffer_add_printf(m->out, "%s%s=\"", between, name);
		put_escaped(m->out, value, true);
		put(m->out, "\"");
		between = ",";
	}
	if (le) {
		evbuffer_add_printf(m->out, "%sle=\"%s\"", between, le);
		between = ",";
	}
	if (*between == ',')
		put(m->out, "}");
}

void metric_sample(struct metrics *m, double value, ...)
{
	va_list args;

	assert(m->kind != METRIC_HISTOGRAM);
	va_start(args, value);
	put_series(m, "", args, NULL);
	va_end(args);
	put_value(m->out, value);
}

static void histogram_va(struct metrics *m, const char *suffix, const char *le, double value, va_list args)
{
	va_list copy;

	va_copy(copy, args);
	put_series(m, suffix, copy, le);
	va_end(copy);
	put_value(m->out, value);
}

void metric_histogram(struct metrics *m, const double *bound, const uint64_t *count, size_t n, double sum, ...)
{
	uint64_t total = 0;
	char le[32];
	va_list args;

	assert(m->kind == METRIC_HISTOGRAM);
	va_start(args, sum);
	for (size_t i = 0; i < n; i++) {
		total += count[i];
		snprintf(le, sizeof(le), "%.15g", bound[i]);
		histogram_va(m, "_bucket", le, (double)total, args);
	}
	total += count[n];
	histogram_va(m, "_bucket", "+Inf", (double)total, args);
	histogram_va(m, "_sum", NULL, sum, args);
	histogram_va(m, "_count", NULL, (double)total, args);
	va_end(args);
}

void metrics_page(metrics_collect *collect, void *ctx, struct evbuffer *out)
{
	struct metrics m = {.out = out};

	collect(ctx, &m);
}
