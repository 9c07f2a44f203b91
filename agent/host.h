/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of baton-agentd share: the host as the agent runs it.  Private to agent/. */
#ifndef AGENT_HOST_H
#define AGENT_HOST_H

#include "agent/alarms.h"
#include "agent/check.h"
#include "agent/datapath.h"
#include "agent/links.h"
#include "agent/probe.h"
#include "agent/proof.h"
#include "agent/rows_left.h"
#include "agent/rtnl.h"
#include "agent/sockets.h"
#include "agent/tcp_list.h"
#include "agent/vipset.h"
#include "base/daemon.h"
#include "base/metrics.h"
#include "control/follower.h"
#include "lb/verdict.h"

struct host {
	struct daemon *daemon;
	uint16_t self;
	char boot[17]; /* random per start */
	uint64_t started_ms;
	struct follower *follower;
	struct rtnl *rtnl, *diag;

	/* Installing the view (install.c). */
	struct alarms alarms;
	struct links_state links;
	struct filters filters;
	struct vipset vips;
	struct server_set servers;
	const struct datapath_ops *ops;
	struct datapath *datapath;
	bool datapath_lost; /* somebody took it away under us: it is opened anew */
	bool datapath_new;  /* opened, and not on every link yet */
	unsigned attached[POP_SWITCHES_MAX]; /* interfaces by number, as the data path got them */
	size_t n_attached;
	uint64_t installed, failed; /* log indices */
	bool reachable, detours_off;

	struct checks *checks;

	/* What is left (left.c). */
	struct socket_counts sockets, *per_vip;
	size_t n_per_vip;
	uint64_t proxied; /* connections of front ends to this host's servers */
	uint64_t count_due_ms, count_cost_ms;
	uint64_t cookies_sent, cookies_accepted, cookie_ms; /* counters; time of their last change, 0: never */
	bool cookies_known;

	struct tcp_list *tcp_list; /* NULL: not loadable, see list_why */
	char list_why[ALARM_LEN];
	struct prober *prober;
	struct rows_left rows;
	char rows_dir[264]; /* their pin; baton-l7d names it alike (l7/l7d.c) */
	struct proof *proof;

	uint64_t reason[REASON_MAX], detour_to[HOST_ID_MAX + 1], detour_from[HOST_ID_MAX + 1];
	struct datapath_counters counters;
};

/* install.c: bring the host to what the view says; acknowledges, or tells the controller why not. */
void host_install(struct host *h, const struct view *v, unsigned what);

/* left.c */
int host_left_open(struct host *h);
void host_left_close(struct host *h);
void host_count(struct host *h, uint64_t now_ms);
void host_proof_update(struct host *h, const struct view *v, unsigned what);

/* report.c */
json_t *host_report(struct host *h, uint64_t now_ms);
void host_read_counters(struct host *h);

/* questions.c */
/* The socket's flow as its client's packets spell it. */
struct flow host_flow(const struct tcp_iter_socket *s);
json_t *host_answer(struct host *h, const char *verb, json_t *question);

/* rows_show.c */
json_t *host_rows(struct host *h, const struct view *v, json_t *question);
/* NULL: none.  decision is changed where the row decides. */
json_t *host_row_of(struct host *h, const struct view *v, const struct flow *f, char *decision, size_t len);
json_t *host_set_detours(struct host *h, const json_t *on);

/* host_metrics.c */
void host_collect(void *ctx, struct metrics *m);

#endif
