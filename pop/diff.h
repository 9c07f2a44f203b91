/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What leads from one POP to another, in the words that `baton apply` shows (docs/formats.md, apply).
 * Some things are fixed while a POP lives, because every switch must hash alike all the time: such a
 * change is in the list with `fixed`, and is refused.
 */
#ifndef POP_DIFF_H
#define POP_DIFF_H

#include <jansson.h>

#include "pop/pop.h"

enum pop_change_op { POP_ADD, POP_CHANGE, POP_REMOVE };

struct pop_change {
	enum pop_change_op op;
	char kind[16];	     /* pop, policy, controller, switch, host or vip */
	char name[NAME_LEN]; /* of the object; of the setting where there is one object only */
	char *text;	     /* "weight 100 -> 50"; "" for what is added or removed as a whole */
	bool fixed;
};

struct pop_changes {
	struct pop_change *change;
	size_t n;
};

void pop_diff(const struct pop *from, const struct pop *to, struct pop_changes *out);
void pop_changes_free(struct pop_changes *c);
/* The first that cannot be made while the POP lives, or NULL. */
const struct pop_change *pop_changes_refused(const struct pop_changes *c);
json_t *pop_changes_json(const struct pop_changes *c);

/* All of it, defaults filled in. */
json_t *pop_to_json(const struct pop *pop);

#endif
