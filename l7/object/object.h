/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the object server answers: pure.  Request head and what is known of the file in, status, fields and byte
 * ranges out (RFC 9110 sections 8.8, 9.3, 13, 14).  Files are l7/object/object_file.h, connections l7/object/object_server.h.
 *
 *  1. GET and HEAD serve regular files.  PUT replaces a whole object (Content-Range is refused), DELETE removes it; both
 *     only where the store is writable.  OPTIONS tells what is allowed; anything else is 405.
 *  2. Preconditions in the order of RFC 9110 13.2.2; If-Match compares strongly, If-None-Match weakly.
 *  3. The entity tag is strong.  Objects that came by PUT carry the hash of their content, so that replicas on several hosts
 *     have the same tag and a download may go on elsewhere; a file that got here otherwise, or was changed since, has its
 *     size, modification time (ns) and inode.
 *  4. Range only with GET.  A unit that is not bytes, a syntax error, more than OBJECT_RANGES_MAX ranges, or ranges that
 *     together are longer than the object (an attack, or nonsense): the whole object.  Nothing satisfiable: 416.
 *     One range: Content-Range; several: multipart/byteranges in the order asked for.
 */
#ifndef L7_OBJECT_OBJECT_H
#define L7_OBJECT_OBJECT_H

#include <stdbool.h>
#include <stdint.h>

#include "l7/conf.h"
#include "l7/http/head.h"

#define OBJECT_RANGES_MAX 16
#define OBJECT_TAG_MAX 64      /* with its quotes */
#define OBJECT_FIELDS_MAX 1024 /* the fields of an answer, as text */
#define OBJECT_PART_MAX 256    /* what stands before a part, and the end */
#define OBJECT_HASH_TEXT 32    /* hex digits of an object's content hash */

struct object_facts {
	bool exists; /* a regular file */
	bool folder; /* something else is in its place */
	uint64_t size, inode;
	int64_t modified_ns;
	char hash[OBJECT_HASH_TEXT + 1]; /* "": not known, or no longer true */
};

struct object_range {
	uint64_t first, length;
};

enum object_action { OBJECT_ANSWER, OBJECT_SEND, OBJECT_PUT, OBJECT_DELETE };

struct object_plan {
	enum object_action action; /* OBJECT_ANSWER: status and fields, no body of a file */
	uint16_t status;	  /* for OBJECT_PUT and OBJECT_DELETE that of success */
	bool none_may_exist;	  /* PUT with If-None-Match: *: must hold at the moment of the rename, too */
	bool must_match;	  /* PUT, DELETE with If-Match or If-Unmodified-Since: the file must still be the one seen */
	uint8_t n_ranges;	  /* 0: the whole object */
	struct object_range range[OBJECT_RANGES_MAX];
	uint64_t length; /* Content-Length: all parts and their heads included */
	char tag[OBJECT_TAG_MAX];
	const char *type;
	uint64_t size;
	uint64_t boundary;
	char fields[OBJECT_FIELDS_MAX]; /* "Name: value\r\n"..., Content-Length among them (not for 304 and 204) */
};

/* now_s: for Date.  salt: what a client cannot know, for boundaries. */
void object_plan(const struct store_conf *conf, const struct request_head *h, const struct object_facts *o, int64_t now_s,
		uint64_t salt, struct object_plan *plan);
/* Before part i, or (i == n_ranges) the end: into buf, its length back. */
unsigned object_part(const struct object_plan *plan, unsigned i, char buf[OBJECT_PART_MAX]);
/* An answer without an object: an error's.  Fields alone; text is its body. */
void object_refuse(struct object_plan *plan, uint16_t status, int64_t now_s);

/* bytes=...: 0 with *n ranges (0: ignore the field), -ERANGE: none can be satisfied. */
int object_ranges(const char *text, uint32_t len, uint64_t size, struct object_range range[OBJECT_RANGES_MAX], uint8_t *n);
/* Does a list of entity tags (or "*") name this one? */
bool object_tag_listed(const char *list, uint32_t len, const char *tag, bool weak);
/* All three forms of RFC 9110 5.6.7; -1: not a date. */
int64_t http_date_parse(const char *text, uint32_t len);
#define HTTP_DATE_TEXT 40
void http_date_print(int64_t s, char buf[HTTP_DATE_TEXT]);
void object_tag(const struct object_facts *o, char tag[OBJECT_TAG_MAX]);
const char *object_content_type(const struct request_head *h);
const char *http_reason(uint16_t status);

#endif
