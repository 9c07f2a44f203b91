/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/links.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>

#include "agent/egress.h"
#include "agent/sysctls.h"
#include "lb/link.h"

#ifndef IFF_LOWER_UP
#define IFF_LOWER_UP (1 << 16)
#endif

static int read_link(const struct nlmsghdr *nlh, void *ctx)
{
	const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(nlh);
	struct link_state *s = ctx;
	const struct nlattr *attr;

	if (nlh->nlmsg_type != RTM_NEWLINK)
		return MNL_CB_OK;
	s->ifindex = (unsigned)ifi->ifi_index;
	s->up = ifi->ifi_flags & IFF_UP;
	s->carrier = s->up && ifi->ifi_flags & IFF_LOWER_UP;
	s->promiscuous = ifi->ifi_flags & IFF_PROMISC;
	mnl_attr_for_each(attr, nlh, sizeof(*ifi))
		if (mnl_attr_get_type(attr) == IFLA_ADDRESS && mnl_attr_get_payload_len(attr) == 6)
			memcpy(s->mac, mnl_attr_get_payload(attr), 6);
	return MNL_CB_OK;
}

static int link_read(struct rtnl *n, const struct link_want *want, struct link_state *s)
{
	struct nlmsghdr *nlh = rtnl_begin(n, RTM_GETLINK, 0);

	memset(s, 0, sizeof(*s));
	memcpy(s->ifname, want->ifname, sizeof(s->ifname));
	s->switch_id = want->switch_id;
	s->in_service = want->in_service;
	mnl_nlmsg_put_extra_header(nlh, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(nlh, IFLA_IFNAME, want->ifname);
	return rtnl_get(n, nlh, read_link, s);
}

static int link_set_mac(struct rtnl *n, const struct link_state *s, const uint8_t mac[6])
{
	struct nlmsghdr *nlh = rtnl_begin(n, RTM_NEWLINK, 0);
	struct ifinfomsg *ifi = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifi));

	ifi->ifi_index = (int)s->ifindex;
	mnl_attr_put(nlh, IFLA_ADDRESS, 6, mac);
	return rtnl_ask(n, nlh);
}

/* By flag, not by packet socket: it must outlive this process. */
static int link_set_promiscuous(struct rtnl *n, const struct link_state *s)
{
	struct nlmsghdr *nlh = rtnl_begin(n, RTM_NEWLINK, 0);
	struct ifinfomsg *ifi = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifi));

	ifi->ifi_index = (int)s->ifindex;
	ifi->ifi_flags = IFF_PROMISC;
	ifi->ifi_change = IFF_PROMISC;
	return rtnl_ask(n, nlh);
}

static int link_set_address(struct rtnl *n, const struct link_state *s, uint16_t self, uint8_t protocol)
{
	struct nlmsghdr *nlh = rtnl_begin(n, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
	struct ifaddrmsg *ifa = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifa));
	uint8_t address[16];
	int err;

	ifa->ifa_family = AF_INET6;
	ifa->ifa_prefixlen = 64;
	ifa->ifa_flags = IFA_F_NODAD; /* derived from our id: nobody else has it, and nobody could answer */
	ifa->ifa_scope = RT_SCOPE_LINK;
	ifa->ifa_index = s->ifindex;
	link_address(address, LINK_HOST, self);
	mnl_attr_put(nlh, IFA_LOCAL, 16, address);
	mnl_attr_put_u8(nlh, IFA_PROTO, protocol);
	err = rtnl_ask(n, nlh);
	return err == -EEXIST ? 0 : err;
}

struct neighbour {
	unsigned ifindex;
	uint8_t address[16], mac[6];
	bool found;
};

static int read_neighbour(const struct nlmsghdr *nlh, void *ctx)
{
	const struct ndmsg *nd = mnl_nlmsg_get_payload(nlh);
	struct neighbour *want = ctx;
	bool address = false, mac = false;
	const struct nlattr *attr;

	if (nlh->nlmsg_type != RTM_NEWNEIGH || (unsigned)nd->ndm_ifindex != want->ifindex ||
	    !(nd->ndm_state & NUD_PERMANENT))
		return MNL_CB_OK;
	mnl_attr_for_each(attr, nlh, sizeof(*nd)) {
		if (mnl_attr_get_type(attr) == NDA_DST && mnl_attr_get_payload_len(attr) == 16)
			address = !memcmp(mnl_attr_get_payload(attr), want->address, 16);
		if (mnl_attr_get_type(attr) == NDA_LLADDR && mnl_attr_get_payload_len(attr) == 6)
			mac = !memcmp(mnl_attr_get_payload(attr), want->mac, 6);
	}
	want->found |= address && mac;
	return MNL_CB_OK;
}

