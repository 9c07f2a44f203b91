/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The BGP speaker alone, for tests/netns/test_bgp:  announce BIRD-SOCKET
 *
 * Reads lines "ADDRESS=no|normal|graceful|keep ..." and announces that; "withdraw" takes all away and ends; the end
 * of input ends it and leaves the routes.  Prints one line for each change of status:
 *   KERNEL BIRD FRAGMENT EXPORTED UP/SESSIONS why
 */
#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "bgp/announce.h"
#include "bgp/speaker.h"

static struct event_base *base;
static struct speaker *speaker;
static struct evbuffer *input;
static bool withdraw;

static void on_status(void *ctx, const struct speaker_status *st)
{
	(void)ctx;
	printf("%d %d %d %d %u/%u %s\n", st->in_kernel, st->bird_reached, st->fragment_included, st->exported,
	       st->sessions_up, st->sessions, st->why);
	fflush(stdout);
}

static enum announce how_of(const char *word)
{
	static const char *const words[] = { "no", "normal", "graceful", "keep" };
	int i;

	for (i = 0; i < 4; i++)
		if (!strcmp(word, words[i]))
			return (enum announce)i;
	fprintf(stderr, "announce: what is %s?\n", word);
	exit(2);
}

static void want_line(char *line)
{
	struct announcement want[64];
	char *word, *how, *save = NULL;
	size_t n = 0;

	memset(want, 0, sizeof(want));
	for (word = strtok_r(line, " ", &save); word && n < 64; word = strtok_r(NULL, " ", &save)) {
		how = strchr(word, '=');
		if (how)
			*how = '\0';
		if (!how || !address_parse(&want[n].prefix, word)) {
			fprintf(stderr, "announce: %s is not ADDRESS=HOW\n", word);
			exit(2);
		}
		want[n++].how = how_of(how + 1);
	}
	if (speaker_want(speaker, want, n))
		fprintf(stderr, "announce: the kernel refused\n");
}

static void on_input(evutil_socket_t fd, short what, void *ctx)
{
	char *line;
	int got = evbuffer_read(input, fd, 4096);

	(void)what;
	(void)ctx;
	while ((line = evbuffer_readln(input, NULL, EVBUFFER_EOL_LF))) {
		if (!strcmp(line, "withdraw")) {
			withdraw = true;
			event_base_loopbreak(base);
		} else {
			want_line(line);
		}
		free(line);
	}
	if (!got)
		event_base_loopbreak(base);
}

int main(int argc, char **argv)
{
	struct pop pop = { .route_table = ROUTE_TABLE_DEFAULT, .route_protocol = ROUTE_PROTOCOL_DEFAULT };
	struct switch_conf sw = { .id = 1 };
	struct event *in;
	int err;

	if (argc != 2) {
		fprintf(stderr, "usage: announce BIRD-SOCKET\n");
		return 2;
	}
	snprintf(sw.bird_socket, sizeof(sw.bird_socket), "%s", argv[1]);
	log_open("announce", LOG_LEVEL_INFO);
	base = event_base_new();
	input = evbuffer_new();
	in = event_new(base, 0, EV_READ | EV_PERSIST, on_input, NULL);
	err = speaker_new(base, &pop, &sw, &speaker);
	if (err) {
		fprintf(stderr, "announce: %s\n", strerror(-err));
		return 1;
	}
	speaker_on_status(speaker, on_status, NULL);
	event_add(in, NULL);
	event_base_dispatch(base);
	speaker_free(speaker, withdraw);
	event_free(in);
	evbuffer_free(input);
	event_base_free(base);
	return 0;
}
