// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * All that an export must know of a TCP socket, under its lock, in one getsockopt() of a level that no protocol has.
 * Attached to the cgroup that the daemon's sockets belong to; every other call passes as it was.  Fields are read by
 * their name in the running kernel's BTF, so one object serves Debian 12 and 13.
 */
#include "vmlinux.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "l7/tcp/tcp_read.h"

#define INET 2
#define INET6 10
#define NAGLE_OFF 1
#define PASSED_MAX 4096 /* the kernel shows no more of an option to a program, and wants to be told so */

char _license[] SEC("license") = "Dual BSD/GPL";

/* Fields that not every kernel has. */
struct tcp_sock___late {
	__u8 tcp_usec_ts : 1;
	bool is_mptcp;
	void *md5sig_info;
	void *ao_info;
} __attribute__((preserve_access_index));

#define GET(from, field) BPF_CORE_READ(from, field)

static __always_inline __u16 kind_of(const struct tcp_sock *tp)
{
	const struct tcp_sock___late *late = (const void *)tp;
	__u16 flags = 0;

	if (GET(tp, out_of_order_queue.rb_node))
		flags |= TCP_READ_DISORDER;
	if (GET(tp, urg_data))
		flags |= TCP_READ_URGENT;
	if (GET(tp, fastopen_rsk))
		flags |= TCP_READ_FASTOPEN;
	if (bpf_core_field_exists(late->md5sig_info) && BPF_CORE_READ(late, md5sig_info))
		flags |= TCP_READ_SIGNED;
	if (bpf_core_field_exists(late->ao_info) && BPF_CORE_READ(late, ao_info))
		flags |= TCP_READ_SIGNED;
	if (bpf_core_field_exists(late->is_mptcp) && BPF_CORE_READ(late, is_mptcp))
		flags |= TCP_READ_MPTCP;
	if (bpf_core_field_exists(late->tcp_usec_ts) && BPF_CORE_READ_BITFIELD_PROBED(late, tcp_usec_ts))
		flags |= TCP_READ_USEC;
	return flags;
}

static __always_inline __u16 options_of(const struct tcp_sock *tp, struct tcp_read *r)
{
	__u16 flags = 0;

	if (BPF_CORE_READ_BITFIELD_PROBED(tp, rx_opt.tstamp_ok))
		flags |= TCP_READ_TIMESTAMPS;
	if (BPF_CORE_READ_BITFIELD_PROBED(tp, rx_opt.sack_ok))
		flags |= TCP_READ_SACK;
	if (BPF_CORE_READ_BITFIELD_PROBED(tp, rx_opt.wscale_ok)) {
		flags |= TCP_READ_WSCALE;
		r->snd_wscale = (__u8)BPF_CORE_READ_BITFIELD_PROBED(tp, rx_opt.snd_wscale);
		r->rcv_wscale = (__u8)BPF_CORE_READ_BITFIELD_PROBED(tp, rx_opt.rcv_wscale);
	}
	if (BPF_CORE_READ_BITFIELD_PROBED(tp, nonagle) & NAGLE_OFF)
		flags |= TCP_READ_NODELAY;
	if (GET(tp, ecn_flags) & 1)
		flags |= TCP_READ_ECN;
	r->ts_recent = GET(tp, rx_opt.ts_recent);
	r->mss_clamp = GET(tp, rx_opt.mss_clamp);
	return flags;
}

static __always_inline void sequence_of(const struct tcp_sock *tp, struct tcp_read *r)
{
	r->snd_una = GET(tp, snd_una);
	r->snd_nxt = GET(tp, snd_nxt);
	r->write_seq = GET(tp, write_seq);
	r->copied_seq = GET(tp, copied_seq);
	r->rcv_nxt = GET(tp, rcv_nxt);
	r->rcv_wup = GET(tp, rcv_wup);
	r->rcv_wnd = GET(tp, rcv_wnd);
	r->snd_wl1 = GET(tp, snd_wl1);
	r->snd_wnd = GET(tp, snd_wnd);
	r->max_window = GET(tp, max_window);
	r->tsoffset = GET(tp, tsoffset);
	r->srtt_us = GET(tp, srtt_us) >> 3;   /* as TCP_INFO does */
	r->rttvar_us = GET(tp, mdev_us) >> 2;
	r->cwnd = GET(tp, snd_cwnd);
	r->ssthresh = GET(tp, snd_ssthresh);
}

