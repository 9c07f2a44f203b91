/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * A flow and its hash.  The hash decides the bucket, and every switch must come to the same one,
 * whatever forwards there (XDP, TC, a kernel module, user space) and whatever its byte order: it is
 * computed from the numbers in the headers, never from memory images, and from nothing but the
 * flow and the POP's seed.
 *
 *     bucket = flow_hash(flow, seed) & (n_buckets - 1)
 *
 * No loops and no branches but one by family, so that the eBPF verifier sees a straight line.
 */
#ifndef LB_FLOW_H
#define LB_FLOW_H

#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

#if defined(__bpf__) || defined(__KERNEL__)
#define LB_INLINE static __attribute__((always_inline)) inline
#else
#define LB_INLINE static inline
#endif

/* As ntohl() and ntohs(), both ways, but available everywhere and usable on constants. */
#ifdef __CHECKER__ /* sparse: a number in network order is none until it passed lb_be*() */
#define LB_FORCE __attribute__((force))
#else
#define LB_FORCE
#endif
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define lb_be32(x) ((__u32)__builtin_bswap32((LB_FORCE __u32)(x)))
#define lb_be16(x) ((__u16)__builtin_bswap16((LB_FORCE __u16)(x)))
#else
#define lb_be32(x) ((LB_FORCE __u32)(x))
#define lb_be16(x) ((LB_FORCE __u16)(x))
#endif

#define FLOW_V4 4
#define FLOW_V6 6

/* All in network byte order.  IPv4 uses word 0 of the addresses; the other words are 0. */
struct flow {
	__be32 saddr[4]; /* the client */
	__be32 daddr[4]; /* the VIP */
	__be16 sport;	 /* 0 where the packet has no ports: ICMP, a later fragment */
	__be16 dport;
	__u8 family;	 /* FLOW_V4, FLOW_V6; 0: no flow */
	__u8 protocol;
	__u16 zero;
};

_Static_assert(sizeof(struct flow) == 40, "struct flow is a map key: no padding");

/*
 * One round: multiply, rotate, multiply (the shape of MurmurHash3 and xxHash; constants are the
 * 64-bit golden ratio and a prime of xxHash).
 */
LB_INLINE __u64 flow_mix(__u64 h, __u64 word)
{
	word *= 0x9e3779b97f4a7c15ull;
	word = word << 31 | word >> 33;
	h ^= word * 0xc2b2ae3d27d4eb4full;
	h = h << 27 | h >> 37;
	return h * 5 + 0x52dce729;
}

LB_INLINE __u64 flow_pair(__be32 high, __be32 low)
{
	return (__u64)lb_be32(high) << 32 | lb_be32(low);
}

/* Depends on both addresses, both ports, the protocol, the family and the seed.  32 good bits. */
LB_INLINE __u32 flow_hash(const struct flow *f, __u32 seed)
{
	__u64 h = (__u64)seed << 32 | (__u64)f->family << 8 | f->protocol;

	if (f->family == FLOW_V6) {
		h = flow_mix(h, flow_pair(f->saddr[0], f->saddr[1]));
		h = flow_mix(h, flow_pair(f->saddr[2], f->saddr[3]));
		h = flow_mix(h, flow_pair(f->daddr[0], f->daddr[1]));
		h = flow_mix(h, flow_pair(f->daddr[2], f->daddr[3]));
	} else {
		h = flow_mix(h, flow_pair(f->saddr[0], f->daddr[0]));
	}
	h = flow_mix(h, (__u64)lb_be16(f->sport) << 16 | lb_be16(f->dport));
	/* Every input bit must reach every output bit: the finaliser of MurmurHash3 (fmix64). */
	h ^= h >> 33;
	h *= 0xff51afd7ed558ccdull;
	h ^= h >> 33;
	h *= 0xc4ceb9fe1a85ec53ull;
	return (__u32)(h >> 32);
}

/* n_buckets is a power of two. */
LB_INLINE __u32 flow_bucket(const struct flow *f, __u32 seed, __u32 n_buckets)
{
	return flow_hash(f, seed) & (n_buckets - 1);
}

#endif
