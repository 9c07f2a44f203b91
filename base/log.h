/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Structured logs.  To journald's native socket when the service runs under systemd, else to stderr
 * as one line.  A message is for an operator: it names the object; fields carry the rest.
 *
 * Never blocks: a message that the journal does not take at once is counted as lost.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR = 3, LOG_LEVEL_WARNING = 4, LOG_LEVEL_NOTICE = 5, LOG_LEVEL_INFO = 6, LOG_LEVEL_DEBUG = 7 };

#define LOG_MESSAGE_MAX 2048 /* bytes; what is longer is cut, with "..." at the end */
#define LOG_FIELDS_MAX 16    /* more are left out */

/* Before log_open, messages go to stderr from LOG_LEVEL_NOTICE on. */
void log_open(const char *program, enum log_level most);
void log_at(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* As log_at, with one "BATON_HOST=3" journald field per entry (upper case, digits, '_'), NULL-terminated. */
void log_fields(enum log_level level, const char *const *field, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* "error", "warning", ... and back: -EINVAL for a word that is none. */
const char *log_level_name(enum log_level level);
int log_level_parse(const char *word, enum log_level *out);

/* How many messages of a level were logged, and how many the journal did not take: for metrics. */
uint64_t log_count(enum log_level level);
uint64_t log_lost(void);

#define log_error(...) log_at(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_at(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_notice(...) log_at(LOG_LEVEL_NOTICE, __VA_ARGS__)
#define log_info(...) log_at(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
