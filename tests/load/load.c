/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Load for a POP, and the witness of what happened to it.  One epoll loop, HTTP/1.1, half IPv6.
 *
 *   load short   a constant rate of small requests: most on a connection of their own (closed in turn by
 *                the server and by us), a share on connections that are kept alive
 *   load long    a constant number of connections that carry bytes all their life: downloads at a limited
 *                rate, and kept connections that ask for a piece four times a second.  Lifetimes have the
 *                shape that Faild measured (section 5.1): 70 % under 10 s; the longest are scaled to 15 s
 *
 * With --objects N half of the connections ask for /o/K/..., K below N, instead: each for one K, and now and then another,
 * so that a front end which moves connections to where an object is has some that stay and some that go on.
 *
 * With --tls-share a part of the connections speaks TLS 1.3, to a port of its own, and verifies the certificate.
 *
 * Every body byte is checked: the servers hold a file whose bytes follow from their offset.  Each end
 * of a connection is classified, and what failed is counted by where it was and what was said ("causes", say
 * "connecting: ENETUNREACH"); one JSON object a line on stdout says how things stand.  SIGTERM: no new
 * connections, what is open is left uncounted, a last line, exit 0 if nothing failed.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { FILE_BYTES = 1 << 20, PIECE_BYTES = 600, SHORT_BYTES = 1024, HEAD_MAX = 1023, HOSTS = 64, SOURCES_MAX = 16 };
enum { CAUSES_MAX = 32, LATENCY_MS_MAX = 4096, CONNS_MAX = 8192, KEPT_REQUESTS = 20, PIECE_EVERY_MS = 250 };

#define HOST_NAME "www.example"

enum kind { KIND_ONCE_SERVER_CLOSES, KIND_ONCE_WE_CLOSE, KIND_KEPT, KIND_DOWNLOAD, KIND_PIECES };
enum state { STATE_CONNECTING, STATE_HEAD, STATE_BODY, STATE_EOF, STATE_IDLE, STATE_HANDSHAKE, STATE_CLOSING };
enum fault { FAULT_REFUSED, FAULT_UNREACHABLE, FAULT_CONNECT, FAULT_RESET, FAULT_TIMEOUT, FAULT_WRONG_BYTE, FAULT_PREMATURE, FAULT_STATUS, FAULTS };
static const char *const state_name[] = { "connecting", "head", "body", "end", "idle", "handshake", "closing" };
static const char *const fault_name[FAULTS] = { "refused", "unreachable", "connect_timeout", "reset", "timeout", "wrong_byte", "premature_end", "status" };

struct conn {
	int fd;
	SSL *tls; /* NULL: plain */
	unsigned slot;
	enum kind kind;
	enum state state;
	int family;
	bool objects; /* asks for /o/object/... */
	unsigned object;
	unsigned requests, host; /* answered so far; number of the host that answered, 0: not known yet */
	uint64_t began_ms, progress_ms, asked_ms, next_ms, life_ms, received;
	uint64_t offset, left; /* of the body: next byte's offset in the file; how many are still to come */
	size_t head_len;
	char head[HEAD_MAX + 1];
};

static struct {
	bool is_long;
	double rate;
	unsigned concurrent, kept, timeout_ms, every_ms;
	uint64_t seconds, seed;
	unsigned download_rate;
	const char *vip[2], *fault_log;
	const char *source[2][SOURCES_MAX];
	unsigned n_sources[2];
	uint16_t port, tls_port;
	unsigned tls_share; /* percent */
	unsigned objects;
	const char *ca;
} opt = { .rate = 100, .concurrent = 200, .kept = 10, .timeout_ms = 5000, .every_ms = 200, .seconds = 3600, .seed = 1,
	  .download_rate = 16384, .port = 80, .tls_port = 443 };

static struct {
	uint64_t connections, established, secured, finished, requests, ok, failed, broken, bytes;
	struct {
		char what[48];
		uint64_t n;
	} cause[CAUSES_MAX]; /* the last is for what has no room */
	uint64_t fault[FAULTS], broken_by_host[HOSTS], ok_by_host[HOSTS], latency[LATENCY_MS_MAX];
} count;

