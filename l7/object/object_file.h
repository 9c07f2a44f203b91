/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Objects as files beneath one directory.  Names never lead out of it (openat2 RESOLVE_BENEATH, no symbolic links), and
 * nothing that is being written is visible: a PUT goes to the folder ".baton-put", is synced, and is renamed over the
 * object; then the folder that holds it is synced.  What a crash left in ".baton-put" is removed at the next start.
 *
 * The content's hash (the first half of SHA-256) stays with the file as the extended attribute user.baton.hash, together with
 * size and time of what it is the hash of: a file that somebody edits loses it.  Where the file system has no
 * such attributes, tags come from size, time and inode.
 */
#ifndef L7_OBJECT_OBJECT_FILE_H
#define L7_OBJECT_OBJECT_FILE_H

#include <openssl/evp.h>
#include <pthread.h>

#include "l7/object/object.h"

#define OBJECT_NAME_MAX 2048

struct object_store {
	int dir, staging;	/* descriptors */
	pthread_mutex_t commit; /* what is checked at a rename must still hold at it */
	uint64_t salt;
	struct store_conf conf;
};

/* Makes the directory's staging folder and empties it.  0 or -errno. */
int object_open(struct object_store *s, const struct store_conf *conf);
/* What may change while it is used: object_max, writable, log.  0 or -errno (then it is not writable). */
int object_reconfigure(struct object_store *s, const struct store_conf *conf);
void object_close(struct object_store *s);

/* The file's name from a head's path: decoded, relative.  0, or 404: no name of a file here (400 for writes). */
int object_name(const struct request_head *h, char name[OBJECT_NAME_MAX]);
/* What is there.  A descriptor to read from when it is a regular file and want_fd, else -1.  Returns 0 or -errno
 * (absence is not an error). */
int object_look(const struct object_store *s, const char *name, struct object_facts *o, int *fd);

/* An object that is being written.  One thread at a time. */
struct object_put {
	struct object_store *store;
	int fd;
	char temporary[32];
	EVP_MD_CTX *hash;
	uint64_t size, flushed;
};

int object_put_begin(struct object_store *s, struct object_put *put);
int object_put_bytes(struct object_put *put, const void *p, size_t n); /* -EFBIG: larger than object_max; -ENOSPC, -EDQUOT... */
/*
 * Syncs and publishes; slow: may run in another thread.  Plan's none_may_exist and must_match (with `seen`) are checked
 * under the commit lock: -EEXIST, -ESTALE.  tag: the new object's.  Frees the rest, in any case.
 */
int object_put_commit(struct object_put *put, const char *name, const struct object_plan *plan, const struct object_facts *seen,
		     char tag[OBJECT_TAG_MAX]);
void object_put_abort(struct object_put *put);
int object_delete(struct object_store *s, const char *name, const struct object_plan *plan, const struct object_facts *seen);

/* The status for an errno of the calls above. */
uint16_t object_status(int error);

#endif
