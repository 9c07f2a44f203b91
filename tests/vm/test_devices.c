// SPDX-License-Identifier: BSD-2-Clause
/*
 * The module on every kind of device that a host's link may be: a VLAN device, a bond, a bridge, and each on top of
 * another.  And devices that are renamed, moved and removed while frames come in without a pause, and whole namespaces
 * that end with everything still attached in them.  (Bytes that are verified meanwhile: test_swap.c.)
 */
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "tests/vm/module_bed.h"
#include "tests/vm/rounds.h"

/* Of each: how it is made of `near` and `far`, what the module hangs on, and where the wire's other end is. */
struct shape {
	const char *make, *device, *wire;
};

static const struct shape plain = { "ip link set near up; ip link set far up", "near", "far" };
static const struct shape vlan = {
	"ip link set near up; ip link set far up; ip link add near.100 link near type vlan id 100; "
	"ip link add far.100 link far type vlan id 100; ip link set near.100 up; ip link set far.100 up",
	"near.100", "far.100",
};
static const struct shape bond = {
	"ip link add b0 type bond mode active-backup miimon 100; ip link set near down; ip link set near master b0; "
	"ip link set b0 up; ip link set near up; ip link set far up",
	"b0", "far",
};
/* A bridge hands up what is for a foreign address only while it is promiscuous, which the guide says too. */
static const struct shape bridge = {
	"ip link add br0 type bridge mcast_snooping 0; ip link set near master br0; ip link set br0 promisc on; "
	"ip link set br0 up; ip link set near up; ip link set far up",
	"br0", "far",
};
static const struct shape vlan_on_bond = {
	"ip link add b0 type bond mode active-backup miimon 100; ip link set near down; ip link set near master b0; "
	"ip link set b0 up; ip link set near up; ip link set far up; ip link add b0.100 link b0 type vlan id 100; "
	"ip link set b0.100 up; ip link add far.100 link far type vlan id 100; ip link set far.100 up",
	"b0.100", "far.100",
};

/* Of what the kernel holds for the module, in KB: slabs and per-CPU memory (128 KB for each namespace and CPU). */
static long held_kb(void)
{
	FILE *f = fopen("/proc/meminfo", "r");
	long slab = 0, percpu = 0;
	char line[128];

	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		sscanf(line, "SUnreclaim: %ld", &slab);
		sscanf(line, "Percpu: %ld", &percpu);
	}
	fclose(f);
	return slab + percpu;
}

static int references(void)
{
	FILE *f = fopen("/sys/module/baton/refcnt", "r");
	int n = -1;

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%d", &n), 1);
	fclose(f);
	return n;
}

static int setup(void **state)
{
	const struct shape *s = *state;
	int i;

	shell("ip link add near address 42:10:01:00:10:01 type veth peer name far; "
	      "sysctl -qw net.ipv6.conf.default.disable_ipv6=1");
	shell(s->make);
	for (i = 0; i < 50; i++) { /* a bond takes a moment to find its carrier */
		if (!system("for d in near far; do ip -o link show dev $d | grep -q LOWER_UP || exit 1; done"))
			break;
		usleep(100000);
	}
	wire = raw_socket(s->wire, ETH_P_ALL);
	if (wire < 0 || open_module())
		return -1;
	attach_to(s->device);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	datapath_module.close(path, true);
	close(wire);
	/* A device that is still referred to does not go: the kernel would wait, and say so. */
	shell("for d in near b0 br0; do ip link del $d 2>/dev/null; done; true");
	assert_int_equal(references(), 0);
	return 0;
}

static bool answered(void)
{
	uint8_t f[128];

	send_frame(f, probe_frame(f));
	return receive(f, sizeof(f), 100) > 0;
}

static void detours_answers_and_delivers(void **state)
{
	const struct shape *s = *state;
	struct triple t = { { SELF, OTHER } };
	uint64_t before[REASON_MAX], reason[REASON_MAX];
	struct sockaddr_ll from;
	socklen_t len = sizeof(from);
	struct pollfd up = { .events = POLLIN };
	uint8_t f[128];
	int i;

	/* A bond takes a moment to take its port, a bridge to forward from it: until then nothing comes in at all. */
	for (i = 0; i < 100 && !answered(); i++)
		;
	while (receive(f, sizeof(f), 300)) /* the answers of those that came late */
		;
	count(before, NULL);
	expect_detour();
	expect_probe_answered();
	/* What is kept goes up the stack, as the device's own. */
	up.fd = raw_socket(s->device, ETH_P_IP);
	send_frame(f, segment(f, t, TCP_FLAG_BIT_SYN));
	assert_int_equal(poll(&up, 1, 5000), 1);
	assert_int_equal(recvfrom(up.fd, f, sizeof(f), 0, (struct sockaddr *)&from, &len), 60);
	assert_int_equal(from.sll_pkttype, PACKET_HOST);
	close(up.fd);
	count(reason, NULL);
	assert_int_equal(reason[REASON_NO_SOCKET] - before[REASON_NO_SOCKET], 1);
	assert_int_equal(reason[REASON_PROBE] - before[REASON_PROBE], 1);
	assert_int_equal(reason[REASON_SYN] - before[REASON_SYN], 1);
	/* The control: off the device, nothing comes back. */
	assert_int_equal(datapath_module.set_devices(path, NULL, 0), 0);
	send_frame(f, segment(f, t, TCP_FLAG_BIT_ACK));
	assert_int_equal(receive(f, sizeof(f), 300), 0);
}

/* --- Under traffic -------------------------------------------------------------------------------------------- */

