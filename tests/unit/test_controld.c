/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The real baton-controld, with real followers over real sessions: two that play switches, four that
 * play hosts.  What a drain costs from the command to the second step on the last switch, kill -9 in
 * the middle of a drain, a controller whose log is another one, questions and verbs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/conf.h"
#include "base/ctl.h"
#include "base/log.h"
#include "base/pki.h"
#include "control/follower.h"
#include "control/ticket_seed.h"

#define SWITCHES 2
#define HOSTS 4
#define ROUNDS 20

struct member {
	struct world *w;
	enum role role;
	uint16_t id;
	struct tls_identity *tls;
	struct follower *f;
	uint32_t owned_by_1; /* as this member has it installed */
	unsigned changes;
	struct ticket_seed seed; /* the last that came */
	unsigned seeds;
};

static struct world {
	char dir[64], program[4096], sock[128];
	int port;
	pid_t pid;
	struct event_base *base;
	struct pop *pop;
	struct member m[SWITCHES + HOSTS];
	struct event *tick;
} world;

static void write_file(const char *name, const char *text)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", world.dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static int free_port(void)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	close(fd);
	return ntohs(in.sin_port);
}

static void start_controld(void)
{
	char config[128], tls[128], run[128], state[128], err[128];

	snprintf(config, sizeof(config), "%s/pop.yaml", world.dir);
	snprintf(tls, sizeof(tls), "%s/pki/controller-1", world.dir);
	snprintf(run, sizeof(run), "%s/run", world.dir);
	snprintf(state, sizeof(state), "%s/state", world.dir);
	snprintf(err, sizeof(err), "%s/controld.log", world.dir);
	world.pid = fork();
	if (!world.pid) {
		if (!freopen(err, "a", stderr))
			_exit(126);
		execl(world.program, world.program, "--config", config, "--tls", tls, "--run", run, "--state", state, NULL);
		_exit(127);
	}
}

static void stop_controld(int signal)
{
	int status;

	kill(world.pid, signal);
	assert_int_equal(waitpid(world.pid, &status, 0), world.pid);
	if (signal == SIGTERM)
		assert_true(WIFEXITED(status) && !WEXITSTATUS(status));
}

static void on_changed(void *ctx, const struct view *view, unsigned what)
{
	struct member *m = ctx;

	(void)what;
	m->owned_by_1 = table_owned(view->table, 1);
	m->changes++;
	follower_ack(m->f, view->index);
}

static void on_ask(void *ctx, json_t *question, struct follower_question *q)
{
	struct member *m = ctx;

	follower_answer(q, json_pack("{s:i, s:O}", "me", m->id, "client", json_object_get(question, "client")));
}

static void on_tickets(void *ctx, const struct ticket_seed *seed)
{
	struct member *m = ctx;

	m->seed = *seed;
	m->seeds++;
}

static const struct follower_ops ops = { .changed = on_changed, .ask = on_ask, .tickets = on_tickets };

static void on_tick(evutil_socket_t fd, short events, void *ctx)
{
	int i, k;

	(void)fd;
	(void)events;
	(void)ctx;
	for (i = 0; i < SWITCHES + HOSTS; i++) {
		struct member *m = &world.m[i];
		const struct view *v = follower_view(m->f);
		json_t *hosts = json_object();
		char key[8];

		for (k = 1; k <= HOSTS; k++) {
			snprintf(key, sizeof(key), "%d", k);
			json_object_set_new(hosts, key, json_pack("{s:b, s:b}", "carrier", 1, "datapath", 1));
		}
		if (m->role == ROLE_SWITCH)
			follower_report(m->f, json_pack("{s:s, s:b, s:b, s:O}", "type", "switch", "announcing", 1, "drained", 0, "hosts", hosts));
		else
			follower_report(m->f, json_pack("{s:s, s:{}, s:{s:i}, s:i, s:i, s:{}, s:i, s:I, s:i, s:i}", "type", "host",
							"services", "sockets", "established", 0, "cookie_ms", -1, "rows", 0, "via",
							"via_unknown", 0, "via_index", (json_int_t)(v ? v->index : 0), "detour_in_ms", -1,
							"detour_out_ms", -1));
		json_decref(hosts);
	}
}

