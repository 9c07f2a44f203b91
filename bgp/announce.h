/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which VIPs this switch announces, and how: a pure decision from what the log says and what the
 * switch knows of itself.
 *
 * A withdrawn prefix is an outage if it is the last, so withdrawing needs a reason that is certain:
 * the operator took the VIP or the switch out, no host can own a bucket (each is dead or out), or
 * this switch has no route for the VIP.  A sick host is no reason: if all are sick, announcing goes on
 * (fails open).
 */
#ifndef BGP_ANNOUNCE_H
#define BGP_ANNOUNCE_H

#include "bgp/speaker.h"
#include "control/follower.h"

/* Do this switch's buckets equal its peers'?  (switch/: the probe VIP) */
enum bucket_proof {
	PROOF_PENDING,	/* not known yet, as after a restart */
	PROOF_EQUAL,	/* to those that the log names */
	PROOF_DIFFERENT /* flows would change hosts when they change switches */
};

struct announce_self {
	uint16_t id;	  /* this switch */
	bool installed;	  /* the fabric has held a table of the log since it was opened */
	enum bucket_proof proof;
	const struct address *routed; /* the VIPs for which the fabric holds a route */
	size_t n_routed;
};

/* Why a VIP is announced as it is; for `show vips` and the log. */
enum announce_reason {
	BECAUSE_SERVING,
	BECAUSE_SWITCH_DRAINING,
	BECAUSE_SWITCH_OUT,
	BECAUSE_VIP_OUT,
	BECAUSE_NO_HOST,
	BECAUSE_NO_ROUTE,
	BECAUSE_NOT_INSTALLED,
	BECAUSE_PROOF_PENDING,
	BECAUSE_BUCKETS_DIFFER,
	BECAUSE_MAX
};

struct announce_verdict {
	enum announce how;
	enum announce_reason why;
};

/* own: digest of this switch's buckets, 0 while it knows none; reference: the log's (view->buckets). */
enum bucket_proof proof_judge(uint64_t own, uint64_t reference);

/* One address of a VIP, given by its position in view->pop->vip and in its addresses. */
struct announce_verdict announce_one(const struct view *view, const struct announce_self *self, uint32_t vip,
				     uint32_t address);

/* All of them, sorted (announcements_sort).  *out is the caller's to free.  0 or -ENOMEM. */
int announce_decide(const struct view *view, const struct announce_self *self, struct announcement **out, size_t *n);

const char *announce_reason_text(enum announce_reason why);
const char *announce_text(enum announce how);

/* By address.  A configuration names each address once; were there several, one stays.  Returns how many are left. */
size_t announcements_sort(struct announcement *a, size_t n);
const struct announcement *announcement_find(const struct announcement *sorted, size_t n, const struct address *prefix);

#endif
