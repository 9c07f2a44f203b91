/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A program of ours at a device's clsact hook, known by the place that it has there.  The hook itself may be
 * shared with others: it is made where it is missing and never taken away.
 */
#ifndef BASE_TC_HOOK_H
#define BASE_TC_HOOK_H

#include <stdbool.h>
#include <stdint.h>

struct tc_place {
	bool egress;
	uint32_t handle, priority;
};

/* Takes the place of what is there.  0 or -errno; -ENODEV: there is no such device. */
int tc_hook_on(int ifindex, struct tc_place at, int prog_fd);
void tc_hook_off(int ifindex, struct tc_place at);
/* The id of the program that has that place; 0: none has, or there is no such device. */
uint32_t tc_hook_holds(int ifindex, struct tc_place at);

#endif
