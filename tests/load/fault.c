/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Kills or stops a process exactly where it enters a function, without a change to the program: a uprobe with a BPF
 * program that sends the signal.  Prints "armed", then "hit" and ends; or, when its input ends before, "missed".
 *
 *   fault PID FUNCTION SIGNAL [SKIP]      at the first time after SKIP times; SIGNAL is a number
 */
#include <bpf/libbpf.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fault.skel.h"

static int quiet(enum libbpf_print_level level, const char *format, va_list args)
{
	return level == LIBBPF_WARN ? vfprintf(stderr, format, args) : 0;
}

static struct bpf_link *attach(struct fault_bpf *b, pid_t pid, const char *function)
{
	LIBBPF_OPTS(bpf_uprobe_opts, o, .func_name = function);
	char program[64];

	snprintf(program, sizeof(program), "/proc/%d/exe", pid); /* also when its file has been replaced */
	return bpf_program__attach_uprobe_opts(b->progs.at_entry, pid, program, 0, &o);
}

/* Until it was sent, or nobody waits for it. */
static bool await(const struct fault_bpf *b)
{
	struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };

	while (!__atomic_load_n(&b->bss->sent, __ATOMIC_ACQUIRE))
		if (poll(&in, 1, 1))
			return __atomic_load_n(&b->bss->sent, __ATOMIC_ACQUIRE);
	return true;
}

int main(int argc, char **argv)
{
	struct bpf_link *link = NULL;
	struct fault_bpf *b;
	int status = 1;

	libbpf_set_print(quiet);
	if (argc < 4) {
		fprintf(stderr, "fault PID FUNCTION SIGNAL [SKIP]\n");
		return 2;
	}
	b = fault_bpf__open();
	if (!b)
		return 1;
	b->rodata->tgid = (unsigned)atoi(argv[1]);
	b->rodata->signal = (unsigned)atoi(argv[3]);
	b->rodata->skip = argc > 4 ? (unsigned)atoi(argv[4]) : 0;
	if (!fault_bpf__load(b))
		link = attach(b, atoi(argv[1]), argv[2]);
	if (link) {
		puts("armed");
		fflush(stdout);
		status = await(b) ? 0 : 3;
		puts(status ? "missed" : "hit");
	} else {
		perror(argv[2]);
	}
	bpf_link__destroy(link);
	fault_bpf__destroy(b);
	return status;
}
