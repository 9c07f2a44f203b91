/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The frame of a daemon, as a child process: options, what the service manager hears, reload, stop,
 * watchdog, metrics.  And the small things under it: addresses and files.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/sockaddr.h"
#include "base/daemon.h"
#include "base/file.h"
#include "base/log.h"
#include "base/pki.h"

static char dir[64];
static int manager; /* the service manager's end of NOTIFY_SOCKET */

static int setup(void **state)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	char ca[80], why[512];

	(void)state;
	strcpy(dir, "/tmp/test_daemon.XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(ca, sizeof(ca), "%s/ca", dir);
	assert_int_equal(pki_init(ca, "demo", why, sizeof(why)), 0);
	assert_int_equal(pki_issue(ca, ROLE_HOST, 1, 0, why, sizeof(why)), 0);
	snprintf(at.sun_path, sizeof(at.sun_path), "%s/notify", dir);
	manager = socket(AF_UNIX, SOCK_DGRAM, 0);
	assert_int_equal(bind(manager, (struct sockaddr *)&at, sizeof(at)), 0);
	setenv("NOTIFY_SOCKET", at.sun_path, 1);
	return 0;
}

static int teardown(void **state)
{
	char command[128];

	(void)state;
	close(manager);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

/* --- the daemon --------------------------------------------------------------------------------------- */

static void on_reload(struct daemon *d)
{
	daemon_status(d, "reloaded\nREADY=forged");
}

static void on_stop(struct daemon *d)
{
	daemon_status(d, "going");
}

static pid_t start(const char *metrics)
{
	char tls[80], run_dir[80], state_dir[80];
	char *argv[] = {(char[]){"baton-testd"}, (char[]){"--tls"}, tls, (char[]){"--run"}, run_dir, (char[]){"--state"},
			state_dir, (char[]){"--metrics"}, NULL, NULL};
	struct daemon d;
	pid_t pid = fork();
	int rc;

	if (pid)
		return pid;
	alarm(60);
	snprintf(tls, sizeof(tls), "%s/ca/host-1", dir);
	snprintf(run_dir, sizeof(run_dir), "%s/run/baton", dir);
	snprintf(state_dir, sizeof(state_dir), "%s/state", dir);
	argv[8] = strdup(metrics);
	rc = daemon_init(&d, "baton-testd", 9, argv);
	if (rc)
		_exit(rc);
	d.reload = on_reload;
	d.stop = on_stop;
	if (daemon_metrics(&d, NULL, NULL))
		_exit(50);
	rc = daemon_run(&d);
	daemon_free(&d);
	_exit(rc);
}

static void expect(const char *begin)
{
	struct pollfd p = {.fd = manager, .events = POLLIN};
	char text[1024];
	ssize_t n = poll(&p, 1, 3000) == 1 ? recv(manager, text, sizeof(text) - 1, 0) : 0;

	text[n > 0 ? n : 0] = '\0';
	if (strncmp(text, begin, strlen(begin)))
		fail_msg("\"%s\", expected \"%s\"", text, begin);
}

static void test_life(void **state)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(19437)};
	char page[65536];
	size_t have = 0;
	ssize_t n;
	pid_t pid;
	int status, fd;

	(void)state;
	setenv("WATCHDOG_USEC", "400000", 1);
	pid = start("127.0.0.1:19437");
	expect("READY=1");
	expect("WATCHDOG=1");
	expect("WATCHDOG=1");
	kill(pid, SIGHUP);
	do {
		n = recv(manager, page, sizeof(page) - 1, 0);
		page[n] = '\0';
	} while (!strcmp(page, "WATCHDOG=1"));
	assert_memory_equal(page, "RELOADING=1\nMONOTONIC_USEC=", 27);
	expect("STATUS=reloaded READY=forged");
	expect("READY=1");
	fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	assert_true(send(fd, "GET /metrics HTTP/1.1\r\n\r\n", 25, 0) == 25);
	while ((n = recv(fd, page + have, sizeof(page) - 1 - have, 0)) > 0)
		have += (size_t)n;
	page[have] = '\0';
	close(fd);
	assert_non_null(strstr(page, "baton_build_info{program=\"baton-testd\",version=\"" BATON_VERSION "\"} 1\n"));
	assert_non_null(strstr(page, "baton_certificate_expiry_timestamp_seconds "));
	if (system("promtool --version >/dev/null 2>&1") == 0) {
		FILE *p = popen("promtool check metrics", "w");

		fputs(strstr(page, "\r\n\r\n") + 4, p);
		assert_int_equal(pclose(p), 0);
	}
	kill(pid, SIGTERM);
	do {
		n = recv(manager, page, sizeof(page) - 1, 0);
		page[n] = '\0';
	} while (!strcmp(page, "WATCHDOG=1"));
	assert_string_equal(page, "STOPPING=1");
	expect("STATUS=going");
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	unsetenv("WATCHDOG_USEC");
}

