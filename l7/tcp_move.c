// SPDX-License-Identifier: BSD-2-Clause
/* Export and import of a TCP connection (l7/tcp_move.h). */
#include "l7/tcp_move.h"

#include <errno.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <openssl/crypto.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "l7/flow.h"

#define ESTABLISHED 1	      /* TCP_ESTABLISHED; netinet/tcp.h and linux/tcp.h do not go together */
#define AGAIN_MAX 16	      /* reads of a queue that packets already past the row may still change */
enum { OPTION_MSS = 2, OPTION_WSCALE = 3, OPTION_SACK = 4, OPTION_TIMESTAMP = 8 }; /* as in a SYN */
#ifndef TCP_AO_INFO
#define TCP_AO_INFO 40
#endif

static int set_int(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value)) ? -errno : 0;
}

static int get_int(int fd, int level, int name, int *value)
{
	socklen_t len = sizeof(*value);

	return getsockopt(fd, level, name, value, &len) ? -errno : 0;
}

static int get_u32(int fd, int name, uint32_t *value)
{
	socklen_t len = sizeof(*value);

	return getsockopt(fd, IPPROTO_TCP, name, value, &len) ? -errno : 0;
}

static int queue_seq(int fd, int queue, uint32_t *seq)
{
	int err = set_int(fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, queue);

	return err ? err : get_u32(fd, TCP_QUEUE_SEQ, seq);
}

/* --- Addresses ------------------------------------------------------------------------------------------------ */

static socklen_t to_sockaddr(const struct address *a, uint16_t port, struct sockaddr_storage *ss)
{
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ss;
	struct sockaddr_in *in = (struct sockaddr_in *)ss;

	memset(ss, 0, sizeof(*ss));
	ss->ss_family = (sa_family_t)a->family;
	if (a->family == AF_INET) {
		in->sin_addr = a->v4;
		in->sin_port = htons(port);
		return sizeof(*in);
	}
	in6->sin6_addr = a->v6;
	in6->sin6_port = htons(port);
	return sizeof(*in6);
}

/* An IPv4 connection of an IPv6 listener is IPv4. */
static void from_sockaddr(const struct sockaddr_storage *ss, struct address *a, uint16_t *port)
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)ss;
	const struct sockaddr_in *in = (const struct sockaddr_in *)ss;

	memset(a, 0, sizeof(*a));
	if (ss->ss_family == AF_INET) {
		a->family = AF_INET;
		a->v4 = in->sin_addr;
		*port = ntohs(in->sin_port);
		return;
	}
	*port = ntohs(in6->sin6_port);
	a->family = AF_INET6;
	a->v6 = in6->sin6_addr;
	if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
		memset(a, 0, sizeof(*a));
		a->family = AF_INET;
		memcpy(&a->v4, in6->sin6_addr.s6_addr + 12, 4);
	}
}

static int read_names(int fd, struct tcp_move *m)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	if (getpeername(fd, (struct sockaddr *)&ss, &len))
		return -errno;
	from_sockaddr(&ss, &m->client, &m->client_port);
	len = sizeof(ss);
	if (getsockname(fd, (struct sockaddr *)&ss, &len))
		return -errno;
	from_sockaddr(&ss, &m->vip, &m->vip_port);
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

