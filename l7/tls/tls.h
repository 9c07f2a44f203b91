/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * TLS of client connections: OpenSSL's handshake over memory BIOs, TLS 1.2 and 1.3 with AEAD suites only, no
 * renegotiation, no early data, no compression.  Once the handshake is done, OpenSSL's part is freed and records
 * are opened and sealed by l7/tls/record.h.
 */
#ifndef L7_TLS_TLS_H
#define L7_TLS_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "l7/buffer.h"
#include "l7/conf.h"
#include "l7/tls/cert_fact.h"
#include "l7/tls/record.h"

struct cert_rules; /* l7/tls/cert_rules.h */
struct ktls;
struct tls_client; /* l7/tls/tls_client.h */
struct tls_context; /* of an edge: its certificates by name; immutable */
struct tls;	    /* of a connection */

/*
 * Reads every NAME.pem (chain and key) of the edge's directory.  A name is found by the certificates' DNS names,
 * exact before wildcard; the first file by name answers for unknown ones.  NULL and why.
 */
struct tls_context *tls_context_new(const struct edge_conf *conf, char *why, size_t why_len);
void tls_context_free(struct tls_context *t);
/* Certificates, and the soonest end of one, in seconds since the epoch. */
void tls_context_facts(const struct tls_context *t, unsigned *n, int64_t *expires);
/* What is asked of clients' certificates; NULL: nothing, or there is no t. */
const struct cert_rules *tls_context_rules(const struct tls_context *t);

struct tls *tls_accept(struct tls_context *context); /* context must outlive it */
struct tls *tls_connect(struct tls_client *to); /* as the client; tls_handshake(), with nothing in raw, begins */
void tls_free(struct tls *t);

/* 0: done; -EAGAIN: more of raw is needed; -EPROTO: failed.  What is to be sent is put into out in any case. */
int tls_handshake(struct tls *t, struct buffer *raw, struct buffer *out);
bool tls_done(const struct tls *t);
bool tls_ended(const struct tls *t); /* close_notify or an alert came */
/* Of a handshake that failed: why, as text that lives as long as t; with a client: for its certificate? CERT_OUTCOMES: no. */
const char *tls_failure(const struct tls *t);
enum cert_outcome tls_refused(const struct tls *t);
/* As record_open and record_seal (l7/tls/record.h): 0, -EAGAIN, -EPIPE (close_notify), others: fatal. */
int tls_open(struct tls *t, struct buffer *raw, struct buffer *plain, size_t plain_max, struct buffer *reply);
int tls_seal(struct tls *t, const void *p, size_t n, struct buffer *out, size_t out_max);
int tls_close_notify(struct tls *t, struct buffer *out);
/* The kernel seals from now on (l7/tls/ktls.h): as ktls_begin().  Then tls_state(), for what of ktls.h wants it, without write.seq; and
 * what the kernel cannot say: a KeyUpdate that was asked for, an alert, once. */
int tls_seal_below(struct tls *t, int fd, uint64_t plain, struct ktls *k);
const struct record_state *tls_state(const struct tls *t);
bool tls_owed_alert(struct tls *t, uint8_t alert[2]);

/* A connection moves: what its TLS is once the handshake is done (the caller wipes it), and TLS made from that; NULL: it
 * is no state of ours.  The certificate is its TLS's from then on, and is freed with NULL too. */
void tls_export(const struct tls *t, struct record_state *state);
struct tls *tls_import(const struct record_state *state, const char *server_name, size_t n_name, const char *alpn, size_t n_alpn,
		       struct cert_fact *certificate);

bool tls_is_h2(const struct tls *t); /* by ALPN */
bool tls_resumed(const struct tls *t);
const char *tls_version(const struct tls *t);
const char *tls_alpn(const struct tls *t);	  /* "" without, or what was chosen is none that we know */
const char *tls_server_name(const struct tls *t); /* "" without */
const struct cert_fact *tls_certificate(const struct tls *t); /* NULL: the edge asks for none */

#endif
