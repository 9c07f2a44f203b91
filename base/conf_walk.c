/* SPDX-License-Identifier: BSD-2-Clause */
/* What else a schema table is good for: two structs compared, one turned into JSON. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/conf_tree.h"

#define WORD_MAX 512

struct walk {
	const void *from, *to; /* the outermost structs: references print names */
	struct conf_changes *out;
	size_t room;
};

static const void *member(const void *object, size_t offset)
{
	return (const char *)object + offset;
}

static const char *items(const void *object, const struct conf_field *f)
{
	return *(const char *const *)member(object, f->offset);
}

static uint32_t count(const void *object, const struct conf_field *f)
{
	return *(const uint32_t *)member(object, f->count_at);
}

/* Two fields may fill one array (a switch's ports and peers): an item is the field's if its reference is set. */
static bool belongs(const struct conf_field *f, const char *item)
{
	const struct conf_field *v;

	if (f->shape != CONF_MAP)
		return true;
	assert(f->schema);
	v = &f->schema->field[1];
	return v->type != &conf_reference || *(const uint16_t *)member(item, v->offset);
}

/* --- JSON ------------------------------------------------------------------------------------------- */

static json_t *word_json(const struct conf_field *f, const void *root, const void *at)
{
	char buf[WORD_MAX];

	f->type->print(f, root, at, buf, sizeof(buf));
	if (f->type == &conf_boolean)
		return json_boolean(*buf == 't');
	if (f->type->number)
		return json_integer((json_int_t)conf_fetch(at, f->size));
	return json_string(buf);
}

static json_t *map_json(const struct conf_field *f, const void *root, const void *object)
{
	const struct conf_field *k = &f->schema->field[0], *v = &f->schema->field[1];
	json_t *map = json_object();
	uint32_t i;

	for (i = 0; i < count(object, f); i++) {
		const char *item = items(object, f) + f->size * i;
		char key[WORD_MAX];

		if (!belongs(f, item))
			continue;
		k->type->print(k, root, member(item, k->offset), key, sizeof(key));
		json_object_set_new(map, key, word_json(v, root, member(item, v->offset)));
	}
	return map;
}

static json_t *list_json(const struct conf_field *f, const void *root, const void *object)
{
	json_t *list = json_array();
	uint32_t i;

	for (i = 0; i < count(object, f); i++) {
		const char *item = items(object, f) + f->size * i;

		json_array_append_new(list,
				      f->schema ? conf_to_json(f->schema, root, item) : word_json(f, root, item));
	}
	return list;
}

/* Optional, without a default, and not given: no word says that. */
static bool absent(const struct conf_field *f, const void *object)
{
	const char *p = member(object, f->offset);
	size_t i;

	if ((f->shape == CONF_LIST || f->shape == CONF_MAP) && f->min && !f->required)
		return !count(object, f);
	if (f->shape != CONF_WORD || f->required || f->unless)
		return false;
	for (i = 0; i < f->size; i++)
		if (p[i])
			return false;
	return true;
}

/* What conf_read() makes the same struct of. */
json_t *conf_to_json(const struct conf_schema *schema, const void *root, const void *object)
{
	json_t *map = json_object();
	const struct conf_field *f;

	for (f = schema->field; f->key; f++) {
		json_t *value = NULL;

		if (schema->one_of &&
		    conf_fetch(member(object, schema->tag_at), sizeof(unsigned)) != (uint64_t)(f - schema->field))
			continue;
		if (absent(f, object))
			continue;
		switch (f->shape) {
		case CONF_WORD: value = word_json(f, root, member(object, f->offset)); break;
		case CONF_STRUCT: value = conf_to_json(f->schema, root, member(object, f->offset)); break;
		case CONF_LIST: value = list_json(f, root, object); break;
		case CONF_MAP: value = map_json(f, root, object); break;
		}
		json_object_set_new(map, f->key, value);
	}
	return map;
}

/* --- differences ------------------------------------------------------------------------------------ */

/* Takes path; was and is are copied. */
static void change(struct walk *w, char *path, const char *was, const char *is, bool fixed)
{
	struct conf_change *x;

	w->out->change = conf_grow(w->out->change, w->out->n, &w->room, sizeof(*x));
	x = &w->out->change[w->out->n++];
	x->path = path;
	x->was = was ? conf_format("%s", was) : NULL;
	x->is = is ? conf_format("%s", is) : NULL;
	x->fixed = fixed;
}

/* What a list's item is called: its name, or itself. */
static char *item_key(const struct conf_field *f, const void *root, const void *item)
{
	const struct conf_field *k = f;
	char buf[WORD_MAX];

	if (f->schema) {
		k = f->schema->field;
		if (f->schema->one_of || k->shape != CONF_WORD) {
			json_t *whole = conf_to_json(f->schema, root, item);
			char *text = json_dumps(whole, JSON_COMPACT | JSON_SORT_KEYS);
			char *key = conf_format("%s", text ? text : "");

			free(text);
			json_decref(whole);
			return key;
		}
		item = member(item, k->offset);
	}
	k->type->print(k, root, item, buf, sizeof(buf));
	return conf_format("%s", buf);
}

