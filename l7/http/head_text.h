/* SPDX-License-Identifier: BSD-2-Clause */
/* What head.c and target.c share: putting text into a head's block. */
#ifndef L7_HTTP_HEAD_TEXT_H
#define L7_HTTP_HEAD_TEXT_H

#include "l7/http/head.h"

/* Room for n bytes at the end of the text (not yet taken), or NULL.  Moves the text. */
char *head_room(struct request_head *h, size_t n);
/* A copy at the end; at == UINT32_MAX: no room. */
struct head_span head_put(struct request_head *h, const char *p, size_t n);

/* Sets host and port from an authority (RFC 3986 3.2, no user information).  0, 400, 431. */
int target_host(struct request_head *h, struct head_span authority);

#endif
