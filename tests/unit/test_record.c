// SPDX-License-Identifier: BSD-2-Clause
/*
 * The record layer against OpenSSL itself: a real handshake over memory BIOs, then one side is freed and
 * ours takes its place.  Every suite, both versions, both roles, resumed or not; KeyUpdate from both
 * sides; export and import at every byte; what must be refused, with the alert that says so.
 */
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "l7/tls/record.h"
#include "l7/tls/record_keys.h"
#include "l7/secret.h"

#define ROOM (1u << 22)

struct suite {
	const char *name;
	int version;
	bool ecdsa;
};

static const struct suite suites[] = {
	{ "TLS_AES_128_GCM_SHA256", TLS1_3_VERSION, true },
	{ "TLS_AES_256_GCM_SHA384", TLS1_3_VERSION, false },
	{ "TLS_CHACHA20_POLY1305_SHA256", TLS1_3_VERSION, true },
	{ "ECDHE-ECDSA-AES128-GCM-SHA256", TLS1_2_VERSION, true },
	{ "ECDHE-ECDSA-AES256-GCM-SHA384", TLS1_2_VERSION, true },
	{ "ECDHE-ECDSA-CHACHA20-POLY1305", TLS1_2_VERSION, true },
	{ "ECDHE-RSA-AES128-GCM-SHA256", TLS1_2_VERSION, false },
	{ "ECDHE-RSA-AES256-GCM-SHA384", TLS1_2_VERSION, false },
	{ "ECDHE-RSA-CHACHA20-POLY1305", TLS1_2_VERSION, false },
};
#define N_SUITES (sizeof(suites) / sizeof(suites[0]))

static EVP_PKEY *keys[2];
static X509 *certificates[2];

static X509 *certify(EVP_PKEY *key)
{
	X509 *x = X509_new();

	X509_set_version(x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
	X509_gmtime_adj(X509_getm_notBefore(x), -60);
	X509_gmtime_adj(X509_getm_notAfter(x), 3600);
	X509_set_pubkey(x, key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)"www.example.net",
				   -1, -1, 0);
	X509_set_issuer_name(x, X509_get_subject_name(x));
	X509_sign(x, key, EVP_sha256());
	return x;
}

static int set_up(void **state)
{
	(void)state;
	keys[0] = EVP_RSA_gen(2048);
	keys[1] = EVP_EC_gen("P-256");
	certificates[0] = certify(keys[0]);
	certificates[1] = certify(keys[1]);
	return 0;
}

static int tear_down(void **state)
{
	int i;

	(void)state;
	for (i = 0; i < 2; i++) {
		EVP_PKEY_free(keys[i]);
		X509_free(certificates[i]);
	}
	record_thread_end();
	return 0;
}

/* --- A connection: OpenSSL there, ours here ----------------------------------------------------------------- */

struct pair {
	SSL_CTX *server_ctx, *client_ctx;
	SSL *peer;	     /* OpenSSL's side */
	BIO *to_peer, *from_peer;
	struct record_layer *r; /* ours */
	struct buffer raw, out; /* received and not opened; sealed and not sent */
	bool resumed;
};

static SSL_CTX *context(const struct suite *s, bool server)
{
	SSL_CTX *ctx = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());

	SSL_CTX_set_min_proto_version(ctx, s->version);
	SSL_CTX_set_max_proto_version(ctx, s->version);
	if (s->version == TLS1_3_VERSION)
		assert_int_equal(SSL_CTX_set_ciphersuites(ctx, s->name), 1);
	else
		assert_int_equal(SSL_CTX_set_cipher_list(ctx, s->name), 1);
	if (server) {
		assert_int_equal(SSL_CTX_use_certificate(ctx, certificates[s->ecdsa]), 1);
		assert_int_equal(SSL_CTX_use_PrivateKey(ctx, keys[s->ecdsa]), 1);
		SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"t", 1);
	}
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION);
	record_capture_ctx(ctx);
	return ctx;
}

static SSL_SESSION *kept;

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
	(void)ssl;
	SSL_SESSION_free(kept);
	kept = session;
	return 1;
}

static size_t bio_to_buffer(BIO *bio, struct buffer *b)
{
	size_t n = BIO_ctrl_pending(bio);
	uint8_t *to = n ? buffer_reserve(b, n, ROOM) : NULL;

	if (!n)
		return 0;
	assert_non_null(to);
	assert_int_equal(BIO_read(bio, to, (int)n), n);
	buffer_commit(b, n);
	return n;
}

/* A handshake between OpenSSL and OpenSSL; then ours takes over the server's place, or the client's.
 * `early`: data that the client sends in one flight with its Finished. */
