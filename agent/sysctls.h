/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Kernel settings without which a VIP on several unnumbered links misbehaves.  What belongs to one of
 * our links is set; what the whole machine shares is only checked, and the alarm says how to set it.
 */
#ifndef AGENT_SYSCTLS_H
#define AGENT_SYSCTLS_H

#include "agent/alarms.h"

void sysctls_link(const char *ifname, struct alarms *alarms);
void sysctls_elsewhere(const char *ifname, struct alarms *alarms); /* an interface of a host elsewhere */
void sysctls_machine(struct alarms *alarms);

#endif
