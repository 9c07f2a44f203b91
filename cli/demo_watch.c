/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the controller and the load say while the demo runs: the truth behind the picture and the table.
 * How long a drain took is seen from outside: from the operator's word to the state that the log shows.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/ctl.h"
#include "cli/demo.h"

double demo_now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static int number_of(const json_t *o, const char *key)
{
	return (int)json_number_value(json_object_get(o, key));
}

json_t *demo_ask(struct demo *d, json_t *request)
{
	json_t *answer = NULL;
	int err = request ? ctl_call(d->controller, request, 1000, &answer) : -1;

	json_decref(request);
	return err ? NULL : answer;
}

struct demo_host *demo_host(struct demo *d, const char *name)
{
	unsigned i;

	for (i = 0; i < d->n_hosts; i++)
		if (!strcmp(d->host[i].name, name))
			return &d->host[i];
	return NULL;
}

struct demo_drain *demo_drain_begins(struct demo *d, const char *kind, const char *name)
{
	struct demo_drain *r;

	if (d->n_drains == DEMO_DRAINS_MAX)
		return NULL;
	r = &d->drain[d->n_drains++];
	snprintf(r->what, sizeof(r->what), "%s %s", kind, name);
	r->begun_s = demo_now_s();
	r->seconds = -1;
	return r;
}

/* Of a drain that runs, or NULL. */
static struct demo_drain *running(struct demo *d, const char *kind, const char *name)
{
	char what[80];
	unsigned i;

	snprintf(what, sizeof(what), "%s %s", kind, name);
	for (i = d->n_drains; i-- > 0;)
		if (!strcmp(d->drain[i].what, what) && d->drain[i].seconds < 0)
			return &d->drain[i];
	return NULL;
}

/* A change of what the operator wants of an object, as seen in the log. */
static void admin_seen(struct demo *d, const char *kind, const char *name, const char *before, const char *now)
{
	struct demo_drain *r = running(d, kind, name);

	if (!strcmp(now, "draining") && strcmp(before, "draining") && !r)
		demo_drain_begins(d, kind, name);
	/* Nothing is undone in the demo, and a step that is not safe in time ends it: in again means that it was out,
	 * for less than the time between two looks. */
	if (r && (!strcmp(now, "out") || (!strcmp(now, "in") && !strcmp(before, "draining"))))
		r->seconds = demo_now_s() - r->begun_s;
}

static void host_seen(struct demo *d, struct demo_host *h, const json_t *o)
{
	const json_t *sockets = json_object_get(o, "sockets"), *value;
	const char *key;

	admin_seen(d, "host", text_of(o, "name"), h->admin, text_of(o, "admin"));
	snprintf(h->name, sizeof(h->name), "%s", text_of(o, "name"));
	snprintf(h->admin, sizeof(h->admin), "%s", text_of(o, "admin"));
	snprintf(h->health, sizeof(h->health), "%s", text_of(o, "health"));
	h->owned = number_of(o, "owned");
	h->sheltered = number_of(o, "sheltered");
	h->sockets = number_of(sockets, "established") + number_of(sockets, "request") + number_of(sockets, "other");
	h->mine = h->detoured = h->kept_off = 0;
	json_object_foreach(json_object_get((json_t *)(uintptr_t)o, "counters"), key, value) {
		uint64_t n = (uint64_t)json_number_value(value);

		if (!strcmp(key, "mine_detours_off"))
			h->kept_off += n;
		if (!strncmp(key, "detour_", 7))
			h->detoured += n;
		else if (!strncmp(key, "mine_", 5))
			h->mine += n;
	}
}

static void see_hosts(struct demo *d, json_t *answer)
{
	json_t *list = json_object_get(answer, "hosts"), *o;
	size_t i;

	json_array_foreach(list, i, o) {
		if (i == DEMO_HOSTS_MAX)
			break;
		if (i >= d->n_hosts)
			memset(&d->host[i], 0, sizeof(d->host[i]));
		host_seen(d, &d->host[i], o);
		if (i >= d->n_hosts)
			d->n_hosts = (unsigned)i + 1;
	}
}

