/* SPDX-License-Identifier: BSD-2-Clause */
/* TLS of client connections.  See tls.h. */
#include "l7/tls/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "l7/hash.h"
#include "l7/tls/cert_rules.h"
#include "l7/tls/ktls.h"
#include "l7/tls/pem_files.h"
#include "l7/tls/record.h"
#include "l7/tls/ticket.h"
#include "l7/tls/tls_client.h"

#define CERTIFICATES_MAX 65536

struct certificate {
	char name[256];	/* of a host, lower case; "*.example.net" */
	SSL_CTX *ctx;
};

struct tls_context {
	SSL_CTX **ctx; /* one a file, in the order of their names */
	unsigned n_ctx;
	struct certificate *certificate; /* sorted by name */
	size_t n;
	struct cert_rules *rules; /* NULL: clients are asked for nothing */
	int64_t expires;
	uint16_t tls_min;
	bool http2;
};

/* What only the handshake needs. */
struct hand {
	SSL *ssl;
	const struct cert_rules *rules;
	struct record_capture capture;
};

struct tls {
	struct hand *hand;	    /* NULL once it is done */
	struct record_layer *layer; /* NULL before */
	char *server_name;
	const char *alpn; /* one of protocols[] */
	struct cert_fact *certificate; /* of the client; NULL: not asked for */
	char *failure; /* as the client, and for a client's certificate */
	uint8_t refused; /* enum cert_outcome */
	uint16_t version;
	bool h2, resumed, client;
};

static const char *const protocols[] = { "", "http/1.1", "h2" };

static const char *protocol_of(const void *name, size_t n)
{
	size_t i;

	for (i = 1; i < sizeof(protocols) / sizeof(protocols[0]); i++)
		if (n == strlen(protocols[i]) && !memcmp(name, protocols[i], n))
			return protocols[i];
	return protocols[0];
}

/* --- certificates ------------------------------------------------------------------------------------------ */
static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct certificate *)a)->name, ((const struct certificate *)b)->name);
}

static SSL_CTX *find(const struct tls_context *t, const char *name)
{
	struct certificate key = { 0 }, *found;
	const char *dot;

	if (strlen(name) >= sizeof(key.name) - 1)
		return NULL;
	for (size_t i = 0; i <= strlen(name); i++)
		key.name[i] = name[i] >= 'A' && name[i] <= 'Z' ? name[i] | 0x20 : name[i];
	found = bsearch(&key, t->certificate, t->n, sizeof(key), by_name);
	dot = strchr(name, '.');
	if (!found && dot) {
		size_t n = strlen(dot);

		memmove(key.name + 1, key.name + (dot - name), n + 1);
		key.name[0] = '*';
		found = bsearch(&key, t->certificate, t->n, sizeof(key), by_name);
	}
	return found ? found->ctx : NULL;
}

static int on_server_name(SSL *ssl, int *alert, void *arg)
{
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	const struct tls_context *t = arg;
	SSL_CTX *ctx = name ? find(t, name) : NULL;

	(void)alert;
	if (ctx)
		SSL_set_SSL_CTX(ssl, ctx);
	return SSL_TLSEXT_ERR_OK; /* an unknown name gets the first certificate: the client judges */
}

static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in, unsigned in_len,
		   void *arg)
{
	static const unsigned char both[] = "\x02h2\x08http/1.1", one[] = "\x08http/1.1";
	const struct tls_context *t = arg;
	unsigned char *chosen;

	(void)ssl;
	if (SSL_select_next_proto(&chosen, out_len, t->http2 ? both : one, t->http2 ? sizeof(both) - 1 : sizeof(one) - 1, in,
				  in_len) != OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL; /* RFC 7301 3.2 */
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

static SSL_CTX *new_ctx(struct tls_context *t)
{
	SSL_CTX *ctx = record_server_ctx();

	if (!ctx)
		return NULL;
	SSL_CTX_set_min_proto_version(ctx, t->tls_min);
	SSL_CTX_set_cipher_list(ctx, RECORD_SUITES_12);
	SSL_CTX_set_ciphersuites(ctx, RECORD_SUITES_13);
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE |
					 SSL_OP_PRIORITIZE_CHACHA);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF); /* tickets alone: any host can resume them */
	SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"baton", 5);
	SSL_CTX_set_max_early_data(ctx, 0);
	SSL_CTX_set_num_tickets(ctx, 2);
	SSL_CTX_set_default_passwd_cb(ctx, pem_no_password);
	SSL_CTX_set_tlsext_servername_callback(ctx, on_server_name);
	SSL_CTX_set_tlsext_servername_arg(ctx, t);
	SSL_CTX_set_alpn_select_cb(ctx, on_alpn, t);
	tickets_use(ctx);
	if (t->rules && cert_rules_use(t->rules, ctx)) {
		SSL_CTX_free(ctx);
		return NULL;
	}
	return ctx;
}