/* Edges of one VIP, routes of one host: items may be called alike.  How many before this one are? */
static unsigned namesakes(const struct conf_field *f, const void *root, const void *object, uint32_t before, const char *key)
{
	unsigned n = 0;
	uint32_t i;

	for (i = 0; i < before; i++) {
		const char *item = items(object, f) + f->size * i;
		char *other = belongs(f, item) ? item_key(f, root, item) : NULL;

		n += other && !strcmp(other, key);
		free(other);
	}
	return n;
}

/* The one of that name which so many namesakes precede. */
static const void *find_item(const struct conf_field *f, const void *root, const void *object, const char *key, unsigned nth)
{
	const void *found = NULL;
	uint32_t i;

	for (i = 0; i < count(object, f) && !found; i++) {
		const char *item = items(object, f) + f->size * i;
		char *other = belongs(f, item) ? item_key(f, root, item) : NULL;

		if (other && !strcmp(other, key) && !nth--)
			found = item;
		free(other);
	}
	return found;
}

static void diff_struct(struct walk *w, const struct conf_schema *s, const void *from, const void *to,
			const char *path);

static void diff_word(struct walk *w, const struct conf_field *f, const void *from, const void *to, char *path)
{
	char was[WORD_MAX], is[WORD_MAX];

	f->type->print(f, w->from, from, was, sizeof(was));
	f->type->print(f, w->to, to, is, sizeof(is));
	if (strcmp(was, is))
		change(w, path, was, is, f->fixed);
	else
		free(path);
}

static void diff_items(struct walk *w, const struct conf_field *f, const void *from, const void *to, const char *path)
{
	const char *label = f->schema && f->shape == CONF_LIST ? f->schema->what : f->key;
	uint32_t i;

	for (i = 0; i < count(from, f); i++) {
		const char *item = items(from, f) + f->size * i;
		char *key = belongs(f, item) ? item_key(f, w->from, item) : NULL, *below;
		const void *other;
		unsigned nth;

		if (!key)
			continue;
		nth = namesakes(f, w->from, from, i, key);
		other = find_item(f, w->to, to, key, nth);
		below = nth ? conf_format("%s%s %s#%u", path, label, key, nth + 1) : conf_format("%s%s %s", path, label, key);
		if (!other) {
			change(w, conf_format("%s%s", path, label), key, NULL, f->fixed);
		} else if (f->shape == CONF_MAP) {
			const struct conf_field *v = &f->schema->field[1];

			diff_word(w, v, member(item, v->offset), member(other, v->offset), conf_format("%s", below));
		} else if (f->schema && !f->schema->one_of) {
			char *inner = conf_format("%s: ", below);

			diff_struct(w, f->schema, item, other, inner);
			free(inner);
		}
		free(below);
		free(key);
	}
	for (i = 0; i < count(to, f); i++) {
		const char *item = items(to, f) + f->size * i;
		char *key = belongs(f, item) ? item_key(f, w->to, item) : NULL;

		if (key && !find_item(f, w->from, from, key, namesakes(f, w->to, to, i, key)))
			change(w, conf_format("%s%s", path, label), NULL, key, f->fixed);
		free(key);
	}
}

static void diff_struct(struct walk *w, const struct conf_schema *s, const void *from, const void *to,
			const char *path)
{
	const struct conf_field *f;

	for (f = s->field; f->key; f++) {
		char *below;

		switch (f->shape) {
		case CONF_WORD:
			diff_word(w, f, member(from, f->offset), member(to, f->offset), conf_format("%s%s", path, f->key));
			break;
		case CONF_STRUCT:
			below = conf_format("%s%s ", path, f->key);
			diff_struct(w, f->schema, member(from, f->offset), member(to, f->offset), below);
			free(below);
			break;
		case CONF_LIST:
		case CONF_MAP:
			diff_items(w, f, from, to, path);
			break;
		}
	}
}

void conf_diff(const struct conf_schema *schema, const void *from, const void *to, struct conf_changes *out)
{
	struct walk w = { .from = from, .to = to, .out = out };

	*out = (struct conf_changes){ 0 };
	diff_struct(&w, schema, from, to, "");
}

void conf_changes_free(struct conf_changes *c)
{
	size_t i;

	for (i = 0; i < c->n; i++) {
		free(c->change[i].path);
		free(c->change[i].was);
		free(c->change[i].is);
	}
	free(c->change);
	c->change = NULL;
	c->n = 0;
}
