/* SPDX-License-Identifier: BSD-2-Clause */
/* The whole of pop.yaml, composed of the tables of control/, switch/ and agent/. */
#ifndef POP_SCHEMA_H
#define POP_SCHEMA_H

#include "base/conf.h"

extern const struct conf_schema pop_schema; /* struct pop */

/* Checks across sections, once references are resolved. */
void pop_check(struct conf *c, void *pop);

#endif
