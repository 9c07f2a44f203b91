/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The module on a live host: swapped for the eBPF program and back, unloaded and loaded, attached and
 * detached, all in a loop under traffic whose every byte is verified, while the bucket has moved and
 * every packet of an old flow needs its detour (three_hosts.h).  And taken off, or unloaded and loaded, with nothing in
 * its place.  No flow may end.
 */
#include <sys/wait.h>

#include "tests/vm/rounds.h"

#define TRANSFER_MS rounds(3000, 30000) /* on a busy machine that kernel takes more than 3 s to unload and load a module */

#include "tests/bpf/three_hosts.h"

#define PIPES 4

static void open_on(const struct datapath_ops *which, int id, struct datapath **out)
{
	static const char device[1][IF_NAMESIZE] = { "eth0" };
	static const uint16_t hosts[] = { 1, 2, 3 };
	struct address address[2] = { { .family = AF_INET }, { .family = AF_INET6 } };
	const struct vip vip = { .name = "www", .address = address, .n_addresses = 2 };
	char dir[64], why[256] = "";

	inet_pton(AF_INET, "203.0.113.80", &address[0].v4);
	inet_pton(AF_INET6, "2001:db8:80::80", &address[1].v6);
	enter(NS_HOST + id - 1);
	snprintf(dir, sizeof(dir), "/sys/fs/bpf/bt-3h-%d-h%d", getpid(), id);
	if (which->open((uint16_t)id, dir, why, sizeof(why), out))
		fail_msg("%s", why);
	assert_int_equal(which->set_vips(*out, &vip, 1), 0);
	assert_int_equal(which->set_hosts(*out, hosts, 3), 0);
	assert_int_equal(which->set_devices(*out, device, 1), 0);
}

/* As the agent does it: the new one is on the device before the old one leaves. */
static void swap_all(const struct datapath_ops *to)
{
	int id;

	for (id = 1; id <= HOSTS; id++) {
		struct datapath *d = NULL;

		if (ops == to)
			return;
		open_on(to, id, &d);
		ops->close(path[id], true);
		path[id] = d;
	}
	ops = to;
}

/* A child that moves verified bytes over its connection, both ways, until told to stop. */
static pid_t traffic(const struct connection *c, int stop, int other_end)
{
	pid_t pid = fork();
	unsigned int n = 0;

	assert_true(pid >= 0);
	if (pid)
		return pid;
	close(other_end); /* else it would hold open what it waits for */
	for (;;) {
		struct pollfd p = { stop, POLLIN, 0 };

		if (transfer(c->client, c->server, 20000) || transfer(c->server, c->client, 20000))
			_exit(1);
		n++;
		usleep(20000); /* the emulated processors have more to do */
		if (poll(&p, 1, 0))
			_exit(n < 3);
	}
}

static void under_traffic(struct triple before, struct triple after, int rounds, void (*round)(int))
{
	struct connection c[PIPES];
	int stop[2], i, status, broken = 0;
	pid_t pid[PIPES];

	assert_int_equal(pipe(stop), 0);
	bucket_is(before.host[0], before.host[1], before.host[2]);
	for (i = 0; i < PIPES; i++)
		c[i] = open_from(i & 1, 0);
	bucket_is(after.host[0], after.host[1], after.host[2]);
	for (i = 0; i < PIPES; i++)
		pid[i] = traffic(&c[i], stop[0], stop[1]);
	for (i = 0; i < rounds; i++)
		round(i);
	close(stop[1]);
	for (i = 0; i < PIPES; i++) {
		assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
		broken += status != 0;
	}
	close(stop[0]);
	close_all(c, PIPES);
	assert_int_equal(broken, 0);
}

/* The operator's way to replace a module: swap, unload, load, swap back. */
static void replace(int i)
{
	(void)i;
	swap_all(&datapath_ebpf);
	usleep(100000);
	run("rmmod baton");
	usleep(100000);
	run("insmod %s", getenv("KMOD"));
	swap_all(&datapath_module);
	usleep(100000);
}

static void replacing_the_module_breaks_nothing(void **state)
{
	(void)state;
	if (!rounds(2, 0))
		skip(); /* minutes go by until that kernel has verified the eBPF program */
	under_traffic((struct triple){ { 1 } }, (struct triple){ { 2, 1 } }, rounds(2, 0), replace);
	assert_true(reason_count(2, REASON_NO_COOKIE) > 0); /* it was the module that detoured, to the end */
}

/* Taken off and put on again within a retransmission, flows that are at rest. */
static void detach_and_attach(int i)
{
	static const char device[1][IF_NAMESIZE] = { "eth0" };
	int id;

	(void)i;
	for (id = 1; id <= HOSTS; id++) {
		enter(NS_HOST + id - 1);
		assert_int_equal(ops->set_devices(path[id], device, 0), 0);
		assert_int_equal(ops->set_devices(path[id], device, 1), 0);
	}
}

