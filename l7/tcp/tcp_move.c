// SPDX-License-Identifier: BSD-2-Clause
/*
 * Export of a TCP connection (l7/tcp/tcp_move.h): by one read of l7/tcp/tcp_read.bpf.c where the kernel lets it see the socket,
 * else by socket options, which know less.
 */
#include "l7/tcp/tcp_move.h"

#include <linux/sockios.h>
#include <openssl/crypto.h>
#include <string.h>
#include <sys/ioctl.h>

#include "l7/row/flow.h"
#include "l7/tcp/tcp_bpf.h"
#include "l7/tcp/tcp_signed.h"
#include "l7/tcp/tcp_sockopt.h"

#define ESTABLISHED 1 /* TCP_ESTABLISHED; netinet/tcp.h and linux/tcp.h do not go together */
#define AGAIN_MAX 16  /* reads of a queue that packets already past the row may still change */
#define CWND_INITIAL 10 /* segments: what every kernel begins with (RFC 6928) */
#define STAMPS_LEN 12	/* the timestamp option in every segment */

static int queue_seq(int fd, int queue, uint32_t *seq)
{
	int err = set_int(fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, queue);

	return err ? err : get_u32(fd, TCP_QUEUE_SEQ, seq);
}

/* --- Addresses ------------------------------------------------------------------------------------------------ */

union name {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

/* An IPv4 connection of an IPv6 listener is IPv4. */
static void from_name(const union name *n, struct address *a, uint16_t *port)
{
	memset(a, 0, sizeof(*a));
	if (n->any.sa_family == AF_INET) {
		a->family = AF_INET;
		a->v4 = n->v4.sin_addr;
		*port = ntohs(n->v4.sin_port);
		return;
	}
	*port = ntohs(n->v6.sin6_port);
	a->family = AF_INET6;
	a->v6 = n->v6.sin6_addr;
	if (IN6_IS_ADDR_V4MAPPED(&n->v6.sin6_addr)) {
		memset(a, 0, sizeof(*a));
		a->family = AF_INET;
		memcpy(&a->v4, n->v6.sin6_addr.s6_addr + 12, 4);
	}
}

static int read_names(int fd, struct tcp_move *m)
{
	union name client = { .v6 = { 0 } }, vip = { .v6 = { 0 } };
	socklen_t len = sizeof(client);

	if (getpeername(fd, &client.any, &len))
		return -errno;
	len = sizeof(vip);
	if (getsockname(fd, &vip.any, &len))
		return -errno;
	from_name(&client, &m->client, &m->client_port);
	from_name(&vip, &m->vip, &m->vip_port);
	return m->client.family == m->vip.family ? 0 : -EPROTONOSUPPORT;
}

/* --- Export ----------------------------------------------------------------------------------------------------- */

static int read_info(int fd, struct tcp_info *info)
{
	socklen_t len = sizeof(*info);

	memset(info, 0, sizeof(*info));
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &len))
		return -errno;
	return info->tcpi_state == ESTABLISHED ? 0 : -ENOTCONN;
}

/* Plain TCP, not what only looks like it.  Urgent data cannot be told to another kernel. */
static int check_kind(int fd, const struct tcp_move *m)
{
	int protocol, err = get_int(fd, SOL_SOCKET, SO_PROTOCOL, &protocol);
	char urgent;

	if (err)
		return err;
	if (protocol != IPPROTO_TCP)
		return -EPROTONOSUPPORT;
	if (recv(fd, &urgent, 1, MSG_OOB | MSG_PEEK | MSG_DONTWAIT) >= 0 || errno != EINVAL)
		return -EAGAIN;
	return tcp_signed(fd, m) ? -EPROTONOSUPPORT : 0;
}

/*
 * Out-of-order data has no option of its own.  Memory is charged for it: charged while nothing can be read means
 * there is some.  While something can be read it is unknown, unless none ever came.
 */
