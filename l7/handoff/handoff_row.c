/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The rows of a process: what l7/handoff/move_row.c decides becomes what the kernel does (l7/row/rows.h).  The map may be written by
 * every worker; the TAP's waiting packets are read by the main thread and released by workers, hence the lock.  It is held
 * for some microseconds, by who moves a connection and by who reads the TAP.
 */
#include "l7/handoff/handoff_inside.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/log.h"
#include "pop/pop.h"

#define PASSES 8 /* a client that sends all the while does not keep us for ever */

int handoff_host_open(const struct handoff_host_conf *conf, struct handoff_host **out, char *why, size_t why_len)
{
	struct handoff_host *host = calloc(1, sizeof(*host));
	char less[256];
	int err;

	if (!host)
		return -ENOMEM;
	while (!host->inc)
		if (getrandom(&host->inc, sizeof(host->inc), 0) < 0 && errno != EINTR)
			abort();
	host->self = conf->self;
	host->workers = conf->workers;
	snprintf(host->tls_dir, sizeof(host->tls_dir), "%s", conf->tls_dir);
	pthread_mutex_init(&host->lock, NULL);
	err = rows_open(conf->self, conf->pin_dir, conf->link, conf->n_links, &host->rows, why, why_len);
	if (err) {
		free(host);
		return err;
	}
	orphans_adopt(host);
	if (tcp_move_open(less, sizeof(less)))
		log_warning("hand-off: %s", less);
	*out = host;
	return 0;
}

void handoff_host_close(struct handoff_host *host)
{
	if (!host)
		return;
	rows_close(host->rows, false);
	orphans_free(host);
	tcp_move_close(false);
	pthread_mutex_destroy(&host->lock);
	free(host);
}

/* From elsewhere every other host is reached inside IP; from behind switches those that are elsewhere. */
void handoff_host_peers(struct handoff_host *host, const struct pop *pop)
{
	const struct host_conf *own = pop_host(pop, host->self);
	struct rows_peer *peer = calloc(pop->n_hosts, sizeof(*peer));
	size_t n = 0;
	uint32_t i;
	int err;

	if (!peer)
		abort();
	for (i = 0; own && i < pop->n_hosts; i++)
		if (&pop->host[i] != own && (host_is_elsewhere(own) || host_is_elsewhere(&pop->host[i])))
			peer[n++] = (struct rows_peer){ pop->host[i].id, *host_tunnel(&pop->host[i]) };
	pthread_mutex_lock(&host->lock);
	err = rows_set_peers(host->rows, own ? host_tunnel(own) : NULL, own != NULL, peer, n);
	pthread_mutex_unlock(&host->lock);
	if (err)
		log_error("hand-off: hosts elsewhere: %s: what their backends answer may be proxied", strerror(-err));
	free(peer);
}

int handoff_host_fd(const struct handoff_host *host)
{
	return rows_fd(host->rows);
}

void handoff_host_poll(struct handoff_host *host)
{
	pthread_mutex_lock(&host->lock);
	rows_poll(host->rows, monotonic_ms());
	pthread_mutex_unlock(&host->lock);
}

int handoff_host_timer(const struct handoff_host *host)
{
	return rows_timer_fd(host->rows);
}

void handoff_host_settle(struct handoff_host *host)
{
	pthread_mutex_lock(&host->lock);
	rows_settle(host->rows);
	pthread_mutex_unlock(&host->lock);
}

void handoff_host_age(struct handoff_host *host)
{
	pthread_mutex_lock(&host->lock);
	rows_age(host->rows, monotonic_ms());
	orphans_age(host, monotonic_ms());
	pthread_mutex_unlock(&host->lock);
}

/* Without the lock, for a full table takes long to count: numbers of which one may be a moment older than another. */
int handoff_host_rows(struct handoff_host *host, struct rows_counts *out)
{
	return rows_counts(host->rows, out);
}

static struct row row_of(const struct place *p, const struct move_row *r, bool ending)
{
	struct row row = { .cid = r->cid, .e = r->e, .owner = r->owner, .state = (uint8_t)r->state, .ending = ending,
			   .passing = p->ingress != p->h->self, .inc = (uint32_t)r->owner_inc };

	row.deadline_ns = r->deadline_ms == UINT64_MAX ? 0 : r->deadline_ms * 1000000;
	return row;
}

