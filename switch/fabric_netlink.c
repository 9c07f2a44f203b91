/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The fabric of kernel tables: what switchdev ASICs and Cumulus mirror into hardware, and what the xdp
 * fabric falls back to.  This file is the order of things; objects are in netlink_*.c.
 *
 * Nothing is remembered that can be read.  The one shortcut: links, neighbours, next hops, groups and routes
 * are not read again when they were right and no notification has come since; bridge rows, of which there are
 * few, are read each time.
 */
#include <errno.h>
#include <event2/event.h>
#include <linux/if_packet.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/daemon.h"
#include "base/log.h"
#include "lb/table.h"
#include "switch/netlink.h"
#include "switch/proof.h"
#include "switch/tc.h"

#define PROBE_WAIT_MS 100

static struct netlink_fabric *of(struct fabric *f)
{
	return (struct netlink_fabric *)f;
}

static void free_all(struct netlink_fabric *f)
{
	netlink_watch_stop(f);
	tc_close(f->tc);
	nl_close(&f->nl);
	fabric_want_free(&f->want);
	free(f->port);
	free(f->uplink);
	free(f);
}

static int netlink_open(const struct switch_conf *conf, const struct pop *pop, struct event_base *base,
			struct fabric **out)
{
	struct netlink_fabric *f = calloc(1, sizeof(*f));
	int err = -ENOMEM;

	if (!f)
		return -ENOMEM;
	f->nl.fd = f->watch_fd = -1;
	f->protocol = pop->route_protocol;
	f->n_ports = conf->n_ports;
	f->n_uplinks = conf->n_uplinks;
	f->port = calloc(conf->n_ports + 1, sizeof(*f->port));
	f->uplink = calloc(conf->n_uplinks + 1, sizeof(*f->uplink));
	if (!f->port || !f->uplink)
		goto fail;
	snprintf(f->bridge_name, sizeof(f->bridge_name), "%s", conf->bridge);
	for (uint32_t i = 0; i < conf->n_ports; i++) {
		snprintf(f->port[i].ifname, IF_NAMESIZE, "%s", conf->port[i].ifname);
		f->port[i].host = conf->port[i].host;
		f->port[i].peer = conf->port[i].peer;
	}
	for (uint32_t i = 0; i < conf->n_uplinks; i++)
		snprintf(f->uplink[i], IF_NAMESIZE, "%s", conf->uplink[i]);
	err = nl_open(&f->nl);
	if (!err)
		err = netlink_watch_start(f, base);
	if (err)
		goto fail;
	*out = (struct fabric *)f;
	return 0;
fail:
	free_all(f);
	return err;
}

/* Programs are compiled for one seed and one number of buckets; others mean other programs. */
static int programs_load(struct netlink_fabric *f)
{
	struct tc *fresh;
	int err;

	if (f->tc && f->tc_seed == f->want.hash_seed && f->tc_buckets == f->want.n_buckets)
		return 0;
	err = tc_open(f->want.hash_seed, f->want.n_buckets, &fresh);
	if (err) {
		snprintf(f->why, sizeof(f->why), "cannot load the TC programs: %s", strerror(-err));
		return err;
	}
	tc_close(f->tc); /* what is attached stays in force until it is replaced */
	f->tc = fresh;
	f->tc_seed = f->want.hash_seed;
	f->tc_buckets = f->want.n_buckets;
	f->verified = false;
	return 0;
}

static int programs_attach(struct netlink_fabric *f)
{
	const char *where = PROBE_IFNAME;
	int err = f->probe ? tc_attach_uplink(f->tc, f->probe) : -ENODEV;

	for (size_t i = 0; i < f->n_uplinks && !err; i++) {
		unsigned ifindex = if_nametoindex(f->uplink[i]);

		where = f->uplink[i];
		if (ifindex)
			err = tc_attach_uplink(f->tc, (int)ifindex);
		else
			log_warning("uplink %s does not exist; its packets will be hashed when it appears", where);
	}
	for (size_t i = 0; i < f->n_ports && !err; i++) {
		struct port_role role = { f->port[i].host, (uint16_t)(i + 1) };

		where = f->port[i].ifname;
		if (f->port[i].ifindex)
			err = tc_attach_port(f->tc, f->port[i].ifindex, role);
	}
	if (!err) {
		where = f->bridge_name;
		err = tc_attach_tap(f->tc, f->bridge);
	}
	/* Hosts that call a VIP themselves come up through the bridge: same hash, same bucket. */
	if (!err)
		err = tc_attach_uplink(f->tc, f->bridge);
	if (err)
		snprintf(f->why, sizeof(f->why), "cannot attach the TC program on %s: %s", where, strerror(-err));
	return err;
}

