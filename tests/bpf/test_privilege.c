// SPDX-License-Identifier: BSD-2-Clause
/*
 * baton-l7d after it has given up its privileges (l7/privilege.h): what hand-off loads can be loaded with what the main
 * thread keeps, a connection moves with what a worker keeps, and what is forbidden fails or ends the process.  Each case
 * is a child of its own.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "l7/privilege.h"
#include "l7/row/rows.h"
#include "l7/secret.h"
#include "l7/tcp/tcp_bpf.h"
#include "l7/tcp/tcp_move.h"

#define QUEUE 65536

static char prefix[32];

#define CHECK(x)                                                                         \
	do {                                                                             \
		if (!(x)) {                                                              \
			printf("%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #x, errno); \
			fflush(stdout);                                                  \
			_exit(1);                                                        \
		}                                                                        \
	} while (0)

static void enter_ns(void)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "/run/netns/%s", prefix);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0 && !setns(fd, CLONE_NEWNET));
	close(fd);
}

/* In a child: 0, or the signal that ended it, or 1000 + exit status. */
static int in_child(void (*fn)(void))
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		enter_ns();
		fn();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status))
		return WTERMSIG(status);
	return WEXITSTATUS(status) ? 1000 + WEXITSTATUS(status) : 0;
}

static void give_up(void)
{
	privilege_start();
	CHECK(!privilege_keep(PRIVILEGE_SERVES));
	CHECK(!privilege_confine());
}

static uint64_t capabilities(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	CHECK(!syscall(SYS_capget, &head, data));
	CHECK(data[0].effective == data[0].permitted && data[1].effective == data[1].permitted);
	CHECK(!data[0].inheritable && !data[1].inheritable);
	return data[0].effective | (uint64_t)data[1].effective << 32;
}

/* --- A move with what a worker keeps --------------------------------------------------------------------------------- */

static void load_and_move(void)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(443) };
	struct tcp_move m;
	struct tcp_read r;
	struct rows *rows;
	char why[512] = "", pins[128], text[8];
	int listener, client, server, fd;
	size_t left;

	privilege_start();
	CHECK(!privilege_keep(PRIVILEGE_LOADS));
	CHECK(!privilege_confine()); /* the configuration that has hand-off may come later */
	snprintf(pins, sizeof(pins), "/sys/fs/bpf/%s", prefix);
	if (rows_open(1, pins, (const char[1][IF_NAMESIZE]){ "eth0" }, 1, &rows, why, sizeof(why))) {
		printf("%s\n", why);
		_exit(2);
	}
	if (tcp_move_open(why, sizeof(why))) {
		printf("%s\n", why);
		_exit(3);
	}
	CHECK(!privilege_keep(PRIVILEGE_SERVES));
	CHECK(capabilities() == (1ull << 12 | 1ull << 10 | 1ull << 39)); /* NET_ADMIN, NET_BIND_SERVICE, BPF */

	inet_pton(AF_INET, "198.51.100.80", &in.sin_addr);
	listener = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(!bind(listener, (struct sockaddr *)&in, sizeof(in)) && !listen(listener, 8));
	client = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(!connect(client, (struct sockaddr *)&in, sizeof(in)));
	server = accept(listener, NULL, NULL);
	CHECK(server >= 0 && !tcp_bpf_read(server, &r));
	CHECK(send(client, "ping", 4, 0) == 4);
	CHECK(!tcp_move_export(server, QUEUE, &m) && buffer_len(&m.received) == 4);
	close(server);
	fd = tcp_move_socket(AF_INET);
	CHECK(fd >= 0 && !tcp_move_import(fd, &m) && !tcp_move_go(fd, &m, &left));
	CHECK(fcntl(fd, F_SETFL, 0) == 0 && recv(fd, text, 8, 0) == 4 && send(fd, "pong", 4, 0) == 4 && recv(client, text, 8, 0) == 4);
	tcp_move_free(&m);
	rows_close(rows, true); /* filters and pins */
}

static void a_move_needs_no_more(void **state)
{
	(void)state;
	assert_int_equal(in_child(load_and_move), 0);
}

