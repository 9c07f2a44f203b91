/* SPDX-License-Identifier: BSD-2-Clause */
/* baton pki: the POP's certificate authority (base/pki.h). */
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/pki.h"
#include "cli/options.h"

#define SOON_DAYS 30

struct pki_options {
	const char *dir, *pop;
	bool have_role, keep_key, json;
	enum role role;
	int id, days;
};

static int usage(FILE *out, int status)
{
	fprintf(out,
		"usage: baton pki init   --dir DIR --pop NAME\n"
		"       baton pki issue  --dir DIR --role ROLE --id N [--days N]\n"
		"       baton pki renew  --dir DIR --role ROLE --id N [--days N] [--keep-key]\n"
		"       baton pki show   --dir DIR\n"
		"ROLE is controller, switch, host, edge (the front end of the host of that id) or operator.  DIR holds\n"
		"the authority's key: keep it on a machine that is not part of the POP.  issue and renew fill\n"
		"DIR/ROLE-N/, which that machine gets as /etc/baton/tls (edge: /etc/baton/tls-edge).\n"
		"  --days N     how long it is good: %d, of an operator's %d; at most %d.  The authority: %d\n"
		"  --keep-key   a new certificate for the key that there is\n"
		"  -j           answer in JSON\n"
		"show exits 1 when something has expired or does not read.\n",
		PKI_DAYS, PKI_OPERATOR_DAYS, PKI_DAYS_MAX, PKI_CA_DAYS);
	return status;
}

/* What is wrong goes to stderr, and with -j also to stdout.  Returns status. */
static int fail(const struct pki_options *o, int status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static int fail(const struct pki_options *o, int status, const char *fmt, ...)
{
	char text[640];
	va_list ap;
	json_t *answer;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fprintf(stderr, "baton pki%s\n", text);
	if (o->json) {
		answer = json_pack("{s:b, s:s, s:i}", "ok", 0, "error", text + 1 + strspn(text + 1, " "), "exit", status);
		json_dumpf(answer, stdout, 0);
		putchar('\n');
		json_decref(answer);
	}
	return status;
}

static int number(const struct pki_options *o, const char *option, const char *text, int max, int *out)
{
	char *end;
	long n = strtol(text, &end, 10);

	if (!*text || *end || n < 1 || n > max)
		return fail(o, EXIT_USAGE, ": %s %s: a number from 1 to %d", option, text, max);
	*out = (int)n;
	return 0;
}

static int parse(int argc, char **argv, struct pki_options *o)
{
	static const struct option options[] = {
		{"dir", required_argument, NULL, 'd'}, {"pop", required_argument, NULL, 'p'},
		{"role", required_argument, NULL, 'r'}, {"id", required_argument, NULL, 'i'},
		{"days", required_argument, NULL, 'D'}, {"keep-key", no_argument, NULL, 'k'},
		{"json", no_argument, NULL, 'j'},	{NULL, 0, NULL, 0},
	};
	int c;

	optind = 1;
	while ((c = getopt_long(argc, argv, "j", options, NULL)) != -1) {
		switch (c) {
		case 'd':
			o->dir = optarg;
			break;
		case 'p':
			o->pop = optarg;
			break;
		case 'r':
			if (role_parse(optarg, &o->role))
				return fail(o, EXIT_USAGE, ": --role %s: controller, switch, host, edge or operator", optarg);
			o->have_role = true;
			break;
		case 'i':
			if (number(o, "--id", optarg, UINT16_MAX, &o->id))
				return -EINVAL;
			break;
		case 'D':
			if (number(o, "--days", optarg, PKI_DAYS_MAX, &o->days))
				return -EINVAL;
			break;
		case 'k':
			o->keep_key = true;
			break;
		case 'j':
			o->json = true;
			break;
		default:
			return -EINVAL;
		}
	}
	return optind < argc ? fail(o, EXIT_USAGE, ": %s: no such argument", argv[optind]) : 0;
}

/* --- show ------------------------------------------------------------------------------------------------ */

struct listing {
	json_t *rows; /* NULL: a table on stdout */
	int64_t now;
	bool bad;
};

static const char *state_of(const struct pki_entry *e, int64_t now)
{
	if (!e->authority && e->who.id == 0)
		return "unreadable";
	if (e->ends <= now)
		return "expired";
	return e->ends - now < (int64_t)SOON_DAYS * 86400 ? "expires soon" : "good";
}

static void show_one(void *ctx, const struct pki_entry *e)
{
	struct listing *l = ctx;
	const char *state = state_of(e, l->now), *role = e->authority ? "authority" : role_name(e->who.role);
	long long days = (long long)((e->ends - l->now) / 86400);
	time_t ends = (time_t)e->ends;
	char when[32], id[8] = "-";
	struct tm tm;

	l->bad |= !strcmp(state, "expired") || !strcmp(state, "unreadable");
	if (e->who.id)
		snprintf(id, sizeof(id), "%u", e->who.id);
	gmtime_r(&ends, &tm);
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm);
	if (l->rows) {
		json_array_append_new(l->rows, json_pack("{s:s, s:i, s:s, s:s, s:s, s:I, s:I, s:s, s:s}", "role", role, "id",
							 e->who.id, "pop", e->who.pop, "state", state, "expires", when,
							 "expires_s", (json_int_t)e->ends, "days_left", (json_int_t)days,
							 "serial", e->serial, "path", e->path));
		return;
	}
	printf("%-10s  %5s  %-12s  %-20s  %5lld days  %s\n", role, id, state, when, days, e->path);
}

