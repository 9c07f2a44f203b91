// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The netlink family of kmod/uapi.h: one function per command.  Commands run under the family's lock
 * (parallel_ops is off), so there is one writer at a time.
 */
#include <linux/etherdevice.h>
#include <linux/rtnetlink.h>
#include <linux/slab.h>
#include <net/genetlink.h>
#include <net/sock.h>

#include "kmod/baton.h"

static struct genl_family family;

static const struct nla_policy policy[BATON_ATTR_COUNT] = {
	[BATON_ATTR_SELF] = NLA_POLICY_MAX(NLA_U16, HOST_ID_MAX),
	[BATON_ATTR_DETOURS] = NLA_POLICY_MAX(NLA_U8, 1),
	[BATON_ATTR_VIPS] = { .type = NLA_NESTED },
	[BATON_ATTR_HOSTS] = { .type = NLA_BINARY, .len = HOST_ID_MAX * sizeof(u16) },
	[BATON_ATTR_DEVICES] = { .type = NLA_NESTED },
	[BATON_ATTR_IFINDEX] = { .type = NLA_U32 },
	[BATON_ATTR_FLAGS] = NLA_POLICY_MAX(NLA_U8, BATON_WATCH_CLEAR),
	[BATON_ATTR_FLOWS] = { .type = NLA_BINARY, .len = BATON_WATCH_BATCH * sizeof(struct flow) },
	[BATON_ATTR_VIPS_MORE] = { .type = NLA_NESTED },
	[BATON_ATTR_FRAME] = { .type = NLA_BINARY, .len = BATON_FRAME_MAX },
};

/* Members of the two nested sets. */
static const struct nla_policy member_policy[BATON_ATTR_COUNT] = {
	[BATON_ATTR_VIP] = NLA_POLICY_EXACT_LEN(sizeof(struct baton_vip)),
	[BATON_ATTR_IFINDEX] = { .type = NLA_U32 },
};

/* Every member is of that type and well formed; *n: how many there are, added to what it was, at most `most`. */
static int check_members(const struct nlattr *set, int type, u32 most, u32 *n, struct netlink_ext_ack *extack)
{
	const struct nlattr *a;
	int rem;

	nla_for_each_nested(a, set, rem) {
		if (nla_type(a) != type) {
			NL_SET_ERR_MSG_ATTR(extack, a, "unexpected member");
			return -EINVAL;
		}
		if (++*n > most) {
			NL_SET_ERR_MSG_ATTR(extack, a, "too many members");
			return -E2BIG;
		}
	}
	return nla_validate_nested(set, BATON_ATTR_MAX, member_policy, extack);
}

static int check_vips(const struct nlattr *set, u32 *n, struct netlink_ext_ack *extack)
{
	const struct nlattr *a;
	int err, rem;

	err = check_members(set, BATON_ATTR_VIP, BATON_VIPS_MAX, n, extack);
	if (err)
		return err;
	nla_for_each_nested(a, set, rem) {
		const struct baton_vip *v = nla_data(a);

		if (v->family != FLOW_V4 && v->family != FLOW_V6) {
			NL_SET_ERR_MSG_ATTR(extack, a, "a VIP's family is 4 or 6");
			return -EINVAL;
		}
	}
	return 0;
}

static int check_hosts(const struct nlattr *set, struct netlink_ext_ack *extack)
{
	const u16 *id = nla_data(set);
	int i;

	if (nla_len(set) % sizeof(u16)) {
		NL_SET_ERR_MSG_ATTR(extack, set, "half a host id");
		return -EINVAL;
	}
	for (i = 0; i < nla_len(set) / (int)sizeof(u16); i++)
		if (!host_id_valid(id[i])) {
			NL_SET_ERR_MSG_ATTR(extack, set, "host ids are 1 to 4094");
			return -EINVAL;
		}
	return 0;
}

