/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Services' checks: is this host able to serve this VIP?  A check connects where clients do, to the
 * VIP's address (which is on lo), once per address; a script runs once per VIP.  A service is well
 * when all of its checks are.
 *
 * check_step() is the judgement, pure.  check_run_*() are single attempts; checks_*() runs them all.
 */
#ifndef AGENT_CHECK_H
#define AGENT_CHECK_H

#include <event2/event.h>
#include <stdbool.h>

#include "pop/pop.h"

#define CHECK_WHY_LEN 256
#define CHECK_HEAD_MAX 16384 /* bytes of an HTTP answer's head; a longer one fails the check */

/* --- judgement ----------------------------------------------------------------------------------- */
enum check_verdict { CHECK_UNDECIDED, CHECK_PASSED, CHECK_FAILED };

struct check_state {
	enum check_verdict verdict;
	uint16_t against; /* results in a row that contradict the verdict */
};

/*
 * The first result decides alone, so that a restarted agent finds a well host well; afterwards `rise`
 * good ones in a row, or `fall` bad ones, turn the verdict.  True if it turned.
 */
bool check_step(struct check_state *s, bool ok, uint16_t rise, uint16_t fall);

/* --- one attempt --------------------------------------------------------------------------------- */
struct check_run;
/* Called once, from the loop, never from within check_run_start(); the run is freed afterwards. */
typedef void check_done(void *ctx, bool ok, const char *why);

struct check_target {
	const char *vip;	 /* name */
	struct address address; /* of the VIP; unused by scripts */
	const struct vip *conf; /* scripts: all addresses, for the environment */
};

struct check_run *check_run_tcp(struct event_base *base, const struct check *c, const struct check_target *t,
				check_done *done, void *ctx);
struct check_run *check_run_script(struct event_base *base, const struct check *c, const struct check_target *t,
				   check_done *done, void *ctx);
void check_run_cancel(struct check_run *r); /* no callback */

/*
 * An HTTP/1 answer's head.  0 and *status when it is complete (interim 1xx answers are passed over),
 * -EAGAIN when more must be read, -EPROTO and why when it is none.
 */
int check_http_head(const char *buf, size_t len, uint16_t *status, char *why, size_t why_len);

/* --- all of them ---------------------------------------------------------------------------------- */
struct checks;

/* changed: some service's verdict or reason changed. */
struct checks *checks_new(struct event_base *base, void (*changed)(void *ctx), void *ctx);
void checks_free(struct checks *c);
/* Takes the VIPs of pop, which must live until the next call.  Checks that stay as they were keep their state. */
int checks_set(struct checks *c, const struct pop *pop);
/* Is the VIP (by position in pop->vip) well?  why: the first check that says no, "" when well. */
enum check_verdict checks_service(const struct checks *c, uint32_t vip, char *why, size_t why_len);
bool checks_decided(const struct checks *c); /* every check has had its first result */

#endif
