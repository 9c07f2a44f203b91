/* SPDX-License-Identifier: BSD-2-Clause */
/* The tree of a YAML text, and the faults found in it.  Private to base/conf*.c. */
#ifndef BASE_CONF_TREE_H
#define BASE_CONF_TREE_H

#include "base/conf.h"

enum conf_node_kind { NODE_WORD, NODE_LIST, NODE_MAP };

struct conf_node {
	enum conf_node_kind kind;
	bool absent; /* stands for a map that is not in the text: no place */
	bool quoted;
	unsigned line, column; /* from 1 */
	char *word;	       /* NODE_WORD */
	struct conf_node *next; /* sibling; in a map keys and values alternate */
	struct conf_node *child;
	uint32_t n; /* children; of a map: pairs */
	struct conf_node *chain; /* every node of the text, for freeing */
};

struct conf_place {
	const void *member;
	const struct conf_node *node;
	size_t order;
};

struct conf_reference_made {
	const struct conf_node *node;
	const struct conf_field *field;
	uint16_t *at;
};

struct conf {
	const char *text;
	size_t len;
	struct conf_errors *errors;
	size_t n_more; /* faults beyond CONF_ERRORS_MAX */
	struct conf_node *root;
	struct conf_node *all;
	size_t n_nodes;
	void *claims; /* tsearch tree of struct claim */
	struct conf_reference_made *reference;
	size_t n_references, room_references;
	struct conf_place *place;
	size_t n_places, room_places, n_sorted;
};

/* Reads the text into c->root; false after a fault. */
bool conf_tree_read(struct conf *c);
void conf_tree_free(struct conf *c);
void conf_fault_place(struct conf *c, unsigned line, unsigned column, const char *likely, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));
/* The first octet of the character there, or NUL. */
char conf_character_at(const struct conf *c, unsigned line, unsigned column);
void conf_errors_finish(struct conf *c);
/* Room for one more in a growing array; aborts when memory is gone, as every allocation here does. */
void *conf_grow(void *array, size_t n, size_t *room, size_t item);
void *conf_alloc(size_t n, size_t item);
char *conf_format(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
