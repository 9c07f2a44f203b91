// SPDX-License-Identifier: BSD-2-Clause
/*
 * Owners that are reached inside IP (l7/row/flow.h, rules 5 to 7): who they are, which way their packets leave, and the
 * answer to a packet that is too long for it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "flow.skel.h"
#include "l7/row/rows_private.h"
#include "l7/row/too_big.h"

#define AGAIN_MS 600000	       /* a learnt size is believed as long as RFC 1191 says */
#define ANSWERS_PER_SECOND 100
#define LOOKS 8		       /* routes looked up each time: a peer's is at most n / 80 s old */
#define MTU_MIN 576

/* --- Routes ----------------------------------------------------------------------------------------------------- */

static int take_oif(const struct nlmsghdr *nlh, void *ifindex)
{
	const struct nlattr *a;

	mnl_attr_for_each(a, nlh, sizeof(struct rtmsg))
		if (mnl_attr_get_type(a) == RTA_OIF)
			*(uint32_t *)ifindex = mnl_attr_get_u32(a);
	return MNL_CB_STOP;
}

/* The device by which the kernel would send there; *ifindex 0: none.  -1: it cannot be asked now. */
static int route_to(const struct address *a, uint32_t *ifindex)
{
	char buf[1024] = { 0 };
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct rtmsg *rt = mnl_nlmsg_put_extra_header(nlh, sizeof(*rt));
	struct mnl_socket *nl = mnl_socket_open(NETLINK_ROUTE);
	size_t len = a->family == AF_INET ? 4 : 16;
	int err = -1;
	ssize_t n;

	*ifindex = 0;
	if (!nl)
		return -1;
	nlh->nlmsg_type = RTM_GETROUTE;
	nlh->nlmsg_flags = NLM_F_REQUEST;
	rt->rtm_family = (unsigned char)a->family;
	rt->rtm_dst_len = (unsigned char)(len * 8);
	mnl_attr_put(nlh, RTA_DST, len, &a->v6);
	if (!mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) && mnl_socket_sendto(nl, nlh, nlh->nlmsg_len) > 0) {
		n = mnl_socket_recvfrom(nl, buf, sizeof(buf));
		/* "No route" is an answer, too; it comes as one of several errors. */
		if (n > 0 && (mnl_cb_run(buf, (size_t)n, 0, 0, take_oif, ifindex) >= 0 || (errno != ENOBUFS && errno != ENOMEM)))
			err = 0;
	}
	mnl_socket_close(nl);
	return err;
}

static uint16_t mtu_of(const struct rows *r, const char *ifname)
{
	struct ifreq ifr = { .ifr_flags = 0 };

	memcpy(ifr.ifr_name, ifname, IF_NAMESIZE);
	if (ioctl(r->ioctls, SIOCGIFMTU, &ifr) || ifr.ifr_mtu < MTU_MIN)
		return MTU_MIN;
	return (uint16_t)(ifr.ifr_mtu < 65535 ? ifr.ifr_mtu : 65535);
}

/* --- Maps ------------------------------------------------------------------------------------------------------- */

static void words_of(const struct address *a, __be32 out[4])
{
	memset(out, 0, 16);
	memcpy(out, &a->v6, a->family == AF_INET ? 4 : 16);
}

static uint8_t family_of(const struct address *a)
{
	return a->family == AF_INET ? FLOW_V4 : FLOW_V6;
}

static const struct address *self_for(const struct peers *p, const struct rows_peer *peer)
{
	size_t i;

	for (i = 0; i < p->n_self; i++)
		if (p->self[i].family == peer->address.family)
			return &p->self[i];
	return NULL;
}

static int put_from(struct rows *r, const __be32 addr[4], const struct address *self, uint32_t host)
{
	struct flow_from from = { .family = family_of(self) };

	if (addr)
		memcpy(from.addr, addr, 16);
	words_of(self, from.self);
	return bpf_map_update_elem(bpf_map__fd(r->skel->maps.flow_from), &from, &host, BPF_ANY);
}

