/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is left on this host: sockets by count, SYN cookies by their age, and the proof of the
 * histories that name us.  Costs are bounded by their share of time: a count that took long is made
 * less often.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/host.h"
#include "base/clock.h"
#include "base/log.h"

#define COUNT_MS 500
#define COUNT_SHARE 10 /* at most a tenth of the time */

static int proof_list(void *ctx, tcp_list_each *each, void *each_ctx)
{
	struct host *h = ctx;

	return h->tcp_list ? tcp_list_read(h->tcp_list, &h->vips, each, each_ctx) : -ENOTSUP;
}

static int proof_watch(void *ctx, const struct datapath_watch *w, size_t n)
{
	struct host *h = ctx;

	return h->datapath ? h->ops->watch(h->datapath, w, n) : -ENOTCONN;
}

static int proof_watched(void *ctx, struct datapath_watch *w, size_t n)
{
	struct host *h = ctx;

	return h->datapath ? h->ops->watched(h->datapath, w, n) : -ENOTCONN;
}

static int proof_probe(void *ctx, const struct tcp_iter_socket *s)
{
	struct host *h = ctx;

	int as_listed;

	if (!h->prober)
		return -ENOTSUP;
	/* The list may be old by now: this machine stands still at times, and the peer of a connection that has ended meanwhile,
	 * or moved to another host and ended there, would answer with a reset. */
	as_listed = sockets_as_listed(h->diag, s);
	return as_listed > 0 ? prober_send(h->prober, s) : as_listed < 0 ? as_listed : 1;
}

int host_left_open(struct host *h)
{
	static const struct proof_io io = { proof_list, proof_watch, proof_watched, proof_probe };
	int err = rtnl_open(NETLINK_SOCK_DIAG, &h->diag);

	if (err)
		return err;
	if (tcp_list_open(&h->tcp_list, h->list_why, sizeof(h->list_why)))
		log_error("%s", h->list_why);
	err = prober_open(&h->prober);
	if (err) {
		snprintf(h->list_why, sizeof(h->list_why), "no raw socket (%s): idle connections cannot be probed, drains do not "
			 "end by themselves; the agent needs CAP_NET_RAW", strerror(-err));
		log_error("%s", h->list_why);
	}
	h->proof = proof_new(h->self, &io, h);
	return h->proof ? 0 : -ENOMEM;
}

void host_left_close(struct host *h)
{
	rtnl_close(h->diag);
	tcp_list_close(h->tcp_list);
	prober_close(h->prober);
	proof_free(h->proof);
	free(h->per_vip);
}

static void count_cookies(struct host *h, uint64_t now_ms)
{
	uint64_t sent = 0, accepted = 0;

	if (sockets_cookies(&sent, &accepted))
		return;
	if (h->cookies_known && (sent != h->cookies_sent || accepted != h->cookies_accepted))
		h->cookie_ms = now_ms;
	/* An agent that starts cannot know when the last one was sent. */
	if (!h->cookies_known && (sent || accepted))
		h->cookie_ms = now_ms;
	h->cookies_known = true;
	h->cookies_sent = sent;
	h->cookies_accepted = accepted;
}

static void count_rows(struct host *h, const struct view *v)
{
	bool gone = false;
	int err;

	if (!h->rows_dir[0])
		return;
	err = rows_left_read(&h->rows, h->rows_dir, h->self, v->table, v->pop->hash_seed, monotonic_ms(), &gone);
	if (err)
		log_warning("cannot read the rows of hand-off in %s: %s", h->rows_dir, strerror(-err));
	if (gone && proof_running(h->proof))
		proof_renew(h->proof, v->index); /* whoever came back as a socket is asked now */
}

void host_count(struct host *h, uint64_t now_ms)
{
	const struct view *v = follower_view(h->follower);
	uint64_t before = monotonic_ms();
	int err;

	if (!v || now_ms < h->count_due_ms)
		return;
	if (h->n_per_vip != v->pop->n_vips) {
		free(h->per_vip);
		h->n_per_vip = v->pop->n_vips;
		h->per_vip = calloc(h->n_per_vip ? h->n_per_vip : 1, sizeof(*h->per_vip));
	}
	/* A dump that the kernel calls interrupted is only less exact: the next one is. */
	err = sockets_count(h->diag, &h->vips, &h->servers, v->pop->policy.time_wait_ms, &h->sockets, h->per_vip, h->n_per_vip,
			    &h->proxied);
	if (err && err != -EINTR)
		log_warning("cannot count the sockets on VIPs: %s", strerror(-err));
	count_cookies(h, now_ms);
	count_rows(h, v);
	h->count_cost_ms = monotonic_ms() - before;
	h->count_due_ms = now_ms + (COUNT_MS > h->count_cost_ms * COUNT_SHARE ? COUNT_MS : h->count_cost_ms * COUNT_SHARE);
}

void host_proof_update(struct host *h, const struct view *v, unsigned what)
{
	/* A report must not say of the new table what was counted under the old one. */
	bool needed;

	if (what & (VIEW_POP | VIEW_TABLE))
		count_rows(h, v);
	needed = table_sheltered(v->table, h->self) || v->host_admin[h->self] != ADMIN_IN;

	if (!needed) {
		if (proof_running(h->proof))
			proof_stop(h->proof);
	} else if (!proof_running(h->proof) || what & (VIEW_POP | VIEW_TABLE)) {
		proof_begin(h->proof, v->index, v->pop->policy.time_wait_ms, monotonic_ms());
	} else {
		proof_renew(h->proof, v->index);
	}
}