static void connect_pair(struct pair *p, const struct suite *s, bool ours_is_client, SSL_SESSION *resume, const char *early)
{
	BIO *up = BIO_new(BIO_s_mem()), *down = BIO_new(BIO_s_mem());
	struct record_capture capture;
	SSL *server, *client, *mine;
	int i, a = 0, b = 0;

	memset(p, 0, sizeof(*p));
	p->server_ctx = context(s, true);
	p->client_ctx = context(s, false);
	SSL_CTX_set_session_cache_mode(p->client_ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(p->client_ctx, keep_session);
	SSL_CTX_set_tlsext_ticket_keys(p->server_ctx, (char *)(uintptr_t) "0123456789abcdef0123456789abcdef0123456789abcdef"
									   "0123456789abcdef0123456789abcdef", 80);
	server = SSL_new(p->server_ctx);
	client = SSL_new(p->client_ctx);
	mine = ours_is_client ? client : server;
	BIO_up_ref(up);
	BIO_up_ref(down);
	BIO_up_ref(up);
	BIO_up_ref(down);
	SSL_set_bio(server, up, down);
	SSL_set_bio(client, down, up);
	assert_int_equal(record_capture(mine, &capture), 0);
	if (resume)
		SSL_set_session(client, resume);
	SSL_set_accept_state(server);
	SSL_set_connect_state(client);
	for (i = 0; i < 10 && (a != 1 || b != 1); i++) {
		if (a != 1) {
			a = SSL_do_handshake(client);
			if (a == 1 && early)
				assert_int_equal(SSL_write(client, early, (int)strlen(early)), strlen(early));
		}
		if (b != 1)
			b = SSL_do_handshake(server);
	}
	assert_int_equal(a, 1);
	assert_int_equal(b, 1);
	p->resumed = SSL_session_reused(server);
	assert_int_equal(record_from_capture(mine, &capture, &p->r), 0);
	p->peer = ours_is_client ? server : client;
	p->to_peer = ours_is_client ? up : down;
	p->from_peer = ours_is_client ? down : up;
	bio_to_buffer(p->from_peer, &p->raw); /* early data; a client: tickets */
	SSL_free(mine);
}

static void disconnect_pair(struct pair *p)
{
	record_free(p->r);
	buffer_free(&p->raw);
	buffer_free(&p->out);
	SSL_free(p->peer);
	BIO_free(p->to_peer);
	BIO_free(p->from_peer);
	SSL_CTX_free(p->server_ctx);
	SSL_CTX_free(p->client_ctx);
}

static void flush(struct pair *p)
{
	if (!buffer_len(&p->out))
		return;
	assert_int_equal(BIO_write(p->to_peer, buffer_head(&p->out), (int)buffer_len(&p->out)), buffer_len(&p->out));
	buffer_consume(&p->out, buffer_len(&p->out));
}

static void fill(uint8_t *p, size_t n, uint32_t seed)
{
	while (n--) {
		seed = seed * 1103515245 + 12345;
		*p++ = (uint8_t)(seed >> 16);
	}
}

static void we_send(struct pair *p, size_t n, uint32_t seed)
{
	uint8_t *data = malloc(n + 1), *got = malloc(n + 1);
	size_t have = 0, before;
	int rc;

	fill(data, n, seed);
	before = buffer_len(&p->out);
	assert_true(record_seal_fits(p->r, record_sealed_len(p->r, n)) == n);
	{
		size_t expect = record_sealed_len(p->r, n);

		assert_int_equal(record_seal(p->r, data, n, &p->out, ROOM), 0);
		assert_int_equal(buffer_len(&p->out) - before, expect);
	}
	flush(p);
	while (have < n) {
		rc = SSL_read(p->peer, got + have, (int)(n - have));
		assert_true(rc > 0);
		have += (size_t)rc;
	}
	assert_memory_equal(data, got, n);
	free(data);
	free(got);
}

static void move(struct pair *p)
{
	struct record_state s, t;
	uint8_t bytes[RECORD_STATE_LEN];
	struct record_layer *r;

	record_export(p->r, &s);
	record_state_put(&s, bytes);
	record_free(p->r);
	assert_int_equal(record_state_get(bytes, sizeof(bytes), &t), 0);
	assert_int_equal(record_import(&t, &r), 0);
	p->r = r;
}

/* The peer sends n bytes; they come to us `piece` at a time, and the state moves after each. */
static void peer_sends(struct pair *p, size_t n, uint32_t seed, size_t piece, bool moving)
{
	uint8_t *data = malloc(n + 1);
	struct buffer plain = { NULL }, wire = { NULL };
	size_t take;
	int rc;

	fill(data, n, seed);
	assert_int_equal(SSL_write(p->peer, data, (int)n), n);
	bio_to_buffer(p->from_peer, &wire);
	while (buffer_len(&wire)) {
		take = piece < buffer_len(&wire) ? piece : buffer_len(&wire);
		assert_int_equal(buffer_put(&p->raw, buffer_head(&wire), take, ROOM), 0);
		buffer_consume(&wire, take);
		rc = record_open(p->r, &p->raw, &plain, ROOM, &p->out);
		assert_int_equal(rc, -EAGAIN);
		if (moving)
			move(p);
	}
	assert_int_equal(buffer_len(&p->raw), 0);
	assert_null(p->raw.data);
	assert_int_equal(buffer_len(&plain), n);
	if (n)
		assert_memory_equal(buffer_head(&plain), data, n);
	buffer_free(&plain);
	free(data);
}

static void expect_opened(struct pair *p, const char *text)
{
	struct buffer plain = { NULL };

	assert_int_equal(record_open(p->r, &p->raw, &plain, ROOM, &p->out), -EAGAIN);
	assert_int_equal(buffer_len(&plain), strlen(text));
	if (*text)
		assert_memory_equal(buffer_head(&plain), text, strlen(text));
	buffer_free(&plain);
}

/* --- Tests --------------------------------------------------------------------------------------------------- */

static const size_t sizes[] = { 1, 2, 15, 16, 17, 1023, 1024, 1025, 16383, 16384, 16385, 100000 };
#define N_SIZES (sizeof(sizes) / sizeof(sizes[0]))

static void traffic(struct pair *p, uint32_t seed)
{
	size_t i;

	for (i = 0; i < N_SIZES; i++) {
		we_send(p, sizes[i], seed + (uint32_t)i);
		peer_sends(p, sizes[i], seed + 100 + (uint32_t)i, i % 2 ? 1500 : ROOM, i % 3 == 0);
		if (i % 4 == 1)
			move(p);
	}
}

static void every_suite(void **state)
{
	struct pair p;
	size_t i;
	int client, resume;

	(void)state;
	for (i = 0; i < N_SUITES; i++) {
		for (client = 0; client < 2; client++) {
			SSL_SESSION *session = NULL;

			for (resume = 0; resume < 2; resume++) {
				connect_pair(&p, &suites[i], client, session, client ? NULL : "GET / HTTP/1.1\r\n\r\n");
				if (p.resumed != (resume == 1)) fail_msg("%s client %d resume %d", suites[i].name, client, resume);
				if (!client)
					expect_opened(&p, "GET / HTTP/1.1\r\n\r\n");
				traffic(&p, (uint32_t)i);
				if (!client && !resume) { /* the peer has read our side's tickets by now */
					assert_non_null(kept);
					session = kept;
					kept = NULL;
				}
				if (client) {
					disconnect_pair(&p);
					break; /* a client of ours does not take tickets */
				}
				assert_int_equal(record_close_notify(p.r, &p.out), 0);
				flush(&p);
				{
					char c;

					assert_int_equal(SSL_read(p.peer, &c, 1), 0);
					assert_int_equal(SSL_get_error(p.peer, 0), SSL_ERROR_ZERO_RETURN);
					assert_int_equal(SSL_shutdown(p.peer), 1);
				}
				disconnect_pair(&p);
			}
			SSL_SESSION_free(session);
		}
	}
	SSL_SESSION_free(kept);
	kept = NULL;
}

static void key_updates(void **state)
{
	struct pair p;
	size_t i;
	int k, client;

	(void)state;
	for (i = 0; i < 3; i++) {
		for (client = 0; client < 2; client++) {
			connect_pair(&p, &suites[i], client, NULL, NULL);
			we_send(&p, 100, 1);
			for (k = 0; k < 40; k++) {
				uint64_t before = record_peek(p.r)->write.seq;

				if (k % 4 == 0) {
					assert_int_equal(record_key_update(p.r, k % 8 == 0, &p.out), 0);
					assert_int_equal(record_peek(p.r)->write.seq, 0);
				} else if (k % 4 == 2) {
					SSL_key_update(p.peer, k % 8 == 2 ? SSL_KEY_UPDATE_REQUESTED :
									    SSL_KEY_UPDATE_NOT_REQUESTED);
					/* the message travels with the data that follows */
					peer_sends(&p, 3000, (uint32_t)k, 7, true);
					assert_int_equal(record_peek(p.r)->read.seq, 1);
					if (k % 8 == 2)
						assert_true(record_peek(p.r)->write.seq <= before);
				}
				we_send(&p, 5000, (uint32_t)k);
				peer_sends(&p, 40000, (uint32_t)k, 1000, k % 3 == 0);
				if (k % 5 == 0)
					move(&p);
			}
			disconnect_pair(&p);
		}
	}
	connect_pair(&p, &suites[3], false, NULL, NULL);
	assert_int_equal(record_key_update(p.r, true, &p.out), -EOPNOTSUPP);
	disconnect_pair(&p);
}

static void key_is_renewed_in_time(void **state)
{
	struct record_state s;
	struct pair p;

	(void)state;
	connect_pair(&p, &suites[0], false, NULL, NULL);
	/* As if that many records had been sealed: both sides' numbers are moved (OpenSSL's cannot, so a layer of
	 * ours is the peer). */
	record_export(p.r, &s);
	s.write.seq = RECORD_REKEY_AFTER - 1;
	record_free(p.r);
	assert_int_equal(record_import(&s, &p.r), 0);
	{
		struct record_state other = s;
		struct record_layer *peer;
		struct buffer plain = { NULL }, none = { NULL };
		uint8_t data[40000];

		other.client = true;
		other.read = s.write;
		other.write = s.read;
		assert_int_equal(record_import(&other, &peer), 0);
		fill(data, sizeof(data), 5);
		assert_int_equal(record_seal(p.r, data, 10, &p.out, ROOM), 0); /* the last under this key */
		assert_int_equal(record_peek(p.r)->write.seq, RECORD_REKEY_AFTER);
		assert_int_equal(record_seal_fits(p.r, record_sealed_len(p.r, sizeof(data))), sizeof(data));
		assert_int_equal(record_seal(p.r, data, sizeof(data), &p.out, ROOM), 0);
		assert_int_equal(record_peek(p.r)->write.seq, 3);
		assert_int_equal(record_open(peer, &p.out, &plain, ROOM, &none), -EAGAIN);
		assert_int_equal(buffer_len(&plain), 10 + sizeof(data));
		assert_memory_equal(buffer_head(&plain) + 10, data, sizeof(data));
		assert_memory_not_equal(record_peek(p.r)->write.secret, s.write.secret, 32);
		buffer_free(&plain);
		record_free(peer);
	}
	disconnect_pair(&p);
}

/* The kernel seals: nothing is sealed here, and what would have been said waits; a KeyUpdate until the connection lives elsewhere. */
static void sealed_elsewhere(void **state)
{
	struct buffer plain = { NULL };
	uint8_t alert[2];
	struct pair p;
	size_t i;

	(void)state;
	for (i = 0; i < 4; i++) {
		bool is_13 = suites[i].version == TLS1_3_VERSION;

		connect_pair(&p, &suites[i], false, NULL, NULL);
		we_send(&p, 100, 1);
		record_seals_elsewhere(p.r);
		assert_int_equal(record_seal(p.r, "x", 1, &p.out, ROOM), -EPIPE);
		assert_int_equal(record_close_notify(p.r, &p.out), -EPIPE);
		assert_int_equal(record_key_update(p.r, false, &p.out), is_13 ? -EPIPE : -EOPNOTSUPP);
		peer_sends(&p, 3000, 2, 100, false);
		if (is_13) {
			SSL_key_update(p.peer, SSL_KEY_UPDATE_REQUESTED);
			peer_sends(&p, 3000, 3, 100, false);
			assert_int_equal(record_peek(p.r)->read.seq, 1);
		}
		assert_int_equal(buffer_len(&p.out), 0);
		assert_int_equal(record_peek(p.r)->owes_update, is_13);
		assert_false(record_owed_alert(p.r, alert));
		move(&p); /* elsewhere: it is said first, once, and the key is another then (we_send checks the length, the peer the rest) */
		we_send(&p, 100, 4);
		assert_int_equal(record_peek(p.r)->write.seq, is_13 ? 1 : 3);
		assert_false(record_peek(p.r)->owes_update);
		peer_sends(&p, 100, 5, 100, true);
		we_send(&p, 40000, 6);
		/* What ends the connection is the caller's to say, once. */
		record_seals_elsewhere(p.r);
		assert_int_equal(SSL_write(p.peer, "hello", 5), 5);
		bio_to_buffer(p.from_peer, &p.raw);
		p.raw.data[p.raw.end - 1] ^= 1;
		assert_int_equal(record_open(p.r, &p.raw, &plain, ROOM, &p.out), -EBADMSG);
		assert_int_equal(buffer_len(&p.out), 0);
		assert_true(record_owed_alert(p.r, alert));
		assert_true(alert[0] == 2 && alert[1] == 20);
		assert_false(record_owed_alert(p.r, alert));
		disconnect_pair(&p);
	}
}

/* Each byte of a record is a place to move at; a wrong byte anywhere is refused and said so. */
static void at_every_byte(void **state)
{
	struct buffer plain = { NULL }, wire = { NULL };
	struct record_state before;
	size_t i, at, n;
	struct pair p;

	(void)state;
	for (i = 0; i < N_SUITES; i++) {
		connect_pair(&p, &suites[i], false, NULL, NULL);
		peer_sends(&p, 50, 1, 1, true);
		assert_int_equal(SSL_write(p.peer, "hello", 5), 5);
		n = bio_to_buffer(p.from_peer, &wire);
		record_export(p.r, &before);
		for (at = 0; at < n; at++) {
			struct record_layer *r;
			struct buffer raw = { NULL }, reply = { NULL };
			int rc;

			assert_int_equal(record_import(&before, &r), 0);
			buffer_put(&raw, buffer_head(&wire), n, ROOM);
			raw.data[raw.start + at] ^= 1;
			rc = record_open(r, &raw, &plain, ROOM, &reply);
			assert_true(rc == -EBADMSG || rc == -EPROTO || rc == -EMSGSIZE ||
				    (rc == -EAGAIN && (at == 3 || at == 4))); /* a longer record is only waited for */
			assert_int_equal(buffer_len(&plain), 0);
			if (rc != -EAGAIN) {
				assert_true(buffer_len(&reply) > 0);
				assert_int_equal(record_seal(r, "x", 1, &reply, ROOM), -EPIPE);
				assert_int_equal(record_open(r, &raw, &plain, ROOM, &reply), -EPROTO);
			}
			record_free(r);
			buffer_free(&raw);
			buffer_free(&reply);
		}
		/* control: unharmed it opens */
		buffer_put(&p.raw, buffer_head(&wire), n, ROOM);
		expect_opened(&p, "hello");
		buffer_free(&wire);
		disconnect_pair(&p);
	}
}

static void small_rooms(void **state)
{
	struct buffer plain = { NULL };
	uint8_t data[50000], got[50000];
	size_t have = 0;
	struct pair p;
	int rc;

	(void)state;
	connect_pair(&p, &suites[0], false, NULL, NULL);
	fill(data, sizeof(data), 9);
	assert_int_equal(SSL_write(p.peer, data, sizeof(data)), sizeof(data));
	bio_to_buffer(p.from_peer, &p.raw);
	do {
		rc = record_open(p.r, &p.raw, &plain, RECORD_OPEN_ROOM, &p.out);
		assert_true(rc == 0 || rc == -EAGAIN);
		assert_true(plain.room <= RECORD_OPEN_ROOM);
		memcpy(got + have, buffer_head(&plain), buffer_len(&plain));
		have += buffer_len(&plain);
		buffer_consume(&plain, buffer_len(&plain));
		assert_null(plain.data);
	} while (rc == 0);
	assert_int_equal(have, sizeof(data));
	assert_memory_equal(got, data, have);
	/* Whole or not at all. */
	assert_int_equal(record_seal(p.r, data, 1000, &p.out, 1021), -ENOBUFS);
	assert_int_equal(buffer_len(&p.out), 0);
	assert_int_equal(record_seal(p.r, data, 1000, &p.out, 1022), 0);
	assert_int_equal(record_seal_fits(p.r, 1022), 1000);
	assert_int_equal(record_seal_fits(p.r, 22), 0);
	assert_int_equal(record_seal(p.r, data, 0, &p.out, 1022), 0);
	flush(&p);
	disconnect_pair(&p);
}

/* Two layers of ours, for what OpenSSL cannot be made to say: raw sealed content of any type. */
struct own {
	struct record_layer *server, *client;
	struct buffer wire, plain, reply;
};

static void own_pair(struct own *o, uint16_t version)
{
	struct record_state s = { .version = version, .plain_max = RECORD_PLAIN_MAX, .cipher = RECORD_AES_128_GCM };
	struct record_direction d;

	memset(o, 0, sizeof(*o));
	s.suite = version == 0x0304 ? 0x1301 : 0xc02f;
	s.secret_len = version == 0x0304 ? 32 : 0;
	fill(s.read.key, 16, 1);
	fill(s.write.key, 16, 2);
	fill(s.read.iv, 12, 3);
	fill(s.write.iv, 12, 4);
	assert_int_equal(record_import(&s, &o->server), 0);
	d = s.read;
	s.read = s.write;
	s.write = d;
	s.client = true;
	assert_int_equal(record_import(&s, &o->client), 0);
}

static void own_end(struct own *o)
{
	record_free(o->server);
	record_free(o->client);
	buffer_free(&o->wire);
	buffer_free(&o->plain);
	buffer_free(&o->reply);
}

/* 1.3 hides the type behind the data: sealed as data under a cipher of the test's own. */
static void seal_raw(struct own *o, uint8_t type, const void *p, size_t n, size_t padding)
{
	struct record_state s;
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	size_t inner = n + 1 + padding, len = inner + 16;
	uint8_t *out = buffer_reserve(&o->wire, len + 5, ROOM), nonce[12];
	struct record_layer *r;
	int done, i;

	record_export(o->client, &s);
	memcpy(nonce, s.write.iv, 12);
	for (i = 0; i < 8; i++)
		nonce[4 + i] ^= (uint8_t)(s.write.seq >> (56 - 8 * i));
	memcpy(out, (uint8_t[]){ 23, 3, 3, (uint8_t)(len >> 8), (uint8_t)len }, 5);
	if (n)
		memcpy(out + 5, p, n);
	out[5 + n] = type;
	memset(out + 6 + n, 0, padding);
	EVP_CipherInit_ex(ctx, EVP_aes_128_gcm(), NULL, s.write.key, nonce, 1);
	EVP_CipherUpdate(ctx, NULL, &done, out, 5);
	EVP_CipherUpdate(ctx, out + 5, &done, out + 5, (int)inner);
	EVP_CipherFinal_ex(ctx, out + 5 + inner, &done);
	EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, 16, out + 5 + inner);
	EVP_CIPHER_CTX_free(ctx);
	buffer_commit(&o->wire, len + 5);
	s.write.seq++;
	assert_int_equal(record_import(&s, &r), 0);
	record_free(o->client);
	o->client = r;
}