static struct conn *conns[CONNS_MAX];
static unsigned n_conns, n_kept;
static int epoll_fd;
static SSL_CTX *tls_ctx;
static FILE *fault_file;
static volatile sig_atomic_t stopping;

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static uint64_t splitmix64(uint64_t x)
{
	x += 0x9e3779b97f4a7c15;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

/* The byte that the file holds at an offset; deploy/pop makes the file by the same rule. */
static uint8_t pattern(uint64_t offset)
{
	return (uint8_t)(splitmix64(offset / 8) >> offset % 8 * 8);
}

static uint64_t draw(uint64_t below)
{
	return splitmix64(opt.seed++) % below;
}

static uint64_t draw_lifetime_ms(void)
{
	return draw(10) < 7 ? 500 + draw(9500) : 10000 + draw(5001);
}

static void conn_free(struct conn *c)
{
	SSL_free(c->tls);
	close(c->fd);
	if (c->kind == KIND_KEPT)
		n_kept--;
	conns[c->slot] = conns[--n_conns];
	conns[c->slot]->slot = c->slot;
	free(c);
}

static void conn_finish(struct conn *c)
{
	count.finished++;
	conn_free(c);
}

/* We are the first to close.  Over TLS the server has a last word, and closing before it has come would be a reset. */
static void conn_close(struct conn *c, uint64_t now)
{
	if (!c->tls) {
		conn_finish(c);
		return;
	}
	c->state = STATE_CLOSING;
	c->progress_ms = now;
	SSL_shutdown(c->tls);
	shutdown(c->fd, SHUT_WR);
}

/* As send(2) and recv(2); an end of TCP without TLS's own is -1 with ENODATA. */
static ssize_t conn_put(struct conn *c, const char *data, size_t len)
{
	return c->tls ? SSL_write(c->tls, data, (int)len) : send(c->fd, data, len, MSG_NOSIGNAL);
}

static ssize_t conn_get(struct conn *c, char *data, size_t len)
{
	int n;

	if (!c->tls)
		return recv(c->fd, data, len, 0);
	ERR_clear_error();
	errno = 0;
	n = SSL_read(c->tls, data, (int)len);
	if (n > 0)
		return n;
	switch (SSL_get_error(c->tls, n)) {
	case SSL_ERROR_ZERO_RETURN: return 0;
	case SSL_ERROR_WANT_READ: errno = EAGAIN; break;
	case SSL_ERROR_SYSCALL:
		if (!errno)
			errno = ENODATA;
		break;
	default: errno = ENODATA;
	}
	return -1;
}

/* By where the connection was, and the kernel's word if it has said one, else ours; that word. */
static const char *count_cause(const struct conn *c, enum fault f, int err)
{
	const char *name = err ? strerrorname_np(err) : fault_name[f];
	char what[sizeof(count.cause[0].what)];
	unsigned i;

	snprintf(what, sizeof(what), "%s: %s", state_name[c->state], name ? name : "?");
	for (i = 0; i < CAUSES_MAX - 1 && count.cause[i].n && strcmp(count.cause[i].what, what); i++)
		;
	snprintf(count.cause[i].what, sizeof(what), "%s", i < CAUSES_MAX - 1 ? what : "others");
	count.cause[i].n++;
	return name ? name : "?";
}

static enum fault connect_fault(int err)
{
	return err == ECONNREFUSED ? FAULT_REFUSED : err == ETIMEDOUT ? FAULT_CONNECT : FAULT_UNREACHABLE;
}

/* The end that must not be.  A connection that was never established has failed; any other is broken.  err: an errno, or 0. */
static void conn_fault(struct conn *c, enum fault f, int err, uint64_t now)
{
	const char *said = count_cause(c, f, err);
	struct sockaddr_in6 sa = { 0 };
	socklen_t len = sizeof(sa);
	char text[INET6_ADDRSTRLEN] = "?";
	uint16_t port = 0;

	if (getsockname(c->fd, (struct sockaddr *)&sa, &len) == 0) {
		struct sockaddr_in v4;

		memcpy(&v4, &sa, sizeof(v4));
		if (sa.sin6_family == AF_INET6)
			inet_ntop(AF_INET6, &sa.sin6_addr, text, sizeof(text));
		else
			inet_ntop(AF_INET, &v4.sin_addr, text, sizeof(text));
		port = ntohs(sa.sin6_port);
	}
	count.fault[f]++;
	count.failed++;
	if (c->state != STATE_CONNECTING) {
		count.broken++;
		count.broken_by_host[c->host]++;
	}
	if (fault_file) {
		fprintf(fault_file, "%llu %s %s.%u said=%s host=h%u kind=%d state=%d age_ms=%llu silent_ms=%llu requests=%u received=%llu left=%llu\n",
			(unsigned long long)now, fault_name[f], text, port, said, c->host, (int)c->kind, (int)c->state,
			(unsigned long long)(now - c->began_ms), (unsigned long long)(now - c->progress_ms), c->requests,
			(unsigned long long)c->received, (unsigned long long)c->left);
		fflush(fault_file);
	}
	conn_free(c);
}

static void conn_ask(struct conn *c, uint64_t now)
{
	const char *close_it = c->kind == KIND_ONCE_SERVER_CLOSES ? "Connection: close\r\n" : "";
	char request[256], range[64] = "", folder[24] = "";
	const char *path = "/short";
	unsigned rate = 0;
	int n;

	c->offset = 0;
	c->left = SHORT_BYTES;
	if (c->kind == KIND_DOWNLOAD || c->kind == KIND_PIECES) {
		path = "/pattern";
		rate = c->kind == KIND_DOWNLOAD ? opt.download_rate : 0;
		c->left = c->kind == KIND_DOWNLOAD ? c->life_ms * rate / 1000 + 1 : PIECE_BYTES;
		c->offset = draw(FILE_BYTES - c->left);
		snprintf(range, sizeof(range), "Range: bytes=%llu-%llu\r\n", (unsigned long long)c->offset,
			 (unsigned long long)(c->offset + c->left - 1));
	}
	if (c->objects) {
		if (!c->requests || !draw(8))
			c->object = (unsigned)draw(opt.objects);
		snprintf(folder, sizeof(folder), "/o/%u", c->object);
	}
	n = snprintf(request, sizeof(request), "GET %s%s?rate=%u HTTP/1.1\r\nHost: " HOST_NAME "\r\n%s%s\r\n", folder, path, rate, range, close_it);
	assert(n > 0 && (size_t)n < sizeof(request));
	count.requests++;
	c->state = STATE_HEAD;
	c->head_len = 0;
	c->asked_ms = c->progress_ms = now;
	/* A request fits any send buffer; what cannot be written at all has been reset. */
	errno = 0;
	if (conn_put(c, request, (size_t)n) != n)
		conn_fault(c, FAULT_RESET, errno, now);
}

static SSL *tls_new(int fd)
{
	SSL *tls = SSL_new(tls_ctx);

	if (!tls || !SSL_set_fd(tls, fd) || !SSL_set_tlsext_host_name(tls, HOST_NAME) || !SSL_set1_host(tls, HOST_NAME))
		exit(2);
	SSL_set_connect_state(tls);
	return tls;
}

static void conn_open(enum kind kind, uint64_t now)
{
	unsigned six = (unsigned)(count.connections & 1);
	int family = six ? AF_INET6 : AF_INET, one = 1, fd, err;
	struct sockaddr_in6 a6 = { .sin6_family = AF_INET6 };
	struct sockaddr_in a4 = { .sin_family = AF_INET };
	struct sockaddr *sa = six ? (struct sockaddr *)&a6 : (struct sockaddr *)&a4;
	socklen_t len = six ? sizeof(a6) : sizeof(a4);
	struct epoll_event ev = { .events = EPOLLOUT };
	bool secure = opt.tls_share && draw(100) < opt.tls_share;
	struct conn *c;

	if (n_conns == CONNS_MAX)
		return;
	count.connections++;
	fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		perror("load: socket");
		exit(2);
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (opt.n_sources[six]) {
		inet_pton(family, opt.source[six][draw(opt.n_sources[six])], six ? (void *)&a6.sin6_addr : (void *)&a4.sin_addr);
		setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
		if (bind(fd, sa, len) < 0) {
			perror("load: bind");
			exit(2);
		}
	}
	inet_pton(family, opt.vip[six], six ? (void *)&a6.sin6_addr : (void *)&a4.sin_addr);
	a6.sin6_port = a4.sin_port = htons(secure ? opt.tls_port : opt.port);
	err = connect(fd, sa, len) < 0 ? errno : 0;
	c = calloc(1, sizeof(*c));
	if (!c)
		exit(2);
	c->fd = fd;
	c->tls = secure ? tls_new(fd) : NULL;
	c->kind = kind;
	c->family = family;
	c->began_ms = c->progress_ms = now;
	c->life_ms = draw_lifetime_ms();
	c->objects = opt.objects && draw(2);
	c->slot = n_conns;
	conns[n_conns++] = c;
	if (kind == KIND_KEPT)
		n_kept++;
	ev.data.ptr = c;
	epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev);
	if (err && err != EINPROGRESS)
		conn_fault(c, connect_fault(err), err, now);
}

