/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Is each host there?  Two answers, for every own port: carrier, as the kernel tells it, and whether the
 * host's data path answers probes (lb/probe.h), agent or no agent.
 */
#ifndef SWITCH_HOST_PROBE_H
#define SWITCH_HOST_PROBE_H

#include <event2/event.h>

#include "pop/pop.h"

struct host_probe;

/* changed() is called when a carrier or an answer changed.  0 or -errno. */
int host_probe_new(struct event_base *base, const struct switch_conf *sw, uint32_t silence_ms,
		   void (*changed)(void *ctx), void *ctx, struct host_probe **out);
void host_probe_free(struct host_probe *p);

/* By position in sw->port. */
const bool *host_probe_carrier(const struct host_probe *p);
/* True also until a host has had the time to answer: silence must last to be a fact. */
bool host_probe_answers(const struct host_probe *p, uint32_t port);
uint64_t host_probe_strays(const struct host_probe *p); /* replies that nobody asked for */

#endif
