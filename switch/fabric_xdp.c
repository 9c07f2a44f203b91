/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The software switch: XDP on uplinks and bridge ports (xdp_switch.bpf.c) before the kernel's own tables.
 *
 * It stands on the netlink fabric, which keeps bridge, rows, neighbours, group and routes as for
 * itself.  So whatever XDP passes - options, oversize, an expired TTL, a packet that it cannot parse -
 * finds the same buckets behind it, and detaching XDP is no outage.
 *
 * Programs are attached without a link object: they and their maps outlive the daemon.  The next one
 * fills tables of its own and swaps programs, one device at a time; both give the same buckets.
 *
 * Native mode by default.  Over veth it needs `ethtool -K DEV tx off` at those who send to the switch (XDP
 * sees raw bytes: an unfinished checksum stays unfinished) and `gro on` at the peer of every port it sends
 * to (else the peer's ndo_xdp_xmit refuses).  BATON_XDP_MODE=generic needs neither and is slower.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/log.h"
#include "switch/netlink.h"
#include "switch/proof.h"
#include "switch/tc.h"
#include "switch/want.h"
#include "xdp_switch.skel.h"

struct xdp_fabric {
	struct fabric *kernel; /* the netlink fabric beneath */
	struct xdp_switch_bpf *skel;
	uint64_t *bucket, *host_slot; /* mapped: FABRIC_BUCKETS_MAX and FABRIC_HOSTS_MAX words */
	struct fabric_want want;
	bool filled; /* tables hold a want, programs may be attached */
	uint32_t mode;
	void (*done)(void *ctx, int err, const char *why);
	void *ctx;
	char why[256];
};

static struct xdp_fabric *of(struct fabric *f)
{
	return (struct xdp_fabric *)f;
}

static struct netlink_fabric *kernel_of(const struct xdp_fabric *f)
{
	return (struct netlink_fabric *)f->kernel;
}

/* --- tables -------------------------------------------------------------------------------------- */
static void *map_words(int map, size_t words)
{
	void *p = mmap(NULL, words * sizeof(uint64_t), PROT_READ | PROT_WRITE, MAP_SHARED, map, 0);

	return p == MAP_FAILED ? NULL : p;
}

static void store(uint64_t *at, uint64_t v)
{
	if (__atomic_load_n(at, __ATOMIC_RELAXED) != v)
		__atomic_store_n(at, v, __ATOMIC_RELEASE);
}

static uint64_t slot_of(const struct xdp_fabric *f, const char *ifname)
{
	const struct netlink_fabric *k = kernel_of(f);

	for (size_t i = 0; i < k->n_ports; i++)
		if (!strcmp(k->port[i].ifname, ifname))
			return i + 1;
	return 0;
}

static uint64_t host_port(const struct xdp_fabric *f, const struct fabric_want *w, uint16_t host)
{
	struct triple own = { { host } };
	const struct fdb_row *row;
	uint8_t mac[6];

	vmac_encode(mac, &own);
	row = fabric_want_row(w, mac);
	return row ? slot_of(f, row->ifname) : 0;
}

/* Rows before buckets, as everywhere: first where hosts are, last who owns what. */
static void fill_hosts(struct xdp_fabric *f, const struct fabric_want *w)
{
	for (uint16_t id = HOST_ID_MIN; id <= HOST_ID_MAX; id++)
		store(&f->host_slot[id], host_port(f, w, id));
}

static void fill_buckets(struct xdp_fabric *f, const struct fabric_want *w)
{
	for (uint32_t i = 0; i < w->n_buckets; i++) {
		struct triple t;
		uint64_t e = 0;

		memcpy(&e, w->vmac[i], 6);
		if (vmac_decode(w->vmac[i], &t))
			e |= f->host_slot[t.host[0]] << 48;
		store(&f->bucket[i], e);
	}
}

/* --- programs ------------------------------------------------------------------------------------ */
static void unload(struct xdp_fabric *f)
{
	if (f->bucket)
		munmap(f->bucket, FABRIC_BUCKETS_MAX * sizeof(uint64_t));
	if (f->host_slot)
		munmap(f->host_slot, FABRIC_HOSTS_MAX * sizeof(uint64_t));
	f->bucket = f->host_slot = NULL;
	xdp_switch_bpf__destroy(f->skel);
	f->skel = NULL;
	f->filled = false;
}

static int programs(const struct fabric_want *w, struct xdp_switch_bpf **out)
{
	struct xdp_switch_bpf *skel = xdp_switch_bpf__open();
	uint8_t mac[6];

	*out = skel;
	if (!skel)
		return -errno;
	router_mac(mac, w->switch_id);
	memcpy((void *)skel->rodata->router, mac, 6);
	skel->rodata->hash_seed = w->hash_seed;
	skel->rodata->bucket_mask = w->n_buckets - 1;
	return xdp_switch_bpf__load(skel);
}

static int load(struct xdp_fabric *f, const struct fabric_want *w)
{
	int err;

	if (f->skel && f->want.hash_seed == w->hash_seed && f->want.n_buckets == w->n_buckets &&
	    f->want.switch_id == w->switch_id)
		return 0;
	unload(f);
	err = programs(w, &f->skel);
	if (err)
		return err;
	f->bucket = map_words(bpf_map__fd(f->skel->maps.buckets), FABRIC_BUCKETS_MAX);
	f->host_slot = map_words(bpf_map__fd(f->skel->maps.host_slot), FABRIC_HOSTS_MAX);
	return f->bucket && f->host_slot ? 0 : -ENOMEM;
}

static int put_device(int map, uint32_t key, uint32_t ifindex)
{
	uint32_t have = 0;

	/* A device that vanished took its entry with it; the same one again needs none. */
	if (!bpf_map_lookup_elem(map, &key, &have) && have == ifindex)
		return 0;
	return bpf_map_update_elem(map, &key, &ifindex, BPF_ANY) ? -errno : 0;
}

static int attach(struct xdp_fabric *f, const struct bpf_program *prog, uint32_t ifindex, const char *ifname)
{
	int fd = bpf_program__fd(prog), err;
	struct bpf_prog_info info = { 0 };
	__u32 len = sizeof(info), have = 0;

	if (!bpf_xdp_query_id((int)ifindex, (int)f->mode, &have) && have &&
	    !bpf_obj_get_info_by_fd(fd, &info, &len) && info.id == have)
		return 0;
	err = bpf_xdp_attach((int)ifindex, fd, f->mode, NULL);
	if (err)
		snprintf(f->why, sizeof(f->why),
			 "cannot attach XDP on %s: %s (BATON_XDP_MODE=generic works on any device; a program in the other "
			 "mode must be removed first: ip link set %s xdp off)",
			 ifname, strerror(-err), ifname);
	return err;
}

static uint32_t smaller(uint32_t a, uint32_t b)
{
	return b && b < a ? b : a;
}

/* Ports and uplinks as they are now: device maps, roles, programs, the smallest MTU. */
static int devices(struct xdp_fabric *f)
{
	struct netlink_fabric *k = kernel_of(f);
	int ports = bpf_map__fd(f->skel->maps.ports), uplinks = bpf_map__fd(f->skel->maps.uplinks);
	int roles = bpf_map__fd(f->skel->maps.roles), err;
	uint32_t mtu = 65535;
	struct nl_links links;

	err = nl_links_read(&k->nl, &links);
	for (size_t i = 0; i < k->n_ports && !err; i++) {
		struct port_role role = { k->port[i].host, (uint16_t)(i + 1) };
		const struct nl_link *link = nl_links_find(&links, k->port[i].ifname);
		uint32_t ifindex = link ? (uint32_t)link->ifindex : 0;

		if (!link)
			continue;
		mtu = smaller(mtu, link->mtu);
		err = put_device(ports, role.slot, ifindex);
		if (!err && bpf_map_update_elem(roles, &ifindex, &role, BPF_ANY))
			err = -errno;
		if (!err)
			err = attach(f, f->skel->progs.xdp_port, ifindex, link->ifname);
	}
	for (size_t i = 0; i < k->n_uplinks && !err; i++) {
		const struct nl_link *link = nl_links_find(&links, k->uplink[i]);
		uint32_t ifindex = link ? (uint32_t)link->ifindex : 0;

		if (!link)
			continue;
		err = put_device(uplinks, ifindex, ifindex);
		if (!err)
			err = attach(f, f->skel->progs.xdp_uplink, ifindex, link->ifname);
	}
	f->skel->data->mtu = mtu;
	nl_links_free(&links);
	return err;
}

/* The kernel's tables were reconciled, by us or because somebody touched them: devices may be new. */
static void kernel_reconciled(void *ctx)
{
	struct xdp_fabric *f = ctx;
	int err;

	if (!f->filled)
		return;
	err = devices(f);
	if (err)
		log_error("XDP: %s", f->why[0] ? f->why : strerror(-err));
}

/* --- the interface ------------------------------------------------------------------------------- */
static int xdp_open(const struct switch_conf *conf, const struct pop *pop, struct event_base *base, struct fabric **out)
{
	const char *mode = getenv("BATON_XDP_MODE");
	struct xdp_fabric *f = calloc(1, sizeof(*f));
	int err;

	if (!f)
		return -ENOMEM;
	f->mode = mode && !strcmp(mode, "generic") ? XDP_FLAGS_SKB_MODE : XDP_FLAGS_DRV_MODE;
	err = fabric_netlink.open(conf, pop, base, &f->kernel);
	if (err) {
		free(f);
		return err;
	}
	kernel_of(f)->reconciled = kernel_reconciled;
	kernel_of(f)->reconciled_ctx = f;
	*out = (struct fabric *)f;
	return 0;
}

static void kernel_applied(void *ctx, int err, const char *why)
{
	struct xdp_fabric *f = ctx;

	if (!err) {
		fill_buckets(f, &f->want);
		if (!f->filled) { /* later, kernel_reconciled() sees to devices */
			f->filled = true;
			err = devices(f);
			why = f->why[0] ? f->why : err ? strerror(-err) : "";
		}
	}
	f->done(f->ctx, err, why);
}

static void xdp_apply(struct fabric *fabric, const struct fabric_want *want,
		      void (*done)(void *ctx, int err, const char *why), void *ctx)
{
	struct xdp_fabric *f = of(fabric);
	struct address *vip;
	int err;

	f->why[0] = 0;
	f->done = done;
	f->ctx = ctx;
	if (want->n_buckets > FABRIC_BUCKETS_MAX || want->n_buckets & (want->n_buckets - 1)) {
		done(ctx, -EINVAL, "the number of buckets is not a power of two up to 4096");
		return;
	}
	err = load(f, want);
	fabric_want_free(&f->want);
	if (!err)
		err = fabric_want_copy(&f->want, want);
	vip = err ? NULL : calloc(want->n_vips + 2, sizeof(*vip));
	if (vip) {
		memcpy(vip, want->vip, want->n_vips * sizeof(*vip));
		proof_vips(vip + want->n_vips);
		fill_hosts(f, want);
		err = vip_maps_set(bpf_map__fd(f->skel->maps.vips4), bpf_map__fd(f->skel->maps.vips6), vip,
				   want->n_vips + 2);
		free(vip);
	}
	if (err) {
		done(ctx, err, "cannot load the XDP programs or fill their tables");
		return;
	}
	fabric_netlink.apply(f->kernel, want, kernel_applied, f);
}

/* Both paths must hold it: what XDP holds, where the kernel agrees. */
static int xdp_read(struct fabric *fabric, struct fabric_want *have)
{
	struct xdp_fabric *f = of(fabric);
	int err = fabric_netlink.read(f->kernel, have);

	for (uint32_t i = 0; i < have->n_buckets && !err && f->bucket; i++) {
		uint64_t e = __atomic_load_n(&f->bucket[i], __ATOMIC_ACQUIRE);

		if (memcmp(&e, have->vmac[i], 6))
			memset(have->vmac[i], 0, 6);
	}
	return err;
}

/* The program itself, run on the frame: for a probe VIP it leaves the bucket in the source address. */
static int xdp_bucket(const struct xdp_switch_bpf *skel, const void *frame, size_t len, uint32_t *bucket)
{
	uint8_t out[2048];
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = (__u32)len, .data_out = out,
		    .data_size_out = sizeof(out), .repeat = 1);

	if (bpf_prog_test_run_opts(bpf_program__fd(skel->progs.xdp_uplink), &opts))
		return -errno;
	if (opts.retval != XDP_DROP || opts.data_size_out < 14)
		return -ENOMSG;
	*bucket = (uint32_t)out[10] << 8 | out[11];
	return 0;
}

