/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proof of bucket equality.  All switches of a POP must put a flow into the same bucket.  Each sees whether
 * its real forwarding path does what the log's seed and this project's hash say, and reports a digest of the
 * buckets that it found; that of the POP is named in the log (control/reference.h), and only it decides.  The proof sends real frames, sampled over families, protocols and ICMP errors, to probe
 * VIPs through the forwarding path and compares with flow_hash() computed here.
 *
 * Probe VIPs: the IPv4 dummy address (RFC 7600), and one of the discard-only prefix (RFC 6666): neither
 * is ever routed between networks.
 */
#ifndef SWITCH_PROOF_H
#define SWITCH_PROOF_H

#include "switch/fabric.h"

#define HASH_FAMILY "baton-flow/1" /* lb/flow.h; changes whenever flow_hash() or the flow of a packet does */
#define PROBE_VIP4 "192.0.0.8"
#define PROBE_VIP6 "100::ba70"
#define PROOF_FRAME_LEN 128
#define PROOF_FLOWS_MAX 16384
#define PROOF_FLOWS_FEW 64

void proof_vips(struct address vip[2]);

/*
 * Fills n frames of PROOF_FRAME_LEN to these two addresses (IPv4, IPv6) and the bucket that each must get.  Pure.  Every 2nd is IPv6, every 4th
 * an ICMP error, every 3rd UDP; addresses and ports come from a counter through a mixing function.
 */
void proof_frames(const struct address vip[2], uint8_t (*frame)[PROOF_FRAME_LEN], uint32_t *bucket, size_t n,
		  uint32_t hash_seed, uint32_t n_buckets);

/* Of the buckets that flows really get; 0: frames did not come through.  Equal fabrics have equal digests. */
struct proof_digest {
	uint64_t all; /* of all n flows */
	uint64_t few; /* of the first PROOF_FLOWS_FEW */
};

/* Sends n frames through the fabric.  0 if all buckets are right; else -errno and why.  digest may be NULL. */
int proof_run(const struct fabric_ops *ops, struct fabric *f, uint32_t hash_seed, uint32_t n_buckets, size_t n,
	      struct proof_digest *digest, char *why, size_t why_len);

/* What the digest would be if `want` were in force, without bringing it in.  0 or -errno and why. */
int proof_preview(const struct fabric_ops *ops, struct fabric *f, const struct fabric_want *want, size_t n,
		  struct proof_digest *digest, char *why, size_t why_len);

#endif
