// SPDX-License-Identifier: BSD-2-Clause
/* What the operator may ask about rows of hand-off: which there are, and which one a flow has. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>

#include "agent/host.h"
#include "base/clock.h"
#include "l7/row/rows.h"

#define ROWS_DEFAULT 100
#define ROWS_MAX 10000

struct shown {
	json_t *list;
	size_t limit, seen;
	uint64_t now_ns;
	const struct view *view;
};

static struct endpoint endpoint_of(uint8_t family, const __be32 address[4], __be16 port)
{
	struct endpoint e = { .port = ntohs(port) };

	e.address = address_of_words(family == FLOW_V4 ? AF_INET : AF_INET6, address);
	return e;
}

static const char *host_name(const struct view *v, uint16_t id)
{
	const struct host_conf *h = pop_host(v->pop, id);

	return h ? h->name : "";
}

static json_t *row_json(const struct view *v, const struct flow *f, const struct row *row, uint64_t now_ns)
{
	struct endpoint client = endpoint_of(f->family, f->saddr, f->sport), vip = endpoint_of(f->family, f->daddr, f->dport);
	char c[ENDPOINT_TEXT], w[ENDPOINT_TEXT], cid[17];
	json_t *o;

	snprintf(cid, sizeof(cid), "%016llx", (unsigned long long)row->cid);
	o = json_pack("{s:s, s:s, s:s, s:s, s:I, s:b, s:I, s:I}", "client", endpoint_print(&client, c), "vip", endpoint_print(&vip, w),
		      "state", row_state_name((enum row_state)row->state), "cid", cid, "e", (json_int_t)row->e, "lives",
		      row_lives(row, now_ns), "age_ms", (json_int_t)(now_ns > row->since_ns ? (now_ns - row->since_ns) / 1000000 : 0),
		      "packets", (json_int_t)row->packets);
	if (!o)
		return NULL;
	if (row->owner != HOST_NONE)
		json_object_set_new(o, "owner", json_string(host_name(v, row->owner)));
	if (row->through != HOST_NONE)
		json_object_set_new(o, "through", json_string(host_name(v, row->through)));
	if (row->seen_ns)
		json_object_set_new(o, "idle_ms", json_integer((json_int_t)((now_ns > row->seen_ns ? now_ns - row->seen_ns : 0) / 1000000)));
	if (row->deadline_ns)
		json_object_set_new(o, "ends_ms", json_integer(row->deadline_ns > now_ns ? (json_int_t)((row->deadline_ns - now_ns) / 1000000) : 0));
	return o;
}

static int show_one(void *ctx, const struct flow *f, const struct row *row)
{
	struct shown *s = ctx;

	if (s->seen++ < s->limit)
		json_array_append_new(s->list, row_json(s->view, f, row, s->now_ns));
	return 0;
}

json_t *host_rows(struct host *h, const struct view *v, json_t *question)
{
	json_int_t limit = json_integer_value(json_object_get(question, "limit"));
	struct shown s = { .list = json_array(), .limit = ROWS_DEFAULT, .now_ns = monotonic_ns(), .view = v };
	int fd = rows_pinned_open(h->rows_dir), err = fd == -ENOENT ? 0 : fd;

	if (limit > 0)
		s.limit = limit < ROWS_MAX ? (size_t)limit : ROWS_MAX;
	if (fd >= 0) {
		err = rows_each_of(fd, show_one, &s);
		close(fd);
	}
	if (err < 0) {
		json_decref(s.list);
		return json_pack("{s:b, s:s, s:s}", "ok", 0, "error", "the rows of hand-off cannot be read", "remedy",
				 "does the agent have CAP_BPF?");
	}
	return json_pack("{s:b, s:o, s:I}", "ok", 1, "rows", s.list, "total", (json_int_t)s.seen);
}

/* The flow's row, if it has one in force: it is asked before the host data path. */
json_t *host_row_of(struct host *h, const struct view *v, const struct flow *f, char *decision, size_t len)
{
	int fd = rows_pinned_open(h->rows_dir);
	uint64_t now = monotonic_ns();
	struct row row;
	int err;

	if (fd < 0)
		return NULL;
	err = bpf_map_lookup_elem(fd, f, &row);
	close(fd);
	if (err)
		return NULL;
	if (row_lives(&row, now) && row.state == ROW_HOLD)
		snprintf(decision, len, "hold: its connection is being moved");
	else if (row_lives(&row, now) && row.state == ROW_ENDED)
		snprintf(decision, len, "ended: its connection has ended here a moment ago; what comes late is dropped");
	else if (row_lives(&row, now) && row.owner != h->self)
		snprintf(decision, len, "row: on to host %s%s", host_name(v, row.owner), row.state == ROW_CLOSING ? " (closing)" : "");
	return row_json(v, f, &row, now);
}
