/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The control socket: a server in a child process, asked by the real blocking client and by plain
 * sockets that behave badly.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/ctl.h"

static char dir[64], path[96];
static pid_t child;

/* --- the server ------------------------------------------------------------------------------------- */

static struct event_base *base;
static unsigned late_handled;

static void answer_late(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	late_handled++;
	ctl_answer(arg, json_pack("{s:s}", "came", "late"));
}

static void handle(void *ctx, const char *verb, json_t *args, struct ctl_request *r)
{
	(void)ctx;
	if (!strcmp(verb, "echo")) {
		ctl_answer(r, json_pack("{s:O}", "args", args));
	} else if (!strcmp(verb, "late")) {
		event_base_once(base, -1, EV_TIMEOUT, answer_late, r, &(struct timeval){.tv_usec = 200000});
	} else if (!strcmp(verb, "handled")) {
		ctl_answer(r, json_pack("{s:i}", "late", late_handled));
	} else if (!strcmp(verb, "large")) {
		json_t *list = json_array();

		for (int i = 0; i < 400000; i++)
			json_array_append_new(list, json_integer(i));
		ctl_answer(r, json_pack("{s:o}", "list", list));
	} else {
		ctl_refuse(r, "no such verb", "see baton --help");
	}
}

static void serve(int ready)
{
	struct ctl_server *s;
	int rc;

	base = event_base_new();
	rc = ctl_serve(base, path, handle, NULL, &s);
	if (write(ready, &rc, sizeof(rc)) != sizeof(rc) || rc)
		_exit(1);
	event_base_dispatch(base);
	_exit(0);
}

static int start(void)
{
	int pipes[2], rc = -1;

	assert_int_equal(pipe(pipes), 0);
	child = fork();
	if (child == 0) {
		signal(SIGPIPE, SIG_IGN);
		alarm(120);
		serve(pipes[1]);
	}
	assert_int_equal(read(pipes[0], &rc, sizeof(rc)), sizeof(rc));
	close(pipes[0]);
	close(pipes[1]);
	return rc;
}

static void stop(void)
{
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

static int setup(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN);
	strcpy(dir, "/tmp/test_ctl.XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/x.sock", dir);
	assert_int_equal(start(), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	stop();
	unlink(path);
	return rmdir(dir);
}

/* --- clients ------------------------------------------------------------------------------------------ */

static json_t *ask(const char *verb)
{
	json_t *request = json_pack("{s:s}", "verb", verb), *answer = NULL;

	assert_int_equal(ctl_call(path, request, 5000, &answer), 0);
	json_decref(request);
	return answer;
}

static void assert_serves(void)
{
	json_t *a = ask("echo");

	assert_true(json_is_true(json_object_get(a, "ok")));
	json_decref(a);
}

static int raw(void)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(to.sun_path, path);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

static bool get_line(int fd, char *line, size_t room)
{
	size_t n = 0;

	while (n + 1 < room && read(fd, line + n, 1) == 1) {
		if (line[n++] == '\n') {
			line[n] = '\0';
			return true;
		}
	}
	return false;
}

static void test_answers(void **state)
{
	struct stat st;
	json_t *a;

	(void)state;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_serves();
	a = ask("nothing");
	assert_true(json_is_false(json_object_get(a, "ok")));
	assert_string_equal(json_string_value(json_object_get(a, "error")), "no such verb");
	assert_string_equal(json_string_value(json_object_get(a, "remedy")), "see baton --help");
	json_decref(a);
	a = ask("late");
	assert_string_equal(json_string_value(json_object_get(a, "came")), "late");
	json_decref(a);
	a = ask("large");
	assert_int_equal(json_array_size(json_object_get(a, "list")), 400000);
	json_decref(a);
}

static void test_call_fails(void **state)
{
	json_t *request = json_pack("{s:s}", "verb", "late"), *answer;

	(void)state;
	assert_int_equal(ctl_call("/tmp/no/such.sock", request, 1000, &answer), -ENOENT);
	assert_int_equal(ctl_call(path, request, 50, &answer), -ETIMEDOUT);
	json_decref(request);
	usleep(300000);
	assert_serves();
}

/* Requests behind one another are answered in their order, also after the client's half-close. */
static void test_pipelined(void **state)
{
	static const char three[] = "{\"verb\":\"late\"}\n{\"verb\":\"nothing\"}\n{\"verb\":\"echo\"}\n";
	char line[256];
	int fd = raw();

	(void)state;
	assert_int_equal(write(fd, three, sizeof(three) - 1), sizeof(three) - 1);
	shutdown(fd, SHUT_WR);
	assert_true(get_line(fd, line, sizeof(line)) && strstr(line, "late"));
	assert_true(get_line(fd, line, sizeof(line)) && strstr(line, "no such verb"));
	assert_true(get_line(fd, line, sizeof(line)) && strstr(line, "echo"));
	assert_int_equal(read(fd, line, 1), 0);
	close(fd);
}

static void test_garbage(void **state)
{
	static const char *const bad[] = {"hello\n", "[]\n", "{}\n", "{\"verb\": 3}\n", "{\"verb\":\"a\",\"verb\":\"b\"}\n",
					  "\xff\xfe\n", "\n", "{\"verb\":\"\\u0000\"}\n"};
	char line[256];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int fd = raw();

		assert_true(write(fd, bad[i], strlen(bad[i])) > 0);
		assert_true(get_line(fd, line, sizeof(line)));
		assert_non_null(strstr(line, "\"ok\":false"));
		close(fd);
		assert_serves();
	}
}

