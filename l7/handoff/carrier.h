/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Carries the letters of moves between the baton-l7d of a POP: one session (base/session.h, mutual TLS) for each pair of
 * hosts, which the host with the lower id opens.  It begins with a greeting of each side: version, incarnation, and how
 * many octets of offers it takes at once (its window).  Offers that the peer has not yet taken never exceed its window:
 * a peer that stands still is refused further offers here (-EAGAIN: the request is proxied) and costs no memory.
 *
 *   GREETING (message type 16): 0 u8 version | 1 [3] zero | 4 be32 window | 8 be64 incarnation | 16 be16 workers
 *   CREDIT   (message type 17): 0 be32 octets of offers that were taken since
 *   LEAVING  (message type 18): 0 u8 0: this process ends, offer it nothing more; 1: understood, nothing more will come
 *
 * A session that comes up replaces the one before, so that no letter of an ended session arrives late; letters before the
 * greeting are dropped.  Runs in one loop.
 */
#ifndef L7_HANDOFF_CARRIER_H
#define L7_HANDOFF_CARRIER_H

#include <stdbool.h>

#include "base/session.h"
#include "l7/handoff/move_wire.h"

#define CARRIER_WINDOW (8u << 20)
#define CARRIER_GREETING 16
#define CARRIER_CREDIT 17
#define CARRIER_LEAVING 18

struct carrier;

struct carrier_ops {
	void (*up)(void *ctx, uint16_t host, uint64_t inc); /* of our version */
	void (*down)(void *ctx, uint16_t host);
	/* The letter is valid during the call, and wiped by whoever took its keys.  For an OFFER, false: not done with it yet:
	 * carrier_taken() follows, with the letter's length. */
	bool (*letter)(void *ctx, uint16_t host, uint64_t inc, const struct move_letter *l);
};

/* self: our host id.  inc: our incarnation, not 0.  addr: where we listen (for peers of lower id). */
int carrier_new(struct event_base *base, struct tls_identity *tls, const struct sockaddr *addr, socklen_t len, uint64_t inc,
		uint32_t window, const struct carrier_ops *ops, void *ctx, struct carrier **out);
void carrier_free(struct carrier *c);
/* How many workers this process has, and that one (0: it did not say).  For who is told what differs. */
void carrier_set_workers(struct carrier *c, uint16_t workers);
uint16_t carrier_workers(const struct carrier *c, uint16_t host);
int carrier_port(const struct carrier *c);
/* A host of the POP, from its configuration; others are refused.  Again with another address: moves there. */
int carrier_peer(struct carrier *c, uint16_t host, const struct sockaddr *addr, socklen_t len);
void carrier_forget(struct carrier *c, uint16_t host);

/*
 * 0: it is on its way, or it is lost with the session, of which down() tells.  Else nothing of it was sent: -ENOTCONN;
 * -EPROTONOSUPPORT: a peer of another version; -ESHUTDOWN: it ends, and takes no offers; -EAGAIN: its window is full; -ENOBUFS;
 * -EMSGSIZE.
 */
int carrier_send(struct carrier *c, uint16_t host, const struct move_letter *l);
void carrier_taken(struct carrier *c, uint16_t host, uint64_t inc, size_t n);
uint64_t carrier_inc(const struct carrier *c, uint16_t host); /* 0: no session, or another version */
bool carrier_takes(const struct carrier *c, uint16_t host);   /* offers: a session, with a process that does not end */
/* This process ends: peers, and those whose sessions come up from now on, are told to offer nothing more. */
void carrier_leave(struct carrier *c);
/* Peers have understood, and have all that was sent: sessions may end. */
bool carrier_may_end(const struct carrier *c);

struct carrier_counts {
	uint64_t sent[LETTER_TYPES], received[LETTER_TYPES];
	uint64_t full;	    /* offers that the peer's window had no room for */
	uint64_t malformed; /* letters dropped */
	uint64_t foreign;   /* greetings of another version */
};
const struct carrier_counts *carrier_counts(const struct carrier *c);

/* --- On one host: the descriptor itself ----------------------------------------------------------------------
 *
 * A UNIX socket of type SEQPACKET, one letter in one message: be16 type, the letter, and for an OFFER the connection's
 * descriptor (SCM_RIGHTS) in place of its TCP section.
 */
int carrier_local_pair(int fd[2]);    /* for tests and for a child; 0 or -errno */
bool carrier_local_trusted(int fd);   /* the other end is root, or our own user */
/* 0; -EAGAIN: its queue is full; -EMSGSIZE; -EPIPE and others: the other end is gone.  descriptor -1: none.  The descriptor
 * stays open here: it is closed when the other side has accepted. */
int carrier_local_send(int fd, const struct move_letter *l, int descriptor);
/* 1: a letter, its sections in `room` (MOVE_LETTER_MAX + 2); *descriptor is the caller's, or -1.  0: the other end has
 * closed.  -EAGAIN; -EPROTO: dropped, its descriptors closed. */
int carrier_local_receive(int fd, uint8_t *room, size_t n, struct move_letter *l, int *descriptor);

#endif
