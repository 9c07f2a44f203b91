/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the operator may ask a host:
 *   { "verb": "explain", "client": "192.0.2.7:40000", "vip": "198.51.100.80:80" }
 *       what this host would do with that flow's next segment, as it would come to it now
 *   { "verb": "flows", "limit": 100 }     the sockets left on VIPs
 *   { "verb": "rows", "limit": 100 }      connections handed off to other hosts, whose packets come here
 *   { "verb": "status" }                  the report, as the controller gets it
 * and, on the agent's own socket only:
 *   { "verb": "detours", "on": false }    the control of every claim: without detours a drain breaks flows.
 *                                         Until it is set back, or the agent starts again
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/host.h"
#include "base/clock.h"
#include "base/log.h"
#include "lb/flow.h"
#include "lb/link.h"
#include "lb/verdict.h"

#define FLOWS_DEFAULT 100
#define FLOWS_MAX 10000

static json_t *refuse(const char *error, const char *remedy)
{
	return json_pack("{s:b, s:s, s:s}", "ok", 0, "error", error, "remedy", remedy);
}

/* --- flows ------------------------------------------------------------------------------------------- */
struct flows {
	json_t *list;
	size_t limit, seen;
	uint32_t time_wait_ms;
	const struct pop *pop;
};

static int flows_each(void *ctx, const struct socket_left *s)
{
	char client[ENDPOINT_TEXT], vip[ENDPOINT_TEXT];
	struct endpoint c = { s->client, s->client_port }, v = { s->vip, s->vip_port };
	struct flows *f = ctx;
	json_t *one;

	if (f->seen++ >= f->limit)
		return 0; /* still counted */
	one = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I}", "client", endpoint_print(&c, client), "vip", endpoint_print(&v, vip),
			"service", f->pop->vip[s->vip_index].name, "state", socket_state_name(s->state), "receive_queue",
			(json_int_t)s->receive_queue, "send_queue", (json_int_t)s->send_queue);
	if (one && s->has_info) {
		json_object_set_new(one, "bytes_sent", json_integer((json_int_t)s->bytes_sent));
		json_object_set_new(one, "bytes_received", json_integer((json_int_t)s->bytes_received));
		json_object_set_new(one, "idle_ms", json_integer(s->idle_ms));
	}
	if (one && s->expires_ms)
		json_object_set_new(one, "expires_ms", json_integer(s->expires_ms));
	json_array_append_new(f->list, one);
	return 0;
}

static json_t *flows(struct host *h, const struct view *v, json_t *question)
{
	json_int_t limit = json_integer_value(json_object_get(question, "limit"));
	struct flows f = { .list = json_array(), .limit = FLOWS_DEFAULT, .pop = v->pop };
	int err;

	if (limit > 0)
		f.limit = limit < FLOWS_MAX ? (size_t)limit : FLOWS_MAX;
	err = sockets_each(h->diag, &h->vips, true, flows_each, &f);
	if (err && err != -EINTR) {
		json_decref(f.list);
		return refuse("the kernel's socket table cannot be read", "look at the agent's log");
	}
	return json_pack("{s:b, s:o, s:I}", "ok", 1, "flows", f.list, "total", (json_int_t)f.seen);
}

/* --- explain ----------------------------------------------------------------------------------------- */
struct sought {
	struct tcp_iter_socket key, found;
	bool have;
};

static void seek(void *ctx, const struct tcp_iter_socket *s)
{
	struct sought *w = ctx;

	if (s->family == w->key.family && s->src_port == w->key.src_port && s->dst_port == w->key.dst_port &&
	    !memcmp(s->src, w->key.src, 16) && !memcmp(s->dst, w->key.dst, 16)) {
		w->found = *s;
		w->have = true;
	}
}

/*
 * The flow's next segment as it would arrive: the peer's side of what probe_build() writes, in sequence
 * where the socket is known, so that the strict rules are answered for a genuine segment.
 */
static size_t next_segment(uint8_t frame[14 + PROBE_LEN_MAX], const struct sought *w, const uint8_t dst[6], const uint8_t src[6])
{
	struct tcp_iter_socket peer = w->have ? w->found : w->key;

	peer.family = w->key.family;
	memcpy(peer.src, w->key.dst, 16);
	memcpy(peer.dst, w->key.src, 16);
	peer.src_port = w->key.dst_port;
	peer.dst_port = w->key.src_port;
	peer.snd_una = peer.rcv_nxt + 1; /* probe_build() goes one back */
	peer.rcv_nxt = w->found.snd_una;
	peer.flags = 0;
	memcpy(frame, dst, 6);
	memcpy(frame + 6, src, 6);
	frame[12] = peer.family == AF_INET ? 0x08 : 0x86;
	frame[13] = peer.family == AF_INET ? 0x00 : 0xdd;
	return 14 + probe_build(frame + 14, &peer, monotonic_ns());
}

struct flow host_flow(const struct tcp_iter_socket *s)
{
	struct flow f = { .protocol = IPPROTO_TCP, .sport = htons(s->dst_port), .dport = htons(s->src_port) };

	f.family = s->family == AF_INET ? FLOW_V4 : FLOW_V6;
	memcpy(f.saddr, s->dst, s->family == AF_INET ? 4 : 16);
	memcpy(f.daddr, s->src, s->family == AF_INET ? 4 : 16);
	return f;
}