static void test_leaves_early(void **state)
{
	json_t *a = ask("handled");
	int before = (int)json_integer_value(json_object_get(a, "late")), fd = raw();

	(void)state;
	json_decref(a);
	assert_int_equal(write(fd, "{\"verb\":\"late\"}\n", 16), 16);
	close(fd);
	usleep(400000);
	a = ask("handled");
	assert_int_equal(json_integer_value(json_object_get(a, "late")), before + 1);
	json_decref(a);
}

static void test_too_long(void **state)
{
	char *bytes = malloc(CTL_LINE_MAX + 1);
	size_t sent = 0;
	int fd = raw();

	(void)state;
	memset(bytes, 'x', CTL_LINE_MAX + 1);
	while (sent <= CTL_LINE_MAX) {
		ssize_t n = send(fd, bytes + sent, CTL_LINE_MAX + 1 - sent, MSG_NOSIGNAL);

		if (n <= 0)
			break;
		sent += (size_t)n;
	}
	assert_int_not_equal(read(fd, bytes, 1), 1); /* closed, unanswered */
	close(fd);
	free(bytes);
	assert_serves();
}

/* A line that never ends ends by its deadline, however often a byte comes. */
static void test_slow_line(void **state)
{
	uint64_t begin = monotonic_ms();
	int fd = raw();

	(void)state;
	while (send(fd, "x", 1, MSG_NOSIGNAL) == 1 && monotonic_ms() - begin < 10000)
		usleep(100000);
	assert_in_range(monotonic_ms() - begin, 4800, 5800);
	close(fd);
	assert_serves();
}

static void test_too_many(void **state)
{
	int fd[CTL_CLIENTS_MAX + 5];
	char byte;

	(void)state;
	for (unsigned i = 0; i < CTL_CLIENTS_MAX + 5; i++)
		fd[i] = raw();
	assert_int_equal(read(fd[CTL_CLIENTS_MAX + 4], &byte, 1), 0);
	for (unsigned i = 0; i < CTL_CLIENTS_MAX + 5; i++)
		close(fd[i]);
	usleep(100000);
	assert_serves();
}

/* Another user than root and the daemon's: the mode keeps him out, and where the mode was changed, the credentials. */
static void test_other_user(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	if (geteuid() != 0)
		skip(); /* only root can become another user */
	assert_int_equal(chmod(dir, 0755), 0);
	assert_int_equal(chmod(path, 0666), 0);
	pid = fork();
	if (pid == 0) {
		json_t *request = json_pack("{s:s}", "verb", "echo"), *answer;

		if (setuid(65534))
			_exit(2);
		_exit(ctl_call(path, request, 2000, &answer) == 0 ? 0 : 1);
	}
	assert_int_equal(chmod(path, 0666), 0);
	waitpid(pid, &status, 0);
	assert_int_equal(WEXITSTATUS(status), 1);
	assert_serves();
	assert_int_equal(chmod(path, 0600), 0);
}

static void test_takes_over(void **state)
{
	pid_t first = child;
	int fd;

	(void)state;
	/* While it lives, no second one. */
	assert_int_equal(start(), -EADDRINUSE);
	waitpid(child, NULL, 0);
	child = first;
	assert_serves();
	/* Killed, its socket is left and replaced. */
	stop();
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(start(), 0);
	assert_serves();
	/* What is no socket is never removed. */
	stop();
	unlink(path);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	assert_int_equal(start(), -EEXIST);
	waitpid(child, NULL, 0);
	unlink(path);
	assert_int_equal(start(), 0);
	assert_serves();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answers),	     cmocka_unit_test(test_call_fails), cmocka_unit_test(test_pipelined),
		cmocka_unit_test(test_garbage),	     cmocka_unit_test(test_leaves_early), cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_slow_line),    cmocka_unit_test(test_too_many),	cmocka_unit_test(test_other_user),
		cmocka_unit_test(test_takes_over),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
