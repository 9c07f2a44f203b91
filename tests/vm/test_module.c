// SPDX-License-Identifier: BSD-2-Clause
/*
 * The kernel module through the agent's own interface (agent/datapath_module.c), in a VM whose kernel
 * has it loaded.  One pair of veth devices: frames are put on one end, the module judges them on the
 * other.  Run by tests/vm/guest as root; every case starts with an empty configuration.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/vm/module_bed.h"

static int setup(void **state)
{
	const char device[1][IF_NAMESIZE] = { "near" };

	(void)state;
	shell("ip link add name near type veth peer name far && ip link set near up && ip link set far up");
	wire = raw_socket("far", ETH_P_ALL);
	if (wire < 0 || open_module())
		return -1;
	return datapath_module.set_devices(path, device, 1);
}

static int teardown(void **state)
{
	(void)state;
	datapath_module.close(path, true);
	close(wire);
	return system("ip link del near 2>/dev/null || true") ? -1 : 0;
}

static void test_detours_the_unknown(void **state)
{
	uint64_t reason[REASON_MAX], to[HOST_ID_MAX + 1];

	(void)state;
	expect_detour();
	count(reason, to);
	assert_int_equal(reason[REASON_NO_SOCKET], 1);
	assert_int_equal(to[OTHER], 1);
}

static void test_keeps_a_syn(void **state)
{
	struct triple t = { { SELF, OTHER } };
	uint64_t reason[REASON_MAX];
	uint8_t f[128];

	(void)state;
	send_frame(f, segment(f, t, TCP_FLAG_BIT_SYN));
	assert_int_equal(receive(f, sizeof(f), 200), 0);
	count(reason, NULL);
	assert_true(reason[REASON_SYN] >= 1);
}

/* The control: without detours the same segment stays here. */
static void test_detours_off(void **state)
{
	struct triple t = { { SELF, OTHER } };
	uint64_t reason[REASON_MAX];
	uint8_t f[128];

	(void)state;
	assert_int_equal(datapath_module.set_detours(path, false), 0);
	send_frame(f, segment(f, t, TCP_FLAG_BIT_ACK));
	assert_int_equal(receive(f, sizeof(f), 200), 0);
	count(reason, NULL);
	assert_true(reason[REASON_DETOURS_OFF] >= 1);
}

static void test_answers_a_probe(void **state)
{
	(void)state;
	expect_probe_answered();
}

static void test_explains(void **state)
{
	struct triple t = { { SELF, OTHER } };
	struct datapath_decision said;
	char text[128];
	uint8_t f[128];
	size_t n = segment(f, t, TCP_FLAG_BIT_ACK);

	(void)state;
	assert_int_equal(datapath_module.explain(path, f, n, "near", &said), 0);
	datapath_decision_text(&said, NULL, text, sizeof(text));
	assert_string_equal(text, "detour (detour_no_socket) to host 2");
	assert_int_equal(datapath_module.explain(path, f, 5, "near", &said), -EINVAL);
	assert_int_equal(datapath_module.explain(path, f, n, "gone", &said), -ENODEV);
}

#define MANY 3000 /* more than one message of either kind */

static void test_watches(void **state)
{
	static struct datapath_watch w[MANY];
	struct triple self = { { SELF } };
	struct detour came = { OTHER, OTHER, 0, 1 };
	uint8_t f[128];
	int i;

	(void)state;
	for (i = 0; i < MANY; i++) {
		w[i].client.family = w[i].vip.family = AF_INET;
		w[i].client.v4.s_addr = htonl(0xc0000207);
		w[i].vip.v4.s_addr = htonl(0xc6336450);
		w[i].client_port = (uint16_t)(40000 + i);
		w[i].vip_port = 80;
	}
	assert_int_equal(datapath_module.watch(path, w, MANY), 0);
	segment(f, self, TCP_FLAG_BIT_ACK); /* port 40000, directly */
	f[17] = 44; /* with data: a bare ACK of a flow that is gone is dropped as a late answer to a probe */
	send_frame(f, 60);
	segment(f, self, TCP_FLAG_BIT_ACK);
	f[17] = 44;
	f[35] = 0x41; /* port 40001, through the other host */
	detour_encode(f + 6, &came);
	send_frame(f, 60);
	usleep(50000);
	assert_int_equal(datapath_module.watched(path, w, MANY), 0);
	assert_true(w[0].seen);
	assert_int_equal(w[0].owner, SELF);
	assert_true(w[1].seen);
	assert_int_equal(w[1].owner, OTHER);
	for (i = 2; i < MANY; i++)
		assert_false(w[i].seen);
	/* The control: nothing is watched, nothing is seen. */
	assert_int_equal(datapath_module.watch(path, NULL, 0), 0);
	assert_int_equal(datapath_module.watched(path, w, MANY), 0);
	assert_false(w[0].seen);
}

static void test_device_renamed_and_gone(void **state)
{
	struct triple t = { { SELF, OTHER } };
	const char device[1][IF_NAMESIZE] = { "near" };
	uint8_t f[128];

	(void)state;
	shell("ip link set near down && ip link set near name nearer && ip link set nearer up");
	send_frame(f, segment(f, t, TCP_FLAG_BIT_ACK));
	assert_int_equal(receive(f, sizeof(f), 1000), 60); /* still attached */
	shell("ip link set nearer down && ip link set nearer name near && ip link set near up");
	shell("ip link del near");
	assert_int_equal(datapath_module.set_devices(path, device, 1), -ENODEV);
	shell("ip link add name near type veth peer name far && ip link set near up && ip link set far up");
	assert_int_equal(datapath_module.set_devices(path, device, 1), 0);
}

static void test_moved_to_another_namespace(void **state)
{
	(void)state;
	shell("ip netns add elsewhere && ip link set near netns elsewhere && ip netns exec elsewhere ip link set near up");
	shell("ip netns del elsewhere"); /* takes the pair with it */
}

static void test_unprivileged_are_refused(void **state)
{
	int status;
	pid_t pid = fork();

	(void)state;
	assert_true(pid >= 0);
	if (!pid) {
		struct datapath *d;

		if (setresuid(65534, 65534, 65534))
			_exit(2);
		_exit(datapath_module.open(SELF, "", why, sizeof(why), &d) == -EPERM ? 0 : 1);
	}
	waitpid(pid, &status, 0);
	assert_int_equal(status, 0);
}

static void test_state_outlives_the_agent(void **state)
{
	struct triple t = { { SELF, OTHER } };
	uint64_t reason[REASON_MAX];
	uint8_t f[128];

	(void)state;
	datapath_module.close(path, false);
	send_frame(f, segment(f, t, TCP_FLAG_BIT_ACK));
	assert_int_equal(receive(f, sizeof(f), 1000), 60);
	assert_int_equal(datapath_module.open(SELF, "", why, sizeof(why), &path), 0);
	count(reason, NULL);
	assert_true(reason[REASON_NO_SOCKET] >= 1);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_detours_the_unknown),	    CASE(test_keeps_a_syn),
		CASE(test_detours_off),		    CASE(test_answers_a_probe),
		CASE(test_explains),		    CASE(test_watches),
		CASE(test_device_renamed_and_gone), CASE(test_moved_to_another_namespace),
		CASE(test_unprivileged_are_refused), CASE(test_state_outlives_the_agent),
	};

	/* Each test in a namespace of its own: counters begin at nought. */
	if (unshare(CLONE_NEWNET)) {
		perror("unshare");
		return 1;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
