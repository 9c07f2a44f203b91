/* SPDX-License-Identifier: BSD-2-Clause */
/* What the controller tells, as JSON (docs/formats.md section 1), and as metrics. */
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/controld.h"

static const char *const admin_word[] = { "in", "draining", "out" };
static const char *const health_word[] = { "up", "sick", "dead" };
static const char *const standing_word[] = { "gone", "retiring", "serving" };
static const char *const fabric_word[] = { "netlink", "xdp", "paced" };

static void set_int(json_t *o, const char *key, uint64_t v)
{
	json_object_set_new(o, key, json_integer((json_int_t)v));
}

static void set_str(json_t *o, const char *key, const char *v)
{
	json_object_set_new(o, key, json_string(v));
}

/* What somebody typed: not surely UTF-8. */
static void set_text(json_t *o, const char *key, const char *v)
{
	json_t *s = json_string(v);

	json_object_set_new(o, key, s ? s : json_string("(not UTF-8)"));
}

static void set_bool(json_t *o, const char *key, bool v)
{
	json_object_set_new(o, key, json_boolean(v));
}

static json_t *hex(const uint8_t hash[HASH_LEN])
{
	char text[2 * HASH_LEN + 1];
	size_t i;

	for (i = 0; i < HASH_LEN; i++)
		snprintf(text + 2 * i, 3, "%02x", hash[i]);
	return json_string(text);
}

static json_t *seconds(uint64_t ms)
{
	return json_real((double)ms / 1000);
}

const char *host_word(const struct controller *c, uint16_t id)
{
	const struct host_conf *h = pop_host(c->core.state.view.pop, id);

	return h ? h->name : "?";
}

static json_t *blocked(const struct controller *c)
{
	struct blocked *b = calloc(POP_SWITCHES_MAX + HOST_ID_MAX, sizeof(*b));
	json_t *list = json_array();
	size_t i, n = b ? control_blocked(&c->core, b, POP_SWITCHES_MAX + HOST_ID_MAX) : 0;

	for (i = 0; i < n; i++) {
		const struct switch_conf *s = b[i].host_id ? NULL : pop_switch(c->core.state.view.pop, b[i].switch_id);

		json_array_append_new(list, json_pack("{s:s, s:s, s:o}", b[i].host_id ? "host" : "switch",
						      b[i].host_id ? host_word(c, b[i].host_id) : s ? s->name : "?", "why", b[i].why,
						      "for_s", seconds(b[i].for_ms)));
	}
	free(b);
	return list;
}

json_t *show_status(struct controller *c)
{
	const struct control *k = &c->core;
	const struct view *v = &k->state.view;
	const struct store_info *info = store_info(c->log);
	unsigned health[3] = { 0 }, admin[3] = { 0 }, sw_admin[3] = { 0 }, connected = 0, announcing = 0, moving = 0, hist = 0;
	json_t *o = json_object(), *alarms = json_array();
	uint32_t i;
	size_t n;

	for (i = 0; i < v->pop->n_hosts; i++) {
		health[v->host_health[v->pop->host[i].id]]++;
		admin[v->host_admin[v->pop->host[i].id]]++;
	}
	for (i = 0; i < v->pop->n_switches; i++) {
		const struct control_switch *s = &k->sw[v->pop->switches[i].id];

		sw_admin[v->switch_admin[v->pop->switches[i].id]]++;
		connected += s->connected;
		announcing += s->connected && s->reported && s->report.announcing;
	}
	for (i = 0; i < k->state.table.n_buckets; i++) {
		moving += k->state.table.bucket[i].next != HOST_NONE;
		hist += k->state.table.bucket[i].triple.host[1] != HOST_NONE;
	}
	for (n = 0; n < k->n_alarms; n++)
		json_array_append_new(alarms, json_pack("{s:s, s:s, s:o}", "id", k->alarm[n].id, "text", k->alarm[n].text, "for_s",
							seconds(k->now_ms - k->alarm[n].since_ms)));
	if (info->error[0])
		json_array_append_new(alarms, json_pack("{s:s, s:s, s:n}", "id", "log", "text", info->error, "for_s"));
	set_str(o, "program", "baton-controld");
	set_str(o, "version", BATON_VERSION);
	set_str(o, "pop", v->pop->name);
	json_object_set_new(o, "uptime_s", seconds(k->now_ms - c->started_ms));
	set_int(o, "term", v->term);
	set_int(o, "index", v->index);
	json_object_set_new(o, "hash", hex(k->state.hash));
	json_object_set_new(o, "config_digest", hex(k->state.config->digest));
	json_object_set_new(o, "log", json_pack("{s:b, s:s, s:I, s:I, s:b}", "ok", !info->error[0], "error", info->error, "bytes",
						(json_int_t)info->bytes, "snapshot_index", (json_int_t)info->snapshot_index,
						"repaired", info->repaired));
	json_object_set_new(o, "hosts", json_pack("{s:i, s:i, s:i, s:i, s:i, s:i}", "total", (int)v->pop->n_hosts, "up", health[0],
						  "sick", health[1], "dead", health[2], "draining", admin[1], "out", admin[2]));
	json_object_set_new(o, "switches", json_pack("{s:i, s:i, s:i, s:i, s:i}", "total", (int)v->pop->n_switches, "connected",
						     connected, "announcing", announcing, "draining", sw_admin[1], "out", sw_admin[2]));
	json_object_set_new(o, "moves", json_pack("{s:I, s:f, s:f}", "count", (json_int_t)c->moves.count, "last_s",
						  (double)c->moves.last_ns / 1e9,
						  "done_monotonic_s", (double)c->moves.done_ns / 1e9));
	json_object_set_new(o, "table", json_pack("{s:i, s:b, s:i, s:i, s:I, s:o}", "buckets", (int)k->state.table.n_buckets,
						  "settled", !moving, "moving", moving, "histories", hist, "evicted",
						  (json_int_t)k->evicted, "blocked", blocked(c)));
	json_object_set_new(o, "alarms", alarms);
	return o;
}

