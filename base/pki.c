/* SPDX-License-Identifier: BSD-2-Clause */
/* The POP's certificate authority.  See pki.h. */
#include "base/pki.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/tls.h"

#define DAY_S 86400
#define CLOCK_SKEW_S 300 /* certificates begin a little in the past: clocks of a POP differ */
#define PATH_LEN 4096
#define DIR_MAX 400

struct authority {
	X509 *cert;
	EVP_PKEY *key;
	char pop[64];
};

struct span {
	int64_t begins, ends;
};

static int say(char *why, size_t why_len, int rc, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

static int say(char *why, size_t why_len, int rc, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(why, why_len, fmt, args);
	va_end(args);
	ERR_clear_error();
	return rc;
}

static const char *openssl_word(void)
{
	const char *word = ERR_reason_error_string(ERR_peek_last_error());

	return word ? word : "unknown error";
}

/* --- certificates ---------------------------------------------------------------------------------- */

static int add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *e;
	int ok;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	e = X509V3_EXT_nconf_nid(NULL, &ctx, nid, value);
	ok = e && X509_add_ext(cert, e, -1);
	X509_EXTENSION_free(e);
	return ok ? 0 : -EINVAL;
}

/* 127 random bits: unpredictable, positive, and no counter file to lose. */
static int set_serial(X509 *cert)
{
	unsigned char bytes[16];
	BIGNUM *n;
	int ok;

	if (RAND_bytes(bytes, sizeof(bytes)) != 1)
		return -EIO;
	bytes[0] = (unsigned char)((bytes[0] & 0x3f) | 0x40);
	n = BN_bin2bn(bytes, sizeof(bytes), NULL);
	ok = n && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(cert));
	BN_free(n);
	return ok ? 0 : -ENOMEM;
}

/* A certificate without extensions and signature; its issuer is itself when `issuer` is NULL. */
static X509 *certificate_new(const char *common_name, X509 *issuer, EVP_PKEY *key, struct span valid)
{
	X509 *cert = X509_new();
	X509_NAME *name;

	if (!cert)
		return NULL;
	name = X509_get_subject_name(cert);
	if (!X509_set_version(cert, 2) || set_serial(cert) ||
	    !X509_NAME_add_entry_by_txt(name, "O", MBSTRING_ASC, (const unsigned char *)"Baton", -1, -1, 0) ||
	    !X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)common_name, -1, -1, 0) ||
	    !X509_set_issuer_name(cert, issuer ? X509_get_subject_name(issuer) : name) || !X509_set_pubkey(cert, key) ||
	    !ASN1_TIME_set(X509_getm_notBefore(cert), (time_t)valid.begins) ||
	    !ASN1_TIME_set(X509_getm_notAfter(cert), (time_t)valid.ends)) {
		X509_free(cert);
		return NULL;
	}
	return cert;
}

/* One name of a constraint, from its DER-to-be bytes; an empty name stands for all of its kind. */
static int add_subtree(STACK_OF(GENERAL_SUBTREE) **list, int type, const void *bytes, int len)
{
	GENERAL_SUBTREE *tree = GENERAL_SUBTREE_new();
	ASN1_STRING *name = ASN1_STRING_type_new(type == GEN_IPADD ? V_ASN1_OCTET_STRING : V_ASN1_IA5STRING);

	if (!*list)
		*list = sk_GENERAL_SUBTREE_new_null();
	if (!tree || !name || !*list || !ASN1_STRING_set(name, bytes, len) || !sk_GENERAL_SUBTREE_push(*list, tree)) {
		GENERAL_SUBTREE_free(tree);
		ASN1_STRING_free(name);
		return -ENOMEM;
	}
	GENERAL_NAME_set0_value(tree->base, type, name);
	return 0;
}

/* URIs whose host is the POP, and nothing that a verifier takes for the name of a server. */
static int add_name_constraints(X509 *cert, const char *pop)
{
	static const unsigned char any[32]; /* address and mask, of either family */
	NAME_CONSTRAINTS *nc = NAME_CONSTRAINTS_new();
	int rc = -ENOMEM;

	if (nc && !add_subtree(&nc->permittedSubtrees, GEN_URI, pop, (int)strlen(pop)) &&
	    !add_subtree(&nc->excludedSubtrees, GEN_DNS, "", 0) &&
	    !add_subtree(&nc->excludedSubtrees, GEN_IPADD, any, 8) && !add_subtree(&nc->excludedSubtrees, GEN_IPADD, any, 32) &&
	    X509_add1_ext_i2d(cert, NID_name_constraints, nc, 1, X509V3_ADD_APPEND) == 1)
		rc = 0;
	NAME_CONSTRAINTS_free(nc);
	return rc;
}

