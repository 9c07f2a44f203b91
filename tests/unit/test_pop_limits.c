/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How many addresses pop.yaml may give to VIPs: as many as the tables of a switch and of both data paths of a host
 * have rows, and of one more it says so.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/redirect.h"
#include "kmod/uapi.h"
#include "pop/pop.h"
#include "switch/fabric_bpf.h"

#define PER_VIP 64

static char *text_with(uint32_t n_addresses)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	uint32_t i;

	assert_non_null(f);
	fputs("pop: {name: p, hash_seed: 1}\n"
	      "controllers: [{name: c1, id: 1, listen: \"192.0.2.10:7430\"}]\n"
	      "switches: [{name: s1, id: 1, fabric: xdp, management: 192.0.2.21, bridge: hosts, uplinks: [up0], ports: {p1: h1}}]\n"
	      "hosts: [{name: h1, id: 1, management: 192.0.2.31, links: {s1: eth0}}]\n"
	      "vips:\n",
	      f);
	for (i = 0; i < n_addresses; i++) {
		if (i % PER_VIP == 0)
			fprintf(f, "  - name: v%u\n    ports: [80/tcp]\n    addresses:\n", i / PER_VIP);
		fprintf(f, "      - 198.18.%u.%u\n", i / 250, i % 250 + 1);
	}
	fclose(f);
	return text;
}

static void test_addresses(void **state)
{
	const uint32_t limit = POP_ADDRESSES_MAX;
	struct conf_errors errors = { 0 };
	char *text = text_with(limit), *said = NULL;
	struct pop *pop = pop_parse(text, strlen(text), "limit", &errors);
	size_t len;
	FILE *f;

	(void)state;
	conf_errors_print(&errors, stderr);
	assert_non_null(pop);
	assert_int_equal(pop->n_vips, limit / PER_VIP);
	pop_free(pop);
	conf_errors_free(&errors);
	free(text);

	text = text_with(limit + 1);
	pop = pop_parse(text, strlen(text), "beyond", &errors);
	assert_null(pop);
	assert_int_equal(errors.n, 1);
	f = open_memstream(&said, &len);
	conf_errors_print(&errors, f);
	fclose(f);
	assert_non_null(strstr(said, "the VIPs have 4097 addresses, but a POP has at most 4096"));
	conf_errors_free(&errors);
	free(said);
	free(text);
}

static void test_tables(void **state)
{
	(void)state;
	assert_int_equal(REDIRECT_VIPS_MAX, POP_ADDRESSES_MAX);
	assert_int_equal(BATON_VIPS_MAX, POP_ADDRESSES_MAX);
	assert_int_equal(FABRIC_VIPS_MAX, POP_ADDRESSES_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_addresses), cmocka_unit_test(test_tables) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
