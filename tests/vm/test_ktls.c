// SPDX-License-Identifier: BSD-2-Clause
/*
 * Sealing in the kernel with keys that moved (l7/tls/ktls.h), against OpenSSL: a handshake, records sealed by our own layer, its
 * state exported and imported as a move does it, then the kernel seals, by send() and by sendfile(); then the state
 * leaves the kernel again, the TCP connection moves to another socket, and our own layer seals on.  A kernel without kTLS
 * says so and nothing has changed.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "l7/tls/ktls.h"
#include "l7/tcp/tcp_move.h"

#define ROOM (1u << 22)
#define FILE_LEN 200000
#define PIECES (1u << 19)

static unsigned full, unsettled; /* sockets that took no more; in which records waited */

static const struct suite {
	const char *name;
	int version;
} suites[] = {
	{ "TLS_AES_128_GCM_SHA256", TLS1_3_VERSION },	      { "TLS_AES_256_GCM_SHA384", TLS1_3_VERSION },
	{ "TLS_CHACHA20_POLY1305_SHA256", TLS1_3_VERSION },   { "ECDHE-ECDSA-AES128-GCM-SHA256", TLS1_2_VERSION },
	{ "ECDHE-ECDSA-AES256-GCM-SHA384", TLS1_2_VERSION },  { "ECDHE-ECDSA-CHACHA20-POLY1305", TLS1_2_VERSION },
};

struct pair {
	SSL_CTX *server_ctx, *client_ctx;
	SSL *peer;
	int client, server;
	struct record_layer *r;
	uint64_t said, heard;
};

static uint8_t byte_at(uint64_t i)
{
	return (uint8_t)(i * 0x9e3779b97f4a7c15ull >> 56);
}

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
		EVP_PKEY *key = EVP_EC_gen("P-256");
		X509 *x = X509_new();

		X509_set_version(x, 2);
		X509_gmtime_adj(X509_getm_notBefore(x), -60);
		X509_gmtime_adj(X509_getm_notAfter(x), 3600);
		X509_set_pubkey(x, key);
		X509_sign(x, key, EVP_sha256());
		assert_int_equal(SSL_CTX_use_certificate(ctx, x), 1);
		assert_int_equal(SSL_CTX_use_PrivateKey(ctx, key), 1);
		X509_free(x);
		EVP_PKEY_free(key);
	}
	record_capture_ctx(ctx);
	return ctx;
}

static void tcp_pair(int fd[2])
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(in);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(listener, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&in, &len), 0);
	fd[0] = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(fd[0], (struct sockaddr *)&in, sizeof(in)), 0);
	fd[1] = accept(listener, NULL, NULL);
	assert_true(fd[1] >= 0);
	close(listener);
}

/* The handshake over memory, since the server's socket is ours; then the client reads from its socket. */
static void connect_pair(struct pair *p, const struct suite *s)
{
	BIO *up = BIO_new(BIO_s_mem()), *down = BIO_new(BIO_s_mem());
	struct record_capture capture;
	SSL *server;
	int fd[2], i, a = 0, b = 0;
	char *rest;
	long n;

	memset(p, 0, sizeof(*p));
	tcp_pair(fd);
	p->client = fd[0];
	p->server = fd[1];
	p->server_ctx = context(s, true);
	p->client_ctx = context(s, false);
	server = SSL_new(p->server_ctx);
	p->peer = SSL_new(p->client_ctx);
	BIO_up_ref(up);
	BIO_up_ref(down);
	SSL_set_bio(server, up, down);
	SSL_set_bio(p->peer, down, up);
	SSL_set_accept_state(server);
	SSL_set_connect_state(p->peer);
	assert_int_equal(record_capture(server, &capture), 0);
	for (i = 0; i < 10 && (a != 1 || b != 1); i++) {
		if (a != 1)
			a = SSL_do_handshake(p->peer);
		if (b != 1)
			b = SSL_do_handshake(server);
	}
	assert_int_equal(a, 1);
	assert_int_equal(b, 1);
	assert_int_equal(record_from_capture(server, &capture, &p->r), 0);
	n = BIO_get_mem_data(down, &rest); /* session tickets */
	if (n > 0)
		assert_int_equal(write(p->server, rest, (size_t)n), n);
	SSL_free(server);
	SSL_set_fd(p->peer, p->client);
}

