/* SPDX-License-Identifier: BSD-2-Clause */
/* Whole files: read with a bound, written so that a crash leaves the old text or the new, never a part. */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <stddef.h>
#include <sys/types.h>

/*
 * The whole file, with a NUL behind it that *len does not count; the caller frees *out.
 * 0, -EFBIG (more than max bytes), or what open or read said.
 */
int file_read(const char *path, size_t max, char **out, size_t *len);

/* Writes path.tmp, syncs it, renames it over path and syncs the directory.  0 or -errno. */
int file_write(const char *path, const void *data, size_t len, mode_t mode);

/* Makes the directory and its parents.  0 (it is there) or -errno. */
int file_make_dir(const char *path, mode_t mode);

#endif
