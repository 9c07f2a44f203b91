// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * A congestion control that an imported connection passes through for a moment: what it had learned is put back
 * when it starts, since no socket option can do that.  Then the connection's own control takes over, and keeps
 * window and threshold.  The values wait in socket storage (l7/tcp/tcp_read.h).  struct tcp_congestion_ops here has the
 * members that are needed and no more: every kernel has those.
 */
#include <linux/bpf.h>
#include <stdbool.h>

#include <bpf/bpf_helpers.h>

#include "l7/tcp/tcp_read.h"

char _license[] SEC("license") = "Dual BSD/GPL";

struct sock {
	int none;
} __attribute__((preserve_access_index));

struct tcp_sock {
	__u32 snd_cwnd, snd_ssthresh, prior_cwnd;
	__u8 ecn_flags;
} __attribute__((preserve_access_index));

struct tcp_congestion_ops {
	__u32 (*ssthresh)(struct sock *sk);
	void (*cong_avoid)(struct sock *sk, __u32 ack, __u32 acked);
	__u32 (*undo_cwnd)(struct sock *sk);
	void (*init)(struct sock *sk);
	char name[16];
	void *owner;
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct tcp_seed);
} seeds SEC(".maps");

SEC("struct_ops/seed_init")
void seed_init(unsigned long long *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	struct tcp_seed *s = bpf_sk_storage_get(&seeds, sk, 0, 0);
	struct tcp_sock *tp = (struct tcp_sock *)sk;

	if (!s)
		return;
	if (s->cwnd)
		tp->snd_cwnd = s->cwnd;
	if (s->ssthresh)
		tp->snd_ssthresh = s->ssthresh;
	if (s->ecn)
		tp->ecn_flags |= 1; /* TCP_ECN_OK; TCP_ECN_MODE_RFC3168 */
}

/* Should a connection stay here, it goes on with the window that it has, halved by a loss. */
SEC("struct_ops/seed_ssthresh")
__u32 seed_ssthresh(unsigned long long *ctx)
{
	const struct tcp_sock *tp = (const struct tcp_sock *)ctx[0];

	return tp->snd_cwnd > 4 ? tp->snd_cwnd / 2 : 2;
}

SEC("struct_ops/seed_avoid")
void seed_avoid(unsigned long long *ctx)
{
	(void)ctx;
}

SEC("struct_ops/seed_undo")
__u32 seed_undo(unsigned long long *ctx)
{
	const struct tcp_sock *tp = (const struct tcp_sock *)ctx[0];

	return tp->snd_cwnd > tp->prior_cwnd ? tp->snd_cwnd : tp->prior_cwnd;
}

SEC(".struct_ops")
struct tcp_congestion_ops baton_seed = {
	.init = (void *)seed_init,
	.ssthresh = (void *)seed_ssthresh,
	.cong_avoid = (void *)seed_avoid,
	.undo_cwnd = (void *)seed_undo,
	.name = "baton_seed1",
};
