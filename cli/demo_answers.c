/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who answers: each front end says how many requests it has proxied to other hosts, how many its own host's server has
 * answered, and how many it has handed off, connection and all, to the host that answers.  A front end that is started
 * again counts from 0, so what its lives before have said is kept.
 */
#include <stdio.h>

#include "base/ctl.h"
#include "cli/demo.h"

static const char *const answer_name[DEMO_ANSWERS] = { "proxied", "here", "given", "resumed", "lost", "taken", "refused", "reset" };

static void heard(struct demo_answers *a, const json_t *said)
{
	uint64_t now[DEMO_ANSWERS];
	bool less = false;
	int i;

	for (i = 0; i < DEMO_ANSWERS; i++) {
		now[i] = (uint64_t)json_integer_value(json_object_get(said, answer_name[i]));
		less |= now[i] < a->now[i];
	}
	for (i = 0; i < DEMO_ANSWERS; i++) {
		if (less)
			a->before[i] += a->now[i];
		a->now[i] = now[i];
	}
}

void demo_watch_answers(struct demo *d)
{
	unsigned i;

	if (!d->handoff || demo_now_s() - d->answers_s < 1)
		return;
	for (i = 0; i < d->n_hosts; i++) {
		json_t *answer = NULL, *request = json_pack("{s:s}", "verb", "status"), *said;
		char path[DEMO_PATH + 64];

		snprintf(path, sizeof(path), "%s/%s/run/l7d.sock", d->dir, d->host[i].name);
		if (!ctl_call(path, request, 500, &answer) && (said = json_object_get(answer, "handoffs")))
			heard(&d->host[i].answers, said);
		json_decref(request);
		json_decref(answer);
	}
	d->answers_s = demo_now_s();
}

uint64_t demo_answers(const struct demo_host *h, int which)
{
	return h->answers.before[which] + h->answers.now[which];
}

uint64_t demo_answered(const struct demo *d, const char *host)
{
	return (uint64_t)json_integer_value(json_object_get(d->brief.ok_by_host, host)) +
	       (uint64_t)json_integer_value(json_object_get(d->lasting.ok_by_host, host));
}

void demo_answers_all(const struct demo *d, uint64_t sum[DEMO_ANSWERS])
{
	unsigned i;
	int k;

	for (k = 0; k < DEMO_ANSWERS; k++)
		for (sum[k] = 0, i = 0; i < d->n_hosts; i++)
			sum[k] += demo_answers(&d->host[i], k);
}

double demo_direct_share(const uint64_t sum[DEMO_ANSWERS])
{
	uint64_t direct = sum[ANSWER_HERE] + sum[ANSWER_GIVEN], all = direct + sum[ANSWER_PROXIED];

	return all ? (double)direct / (double)all : 0;
}

void demo_answers_table(const struct demo *d)
{
	unsigned i;

	printf("%-6s %12s %10s %18s %12s %8s %8s\n", "host", "its answers", "at home", "proxied to others", "handed off", "taken", "refused");
	for (i = 0; i < d->n_hosts; i++) {
		const struct demo_host *h = &d->host[i];

		printf("%-6s %12llu %10llu %18llu %12llu %8llu %8llu\n", h->name, (unsigned long long)demo_answered(d, h->name),
		       (unsigned long long)demo_answers(h, ANSWER_HERE), (unsigned long long)demo_answers(h, ANSWER_PROXIED),
		       (unsigned long long)demo_answers(h, ANSWER_GIVEN),
		       (unsigned long long)demo_answers(h, ANSWER_TAKEN), (unsigned long long)demo_answers(h, ANSWER_REFUSED));
	}
	printf("\n");
}

json_t *demo_answers_json(const struct demo *d, const uint64_t sum[DEMO_ANSWERS])
{
	json_t *o = json_object(), *hosts = json_object();
	unsigned i;
	int k;

	for (k = 0; k < DEMO_ANSWERS; k++)
		json_object_set_new(o, answer_name[k], json_integer((json_int_t)sum[k]));
	json_object_set_new(o, "direct_share", json_real(demo_direct_share(sum)));
	for (i = 0; i < d->n_hosts; i++) {
		json_t *one = json_object();

		json_object_set_new(one, "answered", json_integer((json_int_t)demo_answered(d, d->host[i].name)));

		for (k = 0; k < DEMO_ANSWERS; k++)
			json_object_set_new(one, answer_name[k], json_integer((json_int_t)demo_answers(&d->host[i], k)));
		json_object_set_new(hosts, d->host[i].name, one);
	}
	json_object_set_new(o, "hosts", hosts);
	return o;
}
