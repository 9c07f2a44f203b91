/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The POP's certificate authority: a directory that one person keeps on a machine that is not part
 * of the POP.
 *
 *   DIR/ca.pem, ca.key       the authority (10 years).  ca.key is the one secret that all others hang on
 *   DIR/ROLE-ID/ca.pem, cert.pem, key.pem    what that machine gets as /etc/baton/tls
 *
 * Keys are ECDSA P-256, files of keys 0600, their directories 0700.  The authority may sign nothing but
 * names of its POP (RFC 5280 section 4.2.1.10 name constraints: URIs of host POP, no DNS names, no
 * addresses), so that it is of no use against anybody else.
 */
#ifndef BASE_PKI_H
#define BASE_PKI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/identity.h"

#define PKI_CA_DAYS 3650
#define PKI_DAYS 365
#define PKI_OPERATOR_DAYS 90
#define PKI_DAYS_MAX 3650

/* All: 0 or -errno and why, with the remedy. */
int pki_init(const char *dir, const char *pop, char *why, size_t why_len);
/* -EEXIST when the identity has one already: renew it.  days 0: the role's default. */
int pki_issue(const char *dir, enum role role, uint16_t id, int days, char *why, size_t why_len);
/* A new certificate, with a new key unless keep_key.  The old directory is replaced in one step. */
int pki_renew(const char *dir, enum role role, uint16_t id, int days, bool keep_key, char *why, size_t why_len);

struct pki_entry {
	bool authority;
	struct identity who; /* of the authority: only the POP */
	int64_t begins, ends; /* seconds since the epoch */
	char serial[48];
	char path[512];
};

/* Calls `each` for the authority, then for every certificate in order of role and id. */
int pki_list(const char *dir, void (*each)(void *ctx, const struct pki_entry *e), void *ctx, char *why, size_t why_len);

/* For tests and the demo: a certificate whose time began `age` seconds ago and lasts `lasts` seconds. */
int pki_issue_between(const char *dir, enum role role, uint16_t id, int64_t age, int64_t lasts, char *why,
		      size_t why_len);

#endif
