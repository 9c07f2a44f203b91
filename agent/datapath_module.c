// SPDX-License-Identifier: BSD-2-Clause
/*
 * The data path in the kernel module (kmod/), seen from the agent: commands of the generic netlink
 * family "baton" (kmod/uapi.h), over libmnl.  The module holds all state; nothing is pinned, and an
 * agent that starts finds what the one before it left.
 */
#include "agent/datapath.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <libmnl/libmnl.h>
#include <linux/genetlink.h>

#include "kmod/uapi.h"
#include "lb/verdict.h"

/* An attribute has 16 bits of length; the largest request is a batch of watched flows or all VIPs. */
#define REQUEST_MAX (160u * 1024)
#define REPLY_MAX (128u * 1024)

struct datapath {
	struct mnl_socket *nl;
	uint16_t family;
	uint16_t self;
	uint32_t seq;
	char request[REQUEST_MAX] __attribute__((aligned(8)));
	char reply[REPLY_MAX] __attribute__((aligned(8)));
};

/* --- Asking -------------------------------------------------------------------------------------------- */

static struct nlmsghdr *begin(struct datapath *d, uint16_t type, uint8_t command, uint16_t flags)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(d->request);
	struct genlmsghdr *genl;

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	nlh->nlmsg_seq = ++d->seq;
	genl = mnl_nlmsg_put_extra_header(nlh, sizeof(*genl));
	genl->cmd = command;
	genl->version = BATON_GENL_VERSION;
	return nlh;
}

/* Sends and reads until the answer is complete; each message goes to cb.  0 or -errno. */
static int ask(struct datapath *d, struct nlmsghdr *nlh, mnl_cb_t cb, void *data)
{
	unsigned int port = mnl_socket_get_portid(d->nl);
	ssize_t n;
	int run;

	if (mnl_socket_sendto(d->nl, nlh, nlh->nlmsg_len) < 0)
		return -errno;
	do {
		n = mnl_socket_recvfrom(d->nl, d->reply, sizeof(d->reply));
		if (n < 0)
			return -errno;
		run = mnl_cb_run(d->reply, (size_t)n, d->seq, port, cb, data);
	} while (run > MNL_CB_STOP);
	return run < 0 ? -errno : 0;
}

struct attributes {
	const struct nlattr *at[BATON_ATTR_COUNT];
};

static int attribute_cb(const struct nlattr *a, void *data)
{
	struct attributes *found = data;

	if (mnl_attr_get_type(a) < BATON_ATTR_COUNT)
		found->at[mnl_attr_get_type(a)] = a;
	return MNL_CB_OK;
}

static struct attributes attributes_of(const struct nlmsghdr *nlh)
{
	struct attributes found = { { NULL } };

	mnl_attr_parse(nlh, sizeof(struct genlmsghdr), attribute_cb, &found);
	return found;
}

/* --- The family ------------------------------------------------------------------------------------------ */

static int family_attribute_cb(const struct nlattr *a, void *data)
{
	if (mnl_attr_get_type(a) == CTRL_ATTR_FAMILY_ID)
		*(uint16_t *)data = mnl_attr_get_u16(a);
	return MNL_CB_OK;
}

static int family_cb(const struct nlmsghdr *nlh, void *data)
{
	return mnl_attr_parse(nlh, sizeof(struct genlmsghdr), family_attribute_cb, data);
}

/* Asking for an unknown family by name makes the kernel load the module by its alias. */
static int resolve(struct datapath *d)
{
	struct nlmsghdr *nlh = begin(d, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, NLM_F_ACK);

	mnl_attr_put_strz(nlh, CTRL_ATTR_FAMILY_NAME, BATON_GENL_NAME);
	return ask(d, nlh, family_cb, &d->family);
}

static int module_open(uint16_t self, const char *pin_dir, char *why, size_t why_len, struct datapath **out)
{
	struct datapath *d = calloc(1, sizeof(*d));
	struct nlmsghdr *nlh;
	int err;

	(void)pin_dir;
	if (!d)
		return -ENOMEM;
	d->self = self;
	d->seq = (uint32_t)time(NULL);
	d->nl = mnl_socket_open(NETLINK_GENERIC);
	if (!d->nl || mnl_socket_bind(d->nl, 0, MNL_SOCKET_AUTOPID) < 0) {
		err = -errno;
		snprintf(why, why_len, "cannot open a netlink socket: %s", strerror(errno));
		goto fail;
	}
	err = resolve(d);
	if (err) {
		snprintf(why, why_len, "the kernel module is not loaded (%s): modprobe baton", strerror(-err));
		goto fail;
	}
	nlh = begin(d, d->family, BATON_CMD_SET, NLM_F_ACK);
	mnl_attr_put_u16(nlh, BATON_ATTR_SELF, self);
	err = ask(d, nlh, NULL, NULL);
	if (err) {
		snprintf(why, why_len, "the kernel module does not take host id %u: %s", self, strerror(-err));
		goto fail;
	}
	*out = d;
	return 0;
fail:
	if (d->nl)
		mnl_socket_close(d->nl);
	free(d);
	return err;
}