static void alert_is(struct own *o, uint8_t alert)
{
	struct buffer plain = { NULL }, none = { NULL };
	uint8_t type, body[64];
	/* The client opens the reply: -ECONNABORTED for any but close_notify.  The code is read by hand. */
	struct record_state s;
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	uint8_t nonce[12], *head = buffer_head(&o->reply);
	int done, i;

	assert_int_equal(buffer_len(&o->reply), 5 + 3 + 16);
	record_export(o->client, &s);
	memcpy(nonce, s.read.iv, 12);
	for (i = 0; i < 8; i++)
		nonce[4 + i] ^= (uint8_t)(s.read.seq >> (56 - 8 * i));
	EVP_CipherInit_ex(ctx, EVP_aes_128_gcm(), NULL, s.read.key, nonce, 0);
	EVP_CipherUpdate(ctx, NULL, &done, head, 5);
	EVP_CipherUpdate(ctx, body, &done, head + 5, 3);
	EVP_CIPHER_CTX_free(ctx);
	type = body[2];
	assert_int_equal(type, 21);
	assert_int_equal(body[0], 2);
	assert_int_equal(body[1], alert);
	assert_int_equal(record_open(o->client, &o->reply, &plain, ROOM, &none), -ECONNABORTED);
	assert_int_equal(buffer_len(&none), 0);
}