static int put_peer(struct rows *r, const struct rows_peer *peer, struct rows_way *way, char device[IF_NAMESIZE])
{
	const struct address *self = self_for(&r->peers, peer);
	struct flow_peer p = { .family = family_of(&peer->address), .ifindex = way->ifindex };
	uint32_t host = peer->host;
	int err;

	device[0] = '\0';
	if (!self || !host_id_valid(peer->host) || peer->host == r->config.self)
		return -EINVAL;
	words_of(&peer->address, p.addr);
	words_of(self, p.self);
	/* A way that is gone for a while makes nobody's packets smaller. */
	if (p.ifindex && if_indextoname(p.ifindex, device))
		way->mtu = mtu_of(r, device);
	p.mtu = way->mtu ? way->mtu : MTU_MIN;
	err = bpf_map_update_elem(bpf_map__fd(r->skel->maps.flow_peers), &host, &p, BPF_ANY);
	return err ? err : put_from(r, p.addr, self, host);
}

static bool host_wanted(const struct peers *p, uint32_t host)
{
	size_t i;

	for (i = 0; i < p->n && p->peer[i].host != host; i++)
		;
	return i < p->n;
}

static bool from_wanted(const struct peers *p, const struct flow_from *from)
{
	static const __be32 none[4];
	__be32 addr[4], self[4];
	size_t i;

	for (i = 0; i < p->n; i++) {
		const struct address *ours = self_for(p, &p->peer[i]);

		if (!ours)
			continue;
		words_of(&p->peer[i].address, addr);
		words_of(ours, self);
		if (from->family == family_of(&p->peer[i].address) && !memcmp(from->self, self, 16) &&
		    (!memcmp(from->addr, addr, 16) || !memcmp(from->addr, none, 16)))
			return true;
	}
	return false;
}

/* Whoever is no peer any more can send us nothing. */
static void delete_unwanted(struct rows *r)
{
	int peers = bpf_map__fd(r->skel->maps.flow_peers), froms = bpf_map__fd(r->skel->maps.flow_from), more;
	struct flow_from from, next_from;
	uint32_t host, next;

	more = !bpf_map_get_next_key(peers, NULL, &next);
	while (more) {
		host = next;
		more = !bpf_map_get_next_key(peers, &host, &next);
		if (!host_wanted(&r->peers, host))
			bpf_map_delete_elem(peers, &host);
	}
	more = !bpf_map_get_next_key(froms, NULL, &next_from);
	while (more) {
		from = next_from;
		more = !bpf_map_get_next_key(froms, &from, &next_from);
		if (!from_wanted(&r->peers, &from))
			bpf_map_delete_elem(froms, &from);
	}
}

/* --- Devices ---------------------------------------------------------------------------------------------------- */

static bool add_device(struct peers *p, const char *ifname)
{
	size_t i;

	for (i = 0; i < p->n_devices && strcmp(p->device[i], ifname); i++)
		;
	if (i == ROWS_LINKS_MAX)
		return false;
	memcpy(p->device[i], ifname, IF_NAMESIZE);
	p->n_devices = i == p->n_devices ? i + 1 : p->n_devices;
	return true;
}

static int install(struct rows *r)
{
	struct peers *p = &r->peers;
	char device[IF_NAMESIZE];
	unsigned mss4 = 65535, mss6 = 65535;
	int err = 0, one;
	size_t i;

	for (i = 0; i < p->n_self && p->n && !err; i++)
		err = put_from(r, NULL, &p->self[i], HOST_ID_MAX + 1);
	for (i = 0; i < p->n; i++) {
		uint32_t ifindex;
		unsigned room;

		if (!route_to(&p->peer[i].address, &ifindex))
			p->way[i].ifindex = ifindex;
		one = put_peer(r, &p->peer[i], &p->way[i], device);
		err = err ? err : one;
		if (one || !p->way[i].mtu)
			continue;
		room = p->way[i].mtu - FLOW_OUTER(family_of(&p->peer[i].address));
		mss4 = room - 40 < mss4 ? room - 40 : mss4;
		mss6 = room - 60 < mss6 ? room - 60 : mss6;
		if (!device[0] || rows_is_link(r, device) || !add_device(p, device))
			continue;
		one = rows_hook_on(r, device);
		err = err ? err : one;
	}
	r->config.tunnel = p->n > 0;
	r->config.mss4 = (uint16_t)(mss4 < 65535 ? mss4 : 0);
	r->config.mss6 = (uint16_t)(mss6 < 65535 ? mss6 : 0);
	one = rows_put_config(r);
	delete_unwanted(r);
	return err ? err : one;
}

