// SPDX-License-Identifier: BSD-2-Clause
/* A record layer's state as bytes (the layout is in l7/tls/record.h). */
#include <errno.h>
#include <openssl/crypto.h>
#include <string.h>

#include "l7/tls/record.h"

#define READ_AT 24
#define WRITE_AT 124
#define DIRECTION_LEN 100

enum flags { FLAG_CLIENT = 1, FLAG_READ_CLOSED = 2, FLAG_WRITE_CLOSED = 4, FLAG_FAILED = 8, FLAG_OWES_UPDATE = 16, FLAGS_ALL = 31 };

_Static_assert(WRITE_AT == READ_AT + DIRECTION_LEN && RECORD_STATE_LEN == WRITE_AT + DIRECTION_LEN, "as documented");
_Static_assert(DIRECTION_LEN == 8 + RECORD_SECRET_MAX + RECORD_KEY_MAX + RECORD_IV_MAX, "as documented");

static void put_be(uint8_t *p, uint64_t v, int bytes)
{
	while (bytes--) {
		p[bytes] = (uint8_t)v;
		v >>= 8;
	}
}

static uint64_t get_be(const uint8_t *p, int bytes)
{
	uint64_t v = 0;

	while (bytes--)
		v = v << 8 | *p++;
	return v;
}

static void put_direction(uint8_t *p, const struct record_direction *d)
{
	put_be(p, d->seq, 8);
	memcpy(p + 8, d->secret, RECORD_SECRET_MAX);
	memcpy(p + 56, d->key, RECORD_KEY_MAX);
	memcpy(p + 88, d->iv, RECORD_IV_MAX);
}

static void get_direction(const uint8_t *p, struct record_direction *d)
{
	d->seq = get_be(p, 8);
	memcpy(d->secret, p + 8, RECORD_SECRET_MAX);
	memcpy(d->key, p + 56, RECORD_KEY_MAX);
	memcpy(d->iv, p + 88, RECORD_IV_MAX);
}

void record_state_put(const struct record_state *s, uint8_t out[RECORD_STATE_LEN])
{
	memset(out, 0, READ_AT);
	out[0] = RECORD_STATE_FORMAT;
	out[1] = (uint8_t)((s->client ? FLAG_CLIENT : 0) | (s->read_closed ? FLAG_READ_CLOSED : 0) |
			   (s->write_closed ? FLAG_WRITE_CLOSED : 0) | (s->failed ? FLAG_FAILED : 0) | (s->owes_update ? FLAG_OWES_UPDATE : 0));
	put_be(out + 2, s->version, 2);
	put_be(out + 4, s->suite, 2);
	out[6] = s->cipher;
	out[7] = s->secret_len;
	put_be(out + 8, s->nuisances, 2);
	put_be(out + 10, s->repaid, 2);
	out[12] = s->head_len;
	put_be(out + 14, s->plain_max, 2);
	memcpy(out + 16, s->head, s->head_len);
	put_be(out + 20, s->body_left, 4);
	put_direction(out + READ_AT, &s->read);
	put_direction(out + WRITE_AT, &s->write);
}

int record_state_get(const uint8_t *p, size_t len, struct record_state *s)
{
	struct record_layer *r;
	int err;

	if (len != RECORD_STATE_LEN || p[0] != RECORD_STATE_FORMAT || p[1] & ~FLAGS_ALL || p[13])
		return -EINVAL;
	*s = (struct record_state){
		.version = (uint16_t)get_be(p + 2, 2),
		.suite = (uint16_t)get_be(p + 4, 2),
		.cipher = p[6],
		.secret_len = p[7],
		.plain_max = (uint16_t)get_be(p + 14, 2),
		.client = p[1] & FLAG_CLIENT,
		.read_closed = p[1] & FLAG_READ_CLOSED,
		.write_closed = p[1] & FLAG_WRITE_CLOSED,
		.failed = p[1] & FLAG_FAILED,
		.owes_update = p[1] & FLAG_OWES_UPDATE,
		.head_len = p[12],
		.body_left = (uint32_t)get_be(p + 20, 4),
		.nuisances = (uint16_t)get_be(p + 8, 2),
		.repaid = (uint16_t)get_be(p + 10, 2),
	};
	if (s->head_len > sizeof(s->head))
		return -EINVAL;
	memcpy(s->head, p + 16, s->head_len);
	get_direction(p + READ_AT, &s->read);
	get_direction(p + WRITE_AT, &s->write);
	err = record_import(s, &r); /* whether it makes sense is said in one place */
	if (!err)
		record_free(r);
	else
		OPENSSL_cleanse(s, sizeof(*s));
	return err;
}
