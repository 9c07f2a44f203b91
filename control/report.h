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
 *     "rows": n,
 *     "via": { "<owner id>": n },     proof: sockets of ours that are reached through that owner
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
#endif