/* A field of the latest report, or a default (stolen reference). */
static void from_report(json_t *o, const json_t *report, const char *key, json_t *absent)
{
	json_t *v = json_object_get(report, key);

	if (v) {
		json_object_set(o, key, v);
		json_decref(absent);
	} else {
		json_object_set_new(o, key, absent);
	}
}

static json_t *ports_of_host(const struct controller *c, uint16_t id)
{
	const struct pop *pop = c->core.state.view.pop;
	json_t *o = json_object();
	uint32_t i;

	for (i = 0; i < pop->n_switches; i++) {
		uint8_t port = c->core.sw[pop->switches[i].id].report.host[id];

		if (port & PORT_KNOWN)
			json_object_set_new(o, pop->switches[i].name, json_pack("{s:b, s:b}", "carrier", !!(port & PORT_CARRIER),
										"datapath", !!(port & PORT_DATAPATH)));
	}
	return o;
}

static json_t *show_hosts(struct controller *c)
{
	const struct control *k = &c->core;
	const struct pop *pop = k->state.view.pop;
	json_t *list = json_array();
	uint64_t serving = 0;
	uint32_t i, b;

	for (i = 0; i < pop->n_hosts; i++)
		if (control_standing(&k->state, pop->host[i].id) == STANDING_SERVING)
			serving += pop->host[i].weight;
	for (i = 0; i < pop->n_hosts; i++) {
		const struct host_conf *h = &pop->host[i];
		const struct control_host *ch = &k->host[h->id];
		const struct peer *p = server_peer(c, ROLE_HOST, h->id);
		enum standing st = control_standing(&k->state, h->id);
		const json_t *rep = p ? p->report : NULL;
		json_t *o = json_object();
		unsigned moving = 0;

		for (b = 0; b < k->state.table.n_buckets; b++)
			moving += k->state.table.bucket[b].next && (k->state.table.bucket[b].next == h->id ||
				   k->state.table.bucket[b].triple.host[0] == h->id);
		set_str(o, "name", h->name);
		set_int(o, "id", h->id);
		set_int(o, "weight", h->weight);
		set_bool(o, "elsewhere", host_is_elsewhere(h));
		set_str(o, "admin", admin_word[k->state.view.host_admin[h->id]]);
		set_str(o, "health", health_word[k->state.view.host_health[h->id]]);
		set_str(o, "observed", health_word[ch->observed]);
		set_str(o, "standing", standing_word[st]);
		set_str(o, "why", ch->why);
		set_bool(o, "connected", ch->connected);
		set_int(o, "acked", ch->acked);
		set_int(o, "owned", table_owned(&k->state.table, h->id));
		json_object_set_new(o, "share", json_real(st == STANDING_SERVING && serving
			? (double)k->state.table.n_buckets * h->weight / (double)serving : 0));
		set_int(o, "sheltered", table_sheltered(&k->state.table, h->id));
		set_int(o, "moving", moving);
		from_report(o, rep, "datapath", json_string(""));
		from_report(o, rep, "sockets", json_object());
		from_report(o, rep, "rows", json_integer(0));
		from_report(o, rep, "detour_in_ms", json_integer(-1));
		from_report(o, rep, "detour_out_ms", json_integer(-1));
		from_report(o, rep, "counters", json_object());
		from_report(o, rep, "services", json_object());
		from_report(o, rep, "via", json_object());
		from_report(o, rep, "via_unknown", json_null());
		from_report(o, rep, "via_index", json_null());
		from_report(o, rep, "alarms", json_array());
		json_object_set_new(o, "switches", ports_of_host(c, h->id));
		json_array_append_new(list, o);
	}
	return list;
}

