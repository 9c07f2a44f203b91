/* SPDX-License-Identifier: BSD-2-Clause */
/* The client side of the control socket: one blocking question with a bound, for the command line. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/ctl.h"

/* Waits until fd is ready for `events`.  0, -ETIMEDOUT or -errno. */
static int wait_for(int fd, short events, uint64_t until_ms)
{
	for (;;) {
		struct pollfd p = {.fd = fd, .events = events};
		uint64_t now = monotonic_ms();
		int n;

		if (now >= until_ms)
			return -ETIMEDOUT;
		n = poll(&p, 1, (int)(until_ms - now));
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
	}
}

static int send_line(int fd, const char *text, size_t len, uint64_t until_ms)
{
	while (len) {
		ssize_t n = send(fd, text, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN) {
			int rc = wait_for(fd, POLLOUT, until_ms);

			if (rc)
				return rc;
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Up to the newline.  The daemon that closes before it has said all: -ECONNRESET. */
static int read_answer(int fd, uint64_t until_ms, json_t **answer)
{
	size_t have = 0, room = 0;
	char *text = NULL, *end;
	int rc;

	for (;;) {
		ssize_t n;

		if (have == room) {
			char *more;

			rc = -EMSGSIZE;
			if (room >= CTL_ANSWER_MAX)
				break;
			room = room ? room * 2 : 65536;
			more = realloc(text, room);
			rc = -ENOMEM;
			if (!more)
				break;
			text = more;
		}
		rc = wait_for(fd, POLLIN, until_ms);
		if (rc)
			break;
		n = recv(fd, text + have, room - have, 0);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		rc = n < 0 ? -errno : -ECONNRESET;
		if (n <= 0)
			break;
		end = memchr(text + have, '\n', (size_t)n);
		have += (size_t)n;
		if (end) {
			*answer = json_loadb(text, (size_t)(end - text), 0, NULL);
			rc = json_is_object(*answer) ? 0 : -EPROTO;
			if (rc)
				json_decref(*answer);
			break;
		}
	}
	free(text);
	return rc;
}

int ctl_call(const char *path, json_t *request, int timeout_ms, json_t **answer)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	uint64_t until_ms = monotonic_ms() + (uint64_t)timeout_ms;
	char *text;
	size_t len;
	int fd, rc;

	if (strlen(path) >= sizeof(to.sun_path))
		return -ENAMETOOLONG;
	memcpy(to.sun_path, path, strlen(path));
	text = json_dumps(request, JSON_COMPACT);
	if (!text)
		return -EINVAL;
	len = strlen(text);
	text[len] = '\n'; /* in the place of the NUL */
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	rc = fd < 0 ? -errno : 0;
	/* EAGAIN of a UNIX socket: the daemon's backlog is full, so it does not accept: it is stuck. */
	if (!rc && connect(fd, (struct sockaddr *)&to, sizeof(to)))
		rc = errno == EAGAIN ? -ETIMEDOUT : -errno;
	if (!rc)
		rc = send_line(fd, text, len + 1, until_ms);
	if (!rc)
		rc = read_answer(fd, until_ms, answer);
	if (fd >= 0)
		close(fd);
	free(text);
	return rc;
}
