/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What l7/tcp/tcp_read.bpf.c says of a socket, and what l7/tcp/tcp_seed.bpf.c puts into one.  Shared with l7/tcp/tcp_bpf.c.
 * Host byte order but for addresses and ports.
 */
#ifndef L7_TCP_TCP_READ_H
#define L7_TCP_TCP_READ_H

#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

#define TCP_READ_LEVEL 0xba70 /* getsockopt(fd, TCP_READ_LEVEL, 0, &struct tcp_read): no protocol's level */

enum tcp_read_flags { /* of the connection */
	TCP_READ_TIMESTAMPS = 1,
	TCP_READ_SACK = 2,
	TCP_READ_WSCALE = 4,
	TCP_READ_NODELAY = 8,
	TCP_READ_KEEPALIVE = 16,
	TCP_READ_ECN = 32,
	/* reasons not to move it */
	TCP_READ_DISORDER = 256, /* data out of order is queued */
	TCP_READ_URGENT = 512,
	TCP_READ_SIGNED = 1024, /* MD5, TCP-AO */
	TCP_READ_MPTCP = 2048,
	TCP_READ_USEC = 4096, /* its timestamps count microseconds */
	TCP_READ_FASTOPEN = 8192, /* a request socket is attached still */
};

struct tcp_read {
	__u64 ktime_ns; /* CLOCK_MONOTONIC at the read */
	__u16 family, protocol, state, flags;
	__u16 client_port, vip_port; /* as on the wire */
	__u32 client[4], vip[4];
	__u32 snd_una, snd_nxt, write_seq, copied_seq, rcv_nxt;
	__u32 rcv_wup, rcv_wnd, snd_wl1, snd_wnd, max_window;
	__u32 tsoffset, ts_recent;
	__u32 srtt_us, rttvar_us, cwnd, ssthresh;
	__u32 user_timeout_ms, pmtu, mss_clamp;
	__u32 keep_idle, keep_interval; /* jiffies */
	__u8 keep_count, snd_wscale, rcv_wscale, tos;
	char congestion[16];
};

/* A value of the map `seeds`, whose key is a socket. */
struct tcp_seed {
	__u32 cwnd, ssthresh; /* 0: not to be set */
	__u32 ecn;
};

#endif
