// SPDX-License-Identifier: BSD-2-Clause
/*
 * Connections that walk: each asks for objects of one host after the other, at random, and compares every byte.  Objects
 * are /hH/wSIZE (H from 1, SIZE such as 1k), whose eight bytes at offset o (a multiple of 8) are H << 56 | o, big-endian.
 *
 *   walk ADDRESS PORT [tls] [connections=64] [requests=100000] [hosts=3] [sizes=1k,64k] [pipeline=1] [gap=0] [update=0]
 *        [seconds=60] [seed=1] [stick=0] [still=0] [patience=1] [again]
 *   gap: microseconds between an answer and the next request, at random up to it.  update: a TLS KeyUpdate, asking for the
 *   peer's, every so many requests.  stick: percent of requests that stay with the host of the one before.
 *   still: so many connections more, which ask for the same below /proxy/ and so never move: what they take is reported apart,
 *   the control of what moves cost.  patience: seconds that a connection may take to open.
 *   again: a connection that is lost is opened anew; only wrong bytes are an error.
 *
 * Prints one JSON object.  Exit 1 if a byte was wrong, a connection was lost, or not all was answered in time.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PIPELINE_MAX 64
#define SIZES_MAX 16
#define LATENCIES_MAX 20000000u
#define STALL_US 50000u

static struct {
	const char *address;
	unsigned port, connections, hosts, pipeline, gap_us, update, seconds, stick, still, patience;
	uint64_t requests, seed;
	bool tls, again;
	uint64_t size[SIZES_MAX];
	char name[SIZES_MAX][16];
	unsigned sizes;
} o = { .connections = 64, .requests = 100000, .hosts = 3, .pipeline = 1, .seconds = 60, .patience = 1, .seed = 1 };

struct want {
	uint8_t host;
	uint64_t size, at_ns;
};

struct conn {
	int fd;
	unsigned index;
	SSL *ssl;
	bool ready, writing, in_body, still;
	uint64_t left, offset, next_ns, asked;
	uint8_t last;
	char head[4096];
	size_t head_len;
	struct want queue[PIPELINE_MAX];
	unsigned first, queued;
	char out[PIPELINE_MAX * 96];
	size_t out_len;
};

static struct {
	uint64_t asked, answered, bytes, wrong, refused, lost, moves;
	uint64_t took[2]; /* answers of those that move, and of those that stand still */
	uint32_t *latency_us[2];
	char why[200];
	unsigned why_wrong; /* why is of something wrong */
} t;

static int loop;
static SSL_CTX *ctx;

static uint64_t now_ns(void)
{
	struct timespec n;

	clock_gettime(CLOCK_MONOTONIC, &n);
	return (uint64_t)n.tv_sec * 1000000000u + (uint64_t)n.tv_nsec;
}

static uint32_t dice(uint32_t n)
{
	o.seed ^= o.seed << 13;
	o.seed ^= o.seed >> 7;
	o.seed ^= o.seed << 17;
	return (uint32_t)((o.seed >> 11) % n);
}

static void want_write(struct conn *c, bool yes)
{
	struct epoll_event e = { .events = EPOLLIN | (yes ? EPOLLOUT : 0), .data.ptr = c };

	if (c->writing != yes)
		epoll_ctl(loop, EPOLL_CTL_MOD, c->fd, &e);
	c->writing = yes;
}

static void lose(struct conn *c, const char *why)
{
	t.lost++;
	if (!t.why[0] || (t.wrong && !t.why_wrong++))
		snprintf(t.why, sizeof(t.why), "connection %u, after %llu requests, at %llu of %llu bytes of /h%u: %s", c->index,
			 (unsigned long long)c->asked, (unsigned long long)c->offset,
			 (unsigned long long)c->queue[c->first].size, c->queue[c->first].host, why);
	close(c->fd);
	SSL_free(c->ssl);
	c->ssl = NULL;
	c->fd = -1;
}

static void flush(struct conn *c)
{
	while (c->out_len) {
		ssize_t n;

		if (c->ssl) {
			ERR_clear_error();
			n = SSL_write(c->ssl, c->out, (int)c->out_len);
			if (n <= 0 && SSL_get_error(c->ssl, (int)n) != SSL_ERROR_WANT_WRITE &&
			    SSL_get_error(c->ssl, (int)n) != SSL_ERROR_WANT_READ) {
				lose(c, "write failed");
				return;
			}
		} else {
			n = send(c->fd, c->out, c->out_len, MSG_NOSIGNAL);
			if (n < 0 && errno != EAGAIN) {
				lose(c, strerror(errno));
				return;
			}
		}
		if (n <= 0)
			break;
		memmove(c->out, c->out + n, c->out_len - (size_t)n);
		c->out_len -= (size_t)n;
	}
	want_write(c, c->out_len);
}

