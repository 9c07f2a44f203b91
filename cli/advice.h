/* SPDX-License-Identifier: BSD-2-Clause */
/* What is allowed in pop.yaml, but will surprise somebody some night.  Pure. */
#ifndef CLI_ADVICE_H
#define CLI_ADVICE_H

#include <stddef.h>

#include "pop/pop.h"

/* id: a stable word for programs ("udp", "floor", ...); text: one sentence, with the remedy. */
typedef void advice_sink(void *ctx, const char *id, const char *text);

void pop_advise(const struct pop *pop, advice_sink *sink, void *ctx);

/* The fewest and the most buckets that a serving host may own, and the largest share over the exact one, in percent. */
struct spread {
	uint32_t least, most;
	double over_percent;
};

/* skip: a host id that is drained, or HOST_NONE. */
struct spread pop_spread(const struct pop *pop, uint16_t skip);

#endif
