/* SPDX-License-Identifier: BSD-2-Clause */
/* sd_notify(3) by hand: lines such as "READY=1" to the socket in $NOTIFY_SOCKET.  Nothing without one. */
#ifndef BASE_NOTIFY_H
#define BASE_NOTIFY_H

#include <stdint.h>

/* 1 told, 0 no service manager asks, -errno. */
int notify_send(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* How often the service manager wants to hear WATCHDOG=1 of this process, in µs; 0: it does not. */
uint64_t notify_watchdog_us(void);

#endif
