/* SPDX-License-Identifier: BSD-2-Clause */
/* Files in PEM that pop.yaml names: one, or every NAME.pem of a directory, in the order of their names. */
#ifndef L7_TLS_PEM_FILES_H
#define L7_TLS_PEM_FILES_H

#include <stddef.h>

/* Calls each() until it says other than 0.  0, what it said, -ENOENT: none is there, or -errno; why is filled in but for each(). */
int pem_files(const char *path, int (*each)(const char *file, void *ctx), void *ctx, char *why, size_t why_len);
/* For OpenSSL's readers, which would ask the terminal: what is encrypted is not read. */
int pem_no_password(char *buf, int size, int rwflag, void *arg);

#endif
