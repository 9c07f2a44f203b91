// SPDX-License-Identifier: BSD-2-Clause
/* Keys of the record layer (l7/tls/record_keys.h). */
#include "l7/tls/record_keys.h"

#include <assert.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <string.h>

#define MASTER_LEN 48
#define RANDOM_LEN 32

static const struct record_suite suites[] = {
	{ 0x0304, 0x1301, RECORD_AES_128_GCM, 32, 16, 12 },	  /* TLS_AES_128_GCM_SHA256 */
	{ 0x0304, 0x1302, RECORD_AES_256_GCM, 48, 32, 12 },	  /* TLS_AES_256_GCM_SHA384 */
	{ 0x0304, 0x1303, RECORD_CHACHA20_POLY1305, 32, 32, 12 }, /* TLS_CHACHA20_POLY1305_SHA256 */
	{ 0x0303, 0xc02b, RECORD_AES_128_GCM, 32, 16, 4 },	  /* TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 */
	{ 0x0303, 0xc02c, RECORD_AES_256_GCM, 48, 32, 4 },	  /* TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 */
	{ 0x0303, 0xc02f, RECORD_AES_128_GCM, 32, 16, 4 },	  /* TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 */
	{ 0x0303, 0xc030, RECORD_AES_256_GCM, 48, 32, 4 },	  /* TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 */
	{ 0x0303, 0xcca8, RECORD_CHACHA20_POLY1305, 32, 32, 12 }, /* TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 */
	{ 0x0303, 0xcca9, RECORD_CHACHA20_POLY1305, 32, 32, 12 }, /* TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 */
};

const struct record_suite *record_suite(uint16_t version, uint16_t number)
{
	size_t i;

	for (i = 0; i < sizeof(suites) / sizeof(suites[0]); i++)
		if (suites[i].version == version && suites[i].number == number)
			return &suites[i];
	return NULL;
}

/* Looked up once, and one context a thread and hash: OpenSSL's one-shot calls make and look up theirs each time. */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static EVP_MD *hashes[2];
static _Thread_local EVP_MD_CTX *contexts[2];

static void fetch(void)
{
	hashes[0] = EVP_MD_fetch(NULL, "SHA256", NULL);
	hashes[1] = EVP_MD_fetch(NULL, "SHA384", NULL);
}

static EVP_MD_CTX *begin(uint8_t hash_len)
{
	int i = hash_len == 48;

	pthread_once(&once, fetch);
	if (!contexts[i])
		contexts[i] = EVP_MD_CTX_new();
	return contexts[i] && EVP_DigestInit_ex(contexts[i], hashes[i], NULL) ? contexts[i] : NULL;
}

void record_keys_thread_end(void)
{
	for (int i = 0; i < 2; i++) {
		EVP_MD_CTX_free(contexts[i]);
		contexts[i] = NULL;
	}
}

static int hash_two(uint8_t hash_len, const void *p1, size_t n1, const void *p2, size_t n2, uint8_t *out)
{
	EVP_MD_CTX *c = begin(hash_len);

	return c && (!n1 || EVP_DigestUpdate(c, p1, n1)) && (!n2 || EVP_DigestUpdate(c, p2, n2)) &&
	       EVP_DigestFinal_ex(c, out, NULL) ? 0 : -ENOMEM;
}

int record_hash(uint8_t hash_len, const void *p, size_t n, uint8_t *out)
{
	return hash_two(hash_len, p, n, NULL, 0, out);
}

/* RFC 2104. */
int record_hmac(uint8_t hash_len, const uint8_t *key, size_t n_key, const void *p, size_t n, uint8_t *out)
{
	size_t block = hash_len == 48 ? 128 : 64, i;
	uint8_t pad[128] = { 0 };
	int err = 0;

	if (n_key > block)
		err = record_hash(hash_len, key, n_key, pad);
	else if (n_key)
		memcpy(pad, key, n_key);
	for (i = 0; i < block; i++)
		pad[i] ^= 0x36;
	err = err ? err : hash_two(hash_len, pad, block, p, n, out);
	for (i = 0; i < block; i++)
		pad[i] ^= 0x36 ^ 0x5c;
	err = err ? err : hash_two(hash_len, pad, block, out, hash_len, out);
	OPENSSL_cleanse(pad, sizeof(pad));
	return err;
}

