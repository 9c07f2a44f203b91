/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The control socket of a daemon: a UNIX stream socket (mode 0600), one JSON object a line each way.
 * Request {"verb": "...", ...}; answer {"ok": true, ...} or {"ok": false, "error": "...", "remedy": "..."}.
 */
#ifndef BASE_CTL_H
#define BASE_CTL_H

#include <event2/event.h>
#include <jansson.h>

struct ctl_server;
struct ctl_request; /* one request; must be answered once, now or later */

typedef void ctl_handler(void *ctx, const char *verb, json_t *args, struct ctl_request *r);

int ctl_serve(struct event_base *base, const char *path, ctl_handler *handler, void *ctx, struct ctl_server **out);
void ctl_server_free(struct ctl_server *s);
void ctl_answer(struct ctl_request *r, json_t *answer); /* takes the reference; adds "ok": true if absent */
void ctl_refuse(struct ctl_request *r, const char *error, const char *remedy);

/* For the command line: blocking, with a bound.  0 and *answer (caller's reference), or -errno. */
int ctl_call(const char *path, json_t *request, int timeout_ms, json_t **answer);

#endif
