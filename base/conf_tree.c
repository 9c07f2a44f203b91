/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * YAML text to a tree with places, by libyaml's event parser.  The events rather than libyaml's own
 * documents, because those follow aliases: here an alias is a fault before it costs anything.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/conf_tree.h"

static struct conf_node *node_new(struct conf *c, enum conf_node_kind kind, const yaml_mark_t *mark)
{
	struct conf_node *n = conf_alloc(1, sizeof(*n));

	n->kind = kind;
	n->line = (unsigned)mark->line + 1;
	n->column = (unsigned)mark->column + 1;
	n->chain = c->all;
	c->all = n;
	c->n_nodes++;
	return n;
}

/* A syntax error: libyaml cannot go on after it. */
static void syntax_fault(struct conf *c, const yaml_parser_t *p)
{
	unsigned line = (unsigned)p->problem_mark.line + 1, column = (unsigned)p->problem_mark.column + 1;
	const char *problem = p->problem ? p->problem : "not YAML";
	size_t i;

	if (p->error == YAML_READER_ERROR) { /* no mark, but an offset */
		line = column = 1;
		for (i = 0; i < p->problem_offset && i < c->len; i++) {
			column++;
			if (c->text[i] == '\n') {
				line++;
				column = 1;
			}
		}
	}
	if (p->error != YAML_READER_ERROR && conf_character_at(c, line, column) == '\t')
		conf_fault_place(c, line, column, NULL, "a tab, where YAML is indented with spaces");
	else if (p->context && p->error != YAML_READER_ERROR)
		conf_fault_place(c, line, column, NULL, "%s, %s that began on line %zu", problem, p->context,
				 p->context_mark.line + 1);
	else
		conf_fault_place(c, line, column, NULL, "%s", problem);
}

struct builder {
	struct conf_node *open[CONF_DEPTH_MAX];
	struct conf_node *last[CONF_DEPTH_MAX]; /* the child added last */
	uint32_t words[CONF_DEPTH_MAX];
	unsigned depth;
	unsigned documents;
};

static void attach(struct conf *c, struct builder *b, struct conf_node *n)
{
	struct conf_node *parent;

	if (!b->depth) {
		c->root = n;
		return;
	}
	parent = b->open[b->depth - 1];
	if (b->last[b->depth - 1])
		b->last[b->depth - 1]->next = n;
	else
		parent->child = n;
	b->last[b->depth - 1] = n;
	b->words[b->depth - 1]++;
	parent->n = parent->kind == NODE_MAP ? b->words[b->depth - 1] / 2 : b->words[b->depth - 1];
}

static bool refuse_extras(struct conf *c, const yaml_event_t *e, const yaml_char_t *anchor, const yaml_char_t *tag)
{
	unsigned line = (unsigned)e->start_mark.line + 1, column = (unsigned)e->start_mark.column + 1;

	if (anchor) {
		conf_fault_place(c, line, column, NULL, "YAML anchors are not used here: write the value out");
		return false;
	}
	if (tag) {
		conf_fault_place(c, line, column, NULL, "YAML tags are not used here: write the value alone");
		return false;
	}
	return true;
}

/* One event; false when it makes no sense to go on. */
static bool take(struct conf *c, struct builder *b, const yaml_event_t *e)
{
	struct conf_node *n;

	if (c->n_nodes > CONF_NODES_MAX) {
		conf_fault_place(c, (unsigned)e->start_mark.line + 1, (unsigned)e->start_mark.column + 1, NULL,
				 "more than %d values", CONF_NODES_MAX);
		return false;
	}
	switch (e->type) {
	case YAML_SCALAR_EVENT:
		if (!refuse_extras(c, e, e->data.scalar.anchor, e->data.scalar.tag))
			return false;
		n = node_new(c, NODE_WORD, &e->start_mark);
		n->quoted = e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
		n->word = conf_alloc(e->data.scalar.length + 1, 1);
		memcpy(n->word, e->data.scalar.value, e->data.scalar.length);
		if (strlen(n->word) != e->data.scalar.length) {
			conf_fault(c, n, NULL, "a NUL character");
			return false;
		}
		attach(c, b, n);
		return true;
	case YAML_SEQUENCE_START_EVENT:
	case YAML_MAPPING_START_EVENT:
		if (e->type == YAML_SEQUENCE_START_EVENT
			    ? !refuse_extras(c, e, e->data.sequence_start.anchor, e->data.sequence_start.tag)
			    : !refuse_extras(c, e, e->data.mapping_start.anchor, e->data.mapping_start.tag))
			return false;
		n = node_new(c, e->type == YAML_SEQUENCE_START_EVENT ? NODE_LIST : NODE_MAP, &e->start_mark);
		attach(c, b, n);
		if (b->depth == CONF_DEPTH_MAX) {
			conf_fault(c, n, NULL, "nested more than %d deep", CONF_DEPTH_MAX);
			return false;
		}
		b->open[b->depth] = n;
		b->last[b->depth] = NULL;
		b->words[b->depth] = 0;
		b->depth++;
		return true;
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		assert(b->depth); /* libyaml ends only what it began */
		b->depth--;
		return true;
	case YAML_ALIAS_EVENT:
		conf_fault_place(c, (unsigned)e->start_mark.line + 1, (unsigned)e->start_mark.column + 1, NULL,
				 "YAML aliases are not used here: write the value out");
		return false;
	case YAML_DOCUMENT_START_EVENT:
		if (b->documents++) {
			conf_fault_place(c, (unsigned)e->start_mark.line + 1, 1, NULL,
					 "a second YAML document: one file describes one POP");
			return false;
		}
		return true;
	case YAML_NO_EVENT:
	case YAML_STREAM_START_EVENT:
	case YAML_STREAM_END_EVENT:
	case YAML_DOCUMENT_END_EVENT:
		return true;
	}
	return true;
}

bool conf_tree_read(struct conf *c)
{
	struct builder b = { 0 };
	yaml_parser_t parser;
	yaml_event_t e;
	bool ok = true, end = false;

	if (c->len > CONF_TEXT_MAX) {
		conf_fault_place(c, 1, 1, NULL, "larger than %u bytes", CONF_TEXT_MAX);
		return false;
	}
	if (!yaml_parser_initialize(&parser)) {
		conf_fault_place(c, 1, 1, NULL, "out of memory");
		return false;
	}
	yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&parser, (const unsigned char *)c->text, c->len);
	while (ok && !end) {
		if (!yaml_parser_parse(&parser, &e)) {
			syntax_fault(c, &parser);
			ok = false;
			break;
		}
		ok = take(c, &b, &e);
		end = e.type == YAML_STREAM_END_EVENT;
		yaml_event_delete(&e);
	}
	yaml_parser_delete(&parser);
	if (ok && !c->root) {
		conf_fault_place(c, 1, 1, NULL, "empty");
		ok = false;
	}
	return ok;
}

void conf_tree_free(struct conf *c)
{
	while (c->all) {
		struct conf_node *n = c->all;

		c->all = n->chain;
		free(n->word);
		free(n);
	}
	c->root = NULL;
}
