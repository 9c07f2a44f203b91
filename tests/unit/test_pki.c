/* SPDX-License-Identifier: BSD-2-Clause */
/* The certificate authority: what it makes, what it refuses, and that it can make nothing for others. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/pki.h"
#include "base/session.h"
#include "base/tls.h"
#include "cli/verb.h"

static char dir[64], ca[80], why[512];

static int setup(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/test_pki.XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(ca, sizeof(ca), "%s/ca", dir);
	assert_int_equal(pki_init(ca, "demo", why, sizeof(why)), 0);
	return 0;
}

static int teardown(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

static mode_t mode_of(const char *name)
{
	char path[160];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", ca, name);
	assert_int_equal(stat(path, &st), 0);
	return st.st_mode & 0777;
}

static X509 *certificate(const char *name)
{
	char path[160];
	X509 *cert;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", ca, name);
	f = fopen(path, "r");
	assert_non_null(f);
	cert = PEM_read_X509(f, NULL, NULL, NULL);
	fclose(f);
	assert_non_null(cert);
	return cert;
}

static void test_names(void **state)
{
	static const char *const bad[] = {
		"baton://demo/host/0", "baton://demo/host/03", "baton://demo/host/+3", "baton://demo/host/65536",
		"baton://demo/hosts/3", "baton://demo/host/3/", "baton://demo/host/3 ", "baton://Demo/host/3", "baton:///host/3",
		"https://demo/host/3", "baton://demo/host/", "baton://de.mo/host/3", "baton://-demo/host/3", "", "baton://demo"};
	struct identity who, again;
	char text[IDENTITY_URI_MAX];

	(void)state;
	for (unsigned role = 0; role < ROLES; role++) {
		who = (struct identity){.pop = "pop-1", .role = role, .id = (uint16_t)(UINT16_MAX - role)};
		identity_print(&who, text);
		assert_int_equal(identity_parse(text, strlen(text), &again), 0);
		assert_true(!strcmp(who.pop, again.pop) && who.role == again.role && who.id == again.id);
		assert_int_equal(identity_parse(text, strlen(text) + 1, &again), -EINVAL); /* with the NUL */
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (identity_parse(bad[i], strlen(bad[i]), &who) != -EINVAL)
			fail_msg("accepted: %s", bad[i]);
	}
}

static void test_init(void **state)
{
	char other[100];

	(void)state;
	assert_int_equal(mode_of("ca.key"), 0600);
	assert_int_equal(mode_of("."), 0700);
	assert_int_equal(pki_init(ca, "demo", why, sizeof(why)), -EEXIST);
	assert_non_null(strstr(why, "stays as it is"));
	snprintf(other, sizeof(other), "%s/x", dir);
	assert_int_equal(pki_init(other, "Not A Name", why, sizeof(why)), -EINVAL);
	assert_int_equal(access(other, F_OK), -1);
	assert_int_equal(pki_issue(other, ROLE_HOST, 1, 0, why, sizeof(why)), -ENOENT);
	assert_non_null(strstr(why, "baton pki init"));
}

static void test_issue(void **state)
{
	struct identity who;
	X509 *cert;
	int64_t days;

	(void)state;
	assert_int_equal(pki_issue(ca, ROLE_HOST, 3, 0, why, sizeof(why)), 0);
	assert_int_equal(mode_of("host-3"), 0700);
	assert_int_equal(mode_of("host-3/key.pem"), 0600);
	cert = certificate("host-3/cert.pem");
	assert_int_equal(tls_certificate_identity(cert, &who), 0);
	assert_true(!strcmp(who.pop, "demo") && who.role == ROLE_HOST && who.id == 3);
	assert_int_equal(X509_get_key_usage(cert), KU_DIGITAL_SIGNATURE);
	assert_int_equal(X509_get_extended_key_usage(cert), XKU_SSL_SERVER | XKU_SSL_CLIENT);
	assert_int_equal(X509_check_ca(cert), 0);
	assert_int_equal(EVP_PKEY_get_bits(X509_get0_pubkey(cert)), 256);
	days = (tls_certificate_end(cert) - (int64_t)time(NULL) + 60) / 86400;
	assert_int_equal(days, PKI_DAYS);
	X509_free(cert);
	assert_int_equal(pki_issue(ca, ROLE_HOST, 3, 0, why, sizeof(why)), -EEXIST);
	assert_non_null(strstr(why, "baton pki renew"));
	assert_int_equal(pki_issue(ca, ROLE_HOST, 0, 0, why, sizeof(why)), -EINVAL);
	assert_int_equal(pki_issue(ca, ROLE_HOST, 4, PKI_DAYS_MAX + 1, why, sizeof(why)), -EINVAL);
	/* An operator connects and is never connected to. */
	assert_int_equal(pki_issue(ca, ROLE_OPERATOR, 1, 0, why, sizeof(why)), 0);
	cert = certificate("operator-1/cert.pem");
	assert_int_equal(X509_get_extended_key_usage(cert), XKU_SSL_CLIENT);
	X509_free(cert);
	/* Nothing outlives its authority. */
	assert_int_equal(pki_issue(ca, ROLE_HOST, 5, PKI_DAYS_MAX, why, sizeof(why)), 0);
	cert = certificate("host-5/cert.pem");
	X509 *authority = certificate("ca.pem");
	assert_true(tls_certificate_end(cert) <= tls_certificate_end(authority));
	X509_free(authority);
	X509_free(cert);
}

