/* SPDX-License-Identifier: BSD-2-Clause */
/* How pop.yaml's layer 7 is read.  See l7/conf.h for what it means. */
#include "l7/conf_schema.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "l7/http/head.h"
#include "pop/pop.h"

/* --- words of our own -------------------------------------------------------------------------------- */

/* 512, 64K, 16M, 1G: bytes, into a uint64_t. */
static bool size_read(struct conf *c, const struct conf_node *n, const struct conf_field *f, void *at)
{
	static const char unit[] = "KMGT";
	const char *w = conf_word(c, n, f, "a size such as 16M"), *u;
	unsigned long long v;
	unsigned shift = 0;
	char *end;

	if (!w)
		return false;
	v = strtoull(w, &end, 10);
	u = *end ? strchr(unit, *end) : NULL;
	if (u)
		shift = 10 * (unsigned)(u - unit + 1);
	if (!isdigit((unsigned char)*w) || (*end && (!u || end[1])) || v > UINT64_MAX >> 1 >> shift) {
		conf_fault(c, n, NULL, "'%s' is '%s', but must be a size: 512, 64K, 16M, 1G", f->key, w);
		return false;
	}
	*(uint64_t *)at = (uint64_t)v << shift;
	return true;
}

static void size_print(const struct conf_field *f, const void *root, const void *at, char *buf, size_t len)
{
	uint64_t v = *(const uint64_t *)at;
	unsigned u = 0;

	(void)f;
	(void)root;
	for (; v && !(v & 1023) && u < 4; u++)
		v >>= 10;
	snprintf(buf, len, "%llu%.1s", (unsigned long long)v, u ? &"KMGT"[u - 1] : "");
}

static const struct conf_type size_type = { size_read, size_print, false };

static bool method_read(struct conf *c, const struct conf_node *n, const struct conf_field *f, void *at)
{
	const char *w = conf_word(c, n, f, "methods such as GET");
	unsigned m;

	if (!w)
		return false;
	for (m = 0; m < METHOD_OTHER; m++)
		if (!strcmp(w, method_name(m)))
			break;
	if (m == METHOD_OTHER || m == METHOD_CONNECT) {
		conf_fault(c, n, NULL, "'%s' is not a method that can be routed: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH or TRACE",
			   w);
		return false;
	}
	*(uint8_t *)at = (uint8_t)m;
	return true;
}

static void method_print(const struct conf_field *f, const void *root, const void *at, char *buf, size_t len)
{
	(void)f;
	(void)root;
	snprintf(buf, len, "%s", method_name(*(const uint8_t *)at));
}

static const struct conf_type method_type = { method_read, method_print, false };

static bool tls_read(struct conf *c, const struct conf_node *n, const struct conf_field *f, void *at)
{
	const char *w = conf_word(c, n, f, "\"1.2\" or \"1.3\"");

	if (!w)
		return false;
	if (strcmp(w, "1.2") && strcmp(w, "1.3")) {
		conf_fault(c, n, NULL, "'%s' is '%s', but must be 1.2 or 1.3", f->key, w);
		return false;
	}
	*(uint16_t *)at = w[2] == '2' ? 0x0303 : 0x0304;
	return true;
}

static void tls_print(const struct conf_field *f, const void *root, const void *at, char *buf, size_t len)
{
	(void)f;
	(void)root;
	snprintf(buf, len, "1.%u", *(const uint16_t *)at - 0x0301u);
}

static const struct conf_type tls_type = { tls_read, tls_print, false };

/* --- pools ------------------------------------------------------------------------------------------- */

static const char *host_name(const void *root, uint16_t id)
{
	const struct host_conf *h = root ? pop_host(root, id) : NULL;

	return h ? h->name : NULL;
}