static json_t *show_switches(struct controller *c)
{
	const struct control *k = &c->core;
	const struct pop *pop = k->state.view.pop;
	json_t *list = json_array();
	uint32_t i, n;

	for (i = 0; i < pop->n_switches; i++) {
		const struct switch_conf *s = &pop->switches[i];
		const struct control_switch *cs = &k->sw[s->id];
		const struct peer *p = server_peer(c, ROLE_SWITCH, s->id);
		const json_t *rep = p ? p->report : NULL;
		json_t *o = json_object(), *hosts = json_object();

		set_str(o, "name", s->name);
		set_int(o, "id", s->id);
		set_str(o, "fabric", fabric_word[s->fabric]);
		set_str(o, "admin", admin_word[k->state.view.switch_admin[s->id]]);
		set_bool(o, "connected", cs->connected);
		set_int(o, "acked", cs->acked);
		set_int(o, "lag", k->state.view.index - cs->acked);
		json_object_set_new(o, "failed", cs->failed > cs->acked ? json_string(cs->fail_why) : json_null());
		set_bool(o, "announcing", cs->connected && cs->reported && cs->report.announcing);
		set_bool(o, "drained", cs->connected && cs->reported && cs->report.drained);
		from_report(o, rep, "buckets_proven", json_false());
		from_report(o, rep, "buckets", json_string(""));
		from_report(o, rep, "buckets_why", json_string(""));
		from_report(o, rep, "alarms", json_array());
		for (n = 0; n < pop->n_hosts; n++) {
			uint8_t port = cs->report.host[pop->host[n].id];

			if (port & PORT_KNOWN)
				json_object_set_new(hosts, pop->host[n].name,
						    json_pack("{s:b, s:b}", "carrier", !!(port & PORT_CARRIER), "datapath",
							      !!(port & PORT_DATAPATH)));
		}
		json_object_set_new(o, "hosts", hosts);
		json_array_append_new(list, o);
	}
	return list;
}

static json_t *show_buckets(struct controller *c)
{
	const struct state *s = &c->core.state;
	json_t *list = json_array();
	uint32_t b;
	int i;

	for (b = 0; b < s->table.n_buckets; b++) {
		const struct bucket *k = &s->table.bucket[b];
		json_t *hosts = json_array();

		for (i = 0; i < triple_len(&k->triple); i++)
			json_array_append_new(hosts, json_string(host_word(c, k->triple.host[i])));
		json_array_append_new(list, json_pack("{s:i, s:o, s:o, s:I}", "bucket", (int)b, "hosts", hosts, "next",
						      k->next ? json_string(host_word(c, k->next)) : json_null(), "changed",
						      (json_int_t)s->changed[b]));
	}
	return list;
}

static json_t *show_vips(struct controller *c)
{
	const struct control *k = &c->core;
	const struct pop *pop = k->state.view.pop;
	json_t *list = json_array();
	uint32_t i, n;
	char text[ADDRESS_TEXT];

	for (i = 0; i < pop->n_vips; i++) {
		const struct vip *v = &pop->vip[i];
		json_t *addr = json_array(), *ports = json_array(), *by = json_array(), *serving = json_array();

		for (n = 0; n < v->n_addresses; n++)
			json_array_append_new(addr, json_string(address_print(&v->address[n], text)));
		for (n = 0; n < v->n_ports; n++)
			json_array_append_new(ports, json_sprintf("%u/%s", v->port[n].port,
								  v->port[n].protocol == IPPROTO_UDP ? "udp" : "tcp"));
		for (n = 0; n < pop->n_switches; n++) {
			const struct control_switch *s = &k->sw[pop->switches[n].id];

			if (s->connected && s->reported && s->report.announcing && k->state.view.vip_admin[i] == ADMIN_IN)
				json_array_append_new(by, json_string(pop->switches[n].name));
		}
		for (n = 0; n < pop->n_hosts; n++)
			if (!host_is_elsewhere(&pop->host[n]) && control_standing(&k->state, pop->host[n].id) == STANDING_SERVING)
				json_array_append_new(serving, json_string(pop->host[n].name));
		json_array_append_new(list, json_pack("{s:s, s:o, s:o, s:s, s:o, s:o}", "name", v->name, "addresses", addr, "ports",
						      ports, "admin", admin_word[k->state.view.vip_admin[i]], "announced_by", by,
						      "serving", serving));
	}
	return list;
}

