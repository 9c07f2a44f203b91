/* SPDX-License-Identifier: BSD-2-Clause */
#include "pop/pop.h"

#include <stdlib.h>
#include <string.h>

#include "pop/schema.h"

struct pop *pop_parse(const char *text, size_t len, const char *name, struct conf_errors *errors)
{
	struct pop *pop = calloc(1, sizeof(*pop));

	if (!pop)
		abort();
	if (conf_read(text, len, name, &pop_schema, pop, pop_check, errors))
		return pop;
	pop_free(pop);
	return NULL;
}

struct pop *pop_load(const char *path, struct conf_errors *errors)
{
	struct pop *pop;
	char *text;
	size_t len;
	int err = conf_slurp(path, &text, &len);

	if (err) {
		conf_errors_file(errors, path, err);
		return NULL;
	}
	pop = pop_parse(text, len, path, errors);
	free(text);
	return pop;
}

void pop_free(struct pop *pop)
{
	if (!pop)
		return;
	conf_release(&pop_schema, pop);
	free(pop);
}

const struct host_conf *pop_host(const struct pop *pop, uint16_t id)
{
	uint32_t i;

	for (i = 0; i < pop->n_hosts; i++)
		if (pop->host[i].id == id)
			return &pop->host[i];
	return NULL;
}

const struct host_conf *pop_host_by_name(const struct pop *pop, const char *name)
{
	uint32_t i;

	for (i = 0; i < pop->n_hosts; i++)
		if (!strcmp(pop->host[i].name, name))
			return &pop->host[i];
	return NULL;
}

bool host_is_elsewhere(const struct host_conf *host)
{
	return host->n_elsewhere > 0;
}

const struct address *host_tunnel(const struct host_conf *host)
{
	return host->tunnel.family ? &host->tunnel : &host->management;
}

const struct switch_conf *pop_switch(const struct pop *pop, uint16_t id)
{
	uint32_t i;

	for (i = 0; i < pop->n_switches; i++)
		if (pop->switches[i].id == id)
			return &pop->switches[i];
	return NULL;
}

const struct switch_conf *pop_switch_by_name(const struct pop *pop, const char *name)
{
	uint32_t i;

	for (i = 0; i < pop->n_switches; i++)
		if (!strcmp(pop->switches[i].name, name))
			return &pop->switches[i];
	return NULL;
}

const struct vip *pop_vip_by_name(const struct pop *pop, const char *name)
{
	uint32_t i;

	for (i = 0; i < pop->n_vips; i++)
		if (!strcmp(pop->vip[i].name, name))
			return &pop->vip[i];
	return NULL;
}

const struct vip *pop_vip_by_address(const struct pop *pop, const struct address *a)
{
	uint32_t i, k;

	for (i = 0; i < pop->n_vips; i++)
		for (k = 0; k < pop->vip[i].n_addresses; k++)
			if (address_equal(&pop->vip[i].address[k], a))
				return &pop->vip[i];
	return NULL;
}

const struct switch_port *pop_port_to_host(const struct switch_conf *sw, uint16_t host)
{
	uint32_t i;

	for (i = 0; i < sw->n_ports; i++)
		if (sw->port[i].host == host)
			return &sw->port[i];
	return NULL;
}

const struct host_link *pop_link_to_switch(const struct host_conf *host, uint16_t switch_id)
{
	uint32_t i;

	for (i = 0; i < host->n_links; i++)
		if (host->link[i].switch_id == switch_id)
			return &host->link[i];
	return NULL;
}
