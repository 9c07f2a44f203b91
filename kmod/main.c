// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * baton.ko: the host data path as a kernel module (Faild, NSDI'18, section 4.2), for hosts that run
 * no eBPF.  It takes the decisions of lb/verdict.h, like agent/redirect.bpf.c, at netfilter's ingress
 * hook of each host link.
 *
 * Unloading: first nobody can ask (genl), then no device can come or go (notifier), then every
 * namespace detaches (pernet), then the last packets leave the hook (synchronize_net), then what they
 * used is freed (rcu_barrier).
 */
#include <linux/module.h>
#include <linux/netlink.h>

#include "kmod/baton.h"

static int __init baton_init(void)
{
	int err;

	err = baton_netns_init();
	if (err)
		return err;
	err = baton_devices_init();
	if (err)
		goto no_devices;
	err = baton_genl_init();
	if (err)
		goto no_genl;
	pr_info("baton: loaded\n");
	return 0;
no_genl:
	baton_devices_exit();
no_devices:
	baton_netns_exit();
	return err;
}

static void __exit baton_exit(void)
{
	baton_genl_exit();
	baton_devices_exit();
	baton_netns_exit();
	synchronize_net();
	rcu_barrier();
	pr_info("baton: unloaded\n");
}

module_init(baton_init);
module_exit(baton_exit);

MODULE_DESCRIPTION("Baton: old flows go on to the previous owner of their bucket");
MODULE_LICENSE("Dual BSD/GPL");
MODULE_VERSION(BATON_VERSION);
MODULE_ALIAS("net-pf-" __stringify(PF_NETLINK) "-proto-" __stringify(NETLINK_GENERIC) "-family-" BATON_GENL_NAME);
