// SPDX-License-Identifier: BSD-2-Clause
/*
 * Session tickets of the POP: what one host sealed another opens, over epochs, clocks that differ, and a
 * controller's restart; what is older, or of another POP, does not open.
 */
#include <errno.h>
#include <openssl/ssl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "l7/tls/ticket.h"

static uint64_t now_s;

static uint64_t test_clock(void)
{
	return now_s;
}

struct host {
	struct tickets *tickets;
	SSL_CTX *ctx;
};

static EVP_PKEY *key;

static void host_up(struct host *h, int version)
{
	X509 *x = X509_new();

	h->tickets = tickets_new();
	assert_non_null(h->tickets);
	tickets_set_clock(h->tickets, test_clock);
	h->ctx = SSL_CTX_new(TLS_server_method());
	SSL_CTX_set_max_proto_version(h->ctx, version);
	SSL_CTX_set_session_id_context(h->ctx, (const unsigned char *)"t", 1);
	SSL_CTX_set_timeout(h->ctx, 1000000);
	X509_gmtime_adj(X509_getm_notBefore(x), 0);
	X509_gmtime_adj(X509_getm_notAfter(x), 3600);
	X509_set_pubkey(x, key);
	X509_sign(x, key, EVP_sha256());
	SSL_CTX_use_certificate(h->ctx, x);
	SSL_CTX_use_PrivateKey(h->ctx, key);
	X509_free(x);
	assert_int_equal(tickets_attach(h->tickets, h->ctx), 0);
}

static void host_down(struct host *h)
{
	SSL_CTX_free(h->ctx);
	tickets_free(h->tickets);
}

static SSL_SESSION *kept;

static int keep(SSL *ssl, SSL_SESSION *session)
{
	(void)ssl;
	SSL_SESSION_free(kept);
	kept = session;
	return 1;
}

/* A connection; resumes `with` (taken) and leaves the new ticket, if any, in *ticket. */
static int visit(struct host *h, int version, SSL_SESSION *with, SSL_SESSION **ticket)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	BIO *up = BIO_new(BIO_s_mem()), *down = BIO_new(BIO_s_mem());
	SSL *server = SSL_new(h->ctx), *client;
	SSL_SESSION *renewed;
	int a = 0, b = 0, i, resumed;
	char c;

	SSL_CTX_set_max_proto_version(ctx, version);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(ctx, keep);
	client = SSL_new(ctx);
	BIO_up_ref(up);
	BIO_up_ref(down);
	SSL_set_bio(server, up, down);
	SSL_set_bio(client, down, up);
	if (with) { /* a copy: OpenSSL spoils one whose ticket was renewed */
		SSL_SESSION *copy = SSL_SESSION_dup(with);

		assert_true(SSL_SESSION_is_resumable(copy));
		SSL_set_session(client, copy);
		SSL_SESSION_free(copy);
	}
	SSL_set_accept_state(server);
	SSL_set_connect_state(client);
	for (i = 0; i < 10 && (a != 1 || b != 1); i++) {
		a = a == 1 ? a : SSL_do_handshake(client);
		b = b == 1 ? b : SSL_do_handshake(server);
	}
	assert_int_equal(a, 1);
	assert_int_equal(b, 1);
	SSL_write(server, "x", 1);
	assert_int_equal(SSL_read(client, &c, 1), 1);
	resumed = SSL_session_reused(server);
	assert_int_equal(resumed, SSL_session_reused(client));
	SSL_shutdown(server);
	SSL_shutdown(client);
	renewed = SSL_get1_session(client); /* TLS 1.2 tells nobody of a renewed ticket */
	SSL_free(server);
	SSL_free(client);
	SSL_CTX_free(ctx);
	if (ticket)
		*ticket = kept ? kept : renewed;
	if (!ticket)
		SSL_SESSION_free(kept);
	if (!ticket || kept)
		SSL_SESSION_free(renewed);
	kept = NULL;
	return resumed;
}

