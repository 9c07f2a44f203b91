/* SPDX-License-Identifier: BSD-2-Clause */
/* Reports, read from JSON into what the controller decides by. */
#include "control/report.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int64_t number(const json_t *o, const char *key, int64_t absent)
{
	const json_t *v = json_object_get(o, key);

	return json_is_number(v) ? (int64_t)json_number_value(v) : absent;
}

static uint32_t count(const json_t *o, const char *key)
{
	int64_t n = number(o, key, 0);

	return n < 0 ? 0 : n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
}

/* A host id as a key, or HOST_NONE. */
static uint16_t host_key(const char *key)
{
	char *end;
	unsigned long id = strtoul(key, &end, 10);

	return *end || end == key || id > HOST_ID_MAX ? HOST_NONE : (uint16_t)id;
}

static bool is_type(const json_t *json, const char *type)
{
	const char *t = json_string_value(json_object_get(json, "type"));

	return t && !strcmp(t, type);
}

int switch_report_read(const json_t *json, struct switch_report *out)
{
	json_t *hosts = json_object_get(json, "hosts"), *port;
	const char *key, *buckets;

	memset(out, 0, sizeof(*out));
	if (!is_type(json, "switch"))
		return -EBADMSG;
	out->announcing = json_is_true(json_object_get(json, "announcing"));
	out->drained = json_is_true(json_object_get(json, "drained"));
	buckets = json_string_value(json_object_get(json, "buckets"));
	out->buckets = buckets && strlen(buckets) == 16 ? strtoull(buckets, NULL, 16) : 0;
	json_object_foreach(hosts, key, port) {
		uint16_t id = host_key(key);

		if (id)
			out->host[id] = (uint8_t)(PORT_KNOWN |
				(json_is_true(json_object_get(port, "carrier")) ? PORT_CARRIER : 0) |
				(json_is_true(json_object_get(port, "datapath")) ? PORT_DATAPATH : 0));
	}
	return 0;
}

int host_report_read(const json_t *json, struct host_report *out)
{
	json_t *services = json_object_get(json, "services"), *sockets = json_object_get(json, "sockets");
	json_t *via = json_object_get(json, "via"), *v;
	const char *key;

	memset(out, 0, sizeof(*out));
	if (!is_type(json, "host"))
		return -EBADMSG;
	out->services_ok = true;
	json_object_foreach(services, key, v) {
		const char *why = json_string_value(json_object_get(v, "why"));

		if (json_is_true(json_object_get(v, "ok")))
			continue;
		if (out->services_ok)
			snprintf(out->why, sizeof(out->why), "%.60s: %.60s", key, why ? why : "check fails");
		out->services_ok = false;
	}
	out->established = count(sockets, "established");
	out->request = count(sockets, "request");
	out->time_wait = count(sockets, "time_wait");
	out->other = count(sockets, "other");
	out->rows = count(json, "rows");
	out->proxied = count(json, "proxied");
	out->cookie_ms = number(json, "cookie_ms", 0);
	out->detour_in_ms = number(json, "detour_in_ms", 0);
	out->detour_out_ms = number(json, "detour_out_ms", 0);
	out->via_known = json_is_object(via) && json_object_get(json, "via_unknown") && json_object_get(json, "via_index");
	out->via_unknown = count(json, "via_unknown");
	out->via_index = (uint64_t)number(json, "via_index", 0);
	json_object_foreach(via, key, v) {
		uint16_t id = host_key(key);

		if (id)
			out->via[id] = json_number_value(v) > 0;
	}
	return 0;
}
