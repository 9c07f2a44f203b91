/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is known of a client's certificate once the handshake is over, and OpenSSL's part of it freed: the certificate
 * itself, for backends, and whose it is, for logs.  It stays with the connection, and travels with it as these octets:
 *
 *    0 rules: what its edge asked for (l7/tls/cert_rules.h), CERT_RULES_LEN
 *   32 the client's certificate, DER; then those between it and its CA, if the edge forwards them; nothing: it showed none
 *
 * Pure but for OpenSSL's parser of certificates, which the client's alone goes through: the others are only passed on.
 */
#ifndef L7_TLS_CERT_FACT_H
#define L7_TLS_CERT_FACT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CERT_RULES_LEN 32
#define CERT_FACT_MAX (12u << 10) /* of it all */

/* Of a handshake on an edge that asks for a certificate. */
enum cert_outcome {
	CERT_VERIFIED,
	CERT_NONE,	 /* none was shown, and none is required */
	CERT_MISSING,	 /* none was shown */
	CERT_UNKNOWN_CA, /* no chain to a CA of the edge's, or too long a one */
	CERT_EXPIRED,	 /* or not valid yet */
	CERT_REVOKED,
	CERT_NO_CRL,	 /* a CA of the chain has no list of revoked certificates here, or an old one */
	CERT_INVALID,	 /* another fault of the certificate */
	CERT_OUTCOMES
};

struct cert_fact {
	char *subject; /* RFC 4514, printable ASCII; NULL: none was shown */
	uint8_t sha256[32];
	uint32_t n, n_leaf; /* of octets; of the client's certificate: 0: none */
	uint8_t octets[];
};

/* NULL: octets that no fact has, or no memory. */
struct cert_fact *cert_fact_new(const uint8_t *octets, size_t n);
void cert_fact_free(struct cert_fact *f);

/* The i-th certificate of n octets of DER, one behind the other; false: there is none.  *der and *len: of it. */
bool cert_der(const uint8_t *p, size_t n, unsigned i, const uint8_t **der, size_t *len);

/* Client-Cert and Client-Cert-Chain for a backend (RFC 9440), with CRLF behind each; nothing where none was shown. */
size_t cert_fact_fields_len(const struct cert_fact *f);
size_t cert_fact_fields(const struct cert_fact *f, char *out);

const char *cert_outcome_name(enum cert_outcome outcome);

#endif
