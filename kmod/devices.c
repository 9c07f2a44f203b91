// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Where the hook hangs: netfilter's ingress hook of each host link.  A device is known by its index;
 * it may be renamed at will, and when it goes (or moves to another namespace) the notifier detaches
 * from it and tells whoever listens.
 */
#include <linux/rtnetlink.h>
#include <linux/slab.h>

#include "kmod/baton.h"

static int attach(struct baton_net *bn, struct net_device *dev)
{
	struct baton_dev *d = kzalloc(sizeof(*d), GFP_KERNEL);
	int err;

	if (!d)
		return -ENOMEM;
	d->bn = bn;
	d->ifindex = dev->ifindex;
	d->ops.hook = baton_hook;
	d->ops.priv = d;
	d->ops.pf = NFPROTO_NETDEV;
	d->ops.hooknum = NF_NETDEV_INGRESS;
	d->ops.priority = 0;
	d->ops.dev = dev;
	/* LRO merges packets beyond recognition; GRO's super-packets can be sent on whole. */
	dev_disable_lro(dev);
	err = nf_register_net_hook(bn->net, &d->ops);
	if (err) {
		kfree(d);
		return err;
	}
	list_add_tail(&d->list, &bn->devices);
	return 0;
}

static void detach(struct baton_dev *d)
{
	list_del(&d->list);
	nf_unregister_net_hook(d->bn->net, &d->ops);
	kfree_rcu(d, rcu); /* packets may be in the hook until a grace period has passed */
}

static struct baton_dev *find(const struct list_head *among, int ifindex)
{
	struct baton_dev *d;

	list_for_each_entry(d, among, list)
		if (d->ifindex == ifindex)
			return d;
	return NULL;
}

static bool wanted(const u32 *ifindex, u32 n, int have)
{
	u32 i;

	for (i = 0; i < n; i++)
		if ((int)ifindex[i] == have)
			return true;
	return false;
}

/*
 * A change of the set has two halves, both under RTNL: attach to what is new, which may fail and then has
 * changed nothing (-ENODEV: one does not exist), and let go of the rest, which cannot.
 */
int baton_devices_attach(struct baton_net *bn, const u32 *ifindex, u32 n)
{
	struct baton_dev *d, *next;
	struct list_head had;
	int err = 0;
	u32 i;

	ASSERT_RTNL();
	for (i = 0; i < n; i++)
		if (!__dev_get_by_index(bn->net, (int)ifindex[i]))
			return -ENODEV;
	INIT_LIST_HEAD(&had);
	list_splice_init(&bn->devices, &had);
	for (i = 0; i < n && !err; i++)
		if (!find(&had, (int)ifindex[i]) && !find(&bn->devices, (int)ifindex[i]))
			err = attach(bn, __dev_get_by_index(bn->net, (int)ifindex[i]));
	if (err)
		list_for_each_entry_safe(d, next, &bn->devices, list)
			detach(d);
	list_splice(&had, &bn->devices);
	return err;
}

void baton_devices_keep(struct baton_net *bn, const u32 *ifindex, u32 n)
{
	struct baton_dev *d, *next;

	ASSERT_RTNL();
	list_for_each_entry_safe(d, next, &bn->devices, list)
		if (!wanted(ifindex, n, d->ifindex))
			detach(d);
}

void baton_devices_drop_all(struct baton_net *bn)
{
	struct baton_dev *d, *next;

	rtnl_lock();
	list_for_each_entry_safe(d, next, &bn->devices, list)
		detach(d);
	rtnl_unlock();
}

static int notify(struct notifier_block *nb, unsigned long event, void *ptr)
{
	struct net_device *dev = netdev_notifier_info_to_dev(ptr);
	struct baton_dev *d;

	if (event != NETDEV_UNREGISTER)
		return NOTIFY_DONE;
	d = find(&baton_net(dev_net(dev))->devices, dev->ifindex);
	if (d) {
		detach(d);
		baton_genl_detached(dev_net(dev), dev);
	}
	return NOTIFY_DONE;
}

static struct notifier_block notifier = { .notifier_call = notify };

int baton_devices_init(void)
{
	return register_netdevice_notifier(&notifier);
}

void baton_devices_exit(void)
{
	unregister_netdevice_notifier(&notifier);
}
