/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/conf_schema.h"

#include <string.h>

#include "pop/pop.h"

static const char *switch_name(const void *root, uint16_t id)
{
	const struct switch_conf *s = root ? pop_switch(root, id) : NULL;

	return s ? s->name : NULL;
}

static const struct conf_field link_field[] = {
	{ "switch", CONF_AT(struct host_link, switch_id), .type = &conf_reference, .refers = "switch",
	  .name_of = switch_name },
	{ "interface", CONF_AT(struct host_link, ifname), .type = &conf_interface },
	{ 0 },
};
static const struct conf_schema link_schema = { "link", sizeof(struct host_link), link_field, .check = NULL };

static const char *const datapath_words[] = { [DATAPATH_AUTO] = "auto", [DATAPATH_EBPF] = "ebpf",
					      [DATAPATH_MODULE] = "module", NULL };

static const struct conf_field host_field[] = {
	{ "name", CONF_AT(struct host_conf, name), .type = &conf_name, .required = true, .unique = "host",
	  .id_at = offsetof(struct host_conf, id) },
	{ "id", CONF_AT(struct host_conf, id), .type = &conf_integer, .required = true, .min = HOST_ID_MIN,
	  .max = HOST_ID_MAX, .unique = "host id", .fixed = true },
	{ "weight", CONF_AT(struct host_conf, weight), .type = &conf_integer, .unless = "100", .max = 10000 },
	{ "management", CONF_AT(struct host_conf, management), .type = &conf_address, .required = true,
	  .unique = "management address" },
	{ "datapath", CONF_AT(struct host_conf, datapath), .type = &conf_choice, .words = datapath_words,
	  .unless = "auto" },
	{ "links", CONF_ITEMS(struct host_conf, link, n_links), .shape = CONF_MAP, .schema = &link_schema,
	  .min = 1, .max = POP_SWITCHES_MAX },
	{ "elsewhere", CONF_ITEMS(struct host_conf, elsewhere, n_elsewhere), .shape = CONF_LIST, .type = &conf_interface,
	  .min = 1, .max = HOST_INTERFACES_MAX },
	{ "tunnel", CONF_AT(struct host_conf, tunnel), .type = &conf_address, .unique = "tunnel address" },
	{ 0 },
};

static void host_check(struct conf *c, const void *object)
{
	const struct host_conf *h = object;
	uint32_t i, k;

	if (!conf_where(c, &h->link) && !conf_where(c, &h->elsewhere))
		conf_fault_at(c, h, h, "host has no 'links'; if no switch has a port to it and routers lead there: 'elsewhere', with its interfaces");
	if (conf_where(c, &h->link) && conf_where(c, &h->elsewhere))
		conf_fault_at(c, &h->elsewhere, h, "a host has links to switches, or it is elsewhere");
	if (conf_where(c, &h->elsewhere) && conf_where(c, &h->weight) && h->weight)
		conf_fault_at(c, &h->weight, h, "a host elsewhere owns no buckets: leave 'weight' out");
	for (i = 0; i < h->n_elsewhere; i++)
		for (k = 0; k < i; k++)
			if (h->elsewhere[i][0] && !strcmp(h->elsewhere[i], h->elsewhere[k]))
				conf_fault_at(c, h->elsewhere[i], h, "interface '%s' is listed twice", h->elsewhere[i]);
	for (i = 0; i < h->n_links; i++)
		for (k = 0; k < i; k++)
			if (h->link[i].ifname[0] && !strcmp(h->link[i].ifname, h->link[k].ifname))
				conf_fault_at(c, h->link[i].ifname, h, "interface '%s' is the link to two switches",
					      h->link[i].ifname);
}

const struct conf_schema host_schema = { "host", sizeof(struct host_conf), host_field, .check = host_check };

/* --- checks ----------------------------------------------------------------------------------------- */

#define CHECK_PACE                                                                                              \
	{ "interval", CONF_AT(struct check, interval_ms), .type = &conf_duration, .unless = "1s", .min = 50,     \
	  .max = 600000 },                                                                                      \
	{ "timeout", CONF_AT(struct check, timeout_ms), .type = &conf_duration, .unless = "500ms", .min = 10,    \
	  .max = 600000 },                                                                                      \
	{ "rise", CONF_AT(struct check, rise), .type = &conf_integer, .unless = "2", .min = 1, .max = 100 },     \
	{ "fall", CONF_AT(struct check, fall), .type = &conf_integer, .unless = "2", .min = 1, .max = 100 },     \
	{ 0 }
#define CHECK_PORT { "port", CONF_AT(struct check, port), .type = &conf_integer, .min = 1 }

static const struct conf_field tcp_field[] = { CHECK_PORT, CHECK_PACE };
static const struct conf_field http_field[] = {
	CHECK_PORT,
	{ "path", CONF_AT(struct check, path), .type = &conf_path, .unless = "/" },
	{ "host", CONF_AT(struct check, host), .type = &conf_text },
	{ "expect", CONF_AT(struct check, expect), .type = &conf_integer, .min = 100, .max = 599 },
	CHECK_PACE,
};
static const struct conf_field script_field[] = {
	{ "program", CONF_AT(struct check, path), .type = &conf_path, .required = true },
	CHECK_PACE,
};

static void pace_check(struct conf *c, const void *object)
{
	const struct check *k = object;

	if (k->timeout_ms > k->interval_ms)
		conf_fault_at(c, &k->timeout_ms, &k->interval_ms, "'timeout' is %ums, longer than 'interval' with %ums",
			      k->timeout_ms, k->interval_ms);
}

static const struct conf_schema tcp_schema = { "tcp check", sizeof(struct check), tcp_field, .check = pace_check };
static const struct conf_schema http_schema = { "http check", sizeof(struct check), http_field, .check = pace_check };
static const struct conf_schema https_schema = { "https check", sizeof(struct check), http_field, .check = pace_check };
static const struct conf_schema script_schema = { "script check", sizeof(struct check), script_field, .check = pace_check };

/* In the order of enum check_kind. */
static const struct conf_field kind_field[] = {
	{ "tcp", 0, sizeof(struct check), .shape = CONF_STRUCT, .schema = &tcp_schema },
	{ "http", 0, sizeof(struct check), .shape = CONF_STRUCT, .schema = &http_schema },
	{ "https", 0, sizeof(struct check), .shape = CONF_STRUCT, .schema = &https_schema },
	{ "script", 0, sizeof(struct check), .shape = CONF_STRUCT, .schema = &script_schema },
	{ 0 },
};

const struct conf_schema check_schema = { "check", sizeof(struct check), kind_field, NULL, true,
					  offsetof(struct check, kind) };
