/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the module's files share.  Lifetimes:
 *
 *  - struct baton_net lives as long as its network namespace (pernet memory).
 *  - What packets read of the configuration (struct baton_conf, struct baton_watch) is never changed,
 *    only replaced under genl's lock; readers are in an RCU section (netfilter's), the old one goes
 *    after a grace period.  The one field that packets write, baton_watched.owner, is a plain store.
 *  - struct baton_dev belongs to the list of its namespace, changed under RTNL; it holds no reference
 *    to its device: the notifier detaches it when the device goes.
 *  - Counters are per CPU, so no CPU waits for another, and nothing is allocated on the packet path
 *    (but for the copies of a relay, which are limited by rate).
 */
#ifndef KMOD_BATON_H
#define KMOD_BATON_H

#include <linux/netdevice.h>
#include <linux/netfilter.h>
#include <linux/skbuff.h>
#include <net/net_namespace.h>

#include "lb/verdict.h"
#include "kmod/uapi.h"

/* Relayed frames (not copies) that one CPU may cause in each window: no amplifier. */
#define BATON_RELAY_WINDOW_NS 100000000ull
#define BATON_RELAY_PER_WINDOW 16

struct baton_conf {
	struct rcu_head rcu;
	u16 self;
	u8 detours_on;
	u8 own_mac[ETH_ALEN] __aligned(2);
	u32 n_hosts;
	u16 *host;	      /* whom relays go to */
	u32 n_vips, vip_mask; /* open addressing, at most half full; mask + 1 slots */
	struct baton_vip *vip; /* family 0: free */
};

struct baton_watched {
	struct flow flow; /* family 0: free */
	u16 owner;
};

struct baton_watch {
	struct rcu_head rcu;
	u32 n, mask;
	struct baton_watched slot[];
};

struct baton_detour_count {
	u64 to, from;
};

struct baton_counts {
	u64 reason[REASON_MAX];
	struct baton_detour_count *host; /* HOST_ID_MAX + 1 */
	u64 last_in_ns, last_out_ns, last_cookie_ns;
	u64 relay_window;
	u32 relay_used;
};

struct baton_dev {
	struct list_head list;
	struct rcu_head rcu;
	struct nf_hook_ops ops; /* ops.dev, ops.priv = this */
	struct baton_net *bn;
	int ifindex;
};

struct baton_net {
	struct net *net;
	struct baton_conf __rcu *conf;
	struct baton_watch __rcu *watch; /* NULL: nothing is watched */
	struct baton_counts __percpu *counts;
	struct list_head devices; /* under RTNL */
};

extern unsigned int baton_net_id;

/* netns.c: state of a namespace */
int baton_netns_init(void);
void baton_netns_exit(void);
struct baton_net *baton_net(struct net *net);
struct baton_conf *baton_conf_new(u32 n_vips, u32 n_hosts);
void baton_conf_vip_add(struct baton_conf *c, const struct baton_vip *vip);
bool baton_conf_has_vip(const struct baton_conf *c, const struct flow *f);
void baton_conf_free(struct baton_conf *c);
void baton_conf_replace(struct baton_net *bn, struct baton_conf *c);
struct baton_watch *baton_watch_new(u32 n);
bool baton_watch_add(struct baton_watch *w, const struct flow *f, u16 owner);
struct baton_watched *baton_watch_find(struct baton_watch *w, const struct flow *f);
void baton_watch_replace(struct baton_net *bn, struct baton_watch *w);

/* devices.c: where the hook hangs */
int baton_devices_init(void);
void baton_devices_exit(void);
int baton_devices_attach(struct baton_net *bn, const u32 *ifindex, u32 n);
void baton_devices_keep(struct baton_net *bn, const u32 *ifindex, u32 n);
void baton_devices_drop_all(struct baton_net *bn);

/* facts.c: what the verdict asks for */
struct baton_judged {
	struct packet packet;
	struct verdict_facts facts;
	struct verdict verdict;
};
enum verdict_socket baton_quick_socket(struct baton_net *bn, const struct baton_conf *c, const struct sk_buff *skb,
				       const struct net_device *dev);
void baton_judge(struct baton_net *bn, const struct baton_conf *c, struct sk_buff *skb, const struct net_device *dev,
		 enum verdict_socket socket, struct baton_judged *j);
bool baton_late_answer(struct baton_net *bn, struct sk_buff *skb, const struct net_device *dev, struct baton_judged *j);

/* hook.c: what is done with a frame */
unsigned int baton_hook(void *priv, struct sk_buff *skb, const struct nf_hook_state *state);

/* genl.c */
int baton_genl_init(void);
void baton_genl_exit(void);
void baton_genl_detached(struct net *net, const struct net_device *dev);

#endif
