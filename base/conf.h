/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A reader of YAML driven by schema tables.  Every fault of a text is found in one call; each is
 * printed as  file:line:column: error: message, then the line, a caret, and the likely word.
 * The tables belong to the folders that use them: a folder describes its struct as a conf_schema, and
 * one walk reads it, frees it, compares two of them and turns one into JSON.
 *
 *   struct lamp { char name[16]; uint32_t dim_ms; };
 *   static const struct conf_field lamp_field[] = {
 *           { "name", CONF_AT(struct lamp, name), .type = &conf_name, .required = true, .unique = "lamp" },
 *           { "dim", CONF_AT(struct lamp, dim_ms), .type = &conf_duration, .unless = "200ms", .max = 5000 },
 *           { 0 } };
 *   const struct conf_schema lamp_schema = { "lamp", sizeof(struct lamp), lamp_field };
 *
 * What is refused before any table is asked: anchors and aliases (a few lines of them expand without
 * end), tags, several documents, texts, depths and counts beyond the limits below.
 */
#ifndef BASE_CONF_H
#define BASE_CONF_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define CONF_TEXT_MAX (2u << 20)
#define CONF_DEPTH_MAX 16
#define CONF_NODES_MAX 262144
#define CONF_ERRORS_MAX 100 /* more are counted in a last entry */

struct conf_error {
	unsigned line, column; /* from 1 */
	char *message;	       /* with the likely word, if there is one */
	char *source;	       /* the line's text */
};

struct conf_errors {
	const char *name; /* of the file; borrowed */
	struct conf_error *error; /* in the order of the text */
	size_t n;
};

void conf_errors_print(const struct conf_errors *e, FILE *out);
void conf_errors_free(struct conf_errors *e);
/* Initialises *e with one entry: why the file could not be read (a negative errno). */
void conf_errors_file(struct conf_errors *e, const char *path, int err);

/* --- schema tables ---------------------------------------------------------------------------------- */

struct conf;	  /* one text being read */
struct conf_node; /* a place in it: a word, a list or a map */
struct conf_field;

/*
 * How a word is read, and written back in its one canonical spelling.  read says what is wrong with
 * conf_fault() and returns false.  print: the value at `at`; root is the outermost struct.
 */
struct conf_type {
	bool (*read)(struct conf *c, const struct conf_node *n, const struct conf_field *f, void *at);
	void (*print)(const struct conf_field *f, const void *root, const void *at, char *buf, size_t len);
	bool number; /* in JSON without quotes */
};

enum conf_shape {
	CONF_WORD,   /* one word of .type */
	CONF_STRUCT, /* a map of .schema, in place */
	CONF_LIST,   /* a list of .type or of .schema; the member is a pointer, .count_at a uint32_t */
	CONF_MAP,    /* a map; each pair is a struct of .schema, whose first field is the key, second the value */
};

struct conf_field {
	const char *key; /* NULL ends the table */
	size_t offset, size; /* of the member; for lists, size is an item's (CONF_ITEMS) */
	enum conf_shape shape;
	const struct conf_type *type;
	const struct conf_schema *schema;
	size_t count_at;     /* lists and maps; two fields may fill one array */
	bool required;	     /* lists and maps: and not empty */
	const char *unless;  /* the value when the key is absent, in YAML; NULL: zero bytes */
	int64_t min, max;    /* integers, durations (ms), percentages, lengths of text, items of lists; both 0: no bound */
	const char *const *words; /* conf_choice: the value is the index; NULL-terminated */
	const char *unique;  /* no other value of this set ("host id") may be the same */
	const char *refers;  /* conf_reference: to a name that is unique in this set ("host") */
	size_t id_at;	     /* names: where in its struct is the uint16_t that a reference takes */
	/* conf_reference: for printing */
	const char *(*name_of)(const void *root, uint16_t id);
	bool fixed;	     /* cannot be changed while the POP lives */
};

