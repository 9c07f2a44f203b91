/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The programs that the demo runs: load, wiretap, and one step of the scenario at a time.  Each is a child
 * whose output is read line by line; nothing blocks while the view is alive.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/demo.h"

volatile int demo_interrupted;

struct child *demo_start(struct demo *d, const char *name, const char *const *argv, void (*line)(void *, const char *), void *ctx)
{
	struct child *c = NULL;
	int i, fd[2];

	for (i = 0; i < DEMO_CHILDREN_MAX && !c; i++)
		if (!d->children[i].pid)
			c = &d->children[i];
	if (!c || pipe2(fd, O_CLOEXEC) < 0)
		return NULL;
	memset(c, 0, sizeof(*c));
	c->pid = fork();
	if (c->pid < 0) {
		c->pid = 0;
		close(fd[0]);
		close(fd[1]);
		return NULL;
	}
	if (!c->pid) {
		char **copy = calloc(64, sizeof(*copy));

		prctl(PR_SET_PDEATHSIG, SIGTERM);
		signal(SIGINT, SIG_IGN); /* the demo decides what a Ctrl-C ends */
		dup2(fd[1], STDOUT_FILENO);
		dup2(fd[1], STDERR_FILENO);
		for (i = 0; copy && argv[i] && i < 63; i++)
			copy[i] = strdup(argv[i]);
		if (copy && copy[0])
			execvp(copy[0], copy);
		dprintf(STDERR_FILENO, "%s: %s\n", argv[0], strerror(errno));
		_exit(127);
	}
	close(fd[1]);
	c->fd = fd[0];
	c->name = name;
	c->line = line;
	c->ctx = ctx;
	return c;
}

static void child_read(struct child *c)
{
	ssize_t n = read(c->fd, c->buf + c->len, sizeof(c->buf) - 1 - c->len);
	char *line = c->buf, *end;

	if (n <= 0) {
		if (n < 0 && errno == EINTR)
			return;
		close(c->fd);
		c->fd = -1;
		return;
	}
	c->len += (size_t)n;
	c->buf[c->len] = 0;
	while ((end = strchr(line, '\n'))) {
		*end = 0;
		c->line(c->ctx, line);
		line = end + 1;
	}
	c->len = (size_t)(c->buf + c->len - line);
	memmove(c->buf, line, c->len);
	if (c->len == sizeof(c->buf) - 1)
		c->len = 0; /* a line beyond all measure: nobody we start writes one */
}

static void child_reap(struct child *c)
{
	if (c->pid && !c->ended && waitpid(c->pid, &c->status, WNOHANG) == c->pid)
		c->ended = true;
}

bool demo_pump(struct demo *d, int ms)
{
	double until = demo_now_s() + ms / 1000.0, left;

	do {
		struct pollfd p[DEMO_CHILDREN_MAX];
		struct child *who[DEMO_CHILDREN_MAX];
		nfds_t n = 0, i;

		for (i = 0; i < DEMO_CHILDREN_MAX; i++)
			if (d->children[i].pid && d->children[i].fd >= 0) {
				who[n] = &d->children[i];
				p[n] = (struct pollfd){ .fd = who[n]->fd, .events = POLLIN };
				n++;
			}
		left = until - demo_now_s();
		if (left > 0.05)
			left = 0.05;
		if (poll(p, n, left > 0 ? (int)(left * 1000) : 0) > 0)
			for (i = 0; i < n; i++)
				if (p[i].revents)
					child_read(who[i]);
		for (i = 0; i < DEMO_CHILDREN_MAX; i++)
			child_reap(&d->children[i]);
		demo_watch(d);
		demo_draw(d, false);
	} while (!demo_interrupted && demo_witnesses_well(d) && demo_now_s() < until);
	return !demo_interrupted && demo_witnesses_well(d);
}

static void step_line(void *ctx, const char *text)
{
	struct demo *d = ctx;

	if (!*text)
		return;
	snprintf(d->said, sizeof(d->said), "%s", text);
	if (!d->tty)
		printf("    %s\n", text);
}

int demo_step(struct demo *d, int timeout_s, const char *const *argv)
{
	struct child *c = demo_start(d, argv[0], argv, step_line, d);
	double until = demo_now_s() + timeout_s;
	int status = -1;

	d->said[0] = 0;
	if (!c)
		return 127;
	while (!(c->ended && c->fd < 0) && demo_now_s() < until) {
		if (!demo_pump(d, 20))
			break;
		if (c->ended && c->fd >= 0) { /* what it wrote last; a grandchild may keep the pipe open */
			demo_pump(d, 50);
			break;
		}
	}
	if (c->ended)
		status = WIFEXITED(c->status) ? WEXITSTATUS(c->status) : 128 + WTERMSIG(c->status);
	else if (!demo_interrupted && !d->doubt[0])
		status = 124;
	demo_end(c, SIGTERM);
	return status;
}

void demo_end(struct child *c, int signal_number)
{
	if (!c || !c->pid)
		return;
	c->told = true;
	if (!c->ended) {
		int i;

		kill(c->pid, signal_number);
		for (i = 0; i < 300 && !c->ended; i++) {
			usleep(10000);
			if (c->fd >= 0) { /* read on: it must be able to write its last line */
				struct pollfd p = { .fd = c->fd, .events = POLLIN };

				if (poll(&p, 1, 0) > 0)
					child_read(c);
			}
			child_reap(c);
		}
		if (!c->ended) {
			kill(c->pid, SIGKILL);
			waitpid(c->pid, &c->status, 0);
		}
	}
	while (c->fd >= 0) {
		struct pollfd p = { .fd = c->fd, .events = POLLIN };

		if (poll(&p, 1, 0) <= 0)
			break;
		child_read(c);
	}
	if (c->fd >= 0)
		close(c->fd);
	c->pid = 0;
}

void demo_end_all(struct demo *d)
{
	int i;

	for (i = 0; i < DEMO_CHILDREN_MAX; i++)
		demo_end(&d->children[i], SIGTERM);
}
