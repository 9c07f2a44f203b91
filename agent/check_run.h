/* SPDX-License-Identifier: BSD-2-Clause */
/* What attempts of all kinds have in common: one time limit, and one end that is told once. */
#ifndef AGENT_CHECK_RUN_H
#define AGENT_CHECK_RUN_H

#include "agent/check.h"

struct check_run {
	struct check check;
	check_done *done;
	void *ctx;
	struct event *timer;
	bool failing; /* the end is told from the loop, with why[] */
	char why[CHECK_WHY_LEN];
	void (*timed_out)(struct check_run *r); /* ends the run */
	void (*cleanup)(struct check_run *r);	/* all but the struct itself */
};

int check_run_init(struct check_run *r, struct event_base *base, const struct check *c, check_done *done, void *ctx,
		   void (*timed_out)(struct check_run *), void (*cleanup)(struct check_run *));
/* These end the run: nothing of it may be touched afterwards. */
void check_run_pass(struct check_run *r);
void check_run_fail(struct check_run *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* As check_run_fail(), but from the loop: for faults while starting. */
void check_run_fail_soon(struct check_run *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
