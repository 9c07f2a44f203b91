/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Golden configuration errors: tests/golden/conf/NAME.yaml must give exactly NAME.err, empty when the
 * text is right.  Each file is one test, so that the count printed is the count of files.
 * BATON_GOLDEN=write writes the .err files instead; then read them before you keep them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>

#include "pop/pop.h"

/* NAME.yaml -> NAME.err */
static char *expected_path(const char *path)
{
	size_t stem = strlen(path) - strlen("yaml");
	char *p = NULL;

	assert_true(asprintf(&p, "%.*serr", (int)stem, path) > 0);
	return p;
}

static void one(void **state)
{
	const char *path = *state;
	char *printed = NULL, *wanted = NULL, *errpath = expected_path(path);
	size_t printed_len = 0, wanted_len = 0;
	struct conf_errors errors;
	struct pop *pop;
	FILE *out = open_memstream(&printed, &printed_len);

	pop = pop_load(path, &errors);
	assert_true(!pop == (errors.n > 0));
	conf_errors_print(&errors, out);
	fclose(out);
	if (getenv("BATON_GOLDEN")) {
		FILE *f = fopen(errpath, "w");

		assert_non_null(f);
		fputs(printed, f);
		fclose(f);
	}
	assert_int_equal(conf_slurp(errpath, &wanted, &wanted_len), 0);
	assert_string_equal(printed, wanted);
	conf_errors_free(&errors);
	pop_free(pop);
	free(printed);
	free(wanted);
	free(errpath);
}

int main(void)
{
	struct CMUnitTest *test;
	glob_t g;
	size_t i;
	int failed;

	if (glob("tests/golden/conf/*.yaml", 0, NULL, &g) || !g.gl_pathc) {
		fprintf(stderr, "no tests/golden/conf/*.yaml: run from the top of the source tree\n");
		return 1;
	}
	test = calloc(g.gl_pathc, sizeof(*test));
	if (!test)
		return 1;
	for (i = 0; i < g.gl_pathc; i++)
		test[i] = (struct CMUnitTest){ .name = strrchr(g.gl_pathv[i], '/') + 1, .test_func = one,
					       .initial_state = g.gl_pathv[i] };
	failed = _cmocka_run_group_tests("conf_golden", test, g.gl_pathc, NULL, NULL);
	free(test);
	globfree(&g);
	return failed;
}