static int add_name(struct tls_context *t, const unsigned char *name, int n, SSL_CTX *ctx)
{
	struct certificate *grown;

	if (n <= 0 || n >= (int)sizeof(grown->name) || t->n >= CERTIFICATES_MAX)
		return 0;
	if (!(t->n & (t->n - 1))) {
		grown = reallocarray(t->certificate, t->n ? t->n * 2 : 1, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		t->certificate = grown;
	}
	for (int i = 0; i < n; i++)
		t->certificate[t->n].name[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] | 0x20 : name[i]);
	t->certificate[t->n].name[n] = 0;
	t->certificate[t->n].ctx = ctx;
	t->n++;
	return 0;
}

static int add_names(struct tls_context *t, SSL_CTX *ctx)
{
	X509 *x = SSL_CTX_get0_certificate(ctx);
	GENERAL_NAMES *names = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
	struct tm tm;
	int i, err = 0;

	if (ASN1_TIME_to_tm(X509_get0_notAfter(x), &tm)) {
		int64_t at = timegm(&tm);

		if (!t->expires || at < t->expires)
			t->expires = at;
	}
	for (i = 0; i < sk_GENERAL_NAME_num(names) && !err; i++) {
		const GENERAL_NAME *g = sk_GENERAL_NAME_value(names, i);

		if (g->type == GEN_DNS)
			err = add_name(t, ASN1_STRING_get0_data(g->d.dNSName), ASN1_STRING_length(g->d.dNSName), ctx);
	}
	GENERAL_NAMES_free(names);
	return err;
}

struct reading {
	struct tls_context *t;
	char *why;
	size_t why_len;
};

static int add_file(const char *path, void *arg)
{
	const struct reading *r = arg;
	struct tls_context *t = r->t;
	SSL_CTX *ctx = new_ctx(t), **grown;

	ERR_clear_error();
	if (!ctx || SSL_CTX_use_certificate_chain_file(ctx, path) != 1 ||
	    SSL_CTX_use_PrivateKey_file(ctx, path, SSL_FILETYPE_PEM) != 1 || SSL_CTX_check_private_key(ctx) != 1) {
		snprintf(r->why, r->why_len, "%s: is no certificate with its key: %s", path, ERR_reason_error_string(ERR_get_error()));
		SSL_CTX_free(ctx);
		return -EINVAL;
	}
	grown = reallocarray(t->ctx, t->n_ctx + 1, sizeof(*grown)); /* NOLINT(bugprone-sizeof-expression): of pointers, as meant */
	if (!grown) {
		SSL_CTX_free(ctx);
		snprintf(r->why, r->why_len, "out of memory");
		return -ENOMEM;
	}
	t->ctx = grown;
	t->ctx[t->n_ctx++] = ctx;
	return add_names(t, ctx);
}

/* Where two files have one name, the first stays. */
static void unique(struct tls_context *t)
{
	size_t i, n = 0;

	if (!t->n)
		return;
	qsort(t->certificate, t->n, sizeof(*t->certificate), by_name);
	for (i = 0; i < t->n; i++)
		if (!n || strcmp(t->certificate[n - 1].name, t->certificate[i].name))
			t->certificate[n++] = t->certificate[i];
	t->n = n;
}

struct tls_context *tls_context_new(const struct edge_conf *conf, char *why, size_t why_len)
{
	struct tls_context *t = calloc(1, sizeof(*t));
	struct reading r = { t, why, why_len };