/* Where the two paths differ, neither is right. */
static int both_paths(const struct xdp_switch_bpf *skel, const void *frames, size_t frame_len, size_t n, uint32_t *bucket)
{
	int err = 0;

	for (size_t i = 0; i < n && !err; i++) {
		uint32_t slow = bucket[i];

		err = xdp_bucket(skel, (const uint8_t *)frames + i * frame_len, frame_len, &bucket[i]);
		if (!err && bucket[i] != slow)
			bucket[i] = UINT32_MAX;
	}
	return err;
}

static int xdp_preview_buckets(struct fabric *fabric, const struct fabric_want *want, const void *frames, size_t frame_len,
			       size_t n, uint32_t *bucket)
{
	struct xdp_switch_bpf *skel;
	struct address probe[2];
	int err = fabric_netlink.preview_buckets(of(fabric)->kernel, want, frames, frame_len, n, bucket);

	if (err)
		return err;
	proof_vips(probe);
	err = programs(want, &skel);
	if (!err)
		err = vip_maps_set(bpf_map__fd(skel->maps.vips4), bpf_map__fd(skel->maps.vips6), probe, 2);
	if (!err)
		err = both_paths(skel, frames, frame_len, n, bucket);
	xdp_switch_bpf__destroy(skel);
	return err;
}

