/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The TLS record layer after OpenSSL's handshake: ours, over OpenSSL's EVP, because a connection that
 * moves takes its keys and sequence numbers along and the public API cannot set them.  TLS 1.3
 * (RFC 8446 section 5; AES-128/256-GCM, ChaCha20-Poly1305) and the AEAD suites of TLS 1.2 (RFC 5288,
 * RFC 7905).  KeyUpdate both ways, close_notify, alerts, record size limits, partial records.
 *
 * One struct record_layer is both directions of one connection, and all of it is data: struct
 * record_state can be exported and imported at any moment between two calls.  Cipher contexts are no
 * part of it.  They are a cache of the thread (RECORD_CONTEXTS of them), made anew from the keys
 * when they are missed, so that an idle connection costs a few hundred bytes and nothing of OpenSSL's.
 *
 * A layer may be used by one thread at a time; which thread does not matter.
 */
#ifndef L7_TLS_RECORD_H
#define L7_TLS_RECORD_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "l7/buffer.h"

#define RECORD_PLAIN_MAX 16384
#define RECORD_SECRET_MAX 48
#define RECORD_KEY_MAX 32
#define RECORD_IV_MAX 12
/* What one record may need in `plain` (RFC 8446 section 5.2: the type's byte and padding count). */
#define RECORD_OPEN_ROOM (RECORD_PLAIN_MAX + 1)
#define RECORD_WIRE_MAX (5 + RECORD_PLAIN_MAX + 256) /* the longest record on the wire that is taken */
#define RECORD_REPLY_MAX 64	 /* what one call of record_open may add to `reply`: one KeyUpdate, one alert */
#define RECORD_CONTEXTS 1024	 /* cipher contexts a thread keeps, about 1 KB each, made when first needed */
#define RECORD_NUISANCE_MAX 32	 /* KeyUpdates, empty records, warnings in a row that a peer may send ... */
#define RECORD_NUISANCE_REPAID 4 /* ... and how many records with data pay for one */
#define RECORD_REKEY_AFTER (1u << 23) /* TLS 1.3: records sealed with one key, of 2^24.5 (RFC 8446 section 5.5) */

enum record_cipher { RECORD_AES_128_GCM, RECORD_AES_256_GCM, RECORD_CHACHA20_POLY1305 };

struct record_direction {
	uint8_t secret[RECORD_SECRET_MAX]; /* TLS 1.3: traffic secret, for KeyUpdate; else zero */
	uint8_t key[RECORD_KEY_MAX];
	uint8_t iv[RECORD_IV_MAX]; /* TLS 1.2 GCM: the first 4 bytes are the implicit part */
	uint64_t seq;
};

/* Everything that a connection's TLS is, once the handshake is over. */
struct record_state {
	uint16_t version; /* 0x0303, 0x0304 */
	uint16_t suite;	  /* IANA number */
	uint8_t cipher;	  /* enum record_cipher */
	uint8_t secret_len;
	uint16_t plain_max;	/* bytes of data in a record that we seal: the client may have asked for less (RFC 6066) */
	bool client;		/* we are the client of this connection */
	bool read_closed;	/* close_notify or an alert came: nothing more is opened */
	bool write_closed;	/* close_notify or an alert was sealed: nothing more is sealed */
	bool failed;		/* the connection is lost: what was refused was answered by an alert */
	bool owes_update;	/* the peer asked for a KeyUpdate (RFC 8446 section 4.6.3): said before anything else is sealed */
	uint8_t head[4];	/* a handshake message's header that a record ended in, head_len bytes of it */
	uint8_t head_len;
	uint32_t body_left;	/* bytes of that message's body still to come */
	uint16_t nuisances;	/* of late, by RECORD_NUISANCE_MAX and _REPAID */
	uint16_t repaid;	/* records with data since the last one was repaid */
	struct record_direction read, write;
};

struct record_layer;

/* --- From OpenSSL's handshake ------------------------------------------------------------------------
 *
 *   SSL_CTX: record_capture_ctx(ctx) once (takes its keylog and message callbacks).
 *   SSL:     record_capture(ssl, &capture) before the handshake, on memory BIOs;
 *            after SSL_accept or SSL_connect said 1, at once (before any SSL_read or SSL_write of data):
 *            record_from_capture(ssl, &capture, &layer), move what is left in the read BIO to `raw`
 *            and what is in the write BIO to the output, SSL_free.
 * The capture holds secrets: record_capture_wipe() when the handshake fails (from_capture wipes it itself).
 */
struct record_capture {
	uint8_t client_secret[RECORD_SECRET_MAX], server_secret[RECORD_SECRET_MAX]; /* TLS 1.3, application */
	uint8_t client_len, server_len;
	bool read_finished, write_finished; /* the peer's Finished came; ours went */
	uint64_t read_seq, write_seq;	    /* records under the application keys so far */
};

void record_capture_ctx(SSL_CTX *ctx);
/* For servers, cheaper: a context with our own key schedule where that can be, prepared as by record_capture_ctx(), and
 * the SSL_accept() of its connections, which it needs. */
