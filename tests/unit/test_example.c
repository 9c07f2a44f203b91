/* SPDX-License-Identifier: BSD-2-Clause */
/* The configuration that we ship as an example is one that we accept, and says what we say that it says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/conf.h"
#include "pop/pop.h"

static void example_is_accepted(void **state)
{
	struct conf_errors errors = { 0 };
	struct pop *pop = pop_load("deploy/pop.yaml.example", &errors);

	(void)state;
	conf_errors_print(&errors, stderr);
	assert_non_null(pop);
	assert_int_equal(errors.n, 0);
	assert_int_equal(pop->n_switches, 2);
	assert_int_equal(pop->n_hosts, 4);
	assert_int_equal(pop->vip[0].n_addresses, 2);
	assert_string_equal(pop->switches[0].bird_socket, "/run/bird/bird.ctl");
	assert_int_equal(pop->route_table, ROUTE_TABLE_DEFAULT);
	conf_errors_free(&errors);
	pop_free(pop);
}

/* The fragment for BIRD carries the same two numbers. */
static void fragment_has_the_defaults(void **state)
{
	char line[512], table[64], protocol[64];
	FILE *f = fopen("deploy/bird/baton.conf", "r");
	int found = 0;

	(void)state;
	assert_non_null(f);
	snprintf(table, sizeof(table), "define BATON_TABLE = %d;", ROUTE_TABLE_DEFAULT);
	snprintf(protocol, sizeof(protocol), "define BATON_PROTOCOL = %d;", ROUTE_PROTOCOL_DEFAULT);
	while (fgets(line, sizeof(line), f))
		found += !strncmp(line, table, strlen(table)) || !strncmp(line, protocol, strlen(protocol));
	fclose(f);
	assert_int_equal(found, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(example_is_accepted),
		cmocka_unit_test(fragment_has_the_defaults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
