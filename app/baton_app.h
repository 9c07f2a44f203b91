/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * For a program that answers requests itself, on connections that baton-l7d hands to it: TCP and TLS with the client,
 * and the request as it was read.  baton-l7d of the same host connects to a UNIX socket of the program's (a backend's
 * `socket` in pop.yaml), and passes descriptors (SCM_RIGHTS); what comes from other hosts has been moved to this one before.
 *
 *	app = baton_app_open("/run/answer.sock");
 *	while ((r = baton_app_next(app, -1))) {
 *		head = baton_request_head(r, &n);
 *		...
 *		baton_request_write(r, answer, length);
 *		baton_request_return(r);
 *	}
 *
 * One request at a time belongs to the program: it answers, and gives the connection back, or ends it.  The next request of
 * a connection that was given back is read by baton-l7d, which may send it here again, or anywhere else.
 * HTTP/2, and requests whose body has not been read whole, do not come here: the backend's address and port answer them.
 *
 * Errors are -errno.  Nothing here is safe for two threads at once on one object; different requests may be served by
 * different threads, with one of them in baton_app_next().  SIGPIPE is never raised.
 */
#ifndef BATON_APP_H
#define BATON_APP_H

#include <stddef.h>
#include <stdint.h>

struct baton_app;
struct baton_request;

/* Listens at `path` (a socket that nobody listens on any more is replaced), for root and the program's own user; mode 0600:
 * baton-l7d runs as the same user, or the program lets its group in.  NULL: errno. */
struct baton_app *baton_app_open(const char *path);
/* Ends every request that has not been given back. */
void baton_app_close(struct baton_app *app);
/* To be polled for reading beside descriptors of the program's own. */
int baton_app_fd(const struct baton_app *app);
/* The next request, the caller's until it is given back or ended; NULL: none in timeout_ms (-1: waits), or errno. */
struct baton_request *baton_app_next(struct baton_app *app, int timeout_ms);

/* As it was read, with the empty line at its end, and a zero behind its n octets.  Valid as long as the request. */
const char *baton_request_head(const struct baton_request *r, size_t *n);
/* What had been read behind the head: the body, and perhaps further requests.  Who uses n bytes of a body says so. */
const char *baton_request_body(const struct baton_request *r, size_t *n);
void baton_request_used(struct baton_request *r, size_t n);
/* The connection's name in logs, and how its client is known: the name that it asked for by TLS, or "". */
uint64_t baton_request_cid(const struct baton_request *r);
const char *baton_request_server_name(const struct baton_request *r);
/* The certificate that the client has proven to be its own, by the rules of its edge (`client` in pop.yaml): DER, *n octets; NULL: it
 * showed none, or was not asked.  number: 0; from 1 on those between it and its CA, if the edge forwards them.  Of a field such
 * as Client-Cert in the head nothing is to be believed here: there it is the client's. */
const unsigned char *baton_request_certificate(const struct baton_request *r, unsigned number, size_t *n);
/* The client's socket, to ask it things (addresses, TCP_INFO): what is written to it past us ruins TLS. */
int baton_request_socket(const struct baton_request *r);

/* All of it is with the kernel when this returns 0, sealed where the connection has TLS; waits for room, 30 s without
 * progress at most (-ETIMEDOUT).  After an error the request can only be ended. */
int baton_request_write(struct baton_request *r, const void *p, size_t n);
/* The answer is whole, by its length or its chunks: baton-l7d goes on with the connection.  The request is gone, whatever
 * this returns: -EPIPE: baton-l7d was gone, the connection is closed. */
int baton_request_return(struct baton_request *r);
/* The connection is closed (close_notify first). */
void baton_request_end(struct baton_request *r);

#endif
