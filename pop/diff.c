/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * conf_diff() names what changed by a path: "host h1: weight", "policy floor", or "host" for one that
 * is added or removed.  Here a path becomes kind, name and text.  Names hold neither blank nor colon.
 */
#include "pop/diff.h"

#include <stdlib.h>
#include <string.h>

#include "pop/schema.h"

static char *text_of(const char *what, const char *was, const char *is)
{
	const char *blank = *what ? " " : "";
	char *text;
	int n;

	if (!was)
		n = asprintf(&text, "%s%s%s added", what, blank, is);
	else if (!is)
		n = asprintf(&text, "%s%s%s removed", what, blank, was);
	else
		n = asprintf(&text, "%s%s%s -> %s", what, blank, *was ? was : "none", *is ? is : "none");
	if (n < 0)
		abort();
	return text;
}

static void copy(char *to, size_t size, const char *from, size_t len)
{
	snprintf(to, size, "%.*s", (int)len, from);
}

static void from_conf(const struct conf_change *x, struct pop_change *out)
{
	size_t kind = strcspn(x->path, " ");
	const char *rest = x->path + kind, *colon;

	copy(out->kind, sizeof(out->kind), x->path, kind);
	out->fixed = x->fixed;
	if (!*rest) { /* an object as a whole */
		out->op = x->was ? POP_REMOVE : POP_ADD;
		copy(out->name, sizeof(out->name), x->was ? x->was : x->is, NAME_LEN - 1);
		out->text = strdup("");
		if (!out->text)
			abort();
		return;
	}
	rest++;
	out->op = POP_CHANGE;
	colon = strchr(rest, ':');
	if (colon) {
		copy(out->name, sizeof(out->name), rest, (size_t)(colon - rest));
		out->text = text_of(colon + 2, x->was, x->is);
	} else {
		copy(out->name, sizeof(out->name), rest, strlen(rest));
		out->text = text_of("", x->was, x->is);
	}
}

void pop_diff(const struct pop *from, const struct pop *to, struct pop_changes *out)
{
	struct conf_changes c;
	size_t i;

	conf_diff(&pop_schema, from, to, &c);
	out->n = c.n;
	out->change = calloc(c.n ? c.n : 1, sizeof(*out->change));
	if (!out->change)
		abort();
	for (i = 0; i < c.n; i++)
		from_conf(&c.change[i], &out->change[i]);
	conf_changes_free(&c);
}

void pop_changes_free(struct pop_changes *c)
{
	size_t i;

	for (i = 0; i < c->n; i++)
		free(c->change[i].text);
	free(c->change);
	c->change = NULL;
	c->n = 0;
}

const struct pop_change *pop_changes_refused(const struct pop_changes *c)
{
	size_t i;

	for (i = 0; i < c->n; i++)
		if (c->change[i].fixed)
			return &c->change[i];
	return NULL;
}

json_t *pop_changes_json(const struct pop_changes *c)
{
	static const char *const op[] = { [POP_ADD] = "add", [POP_CHANGE] = "change", [POP_REMOVE] = "remove" };
	json_t *list = json_array();
	size_t i;

	for (i = 0; i < c->n; i++) {
		const struct pop_change *x = &c->change[i];
		json_t *entry = json_pack("{s:s, s:s, s:s, s:s}", "op", op[x->op], "kind", x->kind, "name", x->name,
					  "text", x->text);

		if (x->fixed)
			json_object_set_new(entry, "fixed", json_true());
		json_array_append_new(list, entry);
	}
	return list;
}

json_t *pop_to_json(const struct pop *pop)
{
	return conf_to_json(&pop_schema, pop, pop);
}
