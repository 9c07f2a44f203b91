/* SPDX-License-Identifier: BSD-2-Clause */
/* Links over rtnetlink: the bridge, its ports, pairs of virtual Ethernet devices. */
#include <errno.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <stdlib.h>
#include <string.h>

#include "switch/nl.h"

#define LINK_LOWER_UP 0x10000 /* IFF_LOWER_UP; its header clashes with <net/if.h> */

static struct nlmsghdr *link_message(struct nl_batch *b, uint16_t type, uint16_t flags, uint8_t family, int ifindex)
{
	struct nlmsghdr *h = nl_message(b, type, flags, sizeof(struct ifinfomsg), 512);
	struct ifinfomsg *m = mnl_nlmsg_get_payload(h);

	m->ifi_family = family;
	m->ifi_index = ifindex;
	return h;
}

void nl_bridge_add(struct nl_batch *b, const char *ifname, const uint8_t mac[6])
{
	struct nlmsghdr *h = link_message(b, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, AF_UNSPEC, 0);
	struct nlattr *info, *data;

	mnl_attr_put_strz(h, IFLA_IFNAME, ifname);
	mnl_attr_put(h, IFLA_ADDRESS, 6, mac);
	info = mnl_attr_nest_start(h, IFLA_LINKINFO);
	mnl_attr_put_strz(h, IFLA_INFO_KIND, "bridge");
	data = mnl_attr_nest_start(h, IFLA_INFO_DATA);
	mnl_attr_put_u32(h, IFLA_BR_STP_STATE, 0);
	mnl_attr_put_u8(h, IFLA_BR_MCAST_SNOOPING, 0);
	mnl_attr_nest_end(h, data);
	mnl_attr_nest_end(h, info);
	nl_message_end(b, h);
}

void nl_veth_add(struct nl_batch *b, const char *ifname, const char *peer)
{
	struct nlmsghdr *h = link_message(b, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, AF_UNSPEC, 0);
	struct nlattr *info, *data, *other;

	mnl_attr_put_strz(h, IFLA_IFNAME, ifname);
	info = mnl_attr_nest_start(h, IFLA_LINKINFO);
	mnl_attr_put_strz(h, IFLA_INFO_KIND, "veth");
	data = mnl_attr_nest_start(h, IFLA_INFO_DATA);
	other = mnl_attr_nest_start(h, VETH_INFO_PEER);
	memset(mnl_nlmsg_get_payload_tail(h), 0, sizeof(struct ifinfomsg));
	h->nlmsg_len += sizeof(struct ifinfomsg);
	mnl_attr_put_strz(h, IFLA_IFNAME, peer);
	mnl_attr_nest_end(h, other);
	mnl_attr_nest_end(h, data);
	mnl_attr_nest_end(h, info);
	nl_message_end(b, h);
}

void nl_link_set_mac(struct nl_batch *b, int ifindex, const uint8_t mac[6])
{
	struct nlmsghdr *h = link_message(b, RTM_NEWLINK, 0, AF_UNSPEC, ifindex);

	mnl_attr_put(h, IFLA_ADDRESS, 6, mac);
	nl_message_end(b, h);
}

void nl_link_set_up(struct nl_batch *b, int ifindex)
{
	struct nlmsghdr *h = link_message(b, RTM_NEWLINK, 0, AF_UNSPEC, ifindex);
	struct ifinfomsg *m = mnl_nlmsg_get_payload(h);

	m->ifi_flags = m->ifi_change = IFF_UP;
	nl_message_end(b, h);
}

void nl_link_set_master(struct nl_batch *b, int ifindex, int master)
{
	struct nlmsghdr *h = link_message(b, RTM_NEWLINK, 0, AF_UNSPEC, ifindex);

	mnl_attr_put_u32(h, IFLA_MASTER, (uint32_t)master);
	nl_message_end(b, h);
}

