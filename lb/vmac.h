/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * MAC addresses that speak.  Three kinds of 48-bit address carry what Faild (NSDI'18, section 4)
 * keeps in the network: who owns a bucket, who owned it before, and how a frame came here.
 *
 * All are locally administered unicast in the IEEE 802c SLAP quadrant AAI ("administratively
 * assigned": Y = 0, Z = 0, second hex digit 2): the operator of the bridge domain assigns them, so
 * neither a vendor (ELI) nor a standard (SAI) will ever collide with them.
 *
 *   octet      0        1        2        3        4        5
 *          +--------+----+----+--------+--------+----+----+--------+
 *   vMAC   |  0x42  |ver |   owner     |  previous   |  before it   |   3 host ids, 12 bits each
 *          +--------+----+----+--------+--------+----+----+--------+
 *   detour |  0x52  |ver |   sender    |  first      |reas|budg| 0  |   source of a detoured frame
 *          +--------+----+----+--------+--------+----+----+--------+
 *   router |  0x62  |ver |   0         |     0       |  switch id   |   a switch's own address
 *          +--------+----+----+--------+--------+----+----+--------+
 *
 * A triple is a list of one to three distinct hosts.  In struct triple unused slots are 0; in the
 * vMAC they repeat the last host, so that there is exactly one spelling for each triple:
 * [A] = (A,A,A), [B,A] = (B,A,A).  A host's own address is the vMAC of [host].
 *
 * This header is shared by the eBPF programs, the kernel module and user space.
 */
#ifndef LB_VMAC_H
#define LB_VMAC_H

#ifndef __VMLINUX_H__ /* an eBPF program may have the types from there */
#include <linux/types.h>
#endif

#define HOST_NONE 0
#define HOST_ID_MIN 1
#define HOST_ID_MAX 4094
#define TRIPLE_MAX 3

#define MAC_KIND_VMAC 0x42
#define MAC_KIND_DETOUR 0x52
#define MAC_KIND_ROUTER 0x62
#define MAC_LAYOUT_VERSION 1

/* A frame may be sent on at most this often: two hosts of history, one owner. */
#define DETOUR_BUDGET_MAX 3

/* Owner first, then history, newest first; unused slots are HOST_NONE and come last. */
struct triple {
	__u16 host[TRIPLE_MAX];
};

struct detour {
	__u16 sender; /* the host that sent this frame on */
	__u16 first;  /* the host that got it first: the bucket's owner now */
	__u8 reason;  /* enum verdict_reason of the first detour, low 4 bits */
	__u8 budget;  /* how often it may still be sent on */
};

static inline int host_id_valid(__u16 id)
{
	return id >= HOST_ID_MIN && id <= HOST_ID_MAX;
}

static inline int triple_len(const struct triple *t)
{
	return !t->host[0] ? 0 : !t->host[1] ? 1 : !t->host[2] ? 2 : 3;
}

static inline int triple_has(const struct triple *t, __u16 host)
{
	return t->host[0] == host || t->host[1] == host || t->host[2] == host;
}

static inline void mac_put(__u8 mac[6], __u8 kind, __u16 a, __u16 b, __u16 c)
{
	mac[0] = kind;
	mac[1] = (__u8)(MAC_LAYOUT_VERSION << 4 | a >> 8);
	mac[2] = (__u8)a;
	mac[3] = (__u8)(b >> 4);
	mac[4] = (__u8)(b << 4 | c >> 8);
	mac[5] = (__u8)c;
}

/* True if mac is of that kind and of the layout version we speak; splits it into its 12-bit parts. */
static inline int mac_get(const __u8 mac[6], __u8 kind, __u16 *a, __u16 *b, __u16 *c)
{
	if (mac[0] != kind || mac[1] >> 4 != MAC_LAYOUT_VERSION)
		return 0;
	*a = (__u16)((mac[1] & 0xf) << 8 | mac[2]);
	*b = (__u16)(mac[3] << 4 | mac[4] >> 4);
	*c = (__u16)((mac[4] & 0xf) << 8 | mac[5]);
	return 1;
}

/* t must hold at least one host. */
static inline void vmac_encode(__u8 mac[6], const struct triple *t)
{
	__u16 b = t->host[1] ? t->host[1] : t->host[0];
	__u16 c = t->host[2] ? t->host[2] : b;

	mac_put(mac, MAC_KIND_VMAC, t->host[0], b, c);
}

/* 1 and *t if mac is the one spelling of a triple; 0 for every other address. */
static inline int vmac_decode(const __u8 mac[6], struct triple *t)
{
	__u16 a, b, c;

	if (!mac_get(mac, MAC_KIND_VMAC, &a, &b, &c))
		return 0;
	if (!host_id_valid(a) || !host_id_valid(b) || !host_id_valid(c))
		return 0;
	t->host[0] = a;
	t->host[1] = b == a ? HOST_NONE : b;
	t->host[2] = c == b ? HOST_NONE : c;
	if (b == a)
		return c == a;
	return c != a;
}

/* Drops the head: the triple of the next host that may know the flow.  [A] becomes empty. */
static inline struct triple triple_shift(const struct triple *t)
{
	struct triple r = { { t->host[1], t->host[2], HOST_NONE } };

	return r;
}

static inline void detour_encode(__u8 mac[6], const struct detour *d)
{
	mac_put(mac, MAC_KIND_DETOUR, d->sender, d->first,
		(__u16)((d->reason & 0xf) << 8 | (d->budget & 0xf) << 4));
}

static inline int detour_decode(const __u8 mac[6], struct detour *d)
{
	__u16 c;

	if (!mac_get(mac, MAC_KIND_DETOUR, &d->sender, &d->first, &c))
		return 0;
	d->reason = (__u8)(c >> 8 & 0xf);
	d->budget = (__u8)(c >> 4 & 0xf);
	return host_id_valid(d->sender) && host_id_valid(d->first) && !(c & 0xf) &&
	       d->budget < DETOUR_BUDGET_MAX;
}

static inline void router_mac(__u8 mac[6], __u16 switch_id)
{
	mac_put(mac, MAC_KIND_ROUTER, 0, 0, switch_id);
}

#endif
