/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * TLS towards a pool's backends: what is believed of their certificates, and as whom they are called.  Immutable, shared by
 * workers and checks, counted.  Connections are struct tls as on the client's side (l7/tls/tls.h): OpenSSL for the handshake,
 * the record layer of our own afterwards.
 */
#ifndef L7_TLS_TLS_CLIENT_H
#define L7_TLS_TLS_CLIENT_H

#include <openssl/ssl.h>

#include "l7/conf.h"

struct tls_client;

/* NULL and why: the CA file cannot be read. */
struct tls_client *tls_client_new(const struct pool_conf *conf, char *why, size_t why_len);
struct tls_client *tls_client_ref(struct tls_client *t);
void tls_client_unref(struct tls_client *t);
SSL *tls_client_ssl(struct tls_client *t); /* ready to connect; NULL: no memory */
/* What went wrong in the handshake that failed last in this thread: the certificate's fault before OpenSSL's own words. */
const char *tls_client_why(const SSL *ssl);

#endif
