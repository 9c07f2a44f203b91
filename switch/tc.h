/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The TC programs of the netlink fabric: hash on uplinks (uplink.bpf.c), source guard on bridge ports
 * (port_guard.bpf.c), and the tap that proves buckets (probe_tap.bpf.c).  Attached programs keep their
 * maps alive, so they go on when this process ends; the next one swaps in its own, tables filled first.
 */
#ifndef SWITCH_TC_H
#define SWITCH_TC_H

#include "switch/fabric.h"
#include "switch/fabric_bpf.h"

struct tc;

int tc_open(uint32_t hash_seed, uint32_t n_buckets, struct tc **out);
void tc_close(struct tc *t);
/* VIPs and the probe VIPs; what is not listed any more is forgotten. */
int tc_set_vips(struct tc *t, const struct address *vip, size_t n);
int tc_attach_uplink(struct tc *t, int ifindex); /* idempotent */
int tc_attach_port(struct tc *t, int ifindex, struct port_role role);
int tc_attach_tap(struct tc *t, int bridge);
void tc_detach(int ifindex, bool egress);
void tc_counters(struct tc *t, uint64_t count[COUNT_MAX]); /* adds to count */
/* What the tap saw last: a number that grows by one with each frame, and the bucket. */
void tc_tapped(struct tc *t, uint32_t *sequence, uint32_t *bucket);

/* What the uplink's program, attached or not, would choose for n frames to the probe VIPs.  0 or -errno. */
int tc_preview(struct tc *t, const void *frames, size_t frame_len, size_t n, uint32_t *bucket);

/* Shared with the xdp fabric: make two VIP maps hold exactly these. */
int vip_maps_set(int map4, int map6, const struct address *vip, size_t n);
int counters_add(int map, uint64_t count[COUNT_MAX]);

#endif
