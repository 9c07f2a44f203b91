// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What the module holds for each network namespace: the configuration that packets read (replaced
 * whole, never changed), the watched flows, and the counters of each CPU.
 */
#include <linux/jhash.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <net/netns/generic.h>

#include "kmod/baton.h"

unsigned int baton_net_id;

struct baton_net *baton_net(struct net *net)
{
	return net_generic(net, baton_net_id);
}

static void conf_free(struct rcu_head *rcu)
{
	struct baton_conf *c = container_of(rcu, struct baton_conf, rcu);

	kvfree(c->vip);
	kvfree(c->host);
	kfree(c);
}

struct baton_conf *baton_conf_new(u32 n_vips, u32 n_hosts)
{
	struct baton_conf *c = kzalloc(sizeof(*c), GFP_KERNEL);
	u32 slots = roundup_pow_of_two(n_vips * 2 + 1);

	if (!c)
		return NULL;
	c->vip_mask = slots - 1;
	c->vip = kvcalloc(slots, sizeof(*c->vip), GFP_KERNEL);
	c->n_hosts = n_hosts;
	c->host = kvcalloc(n_hosts + 1, sizeof(*c->host), GFP_KERNEL);
	if (!c->vip || !c->host) {
		conf_free(&c->rcu);
		return NULL;
	}
	return c;
}

static u32 vip_slot(const struct baton_conf *c, u32 family, const __be32 addr[4])
{
	return jhash2((const u32 *)addr, 4, family) & c->vip_mask;
}

static bool vip_is(const struct baton_vip *v, u32 family, const __be32 addr[4])
{
	return v->family == family && !memcmp(v->addr, addr, sizeof(v->addr));
}

void baton_conf_vip_add(struct baton_conf *c, const struct baton_vip *vip)
{
	u32 i = vip_slot(c, vip->family, vip->addr);

	for (; c->vip[i].family; i = (i + 1) & c->vip_mask)
		if (vip_is(&c->vip[i], vip->family, vip->addr))
			return;
	c->vip[i] = *vip;
	c->n_vips++;
}

bool baton_conf_has_vip(const struct baton_conf *c, const struct flow *f)
{
	u32 i = vip_slot(c, f->family, f->daddr);

	for (; c->vip[i].family; i = (i + 1) & c->vip_mask)
		if (vip_is(&c->vip[i], f->family, f->daddr))
			return true;
	return false;
}

/* Of one that no packet has seen. */
void baton_conf_free(struct baton_conf *c)
{
	conf_free(&c->rcu);
}

void baton_conf_replace(struct baton_net *bn, struct baton_conf *c)
{
	struct baton_conf *old = rcu_replace_pointer(bn->conf, c, true);

	if (old)
		call_rcu(&old->rcu, conf_free);
}

static void watch_free(struct rcu_head *rcu)
{
	kvfree(container_of(rcu, struct baton_watch, rcu));
}

struct baton_watch *baton_watch_new(u32 n)
{
	u32 slots = roundup_pow_of_two(n * 2 + 1);
	struct baton_watch *w = kvzalloc(struct_size(w, slot, slots), GFP_KERNEL);

	if (w)
		w->mask = slots - 1;
	return w;
}

static u32 watch_slot(const struct baton_watch *w, const struct flow *f)
{
	return jhash2((const u32 *)f, sizeof(*f) / 4, 0) & w->mask;
}

struct baton_watched *baton_watch_find(struct baton_watch *w, const struct flow *f)
{
	u32 i = watch_slot(w, f);

	for (; w->slot[i].flow.family; i = (i + 1) & w->mask)
		if (!memcmp(&w->slot[i].flow, f, sizeof(*f)))
			return &w->slot[i];
	return NULL;
}

/* False if it is there already.  The caller made room for it. */
bool baton_watch_add(struct baton_watch *w, const struct flow *f, u16 owner)
{
	u32 i = watch_slot(w, f);

	for (; w->slot[i].flow.family; i = (i + 1) & w->mask)
		if (!memcmp(&w->slot[i].flow, f, sizeof(*f)))
			return false;
	w->slot[i].flow = *f;
	w->slot[i].owner = owner;
	w->n++;
	return true;
}

void baton_watch_replace(struct baton_net *bn, struct baton_watch *w)
{
	struct baton_watch *old = rcu_replace_pointer(bn->watch, w, true);

	if (old)
		call_rcu(&old->rcu, watch_free);
}

static void counts_free(struct baton_net *bn)
{
	int cpu;

	for_each_possible_cpu(cpu)
		kvfree(per_cpu_ptr(bn->counts, cpu)->host);
	free_percpu(bn->counts);
}

static int __net_init netns_init(struct net *net)
{
	struct baton_net *bn = baton_net(net);
	struct baton_conf *c;
	int cpu;

	bn->net = net;
	INIT_LIST_HEAD(&bn->devices);
	RCU_INIT_POINTER(bn->conf, NULL);
	RCU_INIT_POINTER(bn->watch, NULL);
	bn->counts = alloc_percpu(struct baton_counts);
	if (!bn->counts)
		return -ENOMEM;
	for_each_possible_cpu(cpu) {
		struct baton_counts *n = per_cpu_ptr(bn->counts, cpu);

		n->host = kvcalloc(HOST_ID_MAX + 1, sizeof(*n->host), GFP_KERNEL);
		if (!n->host)
			goto no_memory;
	}
	c = baton_conf_new(0, 0);
	if (!c)
		goto no_memory;
	c->detours_on = 1;
	rcu_assign_pointer(bn->conf, c);
	return 0;
no_memory:
	counts_free(bn);
	return -ENOMEM;
}

/*
 * Netfilter is done with the hooks of a dying namespace only after a grace period; the pernet code
 * waits for one between pre_exit and exit.
 */
static void __net_exit netns_pre_exit(struct net *net)
{
	baton_devices_drop_all(baton_net(net));
}

static void __net_exit netns_exit(struct net *net)
{
	struct baton_net *bn = baton_net(net);

	baton_conf_replace(bn, NULL);
	baton_watch_replace(bn, NULL);
	counts_free(bn);
}

static struct pernet_operations netns_ops = {
	.init = netns_init,
	.pre_exit = netns_pre_exit,
	.exit = netns_exit,
	.id = &baton_net_id,
	.size = sizeof(struct baton_net),
};

int baton_netns_init(void)
{
	return register_pernet_subsys(&netns_ops);
}

void baton_netns_exit(void)
{
	unregister_pernet_subsys(&netns_ops);
}
