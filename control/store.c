/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The log on one disk.  A batch is one write and one fdatasync.  After a failed write the file is
 * cut back and zeroed, so that the next attempt starts clean; after a failed fsync nothing is known
 * about the disk any more, and nothing is appended until a restart has read what is really there.
 */
#include "control/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define ZERO_AHEAD (256u << 10)

struct kept_config {
	uint64_t index;
	uint8_t *bytes;
	size_t len;
};

struct store {
	struct log log; /* first */
	int dir, fd, lock;
	off_t end, zeroed; /* of records; of the file */
	struct store_info info;
	struct kept_config kept[CONFIGS_KEPT];
	size_t n_kept;
};

static const uint8_t zeros[64 << 10];

static int pwrite_all(int fd, const void *buf, size_t len, off_t at)
{
	const uint8_t *p = buf;

	while (len) {
		ssize_t n = pwrite(fd, p, len, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		p += n;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Zeroes blocks ahead of the records: from then on an append allocates nothing and cannot meet a full disk. */
static int zero_ahead(struct store *s, off_t need)
{
	int err;

	while (s->zeroed < need) {
		off_t i, from = s->zeroed;

		for (i = 0; i < (off_t)ZERO_AHEAD; i += (off_t)sizeof(zeros)) {
			err = pwrite_all(s->fd, zeros, sizeof(zeros), from + i);
			if (err) {
				if (ftruncate(s->fd, from))
					return -errno;
				return err;
			}
		}
		if (fsync(s->fd)) {
			err = -errno;
			return ftruncate(s->fd, from) ? -errno : err;
		}
		s->zeroed = from + ZERO_AHEAD;
	}
	return 0;
}

static void keep_config(struct store *s, uint64_t index, const uint8_t *bytes, size_t len)
{
	uint8_t *copy = malloc(len);
	size_t i;

	for (i = 0; i < s->n_kept; i++)
		if (s->kept[i].index == index) {
			free(copy);
			return;
		}
	if (!copy)
		return; /* a rollback to it will be refused */
	memcpy(copy, bytes, len);
	if (s->n_kept == CONFIGS_KEPT) {
		free(s->kept[0].bytes);
		memmove(s->kept, s->kept + 1, sizeof(s->kept[0]) * --s->n_kept);
	}
	s->kept[s->n_kept++] = (struct kept_config){ index, copy, len };
}

static int failed(struct store *s, int err, const char *what)
{
	snprintf(s->info.error, sizeof(s->info.error), "%s: %s", what, strerror(-err));
	return err;
}

static int store_append(struct log *l, const struct log_bytes *record, size_t n, void (*done)(void *ctx, int err), void *ctx)
{
	struct store *s = (struct store *)l;
	size_t i, len = 0;
	uint8_t *buf;
	int err;

	if (s->fd < 0)
		return -EIO;
	for (i = 0; i < n; i++)
		len += record[i].len;
	/* Always a zero length behind the last record: that is its end. */
	err = zero_ahead(s, s->end + (off_t)len + 4);
	if (err)
		return failed(s, err, "cannot extend the log");
	buf = malloc(len ? len : 1);
	if (!buf)
		return -ENOMEM;
	for (len = 0, i = 0; i < n; i++) {
		memcpy(buf + len, record[i].data, record[i].len);
		len += record[i].len;
	}
	err = pwrite_all(s->fd, buf, len, s->end);
	if (err) {
		memset(buf, 0, len);
		if (pwrite_all(s->fd, buf, len, s->end)) {
			close(s->fd);
			s->fd = -1;
		}
		free(buf);
		return failed(s, err, "cannot write the log");
	}
	free(buf);
	if (fdatasync(s->fd)) {
		err = -errno;
		close(s->fd);
		s->fd = -1;
		return failed(s, err, "cannot bring the log to the disk; restart baton-controld once the disk is sound");
	}
	s->info.error[0] = 0;
	s->end += (off_t)len;
	s->info.bytes = (uint64_t)s->end;
	for (i = 0; i < n; i++) {
		struct record r;

		if (!record_decode(record[i].data, record[i].len, &r) && r.type == RECORD_CONFIG)
			keep_config(s, r.index, record[i].data, record[i].len);
	}
	done(ctx, 0);
	return 0;
}

/* Writes `snapshot` anew and then empties `log`; a crash in between leaves records that are skipped. */
static int write_snapshot(struct store *s, const struct state *state)
{
	size_t len, i;
	uint8_t *bytes = state_snapshot(state, &len);
	off_t at;
	int fd, err;

	if (!bytes)
		return -ENOMEM;
	fd = openat(s->dir, "snapshot.tmp", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0) {
		free(bytes);
		return -errno;
	}
	err = pwrite_all(fd, bytes, len, 0);
	at = (off_t)len;
	for (i = 0; i < s->n_kept && !err; i++) {
		err = pwrite_all(fd, s->kept[i].bytes, s->kept[i].len, at);
		at += (off_t)s->kept[i].len;
	}
	if (!err && fsync(fd))
		err = -errno;
	close(fd);
	free(bytes);
	if (!err && renameat(s->dir, "snapshot.tmp", s->dir, "snapshot"))
		err = -errno;
	if (!err && fsync(s->dir))
		err = -errno;
	return err;
}

static void store_compact(struct log *l, const struct state *state)
{
	struct store *s = (struct store *)l;

	if (s->fd < 0 || s->end < (off_t)LOG_ROTATE || write_snapshot(s, state))
		return; /* the log just goes on growing; the next call tries again */
	s->info.snapshot_index = state->view.index;
	if (ftruncate(s->fd, 0) || fsync(s->fd)) {
		close(s->fd);
		s->fd = -1;
		failed(s, -errno, "cannot shorten the log");
		return;
	}
	s->end = s->zeroed = 0;
	s->info.bytes = 0;
}

static void store_close(struct log *l)
{
	struct store *s = (struct store *)l;
	size_t i;

	for (i = 0; i < s->n_kept; i++)
		free(s->kept[i].bytes);
	if (s->fd >= 0)
		close(s->fd);
	if (s->lock >= 0)
		close(s->lock);
	if (s->dir >= 0)
		close(s->dir);
	free(s);
}

static const struct log_ops store_ops = { store_append, store_compact, store_close };

static int read_file(int dir, const char *name, uint8_t **out, size_t *len)
{
	struct stat st;
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC), err = 0;
	size_t at = 0;

	*out = NULL;
	*len = 0;
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (fstat(fd, &st))
		err = -errno;
	else if (!(*out = malloc((size_t)st.st_size + 1)))
		err = -ENOMEM;
	while (!err && at < (size_t)st.st_size) {
		ssize_t n = read(fd, *out + at, (size_t)st.st_size - at);

		if (n < 0)
			err = -errno;
		if (n <= 0)
			break;
		at += (size_t)n;
	}
	*len = at;
	close(fd);
	return err;
}

/* The snapshot stands first in its file; the configurations before it, for rollback, follow. */
static int replay_snapshot(struct store *s, store_replay *replay, void *ctx, char *why, size_t why_len)
{
	size_t len, at = 0;
	struct record r;
	uint8_t *buf;
	int err = read_file(s->dir, "snapshot", &buf, &len);

	while (!err && buf && at < len) {
		int64_t n = record_length(buf + at, len - at);

		if (n <= 0 || (size_t)n > len - at || record_decode(buf + at, (size_t)n, &r)) {
			snprintf(why, why_len, "the snapshot of the log is damaged: restore the state directory from a backup");
			err = -EBADMSG;
			break;
		}
		if (r.type == RECORD_SNAPSHOT)
			s->info.snapshot_index = r.index;
		else
			keep_config(s, r.index, buf + at, (size_t)n);
		err = replay(ctx, &r, buf + at, (size_t)n, why, why_len);
		at += (size_t)n;
	}
	free(buf);
	return err;
}

/* Is there a whole record further on that cannot belong to the batch which was cut short? */
static bool valid_beyond(const uint8_t *buf, size_t at, size_t len, uint64_t index)
{
	struct record r;

	for (at++; at + RECORD_HEADER <= len; at++) {
		int64_t n = record_length(buf + at, len - at);

		if (n > 0 && (size_t)n <= len - at && !record_decode(buf + at, (size_t)n, &r) && r.index > index + LOG_BATCH_MAX)
			return true;
	}
	return false;
}

static int replay_log(struct store *s, store_replay *replay, void *ctx, char *why, size_t why_len)
{
	uint64_t last = s->info.snapshot_index;
	size_t len, at = 0;
	uint8_t *buf;
	int err = read_file(s->dir, "log", &buf, &len);

	while (!err && buf && at + 4 <= len && get32(buf + at)) {
		int64_t n = record_length(buf + at, len - at);
		struct record r;

		if (n <= 0 || (size_t)n > len - at || record_decode(buf + at, (size_t)n, &r)) {
			if (valid_beyond(buf, at, len, last)) {
				snprintf(why, why_len, "the log is damaged after index %llu, with whole records behind it: "
					 "restore the state directory from a backup", (unsigned long long)last);
				err = -EBADMSG;
			} else {
				s->info.repaired = true;
			}
			break;
		}
		if (r.index > s->info.snapshot_index) {
			err = replay(ctx, &r, buf + at, (size_t)n, why, why_len);
			if (r.type == RECORD_CONFIG)
				keep_config(s, r.index, buf + at, (size_t)n);
		}
		if (!err) {
			last = r.index;
			at += (size_t)n;
		}
	}
	free(buf);
	s->end = (off_t)at;
	s->info.bytes = at;
	return err;
}

int store_open(const char *dir, store_replay *replay, void *ctx, struct log **out, char *why, size_t why_len)
{
	struct store *s = calloc(1, sizeof(*s));
	int err = 0;

	if (!s)
		return -ENOMEM;
	s->log.ops = &store_ops;
	s->fd = s->lock = -1;
	snprintf(why, why_len, "%s cannot be used", dir);
	if (mkdir(dir, 0700) && errno != EEXIST)
		err = -errno;
	s->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (!err && s->dir < 0)
		err = -errno;
	if (!err && ((s->lock = openat(s->dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600)) < 0 ||
		     flock(s->lock, LOCK_EX | LOCK_NB))) {
		err = -errno;
		if (errno == EWOULDBLOCK)
			snprintf(why, why_len, "%s is in use by another baton-controld", dir);
	}
	if (!err)
		err = replay_snapshot(s, replay, ctx, why, why_len);
	if (!err)
		err = replay_log(s, replay, ctx, why, why_len);
	if (!err) {
		s->fd = openat(s->dir, "log", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		/* What is behind the last whole record goes; zeroing ahead begins there. */
		if (s->fd < 0 || ftruncate(s->fd, s->end) || fsync(s->fd) || fsync(s->dir))
			err = -errno;
		s->zeroed = s->end;
	}
	/* A full disk is no reason not to serve: the first append will say so. */
	if (err) {
		store_close(&s->log);
		return err;
	}
	*out = &s->log;
	return 0;
}

const struct store_info *store_info(const struct log *l)
{
	return &((const struct store *)l)->info;
}
