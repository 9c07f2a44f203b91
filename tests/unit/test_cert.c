/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Certificates of clients: what is known of one, there and back, at every cut; the fields that backends get; and the name of an edge's
 * rules, which changes with all that they say and with nothing else.
 */
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "l7/tls/cert_fact.h"
#include "l7/tls/cert_rules.h"

static EVP_PKEY *key;
static uint8_t octets[CERT_FACT_MAX + 64];

static X509 *make(const char *cn, long serial)
{
	X509 *x = X509_new();
	X509_NAME *name = X509_get_subject_name(x);

	X509_set_version(x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x), serial);
	X509_gmtime_adj(X509_getm_notBefore(x), 0);
	X509_gmtime_adj(X509_getm_notAfter(x), 3600);
	X509_NAME_add_entry_by_txt(name, "O", MBSTRING_UTF8, (const unsigned char *)"Example", -1, -1, 0);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)cn, -1, -1, 0);
	X509_set_issuer_name(x, name);
	X509_set_pubkey(x, key);
	assert_true(X509_sign(x, key, EVP_sha256()));
	return x;
}

/* Rules, and the certificates of these names, behind each other; *leaf: where the second begins. */
static size_t lay(const char *const *cn, size_t n_cn, size_t *leaf)
{
	uint8_t *at = octets + CERT_RULES_LEN;
	size_t i;

	memset(octets, 0xab, CERT_RULES_LEN);
	*leaf = CERT_RULES_LEN;
	for (i = 0; i < n_cn; i++) {
		X509 *x = make(cn[i], (long)i);

		i2d_X509(x, &at);
		X509_free(x);
		if (!i)
			*leaf = (size_t)(at - octets);
	}
	return (size_t)(at - octets);
}

static void test_there_and_back(void **state)
{
	static const char *const names[] = { "alice", "mid", "more" };
	struct cert_fact *f;
	uint8_t digest[32];
	size_t n, leaf, len;
	const uint8_t *der;

	(void)state;
	f = cert_fact_new(octets, lay(names, 0, &leaf));
	assert_non_null(f);
	assert_true(f->n == CERT_RULES_LEN && !f->n_leaf && !f->subject && !cert_fact_fields_len(f));
	cert_fact_free(f);

	n = lay(names, 3, &leaf);
	f = cert_fact_new(octets, n);
	assert_non_null(f);
	SHA256(octets + CERT_RULES_LEN, leaf - CERT_RULES_LEN, digest);
	assert_memory_equal(f->octets, octets, n);
	assert_memory_equal(f->sha256, digest, 32);
	assert_string_equal(f->subject, "CN=alice,O=Example");
	assert_int_equal(f->n_leaf, leaf - CERT_RULES_LEN);
	assert_true(cert_der(f->octets + CERT_RULES_LEN, n - CERT_RULES_LEN, 0, &der, &len) && len == f->n_leaf);
	assert_true(cert_der(f->octets + CERT_RULES_LEN, n - CERT_RULES_LEN, 2, &der, &len) && der + len == f->octets + n);
	assert_false(cert_der(f->octets + CERT_RULES_LEN, n - CERT_RULES_LEN, 3, &der, &len));
	cert_fact_free(f);
	/* Every cut that is not behind a certificate, and what follows the last. */
	for (size_t cut = 0; cut < n; cut++) {
		f = cert_fact_new(octets, cut);
		der = octets + CERT_RULES_LEN;
		if (cut == CERT_RULES_LEN || cut == leaf)
			assert_non_null(f);
		else if (f) /* the second one's end */
			assert_true(cert_der(der, n - CERT_RULES_LEN, 2, &der, &len) && der == octets + cut);
		cert_fact_free(f);
	}
	octets[n] = 0;
	assert_null(cert_fact_new(octets, n + 1));
}

static void test_what_is_none(void **state)
{
	static const char *const names[] = { "alice" };
	static const uint8_t heads[][6] = { { 0x31, 0x00 },		     { 0x30, 0x80 },		     { 0x30, 0x81, 0x01, 0x00 }, { 0x30, 0x82, 0x00, 0x80 },
					    { 0x30, 0x85, 1, 0, 0, 0 },	     { 0x30, 0x84, 0xff, 0xff, 0xff, 0xff }, { 0x30, 0x05, 0 } };
	size_t n, leaf, i;
	const uint8_t *der;

	(void)state;
	for (i = 0; i < sizeof(heads) / sizeof(*heads); i++)
		assert_false(cert_der(heads[i], sizeof(heads[i]), 0, &der, &n));
	/* DER, but no certificate; and one with something behind it that its length has in it. */
	n = lay(names, 1, &leaf);
	memcpy(octets + CERT_RULES_LEN, "\x30\x03\x02\x01\x07", 5);
	assert_null(cert_fact_new(octets, CERT_RULES_LEN + 5));
	n = lay(names, 1, &leaf);
	assert_int_equal(octets[CERT_RULES_LEN + 1], 0x82);
	octets[CERT_RULES_LEN + 3]++;
	octets[n] = 0;
	assert_null(cert_fact_new(octets, n + 1));
	octets[CERT_RULES_LEN + 3]--;
	assert_non_null(der = (void *)cert_fact_new(octets, n));
	cert_fact_free((struct cert_fact *)(uintptr_t)der);
	/* As long as may be, and longer. */
	n = lay(names, 1, &leaf);
	while (n + 128 <= CERT_FACT_MAX) {
		octets[n] = 0x30;
		octets[n + 1] = 0x7e;
		n += 128;
	}
	der = (void *)cert_fact_new(octets, n);
	assert_non_null(der);
	cert_fact_free((struct cert_fact *)(uintptr_t)der);
	octets[n] = 0x30;
	octets[n + 1] = 0x7e;
	assert_null(cert_fact_new(octets, n + 128));
}