void nl_link_close_port(struct nl_batch *b, int ifindex)
{
	static const uint16_t off[] = { IFLA_BRPORT_LEARNING, IFLA_BRPORT_UNICAST_FLOOD, IFLA_BRPORT_MCAST_FLOOD,
					IFLA_BRPORT_BCAST_FLOOD };
	struct nlmsghdr *h = link_message(b, RTM_SETLINK, 0, AF_BRIDGE, ifindex);
	struct nlattr *info = mnl_attr_nest_start(h, IFLA_PROTINFO);

	/* The nest must carry NLA_F_NESTED, or the kernel takes it for one old-style byte (port state). */
	info->nla_type |= NLA_F_NESTED;
	for (size_t i = 0; i < sizeof(off) / sizeof(off[0]); i++)
		mnl_attr_put_u8(h, off[i], 0);
	mnl_attr_nest_end(h, info);
	nl_message_end(b, h);
}

void nl_link_del(struct nl_batch *b, int ifindex)
{
	nl_message_end(b, link_message(b, RTM_DELLINK, 0, AF_UNSPEC, ifindex));
}

static void parse_slave(const struct nlattr *data, struct nl_link *out)
{
	const struct nlattr *a;

	mnl_attr_for_each_nested(a, data) {
		switch (mnl_attr_get_type(a)) {
		case IFLA_BRPORT_LEARNING:
		case IFLA_BRPORT_UNICAST_FLOOD:
		case IFLA_BRPORT_MCAST_FLOOD:
		case IFLA_BRPORT_BCAST_FLOOD:
			out->port_open |= mnl_attr_get_u8(a) != 0;
		}
	}
}

static void parse_info(const struct nlattr *info, struct nl_link *out)
{
	const struct nlattr *a, *data = NULL;
	bool bridge_port = false;

	mnl_attr_for_each_nested(a, info) {
		switch (mnl_attr_get_type(a)) {
		case IFLA_INFO_KIND:
			strncpy(out->kind, mnl_attr_get_str(a), sizeof(out->kind) - 1);
			break;
		case IFLA_INFO_SLAVE_KIND:
			bridge_port = !strcmp(mnl_attr_get_str(a), "bridge");
			break;
		case IFLA_INFO_SLAVE_DATA:
			data = a;
		}
	}
	if (bridge_port && data)
		parse_slave(data, out);
}

void nl_link_parse(const struct nlmsghdr *h, struct nl_link *out)
{
	const struct ifinfomsg *m = mnl_nlmsg_get_payload(h);
	const struct nlattr *a;

	memset(out, 0, sizeof(*out));
	out->ifindex = m->ifi_index;
	out->flags = m->ifi_flags;
	out->carrier = (m->ifi_flags & LINK_LOWER_UP) && (m->ifi_flags & IFF_UP);
	mnl_attr_for_each(a, h, sizeof(*m)) {
		switch (mnl_attr_get_type(a)) {
		case IFLA_IFNAME:
			strncpy(out->ifname, mnl_attr_get_str(a), sizeof(out->ifname) - 1);
			break;
		case IFLA_MASTER:
			out->master = (int)mnl_attr_get_u32(a);
			break;
		case IFLA_MTU:
			out->mtu = mnl_attr_get_u32(a);
			break;
		case IFLA_ADDRESS:
			if (mnl_attr_get_payload_len(a) == 6)
				memcpy(out->mac, mnl_attr_get_payload(a), 6);
			break;
		case IFLA_LINKINFO:
			parse_info(a, out);
		}
	}
}

static int links_add(void *ctx, const struct nlmsghdr *h)
{
	struct nl_links *l = ctx;
	struct nl_link *link = realloc(l->link, (l->n + 1) * sizeof(*link));

	if (!link)
		return -ENOMEM;
	l->link = link;
	nl_link_parse(h, &link[l->n++]);
	return 0;
}

int nl_links_read(struct nl *n, struct nl_links *out)
{
	struct nl_batch b = { 0 };
	int err;

	memset(out, 0, sizeof(*out));
	nl_message_end(&b, link_message(&b, RTM_GETLINK, 0, AF_UNSPEC, 0));
	err = nl_dump(n, &b, links_add, out);
	nl_batch_free(&b);
	if (err)
		nl_links_free(out);
	return err;
}

void nl_links_free(struct nl_links *l)
{
	free(l->link);
	memset(l, 0, sizeof(*l));
}

const struct nl_link *nl_links_find(const struct nl_links *l, const char *ifname)
{
	for (size_t i = 0; i < l->n; i++)
		if (!strcmp(l->link[i].ifname, ifname))
			return &l->link[i];
	return NULL;
}
