/* SPDX-License-Identifier: BSD-2-Clause */
/* Questions to the controller on this machine, and how their answers and refusals are shown. */
#ifndef CLI_CALL_H
#define CLI_CALL_H

#include <jansson.h>
#include <signal.h>
#include <stdint.h>

#include "cli/options.h"

/*
 * Sends the request (takes the reference).  EXIT_DONE and *answer (caller's reference), or a status
 * after having said what went wrong; with a refusal, *answer is set too.
 */
int cli_call(json_t *request, json_t **answer);
/* The same without a word, for polling: a controller that restarts is no reason to give up. */
int cli_try(json_t *request, json_t **answer);

/* Prints the one JSON object of -j. */
void cli_json(const json_t *answer);
/* What went wrong, and the remedy (may be NULL): to stderr, and with -j as the object.  Returns status. */
int cli_fail(int status, const char *remedy, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Members by name, with what stands for an absent one. */
const char *text_of(const json_t *o, const char *key); /* "" */
double number_of(const json_t *o, const char *key);    /* 0 */
bool is_true(const json_t *o, const char *key);	       /* false */
bool is_known(const json_t *o, const char *key);       /* present and not null */

/* 0.4 s, 12 s, 3 min 20 s */
const char *spell_seconds(double s, char buf[32]);

uint64_t cli_now_ms(void);
/* ctrl-C and SIGTERM only set this from then on; cli_sleep ends early. */
extern volatile sig_atomic_t cli_interrupted;
void cli_catch_interrupt(void);
void cli_sleep(uint32_t ms);

#endif
