/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The walk of a text and a schema table in step: what the text has is read by the table's types, what
 * it lacks gets its default, what the table does not know is a fault with the likely word.  Places of
 * members are kept until the end, so that checks across structs can point at the text.
 */
#include "base/conf.h"

#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/conf_tree.h"
#include "base/likely.h"

/* --- places ----------------------------------------------------------------------------------------- */

static void note_place(struct conf *c, const void *member, const struct conf_node *node)
{
	struct conf_place *p;

	c->place = conf_grow(c->place, c->n_places, &c->room_places, sizeof(*c->place));
	p = &c->place[c->n_places];
	p->member = member;
	p->node = node;
	p->order = c->n_places++;
}

static int by_member(const void *a, const void *b)
{
	const struct conf_place *x = a, *y = b;

	if (x->member != y->member)
		return (uintptr_t)x->member < (uintptr_t)y->member ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

/* A struct and its first member have one address: the member, noted later, is the better place. */
const struct conf_node *conf_where(struct conf *c, const void *member)
{
	size_t low = 0, high;

	if (!member)
		return NULL;
	if (c->n_sorted != c->n_places) {
		qsort(c->place, c->n_places, sizeof(*c->place), by_member);
		c->n_sorted = c->n_places;
	}
	high = c->n_places;
	while (low < high) { /* the first beyond */
		size_t middle = (low + high) / 2;

		if ((uintptr_t)c->place[middle].member <= (uintptr_t)member)
			low = middle + 1;
		else
			high = middle;
	}
	return low && c->place[low - 1].member == member ? c->place[low - 1].node : NULL;
}

unsigned conf_line(const struct conf_node *n)
{
	return n ? n->line : 0;
}

/* --- sets of values that must be unique, and references into them ------------------------------------- */

struct claim {
	const char *set;
	char *value;
	const struct conf_node *node;
	const uint16_t *id; /* of the struct that it names; NULL if it has none */
};

static int by_claim(const void *a, const void *b)
{
	const struct claim *x = a, *y = b;
	int d = strcmp(x->set, y->set);

	return d ? d : strcmp(x->value, y->value);
}

static struct claim *find_claim(const struct conf *c, const char *set, const char *value)
{
	const struct claim key = { .set = set, .value = (char *)(uintptr_t)value };
	void *at = tfind(&key, &c->claims, by_claim);

	return at ? *(struct claim **)at : NULL;
}

static bool claim(struct conf *c, const char *set, const char *value, const struct conf_node *node, const uint16_t *id)
{
	struct claim *there = find_claim(c, set, value), *new;

	if (there) {
		conf_fault(c, node, NULL, "%s '%s' is used already, on line %u", set, value, conf_line(there->node));
		return false;
	}
	new = conf_alloc(1, sizeof(*new));
	new->set = set;
	new->value = conf_format("%s", value);
	new->node = node;
	new->id = id;
	if (!tsearch(new, &c->claims, by_claim))
		abort();
	return true;
}

bool conf_claim(struct conf *c, const char *set, const char *value, const void *member)
{
	return claim(c, set, value, conf_where(c, member), NULL);
}

static void free_claim(void *at)
{
	struct claim *x = at;

	free(x->value);
	free(x);
}

/* twalk_r would need the visits' kind; a walk for one fault is cheap enough. */
struct likely_in_set {
	struct likely likely;
	const char *set;
};

static void offer_claim(const void *nodep, VISIT which, void *closure)
{
	const struct claim *x = *(struct claim *const *)nodep;
	struct likely_in_set *l = closure;

	if ((which == postorder || which == leaf) && !strcmp(x->set, l->set))
		likely_offer(&l->likely, x->value);
}

static void resolve_references(struct conf *c)
{
	size_t i;

	for (i = 0; i < c->n_references; i++) {
		const struct conf_reference_made *r = &c->reference[i];
		const struct claim *x = find_claim(c, r->field->refers, r->node->word);

		if (!x) {
			struct likely_in_set l = { .set = r->field->refers };

			likely_begin(&l.likely, r->node->word);
			/* A large POP with every name wrong: the first hundred faults are enough to offer words. */
			if (c->errors->n < CONF_ERRORS_MAX)
				twalk_r(c->claims, offer_claim, &l);
			conf_fault(c, r->node, l.likely.word, "there is no %s '%s'", r->field->refers, r->node->word);
		} else if (x->id) {
			*r->at = *x->id;
		}
	}
}

/* --- the walk --------------------------------------------------------------------------------------- */

static void read_struct(struct conf *c, const struct conf_node *n, const struct conf_schema *s, void *object);

static void *member_of(void *object, size_t offset)
{
	return (char *)object + offset;
}

static uint32_t *count_of(void *object, const struct conf_field *f)
{
	return member_of(object, f->count_at);
}

static void read_word(struct conf *c, const struct conf_node *n, const struct conf_field *f, void *at,
		      const uint16_t *id)
{
	char value[512];

	note_place(c, at, n);
	if (!f->type->read(c, n, f, at) || !f->unique)
		return;
	f->type->print(f, NULL, at, value, sizeof(value));
	claim(c, f->unique, value, n, id);
}

/*
 * Lists are allocated once, before their items are read, since claims, references and places point
 * into them.  Two fields that fill one array share that allocation.
 */
static void reserve(struct conf *c, const struct conf_node *map, const struct conf_schema *s,
		    const struct conf_field *f, void *object)
{
	void **array = member_of(object, f->offset);
	const struct conf_node *key;
	const struct conf_field *g;
	size_t n = 0;

	(void)c;
	if (*array)
		return;
	for (key = map->child; key && key->next; key = key->next->next)
		for (g = s->field; g->key; g++)
			if (g->offset == f->offset && key->kind == NODE_WORD && !strcmp(key->word, g->key) &&
			    key->next->kind != NODE_WORD)
				n += key->next->n;
	if (n)
		*array = conf_alloc(n, f->size);
}

static bool count_fits(struct conf *c, const struct conf_node *n, const struct conf_field *f)
{
	if (f->max && n->n > (uint64_t)f->max) {
		conf_fault(c, n, NULL, "'%s' has %u entries; at most %lld are possible", f->key, n->n, (long long)f->max);
		return false;
	}
	if ((f->required || f->min) && n->n < (uint64_t)(f->min ? f->min : 1)) {
		conf_fault(c, n, NULL, "'%s' has %u entries; at least %lld %s needed", f->key, n->n,
			   f->min ? (long long)f->min : 1, f->min > 1 ? "are" : "is");
		return false;
	}
	return true;
}

static void read_list(struct conf *c, const struct conf_node *n, const struct conf_field *f, void *object)
{
	char *array = *(void **)member_of(object, f->offset);
	const struct conf_node *item;

	if (n->kind != NODE_LIST) {
		conf_fault(c, n, NULL, "'%s' is a list: write [ ... ], or one '- ' line for each", f->key);
		return;
	}
	if (!count_fits(c, n, f))
		return;
	for (item = n->child; item; item = item->next) {
		void *at = array + f->size * (*count_of(object, f))++;

		if (f->schema)
			read_struct(c, item, f->schema, at);
		else
			read_word(c, item, f, at, NULL);
	}
}

static void read_map(struct conf *c, const struct conf_node *n, const struct conf_field *f, void *object)
{
	const struct conf_field *k = &f->schema->field[0], *v = &f->schema->field[1];
	char *array = *(void **)member_of(object, f->offset);
	const struct conf_node *item;

	if (n->kind != NODE_MAP) {
		conf_fault(c, n, NULL, "'%s' is a map: write { %s: %s, ... }", f->key, k->key, v->key);
		return;
	}
	if (!count_fits(c, n, f))
		return;
	for (item = n->child; item && item->next; item = item->next->next) {
		char *at = array + f->size * (*count_of(object, f))++;
		const struct conf_node *same;

		for (same = n->child; same != item; same = same->next->next)
			if (same->kind == NODE_WORD && item->kind == NODE_WORD && !strcmp(same->word, item->word))
				break;
		if (same != item)
			conf_fault(c, item, NULL, "'%s' is here already, on line %u", item->word, same->line);
		note_place(c, at, item);
		read_word(c, item, k, at + k->offset, NULL);
		read_word(c, item->next, v, at + v->offset, NULL);
	}
}

static void read_field(struct conf *c, const struct conf_node *map, const struct conf_node *value,
		       const struct conf_schema *s, const struct conf_field *f, void *object)
{
	void *at = member_of(object, f->offset);

	switch (f->shape) {
	case CONF_WORD:
		read_word(c, value, f, at, f->id_at ? member_of(object, f->id_at) : NULL);
		return;
	case CONF_STRUCT:
		read_struct(c, value, f->schema, at);
		return;
	case CONF_LIST:
	case CONF_MAP:
		reserve(c, map, s, f, object);
		note_place(c, at, value);
		if (f->shape == CONF_LIST)
			read_list(c, value, f, object);
		else
			read_map(c, value, f, object);
		return;
	}
}

/* Defaults go the same way as what is written, through the type's reader. */
static void read_absent(struct conf *c, const struct conf_schema *s, const struct conf_node *n,
			const struct conf_field *f, bool meant, void *object)
{
	if (f->required) {
		if (!meant)
			conf_fault(c, n, NULL, "%s has no '%s'", s->what, f->key);
	} else if (f->shape == CONF_STRUCT && !s->one_of) {
		const struct conf_node none = { .kind = NODE_MAP, .absent = true, .line = n->line, .column = n->column };

		read_struct(c, &none, f->schema, member_of(object, f->offset));
	} else if (f->unless) {
		const struct conf_node word = { .kind = NODE_WORD,
						.word = (char *)(uintptr_t)f->unless,
						.line = n->line,
						.column = n->column };

		f->type->read(c, &word, f, member_of(object, f->offset));
	}
}

static const struct conf_field *find_field(const struct conf_schema *s, const char *key)
{
	const struct conf_field *f;

	for (f = s->field; f->key; f++)
		if (!strcmp(f->key, key))
			return f;
	return NULL;
}

/* The mask of the field that was probably meant: that it is missing is the same mistake. */
static uint64_t unknown_key(struct conf *c, const struct conf_node *key, const struct conf_schema *s)
{
	const struct conf_field *f;
	struct likely l;

	likely_begin(&l, key->word);
	for (f = s->field; f->key; f++)
		likely_offer(&l, f->key);
	conf_fault(c, key, l.word, "unknown key '%s' in %s", key->word, s->what);
	return l.word ? UINT64_C(1) << (find_field(s, l.word) - s->field) : 0;
}

/* One of several: the tag says which. */
static void note_tag(struct conf *c, const struct conf_node *n, const struct conf_schema *s, const struct conf_field *f,
		     unsigned *n_tags, void *object)
{
	if ((*n_tags)++)
		conf_fault(c, n, NULL, "%s is one thing; '%s' is a second", s->what, f->key);
	else
		conf_store(member_of(object, s->tag_at), sizeof(unsigned), (uint64_t)(f - s->field));
}

static void read_struct(struct conf *c, const struct conf_node *n, const struct conf_schema *s, void *object)
{
	const struct conf_node *key, *same;
	const struct conf_field *f;
	unsigned n_tags = 0;
	uint64_t seen = 0, meant = 0; /* by position in the table */

	if (n->kind != NODE_MAP) {
		conf_fault(c, n, NULL, "%s is a map: write %s: ..., one key a line", s->what, s->field[0].key);
		return;
	}
	if (!n->absent)
		note_place(c, object, n);
	for (key = n->child; key && key->next; key = key->next->next) {
		if (key->kind != NODE_WORD) {
			conf_fault(c, key, NULL, "a key of %s is a word", s->what);
			continue;
		}
		f = find_field(s, key->word);
		if (!f) {
			meant |= unknown_key(c, key, s);
			continue;
		}
		if (seen & UINT64_C(1) << (f - s->field)) {
			for (same = n->child; same->kind != NODE_WORD || strcmp(same->word, key->word);)
				same = same->next->next;
			conf_fault(c, key, NULL, "'%s' is here already, on line %u", key->word, same->line);
			continue;
		}
		seen |= UINT64_C(1) << (f - s->field);
		if (s->one_of) {
			note_tag(c, key, s, f, &n_tags, object);
			if (n_tags > 1)
				continue;
		}
		read_field(c, n, key->next, s, f, object);
	}
	for (f = s->field; f->key && !s->one_of; f++)
		if (!(seen & UINT64_C(1) << (f - s->field)))
			read_absent(c, s, n, f, meant & UINT64_C(1) << (f - s->field), object);
	if (s->one_of && !n_tags && !n->n)
		conf_fault(c, n, NULL, "%s does not say what it is: write one key, such as %s: {...}", s->what,
			   s->field[0].key);
	if (s->check)
		s->check(c, object);
}

bool conf_read(const char *text, size_t len, const char *name, const struct conf_schema *schema, void *object,
	       void (*check)(struct conf *c, void *object), struct conf_errors *errors)
{
	struct conf c = { .text = text, .len = len, .errors = errors };

	*errors = (struct conf_errors){ .name = name };
	if (conf_tree_read(&c)) {
		read_struct(&c, c.root, schema, object);
		resolve_references(&c);
		if (check)
			check(&c, object);
	}
	conf_errors_finish(&c);
	tdestroy(c.claims, free_claim);
	free(c.reference);
	free(c.place);
	conf_tree_free(&c);
	return !errors->n;
}

void conf_release(const struct conf_schema *schema, void *object)
{
	const struct conf_field *f;

	for (f = schema->field; f->key; f++) {
		if (f->shape == CONF_STRUCT && !schema->one_of)
			conf_release(f->schema, member_of(object, f->offset));
		if (f->shape == CONF_LIST || f->shape == CONF_MAP) {
			void **array = member_of(object, f->offset);
			uint32_t i;

			for (i = 0; *array && f->schema && i < *count_of(object, f); i++)
				conf_release(f->schema, (char *)*array + f->size * i);
			free(*array);
			*array = NULL;
			*count_of(object, f) = 0;
		}
	}
}

int conf_slurp(const char *path, char **text, size_t *len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), err = 0;
	size_t have = 0, room = 65536;
	char *buf;

	if (fd < 0)
		return -errno;
	buf = malloc(room + 1);
	while (buf) {
		ssize_t got = read(fd, buf + have, room - have);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			err = -errno;
		if (got <= 0)
			break;
		have += (size_t)got;
		if (have > CONF_TEXT_MAX) {
			err = -EFBIG;
			break;
		}
		if (have == room) {
			char *bigger = realloc(buf, room * 2 + 1);

			if (!bigger)
				err = -ENOMEM;
			if (err)
				break;
			room *= 2;
			buf = bigger;
		}
	}
	if (!buf)
		err = -ENOMEM;
	close(fd);
	if (err) {
		free(buf);
		return err;
	}
	buf[have] = 0;
	*text = buf;
	*len = have;
	return 0;
}
