/* SPDX-License-Identifier: BSD-2-Clause */
/* The body of an answer, from the backend's connection to the front: decoded, counted, by splice(2) where both sides are plain. */
#ifndef L7_PUMP_H
#define L7_PUMP_H

struct exchange;

#define SPLICE_MIN 65536 /* bytes of body left: below it, system calls cost more than the copies that splice saves */

enum pump_result { PUMP_MORE, PUMP_BLOCKED, PUMP_DONE, PUMP_BAD };

enum pump_result pump(struct exchange *x);
void pump_free(struct exchange *x);

#endif
