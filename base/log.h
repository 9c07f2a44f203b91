/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Structured logs.  To journald's native socket when the service runs under systemd, else to stderr
 * as one line.  A message is for an operator: it names the object; fields carry the rest.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

enum log_level { LOG_LEVEL_ERROR = 3, LOG_LEVEL_WARNING = 4, LOG_LEVEL_NOTICE = 5, LOG_LEVEL_INFO = 6, LOG_LEVEL_DEBUG = 7 };

void log_open(const char *program, enum log_level most);
/* fields: "BATON_HOST=%s" style journald assignments may follow with log_fields(); message is printf. */
void log_at(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* As log_at, with one "KEY=value" journald field string per entry, NULL-terminated. */
void log_fields(enum log_level level, const char *const *field, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#define log_error(...) log_at(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_at(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_notice(...) log_at(LOG_LEVEL_NOTICE, __VA_ARGS__)
#define log_info(...) log_at(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
