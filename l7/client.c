/* SPDX-License-Identifier: BSD-2-Clause */
/* Client connections, from accept to close.  See client.h. */
#include "l7/client.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "l7/access.h"
#include "l7/handoff/handoff.h"
#include "l7/tls/cert_rules.h"
#include "l7/tls/tls.h"

static void client_bury(struct grave *g)
{
	free(LINK_OF(g, struct client, grave));
}

static void client_end(struct client *c)
{
	struct worker *w = c->s.w;

	link_out(&c->link);
	w->n_clients--;
	stats_inc(w->stats.closed);
	stream_close(&c->s);
	snapshot_unref(c->snapshot);
	worker_bury(w, &c->grave, client_bury);
}

void client_close(struct client *c)
{
	if (c->dead)
		return;
	c->dead = true;
	timer_stop(&c->timer);
	if (c->h2)
		h2_gone(c);
	else
		h1_gone(c);
	if (c->s.w->handoff)
		handoff_last(c);
	if (c->place)
		handoff_closed(c);
	client_end(c);
}

void client_left(struct client *c)
{
	c->dead = true;
	timer_stop(&c->timer);
	if (c->x)
		exchange_forget(c->x);
	c->x = NULL;
	c->place = NULL;
	client_end(c);
}

static uint32_t wait_ms(const struct client *c)
{
	switch ((enum client_wait)c->wait) {
	case WAIT_HANDSHAKE:
	case WAIT_HEAD:
		return c->edge->conf->head_ms;
	case WAIT_IDLE:
		return c->edge->conf->idle_ms;
	case WAIT_BODY:
		return c->edge->conf->body_ms;
	case WAIT_HALF:
		return HALF_MS;
	case WAIT_FINISH:
		return c->s.writing ? c->edge->conf->body_ms : FINISH_MS;
	case WAIT_LINGER:
		return LINGER_MS;
	case WAIT_ANSWER:
		break;
	}
	return 0;
}

void client_wait(struct client *c, enum client_wait wait)
{
	c->wait = (uint8_t)wait;
	if (wait == WAIT_ANSWER)
		timer_stop(&c->timer);
	else
		timer_set(c->s.w, &c->timer, worker_ms(c->s.w) + wait_ms(c));
}

/*
 * A FIN behind a request is no abort: the client may wait for its answer.  But when a reset follows, nobody does, and
 * no read event tells: what it would say, it says already.
 */
void client_await_answer(struct client *c)
{
	client_wait(c, c->s.eof ? WAIT_HALF : WAIT_ANSWER);
}

bool client_agrees(const struct client *c, const struct snapshot *s)
{
	const struct edge *e = snapshot_edge(s, c->edge->vip, c->edge->conf->port);
	const struct cert_fact *f = c->s.tls ? tls_certificate(c->s.tls) : NULL;

	return e && (!c->s.tls || cert_rules_agree(tls_context_rules(e->tls), f ? f->octets : NULL, f ? f->n : 0));
}

/* What TLS has agreed on stays as it is; routes, pools and limits are those of today.  An edge that is no more
 * serves its connections as it did. */
bool client_renew(struct client *c)
{
	struct snapshot *now = c->s.w->snapshot;
	const struct edge *e;

	if (now == c->snapshot)
		return true;
	if (!client_agrees(c, now)) {
		c->keep = false;
		return false;
	}
	e = snapshot_edge(now, c->edge->vip, c->edge->conf->port);
	snapshot_ref(now);
	c->edge = e;
	snapshot_unref(c->snapshot);
	c->snapshot = now;
	return true;
}

/* Our FIN follows when all that was to be said is TCP's; a client that reads slowly has as long for that as for a body. */
static void finish(struct client *c)
{
	if (!stream_finish(&c->s)) {
		client_wait(c, WAIT_FINISH);
		return;
	}
	if (c->s.error || c->s.eof) {
		client_close(c);
		return;
	}
	if (c->place)
		handoff_ends(c);
	client_wait(c, WAIT_LINGER);
	shutdown(c->s.fd, SHUT_WR);
	stream_read(&c->s, true);
}

