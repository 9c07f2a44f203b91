/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Session ticket keys, alike on every host of the POP (control/ticket_seed.h has where they come from).
 * Tickets are sealed with the present epoch's key; the one before opens too, and asks for a new ticket;
 * so does the one after, for the clocks of hosts differ.  Two seeds are kept: after a controller's
 * restart the tickets of the first still open until two epochs have gone by without it.
 *
 * One struct tickets per process, for all workers: locked, since a handshake is no hot path.
 */
#ifndef L7_TLS_TICKET_H
#define L7_TLS_TICKET_H

#include <openssl/ssl.h>
#include <stdint.h>

#include "control/ticket_seed.h"

struct tickets;

struct tickets *tickets_new(void); /* NULL: no memory.  Until a seed comes, tickets are of this process alone */
void tickets_free(struct tickets *t); /* after the SSL_CTXs that use it; wipes */
/* A seed came (follower's `tickets`); now: seconds since 1970.  0, -EINVAL: a clock far from ours. */
int tickets_seed(struct tickets *t, const struct ticket_seed *seed, uint64_t now_s);
/* Uses them for every handshake of ctx.  0 or -EIO. */
int tickets_attach(struct tickets *t, SSL_CTX *ctx);
/* The process's own set, which l7d uses: all its workers, all its SSL_CTXs. */
void tickets_use(SSL_CTX *ctx);
int tickets_use_seed(const struct ticket_seed *seed); /* for the follower's `tickets` */
/* For tests: the time that handshakes see; NULL: the clock. */
void tickets_set_clock(struct tickets *t, uint64_t (*now_s)(void));

#endif
