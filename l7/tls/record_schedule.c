// SPDX-License-Identifier: BSD-2-Clause
/* TLS 1.3's key schedule as a provider (l7/tls/record_schedule.h). */
#include "l7/tls/record_schedule.h"

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <pthread.h>
#include <string.h>
#include <strings.h>

#include "l7/tls/record_keys.h"

#define NAME "baton"
#define PROPERTIES "?provider=" NAME
#define INFO_MAX 520 /* of a HkdfLabel: two lengths of a byte each */

static _Thread_local struct record_capture *capturing;

void schedule_capture(struct record_capture *capture)
{
	capturing = capture;
}

/* --- derivations ------------------------------------------------------------------------------------------- */
struct piece {
	const uint8_t *p;
	size_t n;
};

struct question {
	uint8_t hash; /* its length */
	int mode;
	struct piece key, salt, prefix, label, data;
};

static bool is(struct piece a, const char *text)
{
	return a.n == strlen(text) && !memcmp(a.p, text, a.n);
}

/* HKDF-Expand-Label (RFC 8446 section 7.1) over HKDF-Expand (RFC 5869 section 2.3). */
static int expand(const struct question *q, struct piece secret, struct piece data, uint8_t *out, size_t len)
{
	uint8_t block[RECORD_SECRET_MAX + INFO_MAX + 1], *info = block + q->hash, *p = info;
	uint8_t result[RECORD_SECRET_MAX];
	size_t name = q->prefix.n + q->label.n, n;
	int ok = 0;
	unsigned i;

	if (name > 255 || data.n > 255 || len > 255u * q->hash)
		return 0;
	*p++ = (uint8_t)(len >> 8);
	*p++ = (uint8_t)len;
	*p++ = (uint8_t)name;
	if (q->prefix.n)
		memcpy(p, q->prefix.p, q->prefix.n);
	if (q->label.n)
		memcpy(p + q->prefix.n, q->label.p, q->label.n);
	p += name;
	*p++ = (uint8_t)data.n;
	if (data.n)
		memcpy(p, data.p, data.n);
	p += data.n;
	for (i = 1; len; i++) {
		/* The block before it, except for the first, then info, then the counter. */
		const uint8_t *from = i == 1 ? info : block;

		*p = (uint8_t)i;
		if (record_hmac(q->hash, secret.p, secret.n, from, (size_t)(p + 1 - from), result))
			goto out;
		n = len < q->hash ? len : q->hash;
		memcpy(out, result, n);
		memcpy(block, result, q->hash);
		out += n;
		len -= n;
	}
	ok = 1;
out:
	OPENSSL_cleanse(block, sizeof(block));
	OPENSSL_cleanse(result, sizeof(result));
	return ok;
}

/* HKDF-Extract of the next stage's secret; its salt is "derived" from the stage before. */
static int extract(const struct question *q, uint8_t *out, size_t len)
{
	static const uint8_t zero[RECORD_SECRET_MAX];
	uint8_t derived[RECORD_SECRET_MAX], nothing[RECORD_SECRET_MAX];
	struct piece key = q->key.p ? q->key : (struct piece){ zero, q->hash }, salt = { zero, q->hash };
	int ok = len == q->hash;

	if (ok && q->salt.p) {
		salt.p = derived;
		ok = !record_hash(q->hash, NULL, 0, nothing) &&
		     expand(q, q->salt, (struct piece){ nothing, q->hash }, derived, q->hash);
	}
	ok = ok && !record_hmac(q->hash, salt.p, salt.n, key.p, key.n, out);
	OPENSSL_cleanse(derived, sizeof(derived));
	return ok;
}

/* --- what OpenSSL calls ------------------------------------------------------------------------------------ */
static int octets(const OSSL_PARAM *p, struct piece *to)
{
	const void *data;

	if (!OSSL_PARAM_get_octet_string_ptr(p, &data, &to->n))
		return 0;
	to->p = data ? data : (const uint8_t *)"";
	return 1;
}

static uint8_t hash_len(const char *name)
{
	if (!strcasecmp(name, "SHA2-256") || !strcasecmp(name, "SHA256") || !strcasecmp(name, "SHA-256"))
		return 32;
	if (!strcasecmp(name, "SHA2-384") || !strcasecmp(name, "SHA384") || !strcasecmp(name, "SHA-384"))
		return 48;
	return 0;
}

