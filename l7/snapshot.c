/* SPDX-License-Identifier: BSD-2-Clause */
/* Configurations in force.  See snapshot.h. */
#include "l7/snapshot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "l7/tls/tls.h"
#include "l7/tls/tls_client.h"

/* Without memory for its configuration the process can do nothing. */
static void *zeroed(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size);

	if (!p)
		abort();
	return p;
}

static void *copy(const void *p, size_t n, size_t size)
{
	void *to = zeroed(n, size);

	if (n)
		memcpy(to, p, n * size);
	return to;
}

static void copy_route(struct route_conf *r)
{
	r->extension = copy(r->extension, r->n_extensions, sizeof(*r->extension));
	r->method = copy(r->method, r->n_methods, sizeof(*r->method));
	r->header = copy(r->header, r->n_headers, sizeof(*r->header));
}

static void copy_conf(struct l7_conf *to, const struct l7_conf *from)
{
	uint32_t i, k;

	*to = *from;
	to->pool = copy(from->pool, from->n_pools, sizeof(*from->pool));
	for (i = 0; i < to->n_pools; i++)
		to->pool[i].backend = copy(from->pool[i].backend, from->pool[i].n_backends, sizeof(*from->pool[i].backend));
	to->edge = copy(from->edge, from->n_edges, sizeof(*from->edge));
	for (i = 0; i < to->n_edges; i++) {
		to->edge[i].route = copy(from->edge[i].route, from->edge[i].n_routes, sizeof(*from->edge[i].route));
		for (k = 0; k < to->edge[i].n_routes; k++)
			copy_route(&to->edge[i].route[k]);
	}
}

static void free_conf(struct l7_conf *c)
{
	uint32_t i, k;

	for (i = 0; i < c->n_edges; i++) {
		for (k = 0; k < c->edge[i].n_routes; k++) {
			free(c->edge[i].route[k].extension);
			free(c->edge[i].route[k].method);
			free(c->edge[i].route[k].header);
		}
		free(c->edge[i].route);
	}
	free(c->edge);
	for (i = 0; i < c->n_pools; i++)
		free(c->pool[i].backend);
	free(c->pool);
}

static int make_edge(struct edge *e, const struct pop *pop, const struct edge_conf *conf, char *why, size_t why_len)
{
	const struct vip *v = &pop->vip[conf->vip];

	e->conf = conf;
	e->vip = conf->vip_name;
	e->address = copy(v->address, v->n_addresses, sizeof(*v->address));
	e->n_addresses = v->n_addresses;
	e->routes = route_compile(conf);
	if (!e->routes) {
		snprintf(why, why_len, "out of memory");
		return -1;
	}
	if (!conf->tls)
		return 0;
	e->tls = tls_context_new(conf, why, why_len);
	return e->tls ? 0 : -1;
}

struct snapshot *snapshot_new(const struct pop *pop, uint64_t index, uint16_t self, char *why, size_t why_len)
{
	const struct host_conf *own = pop_host(pop, self);
	struct snapshot *s = zeroed(1, sizeof(*s));
	bool elsewhere = own && host_is_elsewhere(own);
	uint32_t i;

	s->refs = 1;
	s->index = index;
	copy_conf(&s->conf, &pop->l7);
	s->n_edges = s->conf.n_edges;
	s->edge = zeroed(s->n_edges, sizeof(*s->edge));
	s->n_hosts = pop->n_hosts;
	s->host = zeroed(s->n_hosts, sizeof(*s->host));
	for (i = 0; i < s->n_hosts; i++)
		s->host[i] = (struct other_host){ pop->host[i].id, pop->host[i].management, elsewhere || host_is_elsewhere(&pop->host[i]) };
	for (i = 0; i < s->n_edges; i++) {
		s->edge[i].first_route = s->n_routes;
		s->n_routes += s->conf.edge[i].n_routes;
	}
	s->pool_tls = zeroed(s->conf.n_pools, sizeof(struct tls_client *));
	for (i = 0; i < s->conf.n_pools; i++)
		if (s->conf.pool[i].tls) {
			s->pool_tls[i] = tls_client_new(&s->conf.pool[i], why, why_len);
			if (!s->pool_tls[i]) {
				snapshot_unref(s);
				return NULL;
			}
		}
	for (i = 0; i < s->n_edges; i++)
		if (make_edge(&s->edge[i], pop, &s->conf.edge[i], why, why_len)) {
			snapshot_unref(s);
			return NULL;
		}
	return s;
}

struct snapshot *snapshot_ref(struct snapshot *s)
{
	__atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
	return s;
}

void snapshot_unref(struct snapshot *s)
{
	uint32_t i;

	if (!s || __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL))
		return;
	for (i = 0; i < s->n_edges; i++) {
		free(s->edge[i].address);
		route_table_free(s->edge[i].routes);
		tls_context_free(s->edge[i].tls);
	}
	for (i = 0; i < s->conf.n_pools; i++)
		tls_client_unref(s->pool_tls[i]);
	free(s->pool_tls);
	free(s->edge);
	free(s->host);
	free_conf(&s->conf);
	free(s);
}

const struct edge *snapshot_edge_at(const struct snapshot *s, const struct address *a, uint16_t port)
{
	uint32_t i, k;

	for (i = 0; i < s->n_edges; i++)
		for (k = 0; s->edge[i].conf->port == port && k < s->edge[i].n_addresses; k++)
			if (address_equal(&s->edge[i].address[k], a))
				return &s->edge[i];
	return NULL;
}

const struct edge *snapshot_edge(const struct snapshot *s, const char *vip, uint16_t port)
{
	uint32_t i;

	for (i = 0; i < s->n_edges; i++)
		if (s->edge[i].conf->port == port && !strcmp(s->edge[i].vip, vip))
			return &s->edge[i];
	return NULL;
}
