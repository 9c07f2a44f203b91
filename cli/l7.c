/* SPDX-License-Identifier: BSD-2-Clause */
/* Pools, backends, connections and routes of the front end on this machine.  See l7.h. */
#include "cli/l7.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/ctl.h"
#include "cli/call.h"
#include "cli/table.h"
#include "cli/verb.h"

#define L7_TIMEOUT_MS 10000

static int ask(json_t *request, json_t **answer)
{
	char path[512];
	int err;

	snprintf(path, sizeof(path), "%s/l7d.sock", cli.run_dir);
	err = ctl_call(path, request, L7_TIMEOUT_MS, answer);
	json_decref(request);
	if (err)
		return cli_fail(err == -ETIMEDOUT ? EXIT_TIMEOUT : EXIT_UNREACHABLE,
				"run baton on a host where baton-l7d runs (systemctl status baton-l7d), or name its --run DIR",
				"no front end at %s: %s", path, strerror(-err));
	if (!is_true(*answer, "ok")) {
		const char *remedy = text_of(*answer, "remedy");

		return cli_fail(EXIT_REFUSED, *remedy ? remedy : NULL, "%s", text_of(*answer, "error"));
	}
	return EXIT_DONE;
}

bool l7_knows(const char *what)
{
	return !strcmp(what, "pools") || !strcmp(what, "backends") || !strcmp(what, "connections") || !strcmp(what, "moves");
}

static void print_pools(const json_t *rows)
{
	struct text_table *t = text_table_new("POOL|POLICY|>BACKENDS|>UP|>ACTIVE|>QUEUED|>REQUESTS|>FAILURES");
	const json_t *r;
	size_t i;

	json_array_foreach(rows, i, r) {
		text_cell(t, "%s", text_of(r, "pool"));
		text_cell(t, "%s", text_of(r, "policy"));
		text_cell(t, "%.0f", number_of(r, "backends"));
		text_cell(t, "%.0f", number_of(r, "up"));
		text_cell(t, "%.0f", number_of(r, "active"));
		text_cell(t, "%.0f", number_of(r, "queued"));
		text_cell(t, "%.0f", number_of(r, "requests"));
		text_cell(t, "%.0f", number_of(r, "failures"));
	}
	text_table_end(t, stdout);
}

static void print_backends(const json_t *rows)
{
	struct text_table *t =
		text_table_new("POOL|BACKEND|HEALTH|>WEIGHT|>SHARE|>ACTIVE|>REQUESTS|>FAILURES|>CONNECTIONS|>IDLE|>MADE|>KEPT");
	const json_t *r;
	size_t i;

	json_array_foreach(rows, i, r) {
		text_cell(t, "%s", text_of(r, "pool"));
		text_cell(t, "%s", text_of(r, "backend"));
		text_cell(t, "%s", text_of(r, "health"));
		text_cell(t, "%.0f", number_of(r, "weight"));
		text_cell(t, "%.2f", number_of(r, "share"));
		text_cell(t, "%.0f", number_of(r, "active"));
		text_cell(t, "%.0f", number_of(r, "requests"));
		text_cell(t, "%.0f", number_of(r, "failures"));
		text_cell(t, "%.0f", number_of(r, "connections"));
		text_cell(t, "%.0f", number_of(r, "idle"));
		text_cell(t, "%.0f", number_of(r, "made"));
		text_cell(t, "%.0f", number_of(r, "kept"));
	}
	text_table_end(t, stdout);
}

static void print_connections(const json_t *rows)
{
	struct text_table *t = text_table_new("CID|CLIENT|VIP|>PORT|PROTOCOL|TLS|STATE|>AGE|>REQUESTS|>RECEIVED|>SENT|>INGRESS|>MOVES|BACKEND");
	const json_t *r;
	char age[32];
	size_t i;

	json_array_foreach(rows, i, r) {
		text_cell(t, "%s", text_of(r, "cid"));
		text_cell(t, "%s", text_of(r, "client"));
		text_cell(t, "%s", text_of(r, "vip"));
		text_cell(t, "%.0f", number_of(r, "port"));
		text_cell(t, "%s", text_of(r, "protocol"));
		text_cell(t, "%s", *text_of(r, "tls") ? text_of(r, "tls") : "-");
		text_cell(t, "%s", text_of(r, "state"));
		text_cell(t, "%s", spell_seconds(number_of(r, "age_ms") / 1000, age));
		text_cell(t, "%.0f", number_of(r, "requests"));
		text_cell(t, "%.0f", number_of(r, "received"));
		text_cell(t, "%.0f", number_of(r, "sent"));
		text_cell(t, "%.0f", number_of(r, "ingress"));
		text_cell(t, "%.0f", number_of(r, "moves"));
		text_cell(t, "%s", *text_of(r, "backend") ? text_of(r, "backend") : "-");
	}
	text_table_end(t, stdout);
}

static void print_moves(const json_t *rows)
{
	struct text_table *t = text_table_new("CID|>E|>FROM|>TO|>INGRESS|END|REASON|WHY|>OCTETS|>HELD us|>EXPORT|>OFFER|>ANSWER|>IMPORT");
	static const char *const span[] = { "held_ns", "export_ns", "offer_ns", "answer_ns", "import_ns" };
	const json_t *r;
	size_t i, k;

	json_array_foreach(rows, i, r) {
		text_cell(t, "%s", text_of(r, "cid"));
		text_cell(t, "%.0f", number_of(r, "e"));
		text_cell(t, "%.0f", number_of(r, "from"));
		text_cell(t, "%.0f", number_of(r, "to"));
		text_cell(t, "%.0f", number_of(r, "ingress"));
		text_cell(t, "%s", text_of(r, "end"));
		text_cell(t, "%s", *text_of(r, "reason") ? text_of(r, "reason") : "-");
		text_cell(t, "%s", *text_of(r, "why") ? text_of(r, "why") : "-");
		text_cell(t, "%.0f", number_of(r, "octets"));
		for (k = 0; k < sizeof(span) / sizeof(*span); k++)
			text_cell(t, "%.1f", number_of(r, span[k]) / 1000);
	}
	text_table_end(t, stdout);
}

int l7_show(const char *what, uint32_t limit)
{
	json_t *answer = NULL;
	const json_t *rows;
	int status = ask(json_pack("{s:s, s:i}", "verb", what, "limit", (int)limit), &answer);

	rows = json_object_get(answer, what);
	if (status == EXIT_DONE && cli.json)
		cli_json(answer);
	else if (status == EXIT_DONE && !strcmp(what, "pools"))
		print_pools(rows);
	else if (status == EXIT_DONE && !strcmp(what, "backends"))
		print_backends(rows);
	else if (status == EXIT_DONE && !strcmp(what, "moves"))
		print_moves(rows);
	else if (status == EXIT_DONE)
		print_connections(rows);
	json_decref(answer);
	return status;
}

int l7_explain(const char *url, const char *method, const char *client)
{
	json_t *request = json_pack("{s:s, s:s, s:s}", "verb", "explain", "url", url, "method", method), *answer = NULL;
	const json_t *e, *b;
	int status;
	size_t i;

	if (client)
		json_object_set_new(request, "client", json_string(client));
	status = ask(request, &answer);
	if (status == EXIT_DONE && cli.json) {
		cli_json(answer);
	} else if (status == EXIT_DONE) {
		e = json_object_get(answer, "explain");
		printf("%s %s: pool %s\n", method, url, text_of(e, "pool"));
		json_array_foreach(json_object_get(e, "backends"), i, b)
			printf("  %zu. %s\n", i + 1, json_string_value(b));
	}
	json_decref(answer);
	return status;
}