static void reattaching_at_rest_breaks_nothing(void **state)
{
	struct connection c[PIPES];
	int i;

	(void)state;
	bucket_is(1, 0, 0);
	for (i = 0; i < PIPES; i++)
		c[i] = open_from(i & 1, 0);
	for (i = 0; i < rounds(50, 11); i++) {
		detach_and_attach(i);
		if (i % 10 == 0)
			assert_int_equal(alive(c, PIPES), PIPES);
	}
	run("rmmod baton && insmod %s", getenv("KMOD")); /* the old path's state is gone with it */
	assert_int_equal(alive(c, PIPES), PIPES);
	for (i = 1; i <= HOSTS; i++) {
		struct datapath *d = NULL;

		ops->close(path[i], false); /* it spoke to the module before */
		open_on(ops, i, &d);
		path[i] = d;
	}
	close_all(c, PIPES);
}

/* What the client's kernel had to send again so far. */
static unsigned long sent_again(void)
{
	char name[1024] = "", value[1024] = "", *n, *v, *n_end, *v_end;
	unsigned long again = 0;
	FILE *f;

	enter(NS_CLIENT);
	f = fopen("/proc/thread-self/net/snmp", "r");
	assert_non_null(f);
	while (fgets(name, sizeof(name), f) && fgets(value, sizeof(value), f)) {
		if (strncmp(name, "Tcp:", 4))
			continue;
		n = strtok_r(name, " ", &n_end);
		v = strtok_r(value, " ", &v_end);
		for (; n && v; n = strtok_r(NULL, " ", &n_end), v = strtok_r(NULL, " ", &v_end))
			if (!strcmp(n, "RetransSegs"))
				again = strtoul(v, NULL, 10);
	}
	fclose(f);
	return again;
}

/*
 * With nothing in the module's place meanwhile: the flows are their owner's own, but come to it under [1,2], which
 * without the module is a stranger's address.  What is lost while it is off, TCP repairs.
 */
static void off_and_on(int i)
{
	static const char device[1][IF_NAMESIZE] = { "eth0" };

	(void)i;
	enter(NS_HOST);
	assert_int_equal(ops->set_devices(path[1], device, 0), 0);
	usleep(10000);
	assert_int_equal(ops->set_devices(path[1], device, 1), 0);
	usleep(50000);
}

static void unload_and_load(int i)
{
	int id;

	(void)i;
	for (id = 1; id <= HOSTS; id++)
		ops->close(path[id], false);
	run("rmmod baton && insmod %s", getenv("KMOD"));
	for (id = 1; id <= HOSTS; id++)
		open_on(ops, id, &path[id]);
	usleep(700000);
}

static void tcp_repairs_what_is_lost_while_it_is_off(void **state)
{
	unsigned long again = sent_again();

	(void)state;
	under_traffic((struct triple){ { 1 } }, (struct triple){ { 1, 2 } }, rounds(40, 10), off_and_on);
	assert_true(sent_again() > again); /* else nothing was lost, and nothing proven */
}

static void tcp_repairs_what_is_lost_while_it_is_replaced(void **state)
{
	unsigned long again = sent_again();

	(void)state;
	under_traffic((struct triple){ { 1 } }, (struct triple){ { 1, 2 } }, rounds(5, 2), unload_and_load);
	assert_true(sent_again() > again);
}

/* Nothing is held: loaded and unloaded, the module leaves no memory behind (the slabs it allocates from settle). */
static long unreclaimable_kb(void)
{
	FILE *f = fopen("/proc/meminfo", "r");
	char line[128];
	long kb = -1, percpu = 0;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		sscanf(line, "SUnreclaim: %ld", &kb);
		sscanf(line, "Percpu: %ld", &percpu);
	}
	fclose(f);
	return kb + percpu;
}

static void nothing_leaks(void **state)
{
	long before, after;
	int i;

	(void)state;
	if (!rounds(1, 0))
		skip(); /* its quarantine keeps what is freed; kmemleak looks instead */
	swap_all(&datapath_ebpf);
	for (i = 0; i < 3; i++)
		run("rmmod baton && insmod %s", getenv("KMOD"));
	before = unreclaimable_kb();
	/* Each load takes 128 KB for each namespace and CPU: one in ten leaked would be seen. */
	for (i = 0; i < 20; i++)
		run("rmmod baton && insmod %s", getenv("KMOD"));
	sleep(1);
	after = unreclaimable_kb();
	print_message("unreclaimable: %ld KB, then %ld KB\n", before, after);
	assert_true(after - before < 1500);
	swap_all(&datapath_module);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(replacing_the_module_breaks_nothing),
		cmocka_unit_test(reattaching_at_rest_breaks_nothing),
		cmocka_unit_test(tcp_repairs_what_is_lost_while_it_is_off),
		cmocka_unit_test(tcp_repairs_what_is_lost_while_it_is_replaced),
		cmocka_unit_test(nothing_leaks),
	};

	setenv("BATON_DATAPATH", "module", 1);
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
