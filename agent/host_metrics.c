/* SPDX-License-Identifier: BSD-2-Clause */
/* What Prometheus reads from a host's agent. */
#include <stdio.h>
#include <string.h>

#include "agent/host.h"
#include "base/clock.h"

static void services(struct host *h, struct metrics *m, const struct view *v)
{
	metric_family(m, "baton_service_up", METRIC_GAUGE, "1: the VIP's checks pass on this host");
	for (uint32_t i = 0; i < v->pop->n_vips; i++) {
		char why[CHECK_WHY_LEN];
		enum check_verdict verdict = checks_service(h->checks, i, why, sizeof(why));

		if (verdict != CHECK_UNDECIDED)
			metric_sample(m, verdict == CHECK_PASSED, "vip", v->pop->vip[i].name, NULL);
	}
	metric_family(m, "baton_sockets", METRIC_GAUGE, "Clients' TCP sockets on a VIP; time_wait: the young ones");
	for (uint32_t i = 0; h->per_vip && i < v->pop->n_vips && i < h->n_per_vip; i++) {
		const struct socket_counts *c = &h->per_vip[i];
		const char *name = v->pop->vip[i].name;

		metric_sample(m, (double)c->established, "vip", name, "state", "established", NULL);
		metric_sample(m, (double)c->request, "vip", name, "state", "request", NULL);
		metric_sample(m, (double)c->time_wait, "vip", name, "state", "time_wait", NULL);
		metric_sample(m, (double)c->other, "vip", name, "state", "other", NULL);
	}
}

static void datapath(struct host *h, struct metrics *m)
{
	char id[8];

	host_read_counters(h);
	metric_family(m, "baton_datapath_frames_total", METRIC_COUNTER, "Frames judged, by reason");
	for (unsigned i = 0; i < REASON_MAX; i++)
		if (verdict_reason_name((enum verdict_reason)i)[0] && (h->reason[i] || i >= REASON_AT_REST))
			metric_sample(m, (double)h->reason[i], "reason", verdict_reason_name((enum verdict_reason)i), NULL);
	metric_family(m, "baton_detours_sent_total", METRIC_COUNTER, "Frames sent on, by next host");
	for (unsigned i = HOST_ID_MIN; i <= HOST_ID_MAX; i++) {
		snprintf(id, sizeof(id), "%u", i);
		if (h->detour_to[i])
			metric_sample(m, (double)h->detour_to[i], "host", id, NULL);
	}
	metric_family(m, "baton_detours_received_total", METRIC_COUNTER, "Frames that another host sent on to us, by sender");
	for (unsigned i = HOST_ID_MIN; i <= HOST_ID_MAX; i++) {
		snprintf(id, sizeof(id), "%u", i);
		if (h->detour_from[i])
			metric_sample(m, (double)h->detour_from[i], "host", id, NULL);
	}
}

static void proof(struct host *h, struct metrics *m)
{
	const struct proof_stats *s = proof_stats(h->proof);
	static struct proof_result r;

	metric_family(m, "baton_proof_rounds_total", METRIC_COUNTER, "Rounds of the proof that histories are empty");
	metric_sample(m, (double)s->rounds, NULL);
	metric_family(m, "baton_proof_probes_total", METRIC_COUNTER, "Keepalive probes sent for sockets that were silent");
	metric_sample(m, (double)s->probes, NULL);
	metric_family(m, "baton_proof_errors_total", METRIC_COUNTER, "Faults of listing, watching and probing");
	metric_sample(m, (double)(s->errors + s->probe_errors), NULL);
	if (!proof_result(h->proof, monotonic_ms(), &r))
		return;
	metric_family(m, "baton_proof_unknown_sockets", METRIC_GAUGE, "Sockets whose owner is not known yet");
	metric_sample(m, r.unknown, NULL);
}

void host_collect(void *ctx, struct metrics *m)
{
	struct host *h = ctx;
	const struct view *v = follower_view(h->follower);

	metric_family(m, "baton_log_index", METRIC_GAUGE, "Index of the log that this host has installed");
	metric_sample(m, (double)h->installed, NULL);
	metric_family(m, "baton_controller_reachable", METRIC_GAUGE, "1: a controller can be reached");
	metric_sample(m, h->reachable, NULL);
	metric_family(m, "baton_alarms", METRIC_GAUGE, "Alarms that stand; `baton show hosts` has their text");
	metric_sample(m, (double)h->alarms.n, NULL);
	metric_family(m, "baton_link_up", METRIC_GAUGE, "1: the link to a switch has carrier");
	for (size_t i = 0; i < h->links.n; i++)
		metric_sample(m, h->links.link[i].carrier, "interface", h->links.link[i].ifname, NULL);
	metric_family(m, "baton_link_egress", METRIC_GAUGE, "1: replies leave through this link");
	for (size_t i = 0; i < h->links.n; i++)
		metric_sample(m, h->links.link[i].egress, "interface", h->links.link[i].ifname, NULL);
	datapath(h, m);
	proof(h, m);
	if (v)
		services(h, m, v);
}
