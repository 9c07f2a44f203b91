// SPDX-License-Identifier: BSD-2-Clause
/*
 * The data path in eBPF, seen from the agent: maps are pinned under pin_dir and adopted by the next
 * agent, the program hangs on each device's clsact hook and needs nobody.
 *
 * A restart loads the (perhaps newer) program onto the adopted maps and replaces the filter in one
 * step.  If a map's shape changed between versions, the pins are dropped and all state is new: the
 * old program goes on with the old maps until the moment of replacement.
 */
#include "agent/datapath.h"

#include <errno.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/magic.h>

#include "agent/redirect.h"
#include "base/tc_hook.h"
#include "redirect.skel.h"

#define DEVICES_MAX 64 /* one per switch */
#define PIN_LEN 256
#define FILTER_PRIORITY 0xba70 /* behind the rows of hand-off, before nothing of ours */
#define PLACE ((struct tc_place){ .handle = 1, .priority = FILTER_PRIORITY })

struct datapath {
	struct redirect_bpf *skel;
	char pin_dir[PIN_LEN];
	char device[DEVICES_MAX][IF_NAMESIZE];
	size_t n_devices;
	int n_cpus;
	struct redirect_config config;
};

/* Maps by the name of their pin. */
struct pin {
	const char *name;
	struct bpf_map *map;
};

#define N_PINS 7

static void pins_of(const struct redirect_bpf *skel, struct pin pin[N_PINS])
{
	const struct pin all[N_PINS] = {
		{ "config", skel->maps.config }, { "state", skel->maps.state }, { "reasons", skel->maps.reasons },
		{ "hosts", skel->maps.hosts },	 { "vips", skel->maps.vips },	{ "relay", skel->maps.relay },
		{ "watch", skel->maps.watch },
	};

	memcpy(pin, all, sizeof(all));
}

__attribute__((format(printf, 3, 4))) static void explain_failure(char *why, size_t len, const char *format, ...)
{
	va_list args;

	if (!len)
		return;
	va_start(args, format);
	vsnprintf(why, len, format, args);
	va_end(args);
}

static int pin_path(const struct datapath *d, const char *name, char path[PIN_LEN + 32])
{
	int n = snprintf(path, PIN_LEN + 32, "%s/%s", d->pin_dir, name);

	return n > 0 && n < PIN_LEN + 32 ? 0 : -ENAMETOOLONG;
}

/* mkdir -p; pin_dir may lie several levels below the mount of bpffs. */
static int make_dir(const char *dir)
{
	char path[PIN_LEN];
	struct statfs fs;
	size_t i, len = strlen(dir);

	if (len >= sizeof(path))
		return -ENAMETOOLONG;
	for (i = 1; i <= len; i++) {
		if (dir[i] != '/' && dir[i] != '\0')
			continue;
		memcpy(path, dir, i);
		path[i] = '\0';
		if (mkdir(path, 0700) && errno != EEXIST)
			return -errno;
	}
	if (statfs(dir, &fs))
		return -errno;
	return fs.f_type == BPF_FS_MAGIC ? 0 : -EMEDIUMTYPE;
}

static void unpin_all(const struct datapath *d)
{
	struct pin pin[N_PINS];
	char path[PIN_LEN + 32];
	int i;

	pins_of(d->skel, pin);
	for (i = 0; i < N_PINS; i++)
		if (!pin_path(d, pin[i].name, path))
			unlink(path);
}

static int load(struct datapath *d)
{
	struct pin pin[N_PINS];
	char path[PIN_LEN + 32];
	int i, err;

	d->skel = redirect_bpf__open();
	if (!d->skel)
		return -errno;
	pins_of(d->skel, pin);
	for (i = 0; i < N_PINS; i++) {
		err = pin_path(d, pin[i].name, path);
		if (!err)
			err = bpf_map__set_pin_path(pin[i].map, path);
		if (err)
			return err;
	}
	return redirect_bpf__load(d->skel);
}

