/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Active health checks of pools: GET path, 2xx or 3xx is well.  Run once per process, in the main thread;
 * results go to all workers.  A backend counts as well until its first check has said otherwise.
 */
#ifndef L7_CHECKS_H
#define L7_CHECKS_H

#include <event2/event.h>
#include <stdbool.h>

#include "l7/snapshot.h"

struct l7_checks;

typedef void l7_check_result(void *ctx, const char *pool, const struct address *a, uint16_t port, bool up);

struct l7_checks *l7_checks_new(struct event_base *base, l7_check_result *result, void *ctx);
/* Checks of backends that stay go on with what they know. */
void l7_checks_set(struct l7_checks *c, const struct snapshot *s);
/* Tells all results once more: to workers whose pools are new. */
void l7_checks_repeat(struct l7_checks *c);
void l7_checks_free(struct l7_checks *c);

#endif