/* Everything that can be known beforehand.  *n_vips: of VIPS and VIPS_MORE. */
static int check_set(struct genl_info *info, u32 *n_vips)
{
	struct nlattr **attr = info->attrs;
	u32 n_devices = 0;
	int err = 0;

	if (attr[BATON_ATTR_VIPS_MORE] && !attr[BATON_ATTR_VIPS]) {
		NL_SET_ERR_MSG_ATTR(info->extack, attr[BATON_ATTR_VIPS_MORE], "VIPS_MORE goes on with VIPS");
		return -EINVAL;
	}
	if (attr[BATON_ATTR_VIPS])
		err = check_vips(attr[BATON_ATTR_VIPS], n_vips, info->extack);
	if (!err && attr[BATON_ATTR_VIPS_MORE])
		err = check_vips(attr[BATON_ATTR_VIPS_MORE], n_vips, info->extack);
	if (!err && attr[BATON_ATTR_DEVICES])
		err = check_members(attr[BATON_ATTR_DEVICES], BATON_ATTR_IFINDEX, BATON_DEVICES_MAX, &n_devices, info->extack);
	if (!err && attr[BATON_ATTR_HOSTS])
		err = check_hosts(attr[BATON_ATTR_HOSTS], info->extack);
	return err;
}

static void add_vips(struct baton_conf *c, const struct nlattr *set)
{
	const struct nlattr *a;
	int rem;

	if (set)
		nla_for_each_nested(a, set, rem)
			baton_conf_vip_add(c, nla_data(a));
}

/* What was in force, changed by what the message names.  NULL: no memory. */
static struct baton_conf *changed_conf(const struct baton_conf *old, struct nlattr *const *attr, u32 n_vips)
{
	u32 n_hosts = attr[BATON_ATTR_HOSTS] ? (u32)nla_len(attr[BATON_ATTR_HOSTS]) / sizeof(u16) : old->n_hosts, i;
	struct baton_conf *c = baton_conf_new(attr[BATON_ATTR_VIPS] ? n_vips : old->n_vips, n_hosts);
	struct triple self = { { 0 } };

	if (!c)
		return NULL;
	c->self = attr[BATON_ATTR_SELF] ? nla_get_u16(attr[BATON_ATTR_SELF]) : old->self;
	c->detours_on = attr[BATON_ATTR_DETOURS] ? nla_get_u8(attr[BATON_ATTR_DETOURS]) : old->detours_on;
	self.host[0] = c->self;
	vmac_encode(c->own_mac, &self);
	memcpy(c->host, attr[BATON_ATTR_HOSTS] ? nla_data(attr[BATON_ATTR_HOSTS]) : old->host, n_hosts * sizeof(u16));
	add_vips(c, attr[BATON_ATTR_VIPS]);
	add_vips(c, attr[BATON_ATTR_VIPS_MORE]);
	for (i = 0; !attr[BATON_ATTR_VIPS] && i <= old->vip_mask; i++)
		if (old->vip[i].family)
			baton_conf_vip_add(c, &old->vip[i]);
	return c;
}

/* The last thing that can fail is to attach to a device: then the configuration is not replaced either. */
static int commit_with_devices(struct baton_net *bn, struct baton_conf *c, struct genl_info *info)
{
	const struct nlattr *set = info->attrs[BATON_ATTR_DEVICES], *a;
	u32 ifindex[BATON_DEVICES_MAX], n = 0;
	int err, rem;

	nla_for_each_nested(a, set, rem)
		ifindex[n++] = nla_get_u32(a);
	rtnl_lock();
	err = baton_devices_attach(bn, ifindex, n);
	if (!err) {
		baton_conf_replace(bn, c);
		baton_devices_keep(bn, ifindex, n);
	}
	rtnl_unlock();
	if (err == -ENODEV)
		NL_SET_ERR_MSG_ATTR(info->extack, set, "a device does not exist");
	return err;
}

static int cmd_set(struct sk_buff *skb, struct genl_info *info)
{
	struct baton_net *bn = baton_net(genl_info_net(info));
	struct baton_conf *c;
	u32 n_vips = 0;
	int err;

	err = check_set(info, &n_vips);
	if (err)
		return err;
	c = changed_conf(rcu_dereference_protected(bn->conf, true), info->attrs, n_vips);
	if (!c)
		return -ENOMEM;
	if (!info->attrs[BATON_ATTR_DEVICES]) {
		baton_conf_replace(bn, c);
		return 0;
	}
	err = commit_with_devices(bn, c, info);
	if (err)
		baton_conf_free(c);
	return err;
}

static struct sk_buff *reply_begin(struct genl_info *info, u8 cmd, size_t size, void **head)
{
	struct sk_buff *msg = genlmsg_new(size, GFP_KERNEL);

	if (!msg)
		return NULL;
	*head = genlmsg_put_reply(msg, info, &family, 0, cmd);
	if (*head)
		return msg;
	nlmsg_free(msg);
	return NULL;
}