/* The answer is complete. */
static void conn_answered(struct conn *c, uint64_t now)
{
	uint64_t ms = now - c->asked_ms;

	count.ok++;
	count.ok_by_host[c->host]++;
	count.latency[ms < LATENCY_MS_MAX ? ms : LATENCY_MS_MAX - 1]++;
	c->requests++;
	switch (c->kind) {
	case KIND_ONCE_SERVER_CLOSES:
		c->state = STATE_EOF;
		return;
	case KIND_ONCE_WE_CLOSE:
	case KIND_DOWNLOAD:
		conn_close(c, now);
		return;
	case KIND_KEPT:
	case KIND_PIECES:
		if (c->kind == KIND_KEPT ? c->requests >= KEPT_REQUESTS : now - c->began_ms >= c->life_ms) {
			conn_close(c, now);
			return;
		}
		c->state = STATE_IDLE;
		c->next_ms = now + (c->kind == KIND_KEPT ? 1000u * opt.kept * 5 / (unsigned)opt.rate : PIECE_EVERY_MS);
		return;
	}
}

/* Reads the head's facts.  1 it was complete and as expected, 0 more is needed, -1 not what we asked for. */
static int conn_head(struct conn *c, size_t *head_bytes)
{
	char *end, *field;

	c->head[c->head_len] = 0;
	end = strstr(c->head, "\r\n\r\n");
	if (!end)
		return c->head_len == HEAD_MAX ? -1 : 0;
	*head_bytes = (size_t)(end - c->head) + 4;
	*end = 0;
	if (strncmp(c->head, "HTTP/1.1 20", 11))
		return -1;
	field = strcasestr(c->head, "\r\nX-Host: h");
	if (field)
		c->host = (unsigned)strtoul(field + 11, NULL, 10) % HOSTS;
	field = strcasestr(c->head, "\r\nContent-Length: ");
	if (!field || strtoull(field + 18, NULL, 10) != c->left)
		return -1;
	c->state = STATE_BODY;
	return 1;
}

