/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The follower: one link to each controller, one state that only ever moves forward along one log.
 * A link says HELLO with where we stand; what comes back must extend it, or the link is halted and
 * an alarm raised: we keep what we have, and packets keep flowing by it.
 */
#include "control/follower.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "control/state.h"
#include "control/ticket_seed.h"
#include "control/wire.h"

#define CACHE_NAME "follower.snapshot"
#define CACHE_DELAY_MS 200
#define UNREACHABLE_MS 3000
#define QUESTIONS_MAX 64

struct link {
	struct follower *f;
	struct controller_conf conf;
	struct session *session;
	bool up, halted;
	unsigned generation; /* counts ups: an answer goes only to the session that asked */
	struct link *next;
};

struct follower_question {
	struct follower *f; /* NULL: the follower is gone */
	struct link *link;
	unsigned generation;
	uint64_t id;
	struct follower_question *next;
};

struct follower {
	struct event_base *base;
	struct tls_identity *tls;
	const struct follower_ops *ops;
	void *ctx;
	char *cache; /* NULL: nothing is kept */
	unsigned cache_slot; /* written last */
	struct state state;
	struct link *links;
	struct follower_question *questions;
	unsigned n_questions;
	uint64_t acked, failed;
	char fail_why[WIRE_TEXT_MAX];
	char *report;
	char alarm[WHY_MAX + NAME_LEN + 64];
	struct event *start, *save, *silence, *relink;
	bool told_unreachable;
};

static void after(struct event *ev, unsigned ms)
{
	struct timeval tv = { ms / 1000, (ms % 1000) * 1000 };

	evtimer_add(ev, &tv);
}

/* --- sending ------------------------------------------------------------------------------------- */

static void send_hello(struct link *l)
{
	const struct state *s = &l->f->state;
	struct wire_hello h = { .version = WIRE_VERSION, .term = s->view.term, .index = s->view.index };
	uint8_t out[WIRE_HELLO_LEN];

	memcpy(h.hash, s->hash, HASH_LEN);
	memcpy(h.log_id, s->log_id, HASH_LEN);
	wire_put_hello(out, &h);
	session_send(l->session, WIRE_HELLO, out, sizeof(out));
}

static void send_ack(struct link *l, uint64_t index)
{
	uint8_t out[8];

	put64(out, index);
	session_send(l->session, WIRE_ACK, out, sizeof(out));
}

static void send_fail(struct link *l, uint64_t index, const char *why)
{
	uint8_t out[8 + WIRE_TEXT_MAX];
	size_t n = strnlen(why, WIRE_TEXT_MAX);

	put64(out, index);
	memcpy(out + 8, why, n);
	session_send(l->session, WIRE_FAIL, out, 8 + n);
}

/* --- cache ---------------------------------------------------------------------------------------- */

/*
 * Two files written in turn, in place: one of them is always whole, and no rename or truncation makes
 * the file system flush (that costs milliseconds on the way to an acknowledgement).  Bytes behind the
 * record are of an older, longer one.  synced: survives a power cut, too.
 */
static void save_cache(struct follower *f, bool synced)
{
	char path[4096];
	size_t len;
	uint8_t *bytes;
	int fd;
	bool ok;

	if (!f->cache || !f->state.config || (bytes = state_snapshot(&f->state, &len)) == NULL)
		return;
	f->cache_slot ^= 1;
	snprintf(path, sizeof(path), "%s.%u", f->cache, f->cache_slot);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	ok = fd >= 0 && pwrite(fd, bytes, len, 0) == (ssize_t)len && (!synced || !fdatasync(fd));
	if (!ok)
		log_warning("cannot save the followed log to %s: %s; a restart without a controller would forget it", path,
			    strerror(errno));
	if (fd >= 0)
		close(fd);
	free(bytes);
}

static void load_slot(struct follower *f, unsigned slot)
{
	char path[4096], why[WHY_MAX];
	struct record r;
	uint8_t *buf;
	unsigned what;
	size_t len;
	int64_t n;

	snprintf(path, sizeof(path), "%s.%u", f->cache, slot);
	if (file_read(path, RECORD_MAX, (char **)&buf, &len))
		return;
	n = record_length(buf, len);
	if (n <= 0 || (size_t)n > len || record_decode(buf, (size_t)n, &r) || r.type != RECORD_SNAPSHOT)
		log_warning("%s is not used: it was cut short; the other copy or a controller has what is needed", path);
	else if (r.index > f->state.view.index && !state_apply(&f->state, &r, &what, why, sizeof(why)))
		f->cache_slot = slot;
	free(buf);
}

static void load_cache(struct follower *f)
{
	load_slot(f, 0);
	load_slot(f, 1);
}

