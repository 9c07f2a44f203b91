/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What no section can see alone: that cables have two ends, that hosts stand behind their switches,
 * that checks have a port.  Where a fault left a hole in the struct, the check is silent: one mistake,
 * one message.
 */
#include "l7/conf_schema.h"
#include "pop/pop.h"
#include "pop/schema.h"

/* A port to a host, whose host does not say that it has a link there. */
static void check_ports(struct conf *c, const struct pop *pop, const struct switch_conf *sw)
{
	uint32_t i, k;

	for (i = 0; i < sw->n_ports; i++) {
		const struct switch_port *p = &sw->port[i];
		const struct host_conf *h = p->host ? pop_host(pop, p->host) : NULL;
		const struct switch_conf *other = p->peer ? pop_switch(pop, p->peer) : NULL;
		bool returns = false;

		for (k = 0; k < i; k++) {
			if (h && sw->port[k].host == p->host)
				conf_fault_at(c, &p->host, p, "switch %s has a second port to host %s", sw->name, h->name);
			if (other && sw->port[k].peer == p->peer)
				conf_fault_at(c, &p->peer, p, "switch %s has a second port to switch %s", sw->name,
					      other->name);
		}
		if (h && host_is_elsewhere(h))
			conf_fault_at(c, &p->host, p, "switch %s has a port to host %s, but the host is elsewhere: give it links instead, or take the port away",
				      sw->name, h->name);
		else if (h && sw->id && !pop_link_to_switch(h, sw->id))
			conf_fault_at(c, &p->host, p,
				      "switch %s has a port to host %s, but the host has no link to %s: add '%s: INTERFACE' to its links",
				      sw->name, h->name, sw->name, sw->name);
		if (!other || !sw->id)
			continue;
		if (other == sw) {
			conf_fault_at(c, &p->peer, p, "switch %s is its own peer", sw->name);
			continue;
		}
		for (k = 0; k < other->n_ports; k++)
			returns = returns || other->port[k].peer == sw->id;
		if (!returns)
			conf_fault_at(c, &p->peer, p,
				      "switch %s has a peer port to %s, but %s has none back: add 'PORT: %s' to its peers",
				      sw->name, other->name, other->name, sw->name);
	}
}

static void check_links(struct conf *c, const struct pop *pop, const struct host_conf *h)
{
	uint32_t i;

	for (i = 0; i < h->n_links; i++) {
		const struct switch_conf *sw = h->link[i].switch_id ? pop_switch(pop, h->link[i].switch_id) : NULL;

		if (sw && h->id && !host_is_elsewhere(h) && !pop_port_to_host(sw, h->id))
			conf_fault_at(c, &h->link[i].switch_id, h,
				      "host %s has a link to switch %s, but the switch has no port to %s: add 'PORT: %s' to its ports",
				      h->name, sw->name, h->name, h->name);
	}
}

/* What they and the others send each other inside IP has one outer header: all are of one family. */
static void check_elsewhere(struct conf *c, struct pop *pop)
{
	const struct host_conf *first = NULL;
	uint32_t i;

	for (i = 0; i < pop->n_hosts; i++) {
		if (!host_is_elsewhere(&pop->host[i]))
			continue;
		pop->host[i].weight = 0;
		first = first ? first : &pop->host[i];
	}
	for (i = 0; first && i < pop->n_hosts; i++) {
		const struct host_conf *h = &pop->host[i];
		sa_family_t theirs = host_tunnel(h)->family, ours = host_tunnel(first)->family;

		if (theirs && ours && theirs != ours)
			conf_fault_at(c, &h->tunnel, h,
				      "host %s is elsewhere and is reached over IPv%d, but host %s has an IPv%d address: give one of them a 'tunnel' address of the other's family",
				      first->name, ours == AF_INET ? 4 : 6, h->name, theirs == AF_INET ? 4 : 6);
	}
}

/* A check without a port asks the service's own; the reader of hosts cannot know it. */
static void complete_checks(struct conf *c, const struct vip *v)
{
	uint32_t i, k;

	for (i = 0; i < v->n_checks; i++) {
		struct check *check = &v->check[i];

		if (check->kind == CHECK_SCRIPT || check->port)
			continue;
		for (k = 0; k < v->n_ports && !check->port; k++)
			if (v->port[k].protocol == IPPROTO_TCP)
				check->port = v->port[k].port;
		if (!check->port && v->n_ports)
			conf_fault_at(c, check, v, "vip %s has no TCP port for this check to ask: give it a 'port'", v->name);
	}
}

void pop_check(struct conf *c, void *object)
{
	struct pop *pop = object;
	uint32_t i, weight = 0, addresses = 0, serving = 0;

	for (i = 0; i < pop->n_switches; i++)
		check_ports(c, pop, &pop->switches[i]);
	check_elsewhere(c, pop);
	for (i = 0; i < pop->n_hosts; i++) {
		check_links(c, pop, &pop->host[i]);
		weight += pop->host[i].weight;
		serving += !host_is_elsewhere(&pop->host[i]);
	}
	if (pop->n_hosts && !weight && !conf_faulty(c))
		conf_fault_at(c, &pop->host, pop, "every host has weight 0: nobody would serve");
	if (pop->buckets && serving > pop->buckets)
		conf_fault_at(c, &pop->host, pop, "%u hosts for %u buckets: every host needs at least one", serving, pop->buckets);
	for (i = 0; i < pop->n_vips; i++) {
		complete_checks(c, &pop->vip[i]);
		addresses += pop->vip[i].n_addresses;
	}
	if (addresses > POP_ADDRESSES_MAX)
		conf_fault_at(c, &pop->vip, pop, "the VIPs have %u addresses, but a POP has at most %u", addresses,
			      POP_ADDRESSES_MAX);
	l7_check(c, pop);
}
