/* SPDX-License-Identifier: BSD-2-Clause */
/* The words that every configuration is made of: text, names, numbers, durations, choices, references. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#include "base/conf_tree.h"
#include "base/likely.h"

void conf_store(void *at, size_t size, uint64_t value)
{
	switch (size) {
	case 1: *(uint8_t *)at = (uint8_t)value; break;
	case 2: *(uint16_t *)at = (uint16_t)value; break;
	case 4: *(uint32_t *)at = (uint32_t)value; break;
	default: abort(); /* a schema table of ours is wrong */
	}
}

uint64_t conf_fetch(const void *at, size_t size)
{
	switch (size) {
	case 1: return *(const uint8_t *)at;
	case 2: return *(const uint16_t *)at;
	case 4: return *(const uint32_t *)at;
	default: abort();
	}
}

const char *conf_word(struct conf *c, const struct conf_node *n, const struct conf_field *f, const char *expects)
{
	if (n->kind != NODE_WORD) {
		conf_fault(c, n, NULL, "'%s' is %s, not a %s", f->key, expects, n->kind == NODE_LIST ? "list" : "map");
		return NULL;
	}
	if (!*n->word || (!n->quoted && !strcmp(n->word, "~"))) {
		conf_fault(c, n, NULL, "'%s' has no value; it is %s", f->key, expects);
		return NULL;
	}
	return n->word;
}

static bool bounded_text(struct conf *c, const struct conf_node *n, const struct conf_field *f, const char *w,
			 char *at)
{
	size_t len = strlen(w), most = f->max ? (size_t)f->max : f->size - 1;
	const char *p;

	if (len > most) {
		conf_fault(c, n, NULL, "'%s' is %zu characters long; at most %zu are possible", f->key, len, most);
		return false;
	}
	if (f->min && len < (size_t)f->min) {
		conf_fault(c, n, NULL, "'%s' is %zu characters long; at least %" PRId64 " are needed", f->key, len,
			   f->min);
		return false;
	}
	for (p = w; *p; p++)
		if (iscntrl((unsigned char)*p)) {
			conf_fault(c, n, NULL, "'%s' holds a control character", f->key);
			return false;
		}
	memcpy(at, w, len + 1);
	return true;
}

static bool text_read(struct conf *c, const struct conf_node *n, const struct conf_field *f, void *at)
{
	/* "" is a text where none is too short; nothing at all is a word that was forgotten. */
	bool empty = n->kind == NODE_WORD && n->quoted && !*n->word && !f->min;
	const char *w = empty ? "" : conf_word(c, n, f, "text");

	return w && bounded_text(c, n, f, w, at);
}

static bool path_read(struct conf *c, const struct conf_node *n, const struct conf_field *f, void *at)
{
	const char *w = conf_word(c, n, f, "an absolute path");

	if (!w)
		return false;
	if (*w != '/') {
		conf_fault(c, n, NULL, "'%s' is '%s', but must be an absolute path", f->key, w);
		return false;
	}
	return bounded_text(c, n, f, w, at);
}

static bool name_read(struct conf *c, const struct conf_node *n, const struct conf_field *f, void *at)
{
	const char *w = conf_word(c, n, f, "a name"), *p;

	if (!w)
		return false;
	for (p = w; *p; p++)
		if (!isalnum((unsigned char)*p) && (p == w || !strchr("._-", *p))) {
			conf_fault(c, n, NULL,
				   "'%s' is not a name: letters, digits, '.', '_' and '-', beginning with a letter or digit",
				   w);
			return false;
		}
	return bounded_text(c, n, f, w, at);
}

static bool interface_read(struct conf *c, const struct conf_node *n, const struct conf_field *f, void *at)
{
	const char *w = conf_word(c, n, f, "the name of an interface"), *p;
	bool good;

	if (!w)
		return false;
	good = strlen(w) < IF_NAMESIZE && strcmp(w, ".") && strcmp(w, "..");
	for (p = w; *p; p++)
		good = good && isgraph((unsigned char)*p) && *p != '/' && *p != ':';
	if (!good) {
		conf_fault(c, n, NULL, "'%s' is not the name of an interface: 1 to %d characters, no '/', ':' or blank", w,
			   IF_NAMESIZE - 1);
		return false;
	}
	memcpy(at, w, strlen(w) + 1);
	return true;
}

static void text_print(const struct conf_field *f, const void *root, const void *at, char *buf, size_t len)
{
	(void)f;
	(void)root;
	snprintf(buf, len, "%s", (const char *)at);
}

