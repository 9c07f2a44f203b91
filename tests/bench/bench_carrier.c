// SPDX-License-Identifier: BSD-2-Clause
/*
 * A bare round trip on the channel that moves go by: a letter that asks for nothing, and the answer to it, between two
 * programs with the daemon's own carrier (mutual TLS).
 *
 *     bench_carrier SELF OWN-ADDRESS PEER PEER-ADDRESS CERTIFICATES [N]
 *
 * SELF and PEER: host ids, of which the lower one opens the session.  With N: asks so often, and prints how long each
 * took, ns.  Without: answers, until its standard input ends.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/identity.h"
#include "l7/handoff/carrier.h"

#define PORT 7499
#define PATIENCE_S 30

struct bare {
	struct event_base *base;
	struct carrier *carrier;
	uint16_t peer;
	unsigned long left;
	uint64_t asked_ns;
};

static void ask(struct bare *b)
{
	struct move_letter l = {.type = LETTER_STATUS, .ingress = b->peer, .e = 1, .cid = 1, .to_inc = 1, .serial = b->left};

	b->asked_ns = monotonic_ns();
	if (carrier_send(b->carrier, b->peer, &l))
		event_base_loopbreak(b->base);
}

static void on_up(void *ctx, uint16_t host, uint64_t inc)
{
	struct bare *b = ctx;

	(void)host, (void)inc;
	if (b->left)
		ask(b);
}

static void on_down(void *ctx, uint16_t host)
{
	(void)ctx, (void)host;
}

static bool on_letter(void *ctx, uint16_t host, uint64_t inc, const struct move_letter *l)
{
	struct move_letter answer = {.type = LETTER_GONE, .why = GONE_UNKNOWN, .ingress = l->ingress, .e = l->e, .cid = l->cid};
	struct bare *b = ctx;

	(void)inc;
	if (l->type == LETTER_STATUS) {
		carrier_send(b->carrier, host, &answer);
		return true;
	}
	printf("%llu\n", (unsigned long long)(monotonic_ns() - b->asked_ns));
	if (--b->left)
		ask(b);
	else
		event_base_loopbreak(b->base);
	return true;
}

static const struct carrier_ops ops = {on_up, on_down, on_letter};

static void ended(evutil_socket_t fd, short what, void *ctx)
{
	struct bare *b = ctx;
	char byte;

	(void)what;
	if (read(fd, &byte, 1) <= 0)
		event_base_loopbreak(b->base);
}

static struct sockaddr_in at(const char *address)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(PORT)};

	if (inet_pton(AF_INET, address, &a.sin_addr) != 1) {
		fprintf(stderr, "bench_carrier: %s: not an IPv4 address\n", address);
		exit(2);
	}
	return a;
}

int main(int argc, char **argv)
{
	struct tls_identity *tls;
	struct sockaddr_in own, peer;
	struct event *input = NULL;
	struct bare b = {0};
	char why[512];
	int err;

	if (argc < 6) {
		fprintf(stderr, "usage: bench_carrier SELF OWN-ADDRESS PEER PEER-ADDRESS CERTIFICATES [N]\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	own = at(argv[2]);
	peer = at(argv[4]);
	b.peer = (uint16_t)atoi(argv[3]);
	b.left = argc > 6 ? strtoul(argv[6], NULL, 10) : 0;
	b.base = event_base_new();
	if (tls_identity_load(argv[5], &tls, why, sizeof(why))) {
		fprintf(stderr, "bench_carrier: %s\n", why);
		return 1;
	}
	err = carrier_new(b.base, tls, (struct sockaddr *)&own, sizeof(own), 1, CARRIER_WINDOW, &ops, &b, &b.carrier);
	if (!err)
		err = carrier_peer(b.carrier, b.peer, (struct sockaddr *)&peer, sizeof(peer));
	if (err) {
		fprintf(stderr, "bench_carrier: %s\n", strerror(-err));
		return 1;
	}
	if (b.left) {
		event_base_loopexit(b.base, &(struct timeval){.tv_sec = PATIENCE_S});
	} else {
		input = event_new(b.base, 0, EV_READ | EV_PERSIST, ended, &b);
		event_add(input, NULL);
	}
	event_base_dispatch(b.base);
	if (input)
		event_free(input);
	carrier_free(b.carrier);
	tls_identity_free(tls);
	event_base_free(b.base);
	return b.left ? 1 : 0;
}
