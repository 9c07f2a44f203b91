// SPDX-License-Identifier: BSD-2-Clause
/*
 * What OpenSSL does not give by itself at the end of a handshake: TLS 1.3's application secrets (from our key
 * schedule, l7/tls/record_schedule.h, or from the keylog callback, which is called with them once they exist) and
 * how many records have been sealed and opened with them (from the message callback: session tickets follow our
 * Finished, and a client's data may share its flight with its own).
 */
#include <ctype.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <string.h>

#include "l7/tls/record.h"
#include "l7/tls/record_keys.h"
#include "l7/tls/record_schedule.h"

#define TYPE_DATA 23
#define MESSAGE_FINISHED 20

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int capture_index;

static void make_index(void)
{
	capture_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
}

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)tolower((unsigned char)c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "LABEL client_random secret" -> the secret's bytes, 0 if it is none of ours. */
static uint8_t secret_of(const char *line, const char *label, uint8_t secret[RECORD_SECRET_MAX])
{
	size_t n = strlen(label);
	const char *p;
	uint8_t len = 0;

	if (strncmp(line, label, n) || line[n] != ' ')
		return 0;
	p = strrchr(line, ' ') + 1;
	for (; p[0] && p[1]; p += 2) {
		int high = digit(p[0]), low = digit(p[1]);

		if (high < 0 || low < 0 || len == RECORD_SECRET_MAX)
			return 0;
		secret[len++] = (uint8_t)(high << 4 | low);
	}
	return len;
}

static void keylog(const SSL *ssl, const char *line)
{
	struct record_capture *c = SSL_get_ex_data(ssl, capture_index);
	uint8_t n;

	if (!c)
		return;
	n = secret_of(line, "CLIENT_TRAFFIC_SECRET_0", c->client_secret);
	if (n)
		c->client_len = n;
	n = secret_of(line, "SERVER_TRAFFIC_SECRET_0", c->server_secret);
	if (n)
		c->server_len = n;
}

/* A record's header is seen before the message that it carries: what follows a Finished is under new keys. */
static void message(int write, int version, int type, const void *buf, size_t len, SSL *ssl, void *arg)
{
	struct record_capture *c = SSL_get_ex_data(ssl, capture_index);
	const uint8_t *p = buf;

	(void)version;
	(void)arg;
	if (!c || !len)
		return;
	if (type == SSL3_RT_HEADER && p[0] == TYPE_DATA) {
		c->write_seq += write && c->write_finished;
		c->read_seq += !write && c->read_finished;
	} else if (type == SSL3_RT_HANDSHAKE && p[0] == MESSAGE_FINISHED) {
		if (write)
			c->write_finished = true;
		else
			c->read_finished = true;
	}
}

void record_capture_ctx(SSL_CTX *ctx)
{
	pthread_once(&once, make_index);
	SSL_CTX_set_keylog_callback(ctx, keylog);
	SSL_CTX_set_msg_callback(ctx, message);
}

SSL_CTX *record_server_ctx(void)
{
	const char *properties = schedule_properties();
	SSL_CTX *ctx = SSL_CTX_new_ex(NULL, properties, TLS_server_method());

	if (!ctx)
		return NULL;
	record_capture_ctx(ctx);
	if (properties)
		SSL_CTX_set_keylog_callback(ctx, NULL);
	return ctx;
}

int record_accept(SSL *ssl, struct record_capture *capture)
{
	int rc;

	schedule_capture(capture);
	rc = SSL_accept(ssl);
	schedule_capture(NULL);
	return rc;
}

int record_capture(SSL *ssl, struct record_capture *capture)
{
	*capture = (struct record_capture){ .client_len = 0 };
	pthread_once(&once, make_index);
	return SSL_set_ex_data(ssl, capture_index, capture) ? 0 : -ENOMEM;
}

void record_capture_wipe(struct record_capture *capture)
{
	OPENSSL_cleanse(capture, sizeof(*capture));
}

int record_from_capture(SSL *ssl, struct record_capture *c, struct record_layer **out)
{
	int err = -EPROTO;

	SSL_set_ex_data(ssl, capture_index, NULL);
	if (!SSL_is_init_finished(ssl) || SSL_has_pending(ssl))
		err = -EBUSY; /* bytes are inside OpenSSL: no state of ours could be right */
	else if (SSL_version(ssl) == TLS1_2_VERSION)
		err = record_from_ssl(ssl, NULL, NULL, 0, 1, 1, out);
	else if (c->client_len && c->client_len == c->server_len && c->write_finished && c->read_finished)
		err = record_from_ssl(ssl, c->client_secret, c->server_secret, c->client_len, c->read_seq, c->write_seq,
				      out);
	record_capture_wipe(c);
	return err;
}

static uint16_t fragment_max(SSL *ssl)
{
	const SSL_SESSION *session = SSL_get0_session(ssl);

	switch (session ? SSL_SESSION_get_max_fragment_length(session) : 0) {
	case TLSEXT_max_fragment_length_512: return 512;
	case TLSEXT_max_fragment_length_1024: return 1024;
	case TLSEXT_max_fragment_length_2048: return 2048;
	case TLSEXT_max_fragment_length_4096: return 4096;
	default: return RECORD_PLAIN_MAX;
	}
}

static int keys_13(const struct record_suite *suite, struct record_state *s, const uint8_t *client_secret,
		   const uint8_t *server_secret, size_t secret_len)
{
	int err;

	if (!client_secret || !server_secret || secret_len != suite->secret_len)
		return -EINVAL;
	memcpy(s->read.secret, s->client ? server_secret : client_secret, secret_len);
	memcpy(s->write.secret, s->client ? client_secret : server_secret, secret_len);
	err = record_derive(suite, &s->read);
	return err ? err : record_derive(suite, &s->write);
}

static int keys_12(SSL *ssl, const struct record_suite *suite, struct record_state *s)
{
	uint8_t master[48], client_random[32], server_random[32];
	int err = -EPROTO;

	if (SSL_SESSION_get_master_key(SSL_get0_session(ssl), master, sizeof(master)) == sizeof(master) &&
	    SSL_get_client_random(ssl, client_random, 32) == 32 && SSL_get_server_random(ssl, server_random, 32) == 32)
		err = record_derive_12(suite, master, client_random, server_random, s->client, &s->read, &s->write);
	OPENSSL_cleanse(master, sizeof(master));
	return err;
}

int record_from_ssl(SSL *ssl, const uint8_t *client_secret, const uint8_t *server_secret, size_t secret_len,
		    uint64_t read_seq, uint64_t write_seq, struct record_layer **out)
{
	const SSL_CIPHER *cipher = SSL_get_current_cipher(ssl);
	const struct record_suite *suite;
	struct record_state s = { .version = (uint16_t)SSL_version(ssl), .client = !SSL_is_server(ssl) };
	int err = -EPROTONOSUPPORT;

	suite = cipher ? record_suite(s.version, SSL_CIPHER_get_protocol_id(cipher)) : NULL;
	if (!suite)
		return err;
	s.suite = suite->number;
	s.cipher = suite->cipher;
	s.secret_len = suite->version == TLS1_3_VERSION ? suite->secret_len : 0;
	s.plain_max = fragment_max(ssl);
	if (suite->version == TLS1_3_VERSION)
		err = keys_13(suite, &s, client_secret, server_secret, secret_len);
	else
		err = keys_12(ssl, suite, &s);
	s.read.seq = read_seq;
	s.write.seq = write_seq;
	if (!err)
		err = record_import(&s, out);
	OPENSSL_cleanse(&s, sizeof(s));
	if (!err) /* freeing it now must not look like a truncated session: it stays resumable */
		SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	return err;
}