/* Plain TCP, not what only looks like it. */
static int check_kind(int fd)
{
	uint8_t ao[128] = { 0 };
	socklen_t len = sizeof(ao);
	int protocol, err = get_int(fd, SOL_SOCKET, SO_PROTOCOL, &protocol);

	if (err)
		return err;
	if (protocol != IPPROTO_TCP)
		return -EPROTONOSUPPORT;
	/* A kernel without TCP-AO does not know the option; one with it says ENOENT where none is in use. */
	return getsockopt(fd, IPPROTO_TCP, TCP_AO_INFO, ao, &len) ? 0 : -EPROTONOSUPPORT;
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

/* Sequence number and bytes of the receive queue belong together: both are read until neither moves. */
static int read_received(int fd, size_t max, struct tcp_move *m)
{
	uint32_t again;
	int unread, tries, err;
	uint8_t *to;
	ssize_t n;

	for (tries = 0; tries < AGAIN_MAX; tries++) {
		err = queue_seq(fd, TCP_RECV_QUEUE, &m->rcv_nxt);
		if (err)
			return err;
		if (ioctl(fd, SIOCINQ, &unread))
			return -errno;
		if ((size_t)unread > max)
			return -EMSGSIZE;
		buffer_free(&m->received);
		if (unread) {
			to = buffer_reserve(&m->received, (size_t)unread, max);
			if (!to)
				return -ENOMEM;
			n = recv(fd, to, (size_t)unread, MSG_PEEK | MSG_DONTWAIT);
			if (n != unread)
				continue;
			buffer_commit(&m->received, (size_t)unread);
		}
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
	uint8_t *to;
	ssize_t n;

	for (tries = 0; tries < AGAIN_MAX; tries++) {
		err = queue_seq(fd, TCP_SEND_QUEUE, &end); /* write_seq: behind the last byte */
		if (err)
			return err;
		if (ioctl(fd, SIOCOUTQ, &held) || ioctl(fd, SIOCOUTQNSD, &unsent))
			return -errno;
		if ((size_t)held > max)
			return -EMSGSIZE;
		buffer_free(&m->send);
		if (held) {
			to = buffer_reserve(&m->send, (size_t)held, max);
			if (!to)
				return -ENOMEM;
			n = recv(fd, to, (size_t)held, MSG_PEEK | MSG_DONTWAIT);
			if (n != held)
				continue; /* acknowledged meanwhile */
			buffer_commit(&m->send, (size_t)held);
		}
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

int tcp_move_export(int fd, size_t queue_max, struct tcp_move *m)
{
	struct tcp_info info;
	int err;

	memset(m, 0, sizeof(*m));
	if (queue_max > TCP_MOVE_QUEUE_MAX)
		queue_max = TCP_MOVE_QUEUE_MAX;
	if ((err = check_kind(fd)) || (err = read_info(fd, &info)) || (err = read_names(fd, m)))
		return err;
	err = set_int(fd, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_ON);
	if (err)
		return err;
	/* The queues first: what comes later is not acknowledged, since egress is dropped.  State last: a FIN or RST may
	 * have been under way. */
	if ((err = read_received(fd, queue_max, m)) || (err = read_send(fd, queue_max, m)) || (err = read_window(fd, m)) ||
	    (err = read_options(fd, m)) || (err = read_info(fd, &info)) ||
	    (err = check_order(fd, &info, (uint32_t)buffer_len(&m->received)))) {
		tcp_move_resume(fd);
		tcp_move_free(m);
		return err;
	}
	take_info(&info, m);
	return 0;
}

int tcp_move_refresh(int fd, size_t queue_max, struct tcp_move *m)
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
	if (queue_max > TCP_MOVE_QUEUE_MAX)
		queue_max = TCP_MOVE_QUEUE_MAX;
	if ((err = read_received(fd, queue_max, m)) || (err = read_send(fd, queue_max, m)) || (err = read_window(fd, m)) ||
	    (err = read_info(fd, &info)) || (err = check_order(fd, &info, (uint32_t)buffer_len(&m->received))))
		return err;
	take_info(&info, m);
	return 1;
}

int tcp_move_resume(int fd)
{
	int err = set_int(fd, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP);

	return err ? err : set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1); /* repair left SK_NO_REUSE */
}

void tcp_move_dropped(struct tcp_move *m, unsigned dropped)
{
	if (dropped & ROW_DROPPED_DATA)
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

/* --- Import ------------------------------------------------------------------------------------------------------- */

int tcp_move_socket(int family)
{
	int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP), err;

	if (fd < 0)
		return -errno;
	err = set_int(fd, IPPROTO_TCP, TCP_REPAIR, TCP_REPAIR_ON);
	if (err) {
		close(fd);
		return err;
	}
	return fd;
}

static int put_queue(int fd, int queue, const uint8_t *p, size_t n)
{
	int err = set_int(fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, queue);
	ssize_t done;

	for (; !err && n; n -= (size_t)done, p += done) {
		done = send(fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (done <= 0)
			return done ? -errno : -EIO;
	}
	return err;
}

static int put_seq(int fd, int queue, uint32_t seq)
{
	int err = set_int(fd, IPPROTO_TCP, TCP_REPAIR_QUEUE, queue);

	if (err)
		return err;
	return setsockopt(fd, IPPROTO_TCP, TCP_QUEUE_SEQ, &seq, sizeof(seq)) ? -errno : 0;
}

static int put_options(int fd, const struct tcp_move *m)
{
	struct tcp_repair_opt o[4];
	socklen_t n = 0;

	o[n++] = (struct tcp_repair_opt){ OPTION_MSS, m->mss_clamp };
	if (m->wscale)
		o[n++] = (struct tcp_repair_opt){ OPTION_WSCALE, (uint32_t)m->snd_wscale | (uint32_t)m->rcv_wscale << 16 };
	if (m->sack)
		o[n++] = (struct tcp_repair_opt){ OPTION_SACK, 0 };
	if (m->timestamps)
		o[n++] = (struct tcp_repair_opt){ OPTION_TIMESTAMP, 0 };
	return setsockopt(fd, IPPROTO_TCP, TCP_REPAIR_OPTIONS, o, n * (socklen_t)sizeof(o[0])) ? -errno : 0;
}

static int put_window(int fd, const struct tcp_move *m)
{
	struct tcp_repair_window w = { .snd_wl1 = m->snd_wl1, .snd_wnd = m->snd_wnd, .max_window = m->max_window,
				       .rcv_wnd = m->rcv_wnd, .rcv_wup = m->rcv_wup };

	return setsockopt(fd, IPPROTO_TCP, TCP_REPAIR_WINDOW, &w, sizeof(w)) ? -errno : 0;
}

int tcp_move_import(int fd, const struct tcp_move *m)
{
	size_t received = buffer_len(&m->received), flight = buffer_len(&m->send) - m->unsent;
	uint32_t stamp = (m->timestamp & ~1u) + 2; /* the export cleared bit 0: never a clock that goes back */
	struct sockaddr_storage vip, client;
	socklen_t len = to_sockaddr(&m->vip, m->vip_port, &vip);
	int err;

	to_sockaddr(&m->client, m->client_port, &client);
	if ((err = put_seq(fd, TCP_SEND_QUEUE, m->snd_una)) ||
	    (err = put_seq(fd, TCP_RECV_QUEUE, m->rcv_nxt - (uint32_t)received)))
		return err;
	if (m->timestamps && setsockopt(fd, IPPROTO_TCP, TCP_TIMESTAMP, &stamp, sizeof(stamp)))
		return -errno;
	set_int(fd, IPPROTO_TCP, TCP_MAXSEG, m->mss_clamp); /* else connect takes the route's until the MTU changes */
	if (bind(fd, (struct sockaddr *)&vip, len) || connect(fd, (struct sockaddr *)&client, len))
		return -errno;
	if ((err = put_options(fd, m)) ||
	    (received && (err = put_queue(fd, TCP_RECV_QUEUE, m->received.data + m->received.start, received))) ||
	    (flight && (err = put_queue(fd, TCP_SEND_QUEUE, m->send.data + m->send.start, flight))))
		return err;
	return put_window(fd, m);
}

/* What may fail without harm: the connection works, if less well. */
static void put_manners(int fd, const struct tcp_move *m)
{
	bool v6 = m->vip.family == AF_INET6;

	if (m->congestion[0])
		setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, m->congestion, (socklen_t)strlen(m->congestion));
	set_int(fd, IPPROTO_TCP, TCP_NODELAY, m->nodelay);
	if (m->keep_idle_s && m->keep_interval_s && m->keep_count) {
		set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, m->keep_idle_s);
		set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, m->keep_interval_s);
		set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, m->keep_count);
	}
	set_int(fd, SOL_SOCKET, SO_KEEPALIVE, m->keepalive);
	set_int(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)m->user_timeout_ms);
	set_int(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_TCLASS : IP_TOS, m->tos);
}