/* Self-signed.  What it may sign is limited to URIs of this POP. */
static X509 *authority_certificate(const char *pop, EVP_PKEY *key)
{
	int64_t now = (int64_t)time(NULL);
	char name[128];
	X509 *cert;

	snprintf(name, sizeof(name), "authority of POP %s", pop);
	cert = certificate_new(name, NULL, key, (struct span){now - CLOCK_SKEW_S, now + (int64_t)PKI_CA_DAYS * DAY_S});
	if (cert && (add_extension(cert, cert, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") ||
		     add_extension(cert, cert, NID_key_usage, "critical,keyCertSign,cRLSign") ||
		     add_extension(cert, cert, NID_subject_key_identifier, "hash") ||
		     add_name_constraints(cert, pop) || !X509_sign(cert, key, EVP_sha256()))) {
		X509_free(cert);
		return NULL;
	}
	return cert;
}

static X509 *leaf_certificate(const struct authority *a, const struct identity *who, EVP_PKEY *key, struct span valid)
{
	char name[64], uri[IDENTITY_URI_MAX + 16], text[IDENTITY_URI_MAX];
	/* Daemons accept and connect; an operator only connects. */
	const char *uses = who->role == ROLE_OPERATOR ? "clientAuth" : "serverAuth,clientAuth";
	X509 *cert;

	identity_print(who, text);
	/* A blank in the name keeps verifiers from taking it for a host's. */
	snprintf(name, sizeof(name), "%s %u", role_name(who->role), who->id);
	snprintf(uri, sizeof(uri), "URI:%s", text);
	cert = certificate_new(name, a->cert, key, valid);
	if (cert && (add_extension(cert, a->cert, NID_basic_constraints, "critical,CA:FALSE") ||
		     add_extension(cert, a->cert, NID_key_usage, "critical,digitalSignature") ||
		     add_extension(cert, a->cert, NID_ext_key_usage, uses) ||
		     add_extension(cert, a->cert, NID_subject_key_identifier, "hash") ||
		     add_extension(cert, a->cert, NID_authority_key_identifier, "keyid:always") ||
		     add_extension(cert, a->cert, NID_subject_alt_name, uri) || !X509_sign(cert, a->key, EVP_sha256()))) {
		X509_free(cert);
		return NULL;
	}
	return cert;
}

/* --- files ------------------------------------------------------------------------------------------- */

static int path_of(char out[PATH_LEN], const char *dir, const char *file)
{
	return (size_t)snprintf(out, PATH_LEN, "%s/%s", dir, file) < PATH_LEN ? 0 : -ENAMETOOLONG;
}

static int write_pem(BIO *bio, const char *dir, const char *file, mode_t mode)
{
	char path[PATH_LEN], *text;
	long len = BIO_get_mem_data(bio, &text);
	int rc = path_of(path, dir, file);

	if (!rc)
		rc = file_write(path, text, (size_t)len, mode);
	BIO_free(bio);
	return rc;
}

static int write_certificate(X509 *cert, const char *dir, const char *file)
{
	BIO *bio = BIO_new(BIO_s_mem());

	if (!bio || !PEM_write_bio_X509(bio, cert)) {
		BIO_free(bio);
		return -ENOMEM;
	}
	return write_pem(bio, dir, file, 0644);
}

static int write_key(EVP_PKEY *key, const char *dir, const char *file)
{
	BIO *bio = BIO_new(BIO_s_secmem());

	if (!bio || !PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL)) {
		BIO_free(bio);
		return -ENOMEM;
	}
	return write_pem(bio, dir, file, 0600);
}

static BIO *open_pem(const char *dir, const char *file)
{
	char path[PATH_LEN];

	return path_of(path, dir, file) ? NULL : BIO_new_file(path, "r");
}

static X509 *read_certificate(const char *dir, const char *file)
{
	BIO *bio = open_pem(dir, file);
	X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;

	BIO_free(bio);
	return cert;
}

static EVP_PKEY *read_key(const char *dir, const char *file)
{
	BIO *bio = open_pem(dir, file);
	EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;

	BIO_free(bio);
	return key;
}

