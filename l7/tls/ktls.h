/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The kernel seals what is sent (CONFIG_TLS: Debian's kernels have it): a record layer's sending half goes into the
 * socket, with the key and the sequence number that it has by then, whether they were made here or came with a moved
 * connection.  send() and sendfile() then take plain bytes.  Opening stays with l7/tls/record.h, which sees KeyUpdates and alerts.
 *
 *  1. What was sealed before must be in the socket: the caller's queue is empty when ktls_begin() is called.
 *  2. From then on nobody else seals (record_seals_elsewhere), until the connection is another socket: a kernel does not
 *     give a socket back.
 *  3. The kernel does not renew its key (before 6.14 it cannot).  Who comes near RECORD_REKEY_AFTER (ktls_records), or is asked
 *     for a KeyUpdate, ends the connection after the next answer, or moves it.
 *  4. Records that the kernel has sealed may wait for room in TCP's queue, or for the rest of their bytes.  Nobody can read
 *     those, a close drops them, and what moves a connection does not see them: only what is settled may move, or close.
 *     Settled is exact: the bytes on the wire are those that were given, and what each record adds to them.
 *       wire now - wire then == plain now - plain then + (records now - records then) * overhead
 *     A record that is open has bytes that are given and not sealed; one that waits is counted and not on the wire: either
 *     way the left side is the smaller.  What is settled remains so until something is sent.
 *  5. The next sealer goes on from ktls_records() of what is settled.
 */
#ifndef L7_TLS_KTLS_H
#define L7_TLS_KTLS_H

#include "l7/tls/record.h"

struct ktls {
	uint64_t records, plain, wire; /* when it began */
	uint8_t overhead;	       /* of a record */
	bool closed;		       /* close_notify was said */
};

/* Asks the kernel once (it may load its module) and logs what it said; then ktls_here() is the answer. */
void ktls_look(void);
bool ktls_here(void);

/* 0.  -EOPNOTSUPP: this kernel, this suite, or a client that wants small records: seal with record_seal().  `plain`: octets
 * that the socket has taken so far, by the caller's count. */
int ktls_begin(int fd, const struct record_state *s, uint64_t plain, struct ktls *k);
int ktls_records(int fd, const struct record_state *s, uint64_t *records); /* that were sealed with the key: write.seq as it is now */
int ktls_alert(int fd, uint8_t level, uint8_t name); /* two octets given; -EAGAIN */

bool ktls_settled(const struct ktls *k, int fd, const struct record_state *s, uint64_t plain);
bool ktls_whole(const struct ktls *k, uint64_t records, uint64_t plain, uint64_t wire); /* rule 4 */

#endif
