/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The host's links, one per switch: our MAC and link-local address, the switch as a permanent
 * neighbour, NIC filters for the vMACs that the table sends us, and the default routes over those
 * switches that are in service.  All is read back from the kernel and brought to what is wanted, as
 * often as anything changes; a link that went down and came up again is complete after the next call.
 */
#ifndef AGENT_LINKS_H
#define AGENT_LINKS_H

#include <stdbool.h>

#include "agent/alarms.h"
#include "agent/filters.h"
#include "agent/rtnl.h"
#include "pop/pop.h"

struct link_want {
	char ifname[IF_NAMESIZE];
	uint16_t switch_id;
	bool in_service; /* replies may leave through this switch */
};

struct links_want {
	uint16_t self;
	uint8_t protocol; /* of our routes and addresses */
	struct link_want link[POP_SWITCHES_MAX];
	size_t n_links;
	const struct filters *filters;
};

/* What was found and done, for reports and metrics. */
struct link_state {
	char ifname[IF_NAMESIZE];
	uint16_t switch_id;
	unsigned ifindex; /* 0: there is no such interface */
	bool up, carrier, promiscuous, in_service, egress;
	uint8_t mac[6];
};

struct links_state {
	struct link_state link[POP_SWITCHES_MAX];
	size_t n;
};

/*
 * 0 when every link that exists lets through what the table needs; else -errno and an alarm: such a
 * table must not be acknowledged.  Missing links and routes are alarms only: the other links serve.
 */
int links_apply(struct rtnl *n, const struct links_want *want, struct links_state *state, struct alarms *alarms);

#endif
