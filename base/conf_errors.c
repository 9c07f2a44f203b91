/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Faults of a configuration text: collected with their place, sorted, and printed so that a terminal
 * or an editor can jump to them.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/conf_tree.h"

void *conf_alloc(size_t n, size_t item)
{
	void *p = calloc(n ? n : 1, item ? item : 1);

	if (!p) {
		fputs("out of memory while reading a configuration\n", stderr);
		abort();
	}
	return p;
}

void *conf_grow(void *array, size_t n, size_t *room, size_t item)
{
	void *p;

	if (n < *room)
		return array;
	*room = *room ? *room * 2 : 16;
	p = conf_alloc(*room, item);
	if (n)
		memcpy(p, array, n * item);
	free(array);
	return p;
}

static char *format(const char *fmt, va_list ap)
{
	char *s;

	if (vasprintf(&s, fmt, ap) < 0) {
		fputs("out of memory while reading a configuration\n", stderr);
		abort();
	}
	return s;
}

char *conf_format(const char *fmt, ...)
{
	va_list ap;
	char *s;

	va_start(ap, fmt);
	s = format(fmt, ap);
	va_end(ap);
	return s;
}

/* Octets of the UTF-8 character at s, 1 to 4; 0 if it is none (RFC 3629, overlong forms let pass). */
static size_t character(const char *s)
{
	unsigned char c = (unsigned char)*s;
	size_t n = c < 0x80 ? 1 : c >= 0xc2 && c < 0xe0 ? 2 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xf0 && c < 0xf5 ? 4 : 0;
	size_t i;

	for (i = 1; i < n; i++)
		if (((unsigned char)s[i] & 0xc0) != 0x80)
			return 0;
	return n;
}

/* Octets of the line end at p, or 0: libyaml counts all of YAML 1.1's (LF, CR, CR LF, NEL, LS, PS). */
static size_t line_end(const char *p, const char *end)
{
	if (*p == '\r')
		return p + 1 < end && p[1] == '\n' ? 2 : 1;
	if (*p == '\n')
		return 1;
	if (end - p >= 2 && !memcmp(p, "\xc2\x85", 2))
		return 2;
	return end - p >= 3 && (!memcmp(p, "\xe2\x80\xa8", 3) || !memcmp(p, "\xe2\x80\xa9", 3)) ? 3 : 0;
}

static const char *find_line(const struct conf *c, unsigned line)
{
	const char *p = c->text, *end = c->text + c->len;

	if (c->len >= 3 && !memcmp(p, "\xef\xbb\xbf", 3)) /* a byte order mark has no column */
		p += 3;
	while (line > 1 && p < end) {
		size_t n = line_end(p, end);

		line -= n > 0;
		p += n ? n : 1;
	}
	return p;
}

char conf_character_at(const struct conf *c, unsigned line, unsigned column)
{
	const char *p = find_line(c, line), *end = c->text + c->len;

	for (; p < end; p++)
		if (((unsigned char)*p & 0xc0) != 0x80 && !--column)
			return *p;
	return 0;
}

/* The line's text; what a terminal would interpret, or cannot show, becomes '?'. */
static char *source_line(const struct conf *c, unsigned line)
{
	const char *p = find_line(c, line), *end = c->text + c->len, *stop = p;
	size_t len, i;
	char *s;

	while (stop < end && !line_end(stop, end))
		stop++;
	len = (size_t)(stop - p);
	if (len > 400)
		len = 400;
	s = conf_alloc(len + 1, 1);
	memcpy(s, p, len);
	for (i = 0; i < len;) {
		size_t n = character(s + i);

		if (!n || (n == 1 && ((unsigned char)s[i] < 0x20 || s[i] == 0x7f) && s[i] != '\t') ||
		    (n == 2 && (unsigned char)s[i] == 0xc2 && (unsigned char)s[i + 1] < 0xa0)) {
			memset(s + i, '?', n ? n : 1);
		}
		i += n ? n : 1;
	}
	return s;
}

