/* SPDX-License-Identifier: BSD-2-Clause */
/* What is said of a client's certificate: what is taken is kept octet by octet, its certificates are inside, its fields as long as said. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "l7/tls/cert_fact.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cert_fact *f = cert_fact_new(data, size);
	size_t n, len, all = CERT_RULES_LEN;
	const uint8_t *der;
	char *text;

	if (!f)
		return 0;
	assert(f->n == size && !memcmp(f->octets, data, size) && !f->subject == !f->n_leaf);
	for (unsigned i = 0; cert_der(f->octets + CERT_RULES_LEN, size - CERT_RULES_LEN, i, &der, &len); i++) {
		assert(der == f->octets + all && (i || len == f->n_leaf));
		all += len;
	}
	assert(all == size);
	n = cert_fact_fields_len(f);
	text = malloc(n + 1); /* its end is watched */
	assert(text && cert_fact_fields(f, text) == n);
	assert(!n == !f->n_leaf && (!n || !memcmp(text + n - 3, ":\r\n", 3)));
	assert(!f->subject || strlen(f->subject) <= 512);
	free(text);
	cert_fact_free(f);
	return 0;
}
