/* SPDX-License-Identifier: BSD-2-Clause */
/* Sessions between the baton-l7d of a POP, and their credits.  See carrier.h. */
#include "l7/handoff/carrier.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#define HOSTS_MAX 4096

struct peer {
	struct carrier *c;
	uint16_t host;
	struct sockaddr_storage addr;
	socklen_t len;
	struct session *s;  /* ours to free; a client's stays, up or not */
	bool client, up;    /* up: the session */
	uint64_t inc;	    /* 0: not greeted, or another version */
	uint16_t workers;   /* the peer's; 0: it did not say */
	bool foreign;
	bool leaving;	    /* it takes no more offers */
	bool understood;    /* that we take none */
	uint32_t window;    /* the peer's */
	uint64_t owed;	    /* octets of offers sent, and not yet taken */
	uint64_t holds;	    /* octets of the peer's offers that we have not yet taken */
};

struct carrier {
	struct event_base *base;
	struct tls_identity *tls;
	struct session_listener *listener;
	uint16_t self;
	uint64_t inc;
	uint32_t window;
	uint16_t workers;
	bool leaving;
	const struct carrier_ops *ops;
	void *ctx;
	struct peer *peer[HOSTS_MAX];
	struct carrier_counts counts;
};

static void greet(struct peer *p)
{
	uint8_t body[18] = {MOVE_VERSION};
	uint16_t workers = htobe16(p->c->workers);
	uint32_t window = htobe32(p->c->window);
	uint64_t inc = htobe64(p->c->inc);

	memcpy(body + 4, &window, 4);
	memcpy(body + 8, &inc, 8);
	memcpy(body + 16, &workers, 2);
	session_send(p->s, CARRIER_GREETING, body, sizeof(body));
}

static void say_leaving(struct peer *p, bool understood)
{
	uint8_t body = understood;

	session_send(p->s, CARRIER_LEAVING, &body, sizeof(body));
}

static void ended(struct peer *p)
{
	bool was = p->inc != 0;

	p->up = p->foreign = p->leaving = p->understood = false;
	p->inc = p->owed = p->holds = 0;
	if (was)
		p->c->ops->down(p->c->ctx, p->host);
}

static void credit(struct peer *p, size_t n)
{
	uint32_t body;

	if (n > p->holds)
		n = p->holds;
	p->holds -= n;
	body = htobe32((uint32_t)n);
	if (n)
		session_send(p->s, CARRIER_CREDIT, &body, sizeof(body));
}

static void greeted(struct peer *p, const uint8_t *body, size_t len)
{
	uint16_t workers = 0;
	uint32_t window;
	uint64_t inc;

	if (len < 16 || p->inc) {
		p->c->counts.malformed++;
		return;
	}
	if (body[0] != MOVE_VERSION) {
		p->c->counts.foreign++;
		p->foreign = true;
		log_warning("host %u speaks version %u of moves, this is %u: its requests are proxied; install one version on "
			    "both", p->host, body[0], MOVE_VERSION);
		return;
	}
	memcpy(&window, body + 4, 4);
	memcpy(&inc, body + 8, 8);
	if (len >= 18)
		memcpy(&workers, body + 16, 2);
	p->workers = be16toh(workers);
	p->window = be32toh(window);
	p->inc = be64toh(inc);
	if (p->inc && p->c->leaving)
		say_leaving(p, false);
	if (p->inc)
		p->c->ops->up(p->c->ctx, p->host, p->inc);
}

static void credited(struct peer *p, const uint8_t *body, size_t len)
{
	uint32_t n;

	if (len != 4) {
		p->c->counts.malformed++;
		return;
	}
	memcpy(&n, body, 4);
	n = be32toh(n);
	p->owed -= n < p->owed ? n : p->owed;
}

static void told_leaving(struct peer *p, const uint8_t *body, size_t len)
{
	if (len < 1) {
		p->c->counts.malformed++;
	} else if (body[0]) {
		p->understood = true;
	} else {
		p->leaving = true;
		say_leaving(p, true); /* behind whatever we have offered */
	}
}

