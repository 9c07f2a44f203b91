/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The letters of a move, as bytes.  Two baton-l7d exchange them in a session (l7/handoff/carrier.h), one letter in one message;
 * numbered rules in docs/formats.md.  All numbers are big-endian.
 *
 *    0 u8 version (1)      1 u8 why                 2 be16 ingress (host id of I)
 *    4 be32 e              8 be64 cid
 *   16 be64 to_inc (OFFER, STATUS: whom it was offered to; else 0)
 *   24 be64 serial (OFFER, STATUS; else 0)
 *   32 OFFER only: sections, each be16 section, be16 zero, be32 length, bytes; ascending, at most one of each
 *
 * The first 32 octets are the same in every version, so that an offer which cannot be read can be refused.
 * Sections are opaque here: their owners write and read them.  Session keys are among them: whoever makes or takes
 * a letter wipes it.
 */
#ifndef L7_HANDOFF_MOVE_WIRE_H
#define L7_HANDOFF_MOVE_WIRE_H

#include <stddef.h>
#include <stdint.h>

#define MOVE_VERSION 1
#define MOVE_HEAD_LEN 32
#define MOVE_SECTION_HEAD 8
#define MOVE_LETTER_MAX (1u << 20) /* of an OFFER with all its sections */

/* Also the message's type in its session. */
enum move_letter_type {
	LETTER_OFFER = 1,
	LETTER_STATUS,
	LETTER_ACCEPT,
	LETTER_REFUSE, /* why: enum move_refusal */
	LETTER_ROW,    /* why: enum move_row_word */
	LETTER_GONE,   /* why: enum move_gone */
	LETTER_TYPES
};

enum move_refusal {
	REFUSE_BUSY = 1,    /* load, or a table is full */
	REFUSE_DRAINING,
	REFUSE_VERSION,	    /* a letter or a section that is not understood */
	REFUSE_STATE,	    /* a section that its owner does not take */
	REFUSE_SOCKET,	    /* the connection could not be restored */
	REFUSE_BACKEND,	    /* nobody here answers that */
	REFUSE_NEVER_SEEN,  /* to STATUS */
	REFUSE_REASONS
};
enum move_row_word { ROW_TELLS = 1, ROW_CONFIRMS };
enum move_gone { GONE_UNKNOWN = 1, GONE_NO_ROW, GONE_ENDED };

enum move_section {
	SECTION_TCP,	     /* l7/tcp_move; not there where the descriptor itself is passed */
	SECTION_TLS,	     /* l7/record: RECORD_STATE; not there: plain TCP */
	SECTION_RAW_IN,	     /* received, not yet opened: partial TLS records */
	SECTION_PLAIN_IN,    /* opened, not yet used: a request's body, pipelined requests; with HEAD, what follows it */
	SECTION_RAW_OUT,     /* sealed, not yet in the socket: never sealed again */
	SECTION_HEAD,	     /* the request that is to be answered, as it was read; not there: none has been */
	SECTION_SNI,
	SECTION_ALPN,
	SECTION_CERTIFICATE, /* l7/tls/cert_fact: what was asked of the client, what it showed; not there: nothing was asked */
	SECTION_HISTORY,     /* be32 moves, be64 requests, be64 age in ms, be64 octets transferred, u8 enum move_reason */
	SECTIONS
};

struct move_bytes {
	const uint8_t *p;
	uint32_t n; /* 0: the section is not there */
};

struct move_letter {
	enum move_letter_type type;
	uint8_t why;
	uint16_t ingress;
	uint32_t e;
	uint64_t cid, to_inc, serial;
	struct move_bytes section[SECTIONS];
};

/* How long a section may be. */
uint32_t move_section_max(enum move_section section);
/* The length of a letter; 0: a section, or all of it, is too long. */
size_t move_letter_len(const struct move_letter *l);
/* Writes move_letter_len() octets. */
void move_letter_put(const struct move_letter *l, uint8_t *out);
/*
 * Sections point into `p`.  0; -EPROTONOSUPPORT: another version, or a section that is not known: cid, e, to_inc, serial
 * are there, to refuse it by; -EPROTO: not a letter.
 */
int move_letter_get(uint16_t type, const uint8_t *p, size_t n, struct move_letter *l);

const char *move_letter_name(enum move_letter_type type);
const char *move_refusal_name(uint8_t why);

#endif
