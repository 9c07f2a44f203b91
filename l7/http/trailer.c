/* SPDX-License-Identifier: BSD-2-Clause */
/* Trailers.  See trailer.h. */
#include "l7/http/trailer.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

bool trailer_passed(const char *name, size_t n)
{
	static const char *const never[] = {
		"content-length", "content-encoding", "content-type", "content-range", "host", "authorization", "expect",
		"proxy-authorization", "proxy-authenticate", "www-authenticate", "cookie", "set-cookie", "forwarded",
		"x-forwarded-for", "x-forwarded-proto", "cache-control", "max-forwards", "range", "location", "age", "vary",
	};
	size_t i;

	if (!n || name[0] == ':' || h1_hop_by_hop(name, n) || head_is_ours(name, n))
		return false;
	for (i = 0; i < sizeof(never) / sizeof(*never); i++)
		if (strlen(never[i]) == n && !strncasecmp(never[i], name, n))
			return false;
	return true;
}

int trailer_fields(const uint8_t *p, size_t n, struct answer_field field[TRAILER_FIELDS_MAX])
{
	const char *at = (const char *)p, *end = at + n;
	int k = 0;

	while (at < end) {
		const char *lf = memchr(at, '\n', (size_t)(end - at)), *colon, *from, *to;

		if (!lf || lf == at || lf[-1] != '\r')
			return -EBADMSG;
		to = lf - 1;
		colon = memchr(at, ':', (size_t)(to - at));
		if (!colon || !head_is_token(at, (size_t)(colon - at)))
			return -EBADMSG;
		for (from = colon + 1; from < to && (*from == ' ' || *from == '\t');)
			from++;
		while (to > from && (to[-1] == ' ' || to[-1] == '\t'))
			to--;
		if (trailer_passed(at, (size_t)(colon - at))) {
			if (k == TRAILER_FIELDS_MAX)
				return -EBADMSG;
			field[k++] = (struct answer_field){ .name = at, .n_name = (uint32_t)(colon - at), .value = from,
							    .n_value = (uint32_t)(to - from) };
		}
		at = lf + 1;
	}
	return k;
}

bool trailer_fair(struct buffer *t)
{
	struct answer_field field[TRAILER_FIELDS_MAX];

	return !t->data || trailer_fields(buffer_head(t), buffer_len(t), field) >= 0;
}
