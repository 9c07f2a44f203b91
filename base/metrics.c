/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The HTTP server of the metrics page: as little of RFC 9112 as a scraper needs.  One request a
 * connection, then it is closed.  Whoever can reach the address can read the page; it holds counts
 * and names, no secrets, and nothing that a request says changes anything.
 */
#include "base/metrics.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/caller.h"
#include "base/log.h"
#include "base/sockaddr.h"

#define HEAD_S 5   /* from accept to the end of the request head, in all */
#define WRITE_S 10 /* without the client taking a byte */
#define LIFE_S 30  /* in all: a client that takes a byte at a time goes too */
#define LINGER_S 2 /* for the client's own close */

struct metrics_client {
	struct caller caller; /* at first */
	struct metrics_server *server;
	bool answered;
};

struct metrics_server {
	struct evconnlistener *listener;
	metrics_collect *collect;
	void *ctx;
	struct callers callers;
};

/* Method SP target SP HTTP/1.x; the header fields are not ours to judge. */
static int request_line(const char *line, size_t len, int *head_only)
{
	const char *end = line + len, *target, *version;

	if (len && end[-1] == '\r')
		end--;
	target = memchr(line, ' ', (size_t)(end - line));
	version = target ? memchr(target + 1, ' ', (size_t)(end - target - 1)) : NULL;
	if (!version || end - version != 9 || memcmp(version, " HTTP/1.", 8))
		return 400;
	*head_only = target - line == 4 && !memcmp(line, "HEAD", 4);
	if (!*head_only && (target - line != 3 || memcmp(line, "GET", 3)))
		return 405;
	target++;
	if (version - target < 8 || memcmp(target, "/metrics", 8))
		return 404;
	return target + 8 == version || target[8] == '?' ? 200 : 404;
}

int metrics_request(const char *bytes, size_t len, int *head_only)
{
	const char *line_end = memchr(bytes, '\n', len);

	*head_only = 0;
	if (!memmem(bytes, len, "\r\n\r\n", 4) && !memmem(bytes, len, "\n\n", 2))
		return len >= METRICS_HEAD_MAX ? 431 : 0;
	return request_line(bytes, (size_t)(line_end - bytes), head_only);
}

static const char *reason(int status)
{
	switch (status) {
	case 200:
		return "OK";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 431:
		return "Request Header Fields Too Large";
	default:
		return "Bad Request";
	}
}

static void client_answer(struct metrics_client *c, int status, int head_only)
{
	struct evbuffer *out = bufferevent_get_output(c->caller.bev), *page = evbuffer_new();

	c->answered = true;
	if (page && status == 200)
		metrics_page(c->server->collect, c->server->ctx, page);
	else if (page)
		evbuffer_add_printf(page, "%s: the page is GET /metrics\n", reason(status));
	evbuffer_add_printf(out, "HTTP/1.1 %d %s\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n", status,
			    reason(status));
	if (status == 405)
		evbuffer_add_printf(out, "Allow: GET, HEAD\r\n");
	evbuffer_add_printf(out, "Content-Length: %zu\r\nConnection: close\r\n\r\n", page ? evbuffer_get_length(page) : 0);
	if (page && !head_only)
		evbuffer_add_buffer(out, page);
	if (page)
		evbuffer_free(page);
	caller_due(&c->caller, LIFE_S);
}

static void client_read(struct bufferevent *bev, void *arg)
{
	struct metrics_client *c = arg;
	struct evbuffer *in = bufferevent_get_input(bev);
	size_t len = evbuffer_get_length(in);
	const char *head;
	int status, head_only;

	if (c->answered) {
		evbuffer_drain(in, len);
		return;
	}
	head = (const char *)evbuffer_pullup(in, -1);
	status = head ? metrics_request(head, len, &head_only) : 0;
	if (status) {
		evbuffer_drain(in, len);
		client_answer(c, status, head_only);
	}
}

/*
 * All is written.  Closing now, with bytes of the client unread, would send a RST that takes the page
 * from it (RFC 9112 section 9.6): we end our side, read on and leave when it does.
 */
static void client_written(struct bufferevent *bev, void *arg)
{
	struct metrics_client *c = arg;

	if (!c->answered || evbuffer_get_length(bufferevent_get_output(bev)) > 0)
		return;
	shutdown(bufferevent_getfd(bev), SHUT_WR);
	caller_due(&c->caller, LINGER_S);
}

static void client_event(struct bufferevent *bev, short what, void *arg)
{
	struct metrics_client *c = arg;

	/* A client may half-close after its request; then the deadline of the page is its own. */
	if ((what & BEV_EVENT_EOF) && evbuffer_get_length(bufferevent_get_output(bev)))
		return;
	caller_free(&c->caller);
}

static const struct caller_kind metrics_caller = {
	.size = sizeof(struct metrics_client), .max = METRICS_CLIENTS_MAX, .unread_max = METRICS_HEAD_MAX, .write_s = WRITE_S,
	.read = client_read, .written = client_written, .event = client_event,
};

static void on_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *addr, int len, void *arg)
{
	struct metrics_server *s = arg;
	struct caller *c;

	(void)l, (void)addr, (void)len;
	if (!caller_take(&s->callers, fd, HEAD_S, &c))
		((struct metrics_client *)c)->server = s;
}

int metrics_serve(struct event_base *base, const struct sockaddr *addr, socklen_t len, metrics_collect *collect,
		  void *ctx, struct metrics_server **out)
{
	struct metrics_server *s = calloc(1, sizeof(*s));
	int rc;

	if (!s)
		return -ENOMEM;
	callers_init(&s->callers, base, &metrics_caller);
	s->collect = collect;
	s->ctx = ctx;
	s->listener = evconnlistener_new_bind(base, on_accept, s,
					      LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE, 16, addr,
					      (int)len);
	if (!s->listener) {
		rc = -errno;
		free(s);
		return rc;
	}
	*out = s;
	return 0;
}

void metrics_server_free(struct metrics_server *s)
{
	if (!s)
		return;
	callers_free(&s->callers);
	evconnlistener_free(s->listener);
	free(s);
}

int metrics_server_port(const struct metrics_server *s)
{
	return sockaddr_bound_port(evconnlistener_get_fd(s->listener));
}
