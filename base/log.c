/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The log.  systemd tells a service which stream is the journal ($JOURNAL_STREAM holds device and
 * inode of its stderr); only when ours is that stream do we speak the native protocol: a datagram of
 * "KEY=value\n", or, for a value with a newline, "KEY\n", its length as le64, the value, "\n".
 * (systemd.io/JOURNAL_NATIVE_PROTOCOL.)
 */
#include "base/log.h"

#include <ctype.h>
#include <endian.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* A full record: the message, our own fields and LOG_FIELDS_MAX of the caller's of this many bytes each. */
#define FIELD_MAX 512
#define RECORD_MAX (LOG_MESSAGE_MAX + LOG_FIELDS_MAX * (FIELD_MAX + 16) + 256)

static struct {
	const char *program;
	enum log_level most;
	int journal; /* socket, or -1 */
	uint64_t count[LOG_LEVEL_DEBUG + 1];
	uint64_t lost;
} log_state = {.program = "baton", .most = LOG_LEVEL_NOTICE, .journal = -1};

static const char *const level_word[] = {
	[LOG_LEVEL_ERROR] = "error", [LOG_LEVEL_WARNING] = "warning", [LOG_LEVEL_NOTICE] = "notice",
	[LOG_LEVEL_INFO] = "info",   [LOG_LEVEL_DEBUG] = "debug",
};

const char *log_level_name(enum log_level level)
{
	return level_word[level];
}

int log_level_parse(const char *word, enum log_level *out)
{
	for (unsigned i = LOG_LEVEL_ERROR; i <= LOG_LEVEL_DEBUG; i++) {
		if (!strcmp(word, level_word[i])) {
			*out = (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

uint64_t log_count(enum log_level level)
{
	return log_state.count[level];
}

uint64_t log_lost(void)
{
	return log_state.lost;
}

static int stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	return stream && sscanf(stream, "%llu:%llu", &dev, &ino) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
	       st.st_dev == dev && st.st_ino == ino;
}

void log_open(const char *program, enum log_level most)
{
	/* The path is part of the protocol; the variable lets a test stand in for the journal. */
	const char *path = getenv("BATON_JOURNAL_SOCKET");
	struct sockaddr_un to = {.sun_family = AF_UNIX};

	log_state.program = program;
	log_state.most = most;
	if (log_state.journal >= 0)
		close(log_state.journal);
	log_state.journal = -1;
	if (!path) {
		if (!stderr_is_journal())
			return;
		path = "/run/systemd/journal/socket";
	}
	log_state.journal = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	snprintf(to.sun_path, sizeof(to.sun_path), "%s", path);
	if (log_state.journal >= 0 && connect(log_state.journal, (struct sockaddr *)&to, sizeof(to))) {
		close(log_state.journal);
		log_state.journal = -1;
	}
}

static size_t append(char *record, size_t have, const void *bytes, size_t len)
{
	memcpy(record + have, bytes, len);
	return have + len;
}

/* Appends one field; what does not fit is left out whole, so that the record stays well-formed. */
static size_t record_add(char *record, size_t have, const char *key, size_t key_len, const char *value)
{
	size_t len = strlen(value);
	uint64_t size = htole64(len);

	if (have + key_len + len + sizeof(size) + 3 > RECORD_MAX)
		return have;
	have = append(record, have, key, key_len);
	if (strchr(value, '\n')) {
		record[have++] = '\n';
		have = append(record, have, &size, sizeof(size));
	} else {
		record[have++] = '=';
	}
	have = append(record, have, value, len);
	record[have++] = '\n';
	return have;
}

/* journald drops a field whose name is not of this form. */
static bool field_name_ok(const char *name, size_t len)
{
	if (len == 0 || len > 64 || !isupper((unsigned char)name[0]))
		return false;
	for (size_t i = 0; i < len; i++) {
		if (!isupper((unsigned char)name[i]) && !isdigit((unsigned char)name[i]) && name[i] != '_')
			return false;
	}
	return true;
}

static int journal_send(enum log_level level, const char *const *field, const char *message)
{
	char record[RECORD_MAX];
	char priority[2] = {(char)('0' + level), '\0'};
	size_t have = 0;

	have = record_add(record, have, "PRIORITY", 8, priority);
	have = record_add(record, have, "SYSLOG_IDENTIFIER", 17, log_state.program);
	have = record_add(record, have, "MESSAGE", 7, message);
	for (unsigned i = 0; field && field[i] && i < LOG_FIELDS_MAX; i++) {
		const char *equals = strchr(field[i], '=');

		if (equals && strlen(equals) <= FIELD_MAX && field_name_ok(field[i], (size_t)(equals - field[i])))
			have = record_add(record, have, field[i], (size_t)(equals - field[i]), equals + 1);
	}
	return send(log_state.journal, record, have, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/*
 * One line, whatever the message holds: a peer's certificate or request may put control characters
 * into it, which must not forge a line or reach a terminal.
 */
static void stderr_send(enum log_level level, const char *const *field, const char *message)
{
	char line[LOG_MESSAGE_MAX + LOG_FIELDS_MAX * FIELD_MAX];
	size_t have;

	have = (size_t)snprintf(line, sizeof(line), "%s: %s: %s", log_state.program, level_word[level], message);
	for (unsigned i = 0; field && field[i] && i < LOG_FIELDS_MAX && have < sizeof(line) - 1; i++)
		have += (size_t)snprintf(line + have, sizeof(line) - have, "%s%s", i ? " " : " | ", field[i]);
	if (have > sizeof(line) - 1)
		have = sizeof(line) - 1;
	for (size_t i = 0; i < have; i++) {
		if (iscntrl((unsigned char)line[i]))
			line[i] = '?';
	}
	line[have] = '\n';
	if (write(STDERR_FILENO, line, have + 1) < 0)
		log_state.lost++;
}

static void __attribute__((format(printf, 3, 0)))
log_va(enum log_level level, const char *const *field, const char *fmt, va_list args)
{
	char message[LOG_MESSAGE_MAX];
	int saved = errno; /* callers log and then return -errno */
	int n;

	if (level > log_state.most)
		return;
	log_state.count[level]++;
	n = vsnprintf(message, sizeof(message), fmt, args);
	if (n >= (int)sizeof(message))
		memcpy(message + sizeof(message) - 4, "...", 4);
	if (log_state.journal < 0)
		stderr_send(level, field, message);
	else if (journal_send(level, field, message)) {
		log_state.lost++;
		/* A journal that restarts is no reason to hide an error. */
		if (level <= LOG_LEVEL_WARNING)
			stderr_send(level, field, message);
	}
	errno = saved;
}

void log_at(enum log_level level, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	log_va(level, NULL, fmt, args);
	va_end(args);
}

void log_fields(enum log_level level, const char *const *field, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	log_va(level, field, fmt, args);
	va_end(args);
}
