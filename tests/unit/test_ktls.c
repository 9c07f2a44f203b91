// SPDX-License-Identifier: BSD-2-Clause
/*
 * When is what a kernel has sealed all of it TCP's (l7/tls/ktls.h, rule 4)?  Against a model of the kernel that is sent to at random:
 * records that are open, records that wait for room, a queue that takes any part of them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "l7/tls/ktls.h"

#define RECORD 16384
#define STEPS 200000

struct kernel {
	uint64_t records, plain, wire; /* sealed; given; in TCP's queue */
	uint64_t open;		       /* bytes of a record that is not sealed yet */
	uint64_t waits;		       /* sealed bytes for which TCP had no room */
	uint8_t overhead;
};

static void seal(struct kernel *k)
{
	k->records++;
	k->waits += k->open + k->overhead;
	k->open = 0;
}

/* send() of n bytes, more: with MSG_MORE. */
static void give(struct kernel *k, uint64_t n, bool more)
{
	uint64_t take;

	k->plain += n;
	for (; n; n -= take) {
		take = n < RECORD - k->open ? n : RECORD - k->open;
		k->open += take;
		if (k->open == RECORD)
			seal(k);
	}
	if (!more && k->open)
		seal(k);
}

static void take(struct kernel *k, uint64_t room)
{
	uint64_t n = room < k->waits ? room : k->waits;

	k->wire += n;
	k->waits -= n;
}

static void exact(void **state)
{
	static const uint8_t overheads[] = { 22, 29, 21 };
	unsigned settled = 0, open = 0, waiting = 0, i;
	unsigned seed = 7;

	(void)state;
	for (i = 0; i < STEPS; i++) {
		static struct kernel k;
		static struct ktls begun;
		unsigned what = (unsigned)rand_r(&seed);

		if (i % 500 == 0) { /* another connection, which has sealed and sent before; its counters may be anywhere */
			k = (struct kernel){ .records = what % 100, .plain = what, .wire = UINT64_MAX - what % 3, .overhead = overheads[i / 500 % 3] };
			begun = (struct ktls){ .records = k.records, .plain = k.plain, .wire = k.wire, .overhead = k.overhead };
		}
		if (what % 3)
			give(&k, what / 3 % 5 ? what / 15 % 300 : what / 15 % 60000, what / 7 % 2);
		else
			take(&k, what / 7 % 4 ? UINT64_MAX : what / 28 % 40000);
		assert_int_equal(ktls_whole(&begun, k.records, k.plain, k.wire), !k.open && !k.waits);
		settled += !k.open && !k.waits;
		open += k.open && !k.waits;
		waiting += !k.open && k.waits;
	}
	/* Control: each way was met. */
	assert_true(settled > STEPS / 100 && open > STEPS / 100 && waiting > STEPS / 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(exact) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
