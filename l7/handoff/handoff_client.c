/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A client's connection as a letter, and a letter as a client.  What the letter holds is everything that an HTTP/1
 * connection between two requests is: nothing of the request that it moves for has been answered, and of its body only
 * what lies in our buffers has been read.
 */
#include "l7/handoff/handoff_inside.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "l7/tls/cert_rules.h"
#include "l7/tls/tls.h"

#define HISTORY_LEN 29

void flow_of(const struct client *c, struct flow *f)
{
	memset(f, 0, sizeof(*f));
	f->protocol = IPPROTO_TCP;
	if (c->peer.v4.sin_family == AF_INET) {
		f->family = FLOW_V4;
		f->saddr[0] = c->peer.v4.sin_addr.s_addr;
		f->daddr[0] = c->local.v4.sin_addr.s_addr;
		f->sport = c->peer.v4.sin_port;
		f->dport = c->local.v4.sin_port;
		return;
	}
	f->family = FLOW_V6;
	memcpy(f->saddr, &c->peer.v6.sin6_addr, 16);
	memcpy(f->daddr, &c->local.v6.sin6_addr, 16);
	f->sport = c->peer.v6.sin6_port;
	f->dport = c->local.v6.sin6_port;
}

/* --- S ---------------------------------------------------------------------------------------------------------- */

int freeze(struct place *p)
{
	return tcp_move_export(p->client->s.fd, p->h->queue_max, &p->moving->tcp);
}

static struct move_bytes bytes_of(struct buffer *b)
{
	return (struct move_bytes){ b->data ? buffer_head(b) : NULL, (uint32_t)buffer_len(b) };
}

static void put_history(const struct client *c, enum move_reason reason, uint8_t out[HISTORY_LEN])
{
	uint32_t moves = htobe32(c->moves + 1);
	uint64_t requests = htobe64(c->requests), age = htobe64(monotonic_ms() - c->since_ms),
		 octets = htobe64(c->octets + c->s.sent + c->s.received);

	memcpy(out, &moves, 4);
	memcpy(out + 4, &requests, 8);
	memcpy(out + 12, &age, 8);
	memcpy(out + 20, &octets, 8);
	out[28] = (uint8_t)reason;
}

/* What every letter of a connection has; `tls` and `history` are its memory.  0, or -errno: it has nothing. */
static int describe(struct place *p, enum move_reason reason, struct move_letter *l, uint8_t tls[RECORD_STATE_LEN],
		    uint8_t history[HISTORY_LEN])
{
	struct client *c = p->client;
	struct stream *s = &c->s;
	const struct cert_fact *f = s->tls ? tls_certificate(s->tls) : NULL;
	struct record_state state;
	int err;

	if (s->tls) {
		err = stream_tls_state(s, &state);
		record_state_put(&state, tls);
		OPENSSL_cleanse(&state, sizeof(state));
		if (err)
			return err;
		l->section[SECTION_TLS] = (struct move_bytes){ tls, RECORD_STATE_LEN };
		l->section[SECTION_SNI] = (struct move_bytes){ (const uint8_t *)tls_server_name(s->tls),
							       (uint32_t)strlen(tls_server_name(s->tls)) };
		l->section[SECTION_ALPN] =
			(struct move_bytes){ (const uint8_t *)tls_alpn(s->tls), (uint32_t)strlen(tls_alpn(s->tls)) };
		if (f)
			l->section[SECTION_CERTIFICATE] = (struct move_bytes){ f->octets, f->n };
	}
	l->section[SECTION_RAW_IN] = bytes_of(&s->raw);
	l->section[SECTION_RAW_OUT] = bytes_of(&s->out);
	l->section[SECTION_HEAD] = (struct move_bytes){ buffer_head(&s->in), (uint32_t)c->head_n };
	l->section[SECTION_PLAIN_IN] =
		(struct move_bytes){ buffer_head(&s->in) + c->head_n, (uint32_t)(buffer_len(&s->in) - c->head_n) };
	put_history(c, reason, history);
	l->section[SECTION_HISTORY] = (struct move_bytes){ history, HISTORY_LEN };
	return 0;
}

