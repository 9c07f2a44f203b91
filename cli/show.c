/* SPDX-License-Identifier: BSD-2-Clause */
/* baton show: what the controller knows, as tables; with -j as it came. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/call.h"
#include "cli/l7.h"
#include "cli/show.h"
#include "cli/table.h"

/* Strings of a list between blanks; "-" if there are none. */
static const char *joined(const json_t *list, const char *between, char *buf, size_t len)
{
	const json_t *e;
	size_t i, have = 0;

	buf[0] = 0;
	json_array_foreach(list, i, e)
		if (have < len)
			have += (size_t)snprintf(buf + have, len - have, "%s%s", i ? between : "", json_string_value(e));
	if (!have)
		snprintf(buf, len, "-");
	return buf;
}

static const char *yes(bool b)
{
	return b ? "yes" : "no";
}

static void print_alarms(const json_t *list)
{
	const json_t *e, *alarm;
	size_t i, k;

	json_array_foreach(list, i, e)
		json_array_foreach(json_object_get(e, "alarms"), k, alarm)
			printf("! %s: %s\n", text_of(e, "name"),
			       json_is_string(alarm) ? json_string_value(alarm) : text_of(alarm, "text"));
}

void show_hosts(const json_t *answer)
{
	struct text_table *t =
		text_table_new("HOST|>ID|>WEIGHT|ADMIN|HEALTH|>BUCKETS|>SHARE|>SHELTERS|>MOVING|>SOCKETS|DATA PATH|AGENT|WHY");
	const json_t *hosts = json_object_get(answer, "hosts"), *h;
	size_t i;

	json_array_foreach(hosts, i, h) {
		const json_t *s = json_object_get(h, "sockets");

		text_cell(t, "%s", text_of(h, "name"));
		text_cell(t, "%d", (int)number_of(h, "id"));
		if (is_true(h, "elsewhere"))
			text_cell(t, "elsewhere");
		else
			text_cell(t, "%d", (int)number_of(h, "weight"));
		text_cell(t, "%s", text_of(h, "admin"));
		text_cell(t, "%s", text_of(h, "health"));
		text_cell(t, "%d", (int)number_of(h, "owned"));
		text_cell(t, "%.1f", number_of(h, "share"));
		text_cell(t, "%d", (int)number_of(h, "sheltered"));
		text_cell(t, "%d", (int)number_of(h, "moving"));
		if (json_is_object(s))
			text_cell(t, "%d", (int)(number_of(s, "established") + number_of(s, "request") +
						 number_of(s, "time_wait") + number_of(s, "other")));
		else
			text_cell(t, "-");
		text_cell(t, "%s", *text_of(h, "datapath") ? text_of(h, "datapath") : "-");
		text_cell(t, "%s", is_true(h, "connected") ? "connected" : "silent");
		text_cell(t, "%s", text_of(h, "why"));
	}
	text_table_end(t, stdout);
	print_alarms(hosts);
}

/* The grid: sixteen buckets a line; '>' moving, '+' with a history. */
static void print_grid(const json_t *buckets)
{
	const json_t *b;
	size_t i, width = 2;

	json_array_foreach(buckets, i, b) {
		const char *owner = json_string_value(json_array_get(json_object_get(b, "hosts"), 0));

		if (owner && strlen(owner) > width)
			width = strlen(owner);
	}
	json_array_foreach(buckets, i, b) {
		const json_t *hosts = json_object_get(b, "hosts");
		const char *owner = json_string_value(json_array_get(hosts, 0));

		if (i % 16 == 0)
			printf("%s%5zu ", i ? "\n" : "", i);
		printf(" %*s%c", (int)width, owner ? owner : "-",
		       is_known(b, "next") ? '>' : json_array_size(hosts) > 1 ? '+' : ' ');
	}
	puts("\n(+ with a history: older flows are sent on   > moving)");
}

static void show_buckets(const json_t *answer, bool all)
{
	const json_t *buckets = json_object_get(answer, "buckets"), *b;
	struct text_table *t;
	char buf[256];
	size_t i;

	if (!all) {
		print_grid(buckets);
		return;
	}
	t = text_table_new(">BUCKET|OWNER, HISTORY|NEXT|>CHANGED AT");
	json_array_foreach(buckets, i, b) {
		text_cell(t, "%d", (int)number_of(b, "bucket"));
		text_cell(t, "%s", joined(json_object_get(b, "hosts"), ", ", buf, sizeof(buf)));
		text_cell(t, "%s", is_known(b, "next") ? text_of(b, "next") : "-");
		text_cell(t, "%d", (int)number_of(b, "changed"));
	}
	text_table_end(t, stdout);
}

