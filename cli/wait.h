/* SPDX-License-Identifier: BSD-2-Clause */
/* Waiting for what the controller does: shared by drain, fill and roll. */
#ifndef CLI_WAIT_H
#define CLI_WAIT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct waiting {
	const char *kind, *name;
	uint32_t timeout_ms; /* 0: for ever */
	bool quiet;	     /* no progress */
	json_t *last;	     /* the last answer; the caller drops it */
	double seconds;	     /* how long it took */
};

/*
 * Until the drain is over: EXIT_DONE only if the controller says that it is safe.  Else EXIT_TIMEOUT,
 * EXIT_INTERRUPTED, EXIT_REFUSED or (somebody filled it meanwhile) EXIT_FAILED; nothing is undone.
 * What the outcome is has been said, but for EXIT_INTERRUPTED.
 */
int wait_for_drain(struct waiting *w);

/* Until it serves again: a host in, up and with its buckets; a switch or VIP announced. */
int wait_for_service(struct waiting *w);

#endif
