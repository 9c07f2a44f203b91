/* SPDX-License-Identifier: BSD-2-Clause */
/* What a switch must hold, computed from the view.  See want.h. */
#include "switch/want.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool wired_to(const struct host_conf *host, uint16_t switch_id)
{
	for (uint32_t i = 0; i < host->n_links; i++)
		if (host->link[i].switch_id == switch_id)
			return true;
	return false;
}

const struct switch_port *want_port(const struct pop *pop, const struct switch_conf *self, const bool *carrier,
				    uint16_t host)
{
	const struct host_conf *conf = pop_host(pop, host);
	const struct switch_port *own = NULL, *peer = NULL;

	for (uint32_t i = 0; i < self->n_ports; i++) {
		const struct switch_port *p = &self->port[i];

		if (p->host == host && host != HOST_NONE) {
			if (carrier[i])
				return p;
			own = p;
		} else if (p->peer && carrier[i] && !peer && conf && wired_to(conf, p->peer)) {
			peer = p;
		}
	}
	/* With no way at all the row keeps pointing at the dead port: it is right the moment carrier returns. */
	return peer ? peer : own;
}

static int row_compare(const void *a, const void *b)
{
	const struct fdb_row *x = a, *y = b;

	return memcmp(x->mac, y->mac, sizeof(x->mac));
}

const struct fdb_row *fabric_want_row(const struct fabric_want *w, const uint8_t mac[6])
{
	struct fdb_row key = { .ifname = "" };

	memcpy(key.mac, mac, sizeof(key.mac));
	return w->n_fdb ? bsearch(&key, w->fdb, w->n_fdb, sizeof(*w->fdb), row_compare) : NULL;
}

/* Sorts the rows by address and drops repetitions: buckets share triples. */
static void rows_settle(struct fabric_want *w)
{
	size_t n = 0;

	if (!w->n_fdb)
		return;
	qsort(w->fdb, w->n_fdb, sizeof(*w->fdb), row_compare);
	for (size_t i = 1; i < w->n_fdb; i++)
		if (memcmp(w->fdb[n].mac, w->fdb[i].mac, sizeof(w->fdb[n].mac)))
			w->fdb[++n] = w->fdb[i];
	w->n_fdb = n + 1;
}

struct builder {
	struct fabric_want *w;
	const struct switch_port **port; /* by host id: where its frames leave, NULL for nowhere */
};

/* A row for the triple and for every form it is shifted to on its way along the history. */
static void rows_of_triple(struct builder *b, struct triple t)
{
	for (; triple_len(&t); t = triple_shift(&t)) {
		const struct switch_port *port = host_id_valid(t.host[0]) ? b->port[t.host[0]] : NULL;
		struct fdb_row *row;

		if (!port)
			continue;
		row = &b->w->fdb[b->w->n_fdb++];
		vmac_encode(row->mac, &t);
		memcpy(row->ifname, port->ifname, sizeof(row->ifname));
	}
}

static size_t vips_count(const struct pop *pop)
{
	size_t n = 0;

	for (uint32_t i = 0; i < pop->n_vips; i++)
		n += pop->vip[i].n_addresses;
	return n;
}

static void vips_fill(struct fabric_want *w, const struct pop *pop)
{
	/* A withdrawn VIP keeps its route: what still arrives belongs to flows that are not over. */
	for (uint32_t i = 0; i < pop->n_vips; i++)
		for (uint32_t j = 0; j < pop->vip[i].n_addresses; j++)
			w->vip[w->n_vips++] = pop->vip[i].address[j];
}

int want_make(const struct view *view, const struct switch_conf *self, const bool *carrier, struct fabric_want *out)
{
	const struct pop *pop = view->pop;
	const struct table *t = view->table;
	struct builder b = { .w = out };

	memset(out, 0, sizeof(*out));
	if (t->n_buckets != pop->buckets)
		return -EINVAL;
	out->n_buckets = t->n_buckets;
	out->hash_seed = pop->hash_seed;
	out->switch_id = self->id;
	out->vmac = calloc(t->n_buckets, sizeof(*out->vmac));
	out->fdb = calloc((size_t)t->n_buckets * TRIPLE_MAX + pop->n_hosts + 1, sizeof(*out->fdb));
	out->vip = calloc(vips_count(pop) + 1, sizeof(*out->vip));
	out->host = calloc(pop->n_hosts + 1, sizeof(*out->host));
	b.port = calloc(HOST_ID_MAX + 1, sizeof(struct switch_port *));
	if (!out->vmac || !out->fdb || !out->vip || !out->host || !b.port) {
		free(b.port);
		fabric_want_free(out);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < pop->n_hosts; i++) {
		uint16_t id = pop->host[i].id;
		struct triple own = { { id } };

		if (host_is_elsewhere(&pop->host[i]))
			continue;
		b.port[id] = want_port(pop, self, carrier, id);
		out->host[out->n_hosts++] = id;
		rows_of_triple(&b, own);
	}
	for (uint32_t i = 0; i < t->n_buckets; i++) {
		const struct triple *triple = &t->bucket[i].triple;

		if (!triple_len(triple)) {
			router_mac(out->vmac[i], WANT_NOBODY_SWITCH);
			continue;
		}
		vmac_encode(out->vmac[i], triple);
		rows_of_triple(&b, *triple);
	}
	rows_settle(out);
	vips_fill(out, pop);
	free(b.port);
	return 0;
}

void fabric_want_free(struct fabric_want *w)
{
	free(w->vmac);
	free(w->fdb);
	free(w->vip);
	free(w->host);
	memset(w, 0, sizeof(*w));
}

static void *duplicate(const void *from, size_t n, size_t size)
{
	void *to = calloc(n + 1, size);

	if (!to)
		return NULL;
	if (n)
		memcpy(to, from, n * size);
	return to;
}

int fabric_want_copy(struct fabric_want *to, const struct fabric_want *from)
{
	*to = *from;
	to->vmac = duplicate(from->vmac, from->n_buckets, sizeof(*from->vmac));
	to->fdb = duplicate(from->fdb, from->n_fdb, sizeof(*from->fdb));
	to->vip = duplicate(from->vip, from->n_vips, sizeof(*from->vip));
	to->host = duplicate(from->host, from->n_hosts, sizeof(*from->host));
	if (to->vmac && to->fdb && to->vip && to->host)
		return 0;
	fabric_want_free(to);
	return -ENOMEM;
}
