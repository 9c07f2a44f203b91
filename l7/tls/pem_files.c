/* SPDX-License-Identifier: BSD-2-Clause */
/* Files in PEM.  See pem_files.h. */
#include "l7/tls/pem_files.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "l7/conf.h"

static int is_pem(const struct dirent *e)
{
	const char *dot = strrchr(e->d_name, '.');

	return e->d_name[0] != '.' && dot && !strcmp(dot, ".pem");
}

int pem_files(const char *path, int (*each)(const char *file, void *ctx), void *ctx, char *why, size_t why_len)
{
	struct dirent **file = NULL;
	struct stat st;
	int i, n, err = 0;

	if (!stat(path, &st) && !S_ISDIR(st.st_mode))
		return each(path, ctx);
	n = scandir(path, &file, is_pem, alphasort);
	if (n < 0) {
		err = -errno;
		snprintf(why, why_len, "%s: %s", path, strerror(errno));
	} else if (!n) {
		err = -ENOENT;
		snprintf(why, why_len, "%s: no NAME.pem in it", path);
	}
	for (i = 0; i < n; i++) {
		char name[EDGE_PATH_LEN + 257];

		snprintf(name, sizeof(name), "%s/%s", path, file[i]->d_name);
		if (!err)
			err = each(name, ctx);
		free(file[i]);
	}
	free(file);
	return err;
}

int pem_no_password(char *buf, int size, int rwflag, void *arg)
{
	(void)buf, (void)size, (void)rwflag, (void)arg;
	return -1;
}
