/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What others do to our objects - a link that goes down, an operator's `ip route del`, the kernel that
 * deletes next hops of a bridge without carrier - is heard on RTNL multicast groups and answered with a
 * reconcile, once things have been quiet for a moment.  Notifications of our own requests carry
 * our port id where the kernel sets it, and are never queued; others cost at most a reconcile that changes nothing.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/neighbour.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "switch/netlink.h"
#include "switch/want.h"

#define SETTLE_MS 5
#define RETRY_MS 500

static const int watched[] = { RTNLGRP_LINK, RTNLGRP_NEIGH, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE,
			       RTNLGRP_NEXTHOP, RTNLGRP_IPV6_IFADDR };

static bool ours_by_name(const struct netlink_fabric *f, const char *name)
{
	for (size_t i = 0; i < f->n_ports; i++)
		if (!strcmp(f->port[i].ifname, name))
			return true;
	for (size_t i = 0; i < f->n_uplinks; i++)
		if (!strcmp(f->uplink[i], name))
			return true;
	return !strcmp(f->bridge_name, name) || !strcmp(name, HOLD_IFNAME) || !strcmp(name, PROBE_IFNAME);
}

/*
 * Bridge rows are announced without the port id of whoever wrote them.  One that is as it must be, or that
 * nobody wants and is gone, is most likely our own writing, and harmless if it is not.
 */
static bool row_matters(const struct netlink_fabric *f, const struct nlmsghdr *h)
{
	const struct ndmsg *m = mnl_nlmsg_get_payload(h);
	const struct fdb_row *row = NULL;
	const struct nlattr *a;

	if (!netlink_port_name(f, m->ndm_ifindex) || m->ndm_state & NUD_PERMANENT)
		return false; /* another bridge's, or a port's own address */
	mnl_attr_for_each(a, h, sizeof(*m))
		if (mnl_attr_get_type(a) == NDA_LLADDR && mnl_attr_get_payload_len(a) == 6)
			row = fabric_want_row(&f->want, mnl_attr_get_payload(a));
	if (!row || netlink_port_ifindex(f, row->ifname) != m->ndm_ifindex)
		return h->nlmsg_type == RTM_NEWNEIGH;
	return h->nlmsg_type == RTM_DELNEIGH || !(m->ndm_state & NUD_NOARP);
}

/* Could this have made our tables wrong? */
static bool matters(const struct netlink_fabric *f, const struct nlmsghdr *h)
{
	switch (h->nlmsg_type) {
	case RTM_NEWLINK:
	case RTM_DELLINK: {
		struct nl_link link;

		nl_link_parse(h, &link);
		return ours_by_name(f, link.ifname);
	}
	case RTM_NEWNEIGH:
	case RTM_DELNEIGH: {
		const struct ndmsg *m = mnl_nlmsg_get_payload(h);

		return m->ndm_family == AF_BRIDGE ? row_matters(f, h) : m->ndm_ifindex == f->bridge;
	}
	case RTM_NEWROUTE:
	case RTM_DELROUTE: {
		const struct rtmsg *m = mnl_nlmsg_get_payload(h);

		return m->rtm_protocol == f->protocol && m->rtm_table == RT_TABLE_MAIN;
	}
	case RTM_DELADDR: {
		const struct ifaddrmsg *m = mnl_nlmsg_get_payload(h);

		return (int)m->ifa_index == f->bridge;
	}
	case RTM_NEWNEXTHOP:
	case RTM_DELNEXTHOP:
		return true;
	}
	return false;
}

void netlink_watch_drain(struct netlink_fabric *f)
{
	static _Alignas(8) uint8_t buf[64 << 10];

	for (;;) {
		ssize_t n = recv(f->watch_fd, buf, sizeof(buf), MSG_DONTWAIT);
		const struct nlmsghdr *h = (const void *)buf;
		int len = (int)n;

		if (n < 0 && errno == ENOBUFS) { /* some were lost: assume the worst */
			f->touched = true;
			continue;
		}
		if (n <= 0)
			return;
		for (; mnl_nlmsg_ok(h, len); h = mnl_nlmsg_next(h, &len))
			if (h->nlmsg_pid != f->nl.portid && matters(f, h))
				f->touched = true;
	}
}

static void arm(struct netlink_fabric *f, unsigned ms)
{
	struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000 };

	if (!event_pending(f->settle, EV_TIMEOUT, NULL))
		event_add(f->settle, &tv);
}

static void on_event(evutil_socket_t fd, short what, void *arg)
{
	struct netlink_fabric *f = arg;

	(void)fd;
	(void)what;
	netlink_watch_drain(f);
	if (f->touched && f->has_want)
		arm(f, SETTLE_MS);
}

static void on_settle(evutil_socket_t fd, short what, void *arg)
{
	struct netlink_fabric *f = arg;
	int err;

	(void)fd;
	(void)what;
	if (!f->has_want)
		return;
	err = netlink_reconcile(f);
	if (err) {
		log_error("forwarding tables cannot be restored: %s; trying again", f->why);
		arm(f, RETRY_MS);
	}
}

/*
 * The kernel tells every listener of each neighbour that we write ourselves, 1,024 in a large change, and both
 * queueing them and reading them off again would be part of the change.  So they are dropped in the kernel.
 */
static int ignore_own(const struct netlink_fabric *f)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct nlmsghdr, nlmsg_pid)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htonl(f->nl.portid), 0, 1), /* LD converts from big-endian */
		BPF_STMT(BPF_RET | BPF_K, 0),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
	};
	struct sock_fprog filter = { sizeof(code) / sizeof(code[0]), code };

	return setsockopt(f->watch_fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)) ? -errno : 0;
}

int netlink_watch_start(struct netlink_fabric *f, struct event_base *base)
{
	struct sockaddr_nl addr = { .nl_family = AF_NETLINK };
	int size = 4 << 20, err;

	f->watch_fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	if (f->watch_fd < 0)
		return -errno;
	setsockopt(f->watch_fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	if (bind(f->watch_fd, (struct sockaddr *)&addr, sizeof(addr)))
		return -errno;
	err = ignore_own(f);
	if (err)
		return err;
	for (size_t i = 0; i < sizeof(watched) / sizeof(watched[0]); i++)
		if (setsockopt(f->watch_fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &watched[i], sizeof(watched[i])))
			return -errno;
	f->watch = event_new(base, f->watch_fd, EV_READ | EV_PERSIST, on_event, f);
	f->settle = event_new(base, -1, 0, on_settle, f);
	if (!f->watch || !f->settle || event_add(f->watch, NULL))
		return -ENOMEM;
	return 0;
}

void netlink_watch_stop(struct netlink_fabric *f)
{
	if (f->watch)
		event_free(f->watch);
	if (f->settle)
		event_free(f->settle);
	f->watch = f->settle = NULL;
	if (f->watch_fd >= 0)
		close(f->watch_fd);
	f->watch_fd = -1;
}
