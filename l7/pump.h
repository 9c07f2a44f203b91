/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bodies.  Of an answer: from the backend's connection to the front, decoded, counted.  Of a request: only what needs no
 * decoding.  Both by splice(2) where both sides are plain.
 */
#ifndef L7_PUMP_H
#define L7_PUMP_H

#include <stdint.h>

struct exchange;
struct stream;

#define SPLICE_MIN 65536 /* bytes of body left: below it, system calls cost more than the copies that splice saves */

enum pump_result { PUMP_MORE, PUMP_BLOCKED, PUMP_DONE, PUMP_BAD };

enum pump_result pump(struct exchange *x);

/*
 * The rest of a request's body (*left bytes) from the client's connection to the backend's.
 *   PUMP_UP_NOT     this body, or what is left of it, is not for splice
 *   PUMP_UP_CLIENT  the client's bytes are awaited (or its end: from->eof, from->error)
 *   PUMP_UP_BACKEND the backend takes no more now: the front's pull() is called when it does
 *   PUMP_UP_DONE    all of it is on its way
 */
enum pump_up { PUMP_UP_NOT, PUMP_UP_CLIENT, PUMP_UP_BACKEND, PUMP_UP_DONE };
enum pump_up pump_up(struct exchange *x, struct stream *from, uint64_t *left);
void pump_free(struct exchange *x);

#endif
