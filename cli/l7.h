/* SPDX-License-Identifier: BSD-2-Clause */
/* Questions to the front end on this machine (l7d.sock in --run DIR). */
#ifndef CLI_L7_H
#define CLI_L7_H

#include <stdbool.h>
#include <stdint.h>

bool l7_knows(const char *what); /* pools, backends, connections, moves */
int l7_show(const char *what, uint32_t limit);
int l7_explain(const char *url, const char *method, const char *client);

#endif
