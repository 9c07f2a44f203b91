/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Cipher contexts, cached per thread.  A keyed EVP context is a kilobyte, a key schedule a quarter of a
 * microsecond: busy connections keep theirs, idle ones lose it to others.  Private to l7/tls/record.c.
 *
 * A key is named by a number that is never used twice in the process, so that a context left behind by
 * another thread, a freed connection or an old key is never mistaken for the right one.
 */
#ifndef L7_TLS_RECORD_CONTEXT_H
#define L7_TLS_RECORD_CONTEXT_H

#include <openssl/evp.h>
#include <stdint.h>

/* One direction's hold on a context. */
struct record_context {
	uint64_t name;	 /* of the key; 0: none yet */
	uint32_t slot;
};

void context_new_key(struct record_context *c); /* the key has changed */
/* A context with that key, `iv` set, ready to seal or to open; NULL: no memory. */
EVP_CIPHER_CTX *context_get(struct record_context *c, int cipher, const uint8_t *key, const uint8_t *iv, int seal);
void context_drop(struct record_context *c); /* wipes what this thread holds of it */

#endif