static void test_renew(void **state)
{
	X509 *first, *kept, *renewed;

	(void)state;
	assert_int_equal(pki_renew(ca, ROLE_SWITCH, 1, 0, false, why, sizeof(why)), -ENOENT);
	assert_non_null(strstr(why, "baton pki issue"));
	assert_int_equal(pki_issue(ca, ROLE_SWITCH, 1, 10, why, sizeof(why)), 0);
	first = certificate("switch-1/cert.pem");
	assert_int_equal(pki_renew(ca, ROLE_SWITCH, 1, 20, true, why, sizeof(why)), 0);
	kept = certificate("switch-1/cert.pem");
	assert_int_equal(EVP_PKEY_eq(X509_get0_pubkey(first), X509_get0_pubkey(kept)), 1);
	assert_true(tls_certificate_end(kept) > tls_certificate_end(first));
	assert_int_equal(pki_renew(ca, ROLE_SWITCH, 1, 20, false, why, sizeof(why)), 0);
	renewed = certificate("switch-1/cert.pem");
	assert_int_equal(EVP_PKEY_eq(X509_get0_pubkey(first), X509_get0_pubkey(renewed)), 0);
	assert_int_equal(mode_of("switch-1/key.pem"), 0600);
	X509_free(first);
	X509_free(kept);
	X509_free(renewed);
}

/* Signs a certificate with the authority's stolen key, for a name of the thief's choice; the verifier's verdict. */
static int verdict_for(const char *san)
{
	X509 *authority = certificate("ca.pem"), *cert = X509_new();
	EVP_PKEY *key = EVP_EC_gen("P-256"), *ca_key;
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *v = X509_STORE_CTX_new();
	X509_EXTENSION *e = X509V3_EXT_nconf_nid(NULL, NULL, NID_subject_alt_name, san);
	char path[160];
	int verdict;
	FILE *f;

	snprintf(path, sizeof(path), "%s/ca.key", ca);
	f = fopen(path, "r");
	ca_key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
	fclose(f);
	X509_set_version(cert, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), 7);
	X509_gmtime_adj(X509_getm_notBefore(cert), -60);
	X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
	X509_set_issuer_name(cert, X509_get_subject_name(authority));
	X509_set_pubkey(cert, key);
	X509_add_ext(cert, e, -1);
	X509_sign(cert, ca_key, EVP_sha256());
	X509_STORE_add_cert(store, authority);
	X509_STORE_CTX_init(v, store, cert, NULL);
	X509_verify_cert(v);
	verdict = X509_STORE_CTX_get_error(v);
	X509_EXTENSION_free(e);
	X509_STORE_CTX_free(v);
	X509_STORE_free(store);
	X509_free(cert);
	X509_free(authority);
	EVP_PKEY_free(key);
	EVP_PKEY_free(ca_key);
	return verdict;
}

static void test_constraints(void **state)
{
	(void)state;
	assert_int_equal(verdict_for("URI:baton://demo/host/1"), X509_V_OK);
	assert_int_equal(verdict_for("URI:baton://other/host/1"), X509_V_ERR_PERMITTED_VIOLATION);
	assert_int_equal(verdict_for("URI:https://www.example.com/"), X509_V_ERR_PERMITTED_VIOLATION);
	assert_int_equal(verdict_for("DNS:www.example.com"), X509_V_ERR_EXCLUDED_VIOLATION);
	assert_int_equal(verdict_for("IP:192.0.2.1"), X509_V_ERR_EXCLUDED_VIOLATION);
	assert_int_equal(verdict_for("IP:2001:db8::1"), X509_V_ERR_EXCLUDED_VIOLATION);
}