static const struct conf_field backend_field[] = {
	{ "host", CONF_AT(struct backend_conf, host), .type = &conf_reference, .refers = "host", .name_of = host_name },
	{ "address", CONF_AT(struct backend_conf, address), .type = &conf_address },
	{ "port", CONF_AT(struct backend_conf, port), .type = &conf_integer, .unless = "80", .min = 1, .max = 65535 },
	{ "weight", CONF_AT(struct backend_conf, weight), .type = &conf_integer, .unless = "1", .max = 1000 },
	{ "socket", CONF_AT(struct backend_conf, socket), .type = &conf_path },
	{ 0 },
};

static void backend_check(struct conf *c, const void *object)
{
	const struct backend_conf *b = object;
	bool host = conf_where(c, &b->host), address = conf_where(c, &b->address);

	if (host && address)
		conf_fault_at(c, &b->address, b, "a backend has a 'host' or an 'address', not both");
	if (!host && !address)
		conf_fault_at(c, b, b, "a backend needs a 'host' of this POP or an 'address'");
	if (b->socket[0] && !host)
		conf_fault_at(c, b->socket, b, "a backend with a 'socket' is on a 'host' of this POP: its baton-l7d hands connections to it");
}

static const struct conf_schema backend_schema = { "backend", sizeof(struct backend_conf), backend_field,
						   .check = backend_check };

#define POOL_AT(member) CONF_AT(struct pool_conf, member)
static const struct conf_field check_http_field[] = {
	{ "path", POOL_AT(check_path), .type = &conf_path },
	{ "interval", POOL_AT(check_interval_ms), .type = &conf_duration, .unless = "1s", .min = 50, .max = 600000 },
	{ "timeout", POOL_AT(check_timeout_ms), .type = &conf_duration, .unless = "500ms", .min = 10, .max = 600000 },
	{ "rise", POOL_AT(check_rise), .type = &conf_integer, .unless = "2", .min = 1, .max = 100 },
	{ "fall", POOL_AT(check_fall), .type = &conf_integer, .unless = "3", .min = 1, .max = 100 },
	{ 0 },
};
static const struct conf_schema check_http_schema = { "http check", sizeof(struct pool_conf), check_http_field,
						      .check = NULL };
static const struct conf_field pool_check_field[] = {
	{ "http", 0, sizeof(struct pool_conf), .shape = CONF_STRUCT, .schema = &check_http_schema },
	{ 0 },
};
static const struct conf_schema pool_check_schema = { "check", sizeof(struct pool_conf), pool_check_field,
						      .check = NULL };

static const struct conf_field pool_timeouts_field[] = {
	{ "connect", POOL_AT(connect_ms), .type = &conf_duration, .unless = "1s", .min = 1, .max = 600000 },
	{ "response", POOL_AT(response_ms), .type = &conf_duration, .unless = "30s", .min = 1, .max = 3600000 },
	{ "idle", POOL_AT(idle_ms), .type = &conf_duration, .unless = "60s", .min = 1, .max = 86400000 },
	{ 0 },
};
static const struct conf_schema pool_timeouts_schema = { "timeouts", sizeof(struct pool_conf), pool_timeouts_field,
							 .check = NULL };

static const struct conf_field pool_limits_field[] = {
	{ "connections", POOL_AT(max_connections), .type = &conf_integer, .unless = "1000", .min = 1, .max = 1000000 },
	{ "queue", POOL_AT(max_queue), .type = &conf_integer, .unless = "1000", .max = 1000000 },
	{ "keep", POOL_AT(keep), .type = &conf_integer, .unless = "64", .max = 100000 },
	{ 0 },
};
static const struct conf_schema pool_limits_schema = { "limits", sizeof(struct pool_conf), pool_limits_field,
						       .check = NULL };

static const char *const backend_tls_words[] = { [BACKEND_TLS_OFF] = "off", [BACKEND_TLS_NONE] = "none",
						 [BACKEND_TLS_CHAIN] = "chain", [BACKEND_TLS_NAME] = "name", NULL };
static const struct conf_field pool_tls_field[] = {
	{ "verify", POOL_AT(tls), .type = &conf_choice, .words = backend_tls_words, .unless = "off" },
	{ "name", POOL_AT(tls_name), .type = &conf_text, .min = 1 },
	{ "ca", POOL_AT(tls_ca), .type = &conf_path },
	{ 0 },
};
static const struct conf_schema pool_tls_schema = { "tls", sizeof(struct pool_conf), pool_tls_field, .check = NULL };

