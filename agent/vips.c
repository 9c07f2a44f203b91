/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/vips.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

struct found {
	struct address address;
	bool ours;
};

struct on_lo {
	unsigned ifindex;
	uint8_t protocol;
	struct found *found;
	size_t n, room;
	int err;
};

static int read_address(const struct nlmsghdr *nlh, void *ctx)
{
	const struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(nlh);
	struct on_lo *lo = ctx;
	struct found f = { .address = { .family = ifa->ifa_family } };
	const struct nlattr *attr, *local = NULL, *address = NULL;
	size_t size = ifa->ifa_family == AF_INET ? 4 : 16;

	if (nlh->nlmsg_type != RTM_NEWADDR || ifa->ifa_index != lo->ifindex)
		return MNL_CB_OK;
	mnl_attr_for_each(attr, nlh, sizeof(*ifa)) {
		if (mnl_attr_get_type(attr) == IFA_LOCAL)
			local = attr;
		else if (mnl_attr_get_type(attr) == IFA_ADDRESS)
			address = attr;
		else if (mnl_attr_get_type(attr) == IFA_PROTO)
			f.ours = mnl_attr_get_u8(attr) == lo->protocol;
	}
	attr = local ? local : address;
	if (!attr || mnl_attr_get_payload_len(attr) != size)
		return MNL_CB_OK;
	memcpy(&f.address.v6, mnl_attr_get_payload(attr), size);
	if (ifa->ifa_prefixlen != size * 8)
		f.ours = false;
	if (lo->n == lo->room) {
		size_t room = lo->room ? lo->room * 2 : 64;
		struct found *more = realloc(lo->found, room * sizeof(*more));

		if (!more) {
			lo->err = -ENOMEM;
			return MNL_CB_OK;
		}
		lo->found = more;
		lo->room = room;
	}
	lo->found[lo->n++] = f;
	return MNL_CB_OK;
}

static int change(struct rtnl *n, uint16_t type, const struct on_lo *lo, const struct address *a)
{
	struct nlmsghdr *nlh = rtnl_begin(n, type, type == RTM_NEWADDR ? NLM_F_CREATE | NLM_F_EXCL : 0);
	struct ifaddrmsg *ifa = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifa));
	size_t size = a->family == AF_INET ? 4 : 16;

	ifa->ifa_family = (uint8_t)a->family;
	ifa->ifa_prefixlen = (uint8_t)(size * 8);
	ifa->ifa_index = lo->ifindex;
	/* The host's own connections must not leave with a VIP as their source: scope host, and for IPv6
	 * deprecated (preferred for 0 seconds).  Sockets bound to the VIP are not concerned. */
	ifa->ifa_scope = a->family == AF_INET ? RT_SCOPE_HOST : RT_SCOPE_UNIVERSE;
	mnl_attr_put(nlh, IFA_LOCAL, size, &a->v6);
	mnl_attr_put(nlh, IFA_ADDRESS, size, &a->v6);
	if (type == RTM_NEWADDR) {
		struct ifa_cacheinfo life = { .ifa_prefered = 0, .ifa_valid = UINT32_MAX };

		mnl_attr_put_u8(nlh, IFA_PROTO, lo->protocol);
		if (a->family == AF_INET6) {
			ifa->ifa_flags = IFA_F_NODAD;
			mnl_attr_put(nlh, IFA_CACHEINFO, sizeof(life), &life);
		}
	}
	return rtnl_ask(n, nlh);
}

static int vips_read(struct rtnl *n, struct on_lo *lo)
{
	struct nlmsghdr *nlh = rtnl_begin(n, RTM_GETADDR, 0);
	struct ifaddrmsg *ifa = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifa));
	int err;

	ifa->ifa_index = lo->ifindex;
	err = rtnl_dump(n, nlh, read_address, lo);
	return err ? err : lo->err;
}

static bool wanted(const struct vip *vip, size_t n_vips, const struct address *a)
{
	for (size_t i = 0; i < n_vips; i++)
		for (uint32_t j = 0; j < vip[i].n_addresses; j++)
			if (address_equal(&vip[i].address[j], a))
				return true;
	return false;
}

static bool present(const struct on_lo *lo, const struct address *a)
{
	for (size_t i = 0; i < lo->n; i++)
		if (address_equal(&lo->found[i].address, a))
			return true;
	return false;
}

int vips_apply(struct rtnl *n, uint8_t protocol, const struct vip *vip, size_t n_vips, struct alarms *alarms)
{
	struct on_lo lo = { .ifindex = if_nametoindex("lo"), .protocol = protocol };
	char text[ADDRESS_TEXT];
	int err = vips_read(n, &lo), result = err;

	for (size_t i = 0; i < n_vips && !err; i++) {
		for (uint32_t j = 0; j < vip[i].n_addresses; j++) {
			const struct address *a = &vip[i].address[j];
			int e;

			if (present(&lo, a))
				continue;
			e = change(n, RTM_NEWADDR, &lo, a);
			if (!e || e == -EEXIST)
				continue;
			alarm_add(alarms, "VIP %s: cannot add %s to lo: %s", vip[i].name, address_print(a, text), strerror(-e));
			result = result ? result : e;
		}
	}
	for (size_t i = 0; i < lo.n && !err; i++)
		if (lo.found[i].ours && !wanted(vip, n_vips, &lo.found[i].address))
			(void)change(n, RTM_DELADDR, &lo, &lo.found[i].address);
	if (err)
		alarm_add(alarms, "cannot read the addresses on lo: %s", strerror(-err));
	free(lo.found);
	return result;
}