/* A child that sends frames to be detoured on these devices, whichever exist, until it is ended. */
static pid_t flood(const char *const *device, int n)
{
	struct triple t = { { SELF, OTHER } };
	size_t len;
	uint8_t f[128];
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid)
		return pid;
	len = segment(f, t, TCP_FLAG_BIT_ACK);
	alarm(120);
	for (;;) {
		int i, j;

		for (i = 0; i < n; i++) {
			int fd = raw_socket(device[i], 0);

			for (j = 0; j < 200 && fd >= 0; j++)
				if (send(fd, f, len, 0) < 0)
					break;
			if (fd >= 0)
				close(fd);
		}
	}
}

static uint64_t detoured(void)
{
	uint64_t reason[REASON_MAX];

	count(reason, NULL);
	return reason[REASON_NO_SOCKET];
}

/* Frames are being judged: on the device that has just been attached to. */
static void expect_more(void)
{
	uint64_t before = detoured();
	int i;

	for (i = 0; i < 200 && detoured() < before + 20; i++)
		usleep(50000);
	assert_true(detoured() >= before + 20);
}

static void end(pid_t pid)
{
	int status;

	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL); /* it sent until then */
}

static void renamed_under_traffic(void **state)
{
	static const char *const devices[] = { "far" };
	pid_t pid = flood(devices, 1);
	int i;

	(void)state;
	for (i = 0; i < rounds(4, 2); i++) {
		expect_more();
		shell("ip link set near down && ip link set near name nearer && ip link set nearer up");
		expect_more();
		shell("ip link set nearer down && ip link set nearer name near && ip link set near up");
	}
	end(pid);
}

static void removed_under_traffic(void **state)
{
	static const char *const devices[] = { "far.100", "far" };
	pid_t pid = flood(devices, 2);
	int i;

	(void)state;
	for (i = 0; i < rounds(5, 3); i++) {
		attach_to("near.100");
		expect_more();
		shell("ip link del near.100");
		shell("ip link add near.100 link near type vlan id 100 && ip link set near.100 up");
	}
	attach_to("near");
	for (i = 0; i < rounds(5, 3); i++) {
		expect_more();
		shell("ip link del near");
		shell("ip link add near type veth peer name far && ip link set near up && ip link set far up");
		attach_to("near");
	}
	end(pid);
}

static void moved_under_traffic(void **state)
{
	static const char *const devices[] = { "far" };
	pid_t pid = flood(devices, 1);
	int i;

	(void)state;
	shell("ip netns add elsewhere");
	for (i = 0; i < rounds(4, 2); i++) {
		uint64_t before;

		expect_more();
		shell("ip link set near netns elsewhere && ip -n elsewhere link set near up");
		before = detoured();
		usleep(100000);
		assert_int_equal(detoured(), before); /* another namespace's devices are not ours */
		shell("ip -n elsewhere link set near netns $PPID && ip link set near up");
		attach_to("near");
	}
	expect_more();
	end(pid);
	shell("ip netns del elsewhere");
}

/*
 * Attached and detached as fast as netlink goes, frames all the while: with the only hook of the machine, so that the
 * kernel patches its receive path each time (tests/vm/vm says what an emulator made of that).
 */
static void attached_and_detached_under_traffic(void **state)
{
	static const char *const devices[] = { "far" };
	pid_t pid = flood(devices, 1);
	int i;

	(void)state;
	for (i = 0; i < rounds(100, 20); i++) {
		assert_int_equal(datapath_module.set_devices(path, NULL, 0), 0);
		attach_to("near");
	}
	expect_more();
	end(pid);
}

/* Each of these namespaces ends with a device, the module on it, frames still coming, and nobody to take it off. */
static void namespaces_end_with_all_in_them(void **state)
{
	long before = 0, after;
	int i, status, leaked;

	(void)state;
	for (i = 0; i < rounds(24, 4); i++) {
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (!pid) {
			static const char *const devices[] = { "far" };

			if (unshare(CLONE_NEWNET) || system("ip link add near type veth peer name far; ip link set near up; ip link set far up"))
				_exit(1);
			if (open_module())
				_exit(2);
			attach_to("near");
			wire = raw_socket("far", ETH_P_ALL);
			pid = flood(devices, 1);
			expect_more();
			end(pid);
			_exit(0);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
		if (i == 7) { /* by now the allocator has what it keeps */
			sleep(2);
			before = held_kb();
		}
	}
	assert_int_equal(references(), 0);
	if (!rounds(1, 0))
		return; /* its quarantine keeps what is freed; kmemleak looks instead */
	/* Namespaces are taken down in the background.  Were what the module has in each of the 16 left, it would be 4,096 KB. */
	for (i = 0; i < 30; i++) {
		after = held_kb();
		leaked = after - before >= 1500;
		if (!leaked)
			break;
		sleep(1);
	}
	print_message("held: %ld KB, then %ld KB\n", before, after);
	assert_false(leaked);
}

#define ON(shape, f) cmocka_unit_test_prestate_setup_teardown(f, setup, teardown, (void *)(uintptr_t)&(shape))
#define DEVICE(shape) \
	{ "on_a_" #shape, detours_answers_and_delivers, setup, teardown, (void *)(uintptr_t)&(shape) }

int main(void)
{
	const struct CMUnitTest tests[] = {
		DEVICE(plain),
		DEVICE(vlan),
		DEVICE(bond),
		DEVICE(bridge),
		DEVICE(vlan_on_bond),
		ON(plain, renamed_under_traffic),
		ON(vlan, removed_under_traffic),
		ON(plain, moved_under_traffic),
		ON(plain, attached_and_detached_under_traffic),
		cmocka_unit_test(namespaces_end_with_all_in_them),
	};

	if (unshare(CLONE_NEWNET)) {
		perror("unshare");
		return 1;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