static int put_config(struct datapath *d)
{
	uint32_t zero = 0;

	return bpf_map__update_elem(d->skel->maps.config, &zero, sizeof(zero), &d->config, sizeof(d->config), BPF_ANY);
}

static int ebpf_open(uint16_t self, const char *pin_dir, char *why, size_t why_len, struct datapath **out)
{
	struct datapath *d = calloc(1, sizeof(*d));
	struct triple own = { { self } };
	uint32_t zero = 0;
	int err;

	if (!d)
		return -ENOMEM;
	err = -EINVAL;
	if (!host_id_valid(self) || strlen(pin_dir) >= sizeof(d->pin_dir)) {
		explain_failure(why, why_len, "host id %u or pin directory %s is not valid", self, pin_dir);
		goto fail;
	}
	memcpy(d->pin_dir, pin_dir, strlen(pin_dir));
	d->n_cpus = libbpf_num_possible_cpus();
	err = make_dir(pin_dir);
	if (err) {
		explain_failure(why, why_len,
				err == -EMEDIUMTYPE ? "%s is not on a BPF file system: mount -t bpf bpf /sys/fs/bpf" :
						      "cannot make the pin directory %s",
				pin_dir);
		goto fail;
	}
	err = load(d);
	if (err == -EINVAL && d->skel) { /* pins of other shapes: another version's */
		unpin_all(d);
		redirect_bpf__destroy(d->skel);
		err = load(d);
	}
	if (err) {
		explain_failure(why, why_len, "the kernel does not take the eBPF data path (needs >= 6.1, CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON): %s",
				strerror(-err));
		goto fail;
	}
	bpf_map__lookup_elem(d->skel->maps.config, &zero, sizeof(zero), &d->config, sizeof(d->config), 0);
	if (d->config.self != self) { /* new, or the host changed its id */
		d->config.detours_on = 1;
		d->config.watching = 0;
	}
	d->config.self = self;
	vmac_encode(d->config.own_mac, &own);
	err = put_config(d);
	if (err) {
		explain_failure(why, why_len, "cannot write the data path's configuration: %s", strerror(-err));
		goto fail;
	}
	*out = d;
	return 0;
fail:
	if (d->skel)
		redirect_bpf__destroy(d->skel);
	free(d);
	return err;
}

/* --- Devices ---------------------------------------------------------------------------------------- */

static int ebpf_set_devices(struct datapath *d, const char (*ifname)[IF_NAMESIZE], size_t n)
{
	size_t i, j;
	int err, first = 0;

	if (n > DEVICES_MAX)
		return -E2BIG;
	for (i = 0; i < d->n_devices; i++) {
		for (j = 0; j < n && strcmp(d->device[i], ifname[j]); j++)
			;
		if (j == n)
			tc_hook_off((int)if_nametoindex(d->device[i]), PLACE);
	}
	d->n_devices = 0;
	for (i = 0; i < n; i++) {
		err = tc_hook_on((int)if_nametoindex(ifname[i]), PLACE, bpf_program__fd(d->skel->progs.redirect));
		if (err) {
			first = first ? first : err;
			continue; /* one link is gone, the others must work */
		}
		memcpy(d->device[d->n_devices++], ifname[i], IF_NAMESIZE);
	}
	return first;
}

/* --- Sets: the map becomes what is wanted, entries that stay are never absent ------------------------- */

static struct redirect_vip vip_key(const struct address *a)
{
	struct redirect_vip key = { .family = a->family == AF_INET6 ? FLOW_V6 : FLOW_V4 };

	if (a->family == AF_INET6)
		memcpy(key.addr, &a->v6, sizeof(a->v6));
	else
		memcpy(key.addr, &a->v4, sizeof(a->v4));
	return key;
}

static bool vip_wanted(const struct vip *vip, size_t n, const struct redirect_vip *key)
{
	size_t i;
	uint32_t j;

	for (i = 0; i < n; i++) {
		for (j = 0; j < vip[i].n_addresses; j++) {
			struct redirect_vip other = vip_key(&vip[i].address[j]);

			if (!memcmp(key, &other, sizeof(other)))
				return true;
		}
	}
	return false;
}