static void see_switches(struct demo *d, json_t *answer)
{
	json_t *list = json_object_get(answer, "switches"), *o;
	size_t i;

	json_array_foreach(list, i, o) {
		struct demo_switch *s;

		if (i == sizeof(d->sw) / sizeof(d->sw[0]))
			break;
		s = &d->sw[i];
		admin_seen(d, "switch", text_of(o, "name"), s->admin, text_of(o, "admin"));
		snprintf(s->name, sizeof(s->name), "%s", text_of(o, "name"));
		snprintf(s->admin, sizeof(s->admin), "%s", text_of(o, "admin"));
		snprintf(s->fabric, sizeof(s->fabric), "%s", text_of(o, "fabric"));
		s->announcing = json_is_true(json_object_get(o, "announcing"));
		d->n_switches = (unsigned)i + 1;
	}
}

static void see_buckets(struct demo *d, json_t *answer)
{
	json_t *list = json_object_get(answer, "buckets"), *o;
	size_t i;

	json_array_foreach(list, i, o) {
		json_t *hosts = json_object_get(o, "hosts");
		const char *owner = json_string_value(json_array_get(hosts, 0));
		unsigned h;

		if (i == DEMO_BUCKETS_MAX)
			break;
		d->owner[i] = 0;
		for (h = 0; owner && h < d->n_hosts; h++)
			if (!strcmp(d->host[h].name, owner))
				d->owner[i] = (uint8_t)(h + 1);
		d->history[i] = json_array_size(hosts) > 1;
		d->n_buckets = (unsigned)i + 1;
	}
}

void demo_watch(struct demo *d)
{
	static const char *const what[] = { "hosts", "switches", "buckets" };
	void (*const see[])(struct demo *, json_t *) = { see_hosts, see_switches, see_buckets };
	double now = demo_now_s();
	int i;

	if (!d->controller[0] || now - d->asked_s < 0.25)
		return;
	for (i = 0; i < 3; i++) {
		json_t *answer = demo_ask(d, json_pack("{s:s, s:s}", "verb", "show", "what", what[i]));

		if (answer && json_is_true(json_object_get(answer, "ok")))
			see[i](d, answer);
		json_decref(answer);
	}
	demo_watch_answers(d);
	d->asked_s = demo_now_s();
}

static void heard_now(struct demo_heard *h, const json_t *o)
{
	h->counts++;
	h->at_s = demo_now_s();
	h->last = json_is_true(json_object_get(o, "last"));
}

void demo_load_line(void *ctx, const char *text)
{
	struct demo_load *l = ctx;
	json_t *o = json_loads(text, 0, NULL);

	if (!o) {
		fprintf(stderr, "demo: load says: %s\n", text);
		return;
	}
	l->requests = (uint64_t)number_of(o, "requests");
	l->ok = (uint64_t)number_of(o, "ok");
	l->failed = (uint64_t)number_of(o, "failed");
	l->connections = (uint64_t)number_of(o, "connections");
	l->tls = (uint64_t)number_of(o, "tls");
	l->open = (uint64_t)number_of(o, "open");
	l->broken = (uint64_t)number_of(o, "broken");
	l->p99_ms = (uint64_t)number_of(o, "p99_ms");
	json_decref(l->causes);
	l->causes = json_incref(json_object_get(o, "causes"));
	json_decref(l->ok_by_host);
	l->ok_by_host = json_incref(json_object_get(o, "ok_by_host"));
	heard_now(&l->heard, o);
	demo_least_open(l, l->heard.at_s);
	json_decref(o);
}

void demo_wire_line(void *ctx, const char *text)
{
	struct demo *d = ctx;
	json_t *o = json_loads(text, 0, NULL);

	if (!o) {
		fprintf(stderr, "demo: wiretap says: %s\n", text);
		return;
	}
	d->resets = (uint64_t)number_of(o, "resets");
	heard_now(&d->wire_heard, o);
	json_decref(o);
}