static int check_order(int fd, const struct tcp_info *info, uint32_t unread)
{
	uint32_t memory[9] = { 0 }; /* linux/sock_diag.h: SK_MEMINFO_VARS; [0] is rmem_alloc */
	socklen_t len = sizeof(memory);

	if (!info->tcpi_rcv_ooopack)
		return 0;
	if (unread)
		return -EAGAIN;
	if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &len))
		return -errno;
	return memory[0] ? -EAGAIN : 0;
}

/* What a queue holds, as it is; -EAGAIN: it is not n bytes any more. */
static int peek(int fd, int queue, size_t n, size_t max, struct buffer *to)
{
	int err = set_int(fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, queue);
	uint8_t *p;

	if (err)
		return err;
	buffer_free(to);
	if (n > max)
		return -EMSGSIZE;
	if (!n)
		return 0;
	p = buffer_reserve(to, n, max);
	if (!p)
		return -ENOMEM;
	if (recv(fd, p, n, MSG_PEEK | MSG_DONTWAIT) != (ssize_t)n)
		return -EAGAIN;
	buffer_commit(to, n);
	return 0;
}

/* Sequence number and bytes of the receive queue belong together: both are read until neither moves. */
static int read_received(int fd, size_t max, struct tcp_move *m)
{
	uint32_t again;
	int unread, tries, err;

	for (tries = 0; tries < AGAIN_MAX; tries++) {
		err = queue_seq(fd, TCP_RECV_QUEUE, &m->rcv_nxt);
		if (err)
			return err;
		if (ioctl(fd, SIOCINQ, &unread))
			return -errno;
		err = peek(fd, TCP_RECV_QUEUE, (size_t)unread, max, &m->received);
		if (err == -EAGAIN)
			continue;
		if (err)
			return err;
		err = queue_seq(fd, TCP_RECV_QUEUE, &again);
		if (err || again == m->rcv_nxt)
			return err;
	}
	return -EAGAIN;
}

static int read_send(int fd, size_t max, struct tcp_move *m)
{
	int held, unsent, again, tries, err;
	uint32_t end;

	for (tries = 0; tries < AGAIN_MAX; tries++) {
		err = queue_seq(fd, TCP_SEND_QUEUE, &end); /* write_seq: behind the last byte */
		if (err)
			return err;
		if (ioctl(fd, SIOCOUTQ, &held) || ioctl(fd, SIOCOUTQNSD, &unsent))
			return -errno;
		err = peek(fd, TCP_SEND_QUEUE, (size_t)held, max, &m->send);
		if (err == -EAGAIN)
			continue; /* acknowledged meanwhile */
		if (err)
			return err;
		if (ioctl(fd, SIOCOUTQ, &again))
			return -errno;
		m->snd_una = end - (uint32_t)held;
		m->unsent = (uint32_t)unsent;
		if (again == held)
			return 0;
	}
	return -EAGAIN;
}

static int read_window(int fd, struct tcp_move *m)
{
	struct tcp_repair_window w;
	socklen_t len = sizeof(w);

	if (getsockopt(fd, IPPROTO_TCP, TCP_REPAIR_WINDOW, &w, &len))
		return -errno;
	m->snd_wl1 = w.snd_wl1;
	m->snd_wnd = w.snd_wnd;
	m->max_window = w.max_window;
	m->rcv_wnd = w.rcv_wnd;
	m->rcv_wup = w.rcv_wup;
	m->owes_ack = w.rcv_wup != m->rcv_nxt; /* rcv_wup is what was acknowledged last */
	return 0;
}