int tcp_move_go(int fd, const struct tcp_move *m, size_t *left)
{
	const uint8_t *p = m->send.data + m->send.end - m->unsent;
	size_t n = m->unsent;
	ssize_t done;
	int err;

	put_manners(fd, m);
	err = tcp_move_resume(fd);
	if (err)
		return err;
	for (; n; n -= (size_t)done, p += done) {
		done = send(fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (done <= 0)
			break;
	}
	*left = n;
	return n ? -EAGAIN : 0;
}

/* --- As bytes --------------------------------------------------------------------------------------------------------- */

enum flags { FLAG_TIMESTAMPS = 1, FLAG_SACK = 2, FLAG_WSCALE = 4, FLAG_NODELAY = 8, FLAG_KEEPALIVE = 16, FLAG_OWES_ACK = 32, FLAGS_ALL = 63 };

static void put_be(uint8_t *p, uint32_t v, int bytes)
{
	while (bytes--) {
		p[bytes] = (uint8_t)v;
		v >>= 8;
	}
}

static uint32_t get_be(const uint8_t *p, int bytes)
{
	uint32_t v = 0;

	while (bytes--)
		v = v << 8 | *p++;
	return v;
}

static void put_address(uint8_t *p, const struct address *a)
{
	memset(p, 0, 16);
	if (a->family == AF_INET6)
		memcpy(p, &a->v6, 16);
	else
		memcpy(p, &a->v4, 4);
}

static int get_address(const uint8_t *p, int family, struct address *a)
{
	static const uint8_t zero[12];

	memset(a, 0, sizeof(*a));
	a->family = family == 6 ? AF_INET6 : AF_INET;
	if (family == 6)
		memcpy(&a->v6, p, 16);
	else
		memcpy(&a->v4, p, 4);
	return family == 4 && memcmp(p + 4, zero, 12) ? -EINVAL : 0;
}

/* The fields of four bytes, in their order from byte 60 on. */
#define WORDS 11
static void words_of(struct tcp_move *m, uint32_t *word[WORDS])
{
	uint32_t *const all[WORDS] = { &m->snd_wl1,   &m->snd_wnd, &m->max_window, &m->rcv_wnd,	 &m->rcv_wup, &m->timestamp,
				       &m->srtt_us, &m->rttvar_us, &m->cwnd,	    &m->ssthresh, &m->user_timeout_ms };

	memcpy(word, all, sizeof(all));
}

size_t tcp_move_len(const struct tcp_move *m)
{
	return TCP_MOVE_HEAD + buffer_len(&m->received) + buffer_len(&m->send);
}

void tcp_move_put(const struct tcp_move *from, uint8_t *out)
{
	struct tcp_move copy = *from, *m = &copy;
	size_t received = buffer_len(&m->received), send = buffer_len(&m->send);
	uint32_t *word[WORDS];
	int i;

	memset(out, 0, TCP_MOVE_HEAD);
	out[0] = TCP_MOVE_FORMAT;
	out[1] = m->vip.family == AF_INET6 ? 6 : 4;
	put_be(out + 2, (m->timestamps ? FLAG_TIMESTAMPS : 0) | (m->sack ? FLAG_SACK : 0) | (m->wscale ? FLAG_WSCALE : 0) |
				(m->nodelay ? FLAG_NODELAY : 0) | (m->keepalive ? FLAG_KEEPALIVE : 0) | (m->owes_ack ? FLAG_OWES_ACK : 0), 2);
	put_be(out + 4, m->client_port, 2);
	put_be(out + 6, m->vip_port, 2);
	put_address(out + 8, &m->client);
	put_address(out + 24, &m->vip);
	put_be(out + 40, m->snd_una, 4);
	put_be(out + 44, m->unsent, 4);
	put_be(out + 48, m->rcv_nxt, 4);
	put_be(out + 52, (uint32_t)received, 4);
	put_be(out + 56, (uint32_t)send, 4);
	words_of(m, word);
	for (i = 0; i < WORDS; i++)
		put_be(out + 60 + 4 * i, *word[i], 4);
	put_be(out + 104, m->mss_clamp, 2);
	put_be(out + 106, m->pmtu, 2);
	put_be(out + 108, m->keep_idle_s, 2);
	put_be(out + 110, m->keep_interval_s, 2);
	out[112] = m->snd_wscale;
	out[113] = m->rcv_wscale;
	out[114] = m->tos;
	out[115] = m->keep_count;
	memcpy(out + 116, m->congestion, strnlen(m->congestion, sizeof(m->congestion)));
	if (received)
		memcpy(out + TCP_MOVE_HEAD, m->received.data + m->received.start, received);
	if (send)
		memcpy(out + TCP_MOVE_HEAD + received, m->send.data + m->send.start, send);
}

static int get_congestion(const uint8_t *p, char out[TCP_MOVE_CONGESTION_LEN])
{
	size_t n = strnlen((const char *)p, TCP_MOVE_CONGESTION_LEN), i;

	if (n == TCP_MOVE_CONGESTION_LEN)
		return -EINVAL;
	for (i = 0; i < TCP_MOVE_CONGESTION_LEN; i++)
		if (i < n ? p[i] <= ' ' || p[i] > '~' : p[i])
			return -EINVAL;
	memcpy(out, p, TCP_MOVE_CONGESTION_LEN);
	return 0;
}

int tcp_move_get(const uint8_t *p, size_t len, struct tcp_move *m)
{
	uint32_t received, send, flags, *word[WORDS];
	int i;

	memset(m, 0, sizeof(*m));
	if (len < TCP_MOVE_HEAD || p[0] != TCP_MOVE_FORMAT || (p[1] != 4 && p[1] != 6))
		return -EINVAL;
	flags = get_be(p + 2, 2);
	m->client_port = (uint16_t)get_be(p + 4, 2);
	m->vip_port = (uint16_t)get_be(p + 6, 2);
	m->snd_una = get_be(p + 40, 4);
	m->unsent = get_be(p + 44, 4);
	m->rcv_nxt = get_be(p + 48, 4);
	received = get_be(p + 52, 4);
	send = get_be(p + 56, 4);
	words_of(m, word);
	for (i = 0; i < WORDS; i++)
		*word[i] = get_be(p + 60 + 4 * i, 4);
	m->mss_clamp = (uint16_t)get_be(p + 104, 2);
	m->pmtu = (uint16_t)get_be(p + 106, 2);
	m->keep_idle_s = (uint16_t)get_be(p + 108, 2);
	m->keep_interval_s = (uint16_t)get_be(p + 110, 2);
	m->snd_wscale = p[112];
	m->rcv_wscale = p[113];
	m->tos = p[114];
	m->keep_count = p[115];
	m->timestamps = flags & FLAG_TIMESTAMPS;
	m->sack = flags & FLAG_SACK;
	m->wscale = flags & FLAG_WSCALE;
	m->nodelay = flags & FLAG_NODELAY;
	m->keepalive = flags & FLAG_KEEPALIVE;
	m->owes_ack = flags & FLAG_OWES_ACK;
	if (flags & ~(uint32_t)FLAGS_ALL || !m->client_port || !m->vip_port || received > TCP_MOVE_QUEUE_MAX ||
	    send > TCP_MOVE_QUEUE_MAX || len != TCP_MOVE_HEAD + (size_t)received + send || m->unsent > send ||
	    m->snd_wscale > 14 || m->rcv_wscale > 14 || (!m->wscale && (m->snd_wscale || m->rcv_wscale)) || m->tos & 3 ||
	    get_address(p + 8, p[1], &m->client) || get_address(p + 24, p[1], &m->vip) ||
	    get_congestion(p + 116, m->congestion))
		return -EINVAL;
	if (buffer_put(&m->received, p + TCP_MOVE_HEAD, received, TCP_MOVE_QUEUE_MAX) ||
	    buffer_put(&m->send, p + TCP_MOVE_HEAD + received, send, TCP_MOVE_QUEUE_MAX)) {
		tcp_move_free(m);
		return -ENOMEM;
	}
	return 0;
}
