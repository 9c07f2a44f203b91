/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What switches and hosts report to the controller, as JSON (shapes below).  Reports are levels, not
 * events: the latest one is the whole truth of its sender.  Sent on change and at least once a second.
 *
 * switch:
 *   { "type": "switch",
 *     "boot": "<random per daemon start>",
 *     "announcing": true,             routes installed and BIRD has them (or no bird_socket)
 *     "drained": true,                withdrawn, and VIP counters silent for policy.silence_ms
 *     "buckets_proven": true,         bucket equality shown; false carries "buckets_why"
 *     "buckets": "<16 hex>",          digest of the buckets that sampled flows get here; absent: not known
 *     "hash_family": "baton-flow/1",  "hash_seed": n,        by which they were computed
 *     "vip_packets": n,               packets to VIPs so far
 *     "hosts": { "1": { "carrier": true, "datapath": true } },     by host id, own ports only
 *     "alarms": [ "text", ... ] }
 *
 * host:
 *   { "type": "host",
 *     "boot": "<random per daemon start>",
 *     "services": { "<vip name>": { "ok": true, "why": "" } },
 *     "datapath": "ebpf",
 *     "sockets": { "established": n, "request": n, "time_wait": n, "other": n },   on VIPs; time_wait: younger than policy.time_wait_ms
 *     "cookie_ms": n,                 time since a SYN cookie was last sent or accepted; -1: never
 *     "proxied": n,                   connections of front ends to this host's servers (backends of pools)
 *     "rows": n,                      rows of hand-off in force: connections that live elsewhere, and come here
 *     "via": { "<owner id>": n },     proof: sockets and rows of ours that are reached through that owner
 *     "via_unknown": n,               sockets that have not answered the probe yet
 *     "via_index": i,                 log index at which the proof began (valid for tables up to it)
 *     "via_ms": n,                    time since it began: a SYN that a lagging switch still sent here is only
 *                                     covered by a proof that began after that switch acknowledged
 *     "detour_in_ms": n,              time since a detour came in;  "detour_out_ms": n  since one was sent
 *     "counters": { "<verdict reason>": n },
 *     "alarms": [ "text", ... ] }
 */
#ifndef CONTROL_REPORT_H
#define CONTROL_REPORT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "lb/vmac.h"

/* What the controller takes out of them; missing or odd fields read as the careful answer. */
#define PORT_KNOWN 1
#define PORT_CARRIER 2
#define PORT_DATAPATH 4

struct switch_report {
	bool announcing, drained;
	uint64_t buckets; /* 0: not known */
	uint8_t host[HOST_ID_MAX + 1]; /* PORT_* by host id; 0: no port to it */
};

struct host_report {
	bool services_ok;
	char why[128]; /* the first service that is not */
	uint32_t established, request, time_wait, other;
	int64_t cookie_ms, detour_in_ms, detour_out_ms; /* -1: never */
	uint32_t rows, proxied;
	bool via_known; /* the report holds a proof at all */
	uint32_t via_unknown;
	uint64_t via_index;
	bool via[HOST_ID_MAX + 1]; /* by owner: sockets are reached through it */
};

/* 0 or -EBADMSG; json is borrowed.  Pure; json may be hostile. */
int switch_report_read(const json_t *json, struct switch_report *out);
int host_report_read(const json_t *json, struct host_report *out);

#endif
