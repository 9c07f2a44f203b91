/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How far a roll has come: one JSON file, replaced as a whole after every step, so that --resume goes
 * on with the step that did not finish.
 *   {"exec": "systemctl reboot", "hosts": ["h1", "h2"], "next": 1, "step": "exec",
 *    "done": [{"host": "h1", "drain_s": 3.1, "exec_s": 0.2, "fill_s": 1.0}]}
 */
#ifndef CLI_ROLL_STATE_H
#define CLI_ROLL_STATE_H

#include <jansson.h>
#include <stdbool.h>

enum roll_step { ROLL_DRAIN, ROLL_EXEC, ROLL_FILL, ROLL_STEPS };

json_t *roll_state_new(json_t *hosts, const char *exec); /* takes hosts; exec may be NULL */
/* NULL with *err 0 if there is none; NULL with *err -errno, or -EBADMSG if it is no state of a roll. */
json_t *roll_state_load(const char *path, int *err);
int roll_state_save(const char *path, const json_t *state); /* 0 or -errno; durable */

const char *roll_state_host(const json_t *state); /* the present one; NULL when all are done */
enum roll_step roll_state_step(const json_t *state);
const char *roll_state_exec(const json_t *state); /* or NULL */
/* The present step took that long: on to the next, or to the next host. */
void roll_state_advance(json_t *state, double seconds);

#endif
