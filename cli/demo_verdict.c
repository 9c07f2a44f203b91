/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the demo has shown: the table for people, build/demo.json for programs, and whether it is a proof.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli/demo.h"

static double detour_share(const struct outcome *o)
{
	return o->mine + o->detoured ? (double)o->detoured / (double)(o->mine + o->detoured) : 0;
}

void demo_print_table(const struct demo *d, const struct outcome *o, unsigned n_drains)
{
	unsigned i;

	if (d->tty)
		printf("\n");
	printf("\n%-34s %12s %12s\n", "", "with detours", "the control");
	printf("%-34s %12llu %12llu\n", "requests", (unsigned long long)o->drains.requests, (unsigned long long)o->control.requests);
	printf("%-34s %12llu %12llu\n", "failed", (unsigned long long)o->drains.failed, (unsigned long long)o->control.failed);
	if (*o->causes)
		printf("  %s\n", o->causes);
	printf("%-34s %12llu %12llu\n", "long connections", (unsigned long long)o->drains.connections,
	       (unsigned long long)o->control.connections);
	printf("%-34s %12llu %12llu\n", "connections over TLS 1.3", (unsigned long long)o->drains.tls, (unsigned long long)o->control.tls);
	printf("%-34s %12llu\n", "long ones open at one time, least", (unsigned long long)o->least_open);
	printf("%-34s %12llu %12llu\n", "broken", (unsigned long long)o->drains.broken, (unsigned long long)o->control.broken);
	printf("%-34s %12llu %12llu\n", "resets of load flows on the wire", (unsigned long long)o->drains.resets,
	       (unsigned long long)o->control.resets);
	printf("%-34s %11.2f%%\n", "packets that took a detour", 100 * detour_share(o));
	if (o->handoff) {
		printf("%-34s %12llu\n", "answers through another host", (unsigned long long)o->answers[ANSWER_PROXIED]);
		printf("%-34s %12llu\n", "answers by the host of the client", (unsigned long long)o->answers[ANSWER_HERE]);
		printf("%-34s %12llu\n", "connections handed off", (unsigned long long)o->answers[ANSWER_GIVEN]);
		printf("%-34s %12llu\n", "hand-offs refused, so proxied", (unsigned long long)o->answers[ANSWER_RESUMED]);
		printf("%-34s %12llu\n", "lost in a hand-off, or reset after", (unsigned long long)o->answers[ANSWER_LOST] + (unsigned long long)o->answers[ANSWER_RESET]);
		printf("%-34s %11.2f%%\n", "answers straight from their host", 100 * demo_direct_share(o->answers));
	}
	printf("\n");
	for (i = 0; i < n_drains; i++)
		printf("drain of %-12s safe after %5.1f s\n", d->drain[i].what, d->drain[i].seconds);
	printf("\n");
	if (o->handoff)
		demo_answers_table(d);
}

static json_t *toll_json(const struct toll *t)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "requests", (json_int_t)t->requests, "failed", (json_int_t)t->failed,
			 "long_connections", (json_int_t)t->connections, "tls_connections", (json_int_t)t->tls, "broken", (json_int_t)t->broken, "resets",
			 (json_int_t)t->resets);
}

int demo_write_json(struct demo *d, const struct outcome *o, unsigned n_drains, bool passed)
{
	char path[DEMO_PATH + 16];
	json_t *root = toll_json(&o->drains), *drains = json_array();
	unsigned i;
	int err;

	for (i = 0; i < n_drains; i++)
		json_array_append_new(drains, json_pack("{s:s, s:f}", "what", d->drain[i].what, "seconds", d->drain[i].seconds));
	json_object_set_new(root, "long_connections_least", json_integer((json_int_t)o->least_open));
	json_object_set_new(root, "short_requests_answered", json_integer((json_int_t)o->answered));
	json_object_set_new(root, "short_requests_due", json_integer((json_int_t)o->due));
	json_object_set_new(root, "drains", drains);
	json_object_set_new(root, "detour_share", json_real(detour_share(o)));
	if (o->handoff)
		json_object_set_new(root, "handoffs", demo_answers_json(d, o->answers));
	if (*o->causes)
		json_object_set_new(root, "causes", json_string(o->causes));
	json_object_set_new(root, "control", toll_json(&o->control));
	json_object_set_new(root, "seconds", json_real(o->seconds));
	json_object_set_new(root, "passed", json_boolean(passed));
	if (!passed)
		json_object_set_new(root, "why", json_string(o->why));
	snprintf(path, sizeof(path), "%.*s/demo.json", (int)(strrchr(d->self, '/') - d->self), d->self);
	err = json_dump_file(root, path, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
	if (err)
		fprintf(stderr, "baton demo: %s: cannot be written\n", path);
	d->verdict = root;
	return err;
}

/* One reason of several, each said when it is found and again, in short, at the very end. */
static void unproven(struct outcome *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void unproven(struct outcome *o, const char *fmt, ...)
{
	size_t have = strlen(o->why);
	va_list ap;

	va_start(ap, fmt);
	snprintf(o->why + have, sizeof(o->why) - have, "%s", have ? "; " : "");
	have = strlen(o->why);
	vsnprintf(o->why + have, sizeof(o->why) - have, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\nbaton demo: %s\n", o->why + have);
}

bool demo_proven(struct outcome *o)
{
	const struct toll *t = &o->drains;

	o->why[0] = 0;
	if (t->failed || t->broken || t->resets)
		unproven(o, "something broke in the drains: %llu failed, %llu long connections broken, %llu resets%s%s%s",
			 (unsigned long long)t->failed, (unsigned long long)t->broken, (unsigned long long)t->resets, *o->causes ? " (" : "",
			 o->causes, *o->causes ? ")" : "");
	if (o->answered * 5 < o->due * 4)
		unproven(o, "%llu short requests were answered, %llu were due: too little load to prove anything",
			 (unsigned long long)o->answered, (unsigned long long)o->due);
	if (o->least_open < DEMO_LONG_CONNECTIONS || o->least_open == UINT64_MAX)
		unproven(o, "only %llu long connections were open at one time, not %d", (unsigned long long)o->least_open,
			 DEMO_LONG_CONNECTIONS);
	if (!t->tls)
		unproven(o, "no connection spoke TLS: that half of the front end has shown nothing");
	if (o->handoff && o->answers[ANSWER_LOST] + o->answers[ANSWER_RESET])
		unproven(o, "%llu connections were lost in a hand-off, %llu were reset after one", (unsigned long long)o->answers[ANSWER_LOST],
			 (unsigned long long)o->answers[ANSWER_RESET]);
	if (o->handoff && !o->answers[ANSWER_GIVEN])
		unproven(o, "no connection was handed off, so nothing is shown about that");
	if (!o->detoured)
		unproven(o, "no packet took a detour, so the drains prove nothing");
	if (!o->control.broken || !o->control.resets)
		unproven(o, "the control broke %llu connections and %llu resets were seen: neither may be 0, or the figures prove nothing",
			 (unsigned long long)o->control.broken, (unsigned long long)o->control.resets);
	return !o->why[0];
}