/* False when c is gone. */
static bool conn_body(struct conn *c, const char *data, size_t len, uint64_t now)
{
	size_t i;

	if (len > c->left) {
		conn_fault(c, FAULT_WRONG_BYTE, 0, now);
		return false;
	}
	for (i = 0; i < len; i++)
		if ((uint8_t)data[i] != pattern(c->offset + i)) {
			conn_fault(c, FAULT_WRONG_BYTE, 0, now);
			return false;
		}
	c->offset += len;
	c->left -= len;
	if (c->left)
		return true;
	conn_answered(c, now);
	return false; /* at most one answer is outstanding: nothing more to read now */
}

static void conn_read(struct conn *c, uint64_t now)
{
	char buf[16384];

	for (;;) {
		bool in_head = c->state == STATE_HEAD;
		ssize_t n = in_head ? conn_get(c, c->head + c->head_len, HEAD_MAX - c->head_len) : conn_get(c, buf, sizeof(buf));

		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0) {
			conn_fault(c, errno == ETIMEDOUT ? FAULT_TIMEOUT : errno == ENODATA ? FAULT_PREMATURE : FAULT_RESET, errno, now);
			return;
		}
		if (n == 0) {
			/* A server may close a kept connection between two answers; nothing is lost then. */
			if (c->state == STATE_EOF || c->state == STATE_CLOSING || (c->state == STATE_IDLE && c->kind == KIND_KEPT))
				conn_finish(c);
			else
				conn_fault(c, FAULT_PREMATURE, 0, now);
			return;
		}
		count.bytes += (uint64_t)n;
		c->received += (uint64_t)n;
		c->progress_ms = now;
		if (in_head) {
			size_t head_bytes = 0, had = c->head_len + (size_t)n;
			int done;

			c->head_len = had;
			done = conn_head(c, &head_bytes);
			if (done < 0) {
				conn_fault(c, FAULT_STATUS, 0, now);
				return;
			}
			if (done && had > head_bytes && !conn_body(c, c->head + head_bytes, had - head_bytes, now))
				return;
		} else if (c->state != STATE_BODY) {
			conn_fault(c, FAULT_WRONG_BYTE, 0, now); /* bytes that nobody asked for */
			return;
		} else if (!conn_body(c, buf, (size_t)n, now)) {
			return;
		}
	}
}

