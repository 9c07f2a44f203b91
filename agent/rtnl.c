/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Netlink in turns.  Requests are small and the kernel answers at once, so this blocks: a reconcile is
 * a handful of dumps and, when something differs, a handful of requests.
 */
#include "agent/rtnl.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Large dumps (100,000 sockets) come in few reads; the kernel fills up to 32 KiB of a larger buffer. */
#define RTNL_READ_SIZE 65536

struct rtnl {
	struct mnl_socket *socket;
	uint32_t seq;
	_Alignas(8) char request[8192];
	_Alignas(8) char answer[RTNL_READ_SIZE];
};

int rtnl_open(int bus, struct rtnl **out)
{
	struct rtnl *n = calloc(1, sizeof(*n));
	int on = 1, err;

	if (!n)
		return -ENOMEM;
	n->socket = mnl_socket_open2(bus, SOCK_CLOEXEC);
	if (!n->socket || mnl_socket_bind(n->socket, 0, MNL_SOCKET_AUTOPID) < 0) {
		err = -errno;
		rtnl_close(n);
		return err;
	}
	/* Strict dumps filter in the kernel where it can; a failure only means more to read. */
	(void)setsockopt(mnl_socket_get_fd(n->socket), SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof(on));
	n->seq = (uint32_t)time(NULL);
	*out = n;
	return 0;
}

void rtnl_close(struct rtnl *n)
{
	if (!n)
		return;
	if (n->socket)
		mnl_socket_close(n->socket);
	free(n);
}

struct nlmsghdr *rtnl_begin(struct rtnl *n, uint16_t type, uint16_t flags)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(n->request);

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	nlh->nlmsg_seq = ++n->seq;
	return nlh;
}

static int run(struct rtnl *n, struct nlmsghdr *nlh, mnl_cb_t cb, void *ctx)
{
	unsigned port = mnl_socket_get_portid(n->socket);

	if (mnl_socket_sendto(n->socket, nlh, nlh->nlmsg_len) < 0)
		return -errno;
	for (;;) {
		ssize_t len = mnl_socket_recvfrom(n->socket, n->answer, sizeof(n->answer));
		int r;

		if (len < 0 && errno == EINTR)
			continue;
		if (len < 0)
			return -errno;
		r = mnl_cb_run(n->answer, (size_t)len, n->seq, port, cb, ctx);
		if (r < 0 && errno == EPROTO)
			continue; /* the rest of an earlier dump that was given up */
		if (r < 0)
			return -errno;
		if (r == MNL_CB_STOP)
			return 0;
	}
}

int rtnl_ask(struct rtnl *n, struct nlmsghdr *nlh)
{
	nlh->nlmsg_flags |= NLM_F_ACK;
	return run(n, nlh, NULL, NULL);
}

int rtnl_get(struct rtnl *n, struct nlmsghdr *nlh, mnl_cb_t cb, void *ctx)
{
	nlh->nlmsg_flags |= NLM_F_ACK;
	return run(n, nlh, cb, ctx);
}

int rtnl_dump(struct rtnl *n, struct nlmsghdr *nlh, mnl_cb_t cb, void *ctx)
{
	nlh->nlmsg_flags |= NLM_F_DUMP;
	return run(n, nlh, cb, ctx);
}

int rtnl_watch_open(void)
{
	static const int group[] = { RTNLGRP_LINK,	  RTNLGRP_NEIGH,      RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR,
				     RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE };
	struct sockaddr_nl self = { .nl_family = AF_NETLINK };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	int err;

	if (fd < 0)
		return -errno;
	/* Unbound it has port 0 and would be taken for the kernel, which does not hear itself. */
	if (bind(fd, (struct sockaddr *)&self, sizeof(self))) {
		err = -errno;
		close(fd);
		return err;
	}
	for (size_t i = 0; i < sizeof(group) / sizeof(*group); i++) {
		if (setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group[i], sizeof(group[i]))) {
			err = -errno;
			close(fd);
			return err;
		}
	}
	return fd;
}

int rtnl_watch_drain(int fd)
{
	char buf[8192];
	int any = 0;

	for (;;) {
		ssize_t len = recv(fd, buf, sizeof(buf), MSG_TRUNC);

		if (len < 0 && errno == EINTR)
			continue;
		if (len < 0 && errno == ENOBUFS) {
			any = 1; /* overrun: something changed, what does not matter */
			continue;
		}
		if (len <= 0)
			return any;
		any = 1;
	}
}