static int open_own(struct own *o)
{
	return record_open(o->server, &o->wire, &o->plain, ROOM, &o->reply);
}

static void what_is_refused(void **state)
{
	static const struct {
		const char *why;
		uint8_t type;
		uint8_t bytes[8];
		size_t n, padding;
		int err;
		uint8_t alert;
	} cases[] = {
		{ "a ClientHello", 22, { 1, 0, 0, 0 }, 4, 0, -EPROTO, 10 },
		{ "a client's ticket", 22, { 4, 0, 0, 9 }, 4, 0, -EPROTO, 10 },
		{ "a Certificate", 22, { 11, 0, 0, 9 }, 4, 0, -EPROTO, 10 },
		{ "an empty handshake record", 22, { 0 }, 0, 0, -EPROTO, 10 },
		{ "a KeyUpdate of length 2", 22, { 24, 0, 0, 2, 0, 0 }, 6, 0, -EPROTO, 50 },
		{ "a KeyUpdate of 2", 22, { 24, 0, 0, 1, 2 }, 5, 0, -EPROTO, 47 },
		{ "a byte behind a KeyUpdate", 22, { 24, 0, 0, 1, 0, 24 }, 6, 0, -EPROTO, 10 },
		{ "change_cipher_spec", 20, { 1 }, 1, 0, -EPROTO, 10 },
		{ "no type at all", 0, { 0 }, 0, 40, -EPROTO, 10 },
		{ "type 24", 24, { 0 }, 1, 0, -EPROTO, 10 },
		{ "an alert of 1 byte", 21, { 1 }, 1, 0, -EPROTO, 50 },
		{ "two alerts in a record", 21, { 1, 90, 1, 90 }, 4, 0, -EPROTO, 50 },
		{ "more padding than fits", 23, { 1 }, 1, RECORD_PLAIN_MAX, -EMSGSIZE, 22 },
	};
	struct own o;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		own_pair(&o, 0x0304);
		seal_raw(&o, 23, "ok", 2, 3);
		assert_int_equal(open_own(&o), -EAGAIN);
		assert_int_equal(buffer_len(&o.plain), 2);
		seal_raw(&o, cases[i].type, cases[i].bytes, cases[i].n, cases[i].padding);
		if (open_own(&o) != cases[i].err)
			fail_msg("%s is not refused", cases[i].why);
		alert_is(&o, cases[i].alert);
		own_end(&o);
	}
	/* Data in the middle of a message; a KeyUpdate in five records is one. */
	own_pair(&o, 0x0304);
	for (i = 0; i < 5; i++) {
		static const uint8_t update[5] = { 24, 0, 0, 1, 1 };

		assert_int_equal(buffer_len(&o.reply), 0);
		seal_raw(&o, 22, update + i, 1, i);
		assert_int_equal(open_own(&o), -EAGAIN);
	}
	assert_int_equal(buffer_len(&o.reply), 27);
	assert_int_equal(record_peek(o.server)->read.seq, 0);
	assert_int_equal(record_peek(o.server)->write.seq, 0);
	own_end(&o);
	own_pair(&o, 0x0304);
	seal_raw(&o, 22, "\30\0\0", 3, 0);
	assert_int_equal(open_own(&o), -EAGAIN);
	seal_raw(&o, 23, "x", 1, 0);
	assert_int_equal(open_own(&o), -EPROTO);
	alert_is(&o, 10);
	own_end(&o);
	/* Headers, before anything is opened. */
	own_pair(&o, 0x0304);
	buffer_put(&o.wire, "\26\3\3\0\50", 5, ROOM);
	assert_int_equal(open_own(&o), -EPROTO);
	own_end(&o);
	own_pair(&o, 0x0304);
	buffer_put(&o.wire, "\27\3\3\100\22", 5, ROOM); /* 2^14 + 18: one more than data, type and tag */
	assert_int_equal(open_own(&o), -EMSGSIZE);
	alert_is(&o, 22);
	own_end(&o);
	own_pair(&o, 0x0304);
	buffer_put(&o.wire, "\27\3\3\100\21", 5, ROOM);
	assert_int_equal(open_own(&o), -EAGAIN);
	own_end(&o);
}

