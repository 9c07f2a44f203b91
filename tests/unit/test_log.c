/* SPDX-License-Identifier: BSD-2-Clause */
/* The log: what the journal is sent, what stderr gets, and that no message can forge another. */
#include <endian.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/notify.h"

static char dir[64];
static int journal;

static int setup(void **state)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};

	(void)state;
	strcpy(dir, "/tmp/test_log.XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(at.sun_path, sizeof(at.sun_path), "%s/journal", dir);
	journal = socket(AF_UNIX, SOCK_DGRAM, 0);
	assert_int_equal(bind(journal, (struct sockaddr *)&at, sizeof(at)), 0);
	setenv("BATON_JOURNAL_SOCKET", at.sun_path, 1);
	setenv("NOTIFY_SOCKET", at.sun_path, 1);
	log_open("baton-testd", LOG_LEVEL_INFO);
	return 0;
}

static int teardown(void **state)
{
	char path[80];

	(void)state;
	close(journal);
	snprintf(path, sizeof(path), "%s/journal", dir);
	unlink(path);
	return rmdir(dir);
}

static size_t receive(char *record, size_t room)
{
	ssize_t n = recv(journal, record, room - 1, MSG_DONTWAIT);

	record[n > 0 ? n : 0] = '\0';
	return n > 0 ? (size_t)n : 0;
}

static void test_journal(void **state)
{
	const char *fields[] = {"BATON_HOST=3", "BATON_WHY=two\nlines", "bad=dropped", "NO_EQUALS", "=x", "9A=x", NULL};
	char record[65536];
	uint64_t before = log_count(LOG_LEVEL_WARNING);

	(void)state;
	log_fields(LOG_LEVEL_WARNING, fields, "host %d is sick", 3);
	receive(record, sizeof(record));
	assert_string_equal(record, "PRIORITY=4\nSYSLOG_IDENTIFIER=baton-testd\nMESSAGE=host 3 is sick\nBATON_HOST=3\nBATON_WHY\n\x09");
	assert_memory_equal(strstr(record, "BATON_WHY\n") + 10, "\x09\0\0\0\0\0\0\0two\nlines\n", 18);
	assert_int_equal(log_count(LOG_LEVEL_WARNING), before + 1);
	log_debug("below the level");
	assert_int_equal(receive(record, sizeof(record)), 0);
	errno = ENOENT;
	log_info("x");
	assert_int_equal(errno, ENOENT);
	receive(record, sizeof(record));
}

/* A newline in a message must not become a field of its own. */
static void test_journal_forgery(void **state)
{
	char record[65536];
	size_t n;

	(void)state;
	log_error("peer says %s", "x\nPRIORITY=7\nFORGED=1");
	n = receive(record, sizeof(record));
	uint64_t size;
	char *at = memmem(record, n, "MESSAGE\n", 8);

	assert_non_null(at);
	memcpy(&size, at + 8, 8);
	assert_int_equal(le64toh(size), strlen("peer says x\nPRIORITY=7\nFORGED=1"));
	assert_memory_equal(at + 16 + le64toh(size), "\n", 1);
	assert_ptr_equal(at + 16 + le64toh(size) + 1, record + n); /* nothing behind it */
}

static void test_bounds(void **state)
{
	static char field[600], large[10000];
	const char *fields[40];
	char record[65536];

	(void)state;
	memset(large, 'm', sizeof(large) - 1);
	memset(field, 'v', sizeof(field) - 1);
	memcpy(field, "KEY=", 4);
	field[500] = '\0';
	for (int i = 0; i < 39; i++)
		fields[i] = field;
	fields[39] = NULL;
	log_fields(LOG_LEVEL_ERROR, fields, "%s", large);
	assert_true(receive(record, sizeof(record)) > LOG_MESSAGE_MAX);
	assert_non_null(strstr(record, "mmm...\n"));
	unsigned n = 0;

	for (char *k = record; (k = strstr(k, "\nKEY=")); k++)
		n++;
	assert_int_equal(n, LOG_FIELDS_MAX);
	field[500] = 'v'; /* too long a field is left out, the message is not */
	log_fields(LOG_LEVEL_ERROR, (const char *[]){field, "A=1", NULL}, "short");
	receive(record, sizeof(record));
	assert_non_null(strstr(record, "MESSAGE=short\nA=1\n"));
}

