/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/sockets.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* netinet/tcp.h and linux/tcp.h do not go together; these are kernel ABI (include/net/tcp_states.h). */
enum { ESTABLISHED = 1, SYN_RECV = 3, TIME_WAIT = 6, CLOSE = 7, LISTEN = 10, NEW_SYN_RECV = 12 };

#define IDLE_GRAIN_MS 12 /* the kernel's clock, twice */
#define TIME_WAIT_LEN_MS 60000 /* TCP_TIMEWAIT_LEN */
#define TIMER_TIME_WAIT 3      /* inet_diag's idiag_timer of a TIME_WAIT socket */

struct dump {
	const struct vipset *vips;
	const struct server_set *servers;
	uint64_t proxied;
	socket_each *each;
	void *ctx;
	int stopped;
};

static void read_info(struct socket_left *s, const struct nlmsghdr *nlh)
{
	const struct nlattr *attr;

	mnl_attr_for_each(attr, nlh, sizeof(struct inet_diag_msg)) {
		struct tcp_info info = { 0 };
		size_t len = mnl_attr_get_payload_len(attr);

		if (mnl_attr_get_type(attr) != INET_DIAG_INFO)
			continue;
		memcpy(&info, mnl_attr_get_payload(attr), len < sizeof(info) ? len : sizeof(info));
		s->has_info = true;
		s->bytes_sent = info.tcpi_bytes_acked;
		s->bytes_received = info.tcpi_bytes_received;
		s->idle_ms = info.tcpi_last_data_sent < info.tcpi_last_data_recv ? info.tcpi_last_data_sent :
										     info.tcpi_last_data_recv;
	}
}

static bool is_server(const struct server_set *s, const struct address *a, uint16_t port)
{
	size_t i;

	for (i = 0; s && i < s->n; i++)
		if (s->at[i].port == port && address_equal(&s->at[i].address, a))
			return true;
	return false;
}

static int read_socket(const struct nlmsghdr *nlh, void *ctx)
{
	const struct inet_diag_msg *m = mnl_nlmsg_get_payload(nlh);
	struct dump *d = ctx;
	struct socket_left s = { .state = m->idiag_state };
	long vip;

	if (nlh->nlmsg_type != SOCK_DIAG_BY_FAMILY || nlh->nlmsg_len < NLMSG_LENGTH(sizeof(*m)) || d->stopped)
		return MNL_CB_OK;
	s.vip = address_of_words(m->idiag_family, m->id.idiag_src);
	vip = vipset_find(d->vips, &s.vip);
	if (vip < 0) {
		d->proxied += m->idiag_state == ESTABLISHED && is_server(d->servers, &s.vip, ntohs(m->id.idiag_sport));
		return MNL_CB_OK;
	}
	s.client = address_of_words(m->idiag_family, m->id.idiag_dst);
	if (vipset_find(d->vips, &s.client) >= 0)
		return MNL_CB_OK;
	s.vip_index = (uint32_t)vip;
	s.vip_port = ntohs(m->id.idiag_sport);
	s.client_port = ntohs(m->id.idiag_dport);
	s.receive_queue = m->idiag_rqueue;
	s.send_queue = m->idiag_wqueue;
	if (m->idiag_timer == TIMER_TIME_WAIT)
		s.expires_ms = m->idiag_expires;
	read_info(&s, nlh);
	d->stopped = d->each(d->ctx, &s);
	return MNL_CB_OK;
}

static int dump_family(struct rtnl *diag, uint8_t family, bool with_info, struct dump *d)
{
	struct nlmsghdr *nlh = rtnl_begin(diag, SOCK_DIAG_BY_FAMILY, 0);
	struct inet_diag_req_v2 *req = mnl_nlmsg_put_extra_header(nlh, sizeof(*req));

	req->sdiag_family = family;
	req->sdiag_protocol = IPPROTO_TCP;
	/* NEW_SYN_RECV: a request socket; the dump shows it as SYN_RECV. */
	req->idiag_states = ~(1u << CLOSE | 1u << LISTEN);
	req->idiag_ext = with_info ? 1 << (INET_DIAG_INFO - 1) : 0;
	return rtnl_dump(diag, nlh, read_socket, d);
}

static int dump(struct rtnl *diag, bool with_info, struct dump *d)
{
	int err = dump_family(diag, AF_INET, with_info, d);

	return err ? err : dump_family(diag, AF_INET6, with_info, d);
}

int sockets_each(struct rtnl *diag, const struct vipset *vips, bool with_info, socket_each *each, void *ctx)
{
	struct dump d = { .vips = vips, .each = each, .ctx = ctx };

	return dump(diag, with_info, &d);
}

struct now {
	bool there, has_info;
	uint8_t state;
	uint32_t idle_ms;
};

static int read_now(const struct nlmsghdr *nlh, void *ctx)
{
	const struct inet_diag_msg *m = mnl_nlmsg_get_payload(nlh);
	struct socket_left s = { .state = 0 };
	struct now *now = ctx;

	if (nlh->nlmsg_type != SOCK_DIAG_BY_FAMILY || nlh->nlmsg_len < NLMSG_LENGTH(sizeof(*m)))
		return MNL_CB_OK;
	read_info(&s, nlh);
	*now = (struct now){ true, s.has_info, m->idiag_state, (uint32_t)s.idle_ms };
	return MNL_CB_OK;
}