static json_t *changes_json(const struct controller *c, const struct record *r)
{
	static const char *const kind[] = { "", "host", "host", "switch", "vip", "pop" };
	struct change *ch = malloc(BUCKETS_MAX * sizeof(*ch));
	const struct pop *pop = c->core.state.view.pop;
	size_t i, n = BUCKETS_MAX;
	json_t *list = json_array();

	if (!ch || body_changes(r->body, r->body_len, ch, &n))
		n = 0;
	for (i = 0; i < n; i++) {
		if (ch[i].subject == SUBJECT_BUCKETS) /* the record's reason says it in one piece */
			continue;
		const struct switch_conf *s = pop_switch(pop, ch[i].id);
		const char *name = ch[i].subject == SUBJECT_SWITCH_ADMIN ? (s ? s->name : "?") :
				   ch[i].subject == SUBJECT_VIP_ADMIN ? (ch[i].id < pop->n_vips ? pop->vip[ch[i].id].name : "?") :
				   host_word(c, ch[i].id);

		json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s}", "kind", kind[ch[i].subject], "name", name, "field",
						      ch[i].subject == SUBJECT_HOST_HEALTH ? "health" : "admin", "to",
						      ch[i].subject == SUBJECT_HOST_HEALTH ? health_word[ch[i].value]
											   : admin_word[ch[i].value]));
	}
	free(ch);
	return list;
}

static json_t *show_log(struct controller *c, size_t last)
{
	static const char *const type[] = { "", "config", "table", "state", "settled", "snapshot" };
	const struct history *h = &c->history;
	json_t *list = json_array();
	size_t i;

	for (i = last < h->n ? h->n - last : 0; i < h->n; i++) {
		const struct entry *e = &h->entry[(h->first + i) % HISTORY_MAX];
		struct body_text t = { .reason = "" };
		json_t *o = json_object();
		bool texts = e->r.type <= RECORD_STATE && !body_reason(e->r.body, e->r.body_len, &t);

		set_int(o, "term", e->r.term);
		set_int(o, "index", e->r.index);
		set_str(o, "type", type[e->r.type]);
		json_object_set_new(o, "hash", hex(e->r.hash));
		set_int(o, "moves", texts && e->r.type == RECORD_TABLE && t.rest_len >= 4 ? get32(t.rest) : 0);
		json_object_set_new(o, "changes", e->r.type == RECORD_STATE ? changes_json(c, &e->r) : json_array());
		set_text(o, "reason", t.reason);
		json_object_set_new(o, "age_s", e->at_ms ? seconds(c->core.now_ms - e->at_ms) : json_null());
		json_object_set_new(o, "table_digest", hex(e->r.table_digest));
		json_array_append_new(list, o);
	}
	return list;
}

json_t *show_what(struct controller *c, const char *what, json_t *args)
{
	json_t *o = json_object(), *list = NULL;
	json_int_t last = json_integer_value(json_object_get(args, "last"));

	if (!strcmp(what, "hosts"))
		list = show_hosts(c);
	else if (!strcmp(what, "switches"))
		list = show_switches(c);
	else if (!strcmp(what, "buckets"))
		list = show_buckets(c);
	else if (!strcmp(what, "vips"))
		list = show_vips(c);
	else if (!strcmp(what, "log"))
		list = show_log(c, last > 0 ? (size_t)last : 20);
	if (!list) {
		json_decref(o);
		return NULL;
	}
	set_int(o, "index", c->core.state.view.index);
	json_object_set_new(o, what, list);
	return o;
}

