/* SPDX-License-Identifier: BSD-2-Clause */
/* What an edge asks of its clients' certificates.  See cert_rules.h. */
#include "l7/tls/cert_rules.h"

#include <endian.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "l7/tls/pem_files.h"

#define FOREVER INT64_MAX
#define UNTIL_LEN 8 /* of a ticket's data; the chain's DER follows */

struct cert_rules {
	uint8_t name[CERT_RULES_LEN];
	X509_STORE *store;
	STACK_OF(X509) *ca; /* their names are sent: clients choose by them */
	bool required, chain;
	uint8_t depth;
	int64_t crl_expires; /* FOREVER: none */
};

/* --- reading ------------------------------------------------------------------------------------------------------------- */

struct reading {
	struct cert_rules *r;
	bool crl; /* else CAs */
	uint8_t (*digest)[SHA256_DIGEST_LENGTH];
	size_t n;
	char *why;
	size_t why_len;
};

static int64_t seconds(const ASN1_TIME *t)
{
	struct tm tm;

	return t && ASN1_TIME_to_tm(t, &tm) ? (int64_t)timegm(&tm) : FOREVER;
}

static int64_t sooner(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static bool note(struct reading *g, const unsigned char *der, int n)
{
	uint8_t (*grown)[SHA256_DIGEST_LENGTH] = n > 0 ? reallocarray(g->digest, g->n + 1, sizeof(*grown)) : NULL;

	if (!grown)
		return false;
	g->digest = grown;
	SHA256(der, (size_t)n, g->digest[g->n++]);
	return true;
}

static bool add(struct reading *g, X509_INFO *info)
{
	struct cert_rules *r = g->r;
	unsigned char *der = NULL;
	bool ok = true;
	int n;

	if (g->crl && info->crl) {
		n = i2d_X509_CRL(info->crl, &der);
		ok = note(g, der, n) && X509_STORE_add_crl(r->store, info->crl);
		r->crl_expires = sooner(r->crl_expires, seconds(X509_CRL_get0_nextUpdate(info->crl)));
	} else if (!g->crl && info->x509) {
		n = i2d_X509(info->x509, &der);
		ok = note(g, der, n) && X509_STORE_add_cert(r->store, info->x509) &&
		     X509_add_cert(r->ca, info->x509, X509_ADD_FLAG_UP_REF | X509_ADD_FLAG_NO_DUP);
	}
	OPENSSL_free(der);
	return ok;
}

static int read_file(const char *path, void *ctx)
{
	struct reading *g = ctx;
	BIO *in = BIO_new_file(path, "r");
	STACK_OF(X509_INFO) *all = in ? PEM_X509_INFO_read_bio(in, NULL, pem_no_password, NULL) : NULL;
	size_t had = g->n;
	bool ok = all;
	int i;

	for (i = 0; ok && i < sk_X509_INFO_num(all); i++)
		ok = add(g, sk_X509_INFO_value(all, i));
	sk_X509_INFO_pop_free(all, X509_INFO_free);
	BIO_free(in);
	if (ok && g->n > had)
		return 0;
	snprintf(g->why, g->why_len, "%s: no %s in it: %s", path, g->crl ? "list of revoked certificates" : "certificate of a CA",
		 !in ? strerror(errno) : ok ? "nothing of the kind" : ERR_reason_error_string(ERR_peek_last_error()));
	return -EINVAL;
}

static int by_octets(const void *a, const void *b)
{
	return memcmp(a, b, SHA256_DIGEST_LENGTH);
}

/* In which files, and in which order, does not matter. */
static bool read_all(struct reading *g, const char *path, EVP_MD_CTX *name)
{
	size_t i;

	g->n = 0;
	ERR_clear_error();
	if (pem_files(path, read_file, g, g->why, g->why_len))
		return false;
	qsort(g->digest, g->n, sizeof(*g->digest), by_octets);
	for (i = 0; i < g->n; i++)
		if (!i || memcmp(g->digest[i - 1], g->digest[i], sizeof(*g->digest)))
			EVP_DigestUpdate(name, g->digest[i], sizeof(*g->digest));
	return EVP_DigestUpdate(name, ".", 1);
}

struct cert_rules *cert_rules_new(const struct client_cert_conf *conf, char *why, size_t why_len)
{
	struct cert_rules *r = calloc(1, sizeof(*r));
	EVP_MD_CTX *name = EVP_MD_CTX_new();
	struct reading g = { .r = r, .why = why, .why_len = why_len };
	uint8_t asked[3] = { conf->verify == CLIENT_CERT_REQUIRED, conf->depth, conf->chain };
	bool ok;

	if (!r || !name)
		abort();
	r->required = asked[0];
	r->depth = conf->depth;
	r->chain = conf->chain;
	r->crl_expires = FOREVER;
	r->store = X509_STORE_new();
	r->ca = sk_X509_new_null();
	snprintf(why, why_len, "out of memory");
	ok = r->store && r->ca && EVP_DigestInit_ex(name, EVP_sha256(), NULL) &&
	     EVP_DigestUpdate(name, "baton client certificate", 24) && EVP_DigestUpdate(name, asked, sizeof(asked)) &&
	     read_all(&g, conf->ca, name);
	if (ok && *conf->crl) {
		g.crl = true;
		/* As others have it: of every certificate of the chain. */
		ok = X509_STORE_set_flags(r->store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL) && read_all(&g, conf->crl, name);
	}
	ok = ok && EVP_DigestFinal_ex(name, r->name, NULL);
	EVP_MD_CTX_free(name);
	free(g.digest);
	if (!ok) {
		cert_rules_free(r);
		return NULL;
	}
	return r;
}

void cert_rules_free(struct cert_rules *r)
{
	if (!r)
		return;
	X509_STORE_free(r->store);
	sk_X509_pop_free(r->ca, X509_free);
	free(r);
}

int64_t cert_rules_crl_expires(const struct cert_rules *r)
{
	return r->crl_expires == FOREVER ? 0 : r->crl_expires;
}

bool cert_rules_agree(const struct cert_rules *r, const uint8_t *octets, size_t n)
{
	if (!r || !n)
		return !r && !n;
	return n >= CERT_RULES_LEN && !memcmp(octets, r->name, CERT_RULES_LEN) && (!r->required || n > CERT_RULES_LEN);
}

bool cert_rules_same(const struct cert_rules *a, const struct cert_rules *b)
{
	return a && b ? !memcmp(a->name, b->name, CERT_RULES_LEN) : a == b;
}

/* --- the chain, as octets --------------------------------------------------------------------------------------------- */

static bool put_der(uint8_t *out, size_t *n, X509 *x)
{
	uint8_t *at = out + *n;
	int len = i2d_X509(x, NULL);

	if (len <= 0 || (size_t)len > CERT_FACT_MAX - *n)
		return false;
	*n += (size_t)i2d_X509(x, &at);
	return true;
}

/* Those between the client's and its CA's own, behind the n octets that are there.  All of them, or none where they are too many. */
static void put_chain(const struct cert_rules *r, SSL *ssl, uint8_t *out, size_t *n)
{
	STACK_OF(X509) *chain = r->chain ? SSL_get0_verified_chain(ssl) : NULL;
	size_t had = *n;
	int i;

	for (i = 1; chain && i < sk_X509_num(chain) - 1; i++)
		if (!put_der(out, n, sk_X509_value(chain, i))) {
			*n = had;
			return;
		}
}

/* --- tickets ------------------------------------------------------------------------------------------------------------ */

static int on_ticket_made(SSL *ssl, void *arg)
{
	const struct cert_rules *r = arg;
	STACK_OF(X509) *chain = SSL_get0_verified_chain(ssl);
	uint8_t data[CERT_FACT_MAX];
	int64_t until = r->crl_expires;
	size_t n = UNTIL_LEN;
	uint64_t be;
	int i;

	if (SSL_session_reused(ssl))
		return 1; /* it says already what was verified when the first was made, and that holds no longer than it did */
	for (i = 0; chain && i < sk_X509_num(chain); i++)
		until = sooner(until, seconds(X509_get0_notAfter(sk_X509_value(chain, i))));
	be = htobe64((uint64_t)until);
	memcpy(data, &be, UNTIL_LEN);
	put_chain(r, ssl, data, &n);
	return SSL_SESSION_set1_ticket_appdata(SSL_get_session(ssl), data, n);
}

static const uint8_t *ticket_data(SSL_SESSION *session, size_t *n)
{
	void *data;

	return session && SSL_SESSION_get0_ticket_appdata(session, &data, n) && *n >= UNTIL_LEN ? data : NULL;
}

/* Sessions of other rules are told by their context; those of none have no data. */
static SSL_TICKET_RETURN on_ticket_opened(SSL *ssl, SSL_SESSION *session, const unsigned char *key, size_t n_key, SSL_TICKET_STATUS status,
					  void *arg)
{
	const struct cert_rules *r = arg;
	const uint8_t *data;
	uint64_t until;
	size_t n;

	(void)ssl, (void)key, (void)n_key;
	if (status != SSL_TICKET_SUCCESS && status != SSL_TICKET_SUCCESS_RENEW)
		return SSL_TICKET_RETURN_IGNORE_RENEW;
	data = ticket_data(session, &n);
	if (!data || (r->required && !SSL_SESSION_get0_peer(session)))
		return SSL_TICKET_RETURN_IGNORE_RENEW;
	memcpy(&until, data, UNTIL_LEN);
	if ((int64_t)be64toh(until) <= (int64_t)time(NULL))
		return SSL_TICKET_RETURN_IGNORE_RENEW;
	return status == SSL_TICKET_SUCCESS ? SSL_TICKET_RETURN_USE : SSL_TICKET_RETURN_USE_RENEW;
}

/* --- handshakes ------------------------------------------------------------------------------------------------------------ */

int cert_rules_use(struct cert_rules *r, SSL_CTX *ctx)
{
	int i;

	/* Beside the store that OpenSSL completes our own chain from: a client's CA is not to be sent as ours. */
	if (!SSL_CTX_set1_verify_cert_store(ctx, r->store) || !SSL_CTX_set_session_id_context(ctx, r->name, sizeof(r->name)) ||
	    !SSL_CTX_set_session_ticket_cb(ctx, on_ticket_made, on_ticket_opened, r))
		return -EIO;
	for (i = 0; i < sk_X509_num(r->ca); i++)
		if (!SSL_CTX_add_client_CA(ctx, sk_X509_value(r->ca, i)))
			return -EIO;
	SSL_CTX_set_verify_depth(ctx, r->depth);
	SSL_CTX_set_max_cert_list(ctx, CERT_FACT_MAX - CERT_RULES_LEN);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | (r->required ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0), NULL);
	return 0;
}