static void floods(void **state)
{
	struct own o;
	int i, rc = -EAGAIN;

	(void)state;
	/* KeyUpdates that ask for one: a bounded reply, then an end. */
	own_pair(&o, 0x0304);
	for (i = 0; rc == -EAGAIN && i < 1000; i++) {
		assert_int_equal(record_key_update(o.client, true, &o.wire), 0);
		rc = open_own(&o);
	}
	assert_int_equal(rc, -ENOBUFS);
	assert_int_equal(i, RECORD_NUISANCE_MAX + 1);
	own_end(&o);
	/* In one piece they are answered once. */
	own_pair(&o, 0x0304);
	for (i = 0; i < 10; i++)
		assert_int_equal(record_key_update(o.client, true, &o.wire), 0);
	assert_int_equal(open_own(&o), -EAGAIN);
	assert_int_equal(buffer_len(&o.reply), 27);
	own_end(&o);
	/* Empty records. */
	own_pair(&o, 0x0304);
	for (i = 0, rc = -EAGAIN; rc == -EAGAIN && i < 1000; i++) {
		seal_raw(&o, 23, "", 0, 0);
		rc = open_own(&o);
	}
	assert_int_equal(rc, -ENOBUFS);
	own_end(&o);
	/* With data between they are paid for, for ever. */
	own_pair(&o, 0x0304);
	for (i = 0; i < 1000; i++) {
		int k;

		assert_int_equal(record_key_update(o.client, false, &o.wire), 0);
		for (k = 0; k < RECORD_NUISANCE_REPAID; k++)
			assert_int_equal(record_seal(o.client, "x", 1, &o.wire, ROOM), 0);
		assert_int_equal(open_own(&o), -EAGAIN);
		buffer_free(&o.plain);
	}
	own_end(&o);
}