static void take_info(const struct tcp_info *info, struct tcp_move *m)
{
	m->timestamps = info->tcpi_options & TCPI_OPT_TIMESTAMPS;
	m->sack = info->tcpi_options & TCPI_OPT_SACK;
	m->wscale = info->tcpi_options & TCPI_OPT_WSCALE;
	m->ecn = info->tcpi_options & TCPI_OPT_ECN;
	m->snd_wscale = m->wscale ? info->tcpi_snd_wscale : 0;
	m->rcv_wscale = m->wscale ? info->tcpi_rcv_wscale : 0;
	m->srtt_us = info->tcpi_rtt;
	m->rttvar_us = info->tcpi_rttvar;
	m->cwnd = info->tcpi_snd_cwnd;
	m->ssthresh = info->tcpi_snd_ssthresh;
	m->pmtu = info->tcpi_pmtu > UINT16_MAX ? UINT16_MAX : (uint16_t)info->tcpi_pmtu;
}

static int read_options(int fd, struct tcp_move *m)
{
	int mss = 0, nodelay = 0, keep = 0, idle = 0, interval = 0, count = 0, timeout = 0, tos = 0;
	bool v6 = m->vip.family == AF_INET6;
	socklen_t len = sizeof(m->congestion);
	int err;

	if ((err = get_int(fd, IPPROTO_TCP, TCP_MAXSEG, &mss)) || (err = get_int(fd, IPPROTO_TCP, TCP_NODELAY, &nodelay)) ||
	    (err = get_int(fd, SOL_SOCKET, SO_KEEPALIVE, &keep)) || (err = get_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle)) ||
	    (err = get_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval)) ||
	    (err = get_int(fd, IPPROTO_TCP, TCP_KEEPCNT, &count)) ||
	    (err = get_int(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout)) ||
	    (err = get_u32(fd, TCP_TIMESTAMP, &m->timestamp)))
		return err;
	get_int(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_TCLASS : IP_TOS, &tos);
	if (getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, m->congestion, &len))
		return -errno;
	m->congestion[sizeof(m->congestion) - 1] = 0;
	m->mss_clamp = (uint16_t)mss; /* in repair mode: what the peer's SYN said */
	m->nodelay = nodelay;
	m->keepalive = keep;
	m->keep_idle_s = (uint16_t)idle;
	m->keep_interval_s = (uint16_t)interval;
	m->keep_count = (uint8_t)count;
	m->user_timeout_ms = (uint32_t)timeout;
	m->tos = (uint8_t)(tos & 0xfc); /* without ECN's bits */
	return 0;
}

/* State last: a FIN or RST may have been under way. */
static int by_options(int fd, size_t queue_max, struct tcp_move *m)
{
	struct tcp_info info;
	int err;

	if ((err = read_received(fd, queue_max, m)) || (err = read_send(fd, queue_max, m)) || (err = read_window(fd, m)) ||
	    (err = read_options(fd, m)) || (err = read_info(fd, &info)) ||
	    (err = check_order(fd, &info, (uint32_t)buffer_len(&m->received))))
		return err;
	take_info(&info, m);
	return 0;
}

/* --- By one read -------------------------------------------------------------------------------------------------- */

static int check_read(const struct tcp_read *r)
{
	if (r->protocol != IPPROTO_TCP || r->flags & (TCP_READ_SIGNED | TCP_READ_MPTCP | TCP_READ_USEC | TCP_READ_FASTOPEN))
		return r->state == ESTABLISHED ? -EPROTONOSUPPORT : -ENOTCONN;
	if (r->state != ESTABLISHED)
		return -ENOTCONN;
	return r->flags & (TCP_READ_DISORDER | TCP_READ_URGENT) ? -EAGAIN : 0;
}

static void take_address(const struct tcp_read *r, const uint32_t from[4], struct address *a)
{
	static const uint32_t mapped = 0xffff0000; /* ::ffff:0:0/96, as it lies in memory */
	bool v4_in_v6 = r->family == AF_INET6 && !from[0] && !from[1] && from[2] == mapped;

	memset(a, 0, sizeof(*a));
	a->family = r->family == AF_INET || v4_in_v6 ? AF_INET : AF_INET6;
	if (a->family == AF_INET)
		a->v4.s_addr = from[v4_in_v6 ? 3 : 0];
	else
		memcpy(&a->v6, from, sizeof(a->v6));
}