static const char *const policy_words[] = { [POLICY_ROUND_ROBIN] = "round_robin",
					    [POLICY_LEAST_CONNECTIONS] = "least_connections",
					    [POLICY_AFFINITY] = "affinity", [POLICY_LARD] = "lard", NULL };
static const char *const affinity_words[] = { [AFFINITY_URL] = "url", [AFFINITY_HOST] = "host",
					      [AFFINITY_COOKIE] = "cookie", [AFFINITY_CLIENT] = "client", NULL };

static const struct conf_field pool_field[] = {
	{ "name", POOL_AT(name), .type = &conf_name, .required = true, .unique = "pool" },
	{ "policy", POOL_AT(policy), .type = &conf_choice, .words = policy_words, .unless = "round_robin" },
	{ "affinity", POOL_AT(affinity), .type = &conf_choice, .words = affinity_words, .unless = "url" },
	{ "cookie", POOL_AT(cookie), .type = &conf_text, .min = 1 },
	{ "replicas", POOL_AT(replicas), .type = &conf_integer, .unless = "1", .min = 1, .max = 64 },
	{ "bound", POOL_AT(bound_percent), .type = &conf_integer, .unless = "125", .min = 101, .max = 10000 },
	{ "backends", CONF_ITEMS(struct pool_conf, backend, n_backends), .shape = CONF_LIST, .schema = &backend_schema,
	  .required = true, .max = L7_BACKENDS_MAX },
	{ "check", 0, sizeof(struct pool_conf), .shape = CONF_STRUCT, .schema = &pool_check_schema },
	{ "timeouts", 0, sizeof(struct pool_conf), .shape = CONF_STRUCT, .schema = &pool_timeouts_schema },
	{ "limits", 0, sizeof(struct pool_conf), .shape = CONF_STRUCT, .schema = &pool_limits_schema },
	{ "preopen", POOL_AT(preopen), .type = &conf_integer, .unless = "0", .max = 10000 },
	{ "slow_start", POOL_AT(slow_start_ms), .type = &conf_duration, .unless = "10s", .max = 3600000 },
	{ "retries", POOL_AT(retries), .type = &conf_integer, .unless = "2", .max = 16 },
	{ "retry_budget", POOL_AT(retry_budget_percent), .type = &conf_percent, .unless = "20%", .max = 100 },
	{ "proxy_protocol", POOL_AT(proxy_protocol), .type = &conf_boolean, .unless = "false" },
	{ "tls", 0, sizeof(struct pool_conf), .shape = CONF_STRUCT, .schema = &pool_tls_schema },
	{ 0 },
};

static void pool_check(struct conf *c, const void *object)
{
	const struct pool_conf *p = object;

	if (p->policy == POLICY_AFFINITY && p->affinity == AFFINITY_COOKIE && !*p->cookie)
		conf_fault_at(c, &p->affinity, p, "affinity by cookie needs the cookie's name: add 'cookie: NAME'");
	if (!*p->check_path && conf_where(c, &p->check_interval_ms))
		conf_fault_at(c, &p->check_interval_ms, p, "the http check has no 'path'");
	if (p->check_timeout_ms > p->check_interval_ms && *p->check_path)
		conf_fault_at(c, &p->check_timeout_ms, &p->check_interval_ms,
			      "'timeout' is %ums, longer than 'interval' with %ums", p->check_timeout_ms, p->check_interval_ms);
	if (p->tls == BACKEND_TLS_OFF && (*p->tls_name || *p->tls_ca))
		conf_fault_at(c, *p->tls_name ? (const void *)p->tls_name : p->tls_ca, p,
			      "tls without 'verify': add 'verify: name', 'chain', or 'none' where the network is trusted");
	if (p->tls == BACKEND_TLS_NAME && !*p->tls_name)
		conf_fault_at(c, &p->tls, p, "verify: name needs the name: add 'name: backend.example.net'");
	if (p->n_backends && p->replicas > p->n_backends)
		conf_fault_at(c, &p->replicas, p, "%u replicas on %u backends", p->replicas, p->n_backends);
}

