/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Addresses on the host links.  All are derived from ids, so no ARP and no neighbour discovery runs
 * there: switches and hosts install permanent neighbours.
 *
 *   fe80::ba70:1:<id>      switch <id>          its MAC: router_mac(id)
 *   fe80::ba70:2:<id>      host <id>            its MAC: vmac_encode([id])
 *   fe80::ba70:3:<bucket>  next hop of a bucket its MAC: the bucket's vMAC
 *
 * IPv4 routes use these IPv6 next hops too (RFC 8950; Linux "via inet6").
 */
#ifndef LB_LINK_H
#define LB_LINK_H

#include <linux/types.h>

enum link_kind { LINK_SWITCH = 1, LINK_HOST = 2, LINK_BUCKET = 3 };

static inline void link_address(__u8 addr[16], enum link_kind kind, __u16 id)
{
	int i;

	for (i = 0; i < 16; i++)
		addr[i] = 0;
	addr[0] = 0xfe;
	addr[1] = 0x80;
	addr[10] = 0xba;
	addr[11] = 0x70;
	addr[13] = (__u8)kind;
	addr[14] = (__u8)(id >> 8);
	addr[15] = (__u8)id;
}

#endif