static void conn_handshake(struct conn *c, uint64_t now)
{
	int n, err;

	ERR_clear_error();
	errno = 0;
	n = SSL_do_handshake(c->tls);
	if (n == 1) {
		count.secured++;
		conn_ask(c, now);
		return;
	}
	err = SSL_get_error(c->tls, n);
	if (err == SSL_ERROR_WANT_READ)
		return;
	if (err == SSL_ERROR_SSL)
		fprintf(stderr, "load: handshake: %s\n", ERR_reason_error_string(ERR_peek_error()));
	conn_fault(c, err == SSL_ERROR_SYSCALL && errno ? FAULT_RESET : FAULT_PREMATURE, err == SSL_ERROR_SYSCALL ? errno : 0, now);
}

static void conn_event(struct conn *c, uint64_t now)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = c };
	socklen_t len = sizeof(int);
	int err = 0;

	if (c->state == STATE_HANDSHAKE) {
		conn_handshake(c, now);
		return;
	}
	if (c->state != STATE_CONNECTING) {
		conn_read(c, now);
		return;
	}
	getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &len);
	if (err) {
		conn_fault(c, connect_fault(err), err, now);
		return;
	}
	count.established++;
	epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &ev);
	if (c->tls) {
		c->state = STATE_HANDSHAKE;
		c->progress_ms = now;
		conn_handshake(c, now);
		return;
	}
	conn_ask(c, now);
}

/* Timers of all connections; there are a few hundred, so a walk every tick is cheap. */
static void tick(uint64_t now)
{
	unsigned i = n_conns;

	while (i-- > 0) {
		struct conn *c = conns[i];

		if (c->state == STATE_IDLE && now >= c->next_ms)
			conn_ask(c, now);
		else if (c->state != STATE_IDLE && now - c->progress_ms > opt.timeout_ms)
			conn_fault(c, c->state == STATE_CONNECTING ? FAULT_CONNECT : FAULT_TIMEOUT, 0, now);
	}
}

