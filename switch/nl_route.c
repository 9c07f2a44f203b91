/* SPDX-License-Identifier: BSD-2-Clause */
/* Routes through next-hop objects, what is beneath them, and interface addresses, over rtnetlink. */
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/ipv6_route.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "switch/nl.h"

void nl_address_put(struct nl_batch *b, int ifindex, const uint8_t address[16])
{
	struct nlmsghdr *h =
		nl_message(b, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, sizeof(struct ifaddrmsg), 64);
	struct ifaddrmsg *m = mnl_nlmsg_get_payload(h);

	m->ifa_family = AF_INET6;
	m->ifa_prefixlen = 64;
	m->ifa_scope = RT_SCOPE_LINK;
	m->ifa_index = (uint32_t)ifindex;
	mnl_attr_put(h, IFA_LOCAL, 16, address);
	mnl_attr_put(h, IFA_ADDRESS, 16, address);
	mnl_attr_put_u32(h, IFA_FLAGS, IFA_F_NODAD | IFA_F_PERMANENT);
	nl_message_end(b, h);
}

struct address_reader {
	int ifindex, found;
	const uint8_t *address;
};

static int interface_address_parse(void *ctx, const struct nlmsghdr *h)
{
	struct address_reader *r = ctx;
	const struct ifaddrmsg *m = mnl_nlmsg_get_payload(h);
	const struct nlattr *a;

	if (h->nlmsg_type != RTM_NEWADDR || (int)m->ifa_index != r->ifindex)
		return 0;
	mnl_attr_for_each(a, h, sizeof(*m))
		if (mnl_attr_get_type(a) == IFA_ADDRESS && mnl_attr_get_payload_len(a) == 16 &&
		    !memcmp(mnl_attr_get_payload(a), r->address, 16))
			r->found = 1;
	return 0;
}

int nl_address_has(struct nl *n, int ifindex, const uint8_t address[16])
{
	struct address_reader r = { .ifindex = ifindex, .address = address };
	struct nl_batch b = { 0 };
	struct nlmsghdr *h = nl_message(&b, RTM_GETADDR, 0, sizeof(struct ifaddrmsg), 64);
	struct ifaddrmsg *m = mnl_nlmsg_get_payload(h);
	int err;

	m->ifa_family = AF_INET6;
	m->ifa_index = (uint32_t)ifindex;
	nl_message_end(&b, h);
	err = nl_dump(n, &b, interface_address_parse, &r);
	nl_batch_free(&b);
	return err ? err : r.found;
}

/* metric 0: the family's default.  It is named even where a route is deleted, so that its twin beneath is not meant. */
static struct nlmsghdr *route_message(struct nl_batch *b, uint16_t type, uint16_t flags, const struct address *dst,
				      uint8_t protocol, uint8_t kind, uint32_t metric)
{
	struct nlmsghdr *h = nl_message(b, type, flags, sizeof(struct rtmsg), 64);
	struct rtmsg *m = mnl_nlmsg_get_payload(h);
	bool v6 = dst->family == AF_INET6;

	m->rtm_family = (uint8_t)dst->family;
	m->rtm_dst_len = v6 ? 128 : 32;
	m->rtm_table = RT_TABLE_MAIN;
	m->rtm_protocol = protocol;
	m->rtm_scope = type == RTM_DELROUTE && !v6 ? RT_SCOPE_NOWHERE : RT_SCOPE_UNIVERSE;
	m->rtm_type = kind;
	mnl_attr_put(h, RTA_DST, v6 ? 16 : 4, &dst->v6);
	if (v6 && !metric)
		metric = IP6_RT_PRIO_USER;
	if (metric)
		mnl_attr_put_u32(h, RTA_PRIORITY, metric);
	return h;
}

void nl_route_put(struct nl_batch *b, const struct address *dst, uint32_t nexthop_id, uint8_t protocol)
{
	struct nlmsghdr *h = route_message(b, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, dst, protocol, RTN_UNICAST, 0);

	mnl_attr_put_u32(h, RTA_NH_ID, nexthop_id);
	nl_message_end(b, h);
}

void nl_route_del(struct nl_batch *b, const struct address *dst, uint8_t protocol)
{
	nl_message_end(b, route_message(b, RTM_DELROUTE, 0, dst, protocol, RTN_UNICAST, 0));
}

void nl_drop_put(struct nl_batch *b, const struct address *dst, uint8_t protocol)
{
	nl_message_end(b, route_message(b, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, dst, protocol, RTN_BLACKHOLE, NL_DROP_METRIC));
}

void nl_drop_del(struct nl_batch *b, const struct address *dst, uint8_t protocol)
{
	nl_message_end(b, route_message(b, RTM_DELROUTE, 0, dst, protocol, RTN_BLACKHOLE, NL_DROP_METRIC));
}

struct route_reader {
	uint8_t protocol;
	int (*each)(void *ctx, const struct nl_route *e);
	void *ctx;
};

static int route_parse(void *ctx, const struct nlmsghdr *h)
{
	const struct route_reader *r = ctx;
	const struct rtmsg *m = mnl_nlmsg_get_payload(h);
	struct nl_route e = { .dst.family = m->rtm_family, .prefix_len = m->rtm_dst_len,
			      .protocol = m->rtm_protocol, .table = m->rtm_table, .type = m->rtm_type };
	const struct nlattr *a;

	if (h->nlmsg_type != RTM_NEWROUTE)
		return 0;
	mnl_attr_for_each(a, h, sizeof(*m)) {
		switch (mnl_attr_get_type(a)) {
		case RTA_DST:
			if (mnl_attr_get_payload_len(a) <= 16)
				memcpy(&e.dst.v6, mnl_attr_get_payload(a), mnl_attr_get_payload_len(a));
			break;
		case RTA_TABLE:
			e.table = mnl_attr_get_u32(a);
			break;
		case RTA_PRIORITY:
			e.metric = mnl_attr_get_u32(a);
			break;
		case RTA_NH_ID:
			e.nexthop_id = mnl_attr_get_u32(a);
		}
	}
	if (e.table != RT_TABLE_MAIN || e.protocol != r->protocol)
		return 0;
	return r->each(r->ctx, &e);
}

int nl_routes_read(struct nl *n, sa_family_t family, uint8_t protocol,
		   int (*each)(void *ctx, const struct nl_route *e), void *ctx)
{
	struct route_reader r = { protocol, each, ctx };
	struct nl_batch b = { 0 };
	struct nlmsghdr *h = nl_message(&b, RTM_GETROUTE, 0, sizeof(struct rtmsg), 64);
	struct rtmsg *m = mnl_nlmsg_get_payload(h);
	int err;

	m->rtm_family = (uint8_t)family;
	m->rtm_table = RT_TABLE_MAIN;
	m->rtm_protocol = protocol;
	mnl_attr_put_u32(h, RTA_TABLE, RT_TABLE_MAIN);
	nl_message_end(&b, h);
	err = nl_dump(n, &b, route_parse, &r);
	nl_batch_free(&b);
	return err;
}