/* --- the authority ------------------------------------------------------------------------------------ */

/* The POP's name is where the authority's limits have it: the first permitted URI. */
static int authority_pop(X509 *cert, char pop[64])
{
	NAME_CONSTRAINTS *nc = X509_get_ext_d2i(cert, NID_name_constraints, NULL, NULL);
	const GENERAL_SUBTREE *tree = nc ? sk_GENERAL_SUBTREE_value(nc->permittedSubtrees, 0) : NULL;
	int rc = -EINVAL;

	if (tree && tree->base->type == GEN_URI) {
		const ASN1_IA5STRING *uri = tree->base->d.uniformResourceIdentifier;

		if (snprintf(pop, 64, "%.*s", ASN1_STRING_length(uri), (const char *)ASN1_STRING_get0_data(uri)) < 64 &&
		    identity_pop_ok(pop))
			rc = 0;
	}
	NAME_CONSTRAINTS_free(nc);
	return rc;
}

static void authority_close(struct authority *a)
{
	X509_free(a->cert);
	EVP_PKEY_free(a->key);
}

static int authority_open(const char *dir, bool with_key, struct authority *a, char *why, size_t why_len)
{
	memset(a, 0, sizeof(*a));
	if (strlen(dir) > DIR_MAX)
		return say(why, why_len, -ENAMETOOLONG, "--dir: longer than %d bytes", DIR_MAX);
	a->cert = read_certificate(dir, "ca.pem");
	if (!a->cert)
		return say(why, why_len, -ENOENT, "%s/ca.pem: no authority here (%s): make one with baton pki init", dir,
			   openssl_word());
	if (authority_pop(a->cert, a->pop)) {
		authority_close(a);
		return say(why, why_len, -EINVAL, "%s/ca.pem was not made by baton pki init: it names no POP", dir);
	}
	if (!with_key)
		return 0;
	a->key = read_key(dir, "ca.key");
	if (!a->key || X509_check_private_key(a->cert, a->key) != 1) {
		authority_close(a);
		return say(why, why_len, -EACCES, "%s/ca.key: cannot read the authority's key, or it is not that of ca.pem (%s)",
			   dir, openssl_word());
	}
	return 0;
}

int pki_init(const char *dir, const char *pop, char *why, size_t why_len)
{
	char path[PATH_LEN];
	EVP_PKEY *key;
	X509 *cert;
	int rc;

	if (!identity_pop_ok(pop))
		return say(why, why_len, -EINVAL, "POP name \"%s\": a-z, 0-9 and '-' inside, at most 63", pop);
	if (strlen(dir) > DIR_MAX)
		return say(why, why_len, -ENAMETOOLONG, "--dir: longer than %d bytes", DIR_MAX);
	snprintf(path, sizeof(path), "%s/ca.key", dir);
	if (access(path, F_OK) == 0)
		return say(why, why_len, -EEXIST, "%s: there is an authority already; it stays as it is", path);
	rc = file_make_dir(dir, 0700);
	if (rc)
		return say(why, why_len, rc, "%s: cannot make this directory: %s", dir, strerror(-rc));
	key = EVP_EC_gen("P-256");
	cert = key ? authority_certificate(pop, key) : NULL;
	rc = cert ? 0 : say(why, why_len, -EIO, "cannot make the authority: %s", openssl_word());
	if (!rc) {
		/* The certificate first: a key alone would read as "there is an authority already". */
		rc = write_certificate(cert, dir, "ca.pem");
		if (!rc)
			rc = write_key(key, dir, "ca.key");
		if (rc)
			say(why, why_len, rc, "%s: cannot write the authority: %s", dir, strerror(-rc));
	}
	X509_free(cert);
	EVP_PKEY_free(key);
	return rc;
}

/* --- machines' certificates ----------------------------------------------------------------------------- */

static void remove_dir(const char *dir)
{
	static const char *const file[] = {"ca.pem", "cert.pem", "key.pem"};
	char path[PATH_LEN];

	for (size_t i = 0; i < sizeof(file) / sizeof(file[0]); i++) {
		if (!path_of(path, dir, file[i]))
			unlink(path);
	}
	rmdir(dir);
}

/*
 * Writes the directory beside its place and swaps it in, so that no one ever sees a key without its
 * certificate.  key NULL: a new one is made.
 */