static void ask(struct conn *c)
{
	while (c->fd >= 0 && c->ready && c->queued < o.pipeline && t.asked < o.requests && now_ns() >= c->next_ns) {
		struct want *w = &c->queue[(c->first + c->queued) % PIPELINE_MAX];
		unsigned s = dice(o.sizes);

		w->host = c->last && dice(100) < o.stick ? c->last : (uint8_t)(1 + dice(o.hosts));
		t.moves += !c->still && c->last && w->host != c->last;
		c->last = w->host;
		w->size = o.size[s];
		w->at_ns = now_ns();
		c->out_len += (size_t)snprintf(c->out + c->out_len, sizeof(c->out) - c->out_len,
					       "GET %s/h%u/w%s HTTP/1.1\r\nHost: www.example.net\r\n\r\n", c->still ? "/proxy" : "", w->host, o.name[s]);
		c->queued++;
		c->asked++;
		t.asked++;
		if (c->ssl && o.update && c->asked % o.update == 0)
			SSL_key_update(c->ssl, c->asked % (2 * o.update) ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED);
		if (o.gap_us)
			c->next_ns = now_ns() + dice(o.gap_us) * 1000ull;
	}
	if (c->fd >= 0 && c->out_len)
		flush(c);
}

static void answered(struct conn *c)
{
	struct want *w = &c->queue[c->first];
	uint64_t took = now_ns() - w->at_ns;

	t.answered++;
	t.latency_us[c->still][t.took[c->still]++] = (uint32_t)(took / 1000);
	c->first = (c->first + 1) % PIPELINE_MAX;
	c->queued--;
	c->in_body = false;
	c->head_len = 0;
	c->offset = 0;
}

static bool right(const struct conn *c, const uint8_t *p, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++) {
		uint64_t at = c->offset + i, word = (uint64_t)c->queue[c->first].host << 56 | (at & ~7ull);

		if (p[i] != (uint8_t)(word >> (56 - 8 * (at & 7))))
			return false;
	}
	return true;
}

/* Returns how much of p it took; 0: c is lost. */
static size_t take_head(struct conn *c, const uint8_t *p, size_t n)
{
	size_t i;
	const char *length;

	for (i = 0; i < n; i++) {
		if (c->head_len + 1 >= sizeof(c->head))
			break;
		c->head[c->head_len++] = (char)p[i];
		if (c->head_len >= 4 && !memcmp(c->head + c->head_len - 4, "\r\n\r\n", 4)) {
			c->head[c->head_len] = 0;
			length = strcasestr(c->head, "\r\ncontent-length: ");
			if (strncmp(c->head, "HTTP/1.1 200 ", 13) || !length || strtoull(length + 18, NULL, 10) != c->queue[c->first].size) {
				if (strncmp(c->head, "HTTP/1.1 50", 11))
					t.wrong++;
				else
					t.refused++; /* nobody was there to answer it */
				c->head[60] = 0;
				lose(c, c->head);
				return 0;
			}
			c->in_body = true;
			c->left = c->queue[c->first].size;
			return i + 1;
		}
	}
	if (i < n)
		lose(c, "a head without an end");
	return i < n ? 0 : n;
}

static void take(struct conn *c, const uint8_t *p, size_t n)
{
	while (n && c->fd >= 0) {
		size_t k;

		if (!c->queued) {
			t.wrong++;
			lose(c, "bytes that nobody asked for");
			return;
		}
		if (!c->in_body) {
			k = take_head(c, p, n);
			if (!k)
				return;
		} else {
			k = n < c->left ? n : (size_t)c->left;
			if (!right(c, p, k)) {
				t.wrong++;
				lose(c, "wrong bytes");
				return;
			}
			c->offset += k;
			c->left -= k;
			t.bytes += k;
		}
		p += k;
		n -= k;
		if (c->in_body && !c->left)
			answered(c);
	}
}

