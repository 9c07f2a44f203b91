/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What BIRD says on its control socket, decoded (BIRD programmer's documentation, "Command line
 * interface").  Bytes to lines, lines to protocols and routes; no I/O.
 *
 *   NNNN-text   a line of a reply that goes on        NNNN text   its last line
 *    text       (a space) another line of code NNNN   +text       asynchronous, belongs to no reply
 *   0xxx success, 1xxx 2xxx data, 8xxx runtime error, 9xxx parse error
 */
#ifndef BGP_BIRD_REPLY_H
#define BGP_BIRD_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pop/pop.h"

#define BIRD_LINE_MAX 1024 /* longer lines are cut: nothing that we look for stands so far right */
#define BIRD_NAME_MAX 64   /* SYM_MAX_LEN of BIRD */
#define BIRD_PROTOCOLS_MAX 512 /* further ones are not looked at, and bird_protocols.overflow says so */
#define BIRD_ROUTES_MAX (2 * POP_VIPS_MAX)

struct bird_line {
	int code;  /* 0..9999 */
	bool last; /* of its reply */
	const char *text;
};

struct bird_decoder {
	char buf[BIRD_LINE_MAX + 1];
	size_t len;
	int code; /* of the line before, for continuations; -1: none */
};

void bird_decoder_init(struct bird_decoder *d);
/* Calls line() for each whole line.  0, or -EPROTO at bytes that are no such reply (close the connection), or what
 * line() returned if that was not 0: then nothing more of `data` is looked at. */
int bird_decode(struct bird_decoder *d, const char *data, size_t len, int (*line)(void *ctx, const struct bird_line *l),
		void *ctx);

static inline bool bird_is_error(int code)
{
	return code >= 8000;
}

/* --- `show protocols` ---------------------------------------------------------------------------- */
enum bird_protocol_kind { BIRD_BGP, BIRD_KERNEL, BIRD_PIPE };

struct bird_protocol {
	char name[BIRD_NAME_MAX + 1];
	enum bird_protocol_kind kind;
	bool up;
	char state[64]; /* "start 21:28:16.975 Active", for the operator */
};

struct bird_protocols {
	struct bird_protocol protocol[BIRD_PROTOCOLS_MAX];
	size_t n;
	bool overflow;
};

void bird_protocols_line(struct bird_protocols *p, const struct bird_line *l);
const struct bird_protocol *bird_protocol(const struct bird_protocols *p, const char *name);

/* --- `show route ... all` ------------------------------------------------------------------------ */
struct bird_route {
	struct address prefix;
	uint8_t prefix_len;
	bool graceful_shutdown; /* carries the community 65535:0 */
};

struct bird_routes {
	struct bird_route *route; /* owned; bird_routes_free */
	size_t n, room;
	bool overflow;
};

/* 0 or -ENOMEM */
int bird_routes_line(struct bird_routes *r, const struct bird_line *l);
void bird_routes_free(struct bird_routes *r);

#endif
