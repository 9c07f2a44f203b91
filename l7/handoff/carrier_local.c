/* SPDX-License-Identifier: BSD-2-Clause */
/* Between processes of one host the descriptor itself is passed, and nothing of TCP is exported.  See carrier.h. */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "l7/handoff/carrier.h"

#define DESCRIPTORS_MAX 4 /* that a wrong peer may send at once: one is right */

int carrier_local_pair(int fd[2])
{
	int room = 2 << 20;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd))
		return -errno;
	/* A message must fit the queue whole.  Without the privilege, what is larger says -EMSGSIZE. */
	for (int i = 0; i < 2; i++) {
		if (setsockopt(fd[i], SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)))
			setsockopt(fd[i], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	}
	return 0;
}

bool carrier_local_trusted(int fd)
{
	struct ucred who;
	socklen_t len = sizeof(who);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0 && (who.uid == 0 || who.uid == geteuid());
}

int carrier_local_send(int fd, const struct move_letter *l, int descriptor)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	size_t n = move_letter_len(l);
	uint16_t type = htobe16((uint16_t)l->type);
	uint8_t *bytes = n ? malloc(n) : NULL;
	struct iovec parts[2] = {{.iov_base = &type, .iov_len = 2}, {.iov_base = bytes, .iov_len = n}};
	struct msghdr m = {.msg_iov = parts, .msg_iovlen = 2};
	int rc = 0;

	if (!bytes)
		return n ? -ENOMEM : -EMSGSIZE;
	move_letter_put(l, bytes);
	if (descriptor >= 0) {
		struct cmsghdr *h;

		memset(&control, 0, sizeof(control));
		m.msg_control = control.room;
		m.msg_controllen = sizeof(control.room);
		h = CMSG_FIRSTHDR(&m);
		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_RIGHTS;
		h->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(h), &descriptor, sizeof(int));
	}
	if (sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		rc = -errno;
	explicit_bzero(bytes, n);
	free(bytes);
	return rc;
}

/* The one descriptor of a message; more are closed, and -EPROTO. */
static int descriptors(struct msghdr *m, int *out)
{
	int rc = m->msg_flags & (MSG_CTRUNC | MSG_TRUNC) ? -EPROTO : 0;

	*out = -1;
	for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h)) {
		size_t n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(h) + i * sizeof(int), sizeof(int));
			if (*out < 0) {
				*out = fd;
			} else {
				close(fd);
				rc = -EPROTO;
			}
		}
	}
	return rc;
}

int carrier_local_receive(int fd, uint8_t *room, size_t n, struct move_letter *l, int *descriptor)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(DESCRIPTORS_MAX * sizeof(int))];
	} control;
	struct iovec part = {.iov_base = room, .iov_len = n};
	struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof(control.room)};
	ssize_t got = recvmsg(fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	uint16_t type;
	int rc;

	*descriptor = -1;
	if (got <= 0)
		return got ? -errno : 0;
	rc = descriptors(&m, descriptor);
	if (!rc && got < 2)
		rc = -EPROTO;
	if (!rc) {
		memcpy(&type, room, 2);
		rc = move_letter_get(be16toh(type), room + 2, (size_t)got - 2, l);
	}
	/* An offer comes with its socket, and nothing else does. */
	if (!rc && (l->type == LETTER_OFFER) != (*descriptor >= 0))
		rc = -EPROTO;
	if (!rc)
		return 1;
	if (*descriptor >= 0)
		close(*descriptor);
	*descriptor = -1;
	return rc;
}
