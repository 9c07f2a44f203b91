/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whose buckets are right?  Every switch of a POP must put a flow into the same bucket.  Each reports a digest of
 * the buckets that its real forwarding path gives to sampled flows (switch/proof.h); the log names one of
 * them as the reference, and a switch whose own differs does not announce.
 *
 * A switch cannot judge alone: another version of the hash agrees with itself.  And a majority is no judge either:
 * live connections are in the buckets of whoever announces, so who came first is right, even if it computes
 * something odd.  Hence:
 *
 *   1. The reference stands as long as a switch has it, or might: one in service that has said nothing yet in
 *      this run of the controller, or whose session is down, may be the one that carries the traffic.
 *   2. Else it becomes that of the lowest id among the switches that announce,
 *   3. else that of the lowest id that has shown any.
 *
 * Switches that are out of service, or excused by an operator's force, have no say.
 */
#ifndef CONTROL_REFERENCE_H
#define CONTROL_REFERENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bucket_claim {
	uint16_t id;
	bool announcing;
	uint64_t buckets; /* as last reported; 0: not known */
};

/* Pure.  now: the reference in force, 0 for none.  claims: of the switches that have a say, in any order. */
uint64_t reference_decide(uint64_t now, const struct bucket_claim *claim, size_t n);

#endif
