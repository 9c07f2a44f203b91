/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * NIC unicast filters, see filters.h.  On the kernel's side an entry is a "self" row of the interface's
 * own forwarding table (ndo_dflt_fdb_add), which the driver turns into a filter slot, or into
 * promiscuous mode when it has no slot left.
 */
#include "agent/filters.h"

#include <errno.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

static int mac_compare(const void *a, const void *b)
{
	return memcmp(a, b, 6);
}

static void add(struct filters *f, const struct triple *t)
{
	uint8_t mac[6];
	size_t i;

	vmac_encode(mac, t);
	for (i = 0; i < f->n; i++) {
		int c = memcmp(f->mac[i], mac, 6);

		if (!c)
			return;
		if (c > 0)
			break;
	}
	if (f->n == FILTERS_MAX) {
		f->overflow = true;
		return;
	}
	memmove(f->mac[i + 1], f->mac[i], (f->n - i) * 6);
	memcpy(f->mac[i], mac, 6);
	f->n++;
}

/* All lists that remain of t when any of its hosts are removed, as far as self comes first. */
static void add_remains(struct filters *f, const struct triple *t, uint16_t self)
{
	int len = triple_len(t);

	for (unsigned keep = 1; keep < 1u << len; keep++) {
		struct triple r = { { HOST_NONE, HOST_NONE, HOST_NONE } };
		int n = 0;

		for (int i = 0; i < len; i++)
			if (keep & 1u << i)
				r.host[n++] = t->host[i];
		if (r.host[0] == self)
			add(f, &r);
	}
}

/* The triple after the second step: `next` in front, the others behind it in their order. */
static struct triple promoted(const struct bucket *b)
{
	struct triple r = { { b->next, HOST_NONE, HOST_NONE } };
	int n = 1;

	for (int i = 0; i < TRIPLE_MAX; i++)
		if (b->triple.host[i] != HOST_NONE && b->triple.host[i] != b->next && n < TRIPLE_MAX)
			r.host[n++] = b->triple.host[i];
	return r;
}

void filters_needed(struct filters *f, const struct table *t, uint16_t self)
{
	struct triple own = { { self, HOST_NONE, HOST_NONE } };

	f->n = 0;
	f->overflow = false;
	add(f, &own);
	for (uint32_t i = 0; i < t->n_buckets; i++) {
		const struct bucket *b = &t->bucket[i];

		if (!triple_has(&b->triple, self) && b->next != self)
			continue;
		add_remains(f, &b->triple, self);
		if (b->next != HOST_NONE) {
			struct triple r = promoted(b);

			add_remains(f, &r, self);
		}
	}
}

struct present {
	unsigned ifindex;
	uint8_t mac[FILTERS_MAX * 2][6];
	size_t n;
};

static int read_entry(const struct nlmsghdr *nlh, void *ctx)
{
	const struct ndmsg *nd = mnl_nlmsg_get_payload(nlh);
	struct present *p = ctx;
	const struct nlattr *attr;
	struct triple t;

	if (nlh->nlmsg_type != RTM_NEWNEIGH || nd->ndm_family != AF_BRIDGE || !(nd->ndm_flags & NTF_SELF) ||
	    (unsigned)nd->ndm_ifindex != p->ifindex)
		return MNL_CB_OK;
	mnl_attr_for_each(attr, nlh, sizeof(*nd)) {
		if (mnl_attr_get_type(attr) != NDA_LLADDR || mnl_attr_get_payload_len(attr) != 6)
			continue;
		/* Only vMACs are ours to remove; multicast and others' entries stay. */
		if (vmac_decode(mnl_attr_get_payload(attr), &t) && p->n < FILTERS_MAX * 2)
			memcpy(p->mac[p->n++], mnl_attr_get_payload(attr), 6);
	}
	return MNL_CB_OK;
}

static int change(struct rtnl *n, uint16_t type, unsigned ifindex, const uint8_t mac[6])
{
	struct nlmsghdr *nlh = rtnl_begin(n, type, type == RTM_NEWNEIGH ? NLM_F_CREATE | NLM_F_APPEND : 0);
	struct ndmsg *nd = mnl_nlmsg_put_extra_header(nlh, sizeof(*nd));

	nd->ndm_family = AF_BRIDGE;
	nd->ndm_ifindex = (int)ifindex;
	nd->ndm_state = NUD_PERMANENT;
	nd->ndm_flags = NTF_SELF;
	mnl_attr_put(nlh, NDA_LLADDR, 6, mac);
	return rtnl_ask(n, nlh);
}

int filters_apply(struct rtnl *n, unsigned ifindex, const struct filters *f)
{
	struct present *p = calloc(1, sizeof(*p));
	struct nlmsghdr *nlh;
	struct ndmsg *nd;
	int err;

	if (!p)
		return -ENOMEM;
	p->ifindex = ifindex;
	nlh = rtnl_begin(n, RTM_GETNEIGH, 0);
	nd = mnl_nlmsg_put_extra_header(nlh, sizeof(*nd));
	nd->ndm_family = AF_BRIDGE;
	nd->ndm_ifindex = (int)ifindex;
	err = rtnl_dump(n, nlh, read_entry, p);
	if (err)
		goto out;
	qsort(p->mac, p->n, 6, mac_compare);

	/* New ones first: between the two, more gets through than must, never less. */
	for (size_t i = 0; i < f->n && !err; i++) {
		if (bsearch(f->mac[i], p->mac, p->n, 6, mac_compare))
			continue;
		err = change(n, RTM_NEWNEIGH, ifindex, f->mac[i]);
		if (err == -EEXIST)
			err = 0;
	}
	for (size_t i = 0; i < p->n && !err; i++)
		if (!bsearch(p->mac[i], f->mac, f->n, 6, mac_compare))
			(void)change(n, RTM_DELNEIGH, ifindex, p->mac[i]);
out:
	free(p);
	return err;
}
