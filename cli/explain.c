/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * baton explain: where a flow's next packet would go, said by those who would carry it.  Everybody
 * answers from his own tables; that they disagree about the bucket is the worst that a POP can have,
 * so it is looked for.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/call.h"
#include "cli/l7.h"
#include "cli/table.h"
#include "pop/address.h"

struct explained {
	const json_t *answer;
	json_t *buckets; /* of `show buckets`; NULL if it could not be had */
	int bucket;	 /* -1: nobody said */
	bool disagree;
};

static void take_bucket(struct explained *x, const json_t *list)
{
	const json_t *e, *b;
	size_t i;

	json_array_foreach(list, i, e) {
		b = json_object_get(json_object_get(e, "answer"), "bucket");
		if (!json_is_integer(b))
			continue;
		if (x->bucket < 0)
			x->bucket = (int)json_integer_value(b);
		else if (x->bucket != (int)json_integer_value(b))
			x->disagree = true;
	}
}

/* The bucket's hosts as the controller has them; NULL if it is not known. */
static json_t *bucket_of(const struct explained *x)
{
	return x->bucket >= 0 ? json_array_get(json_object_get(x->buckets, "buckets"), (size_t)x->bucket) : NULL;
}

static const char *role_of(const json_t *reply)
{
	if (!is_known(reply, "position"))
		return "-";
	switch ((int)number_of(reply, "position")) {
	case 0: return "owner";
	case 1: return "history";
	default: return "older history";
	}
}

static void print_switches(const struct explained *x)
{
	struct text_table *t = text_table_new("SWITCH|>BUCKET|VMAC|PORT|>HAS|");
	const json_t *s;
	size_t i;

	json_array_foreach(json_object_get(x->answer, "switches"), i, s) {
		const json_t *a = json_object_get(s, "answer");

		text_cell(t, "%s", text_of(s, "name"));
		text_cell(t, "%d", (int)number_of(a, "bucket"));
		text_cell(t, "%s", *text_of(a, "vmac") ? text_of(a, "vmac") : "-");
		text_cell(t, "%s", *text_of(a, "port") ? text_of(a, "port") : "-");
		text_cell(t, "%d", (int)number_of(a, "index"));
		text_cell(t, "%s", text_of(a, "error"));
	}
	text_table_end(t, stdout);
}

static void print_hosts(const struct explained *x)
{
	struct text_table *t = text_table_new("HOST|>BUCKET|ROLE|SOCKET|WOULD NOW");
	const json_t *h;
	size_t i;

	json_array_foreach(json_object_get(x->answer, "hosts"), i, h) {
		const json_t *a = json_object_get(h, "answer");

		text_cell(t, "%s", text_of(h, "name"));
		text_cell(t, "%d", (int)number_of(a, "bucket"));
		text_cell(t, "%s", role_of(a));
		text_cell(t, "%s", *text_of(a, "socket") ? text_of(a, "socket") : "-");
		text_cell(t, "%s", *text_of(a, "error") ? text_of(a, "error") : text_of(a, "decision"));
	}
	text_table_end(t, stdout);
}

static void print_all(const struct explained *x, const char *client, const char *vip)
{
	const json_t *bucket = bucket_of(x), *e;
	size_t i;

	printf("%s -> %s: ", client, vip);
	if (x->bucket < 0)
		printf("nobody answered\n");
	else
		printf("bucket %d", x->bucket);
	json_array_foreach(json_object_get(bucket, "hosts"), i, e)
		printf("%s%s", i == 0 ? ", owner " : i == 1 ? ", history " : ", ", json_string_value(e));
	if (is_known(bucket, "next"))
		printf(", moving to %s", text_of(bucket, "next"));
	if (x->bucket >= 0)
		puts("\n");
	print_switches(x);
	putchar('\n');
	print_hosts(x);
	json_array_foreach(json_object_get(x->answer, "silent"), i, e)
		printf("! %s: no answer\n", json_string_value(e));
	if (x->disagree)
		printf("! they do not agree on the bucket: compare hash_seed and versions (baton show switches)\n");
}

static int explain(const char *client, const char *vip, const char *protocol)
{
	struct explained x = { .bucket = -1 };
	json_t *answer = NULL;
	int status;

	status = cli_call(json_pack("{s:s, s:s, s:s, s:s}", "verb", "explain", "client", client, "vip", vip, "protocol",
				    protocol),
			  &answer);
	if (status == EXIT_DONE) {
		x.answer = answer;
		take_bucket(&x, json_object_get(answer, "switches"));
		take_bucket(&x, json_object_get(answer, "hosts"));
		(void)cli_try(json_pack("{s:s, s:s}", "verb", "show", "what", "buckets"), &x.buckets);
		status = x.disagree || x.bucket < 0 ? EXIT_FAILED : EXIT_DONE;
		if (cli.json) {
			if (x.bucket >= 0)
				json_object_set_new(answer, "bucket", json_integer(x.bucket));
			json_object_set(answer, "triple", json_object_get(bucket_of(&x), "hosts"));
			json_object_set_new(answer, "agree", json_boolean(!x.disagree));
			json_object_set_new(answer, "exit", json_integer(status));
			cli_json(answer);
		} else {
			print_all(&x, client, vip);
		}
	}
	json_decref(answer);
	json_decref(x.buckets);
	return status;
}

static int run(int argc, char **argv)
{
	const char *word[2], *protocol = "tcp", *method = "GET", *from = NULL;
	const char *const protocols[] = { "tcp", "udp", NULL };
	struct endpoint client, vip;
	int n;
	const struct cli_option table[] = {
		{ "protocol", 0, OPTION_TEXT, &protocol, "tcp|udp", "of the flow (tcp)" },
		{ "method", 0, OPTION_TEXT, &method, "METHOD", "of a request (GET)" },
		{ "from", 0, OPTION_TEXT, &from, "ADDRESS", "the client of a request, where a pool is by client" },
		{ 0 },
	};

	n = cli_parse(&verb_explain, table, argc, argv, word, 2);
	if (n < 0)
		return CLI_OVER(n);
	if (n == 1 && strstr(word[0], "://"))
		return l7_explain(word[0], method, from);
	if (n < 2)
		return cli_usage(&verb_explain, "which flow? name both ends, or give a URL");
	if (strcmp(protocol, "tcp") && strcmp(protocol, "udp"))
		return cli_usage(&verb_explain, "--protocol is '%s', but must be tcp or udp%s", protocol,
				 cli_likely(protocol, protocols));
	if (!endpoint_parse(&client, word[0]))
		return cli_usage(&verb_explain, "'%s' is not ADDRESS:PORT; IPv6 goes into brackets: [2001:db8::1]:40000", word[0]);
	if (!endpoint_parse(&vip, word[1]))
		return cli_usage(&verb_explain, "'%s' is not ADDRESS:PORT; IPv6 goes into brackets: [2001:db8::80]:443", word[1]);
	if (client.address.family != vip.address.family)
		return cli_usage(&verb_explain, "one end is IPv4, the other IPv6");
	return explain(word[0], word[1], protocol);
}

const struct verb verb_explain = {
	"explain",
	"CLIENT:PORT VIP:PORT | URL",
	"where a flow's next packet or a request would go, and why",
	"Asks every switch which bucket the flow falls into and where that bucket points, and every host\n"
	"what it would decide if the flow's next packet came to it now: accept, or send on to whom.\n"
	"A URL is asked of the front end on this machine: which pool, and which backends in which order.\n"
	"Exit status: 0 all agree on the bucket, 1 they do not or nobody answers, 2 usage, 5 no controller.",
	run,
};