int sockets_as_listed(struct rtnl *diag, const struct tcp_iter_socket *listed)
{
	struct nlmsghdr *nlh = rtnl_begin(diag, SOCK_DIAG_BY_FAMILY, 0);
	struct inet_diag_req_v2 *req = mnl_nlmsg_put_extra_header(nlh, sizeof(*req));
	size_t len = listed->family == AF_INET ? 4 : 16;
	struct now now = { false };
	int err;

	req->sdiag_family = listed->family;
	req->sdiag_protocol = IPPROTO_TCP;
	req->idiag_ext = 1 << (INET_DIAG_INFO - 1);
	req->id.idiag_sport = htons(listed->src_port);
	req->id.idiag_dport = htons(listed->dst_port);
	req->id.idiag_cookie[0] = req->id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
	memcpy(req->id.idiag_src, listed->src, len);
	memcpy(req->id.idiag_dst, listed->dst, len);
	err = rtnl_get(diag, nlh, read_now, &now);
	if (err && err != -ENOENT)
		return err;
	if (!now.there || listed->time_wait)
		return now.there;
	return now.state == listed->state && now.has_info && now.idle_ms + IDLE_GRAIN_MS >= listed->idle_ms;
}

int server_set_build(struct server_set *s, const struct pop *pop, uint16_t self)
{
	const struct host_conf *h = pop_host(pop, self);
	struct endpoint *at;
	size_t n = 0;

	for (uint32_t i = 0; i < pop->l7.n_pools; i++)
		n += pop->l7.pool[i].n_backends;
	at = calloc(n ? n : 1, sizeof(*at));
	if (!at)
		return -ENOMEM;
	n = 0;
	for (uint32_t i = 0; i < pop->l7.n_pools; i++)
		for (uint32_t k = 0; k < pop->l7.pool[i].n_backends; k++) {
			const struct backend_conf *b = &pop->l7.pool[i].backend[k];

			if (b->host == self || (h && address_equal(&b->address, &h->management)))
				at[n++] = (struct endpoint){ b->address, b->port };
		}
	free(s->at);
	s->at = at;
	s->n = n;
	return 0;
}

struct counting {
	uint32_t time_wait_ms;
	struct socket_counts *all, *per_vip;
	size_t n_vips;
};

static void count(struct socket_counts *c, const struct socket_left *s, uint32_t time_wait_ms)
{
	/* Each segment re-arms the timer, so what has passed of it is the time since the last one. */
	uint32_t age = s->expires_ms < TIME_WAIT_LEN_MS ? TIME_WAIT_LEN_MS - s->expires_ms : 0;

	switch (s->state) {
	case ESTABLISHED:
		c->established++;
		break;
	case SYN_RECV:
	case NEW_SYN_RECV:
		c->request++;
		break;
	case TIME_WAIT:
		if (age < time_wait_ms)
			c->time_wait++;
		else
			c->time_wait_old++;
		break;
	default:
		c->other++;
	}
}

static int count_one(void *ctx, const struct socket_left *s)
{
	struct counting *c = ctx;

	count(c->all, s, c->time_wait_ms);
	if (c->per_vip && s->vip_index < c->n_vips)
		count(&c->per_vip[s->vip_index], s, c->time_wait_ms);
	return 0;
}

int sockets_count(struct rtnl *diag, const struct vipset *vips, const struct server_set *servers, uint32_t time_wait_ms,
		  struct socket_counts *all, struct socket_counts *per_vip, size_t n_vips, uint64_t *proxied)
{
	struct counting c = { time_wait_ms, all, per_vip, n_vips };
	struct dump d = { .vips = vips, .servers = servers, .each = count_one, .ctx = &c };
	int err;

	memset(all, 0, sizeof(*all));
	if (per_vip)
		memset(per_vip, 0, n_vips * sizeof(*per_vip));
	err = dump(diag, false, &d);
	if (proxied)
		*proxied = d.proxied;
	return err;
}

const char *socket_state_name(uint8_t state)
{
	static const char *const name[] = { "?",	 "established", "syn-sent",  "request", "fin-wait-1", "fin-wait-2", "time-wait",
					    "close", "close-wait",  "last-ack", "listen",	"closing",    "request" };

	return name[state < sizeof(name) / sizeof(*name) ? state : 0];
}

/* Two lines, "TcpExt: NAME NAME ..." and "TcpExt: VALUE VALUE ...", in the same order. */
static void pick(char *names, char *values, uint64_t *sent, uint64_t *accepted)
{
	char *n_save = NULL, *v_save = NULL;
	char *n = strtok_r(names, " \n", &n_save), *v = strtok_r(values, " \n", &v_save);

	while (n && v) {
		if (!strcmp(n, "SyncookiesSent"))
			*sent = strtoull(v, NULL, 10);
		else if (!strcmp(n, "SyncookiesRecv"))
			*accepted = strtoull(v, NULL, 10);
		n = strtok_r(NULL, " \n", &n_save);
		v = strtok_r(NULL, " \n", &v_save);
	}
}

int sockets_cookies(uint64_t *sent, uint64_t *accepted)
{
	static char names[8192], values[8192];
	FILE *f = fopen("/proc/net/netstat", "re");
	int err = -ENOENT;

	if (!f)
		return -errno;
	while (fgets(names, sizeof(names), f) && fgets(values, sizeof(values), f)) {
		if (strncmp(names, "TcpExt:", 7))
			continue;
		pick(names, values, sent, accepted);
		err = 0;
	}
	fclose(f);
	return err;
}
