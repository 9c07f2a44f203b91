/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A program that answers clients itself, on the connections that baton-l7d hands to it: TLS and all.
 *
 *	cc answer.c -lbaton-app -lcrypto -lpthread -o answer && ./answer /run/answer.sock
 * and in pop.yaml, beside the `handoff` section:
 *	pools: [{name: answers, backends: [{host: h1, port: 8080, socket: /run/answer.sock}]}]
 *
 * It says what it was asked, by whom; GET /N answers with N octets; what is posted comes back.  What cannot be handed to it
 * (HTTP/2, large uploads) goes to port 8080 of the host as HTTP, which this example does not serve.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "app/baton_app.h"

static volatile sig_atomic_t ended;

static void on_signal(int number)
{
	(void)number;
	ended = 1;
}

/* The first n octets of body, over and over: `octets` in all. */
static int answer(struct baton_request *r, const char *type, const char *body, size_t n, size_t octets)
{
	char head[256];
	int err, len = snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %zu\r\n\r\n", type, octets);

	for (err = baton_request_write(r, head, (size_t)len); !err && octets; octets -= n) {
		n = n < octets ? n : octets;
		err = baton_request_write(r, body, n);
	}
	return err;
}

static const char *peer(const struct baton_request *r, char text[INET6_ADDRSTRLEN])
{
	struct sockaddr_in6 a = { 0 };
	socklen_t len = sizeof(a);

	if (getpeername(baton_request_socket(r), (struct sockaddr *)&a, &len))
		return "nobody";
	return inet_ntop(a.sin6_family, a.sin6_family == AF_INET ? (void *)&((struct sockaddr_in *)&a)->sin_addr : &a.sin6_addr, text,
			 INET6_ADDRSTRLEN);
}

static int serve(struct baton_request *r)
{
	static const char zeros[65536];
	char text[512], address[INET6_ADDRSTRLEN];
	size_t n, posted, octets, shown;
	const char *head = baton_request_head(r, &n), *body = baton_request_body(r, &posted);
	const char *length = strcasestr(head, "\r\nContent-Length:");
	int err;

	if (length) {
		octets = strtoul(length + 17, NULL, 10);
		err = answer(r, "application/octet-stream", body, posted, octets < posted ? octets : posted);
		baton_request_used(r, octets);
		return err;
	}
	if (sscanf(head, "GET /%*[^ /0-9]/%zu ", &octets) == 1 || sscanf(head, "GET /%zu ", &octets) == 1)
		return answer(r, "application/octet-stream", zeros, sizeof(zeros), octets);
	baton_request_certificate(r, 0, &shown);
	n = (size_t)snprintf(text, sizeof(text), "%.*s, from %s, by %s, with %zu octets of certificate\n", (int)strcspn(head, "\r"), head,
			     peer(r, address), *baton_request_server_name(r) ? baton_request_server_name(r) : "plain TCP", shown);
	return answer(r, "text/plain", text, n, n);
}

int main(int argc, char **argv)
{
	struct sigaction end = { .sa_handler = on_signal };
	struct baton_app *app = argc == 2 ? baton_app_open(argv[1]) : NULL;
	struct baton_request *r;

	if (!app) {
		fprintf(stderr, argc == 2 ? "answer: %s: %s\n" : "usage: answer SOCKET\n", argv[argc - 1], strerror(errno));
		return 2;
	}
	sigaction(SIGINT, &end, NULL);
	sigaction(SIGTERM, &end, NULL);
	while (!ended && ((r = baton_app_next(app, -1)) || errno == EINTR)) {
		if (!r)
			continue;
		if (serve(r))
			baton_request_end(r);
		else
			baton_request_return(r);
	}
	baton_app_close(app);
	return 0;
}
