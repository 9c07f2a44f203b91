/* SPDX-License-Identifier: BSD-2-Clause */
/* Are a connection's segments signed, by TCP MD5 (RFC 2385) or TCP-AO (RFC 5925)?  Private to l7/tcp/tcp_move.c. */
#ifndef L7_TCP_TCP_SIGNED_H
#define L7_TCP_TCP_SIGNED_H

#include <stdbool.h>

struct tcp_move;

bool tcp_signed(int fd, const struct tcp_move *names);

#endif
