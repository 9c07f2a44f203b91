/* SPDX-License-Identifier: BSD-2-Clause */
/* TLS towards backends.  See tls_client.h. */
#include "l7/tls/tls_client.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "l7/tls/record.h"

struct tls_client {
	int refs;
	SSL_CTX *ctx;
	enum backend_tls verify;
	char name[EDGE_HOST_LEN];
};

struct tls_client *tls_client_new(const struct pool_conf *conf, char *why, size_t why_len)
{
	struct tls_client *t = calloc(1, sizeof(*t));

	if (!t)
		abort();
	t->refs = 1;
	t->verify = conf->tls;
	memcpy(t->name, conf->tls_name, sizeof(t->name));
	t->ctx = SSL_CTX_new(TLS_client_method());
	ERR_clear_error();
	if (!t->ctx || !SSL_CTX_set_min_proto_version(t->ctx, TLS1_2_VERSION) || !SSL_CTX_set_cipher_list(t->ctx, RECORD_SUITES_12) ||
	    !SSL_CTX_set_ciphersuites(t->ctx, RECORD_SUITES_13) ||
	    (*conf->tls_ca ? !SSL_CTX_load_verify_file(t->ctx, conf->tls_ca) : !SSL_CTX_set_default_verify_paths(t->ctx))) {
		snprintf(why, why_len, "pool %s: %s: cannot be read as certificates of CAs: %s", conf->name,
			 *conf->tls_ca ? conf->tls_ca : "the system's CAs", ERR_reason_error_string(ERR_get_error()));
		tls_client_unref(t);
		return NULL;
	}
	SSL_CTX_set_verify(t->ctx, t->verify == BACKEND_TLS_NONE ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_session_cache_mode(t->ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_options(t->ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
	record_capture_ctx(t->ctx);
	return t;
}

struct tls_client *tls_client_ref(struct tls_client *t)
{
	if (t)
		__atomic_add_fetch(&t->refs, 1, __ATOMIC_RELAXED);
	return t;
}

void tls_client_unref(struct tls_client *t)
{
	if (!t || __atomic_sub_fetch(&t->refs, 1, __ATOMIC_ACQ_REL))
		return;
	SSL_CTX_free(t->ctx);
	free(t);
}

SSL *tls_client_ssl(struct tls_client *t)
{
	static const unsigned char alpn[] = "\x08http/1.1";
	SSL *ssl = SSL_new(t->ctx);

	if (!ssl)
		return NULL;
	SSL_set_connect_state(ssl);
	if (SSL_set_alpn_protos(ssl, alpn, sizeof(alpn) - 1) || (*t->name && !SSL_set_tlsext_host_name(ssl, t->name)) ||
	    (t->verify == BACKEND_TLS_NAME && !SSL_set1_host(ssl, t->name))) {
		SSL_free(ssl);
		return NULL;
	}
	return ssl;
}

const char *tls_client_why(const SSL *ssl)
{
	long verified = ssl ? SSL_get_verify_result(ssl) : X509_V_OK;
	const char *reason;

	if (verified != X509_V_OK && SSL_get_verify_mode(ssl) != SSL_VERIFY_NONE)
		return X509_verify_cert_error_string(verified);
	reason = ERR_reason_error_string(ERR_peek_last_error());
	return reason ? reason : "the TLS handshake failed";
}
