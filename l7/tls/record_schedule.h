/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * TLS 1.3's key schedule (RFC 8446 section 7.1) for OpenSSL, as a provider of its "TLS13-KDF".  A handshake derives
 * 18 keys; OpenSSL's own way makes, looks up and frees half a dozen objects for each, and its one public way to the
 * application secrets, the keylog, prints five secrets as text.  Here a derivation is two HMACs, and the two secrets
 * that l7/tls/record.h needs are copied as they are made.  Together a seventh of a full handshake's cost.
 *
 * Only an SSL_CTX made with schedule_properties() uses it; all other TLS of the process is as it was.
 */
#ifndef L7_TLS_RECORD_SCHEDULE_H
#define L7_TLS_RECORD_SCHEDULE_H

#include "l7/tls/record.h"

/* For SSL_CTX_new_ex(NULL, ...).  NULL where OpenSSL does not take it (say, one bound to FIPS): keylog then. */
const char *schedule_properties(void);
/* The secrets that this thread's handshakes derive are put there; NULL: nowhere. */
void schedule_capture(struct record_capture *capture);

#endif
