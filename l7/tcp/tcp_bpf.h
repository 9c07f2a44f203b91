/* SPDX-License-Identifier: BSD-2-Clause */
/* The eBPF programs that help a move (tcp_move_open of l7/tcp/tcp_move.h).  Private to l7/tcp_*.c. */
#ifndef L7_TCP_TCP_BPF_H
#define L7_TCP_TCP_BPF_H

#include <stdint.h>

#include "l7/tcp/tcp_read.h"

/* 0; -ENOPROTOOPT: the program does not see this socket: by socket options then. */
int tcp_bpf_read(int fd, struct tcp_read *r);
/* The kernel's ticks in a second, in which keepalive times are given; 0: not known. */
unsigned tcp_bpf_hz(void);
/* -EOPNOTSUPP: the socket keeps the initial window.  The socket's congestion control is then to be set again. */
int tcp_bpf_seed(int fd, const struct tcp_seed *s);

#endif
