/* SPDX-License-Identifier: BSD-2-Clause */
/* Sessions with switches and hosts: sends them the log, takes acknowledgements and reports, relays questions. */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "control/controld.h"
#include "control/wire.h"

#define ENTRIES_BYTES (1u << 20) /* of records in one message while catching up */

static const char *peer_name(const struct controller *c, const struct identity *who)
{
	const struct pop *pop = c->core.state.view.pop;
	const struct host_conf *h;
	const struct switch_conf *s;

	if (!pop)
		return "?";
	if (who->role == ROLE_SWITCH)
		return (s = pop_switch(pop, who->id)) ? s->name : "?";
	return (h = pop_host(pop, who->id)) ? h->name : "?";
}

static void tell_core(struct peer *p, enum control_event_kind kind, uint64_t index, const char *why)
{
	struct control_event e = { .kind = kind, .role = p->who.role, .id = p->who.id, .index = index, .why = why };

	controller_step(p->c, &e, NULL);
}

struct peer *server_peer(const struct controller *c, enum role role, uint16_t id)
{
	struct peer *p;

	for (p = c->peers; p; p = p->next)
		if (p->who.role == role && p->who.id == id)
			return p;
	return NULL;
}

static void peer_remove(struct peer *p)
{
	struct peer **at;

	for (at = &p->c->peers; *at && *at != p; at = &(*at)->next)
		;
	if (*at)
		*at = p->next;
	session_free(p->session);
	json_decref(p->report);
	free(p);
}

/* The seed as of the epoch before this one: no older ticket can be opened by whoever comes now. */
static void send_tickets(struct peer *p)
{
	struct ticket_seed *seed = &p->c->tickets;
	uint64_t now_s = (uint64_t)time(NULL);
	uint8_t out[TICKET_SEED_LEN];
	int err = 0;

	if (p->who.role != ROLE_HOST && p->who.role != ROLE_EDGE)
		return;
	if (!seed->period_s)
		err = ticket_seed_new(seed, now_s);
	if (err || ticket_seed_advance(seed, now_s / seed->period_s - 1)) {
		log_error("no randomness for session ticket keys: hosts resume only their own sessions");
		return;
	}
	ticket_seed_put(seed, out);
	session_send(p->session, WIRE_TICKETS, out, sizeof(out));
	OPENSSL_cleanse(out, sizeof(out));
}

static int on_up(void *ctx, struct session *s, const struct identity *who)
{
	struct controller *c = ctx;
	const struct pop *pop = c->core.state.view.pop;
	struct peer *p = server_peer(c, who->role, who->id);

	if (!pop || (who->role == ROLE_SWITCH ? !pop_switch(pop, who->id) : !pop_host(pop, who->id)))
		return -ENOENT; /* not in the configuration */
	if (p)
		peer_remove(p); /* the new session is the living one */
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->c = c;
	p->session = s;
	p->who = *who;
	p->next = c->peers;
	c->peers = p;
	session_set_ctx(s, p);
	tell_core(p, CONTROL_CONNECTED, 0, NULL);
	return 0;
}

static void on_down(void *ctx, struct session *s, const char *why)
{
	struct peer *p = ctx;

	(void)s;
	(void)why;
	tell_core(p, CONTROL_GONE, 0, NULL);
	peer_remove(p);
}

static void send_snapshot(struct peer *p)
{
	size_t len;
	uint8_t *bytes = state_snapshot(&p->c->core.state, &len);

	if (bytes && !session_send(p->session, WIRE_SNAPSHOT, bytes, len))
		p->following = true;
	free(bytes);
}

static void send_entries(struct peer *p, uint64_t from)
{
	const struct controller *c = p->c;
	uint64_t index = from, last = c->core.state.view.index;
	uint8_t *buf = malloc(ENTRIES_BYTES + RECORD_MAX);

	if (!buf) {
		p->following = true; /* what comes next shows it the gap: it says HELLO again */
		return;
	}
	while (index <= last) {
		size_t len = 0;

		while (index <= last && len < ENTRIES_BYTES) {
			const struct entry *e = history_at(&c->history, index);

			if (!e) {
				free(buf);
				send_snapshot(p);
				return;
			}
			memcpy(buf + len, e->bytes, e->len);
			len += e->len;
			index++;
		}
		if (session_send(p->session, WIRE_ENTRIES, buf, len))
			break; /* it says HELLO again when it notices the gap */
	}
	free(buf);
	p->following = true;
}

