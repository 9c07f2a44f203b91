/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/call.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/ctl.h"

#define CALL_TIMEOUT_MS 10000

volatile sig_atomic_t cli_interrupted;

static const char *socket_path(void)
{
	static char path[512];

	snprintf(path, sizeof(path), "%s/controld.sock", cli.run_dir);
	return path;
}

/* 0 or -errno; an answer that is not an object is a controller gone mad. */
static int ask(json_t *request, json_t **answer)
{
	int err;

	*answer = NULL;
	err = ctl_call(socket_path(), request, CALL_TIMEOUT_MS, answer);
	json_decref(request);
	if (!err && !json_is_object(*answer)) {
		json_decref(*answer);
		*answer = NULL;
		err = -EBADMSG;
	}
	return err;
}

int cli_try(json_t *request, json_t **answer)
{
	int err = ask(request, answer);

	if (err)
		return err == -ETIMEDOUT ? EXIT_TIMEOUT : EXIT_UNREACHABLE;
	return is_true(*answer, "ok") ? EXIT_DONE : EXIT_REFUSED;
}

static int unreachable(int err)
{
	switch (err) {
	case -ENOENT:
	case -ECONNREFUSED:
		return cli_fail(EXIT_UNREACHABLE,
				"run baton where baton-controld runs (systemctl status baton-controld), or name its --run DIR",
				"no controller at %s", socket_path());
	case -EACCES:
	case -EPERM:
		return cli_fail(EXIT_UNREACHABLE, "use sudo", "not allowed to speak to the controller at %s", socket_path());
	case -ETIMEDOUT:
		return cli_fail(EXIT_TIMEOUT, "look at its log: journalctl -u baton-controld",
				"the controller at %s did not answer within %d s", socket_path(), CALL_TIMEOUT_MS / 1000);
	case -EINTR:
		return EXIT_INTERRUPTED;
	default:
		return cli_fail(EXIT_UNREACHABLE, "look at its log: journalctl -u baton-controld",
				"talking to the controller at %s: %s", socket_path(), strerror(-err));
	}
}

/* A refusal may bring the faults of a configuration along. */
static void print_faults(const json_t *errors)
{
	const json_t *e;
	size_t i;

	json_array_foreach(errors, i, e)
		fprintf(stderr, "  %d:%d: %s\n", (int)number_of(e, "line"), (int)number_of(e, "column"),
			text_of(e, "message"));
}

int cli_call(json_t *request, json_t **answer)
{
	int err = ask(request, answer);
	const char *remedy;

	if (err)
		return unreachable(err);
	if (is_true(*answer, "ok"))
		return EXIT_DONE;
	remedy = text_of(*answer, "remedy");
	print_faults(json_object_get(*answer, "errors"));
	return cli_fail(EXIT_REFUSED, *remedy ? remedy : NULL, "%s",
			*text_of(*answer, "error") ? text_of(*answer, "error") : "the controller refused");
}

void cli_json(const json_t *answer)
{
	json_dumpf(answer, stdout, JSON_INDENT(2));
	putchar('\n');
}

int cli_fail(int status, const char *remedy, const char *fmt, ...)
{
	char *message;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&message, fmt, ap) < 0)
		abort();
	va_end(ap);
	fflush(stdout);
	fprintf(stderr, "baton: %s\n", message);
	if (remedy)
		fprintf(stderr, "       %s\n", remedy);
	if (cli.json) {
		json_t *o = json_pack("{s:b, s:s, s:s, s:i}", "ok", 0, "error", message, "remedy", remedy ? remedy : "",
				      "exit", status);

		if (o)
			cli_json(o);
		json_decref(o);
	}
	free(message);
	return status;
}

const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

double number_of(const json_t *o, const char *key)
{
	return json_number_value(json_object_get(o, key));
}

bool is_true(const json_t *o, const char *key)
{
	return json_is_true(json_object_get(o, key));
}

bool is_known(const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);

	return v && !json_is_null(v);
}

const char *spell_seconds(double s, char buf[32])
{
	if (s < 10)
		snprintf(buf, 32, "%.1f s", s < 0 ? 0 : s);
	else if (s < 90)
		snprintf(buf, 32, "%.0f s", s);
	else if (s < 5400)
		snprintf(buf, 32, "%d min %d s", (int)s / 60, (int)s % 60);
	else
		snprintf(buf, 32, "%.1f h", s < 3.6e8 ? s / 3600 : 1e5);
	return buf;
}

uint64_t cli_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void on_interrupt(int signal)
{
	(void)signal;
	cli_interrupted = 1;
}

void cli_catch_interrupt(void)
{
	struct sigaction sa = { .sa_handler = on_interrupt };

	sigemptyset(&sa.sa_mask);
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
}

void cli_sleep(uint32_t ms)
{
	struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };

	if (!cli_interrupted)
		nanosleep(&t, NULL);
}