int offer(struct place *p)
{
	struct client *c = p->client;
	struct moving *m = p->moving;
	struct stream *s = &c->s;
	uint8_t tls[RECORD_STATE_LEN], history[HISTORY_LEN], *tcp;
	size_t n;
	struct move_letter l = { .type = LETTER_OFFER, .ingress = p->ingress, .e = p->s.e, .cid = p->cid,
				 .to_inc = p->s.to_inc, .serial = p->serial };
	int err;

	err = tcp_move_refresh(s->fd, p->h->queue_max, &m->tcp);
	if (err < 0)
		return err;
	tcp_move_dropped(&m->tcp, row_dropped(p));
	n = tcp_move_len(&m->tcp);
	tcp = malloc(n);
	if (!tcp)
		return -ENOMEM;
	tcp_move_put(&m->tcp, tcp);
	l.section[SECTION_TCP] = (struct move_bytes){ tcp, (uint32_t)n };
	err = describe(p, m->reason, &l, tls, history);
	m->octets = err ? 0 : (uint32_t)move_letter_len(&l);
	if (!err)
		err = carrier_send(p->h->carrier, p->s.to, &l);
	OPENSSL_cleanse(tls, sizeof(tls));
	OPENSSL_cleanse(tcp, n);
	free(tcp);
	if (!err)
		tcp_move_free(&m->tcp);
	return err;
}

int offer_here(struct place *p, int to)
{
	uint8_t tls[RECORD_STATE_LEN], history[HISTORY_LEN];
	struct move_letter l = { .type = LETTER_OFFER, .ingress = p->ingress, .e = ++p->last, .cid = p->cid,
				 .to_inc = p->h->host->inc, .serial = ++p->h->serial[0] };
	int err;

	err = describe(p, REASON_SAME_HOST, &l, tls, history);
	if (!err)
		err = carrier_local_send(to, &l, p->client->s.fd);
	OPENSSL_cleanse(tls, sizeof(tls));
	return err;
}

/* --- R ---------------------------------------------------------------------------------------------------------- */

static bool is_local(const struct wpool *pool, uint16_t self)
{
	uint32_t i;

	for (i = 0; i < pool->n_backends; i++)
		if (pool->conf->backend[i].host == self && !pool->backend[i]->down)
			return true;
	return false;
}

/* Does a backend of this host answer that request? */
static bool answers(struct handoff *h, const struct edge *e, const struct move_bytes *head)
{
	struct request_head *r = &h->w->head;
	struct wpool *pool;
	uint32_t at;
	bool keep;

	if (h1_request(r, e->conf->head_max * 2, head->p, head->n, &keep))
		return false;
	at = route_find(e->routes, r);
	if (at == ROUTE_NONE)
		return false;
	pool = wpool_find(h->w, h->w->snapshot->conf.pool[e->conf->route[at].pool].name);
	return pool && is_local(pool, h->self);
}

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

/* The edge that the connection belongs to.  Its address stands at a fixed place in what tcp_move_put wrote. */
static const struct edge *edge_of(struct handoff *h, const struct move_bytes *tcp)
{
	struct address vip = { .family = AF_INET };

	if (!h->w->snapshot || tcp->n < TCP_MOVE_HEAD)
		return NULL;
	if (tcp->p[1] == 6) {
		vip.family = AF_INET6;
		memcpy(&vip.v6, tcp->p + 24, 16);
	} else {
		memcpy(&vip.v4, tcp->p + 24, 4);
	}
	return snapshot_edge_at(h->w->snapshot, &vip, get16(tcp->p + 6));
}

/* With TLS or without, and what was asked of the client, as this edge has it. */
static bool fits(const struct edge *e, const struct move_letter *l)
{
	const struct move_bytes *certificate = &l->section[SECTION_CERTIFICATE];

	return (e->tls != NULL) == (l->section[SECTION_TLS].n != 0) &&
	       cert_rules_agree(tls_context_rules(e->tls), certificate->p, certificate->n);
}

