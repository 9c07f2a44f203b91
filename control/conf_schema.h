/* SPDX-License-Identifier: BSD-2-Clause */
/* The parts of pop.yaml that are the controller's: `controllers` and `policy`. */
#ifndef CONTROL_CONF_SCHEMA_H
#define CONTROL_CONF_SCHEMA_H

#include "base/conf.h"

extern const struct conf_schema controller_schema; /* struct controller_conf */
extern const struct conf_schema policy_schema;	   /* struct policy */

#endif
