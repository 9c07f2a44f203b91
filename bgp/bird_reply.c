/* SPDX-License-Identifier: BSD-2-Clause */
/* The decoder of bird_reply.h.  Fuzzed by tests/fuzz/fuzz_bird.c. */
#include "bgp/bird_reply.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void bird_decoder_init(struct bird_decoder *d)
{
	d->len = 0;
	d->code = -1;
}

static bool four_digits(const char *s)
{
	return isdigit((unsigned char)s[0]) && isdigit((unsigned char)s[1]) && isdigit((unsigned char)s[2]) &&
	       isdigit((unsigned char)s[3]);
}

static int whole_line(struct bird_decoder *d, int (*line)(void *ctx, const struct bird_line *l), void *ctx)
{
	struct bird_line l;

	d->buf[d->len] = '\0';
	if (d->buf[0] == '+')
		return 0;
	if (d->buf[0] == ' ') {
		if (d->code < 0)
			return -EPROTO;
		l = (struct bird_line){ .code = d->code, .text = d->buf + 1 };
		return line(ctx, &l);
	}
	if (d->len < 5 || !four_digits(d->buf) || (d->buf[4] != ' ' && d->buf[4] != '-'))
		return -EPROTO;
	l.code = (d->buf[0] - '0') * 1000 + (d->buf[1] - '0') * 100 + (d->buf[2] - '0') * 10 + (d->buf[3] - '0');
	l.last = d->buf[4] == ' ';
	l.text = d->buf + 5;
	d->code = l.last ? -1 : l.code; /* nothing can continue a last line */
	return line(ctx, &l);
}

int bird_decode(struct bird_decoder *d, const char *data, size_t len, int (*line)(void *ctx, const struct bird_line *l),
		void *ctx)
{
	size_t i;
	int err;

	for (i = 0; i < len; i++) {
		if (data[i] == '\n') {
			err = whole_line(d, line, ctx);
			d->len = 0;
			if (err)
				return err;
		} else if (d->len < BIRD_LINE_MAX) {
			d->buf[d->len++] = data[i];
		}
	}
	return 0;
}

/* --- `show protocols` ---------------------------------------------------------------------------- */

/* The next word of *text into word, cut to fit; *text moves past it.  False at the end of the line. */
static bool next_word(const char **text, char *word, size_t room)
{
	size_t len;

	*text += strspn(*text, " \t");
	len = strcspn(*text, " \t");
	if (!len)
		return false;
	snprintf(word, room, "%.*s", (int)len, *text);
	*text += len;
	return true;
}

/* "up1  BGP  ---  start  21:28:16.975  Active  Socket: Connection refused": columns grow with their content, and
 * the time may have a space in it, so only the first four words are relied upon. */
void bird_protocols_line(struct bird_protocols *p, const struct bird_line *l)
{
	struct bird_protocol *to;
	char name[BIRD_NAME_MAX + 2], kind[16], table[BIRD_NAME_MAX + 2], state[16];
	const char *at = l->text;
	size_t len;

	if (l->code != 1002 || !next_word(&at, name, sizeof(name)) || !next_word(&at, kind, sizeof(kind)) ||
	    !next_word(&at, table, sizeof(table)) || !next_word(&at, state, sizeof(state)))
		return;
	if (strcmp(kind, "BGP") && strcmp(kind, "Kernel") && strcmp(kind, "Pipe"))
		return;
	if (p->n == BIRD_PROTOCOLS_MAX || strlen(name) > BIRD_NAME_MAX) {
		p->overflow = true;
		return;
	}
	to = &p->protocol[p->n++];
	memcpy(to->name, name, strlen(name) + 1);
	to->kind = kind[0] == 'B' ? BIRD_BGP : kind[0] == 'K' ? BIRD_KERNEL : BIRD_PIPE;
	to->up = !strcmp(state, "up"); /* a BGP protocol is up when its session is established */
	at += strspn(at, " \t");
	snprintf(to->state, sizeof(to->state), "%s %.46s", state, at);
	for (len = strlen(to->state); len && to->state[len - 1] == ' '; len--)
		to->state[len - 1] = '\0';
}

const struct bird_protocol *bird_protocol(const struct bird_protocols *p, const char *name)
{
	size_t i;

	for (i = 0; i < p->n; i++)
		if (!strcmp(p->protocol[i].name, name))
			return &p->protocol[i];
	return NULL;
}

/* --- `show route ... all` ------------------------------------------------------------------------ */

static bool parse_prefix(const char *text, struct address *a, uint8_t *prefix_len)
{
	char word[64];
	char *slash, *end;
	unsigned long len;

	if (!next_word(&text, word, sizeof(word)))
		return false;
	slash = strchr(word, '/');
	if (!slash || !isdigit((unsigned char)slash[1]))
		return false;
	*slash = '\0';
	memset(a, 0, sizeof(*a));
	if (inet_pton(AF_INET, word, &a->v4) == 1)
		a->family = AF_INET;
	else if (inet_pton(AF_INET6, word, &a->v6) == 1)
		a->family = AF_INET6;
	else
		return false;
	len = strtoul(slash + 1, &end, 10);
	if (*end || len > (a->family == AF_INET ? 32 : 128))
		return false;
	*prefix_len = (uint8_t)len;
	return true;
}

static bool names_community(const char *text)
{
	text += strspn(text, " \t");
	return !strncmp(text, "BGP.community:", 14) || !strncmp(text, "bgp_community:", 14); /* BIRD 2, BIRD 3 */
}

/*
 * 1007 "198.51.100.80/32     blackhole [baton4 21:28:19.975] * (10)", 1012 "\tBGP.community: (65535,0)".
 * A further route to the same prefix has blanks instead of it; then the attributes are a route's that is not the best.
 */
int bird_routes_line(struct bird_routes *r, const struct bird_line *l)
{
	struct bird_route route = { .graceful_shutdown = false };

	if (l->code == 1012 && r->n && !r->overflow && names_community(l->text) && strstr(l->text, "(65535,0)"))
		r->route[r->n - 1].graceful_shutdown = true;
	if (l->code != 1007 || !parse_prefix(l->text, &route.prefix, &route.prefix_len) ||
	    isspace((unsigned char)l->text[0]))
		return 0;
	if (r->n == BIRD_ROUTES_MAX) {
		r->overflow = true;
		return 0;
	}
	if (r->n == r->room) {
		size_t room = r->room ? 2 * r->room : 16;
		struct bird_route *more = realloc(r->route, room * sizeof(*more));

		if (!more)
			return -ENOMEM;
		r->route = more;
		r->room = room;
	}
	r->route[r->n++] = route;
	return 0;
}

void bird_routes_free(struct bird_routes *r)
{
	free(r->route);
	memset(r, 0, sizeof(*r));
}