static int ask(const OSSL_PARAM *p, struct question *q)
{
	const char *text;
	int ok = 1;

	for (; p && p->key && ok; p++) {
		if (!strcmp(p->key, OSSL_KDF_PARAM_KEY))
			ok = octets(p, &q->key);
		else if (!strcmp(p->key, OSSL_KDF_PARAM_LABEL))
			ok = octets(p, &q->label);
		else if (!strcmp(p->key, OSSL_KDF_PARAM_PREFIX))
			ok = octets(p, &q->prefix);
		else if (!strcmp(p->key, OSSL_KDF_PARAM_DATA))
			ok = octets(p, &q->data);
		else if (!strcmp(p->key, OSSL_KDF_PARAM_SALT))
			ok = octets(p, &q->salt);
		else if (!strcmp(p->key, OSSL_KDF_PARAM_MODE))
			ok = OSSL_PARAM_get_int(p, &q->mode);
		else if (!strcmp(p->key, OSSL_KDF_PARAM_DIGEST))
			ok = OSSL_PARAM_get_utf8_string_ptr(p, &text) && (q->hash = hash_len(text));
	}
	return ok && q->hash;
}

static void capture(const struct question *q, const uint8_t *secret, size_t len)
{
	struct record_capture *c = capturing;

	if (!c || len > RECORD_SECRET_MAX)
		return;
	if (is(q->label, "c ap traffic")) {
		memcpy(c->client_secret, secret, len);
		c->client_len = (uint8_t)len;
	} else if (is(q->label, "s ap traffic")) {
		memcpy(c->server_secret, secret, len);
		c->server_len = (uint8_t)len;
	}
}

static int derive(void *ctx, unsigned char *out, size_t len, const OSSL_PARAM params[])
{
	struct question q = { .mode = -1 };

	(void)ctx;
	if (!len || !ask(params, &q))
		return 0;
	if (q.mode == EVP_KDF_HKDF_MODE_EXTRACT_ONLY)
		return extract(&q, out, len);
	if (q.mode != EVP_KDF_HKDF_MODE_EXPAND_ONLY || !q.key.p || !expand(&q, q.key, q.data, out, len))
		return 0;
	capture(&q, out, len);
	return 1;
}

/* A question is asked whole, in the parameters of derive(): there is nothing to keep. */
static char nobody;

static void *new_ctx(void *provider)
{
	(void)provider;
	return &nobody;
}

static void free_ctx(void *ctx)
{
	(void)ctx;
}

typedef void (*function)(void);

static const OSSL_ALGORITHM *query(void *provider, int operation, int *no_cache)
{
	static const OSSL_DISPATCH functions[] = {
		{ OSSL_FUNC_KDF_NEWCTX, (function)new_ctx },
		{ OSSL_FUNC_KDF_FREECTX, (function)free_ctx },
		{ OSSL_FUNC_KDF_RESET, (function)free_ctx },
		{ OSSL_FUNC_KDF_DERIVE, (function)derive },
		{ 0, NULL },
	};
	static const OSSL_ALGORITHM kdf[] = {
		{ "TLS13-KDF", "provider=" NAME, functions, "the key schedule of TLS 1.3" },
		{ NULL, NULL, NULL, NULL },
	};

	(void)provider;
	*no_cache = 0;
	return operation == OSSL_OP_KDF ? kdf : NULL;
}

static int init(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in, const OSSL_DISPATCH **out, void **provider)
{
	static const OSSL_DISPATCH functions[] = {
		{ OSSL_FUNC_PROVIDER_QUERY_OPERATION, (function)query },
		{ 0, NULL },
	};

	(void)handle, (void)in;
	*provider = &nobody;
	*out = functions;
	return 1;
}

/* --- loading ------------------------------------------------------------------------------------------------- */
static const char *properties;
static OSSL_PROVIDER *loaded;

static void unload(void)
{
	OSSL_PROVIDER_unload(loaded);
	loaded = NULL;
}

static void load(void)
{
	EVP_KDF *kdf;

	/* Beside the providers that there are, not in their place. */
	if (!OSSL_PROVIDER_add_builtin(NULL, NAME, init))
		return;
	loaded = OSSL_PROVIDER_try_load(NULL, NAME, 1);
	if (!loaded)
		return;
	OPENSSL_atexit(unload); /* OpenSSL frees its own reference when the process ends; this one is ours */
	kdf = EVP_KDF_fetch(NULL, "TLS13-KDF", PROPERTIES);
	if (kdf && !strcmp(OSSL_PROVIDER_get0_name(EVP_KDF_get0_provider(kdf)), NAME))
		properties = PROPERTIES;
	EVP_KDF_free(kdf);
}

const char *schedule_properties(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, load);
	return properties;
}
