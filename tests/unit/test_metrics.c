/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The metrics page: its text, judged by promtool where it is installed, and the HTTP server, against
 * good, bad, slow and deaf clients.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
#include <math.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/metrics.h"

static int port;
static pid_t child;
static unsigned rows = 3;

static void collect(void *ctx, struct metrics *m)
{
	static const double bound[] = {0.001, 0.01, 0.1};
	static const uint64_t count[] = {3, 0, 2, 1};
	char label[16];

	(void)ctx;
	metric_family(m, "baton_moves_total", METRIC_COUNTER, "Moves of buckets, \"quoted\" and \\ and\na new line.");
	metric_sample(m, 42, "host", "a\"b\\c\nd", "why", "\xff\xc0\x80 \xed\xa0\x80 é", NULL);
	metric_sample(m, 1e18, "host", "", "why", "drain", NULL);
	metric_family(m, "baton_weight", METRIC_GAUGE, "Values of all kinds.");
	metric_sample(m, NAN, "kind", "nan", NULL);
	metric_sample(m, INFINITY, "kind", "inf", NULL);
	metric_sample(m, -0.1, "kind", "negative", NULL);
	metric_family(m, "baton_plain", METRIC_GAUGE, "Without labels.");
	metric_sample(m, 7, NULL);
	metric_family(m, "baton_apply_seconds", METRIC_HISTOGRAM, "Time to apply a table.");
	metric_histogram(m, bound, count, 3, 0.25, "fabric", "xdp", NULL);
	metric_family(m, "baton_wait_seconds", METRIC_HISTOGRAM, "Without labels.");
	metric_histogram(m, bound, count, 3, 0.25, NULL);
	metric_family(m, "baton_rows", METRIC_GAUGE, "Many.");
	for (unsigned i = 0; i < rows; i++) {
		snprintf(label, sizeof(label), "%u", i);
		metric_sample(m, i, "row", label, NULL);
	}
}

static char *page(void)
{
	struct evbuffer *b = evbuffer_new();
	char *text;

	metrics_page(collect, NULL, b);
	evbuffer_add(b, "", 1);
	text = strdup((char *)evbuffer_pullup(b, -1));
	evbuffer_free(b);
	return text;
}

static void test_text(void **state)
{
	static const char *const lines[] = {
		"# HELP baton_moves_total Moves of buckets, \"quoted\" and \\\\ and\\na new line.\n# TYPE baton_moves_total counter\n",
		"\nbaton_moves_total{host=\"a\\\"b\\\\c\\nd\",why=\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd é\"} 42\n",
		"\nbaton_moves_total{host=\"\",why=\"drain\"} 1e+18\n",
		"\nbaton_weight{kind=\"nan\"} NaN\n",
		"\nbaton_weight{kind=\"inf\"} +Inf\n",
		"\nbaton_plain 7\n",
		"\nbaton_apply_seconds_bucket{fabric=\"xdp\",le=\"0.001\"} 3\n",
		"\nbaton_apply_seconds_bucket{fabric=\"xdp\",le=\"0.1\"} 5\n",
		"\nbaton_apply_seconds_bucket{fabric=\"xdp\",le=\"+Inf\"} 6\nbaton_apply_seconds_sum{fabric=\"xdp\"} 0.25\n",
		"\nbaton_wait_seconds_bucket{le=\"+Inf\"} 6\nbaton_wait_seconds_sum 0.25\nbaton_wait_seconds_count 6\n",
	};
	char *text = page();

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		if (!strstr(text, lines[i]))
			fail_msg("missing: %s\nin:\n%s", lines[i], text);
	}
	free(text);
}

/* promtool's verdict on a text: 0 good. */
static int promtool(const char *text)
{
	FILE *p = popen("promtool check metrics >/dev/null 2>&1", "w");

	fputs(text, p);
	return pclose(p);
}

static void test_promtool(void **state)
{
	char *text = page();

	(void)state;
	if (system("promtool --version >/dev/null 2>&1") != 0) {
		print_message("promtool is not installed: the page is not judged by it\n");
		free(text);
		skip();
		return;
	}
	assert_int_equal(promtool(text), 0);
	/* The control: it does refuse. */
	assert_int_not_equal(promtool("# TYPE x counter\nx{a=\"\xff\"} 1\n"), 0);
	assert_int_not_equal(promtool("x{a=\"unclosed} 1\n"), 0);
	free(text);
}

static void test_request(void **state)
{
	static const struct {
		const char *bytes;
		int status, head;
	} cases[] = {
		{"", 0, 0},
		{"GET /metrics HTTP/1.1\r\n", 0, 0},
		{"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 200, 0},
		{"GET /metrics HTTP/1.0\n\n", 200, 0},
		{"GET /metrics?x=1 HTTP/1.1\r\n\r\n", 200, 0},
		{"HEAD /metrics HTTP/1.1\r\n\r\n", 200, 1},
		{"GET / HTTP/1.1\r\n\r\n", 404, 0},
		{"GET /metricsx HTTP/1.1\r\n\r\n", 404, 0},
		{"GET metrics HTTP/1.1\r\n\r\n", 404, 0},
		{"POST /metrics HTTP/1.1\r\n\r\n", 405, 0},
		{"GET /metrics HTTP/2.0\r\n\r\n", 400, 0},
		{"GET /metrics\r\n\r\n", 400, 0},
		{"GET  HTTP/1.1\r\n\r\n", 404, 0},
		{"\r\n\r\n", 400, 0},
		{" \r\n\r\n", 400, 0},
		{"\x16\x03\x01\n\n", 400, 0},
	};
	char *long_head = malloc(METRICS_HEAD_MAX);
	int head;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int status = metrics_request(cases[i].bytes, strlen(cases[i].bytes), &head);

		if (status != cases[i].status || head != cases[i].head)
			fail_msg("%s: %d, expected %d", cases[i].bytes, status, cases[i].status);
	}
	memset(long_head, 'a', METRICS_HEAD_MAX);
	assert_int_equal(metrics_request(long_head, METRICS_HEAD_MAX - 1, &head), 0);
	assert_int_equal(metrics_request(long_head, METRICS_HEAD_MAX, &head), 431);
	free(long_head);
}

