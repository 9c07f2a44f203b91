/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The control socket of a daemon: a UNIX stream socket (mode 0600), one JSON object a line each way.
 * Request {"verb": "...", ...}; answer {"ok": true, ...} or {"ok": false, "error": "...", "remedy": "..."}.
 *
 * Only root and the daemon's own user are served (SO_PEERCRED).  A connection has one request at a
 * time; what it sends before the answer waits.  Bounds: CTL_CLIENTS_MAX connections, CTL_LINE_MAX
 * bytes a line, 5 s for a line that has begun, 60 s without any.
 */
#ifndef BASE_CTL_H
#define BASE_CTL_H

#include <event2/event.h>
#include <jansson.h>

#define CTL_LINE_MAX (4u << 20)	   /* a request; `apply` sends a whole pop.yaml */
#define CTL_ANSWER_MAX (64u << 20) /* what ctl_call is ready to read */
#define CTL_CLIENTS_MAX 64

struct ctl_server;
struct ctl_request; /* one request; must be answered once, now or later */

/* args is the whole request object and lives until the request is answered. */
typedef void ctl_handler(void *ctx, const char *verb, json_t *args, struct ctl_request *r);

/* -EADDRINUSE: another daemon serves this path.  A socket that nobody listens on is replaced. */
int ctl_serve(struct event_base *base, const char *path, ctl_handler *handler, void *ctx, struct ctl_server **out);
/* Requests that are still unanswered must be answered all the same (nobody reads it). */
void ctl_server_free(struct ctl_server *s);
void ctl_answer(struct ctl_request *r, json_t *answer); /* takes the reference; adds "ok": true if absent */
void ctl_refuse(struct ctl_request *r, const char *error, const char *remedy);

/* For the command line: blocking, with a bound.  0 and *answer (caller's reference), or -errno. */
int ctl_call(const char *path, json_t *request, int timeout_ms, json_t **answer);

/*
 * The decoder of a line, without its newline.  0 and *request (caller's reference) with *verb inside
 * it, or -EINVAL and why (what the client is told).
 */
int ctl_decode(const char *line, size_t len, json_t **request, const char **verb, char *why, size_t why_len);

#endif
