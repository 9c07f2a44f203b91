/* SPDX-License-Identifier: BSD-2-Clause */
/* The decision of announce.h.  The order of the questions is the order of their certainty. */
#include "bgp/announce.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int announcement_order(const void *a, const void *b)
{
	const struct announcement *x = a, *y = b;
	int order = address_compare(&x->prefix, &y->prefix);

	return order ? order : (int)y->how - (int)x->how;
}

size_t announcements_sort(struct announcement *a, size_t n)
{
	size_t i, kept = 0;

	if (n)
		qsort(a, n, sizeof(*a), announcement_order);
	for (i = 0; i < n; i++)
		if (!kept || address_compare(&a[kept - 1].prefix, &a[i].prefix))
			a[kept++] = a[i];
	return kept;
}

static int prefix_order(const void *prefix, const void *a)
{
	return address_compare(prefix, &((const struct announcement *)a)->prefix);
}

const struct announcement *announcement_find(const struct announcement *sorted, size_t n, const struct address *prefix)
{
	return n ? bsearch(prefix, sorted, n, sizeof(*sorted), prefix_order) : NULL;
}

/* Can any host own a bucket, now or as soon as the table follows?  A sick one can: it still answers. */
static bool anybody_serves(const struct view *v)
{
	uint32_t i;

	for (i = 0; i < v->pop->n_hosts; i++) {
		const struct host_conf *h = &v->pop->host[i];

		if (h->weight && v->host_health[h->id] != HEALTH_DEAD && v->host_admin[h->id] != ADMIN_OUT)
			return true;
	}
	return false;
}

/* Buckets without an owner drop what falls into them; a table without any owner would drop everything. */
static bool table_owned_by_any(const struct view *v)
{
	uint32_t i;

	for (i = 0; v->table && i < v->table->n_buckets; i++)
		if (v->table->bucket[i].triple.host[0] != HOST_NONE)
			return true;
	return false;
}

static bool routed(const struct announce_self *self, const struct address *vip)
{
	size_t i;

	for (i = 0; i < self->n_routed; i++)
		if (address_equal(&self->routed[i], vip))
			return true;
	return false;
}

enum bucket_proof proof_judge(uint64_t own, uint64_t reference)
{
	if (!own || !reference)
		return PROOF_PENDING;
	return own == reference ? PROOF_EQUAL : PROOF_DIFFERENT;
}

static struct announce_verdict verdict(enum announce how, enum announce_reason why)
{
	return (struct announce_verdict){ how, why };
}

struct announce_verdict announce_one(const struct view *view, const struct announce_self *self, uint32_t vip,
				     uint32_t address)
{
	const struct address *a = &view->pop->vip[vip].address[address];
	enum announce how = ANNOUNCE_NORMAL;
	enum announce_reason why = BECAUSE_SERVING;

	switch ((enum admin)view->switch_admin[self->id]) {
	case ADMIN_OUT: return verdict(ANNOUNCE_NO, BECAUSE_SWITCH_OUT);
	case ADMIN_DRAINING:
		how = ANNOUNCE_GRACEFUL_SHUTDOWN;
		why = BECAUSE_SWITCH_DRAINING;
		break;
	case ADMIN_IN: break;
	}
	if (view->vip_admin[vip] == ADMIN_OUT)
		return verdict(ANNOUNCE_NO, BECAUSE_VIP_OUT);
	if (!anybody_serves(view) || !table_owned_by_any(view))
		return verdict(ANNOUNCE_NO, BECAUSE_NO_HOST);
	/* A restarted daemon finds the routes of the one before in force and has not looked at its fabric yet; but its
	 * programs it has tried, and with wrong ones it leaves before it brings them in. */
	if (!self->installed)
		return self->proof == PROOF_DIFFERENT ? verdict(ANNOUNCE_NO, BECAUSE_BUCKETS_DIFFER)
						      : verdict(ANNOUNCE_KEEP, BECAUSE_NOT_INSTALLED);
	if (!routed(self, a))
		return verdict(ANNOUNCE_NO, BECAUSE_NO_ROUTE);
	switch (self->proof) {
	case PROOF_PENDING: return verdict(ANNOUNCE_KEEP, BECAUSE_PROOF_PENDING);
	case PROOF_DIFFERENT: return verdict(ANNOUNCE_NO, BECAUSE_BUCKETS_DIFFER);
	case PROOF_EQUAL: break;
	}
	return verdict(how, why);
}

int announce_decide(const struct view *view, const struct announce_self *self, struct announcement **out, size_t *n)
{
	size_t total = 0;
	uint32_t i, j;

	*out = NULL;
	*n = 0;
	for (i = 0; i < view->pop->n_vips; i++)
		total += view->pop->vip[i].n_addresses;
	if (!total)
		return 0;
	*out = calloc(total, sizeof(**out));
	if (!*out)
		return -ENOMEM;
	for (i = 0; i < view->pop->n_vips; i++)
		for (j = 0; j < view->pop->vip[i].n_addresses; j++) {
			(*out)[*n].prefix = view->pop->vip[i].address[j];
			(*out)[(*n)++].how = announce_one(view, self, i, j).how;
		}
	*n = announcements_sort(*out, *n);
	return 0;
}

const char *announce_reason_text(enum announce_reason why)
{
	switch (why) {
	case BECAUSE_SERVING: return "in service";
	case BECAUSE_SWITCH_DRAINING: return "the switch is being drained";
	case BECAUSE_SWITCH_OUT: return "the switch is out of service";
	case BECAUSE_VIP_OUT: return "the VIP is out of service";
	case BECAUSE_NO_HOST: return "no host can own a bucket: each is dead or out of service";
	case BECAUSE_NO_ROUTE: return "the fabric has no route for it";
	case BECAUSE_NOT_INSTALLED: return "the fabric has not been read yet";
	case BECAUSE_PROOF_PENDING: return "this switch's buckets are not proven equal to its peers' yet";
	case BECAUSE_BUCKETS_DIFFER: return "this switch's buckets differ from its peers'";
	case BECAUSE_MAX: break;
	}
	return "unknown";
}

const char *announce_text(enum announce how)
{
	switch (how) {
	case ANNOUNCE_NO: return "withdrawn";
	case ANNOUNCE_NORMAL: return "announced";
	case ANNOUNCE_GRACEFUL_SHUTDOWN: return "graceful shutdown";
	case ANNOUNCE_KEEP: return "kept as it is";
	}
	return "unknown";
}
