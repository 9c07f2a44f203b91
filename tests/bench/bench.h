/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What benchmarks share: samples, their median and percentiles, and one row of output each.  A row is
 * one JSON object on a line of standard output; tests/bench/run collects rows into build/bench/NAME.json.
 *
 *   name      what was measured            unit     of value, p95 and p99
 *   value     median over the samples      p95, p99 absent where they say nothing
 *   baseline  the median of what it is compared with, measured in the same run, rounds interleaved
 *   ratio     value / baseline             target   the bound, on value or (target_of "ratio") on ratio
 *   met       whether the bound holds; absent without a target
 */
#ifndef TESTS_BENCH_BENCH_H
#define TESTS_BENCH_BENCH_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define BENCH_SAMPLES_MAX 100000

struct samples {
	double *v;
	size_t n;
};

enum bench_bound { BOUND_NONE, BOUND_VALUE, BOUND_P50, BOUND_P95, BOUND_P99, BOUND_RATIO, BOUND_DIFFERENCE };

struct bench_row {
	const char *name, *unit;
	const struct samples *samples;
	const struct samples *baseline; /* or NULL */
	enum bench_bound bound;		/* what `target` limits from above; DIFFERENCE: value - baseline */
	double target;
	bool percentiles; /* print p95 and p99 */
};

static inline int samples_order(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static inline void samples_add(struct samples *s, double v)
{
	if (!s->v)
		s->v = calloc(BENCH_SAMPLES_MAX, sizeof(*s->v));
	if (s->v && s->n < BENCH_SAMPLES_MAX)
		s->v[s->n++] = v;
}

static inline double samples_quantile(const struct samples *s, double q)
{
	double *copy, r;
	size_t i;

	if (!s || !s->n)
		return NAN;
	copy = malloc(s->n * sizeof(*copy));
	if (!copy)
		return NAN;
	for (i = 0; i < s->n; i++)
		copy[i] = s->v[i];
	qsort(copy, s->n, sizeof(*copy), samples_order);
	i = (size_t)ceil(q * (double)s->n);
	r = copy[i ? i - 1 : 0];
	free(copy);
	return r;
}

static inline void bench_print(const struct bench_row *r)
{
	double value = samples_quantile(r->samples, 0.5), p95 = samples_quantile(r->samples, 0.95);
	double p99 = samples_quantile(r->samples, 0.99);
	double baseline = r->baseline ? samples_quantile(r->baseline, 0.5) : NAN;
	double judged = NAN;

	printf("{\"name\": \"%s\", \"unit\": \"%s\", \"value\": %.6g, \"samples\": %zu", r->name, r->unit, value,
	       r->samples->n);
	if (r->percentiles)
		printf(", \"p95\": %.6g, \"p99\": %.6g", p95, p99);
	if (r->baseline)
		printf(", \"baseline\": %.6g, \"ratio\": %.6g", baseline, value / baseline);
	switch (r->bound) {
	case BOUND_NONE: break;
	case BOUND_VALUE:
	case BOUND_P50: judged = value; break;
	case BOUND_P95: judged = p95; break;
	case BOUND_P99: judged = p99; break;
	case BOUND_RATIO: judged = value / baseline; break;
	case BOUND_DIFFERENCE: judged = value - baseline; break;
	}
	if (r->bound != BOUND_NONE) {
		static const char *const of[] = { "", "value", "value", "p95", "p99", "ratio", "difference" };

		printf(", \"target\": %.6g, \"target_of\": \"%s\", \"judged\": %.6g, \"met\": %s", r->target,
		       of[r->bound], judged, judged <= r->target ? "true" : "false");
	}
	printf("}\n");
	fflush(stdout);
}

static inline uint64_t bench_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

#endif