static void on_save(evutil_socket_t fd, short events, void *ctx)
{
	(void)fd;
	(void)events;
	save_cache(ctx, true);
}

/* --- the log -------------------------------------------------------------------------------------- */

static void halt(struct link *l, uint64_t index, const char *why)
{
	struct follower *f = l->f;

	l->halted = true;
	snprintf(f->alarm, sizeof(f->alarm), "controller %s: %s", l->conf.name, why);
	log_error("%s; its log is not followed any further, forwarding goes on as of index %llu", f->alarm,
		  (unsigned long long)f->state.view.index);
	send_fail(l, index, why);
}

static bool same_controllers(const struct follower *f, const struct pop *pop);

static void view_changed(struct follower *f, unsigned what)
{
	f->alarm[0] = 0;
	after(f->save, CACHE_DELAY_MS);
	if ((what & VIEW_POP) && !same_controllers(f, f->state.view.pop))
		after(f->relink, 0);
	f->ops->changed(f->ctx, &f->state.view, what);
}

/* Several records become one change: a batch of the controller is one change of the view. */
static void on_records(struct link *l, const uint8_t *p, size_t len)
{
	struct follower *f = l->f;
	char why[WHY_MAX] = "a record is cut short or its checksum is wrong";
	unsigned what, all = 0;
	int err = 0;

	while (len && !err) {
		struct record r = { 0 };
		int64_t n = record_length(p, len);

		if (n <= 0 || (size_t)n > len || record_decode(p, (size_t)n, &r)) {
			err = -EBADMSG;
			break;
		}
		err = state_apply(&f->state, &r, &what, why, sizeof(why));
		if (!err)
			all |= what;
		if (err == -EALREADY)
			err = 0;
		p += n;
		len -= (size_t)n;
	}
	if (all)
		view_changed(f, all);
	if (err == -ENOENT)
		send_hello(l); /* ask again from where we stand */
	else if (err)
		halt(l, f->state.view.index + 1, why);
}

static void on_conflict(struct link *l, const uint8_t *p, size_t len)
{
	char why[WHY_MAX];

	if (len < 16)
		return;
	snprintf(why, sizeof(why),
		 "its log (term %llu, index %llu) does not hold what was followed so far (term %llu, index %llu); "
		 "if that log is the right one, stop this daemon and remove %s.*",
		 (unsigned long long)get64(p), (unsigned long long)get64(p + 8),
		 (unsigned long long)l->f->state.view.term, (unsigned long long)l->f->state.view.index,
		 l->f->cache ? l->f->cache : "its state");
	halt(l, l->f->state.view.index, why);
}

static void on_ask(struct link *l, const uint8_t *p, size_t len)
{
	struct follower *f = l->f;
	struct follower_question *q;
	json_t *question;

	if (len < 8 || f->n_questions >= QUESTIONS_MAX)
		return; /* the controller's time-out answers for us */
	question = json_loadb((const char *)p + 8, len - 8, 0, NULL);
	q = calloc(1, sizeof(*q));
	if (!json_is_object(question) || !q || !f->ops->ask) {
		json_decref(question);
		free(q);
		return;
	}
	q->f = f;
	q->link = l;
	q->generation = l->generation;
	q->id = get64(p);
	q->next = f->questions;
	f->questions = q;
	f->n_questions++;
	f->ops->ask(f->ctx, question, q);
	json_decref(question);
}

void follower_answer(struct follower_question *q, json_t *answer)
{
	struct follower_question **p;
	struct link *l = NULL;
	char *text = json_dumps(answer, JSON_COMPACT);
	size_t n = text ? strlen(text) : 0;
	uint8_t *out = malloc(8 + n);

	if (q->f) {
		for (p = &q->f->questions; *p && *p != q; p = &(*p)->next)
			;
		if (*p)
			*p = q->next;
		q->f->n_questions--;
		for (l = q->f->links; l && l != q->link; l = l->next)
			;
	}
	if (l && l->up && l->generation == q->generation && text && out) {
		session_send(l->session, WIRE_ANSWER, out, put_numbered(out, q->id, text, n));
	}
	free(out);
	free(text);
	json_decref(answer);
	free(q);
}

static void on_tickets(struct follower *f, const uint8_t *p, size_t len)
{
	struct ticket_seed seed;

	if (f->ops->tickets && !ticket_seed_get(p, len, &seed))
		f->ops->tickets(f->ctx, &seed);
	OPENSSL_cleanse(&seed, sizeof(seed));
}

/* --- links ---------------------------------------------------------------------------------------- */