	if (!t)
		abort();
	t->http2 = conf->http2;
	t->tls_min = conf->tls_min;
	if (*conf->client.ca)
		t->rules = cert_rules_new(&conf->client, why, why_len);
	if ((*conf->client.ca && !t->rules) || pem_files(conf->certificates, add_file, &r, why, why_len)) {
		tls_context_free(t);
		return NULL;
	}
	unique(t);
	return t;
}

void tls_context_free(struct tls_context *t)
{
	if (!t)
		return;
	for (unsigned i = 0; i < t->n_ctx; i++)
		SSL_CTX_free(t->ctx[i]);
	free(t->ctx);
	cert_rules_free(t->rules);
	free(t->certificate);
	free(t);
}

void tls_context_facts(const struct tls_context *t, unsigned *n, int64_t *expires)
{
	*n = t->n_ctx;
	*expires = t->expires;
}

const struct cert_rules *tls_context_rules(const struct tls_context *t)
{
	return t ? t->rules : NULL;
}

/* --- a connection -------------------------------------------------------------------------------------------- */
static struct tls *tls_begin(SSL *ssl)
{
	struct tls *t = calloc(1, sizeof(*t));
	BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());

	if (t)
		t->hand = calloc(1, sizeof(*t->hand));
	if (t && t->hand)
		t->hand->ssl = ssl;
	if (!t || !t->hand || !ssl || !in || !out) {
		if (!t || !t->hand)
			SSL_free(ssl);
		BIO_free(in);
		BIO_free(out);
		tls_free(t);
		return NULL;
	}
	BIO_set_mem_eof_return(in, -1);
	SSL_set_bio(t->hand->ssl, in, out);
	if (record_capture(t->hand->ssl, &t->hand->capture)) {
		tls_free(t);
		return NULL;
	}
	return t;
}

struct tls *tls_accept(struct tls_context *context)
{
	SSL *ssl = SSL_new(context->ctx[0]);
	struct tls *t;

	if (ssl)
		SSL_set_accept_state(ssl);
	t = tls_begin(ssl);
	if (t) {
		t->hand->rules = context->rules;
		t->refused = CERT_OUTCOMES;
	}
	return t;
}

struct tls *tls_connect(struct tls_client *to)
{
	struct tls *t = tls_begin(tls_client_ssl(to));

	if (t)
		t->client = true;
	return t;
}

static void hand_free(struct tls *t)
{
	if (!t->hand)
		return;
	record_capture_wipe(&t->hand->capture);
	SSL_free(t->hand->ssl);
	free(t->hand);
	t->hand = NULL;
}

void tls_free(struct tls *t)
{
	if (!t)
		return;
	hand_free(t);
	record_free(t->layer);
	cert_fact_free(t->certificate);
	free(t->server_name);
	free(t->failure);
	free(t);
}

/* What a BIO holds, to `out`. */
static int drain(BIO *bio, struct buffer *out)
{
	size_t n = BIO_ctrl_pending(bio);
	uint8_t *at;

	if (!n)
		return 0;
	at = buffer_reserve(out, n, SIZE_MAX / 2);
	if (!at)
		return -ENOBUFS;
	if (BIO_read(bio, at, (int)n) != (int)n)
		return -EPROTO;
	buffer_commit(out, n);
	return 0;
}

/* The handshake is done: its keys go to our layer, its bytes to our buffers, and OpenSSL's part ends. */
static int take_over(struct tls *t, struct buffer *raw, struct buffer *out)
{
	SSL *ssl = t->hand->ssl;
	const unsigned char *alpn;
	unsigned alpn_len;
	const char *name;
	int err;

	SSL_get0_alpn_selected(ssl, &alpn, &alpn_len);
	t->alpn = protocol_of(alpn, alpn_len);
	t->h2 = !strcmp(t->alpn, "h2");
	t->resumed = SSL_session_reused(ssl);
	t->version = (uint16_t)SSL_version(ssl);
	name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	if (name)
		t->server_name = strdup(name);
	if (t->hand->rules) {
		t->certificate = cert_rules_fact(t->hand->rules, ssl);
		if (!t->certificate) {
			hand_free(t);
			return -EPROTO;
		}
	}
	err = record_from_capture(ssl, &t->hand->capture, &t->layer);
	if (!err)
		err = drain(SSL_get_rbio(ssl), raw);
	if (!err)
		err = drain(SSL_get_wbio(ssl), out);
	hand_free(t);
	return err ? -EPROTO : 0;
}

