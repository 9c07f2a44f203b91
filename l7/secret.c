// SPDX-License-Identifier: BSD-2-Clause
/*
 * The arena of l7/secret.h: chunks cut into cells of one size each, free cells in a list through themselves.  A lock,
 * taken when a TLS connection begins and ends.
 */
#include "l7/secret.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <sys/mman.h>

#define STEP 64 /* cells are multiples of it */
#define CLASSES (SECRET_MAX / STEP)

struct cell {
	struct cell *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct cell *free_cells[CLASSES];
static struct secret_counts counts;

static size_t class_of(size_t n)
{
	assert(n && n <= SECRET_MAX);
	return (n - 1) / STEP;
}

static int grow(size_t class)
{
	size_t size = (class + 1) * STEP, at;
	char *p = mmap(NULL, SECRET_CHUNK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return -1;
	madvise(p, SECRET_CHUNK, MADV_DONTDUMP);
	madvise(p, SECRET_CHUNK, MADV_DONTFORK);
	if (mlock(p, SECRET_CHUNK))
		counts.unlocked += SECRET_CHUNK;
	counts.mapped += SECRET_CHUNK;
	for (at = 0; at + size <= SECRET_CHUNK; at += size) {
		struct cell *c = (struct cell *)(void *)(p + at);

		c->next = free_cells[class];
		free_cells[class] = c;
	}
	return 0;
}

void *secret_alloc(size_t n)
{
	size_t class = class_of(n);
	struct cell *c = NULL;

	pthread_mutex_lock(&lock);
	if (free_cells[class] || !grow(class)) {
		c = free_cells[class];
		free_cells[class] = c->next;
		c->next = NULL; /* the rest is zero since it was wiped */
		counts.used += (class + 1) * STEP;
	}
	pthread_mutex_unlock(&lock);
	return c;
}

void secret_free(void *p, size_t n)
{
	size_t class;
	struct cell *c = p;

	if (!p)
		return;
	class = class_of(n);
	OPENSSL_cleanse(p, (class + 1) * STEP);
	pthread_mutex_lock(&lock);
	c->next = free_cells[class];
	free_cells[class] = c;
	counts.used -= (class + 1) * STEP;
	pthread_mutex_unlock(&lock);
}

void secret_counts(struct secret_counts *out)
{
	pthread_mutex_lock(&lock);
	*out = counts;
	pthread_mutex_unlock(&lock);
}