/* *opened: of short load the connections so far, of long load the time of the last ones. */
static void open_more(uint64_t begun, uint64_t now, uint64_t *opened)
{
	unsigned batch = opt.concurrent / 50 + 1;

	if (opt.is_long) {
		/* Raised in half a second rather than in one burst, and where all is refused, no flood. */
		if (now - *opened < 10 || n_conns >= opt.concurrent)
			return;
		for (*opened = now; n_conns < opt.concurrent && batch-- > 0;)
			conn_open(count.connections % 4 < 2 ? KIND_DOWNLOAD : KIND_PIECES, now);
		return;
	}
	while (*opened < (uint64_t)((double)(now - begun) * opt.rate * 0.8 / 1000)) {
		conn_open(*opened % 4 < 2 ? KIND_ONCE_SERVER_CLOSES : KIND_ONCE_WE_CLOSE, now);
		++*opened;
	}
	while (n_kept < opt.kept)
		conn_open(KIND_KEPT, now);
}

static unsigned latency_percentile(double share)
{
	uint64_t total = 0, sum = 0;
	unsigned i;

	for (i = 0; i < LATENCY_MS_MAX; i++)
		total += count.latency[i];
	for (i = 0; i < LATENCY_MS_MAX; i++) {
		sum += count.latency[i];
		if (total && (double)sum >= share * (double)total)
			return i;
	}
	return 0;
}

static void print_by_host(const char *name, const uint64_t *by_host)
{
	const char *comma = "";
	unsigned i;

	printf(", \"%s\": {", name);
	for (i = 0; i < HOSTS; i++)
		if (by_host[i]) {
			printf("%s\"%s%u\": %llu", comma, i ? "h" : "unknown", i, (unsigned long long)by_host[i]);
			comma = ", ";
		}
	printf("}");
}

static void print_counts(uint64_t begun, uint64_t now, bool last)
{
	uint64_t open_by_host[HOSTS] = { 0 };
	unsigned i;

	for (i = 0; i < n_conns; i++)
		open_by_host[conns[i]->host]++;
	printf("{\"t_ms\": %llu, \"last\": %s, \"connections\": %llu, \"established\": %llu, \"tls\": %llu, \"open\": %u, \"finished\": %llu, "
	       "\"requests\": %llu, \"ok\": %llu, \"failed\": %llu, \"broken\": %llu, \"bytes\": %llu, \"p50_ms\": %u, \"p99_ms\": %u",
	       (unsigned long long)(now - begun), last ? "true" : "false", (unsigned long long)count.connections,
	       (unsigned long long)count.established, (unsigned long long)count.secured, n_conns, (unsigned long long)count.finished,
	       (unsigned long long)count.requests, (unsigned long long)count.ok, (unsigned long long)count.failed,
	       (unsigned long long)count.broken, (unsigned long long)count.bytes, latency_percentile(0.5), latency_percentile(0.99));
	for (i = 0; i < FAULTS; i++)
		printf(", \"%s\": %llu", fault_name[i], (unsigned long long)count.fault[i]);
	printf(", \"causes\": {");
	for (i = 0; i < CAUSES_MAX && count.cause[i].n; i++)
		printf("%s\"%s\": %llu", i ? ", " : "", count.cause[i].what, (unsigned long long)count.cause[i].n);
	printf("}");
	print_by_host("broken_by_host", count.broken_by_host);
	print_by_host("ok_by_host", count.ok_by_host);
	print_by_host("open_by_host", open_by_host);
	printf("}\n");
	fflush(stdout);
}

static void run(void)
{
	uint64_t begun = now_ms(), now = begun, printed = begun, opened = 0;

	while (!stopping && now - begun < opt.seconds * 1000) {
		struct epoll_event ev[64];
		int i, n;

		open_more(begun, now, &opened);
		n = epoll_wait(epoll_fd, ev, 64, 5);
		now = now_ms();
		/* conn_free frees at once: a connection has one event in a batch, so none is met again. */
		for (i = 0; i < n; i++)
			conn_event(ev[i].data.ptr, now);
		tick(now);
		if (now - printed >= opt.every_ms) {
			print_counts(begun, now, false);
			printed = now;
		}
	}
	print_counts(begun, now, true);
}

