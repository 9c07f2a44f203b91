/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who we are and whom we believe.  TLS 1.3 only, both sides present a certificate, the only trusted
 * authority is the POP's own.  A new SSL_CTX is built on every reload and replaces the old one only
 * when all of it is good; connections hold their own reference.
 */
#include "base/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

struct tls_identity {
	char *dir;
	SSL_CTX *ctx;
	struct identity self;
	int64_t expires;
};

int64_t tls_certificate_end(const X509 *cert)
{
	struct tm tm;

	if (!ASN1_TIME_to_tm(X509_get0_notAfter(cert), &tm))
		return 0;
	return timegm(&tm);
}

int tls_certificate_identity(X509 *cert, struct identity *out)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	int rc = -EINVAL;

	/* Exactly one name: a second one would make it a matter of taste who the peer is. */
	if (sk_GENERAL_NAME_num(names) == 1) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, 0);

		if (name->type == GEN_URI) {
			const ASN1_IA5STRING *uri = name->d.uniformResourceIdentifier;

			rc = identity_parse((const char *)ASN1_STRING_get0_data(uri), (size_t)ASN1_STRING_length(uri), out);
		}
	}
	GENERAL_NAMES_free(names);
	return rc;
}

static const char *error_word(void)
{
	unsigned long e = ERR_peek_error();
	const char *word = e ? ERR_reason_error_string(e) : NULL;

	return word ? word : "unknown error";
}

/* A key that others can read is not a key. */
static int check_key_mode(const char *path, char *why, size_t why_len)
{
	struct stat st;

	if (stat(path, &st)) {
		snprintf(why, why_len, "%s: %s", path, strerror(errno));
		return -errno;
	}
	if (st.st_mode & 077) {
		snprintf(why, why_len, "%s: others may read the key (mode %04o): chmod 0600 it", path, st.st_mode & 07777);
		return -EPERM;
	}
	return 0;
}

/* That peers will be able to verify us, but for the time: see session.h. */
static int check_own_chain(SSL_CTX *ctx, X509 *cert, int64_t *expires)
{
	X509_STORE_CTX *v = X509_STORE_CTX_new();
	int rc = -ENOMEM;

	if (v && X509_STORE_CTX_init(v, SSL_CTX_get_cert_store(ctx), cert, NULL)) {
		X509_STORE_CTX_set_flags(v, X509_V_FLAG_NO_CHECK_TIME | X509_V_FLAG_X509_STRICT);
		rc = X509_verify_cert(v) == 1 ? 0 : -EACCES;
	}
	*expires = tls_certificate_end(cert);
	for (int i = 0; !rc && i < sk_X509_num(X509_STORE_CTX_get0_chain(v)); i++) {
		int64_t end = tls_certificate_end(sk_X509_value(X509_STORE_CTX_get0_chain(v), i));

		if (end < *expires)
			*expires = end;
	}
	X509_STORE_CTX_free(v);
	return rc;
}

static SSL_CTX *context_new(void)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_method());

	if (!ctx)
		return NULL;
	SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(ctx), X509_V_FLAG_X509_STRICT);
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
				      SSL_MODE_RELEASE_BUFFERS);
	/* No tickets: nothing to resume, hence nothing to replay. */
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(ctx, 0);
	SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
	return ctx;
}

/* The three files of t->dir.  On success *ctx, *self and *expires are set. */
static int context_load(const char *dir, SSL_CTX **out, struct identity *self, int64_t *expires, char *why, size_t why_len)
{
	char ca[4096], cert[4096], key[4096], got[IDENTITY_URI_MAX];
	SSL_CTX *ctx;
	X509 *own;
	int rc;

	snprintf(ca, sizeof(ca), "%s/ca.pem", dir);
	snprintf(cert, sizeof(cert), "%s/cert.pem", dir);
	snprintf(key, sizeof(key), "%s/key.pem", dir);
	rc = check_key_mode(key, why, why_len);
	if (rc)
		return rc;
	ctx = context_new();
	if (!ctx) {
		snprintf(why, why_len, "OpenSSL: %s", error_word());
		return -ENOMEM;
	}
	ERR_clear_error();
	rc = -EINVAL;
	if (SSL_CTX_load_verify_file(ctx, ca) != 1)
		snprintf(why, why_len, "%s: cannot read the POP's authority: %s", ca, error_word());
	else if (SSL_CTX_use_certificate_chain_file(ctx, cert) != 1)
		snprintf(why, why_len, "%s: cannot read our certificate: %s", cert, error_word());
	else if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1 || SSL_CTX_check_private_key(ctx) != 1)
		snprintf(why, why_len, "%s: cannot read the key, or it is not that of cert.pem: %s", key, error_word());
	else
		rc = 0;
	if (rc)
		goto fail;
	own = SSL_CTX_get0_certificate(ctx);
	rc = tls_certificate_identity(own, self);
	if (rc) {
		snprintf(why, why_len, "%s: its name is not baton://POP/ROLE/ID: issue it with baton pki", cert);
		goto fail;
	}
	rc = check_own_chain(ctx, own, expires);
	if (rc) {
		identity_print(self, got);
		snprintf(why, why_len, "%s: %s was not issued by the authority in %s", cert, got, ca);
		goto fail;
	}
	*out = ctx;
	return 0;
