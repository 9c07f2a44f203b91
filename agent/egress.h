/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How replies leave: one default route for IPv4 and one for IPv6, each with one next hop per switch
 * in service, told apart from others' routes by our protocol number.  So draining a switch drains
 * replies too.
 */
#ifndef AGENT_EGRESS_H
#define AGENT_EGRESS_H

#include <stddef.h>
#include <stdint.h>

#include "agent/alarms.h"
#include "agent/rtnl.h"
#include "pop/pop.h"

/* Before what DHCP (100 and up) and router advertisements (1024) install, behind a static route without one. */
#define EGRESS_METRIC 50

struct egress_hop {
	unsigned ifindex;
	uint16_t switch_id;
};

/* Reads, compares, replaces where it differs; an empty set removes our route.  0 or -errno (and an alarm). */
int egress_apply(struct rtnl *n, uint8_t protocol, const struct egress_hop *hop, size_t n_hops, struct alarms *alarms);

#endif
