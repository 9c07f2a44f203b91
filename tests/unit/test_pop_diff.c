/* SPDX-License-Identifier: BSD-2-Clause */
/* What `baton apply` shows: items of a list that are called alike are compared in their order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pop/diff.h"
#include "pop/pop.h"

#define HEAD                                                                                                                        \
	"pop: {name: demo, buckets: 256, hash_seed: 1}\n"                                                                           \
	"controllers: [{name: c1, id: 1, listen: '192.0.2.10:7430'}]\n"                                                             \
	"switches: [{name: s1, id: 1, management: 192.0.2.21, bridge: b, uplinks: [u0], ports: {p1: h1}}]\n"                        \
	"hosts: [{name: h1, id: 1, management: 192.0.2.31, links: {s1: eth0}}]\n"                                                   \
	"vips: [{name: www, addresses: [198.51.100.80], ports: [80/tcp, 81/tcp, 443/tcp]}]\n"                                       \
	"pools: [{name: web, backends: [{host: h1, port: 8080}]}]\n"                                                                \
	"edges:\n - {vip: www, port: 80, routes: [{pool: web}]}\n"
#define SECOND(mode) " - {vip: www, port: 81, routes: [{path: /a, pool: web}, {pool: web" mode "}]}\n"
#define THIRD " - {vip: www, port: 443, routes: [{pool: web}]}\n"

static void differ(const char *was, const char *is, const char *op, const char *name, const char *text)
{
	struct conf_errors errors[2];
	struct pop *a = pop_parse(was, strlen(was), "was", &errors[0]), *b = pop_parse(is, strlen(is), "is", &errors[1]);
	struct pop_changes c;
	json_t *list;

	assert_non_null(a);
	assert_non_null(b);
	pop_diff(a, b, &c);
	list = pop_changes_json(&c);
	assert_int_equal(json_array_size(list), *op ? 1 : 0);
	if (*op) {
		const json_t *x = json_array_get(list, 0);

		assert_string_equal(json_string_value(json_object_get(x, "op")), op);
		assert_string_equal(json_string_value(json_object_get(x, "name")), name);
		assert_string_equal(json_string_value(json_object_get(x, "text")), text);
	}
	json_decref(list);
	pop_changes_free(&c);
	pop_free(a);
	pop_free(b);
	conf_errors_free(&errors[0]);
	conf_errors_free(&errors[1]);
}

static void namesakes(void **state)
{
	(void)state;
	differ(HEAD SECOND("") THIRD, HEAD SECOND("") THIRD, "", "", "");
	differ(HEAD SECOND(""), HEAD SECOND("") THIRD, "add", "www", "");
	differ(HEAD SECOND("") THIRD, HEAD SECOND(""), "remove", "www", "");
}

static void second_of_a_name(void **state)
{
	(void)state;
	differ(HEAD SECOND("") THIRD, HEAD SECOND("") " - {vip: www, port: 443, http2: false, routes: [{pool: web}]}\n", "change",
	       "www#3", "http2 true -> false");
	differ(HEAD SECOND(""), HEAD SECOND(", mode: proxy"), "change", "www#2", "route #2: mode auto -> proxy");
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(namesakes), cmocka_unit_test(second_of_a_name) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