json_t *show_drain(struct controller *c, enum object_kind kind, uint16_t id)
{
	static const char *const word[] = { "host", "switch", "vip" };
	const struct control *k = &c->core;
	const struct view *v = &k->state.view;
	const struct control_host *h = &k->host[kind == OBJECT_HOST ? id : 0];
	const char *name = kind == OBJECT_HOST ? host_word(c, id) : kind == OBJECT_SWITCH ? pop_switch(v->pop, id)->name :
			   v->pop->vip[id].name;
	uint8_t admin = kind == OBJECT_HOST ? v->host_admin[id] : kind == OBJECT_SWITCH ? v->switch_admin[id] : v->vip_admin[id];
	struct condition *cond = calloc(CONDITIONS_MAX, sizeof(*cond));
	size_t i, n = cond ? control_conditions(k, kind, id, cond) : 0;
	json_t *o = json_object(), *list = json_array();
	double estimate = kind == OBJECT_HOST ? control_estimate_s(k, id) : -1;
	uint64_t began = kind == OBJECT_HOST ? h->drain_ms : 0;

	for (i = 0; i < n; i++)
		json_array_append_new(list, json_pack("{s:s, s:s, s:f}", "id", cond[i].id, "text", cond[i].text, "value",
						      cond[i].value));
	free(cond);
	set_str(o, "kind", word[kind]);
	set_str(o, "name", name);
	set_str(o, "admin", admin_word[admin]);
	if (kind == OBJECT_HOST)
		set_str(o, "health", health_word[v->host_health[id]]);
	set_bool(o, "safe", !n && admin == ADMIN_OUT);
	json_object_set_new(o, "elapsed_s", began ? seconds(k->now_ms - began) : json_null());
	json_object_set_new(o, "conditions", list);
	if (kind == OBJECT_HOST)
		json_object_set_new(o, "left", json_pack("{s:i, s:i, s:i, s:i}", "owned", (int)table_owned(&k->state.table, id),
							 "sheltered", (int)table_sheltered(&k->state.table, id), "sockets",
							 (int)(h->report.established + h->report.request + h->report.time_wait +
							       h->report.other), "rows", (int)h->report.rows));
	json_object_set_new(o, "estimate_s", estimate < 0 ? json_null() : json_real(estimate));
	json_object_set_new(o, "blocked", blocked(c));
	return o;
}

void metrics_write(void *ctx, struct metrics *m)
{
	struct controller *c = ctx;
	const struct control *k = &c->core;
	const struct view *v = &k->state.view;
	const struct store_info *info = store_info(c->log);
	uint32_t i;

	metric_family(m, "baton_log_index", METRIC_GAUGE, "Index of the last record of the log");
	metric_sample(m, (double)v->index, NULL);
	metric_family(m, "baton_log_ok", METRIC_GAUGE, "1 if the log can be appended to");
	metric_sample(m, !info->error[0], NULL);
	metric_family(m, "baton_log_lost_total", METRIC_COUNTER, "Changes that the log refused");
	metric_sample(m, (double)c->lost, NULL);
	metric_family(m, "baton_move_seconds", METRIC_HISTOGRAM, "From an operator's command to the second step on the last switch");
	metric_histogram(m, move_bucket_seconds, c->moves.bucket, MOVE_BUCKETS, (double)c->moves.sum_ns / 1e9, NULL);
	metric_family(m, "baton_evicted_total", METRIC_COUNTER, "Histories cut short because a triple was full");
	metric_sample(m, (double)k->evicted, NULL);
	metric_family(m, "baton_alarms", METRIC_GAUGE, "Alarms raised now");
	metric_sample(m, (double)k->n_alarms + (info->error[0] != 0), NULL);
	metric_family(m, "baton_host_owned_buckets", METRIC_GAUGE, "Buckets that the host owns");
	for (i = 0; i < v->pop->n_hosts; i++)
		metric_sample(m, table_owned(&k->state.table, v->pop->host[i].id), "host", v->pop->host[i].name, NULL);
	metric_family(m, "baton_host_sheltered_buckets", METRIC_GAUGE, "Buckets in whose history the host is");
	for (i = 0; i < v->pop->n_hosts; i++)
		metric_sample(m, table_sheltered(&k->state.table, v->pop->host[i].id), "host", v->pop->host[i].name, NULL);
	metric_family(m, "baton_host_health", METRIC_GAUGE, "1 for the state that the host is in");
	for (i = 0; i < v->pop->n_hosts; i++)
		metric_sample(m, 1, "host", v->pop->host[i].name, "health", health_word[v->host_health[v->pop->host[i].id]], "admin",
			      admin_word[v->host_admin[v->pop->host[i].id]], NULL);
	metric_family(m, "baton_switch_lag", METRIC_GAUGE, "Records that the switch has not installed yet");
	for (i = 0; i < v->pop->n_switches; i++)
		metric_sample(m, (double)(v->index - k->sw[v->pop->switches[i].id].acked), "switch", v->pop->switches[i].name, NULL);
	metric_family(m, "baton_switch_connected", METRIC_GAUGE, "1 if the switch has a session");
	for (i = 0; i < v->pop->n_switches; i++)
		metric_sample(m, k->sw[v->pop->switches[i].id].connected, "switch", v->pop->switches[i].name, NULL);
}
