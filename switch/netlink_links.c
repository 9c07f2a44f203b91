/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The devices under the kernel's tables: the host bridge and its closed ports, this switch's address
 * on it, the settings of the IP stack, and two device pairs of our own.
 *
 * One pair keeps a bridge port that is always up: a bridge without carrier loses every next hop and
 * every VIP route, and the kernel never brings them back by itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "switch/netlink.h"

int sysctl_write(const char *value, const char *fmt, ...)
{
	char path[192], have[32];
	va_list ap;
	ssize_t n;
	int fd, err = 0;

	va_start(ap, fmt);
	n = snprintf(path, sizeof(path), "/proc/sys/net/");
	vsnprintf(path + n, sizeof(path) - (size_t)n, fmt, ap);
	va_end(ap);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, have, sizeof(have) - 1);
	if (n > 0) {
		have[n - (have[n - 1] == '\n')] = 0;
		if (!strcmp(have, value)) { /* a write can have effects even if nothing changes */
			close(fd);
			return 0;
		}
	}
	if (pwrite(fd, value, strlen(value), 0) < 0)
		err = -errno;
	close(fd);
	return err;
}

int netlink_port_ifindex(const struct netlink_fabric *f, const char *ifname)
{
	for (size_t i = 0; i < f->n_ports; i++)
		if (!strcmp(f->port[i].ifname, ifname))
			return f->port[i].ifindex;
	return 0;
}

const char *netlink_port_name(const struct netlink_fabric *f, int ifindex)
{
	for (size_t i = 0; i < f->n_ports; i++)
		if (f->port[i].ifindex == ifindex)
			return f->port[i].ifname;
	return NULL;
}

static int stack_settings(struct netlink_fabric *f)
{
	static const struct {
		const char *name, *value;
	} must[] = {
		{ "ipv4/ip_forward", "1" },
		{ "ipv6/conf/all/forwarding", "1" },
		{ "ipv4/fib_multipath_hash_policy", "1" }, /* then our hash, set by TC, decides */
		{ "ipv6/fib_multipath_hash_policy", "1" },
		{ "ipv4/nexthop_compat_mode", "0" }, /* else a route dump repeats the group for every route */
		/* Two switches, several uplinks: a reply's way in need not be the way out. */
		{ "ipv4/conf/all/rp_filter", "0" },
		{ "ipv4/conf/all/send_redirects", "0" },
	};
	for (size_t i = 0; i < sizeof(must) / sizeof(must[0]); i++) {
		int err = sysctl_write(must[i].value, "%s", must[i].name);

		if (err) {
			snprintf(f->why, sizeof(f->why), "cannot set net/%s to %s: %s", must[i].name, must[i].value,
				 strerror(-err));
			return err;
		}
	}
	return 0;
}

static void device_settings(const struct netlink_fabric *f)
{
	/* Bridged frames are not for iptables, whose checks also drop what it cannot parse.  Absent without br_netfilter. */
	sysctl_write("0", "bridge/bridge-nf-call-iptables");
	sysctl_write("0", "bridge/bridge-nf-call-ip6tables");
	sysctl_write("0", "bridge/bridge-nf-call-arptables");
	/* These fail where a device is missing or has no IPv6; reconcile comes again when it appears. */
	sysctl_write("0", "ipv4/conf/%s/rp_filter", f->bridge_name);
	sysctl_write("0", "ipv4/conf/%s/send_redirects", f->bridge_name);
	sysctl_write("0", "ipv6/conf/%s/accept_dad", f->bridge_name);
	sysctl_write("0", "ipv6/conf/%s/accept_ra", f->bridge_name);
	sysctl_write("0", "ipv4/conf/%s/rp_filter", PROBE_IFNAME);
	sysctl_write("1", "ipv6/conf/%s/disable_ipv6", HOLD_IFNAME);
	sysctl_write("1", "ipv6/conf/%s/disable_ipv6", HOLD_PEER);
	sysctl_write("1", "ipv6/conf/%s/disable_ipv6", FEED_IFNAME);
	for (size_t i = 0; i < f->n_uplinks; i++)
		sysctl_write("0", "ipv4/conf/%s/rp_filter", f->uplink[i]);
	for (size_t i = 0; i < f->n_ports; i++)
		sysctl_write("1", "ipv6/conf/%s/disable_ipv6", f->port[i].ifname);
}