int tls_handshake(struct tls *t, struct buffer *raw, struct buffer *out)
{
	const char *why = NULL;
	SSL *ssl;
	size_t n = buffer_len(raw);
	int rc;

	if (!t->hand)
		return -EPROTO;
	ssl = t->hand->ssl;
	if (n && BIO_write(SSL_get_rbio(ssl), buffer_head(raw), (int)n) == (int)n)
		buffer_consume(raw, n);
	ERR_clear_error();
	rc = t->client ? SSL_do_handshake(ssl) : record_accept(ssl, &t->hand->capture);
	if (rc == 1)
		return take_over(t, raw, out);
	drain(SSL_get_wbio(ssl), out);
	if (SSL_get_error(ssl, rc) == SSL_ERROR_WANT_READ)
		return -EAGAIN;
	if (t->hand->rules)
		t->refused = cert_rules_refused(ssl, &why);
	else if (t->client)
		why = tls_client_why(ssl);
	if (why)
		t->failure = strdup(why);
	hand_free(t);
	return -EPROTO;
}

bool tls_ended(const struct tls *t)
{
	return t->layer && record_peek(t->layer)->read_closed;
}

const char *tls_failure(const struct tls *t)
{
	return t->failure ? t->failure : "the TLS handshake was not finished";
}

enum cert_outcome tls_refused(const struct tls *t)
{
	return (enum cert_outcome)t->refused;
}

bool tls_done(const struct tls *t)
{
	return t->layer;
}

int tls_open(struct tls *t, struct buffer *raw, struct buffer *plain, size_t plain_max, struct buffer *reply)
{
	return record_open(t->layer, raw, plain, plain_max + RECORD_OPEN_ROOM, reply);
}

int tls_seal(struct tls *t, const void *p, size_t n, struct buffer *out, size_t out_max)
{
	return record_seal(t->layer, p, n, out, out_max);
}

int tls_close_notify(struct tls *t, struct buffer *out)
{
	return record_close_notify(t->layer, out);
}

int tls_seal_below(struct tls *t, int fd, uint64_t plain, struct ktls *k)
{
	int err = ktls_begin(fd, record_peek(t->layer), plain, k);

	if (!err)
		record_seals_elsewhere(t->layer);
	return err;
}

const struct record_state *tls_state(const struct tls *t)
{
	return record_peek(t->layer);
}

bool tls_owed_alert(struct tls *t, uint8_t alert[2])
{
	return record_owed_alert(t->layer, alert);
}

void tls_export(const struct tls *t, struct record_state *state)
{
	record_export(t->layer, state);
}

struct tls *tls_import(const struct record_state *state, const char *server_name, size_t n_name, const char *alpn, size_t n_alpn,
		       struct cert_fact *certificate)
{
	struct tls *t = calloc(1, sizeof(*t));

	if (!t) {
		cert_fact_free(certificate);
		return NULL;
	}
	t->certificate = certificate;
	t->version = state->version;
	t->server_name = n_name ? strndup(server_name, n_name) : NULL;
	t->alpn = protocol_of(alpn, n_alpn);
	if (record_import(state, &t->layer)) {
		tls_free(t);
		return NULL;
	}
	return t;
}

bool tls_is_h2(const struct tls *t)
{
	return t->h2;
}

bool tls_resumed(const struct tls *t)
{
	return t->resumed;
}

const char *tls_version(const struct tls *t)
{
	return t->version == 0x0304 ? "TLSv1.3" : t->version == 0x0303 ? "TLSv1.2" : "";
}

const char *tls_alpn(const struct tls *t)
{
	return t->alpn ? t->alpn : "";
}

const char *tls_server_name(const struct tls *t)
{
	return t->server_name ? t->server_name : "";
}

const struct cert_fact *tls_certificate(const struct tls *t)
{
	return t->certificate;
}
