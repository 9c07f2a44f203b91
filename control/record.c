/* SPDX-License-Identifier: BSD-2-Clause */
/* The codec of log records.  Everything here is pure; input may be hostile (tests/fuzz/fuzz_record.c). */
#include "control/record.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

#define BAD (-EBADMSG)

/* Castagnoli polynomial, reflected; sliced by a table that is made once. */
uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
	static uint32_t table[256];
	const uint8_t *p = data;

	if (!table[1]) {
		uint32_t i, j, c;

		for (i = 0; i < 256; i++) {
			for (c = i, j = 0; j < 8; j++)
				c = c & 1 ? c >> 1 ^ 0x82f63b78 : c >> 1;
			table[i] = c;
		}
	}
	crc = ~crc;
	while (len--)
		crc = crc >> 8 ^ table[(crc ^ *p++) & 0xff];
	return ~crc;
}

void sha256(const void *data, size_t len, uint8_t out[HASH_LEN])
{
	SHA256(data, len, out);
}

static void put_move(struct wire_move *w, uint32_t number, const struct bucket *b)
{
	int i;

	put16(w->bucket, (uint16_t)number);
	for (i = 0; i < TRIPLE_MAX; i++)
		put16(w->host[i], b->triple.host[i]);
	put16(w->next, b->next);
	put16(w->fresh, b->fresh);
}

void table_digest(const struct table *t, uint8_t out[HASH_LEN])
{
	struct wire_move *w = malloc(BUCKETS_MAX * sizeof(*w));
	uint32_t b;

	if (!w)
		abort();
	for (b = 0; b < t->n_buckets; b++)
		put_move(&w[b], b, &t->bucket[b]);
	sha256(w, t->n_buckets * sizeof(*w), out);
	free(w);
}

int64_t record_length(const uint8_t *buf, size_t len)
{
	uint32_t n;

	if (len < 4)
		return 0;
	n = get32(buf);
	return n < RECORD_HEADER || n > RECORD_MAX ? BAD : (int64_t)n;
}

int record_decode(const uint8_t *buf, size_t len, struct record *out)
{
	if (len < RECORD_HEADER || len > RECORD_MAX || get32(buf) != len)
		return BAD;
	if (crc32c(0, buf + 8, len - 8) != get32(buf + 4) || get16(buf + 62))
		return BAD;
	out->term = get64(buf + 8);
	out->index = get64(buf + 16);
	memcpy(out->previous, buf + 24, HASH_LEN);
	out->semantics = get32(buf + 56);
	out->type = get16(buf + 60);
	memcpy(out->config_digest, buf + 64, HASH_LEN);
	memcpy(out->table_digest, buf + 96, HASH_LEN);
	out->body = buf + RECORD_HEADER;
	out->body_len = len - RECORD_HEADER;
	sha256(buf + 8, len - 8, out->hash);
	return out->index && out->type >= RECORD_CONFIG && out->type <= RECORD_SNAPSHOT ? 0 : BAD;
}

uint8_t *record_encode(struct record *r, size_t *len)
{
	uint8_t *buf;

	if (r->body_len > RECORD_MAX - RECORD_HEADER)
		return NULL;
	*len = RECORD_HEADER + r->body_len;
	buf = calloc(1, *len);
	if (!buf)
		return NULL;
	put32(buf, (uint32_t)*len);
	put64(buf + 8, r->term);
	put64(buf + 16, r->index);
	memcpy(buf + 24, r->previous, HASH_LEN);
	put32(buf + 56, r->semantics);
	put16(buf + 60, r->type);
	memcpy(buf + 64, r->config_digest, HASH_LEN);
	memcpy(buf + 96, r->table_digest, HASH_LEN);
	if (r->body_len)
		memcpy(buf + RECORD_HEADER, r->body, r->body_len);
	put32(buf + 4, crc32c(0, buf + 8, *len - 8));
	sha256(buf + 8, *len - 8, r->hash);
	return buf;
}

int body_reason(const uint8_t *body, size_t len, struct body_text *out)
{
	size_t n;

	if (len < 2)
		return BAD;
	n = get16(body);
	if (n > REASON_MAX || n > len - 2 || memchr(body + 2, 0, n))
		return BAD;
	memcpy(out->reason, body + 2, n);
	out->reason[n] = 0;
	out->rest = body + 2 + n;
	out->rest_len = len - 2 - n;
	return 0;
}

