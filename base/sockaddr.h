/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A socket address as an operator writes it: "192.0.2.1:7430", "[2001:db8::1]:7430".  Numbers only:
 * a daemon of the POP's edge must start without a name server.
 */
#ifndef BASE_SOCKADDR_H
#define BASE_SOCKADDR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#define SOCKADDR_TEXT_MAX 64 /* of sockaddr_print, with the NUL */

/* 0 or -EINVAL; *len is the length of what was written. */
int sockaddr_parse(const char *text, struct sockaddr_storage *out, socklen_t *len);
/* An address without a port ("192.0.2.1", "2001:db8::1") and a port beside it. */
int sockaddr_with_port(const char *ip, uint16_t port, struct sockaddr_storage *out, socklen_t *len);
/* Of a bound socket, IPv4 or IPv6; -errno. */
int sockaddr_bound_port(int fd);
/* Returns `out`.  What is neither IPv4 nor IPv6 is printed as "unknown". */
const char *sockaddr_print(const struct sockaddr *addr, char out[SOCKADDR_TEXT_MAX]);

#endif