int netlink_reconcile(struct netlink_fabric *f)
{
	bool all;
	int err;

	netlink_watch_drain(f);
	err = programs_load(f);
	all = !f->verified || f->touched;
	f->touched = false;
	f->verified = false;
	f->reconciles++;
	if (!err)
		err = tc_set_vips(f->tc, f->want.vip, f->want.n_vips);
	if (!err && all) {
		f->why[0] = 0;
		err = netlink_links_reconcile(f, f->want.switch_id);
		if (err && !f->why[0])
			snprintf(f->why, sizeof(f->why), "devices: %s%s%s", strerror(-err), f->nl.why[0] ? ": " : "",
				 f->nl.why);
		if (!err)
			err = programs_attach(f);
	}
	if (!err)
		err = netlink_tables_reconcile(f, &f->want, all);
	if (err) {
		f->touched = true;
		return err;
	}
	f->verified = true;
	if (all && f->reconciled)
		f->reconciled(f->reconciled_ctx);
	return 0;
}

/* The want that is kept: the caller's and the probe VIPs. */
static int keep(struct netlink_fabric *f, const struct fabric_want *want)
{
	struct fabric_want copy;
	struct address *vip;
	int err = fabric_want_copy(&copy, want);

	if (err)
		return err;
	vip = realloc(copy.vip, (copy.n_vips + 2) * sizeof(*vip));
	if (!vip) {
		fabric_want_free(&copy);
		return -ENOMEM;
	}
	proof_vips(vip + copy.n_vips);
	copy.vip = vip;
	copy.n_vips += 2;
	if (!f->has_want || copy.n_buckets != f->want.n_buckets || copy.n_vips != f->want.n_vips ||
	    copy.switch_id != f->want.switch_id || copy.n_hosts != f->want.n_hosts ||
	    memcmp(copy.host, f->want.host, copy.n_hosts * sizeof(*copy.host)) || memcmp(copy.vip, f->want.vip, copy.n_vips * sizeof(*vip)))
		f->verified = false;
	fabric_want_free(&f->want);
	f->want = copy;
	f->has_want = true;
	return 0;
}

static void netlink_apply(struct fabric *fabric, const struct fabric_want *want,
			  void (*done)(void *ctx, int err, const char *why), void *ctx)
{
	struct netlink_fabric *f = of(fabric);
	int err;

	f->why[0] = 0;
	if (want->n_buckets > fabric_netlink.caps->buckets_max || !want->n_buckets ||
	    want->n_buckets & (want->n_buckets - 1)) {
		done(ctx, -EINVAL, "the number of buckets is not a power of two up to 4096");
		return;
	}
	err = keep(f, want);
	if (!err)
		err = netlink_reconcile(f);
	done(ctx, err, err ? f->why[0] ? f->why : strerror(-err) : "");
}

static int netlink_read(struct fabric *fabric, struct fabric_want *have)
{
	struct netlink_fabric *f = of(fabric);
	struct address probe[2];
	int err = netlink_tables_read(f, have);
	size_t n = 0;

	if (err)
		return err;
	proof_vips(probe);
	for (size_t i = 0; i < have->n_vips; i++) {
		const struct address *a = &have->vip[i], *p = &probe[a->family == AF_INET6];

		if (memcmp(&a->v6, &p->v6, a->family == AF_INET6 ? 16 : 4))
			have->vip[n++] = *a;
	}
	have->n_vips = n;
	return 0;
}

static int feed_open(const struct netlink_fabric *f, uint8_t mac[6])
{
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_ifindex = f->feed };
	struct ifreq req = { 0 };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	strcpy(req.ifr_name, PROBE_IFNAME);
	if (ioctl(fd, SIOCGIFHWADDR, &req) || bind(fd, (struct sockaddr *)&to, sizeof(to))) {
		int err = -errno;

		close(fd);
		return err;
	}
	memcpy(mac, req.ifr_hwaddr.sa_data, 6);
	return fd;
}

