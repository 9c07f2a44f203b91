/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * baton roll: every host once, one after another: drain, the operator's command, fill, wait until it
 * serves.  It stops at the first fault and leaves everything as it is, for somebody to look at.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/call.h"
#include "cli/roll_state.h"
#include "cli/table.h"
#include "cli/wait.h"

#define STATE_DIR "/var/lib/baton"
#define STATE_DEFAULT STATE_DIR "/roll.json"

struct roll {
	const char *exec, *hosts, *reason, *state_path;
	uint32_t drain_timeout_ms, up_timeout_ms, parallel;
	bool dry_run, resume;
	json_t *state;
};

/* --- which hosts -------------------------------------------------------------------------------------- */

static const json_t *host_entry(const json_t *answer, const char *name)
{
	const json_t *h;
	size_t i;

	json_array_foreach(json_object_get(answer, "hosts"), i, h)
		if (!strcmp(text_of(h, "name"), name))
			return h;
	return NULL;
}

static int unknown_host(const json_t *answer, const char *name)
{
	const char *names[64];
	const json_t *h;
	size_t i, n = 0;

	json_array_foreach(json_object_get(answer, "hosts"), i, h)
		if (n < 63)
			names[n++] = text_of(h, "name");
	names[n] = NULL;
	return cli_usage(&verb_roll, "there is no host '%s'%s", name, cli_likely(name, names));
}

/* The hosts named, or all that are in service.  EXIT_DONE and *list, or a status after a word. */
static int choose(const struct roll *r, json_t **list)
{
	char *copy = r->hosts ? strdup(r->hosts) : NULL, *rest = copy, *name;
	json_t *answer = NULL;
	const json_t *h;
	size_t i;
	int status = cli_call(json_pack("{s:s, s:s}", "verb", "show", "what", "hosts"), &answer);

	*list = json_array();
	while (status == EXIT_DONE && copy && (name = strsep(&rest, ","))) {
		if (!host_entry(answer, name))
			status = unknown_host(answer, name);
		json_array_append_new(*list, json_string(name));
	}
	json_array_foreach(json_object_get(answer, "hosts"), i, h) {
		if (copy || status != EXIT_DONE)
			break;
		if (!strcmp(text_of(h, "admin"), "in"))
			json_array_append(*list, json_object_get(h, "name"));
		else if (!cli.json)
			printf("host %s is %s already: left alone\n", text_of(h, "name"), text_of(h, "admin"));
	}
	if (status == EXIT_DONE && !json_array_size(*list))
		status = cli_fail(EXIT_FAILED, NULL, "no host is in service");
	json_decref(answer);
	free(copy);
	return status;
}

/* --- one step ----------------------------------------------------------------------------------------- */

/* Somebody else is not well: no time to take another host out. */
static int others_well(const char *name)
{
	json_t *answer = NULL;
	const json_t *h;
	size_t i;
	int status = cli_call(json_pack("{s:s, s:s}", "verb", "show", "what", "hosts"), &answer);

	json_array_foreach(json_object_get(answer, "hosts"), i, h) {
		if (status != EXIT_DONE)
			break;
		if (strcmp(text_of(h, "name"), name) && !strcmp(text_of(h, "admin"), "in") &&
		    strcmp(text_of(h, "health"), "up"))
			status = cli_fail(EXIT_FAILED, "see to it, then: baton roll --resume",
					  "before draining %s: host %s is %s%s%s", name, text_of(h, "name"),
					  text_of(h, "health"), *text_of(h, "why") ? ": " : "", text_of(h, "why"));
	}
	json_decref(answer);
	return status;
}

static int order(const char *verb, const char *name, const char *reason, bool dry_run, json_t **answer)
{
	return cli_call(json_pack("{s:s, s:s, s:s, s:s, s:b}", "verb", verb, "kind", "host", "name", name, "reason",
				  reason, "dry_run", dry_run),
			answer);
}

