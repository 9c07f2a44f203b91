/* SPDX-License-Identifier: BSD-2-Clause */
/* Neighbours (address -> MAC) and bridge rows (MAC -> port) over rtnetlink: one message format, struct ndmsg. */
#include <errno.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <string.h>

#include "switch/nl.h"

static struct nlmsghdr *neigh_message(struct nl_batch *b, uint16_t type, uint16_t flags, uint8_t family, int ifindex)
{
	struct nlmsghdr *h = nl_message(b, type, flags, sizeof(struct ndmsg), 64);
	struct ndmsg *m = mnl_nlmsg_get_payload(h);

	m->ndm_family = family;
	m->ndm_ifindex = ifindex;
	return h;
}

/* Replace, never delete and add: a deleted neighbour goes INCOMPLETE and takes its bucket with it. */
void nl_neigh_put(struct nl_batch *b, int ifindex, const uint8_t address[16], const uint8_t mac[6])
{
	struct nlmsghdr *h = neigh_message(b, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, AF_INET6, ifindex);
	struct ndmsg *m = mnl_nlmsg_get_payload(h);

	m->ndm_state = NUD_PERMANENT;
	mnl_attr_put(h, NDA_DST, 16, address);
	mnl_attr_put(h, NDA_LLADDR, 6, mac);
	nl_message_end(b, h);
}

void nl_neigh_del(struct nl_batch *b, int ifindex, const uint8_t address[16])
{
	struct nlmsghdr *h = neigh_message(b, RTM_DELNEIGH, 0, AF_INET6, ifindex);

	mnl_attr_put(h, NDA_DST, 16, address);
	nl_message_end(b, h);
}

void nl_fdb_put(struct nl_batch *b, int port, const uint8_t mac[6])
{
	struct nlmsghdr *h = neigh_message(b, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, AF_BRIDGE, port);
	struct ndmsg *m = mnl_nlmsg_get_payload(h);

	m->ndm_state = NUD_NOARP; /* "static": does not age; NUD_PERMANENT would mean the bridge's own address */
	m->ndm_flags = NTF_MASTER;
	mnl_attr_put(h, NDA_LLADDR, 6, mac);
	nl_message_end(b, h);
}

void nl_fdb_del(struct nl_batch *b, int port, const uint8_t mac[6])
{
	struct nlmsghdr *h = neigh_message(b, RTM_DELNEIGH, 0, AF_BRIDGE, port);
	struct ndmsg *m = mnl_nlmsg_get_payload(h);

	m->ndm_flags = NTF_MASTER;
	mnl_attr_put(h, NDA_LLADDR, 6, mac);
	nl_message_end(b, h);
}

struct reader {
	int ifindex, bridge;
	int (*each)(void *ctx, const struct nl_neigh *e);
	void *ctx;
};

static int neigh_parse(void *ctx, const struct nlmsghdr *h)
{
	const struct reader *r = ctx;
	const struct ndmsg *m = mnl_nlmsg_get_payload(h);
	const struct nlattr *a;
	struct nl_neigh e = { .ifindex = m->ndm_ifindex, .state = m->ndm_state, .flags = m->ndm_flags };

	if (h->nlmsg_type != RTM_NEWNEIGH || (r->ifindex && m->ndm_ifindex != r->ifindex))
		return 0;
	mnl_attr_for_each(a, h, sizeof(*m)) {
		switch (mnl_attr_get_type(a)) {
		case NDA_DST:
			if (mnl_attr_get_payload_len(a) == 16)
				memcpy(e.address, mnl_attr_get_payload(a), 16);
			break;
		case NDA_LLADDR:
			if (mnl_attr_get_payload_len(a) == 6) {
				memcpy(e.mac, mnl_attr_get_payload(a), 6);
				e.has_mac = true;
			}
			break;
		case NDA_MASTER:
			e.master = (int)mnl_attr_get_u32(a);
		}
	}
	if (r->bridge && e.master != r->bridge)
		return 0; /* a device's own filter list, or another bridge */
	return r->each(r->ctx, &e);
}

int nl_neighs_read(struct nl *n, int ifindex, int (*each)(void *ctx, const struct nl_neigh *e), void *ctx)
{
	struct reader r = { .ifindex = ifindex, .each = each, .ctx = ctx };
	struct nl_batch b = { 0 };
	struct nlmsghdr *h = neigh_message(&b, RTM_GETNEIGH, 0, AF_INET6, 0);
	int err;

	mnl_attr_put_u32(h, NDA_IFINDEX, (uint32_t)ifindex);
	nl_message_end(&b, h);
	err = nl_dump(n, &b, neigh_parse, &r);
	nl_batch_free(&b);
	return err;
}

int nl_fdb_read(struct nl *n, int bridge, int (*each)(void *ctx, const struct nl_neigh *e), void *ctx)
{
	struct reader r = { .bridge = bridge, .each = each, .ctx = ctx };
	struct nl_batch b = { 0 };
	struct nlmsghdr *h = neigh_message(&b, RTM_GETNEIGH, 0, AF_BRIDGE, 0);
	int err;

	mnl_attr_put_u32(h, NDA_MASTER, (uint32_t)bridge);
	nl_message_end(&b, h);
	err = nl_dump(n, &b, neigh_parse, &r);
	nl_batch_free(&b);
	return err;
}