static int reply_end(struct genl_info *info, struct sk_buff *msg, void *head, int err)
{
	if (err) {
		nlmsg_free(msg);
		return -EMSGSIZE;
	}
	genlmsg_end(msg, head);
	return genlmsg_reply(msg, info);
}

static int put_devices(struct sk_buff *msg, struct baton_net *bn)
{
	struct nlattr *nest = nla_nest_start(msg, BATON_ATTR_DEVICES);
	struct baton_dev *d;
	int err = nest ? 0 : -EMSGSIZE;

	rtnl_lock();
	list_for_each_entry(d, &bn->devices, list)
		err = err ?: nla_put_u32(msg, BATON_ATTR_IFINDEX, (u32)d->ifindex);
	rtnl_unlock();
	if (!err)
		nla_nest_end(msg, nest);
	return err;
}

static int cmd_get(struct sk_buff *skb, struct genl_info *info)
{
	struct baton_net *bn = baton_net(genl_info_net(info));
	const struct baton_conf *c = rcu_dereference_protected(bn->conf, true);
	const struct baton_watch *w = rcu_dereference_protected(bn->watch, true);
	u64 in = 0, out = 0, cookie = 0;
	struct sk_buff *msg;
	void *head;
	int cpu, err;

	for_each_possible_cpu(cpu) {
		const struct baton_counts *n = per_cpu_ptr(bn->counts, cpu);

		in = max(in, READ_ONCE(n->last_in_ns));
		out = max(out, READ_ONCE(n->last_out_ns));
		cookie = max(cookie, READ_ONCE(n->last_cookie_ns));
	}
	msg = reply_begin(info, BATON_CMD_GET, NLMSG_GOODSIZE, &head);
	if (!msg)
		return -ENOMEM;
	err = nla_put_u16(msg, BATON_ATTR_SELF, c->self) ?: nla_put_u8(msg, BATON_ATTR_DETOURS, c->detours_on) ?:
	      nla_put_u32(msg, BATON_ATTR_N_VIPS, c->n_vips) ?: nla_put_u32(msg, BATON_ATTR_N_HOSTS, c->n_hosts) ?:
	      nla_put_u32(msg, BATON_ATTR_N_WATCHED, w ? w->n : 0) ?:
	      nla_put_u64_64bit(msg, BATON_ATTR_LAST_IN, in, BATON_ATTR_PAD) ?:
	      nla_put_u64_64bit(msg, BATON_ATTR_LAST_OUT, out, BATON_ATTR_PAD) ?:
	      nla_put_u64_64bit(msg, BATON_ATTR_LAST_COOKIE, cookie, BATON_ATTR_PAD) ?: put_devices(msg, bn);
	return reply_end(info, msg, head, err);
}

static u32 sum_detours(struct baton_net *bn, struct baton_detours *out)
{
	u32 h, n = 0;
	int cpu;

	for (h = HOST_ID_MIN; h <= HOST_ID_MAX; h++) {
		struct baton_detours d = { .host = (u16)h };

		for_each_possible_cpu(cpu) {
			const struct baton_detour_count *k = &per_cpu_ptr(bn->counts, cpu)->host[h];

			d.to += READ_ONCE(k->to);
			d.from += READ_ONCE(k->from);
		}
		if (d.to || d.from)
			out[n++] = d;
	}
	return n;
}

static int cmd_counters(struct sk_buff *skb, struct genl_info *info)
{
	struct baton_net *bn = baton_net(genl_info_net(info));
	struct baton_detours *detours = kvcalloc(HOST_ID_MAX + 1, sizeof(*detours), GFP_KERNEL);
	u64 reason[REASON_MAX] = { 0 };
	struct sk_buff *msg;
	void *head;
	int cpu, i, err;
	u32 n, most;

	if (!detours)
		return -ENOMEM;
	for_each_possible_cpu(cpu)
		for (i = 0; i < REASON_MAX; i++)
			reason[i] += READ_ONCE(per_cpu_ptr(bn->counts, cpu)->reason[i]);
	n = sum_detours(bn, detours);
	most = (U16_MAX - NLA_HDRLEN) / sizeof(*detours); /* an attribute's length has 16 bits */
	n = min(n, most);
	msg = reply_begin(info, BATON_CMD_COUNTERS, sizeof(reason) + n * sizeof(*detours) + 256, &head);
	err = -ENOMEM;
	if (msg) {
		err = nla_put(msg, BATON_ATTR_REASONS, sizeof(reason), reason) ?:
		      nla_put(msg, BATON_ATTR_DETOUR_HOSTS, (int)(n * sizeof(*detours)), detours);
		err = reply_end(info, msg, head, err);
	}
	kvfree(detours);
	return err;
}