static int put_identity(const char *dir, const struct authority *a, const struct identity *who, EVP_PKEY *old_key,
			struct span valid, bool replace)
{
	char to[PATH_LEN], tmp[PATH_LEN];
	EVP_PKEY *key = old_key ? old_key : EVP_EC_gen("P-256");
	X509 *cert = key ? leaf_certificate(a, who, key, valid) : NULL;
	int rc = cert ? 0 : -EIO;

	snprintf(to, sizeof(to), "%s/%s-%u", dir, role_name(who->role), who->id);
	snprintf(tmp, sizeof(tmp), "%s/.%s-%u.new", dir, role_name(who->role), who->id);
	if (!rc) {
		remove_dir(tmp);
		rc = file_make_dir(tmp, 0700);
	}
	if (!rc)
		rc = write_certificate(a->cert, tmp, "ca.pem");
	if (!rc)
		rc = write_certificate(cert, tmp, "cert.pem");
	if (!rc)
		rc = write_key(key, tmp, "key.pem");
	if (!rc && renameat2(AT_FDCWD, tmp, AT_FDCWD, to, replace ? RENAME_EXCHANGE : RENAME_NOREPLACE))
		rc = -errno;
	if (rc || replace)
		remove_dir(tmp); /* what was in `to` before, or what failed */
	X509_free(cert);
	if (!old_key)
		EVP_PKEY_free(key);
	return rc;
}

/* The span that was asked for, cut to the authority's own: a longer one would only look longer. */
static int span_for(const struct authority *a, enum role role, int days, struct span *out, char *why, size_t why_len)
{
	int64_t now = (int64_t)time(NULL), end = tls_certificate_end(a->cert);

	if (days == 0)
		days = role == ROLE_OPERATOR ? PKI_OPERATOR_DAYS : PKI_DAYS;
	if (days < 1 || days > PKI_DAYS_MAX)
		return say(why, why_len, -EINVAL, "--days %d: 1 to %d", days, PKI_DAYS_MAX);
	if (end <= now)
		return say(why, why_len, -ETIME, "the authority of POP %s has expired: make a new one in another directory", a->pop);
	out->begins = now - CLOCK_SKEW_S;
	out->ends = now + (int64_t)days * DAY_S;
	if (out->ends > end)
		out->ends = end;
	return 0;
}

static int check_id(enum role role, uint16_t id, char *why, size_t why_len)
{
	return id ? 0 : say(why, why_len, -EINVAL, "--id of a %s begins at 1", role_name(role));
}

static int issue(const char *dir, enum role role, uint16_t id, int days, const struct span *exactly, char *why,
		 size_t why_len)
{
	struct identity who = {.role = role, .id = id};
	struct authority a;
	struct span valid = { 0 };
	int rc = check_id(role, id, why, why_len);

	if (rc)
		return rc;
	rc = authority_open(dir, true, &a, why, why_len);
	if (rc)
		return rc;
	memcpy(who.pop, a.pop, sizeof(who.pop));
	rc = exactly ? 0 : span_for(&a, role, days, &valid, why, why_len);
	if (!rc) {
		rc = put_identity(dir, &a, &who, NULL, exactly ? *exactly : valid, false);
		if (rc == -EEXIST)
			say(why, why_len, rc, "%s/%s-%u exists: baton pki renew makes it a new certificate", dir, role_name(role),
			    id);
		else if (rc)
			say(why, why_len, rc, "%s/%s-%u: cannot write: %s", dir, role_name(role), id, strerror(-rc));
	}
	authority_close(&a);
	return rc;
}

int pki_issue(const char *dir, enum role role, uint16_t id, int days, char *why, size_t why_len)
{
	return issue(dir, role, id, days, NULL, why, why_len);
}

int pki_issue_between(const char *dir, enum role role, uint16_t id, int64_t age, int64_t lasts, char *why, size_t why_len)
{
	int64_t begins = (int64_t)time(NULL) - age;
	struct span valid = {begins, begins + lasts};

	return issue(dir, role, id, 0, &valid, why, why_len);
}