/* The array behind the reason: n elements of `size` bytes, exactly. */
static int body_array(const uint8_t *body, size_t len, size_t size, size_t room, const uint8_t **at, size_t *n)
{
	struct body_text t;

	if (body_reason(body, len, &t) || t.rest_len < 4)
		return BAD;
	*n = get32(t.rest);
	if (*n > room || t.rest_len - 4 != *n * size)
		return BAD;
	*at = t.rest + 4;
	return 0;
}

int body_moves(const uint8_t *body, size_t len, struct move *move, size_t *n)
{
	const uint8_t *at;
	size_t i, room = *n;
	int k;

	if (body_array(body, len, sizeof(struct wire_move), room, &at, n))
		return BAD;
	for (i = 0; i < *n; i++, at += sizeof(struct wire_move)) {
		move[i].bucket = get16(at);
		for (k = 0; k < TRIPLE_MAX; k++)
			move[i].to.triple.host[k] = get16(at + 2 + 2 * k);
		move[i].to.next = get16(at + 8);
		move[i].to.fresh = get16(at + 10);
		if (!bucket_valid(&move[i].to) || (i && move[i].bucket <= move[i - 1].bucket))
			return BAD;
	}
	return 0;
}

static bool change_valid(const struct change *c)
{
	if (c->value > 2 && c->subject != SUBJECT_BUCKETS)
		return false;
	switch ((enum subject)c->subject) {
	case SUBJECT_HOST_ADMIN:
	case SUBJECT_HOST_HEALTH:
		return host_id_valid(c->id);
	case SUBJECT_SWITCH_ADMIN:
		return c->id >= 1 && c->id <= 64;
	case SUBJECT_VIP_ADMIN:
		return c->id < 1024;
	case SUBJECT_BUCKETS:
		return c->id < 8;
	}
	return false;
}

int body_changes(const uint8_t *body, size_t len, struct change *change, size_t *n)
{
	const uint8_t *at;
	size_t i, room = *n;

	if (body_array(body, len, sizeof(struct wire_change), room, &at, n))
		return BAD;
	for (i = 0; i < *n; i++, at += sizeof(struct wire_change)) {
		change[i] = (struct change){ at[0], at[1], get16(at + 2) };
		if (!change_valid(&change[i]))
			return BAD;
	}
	return 0;
}

uint8_t *body_put_text(const char *reason, const void *text, size_t text_len, size_t *len)
{
	size_t n = strnlen(reason, REASON_MAX);
	uint8_t *body = malloc(2 + n + text_len + 1);

	if (!body)
		return NULL;
	put16(body, (uint16_t)n);
	memcpy(body + 2, reason, n);
	if (text_len)
		memcpy(body + 2 + n, text, text_len);
	*len = 2 + n + text_len;
	return body;
}

uint8_t *body_put_moves(const char *reason, const struct move *move, size_t n, size_t *len)
{
	size_t i, size = 4 + n * sizeof(struct wire_move);
	uint8_t *array = malloc(size), *body;

	if (!array)
		return NULL;
	put32(array, (uint32_t)n);
	for (i = 0; i < n; i++) {
		struct wire_move w;

		put_move(&w, move[i].bucket, &move[i].to);
		memcpy(array + 4 + i * sizeof(w), &w, sizeof(w));
	}
	body = body_put_text(reason, array, size, len);
	free(array);
	return body;
}

uint8_t *body_put_changes(const char *reason, const struct change *change, size_t n, size_t *len)
{
	size_t i, size = 4 + n * sizeof(struct wire_change);
	uint8_t *array = malloc(size), *body;

	if (!array)
		return NULL;
	put32(array, (uint32_t)n);
	for (i = 0; i < n; i++) {
		uint8_t *p = array + 4 + 4 * i;

		p[0] = change[i].subject;
		p[1] = change[i].value;
		put16(p + 2, change[i].id);
	}
	body = body_put_text(reason, array, size, len);
	free(array);
	return body;
}
