/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A client's bytes through all of the front end: nghttp2 and l7/http/h2.c (or l7/http/h1.c), the exchange, the pool, and a backend
 * that answers in one of several ways, right and wrong.  One worker without its thread; its loop is turned by hand.
 *
 *   byte 0: bits 0-3 how the backend answers; 0x10 HTTP/1; 0x20 without the preface that HTTP/2 begins with;
 *           0x40 the client reads nothing; 0x80 the configuration loses its edge in the middle
 *   byte 1: how many bytes arrive at once, less one
 *
 * The oracle, beside the sanitizers: when the client is gone, no request, connection or stream is left.
 */
#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "l7/access.h"
#include "l7/backend.h"
#include "l7/client.h"
#include "pop/pop.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define TURNS 6
#define BACKENDS 256

static const char *const answers[] = {
	"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
	"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	"HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n",
	"HTTP/1.1 200 OK\r\n\r\nuntil the end",
	"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzzz",
	"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nraw",
	"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno",
	"nonsense\r\n\r\n", "",
};

static struct worker w;
static struct snapshot *with, *without;
static int listener, backend[BACKENDS];
static unsigned n_backends;

static void sweep(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd, (void)what, (void)ctx;
	while (!ring_empty(&w.graves)) {
		struct grave *g = LINK_OF(w.graves.next, struct grave, link);

		link_out(&g->link);
		g->bury(g);
	}
}

static struct snapshot *configuration(unsigned port, bool edge)
{
	char text[2048], why[256];
	struct conf_errors errors = { 0 };
	struct snapshot *s;
	struct pop *pop;
	int n;

	n = snprintf(text, sizeof(text),
		     "pop: {name: demo, buckets: 256, hash_seed: 1}\n"
		     "controllers: [{name: c1, id: 1, listen: \"192.0.2.10:7430\"}]\n"
		     "switches: [{name: s1, id: 1, management: 192.0.2.21, bridge: hosts, uplinks: [up0], ports: {p1: h1}}]\n"
		     "hosts: [{name: h1, id: 1, management: 192.0.2.31, links: {s1: eth0}}]\n"
		     "vips: [{name: www, addresses: [198.51.100.80], ports: [80/tcp, 81/tcp]}]\n"
		     "edges: [{vip: www, port: %u, limits: {body: 4000, head: 4096}, routes: [{method: [DELETE], pool: dead}, {pool: web}]}]\n"
		     "pools: [{name: web, backends: [{address: 127.0.0.1, port: %u}], limits: {connections: 4, queue: 2}},\n"
		     "        {name: dead, backends: [{address: 127.0.0.1, port: 1}]}]\n",
		     edge ? 80u : 81u, port);
	pop = pop_parse(text, (size_t)n, "fuzz", &errors);
	if (!pop) {
		conf_errors_print(&errors, stderr);
		abort();
	}
	s = snapshot_new(pop, edge, 1, why, sizeof(why));
	assert(s);
	pop_free(pop);
	return s;
}

static void setup(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);

	signal(SIGPIPE, SIG_IGN);
	log_open("fuzz", LOG_LEVEL_ERROR);
	listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	assert(listener >= 0 && !bind(listener, (struct sockaddr *)&a, len) && !listen(listener, 128));
	assert(!getsockname(listener, (struct sockaddr *)&a, &len));
	with = configuration(ntohs(a.sin_port), true);
	without = configuration(ntohs(a.sin_port), false);
	ring_init(&w.listeners);
	ring_init(&w.clients);
	ring_init(&w.pools);
	ring_init(&w.graves);
	for (int i = 0; i < WHEEL_SLOTS; i++)
		ring_init(&w.wheel[i]);
	w.wheel_ms = monotonic_ms();
	w.base = event_base_new();
	w.sweep = event_new(w.base, -1, 0, sweep, NULL);
	w.log = access_log_new();
	access_log_format(w.log, true, ACCESS_JSON);
	w.snapshot = snapshot_ref(with);
	wpools_configure(&w);
}

static void turn(const char *answer)
{
	char got[65536], *text;

	event_base_loop(w.base, EVLOOP_NONBLOCK);
	while (n_backends < BACKENDS && (backend[n_backends] = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0)
		n_backends++;
	for (unsigned i = 0; i < n_backends; i++) {
		ssize_t n = recv(backend[i], got, sizeof(got), 0);

		if (n > 0 && *answer)
			n = send(backend[i], answer, strlen(answer), MSG_NOSIGNAL);
		if (n == 0 || (n > 0 && strstr(answer, "until"))) {
			close(backend[i]);
			backend[i] = backend[--n_backends];
			i--;
		}
	}
	if (access_log_take(w.log, &text))
		free(text);
}

/* Timers do not fire by themselves: whatever is due in a minute is due now. */
static void late(void)
{
	for (int i = 0; i < WHEEL_SLOTS; i++) {
		struct link due;

		if (ring_empty(&w.wheel[i]))
			continue;
		due = w.wheel[i];
		due.next->prev = due.prev->next = &due;
		ring_init(&w.wheel[i]);
		while (!ring_empty(&due)) {
			struct timer *t = LINK_OF(due.next, struct timer, link);

			link_out(&t->link);
			t->fire(t);
		}
	}
}

static void begin(int fd, bool http1)
{
	struct sockaddr_storage peer = { .ss_family = AF_INET };

	client_accept(&w, w.snapshot, snapshot_edge(with, "www", 80), fd, &peer);
	if (!http1)
		assert(!h2_begin(LINK_OF(w.clients.next, struct client, link)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
	const char *answer;
	char got[65536];
	size_t step, n;
	int fd[2];

	if (size < 3)
		return 0;
	if (!w.base)
		setup();
	answer = answers[(data[0] & 15u) % (sizeof(answers) / sizeof(*answers))];
	step = data[1] + 1u;
	assert(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd));
	snapshot_unref(w.snapshot);
	w.snapshot = snapshot_ref(with);
	begin(fd[0], data[0] & 0x10);
	if (!(data[0] & 0x30))
		assert(send(fd[1], preface, sizeof(preface) - 1, 0) > 0);
	for (size_t at = 2; at < size; at += n) {
		if (data[0] & 0x80 && at >= size / 2 && w.snapshot == with) {
			snapshot_unref(w.snapshot);
			w.snapshot = snapshot_ref(without);
			if (!ring_empty(&w.clients))
				client_drain(LINK_OF(w.clients.next, struct client, link));
		}
		n = size - at < step ? size - at : step;
		if (send(fd[1], data + at, n, MSG_NOSIGNAL) != (ssize_t)n)
			break;
		turn(answer);
		if (!(data[0] & 0x40))
			while (recv(fd[1], got, sizeof(got), 0) > 0)
				;
	}
	for (int i = 0; i < TURNS; i++)
		turn(answer);
	if (data[0] & 0x40)
		late();
	close(fd[1]);
	for (int i = 0; i < TURNS && !ring_empty(&w.clients); i++) {
		turn(answer);
		if (i == 2)
			late();
	}
	while (!ring_empty(&w.clients))
		client_close(LINK_OF(w.clients.next, struct client, link));
	turn(answer);
	assert(!w.n_clients && !w.stats.active && w.stats.accepted == w.stats.closed);
	while (n_backends)
		close(backend[--n_backends]);
	for (int i = 0; i < 2; i++)
		turn(answer); /* kept connections see their end */
	return 0;
}
