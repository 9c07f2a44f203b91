// SPDX-License-Identifier: BSD-2-Clause
/* The TLS record layer (l7/tls/record.h): sealing, opening, and what a peer may say after the handshake. */
#include "l7/tls/record.h"

#include <assert.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <string.h>

#include "l7/tls/record_context.h"
#include "l7/tls/record_keys.h"
#include "l7/secret.h"

#define HEAD 5
#define TAG 16
#define EXPLICIT 8	    /* TLS 1.2 GCM: the nonce's explicit part, in each record */
#define KEY_UPDATE_LEN (HEAD + 5 + 1 + TAG)
#define COPY_MAX 1024	    /* below it, copying is cheaper than a second call of the cipher */
#define MESSAGE_MAX 0x10100 /* a message after the handshake that is skipped: a ticket, a ClientHello */

enum content { CONTENT_ALERT = 21, CONTENT_HANDSHAKE = 22, CONTENT_DATA = 23 };
enum message { HELLO_REQUEST = 0, CLIENT_HELLO = 1, NEW_SESSION_TICKET = 4, KEY_UPDATE = 24 };
enum alert {
	CLOSE_NOTIFY = 0,
	UNEXPECTED_MESSAGE = 10,
	BAD_RECORD_MAC = 20,
	RECORD_OVERFLOW = 22,
	ILLEGAL_PARAMETER = 47,
	DECODE_ERROR = 50,
	PROTOCOL_VERSION = 70,
	INTERNAL_ERROR = 80,
	USER_CANCELED = 90,
	NO_RENEGOTIATION = 100,
};
enum level { WARNING = 1, FATAL = 2 };

struct record_layer {
	struct record_state s;
	struct record_context reading, writing;
	struct record_suite suite;
	bool owes_warning; /* within record_open, as s.owes_update: one answer for all that one call found */
	bool elsewhere;	   /* the kernel seals */
	bool owes_alert;   /* ... and this is what it is to say: */
	uint8_t alert[2];
};

static bool is_13(const struct record_layer *r)
{
	return r->s.version == 0x0304;
}

static bool has_explicit(const struct record_layer *r)
{
	return !is_13(r) && r->s.cipher != RECORD_CHACHA20_POLY1305;
}

/* --- One record ------------------------------------------------------------------------------------------- */

static void put_be64(uint8_t *p, uint64_t v)
{
	int i;

	for (i = 0; i < 8; i++)
		p[i] = (uint8_t)(v >> (56 - 8 * i));
}

/* RFC 8446 section 5.3 and RFC 7905: iv xor sequence number; RFC 5288: implicit part, then explicit. */
static void make_nonce(const struct record_layer *r, const struct record_direction *d, const uint8_t *explicit_part,
		       uint8_t nonce[RECORD_IV_MAX])
{
	uint8_t seq[8];
	int i;

	memcpy(nonce, d->iv, RECORD_IV_MAX);
	if (has_explicit(r)) {
		memcpy(nonce + 4, explicit_part, EXPLICIT);
		return;
	}
	put_be64(seq, d->seq);
	for (i = 0; i < 8; i++)
		nonce[4 + i] ^= seq[i];
}

/* What is authenticated beside the data: 1.3 the header as it is on the wire, 1.2 sequence number and plain header. */
static int make_aad(const struct record_layer *r, const struct record_direction *d, const uint8_t head[HEAD], size_t plain,
		    uint8_t aad[13])
{
	if (is_13(r)) {
		memcpy(aad, head, HEAD);
		return HEAD;
	}
	put_be64(aad, d->seq);
	memcpy(aad + 8, head, 3);
	aad[11] = (uint8_t)(plain >> 8);
	aad[12] = (uint8_t)plain;
	return 13;
}

static size_t overhead(const struct record_layer *r)
{
	return HEAD + TAG + (is_13(r) ? 1 : has_explicit(r) ? EXPLICIT : 0);
}

/* 1.3 encrypts the content's type behind the data. */
static bool encrypt_13(EVP_CIPHER_CTX *ctx, uint8_t type, const uint8_t *plain, size_t n, uint8_t *out)
{
	int done;

	if (n <= COPY_MAX) {
		if (n)
			memcpy(out, plain, n);
		out[n] = type;
		return EVP_CipherUpdate(ctx, out, &done, out, (int)n + 1);
	}
	return EVP_CipherUpdate(ctx, out, &done, plain, (int)n) && EVP_CipherUpdate(ctx, out + n, &done, &type, 1);
}

