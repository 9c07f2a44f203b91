/* SPDX-License-Identifier: BSD-2-Clause */
/* An entry of `switches` in pop.yaml. */
#ifndef SWITCH_CONF_SCHEMA_H
#define SWITCH_CONF_SCHEMA_H

#include "base/conf.h"

extern const struct conf_schema switch_schema; /* struct switch_conf */

#endif
