/* SPDX-License-Identifier: BSD-2-Clause */
/* baton-controld's own parts; nobody else includes this. */
#ifndef CONTROL_CONTROLD_H
#define CONTROL_CONTROLD_H

#include "base/ctl.h"
#include "base/daemon.h"
#include "base/metrics.h"
#include "control/control.h"
#include "control/ticket_seed.h"

#define HISTORY_MAX 4096 /* records kept in memory: what followers catch up from, and `show log` */
#define PEERS_MAX 4200
#define ASK_TIMEOUT_MS 2000

/* history.c: the latest records as they were written. */
struct entry {
	uint8_t *bytes;
	size_t len;
	struct record r; /* points into bytes */
	uint64_t at_ms;	 /* 0: of an earlier run */
};

struct kept_text {
	uint64_t index;
	char *text;
	size_t len;
};

struct history {
	struct entry entry[HISTORY_MAX];
	size_t first, n;
	struct kept_text config[CONFIGS_KEPT];
	size_t n_configs;
};

void history_add(struct history *h, const uint8_t *bytes, size_t len, uint64_t now_ms);
void history_keep_config(struct history *h, const struct record *r);
const struct entry *history_at(const struct history *h, uint64_t index); /* NULL: not kept */
const struct kept_text *history_config(const struct history *h, uint64_t index);
void history_free(struct history *h);

/* One follower that is connected. */
struct peer {
	struct controller *c;
	struct session *session;
	struct identity who;
	bool following; /* HELLO answered: gets new records */
	json_t *report;	/* the latest, as it came */
	struct peer *next;
};

/* A question on its way: to be answered when all have, or in 2 s. */
struct inquiry {
	struct controller *c;
	uint64_t id;
	struct ctl_request *request;
	unsigned missing;
	bool switches; /* asked too */
	json_t *answers; /* by "role/id" */
	struct event *timeout;
	struct inquiry *next;
};

#define MOVE_BUCKETS 8 /* of the histogram of move times */

/* How long operators' moves take: from the command to the second step on the last switch. */
struct move_clock {
	bool running;
	uint64_t began_ns, done_ns, last_ns; /* CLOCK_MONOTONIC; last_ns: how long the last one took */
	uint64_t count, sum_ns, bucket[MOVE_BUCKETS + 1];
};

extern const double move_bucket_seconds[MOVE_BUCKETS];

struct controller {
	struct daemon d;
	struct control core;
	struct log *log;
	struct history history;
	struct session_listener *listener;
	struct ctl_server *ctl;
	struct peer *peers;
	struct inquiry *inquiries;
	struct event *tick;
	uint64_t next_inquiry, started_ms, refused_bytes, lost, last_lost_log_ms;
	int append_err;
	struct move_clock moves;
	struct ticket_seed tickets; /* drawn when the first host comes; period_s 0 until then */
};

/* controld.c: one event through the core, and what follows from it until it rests. */
void controller_step(struct controller *c, struct control_event *e, struct command_reply *reply);

/* server.c */
int server_start(struct controller *c, char *why, size_t why_len);
void server_stop(struct controller *c);
void server_broadcast(struct controller *c, const uint8_t *bytes, size_t len);
struct peer *server_peer(const struct controller *c, enum role role, uint16_t id);
/* Relays a question; the request is answered later. only: host id, or HOST_NONE for all. */
void server_ask(struct controller *c, json_t *question, bool switches, uint16_t only, struct ctl_request *r);

/* verbs.c, show.c */
void verbs_handle(void *ctx, const char *verb, json_t *args, struct ctl_request *r);
json_t *show_status(struct controller *c);
json_t *show_what(struct controller *c, const char *what, json_t *args); /* NULL: unknown */
json_t *show_drain(struct controller *c, enum object_kind kind, uint16_t id);
const char *host_word(const struct controller *c, uint16_t id);
void metrics_write(void *ctx, struct metrics *m);

#endif