static void disconnect_pair(struct pair *p)
{
	record_free(p->r);
	SSL_free(p->peer);
	SSL_CTX_free(p->server_ctx);
	SSL_CTX_free(p->client_ctx);
	close(p->client);
	close(p->server);
}

static void hear_all(struct pair *p)
{
	uint8_t got[16384];
	int n, i;

	while (p->heard < p->said) {
		n = SSL_read(p->peer, got, sizeof(got));
		if (n <= 0)
			fail_msg("SSL_read: %d after %llu bytes", SSL_get_error(p->peer, n), (unsigned long long)p->heard);
		for (i = 0; i < n; i++)
			assert_int_equal(got[i], byte_at(p->heard + (uint64_t)i));
		p->heard += (uint64_t)n;
	}
}

static uint8_t *text(struct pair *p, size_t n)
{
	uint8_t *t = malloc(n);
	size_t i;

	for (i = 0; i < n; i++)
		t[i] = byte_at(p->said + i);
	p->said += n;
	return t;
}

static void by_layer(struct pair *p, size_t n)
{
	struct buffer out = { NULL };
	uint8_t *t = text(p, n);

	assert_int_equal(record_seal(p->r, t, n, &out, ROOM), 0);
	assert_int_equal(write(p->server, buffer_head(&out), buffer_len(&out)), buffer_len(&out));
	buffer_free(&out);
	free(t);
	hear_all(p);
}

static void by_kernel(struct pair *p, size_t n)
{
	uint8_t *t = text(p, n);

	assert_int_equal(send(p->server, t, n, 0), n);
	free(t);
	hear_all(p);
}

static void by_sendfile(struct pair *p)
{
	uint8_t *t = text(p, FILE_LEN);
	int fd = memfd_create("object", MFD_CLOEXEC);
	off_t at = 0;

	assert_int_equal(write(fd, t, FILE_LEN), FILE_LEN);
	while (at < FILE_LEN)
		assert_true(sendfile(p->server, fd, &at, (size_t)(FILE_LEN - at)) > 0);
	close(fd);
	free(t);
	hear_all(p);
}

/* A record that is open: what is in it is given, and is not on the wire. */
static void by_halves(struct pair *p, const struct ktls *k, const struct record_state *s)
{
	uint8_t *t = text(p, 3000);

	assert_true(ktls_settled(k, p->server, s, p->said - 3000));
	assert_int_equal(send(p->server, t, 1000, MSG_MORE), 1000);
	assert_false(ktls_settled(k, p->server, s, p->said - 2000));
	assert_int_equal(send(p->server, t + 1000, 2000, 0), 2000);
	assert_true(ktls_settled(k, p->server, s, p->said));
	free(t);
	hear_all(p);
}

/* A client that reads nothing: records wait for room, and are TCP's when it reads again. */
static void by_pieces(struct pair *p, const struct ktls *k, const struct record_state *s, int room)
{
	uint64_t from = p->said;
	uint8_t *t = text(p, PIECES);
	size_t sent = 0, i;
	ssize_t n;

	assert_int_equal(setsockopt(p->server, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)), 0);
	while ((n = send(p->server, t + sent, PIECES - sent, MSG_DONTWAIT)) > 0)
		sent += (size_t)n;
	full += sent < PIECES;
	p->said = from + sent;
	unsettled += !ktls_settled(k, p->server, s, p->said);
	free(t);
	hear_all(p);
	for (i = 0; i < 1000 && !ktls_settled(k, p->server, s, p->said); i++)
		usleep(1000);
	assert_true(ktls_settled(k, p->server, s, p->said));
}

