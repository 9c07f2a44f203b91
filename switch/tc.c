/* SPDX-License-Identifier: BSD-2-Clause */
/* Loads, attaches and feeds the TC programs.  See tc.h. */
#include "switch/tc.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/tc_hook.h"
#include "port_guard.skel.h"
#include "probe_tap.skel.h"
#include "switch/proof.h"
#include "uplink.skel.h"

/* Our filter among others on a device. */
#define TC_HANDLE 1
#define TC_PRIORITY 0xba7

struct tc {
	struct uplink_bpf *uplink;
	struct port_guard_bpf *guard;
	struct probe_tap_bpf *tap;
};

static int quiet(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	char line[512];

	if (level != LIBBPF_WARN)
		return 0;
	vsnprintf(line, sizeof(line), fmt, ap);
	line[strcspn(line, "\n")] = 0;
	/* libbpf shouts when the clsact hook is already there, which is the normal case. */
	log_debug("libbpf: %s", line);
	return 0;
}

int tc_open(uint32_t hash_seed, uint32_t n_buckets, struct tc **out)
{
	struct tc *t = calloc(1, sizeof(*t));
	struct address probe[2];
	int err = -ENOMEM;

	if (!t)
		return -ENOMEM;
	libbpf_set_print(quiet);
	t->uplink = uplink_bpf__open();
	t->guard = port_guard_bpf__open();
	t->tap = probe_tap_bpf__open();
	if (!t->uplink || !t->guard || !t->tap)
		goto fail;
	proof_vips(probe);
	t->uplink->rodata->hash_seed = hash_seed;
	t->uplink->rodata->bucket_mask = n_buckets - 1;
	memcpy((void *)&t->tap->rodata->probe4, &probe[0].v4, 4);
	memcpy((void *)t->tap->rodata->probe6, &probe[1].v6, 16);
	err = uplink_bpf__load(t->uplink);
	if (!err)
		err = port_guard_bpf__load(t->guard);
	if (!err)
		err = probe_tap_bpf__load(t->tap);
	if (err)
		goto fail;
	*out = t;
	return 0;
fail:
	tc_close(t);
	return err;
}

void tc_close(struct tc *t)
{
	if (!t)
		return;
	uplink_bpf__destroy(t->uplink);
	port_guard_bpf__destroy(t->guard);
	probe_tap_bpf__destroy(t->tap);
	free(t);
}

static struct tc_place place(bool egress)
{
	return (struct tc_place){ .egress = egress, .handle = TC_HANDLE, .priority = TC_PRIORITY };
}

static int attach(const struct bpf_program *prog, int ifindex, bool egress)
{
	struct bpf_prog_info info = { 0 };
	uint32_t len = sizeof(info), holds = tc_hook_holds(ifindex, place(egress));
	int fd = bpf_program__fd(prog);

	if (holds && !bpf_obj_get_info_by_fd(fd, &info, &len) && info.id == holds)
		return 0;
	return tc_hook_on(ifindex, place(egress), fd);
}

void tc_detach(int ifindex, bool egress)
{
	tc_hook_off(ifindex, place(egress));
}

int tc_attach_uplink(struct tc *t, int ifindex)
{
	return attach(t->uplink->progs.uplink, ifindex, false);
}

int tc_attach_port(struct tc *t, int ifindex, struct port_role role)
{
	__u32 key = (__u32)ifindex;

	if (bpf_map_update_elem(bpf_map__fd(t->guard->maps.roles), &key, &role, BPF_ANY))
		return -errno;
	return attach(t->guard->progs.port_guard, ifindex, false);
}

int tc_attach_tap(struct tc *t, int bridge)
{
	return attach(t->tap->progs.probe_tap, bridge, true);
}

void tc_tapped(struct tc *t, uint32_t *sequence, uint32_t *bucket)
{
	uint64_t v = __atomic_load_n(&t->tap->bss->tapped, __ATOMIC_ACQUIRE);

	*sequence = (uint32_t)(v >> 32);
	*bucket = (uint32_t)v;
}

int tc_preview(struct tc *t, const void *frames, size_t frame_len, size_t n, uint32_t *bucket)
{
	for (size_t i = 0; i < n; i++) {
		struct __sk_buff out = { 0 };
		LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = (const uint8_t *)frames + i * frame_len, .data_size_in = (__u32)frame_len,
			    .ctx_out = &out, .ctx_size_out = sizeof(out), .repeat = 1);

		if (bpf_prog_test_run_opts(bpf_program__fd(t->uplink->progs.uplink), &opts))
			return -errno;
		bucket[i] = out.cb[0];
	}
	return 0;
}

int counters_add(int map, uint64_t count[COUNT_MAX])
{
	int cpus = libbpf_num_possible_cpus();
	__u64 value[1024];

	if (cpus < 1 || cpus > 1024)
		return -E2BIG;
	for (__u32 key = 0; key < COUNT_MAX; key++) {
		if (bpf_map_lookup_elem(map, &key, value))
			return -errno;
		for (int i = 0; i < cpus; i++)
			count[key] += value[i];
	}
	return 0;
}

void tc_counters(struct tc *t, uint64_t count[COUNT_MAX])
{
	counters_add(bpf_map__fd(t->uplink->maps.counters), count);
	counters_add(bpf_map__fd(t->guard->maps.counters), count);
}

static bool listed(const struct address *vip, size_t n, sa_family_t family, const void *key)
{
	for (size_t i = 0; i < n; i++)
		if (vip[i].family == family && !memcmp(&vip[i].v6, key, family == AF_INET6 ? 16 : 4))
			return true;
	return false;
}

static void forget_unlisted(int map, sa_family_t family, const struct address *vip, size_t n)
{
	uint8_t key[16], next[16];
	bool more = !bpf_map_get_next_key(map, NULL, next);

	while (more) {
		memcpy(key, next, sizeof(key));
		more = !bpf_map_get_next_key(map, key, next);
		if (!listed(vip, n, family, key))
			bpf_map_delete_elem(map, key);
	}
}

int vip_maps_set(int map4, int map6, const struct address *vip, size_t n)
{
	struct address probe[2];

	proof_vips(probe);
	for (size_t i = 0; i < n; i++) {
		bool v6 = vip[i].family == AF_INET6;
		__u32 kind = listed(probe, 2, vip[i].family, &vip[i].v6) ? VIP_PROBE : VIP_SERVICE;

		if (bpf_map_update_elem(v6 ? map6 : map4, &vip[i].v6, &kind, BPF_ANY))
			return -errno;
	}
	forget_unlisted(map4, AF_INET, vip, n);
	forget_unlisted(map6, AF_INET6, vip, n);
	return 0;
}

int tc_set_vips(struct tc *t, const struct address *vip, size_t n)
{
	return vip_maps_set(bpf_map__fd(t->uplink->maps.vips4), bpf_map__fd(t->uplink->maps.vips6), vip, n);
}