uint8_t could_thaw(struct handoff *h, const struct move_letter *l)
{
	const struct edge *e = edge_of(h, &l->section[SECTION_TCP]);
	struct record_state state;
	int err;

	if (!e || !l->section[SECTION_HEAD].n || !answers(h, e, &l->section[SECTION_HEAD]))
		return REFUSE_BACKEND;
	if (!fits(e, l))
		return REFUSE_STATE;
	if (e->tls) {
		err = record_state_get(l->section[SECTION_TLS].p, l->section[SECTION_TLS].n, &state);
		OPENSSL_cleanse(&state, sizeof(state));
		if (err)
			return REFUSE_STATE;
	}
	return 0;
}

static struct tls *take_tls(const struct move_letter *l)
{
	const struct move_bytes *certificate = &l->section[SECTION_CERTIFICATE];
	struct cert_fact *f = certificate->n ? cert_fact_new(certificate->p, certificate->n) : NULL;
	struct record_state state;
	struct tls *t = NULL;

	if (certificate->n && !f)
		return NULL;
	if (!record_state_get(l->section[SECTION_TLS].p, l->section[SECTION_TLS].n, &state))
		t = tls_import(&state, (const char *)l->section[SECTION_SNI].p, l->section[SECTION_SNI].n,
			       (const char *)l->section[SECTION_ALPN].p, l->section[SECTION_ALPN].n, f);
	else
		cert_fact_free(f);
	OPENSSL_cleanse(&state, sizeof(state));
	return t;
}

static void take_history(struct client *c, const struct move_bytes *history)
{
	uint32_t moves;
	uint64_t requests, age, octets;

	if (history->n != HISTORY_LEN)
		return;
	memcpy(&moves, history->p, 4);
	memcpy(&requests, history->p + 4, 8);
	memcpy(&age, history->p + 12, 8);
	memcpy(&octets, history->p + 20, 8);
	c->moves = be32toh(moves);
	c->requests = be64toh(requests) - 1; /* this one is counted when it is begun */
	c->since_ms -= be64toh(age);
	c->octets = be64toh(octets);
	c->arrived_for = history->p[28] < REASONS ? history->p[28] : REASONS;
}

static int take_bytes(struct buffer *b, const struct move_bytes *from)
{
	return buffer_put(b, from->p, from->n, MOVE_LETTER_MAX);
}

/* The socket lives; what its send buffer did not take goes before what was never in a socket. */
static int revive(struct place *p, struct client *c, int fd, const struct tcp_move *m)
{
	uint8_t frame[TCP_MOVE_SEED_MAX];
	size_t left = 0;
	int err;

	row_clear(p); /* from here on packets come to the socket, which knows all that it must */
	err = tcp_move_live(fd, m);
	if (err) {
		row_sync(p);
		return err;
	}
	row_inject(p, frame, tcp_move_seed(fd, m, frame));
	err = tcp_move_send(fd, m, &left);
	if (err == -EAGAIN)
		err = buffer_put(&c->s.out, m->send.data + m->send.end - left, left, MOVE_LETTER_MAX);
	if (m->owes_ack)
		row_nudge(p, m);
	return err;
}

