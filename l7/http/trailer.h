/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Trailer fields (RFC 9110 6.5): what may follow a body of unknown length, in either direction.  Those that frame,
 * route or authorise are dropped, because a recipient may merge trailers into the head (RFC 9110 6.5.1).
 */
#ifndef L7_HTTP_TRAILER_H
#define L7_HTTP_TRAILER_H

#include "l7/buffer.h"
#include "l7/http/h1_parse.h"

#define TRAILER_FIELDS_MAX 32

/* Lines "Name: value\r\n" as the chunked decoder gives them.  The number of fields that are passed on (they point into
 * p), or -EBADMSG: they are no fields, or more than TRAILER_FIELDS_MAX. */
int trailer_fields(const uint8_t *p, size_t n, struct answer_field field[TRAILER_FIELDS_MAX]);
bool trailer_fair(struct buffer *t); /* lines that trailer_fields takes, or none */
/* One that came by HTTP/2: may it be passed on? */
bool trailer_passed(const char *name, size_t n);

#endif
