/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One entry of the controller's log, as it lies on disk and travels to followers.  The log holds
 * results, not commands (Viewstamped Replication calls this passive replication): who applies it
 * computes nothing, and checks everything.  docs/formats.md section 4 has the numbered rules.
 *
 *    0  be32  length of the record, this field included
 *    4  be32  CRC-32C of all that follows
 *    8  be64  term                      16  be64  index, from 1, without gaps
 *   24  [32]  hash of the record before (SHA-256 of its bytes from offset 8; zero for index 1)
 *   56  be32  semantics version         60  be16  type      62  be16  zero
 *   64  [32]  digest of the configuration in force after this record (SHA-256 of its text)
 *   96  [32]  digest of the table after this record
 *  128        body
 */
#ifndef CONTROL_RECORD_H
#define CONTROL_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "lb/table.h"

#define RECORD_HEADER 128
#define RECORD_MAX (3u << 20)
#define RECORD_SEMANTICS 1
#define HASH_LEN 32
#define REASON_MAX 200

enum record_type {
	RECORD_CONFIG = 1,   /* be16 length of reason, reason, then the text of pop.yaml */
	RECORD_TABLE = 2,    /* reason, be32 n, n * struct wire_move: the changed buckets */
	RECORD_STATE = 3,    /* reason, be32 n, n * struct wire_change */
	RECORD_SETTLED = 4,  /* be64: every announcing switch has installed this index */
	RECORD_SNAPSHOT = 5, /* everything, in place of the log up to its index (control/state.h) */
};

enum subject {
	SUBJECT_HOST_ADMIN = 1,
	SUBJECT_HOST_HEALTH,
	SUBJECT_SWITCH_ADMIN,
	SUBJECT_VIP_ADMIN,
	SUBJECT_BUCKETS, /* id: byte 0 (highest) to 7 of the digest of buckets that all switches must have; value: the byte */
};

struct wire_move {
	uint8_t bucket[2], host[3][2], next[2], fresh[2]; /* big-endian */
};
_Static_assert(sizeof(struct wire_move) == 12, "a format");

struct wire_change {
	uint8_t subject, value, id[2]; /* id: host, switch, or position of the VIP */
};
_Static_assert(sizeof(struct wire_change) == 4, "a format");

struct change {
	uint8_t subject; /* enum subject */
	uint8_t value;	 /* enum admin or enum health, or a byte */
	uint16_t id;
};

/* A record taken apart.  Pointers lead into the buffer that was decoded, or are the encoder's input. */
struct record {
	uint64_t term, index;
	uint8_t previous[HASH_LEN];
	uint32_t semantics;
	uint16_t type;
	uint8_t config_digest[HASH_LEN], table_digest[HASH_LEN];
	const uint8_t *body;
	size_t body_len;
	uint8_t hash[HASH_LEN]; /* of this record; not on the wire */
};

uint32_t crc32c(uint32_t crc, const void *data, size_t len);
void sha256(const void *data, size_t len, uint8_t out[HASH_LEN]);
void table_digest(const struct table *t, uint8_t out[HASH_LEN]);

/* Length of the record at the start of buf, or 0 while fewer than 4 bytes, or -EBADMSG if it cannot be one. */
int64_t record_length(const uint8_t *buf, size_t len);
/* 0, or -EBADMSG: length, checksum, reserved field, type. */
int record_decode(const uint8_t *buf, size_t len, struct record *out);
/* malloc'd bytes; fills r->hash.  NULL: no memory, or a body that is too long. */
uint8_t *record_encode(struct record *r, size_t *len);

/* Bodies.  Decoders return 0 or -EBADMSG and check shape and ranges that need no state. */
struct body_text {
	char reason[REASON_MAX + 1];
	const uint8_t *rest;
	size_t rest_len;
};
int body_reason(const uint8_t *body, size_t len, struct body_text *out);
/* *n: in room, out count. */
int body_moves(const uint8_t *body, size_t len, struct move *move, size_t *n);
int body_changes(const uint8_t *body, size_t len, struct change *change, size_t *n);
uint8_t *body_put_text(const char *reason, const void *text, size_t text_len, size_t *len);
uint8_t *body_put_moves(const char *reason, const struct move *move, size_t n, size_t *len);
uint8_t *body_put_changes(const char *reason, const struct change *change, size_t n, size_t *len);

/* Big-endian numbers. */
static inline void put16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}
static inline void put32(uint8_t *p, uint32_t v)
{
	put16(p, (uint16_t)(v >> 16));
	put16(p + 2, (uint16_t)v);
}
static inline void put64(uint8_t *p, uint64_t v)
{
	put32(p, (uint32_t)(v >> 32));
	put32(p + 4, (uint32_t)v);
}
/* A question, or its answer: a number, then text to the end of the message. */
static inline size_t put_numbered(uint8_t *p, uint64_t number, const char *text, size_t n)
{
	put64(p, number);
	memcpy(p + 8, text, n);
	return 8 + n;
}
static inline uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}
static inline uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}
static inline uint64_t get64(const uint8_t *p)
{
	return (uint64_t)get32(p) << 32 | get32(p + 4);
}

#endif
