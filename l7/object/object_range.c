// SPDX-License-Identifier: BSD-2-Clause
/* Range (RFC 9110 14.1.2) and lists of entity tags (8.8.3): the two small grammars of the object server. */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "l7/object/object.h"

static const char *skip_space(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\t'))
		p++;
	return p;
}

/* Digits, as many as there are; a value beyond 2^63 stands for "past any end". */
static const char *read_number(const char *p, const char *end, uint64_t *n, bool *some)
{
	*n = 0;
	*some = false;
	for (; p < end && *p >= '0' && *p <= '9'; p++) {
		*some = true;
		if (*n < UINT64_MAX / 20)
			*n = 10 * *n + (uint64_t)(*p - '0');
	}
	return p;
}

int object_ranges(const char *text, uint32_t len, uint64_t size, struct object_range range[OBJECT_RANGES_MAX], uint8_t *n)
{
	const char *p = text, *end = text + len;
	unsigned asked = 0, kept = 0;
	uint64_t sum = 0;

	*n = 0;
	if (len < 6 || strncasecmp(p, "bytes=", 6) != 0)
		return 0;
	for (p += 6;; p++) {
		uint64_t first, last;
		bool has_first, has_last;

		p = skip_space(p, end);
		p = read_number(p, end, &first, &has_first);
		if (p == end || *p != '-')
			return 0;
		p = read_number(p + 1, end, &last, &has_last);
		p = skip_space(p, end);
		if ((!has_first && !has_last) || (has_first && has_last && last < first) || (p < end && *p != ','))
			return 0;
		if (++asked > OBJECT_RANGES_MAX)
			return 0;
		if (!has_first) { /* the last so many bytes */
			first = last < size ? size - last : 0;
			if (last == 0)
				first = size;
			last = size;
		} else if (!has_last) {
			last = size;
		} else if (last < size) {
			last++;
		} else {
			last = size;
		}
		if (first < size) {
			range[kept++] = (struct object_range){ first, last - first };
			sum += last - first;
		}
		if (p == end)
			break;
	}
	if (!kept)
		return -ERANGE;
	if (kept > 1 && sum > size)
		return 0;
	*n = (uint8_t)kept;
	return 0;
}

bool object_tag_listed(const char *list, uint32_t len, const char *tag, bool weak)
{
	const char *p = list, *end = list + len;
	size_t n_tag = strlen(tag);

	if (len == 1 && *p == '*')
		return true;
	while ((p = skip_space(p, end)) < end) {
		bool is_weak = end - p > 2 && p[0] == 'W' && p[1] == '/';
		const char *close;

		if (*p == ',') {
			p++;
			continue;
		}
		p += is_weak ? 2 : 0;
		if (*p != '"' || !(close = memchr(p + 1, '"', end - p - 1)))
			return false;
		close++;
		if ((size_t)(close - p) == n_tag && !memcmp(p, tag, n_tag) && (weak || !is_weak))
			return true;
		p = skip_space(close, end);
		if (p < end && *p != ',')
			return false;
	}
	return false;
}
