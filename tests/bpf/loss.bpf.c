// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Loses packets at random, one of `one_in`, on the way it is attached to, or the next large one; for tests. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "Dual BSD/GPL";

#define LARGE 500

__u32 one_in = 0;   /* 0: none */
__u32 next_large = 0;
__u64 seen = 0, lost = 0;

SEC("tc")
int lose(struct __sk_buff *skb)
{
	__u32 n = one_in;

	if (next_large && skb->len > LARGE) {
		next_large = 0;
		__sync_fetch_and_add(&lost, 1);
		return TC_ACT_SHOT;
	}
	if (!n)
		return TC_ACT_UNSPEC;
	__sync_fetch_and_add(&seen, 1);
	if (bpf_get_prandom_u32() % n)
		return TC_ACT_UNSPEC;
	__sync_fetch_and_add(&lost, 1);
	return TC_ACT_SHOT;
}
