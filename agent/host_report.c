/* SPDX-License-Identifier: BSD-2-Clause */
/* The report of this host, in the shape of control/report.h. */
#include <stdio.h>
#include <string.h>

#include "agent/host.h"
#include "base/clock.h"

static json_t *number(uint64_t n)
{
	return json_integer((json_int_t)n);
}

/* A time of the data path's clock as an age; -1: never. */
static json_t *age(uint64_t then_ns, uint64_t now_ms)
{
	uint64_t then = then_ns / 1000000;

	return json_integer(!then_ns ? -1 : then < now_ms ? (json_int_t)(now_ms - then) : 0);
}

static json_t *services(const struct host *h, const struct view *v)
{
	json_t *all = json_object();

	for (uint32_t i = 0; i < v->pop->n_vips; i++) {
		char why[CHECK_WHY_LEN];
		enum check_verdict verdict = checks_service(h->checks, i, why, sizeof(why));

		/* Not judged yet is no verdict: an agent that starts says nothing rather than something wrong. */
		if (verdict != CHECK_UNDECIDED)
			json_object_set_new(all, v->pop->vip[i].name,
					    json_pack("{s:b, s:s}", "ok", verdict == CHECK_PASSED, "why", why));
	}
	return all;
}

static void add_proof(struct host *h, json_t *report, uint64_t now_ms)
{
	static struct proof_result r; /* large; one thread */
	json_t *via;

	if (!proof_result(h->proof, now_ms, &r))
		return;
	via = json_object();
	for (unsigned id = HOST_ID_MIN; id <= HOST_ID_MAX; id++) {
		char key[8];

		uint32_t rows = rows_left_via(&h->rows, (uint16_t)id, now_ms - r.age_ms);

		if (!r.via[id] && !rows)
			continue;
		snprintf(key, sizeof(key), "%u", id);
		json_object_set_new(via, key, number((uint64_t)r.via[id] + rows));
	}
	json_object_set_new(report, "via", via);
	json_object_set_new(report, "via_unknown", number(r.unknown));
	json_object_set_new(report, "via_index", number(r.index));
	json_object_set_new(report, "via_ms", number(r.age_ms));
}

static uint64_t later(uint64_t a_ns, uint64_t b_ns)
{
	return a_ns > b_ns ? a_ns : b_ns;
}

void host_read_counters(struct host *h)
{
	const struct datapath_counters before = h->counters;

	h->counters.reason = h->reason;
	h->counters.n_reasons = REASON_MAX;
	h->counters.detour_to = h->detour_to;
	h->counters.detour_from = h->detour_from;
	if (h->datapath)
		h->datapath_lost |= h->ops->counters(h->datapath, &h->counters) == -ESTALE; /* of any error: the values before stand */
	/* Times do not go back: after a swap the new data path says "never" of what the old one has seen. */
	h->counters.last_detour_in_ns = later(before.last_detour_in_ns, h->counters.last_detour_in_ns);
	h->counters.last_detour_out_ns = later(before.last_detour_out_ns, h->counters.last_detour_out_ns);
	h->counters.last_cookie_ns = later(before.last_cookie_ns, h->counters.last_cookie_ns);
}

static json_t *counters(const struct host *h)
{
	json_t *all = json_object();

	for (unsigned i = 0; i < REASON_MAX; i++)
		if (h->reason[i] && verdict_reason_name((enum verdict_reason)i)[0])
			json_object_set_new(all, verdict_reason_name((enum verdict_reason)i), number(h->reason[i]));
	return all;
}

json_t *host_report(struct host *h, uint64_t now_ms)
{
	const struct view *v = follower_view(h->follower);
	json_t *r, *alarms = json_array();
	uint64_t cookie_ns;

	host_read_counters(h);
	for (size_t i = 0; i < h->alarms.n; i++)
		json_array_append_new(alarms, json_string_nocheck(h->alarms.text[i]));
	cookie_ns = h->cookie_ms * 1000000 > h->counters.last_cookie_ns ? h->cookie_ms * 1000000 : h->counters.last_cookie_ns;
	r = json_pack("{s:s, s:s, s:o, s:s, s:{s:I, s:I, s:I, s:I}, s:i, s:o}", "type", "host", "boot", h->boot, "services",
		      v ? services(h, v) : json_object(), "datapath", h->datapath ? h->ops->name : "none", "sockets",
		      "established", (json_int_t)h->sockets.established, "request", (json_int_t)h->sockets.request, "time_wait",
		      (json_int_t)h->sockets.time_wait, "other", (json_int_t)h->sockets.other, "rows", (int)h->rows.n, "alarms", alarms);
	if (!r)
		return NULL;
	json_object_set_new(r, "cookie_ms", age(cookie_ns, now_ms));
	json_object_set_new(r, "detour_in_ms", age(h->counters.last_detour_in_ns, now_ms));
	json_object_set_new(r, "detour_out_ms", age(h->counters.last_detour_out_ns, now_ms));
	json_object_set_new(r, "proxied", number(h->proxied));
	json_object_set_new(r, "counters", counters(h));
	add_proof(h, r, now_ms);
	return r;
}
