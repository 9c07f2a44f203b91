/* SPDX-License-Identifier: BSD-2-Clause */
/* Inside baton-switchd: its state, shared by the daemon, its reports and its answers. */
#ifndef SWITCH_SWITCHD_H
#define SWITCH_SWITCHD_H

#include <jansson.h>

#include "base/ctl.h"
#include "base/daemon.h"
#include "bgp/announce.h"
#include "control/follower.h"
#include "switch/fabric.h"
#include "switch/host_probe.h"
#include "switch/proof.h"

#define APPLY_BUCKETS 8 /* of the histogram of apply times */

struct switchd {
	struct daemon daemon;
	uint16_t id;
	char boot[17];
	struct pop *boot_pop;
	struct follower *follower;
	struct ctl_server *ctl;
	struct speaker *speaker;
	struct host_probe *probe;

	const struct fabric_ops *ops;
	struct fabric *fabric;
	char shape[65];		  /* what of the configuration means another fabric; compared as text */
	struct fabric_want want; /* last applied or being applied */
	bool applying, installed;
	uint64_t applying_index, installed_index, apply_began_ns, refused_index;

	struct proof_digest buckets; /* what the last whole proof found, or the trial before it */
	bool tried;		     /* the programs, before anything of ours is in force */
	uint64_t withdrawn_ms;	     /* for its buckets, before it forwards by them: since */
	bool proven;		     /* and that it is what our own hash says; the log decides, not this */
	char proof_why[256], fabric_why[256];
	struct event *report, *retry, *prove, *after;

	uint64_t vip_packets, vip_packets_ms; /* last count seen, and when it last moved */
	bool reachable;
	uint64_t applies, apply_failures, apply_ns_sum, apply_ns_last, proofs;
	uint64_t apply_bucket[APPLY_BUCKETS + 1];
};

extern const double apply_bucket_seconds[APPLY_BUCKETS];

const struct switch_conf *switchd_conf(const struct switchd *s); /* NULL: the configuration does not name us */
enum bucket_proof switchd_proof(const struct switchd *s);
void switchd_announce(struct switchd *s);
json_t *switchd_report(struct switchd *s);
json_t *switchd_answer(struct switchd *s, json_t *question); /* switchd_ask.c */
void switchd_collect(void *ctx, struct metrics *m);	     /* switchd_report.c */

#endif