static int exit_of(int argc, char **argv)
{
	struct daemon d;
	int status, null;
	pid_t pid = fork();

	if (pid == 0) {
		null = open("/dev/null", O_WRONLY);
		dup2(null, 1);
		dup2(null, 2);
		_exit(daemon_init(&d, "baton-testd", argc, argv) & 0xff);
	}
	waitpid(pid, &status, 0);
	return WEXITSTATUS(status);
}

static void test_options(void **state)
{
	char run_dir[80];

	(void)state;
	snprintf(run_dir, sizeof(run_dir), "%s/run2", dir);
	assert_int_equal(exit_of(2, (char *[]){(char[]){"x"}, (char[]){"--help"}, NULL}), 0xff);
	assert_int_equal(exit_of(2, (char *[]){(char[]){"x"}, (char[]){"--version"}, NULL}), 0xff);
	assert_int_equal(exit_of(2, (char *[]){(char[]){"x"}, (char[]){"--nonsense"}, NULL}), 2);
	assert_int_equal(exit_of(2, (char *[]){(char[]){"x"}, (char[]){"stray"}, NULL}), 2);
	assert_int_equal(exit_of(3, (char *[]){(char[]){"x"}, (char[]){"--log"}, (char[]){"loud"}, NULL}), 2);
	/* No certificate: said, and not started. */
	assert_int_equal(exit_of(7, (char *[]){(char[]){"x"}, (char[]){"--run"}, run_dir, (char[]){"--state"}, run_dir,
					       (char[]){"--tls"}, run_dir, NULL}), 1);
}

static void test_addresses(void **state)
{
	static const char *const good[] = {"192.0.2.1:7430", "[2001:db8::1]:7430", "0.0.0.0:0", "[::]:65535", "127.0.0.1:1"};
	static const char *const bad[] = {"", ":", "192.0.2.1", "192.0.2.1:", "192.0.2.1:x", "192.0.2.1:-1", "192.0.2.1: 1",
					  "192.0.2.1:65536", "192.0.2.1:000001", "[192.0.2.1]:1", "2001:db8::1:80", "[2001:db8::1]",
					  "[2001:db8::1]80", "[2001:db8::1]:", "[::1:80", "host:80", "192.0.2.256:80",
					  "[00000000000000000000000000000000000000000000000000::1]:1"};
	struct sockaddr_storage at;
	char text[SOCKADDR_TEXT_MAX];
	socklen_t len;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(sockaddr_parse(good[i], &at, &len), 0);
		assert_string_equal(sockaddr_print((struct sockaddr *)&at, text), good[i]);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (sockaddr_parse(bad[i], &at, &len) != -EINVAL)
			fail_msg("accepted: %s", bad[i]);
	}
	at.ss_family = AF_UNIX;
	assert_string_equal(sockaddr_print((struct sockaddr *)&at, text), "unknown");
}

static void test_files(void **state)
{
	char path[200], deep[120], *text;
	struct stat st;
	size_t len;

	(void)state;
	snprintf(deep, sizeof(deep), "%s/a/b/c", dir);
	snprintf(path, sizeof(path), "%s/f", deep);
	assert_int_equal(file_write(path, "x", 1, 0600), -ENOENT);
	assert_int_equal(file_make_dir(deep, 0755), 0);
	assert_int_equal(file_make_dir(deep, 0755), 0);
	assert_int_equal(file_write(path, "one\0two", 7, 0600), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(file_read(path, 7, &text, &len), 0);
	assert_int_equal(len, 7);
	assert_memory_equal(text, "one\0two", 8);
	free(text);
	assert_int_equal(file_read(path, 6, &text, &len), -EFBIG);
	assert_int_equal(file_write(path, "", 0, 0600), 0);
	assert_int_equal(file_read(path, 6, &text, &len), 0);
	assert_int_equal(len, 0);
	free(text);
	assert_int_equal(file_read("/nonexistent", 6, &text, &len), -ENOENT);
	assert_int_equal(file_read("/proc/self/status", 1 << 16, &text, &len), 0);
	assert_true(len > 100);
	free(text);
	/* Where the new text cannot be put, the old one stays and nothing is left beside it. */
	assert_int_equal(file_write(deep, "x", 1, 0600), -EISDIR);
	snprintf(path, sizeof(path), "%s.tmp", deep);
	assert_int_equal(access(path, F_OK), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_life),
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_files),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