static void test_load(void **state)
{
	struct tls_identity *t;
	char path[160], key[200], cert[200];
	char *text;
	size_t len;

	(void)state;
	snprintf(path, sizeof(path), "%s/controller-1", ca);
	assert_int_equal(tls_identity_load(path, &t, why, sizeof(why)), -ENOENT);
	assert_int_equal(pki_issue(ca, ROLE_CONTROLLER, 1, 0, why, sizeof(why)), 0);
	assert_int_equal(tls_identity_load(path, &t, why, sizeof(why)), 0);
	assert_int_equal(tls_identity_self(t)->role, ROLE_CONTROLLER);
	tls_identity_free(t);
	/* A key that is not the certificate's. */
	snprintf(key, sizeof(key), "%s/host-3/key.pem", ca);
	snprintf(cert, sizeof(cert), "%s/key.pem", path);
	assert_int_equal(file_read(key, 4096, &text, &len), 0);
	assert_int_equal(file_write(cert, text, len, 0600), 0);
	assert_int_equal(tls_identity_load(path, &t, why, sizeof(why)), -EINVAL);
	assert_non_null(strstr(why, "not that of cert.pem"));
	free(text);
	assert_int_equal(file_write(cert, "rubbish\n", 8, 0600), 0);
	assert_int_equal(tls_identity_load(path, &t, why, sizeof(why)), -EINVAL);
	assert_int_equal(pki_renew(ca, ROLE_CONTROLLER, 1, 0, false, why, sizeof(why)), 0);
	assert_int_equal(tls_identity_load(path, &t, why, sizeof(why)), 0);
	tls_identity_free(t);
}

struct seen {
	unsigned n, authorities, unreadable;
	enum role last;
};

static void on_entry(void *ctx, const struct pki_entry *e)
{
	struct seen *s = ctx;

	s->n++;
	s->authorities += e->authority;
	s->unreadable += !e->authority && e->who.id == 0;
	if (!e->authority) {
		assert_true(e->who.role >= s->last);
		s->last = e->who.role;
	}
}

static int verb(const char *line)
{
	char text[256], *argv[16];
	int argc = 0, out = dup(1), err = dup(2), null = open("/dev/null", O_WRONLY), status;

	snprintf(text, sizeof(text), "%s", line);
	for (char *w = strtok(text, " "); w; w = strtok(NULL, " "))
		argv[argc++] = w;
	argv[argc] = NULL;
	fflush(stdout);
	dup2(null, 1);
	dup2(null, 2);
	status = cli_pki(argc, argv);
	fflush(stdout);
	dup2(out, 1);
	dup2(err, 2);
	close(out);
	close(err);
	close(null);
	return status;
}

static void test_show(void **state)
{
	struct seen s = {.n = 0};
	char path[160], line[200];

	(void)state;
	snprintf(line, sizeof(line), "pki show --dir %s", ca);
	assert_int_equal(verb(line), 0);
	assert_int_equal(pki_issue_between(ca, ROLE_HOST, 9, 7200, 3600, why, sizeof(why)), 0);
	assert_int_equal(verb(line), 1); /* something has expired */
	assert_int_equal(pki_renew(ca, ROLE_HOST, 9, 0, true, why, sizeof(why)), 0);
	assert_int_equal(verb(line), 0);
	assert_int_equal(pki_issue(ca, ROLE_HOST, 10, 0, why, sizeof(why)), 0);
	snprintf(path, sizeof(path), "%s/host-10/cert.pem", ca);
	assert_int_equal(truncate(path, 100), 0);
	assert_int_equal(verb(line), 1);
	assert_int_equal(pki_list(ca, on_entry, &s, why, sizeof(why)), 0);
	assert_int_equal(s.authorities, 1);
	assert_int_equal(s.unreadable, 1);
	assert_true(s.n >= 4);
}

static void test_verb(void **state)
{
	char line[200];

	(void)state;
	assert_int_equal(verb("pki"), 2);
	assert_int_equal(verb("pki --help"), 0);
	assert_int_equal(verb("pki revoke --dir x"), 2);
	assert_int_equal(verb("pki init --dir x"), 2);
	assert_int_equal(verb("pki issue --dir x --role host"), 2);
	assert_int_equal(verb("pki issue --dir x --role ghost --id 1"), 2);
	assert_int_equal(verb("pki issue --dir x --role host --id 1x"), 2);
	assert_int_equal(verb("pki issue --dir x --role host --id 0"), 2);
	assert_int_equal(verb("pki issue --dir /nonexistent --role host --id 1"), 1);
	snprintf(line, sizeof(line), "pki issue --dir %s --role host --id 40 --days 5", ca);
	assert_int_equal(verb(line), 0);
	assert_int_equal(verb(line), 1);
	snprintf(line, sizeof(line), "pki renew --dir %s --role host --id 40 --keep-key", ca);
	assert_int_equal(verb(line), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names), cmocka_unit_test(test_init),	  cmocka_unit_test(test_issue),
		cmocka_unit_test(test_renew), cmocka_unit_test(test_constraints), cmocka_unit_test(test_load),
		cmocka_unit_test(test_show),  cmocka_unit_test(test_verb),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