static int ebpf_set_vips(struct datapath *d, const struct vip *vip, size_t n)
{
	int fd = bpf_map__fd(d->skel->maps.vips), err, more;
	struct redirect_vip key, next;
	uint8_t one = 1;
	size_t i;
	uint32_t j;

	for (i = 0; i < n; i++) {
		for (j = 0; j < vip[i].n_addresses; j++) {
			key = vip_key(&vip[i].address[j]);
			err = bpf_map_update_elem(fd, &key, &one, BPF_ANY);
			if (err)
				return err;
		}
	}
	more = !bpf_map_get_next_key(fd, NULL, &next);
	while (more) {
		key = next;
		more = !bpf_map_get_next_key(fd, &key, &next);
		if (!vip_wanted(vip, n, &key))
			bpf_map_delete_elem(fd, &key);
	}
	return 0;
}

static int ebpf_set_hosts(struct datapath *d, const uint16_t *id, size_t n)
{
	int fd = bpf_map__fd(d->skel->maps.relay), err;
	uint32_t i;

	if (n > HOST_ID_MAX)
		return -E2BIG;
	for (i = 0; i < n; i++) {
		err = bpf_map_update_elem(fd, &i, &id[i], BPF_ANY);
		if (err)
			return err;
	}
	d->config.n_relay = (uint16_t)n;
	return put_config(d);
}

static int ebpf_set_detours(struct datapath *d, bool on)
{
	d->config.detours_on = on;
	return put_config(d);
}

/* --- Counters ----------------------------------------------------------------------------------------- */

static int read_reasons(struct datapath *d, struct datapath_counters *out)
{
	uint64_t *per_cpu = calloc((size_t)d->n_cpus, sizeof(*per_cpu));
	int fd = bpf_map__fd(d->skel->maps.reasons), cpu, err = 0;
	uint32_t i;

	if (!per_cpu)
		return -ENOMEM;
	for (i = 0; i < out->n_reasons; i++) {
		out->reason[i] = 0;
		if (i >= REASON_MAX)
			continue;
		err = bpf_map_lookup_elem(fd, &i, per_cpu);
		if (err)
			break;
		for (cpu = 0; cpu < d->n_cpus; cpu++)
			out->reason[i] += per_cpu[cpu];
	}
	free(per_cpu);
	return err;
}

/* 4,095 entries by 2 numbers by CPU: read in one call. */
static int read_hosts(struct datapath *d, struct datapath_counters *out)
{
	uint32_t n = HOST_ID_MAX + 1, batch = 0, i;
	struct redirect_host *value = calloc((size_t)n * (size_t)d->n_cpus, sizeof(*value));
	uint32_t *key = calloc(n, sizeof(*key));
	int cpu, err = -ENOMEM;

	if (!value || !key)
		goto out;
	err = bpf_map_lookup_batch(bpf_map__fd(d->skel->maps.hosts), NULL, &batch, key, value, &n, NULL);
	if (err && err != -ENOENT) /* -ENOENT: and that was all */
		goto out;
	err = 0;
	for (i = 0; i < n; i++) {
		uint64_t to = 0, from = 0;

		for (cpu = 0; cpu < d->n_cpus; cpu++) {
			to += value[i * (uint32_t)d->n_cpus + (uint32_t)cpu].to;
			from += value[i * (uint32_t)d->n_cpus + (uint32_t)cpu].from;
		}
		if (out->detour_to)
			out->detour_to[key[i]] = to;
		if (out->detour_from)
			out->detour_from[key[i]] = from;
	}
out:
	free(value);
	free(key);
	return err;
}

