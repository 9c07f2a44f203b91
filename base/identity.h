/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who a process of the POP is: its POP, its role and its id.  A certificate carries it as its one
 * URI subject alternative name (RFC 5280 section 4.2.1.6): baton://POP/ROLE/ID.
 */
#ifndef BASE_IDENTITY_H
#define BASE_IDENTITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IDENTITY_URI_MAX 128 /* with the NUL */

/* ROLE_EDGE: the front end of the host of that id; it has a session of its own beside the agent's. */
enum role { ROLE_CONTROLLER, ROLE_SWITCH, ROLE_HOST, ROLE_OPERATOR, ROLE_EDGE };
#define ROLES 5

struct identity {
	char pop[64]; /* a DNS label: a-z, 0-9 and '-' inside */
	enum role role;
	uint16_t id; /* from 1 */
};

const char *role_name(enum role role);		     /* "controller", "switch", ... */
int role_parse(const char *word, enum role *out);    /* 0 or -EINVAL */
bool identity_pop_ok(const char *pop);
void identity_print(const struct identity *who, char out[IDENTITY_URI_MAX]);
/* Exactly what identity_print writes, else -EINVAL; len bytes, without a NUL. */
int identity_parse(const char *uri, size_t len, struct identity *out);

#endif
