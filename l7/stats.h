/* SPDX-License-Identifier: BSD-2-Clause */
/* Counters and histograms of one worker: written by it alone, read by the main thread without a lock. */
#ifndef L7_STATS_H
#define L7_STATS_H

#include <stdint.h>

#include "l7/http/h2_guard.h"
#include "l7/handoff/move_policy.h"
#include "l7/handoff/move_wire.h"
#include "l7/tls/cert_fact.h"

#define STATS_BOUNDS 16 /* of a histogram: 50 us, doubled each time, up to 1.6 s */
#define STATS_BOUND_FIRST_US 50

enum phase { PHASE_HANDSHAKE, PHASE_HEAD, PHASE_QUEUE, PHASE_CONNECT, PHASE_ANSWER, PHASE_TOTAL, PHASES };

/* Of a move.  S: its row holds and it is out of the kernel; the offer is under way; the answer is here; all of it.  R: it
 * lives here, from the offer's arrival; the first byte of its request's answer, from the same. */
enum move_phase {
	MOVE_PHASE_EXPORT,
	MOVE_PHASE_OFFER,
	MOVE_PHASE_ANSWER,
	MOVE_PHASE_HELD,
	MOVE_PHASE_IMPORT,
	MOVE_PHASE_FIRST,
	MOVE_PHASES
};
#define STATS_MOVE_FIRST_US 2 /* of those histograms; up to 65 ms */

struct histogram {
	uint64_t count[STATS_BOUNDS + 1], sum_us;
};

struct stats {
	uint64_t accepted, closed, refused_full;    /* client connections */
	uint64_t handshakes, handshakes_failed, resumed;
	uint64_t certificates[CERT_OUTCOMES];	    /* of clients, where edges ask for them */
	uint64_t requests[3];			    /* HTTP/1.0, 1.1, 2 */
	uint64_t answers[6];			    /* by first digit; [0]: none was given */
	uint64_t refused;			    /* requests that were not forwarded: malformed, no route, too large */
	uint64_t retries, retries_denied, no_backend, queued, queue_full, cut; /* cut: an answer ended in its middle */
	uint64_t backend_connects, backend_reuses, backend_failures, backend_handshakes_failed;
	uint64_t timeouts_head, timeouts_idle, timeouts_body, timeouts_backend;
	uint64_t h2_offences[H2_OFFENCES];	    /* HTTP/2 connections ended for what the client did */
	uint64_t bytes_in, bytes_out, spliced, spliced_in;
	/* TLS of the kernel (l7/tls/ktls.h): connections that began it, or could not; octets of bodies; answers after which the
	 * connection ended because its key could not be renewed; requests whose connection could not move for it. */
	uint64_t ktls_begun, ktls_denied, ktls_bytes, ktls_ended, ktls_stayed;
	uint64_t tunnels;
	uint64_t log_lost;
	uint64_t active;			    /* requests now */
	struct histogram phase[PHASES];
	/* Hand-off: decisions by reason; moves that S began, by how they ended; that R took, or refused by why; that ended
	 * because nobody reached them. */
	uint64_t move_reasons[REASONS];
	uint64_t moves_given, moves_resumed, moves_lost, moves_taken, moves_refused[REFUSE_REASONS], moves_ended;
	uint64_t apps_given, apps_returned; /* connections that programs of this host got, and gave back */
	uint64_t sessions; /* with other hosts, now */
	struct histogram move_phase[MOVE_PHASES];
};

void stats_observe(struct stats *s, enum phase phase, uint64_t ns);
void stats_move(struct stats *s, enum move_phase phase, uint64_t ns); /* 0: was not measured */

#define stats_add(field, n) __atomic_store_n(&(field), (field) + (uint64_t)(n), __ATOMIC_RELAXED)
#define stats_inc(field) stats_add(field, 1)

#endif
