/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Default routes, see egress.h.  The kernel itself takes next hops out of these routes when a link goes
 * down, and for IPv6 never puts them back: so what is wanted is compared with what is there, each time.
 */
#include "agent/egress.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>

#include "lb/link.h"

struct hop_found {
	unsigned ifindex;
	uint8_t gateway[16];
};

struct found {
	uint8_t protocol, family;
	struct hop_found hop[POP_SWITCHES_MAX * 2];
	size_t n;
	bool ours, dead, clash;
	uint8_t before_protocol; /* a foreign default route that is chosen before ours */
	uint32_t before_metric;
	bool before;
};

static void add_hop(struct found *f, unsigned ifindex, unsigned flags, const void *gateway)
{
	struct hop_found *h;

	if (f->n == sizeof(f->hop) / sizeof(*f->hop))
		return;
	h = &f->hop[f->n++];
	h->ifindex = ifindex;
	memset(h->gateway, 0, sizeof(h->gateway));
	if (gateway)
		memcpy(h->gateway, gateway, sizeof(h->gateway));
	if (flags & RTNH_F_DEAD)
		f->dead = true;
}

/* IPv6 routes name the next hop as RTA_GATEWAY, IPv4 routes through IPv6 as RTA_VIA. */
static const void *gateway_of(const struct nlattr *attr)
{
	const struct rtvia *via;

	if (mnl_attr_get_type(attr) == RTA_GATEWAY && mnl_attr_get_payload_len(attr) == 16)
		return mnl_attr_get_payload(attr);
	if (mnl_attr_get_type(attr) != RTA_VIA || mnl_attr_get_payload_len(attr) != sizeof(*via) + 16)
		return NULL;
	via = mnl_attr_get_payload(attr);
	return via->rtvia_family == AF_INET6 ? via->rtvia_addr : NULL;
}

static void read_multipath(struct found *f, const struct nlattr *multipath)
{
	const char *p = mnl_attr_get_payload(multipath);
	size_t left = mnl_attr_get_payload_len(multipath);

	while (left >= sizeof(struct rtnexthop)) {
		const struct rtnexthop *nh = (const void *)p;
		const void *gateway = NULL;
		const struct nlattr *attr;

		if (nh->rtnh_len < sizeof(*nh) || nh->rtnh_len > left)
			return;
		for (attr = (const void *)(p + sizeof(*nh)); mnl_attr_ok(attr, (int)(p + nh->rtnh_len - (const char *)attr));
		     attr = mnl_attr_next(attr)) {
			const void *g = gateway_of(attr);

			gateway = g ? g : gateway;
		}
		add_hop(f, (unsigned)nh->rtnh_ifindex, nh->rtnh_flags, gateway);
		p += RTNH_ALIGN(nh->rtnh_len);
		left -= (size_t)RTNH_ALIGN(nh->rtnh_len) < left ? (size_t)RTNH_ALIGN(nh->rtnh_len) : left;
	}
}

static int read_route(const struct nlmsghdr *nlh, void *ctx)
{
	const struct rtmsg *rt = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *attr, *multipath = NULL;
	struct found *f = ctx;
	const void *gateway = NULL;
	uint32_t table = rt->rtm_table, metric = 0;
	unsigned oif = 0;

	if (nlh->nlmsg_type != RTM_NEWROUTE || rt->rtm_family != f->family || rt->rtm_dst_len)
		return MNL_CB_OK;
	mnl_attr_for_each(attr, nlh, sizeof(*rt)) {
		const void *g = gateway_of(attr);

		gateway = g ? g : gateway;
		switch (mnl_attr_get_type(attr)) {
		case RTA_TABLE:
			table = mnl_attr_get_u32(attr);
			break;
		case RTA_PRIORITY:
			metric = mnl_attr_get_u32(attr);
			break;
		case RTA_OIF:
			oif = mnl_attr_get_u32(attr);
			break;
		case RTA_MULTIPATH:
			multipath = attr;
			break;
		}
	}
	if (table != RT_TABLE_MAIN)
		return MNL_CB_OK;
	if (rt->rtm_protocol != f->protocol) {
		if (metric == EGRESS_METRIC)
			f->clash = true;
		if (metric <= EGRESS_METRIC) {
			f->before = true;
			f->before_metric = metric;
			f->before_protocol = rt->rtm_protocol;
		}
		return MNL_CB_OK;
	}
	if (metric != EGRESS_METRIC)
		return MNL_CB_OK; /* not made here */
	f->ours = true;
	if (multipath)
		read_multipath(f, multipath);
	else
		add_hop(f, oif, rt->rtm_flags, gateway);
	return MNL_CB_OK;
}

