/* SPDX-License-Identifier: BSD-2-Clause */
/* Next-hop objects, resilient groups and their buckets over rtnetlink. */
#include <errno.h>
#include <linux/nexthop.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "switch/nl.h"

static struct nlmsghdr *nexthop_message(struct nl_batch *b, uint16_t type, uint16_t flags, uint8_t family,
					uint8_t protocol, size_t room)
{
	struct nlmsghdr *h = nl_message(b, type, flags, sizeof(struct nhmsg), room);
	struct nhmsg *m = mnl_nlmsg_get_payload(h);

	m->nh_family = family;
	m->nh_protocol = protocol;
	return h;
}

void nl_nexthop_put(struct nl_batch *b, uint32_t id, int ifindex, const uint8_t gateway[16], uint8_t protocol)
{
	struct nlmsghdr *h =
		nexthop_message(b, RTM_NEWNEXTHOP, NLM_F_CREATE | NLM_F_REPLACE, AF_INET6, protocol, 64);

	mnl_attr_put_u32(h, NHA_ID, id);
	mnl_attr_put_u32(h, NHA_OIF, (uint32_t)ifindex);
	mnl_attr_put(h, NHA_GATEWAY, 16, gateway);
	nl_message_end(b, h);
}

void nl_nexthop_del(struct nl_batch *b, uint32_t id)
{
	struct nlmsghdr *h = nexthop_message(b, RTM_DELNEXTHOP, 0, AF_UNSPEC, 0, 64);

	mnl_attr_put_u32(h, NHA_ID, id);
	nl_message_end(b, h);
}

/*
 * As many kernel buckets as members.  The idle timer is as long as it gets and there is no unbalanced
 * timer: the kernel must never migrate a bucket by itself.
 */
void nl_group_put(struct nl_batch *b, uint32_t id, const uint32_t *member, size_t n, uint8_t protocol)
{
	struct nlmsghdr *h = nexthop_message(b, RTM_NEWNEXTHOP, NLM_F_CREATE | NLM_F_EXCL, AF_UNSPEC, protocol,
					     n * sizeof(struct nexthop_grp) + 128);
	struct nlattr *nest;

	mnl_attr_put_u32(h, NHA_ID, id);
	mnl_attr_put_u16(h, NHA_GROUP_TYPE, NEXTHOP_GRP_TYPE_RES);
	nest = mnl_attr_nest_start(h, NHA_GROUP);
	for (size_t i = 0; i < n; i++) {
		struct nexthop_grp *g = mnl_nlmsg_get_payload_tail(h);

		memset(g, 0, sizeof(*g));
		g->id = member[i];
		h->nlmsg_len += sizeof(*g);
	}
	mnl_attr_nest_end(h, nest);
	nest->nla_type = NHA_GROUP; /* a plain array, not a nest of attributes */
	nest = mnl_attr_nest_start(h, NHA_RES_GROUP);
	mnl_attr_put_u16(h, NHA_RES_GROUP_BUCKETS, (uint16_t)n);
	mnl_attr_put_u32(h, NHA_RES_GROUP_IDLE_TIMER, 0x7fffffff / 1000); /* clock ticks of 10 ms */
	mnl_attr_put_u32(h, NHA_RES_GROUP_UNBALANCED_TIMER, 0);
	mnl_attr_nest_end(h, nest);
	nl_message_end(b, h);
}

struct nexthop_reader {
	int (*each)(void *ctx, const struct nl_nexthop *e);
	void *ctx;
};

static int nexthop_parse(void *ctx, const struct nlmsghdr *h)
{
	const struct nexthop_reader *r = ctx;
	const struct nhmsg *m = mnl_nlmsg_get_payload(h);
	struct nl_nexthop e = { .protocol = m->nh_protocol };
	const struct nlattr *a;

	if (h->nlmsg_type != RTM_NEWNEXTHOP)
		return 0;
	mnl_attr_for_each(a, h, sizeof(*m)) {
		switch (mnl_attr_get_type(a)) {
		case NHA_ID:
			e.id = mnl_attr_get_u32(a);
			break;
		case NHA_OIF:
			e.ifindex = (int)mnl_attr_get_u32(a);
			break;
		case NHA_GATEWAY:
			if (mnl_attr_get_payload_len(a) == 16)
				memcpy(e.gateway, mnl_attr_get_payload(a), 16);
			break;
		case NHA_GROUP:
			e.group = true;
			e.n_members = mnl_attr_get_payload_len(a) / sizeof(struct nexthop_grp);
			break;
		case NHA_GROUP_TYPE:
			e.resilient = mnl_attr_get_u16(a) == NEXTHOP_GRP_TYPE_RES;
		}
	}
	return r->each(r->ctx, &e);
}

int nl_nexthops_read(struct nl *n, int (*each)(void *ctx, const struct nl_nexthop *e), void *ctx)
{
	struct nexthop_reader r = { each, ctx };
	struct nl_batch b = { 0 };
	int err;

	nl_message_end(&b, nexthop_message(&b, RTM_GETNEXTHOP, 0, AF_UNSPEC, 0, 64));
	err = nl_dump(n, &b, nexthop_parse, &r);
	nl_batch_free(&b);
	return err;
}

struct bucket_reader {
	int (*each)(void *ctx, uint32_t bucket, uint32_t nexthop);
	void *ctx;
};

static int bucket_parse(void *ctx, const struct nlmsghdr *h)
{
	const struct bucket_reader *r = ctx;
	const struct nlattr *a, *in;
	uint32_t bucket = UINT32_MAX, nexthop = 0;

	mnl_attr_for_each(a, h, sizeof(struct nhmsg)) {
		if (mnl_attr_get_type(a) != NHA_RES_BUCKET)
			continue;
		mnl_attr_for_each_nested(in, a) {
			if (mnl_attr_get_type(in) == NHA_RES_BUCKET_INDEX)
				bucket = mnl_attr_get_u16(in);
			else if (mnl_attr_get_type(in) == NHA_RES_BUCKET_NH_ID)
				nexthop = mnl_attr_get_u32(in);
		}
	}
	return bucket == UINT32_MAX ? 0 : r->each(r->ctx, bucket, nexthop);
}

int nl_buckets_read(struct nl *n, uint32_t group, int (*each)(void *ctx, uint32_t bucket, uint32_t nexthop), void *ctx)
{
	struct bucket_reader r = { each, ctx };
	struct nl_batch b = { 0 };
	struct nlmsghdr *h = nexthop_message(&b, RTM_GETNEXTHOPBUCKET, 0, AF_UNSPEC, 0, 64);
	int err;

	mnl_attr_put_u32(h, NHA_ID, group);
	nl_message_end(&b, h);
	err = nl_dump(n, &b, bucket_parse, &r);
	nl_batch_free(&b);
	return err;
}