static void on_hello(struct peer *p, const uint8_t *body, size_t len)
{
	const struct state *s = &p->c->core.state;
	const struct entry *e;
	struct wire_hello h;
	uint8_t out[16];

	if (wire_get_hello(body, len, &h))
		return;
	if (!h.index) {
		send_snapshot(p);
		return;
	}
	e = history_at(&p->c->history, h.index);
	if (memcmp(h.log_id, s->log_id, HASH_LEN) || h.index > s->view.index ||
	    (h.index == s->view.index && memcmp(h.hash, s->hash, HASH_LEN)) || (e && memcmp(h.hash, e->r.hash, HASH_LEN))) {
		put64(out, s->view.term);
		put64(out + 8, s->view.index);
		session_send(p->session, WIRE_CONFLICT, out, sizeof(out));
		log_error("%s %s follows another log (index %llu, this one is at %llu): it keeps what it has; if this log "
			  "is the right one, stop its daemon and remove follower.snapshot.* in its state directory",
			  role_name(p->who.role), peer_name(p->c, &p->who), (unsigned long long)h.index,
			  (unsigned long long)s->view.index);
		return;
	}
	if (h.index == s->view.index)
		p->following = true;
	else if (e)
		send_entries(p, h.index + 1);
	else
		send_snapshot(p);
}

static void on_report(struct peer *p, const uint8_t *body, size_t len)
{
	json_t *json = json_loadb((const char *)body, len, 0, NULL);
	struct control_event e = { .kind = CONTROL_REPORTED, .role = p->who.role, .id = p->who.id };
	struct switch_report *sw = malloc(sizeof(*sw));
	struct host_report *host = malloc(sizeof(*host));

	e.switch_report = sw;
	e.host_report = host;
	if (json && sw && host &&
	    !(p->who.role == ROLE_SWITCH ? switch_report_read(json, sw) : host_report_read(json, host))) {
		json_decref(p->report);
		p->report = json;
		controller_step(p->c, &e, NULL);
	} else {
		json_decref(json);
		p->c->refused_bytes += len;
	}
	free(sw);
	free(host);
}

static void on_answer(struct peer *p, const uint8_t *body, size_t len);

static void on_message(void *ctx, struct session *s, uint16_t type, const uint8_t *body, size_t len)
{
	struct peer *p = ctx;
	char why[WIRE_TEXT_MAX + 1];

	(void)s;
	switch (type) {
	case WIRE_HELLO:
		on_hello(p, body, len);
		send_tickets(p);
		break;
	case WIRE_ACK:
		if (len >= 8)
			tell_core(p, CONTROL_ACKED, get64(body), NULL);
		break;
	case WIRE_FAIL:
		if (len < 8)
			break;
		len = len - 8 < WIRE_TEXT_MAX ? len - 8 : WIRE_TEXT_MAX;
		memcpy(why, body + 8, len);
		why[len] = 0;
		log_error("%s %s could not install index %llu: %s", role_name(p->who.role), peer_name(p->c, &p->who),
			  (unsigned long long)get64(body), why);
		tell_core(p, CONTROL_FAILED, get64(body), why);
		break;
	case WIRE_REPORT:
		on_report(p, body, len);
		break;
	case WIRE_ANSWER:
		on_answer(p, body, len);
		break;
	default:
		p->c->refused_bytes += len;
	}
}

static const struct session_ops server_ops = { on_up, on_message, on_down };

void server_broadcast(struct controller *c, const uint8_t *bytes, size_t len)
{
	struct peer *p;

	/* A queue that is full loses these; the next records show the gap, and the follower asks again.
	 * Switches first: moves wait for them. */
	for (p = c->peers; p; p = p->next)
		if (p->following && p->who.role == ROLE_SWITCH)
			session_send(p->session, WIRE_ENTRIES, bytes, len);
	for (p = c->peers; p; p = p->next)
		if (p->following && p->who.role != ROLE_SWITCH)
			session_send(p->session, WIRE_ENTRIES, bytes, len);
}

/* --- questions ------------------------------------------------------------------------------------ */

static json_t *collect(struct inquiry *q, enum role role, json_t *silent)
{
	const struct pop *pop = q->c->core.state.view.pop;
	uint32_t i, n = role == ROLE_SWITCH ? pop->n_switches : pop->n_hosts;
	json_t *list = json_array();
	char key[32];

	for (i = 0; i < n; i++) {
		uint16_t id = role == ROLE_SWITCH ? pop->switches[i].id : pop->host[i].id;
		const char *name = role == ROLE_SWITCH ? pop->switches[i].name : pop->host[i].name;
		json_t *a;

		snprintf(key, sizeof(key), "%d/%u", (int)role, id);
		a = json_object_get(q->answers, key);
		if (json_is_object(a))
			json_array_append_new(list, json_pack("{s:s, s:O}", "name", name, "answer", a));
		else if (a)
			json_array_append_new(silent, json_string(name));
	}
	return list;
}