/* The control: with less it does not work, so that none of them is kept for nothing. */
static void drop_one(unsigned cap)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	CHECK(!syscall(SYS_capget, &head, data));
	data[cap / 32].effective &= ~(1u << cap % 32);
	data[cap / 32].permitted &= ~(1u << cap % 32);
	CHECK(!syscall(SYS_capset, &head, data));
}

static void without_net_admin(void)
{
	CHECK(!privilege_keep(PRIVILEGE_SERVES));
	drop_one(CAP_NET_ADMIN);
	CHECK(tcp_move_socket(AF_INET) == -EPERM);
}

static void without_bind(void)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(443) };

	CHECK(!privilege_keep(PRIVILEGE_SERVES));
	drop_one(CAP_NET_BIND_SERVICE);
	CHECK(bind(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&in, sizeof(in)) && errno == EACCES);
}

static void without_perfmon(void)
{
	char why[512];

	CHECK(!privilege_keep(PRIVILEGE_SERVES));
	CHECK(tcp_move_open(why, sizeof(why)));
}

static void none_is_kept_for_nothing(void **state)
{
	(void)state;
	assert_int_equal(in_child(without_net_admin), 0);
	assert_int_equal(in_child(without_bind), 0);
	assert_int_equal(in_child(without_perfmon), 0);
}

/* --- System calls --------------------------------------------------------------------------------------------------------- */

static void run_a_program(void)
{
	char *const argv[] = { (char[]){ "true" }, NULL };

	give_up();
	execve("/bin/true", argv, NULL);
}

static void look_into_another(void)
{
	give_up();
	ptrace(PTRACE_ATTACH, getppid(), 0, 0);
}

static void mount_something(void)
{
	give_up();
	mount("none", "/mnt", "tmpfs", 0, NULL);
}

static void leave_the_namespace(void)
{
	give_up();
	unshare(CLONE_NEWNET);
}

/* Not on the list and not an intruder's: fails, and the process goes on. */
static void become_another(void)
{
	give_up();
	CHECK(setuid(1) == -1 && errno == EPERM);
	CHECK(syscall(SYS_mknodat, AT_FDCWD, "/tmp/none", 0600, 0) == -1 && errno == EPERM);
	CHECK(getpid() > 0);
}

static int second;

static void *from_a_thread(void *arg)
{
	while (!__atomic_load_n(&second, __ATOMIC_ACQUIRE))
		usleep(1000);
	syscall(SYS_unshare, CLONE_NEWNET);
	return arg;
}

/* The filter holds for threads that ran before it. */
static void thread_leaves(void)
{
	pthread_t t;

	CHECK(!pthread_create(&t, NULL, from_a_thread, NULL));
	give_up();
	__atomic_store_n(&second, 1, __ATOMIC_RELEASE);
	pthread_join(t, NULL);
}

static void what_is_forbidden(void **state)
{
	(void)state;
	assert_int_equal(in_child(run_a_program), SIGSYS);
	assert_int_equal(in_child(look_into_another), SIGSYS);
	assert_int_equal(in_child(mount_something), SIGSYS);
	assert_int_equal(in_child(leave_the_namespace), SIGSYS);
	assert_int_equal(in_child(thread_leaves), SIGSYS);
	assert_int_equal(in_child(become_another), 0);
}

static void no_dump(void)
{
	CHECK(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 1); /* control */
	privilege_start();
	CHECK(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0);
	CHECK(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
}

static void nothing_is_dumped(void **state)
{
	(void)state;
	assert_int_equal(in_child(no_dump), 0);
}

static int set_up(void **state)
{
	char command[512];

	(void)state;
	if (geteuid()) {
		puts("SKIP: needs root");
		exit(77);
	}
	snprintf(prefix, sizeof(prefix), "bt-priv-%d", (int)getpid());
	snprintf(command, sizeof(command), "ip netns add %s && ip -n %s link set lo up && ip -n %s addr add 198.51.100.80/32 dev lo && "
		 "ip -n %s link add eth0 type veth peer name eth1 && ip -n %s link set eth0 up", prefix, prefix, prefix, prefix, prefix);
	return system(command);
}

static int tear_down(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "ip netns del %s", prefix);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_move_needs_no_more),
		cmocka_unit_test(none_is_kept_for_nothing),
		cmocka_unit_test(what_is_forbidden),
		cmocka_unit_test(nothing_is_dumped),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