static int xdp_probe_buckets(struct fabric *fabric, const void *frames, size_t frame_len, size_t n, uint32_t *bucket)
{
	struct xdp_fabric *f = of(fabric);
	int err = f->skel ? fabric_netlink.probe_buckets(f->kernel, frames, frame_len, n, bucket) : -ENODEV;

	return err ? err : both_paths(f->skel, frames, frame_len, n, bucket);
}

static void counts(struct xdp_fabric *f, uint64_t count[COUNT_MAX])
{
	struct netlink_fabric *k = kernel_of(f);

	if (k->tc)
		tc_counters(k->tc, count);
	if (f->skel)
		counters_add(bpf_map__fd(f->skel->maps.counters), count);
}

static size_t xdp_counters(struct fabric *fabric, struct fabric_counter *c, size_t max)
{
	uint64_t count[COUNT_MAX] = { 0 };
	size_t n = 0;

	counts(of(fabric), count);
	for (int i = 0; i < COUNT_MAX && n < max; i++)
		c[n++] = (struct fabric_counter){ fabric_counter_name((enum fabric_count)i), count[i] };
	return n;
}

static int xdp_vip_packets(struct fabric *fabric, uint64_t *packets)
{
	uint64_t count[COUNT_MAX] = { 0 };

	counts(of(fabric), count);
	*packets = count[COUNT_VIP_TC] + count[COUNT_VIP_XDP];
	return 0;
}

static void xdp_close(struct fabric *fabric, bool remove)
{
	struct xdp_fabric *f = of(fabric);
	struct netlink_fabric *k = kernel_of(f);

	k->reconciled = NULL;
	if (remove) {
		for (size_t i = 0; i < k->n_ports; i++)
			bpf_xdp_detach((int)if_nametoindex(k->port[i].ifname), f->mode, NULL);
		for (size_t i = 0; i < k->n_uplinks; i++)
			bpf_xdp_detach((int)if_nametoindex(k->uplink[i]), f->mode, NULL);
	}
	fabric_netlink.close(f->kernel, remove);
	unload(f);
	fabric_want_free(&f->want);
	free(f);
}

static const struct fabric_caps caps = { .name = "xdp", .hash_family = HASH_FAMILY, .buckets_max = FABRIC_BUCKETS_MAX };

const struct fabric_ops fabric_xdp = {
	.caps = &caps,
	.open = xdp_open,
	.apply = xdp_apply,
	.read = xdp_read,
	.probe_buckets = xdp_probe_buckets,
	.preview_buckets = xdp_preview_buckets,
	.counters = xdp_counters,
	.vip_packets = xdp_vip_packets,
	.close = xdp_close,
};