/* --- Sets --------------------------------------------------------------------------------------------------- */

static int module_set_devices(struct datapath *d, const char (*ifname)[IF_NAMESIZE], size_t n)
{
	struct nlmsghdr *nlh = begin(d, d->family, BATON_CMD_SET, NLM_F_ACK);
	struct nlattr *nest;
	int err, missing = 0;
	size_t i;

	if (n > BATON_DEVICES_MAX)
		return -E2BIG;
	nest = mnl_attr_nest_start(nlh, BATON_ATTR_DEVICES);
	for (i = 0; i < n; i++) {
		uint32_t index = if_nametoindex(ifname[i]);

		if (index)
			mnl_attr_put_u32(nlh, BATON_ATTR_IFINDEX, index);
		else
			missing = -ENODEV; /* one link is gone, the others must work */
	}
	mnl_attr_nest_end(nlh, nest);
	err = ask(d, nlh, NULL, NULL);
	return err ? err : missing;
}

static uint32_t address_words(const struct address *a, __be32 out[4])
{
	memset(out, 0, 16);
	if (a->family == AF_INET6) {
		memcpy(out, &a->v6, 16);
		return FLOW_V6;
	}
	memcpy(out, &a->v4, 4);
	return FLOW_V4;
}

/* One message, so that the set is replaced whole; an attribute holds half of the most there may be. */
static int module_set_vips(struct datapath *d, const struct vip *vip, size_t n)
{
	struct nlmsghdr *nlh = begin(d, d->family, BATON_CMD_SET, NLM_F_ACK);
	struct nlattr *nest = mnl_attr_nest_start(nlh, BATON_ATTR_VIPS);
	size_t i, total = 0;
	uint32_t j;

	for (i = 0; i < n; i++) {
		for (j = 0; j < vip[i].n_addresses; j++) {
			struct baton_vip v = { 0 };

			if (total == BATON_VIPS_MAX)
				return -E2BIG;
			if (total++ == BATON_VIPS_PER_ATTRIBUTE) {
				mnl_attr_nest_end(nlh, nest);
				nest = mnl_attr_nest_start(nlh, BATON_ATTR_VIPS_MORE);
			}
			v.family = address_words(&vip[i].address[j], v.addr);
			mnl_attr_put(nlh, BATON_ATTR_VIP, sizeof(v), &v);
		}
	}
	mnl_attr_nest_end(nlh, nest);
	return ask(d, nlh, NULL, NULL);
}

_Static_assert(BATON_VIPS_MAX <= 2 * BATON_VIPS_PER_ATTRIBUTE, "two attributes hold all VIPs");
_Static_assert(BATON_VIPS_PER_ATTRIBUTE * (NLA_HDRLEN + sizeof(struct baton_vip)) < UINT16_MAX - NLA_HDRLEN, "16 bits of length");
_Static_assert(BATON_VIPS_MAX == POP_ADDRESSES_MAX, "what pop.yaml may say, the module takes");

static int module_set_hosts(struct datapath *d, const uint16_t *id, size_t n)
{
	struct nlmsghdr *nlh = begin(d, d->family, BATON_CMD_SET, NLM_F_ACK);

	if (n > HOST_ID_MAX)
		return -E2BIG;
	mnl_attr_put(nlh, BATON_ATTR_HOSTS, n * sizeof(*id), id);
	return ask(d, nlh, NULL, NULL);
}

static int module_set_detours(struct datapath *d, bool on)
{
	struct nlmsghdr *nlh = begin(d, d->family, BATON_CMD_SET, NLM_F_ACK);

	mnl_attr_put_u8(nlh, BATON_ATTR_DETOURS, on);
	return ask(d, nlh, NULL, NULL);
}

/* --- Counters ------------------------------------------------------------------------------------------------ */

struct got {
	uint16_t self;
	struct datapath_counters *out;
};

