/* SPDX-License-Identifier: BSD-2-Clause */
/* Internet addresses of either family, and the configuration's words for them. */
#ifndef POP_ADDRESS_H
#define POP_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/conf.h"

struct address {
	sa_family_t family; /* AF_INET or AF_INET6 */
	union {
		struct in_addr v4;
		struct in6_addr v6;
	};
};

struct endpoint {
	struct address address;
	uint16_t port; /* host byte order */
};

#define ADDRESS_TEXT 46	 /* INET6_ADDRSTRLEN */
#define ENDPOINT_TEXT 56 /* [address]:port */

bool address_parse(struct address *a, const char *text);
const char *address_print(const struct address *a, char buf[ADDRESS_TEXT]); /* returns buf; "" without a family */
int address_compare(const struct address *a, const struct address *b);	    /* v4 before v6, then by octets */
bool address_equal(const struct address *a, const struct address *b);

/* 192.0.2.1:80 or [2001:db8::1]:80 */
bool endpoint_parse(struct endpoint *e, const char *text);
const char *endpoint_print(const struct endpoint *e, char buf[ENDPOINT_TEXT]);
socklen_t endpoint_sockaddr(const struct endpoint *e, struct sockaddr_storage *ss);

extern const struct conf_type conf_address;  /* struct address */
extern const struct conf_type conf_endpoint; /* struct endpoint */

#endif