static void on_signal(int number)
{
	(void)number;
	stopping = 1;
}

static void usage(void)
{
	fprintf(stderr, "usage: load short|long --vip ADDR --vip ADDR6 [--source ADDR]... [--port N] [--rate PER_SECOND] [--kept N]\n"
			"            [--concurrent N] [--seconds N] [--timeout MS] [--every MS] [--seed N] [--faults FILE]\n"
			"            [--tls-share PERCENT --ca FILE [--tls-port N]] [--objects N]\n");
	exit(2);
}

/* Every connection handshakes in full: no session is kept. */
static void tls_begin(void)
{
	tls_ctx = SSL_CTX_new(TLS_client_method());
	if (!tls_ctx || !SSL_CTX_set_min_proto_version(tls_ctx, TLS1_3_VERSION) || !SSL_CTX_load_verify_locations(tls_ctx, opt.ca, NULL)) {
		fprintf(stderr, "load: %s: cannot be used as the certificate to trust\n", opt.ca);
		exit(2);
	}
	SSL_CTX_set_verify(tls_ctx, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_session_cache_mode(tls_ctx, SSL_SESS_CACHE_OFF);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "vip", 1, NULL, 'v' }, { "source", 1, NULL, 's' }, { "port", 1, NULL, 'p' }, { "rate", 1, NULL, 'r' },
		{ "kept", 1, NULL, 'k' }, { "concurrent", 1, NULL, 'c' }, { "seconds", 1, NULL, 't' }, { "timeout", 1, NULL, 'T' },
		{ "every", 1, NULL, 'e' }, { "seed", 1, NULL, 'x' }, { "faults", 1, NULL, 'f' }, { "tls-share", 1, NULL, 'S' },
		{ "tls-port", 1, NULL, 'P' }, { "ca", 1, NULL, 'C' }, { "objects", 1, NULL, 'o' }, { 0 } };
	struct rlimit files = { CONNS_MAX + 64, CONNS_MAX + 64 };
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		unsigned six = optarg && strchr(optarg, ':') != NULL;

		switch (c) {
		case 'v': opt.vip[six] = optarg; break;
		case 's':
			if (opt.n_sources[six] < SOURCES_MAX)
				opt.source[six][opt.n_sources[six]++] = optarg;
			break;
		case 'p': opt.port = (uint16_t)atoi(optarg); break;
		case 'r': opt.rate = atof(optarg); break;
		case 'k': opt.kept = (unsigned)atoi(optarg); break;
		case 'c': opt.concurrent = (unsigned)atoi(optarg); break;
		case 't': opt.seconds = (uint64_t)atoll(optarg); break;
		case 'T': opt.timeout_ms = (unsigned)atoi(optarg); break;
		case 'e': opt.every_ms = (unsigned)atoi(optarg); break;
		case 'x': opt.seed = (uint64_t)atoll(optarg) << 32; break;
		case 'f': opt.fault_log = optarg; break;
		case 'S': opt.tls_share = (unsigned)atoi(optarg); break;
		case 'P': opt.tls_port = (uint16_t)atoi(optarg); break;
		case 'C': opt.ca = optarg; break;
		case 'o': opt.objects = (unsigned)atoi(optarg); break;
		default: usage();
		}
	}
	if (optind != argc - 1 || (opt.tls_share && !opt.ca) || !opt.vip[0] || !opt.vip[1] || opt.rate < 1 || opt.concurrent > CONNS_MAX / 2)
		usage();
	opt.is_long = !strcmp(argv[optind], "long");
	if (!opt.is_long && strcmp(argv[optind], "short"))
		usage();
	if (opt.fault_log && !(fault_file = fopen(opt.fault_log, "w"))) {
		perror(opt.fault_log);
		return 2;
	}
	if (opt.tls_share)
		tls_begin();
	setrlimit(RLIMIT_NOFILE, &files);
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	signal(SIGPIPE, SIG_IGN);
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	run();
	return count.failed ? 1 : 0;
}
