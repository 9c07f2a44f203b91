/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A request whose backend is this very process's object server is answered from the file: no connection to oneself, no
 * bytes through it.  What the client sees is the same.  Its line in the access log is the exchange's; the store's counters
 * count it.  Only GET and HEAD without a body, and not several ranges at once: everything else goes by a connection.
 */
#ifndef L7_OBJECT_OBJECT_OWN_H
#define L7_OBJECT_OBJECT_OWN_H

#include <stdbool.h>
#include <stdint.h>

struct exchange;
struct object_own;
struct object_plan;

/* Is port `port` of host `host` this worker's own object server? */
bool object_own_is(const struct exchange *x, uint16_t host, uint16_t port);
/* What there is to answer, for a request that this can answer; false: by a connection, nothing has happened. */
bool object_own_take(struct exchange *x, struct object_plan *plan);
void object_own_answer(struct exchange *x, const struct object_plan *plan); /* x may be gone after it */
void object_own_room(struct exchange *x); /* the front takes more */
void object_own_free(struct object_own *o);

#endif
