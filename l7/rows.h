/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rows in the kernel (l7/flow.h), and the TAP where the packets of flows in HOLD wait.  One per process;
 * not thread-safe: the thread that moves connections owns it.  Pins live under pin_dir, which outlives
 * the process; the TAP does not.
 *
 * The TAP must be read all the time (rows_fd is readable): a packet may come late, after its row has changed, and
 * then goes at once where the row says.  Waiting packets are bounded per flow and per host; beyond it the newest
 * is dropped and TCP repairs it, slower.
 */
#ifndef L7_ROWS_H
#define L7_ROWS_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "l7/flow.h"

#define ROWS_PRIORITY 0xba00		 /* TC filter: before the host data path's 0xba70 */
#define ROWS_FLOW_PACKETS_MAX 256
#define ROWS_FLOW_BYTES_MAX (512u << 10)
#define ROWS_HOST_BYTES_MAX (64u << 20)
#define ROWS_AGE_MAX_MS 1000

struct rows;

/* links: the host's data links; the first carries what is released from the TAP to another host. */
int rows_open(uint16_t self, const char *pin_dir, const char (*link)[IF_NAMESIZE], size_t n_links, struct rows **out,
	      char *why, size_t why_len);
void rows_close(struct rows *r, bool take_off); /* take_off: filters and pins too; else rows forward on */

int rows_put(struct rows *r, const struct flow *f, const struct row *row); /* -E2BIG: full */
int rows_get(struct rows *r, const struct flow *f, struct row *row);	   /* -ENOENT */
int rows_delete(struct rows *r, const struct flow *f);			   /* -ENOENT */

/* A frame as if it came from the network: goes where its flow's row says, to our own stack without one. */
void rows_inject(struct rows *r, uint8_t *frame, size_t len);

int rows_fd(const struct rows *r);
/* Reads the TAP until it is empty: packets of flows in HOLD wait, others go on at once. */
void rows_poll(struct rows *r, uint64_t now_ms);
/* The flow's waiting packets go where its row says now: forwarded, or to this host's own stack without one. */
void rows_release(struct rows *r, const struct flow *f);
void rows_drop(struct rows *r, const struct flow *f);
/* What has waited too long is dropped. */
void rows_age(struct rows *r, uint64_t now_ms);

struct rows_counts {
	uint64_t kernel[FLOW_COUNTS];
	uint64_t waiting, waiting_bytes, released, late, dropped;
};
int rows_counts(struct rows *r, struct rows_counts *out);

#endif