SSL_CTX *record_server_ctx(void);
int record_accept(SSL *ssl, struct record_capture *capture);
int record_capture(SSL *ssl, struct record_capture *capture);
int record_from_capture(SSL *ssl, struct record_capture *capture, struct record_layer **out);
void record_capture_wipe(struct record_capture *capture);
/* The same with everything given.  TLS 1.2 needs no secrets and has both sequence numbers at 1.
 * -EPROTONOSUPPORT: not a suite or version of ours. */
int record_from_ssl(SSL *ssl, const uint8_t *client_secret, const uint8_t *server_secret, size_t secret_len,
		    uint64_t read_seq, uint64_t write_seq, struct record_layer **out);
/* The OpenSSL lists of what this layer speaks: for SSL_CTX_set_ciphersuites and SSL_CTX_set_cipher_list. */
#define RECORD_SUITES_13 "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define RECORD_SUITES_12 "ECDHE+AESGCM:ECDHE+CHACHA20"

/* --- Life ---------------------------------------------------------------------------------------------- */
int record_import(const struct record_state *state, struct record_layer **out); /* -EINVAL: no state of ours */
void record_export(const struct record_layer *r, struct record_state *state);	/* the caller wipes it */
void record_free(struct record_layer *r);					/* wipes; NULL allowed */
void record_thread_end(void); /* the calling thread's cipher contexts; before it ends */
const struct record_state *record_peek(const struct record_layer *r);
/*
 * From here on the kernel seals (l7/tls/ktls.h), with this key, and this layer opens only: record_seal, _key_update and
 * _close_notify are -EPIPE, `reply` gets nothing.  A KeyUpdate that is asked for is owed until the connection lives elsewhere: an
 * export with write.seq as the kernel has it.  Alerts are the caller's to send: record_owed_alert() gives each once, level and name.
 */
void record_seals_elsewhere(struct record_layer *r);
bool record_owed_alert(struct record_layer *r, uint8_t alert[2]);

/* --- Records -------------------------------------------------------------------------------------------
 *
 * Opens whole records of `raw` while there are any and `plain` has room for the next (RECORD_OPEN_ROOM always
 * suffices; `plain` never exceeds plain_max).  Data may have been added whatever is returned:
 *   0              a whole record is left in `raw` because `plain` is full
 *   -EAGAIN        more bytes are needed
 *   -EPIPE         close_notify: the peer will send nothing more
 *   -ECONNABORTED  the peer's alert: it gave up
 *   -EBADMSG, -EPROTO, -EMSGSIZE, -ENOBUFS   fatal: the peer is wrong or floods us (an alert is in reply)
 *   -ENOMEM
 * `reply` gets answers (KeyUpdate, alerts) RECORD_REPLY_MAX more bytes at most.  ★ What is sealed must leave in the
 * order of sealing: `reply` is the buffer that record_seal fills, or is sent before anything sealed later.
 */
int record_open(struct record_layer *r, struct buffer *raw, struct buffer *plain, size_t plain_max,
		struct buffer *reply);
/* Seals n bytes as application data, in as many records as that takes: whole or not at all (-ENOBUFS, -ENOMEM; -EPIPE
 * after close_notify or failure).  The sealing copies from plain to raw, nothing else does. */
int record_seal(struct record_layer *r, const void *plain, size_t n, struct buffer *raw, size_t raw_max);
/* How much n bytes will be once they are sealed; how many bytes fit, sealed, into room. */
size_t record_sealed_len(const struct record_layer *r, size_t n);
size_t record_seal_fits(const struct record_layer *r, size_t room);
int record_close_notify(struct record_layer *r, struct buffer *raw); /* once; further calls do nothing */
/* A fatal alert (RFC 8446 section 6.2) by the caller's own reason, e.g. 80 internal_error; nothing is sealed after it. */
int record_alert(struct record_layer *r, uint8_t alert, struct buffer *raw);
int record_key_update(struct record_layer *r, bool request, struct buffer *raw); /* -EOPNOTSUPP: TLS 1.2 */

/* --- The state as bytes (big-endian), as it travels in a move ---------------------------------------------
 *
 *   0 u8 format 1 | 1 u8 flags (1 client, 2 read_closed, 4 write_closed, 8 failed, 16 owes_update) | 2 be16 version | 4 be16 suite
 *   6 u8 cipher | 7 u8 secret_len | 8 be16 nuisances | 10 be16 repaid | 12 u8 head_len | 13 u8 zero
 *   14 be16 plain_max | 16 [4] head
 *   20 be32 body_left | 24 read direction | 124 write direction
 *   direction: 0 be64 seq | 8 [48] secret | 56 [32] key | 88 [12] iv
 */
#define RECORD_STATE_LEN 224
#define RECORD_STATE_FORMAT 1
void record_state_put(const struct record_state *state, uint8_t out[RECORD_STATE_LEN]);
int record_state_get(const uint8_t *p, size_t len, struct record_state *state); /* -EINVAL: not what put makes */

#endif
