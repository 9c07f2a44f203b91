// SPDX-License-Identifier: BSD-2-Clause
/*
 * TCP-AO has an option that says so.  MD5 has none: the socket's own row of the kernel's socket table (sock_diag(7))
 * names its keys to whoever may administer the network.  Only for sockets that l7/tcp/tcp_read.bpf.c does not see.
 */
#include "l7/tcp/tcp_signed.h"

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <string.h>
#include <unistd.h>

#include "l7/tcp/tcp_move.h"
#include "l7/tcp/tcp_sockopt.h"

#ifndef TCP_AO_INFO
#define TCP_AO_INFO 40
#endif

struct question {
	struct nlmsghdr head;
	struct inet_diag_req_v2 ask;
};

static void put_names(const struct tcp_move *m, struct inet_diag_sockid *id)
{
	id->idiag_sport = htons(m->vip_port);
	id->idiag_dport = htons(m->client_port);
	id->idiag_cookie[0] = id->idiag_cookie[1] = INET_DIAG_NOCOOKIE;
	if (m->vip.family == AF_INET) {
		memcpy(id->idiag_src, &m->vip.v4, 4);
		memcpy(id->idiag_dst, &m->client.v4, 4);
	} else {
		memcpy(id->idiag_src, &m->vip.v6, 16);
		memcpy(id->idiag_dst, &m->client.v6, 16);
	}
}

static bool has_keys(struct nlmsghdr *h, size_t n)
{
	struct inet_diag_msg *d = NLMSG_DATA(h);
	struct rtattr *a = (struct rtattr *)(d + 1);
	int len = (int)h->nlmsg_len - (int)NLMSG_LENGTH(sizeof(*d));

	if (!NLMSG_OK(h, n) || h->nlmsg_type != SOCK_DIAG_BY_FAMILY)
		return false;
	for (; RTA_OK(a, len); a = RTA_NEXT(a, len))
		if (a->rta_type == INET_DIAG_MD5SIG && RTA_PAYLOAD(a) > 0)
			return true;
	return false;
}

static bool has_md5(const struct tcp_move *m)
{
	struct question q = { .head = { .nlmsg_len = sizeof(q), .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST },
			      .ask = { .sdiag_family = (uint8_t)m->vip.family, .sdiag_protocol = IPPROTO_TCP,
				      .idiag_ext = 1 << (INET_DIAG_INFO - 1) } }; /* keys come with that */
	union {
		struct nlmsghdr head;
		char room[8192];
	} answer;
	int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	ssize_t n = -1;

	if (fd < 0)
		return false;
	put_names(m, &q.ask.id);
	if (send(fd, &q, sizeof(q), 0) == (ssize_t)sizeof(q))
		n = recv(fd, &answer, sizeof(answer), 0); /* the kernel answers within send */
	close(fd);
	return n > 0 && has_keys(&answer.head, (size_t)n);
}

bool tcp_signed(int fd, const struct tcp_move *names)
{
	uint8_t ao[128] = { 0 };
	socklen_t len = sizeof(ao);

	/* A kernel without TCP-AO does not know the option; one with it says ENOENT where none is in use. */
	return !getsockopt(fd, IPPROTO_TCP, TCP_AO_INFO, ao, &len) || has_md5(names);
}
