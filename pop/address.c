/* SPDX-License-Identifier: BSD-2-Clause */
#include "pop/address.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

bool address_parse(struct address *a, const char *text)
{
	memset(a, 0, sizeof(*a));
	if (inet_pton(AF_INET, text, &a->v4) == 1)
		a->family = AF_INET;
	else if (inet_pton(AF_INET6, text, &a->v6) == 1)
		a->family = AF_INET6;
	return a->family;
}

const char *address_print(const struct address *a, char buf[ADDRESS_TEXT])
{
	buf[0] = 0;
	if (a->family == AF_INET)
		inet_ntop(AF_INET, &a->v4, buf, ADDRESS_TEXT);
	else if (a->family == AF_INET6)
		inet_ntop(AF_INET6, &a->v6, buf, ADDRESS_TEXT);
	return buf;
}

int address_compare(const struct address *a, const struct address *b)
{
	if (a->family != b->family)
		return a->family == AF_INET || b->family == AF_INET6 ? -1 : 1;
	return memcmp(&a->v6, &b->v6, a->family == AF_INET ? 4 : 16);
}

bool address_equal(const struct address *a, const struct address *b)
{
	return address_compare(a, b) == 0;
}

static bool port_parse(uint16_t *port, const char *text)
{
	char *end;
	unsigned long v;

	if (!isdigit((unsigned char)*text))
		return false;
	v = strtoul(text, &end, 10);
	*port = (uint16_t)v;
	return !*end && v >= 1 && v <= UINT16_MAX;
}

bool endpoint_parse(struct endpoint *e, const char *text)
{
	const char *begin = text, *end;
	char host[ADDRESS_TEXT];
	bool bracket = *text == '[';

	memset(e, 0, sizeof(*e));
	if (bracket)
		begin++;
	end = strchr(begin, bracket ? ']' : ':');
	if (!end || (size_t)(end - begin) >= sizeof(host) || (bracket && end[1] != ':'))
		return false;
	memcpy(host, begin, (size_t)(end - begin));
	host[end - begin] = 0;
	return address_parse(&e->address, host) && (e->address.family == AF_INET6) == bracket &&
	       port_parse(&e->port, end + (bracket ? 2 : 1));
}

const char *endpoint_print(const struct endpoint *e, char buf[ENDPOINT_TEXT])
{
	char text[ADDRESS_TEXT];

	snprintf(buf, ENDPOINT_TEXT, e->address.family == AF_INET6 ? "[%s]:%u" : "%s:%u",
		 address_print(&e->address, text), e->port);
	return buf;
}

socklen_t endpoint_sockaddr(const struct endpoint *e, struct sockaddr_storage *ss)
{
	memset(ss, 0, sizeof(*ss));
	if (e->address.family == AF_INET) {
		struct sockaddr_in *in = (struct sockaddr_in *)ss;

		in->sin_family = AF_INET;
		in->sin_port = htons(e->port);
		in->sin_addr = e->address.v4;
		return sizeof(*in);
	} else {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ss;

		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(e->port);
		in6->sin6_addr = e->address.v6;
		return sizeof(*in6);
	}
}

/* An address that packets can be sent to and that means one machine. */
static bool usable(const struct address *a)
{
	if (a->family == AF_INET) {
		uint32_t v4 = ntohl(a->v4.s_addr);

		return v4 >> 24 && v4 >> 28 != 0xe && v4 != 0xffffffff;
	}
	return !IN6_IS_ADDR_UNSPECIFIED(&a->v6) && !IN6_IS_ADDR_MULTICAST(&a->v6) && !IN6_IS_ADDR_V4MAPPED(&a->v6);
}

static bool read_address(struct conf *c, const struct conf_node *n, const struct conf_field *f, void *at)
{
	const char *w = conf_word(c, n, f, "an address");

	if (!w)
		return false;
	if (!address_parse(at, w)) {
		conf_fault(c, n, NULL,
			   strchr(w, '/') ? "'%s' is '%s', but must be an address without a prefix length"
					  : "'%s' is '%s', but must be an IPv4 or IPv6 address",
			   f->key, w);
		return false;
	}
	if (!usable(at)) {
		conf_fault(c, n, NULL, "'%s' is %s, which is not one machine's address", f->key, w);
		return false;
	}
	return true;
}

static void print_address(const struct conf_field *f, const void *root, const void *at, char *buf, size_t len)
{
	char text[ADDRESS_TEXT];

	(void)f;
	(void)root;
	snprintf(buf, len, "%s", address_print(at, text));
}

static bool read_endpoint(struct conf *c, const struct conf_node *n, const struct conf_field *f, void *at)
{
	const char *w = conf_word(c, n, f, "an address and a port");
	struct endpoint *e = at;

	if (!w)
		return false;
	if (!endpoint_parse(e, w)) {
		conf_fault(c, n, NULL,
			   "'%s' is '%s', but must be an address and a port such as \"192.0.2.1:7430\" or \"[2001:db8::1]:7430\"",
			   f->key, w);
		return false;
	}
	if (!usable(&e->address)) {
		conf_fault(c, n, NULL, "'%s' is %s, which is not one machine's address", f->key, w);
		return false;
	}
	return true;
}

static void print_endpoint(const struct conf_field *f, const void *root, const void *at, char *buf, size_t len)
{
	char text[ENDPOINT_TEXT];

	(void)f;
	(void)root;
	snprintf(buf, len, "%s", endpoint_print(at, text));
}

const struct conf_type conf_address = { read_address, print_address, false };
const struct conf_type conf_endpoint = { read_endpoint, print_endpoint, false };
