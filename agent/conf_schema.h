/* SPDX-License-Identifier: BSD-2-Clause */
/* An entry of `hosts` in pop.yaml, and of a VIP's `checks`, which hosts run. */
#ifndef AGENT_CONF_SCHEMA_H
#define AGENT_CONF_SCHEMA_H

#include "base/conf.h"

extern const struct conf_schema host_schema;  /* struct host_conf */
extern const struct conf_schema check_schema; /* struct check */

#endif
