/* SPDX-License-Identifier: BSD-2-Clause */
/* HTTP/2 on the client's side: refused for now. */
#include "l7/client.h"
int h2_begin(struct client *c) { (void)c; return -1; }
void h2_input(struct client *c) { (void)c; }
void h2_room(struct client *c) { (void)c; }
void h2_gone(struct client *c) { (void)c; }
void h2_drain(struct client *c) { (void)c; }
unsigned h2_active(const struct client *c) { (void)c; return 0; }
