/* SPDX-License-Identifier: BSD-2-Clause */
/* What sessions need of OpenSSL: connections that present our identity, the peer's, and reasons in words. */
#ifndef BASE_TLS_H
#define BASE_TLS_H

#include <openssl/ssl.h>
#include <stdbool.h>

#include "base/session.h"

/* A connection over fd with our present certificate, or NULL. */
SSL *tls_connection(struct tls_identity *t, int fd, bool server);
/* The verified peer's identity, and that it is of our POP.  0 or -EACCES and why. */
int tls_peer(const struct tls_identity *t, SSL *ssl, struct identity *out, char *why, size_t why_len);
/* Why an SSL_* call that returned `rc` failed, in an operator's words.  Empties OpenSSL's error queue. */
void tls_why(SSL *ssl, int rc, char *why, size_t why_len);

/* The identity in a certificate: exactly one URI name of our form.  0 or -EINVAL. */
int tls_certificate_identity(X509 *cert, struct identity *out);
int64_t tls_certificate_end(const X509 *cert);

#endif