static uint32_t bucket_of(const struct view *v, const struct tcp_iter_socket *key)
{
	struct flow f = host_flow(key);

	return flow_hash(&f, v->pop->hash_seed) & (v->table->n_buckets - 1);
}

/* The frame's addresses at the `position`th host of the triple. */
static void arrival(const struct triple *t, int position, uint8_t dst[6], uint8_t src[6], uint16_t switch_id)
{
	struct triple at = *t;
	struct detour d = { .first = t->host[0], .reason = REASON_NO_SOCKET };

	for (int i = 0; i < position; i++)
		at = triple_shift(&at);
	vmac_encode(dst, &at);
	if (!position) {
		router_mac(src, switch_id);
		return;
	}
	d.sender = t->host[position - 1];
	d.budget = (uint8_t)(DETOUR_BUDGET_MAX - position);
	detour_encode(src, &d);
}

static int parse(json_t *question, struct sought *w)
{
	const char *client = json_string_value(json_object_get(question, "client"));
	const char *vip = json_string_value(json_object_get(question, "vip"));
	struct endpoint c, v;

	if (!client || !vip || !endpoint_parse(&c, client) || !endpoint_parse(&v, vip) || c.address.family != v.address.family)
		return -EINVAL;
	memset(w, 0, sizeof(*w));
	w->key.family = (uint8_t)c.address.family;
	w->key.src_port = v.port;
	w->key.dst_port = c.port;
	memcpy(w->key.src, &v.address.v6, c.address.family == AF_INET ? 4 : 16);
	memcpy(w->key.dst, &c.address.v6, c.address.family == AF_INET ? 4 : 16);
	return 0;
}

static json_t *explain(struct host *h, const struct view *v, json_t *question)
{
	uint8_t frame[14 + PROBE_LEN_MAX], dst[6], src[6];
	const struct triple *t;
	char text[256] = "", mac[18];
	struct sought w;
	uint32_t bucket;
	int position = 0;
	struct datapath_decision decided;
	json_t *answer, *row;
	struct flow f;

	if (parse(question, &w))
		return refuse("explain needs \"client\" and \"vip\", each ADDRESS:PORT, of one family",
			      "write IPv6 as [2001:db8::1]:443");
	if (h->tcp_list)
		(void)tcp_list_read(h->tcp_list, &h->vips, seek, &w);
	bucket = bucket_of(v, &w.key);
	t = &v->table->bucket[bucket].triple;
	while (position < TRIPLE_MAX && t->host[position] != h->self)
		position++;
	answer = json_pack("{s:b, s:i, s:i, s:s}", "ok", 1, "host", h->self, "bucket", (int)bucket, "socket",
			   w.have ? socket_state_name(w.found.state) : "none");
	if (position == TRIPLE_MAX) {
		json_object_set_new(answer, "decision", json_string("no frame of this flow comes here: the bucket does not name us"));
		return answer;
	}
	arrival(t, position, dst, src, h->links.n ? h->links.link[0].switch_id : 1);
	snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", dst[0], dst[1], dst[2], dst[3], dst[4], dst[5]);
	json_object_set_new(answer, "position", json_integer(position));
	json_object_set_new(answer, "vmac", json_string(mac));
	if (h->datapath && !h->ops->explain(h->datapath, frame, next_segment(frame, &w, dst, src),
					    h->links.n ? h->links.link[0].ifname : "", &decided)) {
		const struct host_conf *next = pop_host(v->pop, decided.next);

		datapath_decision_text(&decided, next ? next->name : NULL, text, sizeof(text));
		if (decided.action == VERDICT_DETOUR)
			json_object_set_new(answer, "next", json_integer(decided.next));
	} else {
		snprintf(text, sizeof(text), "unknown: the data path does not answer");
	}
	f = host_flow(&w.key);
	row = host_row_of(h, v, &f, text, sizeof(text));
	if (row)
		json_object_set_new(answer, "row", row);
	json_object_set_new(answer, "decision", json_string(text));
	return answer;
}

json_t *host_answer(struct host *h, const char *verb, json_t *question)
{
	const struct view *v = follower_view(h->follower);

	if (!v)
		return refuse("this host has not seen the log yet", "is a controller reachable?");
	if (!strcmp(verb, "explain"))
		return explain(h, v, question);
	if (!strcmp(verb, "flows"))
		return flows(h, v, question);
	if (!strcmp(verb, "rows"))
		return host_rows(h, v, question);
	if (!strcmp(verb, "status")) {
		json_t *report = host_report(h, monotonic_ms());

		json_object_set_new(report, "ok", json_true());
		json_object_set_new(report, "index", json_integer((json_int_t)v->index));
		json_object_set_new(report, "installed", json_integer((json_int_t)h->installed));
		return report;
	}
	return refuse("a host does not know this verb", "explain, flows, rows, status");
}

json_t *host_set_detours(struct host *h, const json_t *on)
{
	int err;

	if (!json_is_boolean(on))
		return refuse("detours needs on: true or false", "{\"verb\": \"detours\", \"on\": true}");
	if (!h->datapath)
		return refuse("this host has no data path yet", "is a controller reachable?");
	err = h->ops->set_detours(h->datapath, json_is_true(on));
	if (err)
		return refuse("the data path did not take it", strerror(-err));
	h->detours_off = !json_is_true(on);
	log_warning("detours are switched %s", h->detours_off ? "off: a drain breaks connections" : "on again");
	return json_pack("{s:b, s:b}", "ok", 1, "on", !h->detours_off);
}