#define CONF_AT(s, m) .offset = offsetof(s, m), .size = sizeof(((s *)0)->m)
#define CONF_ITEMS(s, m, count) \
	.offset = offsetof(s, m), .size = sizeof(*((s *)0)->m), .count_at = offsetof(s, count)

struct conf_schema {
	const char *what; /* "host": for messages */
	size_t size;
	const struct conf_field *field;
	/* Checks one struct beyond its fields; may be NULL.  References are not resolved yet. */
	void (*check)(struct conf *c, const void *object);
	/* Exactly one of the keys is present; its position is stored as an enum at tag_at. */
	bool one_of;
	size_t tag_at;
};

extern const struct conf_type conf_text;      /* char[size] */
extern const struct conf_type conf_path;      /* char[size], absolute */
extern const struct conf_type conf_name;      /* char[size]: letters, digits, . _ - */
extern const struct conf_type conf_interface; /* char[IF_NAMESIZE] */
extern const struct conf_type conf_integer;   /* uint8_t, uint16_t, uint32_t; decimal or 0x... */
extern const struct conf_type conf_boolean;   /* bool */
extern const struct conf_type conf_duration;  /* uint32_t, milliseconds: 100ms 2s 5m 1h */
extern const struct conf_type conf_percent;   /* uint8_t: 50% */
extern const struct conf_type conf_choice;    /* enum */
extern const struct conf_type conf_reference; /* uint16_t: the id of what is named */

/*
 * Reads a text into the zeroed struct at `object`, collecting faults in *errors (initialised here).
 * `check` (may be NULL) sees the whole afterwards, with references resolved; where a fault left a hole
 * it finds zero bytes.  True if there was no fault.  Whatever the outcome, conf_release() frees.
 */
bool conf_read(const char *text, size_t len, const char *name, const struct conf_schema *schema, void *object,
	       void (*check)(struct conf *c, void *object), struct conf_errors *errors);
void conf_release(const struct conf_schema *schema, void *object);

/* The text of a file, NUL-terminated; -errno, or -EFBIG beyond CONF_TEXT_MAX.  The caller frees it. */
int conf_slurp(const char *path, char **text, size_t *len);

/* --- for types and checks --------------------------------------------------------------------------- */

/* The word, NUL-terminated; NULL after a fault, if n is a list or a map, or empty. */
const char *conf_word(struct conf *c, const struct conf_node *n, const struct conf_field *f, const char *expects);
void conf_fault(struct conf *c, const struct conf_node *n, const char *likely, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* The place from which a member or struct was read; NULL if it was not in the text. */
const struct conf_node *conf_where(struct conf *c, const void *member);
/* As conf_fault, at the member, or else at `otherwise`. */
void conf_fault_at(struct conf *c, const void *member, const void *otherwise, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* Notes a value in a set; a fault, and false, if it is there already. */
bool conf_claim(struct conf *c, const char *set, const char *value, const void *member);
/* A fault has been found already: what looks like one may be its consequence. */
bool conf_faulty(const struct conf *c);
unsigned conf_line(const struct conf_node *n);
/* A number of unsigned kind to where it belongs. */
void conf_store(void *at, size_t size, uint64_t value);
uint64_t conf_fetch(const void *at, size_t size);

/* 100ms, 2s, 5m, 1h to milliseconds: the same words on a command line. */
bool conf_parse_duration(const char *word, uint32_t *ms);

/* --- what else a table is good for ------------------------------------------------------------------ */

json_t *conf_to_json(const struct conf_schema *schema, const void *root, const void *object);

struct conf_change {
	char *path;	/* "host h1: weight" */
	char *was, *is; /* NULL: added, removed */
	bool fixed;	/* refused while the POP lives */
};

struct conf_changes {
	struct conf_change *change;
	size_t n;
};

/* What leads from one to the other.  Lists of named things are matched by name, others by their text. */
void conf_diff(const struct conf_schema *schema, const void *from, const void *to, struct conf_changes *out);
void conf_changes_free(struct conf_changes *c);

#endif