struct cert_fact *cert_rules_fact(const struct cert_rules *r, SSL *ssl)
{
	X509 *leaf = SSL_get0_peer_certificate(ssl);
	uint8_t octets[CERT_FACT_MAX];
	size_t n = CERT_RULES_LEN, n_data = 0;
	const uint8_t *data;

	if (leaf ? SSL_get_verify_result(ssl) != X509_V_OK : r->required)
		return NULL;
	memcpy(octets, r->name, sizeof(r->name));
	if (leaf && !put_der(octets, &n, leaf))
		return NULL;
	if (leaf && SSL_session_reused(ssl)) {
		data = ticket_data(SSL_get_session(ssl), &n_data);
		if (!data)
			return NULL;
		n_data -= UNTIL_LEN;
		if (n_data <= sizeof(octets) - n) {
			memcpy(octets + n, data + UNTIL_LEN, n_data);
			n += n_data;
		}
	} else if (leaf) {
		put_chain(r, ssl, octets, &n);
	}
	return cert_fact_new(octets, n);
}

enum cert_outcome cert_rules_refused(const SSL *ssl, const char **why)
{
	unsigned long error = ERR_peek_last_error();
	long verified = SSL_get_verify_result(ssl);

	if (verified == X509_V_OK) {
		*why = "no certificate was shown";
		return ERR_GET_REASON(error) == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE ? CERT_MISSING : CERT_OUTCOMES;
	}
	*why = X509_verify_cert_error_string(verified);
	switch (verified) {
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_CERT_CHAIN_TOO_LONG:
		return CERT_UNKNOWN_CA;
	case X509_V_ERR_CERT_NOT_YET_VALID:
	case X509_V_ERR_CERT_HAS_EXPIRED:
		return CERT_EXPIRED;
	case X509_V_ERR_CERT_REVOKED:
		return CERT_REVOKED;
	case X509_V_ERR_UNABLE_TO_GET_CRL:
	case X509_V_ERR_UNABLE_TO_GET_CRL_ISSUER:
	case X509_V_ERR_CRL_NOT_YET_VALID:
	case X509_V_ERR_CRL_HAS_EXPIRED:
	case X509_V_ERR_CRL_SIGNATURE_FAILURE:
		return CERT_NO_CRL;
	default:
		return CERT_INVALID;
	}
}
