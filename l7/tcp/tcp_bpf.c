// SPDX-License-Identifier: BSD-2-Clause
/*
 * Loads what reads and seeds TCP sockets (l7/tcp/tcp_read.bpf.c, l7/tcp/tcp_seed.bpf.c).  The reader hangs on this process's
 * cgroup and ends with it.  The seeder is a congestion control, so its name belongs to the kernel and not to a
 * process: the first registers it and pins it and the map of its values; who comes later, or again, uses those.
 */
#include "l7/tcp/tcp_bpf.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "l7/tcp/tcp_move.h"
#include "l7/tcp/tcp_sockopt.h"
#include "tcp_read.skel.h"
#include "tcp_seed.skel.h"

#define PIN_SEEDS TCP_MOVE_PIN_DIR "/seeds"
#define PIN_OPS TCP_MOVE_PIN_DIR "/ops"
#define SEEDER "baton_seed1"

static struct {
	struct tcp_read_bpf *reader;
	struct bpf_link *link;
	unsigned hz;
	int seeds; /* descriptor of the map, + 1 */
} bpf;

int tcp_bpf_read(int fd, struct tcp_read *r)
{
	socklen_t len = sizeof(*r);

	if (!bpf.link)
		return -ENOPROTOOPT;
	return getsockopt(fd, TCP_READ_LEVEL, 0, r, &len) ? -errno : 0;
}

unsigned tcp_bpf_hz(void)
{
	return bpf.hz;
}

int tcp_bpf_seed(int fd, const struct tcp_seed *s)
{
	if (!bpf.seeds)
		return -EOPNOTSUPP;
	if (bpf_map_update_elem(bpf.seeds - 1, &fd, s, BPF_ANY))
		return -errno;
	return setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, SEEDER, sizeof(SEEDER) - 1) ? -errno : 0;
}

/* --- The reader --------------------------------------------------------------------------------------------------- */

/* Where the second version of cgroups is mounted, and where this process is in it. */
static int own_cgroup(char *path, size_t size)
{
	char line[1024], mount[256] = "", inside[512] = "";
	FILE *f = fopen("/proc/self/mountinfo", "re");

	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f))
		if (strstr(line, " - cgroup2 "))
			sscanf(line, "%*d %*d %*s %*s %255s", mount);
	fclose(f);
	f = fopen("/proc/self/cgroup", "re");
	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, "0::", 3))
			sscanf(line, "0::%511s", inside);
	fclose(f);
	if (!*mount || !*inside || snprintf(path, size, "%s%s", mount, inside) >= (int)size)
		return -ENOENT;
	return 0;
}

/* Keepalive times are in ticks: a socket that was given a second says how many that is. */
static void learn_hz(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
	struct tcp_read r;

	if (fd < 0)
		return;
	if (!set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, 1) && !tcp_bpf_read(fd, &r))
		bpf.hz = r.keep_idle;
	close(fd);
}

static int open_reader(char *why, size_t why_len)
{
	char path[1024];
	int err = own_cgroup(path, sizeof(path)), fd;

	fd = err ? -1 : open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		snprintf(why, why_len, "no cgroup of the second version to read sockets by: they are read by socket options");
		return err ? err : -errno;
	}
	bpf.reader = tcp_read_bpf__open_and_load();
	err = bpf.reader ? 0 : -errno;
	if (!err) {
		bpf.link = bpf_program__attach_cgroup(bpf.reader->progs.tcp_read, fd);
		err = bpf.link ? 0 : -errno;
	}
	close(fd);
	if (!err) {
		learn_hz();
		err = bpf.hz ? 0 : -EOPNOTSUPP; /* our sockets are in another cgroup: cgroups of the first version decide */
	}
	if (err) {
		snprintf(why, why_len, "eBPF program tcp_read on %s: %s: sockets are read by socket options", path, strerror(-err));
		bpf_link__destroy(bpf.link);
		tcp_read_bpf__destroy(bpf.reader);
		bpf.link = NULL;
		bpf.reader = NULL;
	}
	return err;
}

/* --- The seeder ---------------------------------------------------------------------------------------------------- */

/* 0: registered, by us or by another.  -EEXIST: another pinned its map meanwhile: again, with that. */
static int register_seeder(struct tcp_seed_bpf *s)
{
	struct bpf_link *link;
	int seeds = bpf_obj_get(PIN_SEEDS), err;

	if (seeds >= 0) {
		err = bpf_map__reuse_fd(s->maps.seeds, seeds); /* duplicates it */
		close(seeds);
		if (err)
			return err;
	}
	err = tcp_seed_bpf__load(s);
	if (!err && seeds < 0)
		err = bpf_map__pin(s->maps.seeds, PIN_SEEDS);
	if (err)
		return err;
	link = bpf_map__attach_struct_ops(s->maps.baton_seed);
	if (!link)
		return errno == EEXIST ? 0 : -errno;
	bpf_link__disconnect(link); /* what is registered stays */
	bpf_link__destroy(link);
	unlink(PIN_OPS);
	return bpf_map__pin(s->maps.baton_seed, PIN_OPS);
}

static int open_seeder(char *why, size_t why_len)
{
	struct tcp_seed_bpf *s;
	int err, tries;

	if (mkdir(TCP_MOVE_PIN_DIR, 0700) && errno != EEXIST) {
		err = -errno;
		snprintf(why, why_len, TCP_MOVE_PIN_DIR ": %s: imported connections start with the initial window", strerror(-err));
		return err;
	}
	for (tries = 0, err = -EEXIST; tries < 3 && err == -EEXIST; tries++) {
		s = tcp_seed_bpf__open();
		if (!s)
			return -errno;
		err = register_seeder(s);
		if (!err)
			bpf.seeds = fcntl(bpf_map__fd(s->maps.seeds), F_DUPFD_CLOEXEC, 3) + 1;
		tcp_seed_bpf__destroy(s);
	}
	if (err)
		snprintf(why, why_len, "congestion control " SEEDER ": %s: imported connections start with the initial window",
			 strerror(-err));
	return err;
}

/* --- Both ------------------------------------------------------------------------------------------------------------ */

static int quiet(enum libbpf_print_level level, const char *format, va_list args)
{
	(void)level;
	(void)format;
	(void)args;
	return 0;
}

int tcp_move_open(char *why, size_t why_len)
{
	libbpf_print_fn_t before = libbpf_set_print(quiet); /* why says it */
	char other[256] = "";
	int reader, seeder;

	*why = 0;
	reader = bpf.link ? 0 : open_reader(why, why_len);
	seeder = bpf.seeds ? 0 : open_seeder(other, sizeof(other));
	libbpf_set_print(before);
	if (seeder && strlen(why) + 2 < why_len)
		snprintf(why + strlen(why), why_len - strlen(why), "%s%s", reader ? "; " : "", other);
	return reader ? reader : seeder;
}

void tcp_move_close(bool take_off)
{
	int ops, zero = 0;

	bpf_link__destroy(bpf.link);
	tcp_read_bpf__destroy(bpf.reader);
	if (bpf.seeds)
		close(bpf.seeds - 1);
	memset(&bpf, 0, sizeof(bpf));
	if (!take_off)
		return;
	ops = bpf_obj_get(PIN_OPS);
	if (ops >= 0) {
		bpf_map_delete_elem(ops, &zero);
		close(ops);
	}
	unlink(PIN_OPS);
	unlink(PIN_SEEDS);
	rmdir(TCP_MOVE_PIN_DIR);
}