int pki_renew(const char *dir, enum role role, uint16_t id, int days, bool keep_key, char *why, size_t why_len)
{
	struct identity who = {.role = role, .id = id};
	char at[PATH_LEN];
	struct authority a;
	struct span valid = { 0 };
	EVP_PKEY *key = NULL;
	int rc = check_id(role, id, why, why_len);

	if (rc)
		return rc;
	snprintf(at, sizeof(at), "%s/%s-%u", dir, role_name(role), id);
	if (access(at, F_OK))
		return say(why, why_len, -ENOENT, "%s: nothing to renew: baton pki issue makes the first certificate", at);
	rc = authority_open(dir, true, &a, why, why_len);
	if (rc)
		return rc;
	memcpy(who.pop, a.pop, sizeof(who.pop));
	if (keep_key) {
		key = read_key(at, "key.pem");
		if (!key)
			rc = say(why, why_len, -ENOENT, "%s/key.pem: cannot read the key to keep (%s): renew without --keep-key", at,
				 openssl_word());
	}
	if (!rc)
		rc = span_for(&a, role, days, &valid, why, why_len);
	if (!rc) {
		rc = put_identity(dir, &a, &who, key, valid, true);
		if (rc)
			say(why, why_len, rc, "%s: cannot write: %s", at, strerror(-rc));
	}
	EVP_PKEY_free(key);
	authority_close(&a);
	return rc;
}

/* --- what there is --------------------------------------------------------------------------------------- */

static int64_t to_seconds(const ASN1_TIME *t)
{
	struct tm tm;

	return ASN1_TIME_to_tm(t, &tm) ? (int64_t)timegm(&tm) : 0;
}

static void fill_entry(struct pki_entry *e, X509 *cert)
{
	BIGNUM *n = ASN1_INTEGER_to_BN(X509_get0_serialNumber(cert), NULL);
	char *hex = n ? BN_bn2hex(n) : NULL;

	snprintf(e->serial, sizeof(e->serial), "%s", hex ? hex : "");
	OPENSSL_free(hex);
	BN_free(n);
	e->begins = to_seconds(X509_get0_notBefore(cert));
	e->ends = to_seconds(X509_get0_notAfter(cert));
}

static int by_role_and_id(const void *a, const void *b)
{
	const struct identity *x = a, *y = b;

	if (x->role != y->role)
		return x->role < y->role ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

/* The identities whose directories are there, in order; the caller frees *out. */
static int list_identities(const char *dir, struct identity **out, size_t *n)
{
	struct dirent *d;
	DIR *at = opendir(dir);

	*out = NULL;
	*n = 0;
	if (!at)
		return -errno;
	while ((d = readdir(at))) {
		char role[16], again[32];
		struct identity who = {.id = 0};
		struct identity *more;
		unsigned id;

		if (sscanf(d->d_name, "%15[a-z]-%5u", role, &id) != 2 || role_parse(role, &who.role) || id > UINT16_MAX)
			continue;
		snprintf(again, sizeof(again), "%s-%u", role, id);
		if (strcmp(again, d->d_name))
			continue;
		who.id = (uint16_t)id;
		more = realloc(*out, (*n + 1) * sizeof(**out));
		if (!more)
			break;
		*out = more;
		(*out)[(*n)++] = who;
	}
	closedir(at);
	if (*n)
		qsort(*out, *n, sizeof(**out), by_role_and_id);
	return 0;
}

int pki_list(const char *dir, void (*each)(void *ctx, const struct pki_entry *e), void *ctx, char *why, size_t why_len)
{
	struct pki_entry e = {.authority = true};
	struct identity *all;
	struct authority a;
	size_t n;
	int rc;

	rc = authority_open(dir, false, &a, why, why_len);
	if (rc)
		return rc;
	memcpy(e.who.pop, a.pop, sizeof(e.who.pop));
	snprintf(e.path, sizeof(e.path), "%.400s/ca.pem", dir);
	fill_entry(&e, a.cert);
	each(ctx, &e);
	authority_close(&a);
	rc = list_identities(dir, &all, &n);
	if (rc)
		return say(why, why_len, rc, "%s: %s", dir, strerror(-rc));
	for (size_t i = 0; i < n; i++) {
		X509 *cert;

		memset(&e, 0, sizeof(e));
		snprintf(e.path, sizeof(e.path), "%.400s/%s-%u", dir, role_name(all[i].role), all[i].id);
		cert = read_certificate(e.path, "cert.pem");
		/* What does not read, or is not what the directory's name says, is listed as such: id 0. */
		e.who = all[i];
		if (!cert || tls_certificate_identity(cert, &e.who) || e.who.role != all[i].role || e.who.id != all[i].id)
			e.who = (struct identity){.role = all[i].role, .id = 0};
		if (cert)
			fill_entry(&e, cert);
		X509_free(cert);
		each(ctx, &e);
	}
	free(all);
	return 0;
}
