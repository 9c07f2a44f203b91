/* SPDX-License-Identifier: BSD-2-Clause */
/* Files that are kept open.  The numbered rules are in object_cache.h. */
#include "l7/object/object_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "l7/hash.h"

static int64_t ns(const struct timespec *t)
{
	return t->tv_sec * 1000000000ll + t->tv_nsec;
}

static struct object_sight sight_of(const struct stat *st)
{
	return (struct object_sight){ st->st_dev, st->st_ino, (uint64_t)st->st_size, ns(&st->st_mtim), ns(&st->st_ctim) };
}

static bool same_sight(const struct object_sight *a, const struct object_sight *b)
{
	return a->device == b->device && a->inode == b->inode && a->size == b->size && a->modified_ns == b->modified_ns &&
	       a->changed_ns == b->changed_ns;
}

void object_cache_init(struct object_cache *c, const struct object_store *store)
{
	*c = (struct object_cache){ .store = store };
}

void object_cache_let_go(struct object_kept *k)
{
	if (!k || --k->holders || k->found)
		return;
	close(k->fd);
	free(k);
}

static void drop(struct object_cache *c, struct object_kept **slot)
{
	struct object_kept *k = *slot;

	*slot = NULL;
	c->n--;
	k->found = false;
	k->holders++;
	object_cache_let_go(k);
}

bool object_cache_sweep(struct object_cache *c, uint64_t now_ms)
{
	for (unsigned i = 0; i < OBJECT_KEPT && c->n; i++)
		if (c->kept[i] && now_ms - c->kept[i]->used_ms >= OBJECT_KEPT_MS)
			drop(c, &c->kept[i]);
	return c->n;
}

/*
 * Rule 1.  This look follows links, unlike the one that opened the file; but what it is compared with was opened without: if a
 * link leads to the same file, there is nothing in it that may not be seen.
 */
static bool is_still(const struct object_cache *c, const struct object_kept *k)
{
	struct object_sight sight;
	struct stat st;

	if (fstatat(c->store->dir, k->name, &st, AT_SYMLINK_NOFOLLOW))
		return false;
	sight = sight_of(&st);
	return same_sight(&sight, &k->sight);
}

static struct object_kept *keep(const char *name, size_t n, int fd, const struct object_facts *o)
{
	struct object_kept *k;
	struct stat st;

	if (fstat(fd, &st))
		return NULL;
	k = malloc(sizeof(*k) + n + 1);
	if (!k)
		return NULL;
	*k = (struct object_kept){ .fd = fd, .holders = 1, .facts = *o, .sight = sight_of(&st) };
	memcpy(k->name, name, n + 1);
	return k;
}

int object_cache_look(struct object_cache *c, const char *name, uint64_t now_ms, struct object_facts *o, struct object_kept **file)
{
	size_t n = strlen(name);
	struct object_kept **slot = &c->kept[hash_bytes(name, n, c->store->salt) % OBJECT_KEPT], *k = *slot;
	int fd, rc;

	*file = NULL;
	if (k && strcmp(k->name, name) == 0) {
		if (is_still(c, k)) {
			k->holders++;
			k->used_ms = now_ms;
			*o = k->facts;
			*file = k;
			return 0;
		}
		drop(c, slot);
	}
	rc = object_look(c->store, name, o, &fd);
	if ((rc == -EMFILE || rc == -ENFILE) && c->n) {
		object_cache_sweep(c, UINT64_MAX);
		rc = object_look(c->store, name, o, &fd);
	}
	if (rc || fd < 0)
		return rc;
	k = keep(name, n, fd, o);
	if (!k) {
		close(fd);
		return -ENOMEM;
	}
	*file = k;
	k->used_ms = now_ms;
	/* Changed between the look and ours: this answer is what was seen, the next one looks again. */
	if (k->sight.size != o->size || k->sight.modified_ns != o->modified_ns)
		return 0;
	if (*slot)
		drop(c, slot);
	*slot = k;
	k->found = true;
	c->n++;
	return 0;
}