void client_linger(struct client *c)
{
	if (c->lingering || c->dead)
		return;
	c->lingering = true;
	c->s.direct = false;
	c->finish_by_ms = worker_ms(c->s.w) + c->edge->conf->body_ms;
	stream_read(&c->s, true);
	finish(c);
}

static void lingering_input(struct client *c)
{
	if (c->s.in.data)
		buffer_free(&c->s.in);
	if (c->s.raw.data)
		buffer_free(&c->s.raw);
	if (c->s.error)
		client_close(c);
	else if (c->s.eof)
		finish(c);
}

/* The alert is in out.  In TLS 1.3 the client may have sent its request already, and more may be on its way: so that no reset takes
 * the alert from it, what comes is read and dropped for a moment. */
static void certificate_refused(struct client *c, enum cert_outcome outcome)
{
	struct worker *w = c->s.w;
	const char *why = tls_failure(c->s.tls);
	char text[INET6_ADDRSTRLEN] = "";

	stats_inc(w->stats.certificates[outcome]);
	access_log_refused(w, c, 0, why);
	if (worker_ms(w) >= w->refusal_said_ms + 1000) {
		inet_ntop(c->peer.v4.sin_family, c->peer.v4.sin_family == AF_INET ? (void *)&c->peer.v4.sin_addr : &c->peer.v6.sin6_addr, text,
			  sizeof(text));
		log_notice("edge %s port %u: the certificate of client %s is refused (%s): %s; and %u others since the last word of it",
			   c->edge->vip, c->edge->conf->port, text, cert_outcome_name(outcome), why, w->refusals_unsaid);
		w->refusal_said_ms = worker_ms(w);
		w->refusals_unsaid = 0;
	} else {
		w->refusals_unsaid++;
	}
	tls_free(c->s.tls);
	c->s.tls = NULL;
	c->s.error = 0;
	client_linger(c);
}

static void not_secured(struct client *c)
{
	struct stream *s = &c->s;

	stats_inc(s->w->stats.handshakes_failed);
	if (s->error == EPROTO && tls_refused(s->tls) != CERT_OUTCOMES) {
		certificate_refused(c, tls_refused(s->tls));
		return;
	}
	/* An alert was put into out by the handshake. */
	stream_flush(s);
	client_close(c);
}

static void on_input(struct stream *s)
{
	struct client *c = LINK_OF(s, struct client, s);

	if (c->lingering) {
		lingering_input(c);
	} else if (s->tls && !tls_done(s->tls)) {
		if (s->eof || s->error)
			not_secured(c);
	} else if (c->h2) {
		h2_input(c);
	} else {
		h1_input(c);
	}
}

static void on_room(struct stream *s)
{
	struct client *c = LINK_OF(s, struct client, s);

	if (c->lingering) {
		finish(c);
	} else if (s->tls && !tls_done(s->tls)) {
		return;
	} else if (c->h2) {
		h2_room(c);
	} else {
		h1_room(c);
	}
}

static void on_secured(struct stream *s)
{
	struct client *c = LINK_OF(s, struct client, s);

	stats_inc(s->w->stats.handshakes);
	if (tls_resumed(s->tls))
		stats_inc(s->w->stats.resumed);
	if (tls_certificate(s->tls))
		stats_inc(s->w->stats.certificates[tls_certificate(s->tls)->n_leaf ? CERT_VERIFIED : CERT_NONE]);
	stats_observe(&s->w->stats, PHASE_HANDSHAKE, monotonic_ns() - c->begun_ns);
	if (tls_is_h2(s->tls)) {
		if (h2_begin(c))
			client_close(c);
	} else {
		h1_begin(c);
	}
}