static int cmd_watch(struct sk_buff *skb, struct genl_info *info)
{
	struct baton_net *bn = baton_net(genl_info_net(info));
	struct baton_watch *old = rcu_dereference_protected(bn->watch, true), *w;
	struct nlattr *flows = info->attrs[BATON_ATTR_FLOWS];
	bool clear = info->attrs[BATON_ATTR_FLAGS] && nla_get_u8(info->attrs[BATON_ATTR_FLAGS]) & BATON_WATCH_CLEAR;
	u32 n = flows ? (u32)nla_len(flows) / sizeof(struct flow) : 0, have = clear || !old ? 0 : old->n, i;

	if (flows && nla_len(flows) % sizeof(struct flow)) {
		NL_SET_ERR_MSG_ATTR(info->extack, flows, "a part of a flow");
		return -EINVAL;
	}
	if (have + n > BATON_WATCH_MAX) {
		NL_SET_ERR_MSG(info->extack, "too many watched flows");
		return -ENOSPC;
	}
	if (!have && !n) {
		baton_watch_replace(bn, NULL);
		return 0;
	}
	w = baton_watch_new(have + n);
	if (!w)
		return -ENOMEM;
	/* What packets note in the old set from here on is lost; the next packet notes it again. */
	for (i = 0; have && i <= old->mask; i++)
		if (old->slot[i].flow.family)
			baton_watch_add(w, &old->slot[i].flow, READ_ONCE(old->slot[i].owner));
	for (i = 0; i < n; i++) {
		struct flow f;

		memcpy(&f, (const struct flow *)nla_data(flows) + i, sizeof(f));
		if (f.family == FLOW_V4 || f.family == FLOW_V6)
			baton_watch_add(w, &f, HOST_NONE);
	}
	baton_watch_replace(bn, w);
	return 0;
}

/* A dump: cb->args[0] is the slot to go on with, cb->args[1] the set it belongs to. */
static int dump_watched(struct sk_buff *skb, struct netlink_callback *cb)
{
	struct baton_net *bn = baton_net(sock_net(skb->sk));
	const struct baton_watch *w;
	struct baton_seen seen;
	struct nlattr *batch;
	u32 i, room;
	void *head;

	head = genlmsg_put(skb, NETLINK_CB(cb->skb).portid, cb->nlh->nlmsg_seq, &family, NLM_F_MULTI,
			   BATON_CMD_WATCHED);
	if (!head)
		return -EMSGSIZE;
	batch = nla_nest_start_noflag(skb, BATON_ATTR_SEEN); /* raw structs behind one attribute header */
	if (!batch) {
		genlmsg_cancel(skb, head);
		return -EMSGSIZE;
	}
	rcu_read_lock();
	w = rcu_dereference(bn->watch);
	i = (u32)cb->args[0];
	if (i && cb->args[1] != (long)w) { /* replaced meanwhile: end here */
		w = NULL;
	}
	cb->args[1] = (long)w;
	for (room = 0; w && i <= w->mask && room < BATON_WATCH_BATCH; i++) {
		u16 owner = READ_ONCE(w->slot[i].owner);
		void *to;

		if (!w->slot[i].flow.family || owner == HOST_NONE)
			continue;
		if (skb_tailroom(skb) < (int)sizeof(seen))
			break;
		memset(&seen, 0, sizeof(seen));
		memcpy(seen.flow, &w->slot[i].flow, sizeof(seen.flow));
		seen.owner = owner;
		to = skb_put(skb, sizeof(seen));
		memcpy(to, &seen, sizeof(seen));
		room++;
	}
	rcu_read_unlock();
	cb->args[0] = i;
	if (!room) {
		genlmsg_cancel(skb, head);
		return 0;
	}
	nla_nest_end(skb, batch);
	genlmsg_end(skb, head);
	return (int)skb->len;
}