static void alerts_and_ends(void **state)
{
	struct pair p;
	struct own o;
	size_t i;

	(void)state;
	for (i = 0; i < N_SUITES; i += 3) {
		struct buffer plain = { NULL };
		char text[8];

		connect_pair(&p, &suites[i], false, NULL, NULL);
		SSL_write(p.peer, "last", 4);
		SSL_shutdown(p.peer);
		bio_to_buffer(p.from_peer, &p.raw);
		assert_int_equal(record_open(p.r, &p.raw, &plain, ROOM, &p.out), -EPIPE);
		assert_int_equal(buffer_len(&plain), 4);
		assert_int_equal(record_open(p.r, &p.raw, &plain, ROOM, &p.out), -EPIPE);
		move(&p);
		/* The other direction is open still (RFC 8446 section 6.1). */
		assert_int_equal(record_seal(p.r, "more", 4, &p.out, ROOM), 0);
		assert_int_equal(record_close_notify(p.r, &p.out), 0);
		assert_int_equal(record_close_notify(p.r, &p.out), 0);
		assert_int_equal(record_seal(p.r, "more", 4, &p.out, ROOM), -EPIPE);
		flush(&p);
		assert_int_equal(SSL_read(p.peer, text, sizeof(text)), 4);
		assert_int_equal(SSL_read(p.peer, text, sizeof(text)), 0);
		assert_int_equal(SSL_get_error(p.peer, 0), SSL_ERROR_ZERO_RETURN);
		buffer_free(&plain);
		disconnect_pair(&p);
	}
	/* An alert of the caller's. */
	own_pair(&o, 0x0304);
	assert_int_equal(record_alert(o.server, 80, &o.reply), 0);
	alert_is(&o, 80);
	own_end(&o);
	/* user_canceled is no end. */
	own_pair(&o, 0x0304);
	seal_raw(&o, 21, "\1\132", 2, 0);
	seal_raw(&o, 23, "x", 1, 0);
	assert_int_equal(open_own(&o), -EAGAIN);
	assert_int_equal(buffer_len(&o.plain), 1);
	own_end(&o);
}

/* TLS 1.2: a ClientHello is answered by a warning and the connection goes on. */
static void renegotiation(void **state)
{
	struct suite s = suites[6];
	struct pair p;
	char c[8];

	(void)state;
	connect_pair(&p, &s, false, NULL, NULL);
	SSL_clear_options(p.peer, SSL_OP_NO_RENEGOTIATION);
	assert_int_equal(SSL_renegotiate(p.peer), 1);
	SSL_do_handshake(p.peer); /* sends a ClientHello */
	bio_to_buffer(p.from_peer, &p.raw);
	assert_true(buffer_len(&p.raw) > 100);
	expect_opened(&p, "");
	assert_int_equal(buffer_len(&p.out), 5 + 8 + 2 + 16);
	assert_int_equal(record_seal(p.r, "on", 2, &p.out, ROOM), 0); /* we live */
	flush(&p);
	assert_true(SSL_read(p.peer, c, sizeof(c)) <= 0); /* OpenSSL's client gives up: its right */
	disconnect_pair(&p);
}

/* RFC 6066: a client that asked for small records gets them. */
static void short_fragments(void **state)
{
	(void)state;
	struct record_state s;
	struct own o;

	own_pair(&o, 0x0304);
	record_export(o.server, &s);
	s.plain_max = 512;
	record_free(o.server);
	assert_int_equal(record_import(&s, &o.server), 0);
	{
		uint8_t data[2000];
		struct buffer none = { NULL };

		fill(data, sizeof(data), 3);
		assert_int_equal(record_seal(o.server, data, sizeof(data), &o.wire, ROOM), 0);
		assert_int_equal(buffer_len(&o.wire), sizeof(data) + 4 * 22);
		assert_int_equal(record_open(o.client, &o.wire, &o.plain, ROOM, &none), -EAGAIN);
		assert_memory_equal(buffer_head(&o.plain), data, sizeof(data));
	}
	own_end(&o);
}

/* More connections than cached contexts: each finds its keys again; freed ones leave none behind. */
static void many_layers(void **state)
{
	enum { N = RECORD_CONTEXTS + 200 };
	struct own *o = calloc(N, sizeof(*o));
	int i, round;

	(void)state;
	for (i = 0; i < N; i++)
		own_pair(&o[i], i % 2 ? 0x0304 : 0x0303);
	for (round = 0; round < 3; round++) {
		for (i = 0; i < N; i++) {
			int at = (i * 7919 + round) % N;

			assert_int_equal(record_seal(o[at].client, &at, sizeof(at), &o[at].wire, ROOM), 0);
			assert_int_equal(open_own(&o[at]), -EAGAIN);
			assert_memory_equal(buffer_head(&o[at].plain), &at, sizeof(at));
			buffer_free(&o[at].plain);
			if (at % 50 == 0) {
				own_end(&o[at]);
				own_pair(&o[at], 0x0304);
			}
		}
	}
	for (i = 0; i < N; i++)
		own_end(&o[i]);
	free(o);
}

