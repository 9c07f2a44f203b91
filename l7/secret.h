/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory for keys: locked (never in swap), never in a dump, wiped when it is given back.  One arena for the process, which
 * grows by SECRET_CHUNK and does not shrink.  How much can be locked is RLIMIT_MEMLOCK's: beyond it the memory is as good
 * but for swap, and secret_counts() says how much that is (4,000 TLS connections take 2 MB).
 *
 * What this does not hold: the key schedules in OpenSSL's cipher contexts (RECORD_CONTEXTS a thread at most, overwritten
 * when a key ends, l7/tls/record_context.h) and what OpenSSL has during a handshake.  They are in no dump either
 * (l7/privilege.h); against swap only a machine without it, or with it encrypted, helps.
 */
#ifndef L7_SECRET_H
#define L7_SECRET_H

#include <stddef.h>

#define SECRET_CHUNK (64u << 10)
#define SECRET_MAX 1024 /* of one allocation */

void *secret_alloc(size_t n); /* zeroed; NULL: no memory */
void secret_free(void *p, size_t n); /* with the n that it was asked with; NULL allowed */

struct secret_counts {
	size_t used, mapped, unlocked; /* bytes; unlocked: of mapped, what RLIMIT_MEMLOCK did not allow */
};
void secret_counts(struct secret_counts *out);

#endif
