/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What an HTTP/2 client may do that costs us more than it.  Pure: frames and the time in, the offence out.
 *
 *  - Frames that carry nothing (PING, SETTINGS, PRIORITY, WINDOW_UPDATE, RST_STREAM, empty DATA, unknown types:
 *    CVE-2019-9512, -9513, -9515, -9517, -9518): H2_NUISANCES_MAX in H2_WINDOW_MS.  Requests and bytes of bodies, in
 *    either direction, pay for them, since window updates and pings come with those.
 *  - Streams that end before their answer, whoever ends them: H2_RESETS_MAX in H2_WINDOW_MS (CVE-2023-44487, and
 *    CVE-2025-8671, where the client's errors make the server reset).  The error code does not matter.
 *  - A head in very many CONTINUATION frames (CVE-2024-27316), or one that HPACK unpacks to very much more than was
 *    announced (CVE-2016-6581).  A list that is only too long is answered with 431.
 */
#ifndef L7_HTTP_H2_GUARD_H
#define L7_HTTP_H2_GUARD_H

#include <stddef.h>
#include <stdint.h>

#define H2_WINDOW_MS 10000
#define H2_RESETS_MAX 200
#define H2_NUISANCES_MAX 1000
#define H2_REPAID 4 /* nuisances that one useful frame pays for */
#define H2_CONTINUATIONS_MAX 7 /* nghttp2 itself ends the connection at 9 */
#define H2_FIELD_COST 32 /* of a field in the list, beside its bytes (RFC 9113 6.5.2) */
#define H2_BOMB 4 /* times the announced size */

enum h2_offence { H2_FAIR, H2_RESETS, H2_FLOOD, H2_CONTINUATIONS, H2_LIST, H2_PROTOCOL, H2_OFFENCES };

struct h2_guard { /* all zero: the beginning */
	uint64_t since_ms, list;
	uint32_t resets, nuisances, continuations;
};

/* A frame's header came (RFC 9113 4.1). */
enum h2_offence h2_guard_frame(struct h2_guard *g, uint8_t type, uint64_t now_ms);
/* Bytes of a body came or went, or a request. */
void h2_guard_useful(struct h2_guard *g);
/* A stream ended before its answer did. */
enum h2_offence h2_guard_reset(struct h2_guard *g, uint64_t now_ms);
/* A field of n bytes, name and value.  *too_long: the list is longer than list_max, so 431. */
enum h2_offence h2_guard_field(struct h2_guard *g, size_t n, uint64_t list_max, int *too_long);
const char *h2_offence_text(enum h2_offence o);

#endif
