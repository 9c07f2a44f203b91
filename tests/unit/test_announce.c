/* SPDX-License-Identifier: BSD-2-Clause */
/* What to announce: every combination of the facts against the rules as prose; and the kernel rows that follow. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>

#include "bgp/announce.h"
#include "bgp/routes.h"

static struct address address(const char *text)
{
	struct address a = { .family = strchr(text, ':') ? AF_INET6 : AF_INET };

	assert_int_equal(inet_pton(a.family, text, &a.v6), 1);
	return a;
}

/* --- a POP of two hosts, one switch and one VIP, with every fact a knob ------------------------------ */
struct bed {
	struct host_conf host[2];
	struct address vip_address[2];
	struct vip vip;
	struct pop pop;
	struct bucket bucket[16];
	struct table table;
	struct view view;
	struct announce_self self;
};

static void bed_make(struct bed *b)
{
	memset(b, 0, sizeof(*b));
	b->host[0] = (struct host_conf){ .id = 1, .weight = 100 };
	b->host[1] = (struct host_conf){ .id = 2, .weight = 100 };
	b->vip_address[0] = address("198.51.100.80");
	b->vip_address[1] = address("2001:db8:80::80");
	b->vip = (struct vip){ .address = b->vip_address, .n_addresses = 2 };
	b->pop = (struct pop){ .host = b->host, .n_hosts = 2, .vip = &b->vip, .n_vips = 1, .buckets = 16 };
	b->table.n_buckets = 16;
	b->table.bucket = b->bucket;
	b->bucket[7].triple.host[0] = 1;
	b->view.pop = &b->pop;
	b->view.table = &b->table;
	b->self = (struct announce_self){ .id = 1, .installed = true, .proof = PROOF_EQUAL, .routed = b->vip_address,
					  .n_routed = 2 };
}

static void serving_is_announced(void **state)
{
	struct announcement *a;
	struct bed b;
	size_t n;

	(void)state;
	bed_make(&b);
	assert_int_equal(announce_decide(&b.view, &b.self, &a, &n), 0);
	assert_int_equal(n, 2);
	assert_int_equal(a[0].how, ANNOUNCE_NORMAL);
	assert_int_equal(a[1].how, ANNOUNCE_NORMAL);
	assert_int_equal(a[0].prefix.family, AF_INET);
	assert_int_equal(a[1].prefix.family, AF_INET6);
	free(a);
}

/* The rules as they are written in the guide, without regard to the order in which the code asks. */
static void check_rules(const struct bed *b, struct announce_verdict v)
{
	bool someone = false, owned = b->bucket[7].triple.host[0] != HOST_NONE;
	bool routed = b->self.n_routed > 0, must_withdraw;
	int i;

	for (i = 0; i < 2; i++)
		someone |= b->view.host_health[i + 1] != HEALTH_DEAD && b->view.host_admin[i + 1] != ADMIN_OUT &&
			   b->host[i].weight;
	must_withdraw = b->view.switch_admin[1] == ADMIN_OUT || b->view.vip_admin[0] == ADMIN_OUT || !someone || !owned;
	if (must_withdraw) {
		assert_int_equal(v.how, ANNOUNCE_NO);
		return;
	}
	if (v.how == ANNOUNCE_NO) /* only for what this switch knows of itself for certain */
		assert_true((b->self.installed && !routed) || b->self.proof == PROOF_DIFFERENT);
	if (v.how == ANNOUNCE_KEEP)
		assert_true(!b->self.installed || b->self.proof == PROOF_PENDING);
	if (v.how == ANNOUNCE_NORMAL || v.how == ANNOUNCE_GRACEFUL_SHUTDOWN) {
		assert_true(b->self.installed && routed && b->self.proof == PROOF_EQUAL);
		assert_int_equal(v.how == ANNOUNCE_GRACEFUL_SHUTDOWN, b->view.switch_admin[1] == ADMIN_DRAINING);
	}
	assert_int_equal(v.how == ANNOUNCE_NORMAL, v.why == BECAUSE_SERVING);
}

static void every_combination(void **state)
{
	struct announce_verdict v, well;
	unsigned c, k, n = 0;
	struct bed b;

	(void)state;
	for (c = 0; c < 3 * 2 * 3 * 3 * 3 * 3 * 2 * 2 * 2 * 3 * 2; c++) {
		bed_make(&b);
		k = c;
		b.view.switch_admin[1] = (uint8_t)(k % 3), k /= 3;
		b.view.vip_admin[0] = k % 2 ? ADMIN_OUT : ADMIN_IN, k /= 2;
		b.view.host_admin[1] = (uint8_t)(k % 3), k /= 3;
		b.view.host_admin[2] = (uint8_t)(k % 3), k /= 3;
		b.view.host_health[1] = (uint8_t)(k % 3), k /= 3;
		b.view.host_health[2] = (uint8_t)(k % 3), k /= 3;
		b.host[1].weight = k % 2 ? 100 : 0, k /= 2;
		b.bucket[7].triple.host[0] = k % 2 ? 1 : HOST_NONE, k /= 2;
		b.self.installed = k % 2, k /= 2;
		b.self.proof = (enum bucket_proof)(k % 3), k /= 3;
		b.self.n_routed = k % 2 ? 2 : 0;
		v = announce_one(&b.view, &b.self, 0, 0);
		check_rules(&b, v);
		/* Sickness alone never changes anything: all sick fails open. */
		b.view.host_health[1] = b.view.host_health[1] == HEALTH_SICK ? HEALTH_UP : b.view.host_health[1];
		b.view.host_health[2] = b.view.host_health[2] == HEALTH_SICK ? HEALTH_UP : b.view.host_health[2];
		well = announce_one(&b.view, &b.self, 0, 0);
		assert_int_equal(v.how, well.how);
		assert_int_equal(v.why, well.why);
		n++;
	}
	assert_int_equal(n, 23328);
}