/* Seals one record of n bytes (n + overhead on the wire) into out. */
static int seal_one(struct record_layer *r, uint8_t type, const uint8_t *plain, size_t n, uint8_t *out)
{
	struct record_direction *d = &r->s.write;
	size_t len = n + overhead(r) - HEAD, inner = n + is_13(r);
	uint8_t nonce[RECORD_IV_MAX], aad[13], *p = out + HEAD;
	EVP_CIPHER_CTX *ctx;
	int aad_len, done;
	bool ok;

	out[0] = is_13(r) ? CONTENT_DATA : type;
	out[1] = 3;
	out[2] = 3;
	out[3] = (uint8_t)(len >> 8);
	out[4] = (uint8_t)len;
	if (has_explicit(r)) {
		put_be64(p, d->seq);
		p += EXPLICIT;
	}
	make_nonce(r, d, out + HEAD, nonce);
	aad_len = make_aad(r, d, out, n, aad);
	ctx = context_get(&r->writing, r->s.cipher, d->key, nonce, 1);
	if (!ctx || !EVP_CipherUpdate(ctx, NULL, &done, aad, aad_len))
		return -ENOMEM;
	if (is_13(r))
		ok = encrypt_13(ctx, type, plain, n, p);
	else
		ok = !n || EVP_CipherUpdate(ctx, p, &done, plain, (int)n);
	if (!ok || !EVP_CipherFinal_ex(ctx, p + inner, &done) ||
	    !EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG, p + inner))
		return -ENOMEM;
	d->seq++;
	return 0;
}

/* Opens the record at head (len bytes follow it) into out: inner bytes, or -EBADMSG, -ENOMEM. */
static int open_one(struct record_layer *r, uint8_t *head, size_t len, size_t inner, uint8_t *out)
{
	struct record_direction *d = &r->s.read;
	uint8_t nonce[RECORD_IV_MAX], aad[13], *p = head + HEAD + (len - inner - TAG);
	EVP_CIPHER_CTX *ctx;
	int aad_len, done;

	make_nonce(r, d, head + HEAD, nonce);
	aad_len = make_aad(r, d, head, inner, aad);
	ctx = context_get(&r->reading, r->s.cipher, d->key, nonce, 0);
	if (!ctx || !EVP_CipherUpdate(ctx, NULL, &done, aad, aad_len))
		return -ENOMEM;
	if (inner && !EVP_CipherUpdate(ctx, out, &done, p, (int)inner))
		return -ENOMEM;
	if (!EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG, p + inner))
		return -ENOMEM;
	if (EVP_CipherFinal_ex(ctx, out + inner, &done) <= 0)
		return -EBADMSG;
	d->seq++;
	return (int)inner;
}

/* --- What we say besides data -------------------------------------------------------------------------------- */

static int seal_into(struct record_layer *r, uint8_t type, const uint8_t *p, size_t n, struct buffer *to)
{
	uint8_t *out = buffer_reserve(to, n + overhead(r), SIZE_MAX / 2);
	int err;

	if (!out)
		return -ENOMEM;
	err = seal_one(r, type, p, n, out);
	if (!err)
		buffer_commit(to, n + overhead(r));
	return err;
}

static int send_alert(struct record_layer *r, enum level level, enum alert alert, struct buffer *to)
{
	const uint8_t body[2] = { (uint8_t)level, (uint8_t)alert };

	if (r->s.write_closed)
		return 0;
	if (level == FATAL || alert == CLOSE_NOTIFY)
		r->s.write_closed = true;
	if (r->elsewhere) {
		memcpy(r->alert, body, sizeof(body));
		r->owes_alert = true;
		return 0;
	}
	return seal_into(r, CONTENT_ALERT, body, sizeof(body), to);
}

/* The connection is lost; keys have no more use. */
static int fail(struct record_layer *r, enum alert alert, int err, struct buffer *reply)
{
	send_alert(r, FATAL, alert, reply); /* a courtesy: without memory it stays unsaid */
	r->s.failed = r->s.read_closed = r->s.write_closed = true;
	context_new_key(&r->reading);
	context_new_key(&r->writing);
	OPENSSL_cleanse(&r->s.read, sizeof(r->s.read));
	OPENSSL_cleanse(&r->s.write, sizeof(r->s.write));
	return err;
}

void record_seals_elsewhere(struct record_layer *r)
{
	r->elsewhere = true;
}

bool record_owed_alert(struct record_layer *r, uint8_t alert[2])
{
	bool owed = r->owes_alert;

	if (owed)
		memcpy(alert, r->alert, sizeof(r->alert));
	r->owes_alert = false;
	return owed;
}

