/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * One TCP socket as the iterator tcp_iter.bpf.c writes it: what is needed to ask its peer for a sign
 * of life without touching the socket.  Shared by the BPF program and probe.c.
 */
#ifndef AGENT_TCP_ITER_H
#define AGENT_TCP_ITER_H

#ifndef __VMLINUX_H__ /* which has them all */
#include <linux/types.h>
#endif

#define TCP_ITER_TIMESTAMPS 1 /* the connection carries them */
#define TCP_ITER_USEC_TS 2    /* in microseconds (kernel >= 6.7, per route) */
#define TCP_ITER_IN_FLIGHT 4  /* sent and not acknowledged: the kernel itself makes the peer answer */
#define TCP_ITER_OWES 8	      /* data came since data was last sent: the application has an answer to give */

struct tcp_iter_socket {
	__u8 family;	/* AF_INET or AF_INET6 */
	__u8 state;	/* TCP_ESTABLISHED...; TIME_WAIT by its substate (FIN_WAIT2 or TIME_WAIT) */
	__u8 flags;	/* TCP_ITER_* */
	__u8 time_wait; /* a minisocket */
	__u8 src[16], dst[16]; /* IPv4: the first 4 bytes */
	__u16 src_port, dst_port; /* host byte order */
	__u32 snd_una;
	__u32 rcv_nxt;
	__u32 ts_offset; /* our TSval is the clock plus this */
	__u32 ts_recent; /* the peer's last TSval */
	__u32 window;	 /* as the header carries it */
	__u32 expires_ms; /* TIME_WAIT: until it ends */
	__u32 idle_ms;	  /* full sockets: since data was last sent or received */
};

#endif
