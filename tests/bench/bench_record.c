// SPDX-License-Identifier: BSD-2-Clause
/*
 * The record layer against SSL_write and SSL_read, over memory: what a byte of the bulk and what a small
 * record cost, and what a connection that has lost its cipher context pays to have it again.
 */
#include <openssl/pem.h>
#include <string.h>

#include "l7/tls/record.h"
#include "tests/bench/bench.h"

#define ROUNDS 41
#define ROOM (64u << 20)

static SSL *server, *client;
static BIO *up, *down;
static struct record_layer *ours, *other;

static EVP_PKEY *key;

static SSL_CTX *context(bool is_server, const char *suite)
{
	SSL_CTX *ctx = SSL_CTX_new(is_server ? TLS_server_method() : TLS_client_method());
	X509 *x;

	SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION);
	SSL_CTX_set_ciphersuites(ctx, suite);
	SSL_CTX_set_num_tickets(ctx, 0);
	if (!is_server)
		return ctx;
	x = X509_new();
	X509_gmtime_adj(X509_getm_notBefore(x), 0);
	X509_gmtime_adj(X509_getm_notAfter(x), 3600);
	X509_set_pubkey(x, key);
	X509_sign(x, key, EVP_sha256());
	SSL_CTX_use_certificate(ctx, x);
	SSL_CTX_use_PrivateKey(ctx, key);
	X509_free(x);
	return ctx;
}

static void connect_both(const char *suite, uint16_t number, uint8_t cipher, uint8_t secret_len)
{
	struct record_state s = { .version = 0x0304, .suite = number, .cipher = cipher, .secret_len = secret_len,
				  .plain_max = RECORD_PLAIN_MAX };

	int i, done = 0;

	up = BIO_new(BIO_s_mem());
	down = BIO_new(BIO_s_mem());
	server = SSL_new(context(true, suite));
	client = SSL_new(context(false, suite));
	BIO_up_ref(up);
	BIO_up_ref(down);
	SSL_set_bio(server, up, down);
	SSL_set_bio(client, down, up);
	SSL_set_accept_state(server);
	SSL_set_connect_state(client);
	for (i = 0; i < 10; i++)
		done = SSL_do_handshake(client) + SSL_do_handshake(server);
	if (done != 2)
		exit(1);
	memset(s.read.key, 1, sizeof(s.read.key));
	memcpy(s.write.key, s.read.key, sizeof(s.read.key));
	record_import(&s, &ours);
	record_import(&s, &other);
}

static double openssl_seal(const uint8_t *p, size_t n, int times)
{
	uint64_t t = bench_now_ns();
	int i;

	for (i = 0; i < times; i++) {
		SSL_write(server, p, (int)n);
		if (i % 8 == 7)
			(void)!BIO_reset(down);
	}
	t = bench_now_ns() - t;
	(void)!BIO_reset(down);
	return (double)t / times;
}

static double our_seal(const uint8_t *p, size_t n, int times)
{
	struct buffer raw = { NULL };
	uint64_t t = bench_now_ns();
	int i;

	for (i = 0; i < times; i++) {
		record_seal(ours, p, n, &raw, ROOM);
		if (i % 8 == 7)
			raw.end = raw.start;
	}
	t = bench_now_ns() - t;
	buffer_free(&raw);
	return (double)t / times;
}

/* The openers get what the same side sealed: client.write -> server.read. */
static double openssl_open(const uint8_t *p, size_t n, int times)
{
	static uint8_t out[65536];
	uint64_t t = 0, begin;
	size_t got;
	int i, rc;

	for (i = 0; i < times; i++) {
		SSL_write(client, p, (int)n);
		begin = bench_now_ns();
		for (got = 0; got < n; got += (size_t)rc) {
			rc = SSL_read(server, out, sizeof(out));
			if (rc <= 0)
				exit(1);
		}
		t += bench_now_ns() - begin;
	}
	return (double)t / times;
}