static int set_up(void **state)
{
	static const struct timeval tick = { 0, 50000 };
	struct conf_errors errors = { 0 };
	char text[2000], path[256], why[256];
	int i;

	(void)state;
	snprintf(world.dir, sizeof(world.dir), "/tmp/bt-controld-XXXXXX");
	assert_non_null(mkdtemp(world.dir));
	snprintf(world.sock, sizeof(world.sock), "%s/run/controld.sock", world.dir);
	world.port = free_port();
	snprintf(text, sizeof(text),
		 "pop: {name: test, buckets: 1024, hash_seed: 0x1badcafe}\n"
		 "policy: {hold_down: 100ms}\n"
		 "controllers: [{name: c1, id: 1, listen: \"127.0.0.1:%d\"}]\n"
		 "switches:\n"
		 "  - {name: s1, id: 1, fabric: xdp, management: 192.0.2.21, bridge: br0, uplinks: [up0], ports: {p1: h1, p2: h2, p3: h3, p4: h4}}\n"
		 "  - {name: s2, id: 2, fabric: xdp, management: 192.0.2.22, bridge: br0, uplinks: [up0], ports: {p1: h1, p2: h2, p3: h3, p4: h4}}\n"
		 "hosts:\n"
		 "  - {name: h1, id: 1, weight: 100, management: 192.0.2.31, links: {s1: eth0, s2: eth1}}\n"
		 "  - {name: h2, id: 2, weight: 100, management: 192.0.2.32, links: {s1: eth0, s2: eth1}}\n"
		 "  - {name: h3, id: 3, weight: 100, management: 192.0.2.33, links: {s1: eth0, s2: eth1}}\n"
		 "  - {name: h4, id: 4, weight: 100, management: 192.0.2.34, links: {s1: eth0, s2: eth1}}\n"
		 "vips:\n"
		 "  - {name: www, addresses: [198.51.100.80], ports: [80/tcp], checks: [{tcp: {port: 80}}]}\n", world.port);
	write_file("pop.yaml", text);
	world.pop = pop_parse(text, strlen(text), "pop.yaml", &errors);
	if (!world.pop)
		conf_errors_print(&errors, stderr);
	assert_non_null(world.pop);
	snprintf(path, sizeof(path), "%s/pki", world.dir);
	assert_int_equal(pki_init(path, "test", why, sizeof(why)), 0);
	assert_int_equal(pki_issue(path, ROLE_CONTROLLER, 1, 0, why, sizeof(why)), 0);
	world.base = event_base_new();
	start_controld();
	for (i = 0; i < SWITCHES + HOSTS; i++) {
		struct member *m = &world.m[i];

		m->w = &world;
		m->role = i < SWITCHES ? ROLE_SWITCH : ROLE_HOST;
		m->id = (uint16_t)(i < SWITCHES ? i + 1 : i - SWITCHES + 1);
		assert_int_equal(pki_issue(path, m->role, m->id, 0, why, sizeof(why)), 0);
		snprintf(text, sizeof(text), "%s/%s-%d", path, role_name(m->role), m->id);
		assert_int_equal(tls_identity_load(text, &m->tls, why, sizeof(why)), 0);
		snprintf(text, sizeof(text), "%s/follower-%d", world.dir, i);
		assert_int_equal(mkdir(text, 0700), 0);
		assert_int_equal(follower_new(world.base, m->tls, world.pop, text, &ops, m, &m->f), 0);
	}
	world.tick = event_new(world.base, -1, EV_PERSIST, on_tick, NULL);
	event_add(world.tick, &tick);
	return 0;
}

static int tear_down(void **state)
{
	char command[128];
	int i;

	(void)state;
	for (i = 0; i < SWITCHES + HOSTS; i++) {
		follower_free(world.m[i].f);
		tls_identity_free(world.m[i].tls);
	}
	event_free(world.tick);
	event_base_free(world.base);
	pop_free(world.pop);
	stop_controld(SIGTERM);
	snprintf(command, sizeof(command), "rm -rf %s", world.dir);
	return system(command);
}

