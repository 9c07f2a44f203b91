/* SPDX-License-Identifier: BSD-2-Clause */
/* baton demo [run|up|down]: which is meant, where its tools are, and its verdict in JSON. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/demo.h"
#include "cli/options.h"

/* As a person in this directory would write it: it is shown, in the commands that the demo gives. */
static void shorten(char *path, size_t len)
{
	char *real = realpath(path, NULL), *here = getcwd(NULL, 0);
	size_t n = here ? strlen(here) : 0;

	if (real && here && !strncmp(real, here, n) && real[n] == '/')
		snprintf(path, len, "%s", real + n + 1);
	else if (real)
		snprintf(path, len, "%s", real);
	free(real);
	free(here);
}

/* The tooling lies beside the program in a build tree (../deploy/pop), else where it was installed. */
static int find_tools(struct demo *d)
{
	const char *share = getenv("BATON_SHARE");
	ssize_t n = readlink("/proc/self/exe", d->self, sizeof(d->self) - 1);
	char *slash;
	int len;

	if (n <= 0)
		return -1;
	d->self[n] = 0;
	slash = strrchr(d->self, '/');
	len = (int)(slash - d->self);
	if (share)
		snprintf(d->pop, sizeof(d->pop), "%.400s/deploy/pop/pop", share);
	else
		snprintf(d->pop, sizeof(d->pop), "%.*s/../deploy/pop/pop", len < 400 ? len : 400, d->self);
	shorten(d->pop, sizeof(d->pop));
	snprintf(d->tools, sizeof(d->tools), "%.*s/tests/load", len < 400 ? len : 400, d->self);
	if (access(d->pop, X_OK)) {
		fprintf(stderr, "baton demo: %s: %s; set BATON_SHARE to the directory that holds deploy/\n", d->pop, strerror(errno));
		return -1;
	}
	return 0;
}

/* up and down are the tool's own verbs; it says what it does.  With -j it says so on stderr. */
static int demo_pop(struct demo *d, const char *verb, bool up)
{
	char down[DEMO_PATH + 16];
	const char *argv[] = { d->pop, verb, "--prefix", d->prefix, up ? "--how-down" : NULL, down, d->handoff ? NULL : "--no-handoff", NULL };
	int status = 0;
	pid_t pid;

	shorten(d->self, sizeof(d->self));
	snprintf(down, sizeof(down), "%s demo down", d->self);
	pid = fork();
	if (!pid) {
		char *copy[8] = { NULL };

		for (int i = 0; argv[i]; i++)
			copy[i] = strdup(argv[i]);
		if (cli.json)
			dup2(STDERR_FILENO, STDOUT_FILENO);
		execv(d->pop, copy);
		fprintf(stderr, "baton demo: %s: %s\n", d->pop, strerror(errno));
		_exit(127);
	}
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	status = pid > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILED;
	if (cli.json)
		printf("{\"ok\": %s, \"prefix\": \"%s\", \"directory\": \"/run/baton-pop/%s\"}\n", status ? "false" : "true", d->prefix, d->prefix);
	return status;
}

/* With -j stdout is the verdict's alone; what is shown meanwhile goes to stderr. */
static int demo_run_json(struct demo *d)
{
	int out = dup(STDOUT_FILENO), status;
	json_t *verdict;

	dup2(STDERR_FILENO, STDOUT_FILENO);
	d->tty = false;
	status = demo_run(d);
	fflush(stdout);
	verdict = d->verdict;
	if (!verdict)
		verdict = json_pack("{s:b, s:s}", "passed", 0, "why", d->said[0] ? d->said : "it did not come to its end");
	json_object_set_new(verdict, "ok", json_boolean(!status));
	json_object_set_new(verdict, "exit", json_integer(status));
	json_dumpfd(verdict, out, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
	dprintf(out, "\n");
	json_decref(verdict);
	return status;
}

static int demo_usage(FILE *out, int status)
{
	fprintf(out, "usage: baton demo [run|up|down] [-j] [--no-handoff] [--quick]\n"
		     "  run    raise a POP, drain all of it under load, prove that nothing broke, remove it (4 minutes)\n"
		     "  up     raise the POP and leave it for exploring        down   remove it\n"
		     "  -j     the verdict (up, down: how it went) as JSON on stdout, all else on stderr\n"
		     "  --no-handoff  front ends proxy all; else half of the connections move to the host that answers, and the demo shows who does\n"
		     "  --quick       drain one host only (a minute)\n");
	return status;
}

int cli_demo(int argc, char **argv)
{
	static const char *const verbs[] = { "run", "up", "down", NULL };
	static struct demo d;
	const char *verb = NULL;
	int i;

	d.handoff = true;
	for (i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			return demo_usage(stdout, EXIT_DONE);
		if (!strcmp(argv[i], "-j") || !strcmp(argv[i], "--json"))
			cli.json = true;
		else if (!strcmp(argv[i], "--no-handoff"))
			d.handoff = false;
		else if (!strcmp(argv[i], "--quick"))
			d.quick = true;
		else if (!verb)
			verb = argv[i];
		else
			return fprintf(stderr, "baton demo: '%s' is one word too many\n", argv[i]), demo_usage(stderr, EXIT_USAGE);
	}
	verb = verb ? verb : "run";
	for (i = 0; verbs[i] && strcmp(verb, verbs[i]); i++)
		;
	if (!verbs[i]) {
		fprintf(stderr, "baton demo: there is no '%s'%s\n", verb, cli_likely(verb, verbs));
		return demo_usage(stderr, EXIT_USAGE);
	}
	d.begun_s = demo_now_s();
	d.tty = isatty(STDOUT_FILENO);
	d.prefix = getenv("BATON_POP_PREFIX");
	if (find_tools(&d))
		return EXIT_FAILED;
	if (!d.prefix)
		d.prefix = i ? "baton" : "baton-demo";
	if (i)
		return demo_pop(&d, verb, i == 1);
	return cli.json ? demo_run_json(&d) : demo_run(&d);
}