static int step_drain(struct roll *r, const char *name, double *seconds)
{
	struct waiting w = { .kind = "host", .name = name, .timeout_ms = r->drain_timeout_ms };
	json_t *answer = NULL;
	int status = others_well(name);

	if (status == EXIT_DONE)
		status = order("drain", name, r->reason, false, &answer);
	if (status == EXIT_DONE)
		status = wait_for_drain(&w);
	*seconds = w.seconds;
	json_decref(w.last);
	json_decref(answer);
	return status;
}

static _Noreturn void run_command(const char *command, const char *name)
{
	setenv("BATON_HOST", name, 1);
	if (cli.json) /* stdout is the JSON's */
		dup2(STDERR_FILENO, STDOUT_FILENO);
	execl("/bin/sh", "sh", "-c", command, (char *)NULL);
	_exit(127);
}

static int step_exec(struct roll *r, const char *name, double *seconds)
{
	const char *command = roll_state_exec(r->state);
	uint64_t begin = cli_now_ms();
	int status = 0;
	pid_t pid;

	*seconds = 0;
	if (!command)
		return EXIT_DONE;
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		return cli_fail(EXIT_FAILED, NULL, "cannot start the command: %s", strerror(errno));
	if (!pid)
		run_command(command, name);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	*seconds = (double)(cli_now_ms() - begin) / 1000;
	if (cli_interrupted)
		return EXIT_INTERRUPTED;
	if (WIFEXITED(status) && !WEXITSTATUS(status))
		return EXIT_DONE;
	if (WIFSIGNALED(status))
		return cli_fail(EXIT_FAILED, NULL, "host %s: the command was killed by signal %d", name, WTERMSIG(status));
	return cli_fail(EXIT_FAILED, NULL, "host %s: the command ended with status %d", name, WEXITSTATUS(status));
}

static int step_fill(struct roll *r, const char *name, double *seconds)
{
	struct waiting w = { .kind = "host", .name = name, .timeout_ms = r->up_timeout_ms };
	json_t *answer = NULL;
	int status = order("fill", name, r->reason, false, &answer);

	if (status == EXIT_DONE)
		status = wait_for_service(&w);
	*seconds = w.seconds;
	json_decref(w.last);
	json_decref(answer);
	return status;
}

static int step(struct roll *r, const char *name, double *seconds)
{
	*seconds = 0;
	switch (roll_state_step(r->state)) {
	case ROLL_DRAIN: return step_drain(r, name, seconds);
	case ROLL_EXEC: return step_exec(r, name, seconds);
	case ROLL_FILL: return step_fill(r, name, seconds);
	case ROLL_STEPS: break;
	}
	return EXIT_FAILED;
}

/* --- all of it ---------------------------------------------------------------------------------------- */

static int save(const struct roll *r)
{
	int err = roll_state_save(r->state_path, r->state);

	/* The default's folder belongs to the controller's package; elsewhere than on its machine it may not be there. */
	if (err == -ENOENT && !strcmp(r->state_path, STATE_DEFAULT) && !mkdir(STATE_DIR, 0700))
		err = roll_state_save(r->state_path, r->state);
	if (!err)
		return EXIT_DONE;
	return cli_fail(EXIT_FAILED, "name another place with --state FILE", "cannot keep the state in %s: %s",
			r->state_path, strerror(-err));
}

static void say_step(const struct roll *r, const char *name)
{
	size_t total = json_array_size(json_object_get(r->state, "hosts"));
	size_t next = (size_t)number_of(r->state, "next");

	if (cli.json)
		return;
	switch (roll_state_step(r->state)) {
	case ROLL_DRAIN:
		printf("[%zu/%zu] host %s: drain\n", next + 1, total, name);
		break;
	case ROLL_EXEC:
		if (roll_state_exec(r->state))
			printf("[%zu/%zu] host %s: %s\n", next + 1, total, name, roll_state_exec(r->state));
		break;
	case ROLL_FILL:
		printf("[%zu/%zu] host %s: fill\n", next + 1, total, name);
		break;
	case ROLL_STEPS:
		break;
	}
	fflush(stdout);
}