static void show_switches(const json_t *answer)
{
	struct text_table *t = text_table_new("SWITCH|>ID|FABRIC|ADMIN|CONNECTED|>HAS|>LAG|ANNOUNCES|SILENT|EQUAL BUCKETS|FAILED");
	const json_t *switches = json_object_get(answer, "switches"), *s;
	size_t i;

	json_array_foreach(switches, i, s) {
		text_cell(t, "%s", text_of(s, "name"));
		text_cell(t, "%d", (int)number_of(s, "id"));
		text_cell(t, "%s", text_of(s, "fabric"));
		text_cell(t, "%s", text_of(s, "admin"));
		text_cell(t, "%s", yes(is_true(s, "connected")));
		text_cell(t, "%d", (int)number_of(s, "acked"));
		text_cell(t, "%d", (int)number_of(s, "lag"));
		text_cell(t, "%s", yes(is_true(s, "announcing")));
		text_cell(t, "%s", yes(is_true(s, "drained")));
		text_cell(t, "%s%s%s", is_true(s, "buckets_proven") ? "proven" : "not proven",
			  *text_of(s, "buckets_why") ? ": " : "", text_of(s, "buckets_why"));
		text_cell(t, "%s", text_of(s, "failed"));
	}
	text_table_end(t, stdout);
	print_alarms(switches);
}

static void show_vips(const json_t *answer)
{
	struct text_table *t = text_table_new("VIP|ADMIN|ADDRESSES|PORTS|ANNOUNCED BY|SERVED BY");
	char buf[1024];
	const json_t *v;
	size_t i;

	json_array_foreach(json_object_get(answer, "vips"), i, v) {
		text_cell(t, "%s", text_of(v, "name"));
		text_cell(t, "%s", text_of(v, "admin"));
		text_cell(t, "%s", joined(json_object_get(v, "addresses"), " ", buf, sizeof(buf)));
		text_cell(t, "%s", joined(json_object_get(v, "ports"), " ", buf, sizeof(buf)));
		text_cell(t, "%s", joined(json_object_get(v, "announced_by"), " ", buf, sizeof(buf)));
		text_cell(t, "%s", joined(json_object_get(v, "serving"), " ", buf, sizeof(buf)));
	}
	text_table_end(t, stdout);
}

static void show_log(const json_t *answer)
{
	struct text_table *t = text_table_new(">INDEX|>TERM|>AGE|TYPE|>MOVES|WHAT");
	const json_t *e, *c;
	size_t i, k;

	json_array_foreach(json_object_get(answer, "log"), i, e) {
		char age[32], what[512] = "";
		size_t have = 0;

		json_array_foreach(json_object_get(e, "changes"), k, c)
			if (have < sizeof(what))
				have += (size_t)snprintf(what + have, sizeof(what) - have, "%s%s %s: %s %s", k ? ", " : "",
							 text_of(c, "kind"), text_of(c, "name"), text_of(c, "field"),
							 text_of(c, "to"));
		text_cell(t, "%d", (int)number_of(e, "index"));
		text_cell(t, "%d", (int)number_of(e, "term"));
		text_cell(t, "%s", is_known(e, "age_s") ? spell_seconds(number_of(e, "age_s"), age) : "-");
		text_cell(t, "%s", text_of(e, "type"));
		text_cell(t, "%d", (int)number_of(e, "moves"));
		text_cell(t, "%s%s%s", what, *what && *text_of(e, "reason") ? " - " : "", text_of(e, "reason"));
	}
	text_table_end(t, stdout);
}

/* Hosts that said nothing, or more than was asked for. */
static void print_unshown(const json_t *answer, const char *what)
{
	const json_t *h;
	size_t i;

	json_array_foreach(json_object_get(answer, "hosts"), i, h) {
		const json_t *reply = json_object_get(h, "answer");
		size_t shown = json_array_size(json_object_get(reply, what));

		if (*text_of(reply, "error"))
			printf("! %s: %s\n", text_of(h, "name"), text_of(reply, "error"));
		else if (number_of(reply, "total") > (double)shown)
			printf("%s: %zu of %.0f shown\n", text_of(h, "name"), shown, number_of(reply, "total"));
	}
	json_array_foreach(json_object_get(answer, "silent"), i, h)
		printf("! %s: no answer\n", json_string_value(h));
}

