/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A netlink socket used in turns: one request, its answer, the next.  What links.c, vips.c and
 * sockets.c build and parse goes through here.  And a second kind of socket that only listens, and
 * says that something changed.
 */
#ifndef AGENT_RTNL_H
#define AGENT_RTNL_H

#include <libmnl/libmnl.h>
#include <stdint.h>

struct rtnl;

int rtnl_open(int bus, struct rtnl **out); /* NETLINK_ROUTE, NETLINK_SOCK_DIAG.  0 or -errno */
void rtnl_close(struct rtnl *n);

/* Begins a request in a buffer of the socket's own, valid until the next call. */
struct nlmsghdr *rtnl_begin(struct rtnl *n, uint16_t type, uint16_t flags);
/* Sends it, waits for the acknowledgement.  0 or -errno as the kernel says. */
int rtnl_ask(struct rtnl *n, struct nlmsghdr *nlh);
/* As rtnl_ask, for a request whose answer is one object. */
int rtnl_get(struct rtnl *n, struct nlmsghdr *nlh, mnl_cb_t cb, void *ctx);
/* Sends a dump and gives each message to cb (an mnl_cb_t).  -EINTR: the table changed meanwhile, ask again. */
int rtnl_dump(struct rtnl *n, struct nlmsghdr *nlh, mnl_cb_t cb, void *ctx);

/* A socket that becomes readable when links, addresses, neighbours or routes change. */
int rtnl_watch_open(void);
/* Reads and forgets what is there.  True if anything was, an overrun included. */
int rtnl_watch_drain(int fd);

#endif