static void take_read(const struct tcp_read *r, struct tcp_move *m)
{
	unsigned hz = tcp_bpf_hz();

	take_address(r, r->client, &m->client);
	take_address(r, r->vip, &m->vip);
	m->client_port = ntohs(r->client_port);
	m->vip_port = ntohs(r->vip_port);
	m->snd_una = r->snd_una;
	m->unsent = r->write_seq - r->snd_nxt;
	m->rcv_nxt = r->rcv_nxt;
	m->snd_wl1 = r->snd_wl1;
	m->snd_wnd = r->snd_wnd;
	m->max_window = r->max_window;
	m->rcv_wnd = r->rcv_wnd;
	m->rcv_wup = r->rcv_wup;
	m->timestamp = (uint32_t)(r->ktime_ns / 1000000) + r->tsoffset;
	m->ts_recent = r->ts_recent;
	m->srtt_us = r->srtt_us;
	m->rttvar_us = r->rttvar_us;
	m->cwnd = r->cwnd;
	m->ssthresh = r->ssthresh;
	m->user_timeout_ms = r->user_timeout_ms;
	m->mss_clamp = (uint16_t)r->mss_clamp;
	m->pmtu = r->pmtu > UINT16_MAX ? UINT16_MAX : (uint16_t)r->pmtu;
	m->keep_idle_s = (uint16_t)(r->keep_idle / hz);
	m->keep_interval_s = (uint16_t)(r->keep_interval / hz);
	m->keep_count = r->keep_count;
	m->snd_wscale = r->snd_wscale;
	m->rcv_wscale = r->rcv_wscale;
	m->tos = r->tos & 0xfc;
	m->timestamps = r->flags & TCP_READ_TIMESTAMPS;
	m->sack = r->flags & TCP_READ_SACK;
	m->wscale = r->flags & TCP_READ_WSCALE;
	m->nodelay = r->flags & TCP_READ_NODELAY;
	m->keepalive = r->flags & TCP_READ_KEEPALIVE;
	m->ecn = r->flags & TCP_READ_ECN;
	m->owes_ack = r->rcv_wup != r->rcv_nxt;
	memcpy(m->congestion, r->congestion, sizeof(m->congestion));
	m->congestion[sizeof(m->congestion) - 1] = 0;
}

/* Queues, if there is anything in them, and then once more: they and the rest must be of one moment. */
static int by_read(int fd, size_t queue_max, struct tcp_read *r, struct tcp_move *m)
{
	uint32_t unread, held;
	int tries, err;

	for (tries = 0; tries < AGAIN_MAX; tries++) {
		err = check_read(r);
		if (err)
			return err;
		unread = r->rcv_nxt - r->copied_seq;
		held = r->write_seq - r->snd_una;
		take_read(r, m);
		if (unread == buffer_len(&m->received) && held == buffer_len(&m->send))
			return 0; /* nothing was acknowledged, nothing came: the bytes are the same */
		if (((err = peek(fd, TCP_RECV_QUEUE, unread, queue_max, &m->received)) ||
		     (err = peek(fd, TCP_SEND_QUEUE, held, queue_max, &m->send))) && err != -EAGAIN)
			return err;
		err = tcp_bpf_read(fd, r);
		if (err)
			return err;
	}
	return -EAGAIN;
}

/* --- Both ---------------------------------------------------------------------------------------------------------- */

static int freeze_by_options(int fd, size_t queue_max, struct tcp_move *m)
{
	struct tcp_info info;
	int err;

	if ((err = read_info(fd, &info)) || (err = read_names(fd, m)) || (err = check_kind(fd, m)) ||
	    (err = set_int(fd, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_ON)))
		return err;
	err = by_options(fd, queue_max, m);
	if (err)
		tcp_move_resume(fd);
	return err;
}