static uint8_t make_client(struct handoff *h, struct place *p, const struct move_letter *l, const struct edge *e, int fd,
			   const struct tcp_move *m)
{
	struct tls *tls = e->tls ? take_tls(l) : NULL;
	struct client *c;

	if (e->tls && !tls) {
		close(fd);
		return REFUSE_STATE;
	}
	c = client_arrive(h->w, h->w->snapshot, e, fd);
	if (!c) {
		tls_free(tls);
		return REFUSE_BUSY;
	}
	c->s.tls = tls;
	c->cid = p->cid;
	c->ingress = p->ingress;
	c->begun_ns = c->came_ns = h->letter_ns;
	take_history(c, &l->section[SECTION_HISTORY]);
	flow_of(c, &p->flow);
	if (take_bytes(&c->s.raw, &l->section[SECTION_RAW_IN]) || take_bytes(&c->s.in, &l->section[SECTION_HEAD]) ||
	    take_bytes(&c->s.in, &l->section[SECTION_PLAIN_IN]) || revive(p, c, fd, m) ||
	    take_bytes(&c->s.out, &l->section[SECTION_RAW_OUT])) {
		client_close(c); /* silently, unless it is the last of these that found no memory */
		return REFUSE_SOCKET;
	}
	c->place = p;
	c->arrived = true;
	p->client = c;
	return 0;
}

int spare_take(struct handoff *h, int family)
{
	int *spare = &h->spare[family == AF_INET6], fd = *spare;

	*spare = -1;
	return fd >= 0 ? fd : tcp_move_socket(family);
}

void spare_make(struct handoff *h, int family)
{
	int *spare = &h->spare[family == AF_INET6];

	if (*spare < 0)
		*spare = tcp_move_socket(family);
}

uint8_t thaw(struct handoff *h, struct place *p, const struct move_letter *l)
{
	const struct edge *e = edge_of(h, &l->section[SECTION_TCP]);
	struct tcp_move m;
	uint8_t why;
	int fd, err;

	if (!e || tcp_move_get(l->section[SECTION_TCP].p, l->section[SECTION_TCP].n, &m))
		return REFUSE_STATE;
	fd = spare_take(h, m.vip.family);
	err = fd < 0 ? fd : tcp_move_import(fd, &m);
	if (err) {
		if (fd >= 0)
			close(fd);
		tcp_move_free(&m);
		return REFUSE_SOCKET;
	}
	why = make_client(h, p, l, e, fd, &m);
	tcp_move_free(&m);
	return why;
}

static const struct edge *edge_of_socket(const struct snapshot *s, int fd)
{
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} at = { .in6 = { .sin6_family = AF_UNSPEC } };
	struct address vip = { .family = AF_INET };
	socklen_t len = sizeof(at);

	if (getsockname(fd, &at.any, &len))
		return NULL;
	if (at.any.sa_family == AF_INET6) {
		vip.family = AF_INET6;
		vip.v6 = at.in6.sin6_addr;
		return snapshot_edge_at(s, &vip, ntohs(at.in6.sin6_port));
	}
	vip.v4 = at.in.sin_addr;
	return snapshot_edge_at(s, &vip, ntohs(at.in.sin_port));
}

struct client *thaw_here(struct place *p, const struct move_letter *l, int fd)
{
	struct handoff *h = p->h;
	const struct edge *e = edge_of_socket(h->w->snapshot, fd);
	struct tls *tls = NULL;
	struct client *c;

	if (e && e->tls && fits(e, l))
		tls = take_tls(l);
	if (!e || !fits(e, l) || (e->tls && !tls)) {
		tls_free(tls);
		close(fd); /* its edge is no longer in the configuration, or not as it was */
		return NULL;
	}
	c = client_arrive(h->w, h->w->snapshot, e, fd);
	if (!c) {
		tls_free(tls);
		return NULL;
	}
	c->s.tls = tls;
	c->cid = p->cid;
	c->ingress = p->since ? p->ingress : 0;
	take_history(c, &l->section[SECTION_HISTORY]);
	c->requests++; /* that one has been answered */
	if (take_bytes(&c->s.raw, &l->section[SECTION_RAW_IN]) || take_bytes(&c->s.in, &l->section[SECTION_PLAIN_IN]) ||
	    take_bytes(&c->s.out, &l->section[SECTION_RAW_OUT])) {
		client_close(c);
		return NULL;
	}
	if (c->ingress)
		h->n_arrived++;
	c->place = p;
	p->client = c;
	client_wait(c, WAIT_IDLE);
	return c;
}