static void unhex(const char *hex, uint8_t *out)
{
	unsigned byte;

	for (; *hex; hex += 2) {
		assert_int_equal(sscanf(hex, "%2x", &byte), 1);
		*out++ = (uint8_t)byte;
	}
}

/* RFC 8448 section 3 (simple 1-RTT handshake): application secrets, the keys from them, and the records. */
static void rfc_8448(void **state)
{
	struct record_state s = { .version = 0x0304, .suite = 0x1301, .cipher = RECORD_AES_128_GCM, .secret_len = 32,
				  .plain_max = RECORD_PLAIN_MAX };
	uint8_t key[16], iv[12], record[72], plain[50];
	struct buffer raw = { NULL }, out = { NULL }, reply = { NULL };
	struct record_layer *r;
	size_t i;

	(void)state;
	unhex("9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5", s.read.secret);
	unhex("a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643", s.write.secret);
	assert_int_equal(record_derive(record_suite(0x0304, 0x1301), &s.read), 0);
	assert_int_equal(record_derive(record_suite(0x0304, 0x1301), &s.write), 0);
	unhex("17422dda596ed5d9acd890e3c63f5051", key);
	unhex("5b78923dee08579033e523d9", iv);
	assert_memory_equal(s.read.key, key, 16);
	assert_memory_equal(s.read.iv, iv, 12);
	unhex("9f02283b6c9c07efc26bb9f2ac92e356", key);
	unhex("cf782b88dd83549aadf1e984", iv);
	assert_memory_equal(s.write.key, key, 16);
	assert_memory_equal(s.write.iv, iv, 12);
	for (i = 0; i < 50; i++)
		plain[i] = (uint8_t)i;
	/* The client's first record, then its close_notify. */
	assert_int_equal(record_import(&s, &r), 0);
	unhex("1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a20441e2b62974e1f5a62"
	      "92a2977014bd1e3deae63aeebb21694915e4",
	      record);
	buffer_put(&raw, record, 72, ROOM);
	unhex("1703030013c9872760655666b74d7ff1153efd6db6d0b0e3", record);
	buffer_put(&raw, record, 24, ROOM);
	assert_int_equal(record_open(r, &raw, &out, ROOM, &reply), -EPIPE);
	assert_int_equal(buffer_len(&out), 50);
	assert_memory_equal(buffer_head(&out), plain, 50);
	buffer_free(&out);
	/* The server's: its ticket was record 0. */
	record_free(r);
	s.write.seq = 1;
	assert_int_equal(record_import(&s, &r), 0);
	assert_int_equal(record_seal(r, plain, 50, &out, ROOM), 0);
	assert_int_equal(record_close_notify(r, &out), 0);
	unhex("17030300432e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efaf97d90e6dffc602dcb501a59a8fcc49c4bf2e5"
	      "f0a21c0047c2abf332540dd032e167c2955d",
	      record);
	assert_int_equal(buffer_len(&out), 72 + 24);
	assert_memory_equal(buffer_head(&out), record, 72);
	unhex("1703030013b58fd67166ebf599d24720cfbe7efa7a8864a9", record);
	assert_memory_equal(buffer_head(&out) + 72, record, 24);
	buffer_free(&out);
	buffer_free(&reply);
	record_free(r);
}

static void state_is_checked(void **state)
{
	struct record_state s, t;
	uint8_t bytes[RECORD_STATE_LEN], again[RECORD_STATE_LEN];
	struct record_layer *r;
	struct own o;

	(void)state;
	own_pair(&o, 0x0304);
	record_export(o.server, &s);
	record_state_put(&s, bytes);
	assert_int_equal(record_state_get(bytes, sizeof(bytes), &t), 0);
	record_state_put(&t, again);
	assert_memory_equal(bytes, again, sizeof(bytes));
	assert_int_equal(record_state_get(bytes, sizeof(bytes) - 1, &t), -EINVAL);
	bytes[0]++;
	assert_int_equal(record_state_get(bytes, sizeof(bytes), &t), -EINVAL);
	bytes[0]--;
	t = s, t.suite = 0xc02f;
	assert_int_equal(record_import(&t, &r), -EINVAL);
	t = s, t.cipher = 7;
	assert_int_equal(record_import(&t, &r), -EINVAL);
	t = s, t.plain_max = 0;
	assert_int_equal(record_import(&t, &r), -EINVAL);
	t = s, t.head_len = 4;
	assert_int_equal(record_import(&t, &r), -EINVAL);
	t = s, t.body_left = 4;
	assert_int_equal(record_import(&t, &r), -EINVAL);
	own_end(&o);
}

/* --- Keys in memory ------------------------------------------------------------------------------------------ */

#define MASK 0x5c /* what is looked for is never written out */
#define LOOK (1u << 20)

static uint8_t looking[LOOK + 16];

/* How often the 16 bytes (masked) are anywhere in this process that can be written. */
static int times_in_memory(const uint8_t masked[16])
{
	FILE *maps = fopen("/proc/self/maps", "r");
	int mem = open("/proc/self/mem", O_RDONLY), found = 0;
	unsigned long from, to, at, here = (unsigned long)looking;
	char line[512], may[8];
	ssize_t n, i, k;

	assert_non_null(maps);
	assert_true(mem >= 0);
	while (fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%lx-%lx %7s", &from, &to, may) != 3 || may[1] != 'w' || to - from > 1ul << 30)
			continue; /* shadows of sanitizers are larger */
		for (at = from; at < to; at += LOOK) {
			n = pread(mem, looking, to - at < sizeof(looking) ? to - at : sizeof(looking), (off_t)at);
			for (i = 0; i + 16 <= n; i++) {
				if (at + (unsigned long)i + 16 > here && at + (unsigned long)i < here + sizeof(looking))
					continue; /* our own copy */
				for (k = 0; k < 16 && (looking[i + k] ^ MASK) == masked[k]; k++)
					;
				found += k == 16;
			}
		}
	}
	OPENSSL_cleanse(looking, sizeof(looking));
	fclose(maps);
	close(mem);
	return found;
}

