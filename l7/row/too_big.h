/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ICMP error that a router would send: this packet needs fragmentation (RFC 792, RFC 1191) or is too big (RFC 4443,
 * section 3.2), as a frame back to the packet's sender.  Pure.
 */
#ifndef L7_ROW_TOO_BIG_H
#define L7_ROW_TOO_BIG_H

#include <stddef.h>
#include <stdint.h>

#define TOO_BIG_MAX 1294 /* Ethernet, and what every IPv6 link carries */

/* frame: a whole IPv4 or IPv6 packet behind an Ethernet header.  Octets written; 0: it is neither. */
size_t too_big(const uint8_t *frame, size_t len, uint32_t mtu, uint8_t out[TOO_BIG_MAX]);

#endif
