/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rows in the kernel (l7/row/flow.h), and the TAP where the packets of flows in HOLD wait.  One per process;
 * not thread-safe: the thread that moves connections owns it.  Pins live under pin_dir, which outlives
 * the process; the TAP does not.
 *
 * The TAP must be read all the time (rows_fd is readable): a packet may come late, after its row has changed, and
 * then goes at once where the row says.  Waiting packets are bounded per flow and per host (l7/row/held.h); beyond it the
 * newest is dropped and TCP repairs it, slower.
 */
#ifndef L7_ROW_ROWS_H
#define L7_ROW_ROWS_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pop/address.h"
#include "l7/row/flow.h"
#include "l7/row/held.h"

#define ROWS_PRIORITY 0xba00 /* TC filter: before the host data path's 0xba70 */

struct rows;

/* links: the host's data links; the first with carrier carries what is released from the TAP to another host. */
int rows_open(uint16_t self, const char *pin_dir, const char (*link)[IF_NAMESIZE], size_t n_links, struct rows **out,
	      char *why, size_t why_len);
void rows_close(struct rows *r, bool take_off); /* take_off: filters and pins too; else rows forward on */
/* Links that came or went.  The first error; the others work. */
int rows_set_links(struct rows *r, const char (*link)[IF_NAMESIZE], size_t n_links);

int rows_put(struct rows *r, const struct flow *f, const struct row *row); /* -E2BIG: full, nobody is evicted */
/* -ENOENT: it is gone.  The kernel removes a row when the client uses its port again: what comes after that is another connection's,
 * and a row that were put back would send it to the last one's owner. */
int rows_change(struct rows *r, const struct flow *f, const struct row *row);
/* -EEXIST: the flow has one. */
int rows_new(struct rows *r, const struct flow *f, const struct row *row);
int rows_get(struct rows *r, const struct flow *f, struct row *row);	   /* -ENOENT */
int rows_delete(struct rows *r, const struct flow *f);			   /* -ENOENT */
/* Every row, in no order, those past their deadline too; each may delete its own.  Non-zero from `each` ends it. */
int rows_each(struct rows *r, int (*each)(void *ctx, const struct flow *f, const struct row *row), void *ctx);

/* A frame as if it came from the network: goes where its flow's row says, to our own stack without one. */
void rows_inject(struct rows *r, uint8_t *frame, size_t len);

int rows_fd(const struct rows *r);
int rows_timer_fd(const struct rows *r); /* readable: rows_settle() is due */
void rows_settle(struct rows *r);
/* Reads the TAP until it is empty, or for some thousand frames: packets of flows in HOLD wait, and FINs
 * while their row settles; others go on at once. */
void rows_poll(struct rows *r, uint64_t now_ms);
/* The flow's waiting packets, oldest first, go where its row says now: forwarded, or to this host's own stack without one. */
unsigned rows_release(struct rows *r, const struct flow *f); /* how many */
void rows_drop(struct rows *r, const struct flow *f);
/* What has waited too long is dropped; links without our programs get them, and which have carrier is looked at.
 * Call it every 100 ms. */
void rows_age(struct rows *r, uint64_t now_ms);

/* --- Owners that are not on our links (l7/row/flow.h, rule 5) ----------------------------------------------------- */

struct rows_peer {
	uint16_t host;
	struct address address; /* of that host: where packets for it go, and from where it may send us some */
};

/*
 * The hosts that are reached inside IP, all of them; self: our own address of each family that is used, of which theirs
 * are the peers.  Replaces what was there; rows to a host that is no peer go by the link.  -EINVAL: some were no peers
 * (no address of ours of that family, no host id, ourselves); the others are.
 */
int rows_set_peers(struct rows *r, const struct address *self, size_t n_self, const struct rows_peer *peer, size_t n);
/* Is it a peer, to whom there is a route now?  Of any thread. */
bool rows_reach(const struct rows *r, uint16_t host);
/* The MSS that SYN-ACKs name at most while there are peers; 0: no limit. */
unsigned rows_mss(const struct rows *r, int family);

struct rows_counts {
	uint64_t kernel[FLOW_COUNTS];
	uint64_t rows; /* in the table now */
	uint64_t waiting, waiting_bytes, released, late, dropped;
	uint64_t too_big;     /* answered with an ICMP error */
	uint64_t tap_dropped; /* by the kernel: the TAP was not read in time */
};
int rows_counts(struct rows *r, struct rows_counts *out);

/* --- Another process's rows, by their pin: l7/row/rows_pinned.c (the host's agent counts and shows them) ------------ */

/* An open map of rows; -ENOENT: there is none. */
int rows_pinned_open(const char *pin_dir);
/* As rows_each(), of a map. */
int rows_each_of(int map_fd, int (*each)(void *ctx, const struct flow *f, const struct row *row), void *ctx);
bool row_lives(const struct row *row, uint64_t now_ns);

#endif
