/* SPDX-License-Identifier: BSD-2-Clause */
/* Identities as text.  See identity.h. */
#include "base/identity.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *const role_word[ROLES] = {
	[ROLE_CONTROLLER] = "controller", [ROLE_SWITCH] = "switch", [ROLE_HOST] = "host", [ROLE_OPERATOR] = "operator",
	[ROLE_EDGE] = "edge"};

const char *role_name(enum role role)
{
	return role_word[role];
}

int role_parse(const char *word, enum role *out)
{
	for (unsigned i = 0; i < ROLES; i++) {
		if (!strcmp(word, role_word[i])) {
			*out = (enum role)i;
			return 0;
		}
	}
	return -EINVAL;
}

bool identity_pop_ok(const char *pop)
{
	size_t n = strspn(pop, "abcdefghijklmnopqrstuvwxyz0123456789-");

	return n > 0 && n < sizeof(((struct identity *)0)->pop) && pop[n] == '\0' && pop[0] != '-' && pop[n - 1] != '-';
}

void identity_print(const struct identity *who, char out[IDENTITY_URI_MAX])
{
	snprintf(out, IDENTITY_URI_MAX, "baton://%s/%s/%u", who->pop, role_name(who->role), who->id);
}

int identity_parse(const char *uri, size_t len, struct identity *out)
{
	char text[IDENTITY_URI_MAX], again[IDENTITY_URI_MAX], role[16];
	unsigned id;

	memset(out, 0, sizeof(*out));
	if (len >= sizeof(text) || memchr(uri, '\0', len))
		return -EINVAL;
	memcpy(text, uri, len);
	text[len] = '\0';
	if (sscanf(text, "baton://%63[^/]/%15[^/]/%5u", out->pop, role, &id) != 3 || id == 0 || id > UINT16_MAX ||
	    role_parse(role, &out->role) || !identity_pop_ok(out->pop))
		return -EINVAL;
	out->id = (uint16_t)id;
	/* One spelling only: no sign, no leading zero, nothing behind. */
	identity_print(out, again);
	return strcmp(text, again) ? -EINVAL : 0;
}
