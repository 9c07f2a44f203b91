/* SPDX-License-Identifier: BSD-2-Clause */
/* The tables by which pop.yaml's edges, pools, store, handoff and access_log are read (l7/conf.h). */
#ifndef L7_CONF_SCHEMA_H
#define L7_CONF_SCHEMA_H

#include "base/conf.h"

#define L7_EDGES_MAX 1024
#define L7_POOLS_MAX 1024
#define L7_BACKENDS_MAX 64 /* of a pool: a request remembers in one word whom it has tried */

extern const struct conf_schema edge_schema, pool_schema, store_schema, handoff_schema, access_log_schema;

struct pop;
/* Names to indices, addresses of backends on our hosts, and what no section can see alone. */
void l7_check(struct conf *c, struct pop *pop);

#endif