static int ebpf_counters(struct datapath *d, struct datapath_counters *out)
{
	struct redirect_state s;
	uint32_t zero = 0;
	int err;

	err = bpf_map_lookup_elem(bpf_map__fd(d->skel->maps.state), &zero, &s);
	if (err)
		return err;
	out->last_detour_in_ns = s.last_in_ns;
	out->last_detour_out_ns = s.last_out_ns;
	out->last_cookie_ns = s.last_cookie_ns;
	if (out->reason) {
		err = read_reasons(d, out);
		if (err)
			return err;
	}
	return out->detour_to || out->detour_from ? read_hosts(d, out) : 0;
}

/* --- Watched flows ------------------------------------------------------------------------------------ */

static struct flow watch_key(const struct datapath_watch *w)
{
	struct flow f = { .protocol = IPPROTO_TCP, .sport = htons(w->client_port), .dport = htons(w->vip_port) };
	struct redirect_vip client = vip_key(&w->client), vip = vip_key(&w->vip);

	f.family = (uint8_t)client.family;
	memcpy(f.saddr, client.addr, sizeof(f.saddr));
	memcpy(f.daddr, vip.addr, sizeof(f.daddr));
	return f;
}

static int ebpf_watch(struct datapath *d, const struct datapath_watch *w, size_t n)
{
	int fd = bpf_map__fd(d->skel->maps.watch), err;
	struct flow key;
	size_t i;

	if (n > REDIRECT_WATCH_MAX)
		return -E2BIG;
	while (!bpf_map_get_next_key(fd, NULL, &key))
		if (bpf_map_delete_elem(fd, &key))
			return -errno;
	for (i = 0; i < n; i++) {
		struct redirect_watch unseen = { HOST_NONE, 0 };

		key = watch_key(&w[i]);
		err = bpf_map_update_elem(fd, &key, &unseen, BPF_ANY);
		if (err)
			return err;
	}
	d->config.watching = n > 0;
	return put_config(d);
}

static int ebpf_watched(struct datapath *d, struct datapath_watch *w, size_t n)
{
	int fd = bpf_map__fd(d->skel->maps.watch);
	size_t i;

	for (i = 0; i < n; i++) {
		struct flow key = watch_key(&w[i]);
		struct redirect_watch seen = { HOST_NONE, 0 };

		bpf_map_lookup_elem(fd, &key, &seen);
		w[i].owner = seen.owner;
		w[i].seen = seen.owner != HOST_NONE;
	}
	return 0;
}

/* --- Explain ------------------------------------------------------------------------------------------ */

static int ebpf_explain(struct datapath *d, const void *frame, size_t len, const char *ifname, struct datapath_decision *out)
{
	struct __sk_buff ctx = { 0 };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = (uint32_t)len, .repeat = 1);
	int err;

	if (ifname && *ifname) { /* the device's network namespace is where sockets are looked for */
		ctx.ifindex = if_nametoindex(ifname);
		if (!ctx.ifindex)
			return -ENODEV;
		opts.ctx_in = &ctx;
		opts.ctx_size_in = sizeof(ctx);
	}
	err = bpf_prog_test_run_opts(bpf_program__fd(d->skel->progs.explain), &opts);
	if (err)
		return err;
	out->action = opts.retval & 0xff;
	out->reason = opts.retval >> 8 & 0xff;
	out->next = (uint16_t)(opts.retval >> 16);
	return 0;
}

static void ebpf_close(struct datapath *d, bool take_off)
{
	size_t i;

	if (take_off) {
		for (i = 0; i < d->n_devices; i++)
			tc_hook_off((int)if_nametoindex(d->device[i]), PLACE);
		unpin_all(d);
		rmdir(d->pin_dir);
	}
	redirect_bpf__destroy(d->skel);
	free(d);
}

const struct datapath_ops datapath_ebpf = {
	.name = "ebpf",
	.open = ebpf_open,
	.set_devices = ebpf_set_devices,
	.set_vips = ebpf_set_vips,
	.set_hosts = ebpf_set_hosts,
	.set_detours = ebpf_set_detours,
	.counters = ebpf_counters,
	.watch = ebpf_watch,
	.watched = ebpf_watched,
	.explain = ebpf_explain,
	.close = ebpf_close,
};
