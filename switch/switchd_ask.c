/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the operator may ask a switch, through the controller or on its own socket:
 *   { "verb": "explain", "client": "192.0.2.7:40000", "vip": "198.51.100.80:80", "protocol": "tcp" }
 *   { "verb": "show" }       state, counters, and each bucket whose vMAC is not what the log wants
 *   { "verb": "status" }     the report, as the controller gets it
 * Tables are read back from the fabric, not remembered.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "lb/flow.h"
#include "switch/proof.h"
#include "switch/switchd.h"
#include "switch/want.h"

static json_t *refuse(const char *error, const char *remedy)
{
	return json_pack("{s:b, s:s, s:s}", "ok", 0, "error", error, "remedy", remedy);
}

static const char *mac_print(const uint8_t mac[6], char text[18])
{
	snprintf(text, 18, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
	return text;
}

static json_t *hosts_of(const uint8_t mac[6])
{
	json_t *hosts = json_array();
	struct triple t;

	for (int i = 0; vmac_decode(mac, &t) && i < triple_len(&t); i++)
		json_array_append_new(hosts, json_integer(t.host[i]));
	return hosts;
}

static bool flow_parse(json_t *question, struct flow *f)
{
	const char *client = json_string_value(json_object_get(question, "client"));
	const char *vip = json_string_value(json_object_get(question, "vip"));
	const char *protocol = json_string_value(json_object_get(question, "protocol"));
	struct endpoint c, v;

	memset(f, 0, sizeof(*f));
	if (!client || !vip || !endpoint_parse(&c, client) || !endpoint_parse(&v, vip) ||
	    c.address.family != v.address.family)
		return false;
	f->family = c.address.family == AF_INET6 ? FLOW_V6 : FLOW_V4;
	f->protocol = protocol && !strcmp(protocol, "udp") ? IPPROTO_UDP : IPPROTO_TCP;
	memcpy(f->saddr, &c.address.v6, f->family == FLOW_V6 ? 16 : 4);
	memcpy(f->daddr, &v.address.v6, f->family == FLOW_V6 ? 16 : 4);
	f->sport = htons(c.port);
	f->dport = htons(v.port);
	return true;
}

static json_t *explain(struct switchd *s, json_t *question)
{
	struct fabric_want have;
	const struct fdb_row *row;
	char vmac[18], wanted[18];
	struct flow f;
	uint32_t bucket;
	json_t *answer;

	if (!s->installed)
		return refuse("no table is installed yet", "wait for a controller, or look at the switch's log");
	if (!flow_parse(question, &f))
		return refuse("\"client\" and \"vip\" must be ADDRESS:PORT of one family", "e.g. 192.0.2.7:40000 198.51.100.80:80");
	if (s->ops->read(s->fabric, &have))
		return refuse("the fabric's tables cannot be read", "look at the switch's log");
	bucket = flow_bucket(&f, s->want.hash_seed, s->want.n_buckets);
	row = fabric_want_row(&have, have.vmac[bucket]);
	answer = json_pack("{s:b, s:I, s:s, s:s, s:b, s:o, s:s, s:I}", "ok", 1, "bucket", (json_int_t)bucket, "vmac",
			   mac_print(have.vmac[bucket], vmac), "wanted", mac_print(s->want.vmac[bucket], wanted), "as_wanted",
			   !memcmp(have.vmac[bucket], s->want.vmac[bucket], 6), "hosts", hosts_of(have.vmac[bucket]), "port",
			   row ? row->ifname : "", "index", (json_int_t)s->installed_index);
	fabric_want_free(&have);
	return answer;
}

static json_t *differences(struct switchd *s)
{
	json_t *list = json_array();
	struct fabric_want have;

	if (!s->installed || !s->ops || s->ops->read(s->fabric, &have))
		return list;
	for (uint32_t i = 0; i < s->want.n_buckets; i++) {
		char a[18], b[18];

		if (i < have.n_buckets && memcmp(have.vmac[i], s->want.vmac[i], 6))
			json_array_append_new(list, json_pack("{s:I, s:s, s:s}", "bucket", (json_int_t)i, "have",
							      mac_print(have.vmac[i], a), "want",
							      mac_print(s->want.vmac[i], b)));
	}
	fabric_want_free(&have);
	return list;
}

static json_t *show(struct switchd *s)
{
	struct fabric_counter c[FABRIC_COUNTERS_MAX];
	size_t n = s->fabric ? s->ops->counters(s->fabric, c, FABRIC_COUNTERS_MAX) : 0;
	json_t *counters = json_object();

	for (size_t i = 0; i < n; i++)
		json_object_set_new(counters, c[i].name, json_integer((json_int_t)c[i].packets));
	return json_pack("{s:b, s:s, s:s, s:I, s:I, s:b, s:I, s:I, s:I, s:f, s:o, s:o}", "ok", 1, "fabric",
			 s->ops ? s->ops->caps->name : "", "hash_family", HASH_FAMILY, "hash_seed",
			 (json_int_t)s->want.hash_seed, "index", (json_int_t)s->installed_index, "buckets_proven",
			 switchd_proof(s) == PROOF_EQUAL, "buckets", (json_int_t)s->want.n_buckets, "rows", (json_int_t)s->want.n_fdb,
			 "table_changes", (json_int_t)s->applies, "last_change_ms", (double)s->apply_ns_last / 1e6, "counters",
			 counters, "differences", differences(s));
}

json_t *switchd_answer(struct switchd *s, json_t *question)
{
	const char *verb = json_string_value(json_object_get(question, "verb"));
	json_t *report;

	if (verb && !strcmp(verb, "explain"))
		return explain(s, question);
	if (verb && !strcmp(verb, "show"))
		return show(s);
	if (verb && !strcmp(verb, "status") && follower_view(s->follower)) {
		report = switchd_report(s);
		json_object_set_new(report, "ok", json_true());
		return report;
	}
	return refuse("a switch answers explain, show and status", "see docs/formats.md");
}
