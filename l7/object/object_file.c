// SPDX-License-Identifier: BSD-2-Clause
/* Objects as files.  See object_file.h for what is promised. */
#include "l7/object/object_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "l7/hash.h"

#define STAGING ".baton-put"
#define HASH_ATTRIBUTE "user.baton.hash"
#define HASH_VALUE_MAX 128
#define FLUSH_EVERY (8u << 20) /* write-back begins while the rest is received: the sync at the end is short */

static int open_beneath(int dir, const char *name, int flags)
{
	struct open_how how = { .flags = (unsigned)flags | O_CLOEXEC,
				.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS };
	int fd = (int)syscall(SYS_openat2, dir, name, &how, sizeof(how));

	return fd < 0 ? -errno : fd;
}

static void empty_staging(int staging)
{
	DIR *d = fdopendir(dup(staging));
	struct dirent *e;

	if (!d)
		return;
	while ((e = readdir(d)))
		if (e->d_name[0] != '.')
			unlinkat(staging, e->d_name, 0);
	closedir(d);
}

static int open_staging(struct object_store *s)
{
	int fd;

	if (mkdirat(s->dir, STAGING, 0700) && errno != EEXIST)
		return -errno;
	fd = open_beneath(s->dir, STAGING, O_DIRECTORY | O_RDONLY);
	if (fd < 0)
		return fd;
	empty_staging(fd);
	s->staging = fd;
	return 0;
}