/* As a move: the state as bytes, the layer made anew. */
static void layer_moves(struct pair *p, struct record_state *s)
{
	uint8_t bytes[RECORD_STATE_LEN];

	record_export(p->r, s);
	record_state_put(s, bytes);
	record_free(p->r);
	assert_int_equal(record_state_get(bytes, sizeof(bytes), s), 0);
	assert_int_equal(record_import(s, &p->r), 0);
}

/* The connection leaves its socket, with what the kernel has sealed, and is another socket without kTLS. */
static void socket_moves(struct pair *p)
{
	struct tcp_move m;
	size_t left;
	int fd;

	assert_int_equal(tcp_move_export(p->server, 65536, &m), 0);
	close(p->server);
	fd = tcp_move_socket(AF_INET);
	assert_int_equal(tcp_move_import(fd, &m), 0);
	assert_int_equal(tcp_move_go(fd, &m, &left), 0);
	fcntl(fd, F_SETFL, 0);
	tcp_move_free(&m);
	p->server = fd;
}

static void there_and_back(const struct suite *suite)
{
	struct record_state s;
	struct pair p;
	struct ktls k;
	uint64_t plain;
	char c;
	int rc, i;

	connect_pair(&p, suite);
	by_layer(&p, 20000);
	layer_moves(&p, &s);
	plain = p.said;
	rc = ktls_begin(p.server, &s, plain, &k);
	if (rc == -EOPNOTSUPP && !getenv("BATON_VM_KIND")) { /* this kernel has none; Debian's have */
		by_layer(&p, 20000); /* the fallback: as before */
		disconnect_pair(&p);
		skip();
	}
	if (rc)
		fail_msg("%s: %s", suite->name, strerror(-rc));
	by_kernel(&p, 5);
	by_kernel(&p, 100000);
	by_sendfile(&p);
	by_halves(&p, &k, &s);
	for (i = 0; i < 16; i++) /* the more sizes, the more likely that one ends within a record */
		by_pieces(&p, &k, &s, 18000 + 2500 * i);
	/* The state leaves the kernel: records of 16 KB each, however they were cut. */
	assert_true(ktls_settled(&k, p.server, &s, p.said));
	assert_int_equal(ktls_records(p.server, &s, &s.write.seq), 0);
	assert_true(s.write.seq >= record_peek(p.r)->write.seq + 1 + 7 + 13);
	socket_moves(&p);
	record_free(p.r);
	assert_int_equal(record_import(&s, &p.r), 0);
	by_layer(&p, 20000);
	/* And once more, to end there. */
	layer_moves(&p, &s);
	plain = p.said;
	assert_int_equal(ktls_begin(p.server, &s, plain, &k), 0);
	by_kernel(&p, 20000);
	assert_int_equal(ktls_alert(p.server, 1, 0), 0);
	assert_true(ktls_settled(&k, p.server, &s, p.said + 2));
	assert_int_equal(SSL_read(p.peer, &c, 1), 0);
	assert_int_equal(SSL_get_error(p.peer, 0), SSL_ERROR_ZERO_RETURN);
	disconnect_pair(&p);
}

static void tls_13(void **state)
{
	size_t i;

	(void)state;
	for (i = 0; i < 3; i++)
		there_and_back(&suites[i]);
}

static void tls_12(void **state)
{
	size_t i;

	(void)state;
	for (i = 3; i < 6; i++)
		there_and_back(&suites[i]);
	print_message("%u sockets were full, in %u of them records waited\n", full, unsettled);
	assert_true(unsettled > 0);
}

/* A client that asked for small records gets them from our own layer only. */
static void small_records_stay(void **state)
{
	struct ktls k;
	struct record_state s = { .version = 0x0304, .suite = 0x1301, .cipher = RECORD_AES_128_GCM, .secret_len = 32, .plain_max = 512 };

	(void)state;
	assert_int_equal(ktls_begin(-1, &s, 0, &k), -EOPNOTSUPP);
	s.plain_max = RECORD_PLAIN_MAX;
	s.write_closed = true;
	assert_int_equal(ktls_begin(-1, &s, 0, &k), -EPIPE);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(tls_13), cmocka_unit_test(tls_12), cmocka_unit_test(small_records_stay) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
