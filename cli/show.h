/* SPDX-License-Identifier: BSD-2-Clause */
/* Views that `show` prints and others print too. */
#ifndef CLI_SHOW_H
#define CLI_SHOW_H

#include <jansson.h>

void show_status(const json_t *answer);
void show_hosts(const json_t *answer);

#endif
