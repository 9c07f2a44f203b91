/* SPDX-License-Identifier: BSD-2-Clause */
/* Kernel routes of ours (routes.h), over a plain rtnetlink socket: one build and one parse. */
#include "bgp/routes.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "bgp/announce.h"

#define DUMP_BUFFER 32768 /* what the kernel fills at most in one go */

struct routes {
	struct mnl_socket *nl;
	uint32_t table;
	uint8_t protocol;
	unsigned seq;
};

static uint8_t full_len(const struct address *a)
{
	return a->family == AF_INET ? 32 : 128;
}

static uint32_t metric_of(enum announce how)
{
	return how == ANNOUNCE_GRACEFUL_SHUTDOWN ? METRIC_GRACEFUL_SHUTDOWN : METRIC_NORMAL;
}

/* --- difference ---------------------------------------------------------------------------------- */

/* What `want` says about a row's prefix; NULL if nothing. */
static const struct announcement *wanted(const struct route_row *row, const struct announcement *want, size_t n)
{
	return row->prefix_len == full_len(&row->prefix) ? announcement_find(want, n, &row->prefix) : NULL;
}

static bool as_wanted(const struct route_row *row, const struct announcement *w)
{
	return w->how != ANNOUNCE_NO && row->type == RTN_BLACKHOLE && row->metric == metric_of(w->how);
}

int routes_diff(const struct route_row *have, size_t n_have, const struct announcement *want, size_t n_want,
		struct route_change *change, size_t *n)
{
	bool *there = calloc(n_want + 1, sizeof(*there));
	const struct announcement *w;
	size_t i;

	*n = 0;
	if (!there)
		return -ENOMEM;
	for (i = 0; i < n_have; i++) {
		w = wanted(&have[i], want, n_want);
		if (w && as_wanted(&have[i], w))
			there[w - want] = true;
	}
	for (i = 0; i < n_want; i++) {
		w = &want[i];
		if (there[i] || w->how == ANNOUNCE_NO || w->how == ANNOUNCE_KEEP)
			continue;
		change[(*n)++] = (struct route_change){
			.row = { .prefix = w->prefix, .prefix_len = full_len(&w->prefix), .type = RTN_BLACKHOLE,
				 .metric = metric_of(w->how) },
			.add = true,
		};
	}
	for (i = 0; i < n_have; i++) {
		w = wanted(&have[i], want, n_want);
		if (!w || (w->how != ANNOUNCE_KEEP && !as_wanted(&have[i], w)))
			change[(*n)++] = (struct route_change){ .row = have[i] };
	}
	free(there);
	return 0;
}

/* --- netlink ------------------------------------------------------------------------------------- */

int routes_open(uint32_t table, uint8_t protocol, struct routes **out)
{
	struct routes *r = calloc(1, sizeof(*r));
	int err, on = 1;

	if (!r)
		return -ENOMEM;
	r->table = table;
	r->protocol = protocol;
	r->nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	if (!r->nl || mnl_socket_bind(r->nl, 0, MNL_SOCKET_AUTOPID) < 0) {
		err = -errno;
		routes_close(r);
		return err;
	}
	/* Lets the kernel filter a dump by table and protocol: a switch may hold a full BGP table beside ours. */
	mnl_socket_setsockopt(r->nl, NETLINK_GET_STRICT_CHK, &on, sizeof(on));
	*out = r;
	return 0;
}

void routes_close(struct routes *r)
{
	if (!r)
		return;
	if (r->nl)
		mnl_socket_close(r->nl);
	free(r);
}

struct reading {
	const struct routes *r;
	struct route_row *row;
	size_t n, room;
};

static int read_row(const struct nlmsghdr *nlh, void *data)
{
	struct reading *to = data;
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);
	struct route_row row = { .prefix_len = rtm->rtm_dst_len, .type = rtm->rtm_type };
	uint32_t table = rtm->rtm_table;
	const struct nlattr *attr;
	size_t len;

	if (nlh->nlmsg_type != RTM_NEWROUTE || (rtm->rtm_family != AF_INET && rtm->rtm_family != AF_INET6))
		return MNL_CB_OK;
	row.prefix.family = rtm->rtm_family;
	len = rtm->rtm_family == AF_INET ? 4 : 16;
	mnl_attr_for_each(attr, nlh, sizeof(*rtm)) {
		switch (mnl_attr_get_type(attr)) {
		case RTA_DST:
			if (mnl_attr_get_payload_len(attr) == len)
				memcpy(&row.prefix.v6, mnl_attr_get_payload(attr), len);
			break;
		case RTA_TABLE: table = mnl_attr_get_u32(attr); break;
		case RTA_PRIORITY: row.metric = mnl_attr_get_u32(attr); break;
		}
	}
	/* A kernel without strict checking sends all tables. */
	if (table != to->r->table || rtm->rtm_protocol != to->r->protocol || (rtm->rtm_flags & RTM_F_CLONED))
		return MNL_CB_OK;
	if (to->n == to->room) {
		size_t room = to->room ? 2 * to->room : 64;
		struct route_row *more = realloc(to->row, room * sizeof(*more));

		if (!more) {
			errno = ENOMEM;
			return MNL_CB_ERROR;
		}
		to->row = more;
		to->room = room;
	}
	to->row[to->n++] = row;
	return MNL_CB_OK;
}