int record_close_notify(struct record_layer *r, struct buffer *raw)
{
	if (r->elsewhere)
		return -EPIPE;
	return send_alert(r, WARNING, CLOSE_NOTIFY, raw);
}

int record_alert(struct record_layer *r, uint8_t alert, struct buffer *raw)
{
	if (!r->s.failed)
		fail(r, alert, 0, raw);
	return 0;
}

static int next_key(struct record_layer *r, struct record_direction *d, struct record_context *c)
{
	int err = record_derive_next(&r->suite, d);

	if (!err)
		context_new_key(c);
	return err;
}

int record_key_update(struct record_layer *r, bool request, struct buffer *raw)
{
	const uint8_t body[5] = { KEY_UPDATE, 0, 0, 1, request };
	int err;

	if (!is_13(r))
		return -EOPNOTSUPP;
	if (r->s.write_closed || r->elsewhere)
		return -EPIPE;
	err = seal_into(r, CONTENT_HANDSHAKE, body, sizeof(body), raw);
	r->s.owes_update = false;
	return err ? err : next_key(r, &r->s.write, &r->writing);
}

/* --- Sealing --------------------------------------------------------------------------------------------------- */

static size_t records_of(const struct record_layer *r, size_t n)
{
	return n / r->s.plain_max + (n % r->s.plain_max != 0);
}

static bool rekey_is_due(const struct record_layer *r, size_t records)
{
	return is_13(r) && (r->s.owes_update || (r->s.write.seq + records > RECORD_REKEY_AFTER && r->s.write.seq));
}

size_t record_sealed_len(const struct record_layer *r, size_t n)
{
	size_t records = records_of(r, n);

	return n + records * overhead(r) + (rekey_is_due(r, records) ? KEY_UPDATE_LEN : 0);
}

size_t record_seal_fits(const struct record_layer *r, size_t room)
{
	size_t one = r->s.plain_max + overhead(r), rest;

	if (rekey_is_due(r, room / one + 1))
		room -= room < KEY_UPDATE_LEN ? room : KEY_UPDATE_LEN;
	rest = room % one;
	return room / one * r->s.plain_max + (rest > overhead(r) ? rest - overhead(r) : 0);
}

int record_seal(struct record_layer *r, const void *plain, size_t n, struct buffer *raw, size_t raw_max)
{
	size_t need = record_sealed_len(r, n), piece;
	const uint8_t *p = plain;
	uint8_t *out;
	int err;

	if (r->s.write_closed || r->elsewhere)
		return -EPIPE;
	if (need > raw_max || buffer_len(raw) > raw_max - need)
		return -ENOBUFS;
	if (!n)
		return 0;
	if (!buffer_reserve(raw, need, raw_max))
		return -ENOMEM;
	if (rekey_is_due(r, records_of(r, n))) {
		err = record_key_update(r, false, raw);
		if (err)
			return err;
	}
	for (; n; n -= piece, p += piece) {
		piece = n < r->s.plain_max ? n : r->s.plain_max;
		out = raw->data + raw->end;
		err = seal_one(r, CONTENT_DATA, p, piece, out);
		if (err) { /* the cipher has no memory: what is sealed cannot be taken back */
			fail(r, INTERNAL_ERROR, err, raw);
			return err;
		}
		buffer_commit(raw, piece + overhead(r));
	}
	return 0;
}

/* --- Opening ----------------------------------------------------------------------------------------------------- */

/* A peer may bother us a little, and more if it sends data between. */
static bool is_flood(struct record_layer *r)
{
	return ++r->s.nuisances > RECORD_NUISANCE_MAX;
}

static void repay(struct record_layer *r)
{
	if (r->s.nuisances && ++r->s.repaid >= RECORD_NUISANCE_REPAID) {
		r->s.repaid = 0;
		r->s.nuisances--;
	}
}

static int on_key_update(struct record_layer *r, uint8_t request, size_t behind, struct buffer *reply)
{
	int err;

	if (behind) /* RFC 8446 section 5.1: no message may follow under the old key */
		return fail(r, UNEXPECTED_MESSAGE, -EPROTO, reply);
	if (request > 1)
		return fail(r, ILLEGAL_PARAMETER, -EPROTO, reply);
	err = next_key(r, &r->s.read, &r->reading);
	r->s.owes_update |= request;
	return err ? fail(r, INTERNAL_ERROR, err, reply) : 0;
}

