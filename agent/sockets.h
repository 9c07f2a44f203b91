/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is left on the VIPs: every TCP socket whose local address is one, counted by a netlink dump of
 * the kernel's tables.  Listeners do not count, nor do sockets whose other end is a VIP of ours too:
 * those are this host's own checks, no client's.  Apart from them: connections to this host's servers by which
 * front ends, its own or other hosts', serve their clients.
 */
#ifndef AGENT_SOCKETS_H
#define AGENT_SOCKETS_H

#include "agent/rtnl.h"
#include "agent/tcp_iter.h"
#include "agent/vipset.h"

/* Where servers of this host stand behind front ends. */
struct server_set {
	struct endpoint *at;
	size_t n;
};

int server_set_build(struct server_set *s, const struct pop *pop, uint16_t self); /* 0 or -ENOMEM, the set unchanged */

struct socket_counts {
	uint64_t established;
	uint64_t request;   /* SYN received, handshake not finished */
	uint64_t time_wait; /* younger than policy.time_wait_ms: may still have something to say */
	uint64_t other;	    /* closing, or half open */
	uint64_t time_wait_old;
};

static inline uint64_t socket_counts_left(const struct socket_counts *c)
{
	return c->established + c->request + c->time_wait + c->other;
}

struct socket_left {
	struct address client, vip;
	uint16_t client_port, vip_port; /* host byte order */
	uint32_t vip_index;		/* position in pop->vip */
	uint8_t state;			/* TCP_ESTABLISHED, ... (netinet/tcp.h); TCP_SYN_RECV for request sockets */
	uint32_t expires_ms;		/* TIME_WAIT: until it ends */
	uint32_t receive_queue, send_queue;
	bool has_info;
	uint64_t bytes_sent, bytes_received; /* acknowledged; with_info only */
	uint32_t idle_ms;		     /* since data was last sent or received */
};

/* Returns non-zero to stop being called (the rest of the dump is still read). */
typedef int socket_each(void *ctx, const struct socket_left *s);

/* Gives every socket on the VIPs.  with_info: bytes and idle time too (three times the work). */
int sockets_each(struct rtnl *diag, const struct vipset *vips, bool with_info, socket_each *each, void *ctx);

/* Counts, in all and per VIP (n_vips entries; may be NULL); *proxied: those to servers (both may be NULL).  0 or -errno. */
int sockets_count(struct rtnl *diag, const struct vipset *vips, const struct server_set *servers, uint32_t time_wait_ms,
		  struct socket_counts *all, struct socket_counts *per_vip, size_t n_vips, uint64_t *proxied);

const char *socket_state_name(uint8_t state);

/*
 * SYN cookies that the kernel sent or accepted since boot (TcpExt in /proc/net/netstat): connections
 * that exist only in a client's next ACK.  0 or -errno.
 */
int sockets_cookies(uint64_t *sent, uint64_t *accepted);

/* Is the socket as it was when it was listed: there, in that state, and nothing has come or gone since?  1, 0 or -errno. */
int sockets_as_listed(struct rtnl *diag, const struct tcp_iter_socket *listed);

#endif