/* Sends one message and handles answers until the end of the dump, or the acknowledgement.  0 or -errno. */
static int talk(struct routes *r, struct nlmsghdr *nlh, mnl_cb_t cb, void *data)
{
	_Alignas(struct nlmsghdr) char buf[DUMP_BUFFER];
	unsigned port = mnl_socket_get_portid(r->nl);
	ssize_t got;
	int more;

	nlh->nlmsg_seq = ++r->seq;
	if (mnl_socket_sendto(r->nl, nlh, nlh->nlmsg_len) < 0)
		return -errno;
	do {
		got = mnl_socket_recvfrom(r->nl, buf, sizeof(buf));
		if (got < 0)
			return -errno;
		more = mnl_cb_run(buf, (size_t)got, r->seq, port, cb, data);
		if (more < 0)
			return -errno;
	} while (more > 0);
	return 0;
}

static int dump(struct routes *r, uint8_t family, struct reading *to)
{
	_Alignas(struct nlmsghdr) char buf[256];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct rtmsg *rtm;
	int err;

	nlh->nlmsg_type = RTM_GETROUTE;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	rtm = mnl_nlmsg_put_extra_header(nlh, sizeof(*rtm));
	rtm->rtm_family = family;
	rtm->rtm_protocol = r->protocol;
	mnl_attr_put_u32(nlh, RTA_TABLE, r->table);
	err = talk(r, nlh, read_row, to);
	/* A table that never held a route does not exist; a kernel without IPv6 has none of its routes. */
	return err == -ENOENT || err == -EOPNOTSUPP ? 0 : err;
}

int routes_read(struct routes *r, struct route_row **row, size_t *n)
{
	struct reading to = { .r = r };
	int err = dump(r, AF_INET, &to);

	if (!err)
		err = dump(r, AF_INET6, &to);
	if (err) {
		free(to.row);
		return err;
	}
	*row = to.row;
	*n = to.n;
	return 0;
}

static int change_one(struct routes *r, const struct route_change *c)
{
	_Alignas(struct nlmsghdr) char buf[256];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct rtmsg *rtm;
	int err;

	nlh->nlmsg_type = c->add ? RTM_NEWROUTE : RTM_DELROUTE;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | (c->add ? NLM_F_CREATE | NLM_F_EXCL : 0);
	rtm = mnl_nlmsg_put_extra_header(nlh, sizeof(*rtm));
	rtm->rtm_family = (unsigned char)c->row.prefix.family;
	rtm->rtm_dst_len = c->row.prefix_len;
	rtm->rtm_protocol = r->protocol;
	rtm->rtm_scope = RT_SCOPE_UNIVERSE;
	rtm->rtm_type = c->row.type;
	mnl_attr_put(nlh, RTA_DST, c->row.prefix.family == AF_INET ? 4 : 16, &c->row.prefix.v6);
	mnl_attr_put_u32(nlh, RTA_TABLE, r->table);
	mnl_attr_put_u32(nlh, RTA_PRIORITY, c->row.metric);
	err = talk(r, nlh, NULL, NULL);
	if (c->add ? err == -EEXIST : err == -ESRCH)
		return 0; /* somebody was faster; the next reading tells */
	return err;
}

int routes_reconcile(struct routes *r, const struct announcement *want, size_t n, size_t *n_changed)
{
	struct route_change *change = NULL;
	struct route_row *have = NULL;
	size_t i, n_have, n_change = 0;
	int err, first;

	*n_changed = 0;
	first = routes_read(r, &have, &n_have);
	if (first)
		return first;
	if (n_have + n) {
		change = calloc(n_have + n, sizeof(*change));
		if (!change)
			first = -ENOMEM;
		else
			first = routes_diff(have, n_have, want, n, change, &n_change);
	}
	for (i = 0; i < n_change; i++) {
		err = change_one(r, &change[i]);
		if (err && !first)
			first = err;
	}
	*n_changed = n_change;
	free(change);
	free(have);
	return first;
}
