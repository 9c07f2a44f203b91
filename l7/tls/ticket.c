// SPDX-License-Identifier: BSD-2-Clause
/* Session ticket keys (l7/tls/ticket.h), given to OpenSSL by its ticket callback: AES-256-CBC, HMAC-SHA256. */
#include "l7/tls/ticket.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NAME_LEN 16
#define SEEDS 2
#define AROUND 1 /* epochs before and after the present one whose tickets open */
#define KEYS (2 * AROUND + 1)

struct ticket_key {
	uint64_t epoch;
	uint8_t name[NAME_LEN], cipher[32], mac[32];
	bool valid;
};

/* One seed: its secret stands at the first epoch that is still wanted, so that the past cannot be made again. */
struct chain {
	struct ticket_seed seed;
	struct ticket_key key[KEYS];
	bool valid;
};

struct tickets {
	pthread_mutex_t lock;
	struct chain chain[SEEDS]; /* [0] seals */
	uint64_t (*now_s)(void);
};

static int tickets_index = -1;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make_index(void)
{
	tickets_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
}

static uint64_t clock_s(void)
{
	return (uint64_t)time(NULL);
}

static void make_key(const struct ticket_seed *seed, struct ticket_key *k)
{
	uint8_t name[TICKET_SECRET_LEN];

	ticket_derive(seed->secret, "baton ticket name", name);
	memcpy(k->name, name, NAME_LEN);
	ticket_derive(seed->secret, "baton ticket cipher", k->cipher);
	ticket_derive(seed->secret, "baton ticket mac", k->mac);
	k->epoch = seed->epoch;
	k->valid = true;
}

/* The keys around `now`: those that stay are kept, since the secret of a past epoch is gone. */
static void turn(struct chain *c, uint64_t now_s)
{
	uint64_t now, first, epoch;
	struct ticket_key old[KEYS];
	struct ticket_seed s;
	size_t i, j;

	if (!c->valid)
		return;
	now = now_s / c->seed.period_s;
	first = now > AROUND ? now - AROUND : 0;
	if (c->key[AROUND].valid && c->key[AROUND].epoch == now)
		return;
	memcpy(old, c->key, sizeof(old));
	memset(c->key, 0, sizeof(c->key));
	if (c->seed.epoch < first && ticket_seed_advance(&c->seed, first)) {
		c->valid = false;
		goto out;
	}
	s = c->seed;
	for (i = 0; i < KEYS; i++) {
		epoch = first + i;
		for (j = 0; j < KEYS; j++)
			if (old[j].valid && old[j].epoch == epoch)
				c->key[i] = old[j];
		if (!c->key[i].valid && s.epoch <= epoch && !ticket_seed_advance(&s, epoch))
			make_key(&s, &c->key[i]);
	}
	OPENSSL_cleanse(&s, sizeof(s));
out:
	OPENSSL_cleanse(old, sizeof(old));
}

struct tickets *tickets_new(void)
{
	struct tickets *t = calloc(1, sizeof(*t));
	struct ticket_seed first;

	if (!t)
		return NULL;
	t->now_s = clock_s;
	pthread_mutex_init(&t->lock, NULL);
	if (ticket_seed_new(&first, clock_s()) || tickets_seed(t, &first, clock_s())) {
		tickets_free(t);
		t = NULL;
	}
	OPENSSL_cleanse(&first, sizeof(first));
	return t;
}

void tickets_free(struct tickets *t)
{
	if (!t)
		return;
	pthread_mutex_destroy(&t->lock);
	OPENSSL_cleanse(t, sizeof(*t));
	free(t);
}

int tickets_seed(struct tickets *t, const struct ticket_seed *seed, uint64_t now_s)
{
	struct chain c = { .seed = *seed, .valid = true };
	uint64_t now = now_s / seed->period_s;
	int i;

	if (seed->epoch > now + AROUND || now > seed->epoch + TICKET_STEPS_MAX)
		return -EINVAL;
	turn(&c, now_s);
	pthread_mutex_lock(&t->lock);
	for (i = 0; i < SEEDS; i++)
		turn(&t->chain[i], now_s);
	/* Controllers repeat theirs at each session: the same keys are no news. */
	for (i = 0; i < SEEDS; i++)
		if (t->chain[i].valid && c.key[AROUND + 1].valid && t->chain[i].key[AROUND + 1].valid &&
		    !memcmp(t->chain[i].key[AROUND + 1].name, c.key[AROUND + 1].name, NAME_LEN))
			goto out;
	t->chain[1] = t->chain[0];
	t->chain[0] = c;
out:
	pthread_mutex_unlock(&t->lock);
	OPENSSL_cleanse(&c, sizeof(c));
	return 0;
}

void tickets_set_clock(struct tickets *t, uint64_t (*now_s)(void))
{
	t->now_s = now_s ? now_s : clock_s;
}

/* Copies the key to seal with, or the one of that name.  0: none; 1: the present one; 2: opens, but is to be renewed. */
static int find(struct tickets *t, const uint8_t *name, struct ticket_key *out)
{
	int i, k, found = 0;
	uint64_t now = t->now_s();

	pthread_mutex_lock(&t->lock);
	for (i = 0; i < SEEDS && !found; i++) {
		turn(&t->chain[i], now);
		for (k = 0; k < KEYS && !found; k++) {
			struct ticket_key *key = &t->chain[i].key[k];

			if (!t->chain[i].valid || !key->valid)
				continue;
			if (name ? memcmp(name, key->name, NAME_LEN) : i || k != AROUND)
				continue;
			*out = *key;
			found = i == 0 && k == AROUND ? 1 : 2;
		}
	}
	pthread_mutex_unlock(&t->lock);
	return found;
}

static int use(EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, struct ticket_key *k, const uint8_t *iv, int seal)
{
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, k->mac, sizeof(k->mac)),
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char[]){ "SHA256" }, 0),
		OSSL_PARAM_construct_end(),
	};

	return EVP_MAC_CTX_set_params(mac, params) && EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, k->cipher, iv, seal);
}

static int callback(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int seal)
{
	struct tickets *t = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), tickets_index);
	struct ticket_key k;
	int found = t ? find(t, seal ? NULL : name, &k) : 0;

	if (!found)
		return 0; /* sealing: no ticket; opening: a full handshake */
	if (seal) {
		memcpy(name, k.name, NAME_LEN);
		if (RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) != 1)
			found = -1;
	}
	if (found > 0 && !use(cipher, mac, &k, iv, seal))
		found = -1;
	OPENSSL_cleanse(&k, sizeof(k));
	return found;
}

int tickets_attach(struct tickets *t, SSL_CTX *ctx)
{
	pthread_once(&once, make_index);
	return SSL_CTX_set_ex_data(ctx, tickets_index, t) && SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, callback) ? 0 : -EIO;
}

static struct tickets *own;
static pthread_once_t own_once = PTHREAD_ONCE_INIT;

static void make_own(void)
{
	own = tickets_new();
}

void tickets_use(SSL_CTX *ctx)
{
	pthread_once(&own_once, make_own);
	if (!own || tickets_attach(own, ctx))
		SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
}

int tickets_use_seed(const struct ticket_seed *seed)
{
	pthread_once(&own_once, make_own);
	return own ? tickets_seed(own, seed, clock_s()) : -ENOMEM;
}