static void test_journal_gone(void **state)
{
	uint64_t lost = log_lost();
	char record[65536];
	int err = dup(2), pipes[2];
	ssize_t n;

	(void)state;
	/* Fill it: messages are counted as lost, nobody waits; a warning goes to stderr instead. */
	assert_int_equal(pipe(pipes), 0);
	for (int i = 0; i < 100000 && log_lost() == lost; i++)
		log_info("fill %d", i);
	assert_true(log_lost() > lost);
	dup2(pipes[1], 2);
	log_warning("still said");
	dup2(err, 2);
	n = read(pipes[0], record, sizeof(record) - 1);
	record[n > 0 ? n : 0] = '\0';
	assert_string_equal(record, "baton-testd: warning: still said\n");
	while (receive(record, sizeof(record)))
		;
	close(err);
	close(pipes[0]);
	close(pipes[1]);
}

static void test_stderr(void **state)
{
	const char *fields[] = {"BATON_HOST=3", "BATON_WHY=a\nb", NULL};
	char line[8192], *socket_path = strdup(getenv("BATON_JOURNAL_SOCKET"));
	int err = dup(2), pipes[2];
	ssize_t n;

	(void)state;
	unsetenv("BATON_JOURNAL_SOCKET");
	assert_int_equal(pipe(pipes), 0);
	log_open("baton-testd", LOG_LEVEL_INFO);
	dup2(pipes[1], 2);
	log_fields(LOG_LEVEL_NOTICE, fields, "peer says %s", "x\nbaton-testd: error: forged \x1b[31m");
	dup2(err, 2);
	n = read(pipes[0], line, sizeof(line) - 1);
	line[n > 0 ? n : 0] = '\0';
	assert_string_equal(line, "baton-testd: notice: peer says x?baton-testd: error: forged ?[31m | BATON_HOST=3 BATON_WHY=a?b\n");
	setenv("BATON_JOURNAL_SOCKET", socket_path, 1);
	log_open("baton-testd", LOG_LEVEL_INFO);
	free(socket_path);
	close(err);
	close(pipes[0]);
	close(pipes[1]);
}

static void test_levels(void **state)
{
	enum log_level level;

	(void)state;
	for (unsigned i = LOG_LEVEL_ERROR; i <= LOG_LEVEL_DEBUG; i++) {
		assert_int_equal(log_level_parse(log_level_name(i), &level), 0);
		assert_int_equal(level, i);
	}
	assert_int_equal(log_level_parse("verbose", &level), -EINVAL);
}

static void test_notify(void **state)
{
	char text[1024], pid[16];

	(void)state;
	assert_int_equal(notify_send("READY=1\nSTATUS=%d hosts", 4), 1);
	receive(text, sizeof(text));
	assert_string_equal(text, "READY=1\nSTATUS=4 hosts");
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("WATCHDOG_USEC", "3000000", 1);
	assert_int_equal(notify_watchdog_us(), 3000000);
	setenv("WATCHDOG_PID", pid, 1);
	assert_int_equal(notify_watchdog_us(), 3000000);
	setenv("WATCHDOG_PID", "1", 1);
	assert_int_equal(notify_watchdog_us(), 0);
	setenv("NOTIFY_SOCKET", "relative", 1);
	assert_int_equal(notify_send("READY=1"), -EINVAL);
	unsetenv("NOTIFY_SOCKET");
	assert_int_equal(notify_send("READY=1"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_journal),	     cmocka_unit_test(test_journal_forgery), cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_journal_gone), cmocka_unit_test(test_stderr),	     cmocka_unit_test(test_levels),
		cmocka_unit_test(test_notify),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
