/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One keepalive probe for somebody else's TCP connection (RFC 9293, section 3.8.4): an empty segment
 * one octet before the unacknowledged ones.  The peer's TCP must answer it with a bare ACK, tells its
 * application nothing, and drops it before it looks at acknowledgement or window; our socket does not
 * know of it, and takes the ACK for a duplicate.
 */
#ifndef AGENT_PROBE_H
#define AGENT_PROBE_H

#include <stddef.h>
#include <stdint.h>

#include "agent/tcp_iter.h"

#define PROBE_LEN_MAX (40 + 20 + 12)

struct prober;

/* The whole IP packet.  Its length; monotonic_ns: the clock that TSvals come from. */
size_t probe_build(uint8_t buf[PROBE_LEN_MAX], const struct tcp_iter_socket *s, uint64_t monotonic_ns);

int prober_open(struct prober **out); /* needs CAP_NET_RAW.  0 or -errno */
void prober_close(struct prober *p);
int prober_send(struct prober *p, const struct tcp_iter_socket *s); /* 0 or -errno */

#endif