static double our_open(const uint8_t *p, size_t n, int times)
{
	struct buffer raw = { NULL }, plain = { NULL }, reply = { NULL };
	uint64_t t = 0, begin;
	int i;

	for (i = 0; i < times; i++) {
		record_seal(other, p, n, &raw, ROOM);
		begin = bench_now_ns();
		record_open(ours, &raw, &plain, ROOM, &reply);
		if (buffer_len(&plain) != n)
			exit(1);
		buffer_consume(&plain, n);
		t += bench_now_ns() - begin;
	}
	return (double)t / times;
}

static void compare(const char *suite, const char *what, double (*a)(const uint8_t *, size_t, int),
		    double (*b)(const uint8_t *, size_t, int), size_t n, int times)
{
	struct samples ours_ns = { NULL }, theirs = { NULL };
	static uint8_t data[65536];
	char name[96];
	int i;

	for (i = 0; i < ROUNDS; i++) {
		samples_add(&ours_ns, a(data, n, times));
		samples_add(&theirs, b(data, n, times));
	}
	snprintf(name, sizeof(name), "record %s %zu bytes, %s", what, n, suite);
	bench_print(&(struct bench_row){ .name = name, .unit = "ns", .samples = &ours_ns, .baseline = &theirs,
					 .bound = BOUND_RATIO, .target = 1.0 });
	free(ours_ns.v);
	free(theirs.v);
}

/* One of many: each seal finds its context taken by another. */
static void missed(void)
{
	enum { N = 4096 };
	static struct record_layer *layer[N];
	struct samples cold = { NULL }, warm = { NULL };
	struct buffer raw = { NULL };
	struct record_state s;
	int i, round;
	uint64_t t;

	record_export(ours, &s);
	for (i = 0; i < N; i++)
		record_import(&s, &layer[i]);
	for (round = 0; round < ROUNDS; round++) {
		t = bench_now_ns();
		for (i = 0; i < N; i++) {
			record_seal(layer[i], "0123456789abcdef", 16, &raw, ROOM);
			buffer_consume(&raw, buffer_len(&raw));
		}
		samples_add(&cold, (double)(bench_now_ns() - t) / N);
		t = bench_now_ns();
		for (i = 0; i < N; i++) {
			record_seal(layer[0], "0123456789abcdef", 16, &raw, ROOM);
			buffer_consume(&raw, buffer_len(&raw));
		}
		samples_add(&warm, (double)(bench_now_ns() - t) / N);
	}
	bench_print(&(struct bench_row){ .name = "record seal 16 bytes, cipher context missed", .unit = "ns",
					 .samples = &cold, .baseline = &warm });
	for (i = 0; i < N; i++)
		record_free(layer[i]);
	free(cold.v);
	free(warm.v);
}

int main(void)
{
	static const struct {
		const char *name;
		uint16_t number;
		uint8_t cipher, secret_len;
	} suites[] = { { "TLS_AES_128_GCM_SHA256", 0x1301, RECORD_AES_128_GCM, 32 },
		       { "TLS_CHACHA20_POLY1305_SHA256", 0x1303, RECORD_CHACHA20_POLY1305, 32 } };
	size_t i;

	key = EVP_EC_gen("P-256");
	for (i = 0; i < 2; i++) {
		connect_both(suites[i].name, suites[i].number, suites[i].cipher, suites[i].secret_len);
		compare(suites[i].name, "seal", our_seal, openssl_seal, 64, 4000);
		compare(suites[i].name, "seal", our_seal, openssl_seal, 1024, 2000);
		compare(suites[i].name, "seal", our_seal, openssl_seal, 65536, 50);
		compare(suites[i].name, "open", our_open, openssl_open, 64, 4000);
		compare(suites[i].name, "open", our_open, openssl_open, 1024, 2000);
		compare(suites[i].name, "open", our_open, openssl_open, 65536, 50);
		if (!i)
			missed();
	}
	return 0;
}
