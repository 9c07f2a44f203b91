/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The record layer against what a network may do to it.  The input is a script: seal data, renew keys,
 * flip a bit, cut, repeat or drop what is on the wire, move the state.  Unharmed, exactly what was sealed
 * comes out, in order; harmed, what comes out is the beginning of it, and never a byte more.
 */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "l7/tls/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ROOM (1u << 20)

static const struct {
	uint16_t version, suite;
	uint8_t cipher, secret_len;
} suites[] = {
	{ 0x0304, 0x1301, RECORD_AES_128_GCM, 32 },	  { 0x0304, 0x1302, RECORD_AES_256_GCM, 48 },
	{ 0x0304, 0x1303, RECORD_CHACHA20_POLY1305, 32 }, { 0x0303, 0xc02f, RECORD_AES_128_GCM, 0 },
	{ 0x0303, 0xcca8, RECORD_CHACHA20_POLY1305, 0 },
};

static void moved(struct record_layer **r)
{
	struct record_state s, t;
	uint8_t bytes[RECORD_STATE_LEN];

	record_export(*r, &s);
	record_state_put(&s, bytes);
	record_free(*r);
	assert(!record_state_get(bytes, sizeof(bytes), &t));
	assert(!record_import(&t, r));
}

struct bed {
	struct record_layer *from, *to;
	struct buffer wire, sealed, plain, reply; /* sealed: the data that went in */
	size_t opened;
	int end;
	int harmed;
};

static void open_all(struct bed *b)
{
	size_t n;

	if (b->end)
		return;
	b->end = record_open(b->to, &b->wire, &b->plain, RECORD_OPEN_ROOM, &b->reply);
	n = buffer_len(&b->plain);
	assert(b->opened + n <= buffer_len(&b->sealed));
	assert(!n || !memcmp(buffer_head(&b->plain), buffer_head(&b->sealed) + b->opened, n));
	b->opened += n;
	buffer_consume(&b->plain, n);
	assert(buffer_len(&b->reply) <= RECORD_REPLY_MAX);
	buffer_free(&b->reply);
	if (b->end == -EAGAIN || b->end == 0) {
		n = b->end == -EAGAIN;
		b->end = 0;
		if (!n)
			open_all(b); /* stopped for room */
		return;
	}
	assert(b->harmed || b->end == -EPIPE || b->end == -ENOBUFS);
}

static void harm(struct bed *b, uint8_t how, size_t at)
{
	size_t len = buffer_len(&b->wire);
	uint8_t *p = buffer_head(&b->wire), copy[64];

	if (!len)
		return;
	b->harmed = 1;
	at %= len;
	switch (how & 3) {
	case 0: p[at] ^= (uint8_t)(1 << (how >> 2 & 7)); break;
	case 1: buffer_consume(&b->wire, at + 1); break;
	case 2: b->wire.end -= len - at; break;
	case 3:
		len = len - at < sizeof(copy) ? len - at : sizeof(copy);
		memcpy(copy, p + at, len);
		buffer_put(&b->wire, copy, len, ROOM);
		break;
	}
	buffer_consume(&b->wire, 0);
}

static void step(struct bed *b, uint8_t op, uint8_t arg)
{
	uint8_t bytes[4096];
	size_t n = (size_t)arg * 16 + op % 16;

	switch (op % 9) {
	case 0:
	case 1:
	case 2:
		memset(bytes, arg ^ op, sizeof(bytes));
		n = n < sizeof(bytes) ? n : sizeof(bytes);
		if (!record_seal(b->from, bytes, n, &b->wire, ROOM))
			assert(!buffer_put(&b->sealed, bytes, n, ROOM));
		break;
	case 3: record_key_update(b->from, arg & 1, &b->wire); break;
	case 4: open_all(b); break;
	case 5:
		if (!b->end)
			moved(&b->to);
		break;
	case 6: moved(&b->from); break;
	case 7: harm(b, op / 9, arg); break;
	case 8:
		if (arg > 250)
			record_close_notify(b->from, &b->wire);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct record_state s = { .plain_max = RECORD_PLAIN_MAX };
	struct record_direction d;
	struct bed b = { NULL };
	size_t i;

	if (size == RECORD_STATE_LEN) { /* a state from elsewhere: refused, or the same again */
		uint8_t again[RECORD_STATE_LEN];

		if (!record_state_get(data, size, &s)) {
			record_state_put(&s, again);
			if (s.head_len == sizeof(s.head)) /* else the rest of `head` is not kept */
				assert(!memcmp(again, data, size));
		}
		return 0;
	}
	if (size < 2)
		return 0;
	i = data[0] % (sizeof(suites) / sizeof(suites[0]));
	s.version = suites[i].version;
	s.suite = suites[i].suite;
	s.cipher = suites[i].cipher;
	s.secret_len = suites[i].secret_len;
	s.plain_max = data[0] & 0x40 ? 64 : RECORD_PLAIN_MAX;
	memset(s.read.key, 7, sizeof(s.read.key));
	s.client = true;
	assert(!record_import(&s, &b.from));
	s.client = false;
	d = s.read;
	s.read = s.write;
	s.write = d;
	assert(!record_import(&s, &b.to));
	for (i = 1; i + 1 < size && i < 400; i += 2)
		step(&b, data[i], data[i + 1]);
	open_all(&b);
	assert(b.harmed || b.end || b.opened == buffer_len(&b.sealed));
	record_free(b.from);
	record_free(b.to);
	buffer_free(&b.wire);
	buffer_free(&b.sealed);
	buffer_free(&b.plain);
	buffer_free(&b.reply);
	return 0;
}