/* What each host said of the sockets that it has on service addresses. */
static void show_flows(const json_t *answer)
{
	struct text_table *t = text_table_new("HOST|CLIENT|VIP|SERVICE|STATE|>IDLE|>SENT|>UNSENT|>UNREAD");
	const json_t *h, *f;
	char idle[32];
	size_t i, k;

	json_array_foreach(json_object_get(answer, "hosts"), i, h) {
		json_array_foreach(json_object_get(json_object_get(h, "answer"), "flows"), k, f) {
			text_cell(t, "%s", text_of(h, "name"));
			text_cell(t, "%s", text_of(f, "client"));
			text_cell(t, "%s", text_of(f, "vip"));
			text_cell(t, "%s", text_of(f, "service"));
			text_cell(t, "%s", text_of(f, "state"));
			text_cell(t, "%s", is_known(f, "idle_ms") ? spell_seconds(number_of(f, "idle_ms") / 1000, idle) : "-");
			text_cell(t, "%.0f", number_of(f, "bytes_sent"));
			text_cell(t, "%.0f", number_of(f, "send_queue"));
			text_cell(t, "%.0f", number_of(f, "receive_queue"));
		}
	}
	text_table_end(t, stdout);
	print_unshown(answer, "flows");
}

/* What each host has to pass on. */
static void show_rows(const json_t *answer)
{
	struct text_table *t = text_table_new("HOST|CLIENT|VIP|STATE|OWNER|CID|>E|>AGE|>IDLE|>PACKETS|THROUGH");
	const json_t *h, *r;
	char age[32], idle[32];
	size_t i, k;

	json_array_foreach(json_object_get(answer, "hosts"), i, h) {
		json_array_foreach(json_object_get(json_object_get(h, "answer"), "rows"), k, r) {
			text_cell(t, "%s", text_of(h, "name"));
			text_cell(t, "%s", text_of(r, "client"));
			text_cell(t, "%s", text_of(r, "vip"));
			text_cell(t, "%s%s", text_of(r, "state"), is_true(r, "lives") ? "" : " (over)");
			text_cell(t, "%s", *text_of(r, "owner") ? text_of(r, "owner") : "-");
			text_cell(t, "%s", text_of(r, "cid"));
			text_cell(t, "%.0f", number_of(r, "e"));
			text_cell(t, "%s", spell_seconds(number_of(r, "age_ms") / 1000, age));
			text_cell(t, "%s", is_known(r, "idle_ms") ? spell_seconds(number_of(r, "idle_ms") / 1000, idle) : "-");
			text_cell(t, "%.0f", number_of(r, "packets"));
			text_cell(t, "%s", *text_of(r, "through") ? text_of(r, "through") : "-");
		}
	}
	text_table_end(t, stdout);
	print_unshown(answer, "rows");
}

void show_status(const json_t *s)
{
	const json_t *hosts = json_object_get(s, "hosts"), *switches = json_object_get(s, "switches");
	const json_t *table = json_object_get(s, "table"), *log = json_object_get(s, "log"), *e;
	char time[32];
	size_t i;

	printf("POP %s: controller %s, up %s, log at %d.%d%s%s\n", text_of(s, "pop"), text_of(s, "version"),
	       spell_seconds(number_of(s, "uptime_s"), time), (int)number_of(s, "term"), (int)number_of(s, "index"),
	       is_true(log, "ok") ? "" : " - LOG FAILED: ", text_of(log, "error"));
	printf("hosts: %d, %d up, %d sick, %d dead; %d draining, %d out\n", (int)number_of(hosts, "total"),
	       (int)number_of(hosts, "up"), (int)number_of(hosts, "sick"), (int)number_of(hosts, "dead"),
	       (int)number_of(hosts, "draining"), (int)number_of(hosts, "out"));
	printf("switches: %d, %d connected, %d announcing; %d draining, %d out\n", (int)number_of(switches, "total"),
	       (int)number_of(switches, "connected"), (int)number_of(switches, "announcing"),
	       (int)number_of(switches, "draining"), (int)number_of(switches, "out"));
	printf("buckets: %d, %s, %d moving, %d with a history, %d histories cut\n", (int)number_of(table, "buckets"),
	       is_true(table, "settled") ? "settled" : "changing", (int)number_of(table, "moving"),
	       (int)number_of(table, "histories"), (int)number_of(table, "evicted"));
	json_array_foreach(json_object_get(table, "blocked"), i, e)
		printf("! moves wait for %s %s: %s (%s)\n", *text_of(e, "host") ? "host" : "switch",
		       *text_of(e, "host") ? text_of(e, "host") : text_of(e, "switch"), text_of(e, "why"),
		       spell_seconds(number_of(e, "for_s"), time));
	json_array_foreach(json_object_get(s, "alarms"), i, e)
		printf("! %s (%s)\n", text_of(e, "text"), spell_seconds(number_of(e, "for_s"), time));
}