static bool as_wanted(const struct found *f, const struct egress_hop *hop, size_t n)
{
	if (f->n != n || f->dead)
		return false;
	for (size_t i = 0; i < n; i++) {
		uint8_t gateway[16];
		bool have = false;

		link_address(gateway, LINK_SWITCH, hop[i].switch_id);
		for (size_t j = 0; j < f->n; j++)
			have |= f->hop[j].ifindex == hop[i].ifindex && !memcmp(f->hop[j].gateway, gateway, 16);
		if (!have)
			return false;
	}
	return true;
}

static void put_gateway(struct nlmsghdr *nlh, uint8_t family, uint16_t switch_id)
{
	struct {
		uint16_t family;
		uint8_t addr[16];
	} via = { .family = AF_INET6 };

	link_address(via.addr, LINK_SWITCH, switch_id);
	if (family == AF_INET)
		mnl_attr_put(nlh, RTA_VIA, sizeof(via), &via);
	else
		mnl_attr_put(nlh, RTA_GATEWAY, 16, via.addr);
}

static int change(struct rtnl *n, uint16_t type, uint8_t family, uint8_t protocol, const struct egress_hop *hop,
		  size_t n_hops)
{
	struct nlmsghdr *nlh = rtnl_begin(n, type, type == RTM_NEWROUTE ? NLM_F_CREATE | NLM_F_REPLACE : 0);
	struct rtmsg *rt = mnl_nlmsg_put_extra_header(nlh, sizeof(*rt));
	struct nlattr *multipath;

	rt->rtm_family = family;
	rt->rtm_table = RT_TABLE_MAIN;
	rt->rtm_protocol = protocol;
	rt->rtm_scope = RT_SCOPE_UNIVERSE;
	rt->rtm_type = RTN_UNICAST;
	mnl_attr_put_u32(nlh, RTA_PRIORITY, EGRESS_METRIC);
	if (type == RTM_NEWROUTE) {
		multipath = mnl_attr_nest_start(nlh, RTA_MULTIPATH);
		for (size_t i = 0; i < n_hops; i++) {
			struct rtnexthop *nh = mnl_nlmsg_put_extra_header(nlh, sizeof(*nh));

			nh->rtnh_ifindex = (int)hop[i].ifindex;
			put_gateway(nlh, family, hop[i].switch_id);
			nh->rtnh_len = (uint16_t)((char *)mnl_nlmsg_get_payload_tail(nlh) - (char *)nh);
		}
		mnl_attr_nest_end(nlh, multipath);
	}
	return rtnl_ask(n, nlh);
}

static int apply_family(struct rtnl *n, uint8_t family, uint8_t protocol, const struct egress_hop *hop, size_t n_hops,
			struct alarms *alarms)
{
	struct found f = { .protocol = protocol, .family = family };
	struct nlmsghdr *nlh = rtnl_begin(n, RTM_GETROUTE, 0);
	struct rtmsg *rt = mnl_nlmsg_put_extra_header(nlh, sizeof(*rt));
	const char *name = family == AF_INET ? "IPv4" : "IPv6";
	int err;

	rt->rtm_family = family;
	rt->rtm_table = RT_TABLE_MAIN;
	err = rtnl_dump(n, nlh, read_route, &f);
	if (err)
		return err;
	if (f.before && n_hops) /* elsewhere there are none, and the default route is the operator's */
		alarm_add(alarms,
			  "%s default route of protocol %u (metric %u) comes before Baton's: replies may not leave through "
			  "the switches; give it a metric above %d",
			  name, f.before_protocol, f.before_metric, EGRESS_METRIC);
	if (f.clash)
		return -EEXIST; /* replacing would take the operator's route away */
	if (!n_hops)
		return f.ours ? change(n, RTM_DELROUTE, family, protocol, NULL, 0) : 0;
	if (f.ours && as_wanted(&f, hop, n_hops))
		return 0;
	err = change(n, RTM_NEWROUTE, family, protocol, hop, n_hops);
	if (err)
		alarm_add(alarms, "%s default route: the kernel refuses it: %s", name, strerror(-err));
	return err;
}

int egress_apply(struct rtnl *n, uint8_t protocol, const struct egress_hop *hop, size_t n_hops, struct alarms *alarms)
{
	int v4 = apply_family(n, AF_INET, protocol, hop, n_hops, alarms);
	int v6 = apply_family(n, AF_INET6, protocol, hop, n_hops, alarms);

	return v4 ? v4 : v6;
}
