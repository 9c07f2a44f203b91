/* SPDX-License-Identifier: BSD-2-Clause */
/* Monotonic time: what time-outs and deadlines are measured with.  Never the wall clock. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

uint64_t monotonic_ns(void);
uint64_t monotonic_ms(void);

#endif