const struct conf_schema pool_schema = { "pool", sizeof(struct pool_conf), pool_field, .check = pool_check };

/* --- edges ------------------------------------------------------------------------------------------- */

static const struct conf_field header_field[] = {
	{ "header", CONF_AT(struct header_match, name), .type = &conf_name },
	{ "value", CONF_AT(struct header_match, value), .type = &conf_text },
	{ 0 },
};
static const struct conf_schema header_schema = { "header", sizeof(struct header_match), header_field, .check = NULL };

static const char *const mode_words[] = { [ROUTE_AUTO] = "auto", [ROUTE_PROXY] = "proxy", [ROUTE_HANDOFF] = "handoff", NULL };
static const struct conf_field route_field[] = {
	{ "host", CONF_AT(struct route_conf, host), .type = &conf_text, .min = 1 },
	{ "path", CONF_AT(struct route_conf, path), .type = &conf_path },
	{ "extension", CONF_ITEMS(struct route_conf, extension, n_extensions), .shape = CONF_LIST, .type = &conf_name,
	  .max = 256 },
	{ "method", CONF_ITEMS(struct route_conf, method, n_methods), .shape = CONF_LIST, .type = &method_type, .max = 16 },
	{ "header", CONF_ITEMS(struct route_conf, header, n_headers), .shape = CONF_MAP, .schema = &header_schema, .max = 16 },
	{ "pool", CONF_AT(struct route_conf, pool_name), .type = &conf_name, .required = true },
	{ "mode", CONF_AT(struct route_conf, mode), .type = &conf_choice, .words = mode_words, .unless = "auto" },
	{ 0 },
};
static const struct conf_schema route_schema = { "route", sizeof(struct route_conf), route_field, .check = NULL };

static const char *const kernel_tls_words[] = { [KERNEL_TLS_AUTO] = "auto", [KERNEL_TLS_NEVER] = "never", NULL };

#define EDGE_AT(member) CONF_AT(struct edge_conf, member)
static const char *const client_cert_words[] = { [CLIENT_CERT_REQUIRED] = "required", [CLIENT_CERT_OPTIONAL] = "optional", NULL };
#define CLIENT_CERT_AT(member) CONF_AT(struct client_cert_conf, member)
static const struct conf_field client_cert_field[] = {
	{ "ca", CLIENT_CERT_AT(ca), .type = &conf_path },
	{ "verify", CLIENT_CERT_AT(verify), .type = &conf_choice, .words = client_cert_words, .unless = "required" },
	{ "depth", CLIENT_CERT_AT(depth), .type = &conf_integer, .unless = "4", .max = 16 },
	{ "crl", CLIENT_CERT_AT(crl), .type = &conf_path },
	{ "chain", CLIENT_CERT_AT(chain), .type = &conf_boolean, .unless = "false" },
	{ 0 },
};
static const struct conf_schema client_cert_schema = { "client", sizeof(struct client_cert_conf), client_cert_field, .check = NULL };

static const struct conf_field edge_tls_field[] = {
	{ "certificates", EDGE_AT(certificates), .type = &conf_path },
	{ "min_version", EDGE_AT(tls_min), .type = &tls_type, .unless = "1.2" },
	{ "kernel", EDGE_AT(kernel_tls), .type = &conf_choice, .words = kernel_tls_words, .unless = "auto" },
	{ "client", EDGE_AT(client), .shape = CONF_STRUCT, .schema = &client_cert_schema },
	{ 0 },
};
static const struct conf_schema edge_tls_schema = { "tls", sizeof(struct edge_conf), edge_tls_field, .check = NULL };