static void seed_both(struct host h[2])
{
	struct ticket_seed seed, got;
	uint8_t wire[TICKET_SEED_LEN];

	assert_int_equal(ticket_seed_new(&seed, now_s), 0);
	ticket_seed_put(&seed, wire);
	assert_int_equal(ticket_seed_get(wire, sizeof(wire), &got), 0);
	assert_int_equal(tickets_seed(h[0].tickets, &seed, now_s), 0);
	assert_int_equal(tickets_seed(h[1].tickets, &got, now_s), 0);
}

static void on_any_host(void **state)
{
	static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };
	SSL_SESSION *s, *renewed;
	struct host h[2];
	size_t i;

	(void)state;
	key = EVP_EC_gen("P-256");
	for (i = 0; i < 2; i++) {
		int v = versions[i];

		now_s = (uint64_t)time(NULL);
		host_up(&h[0], v);
		host_up(&h[1], v);
		/* The control: without a seed a host opens its own alone. */
		visit(&h[0], v, NULL, &s);
		assert_int_equal(visit(&h[1], v, s, NULL), 0);
		assert_int_equal(visit(&h[0], v, s, NULL), 1);
		SSL_SESSION_free(s);
		seed_both(h);
		visit(&h[0], v, NULL, &s);
		assert_int_equal(visit(&h[1], v, s, NULL), 1);
		/* The next epoch: it opens, and a new ticket is given; which opens an epoch later. */
		now_s += TICKET_PERIOD_S;
		assert_int_equal(visit(&h[1], v, s, &renewed), 1);
		assert_non_null(renewed);
		now_s += TICKET_PERIOD_S;
		assert_int_equal(visit(&h[0], v, renewed, NULL), 1);
		assert_int_equal(visit(&h[0], v, s, NULL), 0); /* two epochs old */
		/* A host whose clock is behind. */
		SSL_SESSION_free(s);
		visit(&h[0], v, NULL, &s);
		now_s -= TICKET_PERIOD_S;
		assert_int_equal(visit(&h[1], v, s, NULL), 1);
		/* The controller starts anew: yesterday's tickets open. */
		now_s += TICKET_PERIOD_S;
		seed_both(h);
		assert_int_equal(visit(&h[1], v, s, NULL), 1);
		SSL_SESSION_free(s);
		visit(&h[1], v, NULL, &s);
		assert_int_equal(visit(&h[0], v, s, NULL), 1);
		/* Another seed for one of them: theirs is no longer shared. */
		SSL_SESSION_free(s);
		SSL_SESSION_free(renewed);
		visit(&h[1], v, NULL, &s);
		host_down(&h[0]);
		host_up(&h[0], v);
		assert_int_equal(visit(&h[0], v, s, NULL), 0);
		SSL_SESSION_free(s);
		host_down(&h[0]);
		host_down(&h[1]);
	}
	EVP_PKEY_free(key);
}

static void seeds(void **state)
{
	struct ticket_seed a = { .epoch = 10, .period_s = 3600 }, b = a;
	uint8_t wire[TICKET_SEED_LEN], first[TICKET_SECRET_LEN];
	struct tickets *t = tickets_new();

	(void)state;
	memcpy(first, a.secret, sizeof(first));
	assert_int_equal(ticket_seed_advance(&a, 15), 0);
	assert_int_equal(ticket_seed_advance(&b, 12), 0);
	assert_int_equal(ticket_seed_advance(&b, 15), 0);
	assert_memory_equal(&a, &b, sizeof(a)); /* by one step or by many */
	assert_memory_not_equal(a.secret, first, sizeof(first));
	assert_int_equal(ticket_seed_advance(&a, 3), 0); /* never back */
	assert_int_equal(a.epoch, 15);
	assert_int_equal(ticket_seed_advance(&a, 1ull << 60), -ERANGE);
	ticket_seed_put(&a, wire);
	assert_int_equal(ticket_seed_get(wire, TICKET_SEED_LEN - 1, &b), -EINVAL);
	memset(wire + 8, 0, 4);
	assert_int_equal(ticket_seed_get(wire, TICKET_SEED_LEN, &b), -EINVAL); /* a period of 0 */
	assert_int_equal(tickets_seed(t, &a, 0), -EINVAL);		       /* from a clock of another world */
	tickets_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(seeds), cmocka_unit_test(on_any_host) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
