/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Session ticket keys, shared by the POP so that a session resumes on any host.  A set has the key that
 * new tickets are made with first, then those that still open old ones (and the next, before it is used).
 * Keys come by control session, never by the log; until the first set arrives the process uses a random
 * key of its own, so resumption works on this host alone.
 *
 * The set in force is the process's: tickets_set() replaces it, handshakes on all workers see it at once.
 */
#ifndef L7_TICKET_H
#define L7_TICKET_H

#include <openssl/ssl.h>
#include <stdint.h>

#define TICKET_KEYS_MAX 8
#define TICKET_NAME_LEN 16

struct ticket_key {
	uint8_t name[TICKET_NAME_LEN]; /* public: stands in the ticket */
	uint8_t aes[32];	       /* AES-256-CBC */
	uint8_t mac[32];	       /* HMAC-SHA-256 */
};

struct ticket_keys {
	uint32_t n; /* 1..TICKET_KEYS_MAX; key[0] seals */
	struct ticket_key key[TICKET_KEYS_MAX];
};

void tickets_set(const struct ticket_keys *keys); /* copies; the caller wipes its own */
/* Makes an SSL_CTX use them (SSL_CTX_set_tlsext_ticket_key_evp_cb). */
void tickets_use(SSL_CTX *ctx);

#endif
