/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * How lb/packet.h gets at a frame's bytes: the only part of the parser that differs between
 * environments.  Each defines
 *
 *     struct packet_source                            what to read from
 *     packet_load(source, off, dst, len) -> 0 or -1   copies len bytes, whole or not at all
 *
 *   XDP         #define PACKET_XDP before including: struct xdp_md, direct access to the linear part
 *   TC          #define PACKET_TC before including: struct __sk_buff, direct, else bpf_skb_load_bytes
 *   kernel      a module: struct sk_buff, offsets counted from the MAC header
 *   user space  a buffer
 *
 * eBPF programs include <linux/bpf.h> (or vmlinux.h) and <bpf/bpf_helpers.h> first.
 */
#ifndef LB_PACKET_LOAD_H
#define LB_PACKET_LOAD_H

#include "lb/flow.h"

/* No header that we read begins beyond this; it also tells the verifier that offsets are small. */
#define PACKET_OFFSET_MAX 1023

#if defined(PACKET_XDP) || defined(PACKET_TC)

#ifdef PACKET_XDP
#define packet_source xdp_md
#else
#define packet_source __sk_buff
#endif

LB_INLINE int packet_load(struct packet_source *ctx, __u32 off, void *dst, const __u32 len)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	if (off > PACKET_OFFSET_MAX)
		return -1;
	/* The compiler must not fold the bound away, nor check one register and use another. */
	off &= PACKET_OFFSET_MAX;
	__asm__ volatile("" : "+r"(off));
	off &= PACKET_OFFSET_MAX;
	if (data + off + len <= end) {
		__builtin_memcpy(dst, data + off, len);
		return 0;
	}
#ifdef PACKET_TC
	return bpf_skb_load_bytes(ctx, off, dst, len) ? -1 : 0;
#else
	return -1;
#endif
}

#elif defined(__KERNEL__)

#include <linux/skbuff.h>

#define packet_source sk_buff

static inline int packet_load(const struct sk_buff *skb, __u32 off, void *dst, __u32 len)
{
	int at;

	if (off > PACKET_OFFSET_MAX)
		return -1;
	at = (int)off + skb_mac_offset(skb);
	if (at + (int)len <= (int)skb_headlen(skb)) { /* a length known to the compiler: no call */
		memcpy(dst, skb->data + at, len);
		return 0;
	}
	return skb_copy_bits(skb, at, dst, (int)len) ? -1 : 0;
}

#else

#include <string.h>

struct packet_source {
	const void *data;
	__u32 len;
};

static inline int packet_load(const struct packet_source *s, __u32 off, void *dst, __u32 len)
{
	if (off > PACKET_OFFSET_MAX || off > s->len || len > s->len - off)
		return -1;
	memcpy(dst, (const char *)s->data + off, len);
	return 0;
}

#endif
#endif
