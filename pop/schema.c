/* SPDX-License-Identifier: BSD-2-Clause */
#include "pop/schema.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "agent/conf_schema.h"
#include "control/conf_schema.h"
#include "l7/conf_schema.h"
#include "pop/pop.h"
#include "switch/conf_schema.h"

/* 80/tcp */
static bool port_read(struct conf *c, const struct conf_node *n, const struct conf_field *f, void *at)
{
	const char *w = conf_word(c, n, f, "a port such as 80/tcp");
	struct service_port *p = at;
	unsigned long v;
	char *end;

	if (!w)
		return false;
	v = strtoul(w, &end, 10);
	if (!isdigit((unsigned char)*w) || v < 1 || v > UINT16_MAX || (*end && *end != '/')) {
		conf_fault(c, n, NULL, "'%s' is not a port: write 1 to 65535, then /tcp or /udp", w);
		return false;
	}
	if (strcmp(end, "/tcp") && strcmp(end, "/udp")) {
		conf_fault(c, n, NULL, "port '%s' does not say which protocol: write %lu/tcp or %lu/udp", w, v, v);
		return false;
	}
	p->port = (uint16_t)v;
	p->protocol = end[1] == 't' ? IPPROTO_TCP : IPPROTO_UDP;
	return true;
}

static void port_print(const struct conf_field *f, const void *root, const void *at, char *buf, size_t len)
{
	const struct service_port *p = at;

	(void)f;
	(void)root;
	snprintf(buf, len, "%u/%s", p->port, p->protocol == IPPROTO_TCP ? "tcp" : "udp");
}

static const struct conf_type service_port_type = { port_read, port_print, false };

static const struct conf_field vip_field[] = {
	{ "name", CONF_AT(struct vip, name), .type = &conf_name, .required = true, .unique = "vip" },
	{ "addresses", CONF_ITEMS(struct vip, address, n_addresses), .shape = CONF_LIST, .type = &conf_address,
	  .required = true, .max = 64, .unique = "vip address" },
	{ "ports", CONF_ITEMS(struct vip, port, n_ports), .shape = CONF_LIST, .type = &service_port_type,
	  .required = true, .max = 64 },
	{ "checks", CONF_ITEMS(struct vip, check, n_checks), .shape = CONF_LIST, .schema = &check_schema, .max = 16 },
	{ 0 },
};

static void vip_check(struct conf *c, const void *object)
{
	const struct vip *v = object;
	uint32_t i, k;

	for (i = 0; i < v->n_ports; i++)
		for (k = 0; k < i; k++)
			if (v->port[i].port && v->port[i].port == v->port[k].port &&
			    v->port[i].protocol == v->port[k].protocol)
				conf_fault_at(c, &v->port[i], v, "port %u is listed twice", v->port[i].port);
}

static const struct conf_schema vip_schema = { "vip", sizeof(struct vip), vip_field, .check = vip_check };

#define WORDS(x) #x
#define IN_WORDS(x) WORDS(x)

static const struct conf_field site_field[] = {
	{ "name", CONF_AT(struct pop, name), .type = &conf_name, .required = true, .fixed = true },
	{ "buckets", CONF_AT(struct pop, buckets), .type = &conf_integer, .unless = "256", .fixed = true },
	{ "hash_seed", CONF_AT(struct pop, hash_seed), .type = &conf_integer, .required = true, .fixed = true },
	{ "route_table", CONF_AT(struct pop, route_table), .type = &conf_integer, .unless = IN_WORDS(ROUTE_TABLE_DEFAULT), .min = 256,
	  .max = INT32_MAX, .fixed = true },
	{ "route_protocol", CONF_AT(struct pop, route_protocol), .type = &conf_integer, .unless = IN_WORDS(ROUTE_PROTOCOL_DEFAULT), .min = 20,
	  .max = 255, .fixed = true },
	{ 0 },
};

static void site_check(struct conf *c, const void *object)
{
	const struct pop *p = object;

	if (p->buckets < 16 || p->buckets > 4096 || (p->buckets & (p->buckets - 1)))
		conf_fault_at(c, &p->buckets, p, "'buckets' is %u, but must be a power of two from 16 to 4096",
			      p->buckets);
}

static const struct conf_schema site_schema = { "pop", sizeof(struct pop), site_field, .check = site_check };

static const struct conf_field pop_field[] = {
	{ "pop", 0, sizeof(struct pop), .shape = CONF_STRUCT, .schema = &site_schema, .required = true },
	{ "policy", CONF_AT(struct pop, policy), .shape = CONF_STRUCT, .schema = &policy_schema },
	{ "controllers", CONF_ITEMS(struct pop, controller, n_controllers), .shape = CONF_LIST,
	  .schema = &controller_schema, .required = true, .max = 7 },
	{ "switches", CONF_ITEMS(struct pop, switches, n_switches), .shape = CONF_LIST, .schema = &switch_schema,
	  .required = true, .max = POP_SWITCHES_MAX },
	{ "hosts", CONF_ITEMS(struct pop, host, n_hosts), .shape = CONF_LIST, .schema = &host_schema,
	  .required = true, .max = POP_HOSTS_MAX },
	{ "vips", CONF_ITEMS(struct pop, vip, n_vips), .shape = CONF_LIST, .schema = &vip_schema, .required = true,
	  .max = POP_VIPS_MAX },
	{ "edges", CONF_ITEMS(struct pop, l7.edge, l7.n_edges), .shape = CONF_LIST, .schema = &edge_schema,
	  .max = L7_EDGES_MAX },
	{ "pools", CONF_ITEMS(struct pop, l7.pool, l7.n_pools), .shape = CONF_LIST, .schema = &pool_schema,
	  .max = L7_POOLS_MAX },
	{ "store", CONF_AT(struct pop, l7.store), .shape = CONF_STRUCT, .schema = &store_schema },
	{ "handoff", CONF_AT(struct pop, l7.handoff), .shape = CONF_STRUCT, .schema = &handoff_schema },
	{ "access_log", CONF_AT(struct pop, l7.access_log), .shape = CONF_STRUCT, .schema = &access_log_schema },
	{ 0 },
};

const struct conf_schema pop_schema = { "the file", sizeof(struct pop), pop_field, .check = NULL };
