/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * VIP addresses on lo.  Ours carry our protocol number (IFA_PROTO); an address that the operator put
 * there himself serves as well and is never removed.
 */
#ifndef AGENT_VIPS_H
#define AGENT_VIPS_H

#include "agent/alarms.h"
#include "agent/rtnl.h"
#include "pop/pop.h"

/* Adds what is missing, removes what is ours and no longer wanted.  0, or -errno and an alarm. */
int vips_apply(struct rtnl *n, uint8_t protocol, const struct vip *vip, size_t n_vips, struct alarms *alarms);

#endif