/* An offer that cannot be read is refused by what its first octets name. */
static void refuse(struct peer *p, const struct move_letter *l)
{
	struct move_letter no = {.type = LETTER_REFUSE, .why = REFUSE_VERSION, .ingress = l->ingress, .e = l->e, .cid = l->cid};

	if (l->cid && l->e && l->ingress)
		carrier_send(p->c, p->host, &no);
}

static void on_message(void *ctx, struct session *s, uint16_t type, const uint8_t *body, size_t len)
{
	struct peer *p = ctx;
	struct carrier *c = p->c;
	struct move_letter l;
	bool done = true;
	int rc;

	if (type == CARRIER_GREETING) {
		greeted(p, body, len);
		return;
	}
	if (!p->inc)
		return;
	if (type == CARRIER_CREDIT) {
		credited(p, body, len);
		return;
	}
	if (type == CARRIER_LEAVING) {
		told_leaving(p, body, len);
		return;
	}
	rc = move_letter_get(type, body, len, &l);
	if (type == LETTER_OFFER) {
		p->holds += len;
		if (p->holds > (uint64_t)c->window + MOVE_LETTER_MAX) {
			log_warning("host %u sends more offers than its credits allow: they are dropped", p->host);
			rc = -EPROTO;
		}
	}
	if (rc) {
		c->counts.malformed++;
		if (rc == -EPROTONOSUPPORT && type == LETTER_OFFER)
			refuse(p, &l);
	} else {
		c->counts.received[l.type]++;
		done = c->ops->letter(c->ctx, p->host, p->inc, &l);
	}
	if (type == LETTER_OFFER && done && p->s == s && p->inc)
		credit(p, len);
}

static int on_up(void *ctx, struct session *s, const struct identity *who)
{
	struct carrier *c = ctx;
	struct peer *p;

	if (who->id >= HOSTS_MAX || !c->peer[who->id] || c->peer[who->id]->client)
		return -EPERM;
	p = c->peer[who->id];
	/* The one before is over, whether it knows it or not: its letters must not come after this one's. */
	if (p->s) {
		session_free(p->s);
		p->s = NULL;
		ended(p);
	}
	p->s = s;
	p->up = true;
	session_set_ctx(s, p);
	greet(p);
	return 0;
}

static void on_down(void *ctx, struct session *s, const char *why)
{
	struct peer *p = ctx;

	(void)why;
	session_free(s);
	p->s = NULL;
	ended(p);
}

static const struct session_ops server_ops = {on_up, on_message, on_down};

static int on_client_up(void *ctx, struct session *s, const struct identity *who)
{
	struct peer *p = ctx;

	(void)who;
	p->s = s;
	p->up = true;
	greet(p);
	return 0;
}

static void on_client_down(void *ctx, struct session *s, const char *why)
{
	(void)s, (void)why;
	ended(ctx);
}

static const struct session_ops client_ops = {on_client_up, on_message, on_client_down};

int carrier_new(struct event_base *base, struct tls_identity *tls, const struct sockaddr *addr, socklen_t len, uint64_t inc,
		uint32_t window, const struct carrier_ops *ops, void *ctx, struct carrier **out)
{
	struct carrier *c = calloc(1, sizeof(*c));
	int rc;

	if (!c)
		return -ENOMEM;
	c->base = base;
	c->tls = tls;
	c->self = tls_identity_self(tls)->id;
	c->inc = inc;
	c->window = window;
	c->ops = ops;
	c->ctx = ctx;
	rc = session_listen(base, tls, addr, len, 1u << tls_identity_self(tls)->role, &server_ops, c, &c->listener);
	if (rc) {
		free(c);
		return rc;
	}
	*out = c;
	return 0;
}

void carrier_set_workers(struct carrier *c, uint16_t workers)
{
	c->workers = workers;
}