/* Digits, or 0x and hexadecimal digits, to their end. */
static bool number(const char *w, uint64_t *out, const char **end)
{
	char *stop;
	bool hex = w[0] == '0' && (w[1] == 'x' || w[1] == 'X') && isxdigit((unsigned char)w[2]);

	if (!isdigit((unsigned char)*w))
		return false;
	errno = 0;
	*out = strtoull(w, &stop, hex ? 16 : 10);
	*end = stop;
	return !errno;
}

static uint64_t upper(const struct conf_field *f)
{
	uint64_t fits = f->size >= 8 ? UINT64_MAX : (UINT64_C(1) << (8 * f->size)) - 1;

	return f->max && (uint64_t)f->max < fits ? (uint64_t)f->max : fits;
}

static bool integer_read(struct conf *c, const struct conf_node *n, const struct conf_field *f, void *at)
{
	const char *w = conf_word(c, n, f, "a number"), *end;
	uint64_t v;

	if (!w)
		return false;
	if (!number(w, &v, &end) || *end) {
		if (*w == '-' || isdigit((unsigned char)*w))
			conf_fault(c, n, NULL, "'%s' is '%s', but must be a whole number from %" PRId64 " to %" PRIu64,
				   f->key, w, f->min, upper(f));
		else
			conf_fault(c, n, NULL, "'%s' is '%s', but must be a number", f->key, w);
		return false;
	}
	if ((int64_t)v < f->min || v > upper(f)) {
		conf_fault(c, n, NULL, "'%s' is %s, but must be from %" PRId64 " to %" PRIu64, f->key, w, f->min, upper(f));
		return false;
	}
	conf_store(at, f->size, v);
	return true;
}

static void integer_print(const struct conf_field *f, const void *root, const void *at, char *buf, size_t len)
{
	(void)root;
	snprintf(buf, len, "%" PRIu64, conf_fetch(at, f->size));
}

static bool boolean_read(struct conf *c, const struct conf_node *n, const struct conf_field *f, void *at)
{
	const char *w = conf_word(c, n, f, "true or false");

	if (!w)
		return false;
	if (!strcmp(w, "true") || !strcmp(w, "false")) {
		*(bool *)at = *w == 't';
		return true;
	}
	/* YAML 1.1 took these too, and 'no' for a boolean where the country was meant. */
	conf_fault(c, n, !strcasecmp(w, "yes") || !strcasecmp(w, "on")  ? "true"
			: !strcasecmp(w, "no") || !strcasecmp(w, "off") ? "false"
									: NULL,
		   "'%s' is '%s', but must be true or false", f->key, w);
	return false;
}

static void boolean_print(const struct conf_field *f, const void *root, const void *at, char *buf, size_t len)
{
	(void)f;
	(void)root;
	snprintf(buf, len, "%s", *(const bool *)at ? "true" : "false");
}

static const struct unit {
	const char *name;
	uint32_t ms;
} unit[] = { { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 } };

#define UNITS (sizeof(unit) / sizeof(*unit))

static void spell_duration(uint64_t ms, char *buf, size_t len)
{
	size_t i = UNITS - 1;

	while (i && (!ms || ms % unit[i].ms))
		i--;
	snprintf(buf, len, "%" PRIu64 "%s", ms / unit[i].ms, unit[i].name);
}

bool conf_parse_duration(const char *word, uint32_t *ms)
{
	const char *end;
	uint64_t v;
	size_t i;

	if (!number(word, &v, &end))
		return false;
	for (i = 0; i < UNITS && strcmp(end, unit[i].name); i++)
		;
	if (i == UNITS || v > UINT32_MAX / unit[i].ms)
		return false;
	*ms = (uint32_t)v * unit[i].ms;
	return true;
}

static bool duration_read(struct conf *c, const struct conf_node *n, const struct conf_field *f, void *at)
{
	const char *w = conf_word(c, n, f, "a duration"), *end;
	uint64_t v, most = f->max ? (uint64_t)f->max : UINT32_MAX;
	char least_text[32], most_text[32];
	size_t i;

	if (!w)
		return false;
	spell_duration((uint64_t)f->min, least_text, sizeof(least_text));
	spell_duration(most, most_text, sizeof(most_text));
	if (!number(w, &v, &end)) {
		conf_fault(c, n, NULL, "'%s' is '%s', but must be a duration such as 500ms, 2s or 5m", f->key, w);
		return false;
	}
	for (i = 0; i < UNITS && strcmp(end, unit[i].name); i++)
		;
	if (i == UNITS) {
		conf_fault(c, n, NULL,
			   *end ? "'%s' is '%s', but a duration is a whole number with the unit ms, s, m or h"
				: "'%s' is '%s' without a unit: write ms, s, m or h behind it",
			   f->key, w);
		return false;
	}
	if (v > most / unit[i].ms + 1 || v * unit[i].ms > most || (int64_t)(v * unit[i].ms) < f->min) {
		conf_fault(c, n, NULL, "'%s' is %s, but must be from %s to %s", f->key, w, least_text, most_text);
		return false;
	}
	conf_store(at, f->size, v * unit[i].ms);
	return true;
}