static int get_cb(const struct nlmsghdr *nlh, void *data)
{
	struct attributes a = attributes_of(nlh);
	struct got *got = data;
	struct datapath_counters *out = got->out;

	got->self = a.at[BATON_ATTR_SELF] ? mnl_attr_get_u16(a.at[BATON_ATTR_SELF]) : HOST_NONE;
	out->last_detour_in_ns = a.at[BATON_ATTR_LAST_IN] ? mnl_attr_get_u64(a.at[BATON_ATTR_LAST_IN]) : 0;
	out->last_detour_out_ns = a.at[BATON_ATTR_LAST_OUT] ? mnl_attr_get_u64(a.at[BATON_ATTR_LAST_OUT]) : 0;
	out->last_cookie_ns = a.at[BATON_ATTR_LAST_COOKIE] ? mnl_attr_get_u64(a.at[BATON_ATTR_LAST_COOKIE]) : 0;
	return MNL_CB_OK;
}

static int counters_cb(const struct nlmsghdr *nlh, void *data)
{
	struct attributes a = attributes_of(nlh);
	struct datapath_counters *out = data;
	const struct nlattr *reasons = a.at[BATON_ATTR_REASONS], *hosts = a.at[BATON_ATTR_DETOUR_HOSTS];
	size_t i, n = reasons ? mnl_attr_get_payload_len(reasons) / sizeof(uint64_t) : 0;

	for (i = 0; out->reason && i < out->n_reasons; i++) {
		out->reason[i] = 0;
		if (i < n)
			memcpy(&out->reason[i], (const char *)mnl_attr_get_payload(reasons) + i * sizeof(uint64_t),
			       sizeof(uint64_t));
	}
	if (out->detour_to)
		memset(out->detour_to, 0, (HOST_ID_MAX + 1) * sizeof(uint64_t));
	if (out->detour_from)
		memset(out->detour_from, 0, (HOST_ID_MAX + 1) * sizeof(uint64_t));
	n = hosts ? mnl_attr_get_payload_len(hosts) / sizeof(struct baton_detours) : 0;
	for (i = 0; i < n; i++) {
		struct baton_detours h;

		memcpy(&h, (const char *)mnl_attr_get_payload(hosts) + i * sizeof(h), sizeof(h));
		if (h.host > HOST_ID_MAX)
			continue;
		if (out->detour_to)
			out->detour_to[h.host] = h.to;
		if (out->detour_from)
			out->detour_from[h.host] = h.from;
	}
	return MNL_CB_OK;
}

static int module_counters(struct datapath *d, struct datapath_counters *out)
{
	struct got got = { HOST_NONE, out };
	int err = ask(d, begin(d, d->family, BATON_CMD_GET, NLM_F_ACK), get_cb, &got);

	/* Unloaded (the family's number is nobody's, or another's by now), or loaded again, and knows nothing of us. */
	if (err == -ENOENT || err == -EOPNOTSUPP || (!err && got.self != d->self))
		return -ESTALE;
	if (err || (!out->reason && !out->detour_to && !out->detour_from))
		return err;
	return ask(d, begin(d, d->family, BATON_CMD_COUNTERS, NLM_F_ACK), counters_cb, out);
}

/* --- Watched flows --------------------------------------------------------------------------------------------- */

static struct flow watch_key(const struct datapath_watch *w)
{
	struct flow f = { .protocol = IPPROTO_TCP, .sport = htons(w->client_port), .dport = htons(w->vip_port) };

	f.family = (uint8_t)address_words(&w->client, f.saddr);
	address_words(&w->vip, f.daddr);
	return f;
}

static int module_watch(struct datapath *d, const struct datapath_watch *w, size_t n)
{
	size_t at = 0, i;

	if (n > BATON_WATCH_MAX)
		return -E2BIG;
	do {
		struct nlmsghdr *nlh = begin(d, d->family, BATON_CMD_WATCH, NLM_F_ACK);
		size_t batch = n - at < BATON_WATCH_BATCH ? n - at : BATON_WATCH_BATCH;
		int err;

		if (!at)
			mnl_attr_put_u8(nlh, BATON_ATTR_FLAGS, BATON_WATCH_CLEAR);
		if (batch) {
			struct nlattr *flows = mnl_nlmsg_get_payload_tail(nlh);
			char *to = (char *)flows + NLA_HDRLEN;

			for (i = 0; i < batch; i++) {
				struct flow f = watch_key(&w[at + i]);

				memcpy(to + i * sizeof(f), &f, sizeof(f));
			}
			flows->nla_type = BATON_ATTR_FLOWS;
			flows->nla_len = (uint16_t)(NLA_HDRLEN + batch * sizeof(struct flow));
			nlh->nlmsg_len += (uint32_t)NLA_ALIGN(flows->nla_len);
		}
		err = ask(d, nlh, NULL, NULL);
		if (err)
			return err;
		at += batch;
	} while (at < n);
	return 0;
}

