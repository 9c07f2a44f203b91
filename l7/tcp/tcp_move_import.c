// SPDX-License-Identifier: BSD-2-Clause
/* Import of a TCP connection (l7/tcp/tcp_move.h). */
#include <string.h>
#include <unistd.h>

#include "l7/tcp/tcp_bpf.h"
#include "l7/tcp/tcp_move.h"
#include "l7/tcp/tcp_sockopt.h"

#define MSS_MIN 88	    /* the kernel's least, TCP_MIN_MSS */
#define CWND_MAX (1u << 20) /* more than the kernel's own windows become */
#define SSTHRESH_NONE 0x7fffffffu

enum { OPTION_MSS = 2, OPTION_WSCALE = 3, OPTION_SACK = 4, OPTION_TIMESTAMP = 8 }; /* as in a SYN */

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

/* The path's MTU as the other kernel had learned it: this one would learn it again, by a loss. */
static uint16_t mss_of(const struct tcp_move *m)
{
	uint16_t headers = m->vip.family == AF_INET6 ? 60 : 40, mss = m->mss_clamp;

	return m->pmtu >= headers + MSS_MIN && m->pmtu - headers < mss ? (uint16_t)(m->pmtu - headers) : mss;
}

static int put_options(int fd, const struct tcp_move *m)
{
	struct tcp_repair_opt o[4];
	socklen_t n = 0;

	o[n++] = (struct tcp_repair_opt){ OPTION_MSS, mss_of(m) };
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

/* The byte before the oldest, which the client has: imported as in flight it lets tcp_move_seed() be an RTT's sample. */
static bool has_probe(const struct tcp_move *m)
{
	return m->timestamps && m->srtt_us;
}

/* What the other kernel's congestion control had learned; may fail without harm. */
static void put_learned(int fd, const struct tcp_move *m)
{
	struct tcp_seed seed = { .cwnd = m->cwnd <= CWND_MAX ? m->cwnd : CWND_MAX,
				 .ssthresh = m->ssthresh < SSTHRESH_NONE ? m->ssthresh : 0, .ecn = m->ecn };
	char before[TCP_MOVE_CONGESTION_LEN] = "";
	socklen_t len = sizeof(before);
	int err;

	if (m->congestion[0])
		memcpy(before, m->congestion, sizeof(before));
	else if (getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, before, &len))
		return;
	err = tcp_bpf_seed(fd, &seed);
	/* This host does not know the other's: our own default. */
	if (setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, before, (socklen_t)strlen(before)) && err != -EOPNOTSUPP)
		setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5);
}

int tcp_move_import(int fd, const struct tcp_move *m)
{
	size_t received = buffer_len(&m->received), flight = buffer_len(&m->send) - m->unsent;
	uint32_t stamp = (m->timestamp & ~1u) + 2; /* the export cleared bit 0: never a clock that goes back */
	static const uint8_t probe = 0; /* never sent: who has no use for it, or no answer comes, acknowledges more anyhow */
	struct sockaddr_storage vip, client;
	socklen_t len = to_sockaddr(&m->vip, m->vip_port, &vip);
	int err;

	to_sockaddr(&m->client, m->client_port, &client);
	if ((err = put_seq(fd, TCP_SEND_QUEUE, m->snd_una - has_probe(m))) ||
	    (err = put_seq(fd, TCP_RECV_QUEUE, m->rcv_nxt - (uint32_t)received)))
		return err;
	if (m->timestamps && setsockopt(fd, IPPROTO_TCP, TCP_TIMESTAMP, &stamp, sizeof(stamp)))
		return -errno;
	set_int(fd, IPPROTO_TCP, TCP_MAXSEG, mss_of(m)); /* else connect takes the route's until the MTU changes */
	if (bind(fd, (struct sockaddr *)&vip, len) || connect(fd, (struct sockaddr *)&client, len))
		return -errno;
	if ((err = put_options(fd, m)) ||
	    (received && (err = put_queue(fd, TCP_RECV_QUEUE, m->received.data + m->received.start, received))) ||
	    (has_probe(m) && (err = put_queue(fd, TCP_SEND_QUEUE, &probe, 1))) ||
	    (flight && (err = put_queue(fd, TCP_SEND_QUEUE, m->send.data + m->send.start, flight))))
		return err;
	put_learned(fd, m);
	return put_window(fd, m);
}

/* What may fail without harm: the connection works, if less well.  (The socket is new: what is zero in it need not be made zero, and
 * without keepalive its times are this host's own.) */
static void put_manners(int fd, const struct tcp_move *m)
{
	bool v6 = m->vip.family == AF_INET6;

	if (m->nodelay)
		set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	if (m->keepalive) {
		if (m->keep_idle_s && m->keep_interval_s && m->keep_count) {
			set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, m->keep_idle_s);
			set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, m->keep_interval_s);
			set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, m->keep_count);
		}
		set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	}
	if (m->user_timeout_ms)
		set_int(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)m->user_timeout_ms);
	if (m->tos)
		set_int(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_TCLASS : IP_TOS, m->tos);
}

int tcp_move_live(int fd, const struct tcp_move *m)
{
	put_manners(fd, m);
	return tcp_move_resume(fd);
}

int tcp_move_send(int fd, const struct tcp_move *m, size_t *left)
{
	const uint8_t *p = m->send.data + m->send.end - m->unsent;
	size_t n = m->unsent;
	ssize_t done;

	for (; n; n -= (size_t)done, p += done) {
		done = send(fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (done <= 0)
			break;
	}
	*left = n;
	return n ? -EAGAIN : 0;
}

int tcp_move_go(int fd, const struct tcp_move *m, size_t *left)
{
	int err = tcp_move_live(fd, m);

	return err ? err : tcp_move_send(fd, m, left);
}
