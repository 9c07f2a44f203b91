/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Keys of the record layer: TLS 1.3's schedule from a traffic secret on (RFC 8446 section 7), TLS 1.2's
 * key block (RFC 5246 section 6.3), and which suites there are.  Private to l7/record*.c and tests.
 */
#ifndef L7_TLS_RECORD_KEYS_H
#define L7_TLS_RECORD_KEYS_H

#include "l7/tls/record.h"

struct record_suite {
	uint16_t version, number; /* the version it belongs to; IANA */
	uint8_t cipher;		  /* enum record_cipher */
	uint8_t secret_len;	  /* of its hash: SHA-256 or SHA-384 */
	uint8_t key_len, iv_len;  /* iv: as derived; TLS 1.2 GCM derives 4 bytes */
};

const struct record_suite *record_suite(uint16_t version, uint16_t number); /* NULL: not ours */

/* SHA-256 or SHA-384, by the length; HMAC with it.  out: hash_len bytes.  0 or -ENOMEM. */
int record_hash(uint8_t hash_len, const void *p, size_t n, uint8_t *out);
int record_hmac(uint8_t hash_len, const uint8_t *key, size_t n_key, const void *p, size_t n, uint8_t *out);
void record_keys_thread_end(void); /* what the calling thread keeps for them */

/* HKDF-Expand-Label(secret, label, "", len) for len <= secret_len. 0 or -ENOMEM. */
int record_expand_label(uint8_t secret_len, const uint8_t *secret, const char *label, uint8_t *out, uint8_t len);
/* Key and iv from d->secret; seq := 0. */
int record_derive(const struct record_suite *suite, struct record_direction *d);
/* The next secret ("traffic upd") and its key and iv. */
int record_derive_next(const struct record_suite *suite, struct record_direction *d);
/* TLS 1.2: both directions' keys from the master secret.  `client`: we are. */
int record_derive_12(const struct record_suite *suite, const uint8_t master[48], const uint8_t client_random[32],
		     const uint8_t server_random[32], bool client, struct record_direction *read,
		     struct record_direction *write);

#endif
