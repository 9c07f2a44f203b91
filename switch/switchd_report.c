/* SPDX-License-Identifier: BSD-2-Clause */
/* What baton-switchd tells of itself: the report to the controller (control/report.h), and metrics. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "bgp/speaker.h"
#include "switch/proof.h"
#include "switch/switchd.h"

/* When packets to VIPs were last seen, to the precision of how often we look. */
static uint64_t vip_silence_ms(struct switchd *s)
{
	uint64_t now = monotonic_ms(), packets = 0;

	if (!s->fabric || s->ops->vip_packets(s->fabric, &packets))
		return 0;
	if (packets != s->vip_packets || !s->vip_packets_ms) {
		s->vip_packets = packets;
		s->vip_packets_ms = now;
	}
	return now - s->vip_packets_ms;
}

static bool announcing(const struct switchd *s)
{
	const struct speaker_status *st = s->speaker ? speaker_status(s->speaker) : NULL;
	const struct switch_conf *sw = switchd_conf(s);

	if (!st || !sw || !s->installed || switchd_proof(s) != PROOF_EQUAL || !st->in_kernel)
		return false;
	return !sw->bird_socket[0] || (st->bird_reached && st->exported);
}

static json_t *hosts_of(const struct switchd *s, const struct switch_conf *sw)
{
	json_t *hosts = json_object();

	for (uint32_t i = 0; sw && s->probe && i < sw->n_ports; i++) {
		char id[8];

		if (sw->port[i].host == HOST_NONE)
			continue;
		snprintf(id, sizeof(id), "%u", sw->port[i].host);
		json_object_set_new(hosts, id,
				    json_pack("{s:b, s:b}", "carrier", host_probe_carrier(s->probe)[i], "datapath",
					      host_probe_answers(s->probe, i)));
	}
	return hosts;
}

static void alarm_add(json_t *alarms, const char *text)
{
	if (text && text[0])
		json_array_append_new(alarms, json_string(text));
}

/* What an operator must know of the buckets; empty when all is well. */
static void buckets_why(const struct switchd *s, char *why, size_t len)
{
	const struct view *v = follower_view(s->follower);

	snprintf(why, len, "%s", s->proof_why);
	if (switchd_proof(s) == PROOF_DIFFERENT)
		snprintf(why, len,
			 "its buckets (%016llx) are not those of the switches that announce (%016llx): run the same version "
			 "and seed on all%s%s",
			 (unsigned long long)s->buckets.all, (unsigned long long)v->buckets, s->proof_why[0] ? "; " : "",
			 s->proof_why);
}

json_t *switchd_report(struct switchd *s)
{
	const struct view *v = follower_view(s->follower);
	const struct switch_conf *sw = switchd_conf(s);
	uint64_t silence = vip_silence_ms(s);
	bool out = v && v->switch_admin[s->id] == ADMIN_OUT, in = announcing(s);
	json_t *alarms = json_array(), *r;
	char why[sizeof(s->proof_why) + 160], digest[17];

	buckets_why(s, why, sizeof(why));
	snprintf(digest, sizeof(digest), "%016llx", (unsigned long long)s->buckets.all);
	alarm_add(alarms, s->fabric_why);
	alarm_add(alarms, why);
	alarm_add(alarms, follower_alarm(s->follower));
	if (s->speaker)
		alarm_add(alarms, speaker_status(s->speaker)->why);
	r = json_pack("{s:s, s:s, s:b, s:b, s:b, s:s, s:s, s:I, s:I, s:o, s:o}", "type", "switch", "boot", s->boot, "announcing",
		      in && !out, "drained",
		      out && v && silence >= v->pop->policy.silence_ms && s->speaker &&
			      speaker_status(s->speaker)->in_kernel,
		      "buckets_proven", switchd_proof(s) == PROOF_EQUAL, "buckets_why", why, "hash_family", HASH_FAMILY,
		      "hash_seed", (json_int_t)s->want.hash_seed, "vip_packets", (json_int_t)s->vip_packets, "hosts",
		      hosts_of(s, sw), "alarms", alarms);
	if (s->buckets.all)
		json_object_set_new(r, "buckets", json_string(digest));
	return r;
}

static void collect_ports(struct switchd *s, struct metrics *m)
{
	const struct switch_conf *sw = switchd_conf(s);

	metric_family(m, "baton_switch_port_carrier", METRIC_GAUGE, "1 if the port has carrier");
	for (uint32_t i = 0; sw && s->probe && i < sw->n_ports; i++)
		metric_sample(m, host_probe_carrier(s->probe)[i], "port", sw->port[i].ifname, NULL);
	metric_family(m, "baton_switch_host_datapath", METRIC_GAUGE, "1 if the host's data path answers probes");
	for (uint32_t i = 0; sw && s->probe && i < sw->n_ports; i++) {
		const struct host_conf *h = pop_host(follower_view(s->follower)->pop, sw->port[i].host);

		if (h)
			metric_sample(m, host_probe_answers(s->probe, i), "host", h->name, NULL);
	}
}

static void collect_applies(const struct switchd *s, struct metrics *m)
{
	metric_family(m, "baton_switch_table_failures_total", METRIC_COUNTER, "Table changes that could not be installed");
	metric_sample(m, (double)s->apply_failures, NULL);
	metric_family(m, "baton_switch_table_apply_seconds", METRIC_HISTOGRAM, "How long table changes took");
	metric_histogram(m, apply_bucket_seconds, s->apply_bucket, APPLY_BUCKETS, (double)s->apply_ns_sum / 1e9, NULL);
	metric_family(m, "baton_switch_table_changes_total", METRIC_COUNTER, "Table changes installed or tried");
	metric_sample(m, (double)s->applies, NULL);
	metric_family(m, "baton_switch_installed_index", METRIC_GAUGE, "Log index that is installed");
	metric_sample(m, (double)s->installed_index, NULL);
}

void switchd_collect(void *ctx, struct metrics *m)
{
	struct switchd *s = ctx;
	struct fabric_counter c[FABRIC_COUNTERS_MAX];
	size_t n = s->fabric ? s->ops->counters(s->fabric, c, FABRIC_COUNTERS_MAX) : 0;

	metric_family(m, "baton_switch_packets_total", METRIC_COUNTER, "Packets by what became of them");
	for (size_t i = 0; i < n; i++)
		metric_sample(m, (double)c[i].packets, "reason", c[i].name, NULL);
	metric_family(m, "baton_switch_buckets_proven", METRIC_GAUGE, "1 if bucket equality is proven");
	metric_sample(m, switchd_proof(s) == PROOF_EQUAL, NULL);
	metric_family(m, "baton_switch_announcing", METRIC_GAUGE, "1 if VIPs are announced");
	metric_sample(m, announcing(s), NULL);
	metric_family(m, "baton_switch_controller_reachable", METRIC_GAUGE, "1 if a controller can be reached");
	metric_sample(m, s->reachable, NULL);
	collect_applies(s, m);
	collect_ports(s, m);
}
