/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Restores a frame's addresses before the program under test sees it: a detour rewrites them, and
 * BPF_PROG_TEST_RUN does not reset a packet between repeats.  Then a tail call.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

volatile __u16 mac[6]; /* destination and source */

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u32);
} target SEC(".maps");

#define GENERATE(slot)                                                  \
	do {                                                            \
		__u16 *to = (void *)(long)skb->data;                    \
		if ((void *)(to + 6) > (void *)(long)skb->data_end)     \
			return 2;                                       \
		to[0] = mac[0];                                         \
		to[1] = mac[1];                                         \
		to[2] = mac[2];                                         \
		to[3] = mac[3];                                         \
		to[4] = mac[4];                                         \
		to[5] = mac[5];                                         \
		bpf_tail_call_static(skb, &target, slot);               \
		return 2;                                               \
	} while (0)

SEC("tc")
int gen_program(struct __sk_buff *skb)
{
	GENERATE(0);
}

SEC("tc")
int gen_empty(struct __sk_buff *skb)
{
	GENERATE(1);
}

SEC("tc")
int empty(struct __sk_buff *skb __attribute__((unused)))
{
	return -1; /* TC_ACT_UNSPEC */
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