static void duration_print(const struct conf_field *f, const void *root, const void *at, char *buf, size_t len)
{
	(void)root;
	spell_duration(conf_fetch(at, f->size), buf, len);
}

static bool percent_read(struct conf *c, const struct conf_node *n, const struct conf_field *f, void *at)
{
	const char *w = conf_word(c, n, f, "a percentage"), *end;
	uint64_t v, most = f->max ? (uint64_t)f->max : 100;

	if (!w)
		return false;
	if (!number(w, &v, &end) || strcmp(end, "%")) {
		conf_fault(c, n, NULL, "'%s' is '%s', but must be a percentage such as 50%%", f->key, w);
		return false;
	}
	if ((int64_t)v < f->min || v > most) {
		conf_fault(c, n, NULL, "'%s' is %s, but must be from %" PRId64 "%% to %" PRIu64 "%%", f->key, w, f->min,
			   most);
		return false;
	}
	conf_store(at, f->size, v);
	return true;
}

static void percent_print(const struct conf_field *f, const void *root, const void *at, char *buf, size_t len)
{
	(void)root;
	snprintf(buf, len, "%" PRIu64 "%%", conf_fetch(at, f->size));
}

static bool choice_read(struct conf *c, const struct conf_node *n, const struct conf_field *f, void *at)
{
	const char *w = conf_word(c, n, f, "one word");
	char all[256] = "";
	struct likely l;
	size_t i, len = 0;

	if (!w)
		return false;
	likely_begin(&l, w);
	for (i = 0; f->words[i]; i++) {
		if (!strcmp(w, f->words[i])) {
			conf_store(at, f->size, i);
			return true;
		}
		likely_offer(&l, f->words[i]);
		len += (size_t)snprintf(all + len, sizeof(all) - len, "%s%s", !i ? "" : f->words[i + 1] ? ", " : " or ",
					f->words[i]);
	}
	conf_fault(c, n, l.word, "'%s' is '%s', but must be %s", f->key, w, all);
	return false;
}

static void choice_print(const struct conf_field *f, const void *root, const void *at, char *buf, size_t len)
{
	(void)root;
	snprintf(buf, len, "%s", f->words[conf_fetch(at, f->size)]);
}

/* Only noted: what it names may come later in the text. */
static bool reference_read(struct conf *c, const struct conf_node *n, const struct conf_field *f, void *at)
{
	char expects[64];
	struct conf_reference_made *r;

	snprintf(expects, sizeof(expects), "the name of a %s", f->refers);
	if (!conf_word(c, n, f, expects))
		return false;
	c->reference = conf_grow(c->reference, c->n_references, &c->room_references, sizeof(*c->reference));
	r = &c->reference[c->n_references++];
	r->node = n;
	r->field = f;
	r->at = at;
	return true;
}

static void reference_print(const struct conf_field *f, const void *root, const void *at, char *buf, size_t len)
{
	uint16_t id = *(const uint16_t *)at;
	const char *name = f->name_of ? f->name_of(root, id) : NULL;

	if (name)
		snprintf(buf, len, "%s", name);
	else
		snprintf(buf, len, "%u", id);
}

const struct conf_type conf_text = { text_read, text_print, false };
const struct conf_type conf_path = { path_read, text_print, false };
const struct conf_type conf_name = { name_read, text_print, false };
const struct conf_type conf_interface = { interface_read, text_print, false };
const struct conf_type conf_integer = { integer_read, integer_print, true };
const struct conf_type conf_boolean = { boolean_read, boolean_print, true };
const struct conf_type conf_duration = { duration_read, duration_print, false };
const struct conf_type conf_percent = { percent_read, percent_print, false };
const struct conf_type conf_choice = { choice_read, choice_print, false };
const struct conf_type conf_reference = { reference_read, reference_print, false };