static int link_up(void *ctx, struct session *s, const struct identity *peer)
{
	struct link *l = ctx;
	struct follower *f = l->f;

	(void)peer;
	l->session = s;
	l->up = true;
	l->halted = false;
	l->generation++;
	evtimer_del(f->silence);
	if (f->told_unreachable && f->ops->reachable)
		f->ops->reachable(f->ctx, true);
	f->told_unreachable = false;
	send_hello(l);
	if (f->acked)
		send_ack(l, f->acked);
	if (f->failed > f->acked)
		send_fail(l, f->failed, f->fail_why);
	if (f->report)
		session_send(s, WIRE_REPORT, f->report, strlen(f->report));
	return 0;
}

static void link_message(void *ctx, struct session *s, uint16_t type, const uint8_t *body, size_t len)
{
	struct link *l = ctx;

	(void)s;
	switch (type) {
	case WIRE_SNAPSHOT:
	case WIRE_ENTRIES:
		if (!l->halted)
			on_records(l, body, len);
		break;
	case WIRE_CONFLICT:
		on_conflict(l, body, len);
		break;
	case WIRE_ASK:
		on_ask(l, body, len);
		break;
	case WIRE_TICKETS:
		on_tickets(l->f, body, len);
		break;
	default: /* a later version's message */
		break;
	}
}

static void link_down(void *ctx, struct session *s, const char *why)
{
	struct link *l = ctx, *i;

	(void)s;
	if (l->up)
		log_warning("controller %s is not reached any more: %s; forwarding goes on", l->conf.name, why);
	l->up = false;
	for (i = l->f->links; i; i = i->next)
		if (i->up)
			return;
	if (!l->f->told_unreachable && !evtimer_pending(l->f->silence, NULL))
		after(l->f->silence, UNREACHABLE_MS);
}

static const struct session_ops link_ops = { link_up, link_message, link_down };

static int link_add(struct follower *f, const struct controller_conf *conf)
{
	struct sockaddr_storage ss = { 0 };
	struct link *l = calloc(1, sizeof(*l));
	socklen_t len;
	int err;

	if (!l)
		return -ENOMEM;
	l->f = f;
	l->conf = *conf;
	ss.ss_family = conf->endpoint.address.family;
	if (ss.ss_family == AF_INET) {
		struct sockaddr_in *in = (struct sockaddr_in *)&ss;

		in->sin_addr = conf->endpoint.address.v4;
		in->sin_port = htons(conf->endpoint.port);
		len = sizeof(*in);
	} else {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&ss;

		in6->sin6_addr = conf->endpoint.address.v6;
		in6->sin6_port = htons(conf->endpoint.port);
		len = sizeof(*in6);
	}
	err = session_connect(f->base, f->tls, (struct sockaddr *)&ss, len, ROLE_CONTROLLER, conf->id, &link_ops, l,
			      &l->session);
	if (err) {
		free(l);
		return err;
	}
	l->next = f->links;
	f->links = l;
	return 0;
}

static bool same_endpoint(const struct controller_conf *a, const struct controller_conf *b)
{
	if (a->id != b->id || a->endpoint.port != b->endpoint.port || a->endpoint.address.family != b->endpoint.address.family)
		return false;
	if (a->endpoint.address.family == AF_INET)
		return a->endpoint.address.v4.s_addr == b->endpoint.address.v4.s_addr;
	return !memcmp(&a->endpoint.address.v6, &b->endpoint.address.v6, sizeof(a->endpoint.address.v6));
}

static bool has_controller(const struct pop *pop, const struct controller_conf *c)
{
	uint32_t i;

	for (i = 0; i < pop->n_controllers; i++)
		if (same_endpoint(&pop->controller[i], c))
			return true;
	return false;
}

static bool has_link(const struct follower *f, const struct controller_conf *c)
{
	const struct link *l;

	for (l = f->links; l; l = l->next)
		if (same_endpoint(&l->conf, c))
			return true;
	return false;
}

static bool same_controllers(const struct follower *f, const struct pop *pop)
{
	const struct link *l;
	uint32_t i;

	for (l = f->links; l; l = l->next)
		if (!has_controller(pop, &l->conf))
			return false;
	for (i = 0; i < pop->n_controllers; i++)
		if (!has_link(f, &pop->controller[i]))
			return false;
	return true;
}

static int links_make(struct follower *f, const struct pop *pop)
{
	struct link **p = &f->links;
	uint32_t i;
	int err = 0;

	while (*p) {
		struct link *l = *p;

		if (has_controller(pop, &l->conf)) {
			p = &l->next;
			continue;
		}
		*p = l->next;
		session_free(l->session);
		free(l);
	}
	for (i = 0; i < pop->n_controllers && !err; i++)
		if (!has_link(f, &pop->controller[i]))
			err = link_add(f, &pop->controller[i]);
	return err;
}

