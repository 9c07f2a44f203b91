/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What an edge asks of its clients' certificates (`client` of its `tls` in pop.yaml): which CAs, whether one is required, how long
 * a chain may be, which are revoked.  Immutable, shared by the edge's contexts.
 *
 *  1. OpenSSL asks in the handshake and verifies; what does not verify ends it with the alert that RFC 8446 4.4.2.4 and 6.2 name.
 *  2. The rules have a name: a digest of all that they say, CAs and revoked ones included.  A connection and a session ticket belong
 *     to the rules under which they were verified, and are worth nothing under others: neither here after a change, nor
 *     on a host where the rules are not the same.
 *  3. A ticket says how long its chain is valid and, where chains are forwarded, what it was; the certificate is part of OpenSSL's
 *     session.  It opens until the first of the chain ends, or the first list of revoked certificates.
 */
#ifndef L7_TLS_CERT_RULES_H
#define L7_TLS_CERT_RULES_H

#include <openssl/ssl.h>

#include "l7/conf.h"
#include "l7/tls/cert_fact.h"

struct cert_rules;

/* NULL and why: a file cannot be read, or holds nothing of its kind. */
struct cert_rules *cert_rules_new(const struct client_cert_conf *conf, char *why, size_t why_len);
void cert_rules_free(struct cert_rules *r);
/* 0 or -EIO. They must outlive ctx, which takes the tickets' callbacks and the name of its sessions from them. */
int cert_rules_use(struct cert_rules *r, SSL_CTX *ctx);

/* Of a handshake that is done.  NULL: no memory, or it should not be done. */
struct cert_fact *cert_rules_fact(const struct cert_rules *r, SSL *ssl);
/* Of one that has failed, and OpenSSL's error of that is the last: CERT_OUTCOMES: not for the certificate.  *why: a constant text. */
enum cert_outcome cert_rules_refused(const SSL *ssl, const char **why);

/* Was this fact (octets of cert_fact) learnt under these rules?  NULL: nothing is asked; 0 octets: nothing was. */
bool cert_rules_agree(const struct cert_rules *r, const uint8_t *octets, size_t n);
bool cert_rules_same(const struct cert_rules *a, const struct cert_rules *b);
/* When the first list of revoked certificates ends, in seconds since the epoch; 0: there is none. */
int64_t cert_rules_crl_expires(const struct cert_rules *r);

#endif
