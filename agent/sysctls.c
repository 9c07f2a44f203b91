/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/sysctls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

struct sysctl {
	const char *family, *name;
	int value;
	const char *why;
};

/* Of a host elsewhere: VIPs are on lo there too, and its clients' packets come out of IP by whichever interface. */
static const struct sysctl of_elsewhere[] = {
	{ "ipv4", "rp_filter", 0, "packets of moved connections that come by another interface than replies leave by are dropped" },
	{ "ipv4", "arp_ignore", 1, "the host answers ARP for VIPs" },
	{ "ipv4", "arp_announce", 2, "the host announces VIPs by ARP" },
};

static const struct sysctl of_link[] = {
	/* Packets arrive by any switch, replies leave by any: the path back is not the path in. */
	{ "ipv4", "rp_filter", 0, "packets that come through another switch than replies leave by are dropped" },
	/* VIPs are on lo on every host: nobody may answer or ask for them by ARP. */
	{ "ipv4", "arp_ignore", 1, "the host answers ARP for VIPs" },
	{ "ipv4", "arp_announce", 2, "the host announces VIPs by ARP" },
	/* A next hop whose carrier is gone is left out at once, before the agent has rewritten the route. */
	{ "ipv4", "ignore_routes_with_linkdown", 1, "replies go into a link without carrier" },
	{ "ipv6", "ignore_routes_with_linkdown", 1, "replies go into a link without carrier" },
	{ "ipv6", "disable_ipv6", 0, "the switches' addresses on this link are IPv6" },
	/* A router advertisement on the link would install a default route of its own. */
	{ "ipv6", "accept_ra", 0, "a router advertisement may redirect replies" },
};

/* The integer in /proc/sys/net/FAMILY/conf/IFNAME/NAME.  0 or -errno. */
static int get(const char *path, int *value)
{
	char text[32];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len;

	if (fd < 0)
		return -errno;
	len = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (len <= 0)
		return -EIO;
	text[len] = 0;
	*value = atoi(text);
	return 0;
}

static int set(const char *path, int value)
{
	char text[16];
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int len = snprintf(text, sizeof(text), "%d", value), err = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, (size_t)len) != len)
		err = -errno;
	close(fd);
	return err;
}

static void apply(const struct sysctl *s, const char *ifname, struct alarms *alarms)
{
	char path[128];
	int value = -1, err;

	snprintf(path, sizeof(path), "/proc/sys/net/%s/conf/%s/%s", s->family, ifname, s->name);
	err = get(path, &value);
	if (!err && value == s->value)
		return;
	err = set(path, s->value);
	if (err)
		alarm_add(alarms, "net.%s.conf.%s.%s is %d (%s: %s); sysctl -w net.%s.conf.%s.%s=%d", s->family, ifname, s->name, value,
			  s->why, strerror(-err), s->family, ifname, s->name, s->value);
}

void sysctls_link(const char *ifname, struct alarms *alarms)
{
	for (size_t i = 0; i < sizeof(of_link) / sizeof(*of_link); i++)
		apply(&of_link[i], ifname, alarms);
}

void sysctls_elsewhere(const char *ifname, struct alarms *alarms)
{
	for (size_t i = 0; i < sizeof(of_elsewhere) / sizeof(*of_elsewhere); i++)
		apply(&of_elsewhere[i], ifname, alarms);
}

void sysctls_machine(struct alarms *alarms)
{
	int value = 0;

	/* The kernel takes the larger of conf.all and conf.IFNAME; even loose mode drops on unnumbered links. */
	if (!get("/proc/sys/net/ipv4/conf/all/rp_filter", &value) && value)
		alarm_add(alarms,
			  "net.ipv4.conf.all.rp_filter is %d: packets that come through another switch than replies leave by "
			  "are dropped; sysctl -w net.ipv4.conf.all.rp_filter=0",
			  value);
	/* A Fast Open child is a full socket before its handshake ended: an owner that nobody can verify. */
	if (!get("/proc/sys/net/ipv4/tcp_fastopen", &value) && value & 2)
		alarm_add(alarms,
			  "net.ipv4.tcp_fastopen is %d, server Fast Open is on: a drain may break such connections; "
			  "sysctl -w net.ipv4.tcp_fastopen=%d",
			  value, value & ~2);
}