static int link_set_neighbour(struct rtnl *n, const struct link_state *s)
{
	struct neighbour want = { .ifindex = s->ifindex };
	struct nlmsghdr *nlh = rtnl_begin(n, RTM_GETNEIGH, 0);
	struct ndmsg *nd = mnl_nlmsg_put_extra_header(nlh, sizeof(*nd));
	int err;

	link_address(want.address, LINK_SWITCH, s->switch_id);
	router_mac(want.mac, s->switch_id);
	nd->ndm_family = AF_INET6;
	mnl_attr_put_u32(nlh, NDA_IFINDEX, s->ifindex);
	err = rtnl_dump(n, nlh, read_neighbour, &want);
	if (err || want.found)
		return err;

	/* Replaced, never deleted: in between, packets would wait for a discovery that nobody answers. */
	nlh = rtnl_begin(n, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE);
	nd = mnl_nlmsg_put_extra_header(nlh, sizeof(*nd));
	nd->ndm_family = AF_INET6;
	nd->ndm_ifindex = (int)s->ifindex;
	nd->ndm_state = NUD_PERMANENT;
	mnl_attr_put(nlh, NDA_DST, 16, want.address);
	mnl_attr_put(nlh, NDA_LLADDR, 6, want.mac);
	return rtnl_ask(n, nlh);
}

/* The filter, or all frames where the NIC has no filter for us. */
static int link_set_filters(struct rtnl *n, struct link_state *s, const struct filters *f, struct alarms *alarms)
{
	int err = f->overflow ? -ENOSPC : filters_apply(n, s->ifindex, f);

	if (!err || s->promiscuous)
		return 0;
	err = link_set_promiscuous(n, s);
	if (err) {
		alarm_add(alarms, "%s takes neither a filter entry nor promiscuous mode (%s): the switches' frames are lost; "
				  "use another interface for this link", s->ifname, strerror(-err));
		return err;
	}
	s->promiscuous = true;
	return 0;
}

static int link_apply(struct rtnl *n, const struct links_want *want, struct link_state *s, struct alarms *alarms)
{
	struct triple own = { { want->self, HOST_NONE, HOST_NONE } };
	uint8_t mac[6];
	int err;

	/* First the MAC: changing it flushes the interface's neighbours. */
	vmac_encode(mac, &own);
	if (memcmp(mac, s->mac, 6)) {
		err = link_set_mac(n, s, mac);
		if (err)
			alarm_add(alarms,
				  "%s: cannot set its MAC to %02x:%02x:%02x:%02x:%02x:%02x (%s); try: ip link set %s down, "
				  "address, up", s->ifname, mac[0], mac[1], mac[2], mac[3], mac[4], mac[5], strerror(-err),
				  s->ifname);
		else
			memcpy(s->mac, mac, 6);
	}
	sysctls_link(s->ifname, alarms);
	if (s->up) {
		err = link_set_address(n, s, want->self, want->protocol);
		if (err)
			alarm_add(alarms, "%s: cannot add its link-local address: %s", s->ifname, strerror(-err));
		err = link_set_neighbour(n, s);
		if (err)
			alarm_add(alarms, "%s: cannot add the switch as a neighbour: %s", s->ifname, strerror(-err));
	}
	if (!s->carrier)
		alarm_add(alarms, "%s (switch %u) %s", s->ifname, s->switch_id,
			  s->up ? "has no carrier; check cable and switch port" : "is down; ip link set it up");
	return link_set_filters(n, s, want->filters, alarms);
}

int links_apply(struct rtnl *n, const struct links_want *want, struct links_state *state, struct alarms *alarms)
{
	struct egress_hop hop[POP_SWITCHES_MAX];
	size_t n_hops = 0;
	int result = 0, err;

	sysctls_machine(alarms);
	state->n = want->n_links;
	for (size_t i = 0; i < want->n_links; i++) {
		struct link_state *s = &state->link[i];

		err = link_read(n, &want->link[i], s);
		if (err) {
			s->ifindex = 0;
			alarm_add(alarms, "there is no interface %s (link to switch %u): %s; correct hosts.links in pop.yaml",
				  want->link[i].ifname, want->link[i].switch_id, strerror(-err));
			continue;
		}
		err = link_apply(n, want, s, alarms);
		result = result ? result : err;
	}
	for (size_t i = 0; i < state->n; i++)
		if (state->link[i].carrier && state->link[i].in_service)
			hop[n_hops++] = (struct egress_hop){ state->link[i].ifindex, state->link[i].switch_id };
	/* With no switch in service any link is better than none: what is left must still get out. */
	for (size_t i = 0, none = !n_hops; i < state->n; i++)
		if (none && state->link[i].carrier)
			hop[n_hops++] = (struct egress_hop){ state->link[i].ifindex, state->link[i].switch_id };
	for (size_t i = 0; i < state->n; i++)
		for (size_t j = 0; j < n_hops; j++)
			state->link[i].egress |= hop[j].ifindex == state->link[i].ifindex;
	(void)egress_apply(n, want->protocol, hop, n_hops, alarms); /* has said why */
	return result;
}
