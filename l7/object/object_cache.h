/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Files that a worker keeps open: an object that is asked for often costs one stat, not open, stat, attribute and close (a
 * fifth of what an answer of 1 KB costs).  What is answered is what object_look() would have found:
 *
 *  1. At each look its name must lead to the very same file, unchanged: device, inode, size, times of modification and of
 *     change.  (While it is open here, no other file gets its inode's number.)
 *  2. A file that nobody asked for during OBJECT_KEPT_MS is closed, so that what is deleted gives its room back.
 *  3. Who reads from it holds it: put out of the cache meanwhile, it is closed by the last reader.
 *
 * One worker's: no locks.
 */
#ifndef L7_OBJECT_OBJECT_CACHE_H
#define L7_OBJECT_OBJECT_CACHE_H

#include "l7/object/object_file.h"

#define OBJECT_KEPT 256	     /* files a worker keeps open, at most */
#define OBJECT_KEPT_MS 2000

struct object_cache;

struct object_kept {
	int fd; /* not to be read from by its own position: pread, sendfile with an offset */
	unsigned holders;
	bool found; /* by looks; false: its last holder closes it */
	struct object_facts facts;
	struct object_sight {
		uint64_t device, inode, size;
		int64_t modified_ns, changed_ns;
	} sight;
	uint64_t used_ms;
	char name[];
};

struct object_cache {
	const struct object_store *store;
	unsigned n;
	struct object_kept *kept[OBJECT_KEPT];
};

void object_cache_init(struct object_cache *c, const struct object_store *store);
/* As object_look(); *file: held by the caller until object_cache_let_go(), NULL where there is no regular file. */
int object_cache_look(struct object_cache *c, const char *name, uint64_t now_ms, struct object_facts *o, struct object_kept **file);
void object_cache_let_go(struct object_kept *k); /* NULL: nothing */
/* Rule 2.  now_ms UINT64_MAX: all.  True: there are some left. */
bool object_cache_sweep(struct object_cache *c, uint64_t now_ms);

#endif
