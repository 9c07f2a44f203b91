/* SPDX-License-Identifier: BSD-2-Clause */
/* Session ticket keys.  See ticket.h. */
#include "l7/ticket.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <string.h>

static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER; /* taken in handshakes only */
static struct ticket_keys force;

void tickets_set(const struct ticket_keys *keys)
{
	pthread_rwlock_wrlock(&lock);
	OPENSSL_cleanse(&force, sizeof(force));
	force = *keys;
	pthread_rwlock_unlock(&lock);
}

static int prepare(const struct ticket_key *k, const unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int seal)
{
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)(uintptr_t)k->mac, sizeof(k->mac)),
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)(uintptr_t)"SHA256", 0),
		OSSL_PARAM_construct_end(),
	};

	return EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, k->aes, iv, seal) == 1 && EVP_MAC_CTX_set_params(mac, params);
}

/* RFC 5077 4's construction, done by OpenSSL; 1: use it, 2: use it and give a new one, 0: unknown key. */
static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int seal)
{
	int rc = 0;
	uint32_t i;

	(void)ssl;
	pthread_rwlock_rdlock(&lock);
	if (seal && force.n) {
		memcpy(name, force.key[0].name, TICKET_NAME_LEN);
		rc = RAND_bytes(iv, EVP_MAX_IV_LENGTH) == 1 && prepare(&force.key[0], iv, cipher, mac, 1) ? 1 : -1;
	}
	for (i = 0; !seal && i < force.n; i++)
		if (!memcmp(name, force.key[i].name, TICKET_NAME_LEN))
			rc = prepare(&force.key[i], iv, cipher, mac, 0) ? 1 + (i > 0) : -1;
	pthread_rwlock_unlock(&lock);
	return rc;
}

static void own_key(void)
{
	struct ticket_keys k = { .n = 1 };

	if (RAND_bytes((unsigned char *)&k.key[0], sizeof(k.key[0])) != 1)
		return;
	pthread_rwlock_wrlock(&lock);
	if (!force.n)
		force = k;
	pthread_rwlock_unlock(&lock);
	OPENSSL_cleanse(&k, sizeof(k));
}

void tickets_use(SSL_CTX *ctx)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, own_key);
	SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket);
}