/* One frame at a time: the tap keeps the last one only, and a frame is through when send() returns, or soon after. */
static int feed_one(struct netlink_fabric *f, int fd, const uint8_t *frame, size_t len, uint32_t *bucket)
{
	uint32_t before, now, unused;
	uint64_t until = monotonic_ms() + PROBE_WAIT_MS;

	tc_tapped(f->tc, &before, &unused);
	if (send(fd, frame, len, 0) != (ssize_t)len)
		return -errno;
	for (;;) {
		tc_tapped(f->tc, &now, bucket);
		if (now != before)
			return 0;
		if (monotonic_ms() > until)
			return -ETIMEDOUT;
		sched_yield();
	}
}

static int netlink_probe_buckets(struct fabric *fabric, const void *frames, size_t frame_len, size_t n, uint32_t *bucket)
{
	struct netlink_fabric *f = of(fabric);
	uint8_t copy[2048], mac[6];
	int fd, err = 0;

	if (!f->tc || !f->feed)
		return -ENODEV;
	if (frame_len > sizeof(copy) || frame_len < 14)
		return -EMSGSIZE;
	fd = feed_open(f, mac);
	if (fd < 0)
		return fd;
	for (size_t i = 0; i < n && !err; i++) {
		memcpy(copy, (const uint8_t *)frames + i * frame_len, frame_len);
		memcpy(copy, mac, 6);
		err = feed_one(f, fd, copy, frame_len, &bucket[i]);
	}
	close(fd);
	return err;
}

static int netlink_preview_buckets(struct fabric *fabric, const struct fabric_want *want, const void *frames, size_t frame_len,
				   size_t n, uint32_t *bucket)
{
	struct address probe[2];
	struct tc *t;
	int err = tc_open(want->hash_seed, want->n_buckets, &t);

	(void)fabric;
	if (err)
		return err;
	proof_vips(probe);
	err = tc_set_vips(t, probe, 2);
	if (!err)
		err = tc_preview(t, frames, frame_len, n, bucket);
	tc_close(t);
	return err;
}

static size_t netlink_counters(struct fabric *fabric, struct fabric_counter *c, size_t max)
{
	struct netlink_fabric *f = of(fabric);
	uint64_t count[COUNT_MAX] = { 0 };
	size_t n = 0;

	if (f->tc)
		tc_counters(f->tc, count);
	for (int i = 0; i < COUNT_MAX && n < max; i++)
		c[n++] = (struct fabric_counter){ fabric_counter_name((enum fabric_count)i), count[i] };
	return n;
}

static int netlink_vip_packets(struct fabric *fabric, uint64_t *packets)
{
	struct netlink_fabric *f = of(fabric);
	uint64_t count[COUNT_MAX] = { 0 };

	if (f->tc)
		tc_counters(f->tc, count);
	*packets = count[COUNT_VIP_TC];
	return 0;
}

static void netlink_close(struct fabric *fabric, bool remove)
{
	struct netlink_fabric *f = of(fabric);

	if (remove) {
		f->bridge = (int)if_nametoindex(f->bridge_name);
		for (size_t i = 0; i < f->n_uplinks; i++)
			tc_detach((int)if_nametoindex(f->uplink[i]), false);
		for (size_t i = 0; i < f->n_ports; i++)
			tc_detach((int)if_nametoindex(f->port[i].ifname), false);
		tc_detach(f->bridge, true);
		tc_detach(f->bridge, false);
		netlink_tables_remove(f);
		netlink_links_remove(f);
	}
	free_all(f);
}

static const struct fabric_caps caps = { .name = "netlink", .hash_family = HASH_FAMILY, .buckets_max = BUCKETS_MAX };

const struct fabric_ops fabric_netlink = {
	.caps = &caps,
	.open = netlink_open,
	.apply = netlink_apply,
	.read = netlink_read,
	.probe_buckets = netlink_probe_buckets,
	.preview_buckets = netlink_preview_buckets,
	.counters = netlink_counters,
	.vip_packets = netlink_vip_packets,
	.close = netlink_close,
};