static void take_devices_off(struct rows *r)
{
	while (r->peers.n_devices)
		rows_hook_off(r->peers.device[--r->peers.n_devices]);
}

static void *copy_of(const void *from, size_t len)
{
	void *to = calloc(1, len ? len : 1);

	if (to && len)
		memcpy(to, from, len);
	return to;
}

int rows_set_peers(struct rows *r, const struct address *self, size_t n_self, const struct rows_peer *peer, size_t n)
{
	struct peers *p = &r->peers;
	struct address *self_copy = copy_of(self, n_self * sizeof(*self));
	struct rows_peer *peer_copy = copy_of(peer, n * sizeof(*peer));
	struct rows_way *way = calloc(n ? n : 1, sizeof(*way));
	size_t i;

	if (!self_copy || !peer_copy || !way || n > FLOW_PEERS_MAX) {
		free(self_copy);
		free(peer_copy);
		free(way);
		return n > FLOW_PEERS_MAX ? -E2BIG : -ENOMEM;
	}
	free(p->self);
	free(p->peer);
	free(p->way);
	p->way = way;
	p->looked = 0;
	p->self = self_copy;
	p->n_self = n_self;
	p->peer = peer_copy;
	p->n = 0;
	/* Without an address of ours of its family nobody is a peer. */
	for (i = 0; i < n; i++)
		if (self_for(p, &peer[i]) && host_id_valid(peer[i].host) && peer[i].host != r->config.self)
			p->peer[p->n++] = peer[i];
	if (!p->n)
		take_devices_off(r);
	p->due_ms = 0;
	i = p->n;
	return install(r) ? -EIO : i < n ? -EINVAL : 0;
}

unsigned rows_mss(const struct rows *r, int family)
{
	return family == AF_INET ? r->config.mss4 : r->config.mss6;
}

bool rows_reach(const struct rows *r, uint16_t host)
{
	uint32_t id = host;
	struct flow_peer peer;

	return !bpf_map_lookup_elem(bpf_map__fd(r->skel->maps.flow_peers), &id, &peer) && peer.ifindex;
}

/* A route that came, went, or leads by another device.  A few at a time: a host elsewhere has thousands of peers. */
static bool ways_changed(struct peers *p)
{
	size_t i;

	for (i = 0; i < LOOKS && i < p->n; i++) {
		uint32_t ifindex;

		p->looked = (p->looked + 1) % p->n;
		if (!route_to(&p->peer[p->looked].address, &ifindex) && ifindex != p->way[p->looked].ifindex)
			return true;
	}
	return false;
}

void rows_peers_age(struct rows *r, uint64_t now_ms)
{
	if (!r->peers.n)
		return;
	if (!r->peers.due_ms)
		r->peers.due_ms = now_ms + AGAIN_MS;
	if (now_ms < r->peers.due_ms && !ways_changed(&r->peers))
		return;
	r->peers.due_ms = now_ms + AGAIN_MS;
	(void)install(r); /* what is wrong is tried again */
}

void rows_peers_free(struct rows *r, bool take_off)
{
	if (take_off)
		take_devices_off(r);
	free(r->peers.self);
	free(r->peers.peer);
	free(r->peers.way);
}

/* --- Too long ------------------------------------------------------------------------------------------------------ */

bool rows_peers_answer(struct rows *r, const struct row *row, const uint8_t *frame, size_t len, uint64_t now_ms)
{
	uint8_t answer[TOO_BIG_MAX];
	uint32_t host = row->owner, room;
	struct flow_peer peer;
	size_t n;

	if (!r->config.tunnel || (row->state != ROW_FWD && row->state != ROW_CLOSING) ||
	    bpf_map_lookup_elem(bpf_map__fd(r->skel->maps.flow_peers), &host, &peer))
		return false;
	room = peer.mtu - FLOW_OUTER(peer.family);
	if (len - 14 <= room)
		return false;
	if (now_ms - r->peers.answers_ms >= 1000) {
		r->peers.answers_ms = now_ms;
		r->peers.answered = 0;
	}
	if (r->peers.answered++ >= ANSWERS_PER_SECOND)
		return true;
	n = too_big(frame, len, room, answer);
	if (n && write(r->tap, answer, n) == (ssize_t)n)
		r->too_big++;
	return true;
}
