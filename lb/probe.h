/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The probe: does a host's data path still answer?  The agent is not asked, and need not run.
 *
 *   Ethernet    dst vMAC of [host]   src router_mac(switch)   type 0x88B5 (IEEE local experimental)
 *   payload     struct probe, padded to 60 bytes of frame as Ethernet demands
 *
 *  1. A switch sends kind PROBE_REQUEST to a host, out of the host's port, with a nonce of its own.
 *  2. A host whose own address is the destination, and only if kind is PROBE_REQUEST, the magic and
 *     version are known and the source is a router address, sets kind to PROBE_REPLY and host to its
 *     id, swaps the addresses and sends the frame back through the device it came from.  Every other
 *     byte returns as it came.  A reply is never answered, so two data paths cannot play ball.
 *  3. The switch takes a reply as alive if host and nonce are what it asked, else counts and drops it.
 *  4. A frame of this type is never delivered to the stack of a host unless malformed.
 */
#ifndef LB_PROBE_H
#define LB_PROBE_H

#include "lb/vmac.h"

#define PROBE_ETHERTYPE 0x88b5 /* host byte order */
#define PROBE_MAGIC 0xba70
#define PROBE_VERSION 1

enum probe_kind { PROBE_REQUEST = 1, PROBE_REPLY = 2 };

struct probe {
	__be16 magic;
	__u8 version;
	__u8 kind;
	__be16 host;	/* request: 0; reply: who answers */
	__be16 switch_id;
	__be64 nonce;	/* the sender's */
	__be64 sent_ns; /* the sender's clock; returned untouched, so that it need not remember */
};

_Static_assert(sizeof(struct probe) == 24, "struct probe is a wire format");

#endif
