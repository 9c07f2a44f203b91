/* SPDX-License-Identifier: BSD-2-Clause */
/* Our TLS 1.3 key schedule against OpenSSL's own, and what it captures. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <openssl/rand.h>
#include <string.h>

#include "l7/tls/record_schedule.h"

#define ROUNDS 2000

struct ask {
	const char *digest;
	int mode;
	const char *label;
	uint8_t key[80], salt[48], data[48];
	size_t n_key, n_salt, n_data, len;
	bool no_key;
};

static int derive(const char *properties, const struct ask *a, uint8_t *out)
{
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "TLS13-KDF", properties);
	EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(kdf);
	OSSL_PARAM params[8], *p = params;
	int rc, mode = a->mode;

	assert_non_null(ctx);
	*p++ = OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode);
	*p++ = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)(uintptr_t)a->digest, 0);
	if (!a->no_key)
		*p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)(uintptr_t)a->key, a->n_key);
	if (a->n_salt)
		*p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)(uintptr_t)a->salt, a->n_salt);
	*p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_PREFIX, (char[]){ "tls13 " }, 6);
	*p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_LABEL, (void *)(uintptr_t)a->label, strlen(a->label));
	if (a->n_data)
		*p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_DATA, (void *)(uintptr_t)a->data, a->n_data);
	*p = OSSL_PARAM_construct_end();
	rc = EVP_KDF_derive(ctx, out, a->len, params);
	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(kdf);
	return rc;
}

static uint8_t byte(void)
{
	uint8_t b;

	assert_int_equal(RAND_bytes(&b, 1), 1);
	return b;
}

static void test_same(void **state)
{
	static const char *const labels[] = { "derived", "c hs traffic", "s hs traffic", "c ap traffic", "s ap traffic", "exp master",
					      "res master", "finished", "key", "iv", "traffic upd", "resumption", "c e traffic",
					      "ext binder", "res binder" };
	const char *properties = schedule_properties();
	uint8_t ours[700], theirs[700];

	(void)state;
	assert_non_null(properties);
	for (int i = 0; i < ROUNDS; i++) {
		struct ask a = { .digest = i & 1 ? "SHA2-256" : "SHA384", .label = labels[byte() % 15] };
		size_t hash = i & 1 ? 32 : 48;

		RAND_bytes(a.key, sizeof(a.key));
		RAND_bytes(a.salt, sizeof(a.salt));
		RAND_bytes(a.data, sizeof(a.data));
		if (i & 2) { /* the shared secret; its length is the group's */
			a.mode = EVP_KDF_HKDF_MODE_EXTRACT_ONLY;
			a.no_key = byte() & 1;
			a.n_key = 32 + byte() % 49;
			a.n_salt = byte() & 1 ? hash : 0;
			a.len = hash;
			a.label = "derived";
		} else {
			a.mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
			a.n_key = hash;
			a.n_data = byte() & 1 ? hash : 0;
			a.len = i % 50 < 4 ? 1u + byte() + 2u * byte() % 400 : byte() & 1 ? hash : 12; /* exporters may be long */
			if (a.len > sizeof(ours))
				a.len = sizeof(ours);
		}
		assert_int_equal(derive("provider=default", &a, theirs), 1);
		assert_int_equal(derive(properties, &a, ours), 1);
		assert_memory_equal(ours, theirs, a.len);
	}
}

static void test_captured(void **state)
{
	struct ask a = { .digest = "SHA256", .mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY, .n_key = 32, .n_data = 32, .len = 32 };
	struct record_capture c = { .client_len = 0 };
	uint8_t out[32];

	(void)state;
	schedule_capture(&c);
	a.label = "c hs traffic";
	assert_int_equal(derive(schedule_properties(), &a, out), 1);
	assert_int_equal(c.client_len + c.server_len, 0);
	a.label = "c ap traffic";
	assert_int_equal(derive(schedule_properties(), &a, out), 1);
	assert_int_equal(c.client_len, 32);
	assert_memory_equal(c.client_secret, out, 32);
	assert_int_equal(c.server_len, 0);
	a.label = "s ap traffic";
	assert_int_equal(derive(schedule_properties(), &a, out), 1);
	assert_memory_equal(c.server_secret, out, 32);
	schedule_capture(NULL);
	a.data[0] = 1;
	assert_int_equal(derive(schedule_properties(), &a, out), 1);
	assert_memory_not_equal(c.server_secret, out, 32);
}

static void test_refused(void **state)
{
	struct ask a = { .digest = "SHA512", .mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY, .label = "key", .n_key = 32, .len = 16 };
	uint8_t out[48];
	EVP_KDF *kdf;

	(void)state;
	assert_int_equal(derive(schedule_properties(), &a, out), 0); /* no suite of ours has it */
	a.digest = "SHA256";
	a.mode = EVP_KDF_HKDF_MODE_EXTRACT_AND_EXPAND;
	assert_int_equal(derive(schedule_properties(), &a, out), 0);
	a.mode = EVP_KDF_HKDF_MODE_EXTRACT_ONLY;
	assert_int_equal(derive(schedule_properties(), &a, out), 0); /* 16 bytes are no secret */
	/* Nobody else in the process gets it. */
	kdf = EVP_KDF_fetch(NULL, "HKDF", schedule_properties());
	assert_non_null(kdf);
	assert_string_equal(OSSL_PROVIDER_get0_name(EVP_KDF_get0_provider(kdf)), "default");
	EVP_KDF_free(kdf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same),
		cmocka_unit_test(test_captured),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests_name("record_schedule", tests, NULL, NULL);
}