/* A byte sequence (RFC 8941) at `at`: compares it, and returns what follows. */
static const char *sequence(const char *at, const uint8_t *der, size_t n)
{
	static uint8_t plain[CERT_FACT_MAX + 8];
	const char *end;

	assert_int_equal(*at, ':');
	end = strchr(at + 1, ':');
	assert_non_null(end);
	assert_in_range(EVP_DecodeBlock(plain, (const unsigned char *)at + 1, (int)(end - at - 1)), n, n + 2);
	assert_memory_equal(plain, der, n);
	return end + 1;
}

static void test_fields(void **state)
{
	static const char *const names[] = { "alice", "mid", "more" };
	static char text[4 * CERT_FACT_MAX];
	struct cert_fact *f;
	const uint8_t *der;
	size_t n, leaf, len, of;
	const char *at;

	(void)state;
	for (of = 0; of <= 3; of++) {
		n = lay(names, of, &leaf);
		f = cert_fact_new(octets, n);
		memset(text, 0, sizeof(text));
		len = cert_fact_fields(f, text);
		assert_int_equal(len, cert_fact_fields_len(f));
		assert_int_equal(len, strlen(text));
		at = text;
		if (of) {
			assert_memory_equal(at, "Client-Cert: ", 13);
			at = sequence(at + 13, octets + CERT_RULES_LEN, leaf - CERT_RULES_LEN);
			assert_memory_equal(at, "\r\n", 2);
			at += 2;
		}
		for (unsigned i = 1; i < of; i++) {
			const char *before = i == 1 ? "Client-Cert-Chain: " : ", ";

			assert_true(cert_der(octets + CERT_RULES_LEN, n - CERT_RULES_LEN, i, &der, &len));
			assert_memory_equal(at, before, strlen(before));
			at = sequence(at + strlen(before), der, len);
		}
		assert_string_equal(at, of > 1 ? "\r\n" : "");
		cert_fact_free(f);
	}
}

/* What a name says reaches no log as it is. */
static void test_subjects(void **state)
{
	const char *names[] = { "a,b\n\xc3\xa9\"" };
	struct cert_fact *f;
	size_t leaf;

	(void)state;
	f = cert_fact_new(octets, lay(names, 1, &leaf));
	assert_string_equal(f->subject, "CN=a\\,b\\0A\\C3\\A9\\\",O=Example");
	cert_fact_free(f);
}

/* --- rules -------------------------------------------------------------------------------------------------------------------- */

static char dir[] = "/tmp/baton-cert-XXXXXX";

static void put(const char *file, X509 **x, size_t n)
{
	char path[300];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	f = fopen(path, "w");
	assert_non_null(f);
	while (n--)
		PEM_write_X509(f, *x++);
	fclose(f);
}

static struct cert_rules *rules(const char *ca, enum client_cert_verify verify, uint8_t depth, bool chain)
{
	struct client_cert_conf conf = { .verify = verify, .depth = depth, .chain = chain };
	char why[400];
	struct cert_rules *r;

	snprintf(conf.ca, sizeof(conf.ca), "%s/%s", dir, ca);
	r = cert_rules_new(&conf, why, sizeof(why));
	assert_non_null(r);
	return r;
}

static bool same(struct cert_rules *a, struct cert_rules *b)
{
	bool is = cert_rules_same(a, b);

	cert_rules_free(a);
	cert_rules_free(b);
	return is;
}

