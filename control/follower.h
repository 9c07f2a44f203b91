/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A follower of the controller's log: what switchd and agentd stand on.  It connects to every
 * controller of the POP, verifies that each entry extends what it has (hash chain, table digest),
 * keeps the present view, caches it in the state directory (so that a restart without a controller
 * goes on where it stopped), and carries acknowledgements, reports and questions.
 */
#ifndef CONTROL_FOLLOWER_H
#define CONTROL_FOLLOWER_H

#include <event2/event.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/session.h"
#include "lb/table.h"
#include "pop/pop.h"

/* What the operator wants of a host, a switch or a VIP. */
enum admin {
	ADMIN_IN,	/* in service */
	ADMIN_DRAINING, /* host: buckets leave it.  switch: announces with GRACEFUL_SHUTDOWN */
	ADMIN_OUT,	/* host: safe to reboot.  switch: withdrawn, hosts send nothing through it.  VIP: withdrawn */
};

enum health { HEALTH_UP, HEALTH_SICK, HEALTH_DEAD };

/* Everything that the log says at one index.  Valid until the next change. */
struct view {
	uint64_t term, index;
	const struct pop *pop;
	const struct table *table;
	uint8_t host_admin[HOST_ID_MAX + 1];
	uint8_t host_health[HOST_ID_MAX + 1];
	uint8_t switch_admin[POP_SWITCHES_MAX + 1];
	uint8_t vip_admin[POP_VIPS_MAX]; /* by position in pop->vip */
	uint64_t buckets; /* digest of the buckets that every switch that announces must have; 0: nobody has shown any yet */
};

enum view_change { VIEW_POP = 1, VIEW_TABLE = 2, VIEW_HOSTS = 4, VIEW_SWITCHES = 8, VIEW_VIPS = 16 };

struct follower;
struct ticket_seed;
struct follower_question;

struct follower_ops {
	/* The view changed (at start: everything; what: enum view_change bits; one call for a batch of entries).  When it is installed, call follower_ack(view->index). */
	void (*changed)(void *ctx, const struct view *view, unsigned what);
	/* A question relayed from the operator ({"verb": "explain", ...}); answer once, now or later. */
	void (*ask)(void *ctx, json_t *question, struct follower_question *q);
	/* No controller could be reached for a while, or one can again. */
	void (*reachable)(void *ctx, bool reachable);
	/* Hosts: a controller sent its seed of session ticket keys; optional.  Valid during the call, wiped after. */
	void (*tickets)(void *ctx, const struct ticket_seed *seed);
};

/* state_dir may be NULL: nothing is cached.  boot: the local pop.yaml, for the controllers' addresses. */
int follower_new(struct event_base *base, struct tls_identity *tls, const struct pop *boot, const char *state_dir,
		 const struct follower_ops *ops, void *ctx, struct follower **out);
void follower_free(struct follower *f);

const struct view *follower_view(const struct follower *f); /* NULL before the first */
void follower_ack(struct follower *f, uint64_t index);
/* Installing failed: the controller does not go on, the operator sees `why`. */
void follower_fail(struct follower *f, uint64_t index, const char *why);
/* The latest report replaces the one before; sent at once and again on reconnect.  Takes the reference. */
void follower_report(struct follower *f, json_t *report);
/* What is wrong with the log or the controllers, for the operator; NULL when nothing is. */
const char *follower_alarm(const struct follower *f);
void follower_answer(struct follower_question *q, json_t *answer); /* takes the reference */

#endif