static void on_timeout(struct timer *t)
{
	struct client *c = LINK_OF(t, struct client, timer);
	struct stats *st = &c->s.w->stats;

	if (c->s.error && !c->h2 && !c->lingering) {
		h1_input(c);
		return;
	}
	if (c->s.error) {
		client_close(c);
		return;
	}
	switch ((enum client_wait)c->wait) {
	case WAIT_HEAD:
		stats_inc(st->timeouts_head);
		if (!c->h2 && c->s.in.data && !c->s.tls) {
			static const char late[] = "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

			stream_put(&c->s, late, sizeof(late) - 1);
			client_linger(c);
			return;
		}
		break;
	case WAIT_IDLE:
		stats_inc(st->timeouts_idle);
		if (c->h2)
			h2_drain(c);
		client_linger(c);
		return;
	case WAIT_BODY:
		stats_inc(st->timeouts_body);
		break;
	case WAIT_HANDSHAKE:
		stats_inc(st->handshakes_failed);
		break;
	case WAIT_HALF:
		if (!stream_broken(&c->s)) {
			client_wait(c, WAIT_HALF);
			return;
		}
		break;
	case WAIT_FINISH:
		if (worker_ms(c->s.w) < c->finish_by_ms) {
			finish(c);
			return;
		}
		stats_inc(st->timeouts_body);
		break;
	case WAIT_LINGER:
	case WAIT_ANSWER:
		break;
	}
	client_close(c);
}

static struct client *client_new(struct worker *w, struct snapshot *snapshot, const struct edge *edge, int fd)
{
	struct client *c = calloc(1, sizeof(*c));
	socklen_t len = sizeof(c->local);

	if (!c) {
		close(fd);
		return NULL;
	}
	getsockname(fd, (struct sockaddr *)&c->local, &len);
	c->last_route = ROUTE_NONE;
	c->snapshot = snapshot_ref(snapshot);
	c->edge = edge;
	c->since_ms = monotonic_ms();
	c->begun_ns = monotonic_ns();
	c->timer.fire = on_timeout;
	c->s.input = on_input;
	c->s.room = on_room;
	c->s.secured = on_secured;
	c->s.read_size = 8192;
	c->secure = edge->tls;
	link_before(&w->clients, &c->link);
	w->n_clients++;
	stats_inc(w->stats.accepted);
	stream_open(&c->s, w, fd);
	return c;
}

struct client *client_arrive(struct worker *w, struct snapshot *snapshot, const struct edge *edge, int fd)
{
	struct client *c = client_new(w, snapshot, edge, fd);
	socklen_t len = sizeof(c->peer);

	if (c)
		getpeername(fd, (struct sockaddr *)&c->peer, &len);
	return c;
}

void client_accept(struct worker *w, struct snapshot *snapshot, const struct edge *edge, int fd,
		   const struct sockaddr_storage *peer)
{
	struct client *c = client_new(w, snapshot, edge, fd);
	int one = 1;

	if (!c)
		return;
	memcpy(&c->peer, peer, sizeof(c->peer));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (getrandom(&c->cid, sizeof(c->cid), GRND_NONBLOCK) < 0)
		c->cid = monotonic_ns();
	if (edge->tls) {
		c->s.tls = tls_accept(edge->tls);
		client_wait(c, WAIT_HANDSHAKE);
		if (!c->s.tls) {
			client_close(c);
			return;
		}
	} else {
		h1_begin(c);
	}
	stream_read(&c->s, true);
}

void client_drain(struct client *c)
{
	if (c->lingering || c->dead)
		return;
	if (c->h2) {
		h2_drain(c);
	} else {
		c->keep = false;
		/* At a request boundary, and nothing of a next request has come: nobody loses anything that we have read. */
		if (!c->x && !c->s.in.data && !c->s.raw.data && (!c->s.tls || tls_done(c->s.tls)) && c->requests)
			client_linger(c);
	}
}
