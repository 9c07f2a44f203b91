/* SPDX-License-Identifier: BSD-2-Clause */
#include "switch/conf_schema.h"

#include <string.h>

#include "pop/pop.h"

static const char *host_name(const void *root, uint16_t id)
{
	const struct host_conf *h = root ? pop_host(root, id) : NULL;

	return h ? h->name : NULL;
}

static const char *switch_name(const void *root, uint16_t id)
{
	const struct switch_conf *s = root ? pop_switch(root, id) : NULL;

	return s ? s->name : NULL;
}

static const struct conf_field port_field[] = {
	{ "interface", CONF_AT(struct switch_port, ifname), .type = &conf_interface },
	{ "host", CONF_AT(struct switch_port, host), .type = &conf_reference, .refers = "host", .name_of = host_name },
	{ 0 },
};
static const struct conf_schema port_schema = { "port", sizeof(struct switch_port), port_field, .check = NULL };

static const struct conf_field peer_field[] = {
	{ "interface", CONF_AT(struct switch_port, ifname), .type = &conf_interface },
	{ "switch", CONF_AT(struct switch_port, peer), .type = &conf_reference, .refers = "switch",
	  .name_of = switch_name },
	{ 0 },
};
static const struct conf_schema peer_schema = { "peer", sizeof(struct switch_port), peer_field, .check = NULL };

static const char *const fabric_words[] = { [FABRIC_NETLINK] = "netlink", [FABRIC_XDP] = "xdp",
					    [FABRIC_PACED] = "paced", NULL };

static const struct conf_field switch_field[] = {
	{ "name", CONF_AT(struct switch_conf, name), .type = &conf_name, .required = true, .unique = "switch",
	  .id_at = offsetof(struct switch_conf, id) },
	{ "id", CONF_AT(struct switch_conf, id), .type = &conf_integer, .required = true, .min = 1,
	  .max = POP_SWITCHES_MAX, .unique = "switch id", .fixed = true },
	{ "fabric", CONF_AT(struct switch_conf, fabric), .type = &conf_choice, .words = fabric_words,
	  .unless = "netlink" },
	{ "management", CONF_AT(struct switch_conf, management), .type = &conf_address, .required = true,
	  .unique = "management address" },
	{ "bridge", CONF_AT(struct switch_conf, bridge), .type = &conf_interface, .required = true },
	{ "uplinks", CONF_ITEMS(struct switch_conf, uplink, n_uplinks), .shape = CONF_LIST, .type = &conf_interface,
	  .required = true, .max = 128 },
	{ "ports", CONF_ITEMS(struct switch_conf, port, n_ports), .shape = CONF_MAP, .schema = &port_schema,
	  .required = true, .max = POP_HOSTS_MAX },
	{ "peers", CONF_ITEMS(struct switch_conf, port, n_ports), .shape = CONF_MAP, .schema = &peer_schema,
	  .max = POP_SWITCHES_MAX },
	{ "bird", CONF_AT(struct switch_conf, bird_socket), .type = &conf_path },
	{ 0 },
};

/* An interface does one thing: the bridge, an uplink (routed, outside the host bridge) or one port. */
static void switch_check(struct conf *c, const void *object)
{
	const struct switch_conf *s = object;
	uint32_t i, k;

	for (i = 0; i < s->n_uplinks; i++) {
		if (s->uplink[i][0] && !strcmp(s->uplink[i], s->bridge))
			conf_fault_at(c, s->uplink[i], s, "uplink '%s' is the bridge of the host ports", s->uplink[i]);
		for (k = 0; k < i; k++)
			if (s->uplink[i][0] && !strcmp(s->uplink[i], s->uplink[k]))
				conf_fault_at(c, s->uplink[i], s, "uplink '%s' is listed twice", s->uplink[i]);
	}
	for (i = 0; i < s->n_ports; i++) {
		const char *name = s->port[i].ifname;

		if (*name && !strcmp(name, s->bridge))
			conf_fault_at(c, name, s, "port '%s' is the bridge of the host ports", name);
		for (k = 0; k < s->n_uplinks; k++)
			if (*name && !strcmp(name, s->uplink[k]))
				conf_fault_at(c, name, s, "port '%s' is an uplink too", name);
	}
}

const struct conf_schema switch_schema = { "switch", sizeof(struct switch_conf), switch_field, .check = switch_check };
