// SPDX-License-Identifier: BSD-2-Clause
/* Cipher contexts (l7/tls/record_context.h). */
#include "l7/tls/record_context.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "l7/tls/record.h"
#include "l7/tls/record_keys.h"

struct slot {
	EVP_CIPHER_CTX *ctx;
	uint64_t name; /* the key that it holds; 0: free */
	uint32_t next; /* of the free list */
	uint8_t cipher;
	bool used; /* since the hand went by (CLOCK) */
};

#define NO_SLOT UINT32_MAX

static _Thread_local struct {
	struct slot *slot;
	uint32_t n, hand, free;
} cache;

static _Atomic uint64_t names;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static EVP_CIPHER *ciphers[RECORD_CHACHA20_POLY1305 + 1];

static void fetch(void)
{
	ciphers[RECORD_AES_128_GCM] = EVP_CIPHER_fetch(NULL, "AES-128-GCM", NULL);
	ciphers[RECORD_AES_256_GCM] = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
	ciphers[RECORD_CHACHA20_POLY1305] = EVP_CIPHER_fetch(NULL, "ChaCha20-Poly1305", NULL);
}

void context_new_key(struct record_context *c)
{
	context_drop(c);
	c->name = atomic_fetch_add(&names, 1) + 1;
}

/* A slot to key: a free one, a new one, or one whose owner was not seen for a round. */
static struct slot *take(uint32_t *index)
{
	struct slot *s;

	pthread_once(&once, fetch);
	if (!cache.slot) {
		cache.slot = calloc(RECORD_CONTEXTS, sizeof(*cache.slot));
		cache.free = NO_SLOT;
		cache.n = cache.hand = 0;
		if (!cache.slot)
			return NULL;
	}
	if (cache.free != NO_SLOT) {
		*index = cache.free;
		s = &cache.slot[*index];
		cache.free = s->next;
		return s;
	}
	if (cache.n < RECORD_CONTEXTS) {
		s = &cache.slot[cache.n];
		s->ctx = EVP_CIPHER_CTX_new();
		if (s->ctx) {
			s->cipher = UINT8_MAX;
			*index = cache.n++;
			return s;
		}
		if (!cache.n)
			return NULL;
	}
	while (cache.slot[cache.hand].used) {
		cache.slot[cache.hand].used = false;
		cache.hand = (cache.hand + 1) % cache.n;
	}
	*index = cache.hand;
	cache.hand = (cache.hand + 1) % cache.n;
	return &cache.slot[*index];
}

static void give_back(uint32_t index)
{
	struct slot *s = &cache.slot[index];

	s->name = 0;
	s->used = false;
	s->next = cache.free;
	cache.free = index;
}

EVP_CIPHER_CTX *context_get(struct record_context *c, int cipher, const uint8_t *key, const uint8_t *iv, int seal)
{
	struct slot *s = cache.slot && c->slot < cache.n ? &cache.slot[c->slot] : NULL;
	int ok;

	if (s && s->name == c->name) {
		s->used = true;
		return EVP_CipherInit_ex(s->ctx, NULL, NULL, NULL, iv, seal) ? s->ctx : NULL;
	}
	s = take(&c->slot);
	if (!s)
		return NULL;
	ok = EVP_CipherInit_ex(s->ctx, s->cipher == cipher ? NULL : ciphers[cipher], NULL, key, iv, seal);
	if (!ok) {
		s->cipher = UINT8_MAX;
		give_back(c->slot);
		return NULL;
	}
	s->cipher = (uint8_t)cipher;
	s->name = c->name;
	s->used = true;
	return s->ctx;
}

void context_drop(struct record_context *c)
{
	static const uint8_t zero[RECORD_KEY_MAX];
	struct slot *s = cache.slot && c->slot < cache.n ? &cache.slot[c->slot] : NULL;

	if (!s || !c->name || s->name != c->name)
		return;
	if (!EVP_CipherInit_ex(s->ctx, NULL, NULL, zero, NULL, 1)) { /* overwrites the schedule */
		EVP_CIPHER_CTX_reset(s->ctx);
		s->cipher = UINT8_MAX;
	}
	give_back(c->slot);
}

void record_thread_end(void)
{
	uint32_t i;

	for (i = 0; i < cache.n; i++)
		EVP_CIPHER_CTX_free(cache.slot[i].ctx);
	free(cache.slot);
	cache.slot = NULL;
	cache.n = 0;
	record_keys_thread_end();
}
