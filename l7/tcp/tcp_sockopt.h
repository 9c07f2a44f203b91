/* SPDX-License-Identifier: BSD-2-Clause */
/* Socket options that are numbers.  Private to l7/tcp_*.c. */
#ifndef L7_TCP_TCP_SOCKOPT_H
#define L7_TCP_TCP_SOCKOPT_H

#include <errno.h>
#include <linux/tcp.h> /* does not go together with netinet/tcp.h */
#include <netinet/in.h>
#include <stdint.h>
#include <sys/socket.h>

static inline int set_int(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value)) ? -errno : 0;
}

static inline int get_int(int fd, int level, int name, int *value)
{
	socklen_t len = sizeof(*value);

	return getsockopt(fd, level, name, value, &len) ? -errno : 0;
}

static inline int get_u32(int fd, int name, uint32_t *value)
{
	socklen_t len = sizeof(*value);

	return getsockopt(fd, IPPROTO_TCP, name, value, &len) ? -errno : 0;
}

#endif