static void make_missing(struct netlink_fabric *f, const struct nl_links *l, const uint8_t mac[6], struct nl_batch *b)
{
	if (!nl_links_find(l, f->bridge_name))
		nl_bridge_add(b, f->bridge_name, mac);
	if (!nl_links_find(l, HOLD_IFNAME))
		nl_veth_add(b, HOLD_IFNAME, HOLD_PEER);
	if (!nl_links_find(l, PROBE_IFNAME))
		nl_veth_add(b, PROBE_IFNAME, FEED_IFNAME);
}

static void want_up(const struct nl_link *link, struct nl_batch *b)
{
	if (!(link->flags & IFF_UP))
		nl_link_set_up(b, link->ifindex);
}

static void want_port(struct netlink_fabric *f, const struct nl_link *link, struct nl_batch *b)
{
	if (link->master != f->bridge)
		nl_link_set_master(b, link->ifindex, f->bridge);
	if (link->master != f->bridge || link->port_open)
		nl_link_close_port(b, link->ifindex);
	want_up(link, b);
}

static int adjust(struct netlink_fabric *f, const struct nl_links *l, const uint8_t mac[6], struct nl_batch *b)
{
	const struct nl_link *bridge = nl_links_find(l, f->bridge_name), *own;
	static const char *const pair[] = { HOLD_PEER, PROBE_IFNAME, FEED_IFNAME };

	if (!bridge || strcmp(bridge->kind, "bridge")) {
		snprintf(f->why, sizeof(f->why), "%s is no bridge: name another device as the switch's bridge",
			 f->bridge_name);
		return -ENODEV;
	}
	f->bridge = bridge->ifindex;
	if (memcmp(bridge->mac, mac, 6))
		nl_link_set_mac(b, bridge->ifindex, mac);
	for (size_t i = 0; i < f->n_ports; i++) {
		const struct nl_link *link = nl_links_find(l, f->port[i].ifname);

		if (!link && f->port[i].ifindex)
			log_warning("switch port %s is gone", f->port[i].ifname);
		f->port[i].ifindex = link ? link->ifindex : 0;
		if (link)
			want_port(f, link, b);
	}
	own = nl_links_find(l, HOLD_IFNAME);
	if (own)
		want_port(f, own, b);
	for (size_t i = 0; i < sizeof(pair) / sizeof(pair[0]); i++) {
		own = nl_links_find(l, pair[i]);
		if (own)
			want_up(own, b);
	}
	want_up(bridge, b);
	own = nl_links_find(l, PROBE_IFNAME);
	f->probe = own ? own->ifindex : 0;
	own = nl_links_find(l, FEED_IFNAME);
	f->feed = own ? own->ifindex : 0;
	return 0;
}

int netlink_links_reconcile(struct netlink_fabric *f, uint16_t switch_id)
{
	struct nl_batch b = { .ignore = { EEXIST, 0 } };
	struct nl_links links;
	uint8_t mac[6], address[16];
	int err;

	router_mac(mac, switch_id);
	link_address(address, LINK_SWITCH, switch_id);
	err = nl_links_read(&f->nl, &links);
	if (err)
		return err;
	make_missing(f, &links, mac, &b);
	if (b.n) {
		err = nl_commit(&f->nl, &b);
		nl_links_free(&links);
		if (!err)
			err = nl_links_read(&f->nl, &links);
		if (err)
			goto out;
	}
	err = stack_settings(f);
	device_settings(f);
	if (!err)
		err = adjust(f, &links, mac, &b);
	nl_links_free(&links);
	if (!err && b.n)
		err = nl_commit(&f->nl, &b);
	if (!err)
		err = nl_address_has(&f->nl, f->bridge, address);
	if (!err) {
		nl_address_put(&b, f->bridge, address);
		err = nl_commit(&f->nl, &b);
	}
	err = err > 0 ? 0 : err;
out:
	nl_batch_free(&b);
	return err;
}

void netlink_links_remove(struct netlink_fabric *f)
{
	static const char *const ours[] = { HOLD_IFNAME, PROBE_IFNAME };
	struct nl_batch b = { .ignore = { ENODEV, 0 } };
	struct nl_links links;

	if (nl_links_read(&f->nl, &links))
		return;
	/* The bridge stays if it was there before us: we cannot know, and an empty bridge forwards nothing. */
	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
		const struct nl_link *link = nl_links_find(&links, ours[i]);

		if (link)
			nl_link_del(&b, link->ifindex);
	}
	if (b.n)
		nl_commit(&f->nl, &b);
	nl_batch_free(&b);
	nl_links_free(&links);
}