/* A connection that has left, or has ended, leaves nothing of its keys behind. */
static void keys_leave_no_trace(void **state)
{
	static const struct { uint16_t version, number; uint8_t cipher, secret_len; } all[] = {
		{ 0x0304, 0x1301, RECORD_AES_128_GCM, 32 },	    { 0x0304, 0x1302, RECORD_AES_256_GCM, 48 },
		{ 0x0304, 0x1303, RECORD_CHACHA20_POLY1305, 32 }, { 0x0303, 0xc030, RECORD_AES_256_GCM, 0 },
	};
	uint8_t masked[2][16], bytes[RECORD_STATE_LEN];
	struct buffer out = { NULL }, plain = { NULL };
	struct record_layer *r;
	struct record_state s;
	size_t i, k;

	(void)state;
	for (i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		s = (struct record_state){ .version = all[i].version, .suite = all[i].number, .cipher = all[i].cipher,
					   .secret_len = all[i].secret_len, .plain_max = RECORD_PLAIN_MAX };
		RAND_bytes(masked[0], 16);
		RAND_bytes(masked[1], 16);
		for (k = 0; k < 16; k++) {
			s.write.key[k] = masked[0][k] ^ MASK;
			s.read.key[k] = masked[1][k] ^ MASK;
		}
		assert_int_equal(record_import(&s, &r), 0);
		OPENSSL_cleanse(&s, sizeof(s));
		assert_int_equal(record_seal(r, "hello", 5, &out, ROOM), 0);
		assert_true(times_in_memory(masked[0]) >= 1); /* control: it can be found while it lives */
		assert_true(times_in_memory(masked[1]) >= 1);
		/* The move: exported, written, sent, wiped. */
		record_export(r, &s);
		record_state_put(&s, bytes);
		OPENSSL_cleanse(&s, sizeof(s));
		record_free(r);
		assert_true(times_in_memory(masked[0]) == 1); /* control: in `bytes` */
		OPENSSL_cleanse(bytes, sizeof(bytes));
		assert_int_equal(times_in_memory(masked[0]), 0);
		assert_int_equal(times_in_memory(masked[1]), 0);
		buffer_free(&out);
		buffer_free(&plain);
	}
}

/* Where keys are: locked, and in no dump. */
static void keys_are_locked(void **state)
{
	struct secret_counts before, counts;
	char line[512], *flags = NULL;
	unsigned long from, to;
	bool here = false, locked = false, hidden = false;
	FILE *smaps;
	uint8_t *p;
	size_t i;

	(void)state;
	secret_counts(&before);
	p = secret_alloc(300);
	for (i = 0; i < 300; i++)
		assert_int_equal(p[i], 0);
	memset(p, 7, 300);
	smaps = fopen("/proc/self/smaps", "r");
	while (fgets(line, sizeof(line), smaps)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2 && strchr(line, '-') < strchr(line, ' '))
			here = (unsigned long)p >= from && (unsigned long)p < to;
		if (here && !strncmp(line, "VmFlags:", 8)) {
			flags = line;
			locked = strstr(flags, " lo");
			hidden = strstr(flags, " dd");
		}
	}
	fclose(smaps);
	secret_counts(&counts);
	assert_true(hidden);
#ifndef __SANITIZE_ADDRESS__ /* which makes mlock() do nothing */
	assert_true(locked || counts.unlocked);
#endif
	(void)locked;
	assert_true(counts.used >= before.used + 300);
	secret_free(p, 300);
	assert_int_equal(p[200], 0); /* wiped */
	secret_counts(&counts);
	assert_int_equal(counts.used, before.used);
	secret_free(NULL, 300);
}

static void buffers(void **state)
{
	struct buffer b = { NULL };
	uint8_t in[3000], out[3000];
	size_t put = 0, got = 0, i;

	(void)state;
	/* A queue of up to 700 bytes through which a stream goes: order, bound, and no growth beyond the bound. */
	for (i = 0; i < 200000; i++) {
		size_t n = (i * 7919) % 97, k;

		for (k = 0; k < n; k++)
			in[k] = (uint8_t)((put + k) * 31 >> 3);
		if (buffer_len(&b) + n <= 700) {
			assert_int_equal(buffer_put(&b, in, n, 700), 0);
			put += n;
		} else {
			assert_int_equal(buffer_put(&b, in, n, 700), -ENOBUFS);
		}
		n = (i * 104729) % 97;
		n = n < buffer_len(&b) ? n : buffer_len(&b);
		if (n)
			memcpy(out, buffer_head(&b), n);
		for (k = 0; k < n; k++)
			assert_int_equal(out[k], (uint8_t)((got + k) * 31 >> 3));
		got += n;
		buffer_consume(&b, n);
		assert_true(b.room <= 1400);
		assert_true(buffer_len(&b) || !b.data);
	}
	buffer_free(&b);
	assert_null(buffer_reserve(&b, 11, 10));
	assert_non_null(buffer_reserve(&b, 10, 10));
	assert_int_equal(b.room, 10);
	buffer_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(buffers),	     cmocka_unit_test(every_suite),
		cmocka_unit_test(key_updates),	     cmocka_unit_test(key_is_renewed_in_time), cmocka_unit_test(sealed_elsewhere),
		cmocka_unit_test(at_every_byte),     cmocka_unit_test(small_rooms),
		cmocka_unit_test(what_is_refused),   cmocka_unit_test(floods),
		cmocka_unit_test(alerts_and_ends),   cmocka_unit_test(renegotiation),
		cmocka_unit_test(short_fragments),   cmocka_unit_test(many_layers),
		cmocka_unit_test(keys_leave_no_trace), cmocka_unit_test(keys_are_locked),
		cmocka_unit_test(rfc_8448),	     cmocka_unit_test(state_is_checked),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
