/* SPDX-License-Identifier: BSD-2-Clause */
/* Socket addresses as text.  See address.h. */
#include "base/sockaddr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

int sockaddr_with_port(const char *ip, uint16_t port, struct sockaddr_storage *out, socklen_t *len)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};

	memset(out, 0, sizeof(*out));
	if (inet_pton(AF_INET, ip, &v4.sin_addr) == 1) {
		memcpy(out, &v4, sizeof(v4));
		*len = sizeof(v4);
		return 0;
	}
	if (inet_pton(AF_INET6, ip, &v6.sin6_addr) == 1) {
		memcpy(out, &v6, sizeof(v6));
		*len = sizeof(v6);
		return 0;
	}
	return -EINVAL;
}

/* Digits only, 0 to 65535: strtoul would also take a sign and spaces. */
static int port_parse(const char *text, uint16_t *port)
{
	unsigned long value = 0;
	size_t n = strspn(text, "0123456789");

	if (n == 0 || n > 5 || text[n])
		return -EINVAL;
	for (size_t i = 0; i < n; i++)
		value = value * 10 + (unsigned long)(text[i] - '0');
	if (value > UINT16_MAX)
		return -EINVAL;
	*port = (uint16_t)value;
	return 0;
}

int sockaddr_parse(const char *text, struct sockaddr_storage *out, socklen_t *len)
{
	char ip[INET6_ADDRSTRLEN];
	const char *begin = text, *end, *colon;
	uint16_t port;

	if (*text == '[') {
		begin++;
		end = strchr(text, ']');
		if (!end || end[1] != ':')
			return -EINVAL;
		colon = end + 1;
	} else {
		end = colon = strchr(text, ':');
		if (!colon)
			return -EINVAL;
	}
	if ((size_t)(end - begin) >= sizeof(ip) || port_parse(colon + 1, &port))
		return -EINVAL;
	memcpy(ip, begin, (size_t)(end - begin));
	ip[end - begin] = '\0';
	/* Brackets are for IPv6, and IPv6 is for brackets: else the port is ambiguous. */
	if ((*text == '[') != (strchr(ip, ':') != NULL))
		return -EINVAL;
	return sockaddr_with_port(ip, port, out, len);
}

const char *sockaddr_print(const struct sockaddr *addr, char out[SOCKADDR_TEXT_MAX])
{
	char ip[INET6_ADDRSTRLEN];
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;

	switch (addr->sa_family) {
	case AF_INET:
		memcpy(&v4, addr, sizeof(v4));
		inet_ntop(AF_INET, &v4.sin_addr, ip, sizeof(ip));
		snprintf(out, SOCKADDR_TEXT_MAX, "%s:%u", ip, ntohs(v4.sin_port));
		break;
	case AF_INET6:
		memcpy(&v6, addr, sizeof(v6));
		inet_ntop(AF_INET6, &v6.sin6_addr, ip, sizeof(ip));
		snprintf(out, SOCKADDR_TEXT_MAX, "[%s]:%u", ip, ntohs(v6.sin6_port));
		break;
	default:
		snprintf(out, SOCKADDR_TEXT_MAX, "unknown");
	}
	return out;
}

int sockaddr_bound_port(int fd)
{
	struct sockaddr_in6 at = { .sin6_family = AF_UNSPEC };
	socklen_t len = sizeof(at);

	if (getsockname(fd, (struct sockaddr *)&at, &len))
		return -errno;
	/* The port is at the same place in both families. */
	return ntohs(at.sin6_port);
}