/* RFC 8446 section 7.1.  One block of HKDF-Expand is enough, since nothing here is longer than the hash. */
int record_expand_label(uint8_t secret_len, const uint8_t *secret, const char *label, uint8_t *out, uint8_t len)
{
	uint8_t info[64], block[RECORD_SECRET_MAX];
	size_t n = strlen(label);
	int err;

	assert(len <= secret_len && n <= 32);
	info[0] = 0;
	info[1] = len;
	info[2] = (uint8_t)(6 + n);
	memcpy(info + 3, "tls13 ", 6);
	memcpy(info + 9, label, n);
	info[9 + n] = 0;  /* no context */
	info[10 + n] = 1; /* HKDF-Expand's counter */
	err = record_hmac(secret_len, secret, secret_len, info, 11 + n, block);
	if (!err)
		memcpy(out, block, len);
	OPENSSL_cleanse(block, sizeof(block));
	return err;
}

int record_derive(const struct record_suite *suite, struct record_direction *d)
{
	int err = record_expand_label(suite->secret_len, d->secret, "key", d->key, suite->key_len);

	d->seq = 0;
	return err ? err : record_expand_label(suite->secret_len, d->secret, "iv", d->iv, suite->iv_len);
}

int record_derive_next(const struct record_suite *suite, struct record_direction *d)
{
	uint8_t next[RECORD_SECRET_MAX];
	int err = record_expand_label(suite->secret_len, d->secret, "traffic upd", next, suite->secret_len);

	if (!err)
		memcpy(d->secret, next, suite->secret_len);
	OPENSSL_cleanse(next, sizeof(next));
	return err ? err : record_derive(suite, d);
}

/* P_hash of RFC 5246 section 5 with the suite's hash. */
static int prf(uint8_t secret_len, const uint8_t *secret, const uint8_t *seed, size_t seed_len, uint8_t *out, size_t len)
{
	uint8_t a[RECORD_SECRET_MAX + 128], block[RECORD_SECRET_MAX]; /* A(i), then the seed */
	size_t hash = secret_len, n;
	int err = -ENOMEM;

	assert(hash + seed_len <= sizeof(a));
	if (record_hmac(secret_len, secret, MASTER_LEN, seed, seed_len, a))
		goto out;
	memcpy(a + hash, seed, seed_len);
	while (len) {
		if (record_hmac(secret_len, secret, MASTER_LEN, a, hash + seed_len, block))
			goto out;
		n = len < hash ? len : hash;
		memcpy(out, block, n);
		out += n;
		len -= n;
		if (len && record_hmac(secret_len, secret, MASTER_LEN, a, hash, block))
			goto out;
		memcpy(a, block, hash);
	}
	err = 0;
out:
	OPENSSL_cleanse(a, sizeof(a));
	OPENSSL_cleanse(block, sizeof(block));
	return err;
}

int record_derive_12(const struct record_suite *suite, const uint8_t master[MASTER_LEN],
		     const uint8_t client_random[RANDOM_LEN], const uint8_t server_random[RANDOM_LEN], bool client,
		     struct record_direction *read, struct record_direction *write)
{
	static const char label[] = "key expansion";
	uint8_t seed[sizeof(label) - 1 + 2 * RANDOM_LEN], block[2 * (RECORD_KEY_MAX + RECORD_IV_MAX)];
	size_t key = suite->key_len, iv = suite->iv_len;
	struct record_direction *by_client = client ? write : read, *by_server = client ? read : write;
	int err;

	memcpy(seed, label, sizeof(label) - 1);
	memcpy(seed + sizeof(label) - 1, server_random, RANDOM_LEN);
	memcpy(seed + sizeof(label) - 1 + RANDOM_LEN, client_random, RANDOM_LEN);
	err = prf(suite->secret_len, master, seed, sizeof(seed), block, 2 * (key + iv));
	if (!err) { /* AEAD suites have no MAC keys: keys, then implicit nonces */
		memcpy(by_client->key, block, key);
		memcpy(by_server->key, block + key, key);
		memcpy(by_client->iv, block + 2 * key, iv);
		memcpy(by_server->iv, block + 2 * key + iv, iv);
	}
	OPENSSL_cleanse(block, sizeof(block));
	return err;
}
