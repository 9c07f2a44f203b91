/* SPDX-License-Identifier: BSD-2-Clause */
/* baton pki: the POP's certificate authority (base/pki.h). */
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/pki.h"
#include "cli/verb.h"

#define SOON_DAYS 30

struct pki_options {
	const char *dir, *pop;
	bool have_role, keep_key, json;
	enum role role;
	int id, days;
};

static int usage(FILE *out, int status)
{
	fputs("usage: baton pki init   --dir DIR --pop NAME\n"
	      "       baton pki issue  --dir DIR --role ROLE --id N [--days N]\n"
	      "       baton pki renew  --dir DIR --role ROLE --id N [--days N] [--keep-key]\n"
	      "       baton pki show   --dir DIR [-j]\n"
	      "ROLE is controller, switch, host, edge (the front end of the host of that id) or operator.  DIR holds the authority's key: keep it on a machine\n"
	      "that is not part of the POP.  issue and renew fill DIR/ROLE-N/, which that machine gets as /etc/baton/tls.\n"
	      "show exits 1 when something has expired or does not read.\n",
	      out);
	return status;
}

static int number(const char *option, const char *text, int max, int *out)
{
	char *end;
	long n = strtol(text, &end, 10);

	if (!*text || *end || n < 1 || n > max) {
		fprintf(stderr, "baton pki: %s %s: a number from 1 to %d\n", option, text, max);
		return -EINVAL;
	}
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
			if (role_parse(optarg, &o->role)) {
				fprintf(stderr, "baton pki: --role %s: controller, switch, host, edge or operator\n", optarg);
				return -EINVAL;
			}
			o->have_role = true;
			break;
		case 'i':
			if (number("--id", optarg, UINT16_MAX, &o->id))
				return -EINVAL;
			break;
		case 'D':
			if (number("--days", optarg, PKI_DAYS_MAX, &o->days))
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
	if (optind < argc) {
		fprintf(stderr, "baton pki: %s: no such argument\n", argv[optind]);
		return -EINVAL;
	}
	return 0;
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
	if (rc) {
		fprintf(stderr, "baton pki show: %s\n", why);
		return 1;
	}
	return l.bad ? 1 : 0;
}

/* --- init, issue, renew ------------------------------------------------------------------------------------ */

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
	if (rc) {
		fprintf(stderr, "baton pki %s: %s\n", verb, why);
		return 1;
	}
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
	struct pki_options o = {.dir = NULL};
	const char *verb = argc > 1 ? argv[1] : "";

	if (!strcmp(verb, "--help") || !strcmp(verb, "-h"))
		return usage(stdout, 0);
	if (strcmp(verb, "init") && strcmp(verb, "issue") && strcmp(verb, "renew") && strcmp(verb, "show"))
		return usage(stderr, 2);
	if (parse(argc - 1, argv + 1, &o))
		return 2;
	if (!o.dir || (!strcmp(verb, "init") && !o.pop)) {
		fprintf(stderr, "baton pki %s: %s is missing\n", verb, o.dir ? "--pop NAME" : "--dir DIR");
		return 2;
	}
	if (!strcmp(verb, "show"))
		return show(&o);
	if (strcmp(verb, "init") && (!o.have_role || !o.id)) {
		fprintf(stderr, "baton pki %s: %s is missing\n", verb, o.have_role ? "--id N" : "--role ROLE");
		return 2;
	}
	return make(verb, &o);
}