static void input(struct conn *c)
{
	static uint8_t room[1 << 18];
	ssize_t n;

	while (c->fd >= 0) {
		if (c->ssl) {
			ERR_clear_error();
			errno = 0;
			n = SSL_read(c->ssl, room, sizeof(room));
			if (n <= 0) {
				int e = SSL_get_error(c->ssl, (int)n);

				if (e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE)
					return;
				lose(c, e == SSL_ERROR_SSL ? ERR_reason_error_string(ERR_get_error()) : errno ? strerror(errno) : "closed");
				return;
			}
		} else {
			n = recv(c->fd, room, sizeof(room), 0);
			if (n < 0 && errno == EAGAIN)
				return;
			if (n <= 0) {
				lose(c, n ? strerror(errno) : "closed");
				return;
			}
		}
		take(c, room, (size_t)n);
		ask(c);
	}
}

static void open_conn(struct conn *c)
{
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)o.port) };
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons((uint16_t)o.port) };
	bool is4 = inet_pton(AF_INET, o.address, &v4.sin_addr) == 1;
	struct epoll_event e = { .events = EPOLLIN, .data.ptr = c };
	const struct timeval patience = { .tv_sec = o.patience };
	int one = 1;

	inet_pton(AF_INET6, o.address, &v6.sin6_addr);
	c->fd = socket(is4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (connect(c->fd, is4 ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6, is4 ? sizeof(v4) : sizeof(v6))) {
		lose(c, strerror(errno));
		return;
	}
	if (o.tls) {
		c->ssl = SSL_new(ctx);
		SSL_set_fd(c->ssl, c->fd);
		SSL_set_tlsext_host_name(c->ssl, "www.example.net");
		SSL_set_mode(c->ssl, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_ENABLE_PARTIAL_WRITE);
		if (SSL_connect(c->ssl) != 1) {
			lose(c, "no TLS handshake");
			return;
		}
	}
	fcntl(c->fd, F_SETFL, O_NONBLOCK);
	epoll_ctl(loop, EPOLL_CTL_ADD, c->fd, &e);
	c->ready = true;
}

/* Lost in the middle of answers, which are not asked for again. */
static void open_again(struct conn *c)
{
	unsigned index = c->index;
	bool still = c->still;

	t.asked -= c->queued;
	memset(c, 0, sizeof(*c));
	c->index = index;
	c->still = still;
	open_conn(c);
	if (c->fd < 0)
		c->next_ns = now_ns() + 50000000;
	else
		ask(c);
}

static void take_sizes(char *list)
{
	char *one;

	for (one = strtok(list, ","); one && o.sizes < SIZES_MAX; one = strtok(NULL, ",")) {
		char *unit;

		snprintf(o.name[o.sizes], sizeof(o.name[0]), "%s", one);
		o.size[o.sizes] = strtoull(one, &unit, 10);
		o.size[o.sizes] <<= *unit == 'k' ? 10 : *unit == 'm' ? 20 : 0;
		o.sizes++;
	}
}