static void test_names_of_rules(void **state)
{
	X509 *x[] = { make("one", 1), make("two", 2), make("one", 1) };
	(void)state;
	put("one", x, 1);
	put("both", x, 2);
	put("other", x + 1, 2); /* two, and another one of that name */
	assert_true(same(rules("both", CLIENT_CERT_REQUIRED, 4, false), rules("both", CLIENT_CERT_REQUIRED, 4, false)));
	assert_false(same(rules("both", CLIENT_CERT_REQUIRED, 4, false), rules("one", CLIENT_CERT_REQUIRED, 4, false)));
	assert_false(same(rules("both", CLIENT_CERT_REQUIRED, 4, false), rules("other", CLIENT_CERT_REQUIRED, 4, false)));
	assert_false(same(rules("both", CLIENT_CERT_REQUIRED, 4, false), rules("both", CLIENT_CERT_OPTIONAL, 4, false)));
	assert_false(same(rules("both", CLIENT_CERT_REQUIRED, 4, false), rules("both", CLIENT_CERT_REQUIRED, 5, false)));
	assert_false(same(rules("both", CLIENT_CERT_REQUIRED, 4, false), rules("both", CLIENT_CERT_REQUIRED, 4, true)));
	assert_false(same(NULL, rules("one", CLIENT_CERT_OPTIONAL, 4, false)));
	assert_true(same(NULL, NULL));
	/* The same in another order, in several files, twice. */
	put("b.pem", x, 1);
	put("a.pem", x + 1, 1);
	put("c.pem", x, 1);
	assert_true(same(rules("both", CLIENT_CERT_REQUIRED, 4, false), rules("", CLIENT_CERT_REQUIRED, 4, false)));
	for (size_t i = 0; i < 3; i++)
		X509_free(x[i]);
}

static void test_who_agrees(void **state)
{
	X509 *x = make("one", 1);
	struct cert_rules *required, *optional;
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	uint8_t shown[CERT_RULES_LEN + 9] = { 0 };
	SSL *ssl;

	(void)state;
	put("one", &x, 1);
	required = rules("one", CLIENT_CERT_REQUIRED, 4, false);
	optional = rules("one", CLIENT_CERT_OPTIONAL, 4, false);
	assert_true(cert_rules_agree(NULL, NULL, 0));
	assert_false(cert_rules_agree(NULL, shown, sizeof(shown)));
	assert_false(cert_rules_agree(optional, NULL, 0));
	assert_false(cert_rules_agree(optional, shown, sizeof(shown)));
	/* Their name is that of the sessions. */
	for (int i = 0; i < 2; i++) {
		struct cert_rules *r = i ? required : optional;
		struct cert_fact *f;

		assert_int_equal(cert_rules_use(r, ctx), 0);
		ssl = SSL_new(ctx);
		SSL_set_accept_state(ssl);
		f = cert_rules_fact(r, ssl); /* nobody has shown anything */
		assert_true(i ? !f : f != NULL);
		if (f) {
			assert_true(cert_rules_agree(optional, f->octets, f->n));
			assert_false(cert_rules_agree(optional, f->octets, f->n - 1));
			assert_false(cert_rules_agree(required, f->octets, f->n));
		}
		cert_fact_free(f);
		SSL_free(ssl);
	}
	SSL_CTX_free(ctx);
	cert_rules_free(required);
	cert_rules_free(optional);
	X509_free(x);
}

static void test_files_that_are_none(void **state)
{
	static const char *const files[] = { "empty", "nowhere", "nothing.d", "one" };
	X509 *x = make("one", 1);
	char why[400], path[300];

	(void)state;
	put("one", &x, 1);
	put("empty", NULL, 0);
	snprintf(path, sizeof(path), "%s/nothing.d", dir);
	assert_int_equal(mkdir(path, 0700), 0);
	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++)
		for (int crl = 0; crl < 2; crl++) {
			struct client_cert_conf conf = { .depth = 4 };
			struct cert_rules *r;

			snprintf(conf.ca, sizeof(conf.ca), "%s/%s", dir, crl ? "one" : files[i]);
			snprintf(conf.crl, sizeof(conf.crl), "%s%s%s", crl ? dir : "", crl ? "/" : "", crl ? files[i] : "");
			r = cert_rules_new(&conf, why, sizeof(why));
			assert_true(i < 3 || crl ? !r : r != NULL); /* a certificate is no list of revoked ones */
			assert_true(r || strstr(why, files[i]));
			cert_rules_free(r);
		}
	rmdir(path);
	X509_free(x);
}

static int begin(void **state)
{
	(void)state;
	key = EVP_EC_gen("P-256");
	return !key || !mkdtemp(dir);
}

static int end(void **state)
{
	static const char *const files[] = { "one", "both", "other", "a.pem", "b.pem", "c.pem", "empty" };
	char path[300];

	(void)state;
	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
		unlink(path);
	}
	EVP_PKEY_free(key);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_there_and_back), cmocka_unit_test(test_what_is_none),   cmocka_unit_test(test_fields),
		cmocka_unit_test(test_subjects),       cmocka_unit_test(test_names_of_rules), cmocka_unit_test(test_who_agrees),
		cmocka_unit_test(test_files_that_are_none),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