/* The header of a message is complete: is it one that may come now? */
static int on_message(struct record_layer *r, struct buffer *reply)
{
	uint32_t len = (uint32_t)r->s.head[1] << 16 | (uint32_t)r->s.head[2] << 8 | r->s.head[3];
	bool taken;

	switch (r->s.head[0]) {
	case KEY_UPDATE:
		taken = is_13(r);
		if (taken && len != 1)
			return fail(r, DECODE_ERROR, -EPROTO, reply);
		break;
	case NEW_SESSION_TICKET: taken = is_13(r) && r->s.client; break;
	case CLIENT_HELLO: taken = !is_13(r) && !r->s.client; break;
	case HELLO_REQUEST: taken = !is_13(r) && r->s.client && !len; break;
	default: taken = false;
	}
	if (!taken || len > MESSAGE_MAX)
		return fail(r, UNEXPECTED_MESSAGE, -EPROTO, reply);
	if (is_flood(r))
		return fail(r, UNEXPECTED_MESSAGE, -ENOBUFS, reply);
	r->s.body_left = len;
	/* RFC 5246 section 7.2.2: renegotiation is refused by a warning, and the connection goes on. */
	r->owes_warning |= !is_13(r);
	return 0;
}

static int on_handshake(struct record_layer *r, const uint8_t *p, size_t n, struct buffer *reply)
{
	size_t take;
	int err;

	if (!n)
		return fail(r, UNEXPECTED_MESSAGE, -EPROTO, reply);
	while (n) {
		if (r->s.head_len < sizeof(r->s.head)) {
			r->s.head[r->s.head_len++] = *p++;
			n--;
			if (r->s.head_len < sizeof(r->s.head))
				continue;
			err = on_message(r, reply);
			if (err)
				return err;
		} else if (r->s.head[0] == KEY_UPDATE) {
			err = on_key_update(r, *p++, --n, reply);
			if (err)
				return err;
			r->s.body_left = 0;
		} else {
			take = n < r->s.body_left ? n : r->s.body_left;
			r->s.body_left -= (uint32_t)take;
			p += take;
			n -= take;
		}
		if (!r->s.body_left)
			r->s.head_len = 0;
	}
	return 0;
}

static int on_alert(struct record_layer *r, const uint8_t *p, size_t n, struct buffer *reply)
{
	if (n != 2)
		return fail(r, DECODE_ERROR, -EPROTO, reply);
	if (p[1] == CLOSE_NOTIFY) {
		r->s.read_closed = true;
		return -EPIPE;
	}
	/* RFC 8446 section 6: the level counts no more, and only these two are no errors. */
	if (is_13(r) ? p[1] == USER_CANCELED : p[0] == WARNING)
		return is_flood(r) ? fail(r, UNEXPECTED_MESSAGE, -ENOBUFS, reply) : 0;
	r->s.write_closed = true; /* nobody listens: say nothing */
	return fail(r, INTERNAL_ERROR, -ECONNABORTED, reply);
}

static int on_data(struct record_layer *r, size_t n, struct buffer *plain, struct buffer *reply)
{
	if (!n)
		return is_flood(r) ? fail(r, UNEXPECTED_MESSAGE, -ENOBUFS, reply) : 0;
	buffer_commit(plain, n);
	repay(r);
	return 0;
}

/* The header at the front of raw: the length behind it, or what is wrong. */
static int check_head(struct record_layer *r, const uint8_t *head, size_t *inner, struct buffer *reply)
{
	size_t len = (size_t)head[3] << 8 | head[4], around = TAG + (has_explicit(r) ? EXPLICIT : 0);

	if (is_13(r) ? head[0] != CONTENT_DATA : head[0] < CONTENT_ALERT || head[0] > CONTENT_DATA)
		return fail(r, UNEXPECTED_MESSAGE, -EPROTO, reply);
	if (head[1] != 3 || (!is_13(r) && head[2] != 3))
		return fail(r, PROTOCOL_VERSION, -EPROTO, reply);
	if (len < around + is_13(r))
		return fail(r, BAD_RECORD_MAC, -EBADMSG, reply);
	*inner = len - around;
	if (*inner > (size_t)RECORD_PLAIN_MAX + is_13(r))
		return fail(r, RECORD_OVERFLOW, -EMSGSIZE, reply);
	return (int)len;
}

/* 1.3: the type is the last byte that is not zero. */
static int find_type(const uint8_t *p, size_t *n)
{
	while (*n && !p[*n - 1])
		--*n;
	return *n ? p[--*n] : -1;
}

static int dispatch(struct record_layer *r, int type, const uint8_t *p, size_t n, struct buffer *plain, struct buffer *reply)
{
	if (r->s.head_len && type != CONTENT_HANDSHAKE) /* in the middle of a message */
		return fail(r, UNEXPECTED_MESSAGE, -EPROTO, reply);
	switch (type) {
	case CONTENT_DATA: return on_data(r, n, plain, reply);
	case CONTENT_ALERT: return on_alert(r, p, n, reply);
	case CONTENT_HANDSHAKE: return on_handshake(r, p, n, reply);
	default: return fail(r, UNEXPECTED_MESSAGE, -EPROTO, reply);
	}
}