static void options(int argc, char **argv)
{
	int i;
	char usual[] = "1k,64k";

	if (argc < 3) {
		fprintf(stderr, "usage: walk ADDRESS PORT [tls] [NAME=VALUE...]\n");
		exit(2);
	}
	o.address = argv[1];
	o.port = (unsigned)atoi(argv[2]);
	for (i = 3; i < argc; i++) {
		char *v = strchr(argv[i], '=');
		uint64_t n;

		if (!strcmp(argv[i], "tls"))
			o.tls = true;
		else if (!strcmp(argv[i], "again"))
			o.again = true;
		if (!v)
			continue;
		*v++ = 0;
		n = strtoull(v, NULL, 10);
		if (!strcmp(argv[i], "connections"))
			o.connections = (unsigned)n;
		else if (!strcmp(argv[i], "requests"))
			o.requests = n;
		else if (!strcmp(argv[i], "hosts"))
			o.hosts = (unsigned)n;
		else if (!strcmp(argv[i], "pipeline"))
			o.pipeline = n < PIPELINE_MAX ? (unsigned)n : PIPELINE_MAX;
		else if (!strcmp(argv[i], "gap"))
			o.gap_us = (unsigned)n;
		else if (!strcmp(argv[i], "update"))
			o.update = (unsigned)n;
		else if (!strcmp(argv[i], "seconds"))
			o.seconds = (unsigned)n;
		else if (!strcmp(argv[i], "seed"))
			o.seed = n ? n : 1;
		else if (!strcmp(argv[i], "stick"))
			o.stick = (unsigned)n;
		else if (!strcmp(argv[i], "still"))
			o.still = (unsigned)n;
		else if (!strcmp(argv[i], "patience"))
			o.patience = (unsigned)n;
		else if (!strcmp(argv[i], "sizes"))
			take_sizes(v);
	}
	if (!o.sizes)
		take_sizes(usual);
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* The latest of `of` in ten thousand. */
static uint32_t latest(bool still, unsigned of)
{
	uint64_t n = t.took[still];

	return n ? t.latency_us[still][(n - 1) * of / 10000] : 0;
}

static uint64_t longer(bool still, uint32_t us)
{
	uint64_t n = t.took[still], i = n;

	while (i && t.latency_us[still][i - 1] > us)
		i--;
	return n - i;
}

static void report_took(const char *before, bool still)
{
	qsort(t.latency_us[still], t.took[still], sizeof(uint32_t), by_value);
	printf("\"%sstalls\": %llu, \"%sover_200ms\": %llu, \"%sp50_us\": %u, \"%sp99_us\": %u, \"%sp999_us\": %u, \"%smax_us\": %u, ", before,
	       (unsigned long long)longer(still, STALL_US), before, (unsigned long long)longer(still, 4 * STALL_US), before,
	       latest(still, 5000), before, latest(still, 9900), before, latest(still, 9990), before, latest(still, 10000));
}

static void report(uint64_t began)
{
	double s = (double)(now_ns() - began) / 1e9;

	for (char *c = t.why; *c; c++)
		if (*c < ' ' || *c == '"' || *c == '\\')
			*c = ' ';
	printf("{\"seconds\": %.3f, \"asked\": %llu, \"answered\": %llu, \"bytes\": %llu, \"turns\": %llu, \"wrong\": %llu, \"refused\": %llu, \"lost\": %llu, ",
	       s, (unsigned long long)t.asked, (unsigned long long)t.answered, (unsigned long long)t.bytes, (unsigned long long)t.moves,
	       (unsigned long long)t.wrong, (unsigned long long)t.refused, (unsigned long long)t.lost);
	report_took("", false);
	if (o.still) {
		printf("\"still_answered\": %llu, ", (unsigned long long)t.took[1]);
		report_took("still_", true);
	}
	printf("\"rate\": %.0f, \"why\": \"%s\"}\n", (double)t.answered / s, t.why);
}

int main(int argc, char **argv)
{
	struct epoll_event e[256];
	struct conn *conn;
	uint64_t began, end;
	unsigned i;
	int n;

	signal(SIGPIPE, SIG_IGN);
	options(argc, argv);
	ctx = SSL_CTX_new(TLS_client_method());
	loop = epoll_create1(EPOLL_CLOEXEC);
	o.connections += o.still;
	conn = calloc(o.connections, sizeof(*conn));
	o.requests = o.requests < LATENCIES_MAX ? o.requests : LATENCIES_MAX;
	for (i = 0; i < 2; i++)
		t.latency_us[i] = calloc(o.requests + 1, sizeof(uint32_t));
	if (!ctx || loop < 0 || !conn || !t.latency_us[0] || !t.latency_us[1])
		return 2;
	for (i = 0; i < o.connections; i++) {
		conn[i].index = i;
		conn[i].still = i >= o.connections - o.still;
		open_conn(&conn[i]);
	}
	began = now_ns();
	end = began + o.seconds * 1000000000ull;
	for (i = 0; i < o.connections; i++) {
		conn[i].next_ns = o.gap_us ? began + dice(o.gap_us) * 1000ull : 0; /* not all at once */
		ask(&conn[i]);
	}
	while (t.answered < o.requests && now_ns() < end && (o.again || t.lost < o.connections)) {
		n = epoll_wait(loop, e, 256, o.gap_us ? 1 : 100);
		for (int k = 0; k < n; k++) {
			struct conn *c = e[k].data.ptr;

			if (c->fd >= 0 && e[k].events & EPOLLOUT)
				flush(c);
			if (c->fd >= 0)
				input(c);
		}
		for (i = 0; (o.gap_us || !n) && i < o.connections; i++)
			ask(&conn[i]);
		for (i = 0; o.again && i < o.connections; i++)
			if (conn[i].fd < 0 && now_ns() >= conn[i].next_ns)
				open_again(&conn[i]);
	}
	report(began);
	fflush(stdout);
	free(conn);
	for (i = 0; i < 2; i++)
		free(t.latency_us[i]);
	return t.wrong || (!o.again && (t.lost || t.answered < o.requests));
}
