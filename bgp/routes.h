/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Our announcements as kernel routes: blackholes of our protocol number in our table.  Nothing looks
 * that table up (no rule names it), so what a route there says is only read by BIRD.  A blackhole has
 * no device and so survives what happens to links; the kernel deletes other routes when the bridge
 * loses carrier.
 *
 * Reconciled, never remembered: each call reads what is there.  Every row of our protocol in our table
 * is ours; others' rows are not touched.
 */
#ifndef BGP_ROUTES_H
#define BGP_ROUTES_H

#include "bgp/speaker.h"

#define METRIC_NORMAL 100
#define METRIC_GRACEFUL_SHUTDOWN 200

struct route_row {
	struct address prefix;
	uint8_t prefix_len;
	uint8_t type; /* RTN_BLACKHOLE */
	uint32_t metric;
};

struct route_change {
	struct route_row row;
	bool add; /* else delete */
};

struct routes;

/* A netlink socket in the present network namespace.  0 or -errno. */
int routes_open(uint32_t table, uint8_t protocol, struct routes **out);
void routes_close(struct routes *r);

/* What is there.  *row is the caller's to free. */
int routes_read(struct routes *r, struct route_row **row, size_t *n);

/*
 * What must change, additions first: while the metric of a prefix changes both routes exist, so that
 * BIRD never sees it gone.  `want` is sorted (announcements_sort); `change` has room for n_have + n_want.
 * Pure.  0 or -ENOMEM.
 */
int routes_diff(const struct route_row *have, size_t n_have, const struct announcement *want, size_t n_want,
		struct route_change *change, size_t *n);

/* Reads, compares, applies.  *n_changed: rows that were not as wanted.  0 or the first -errno (the rest is tried). */
int routes_reconcile(struct routes *r, const struct announcement *want, size_t n, size_t *n_changed);

#endif