uint16_t carrier_workers(const struct carrier *c, uint16_t host)
{
	return host < HOSTS_MAX && c->peer[host] && c->peer[host]->inc ? c->peer[host]->workers : 0;
}

void carrier_forget(struct carrier *c, uint16_t host)
{
	struct peer *p = host < HOSTS_MAX ? c->peer[host] : NULL;

	if (!p)
		return;
	c->peer[host] = NULL;
	if (p->s)
		session_free(p->s);
	p->s = NULL;
	ended(p);
	free(p);
}

void carrier_free(struct carrier *c)
{
	if (!c)
		return;
	for (uint16_t i = 0; i < HOSTS_MAX; i++)
		carrier_forget(c, i);
	session_listener_free(c->listener);
	free(c);
}

int carrier_port(const struct carrier *c)
{
	return session_listener_port(c->listener);
}

int carrier_peer(struct carrier *c, uint16_t host, const struct sockaddr *addr, socklen_t len)
{
	struct peer *p;
	int rc = 0;

	if (host == 0 || host >= HOSTS_MAX || host == c->self || len > sizeof(p->addr))
		return -EINVAL;
	p = c->peer[host];
	if (p && p->len == len && !memcmp(&p->addr, addr, len))
		return 0;
	carrier_forget(c, host);
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->c = c;
	p->host = host;
	p->client = c->self < host;
	memcpy(&p->addr, addr, len);
	p->len = len;
	if (p->client)
		rc = session_connect(c->base, c->tls, addr, len, tls_identity_self(c->tls)->role, host, &client_ops, p, &p->s);
	if (rc) {
		free(p);
		return rc;
	}
	c->peer[host] = p;
	return 0;
}

int carrier_send(struct carrier *c, uint16_t host, const struct move_letter *l)
{
	struct peer *p = host < HOSTS_MAX ? c->peer[host] : NULL;
	size_t n = move_letter_len(l);
	uint8_t *bytes;
	int rc;

	if (!p || !p->up || !p->inc)
		return p && p->foreign ? -EPROTONOSUPPORT : -ENOTCONN;
	if (n == 0)
		return -EMSGSIZE;
	if (l->type == LETTER_OFFER && p->leaving)
		return -ESHUTDOWN;
	if (l->type == LETTER_OFFER && p->owed + n > p->window) {
		c->counts.full++;
		return -EAGAIN;
	}
	bytes = malloc(n);
	if (!bytes)
		return -ENOBUFS;
	move_letter_put(l, bytes);
	rc = session_send(p->s, (uint16_t)l->type, bytes, n);
	explicit_bzero(bytes, n); /* keys */
	free(bytes);
	if (rc)
		return rc;
	c->counts.sent[l->type]++;
	if (l->type == LETTER_OFFER)
		p->owed += n;
	return 0;
}

void carrier_taken(struct carrier *c, uint16_t host, uint64_t inc, size_t n)
{
	struct peer *p = host < HOSTS_MAX ? c->peer[host] : NULL;

	if (p && p->up && p->inc == inc)
		credit(p, n);
}

uint64_t carrier_inc(const struct carrier *c, uint16_t host)
{
	return host < HOSTS_MAX && c->peer[host] ? c->peer[host]->inc : 0;
}

bool carrier_takes(const struct carrier *c, uint16_t host)
{
	return carrier_inc(c, host) && !c->peer[host]->leaving;
}

void carrier_leave(struct carrier *c)
{
	unsigned i;

	if (c->leaving)
		return;
	c->leaving = true;
	for (i = 0; i < HOSTS_MAX; i++)
		if (c->peer[i] && c->peer[i]->inc)
			say_leaving(c->peer[i], false);
}

bool carrier_may_end(const struct carrier *c)
{
	unsigned i;

	for (i = 0; i < HOSTS_MAX; i++) {
		const struct peer *p = c->peer[i];

		if (p && p->inc && (!p->understood || session_unsent(p->s)))
			return false;
	}
	return true;
}

const struct carrier_counts *carrier_counts(const struct carrier *c)
{
	return &c->counts;
}
