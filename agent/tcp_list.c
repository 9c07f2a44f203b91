/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/tcp_list.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "tcp_iter.skel.h"

#define READ_RECORDS 512

struct tcp_list {
	struct tcp_iter_bpf *skel;
	struct tcp_iter_socket buf[READ_RECORDS];
};

int tcp_list_open(struct tcp_list **out, char *why, size_t why_len)
{
	struct tcp_list *l = calloc(1, sizeof(*l));
	int err;

	if (!l)
		return -ENOMEM;
	l->skel = tcp_iter_bpf__open_and_load();
	err = l->skel ? tcp_iter_bpf__attach(l->skel) : -errno;
	if (err) {
		snprintf(why, why_len,
			 "the socket iterator does not load (%s): no history can be proven empty; it needs CAP_BPF, CAP_PERFMON and "
			 "a kernel >= 5.15 with BTF", strerror(-err));
		tcp_list_close(l);
		return err;
	}
	*out = l;
	return 0;
}

void tcp_list_close(struct tcp_list *l)
{
	if (!l)
		return;
	tcp_iter_bpf__destroy(l->skel);
	free(l);
}

static void unmap(struct tcp_iter_socket *s)
{
	static const uint8_t prefix[12] = { [10] = 0xff, [11] = 0xff };

	if (s->family != AF_INET6 || memcmp(s->src, prefix, 12))
		return;
	s->family = AF_INET;
	memcpy(s->src, s->src + 12, 4);
	memcpy(s->dst, s->dst + 12, 4);
	memset(s->src + 4, 0, 12);
	memset(s->dst + 4, 0, 12);
}

static void give(struct tcp_iter_socket *s, const struct vipset *vips, tcp_list_each *each, void *ctx)
{
	struct address vip, client;

	unmap(s);
	vip = address_of_words(s->family, s->src);
	if (vipset_find(vips, &vip) < 0)
		return;
	client = address_of_words(s->family, s->dst);
	if (vipset_find(vips, &client) < 0)
		each(ctx, s);
}

int tcp_list_read(struct tcp_list *l, const struct vipset *vips, tcp_list_each *each, void *ctx)
{
	int fd = bpf_iter_create(bpf_link__fd(l->skel->links.tcp_sockets));
	size_t have = 0;
	int err = 0;

	if (fd < 0)
		return fd;
	for (;;) {
		ssize_t n = read(fd, (char *)l->buf + have, sizeof(l->buf) - have);
		size_t i, whole;

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n < 0)
			err = -errno;
		if (n <= 0)
			break;
		have += (size_t)n;
		whole = have / sizeof(*l->buf);
		for (i = 0; i < whole; i++)
			give(&l->buf[i], vips, each, ctx);
		have -= whole * sizeof(*l->buf);
		memmove(l->buf, (char *)l->buf + whole * sizeof(*l->buf), have);
	}
	close(fd);
	return err ? err : have ? -EIO : 0;
}
