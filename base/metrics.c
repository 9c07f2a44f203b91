/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The HTTP server of the metrics page: as little of RFC 9112 as a scraper needs.  One request a
 * connection, then it is closed.  Whoever can reach the address can read the page; it holds counts
 * and names, no secrets, and nothing that a request says changes anything.
 */
#include "base/metrics.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "base/log.h"

#define HEAD_S 5   /* from accept to the end of the request head, in all */
#define WRITE_S 10 /* without the client taking a byte */
#define LIFE_S 30  /* in all: a client that takes a byte at a time goes too */
#define LINGER_S 2 /* for the client's own close */

struct metrics_client {
	struct metrics_server *server;
	LIST_ENTRY(metrics_client) link;
	struct bufferevent *bev;
	struct event *deadline;
	bool answered;
};

struct metrics_server {
	struct event_base *base;
	struct evconnlistener *listener;
	metrics_collect *collect;
	void *ctx;
	LIST_HEAD(, metrics_client) clients;
	unsigned n_clients;
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

static void client_free(struct metrics_client *c)
{
	LIST_REMOVE(c, link);
	c->server->n_clients--;
	event_free(c->deadline);
	bufferevent_free(c->bev);
	free(c);
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
	struct evbuffer *out = bufferevent_get_output(c->bev), *page = evbuffer_new();

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
	event_add(c->deadline, &(struct timeval){.tv_sec = LIFE_S});
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
	event_add(c->deadline, &(struct timeval){.tv_sec = LINGER_S});
}

static void client_event(struct bufferevent *bev, short what, void *arg)
{
	struct metrics_client *c = arg;

	/* A client may half-close after its request; then the deadline of the page is its own. */
	if ((what & BEV_EVENT_EOF) && evbuffer_get_length(bufferevent_get_output(bev)))
		return;
	client_free(c);
}

static void client_late(evutil_socket_t fd, short what, void *arg)
{
	struct metrics_client *c = arg;

	(void)fd, (void)what;
	client_free(c);
}

static void on_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *addr, int len, void *arg)
{
	struct metrics_server *s = arg;
	struct metrics_client *c = NULL;

	(void)l, (void)addr, (void)len;
	if (s->n_clients < METRICS_CLIENTS_MAX)
		c = calloc(1, sizeof(*c));
	if (!c) {
		close(fd);
		return;
	}
	c->server = s;
	c->bev = bufferevent_socket_new(s->base, fd, BEV_OPT_CLOSE_ON_FREE);
	c->deadline = evtimer_new(s->base, client_late, c);
	if (!c->bev || !c->deadline) {
		if (c->bev)
			bufferevent_free(c->bev);
		else
			close(fd);
		if (c->deadline)
			event_free(c->deadline);
		free(c);
		return;
	}
	LIST_INSERT_HEAD(&s->clients, c, link);
	s->n_clients++;
	bufferevent_setcb(c->bev, client_read, client_written, client_event, c);
	bufferevent_setwatermark(c->bev, EV_READ, 0, METRICS_HEAD_MAX);
	bufferevent_set_timeouts(c->bev, NULL, &(struct timeval){.tv_sec = WRITE_S});
	event_add(c->deadline, &(struct timeval){.tv_sec = HEAD_S});
	bufferevent_enable(c->bev, EV_READ | EV_WRITE);
}

int metrics_serve(struct event_base *base, const struct sockaddr *addr, socklen_t len, metrics_collect *collect,
		  void *ctx, struct metrics_server **out)
{
	struct metrics_server *s = calloc(1, sizeof(*s));
	int rc;

	if (!s)
		return -ENOMEM;
	LIST_INIT(&s->clients);
	s->base = base;
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
	while (!LIST_EMPTY(&s->clients))
		client_free(LIST_FIRST(&s->clients));
	evconnlistener_free(s->listener);
	free(s);
}

int metrics_server_port(const struct metrics_server *s)
{
	struct sockaddr_storage at;
	socklen_t len = sizeof(at);

	if (getsockname(evconnlistener_get_fd(s->listener), (struct sockaddr *)&at, &len))
		return -errno;
	/* The port is at the same place in both families. */
	return ntohs(((struct sockaddr_in *)&at)->sin_port);
}