static int show(const struct pki_options *o)
{
	struct listing l = {.now = (int64_t)time(NULL), .rows = o->json ? json_array() : NULL};
	char why[512];
	int rc;

	if (!o->json)
		printf("%-10s  %5s  %-12s  %-20s  %10s  %s\n", "ROLE", "ID", "STATE", "EXPIRES", "LEFT", "PATH");
	rc = pki_list(o->dir, show_one, &l, why, sizeof(why));
	if (o->json && !rc) {
		json_dumpf(l.rows, stdout, JSON_INDENT(2));
		putchar('\n');
	}
	json_decref(l.rows);
	if (rc)
		return fail(o, 1, " show: %s", why);
	return l.bad ? 1 : 0;
}

/* --- init, issue, renew ------------------------------------------------------------------------------------ */

static int made_json(const char *verb, const struct pki_options *o)
{
	char path[600];
	json_t *answer;

	if (!strcmp(verb, "init"))
		snprintf(path, sizeof(path), "%s", o->dir);
	else
		snprintf(path, sizeof(path), "%s/%s-%d", o->dir, role_name(o->role), o->id);
	answer = json_pack("{s:b, s:s, s:s}", "ok", 1, "done", verb, "path", path);
	json_dumpf(answer, stdout, 0);
	putchar('\n');
	json_decref(answer);
	return 0;
}

static int make(const char *verb, const struct pki_options *o)
{
	char why[512];
	int rc;

	if (!strcmp(verb, "init"))
		rc = pki_init(o->dir, o->pop, why, sizeof(why));
	else if (!strcmp(verb, "issue"))
		rc = pki_issue(o->dir, o->role, (uint16_t)o->id, o->days, why, sizeof(why));
	else
		rc = pki_renew(o->dir, o->role, (uint16_t)o->id, o->days, o->keep_key, why, sizeof(why));
	if (rc)
		return fail(o, 1, " %s: %s", verb, why);
	if (o->json)
		return made_json(verb, o);
	if (!strcmp(verb, "init")) {
		printf("%s: authority of POP %s; whoever has ca.key can join the POP as anybody\n", o->dir, o->pop);
		return 0;
	}
	printf("%s/%s-%d: certificate with %s key; copy ca.pem, cert.pem and key.pem to /etc/baton/tls there (key 0600)%s\n",
	       o->dir, role_name(o->role), o->id, o->keep_key ? "the same" : "a new",
	       !strcmp(verb, "renew") ? " and reload the daemon" : "");
	return 0;
}

int cli_pki(int argc, char **argv)
{
	static const char *const verbs[] = {"init", "issue", "renew", "show", NULL};
	struct pki_options o = {.json = cli.json};
	const char *verb = argc > 1 ? argv[1] : "";
	int i;

	for (i = 1; i < argc; i++) { /* first of all: a wrong word before it is answered in JSON too */
		o.json |= !strcmp(argv[i], "-j") || !strcmp(argv[i], "--json");
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			return usage(stdout, 0);
	}
	for (i = 0; verbs[i] && strcmp(verb, verbs[i]); i++)
		;
	if (!verbs[i]) {
		if (*verb && *verb != '-')
			fail(&o, 2, ": there is no '%s'%s", verb, cli_likely(verb, verbs));
		return usage(stderr, 2);
	}
	if (parse(argc - 1, argv + 1, &o))
		return 2;
	if (!o.dir || (!strcmp(verb, "init") && !o.pop))
		return fail(&o, 2, " %s: %s is missing", verb, o.dir ? "--pop NAME" : "--dir DIR");
	if (!strcmp(verb, "show"))
		return show(&o);
	if (strcmp(verb, "init") && (!o.have_role || !o.id))
		return fail(&o, 2, " %s: %s is missing", verb, o.have_role ? "--id N" : "--role ROLE");
	return make(verb, &o);
}