/* --- over HTTP ------------------------------------------------------------------------------------------ */

static int setup(void **state)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int pipes[2];

	(void)state;
	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(pipe(pipes), 0);
	child = fork();
	if (child == 0) {
		struct event_base *base = event_base_new();
		struct metrics_server *s;
		int got;

		alarm(120);
		rows = 400000; /* 10 MB: more than socket buffers take */
		if (metrics_serve(base, (struct sockaddr *)&at, sizeof(at), collect, NULL, &s))
			_exit(1);
		got = metrics_server_port(s);
		if (write(pipes[1], &got, sizeof(got)) != sizeof(got))
			_exit(1);
		event_base_dispatch(base);
		_exit(0);
	}
	assert_int_equal(read(pipes[0], &port, sizeof(port)), sizeof(port));
	close(pipes[0]);
	close(pipes[1]);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	return 0;
}

static int connected(void)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				 .sin_port = htons((uint16_t)port)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

/* All that comes until the server closes. */
static char *fetch(const char *request, size_t *len)
{
	int fd = connected();
	char *text = malloc(64 << 20);
	ssize_t n;

	*len = 0;
	assert_true(send(fd, request, strlen(request), 0) > 0);
	while ((n = recv(fd, text + *len, (64u << 20) - 1 - *len, 0)) > 0)
		*len += (size_t)n;
	assert_int_equal(n, 0);
	close(fd);
	text[*len] = '\0';
	return text;
}

static void assert_serves(void)
{
	size_t len, announced;
	char *text = fetch("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", &len), *body = strstr(text, "\r\n\r\n");

	assert_true(!strncmp(text, "HTTP/1.1 200 OK\r\n", 17));
	assert_non_null(strstr(text, "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
	announced = strtoul(strstr(text, "Content-Length: ") + 16, NULL, 10);
	assert_non_null(body);
	assert_int_equal(text + len - (body + 4), announced);
	assert_non_null(strstr(body, "baton_rows{row=\"399999\"} 399999\n"));
	free(text);
}

static void test_served(void **state)
{
	char *text;
	size_t len;

	(void)state;
	assert_serves();
	text = fetch("HEAD /metrics HTTP/1.1\r\n\r\n", &len);
	assert_non_null(strstr(text, "200 OK"));
	assert_string_equal(text + len - 4, "\r\n\r\n");
	free(text);
	text = fetch("GET / HTTP/1.1\r\n\r\n", &len);
	assert_non_null(strstr(text, "404"));
	free(text);
	text = fetch("DELETE /metrics HTTP/1.1\r\n\r\n", &len);
	assert_non_null(strstr(text, "405 Method Not Allowed"));
	assert_non_null(strstr(text, "Allow: GET, HEAD"));
	free(text);
}

static void test_large_head(void **state)
{
	char *request = malloc(METRICS_HEAD_MAX * 2), *text;
	size_t len;

	(void)state;
	memset(request, 'a', METRICS_HEAD_MAX * 2);
	request[METRICS_HEAD_MAX * 2 - 1] = '\0';
	text = fetch(request, &len);
	assert_non_null(strstr(text, "431"));
	free(text);
	free(request);
	assert_serves();
}

static void test_slow_head(void **state)
{
	uint64_t begin = monotonic_ms();
	int fd = connected();

	(void)state;
	while (send(fd, "G", 1, MSG_NOSIGNAL) == 1 && monotonic_ms() - begin < 9000)
		usleep(100000);
	assert_in_range(monotonic_ms() - begin, 4800, 6000);
	close(fd);
	assert_serves();
}

/* One that asks and never reads is let go, and so are those that hold all places. */
static void test_deaf_clients(void **state)
{
	uint64_t begin = monotonic_ms();
	int fd[METRICS_CLIENTS_MAX];

	(void)state;
	for (unsigned i = 0; i < METRICS_CLIENTS_MAX; i++) {
		fd[i] = connected();
		assert_true(send(fd[i], "GET /metrics HTTP/1.1\r\n\r\n", 25, 0) == 25);
	}
	for (;;) {
		struct pollfd p = {.fd = connected(), .events = POLLIN};
		char byte;
		bool served;

		send(p.fd, "GET /metrics HTTP/1.1\r\n\r\n", 25, MSG_NOSIGNAL);
		served = poll(&p, 1, 2000) == 1 && recv(p.fd, &byte, 1, 0) == 1;
		close(p.fd);
		if (served)
			break;
		assert_true(monotonic_ms() - begin < 40000); /* 10 s and more where the machine is slow */
		usleep(200000);
	}
	assert_true(monotonic_ms() - begin >= 5000); /* they did hold the places */
	for (unsigned i = 0; i < METRICS_CLIENTS_MAX; i++)
		close(fd[i]);
	usleep(100000);
	assert_serves();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text),	   cmocka_unit_test(test_promtool),  cmocka_unit_test(test_request),
		cmocka_unit_test(test_served),	   cmocka_unit_test(test_large_head), cmocka_unit_test(test_slow_head),
		cmocka_unit_test(test_deaf_clients),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
