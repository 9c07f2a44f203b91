/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The kernel seals what is sent (CONFIG_TLS: Debian's kernels have it): a record layer's sending half goes into the
 * socket, with the key and the sequence number that it has by then, whether they were made here or came with a moved
 * connection.  send() and sendfile() then take plain bytes.  Opening stays with l7/tls/record.h, which sees KeyUpdates and alerts.
 *
 *  1. What was sealed before must be in the socket: the caller's queue is empty when ktls_send() is called.
 *  2. From then on record_seal(), _key_update() and _close_notify() of that layer must not be used: ktls_close_notify().
 *  3. The kernel does not renew its key.  Who sends for so long that RECORD_REKEY_AFTER comes near (ktls_state), or is
 *     asked for a KeyUpdate, ends the connection after the answer; kernels before 6.14 cannot change a key.
 *  4. To move the connection on: ktls_state() says how many records were sealed; all that was given to send() is in
 *     the socket's queue, sealed, and travels as that.
 */
#ifndef L7_TLS_KTLS_H
#define L7_TLS_KTLS_H

#include "l7/tls/record.h"

/* 0.  -EOPNOTSUPP: this kernel, this suite, or a client that wants small records: seal with record_seal(). */
int ktls_send(int fd, const struct record_state *s);
int ktls_state(int fd, struct record_state *s); /* sets s->write.seq */
int ktls_close_notify(int fd);

#endif
