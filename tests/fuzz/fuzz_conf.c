/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Any text through the configuration reader.  The oracle: a text is either right or has faults, never
 * both or neither; every fault lies within the text; one that is right does not differ from itself, and
 * what is read from its JSON (which is YAML) does not differ from it.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "pop/diff.h"
#include "pop/pop.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_faults(const struct conf_errors *e, const char *text, size_t len)
{
	unsigned lines = 1;
	size_t i;

	for (i = 0; i < len; i++)
		lines += text[i] == '\n' || text[i] == '\r';
	for (i = 0; i < e->n; i++) {
		/* YAML counts U+0085, U+2028 and U+2029 as line ends too: each is at least two octets. */
		if (!e->error[i].line || e->error[i].line > lines + len / 2 + 1 || !e->error[i].column ||
		    !*e->error[i].message)
			abort();
	}
}

static void check_same(const struct pop *a, const struct pop *b)
{
	struct pop_changes c;

	pop_diff(a, b, &c);
	if (c.n)
		abort();
	pop_changes_free(&c);
}

static void check_round_trip(const struct pop *pop)
{
	json_t *json = pop_to_json(pop);
	char *text = json_dumps(json, 0);
	struct conf_errors errors;
	struct pop *again;

	if (!text)
		abort();
	again = pop_parse(text, strlen(text), "json", &errors);
	if (!again) {
		conf_errors_print(&errors, stderr);
		abort();
	}
	check_same(pop, again);
	pop_free(again);
	free(text);
	json_decref(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct conf_errors errors;
	char *text = malloc(size + 1), *printed = NULL;
	size_t printed_len;
	struct pop *pop;
	FILE *out;

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = 0;
	pop = pop_parse(text, size, "fuzz", &errors);
	if (!pop == !errors.n)
		abort();
	out = open_memstream(&printed, &printed_len);
	conf_errors_print(&errors, out);
	fclose(out);
	free(printed);
	check_faults(&errors, text, size);
	conf_errors_free(&errors);
	if (pop) {
		check_same(pop, pop);
		check_round_trip(pop);
	}
	pop_free(pop);
	free(text);
	return 0;
}