static const struct conf_field edge_timeouts_field[] = {
	{ "head", EDGE_AT(head_ms), .type = &conf_duration, .unless = "10s", .min = 100, .max = 3600000 },
	{ "idle", EDGE_AT(idle_ms), .type = &conf_duration, .unless = "60s", .min = 100, .max = 86400000 },
	{ "body", EDGE_AT(body_ms), .type = &conf_duration, .unless = "30s", .min = 100, .max = 3600000 },
	{ 0 },
};
static const struct conf_schema edge_timeouts_schema = { "timeouts", sizeof(struct edge_conf), edge_timeouts_field,
							 .check = NULL };

static const struct conf_field edge_limits_field[] = {
	{ "head", EDGE_AT(head_max), .type = &conf_integer, .unless = "16384", .min = 512, .max = 262144 },
	{ "body", EDGE_AT(body_max), .type = &size_type, .unless = "0" },
	{ "connections", EDGE_AT(max_connections), .type = &conf_integer, .unless = "100000", .min = 1, .max = 10000000 },
	{ 0 },
};
static const struct conf_schema edge_limits_schema = { "limits", sizeof(struct edge_conf), edge_limits_field,
						       .check = NULL };

static const struct conf_field edge_field[] = {
	{ "vip", EDGE_AT(vip_name), .type = &conf_name, .required = true },
	{ "port", EDGE_AT(port), .type = &conf_integer, .required = true, .min = 1, .max = 65535 },
	{ "tls", 0, sizeof(struct edge_conf), .shape = CONF_STRUCT, .schema = &edge_tls_schema },
	{ "http2", EDGE_AT(http2), .type = &conf_boolean, .unless = "true" },
	{ "routes", CONF_ITEMS(struct edge_conf, route, n_routes), .shape = CONF_LIST, .schema = &route_schema,
	  .required = true, .max = 4096 },
	{ "timeouts", 0, sizeof(struct edge_conf), .shape = CONF_STRUCT, .schema = &edge_timeouts_schema },
	{ "limits", 0, sizeof(struct edge_conf), .shape = CONF_STRUCT, .schema = &edge_limits_schema },
	{ 0 },
};

static void edge_check(struct conf *c, const void *object)
{
	const struct edge_conf *e = object;

	if (!*e->certificates && (conf_where(c, &e->tls_min) || conf_where(c, &e->kernel_tls)))
		conf_fault_at(c, conf_where(c, &e->tls_min) ? (const void *)&e->tls_min : &e->kernel_tls, e,
			      "tls needs 'certificates': a directory of NAME.pem files, each with its key");
	else if (conf_where(c, &e->client) && !*e->client.ca)
		conf_fault_at(c, &e->client, e, "client has no 'ca': a file of CAs whose certificates are taken, or a directory of NAME.pem files");
	else if (!*e->certificates && conf_where(c, &e->client))
		conf_fault_at(c, &e->client, e, "clients show certificates in TLS: tls needs 'certificates' of its own first");
}

const struct conf_schema edge_schema = { "edge", sizeof(struct edge_conf), edge_field, .check = edge_check };

/* --- store, hand-off, access log -------------------------------------------------------------------------------- */

static const struct conf_field store_field[] = {
	{ "directory", CONF_AT(struct store_conf, directory), .type = &conf_path },
	{ "port", CONF_AT(struct store_conf, port), .type = &conf_integer, .unless = "7480", .min = 1, .max = 65535 },
	{ "object_max", CONF_AT(struct store_conf, object_max), .type = &size_type, .unless = "1G" },
	{ "writable", CONF_AT(struct store_conf, writable), .type = &conf_boolean, .unless = "false" },
	{ "log", CONF_AT(struct store_conf, log), .type = &conf_boolean, .unless = "false" },
	{ 0 },
};
const struct conf_schema store_schema = { "store", sizeof(struct store_conf), store_field, .check = NULL };

static const struct conf_field handoff_field[] = {
	{ "port", CONF_AT(struct handoff_conf, port), .type = &conf_integer, .unless = "7500", .min = 1, .max = 65535 - WORKERS_MAX },
	{ "queue", CONF_AT(struct handoff_conf, queue_max), .type = &size_type, .unless = "64K" },
	{ "connections", CONF_AT(struct handoff_conf, max_connections), .type = &conf_integer, .unless = "100000", .min = 1,
	  .max = 10000000 },
	{ 0 },
};
const struct conf_schema handoff_schema = { "handoff", sizeof(struct handoff_conf), handoff_field, .check = NULL };