static bool switches_own(uint32_t n)
{
	int i;

	for (i = 0; i < SWITCHES; i++)
		if (world.m[i].owned_by_1 != n)
			return false;
	return true;
}

/* Runs the loop until the switches have that installed; false after the time. */
static bool until_owned(uint32_t n, unsigned ms)
{
	uint64_t end = monotonic_ms() + ms;

	while (!switches_own(n) && monotonic_ms() < end)
		event_base_loop(world.base, EVLOOP_ONCE);
	return switches_own(n);
}

static void run_for(unsigned ms)
{
	struct timeval tv = { ms / 1000, (ms % 1000) * 1000 };

	event_base_loopexit(world.base, &tv);
	event_base_dispatch(world.base);
}

static json_t *call(json_t *request)
{
	json_t *answer = NULL;
	int err = ctl_call(world.sock, request, 5000, &answer);

	json_decref(request);
	if (err)
		fail_msg("ctl_call: %s", strerror(-err));
	return answer;
}

static void order(const char *verb)
{
	json_t *a = call(json_pack("{s:s, s:s, s:s}", "verb", verb, "kind", "host", "name", "h1"));

	if (!json_is_true(json_object_get(a, "ok")))
		fail_msg("%s: %s", verb, json_string_value(json_object_get(a, "error")));
	json_decref(a);
}