static void every_reason_has_a_sentence(void **state)
{
	int i, j;

	(void)state;
	for (i = 0; i < BECAUSE_MAX; i++)
		for (j = 0; j < i; j++)
			assert_string_not_equal(announce_reason_text((enum announce_reason)i),
						announce_reason_text((enum announce_reason)j));
	assert_string_equal(announce_reason_text(BECAUSE_MAX), "unknown");
}

/* --- kernel rows ------------------------------------------------------------------------------------- */

static void sorted_without_doubles(void **state)
{
	struct announcement a[] = {
		{ address("2001:db8::2"), ANNOUNCE_NORMAL }, { address("198.51.100.9"), ANNOUNCE_NORMAL },
		{ address("198.51.100.1"), ANNOUNCE_NORMAL }, { address("198.51.100.9"), ANNOUNCE_NORMAL },
	};
	struct address v4 = address("198.51.100.9"), other = address("198.51.100.2");

	(void)state;
	assert_int_equal(announcements_sort(a, 4), 3);
	assert_ptr_equal(announcement_find(a, 3, &v4), &a[1]);
	assert_null(announcement_find(a, 3, &other));
	assert_null(announcement_find(a, 0, &v4));
}

static bool same_row(const struct route_row *a, const struct route_row *b)
{
	return address_equal(&a->prefix, &b->prefix) && a->prefix_len == b->prefix_len && a->type == b->type && a->metric == b->metric;
}

static size_t apply(struct route_row *have, size_t n, const struct route_change *c)
{
	size_t i;

	if (c->add) {
		have[n] = c->row;
		return n + 1;
	}
	for (i = 0; i < n; i++)
		if (same_row(&have[i], &c->row))
			break;
	assert_true(i < n); /* what is deleted was there */
	have[i] = have[n - 1];
	return n - 1;
}

static bool present(const struct route_row *have, size_t n, const struct address *a, uint32_t metric)
{
	while (n--)
		if (address_equal(&have[n].prefix, a) && have[n].metric == metric && have[n].prefix_len == 32)
			return true;
	return false;
}

static void diff_converges_and_never_gaps(void **state)
{
	enum { PREFIXES = 6 };
	unsigned round;

	(void)state;
	srandom(1);
	for (round = 0; round < 20000; round++) {
		struct announcement want[PREFIXES];
		struct route_row have[3 * PREFIXES + 2], before[3 * PREFIXES];
		struct route_change change[4 * PREFIXES];
		size_t i, k, n = 0, n_want = 0, n_before, n_change;

		memset(have, 0, sizeof(have));
		for (i = 0; i < PREFIXES; i++) {
			struct address a = { .family = AF_INET };
			long r = random();

			a.v4.s_addr = htonl(0xc6336400u + (uint32_t)i);
			for (k = 0; k < 3; k++) /* 100, 200 and a metric that is nobody's */
				if (r & (1 << k)) {
					have[n].prefix = a;
					have[n].prefix_len = 32;
					have[n].type = RTN_BLACKHOLE;
					have[n++].metric = (uint32_t)(100 * (k + 1));
				}
			if (r & 8)
				want[n_want++] = (struct announcement){ a, (enum announce)(r >> 4 & 3) };
		}
		memcpy(before, have, sizeof(before));
		n_before = n;
		n_want = announcements_sort(want, n_want);
		assert_int_equal(routes_diff(have, n, want, n_want, change, &n_change), 0);
		for (i = 0; i < n_change; i++) {
			n = apply(have, n, &change[i]);
			for (k = 0; k < n_want; k++) /* an announced prefix that goes on is there at every moment */
				if ((want[k].how == ANNOUNCE_NORMAL || want[k].how == ANNOUNCE_GRACEFUL_SHUTDOWN) &&
				    (present(before, n_before, &want[k].prefix, 100) ||
				     present(before, n_before, &want[k].prefix, 200)))
					assert_true(present(have, n, &want[k].prefix, 100) ||
						    present(have, n, &want[k].prefix, 200) ||
						    present(have, n, &want[k].prefix, 300));
		}
		for (i = 0; i < PREFIXES; i++) {
			struct address a = { .family = AF_INET };
			const struct announcement *w;
			enum announce how;

			a.v4.s_addr = htonl(0xc6336400u + (uint32_t)i);
			w = announcement_find(want, n_want, &a);
			how = w ? w->how : ANNOUNCE_NO;
			for (k = 100; k <= 300; k += 100) {
				bool was = present(before, n_before, &a, (uint32_t)k);
				bool should = how == ANNOUNCE_KEEP		? was :
					      how == ANNOUNCE_NORMAL		? k == 100 :
					      how == ANNOUNCE_GRACEFUL_SHUTDOWN ? k == 200 :
										  false;

				assert_int_equal(present(have, n, &a, (uint32_t)k), should);
			}
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(serving_is_announced),	       cmocka_unit_test(every_combination),
		cmocka_unit_test(every_reason_has_a_sentence), cmocka_unit_test(sorted_without_doubles),
		cmocka_unit_test(diff_converges_and_never_gaps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