static void add(struct conf *c, unsigned line, unsigned column, const char *likely, const char *fmt, va_list ap)
{
	struct conf_errors *e = c->errors;
	char *message, *whole;
	size_t room = e->n;

	if (e->n >= CONF_ERRORS_MAX) {
		c->n_more++;
		return;
	}
	message = format(fmt, ap);
	if (likely) {
		whole = conf_format("%s; did you mean '%s'?", message, likely);
		free(message);
		message = whole;
	}
	/* Capacities are powers of two from 16 on, so n alone says when to grow. */
	if (e->n == 0 || (e->n >= 16 && !(e->n & (e->n - 1))))
		e->error = conf_grow(e->error, e->n, &room, sizeof(*e->error));
	e->error[e->n].line = line;
	e->error[e->n].column = column;
	e->error[e->n].message = message;
	e->error[e->n].source = source_line(c, line);
	e->n++;
}

void conf_fault_place(struct conf *c, unsigned line, unsigned column, const char *likely, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add(c, line, column, likely, fmt, ap);
	va_end(ap);
}

void conf_fault(struct conf *c, const struct conf_node *n, const char *likely, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add(c, n ? n->line : 1, n ? n->column : 1, likely, fmt, ap);
	va_end(ap);
}

void conf_fault_at(struct conf *c, const void *member, const void *otherwise, const char *fmt, ...)
{
	const struct conf_node *n = conf_where(c, member);
	va_list ap;

	if (!n)
		n = conf_where(c, otherwise);
	if (!n)
		n = c->root;
	va_start(ap, fmt);
	add(c, n ? n->line : 1, n ? n->column : 1, NULL, fmt, ap);
	va_end(ap);
}

static int by_place(const void *a, const void *b)
{
	const struct conf_error *x = a, *y = b;

	if (x->line != y->line)
		return x->line < y->line ? -1 : 1;
	if (x->column != y->column)
		return x->column < y->column ? -1 : 1;
	return strcmp(x->message, y->message);
}

void conf_errors_finish(struct conf *c)
{
	struct conf_errors *e = c->errors;

	size_t i, kept = 0;

	if (e->n)
		qsort(e->error, e->n, sizeof(*e->error), by_place);
	for (i = 0; i < e->n; i++) { /* one mistake may be met from two sides: one message */
		if (kept && !by_place(&e->error[kept - 1], &e->error[i])) {
			free(e->error[i].message);
			free(e->error[i].source);
			continue;
		}
		e->error[kept++] = e->error[i];
	}
	e->n = kept;
	if (c->n_more) {
		struct conf_error *last = &e->error[e->n - 1];
		char *message = conf_format("%s (and %zu more errors)", last->message, c->n_more);

		free(last->message);
		last->message = message;
	}
}

void conf_errors_print(const struct conf_errors *e, FILE *out)
{
	size_t i;

	for (i = 0; i < e->n; i++) {
		const struct conf_error *x = &e->error[i];
		unsigned column = 1;
		const char *p;

		if (!x->line) { /* the file itself */
			fprintf(out, "%s: error: %s\n", e->name, x->message);
			continue;
		}
		fprintf(out, "%s:%u:%u: error: %s\n", e->name, x->line, x->column, x->message);
		if (!x->source || !*x->source)
			continue;
		fprintf(out, "    %s\n    ", x->source);
		/* Columns count characters: a caret stands below the right one if tabs stay tabs. */
		for (p = x->source; *p && column < x->column; p++) {
			if (((unsigned char)*p & 0xc0) == 0x80)
				continue;
			fputc(*p == '\t' ? '\t' : ' ', out);
			column++;
		}
		fputs("^\n", out);
	}
}

void conf_errors_free(struct conf_errors *e)
{
	size_t i;

	for (i = 0; i < e->n; i++) {
		free(e->error[i].message);
		free(e->error[i].source);
	}
	free(e->error);
	e->error = NULL;
	e->n = 0;
}

void conf_errors_file(struct conf_errors *e, const char *path, int err)
{
	*e = (struct conf_errors){ .name = path, .error = conf_alloc(1, sizeof(*e->error)), .n = 1 };
	e->error->message = err == -EFBIG ? conf_format("larger than %u bytes", CONF_TEXT_MAX)
					  : conf_format("%s", strerror(-err));
}

bool conf_faulty(const struct conf *c)
{
	return c->errors->n > 0;
}