fail:
	ERR_clear_error();
	SSL_CTX_free(ctx);
	return rc;
}

int tls_identity_load(const char *dir, struct tls_identity **out, char *why, size_t why_len)
{
	struct tls_identity *t = calloc(1, sizeof(*t));
	int rc = -ENOMEM;

	snprintf(why, why_len, "out of memory");
	if (t)
		t->dir = strdup(dir);
	if (t && t->dir)
		rc = context_load(dir, &t->ctx, &t->self, &t->expires, why, why_len);
	if (rc) {
		tls_identity_free(t);
		return rc;
	}
	*out = t;
	return 0;
}

int tls_identity_reload(struct tls_identity *t, char *why, size_t why_len)
{
	struct identity self;
	int64_t expires;
	SSL_CTX *ctx;
	int rc = context_load(t->dir, &ctx, &self, &expires, why, why_len);

	if (rc)
		return rc;
	if (self.role != t->self.role || self.id != t->self.id || strcmp(self.pop, t->self.pop)) {
		char got[IDENTITY_URI_MAX], had[IDENTITY_URI_MAX];

		identity_print(&self, got);
		identity_print(&t->self, had);
		snprintf(why, why_len, "%s: now names %s, this process is %s: restart it to become another", t->dir, got, had);
		SSL_CTX_free(ctx);
		return -EINVAL;
	}
	SSL_CTX_free(t->ctx);
	t->ctx = ctx;
	t->expires = expires;
	return 0;
}

void tls_identity_free(struct tls_identity *t)
{
	if (!t)
		return;
	SSL_CTX_free(t->ctx);
	free(t->dir);
	free(t);
}

const struct identity *tls_identity_self(const struct tls_identity *t)
{
	return &t->self;
}

int64_t tls_identity_expires(const struct tls_identity *t)
{
	return t->expires;
}

SSL *tls_connection(struct tls_identity *t, int fd, bool server)
{
	SSL *ssl = SSL_new(t->ctx);

	if (!ssl || SSL_set_fd(ssl, fd) != 1) {
		SSL_free(ssl);
		return NULL;
	}
	if (server)
		SSL_set_accept_state(ssl);
	else
		SSL_set_connect_state(ssl);
	return ssl;
}

int tls_peer(const struct tls_identity *t, SSL *ssl, struct identity *out, char *why, size_t why_len)
{
	X509 *cert = SSL_get0_peer_certificate(ssl);

	if (!cert || SSL_get_verify_result(ssl) != X509_V_OK || tls_certificate_identity(cert, out)) {
		snprintf(why, why_len, "its certificate names nobody of the form baton://POP/ROLE/ID");
		return -EACCES;
	}
	if (strcmp(out->pop, t->self.pop)) {
		snprintf(why, why_len, "it is of POP %s, this is POP %s", out->pop, t->self.pop);
		return -EACCES;
	}
	return 0;
}

void tls_why(SSL *ssl, int rc, char *why, size_t why_len)
{
	int error = SSL_get_error(ssl, rc), saved = errno;
	/* The oldest is the cause: OpenSSL 3.5 adds "record layer failure" behind it. */
	unsigned long e = ERR_peek_error();
	int reason = ERR_GET_LIB(e) == ERR_LIB_SSL ? ERR_GET_REASON(e) : 0;

	if (error == SSL_ERROR_ZERO_RETURN)
		snprintf(why, why_len, "the peer closed");
	else if (error == SSL_ERROR_SYSCALL && !e)
		snprintf(why, why_len, "%s", saved ? strerror(saved) : "the peer closed without a word");
	else if (reason == SSL_R_UNEXPECTED_EOF_WHILE_READING)
		snprintf(why, why_len, "the peer closed without a word");
	else if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED)
		snprintf(why, why_len, "its certificate does not verify: %s",
			 X509_verify_cert_error_string(SSL_get_verify_result(ssl)));
	else if (reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE)
		snprintf(why, why_len, "it presented no certificate");
	else if (reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_HTTP_REQUEST)
		snprintf(why, why_len, "it does not speak TLS");
	else if (reason > SSL_AD_REASON_OFFSET)
		snprintf(why, why_len, "it refused us: %s", error_word());
	else
		snprintf(why, why_len, "TLS: %s", error_word());
	ERR_clear_error();
}
