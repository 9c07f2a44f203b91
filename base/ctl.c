/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The server side of the control socket.  A connection reads one line, hands it to the daemon as a
 * request, and reads no further until the daemon has answered: a client cannot make a daemon queue.
 * A client that leaves early only loses its answer: the request lives until the daemon answers it.
 */
#include "base/ctl.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/listener.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/caller.h"
#include "base/log.h"

#define IDLE_S 60    /* between requests */
#define LINE_S 5     /* from the first byte of a line to its end */
#define ANSWER_S 30  /* without the client taking a byte of the answer */

struct ctl_client {
	struct caller caller; /* at first */
	struct ctl_server *server;
	bool line_begun, eof;
	struct ctl_request *request; /* that the daemon has not answered yet */
};

struct ctl_request {
	struct ctl_client *client; /* NULL when it has left */
	json_t *args;
};

struct ctl_server {
	struct evconnlistener *listener;
	char *path;
	ctl_handler *handler;
	void *ctx;
	struct callers callers;
};

int ctl_decode(const char *line, size_t len, json_t **request, const char **verb, char *why, size_t why_len)
{
	json_error_t e;
	json_t *root = json_loadb(line, len, JSON_REJECT_DUPLICATES, &e), *word;

	if (!root) {
		snprintf(why, why_len, "request is not JSON: %s (byte %d)", e.text, e.position);
		return -EINVAL;
	}
	word = json_object_get(root, "verb");
	if (!json_is_string(word)) {
		snprintf(why, why_len, "request must be an object with a \"verb\"");
		json_decref(root);
		return -EINVAL;
	}
	*verb = json_string_value(word);
	*request = root;
	return 0;
}

static void client_write(struct ctl_client *c, const json_t *answer)
{
	char *text = json_dumps(answer, JSON_COMPACT);

	if (text) {
		bufferevent_write(c->caller.bev, text, strlen(text));
		bufferevent_write(c->caller.bev, "\n", 1);
		free(text);
	}
}

static json_t *refusal(const char *error, const char *remedy)
{
	json_t *o = json_pack("{s:b, s:s}", "ok", 0, "error", error);

	if (!o) /* not UTF-8 */
		o = json_pack("{s:b, s:s}", "ok", 0, "error", "refused (the reason cannot be printed)");
	if (remedy)
		json_object_set_new(o, "remedy", json_string(remedy));
	return o;
}

static void client_refuse(struct ctl_client *c, const char *error, const char *remedy)
{
	json_t *o = refusal(error, remedy);

	client_write(c, o);
	json_decref(o);
}

/* The next whole line, if the client may have one: handed to the daemon. */
static void client_next(struct ctl_client *c)
{
	struct evbuffer *in = bufferevent_get_input(c->caller.bev);

	while (!c->request) {
		size_t len;
		char *line = evbuffer_readln(in, &len, EVBUFFER_EOL_LF);
		struct ctl_request *r;
		const char *verb;
		char why[256];

		if (!line) {
			bool begun = evbuffer_get_length(in) > 0;

			/* A line that has begun keeps its deadline, however often a byte of it comes. */
			if (!begun || !c->line_begun)
				caller_due(&c->caller, begun ? LINE_S : IDLE_S);
			c->line_begun = begun;
			bufferevent_enable(c->caller.bev, EV_READ);
			return;
		}
		c->line_begun = false;
		r = calloc(1, sizeof(*r));
		if (!r || ctl_decode(line, len, &r->args, &verb, why, sizeof(why))) {
			client_refuse(c, r ? why : "out of memory", "send one JSON object a line");
			free(r);
			free(line);
			continue;
		}
		free(line);
		r->client = c;
		c->request = r;
		event_del(c->caller.deadline);
		bufferevent_disable(c->caller.bev, EV_READ);
		c->server->handler(c->server->ctx, verb, r->args, r);
		return; /* an answer given at once runs the loop again */
	}
}

static void request_answer(struct ctl_request *r, json_t *answer)
{
	struct ctl_client *c = r->client;

	if (c) {
		c->request = NULL;
		client_write(c, answer);
		/* Not client_next() from here: the daemon may answer from within its handler. */
		bufferevent_enable(c->caller.bev, EV_READ);
		bufferevent_trigger(c->caller.bev, EV_READ, BEV_TRIG_IGNORE_WATERMARKS | BEV_TRIG_DEFER_CALLBACKS);
	}
	json_decref(answer);
	json_decref(r->args);
	free(r);
}

void ctl_answer(struct ctl_request *r, json_t *answer)
{
	if (!json_object_get(answer, "ok"))
		json_object_set_new(answer, "ok", json_true());
	request_answer(r, answer);
}

void ctl_refuse(struct ctl_request *r, const char *error, const char *remedy)
{
	request_answer(r, refusal(error, remedy));
}