static __always_inline void names_of(const struct sock *sk, struct tcp_read *r)
{
	r->family = GET(sk, __sk_common.skc_family);
	r->client_port = GET(sk, __sk_common.skc_dport);
	r->vip_port = __builtin_bswap16(GET(sk, __sk_common.skc_num));
	if (r->family == INET6) {
		BPF_CORE_READ_INTO(&r->client, sk, __sk_common.skc_v6_daddr.in6_u.u6_addr32);
		BPF_CORE_READ_INTO(&r->vip, sk, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32);
	} else {
		r->client[0] = GET(sk, __sk_common.skc_daddr);
		r->vip[0] = GET(sk, __sk_common.skc_rcv_saddr);
	}
}

static __always_inline void manners_of(const struct sock *sk, struct tcp_read *r)
{
	const struct inet_connection_sock *icsk = (const void *)sk;
	const struct inet_sock *inet = (const void *)sk;
	const struct tcp_sock *tp = (const void *)sk;
	const struct net *net = GET(sk, __sk_common.skc_net.net);
	const struct ipv6_pinfo *pinet6 = GET(inet, pinet6);

	r->user_timeout_ms = GET(icsk, icsk_user_timeout);
	r->pmtu = GET(icsk, icsk_pmtu_cookie);
	r->keep_idle = GET(tp, keepalive_time);
	if (!r->keep_idle)
		r->keep_idle = (__u32)GET(net, ipv4.sysctl_tcp_keepalive_time);
	r->keep_interval = GET(tp, keepalive_intvl);
	if (!r->keep_interval)
		r->keep_interval = (__u32)GET(net, ipv4.sysctl_tcp_keepalive_intvl);
	r->keep_count = GET(tp, keepalive_probes);
	if (!r->keep_count)
		r->keep_count = (__u8)GET(net, ipv4.sysctl_tcp_keepalive_probes);
	r->tos = r->family == INET6 && pinet6 ? GET(pinet6, tclass) : GET(inet, tos);
	BPF_CORE_READ_STR_INTO(&r->congestion, icsk, icsk_ca_ops, name);
	if (GET(sk, __sk_common.skc_flags) & 1ul << bpf_core_enum_value(enum sock_flags, SOCK_KEEPOPEN))
		r->flags |= TCP_READ_KEEPALIVE;
}

/* The verifier lets a program compute with an address that it does not take for a socket. */
static __always_inline const struct sock *plain_address(struct bpf_sockopt *ctx)
{
	struct bpf_sock *volatile typed = ctx->sk;
	const struct sock *plain = NULL;

	if (bpf_probe_read_kernel(&plain, sizeof(plain), (const void *)&typed))
		return NULL;
	return plain;
}

SEC("cgroup/getsockopt")
int tcp_read(struct bpf_sockopt *ctx)
{
	const struct sock *sk;
	struct tcp_read *to = ctx->optval, r = {};

	if (ctx->level != TCP_READ_LEVEL) {
		if (ctx->optlen > PASSED_MAX)
			ctx->optlen = 0;
		return 1;
	}
	sk = plain_address(ctx);
	if (!sk || (void *)(to + 1) > ctx->optval_end)
		return 1; /* the kernel's own answer: no such option */
	names_of(sk, &r);
	r.protocol = (__u16)GET(sk, sk_protocol);
	r.state = GET(sk, __sk_common.skc_state);
	if (r.protocol == 6 && (r.family == INET || r.family == INET6)) {
		r.ktime_ns = bpf_ktime_get_ns();
		r.flags = kind_of((const void *)sk);
		r.flags |= options_of((const void *)sk, &r);
		sequence_of((const void *)sk, &r);
		manners_of(sk, &r);
	}
	*to = r;
	ctx->optlen = sizeof(r);
	ctx->retval = 0;
	return 1;
}
