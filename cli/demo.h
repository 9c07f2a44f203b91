/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * `baton demo`, split by noun: demo_verb.c the words, demo.c the scenario, demo_child.c the programs it runs and listens to,
 * demo_watch.c what the controller says meanwhile, demo_witness.c whether those who testify are alive,
 * demo_answers.c which hosts answer, demo_verdict.c what it all shows, demo_view.c what is drawn.
 */
#ifndef CLI_DEMO_H
#define CLI_DEMO_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { DEMO_DRAINS_MAX = 32, DEMO_CHILDREN_MAX = 8, DEMO_BUCKETS_MAX = 4096, DEMO_HOSTS_MAX = 64, DEMO_PATH = 512, DEMO_LONG_CONNECTIONS = 200 };

/* A program that runs while the demo looks on.  Each line of its output goes to line(). */
struct child {
	pid_t pid; /* 0: free */
	int fd;	   /* its stdout (and stderr, for steps); -1 at end of file */
	int status; /* wait(2)'s, once ended */
	bool ended, told; /* told: to end, by us */
	const char *name;
	void (*line)(void *ctx, const char *text);
	void *ctx;
	char buf[16384];
	size_t len;
};

struct demo_drain {
	char what[80];
	double begun_s, seconds; /* seconds < 0: not ended */
};

/* How a host's front end has answered, over all of its lives. */
enum { ANSWER_PROXIED, ANSWER_HERE, ANSWER_GIVEN, ANSWER_RESUMED, ANSWER_LOST, ANSWER_TAKEN, ANSWER_REFUSED, ANSWER_RESET, DEMO_ANSWERS };
struct demo_answers {
	uint64_t before[DEMO_ANSWERS], now[DEMO_ANSWERS]; /* of lives that have ended; of this one */
};

struct demo_host {
	char name[32], admin[16], health[8];
	int owned, sheltered, sockets;
	struct demo_answers answers;
	uint64_t mine, detoured, kept_off; /* packets; kept_off: would have been detoured, but detours were off */
};

struct demo_switch {
	char name[32], admin[16], fabric[16];
	bool announcing;
};

/* What a witness has said: how many counts, when the latest, and whether that was its last. */
struct demo_heard {
	uint64_t counts;
	double at_s;
	bool last;
};

struct demo_load {
	uint64_t requests, ok, failed, connections, tls, open, broken, p99_ms;
	uint64_t least_open, most_in_second;
	json_t *ok_by_host; /* host's name: answers that say they are of its server; NULL: not heard yet */
	double second_s; /* when the second began that most_in_second is of; 0: begin anew */
	json_t *causes; /* of what failed: counts by what was said, as load.c has them; NULL: nothing was heard yet */
	struct demo_heard heard;
};

struct demo {
	char pop[DEMO_PATH], dir[DEMO_PATH], tools[DEMO_PATH], self[DEMO_PATH], controller[DEMO_PATH];
	const char *prefix;
	struct child children[DEMO_CHILDREN_MAX];
	struct child *short_load, *long_load, *wiretap;
	struct demo_load brief, lasting;
	struct demo_heard wire_heard;
	double witnesses_s; /* since when they must all be well; 0: they need not */
	char doubt[120];    /* which of them was not, and how; empty: none */
	uint64_t resets;
	unsigned n_buckets, n_hosts, n_switches;
	uint8_t owner[DEMO_BUCKETS_MAX]; /* host number; 0: none */
	bool history[DEMO_BUCKETS_MAX];
	struct demo_host host[DEMO_HOSTS_MAX];
	struct demo_switch sw[8];
	struct demo_drain drain[DEMO_DRAINS_MAX];
	unsigned n_drains;
	double begun_s;
	char step[200], said[200];
	bool tty;
	double drawn_s, asked_s, answers_s;
	bool handoff, quick; /* connections move; one host is drained and no more */
	json_t *verdict; /* as in build/demo.json; NULL: there is none yet */
};

double demo_now_s(void);

/* demo.c: raises the POP, plays the scenario, removes the POP; an exit status. */
int demo_run(struct demo *d);

/* demo_child.c.  NULL and a message when it cannot be started. */
struct child *demo_start(struct demo *d, const char *name, const char *const *argv, void (*line)(void *, const char *), void *ctx);
/* Looks on for at most ms; false when interrupted, or when a witness is unwell (which has then been said). */
bool demo_pump(struct demo *d, int ms);
/* Runs a program to its end while looking on; its exit status, or -1: demo_pump was false, 124: timed out. */
int demo_step(struct demo *d, int timeout_s, const char *const *argv);
void demo_end(struct child *c, int signal_number);
void demo_end_all(struct demo *d);
extern volatile int demo_interrupted;

/* demo_watch.c: asks the controller, at most four times a second. */
void demo_watch(struct demo *d);
json_t *demo_ask(struct demo *d, json_t *request);
struct demo_drain *demo_drain_begins(struct demo *d, const char *kind, const char *name);
struct demo_host *demo_host(struct demo *d, const char *name);
void demo_load_line(void *ctx, const char *text); /* ctx: struct demo_load */
void demo_wire_line(void *ctx, const char *text); /* ctx: struct demo */

/* What the load had met at one moment. */
struct toll {
	uint64_t requests, failed, connections, tls, broken, resets;
};

struct outcome {
	struct toll drains, control;
	uint64_t mine, detoured;
	uint64_t answered, due; /* short requests in the drains; due: by rate and time */
	uint64_t least_open;	/* long connections, over all drains */
	uint64_t answers[DEMO_ANSWERS]; /* until the control began */
	bool handoff;
	double seconds;
	char causes[240];	/* of what failed until the control began, as words */
	char why[600];		/* it is no proof; empty: it is one */
};

/* demo_answers.c: who answers, asked once a second */
void demo_watch_answers(struct demo *d);
uint64_t demo_answers(const struct demo_host *h, int which);
uint64_t demo_answered(const struct demo *d, const char *host); /* what clients have seen: answers of its server */
void demo_answers_all(const struct demo *d, uint64_t sum[DEMO_ANSWERS]);
double demo_direct_share(const uint64_t sum[DEMO_ANSWERS]); /* of answers: not through another host */
void demo_answers_table(const struct demo *d);
json_t *demo_answers_json(const struct demo *d, const uint64_t sum[DEMO_ANSWERS]);

/* demo_verdict.c */
void demo_print_table(const struct demo *d, const struct outcome *o, unsigned n_drains);
int demo_write_json(struct demo *d, const struct outcome *o, unsigned n_drains, bool passed);
/* Whether nothing broke, and whether it would have been seen if something had; says what is missing. */
bool demo_proven(struct outcome *o);

/* demo_witness.c */
void demo_witnesses_begin(struct demo *d); /* from now on all three must be well */
bool demo_witnesses_well(struct demo *d);
bool demo_witnesses_end(struct demo *d); /* tells them to end; false, and a message, if one was unwell to its last word */
void demo_least_open(struct demo_load *l, double now); /* at each of its counts */
void demo_causes(const struct demo *d, char *out, size_t size); /* why requests failed so far; empty: none did */

/* demo_view.c */
void demo_draw(struct demo *d, bool now);
void demo_says(struct demo *d, const char *fmt, ...) __attribute__((format(printf, 2, 3))); /* a new step */

#endif