static void client_read(struct bufferevent *bev, void *arg)
{
	struct ctl_client *c = arg;

	client_next(c);
	if (!c->request && evbuffer_get_length(bufferevent_get_input(bev)) >= CTL_LINE_MAX) {
		log_warning("control socket %s: a request of more than %u bytes, closed", c->server->path, CTL_LINE_MAX);
		caller_free(&c->caller);
	}
}

static void client_event(struct bufferevent *bev, short what, void *arg)
{
	struct ctl_client *c = arg;

	/* A client may half-close after its request: it still wants the answer. */
	c->eof = what & BEV_EVENT_EOF;
	if (!c->eof || (!c->request && evbuffer_get_length(bufferevent_get_output(bev)) == 0))
		caller_free(&c->caller);
}

/* All of an answer is written. */
static void client_written(struct bufferevent *bev, void *arg)
{
	struct ctl_client *c = arg;

	client_next(c);
	if (c->eof && !c->request && evbuffer_get_length(bufferevent_get_output(bev)) == 0)
		caller_free(&c->caller);
}

/* Root and ourselves.  The mode says so too, but a mode can be changed and a descriptor passed on. */
static bool peer_allowed(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 && (peer.uid == 0 || peer.uid == geteuid());
}

/* A request that is with the daemon outlives its client. */
static void client_gone(struct caller *caller)
{
	struct ctl_client *c = (struct ctl_client *)caller;

	if (c->request)
		c->request->client = NULL;
}

static const struct caller_kind ctl_caller = {
	.size = sizeof(struct ctl_client), .max = CTL_CLIENTS_MAX, .unread_max = CTL_LINE_MAX, .write_s = ANSWER_S,
	.read = client_read, .written = client_written, .event = client_event, .gone = client_gone,
};

static void on_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *addr, int len, void *arg)
{
	struct ctl_server *s = arg;
	struct caller *c;
	int rc;

	(void)l, (void)addr, (void)len;
	if (!peer_allowed(fd)) {
		log_warning("control socket %s: refused a client: neither root nor the daemon's user", s->path);
		close(fd);
		return;
	}
	rc = caller_take(&s->callers, fd, IDLE_S, &c);
	if (rc == -EUSERS)
		log_warning("control socket %s: refused a client: too many connections", s->path);
	if (!rc)
		((struct ctl_client *)c)->server = s;
}

static void on_accept_error(struct evconnlistener *l, void *arg)
{
	struct ctl_server *s = arg;

	(void)l;
	log_error("control socket %s: accept: %s", s->path, strerror(errno));
}

/* A connected stream socket to path, or -errno. */
static int unix_connect(const char *path, int flags)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	int fd, rc;

	if (strlen(path) >= sizeof(to.sun_path))
		return -ENAMETOOLONG;
	memcpy(to.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0)
		return fd;
	rc = -errno;
	close(fd);
	return rc;
}

/* A daemon that was killed leaves its socket behind.  Only one that nobody answers on is removed. */
static int remove_stale(const char *path)
{
	struct stat st;
	int fd;

	if (lstat(path, &st))
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	fd = unix_connect(path, SOCK_NONBLOCK);
	if (fd >= 0)
		close(fd);
	if (fd != -ECONNREFUSED)
		return -EADDRINUSE;
	return unlink(path) ? -errno : 0;
}

static int unix_bind(const char *path)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	mode_t mask;
	int fd, rc;

	if (strlen(path) >= sizeof(at.sun_path))
		return -ENAMETOOLONG;
	rc = remove_stale(path);
	if (rc)
		return rc;
	memcpy(at.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	/* The mask, not a chmod afterwards: there must be no moment in which others can connect. */
	mask = umask(0177);
	rc = bind(fd, (struct sockaddr *)&at, sizeof(at)) ? -errno : 0;
	umask(mask);
	if (rc) {
		close(fd);
		return rc;
	}
	return fd;
}

int ctl_serve(struct event_base *base, const char *path, ctl_handler *handler, void *ctx, struct ctl_server **out)
{
	struct ctl_server *s;
	int fd, rc;

	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	callers_init(&s->callers, base, &ctl_caller);
	s->handler = handler;
	s->ctx = ctx;
	s->path = strdup(path);
	rc = s->path ? 0 : -ENOMEM;
	if (rc)
		goto fail;
	fd = unix_bind(path);
	rc = fd;
	if (fd < 0)
		goto fail;
	s->listener = evconnlistener_new(base, on_accept, s, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 16, fd);
	if (!s->listener) {
		rc = -errno;
		close(fd);
		unlink(path);
		goto fail;
	}
	evconnlistener_set_error_cb(s->listener, on_accept_error);
	*out = s;
	return 0;
fail:
	free(s->path);
	free(s);
	return rc;
}

void ctl_server_free(struct ctl_server *s)
{
	if (!s)
		return;
	callers_free(&s->callers);
	evconnlistener_free(s->listener);
	unlink(s->path);
	free(s->path);
	free(s);
}