static void inquiry_end(struct inquiry *q)
{
	json_t *silent = json_array(), *answer = json_object();
	struct inquiry **at;

	for (at = &q->c->inquiries; *at && *at != q; at = &(*at)->next)
		;
	if (*at)
		*at = q->next;
	json_object_set_new(answer, "index", json_integer((json_int_t)q->c->core.state.view.index));
	if (q->switches)
		json_object_set_new(answer, "switches", collect(q, ROLE_SWITCH, silent));
	json_object_set_new(answer, "hosts", collect(q, ROLE_HOST, silent));
	json_object_set_new(answer, "silent", silent);
	ctl_answer(q->request, answer);
	json_decref(q->answers);
	event_free(q->timeout);
	free(q);
}

static void on_timeout(evutil_socket_t fd, short events, void *ctx)
{
	(void)fd;
	(void)events;
	inquiry_end(ctx);
}

static void on_answer(struct peer *p, const uint8_t *body, size_t len)
{
	struct inquiry *q;
	json_t *a, *slot;
	char key[32];

	if (len < 8)
		return;
	for (q = p->c->inquiries; q && q->id != get64(body); q = q->next)
		;
	if (!q)
		return;
	snprintf(key, sizeof(key), "%d/%u", (int)p->who.role, p->who.id);
	slot = json_object_get(q->answers, key);
	a = json_loadb((const char *)body + 8, len - 8, 0, NULL);
	if (json_is_object(a) && json_is_null(slot)) {
		json_object_set(q->answers, key, a);
		q->missing--;
	}
	json_decref(a);
	if (!q->missing)
		inquiry_end(q);
}

static void ask_one(struct inquiry *q, enum role role, uint16_t id, const uint8_t *bytes, size_t len)
{
	struct peer *p = server_peer(q->c, role, id);
	char key[32];

	snprintf(key, sizeof(key), "%d/%u", (int)role, id);
	json_object_set_new(q->answers, key, json_null());
	if (p && !session_send(p->session, WIRE_ASK, bytes, len))
		q->missing++;
}

void server_ask(struct controller *c, json_t *question, bool switches, uint16_t only, struct ctl_request *r)
{
	const struct pop *pop = c->core.state.view.pop;
	struct timeval tv = { ASK_TIMEOUT_MS / 1000, 0 };
	struct inquiry *q = calloc(1, sizeof(*q));
	char *text = json_dumps(question, JSON_COMPACT);
	size_t n = text ? strlen(text) : 0;
	uint8_t *bytes = malloc(8 + n);
	uint32_t i;

	if (!q || !text || !bytes || !(q->timeout = evtimer_new(c->d.base, on_timeout, q))) {
		ctl_refuse(r, "no memory", "free some memory");
		free(q);
		free(text);
		free(bytes);
		return;
	}
	q->c = c;
	q->id = ++c->next_inquiry;
	q->request = r;
	q->switches = switches;
	q->answers = json_object();
	put_numbered(bytes, q->id, text, n);
	for (i = 0; switches && i < pop->n_switches; i++)
		ask_one(q, ROLE_SWITCH, pop->switches[i].id, bytes, 8 + n);
	for (i = 0; i < pop->n_hosts; i++)
		if (only == HOST_NONE || only == pop->host[i].id)
			ask_one(q, ROLE_HOST, pop->host[i].id, bytes, 8 + n);
	free(text);
	free(bytes);
	q->next = c->inquiries;
	c->inquiries = q;
	evtimer_add(q->timeout, &tv);
	if (!q->missing)
		inquiry_end(q);
}

/* --- start and stop ------------------------------------------------------------------------------- */

int server_start(struct controller *c, char *why, size_t why_len)
{
	const struct pop *pop = c->core.state.view.pop;
	const struct identity *self = tls_identity_self(c->d.tls);
	struct sockaddr_storage ss;
	socklen_t len;
	uint32_t i;
	int err;

	for (i = 0; i < pop->n_controllers && pop->controller[i].id != self->id; i++)
		;
	if (self->role != ROLE_CONTROLLER || i == pop->n_controllers) {
		snprintf(why, why_len, "our certificate is for %s %u, which is no controller of POP %s", role_name(self->role),
			 self->id, pop->name);
		return -EINVAL;
	}
	len = endpoint_sockaddr(&pop->controller[i].endpoint, &ss);
	err = session_listen(c->d.base, c->d.tls, (struct sockaddr *)&ss, len, 1u << ROLE_SWITCH | 1u << ROLE_HOST | 1u << ROLE_EDGE, &server_ops,
			     c, &c->listener);
	if (err)
		snprintf(why, why_len, "cannot listen for switches and hosts: %s", strerror(-err));
	return err;
}

void server_stop(struct controller *c)
{
	struct inquiry *q;
	struct peer *p;

	while ((q = c->inquiries)) {
		c->inquiries = q->next;
		inquiry_end(q);
	}
	while ((p = c->peers)) {
		c->peers = p->next;
		peer_remove(p);
	}
	if (c->listener)
		session_listener_free(c->listener);
	c->listener = NULL;
}