/* Outside of session callbacks: a link must not be freed in its own. */
static void on_relink(evutil_socket_t fd, short events, void *ctx)
{
	struct follower *f = ctx;

	(void)fd;
	(void)events;
	if (f->state.view.pop && links_make(f, f->state.view.pop))
		log_error("cannot connect to a controller of the new configuration; the others are still followed");
}

static void on_silence(evutil_socket_t fd, short events, void *ctx)
{
	struct follower *f = ctx;

	(void)fd;
	(void)events;
	f->told_unreachable = true;
	if (f->ops->reachable)
		f->ops->reachable(f->ctx, false);
}

static void on_start(evutil_socket_t fd, short events, void *ctx)
{
	struct follower *f = ctx;

	(void)fd;
	(void)events;
	/* If a controller was quicker, the view has been told already. */
	if (f->state.config && f->start) {
		event_free(f->start);
		f->start = NULL;
		f->ops->changed(f->ctx, &f->state.view, VIEW_POP | VIEW_TABLE | VIEW_HOSTS | VIEW_SWITCHES | VIEW_VIPS);
	}
}

/* --- the interface -------------------------------------------------------------------------------- */

int follower_new(struct event_base *base, struct tls_identity *tls, const struct pop *boot, const char *state_dir,
		 const struct follower_ops *ops, void *ctx, struct follower **out)
{
	struct follower *f = calloc(1, sizeof(*f));
	int err = -ENOMEM;

	if (!f)
		return err;
	f->base = base;
	f->tls = tls;
	f->ops = ops;
	f->ctx = ctx;
	state_init(&f->state);
	if (state_dir && asprintf(&f->cache, "%s/%s", state_dir, CACHE_NAME) < 0) {
		f->cache = NULL;
		goto fail;
	}
	f->start = evtimer_new(base, on_start, f);
	f->save = evtimer_new(base, on_save, f);
	f->silence = evtimer_new(base, on_silence, f);
	f->relink = evtimer_new(base, on_relink, f);
	if (!f->start || !f->save || !f->silence || !f->relink)
		goto fail;
	if (f->cache)
		load_cache(f);
	/* The log's configuration is newer than the local file. */
	err = links_make(f, f->state.view.pop ? f->state.view.pop : boot);
	if (err)
		goto fail;
	after(f->start, 0);
	after(f->silence, UNREACHABLE_MS);
	*out = f;
	return 0;
fail:
	follower_free(f);
	return err;
}

void follower_free(struct follower *f)
{
	struct follower_question *q;
	struct link *l;

	if (!f)
		return;
	if (f->save && evtimer_pending(f->save, NULL))
		save_cache(f, true);
	for (q = f->questions; q; q = q->next)
		q->f = NULL;
	while ((l = f->links)) {
		f->links = l->next;
		session_free(l->session);
		free(l);
	}
	if (f->start)
		event_free(f->start);
	if (f->save)
		event_free(f->save);
	if (f->silence)
		event_free(f->silence);
	if (f->relink)
		event_free(f->relink);
	state_free(&f->state);
	free(f->cache);
	free(f->report);
	free(f);
}

const struct view *follower_view(const struct follower *f)
{
	return f->state.config ? &f->state.view : NULL;
}

const char *follower_alarm(const struct follower *f)
{
	return f->alarm[0] ? f->alarm : NULL;
}

void follower_ack(struct follower *f, uint64_t index)
{
	struct link *l;

	/* Who acknowledges a state must not come back with an older one: the controller goes on past it.  Written
	 * before, so that it outlives this process; synced shortly after (a machine that lost its power takes longer
	 * to come back, and then its kernel tables are empty). */
	if (index > f->acked && evtimer_pending(f->save, NULL))
		save_cache(f, false);
	f->acked = index;
	for (l = f->links; l; l = l->next)
		if (l->up)
			send_ack(l, index);
}

void follower_fail(struct follower *f, uint64_t index, const char *why)
{
	struct link *l;

	f->failed = index;
	snprintf(f->fail_why, sizeof(f->fail_why), "%s", why);
	for (l = f->links; l; l = l->next)
		if (l->up)
			send_fail(l, index, why);
}

void follower_report(struct follower *f, json_t *report)
{
	struct link *l;
	char *text = json_dumps(report, JSON_COMPACT);

	json_decref(report);
	if (!text)
		return;
	free(f->report);
	f->report = text;
	for (l = f->links; l; l = l->next)
		if (l->up)
			session_send(l->session, WIRE_REPORT, text, strlen(text));
}
