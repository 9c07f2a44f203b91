/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Packets that wait while their connection moves: a queue for each flow, in the order in which they came.  Bounded in
 * number, bytes and age for each flow, and in bytes and flows for the host; what is beyond is dropped and counted, and
 * TCP sends it again.  Memory and nothing else.
 */
#ifndef L7_ROW_HELD_H
#define L7_ROW_HELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb/flow.h"

#define HELD_FLOW_PACKETS_MAX 256
#define HELD_FLOW_BYTES_MAX (512u << 10)
#define HELD_HOST_BYTES_MAX (64u << 20)
#define HELD_HOST_FLOWS_MAX 65536
#define HELD_AGE_MAX_MS 1000

struct held;

struct held_counts {
	uint64_t packets, bytes, flows; /* that wait now */
	uint64_t dropped, again; /* again: of those dropped which waited already */
};

struct held *held_new(void);
void held_free(struct held *h);

/*
 * A copy of the frame waits; false: dropped.  seq, segment: what it carries of TCP's sequence space.  One that carries what
 * waits already is not wanted: behind the first it would only be answered with one more ACK, which a client that has
 * closed meanwhile answers with a reset.
 */
bool held_add(struct held *h, const struct flow *f, const uint8_t *frame, uint32_t len, uint32_t seq, uint32_t segment, uint64_t now_ms);
/* Every packet of the flow, oldest first, to `each`, which may write into it; then it is gone. */
void held_release(struct held *h, const struct flow *f, void (*each)(void *ctx, uint8_t *frame, uint32_t len), void *ctx);
void held_drop(struct held *h, const struct flow *f);
/* Drops what has waited longer than HELD_AGE_MAX_MS. */
void held_age(struct held *h, uint64_t now_ms);

const struct held_counts *held_counts(const struct held *h);

#endif
