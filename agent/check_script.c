/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One attempt of a script check: exit status 0 passes; the first line of its output is the reason
 * otherwise.  It runs in a process group of its own, so that at the time limit all of it is killed.
 *
 * Environment: BATON_VIP (name), BATON_ADDRESSES (space-separated), BATON_PORT, PATH.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/check.h"
#include "agent/check_run.h"

struct script_run {
	struct check_run run;
	pid_t pid; /* 0: none, or reaped */
	int pidfd, out;
	struct event *exit, *output;
	char text[CHECK_WHY_LEN];
	size_t len;
};

static void cleanup(struct check_run *run)
{
	struct script_run *r = (struct script_run *)run;

	if (r->exit)
		event_free(r->exit);
	if (r->output)
		event_free(r->output);
	if (r->pid) {
		kill(-r->pid, SIGKILL);
		/* Killed, so this returns at once but for a process in uninterruptible sleep; that one is
		 * left to init's reaping when the agent ends. */
		for (int i = 0; i < 50 && waitpid(r->pid, NULL, WNOHANG) == 0; i++)
			usleep(1000);
	}
	if (r->pidfd >= 0)
		close(r->pidfd);
	if (r->out >= 0)
		close(r->out);
}

static void timed_out(struct check_run *run)
{
	check_run_fail(run, "the script did not end in time and was killed");
}

/* Keeps the first line's worth and reads on, so that a talkative script is not blocked. */
static void read_output(struct script_run *r)
{
	char buf[4096];
	ssize_t n;

	while ((n = read(r->out, buf, sizeof(buf))) > 0) {
		size_t room = sizeof(r->text) - 1 - r->len;
		size_t take = (size_t)n < room ? (size_t)n : room;

		memcpy(r->text + r->len, buf, take);
		r->len += take;
	}
	if (n == 0 && r->output)
		event_del(r->output);
}

static void has_output(evutil_socket_t fd, short what, void *ctx)
{
	(void)fd;
	(void)what;
	read_output(ctx);
}

static void has_exited(evutil_socket_t fd, short what, void *ctx)
{
	struct script_run *r = ctx;
	int status = 0;

	(void)fd;
	(void)what;
	read_output(r);
	r->text[r->len] = 0;
	r->text[strcspn(r->text, "\r\n")] = 0;
	for (char *p = r->text; *p; p++)
		if ((unsigned char)*p < ' ')
			*p = ' ';
	kill(-r->pid, SIGKILL); /* what it left running in its group */
	if (waitpid(r->pid, &status, WNOHANG) != r->pid)
		return;
	r->pid = 0;
	if (WIFEXITED(status) && !WEXITSTATUS(status))
		check_run_pass(&r->run);
	else if (WIFEXITED(status))
		check_run_fail(&r->run, "exit status %d%s%.200s", WEXITSTATUS(status), r->text[0] ? ": " : "", r->text);
	else
		check_run_fail(&r->run, "killed by signal %d%s%.200s", WTERMSIG(status), r->text[0] ? ": " : "", r->text);
}

static int spawn(struct script_run *r, const char *path, char **env)
{
	char *argv[] = { strdup(path), NULL };
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t all, none;
	int fd[2], err;

	if (pipe2(fd, O_CLOEXEC)) {
		err = errno;
		free(argv[0]);
		return err;
	}
	r->out = fd[0];
	(void)fcntl(r->out, F_SETFL, O_NONBLOCK);
	sigfillset(&all);
	sigemptyset(&none);
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&files, fd[1], 1);
	posix_spawn_file_actions_adddup2(&files, fd[1], 2);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setpgroup(&attr, 0);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	err = posix_spawn(&r->pid, path, &files, &attr, argv, env);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&files);
	close(fd[1]);
	free(argv[0]);
	if (err)
		r->pid = 0;
	return err;
}

static int start(struct script_run *r, struct event_base *base, const struct check *c, const struct check_target *t)
{
	char name[NAME_LEN + 16], port[32], addresses[1024] = "BATON_ADDRESSES=", text[ADDRESS_TEXT];
	char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
	char *env[] = { name, port, addresses, path, NULL };
	int err;

	snprintf(name, sizeof(name), "BATON_VIP=%s", t->vip);
	snprintf(port, sizeof(port), "BATON_PORT=%u", c->port);
	for (uint32_t i = 0; t->conf && i < t->conf->n_addresses; i++) {
		size_t at = strlen(addresses);

		snprintf(addresses + at, sizeof(addresses) - at, "%s%s", i ? " " : "",
			 address_print(&t->conf->address[i], text));
	}
	err = spawn(r, c->path, env);
	if (err)
		return err;
	r->pidfd = (int)syscall(SYS_pidfd_open, r->pid, 0);
	if (r->pidfd < 0)
		return errno;
	r->exit = event_new(base, r->pidfd, EV_READ, has_exited, r);
	r->output = event_new(base, r->out, EV_READ | EV_PERSIST, has_output, r);
	if (!r->exit || !r->output || event_add(r->exit, NULL) || event_add(r->output, NULL))
		return ENOMEM;
	return 0;
}

struct check_run *check_run_script(struct event_base *base, const struct check *c, const struct check_target *t,
				   check_done *done, void *ctx)
{
	struct script_run *r = calloc(1, sizeof(*r));
	int err;

	if (!r)
		return NULL;
	r->pidfd = r->out = -1;
	if (check_run_init(&r->run, base, c, done, ctx, timed_out, cleanup)) {
		free(r);
		return NULL;
	}
	err = start(r, base, c, t);
	if (err)
		check_run_fail_soon(&r->run, "cannot run %.150s: %s", c->path, strerror(err));
	return &r->run;
}
