// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * A BPF iterator over the TCP sockets of the opener's network namespace, one binary record each
 * (tcp_iter.h).  It reads sequence numbers that no socket option gives for a foreign process's socket.
 * Request sockets are written too (without numbers): they count, but are not probed.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "agent/tcp_iter.h"

#define AF_INET 2
#define AF_INET6 10

char LICENSE[] SEC("license") = "Dual BSD/GPL";

extern unsigned CONFIG_HZ __kconfig;

/* tp->tcp_usec_ts exists since 6.7. */
struct tcp_sock___usec {
	__u8 tcp_usec_ts : 1;
} __attribute__((preserve_access_index));

static __always_inline void addresses(struct tcp_iter_socket *r, const struct sock_common *skc)
{
	r->family = (__u8)skc->skc_family;
	r->src_port = skc->skc_num;
	r->dst_port = bpf_ntohs(skc->skc_dport);
	if (r->family == AF_INET) {
		__builtin_memcpy(r->src, &skc->skc_rcv_saddr, 4);
		__builtin_memcpy(r->dst, &skc->skc_daddr, 4);
	} else {
		BPF_CORE_READ_INTO(&r->src, skc, skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO(&r->dst, skc, skc_v6_daddr);
	}
}

static __always_inline void from_time_wait(struct tcp_iter_socket *r, const struct tcp_timewait_sock *tw)
{
	__u32 left = (__u32)tw->tw_sk.tw_timer.expires - (__u32)bpf_jiffies64();

	r->time_wait = 1;
	r->state = tw->tw_sk.tw_substate;
	r->snd_una = tw->tw_sk.__tw_common.skc_tw_snd_nxt;
	r->rcv_nxt = tw->tw_sk.__tw_common.skc_tw_rcv_nxt;
	r->ts_offset = tw->tw_ts_offset;
	r->ts_recent = tw->tw_ts_recent;
	r->window = tw->tw_rcv_wnd;
	r->flags = tw->tw_ts_recent ? TCP_ITER_TIMESTAMPS : 0;
	r->expires_ms = (__s32)left > 0 ? (__u32)((__u64)left * 1000 / CONFIG_HZ) : 0;
}

static __always_inline void from_full(struct tcp_iter_socket *r, const struct tcp_sock *tp)
{
	__u32 window = tp->rcv_wnd - (tp->rcv_nxt - tp->rcv_wup);
	__u32 now = (__u32)bpf_jiffies64();
	__u32 sent = now - tp->lsndtime, received = now - tp->inet_conn.icsk_ack.lrcvtime;

	r->idle_ms = (__u32)((__u64)(sent < received ? sent : received) * 1000 / CONFIG_HZ);
	r->snd_una = tp->snd_una;
	r->rcv_nxt = tp->rcv_nxt;
	r->ts_offset = tp->tsoffset;
	r->ts_recent = tp->rx_opt.ts_recent;
	r->window = (__s32)window > 0 ? window >> tp->rx_opt.rcv_wscale : 0;
	if (tp->rx_opt.tstamp_ok)
		r->flags |= TCP_ITER_TIMESTAMPS;
	if (tp->snd_una != tp->write_seq)
		r->flags |= TCP_ITER_IN_FLIGHT;
	if (received < sent)
		r->flags |= TCP_ITER_OWES;
	if (bpf_core_field_exists(struct tcp_sock___usec, tcp_usec_ts) &&
	    BPF_CORE_READ_BITFIELD_PROBED((struct tcp_sock___usec *)tp, tcp_usec_ts))
		r->flags |= TCP_ITER_USEC_TS;
}

SEC("iter/tcp")
int tcp_sockets(struct bpf_iter__tcp *ctx)
{
	struct sock_common *skc = ctx->sk_common;
	struct seq_file *seq = ctx->meta->seq;
	struct tcp_iter_socket r = {};
	struct tcp_timewait_sock *tw;
	struct tcp_sock *tp;

	if (!skc)
		return 0;
	if (skc->skc_family != AF_INET && skc->skc_family != AF_INET6)
		return 0;
	if (skc->skc_state == TCP_LISTEN || skc->skc_state == TCP_CLOSE)
		return 0;
	r.state = skc->skc_state;
	addresses(&r, skc);

	tw = bpf_skc_to_tcp_timewait_sock(skc);
	tp = tw ? 0 : bpf_skc_to_tcp_sock(skc);
	if (tw)
		from_time_wait(&r, tw);
	else if (tp)
		from_full(&r, tp);
	bpf_seq_write(seq, &r, sizeof(r));
	return 0;
}