int object_open(struct object_store *s, const struct store_conf *conf)
{
	int rc = 0;

	s->conf = *conf;
	s->staging = -1;
	s->dir = open(conf->directory, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	if (s->dir < 0)
		return -errno;
	if (getrandom(&s->salt, sizeof(s->salt), 0) != sizeof(s->salt))
		s->salt = (uint64_t)(uintptr_t)s ^ (uint64_t)getpid();
	pthread_mutex_init(&s->commit, NULL);
	if (conf->writable)
		rc = open_staging(s);
	if (rc)
		object_close(s);
	return rc;
}

int object_reconfigure(struct object_store *s, const struct store_conf *conf)
{
	int rc = conf->writable && s->staging < 0 ? open_staging(s) : 0;

	__atomic_store_n(&s->conf.object_max, conf->object_max, __ATOMIC_RELAXED);
	__atomic_store_n(&s->conf.log, conf->log, __ATOMIC_RELAXED);
	__atomic_store_n(&s->conf.writable, conf->writable && !rc, __ATOMIC_RELEASE);
	return rc;
}

void object_close(struct object_store *s)
{
	if (s->staging >= 0)
		close(s->staging);
	if (s->dir >= 0)
		close(s->dir);
	s->dir = s->staging = -1;
	pthread_mutex_destroy(&s->commit);
}

static int hex(char c)
{
	return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
}

/* The path is normal (l7/http/head.h): what is left to decode separates nothing, unless it decodes to a separator. */
int object_name(const struct request_head *h, char name[OBJECT_NAME_MAX])
{
	const char *p = head_text(h, h->path), *end = p + h->path.n;
	size_t n = 0;

	if (h->path.n < 2 || h->path.n >= OBJECT_NAME_MAX || *p != '/')
		return 404;
	for (p++; p < end; p++) {
		char c = *p;

		if (c == '%') {
			c = (char)(hex(p[1]) << 4 | hex(p[2]));
			p += 2;
			if (c == '/' || c == '\0')
				return 404;
		}
		name[n++] = c;
	}
	name[n] = '\0';
	return strncmp(name, STAGING, sizeof(STAGING) - 1) == 0 ? 404 : 0;
}

/* The attribute is "HASH SIZE TIME"; it counts only as long as the file is the one that it was made for. */
static void read_hash(int fd, struct object_facts *o)
{
	char value[HASH_VALUE_MAX], hash[OBJECT_HASH_TEXT + 1];
	unsigned long long size;
	long long modified;
	ssize_t n = fgetxattr(fd, HASH_ATTRIBUTE, value, sizeof(value) - 1);

	if (n <= 0)
		return;
	value[n] = '\0';
	if (sscanf(value, "%32[0-9a-f] %llu %lld", hash, &size, &modified) == 3 && strlen(hash) == OBJECT_HASH_TEXT &&
	    size == o->size && modified == o->modified_ns)
		memcpy(o->hash, hash, sizeof(hash));
}

static void from_stat(const struct stat *st, struct object_facts *o)
{
	o->exists = S_ISREG(st->st_mode);
	o->folder = !o->exists;
	o->size = (uint64_t)st->st_size;
	o->inode = st->st_ino;
	o->modified_ns = st->st_mtim.tv_sec * 1000000000ll + st->st_mtim.tv_nsec;
}

int object_look(const struct object_store *s, const char *name, struct object_facts *o, int *fd_out)
{
	struct stat st;
	int fd = open_beneath(s->dir, name, O_RDONLY | O_NONBLOCK | O_NOCTTY), rc = 0;

	memset(o, 0, sizeof(*o));
	if (fd_out)
		*fd_out = -1;
	if (fd < 0) {
		/* A link, a socket and the like stand in the way of a PUT, and are nothing to read. */
		o->folder = fd == -ELOOP || fd == -EXDEV || fd == -ENXIO;
		return fd == -ENOENT || fd == -ENOTDIR || fd == -ENAMETOOLONG || o->folder ? 0 : fd;
	}
	if (fstat(fd, &st)) {
		rc = -errno;
	} else {
		from_stat(&st, o);
		if (o->exists)
			read_hash(fd, o);
	}
	if (rc == 0 && o->exists && fd_out)
		*fd_out = fd;
	else
		close(fd);
	return rc;
}

int object_put_begin(struct object_store *s, struct object_put *put)
{
	static atomic_uint serial;

	*put = (struct object_put){ .store = s, .fd = -1 };
	snprintf(put->temporary, sizeof(put->temporary), "%d.%u", (int)getpid(), atomic_fetch_add(&serial, 1));
	put->hash = EVP_MD_CTX_new();
	if (!put->hash || !EVP_DigestInit_ex(put->hash, EVP_sha256(), NULL)) {
		object_put_abort(put);
		return -ENOMEM;
	}
	put->fd = openat(s->staging, put->temporary, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (put->fd < 0) {
		int rc = -errno;

		object_put_abort(put);
		return rc;
	}
	return 0;
}

int object_put_bytes(struct object_put *put, const void *p, size_t n)
{
	const uint64_t max = __atomic_load_n(&put->store->conf.object_max, __ATOMIC_RELAXED);
	const char *at = p;

	if (n > max || put->size > max - n)
		return -EFBIG;
	EVP_DigestUpdate(put->hash, p, n);
	put->size += n;
	while (n) {
		ssize_t wrote = write(put->fd, at, n);

		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote < 0)
			return -errno;
		at += wrote;
		n -= (size_t)wrote;
	}
	if (put->size - put->flushed >= FLUSH_EVERY) {
		sync_file_range(put->fd, (off_t)put->flushed, (off_t)(put->size - put->flushed), SYNC_FILE_RANGE_WRITE);
		put->flushed = put->size;
	}
	return 0;
}

void object_put_abort(struct object_put *put)
{
	if (put->fd >= 0) {
		unlinkat(put->store->staging, put->temporary, 0);
		close(put->fd);
	}
	EVP_MD_CTX_free(put->hash);
	put->fd = -1;
	put->hash = NULL;
}

/* Opens the folder that a name's last part lies in, making what is missing.  A descriptor or -errno. */
static int open_folder(const struct object_store *s, const char *name, const char **last, bool make)
{
	char part[OBJECT_NAME_MAX];
	const char *slash;
	int dir = dup(s->dir), next;

	while (dir >= 0 && (slash = strchr(name, '/'))) {
		memcpy(part, name, (size_t)(slash - name));
		part[slash - name] = '\0';
		next = open_beneath(dir, part, O_DIRECTORY | O_RDONLY);
		if (next == -ENOENT && make) {
			if (mkdirat(dir, part, 0755) && errno != EEXIST)
				next = -errno;
			else
				next = open_beneath(dir, part, O_DIRECTORY | O_RDONLY);
			fsync(dir);
		}
		close(dir);
		dir = next;
		name = slash + 1;
	}
	*last = name;
	return dir;
}

/* Under the commit lock: is what the plan was made for still so? */
static int still_holds(const struct object_store *s, const char *name, const struct object_plan *plan, const struct object_facts *seen)
{
	struct object_facts now;
	int rc = object_look(s, name, &now, NULL);

	if (rc)
		return rc;
	if (now.folder)
		return -EISDIR;
	if (plan->none_may_exist && now.exists)
		return -EEXIST;
	if (plan->must_match && (!now.exists || now.inode != seen->inode || now.size != seen->size ||
				 now.modified_ns != seen->modified_ns))
		return -ESTALE;
	return 0;
}

static void keep_hash(struct object_put *put, struct object_facts *o)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	char value[HASH_VALUE_MAX];
	int n;

	if (!EVP_DigestFinal_ex(put->hash, digest, NULL))
		return;
	for (unsigned i = 0; i < OBJECT_HASH_TEXT / 2; i++)
		snprintf(o->hash + 2 * i, 3, "%02x", digest[i]);
	n = snprintf(value, sizeof(value), "%s %llu %lld", o->hash, (unsigned long long)o->size, (long long)o->modified_ns);
	if (fsetxattr(put->fd, HASH_ATTRIBUTE, value, (size_t)n, 0))
		o->hash[0] = '\0';
}