static int by_size(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void test_drain_and_its_latency(void **state)
{
	uint64_t took[2 * ROUNDS], begin, p95;
	int i;

	(void)state;
	assert_true(until_owned(256, 10000));
	for (i = 0; i < 2 * ROUNDS; i++) {
		bool drain = !(i & 1);

		begin = monotonic_ns();
		order(drain ? "drain" : "fill");
		assert_true(until_owned(drain ? 0 : 256, 5000));
		took[i] = monotonic_ns() - begin;
	}
	qsort(took, 2 * ROUNDS, sizeof(took[0]), by_size);
	p95 = took[2 * ROUNDS * 95 / 100];
	print_message("command to second step on the last switch, 1,024 buckets: p50 %.1f ms, p95 %.1f ms, max %.1f ms\n",
		      (double)took[ROUNDS] / 1e6, (double)p95 / 1e6, (double)took[2 * ROUNDS - 1] / 1e6);
	assert_true(took[ROUNDS] < 200000000ull); /* of a busy machine; the benchmark has the target */
}

static void test_safe_to_reboot(void **state)
{
	uint64_t end = monotonic_ms() + 10000;
	bool safe = false;

	(void)state;
	order("drain");
	while (!safe && monotonic_ms() < end) {
		json_t *a;

		run_for(100);
		a = call(json_pack("{s:s, s:s, s:s}", "verb", "drain_status", "kind", "host", "name", "h1"));
		safe = json_is_true(json_object_get(a, "safe"));
		json_decref(a);
	}
	assert_true(safe);
	order("fill");
	assert_true(until_owned(256, 5000));
}

static void test_question(void **state)
{
	uint64_t end = monotonic_ms() + 8000;
	int status = -1;
	pid_t pid;

	(void)state;
	pid = fork(); /* the call blocks, and we are who answers */
	if (!pid) {
		json_t *a = NULL;
		int err = ctl_call(world.sock, json_pack("{s:s, s:s, s:s}", "verb", "explain", "client", "192.0.2.7:4000", "vip",
							 "198.51.100.80:80"), 5000, &a);

		_exit(err || json_array_size(json_object_get(a, "switches")) != SWITCHES ||
		      json_array_size(json_object_get(a, "hosts")) != HOSTS || json_array_size(json_object_get(a, "silent")));
	}
	while (waitpid(pid, &status, WNOHANG) == 0 && monotonic_ms() < end)
		run_for(20);
	assert_int_equal(status, 0);
}

/* Hosts have one secret among them, switches none; no file of the controller or a follower holds it. */
static void test_ticket_seed(void **state)
{
	char command[256], hex[2 * TICKET_SECRET_LEN + 1];
	struct ticket_seed *first = &world.m[SWITCHES].seed;
	int i;

	(void)state;
	run_for(200);
	for (i = 0; i < SWITCHES; i++)
		assert_int_equal(world.m[i].seeds, 0);
	for (; i < SWITCHES + HOSTS; i++) {
		assert_true(world.m[i].seeds > 0);
		assert_memory_equal(&world.m[i].seed, first, sizeof(*first));
	}
	for (i = 0; i < TICKET_SECRET_LEN; i++)
		snprintf(hex + 2 * i, 3, "%02x", first->secret[i]);
	snprintf(command, sizeof(command), "cd %s && [ $(find . -type f | wc -l) -gt 5 ] && ! find . -type f -exec cat {} + | od -An -v -tx1 | tr -d ' \\n' | grep -q %s",
		 world.dir, hex);
	assert_int_equal(system(command), 0);
}

static void test_verbs(void **state)
{
	static const char *const what[] = { "hosts", "buckets", "switches", "vips", "log" };
	json_t *a;
	size_t i;

	(void)state;
	a = call(json_pack("{s:s}", "verb", "status"));
	assert_true(json_is_true(json_object_get(a, "ok")));
	assert_int_equal(json_integer_value(json_object_get(json_object_get(a, "hosts"), "up")), HOSTS);
	json_decref(a);
	for (i = 0; i < sizeof(what) / sizeof(what[0]); i++) {
		a = call(json_pack("{s:s, s:s}", "verb", "show", "what", what[i]));
		assert_true(json_array_size(json_object_get(a, what[i])) > 0);
		json_decref(a);
	}
	a = call(json_pack("{s:s, s:s, s:s}", "verb", "drain", "kind", "host", "name", "h9"));
	assert_true(json_is_false(json_object_get(a, "ok")));
	assert_non_null(json_object_get(a, "remedy"));
	json_decref(a);
	a = call(json_pack("{s:s, s:s}", "verb", "apply", "text", "pop: {nam: x}\n"));
	assert_true(json_array_size(json_object_get(a, "errors")) > 0);
	json_decref(a);
	a = call(json_pack("{s:s, s:i}", "verb", "rollback", "index", 1));
	assert_true(json_is_true(json_object_get(a, "unchanged")));
	json_decref(a);
}

static void test_killed_in_a_drain(void **state)
{
	(void)state;
	order("drain");
	stop_controld(SIGKILL);
	start_controld();
	assert_true(until_owned(0, 15000));
	order("fill");
	assert_true(until_owned(256, 5000));
}

static void test_another_log_is_refused(void **state)
{
	char command[128];
	uint64_t index;

	(void)state;
	run_for(1000); /* histories end, the log comes to rest */
	index = follower_view(world.m[0].f)->index;
	assert_null(follower_alarm(world.m[0].f));
	stop_controld(SIGTERM);
	snprintf(command, sizeof(command), "rm -rf %s/state", world.dir);
	assert_int_equal(system(command), 0);
	start_controld();
	run_for(6000);
	assert_non_null(follower_alarm(world.m[0].f));
	assert_int_equal(follower_view(world.m[0].f)->index, index); /* it keeps what it has */
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_drain_and_its_latency),
		cmocka_unit_test(test_safe_to_reboot),
		cmocka_unit_test(test_question),
		cmocka_unit_test(test_ticket_seed),
		cmocka_unit_test(test_verbs),
		cmocka_unit_test(test_killed_in_a_drain),
		cmocka_unit_test(test_another_log_is_refused),
	};
	char self[2048];

	(void)argc;
	signal(SIGPIPE, SIG_IGN);
	log_open("test_controld", LOG_LEVEL_ERROR);
	snprintf(self, sizeof(self), "%s", argv[0]);
	snprintf(world.program, sizeof(world.program), "%s/../../baton-controld", dirname(self));
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