struct watched_index {
	struct flow key;
	struct datapath_watch *watch;
};

struct watched_job {
	struct watched_index *index; /* sorted */
	size_t n;
};

static int index_order(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct flow)); /* key comes first */
}

static int watched_cb(const struct nlmsghdr *nlh, void *data)
{
	struct attributes a = attributes_of(nlh);
	const struct nlattr *seen = a.at[BATON_ATTR_SEEN];
	struct watched_job *job = data;
	size_t i, n = seen ? mnl_attr_get_payload_len(seen) / sizeof(struct baton_seen) : 0;

	for (i = 0; i < n; i++) {
		struct baton_seen s;
		struct watched_index *found;

		memcpy(&s, (const char *)mnl_attr_get_payload(seen) + i * sizeof(s), sizeof(s));
		found = bsearch(s.flow, job->index, job->n, sizeof(*job->index), index_order);
		if (found) {
			found->watch->owner = s.owner;
			found->watch->seen = true;
		}
	}
	return MNL_CB_OK;
}

static int module_watched(struct datapath *d, struct datapath_watch *w, size_t n)
{
	struct watched_job job = { calloc(n + 1, sizeof(*job.index)), n };
	size_t i;
	int err;

	if (!job.index)
		return -ENOMEM;
	for (i = 0; i < n; i++) {
		w[i].owner = HOST_NONE;
		w[i].seen = false;
		job.index[i].key = watch_key(&w[i]);
		job.index[i].watch = &w[i];
	}
	qsort(job.index, n, sizeof(*job.index), index_order);
	err = ask(d, begin(d, d->family, BATON_CMD_WATCHED, NLM_F_DUMP), watched_cb, &job);
	free(job.index);
	return err;
}

/* --- Explain ------------------------------------------------------------------------------------------------------ */

static int explain_cb(const struct nlmsghdr *nlh, void *data)
{
	struct attributes a = attributes_of(nlh);
	struct datapath_decision *e = data;

	if (!a.at[BATON_ATTR_ACTION] || !a.at[BATON_ATTR_REASON] || !a.at[BATON_ATTR_NEXT])
		return MNL_CB_ERROR;
	e->action = mnl_attr_get_u8(a.at[BATON_ATTR_ACTION]);
	e->reason = mnl_attr_get_u8(a.at[BATON_ATTR_REASON]);
	e->next = mnl_attr_get_u16(a.at[BATON_ATTR_NEXT]);
	return MNL_CB_OK;
}

static int module_explain(struct datapath *d, const void *frame, size_t len, const char *ifname, struct datapath_decision *out)
{
	struct nlmsghdr *nlh = begin(d, d->family, BATON_CMD_EXPLAIN, NLM_F_ACK);
	uint32_t index = ifname && *ifname ? if_nametoindex(ifname) : if_nametoindex("lo");

	memset(out, 0, sizeof(*out));
	if (!index)
		return -ENODEV;
	if (len > BATON_FRAME_MAX)
		return -EMSGSIZE;
	mnl_attr_put_u32(nlh, BATON_ATTR_IFINDEX, index);
	mnl_attr_put(nlh, BATON_ATTR_FRAME, len, frame);
	return ask(d, nlh, explain_cb, out);
}

static void module_close(struct datapath *d, bool detach)
{
	if (detach) {
		struct nlmsghdr *nlh = begin(d, d->family, BATON_CMD_SET, NLM_F_ACK);

		mnl_attr_put_u16(nlh, BATON_ATTR_SELF, HOST_NONE);
		mnl_attr_nest_end(nlh, mnl_attr_nest_start(nlh, BATON_ATTR_DEVICES));
		ask(d, nlh, NULL, NULL);
	}
	mnl_socket_close(d->nl);
	free(d);
}

const struct datapath_ops datapath_module = {
	.name = "module",
	.open = module_open,
	.set_devices = module_set_devices,
	.set_vips = module_set_vips,
	.set_hosts = module_set_hosts,
	.set_detours = module_set_detours,
	.counters = module_counters,
	.watch = module_watch,
	.watched = module_watched,
	.explain = module_explain,
	.close = module_close,
};