static void summarise(const struct roll *r)
{
	struct text_table *t = text_table_new("HOST|>DRAIN|>COMMAND|>FILL");
	char text[32];
	const json_t *d;
	size_t i;

	json_array_foreach(json_object_get(r->state, "done"), i, d) {
		text_cell(t, "%s", text_of(d, "host"));
		text_cell(t, "%s", spell_seconds(number_of(d, "drain_s"), text));
		text_cell(t, "%s", spell_seconds(number_of(d, "exec_s"), text));
		text_cell(t, "%s", spell_seconds(number_of(d, "fill_s"), text));
	}
	text_table_end(t, stdout);
}

static void stopped(const struct roll *r, const char *name)
{
	const bool out = roll_state_step(r->state) != ROLL_DRAIN;

	fprintf(stderr, "%sbaton: the roll stops at host %s, which is %s.\n", cli_interrupted ? "\n" : "", name,
		out ? "out of service" : "draining, unless that was refused");
	fprintf(stderr, "       go on:            baton roll --resume%s%s\n",
		strcmp(r->state_path, STATE_DEFAULT) ? " --state " : "",
		strcmp(r->state_path, STATE_DEFAULT) ? r->state_path : "");
	fprintf(stderr, "       give it up:       baton fill host %s; rm %s\n", name, r->state_path);
	if (cli_interrupted && cli.json) {
		json_t *o = json_pack("{s:b, s:s, s:s, s:s, s:i}", "ok", 0, "error", "interrupted", "host", name, "remedy",
				      "baton roll --resume", "exit", EXIT_INTERRUPTED);

		cli_json(o);
		json_decref(o);
	}
}

static int walk(struct roll *r)
{
	const char *name;
	int status = save(r);

	while (status == EXIT_DONE && (name = roll_state_host(r->state))) {
		double seconds;

		say_step(r, name);
		status = step(r, name, &seconds);
		if (status != EXIT_DONE || cli_interrupted) {
			status = status == EXIT_DONE ? EXIT_INTERRUPTED : status;
			stopped(r, name);
			return status;
		}
		roll_state_advance(r->state, seconds);
		status = save(r);
	}
	if (status != EXIT_DONE)
		return status;
	(void)unlink(r->state_path);
	if (cli.json) {
		json_object_set_new(r->state, "ok", json_true());
		cli_json(r->state);
	} else {
		summarise(r);
	}
	return EXIT_DONE;
}

/* Every drain as a dry run: who would be refused, and what would move. */
static int rehearse(const struct roll *r)
{
	json_t *list = json_object_get(r->state, "hosts"), *all = json_array(), *answer;
	const json_t *h;
	int status = EXIT_DONE;
	size_t i;

	json_array_foreach(list, i, h) {
		const char *name = json_string_value(h);
		bool ok = cli_try(json_pack("{s:s, s:s, s:s, s:s, s:b}", "verb", "drain", "kind", "host", "name", name,
					    "reason", r->reason, "dry_run", 1),
				  &answer) == EXIT_DONE;

		if (!ok)
			status = EXIT_REFUSED;
		if (!cli.json && ok)
			printf("%zu. drain %s (%d buckets move), %s, fill\n", i + 1, name, (int)number_of(answer, "moves"),
			       roll_state_exec(r->state) ? roll_state_exec(r->state) : "no command");
		else if (!cli.json)
			printf("%zu. drain %s: refused: %s\n", i + 1, name, text_of(answer, "error"));
		json_array_append_new(all, json_pack("{s:s, s:b, s:s, s:i}", "host", name, "ok", ok, "error",
						     text_of(answer, "error"), "moves", (int)number_of(answer, "moves")));
		json_decref(answer);
	}
	if (cli.json) {
		json_t *o = json_pack("{s:b, s:b, s:O, s:i}", "ok", status == EXIT_DONE, "dry_run", 1, "hosts", all, "exit",
				      status);

		cli_json(o);
		json_decref(o);
	}
	json_decref(all);
	return status;
}

