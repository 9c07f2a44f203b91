/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One request and its answer.  It knows nothing of the framing on the client's side: its front (l7/http/h1.c,
 * l7/http/h2.c) gives it a head and body bytes and is called with an answer's head and body bytes.  Towards the
 * backend it speaks HTTP/1.1.
 *
 * One allocation: the struct with the request's head behind it, as the backend gets it.  The head is
 * kept until the answer begins, because until then the request may be sent to another backend:
 *  - when no byte of it can have been read (the connection could not be made), any request;
 *  - else only an idempotent one (RFC 9110 9.2.2) of whose body nothing has been taken from the client.
 * Every such second try is paid from the pool's budget (pool_may_retry).
 */
#ifndef L7_EXCHANGE_H
#define L7_EXCHANGE_H

#include <arpa/inet.h>

#include "l7/backend.h"
#include "l7/http/chunked.h"
#include "l7/worker.h"

#define INTERIM_MAX 16 /* answers below 200 before the one that counts */

struct client;
struct exchange;

struct front_ops {
	/* An interim answer (103) that the client may see; valid during the call. */
	void (*hint)(struct exchange *x, const struct answer *a);
	/* The answer's head; valid during the call.  length: of the body, -1: unknown.  upgraded: a tunnel begins. */
	void (*head)(struct exchange *x, const struct answer *a, int64_t length, bool upgraded);
	/* Returns how many bytes were taken; when fewer than n, exchange_room() is called later. */
	size_t (*body)(struct exchange *x, const uint8_t *p, size_t n);
	void (*end)(struct exchange *x); /* complete, with x->answer_trailer; x is gone after this */
	/* No answer (status: what to say instead), or 0: it ended in its middle.  x is gone after this. */
	void (*fail)(struct exchange *x, unsigned status);
	void (*pull)(struct exchange *x); /* body bytes of the request are wanted */
	int (*splice_to)(struct exchange *x); /* a descriptor that body bytes may be spliced to now, or -1 */
	void (*blocked)(struct exchange *x, int error); /* it took no more: exchange_room() when it does; or it broke */
};

enum exchange_state { EXCHANGE_QUEUED, EXCHANGE_CONNECTING, EXCHANGE_ASKED, EXCHANGE_ANSWERED, EXCHANGE_TUNNEL, EXCHANGE_DONE };
enum body_framing { BODY_NONE, BODY_LENGTH, BODY_CHUNKED, BODY_CLOSE };

struct exchange {
	const struct front_ops *front;
	void *client; /* the front's */
	struct client *owner;
	int32_t stream; /* HTTP/2 */
	struct worker *w;
	struct wpool *pool;
	struct backend *backend;
	struct backend_conn *conn;
	struct object_own *own; /* in place of a connection */
	struct link link; /* in the pool's queue */
	struct timer timer;
	struct pool_key key;
	int pick;	      /* who was chosen before it began, as of the pool's configuration pick_at; -1: nobody */
	uint32_t pick_at;
	uint32_t route;	      /* its number in the configuration */
	uint64_t object;      /* hash of what is asked for */
	uint8_t mode, reason; /* enum move_mode, move_reason; reason is REASONS where nothing was to be decided */
	uint64_t tried;	      /* by index, as of the pool's configuration tried_at: wpool_tried() */
	uint32_t tried_at;
	uint8_t attempts, state, method, version, interim; /* interim: answers before the answer */
	bool idempotent, upgrade, head_request;
	bool slight;	    /* nothing large is expected: HEAD, or the client has it and asks whether it has changed */
	bool body_taken;    /* bytes of the request's body were taken from the client */
	bool request_done;  /* all of the request was taken */
	bool unread;	    /* the backend takes no more of the body: the rest is dropped, its answer may be there */
	uint8_t request_body; /* enum body_framing: how it is sent to the backend */
	uint8_t answer_body;
	uint64_t answer_left;
	struct chunked chunked;
	/* Trailers, as l7/http/trailer.h reads them: of the request (filled by the front before the body's end), of the answer. */
	struct buffer request_trailer, answer_trailer;
	int pipe[2], up[2]; /* of the answer's body, of the request's; -1: none */
	size_t in_pipe, in_up;

	uint16_t status;
	const char *why; /* it failed, or had a second try */
	uint64_t begun_ns, picked_ns, connected_ns, answer_ns; /* for phases and log */
	uint64_t bytes_in, bytes_out;
	char client_text[ADDRESS_TEXT];
	char backend_text[ENDPOINT_TEXT]; /* who was asked last */
	struct head_span log_method, log_target, log_host, log_agent, log_referer; /* within head */
	uint32_t head_len, head_room;
	char head[];
};

struct exchange_request {
	const struct front_ops *front;
	void *client;
	struct client *owner;
	int32_t stream;
	const struct edge *edge;
	const struct sockaddr_storage *peer;
	bool secure, body; /* body: there may be one of unknown length (HTTP/2) */
	struct snapshot *snapshot;
};

/* A request whose head is w->head.  0 and *out, or the status to refuse with (404: no route). */
unsigned exchange_new(struct worker *w, const struct exchange_request *r, struct exchange **out);
void exchange_start(struct exchange *x);
void exchange_forget(struct exchange *x); /* not begun: somebody else serves it */
/* Body bytes: returns how many were taken; pull() is called when more can be.  end: these are the last. */
size_t exchange_body(struct exchange *x, const uint8_t *p, size_t n, bool end);
bool exchange_ready(const struct exchange *x); /* for body bytes */
void exchange_unread(struct exchange *x); /* writing the body failed */
void exchange_progress(struct exchange *x, size_t n); /* n bytes of the body went another way (l7/pump.h) */
void exchange_room(struct exchange *x); /* the front can take body bytes again */
void exchange_abort(struct exchange *x, const char *why); /* the client is gone; x is gone after this */

/* The client and the address that it came to, both or neither. */
void front_addresses(const struct exchange *x, const struct sockaddr_storage **peer, const struct sockaddr_storage **local);

/* From the backend's side. */
void exchange_connected(struct exchange *x, bool fresh);
void exchange_input(struct exchange *x);
void exchange_conn_failed(struct exchange *x, const char *why, bool unread, enum backend_outcome outcome);
void exchange_no_backend(struct exchange *x, unsigned status, const char *why);
/* Who answers calls, in this order; x is gone after the second or third. */
void exchange_answered(struct exchange *x, const struct answer *a); /* the head, below 200 none but 101 */
void exchange_complete(struct exchange *x, bool keep); /* all of the body was given to the front; keep: the connection */
void exchange_cut(struct exchange *x, const char *why);	/* no more of it will come */

#endif
