/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The TLS record layer after OpenSSL's handshake: ours, over OpenSSL's EVP, because a connection that
 * moves takes its keys and sequence numbers along and the public API cannot set them.  TLS 1.3
 * (RFC 8446 section 5; AES-128/256-GCM, ChaCha20-Poly1305) and the AEAD suites of TLS 1.2 (RFC 5288,
 * RFC 7905).  KeyUpdate both ways, close_notify, alerts, record size limits, partial records.
 *
 * One struct record is both directions of one connection.  All of it is data (struct record_state can
 * be exported and imported); nothing points anywhere but the two cipher contexts, which are made anew.
 */
#ifndef L7_RECORD_H
#define L7_RECORD_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "l7/buffer.h"

#define RECORD_PLAIN_MAX 16384
#define RECORD_SECRET_MAX 48
#define RECORD_KEY_MAX 32
#define RECORD_IV_MAX 12

enum record_cipher { RECORD_AES_128_GCM, RECORD_AES_256_GCM, RECORD_CHACHA20_POLY1305 };

struct record_direction {
	uint8_t secret[RECORD_SECRET_MAX]; /* TLS 1.3: traffic secret, for KeyUpdate; else empty */
	uint8_t key[RECORD_KEY_MAX];
	uint8_t iv[RECORD_IV_MAX];	   /* TLS 1.2 GCM: the first 4 bytes are the implicit part */
	uint64_t seq;
};

/* Everything that a connection's TLS is, once the handshake is over. */
struct record_state {
	uint16_t version; /* 0x0303, 0x0304 */
	uint16_t suite;	  /* IANA number */
	uint8_t cipher;	  /* enum record_cipher */
	uint8_t secret_len;
	struct record_direction read, write;
	bool read_closed, write_closed; /* close_notify received, sent */
	uint16_t key_updates;		/* received of late; rate-limited */
};

struct record; /* state, cipher contexts, and the rest of a partial handshake message */

/* From a finished OpenSSL handshake (memory BIOs, read BIO drained by the caller).  secrets come from the
 * keylog callback, write_seq from counting records after the client's Finished (see PLATFORM notes in docs). */
int record_from_ssl(SSL *ssl, const uint8_t *client_secret, const uint8_t *server_secret, size_t secret_len,
		    uint64_t read_seq, uint64_t write_seq, struct record **out);
int record_import(const struct record_state *state, struct record **out);
void record_export(const struct record *r, struct record_state *state); /* the caller wipes it */
void record_free(struct record *r);					/* wipes */

/* Opens as many whole records of `raw` as there are (and room in `plain`, up to max); replies (KeyUpdate, alerts)
 * are sealed into `reply`.  0, -EAGAIN: more bytes are needed, -EPIPE: close_notify, -EBADMSG and others: fatal (an alert
 * is in reply). */
int record_open(struct record *r, struct buffer *raw, struct buffer *plain, size_t plain_max, struct buffer *reply);
/* Seals n bytes as application data. */
int record_seal(struct record *r, const void *plain, size_t n, struct buffer *raw, size_t raw_max);
int record_close_notify(struct record *r, struct buffer *raw);
int record_key_update(struct record *r, bool request, struct buffer *raw);

#endif