static const char *const whats[] = { "status", "hosts", "buckets", "switches", "vips", "flows", "rows", "log",
				     "pools", "backends", "connections", "moves", NULL };

static json_t *request_for(const char *what, const char *host, uint32_t last, uint32_t limit)
{
	json_t *request;

	if (!strcmp(what, "status"))
		return json_pack("{s:s}", "verb", "status");
	if (!strcmp(what, "flows") || !strcmp(what, "rows")) {
		request = json_pack("{s:s, s:i}", "verb", what, "limit", (int)limit);
		if (host)
			json_object_set_new(request, "host", json_string(host));
		return request;
	}
	request = json_pack("{s:s, s:s}", "verb", "show", "what", what);
	if (!strcmp(what, "log"))
		json_object_set_new(request, "last", json_integer(last));
	return request;
}

static void print(const char *what, const json_t *answer, bool all)
{
	if (!strcmp(what, "status"))
		show_status(answer);
	else if (!strcmp(what, "hosts"))
		show_hosts(answer);
	else if (!strcmp(what, "buckets"))
		show_buckets(answer, all);
	else if (!strcmp(what, "switches"))
		show_switches(answer);
	else if (!strcmp(what, "vips"))
		show_vips(answer);
	else if (!strcmp(what, "flows"))
		show_flows(answer);
	else if (!strcmp(what, "rows"))
		show_rows(answer);
	else
		show_log(answer);
}

static int run(int argc, char **argv)
{
	uint32_t last = 20, limit = 100;
	const char *host = NULL, *word[1] = { "status" };
	bool all = false;
	json_t *answer = NULL;
	int n, status, i;
	const struct cli_option table[] = {
		{ "all", 'a', OPTION_FLAG, &all, NULL, "buckets: a line each, with the history" },
		{ "last", 'n', OPTION_NUMBER, &last, "N", "log: that many entries (20)" },
		{ "host", 0, OPTION_TEXT, &host, "NAME", "flows, rows: of one host only" },
		{ "limit", 0, OPTION_NUMBER, &limit, "N", "flows, rows, connections, moves: at most that many of each host (100)" },
		{ 0 },
	};

	n = cli_parse(&verb_show, table, argc, argv, word, 1);
	if (n < 0)
		return CLI_OVER(n);
	for (i = 0; whats[i] && strcmp(whats[i], word[0]); i++)
		;
	if (!whats[i])
		return cli_usage(&verb_show, "nothing is called '%s'%s", word[0], cli_likely(word[0], whats));
	if (l7_knows(word[0]))
		return l7_show(word[0], limit);
	status = cli_call(request_for(word[0], host, last, limit), &answer);
	if (status == EXIT_DONE && cli.json)
		cli_json(answer);
	else if (status == EXIT_DONE)
		print(word[0], answer, all);
	json_decref(answer);
	return status;
}

const struct verb verb_show = {
	"show",
	"[status|hosts|buckets|switches|vips|flows|rows|log|pools|backends|connections|moves]",
	"what is there, and how it is",
	"  status    the POP in five lines, and what is wrong (the default)\n"
	"  hosts     who serves, how many buckets, who shelters older flows\n"
	"  buckets   who owns each bucket; --all with histories\n"
	"  switches  what each switch has of the log, and whether it announces\n"
	"  vips      the service addresses, who announces and who serves them\n"
	"  flows     connections, asked from the hosts\n"
	"  rows      connections handed off to another host, asked from those to which their packets come\n"
	"  log       the last changes, and their reasons\n"
	"  pools, backends, connections, moves  of the front end on this machine (baton-l7d)",
	run,
};
