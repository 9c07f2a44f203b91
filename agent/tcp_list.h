/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The TCP sockets on the VIPs with their sequence numbers, read through a BPF iterator in the network
 * namespace of this process.
 */
#ifndef AGENT_TCP_LIST_H
#define AGENT_TCP_LIST_H

#include "agent/tcp_iter.h"
#include "agent/vipset.h"

struct tcp_list;

typedef void tcp_list_each(void *ctx, const struct tcp_iter_socket *s);

int tcp_list_open(struct tcp_list **out, char *why, size_t why_len);
void tcp_list_close(struct tcp_list *l);
/* As sockets.h counts them: on a VIP, the other end none.  Mapped addresses come as IPv4.  0 or -errno. */
int tcp_list_read(struct tcp_list *l, const struct vipset *vips, tcp_list_each *each, void *ctx);

#endif
