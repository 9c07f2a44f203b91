// SPDX-License-Identifier: BSD-2-Clause
/* What a move sends again of what its own HOLD has dropped (l7/tcp/tcp_move.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "l7/row/flow.h"
#include "l7/tcp/tcp_move.h"

/* Of `held` bytes `unsent` were not sent yet; how many are after something was dropped. */
static uint32_t after(uint32_t cwnd, uint16_t pmtu, size_t held, uint32_t unsent, unsigned dropped)
{
	static const uint8_t bytes[65536];
	struct tcp_move m = { .cwnd = cwnd, .pmtu = pmtu, .mss_clamp = 1460, .unsent = unsent };
	uint32_t got;

	m.vip.family = AF_INET;
	assert_int_equal(buffer_put(&m.send, bytes, held, sizeof(bytes)), 0);
	tcp_move_dropped(&m, dropped);
	got = m.unsent;
	tcp_move_free(&m);
	return got;
}

static void all_again(void **state)
{
	(void)state;
	assert_int_equal(after(10, 1500, 5000, 2000, ROW_DROPPED_DATA), 5000);
	assert_int_equal(after(100, 1500, 50000, 50000 - 14480, ROW_DROPPED_DATA), 50000);
	assert_int_equal(after(0, 0, 5000, 5000, ROW_DROPPED_DATA), 5000); /* nothing is in flight */
	assert_int_equal(after(10, 1500, 5000, 2000, ROW_DROPPED_ACK), 2000);
}

/* Else the client may have more than the importer's window lets it send, and refuse it all (RFC 9293, 3.10.7.4). */
static void more_than_goes_at_once(void **state)
{
	(void)state;
	assert_int_equal(after(4, 1500, 50000, 50000 - 8688, ROW_DROPPED_DATA), 50000 - 8688); /* after a loss */
	assert_int_equal(after(4, 1500, 50000, 50000 - 5792, ROW_DROPPED_DATA), 50000);
	assert_int_equal(after(100, 1500, 50000, 50000 - 14481, ROW_DROPPED_DATA), 50000 - 14481); /* it may know nothing of ours */
	assert_int_equal(after(10, 576, 50000, 50000 - 6000, ROW_DROPPED_DATA), 50000 - 6000);
	assert_int_equal(after(0, 1500, 5000, 4999, ROW_DROPPED_DATA), 4999);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(all_again), cmocka_unit_test(more_than_goes_at_once) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