/* A frame as if it had come in on the device, judged and thrown away. */
static int judge_frame(struct baton_net *bn, struct net_device *dev, const struct nlattr *frame, struct baton_judged *j)
{
	struct sk_buff *skb = alloc_skb((unsigned int)nla_len(frame), GFP_KERNEL);

	if (!skb)
		return -ENOMEM;
	skb_put_data(skb, nla_data(frame), (unsigned int)nla_len(frame));
	skb_reset_mac_header(skb);
	skb_pull(skb, ETH_HLEN);
	skb->dev = dev;
	rcu_read_lock();
	local_bh_disable();
	baton_judge(bn, rcu_dereference(bn->conf), skb, dev, SOCKET_UNKNOWN, j);
	local_bh_enable();
	rcu_read_unlock();
	kfree_skb(skb);
	return 0;
}

static int cmd_explain(struct sk_buff *skb, struct genl_info *info)
{
	struct net *net = genl_info_net(info);
	struct nlattr *frame = info->attrs[BATON_ATTR_FRAME], *ifindex = info->attrs[BATON_ATTR_IFINDEX];
	struct baton_judged j;
	struct net_device *dev;
	struct sk_buff *msg;
	void *head;
	int err;

	if (!frame || nla_len(frame) < ETH_HLEN || !ifindex) {
		NL_SET_ERR_MSG(info->extack, "EXPLAIN takes IFINDEX and a FRAME of at least 14 bytes");
		return -EINVAL;
	}
	dev = dev_get_by_index(net, (int)nla_get_u32(ifindex));
	if (!dev)
		return -ENODEV;
	err = judge_frame(baton_net(net), dev, frame, &j);
	dev_put(dev);
	if (err)
		return err;
	msg = reply_begin(info, BATON_CMD_EXPLAIN, NLMSG_GOODSIZE, &head);
	if (!msg)
		return -ENOMEM;
	err = nla_put_u8(msg, BATON_ATTR_ACTION, j.verdict.action) ?:
	      nla_put_u8(msg, BATON_ATTR_REASON, j.verdict.reason) ?:
	      nla_put_u16(msg, BATON_ATTR_NEXT, j.verdict.to.host[0]);
	return reply_end(info, msg, head, err);
}

static const struct genl_ops ops[] = {
	{ .cmd = BATON_CMD_SET, .flags = GENL_ADMIN_PERM, .doit = cmd_set },
	{ .cmd = BATON_CMD_GET, .flags = GENL_ADMIN_PERM, .doit = cmd_get },
	{ .cmd = BATON_CMD_COUNTERS, .flags = GENL_ADMIN_PERM, .doit = cmd_counters },
	{ .cmd = BATON_CMD_WATCH, .flags = GENL_ADMIN_PERM, .doit = cmd_watch },
	{ .cmd = BATON_CMD_WATCHED, .flags = GENL_ADMIN_PERM, .dumpit = dump_watched },
	{ .cmd = BATON_CMD_EXPLAIN, .flags = GENL_ADMIN_PERM, .doit = cmd_explain },
};

static const struct genl_multicast_group groups[] = { { .name = BATON_GENL_EVENTS } };

static struct genl_family family = {
	.name = BATON_GENL_NAME,
	.version = BATON_GENL_VERSION,
	.module = THIS_MODULE,
	.netnsok = true,
	.maxattr = BATON_ATTR_MAX,
	.policy = policy,
	.ops = ops,
	.n_ops = ARRAY_SIZE(ops),
#ifdef BATON_RESV_START_OP
	.resv_start_op = BATON_CMD_EVENT_DETACHED + 1,
#endif
	.mcgrps = groups,
	.n_mcgrps = ARRAY_SIZE(groups),
};

void baton_genl_detached(struct net *net, const struct net_device *dev)
{
	struct sk_buff *msg = genlmsg_new(NLMSG_GOODSIZE, GFP_KERNEL);
	void *head = msg ? genlmsg_put(msg, 0, 0, &family, 0, BATON_CMD_EVENT_DETACHED) : NULL;

	if (!head || nla_put_u32(msg, BATON_ATTR_IFINDEX, (u32)dev->ifindex) ||
	    nla_put_string(msg, BATON_ATTR_NAME, dev->name)) {
		nlmsg_free(msg);
		return;
	}
	genlmsg_end(msg, head);
	genlmsg_multicast_netns(&family, net, msg, 0, 0, GFP_KERNEL);
}

int baton_genl_init(void)
{
	return genl_register_family(&family);
}

void baton_genl_exit(void)
{
	genl_unregister_family(&family);
}
