/* SPDX-License-Identifier: BSD-2-Clause */
/* Between the files of the pure controller; nobody else includes this. */
#ifndef CONTROL_CORE_H
#define CONTROL_CORE_H

#include "control/control.h"

/* batch.c: records are appended to c->pending, a copy of the state; a batch is kept or dropped whole. */
struct batch {
	struct control *c;
	struct control_actions *a;
	size_t evicted;
};
int batch_begin(struct batch *b, struct control *c, struct control_actions *a);
int batch_config(struct batch *b, const char *reason, const char *text, size_t len, char *why, size_t why_len);
int batch_changes(struct batch *b, const char *reason, const struct change *change, size_t n);
int batch_moves(struct batch *b, const char *reason, const struct move *move, size_t n);
int batch_settled(struct batch *b, uint64_t installed);
/* Plans for the standings of c->pending and appends the moves.  As table_step; plan->move is freed by the caller
 * (NULL: not wanted, plan is only filled in). */
int batch_rebalance(struct batch *b, const char *reason, bool forced, struct table_plan *plan);
int batch_event(struct batch *b, const char *reason, struct table_event *e, struct table_plan *plan);
void batch_drop(struct batch *b);
void batch_keep(struct batch *b); /* an empty batch is dropped */

/* health.c */
void health_note(struct control *c);			/* observes; every step */
void health_judge(struct control *c, struct batch *b); /* appends changes of health and their moves */
void alarm_raise(struct control *c, const char *id, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
uint64_t weight_total(const struct state *s);
uint64_t weight_serving(const struct state *s);

/* drain.c: what follows by itself */
void drain_progress(struct control *c, struct batch *b);
bool switch_counts(const struct control *c, uint16_t id);

/* command.c */
void command_run(struct control *c, const struct command *cmd, struct control_actions *a);

#endif