/* Room for what the whole of raw will be, or at least for the next record. */
static uint8_t *plain_room(const struct buffer *raw, struct buffer *plain, size_t inner, size_t max)
{
	size_t n = buffer_len(raw), room = max - buffer_len(plain);

	return buffer_reserve(plain, n < room ? n : room < inner ? inner : room, max);
}

/* One record of raw.  1: go on. */
static int open_next(struct record_layer *r, struct buffer *raw, struct buffer *plain, size_t plain_max,
		     struct buffer *reply)
{
	uint8_t *head = buffer_head(raw), *out;
	size_t inner = 0;
	int len, n, type, err;

	if (buffer_len(raw) < HEAD)
		return -EAGAIN;
	len = check_head(r, head, &inner, reply);
	if (len < 0)
		return len;
	if (buffer_len(raw) - HEAD < (size_t)len)
		return -EAGAIN;
	if (inner > plain_max || buffer_len(plain) > plain_max - inner)
		return 0;
	out = plain_room(raw, plain, inner, plain_max);
	if (!out)
		return -ENOMEM;
	type = head[0];
	n = open_one(r, head, (size_t)len, inner, out);
	if (n == -EBADMSG)
		return fail(r, BAD_RECORD_MAC, n, reply);
	if (n < 0)
		return fail(r, INTERNAL_ERROR, n, reply);
	inner = (size_t)n;
	if (is_13(r))
		type = find_type(out, &inner);
	buffer_consume(raw, HEAD + (size_t)len);
	err = dispatch(r, type, out, inner, plain, reply);
	return err ? err : 1;
}

/* RFC 8446 section 4.6.3: one KeyUpdate answers any number of requests. */
static int answer(struct record_layer *r, struct buffer *reply)
{
	int err = 0;

	if (r->s.owes_update && !r->s.write_closed && !r->elsewhere)
		err = record_key_update(r, false, reply);
	if (r->owes_warning && !err)
		err = send_alert(r, WARNING, NO_RENEGOTIATION, reply);
	r->owes_warning = false;
	return err ? fail(r, INTERNAL_ERROR, err, reply) : 0;
}

int record_open(struct record_layer *r, struct buffer *raw, struct buffer *plain, size_t plain_max, struct buffer *reply)
{
	int rc, err;

	if (r->s.failed)
		return -EPROTO;
	if (r->s.read_closed)
		return -EPIPE;
	do
		rc = open_next(r, raw, plain, plain_max, reply);
	while (rc > 0);
	buffer_consume(plain, 0); /* room that nothing came into is given back */
	err = answer(r, reply);
	return err ? err : rc;
}

/* --- Life ---------------------------------------------------------------------------------------------------------- */

static bool is_state(const struct record_state *s, const struct record_suite *suite)
{
	bool mid = s->head_len == sizeof(s->head);

	return suite && s->cipher == suite->cipher && s->secret_len == (s->version == 0x0304 ? suite->secret_len : 0) &&
	       (s->version == 0x0304 || !s->owes_update) &&
	       s->plain_max >= 64 && s->plain_max <= RECORD_PLAIN_MAX && s->head_len <= sizeof(s->head) &&
	       (mid ? s->body_left > 0 && s->body_left <= MESSAGE_MAX : s->body_left == 0) &&
	       (!mid || s->head[0] != KEY_UPDATE || s->body_left == 1) && s->nuisances <= RECORD_NUISANCE_MAX + 1 &&
	       s->repaid < RECORD_NUISANCE_REPAID && (!s->failed || (s->read_closed && s->write_closed));
}

int record_import(const struct record_state *state, struct record_layer **out)
{
	const struct record_suite *suite = record_suite(state->version, state->suite);
	struct record_layer *r;

	if (!is_state(state, suite))
		return -EINVAL;
	r = secret_alloc(sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->s = *state;
	r->suite = *suite;
	context_new_key(&r->reading);
	context_new_key(&r->writing);
	*out = r;
	return 0;
}

void record_export(const struct record_layer *r, struct record_state *state)
{
	*state = r->s;
}

const struct record_state *record_peek(const struct record_layer *r)
{
	return &r->s;
}

void record_free(struct record_layer *r)
{
	if (!r)
		return;
	context_drop(&r->reading);
	context_drop(&r->writing);
	secret_free(r, sizeof(*r));
}
