/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The object server's grammars: Range, lists of entity tags, dates.  Ranges lie in the object and are together not longer
 * than it (unless there is one); the length that is announced is that of the parts; a date that is read is printed the same.
 */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "l7/object/object.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_plan(const char *text, uint32_t len, uint64_t size)
{
	static struct request_head h;
	static const struct store_conf conf = { .writable = true };
	struct object_facts o = { .exists = true, .size = size, .modified_ns = 1600000000000000000 };
	struct object_plan plan;
	char part[OBJECT_PART_MAX];
	uint64_t length = 0;

	head_begin(&h, 65536);
	head_method(&h, "GET", 3);
	head_target(&h, "/a.txt", 6);
	head_field(&h, "host", 4, "h", 1);
	if (head_field(&h, "range", 5, text, len) || head_finish(&h, 11))
		return;
	object_plan(&conf, &h, &o, 1700000000, 1, &plan);
	assert(plan.status == 200 || plan.status == 206 || plan.status == 416);
	if (plan.n_ranges < 2)
		return;
	for (unsigned i = 0; i <= plan.n_ranges; i++)
		length += object_part(&plan, i, part) + (i < plan.n_ranges ? plan.range[i].length : 0);
	assert(plan.length == length);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data + 1;
	struct object_range r[OBJECT_RANGES_MAX];
	uint64_t object, sum = 0;
	uint8_t n;
	int64_t date;
	int rc;

	if (size < 1 || size > 4000)
		return 0;
	size--;
	object = data[0] < 250 ? data[0] : 1ull << (data[0] - 192);
	rc = object_ranges(text, (uint32_t)size, object, r, &n);
	assert(rc == 0 || (rc == -ERANGE && n == 0));
	for (unsigned i = 0; i < n; i++) {
		assert(r[i].length && r[i].first < object && r[i].length <= object - r[i].first);
		sum += r[i].length;
	}
	assert(n < 2 || sum <= object);
	check_plan(text, (uint32_t)size, object);
	object_tag_listed(text, (uint32_t)size, "\"a\"", true);
	assert(!object_tag_listed(text, (uint32_t)size, "\"a\"", false) || object_tag_listed(text, (uint32_t)size, "\"a\"", true));
	date = http_date_parse(text, (uint32_t)size);
	if (date >= 0) {
		char out[HTTP_DATE_TEXT];

		http_date_print(date, out);
		assert(http_date_parse(out, (uint32_t)strlen(out)) == date);
	}
	return 0;
}
