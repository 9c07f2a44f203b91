/* SPDX-License-Identifier: BSD-2-Clause */
/* What is known of a client's certificate.  See cert_fact.h. */
#include "l7/tls/cert_fact.h"

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#define SUBJECT_MAX 512 /* what is longer is cut */

static const char leaf_name[] = "Client-Cert: ", chain_name[] = "Client-Cert-Chain: ";
#define LEN(text) (sizeof(text) - 1)

/* X.690 10.1: a SEQUENCE of definite length, in as few octets as can be.  Its length with its head; 0: it is none. */
static size_t der_len(const uint8_t *p, size_t n)
{
	size_t len, head = 2, i;

	if (n < 2 || p[0] != 0x30)
		return 0;
	len = p[1];
	if (len & 0x80) {
		head += len & 0x7f;
		if (head < 3 || head > 5 || n < head || !p[2])
			return 0;
		for (len = 0, i = 2; i < head; i++)
			len = len << 8 | p[i];
		if (len < 0x80)
			return 0;
	}
	return len <= n - head ? head + len : 0;
}

bool cert_der(const uint8_t *p, size_t n, unsigned i, const uint8_t **der, size_t *len)
{
	while ((*len = der_len(p, n)) && i--) {
		p += *len;
		n -= *len;
	}
	*der = p;
	return *len;
}

/* Of all that stands behind the rules. */
static bool all_der(const uint8_t *p, size_t n)
{
	size_t len;

	for (; n; p += len, n -= len) {
		len = der_len(p, n);
		if (!len)
			return false;
	}
	return true;
}

static char *subject_of(X509 *x)
{
	BIO *out = BIO_new(BIO_s_mem());
	char *text = NULL, *at;
	long n;

	/* RFC 2253's form escapes what is not printable ASCII. */
	if (out && X509_NAME_print_ex(out, X509_get_subject_name(x), 0, XN_FLAG_RFC2253) >= 0) {
		n = BIO_get_mem_data(out, &at);
		text = n >= 0 ? strndup(n ? at : "", n < SUBJECT_MAX ? (size_t)n : SUBJECT_MAX) : NULL;
	}
	BIO_free(out);
	return text;
}

static bool read_leaf(struct cert_fact *f)
{
	const uint8_t *at = f->octets + CERT_RULES_LEN;
	X509 *x;

	f->n_leaf = (uint32_t)der_len(at, f->n - CERT_RULES_LEN);
	SHA256(at, f->n_leaf, f->sha256);
	x = d2i_X509(NULL, &at, (long)f->n_leaf);
	if (x && at == f->octets + CERT_RULES_LEN + f->n_leaf)
		f->subject = subject_of(x);
	X509_free(x);
	return f->subject;
}

struct cert_fact *cert_fact_new(const uint8_t *octets, size_t n)
{
	struct cert_fact *f;

	if (n < CERT_RULES_LEN || n > CERT_FACT_MAX || !all_der(octets + CERT_RULES_LEN, n - CERT_RULES_LEN))
		return NULL;
	f = calloc(1, sizeof(*f) + n);
	if (!f)
		return NULL;
	memcpy(f->octets, octets, n);
	f->n = (uint32_t)n;
	if (n > CERT_RULES_LEN && !read_leaf(f)) {
		cert_fact_free(f);
		return NULL;
	}
	return f;
}

void cert_fact_free(struct cert_fact *f)
{
	if (f)
		free(f->subject);
	free(f);
}

/* RFC 8941 3.3.5: a byte sequence. */
static size_t sequence_len(size_t n)
{
	return (n + 2) / 3 * 4 + 2;
}

static size_t put_sequence(char *out, const uint8_t *der, size_t n)
{
	size_t len = 1;

	out[0] = ':';
	len += (size_t)EVP_EncodeBlock((unsigned char *)out + 1, der, (int)n);
	out[len] = ':'; /* over its zero */
	return len + 1;
}

size_t cert_fact_fields_len(const struct cert_fact *f)
{
	const uint8_t *chain = f->octets + CERT_RULES_LEN + f->n_leaf, *der;
	size_t n_chain = f->n - CERT_RULES_LEN - f->n_leaf, len, n;
	unsigned i;

	if (!f->n_leaf)
		return 0;
	n = LEN(leaf_name) + sequence_len(f->n_leaf) + 2;
	for (i = 0; cert_der(chain, n_chain, i, &der, &len); i++)
		n += (i ? LEN(", ") : LEN(chain_name) + 2) + sequence_len(len);
	return n;
}

static size_t put(char *out, const char *text, size_t n)
{
	memcpy(out, text, n);
	return n;
}

size_t cert_fact_fields(const struct cert_fact *f, char *out)
{
	const uint8_t *chain = f->octets + CERT_RULES_LEN + f->n_leaf, *der;
	size_t n_chain = f->n - CERT_RULES_LEN - f->n_leaf, len;
	char *at = out;
	unsigned i;

	if (!f->n_leaf)
		return 0;
	at += put(at, leaf_name, LEN(leaf_name));
	at += put_sequence(at, f->octets + CERT_RULES_LEN, f->n_leaf);
	at += put(at, "\r\n", 2);
	for (i = 0; cert_der(chain, n_chain, i, &der, &len); i++) {
		at += i ? put(at, ", ", LEN(", ")) : put(at, chain_name, LEN(chain_name));
		at += put_sequence(at, der, len);
	}
	if (i)
		at += put(at, "\r\n", 2);
	return (size_t)(at - out);
}

const char *cert_outcome_name(enum cert_outcome outcome)
{
	static const char *const name[CERT_OUTCOMES] = { "verified", "none",	"missing", "unknown_ca",
							 "expired",  "revoked", "no_crl",  "invalid" };

	return name[outcome];
}
