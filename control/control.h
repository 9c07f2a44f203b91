/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The controller's decisions, pure: control_step(control, event, now) -> actions.  No I/O, no clock.
 * It proposes batches of log records; a batch takes effect when the log says that it is durable
 * (CONTROL_COMMITTED).  While one is under way nothing else is decided, only noted.
 *
 * Replay: feed every record of the log through control_replay(), then the first CONTROL_TICK sets
 * going whatever an earlier run had not finished.  What is not in the log (reports, acknowledgements)
 * comes again from switches and hosts.
 */
#ifndef CONTROL_CONTROL_H
#define CONTROL_CONTROL_H

#include "base/session.h"
#include "control/report.h"
#include "control/state.h"
#include "control/store.h"

#define CONTROL_TICK_MS 20
#define CONTROL_STALL_MS 500	/* since the step before: then timers began too early, and begin anew */
#define COOKIE_FRESH_MS 60000	/* TCP_SYNCOOKIE_PERIOD: an ACK may still make a socket of it */
#define SWITCH_SILENCE_MS 3000	/* a switch unheard for this long says nothing about hosts */
#define CONDITIONS_MAX 12
#define ALARMS_MAX 16

enum control_event_kind {
	CONTROL_TICK,
	CONTROL_CONNECTED, /* role, id */
	CONTROL_GONE,	   /* role, id */
	CONTROL_ACKED,	   /* role, id, index */
	CONTROL_FAILED,	   /* role, id, index, why */
	CONTROL_REPORTED,  /* role, id, switch_report or host_report */
	CONTROL_COMMAND,   /* command */
	CONTROL_COMMITTED, /* the batch is durable */
	CONTROL_LOST,	   /* the batch never will be; why */
};

enum command_kind { COMMAND_DRAIN, COMMAND_FILL, COMMAND_APPLY };
enum object_kind { OBJECT_HOST, OBJECT_SWITCH, OBJECT_VIP };

struct command {
	enum command_kind kind;
	enum object_kind object;
	uint16_t id; /* host, switch, or position of the VIP */
	bool force, dry_run;
	const char *reason;
	const char *text; /* APPLY */
	size_t text_len;
};

struct control_event {
	enum control_event_kind kind;
	enum role role;
	uint16_t id;
	uint64_t index;
	const char *why;
	const struct switch_report *switch_report;
	const struct host_report *host_report;
	const struct command *command;
};

struct command_reply {
	bool refused, already;
	char error[WHY_MAX], remedy[WHY_MAX];
	size_t moves, evicted;
	uint32_t to[HOST_ID_MAX + 1]; /* moves by new heir */
};

struct control_actions {
	struct log_bytes record[LOG_BATCH_MAX]; /* append these; the caller frees each data */
	size_t n_records;
	bool replied; /* reply is for the command of this event; it holds once the batch is durable */
	struct command_reply reply;
};

struct alarm {
	char id[24];
	char text[WHY_MAX];
	uint64_t since_ms;
	bool seen; /* in this round */
};

struct control_switch {
	bool connected, reported, excused;
	uint64_t acked, failed, connected_ms, report_ms, behind_ms;
	char fail_why[WHY_MAX];
	uint64_t phase_ms;  /* when GRACEFUL_SHUTDOWN was acknowledged; 0: not yet */
	uint64_t out_index; /* the log says OUT at this index at the latest; 0: it does not */
	struct switch_report report;
};

struct control_host {
	bool connected, reported, excused;
	uint64_t acked, failed, report_ms, behind_ms; /* behind_ms: second steps wait for its filters since */
	char fail_why[WHY_MAX];
	struct host_report report;
	uint8_t observed;	       /* enum health */
	uint64_t down_ms, good_ms;     /* observed worse than logged, or well while logged otherwise, since; 0: not */
	uint64_t up_ms;		       /* logged up since, as far as this run knows */
	unsigned flaps;
	uint64_t clean_ms; /* in no triple of any switch since; 0: is in one */
	uint64_t out_index, spared_ms; /* the log says not IN at this index at the latest; every front end knows since; 0: not */
	uint64_t drain_ms; /* draining since, as far as this run knows; 0: not */
	double left_before, left_least;
	uint64_t left_ms, least_ms; /* when they were taken, for the estimate */
	char why[128];
};

/* A host's front end (baton-l7d): it must know whom it may still give requests to. */
struct control_edge {
	bool connected;
	uint64_t acked;
};

struct control {
	struct state state;   /* committed */
	struct state pending; /* after the batch under way */
	bool busy, replan;
	uint64_t now_ms, start_ms, evicted, pending_evicted;
	struct control_switch *sw; /* by id, POP_SWITCHES_MAX + 1 */
	struct control_host *host; /* by id, HOST_ID_MAX + 1 */
	struct control_edge *edge; /* by id of its host, HOST_ID_MAX + 1 */
	struct alarm alarm[ALARMS_MAX];
	size_t n_alarms;
};

struct condition {
	const char *id;
	char text[WHY_MAX];
	double value;
};

/* Whom a move waits for: a switch, or the host that is to become owner (switch_id 0). */
struct blocked {
	uint16_t switch_id, host_id;
	char why[WHY_MAX];
	uint64_t for_ms;
};

int control_init(struct control *c); /* 0 or -ENOMEM */
void control_free(struct control *c);
int control_replay(struct control *c, const struct record *r, char *why, size_t why_len);
/* The first record of a new log.  Only while the state is empty. */
void control_bootstrap(struct control *c, const char *text, size_t len, uint64_t now_ms, struct control_actions *a);
void control_step(struct control *c, const struct control_event *e, uint64_t now_ms, struct control_actions *a);

/* Questions about the committed state; pure. */
enum standing control_standing(const struct state *s, uint16_t host);
uint64_t control_installed(const struct control *c); /* every switch that counts has installed this index */
size_t control_blocked(const struct control *c, struct blocked *out, size_t room);
/* What is left of a drain; none and admin OUT: done (a host: safe to reboot).  Returns how many. */
size_t control_conditions(const struct control *c, enum object_kind kind, uint16_t id, struct condition out[CONDITIONS_MAX]);
double control_estimate_s(const struct control *c, uint16_t host); /* -1: not known */

#endif
