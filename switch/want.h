/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From what the log says (a view) to what this switch must hold (a fabric_want).  Pure: no I/O, no
 * clock.  Links enter as a list of which ports have carrier; everything else is in the view.
 *
 * Bridge rows lead to the owner's port.  Where that port has no carrier (or this switch has none for
 * that host), they lead to the port of a peer switch that the host is wired to.
 */
#ifndef SWITCH_WANT_H
#define SWITCH_WANT_H

#include <stdbool.h>

#include "control/follower.h"
#include "switch/fabric.h"

/* The vMAC of a bucket that nobody owns: router_mac(0) has no bridge row, so its packets are dropped. */
#define WANT_NOBODY_SWITCH 0

/*
 * carrier[i] belongs to self->port[i].  0, or -ENOMEM; -EINVAL when the view's table does not have the
 * POP's number of buckets.  *out is overwritten; free it with fabric_want_free.
 */
int want_make(const struct view *view, const struct switch_conf *self, const bool *carrier, struct fabric_want *out);

/* The port that frames for `host` leave by, or NULL when no way is known. */
const struct switch_port *want_port(const struct pop *pop, const struct switch_conf *self, const bool *carrier,
				    uint16_t host);

/* Rows are sorted by address; NULL if there is none. */
const struct fdb_row *fabric_want_row(const struct fabric_want *w, const uint8_t mac[6]);

#endif