/* Frozen first, looked at then: -ENOPROTOOPT, as it was, where the program does not see the socket. */
static int freeze_by_read(int fd, size_t queue_max, struct tcp_move *m)
{
	int frozen = set_int(fd, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_ON), err;
	struct tcp_read r;

	err = tcp_bpf_read(fd, &r);
	if (!err && frozen)
		err = (err = check_read(&r)) ? err : frozen; /* the better reason */
	if (!err)
		err = by_read(fd, queue_max, &r, m);
	if (err && !frozen)
		tcp_move_resume(fd);
	return err;
}

int tcp_move_export(int fd, size_t queue_max, struct tcp_move *m)
{
	int err = -ENOPROTOOPT;

	memset(m, 0, sizeof(*m));
	if (queue_max > TCP_MOVE_QUEUE_MAX)
		queue_max = TCP_MOVE_QUEUE_MAX;
	if (tcp_bpf_hz())
		err = freeze_by_read(fd, queue_max, m);
	if (err == -ENOPROTOOPT || err == -EOPNOTSUPP)
		err = freeze_by_options(fd, queue_max, m);
	if (err)
		tcp_move_free(m);
	return err;
}

static int refresh_by_options(int fd, size_t queue_max, struct tcp_move *m)
{
	struct tcp_info info;
	uint32_t received;
	int held, err;

	if ((err = queue_seq(fd, TCP_RECV_QUEUE, &received)) || (err = read_info(fd, &info)))
		return err;
	if (ioctl(fd, SIOCOUTQ, &held))
		return -errno;
	if (received == m->rcv_nxt && (size_t)held == buffer_len(&m->send))
		return 0;
	err = by_options(fd, queue_max, m);
	return err ? err : 1;
}

int tcp_move_refresh(int fd, size_t queue_max, struct tcp_move *m)
{
	struct tcp_read r;
	int err;

	if (queue_max > TCP_MOVE_QUEUE_MAX)
		queue_max = TCP_MOVE_QUEUE_MAX;
	if (tcp_bpf_read(fd, &r))
		return refresh_by_options(fd, queue_max, m);
	err = check_read(&r);
	if (err)
		return err;
	if (r.rcv_nxt == m->rcv_nxt && r.snd_una == m->snd_una)
		return 0;
	buffer_free(&m->received);
	buffer_free(&m->send);
	err = by_read(fd, queue_max, &r, m);
	return err ? err : 1;
}

int tcp_move_resume(int fd)
{
	int err = set_int(fd, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP);

	return err ? err : set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1); /* repair left SK_NO_REUSE */
}

/*
 * What any importer sends at once: ten segments, or fewer if the path has lost some.  A part of what is in flight the client
 * may have, and an acknowledgement of more than the importer has sent is no acknowledgement to it (RFC 9293, 3.10.7.4): did
 * its congestion window end before what the client has, neither would ever take a segment of the other.
 */
static size_t sent_at_once(const struct tcp_move *m)
{
	uint32_t segments = m->cwnd < CWND_INITIAL ? m->cwnd : CWND_INITIAL;
	size_t headers = m->vip.family == AF_INET6 ? 60 : 40, mss = m->mss_clamp;

	if (m->pmtu > headers && m->pmtu - headers < mss)
		mss = m->pmtu - headers;
	return mss > STAMPS_LEN ? segments * (mss - STAMPS_LEN) : 0;
}

void tcp_move_dropped(struct tcp_move *m, unsigned dropped)
{
	size_t flight = buffer_len(&m->send) - m->unsent;

	if (dropped & ROW_DROPPED_DATA && flight <= sent_at_once(m))
		m->unsent = (uint32_t)buffer_len(&m->send);
	m->owes_ack |= dropped != 0;
}

void tcp_move_free(struct tcp_move *m)
{
	if (m->received.data)
		OPENSSL_cleanse(m->received.data, m->received.room);
	if (m->send.data)
		OPENSSL_cleanse(m->send.data, m->send.room);
	buffer_free(&m->received);
	buffer_free(&m->send);
}