static const char *const format_words[] = { [ACCESS_JSON] = "json", [ACCESS_COMBINED] = "combined", NULL };
static const struct conf_field access_log_field[] = {
	{ "path", CONF_AT(struct access_log_conf, path), .type = &conf_path },
	{ "format", CONF_AT(struct access_log_conf, format), .type = &conf_choice, .words = format_words, .unless = "json" },
	{ 0 },
};
const struct conf_schema access_log_schema = { "access_log", sizeof(struct access_log_conf), access_log_field,
					       .check = NULL };

/* --- the whole ---------------------------------------------------------------------------------------- */

static void complete_pool(struct conf *c, const struct pop *pop, struct pool_conf *p)
{
	uint32_t i, k, weight = 0;

	p->check = *p->check_path;
	for (i = 0; i < p->n_backends; i++) {
		struct backend_conf *b = &p->backend[i];
		const struct host_conf *h = b->host ? pop_host(pop, b->host) : NULL;

		if (h)
			b->address = h->management;
		weight += b->weight;
		for (k = 0; k < i; k++)
			if (b->address.family && b->port == p->backend[k].port && address_equal(&b->address, &p->backend[k].address))
				conf_fault_at(c, b, p, "pool %s has this backend twice", p->name);
	}
	if (p->n_backends && !weight && !conf_faulty(c))
		conf_fault_at(c, &p->backend, p, "every backend of pool %s has weight 0: nobody would serve", p->name);
}

static void complete_route(struct conf *c, const struct pop *pop, struct route_conf *r)
{
	uint32_t i;

	for (i = 0; i < r->n_methods; i++)
		r->methods |= method_bit(r->method[i]);
	for (i = 0; i < pop->l7.n_pools; i++)
		if (!strcmp(pop->l7.pool[i].name, r->pool_name))
			break;
	r->pool = i;
	if (i == pop->l7.n_pools && *r->pool_name)
		conf_fault_at(c, r->pool_name, r, "there is no pool '%s'", r->pool_name);
}

static void complete_edge(struct conf *c, const struct pop *pop, uint32_t at)
{
	struct edge_conf *e = &pop->l7.edge[at];
	const struct vip *v = pop_vip_by_name(pop, e->vip_name);
	uint32_t i;
	bool has = false;

	e->tls = *e->certificates;
	for (i = 0; i < e->n_routes; i++)
		complete_route(c, pop, &e->route[i]);
	for (i = 0; i < at; i++)
		if (pop->l7.edge[i].port == e->port && !strcmp(pop->l7.edge[i].vip_name, e->vip_name))
			conf_fault_at(c, e, pop, "vip %s has a second edge on port %u", e->vip_name, e->port);
	if (!v) {
		if (*e->vip_name)
			conf_fault_at(c, e->vip_name, e, "there is no vip '%s'", e->vip_name);
		return;
	}
	e->vip = (uint32_t)(v - pop->vip);
	for (i = 0; i < v->n_ports; i++)
		has = has || (v->port[i].port == e->port && v->port[i].protocol == IPPROTO_TCP);
	if (!has && e->port)
		conf_fault_at(c, &e->port, e, "vip %s has no port %u/tcp: add it to its ports", v->name, e->port);
}

void l7_check(struct conf *c, struct pop *pop)
{
	uint32_t i;

	pop->l7.store.enabled = *pop->l7.store.directory;
	pop->l7.handoff.enabled = conf_where(c, &pop->l7.handoff); /* the section is there */
	for (i = 0; i < pop->l7.n_pools; i++)
		complete_pool(c, pop, &pop->l7.pool[i]);
	for (i = 0; i < pop->l7.n_edges; i++)
		complete_edge(c, pop, i);
}
