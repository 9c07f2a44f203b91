/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the TLS session ticket keys of a POP are made from, so that a client may resume on any host.
 * The controller draws a seed at its start and hands it to hosts over their sessions (WIRE_TICKETS); it is
 * in no log and on no disk.  From then on nobody needs the controller: each epoch's secret is a one-way
 * function of the one before, and whoever holds one moves on by its clock and wipes the last.  So a secret
 * that leaks opens no ticket of an epoch that is past (the next seed ends what it opens in the future).
 */
#ifndef CONTROL_TICKET_SEED_H
#define CONTROL_TICKET_SEED_H

#include <stddef.h>
#include <stdint.h>

#define TICKET_SECRET_LEN 32
#define TICKET_PERIOD_S 3600u
#define TICKET_SEED_LEN 44     /* on the wire: be64 epoch | be32 period_s | [32] secret */
#define TICKET_STEPS_MAX 100000 /* of the ratchet at once: a clock that is years ahead */

struct ticket_seed {
	uint64_t epoch; /* seconds since 1970 / period_s */
	uint32_t period_s;
	uint8_t secret[TICKET_SECRET_LEN]; /* of that epoch */
};

int ticket_seed_new(struct ticket_seed *seed, uint64_t now_s); /* 0 or -EIO: no randomness */
/* HMAC-SHA256(secret, label): the next secret, and what l7/tls/ticket.c makes of one. */
void ticket_derive(const uint8_t secret[TICKET_SECRET_LEN], const char *label, uint8_t out[TICKET_SECRET_LEN]);
/* To `epoch`, never back.  -ERANGE: too far. */
int ticket_seed_advance(struct ticket_seed *seed, uint64_t epoch);
void ticket_seed_put(const struct ticket_seed *seed, uint8_t out[TICKET_SEED_LEN]);
int ticket_seed_get(const uint8_t *p, size_t len, struct ticket_seed *seed); /* -EINVAL; a later version may be longer */

#endif