int object_put_commit(struct object_put *put, const char *name, const struct object_plan *plan, const struct object_facts *seen,
		     char tag[OBJECT_TAG_MAX])
{
	struct object_store *s = put->store;
	struct object_facts o = { 0 };
	struct stat st;
	const char *last;
	int dir = -1, rc = 0;

	if (fstat(put->fd, &st))
		rc = -errno;
	if (!rc) {
		from_stat(&st, &o);
		keep_hash(put, &o);
		if (fsync(put->fd))
			rc = -errno;
	}
	if (!rc) {
		dir = open_folder(s, name, &last, true);
		rc = dir < 0 ? dir : 0;
	}
	if (!rc) {
		pthread_mutex_lock(&s->commit);
		rc = still_holds(s, name, plan, seen);
		if (!rc && renameat(s->staging, put->temporary, dir, last))
			rc = -errno;
		pthread_mutex_unlock(&s->commit);
	}
	if (!rc) {
		object_tag(&o, tag);
		rc = fsync(dir) ? -errno : 0;
		close(put->fd);
		put->fd = -1;
	}
	if (dir >= 0)
		close(dir);
	object_put_abort(put);
	return rc;
}

int object_delete(struct object_store *s, const char *name, const struct object_plan *plan, const struct object_facts *seen)
{
	const char *last;
	int dir = open_folder(s, name, &last, false), rc;

	if (dir < 0)
		return dir;
	pthread_mutex_lock(&s->commit);
	rc = still_holds(s, name, plan, seen);
	if (!rc && unlinkat(dir, last, 0))
		rc = -errno;
	pthread_mutex_unlock(&s->commit);
	if (!rc && fsync(dir))
		rc = -errno;
	close(dir);
	return rc;
}

uint16_t object_status(int error)
{
	switch (-error) {
	case ENOENT:
		return 404;
	case EEXIST:
	case ESTALE:
		return 412;
	case EISDIR:
	case ENOTDIR:
	case ENOTEMPTY:
	case ELOOP:
	case EXDEV:
		return 409;
	case EFBIG:
		return 413;
	case ENAMETOOLONG:
		return 414;
	case EACCES:
	case EPERM:
	case EROFS:
		return 403;
	case ENOSPC:
	case EDQUOT:
		return 507;
	case EMFILE:
	case ENFILE:
	case ENOMEM:
		return 503;
	}
	return 500;
}
