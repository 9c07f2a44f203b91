/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Messages between controllers and followers, over a session (base/session.h); big-endian.
 * docs/formats.md section 5 has the numbered rules.
 *
 *   HELLO     follower  be16 version | be64 term | be64 index | [32] hash at index | [32] log id   (zero: has nothing)
 *   SNAPSHOT  control   one record of type SNAPSHOT
 *   ENTRIES   control   one or more records, concatenated, in order
 *   CONFLICT  control   be64 term | be64 index of the controller's log: it does not hold what HELLO named
 *   ACK       follower  be64 index: this and all before it is installed
 *   FAIL      follower  be64 index | text: could not be installed
 *   REPORT    follower  JSON (control/report.h)
 *   ASK       control   be64 id | JSON            ANSWER  follower  be64 id | JSON
 *   TICKETS   control   a seed of session ticket keys (control/ticket_seed.h), to hosts only, when they come up.
 *                       The one secret that is sent: no log, no cache, no report holds it
 */
#ifndef CONTROL_WIRE_H
#define CONTROL_WIRE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "control/record.h"

#define WIRE_VERSION 1
#define WIRE_TEXT_MAX 512

enum wire_type {
	WIRE_HELLO = 1,
	WIRE_SNAPSHOT,
	WIRE_ENTRIES,
	WIRE_CONFLICT,
	WIRE_ACK,
	WIRE_FAIL,
	WIRE_REPORT,
	WIRE_ASK,
	WIRE_ANSWER,
	WIRE_TICKETS,
};

struct wire_hello {
	uint16_t version;
	uint64_t term, index;
	uint8_t hash[HASH_LEN], log_id[HASH_LEN];
};
#define WIRE_HELLO_LEN (2 + 8 + 8 + 2 * HASH_LEN)

static inline void wire_put_hello(uint8_t out[WIRE_HELLO_LEN], const struct wire_hello *h)
{
	put16(out, h->version);
	put64(out + 2, h->term);
	put64(out + 10, h->index);
	memcpy(out + 18, h->hash, HASH_LEN);
	memcpy(out + 50, h->log_id, HASH_LEN);
}

/* 0 or -1; a later version may be longer. */
static inline int wire_get_hello(const uint8_t *p, size_t len, struct wire_hello *h)
{
	if (len < WIRE_HELLO_LEN)
		return -1;
	h->version = get16(p);
	h->term = get64(p + 2);
	h->index = get64(p + 10);
	memcpy(h->hash, p + 18, HASH_LEN);
	memcpy(h->log_id, p + 50, HASH_LEN);
	return 0;
}

#endif