static int change(const struct place *p, const struct move_row *r, bool ending)
{
	struct row row = row_of(p, r, ending);

	return rows_change(p->h->host->rows, &p->flow, &row);
}

void row_sync(struct place *p)
{
	struct row now;
	int err = rows_get(p->h->host->rows, &p->flow, &now);

	/* The client may have used its port again meanwhile: its SYN has removed the row, and what is there is another
	 * connection's. */
	if (!err && now.cid != p->cid)
		err = -ENOENT;
	if (!err && p->row.state == ROW_NONE)
		rows_delete(p->h->host->rows, &p->flow);
	else if (!err)
		err = change(p, &p->row, now.ending == ROW_ENDING);
	if (err == -ENOENT)
		p->row = (struct move_row){ .state = ROW_NONE, .deadline_ms = UINT64_MAX };
	else if (err) /* (one that is there is written over: there is room) */
		log_error("row of connection %016llx: %s: its packets stay here", (unsigned long long)p->cid, strerror(-err));
}

int row_hold(const struct place *p)
{
	struct row row = row_of(p, &p->row, false);

	return rows_put(p->h->host->rows, &p->flow, &row);
}

void row_ends(struct place *p)
{
	enum row_state was = p->row.state;
	struct row row;

	if (was != ROW_NONE && was != ROW_ENDED)
		return;
	move_row_ends(&p->row, p->cid, p->last, monotonic_ms());
	row = row_of(p, &p->row, false);
	if (was == ROW_ENDED) /* when we began to close; and now that all is closed */
		row_sync(p);
	else if (rows_new(p->h->host->rows, &p->flow, &row)) /* there is no room, or it is another connection's */
		p->row = (struct move_row){ .state = ROW_NONE, .deadline_ms = UINT64_MAX };
}

void row_clear(const struct place *p)
{
	rows_delete(p->h->host->rows, &p->flow);
}

unsigned row_dropped(const struct place *p)
{
	struct row row;

	return rows_get(p->h->host->rows, &p->flow, &row) ? 0 : row.dropped;
}

void row_release(const struct place *p)
{
	struct handoff_host *host = p->h->host;

	pthread_mutex_lock(&host->lock);
	rows_poll(host->rows, monotonic_ms());
	rows_release(host->rows, &p->flow);
	pthread_mutex_unlock(&host->lock);
}

/*
 * A client that has the answer before we have heard that it was given acknowledges it, and closes.  Were that to overtake
 * what waits here, the closed connection would be met by an older packet, and answer it with a reset.
 */
void row_pass(struct place *p)
{
	struct handoff_host *host = p->h->host;
	struct move_row sorting = p->row;
	struct row now;
	unsigned i;

	sorting.state = ROW_HOLD;
	if (sorting.deadline_ms == UINT64_MAX)
		sorting.deadline_ms = monotonic_ms() + MOVE_PASSING_MS; /* no HOLD is for ever, should we end before the next step */
	pthread_mutex_lock(&host->lock);
	if (!rows_get(host->rows, &p->flow, &now) && now.cid == p->cid && !change(p, &sorting, false))
		for (i = 0; i < PASSES; i++) {
			rows_poll(host->rows, monotonic_ms());
			if (!rows_release(host->rows, &p->flow))
				break;
		}
	row_sync(p);
	rows_poll(host->rows, monotonic_ms());
	rows_release(host->rows, &p->flow);
	pthread_mutex_unlock(&host->lock);
}

void row_drop(const struct place *p)
{
	struct handoff_host *host = p->h->host;

	pthread_mutex_lock(&host->lock);
	rows_poll(host->rows, monotonic_ms());
	rows_drop(host->rows, &p->flow);
	pthread_mutex_unlock(&host->lock);
}

void row_nudge(const struct place *p, const struct tcp_move *m)
{
	uint8_t frame[TCP_MOVE_NUDGE_MAX];

	row_inject(p, frame, tcp_move_nudge(m, frame));
}

void row_inject(const struct place *p, uint8_t *frame, size_t n)
{
	struct handoff_host *host = p->h->host;

	if (!n)
		return;
	pthread_mutex_lock(&host->lock);
	rows_inject(host->rows, frame, n);
	pthread_mutex_unlock(&host->lock);
}