/* EXIT_DONE with r->state: a new roll, or the one that stopped. */
static int begin(struct roll *r)
{
	json_t *hosts = NULL;
	int err, status;

	r->state = roll_state_load(r->state_path, &err);
	if (err)
		return cli_fail(EXIT_FAILED, "remove it, or name another with --state FILE", "%s: %s", r->state_path,
				err == -EBADMSG ? "not the state of a roll" : strerror(-err));
	if (r->resume && !r->state)
		return cli_fail(EXIT_FAILED, "begin a roll without --resume", "no roll has stopped (%s does not exist)",
				r->state_path);
	if (r->resume)
		return EXIT_DONE;
	if (r->state && !r->dry_run)
		return cli_fail(EXIT_FAILED, "go on with --resume, or remove the file to begin anew",
				"a roll stopped at host %s (%s)", roll_state_host(r->state) ? roll_state_host(r->state) : "-",
				r->state_path);
	json_decref(r->state);
	r->state = NULL;
	status = choose(r, &hosts);
	if (status == EXIT_DONE)
		r->state = roll_state_new(hosts, r->exec);
	else
		json_decref(hosts);
	return status;
}

static int run(int argc, char **argv)
{
	struct roll r = { .reason = "roll", .state_path = STATE_DEFAULT, .drain_timeout_ms = 600000,
			  .up_timeout_ms = 300000, .parallel = 1 };
	const char *word[1];
	int n, status;
	const struct cli_option table[] = {
		{ "exec", 'e', OPTION_TEXT, &r.exec, "COMMAND", "run between drain and fill, by sh, with BATON_HOST set" },
		{ "hosts", 0, OPTION_TEXT, &r.hosts, "A,B,...", "these, in this order (all that are in service)" },
		{ "timeout", 't', OPTION_DURATION, &r.drain_timeout_ms, "TIME", "of each drain (10m; 0s: none)" },
		{ "up-timeout", 0, OPTION_DURATION, &r.up_timeout_ms, "TIME", "until a host serves again (5m)" },
		{ "reason", 'r', OPTION_TEXT, &r.reason, "TEXT", "kept in the log" },
		{ "resume", 0, OPTION_FLAG, &r.resume, NULL, "go on where the last roll stopped, repeating that step" },
		{ "state", 0, OPTION_TEXT, &r.state_path, "FILE", "how far it has come (" STATE_DEFAULT ")" },
		{ "dry-run", 'n', OPTION_FLAG, &r.dry_run, NULL, "say what would be done, and which drain be refused" },
		{ "max-parallel", 0, OPTION_NUMBER, &r.parallel, "1", "always one after another" },
		{ 0 },
	};

	n = cli_parse(&verb_roll, table, argc, argv, word, 0);
	if (n < 0)
		return CLI_OVER(n);
	if (r.parallel != 1)
		return cli_usage(&verb_roll, "hosts are rolled one after another: --max-parallel is always 1");
	if (r.resume && (r.exec || r.hosts))
		return cli_usage(&verb_roll, "--resume goes on with the command and the hosts of the roll that stopped");
	status = begin(&r);
	if (status == EXIT_DONE) {
		cli_catch_interrupt();
		status = r.dry_run ? rehearse(&r) : walk(&r);
	}
	json_decref(r.state);
	return status;
}

const struct verb verb_roll = {
	"roll",
	"[--exec COMMAND] [--hosts A,B,...] [--dry-run] | --resume",
	"every host once: drain, a command of yours, fill",
	"Takes the hosts one after another: drain, run COMMAND, fill, wait until it serves.  It stops at the\n"
	"first fault (a host that is not up, a drain that is refused or late, a command that fails) and leaves\n"
	"everything as it is; --resume repeats the step at which it stopped and goes on.\n"
	"Example: baton roll --exec 'ssh $BATON_HOST apt-get -y upgrade' --reason 'security updates'\n"
	"Exit status: 0 all done, 1 a fault, 3 refused, 4 not in time, 5 no controller, 130 interrupted.",
	run,
};
