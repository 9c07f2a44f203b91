/* SPDX-License-Identifier: BSD-2-Clause */
/* What a switch must hold, from a view; and the proof's frames against the parser that they are for. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lb/packet.h"
#include "switch/proof.h"
#include "switch/want.h"

#define HOSTS 4

static struct host_link links[HOSTS][2];
static struct host_conf hosts[HOSTS];
static struct switch_port ports[4] = { { .host = 1, .ifname = "p1" }, { .host = 2, .ifname = "p2" },
				       { .peer = 2, .ifname = "x2" }, { .peer = 3, .ifname = "x3" } };
static struct switch_conf self = { .id = 1, .port = ports, .n_ports = 4 };
static struct address addresses[2] = { { .family = AF_INET }, { .family = AF_INET6 } };
static struct vip vip = { .address = addresses, .n_addresses = 2 };
static struct pop pop = { .buckets = 16, .hash_seed = 7, .host = hosts, .n_hosts = HOSTS, .vip = &vip, .n_vips = 1 };
static struct table table;
static struct view view = { .pop = &pop, .table = &table };
static bool carrier[4];

static void wire(uint16_t host, uint16_t a, uint16_t b)
{
	links[host - 1][0].switch_id = a;
	links[host - 1][1].switch_id = b;
	hosts[host - 1] = (struct host_conf){ .id = host, .link = links[host - 1], .n_links = b ? 2 : 1 };
}

static int setup(void **state)
{
	(void)state;
	wire(1, 1, 2);
	wire(2, 1, 3); /* wired to switches 1 and 3, not to 2 */
	wire(3, 2, 0); /* not wired to us */
	wire(4, 4, 0); /* not wired to anybody whom we know */
	memset(carrier, true, sizeof(carrier));
	return table_init(&table, 16);
}

static int teardown(void **state)
{
	(void)state;
	table_free(&table);
	return 0;
}

static void put(uint32_t bucket, uint16_t a, uint16_t b, uint16_t c)
{
	table.bucket[bucket].triple = (struct triple){ { a, b, c } };
}

static const char *port_of(const struct fabric_want *w, uint16_t a, uint16_t b, uint16_t c)
{
	struct triple t = { { a, b, c } };
	const struct fdb_row *row;
	uint8_t mac[6];

	vmac_encode(mac, &t);
	row = fabric_want_row(w, mac);
	return row ? row->ifname : "-";
}

static void test_rows_for_every_shifted_form(void **state)
{
	struct fabric_want w;

	(void)state;
	put(3, 1, 2, 3);
	assert_int_equal(want_make(&view, &self, carrier, &w), 0);
	assert_string_equal(port_of(&w, 1, 2, 3), "p1");
	assert_string_equal(port_of(&w, 2, 3, 0), "p2");
	assert_string_equal(port_of(&w, 3, 0, 0), "x2");
	assert_string_equal(port_of(&w, 1, 0, 0), "p1"); /* each host's own */
	assert_string_equal(port_of(&w, 2, 1, 0), "-");
	assert_string_equal(port_of(&w, 4, 0, 0), "-"); /* no way is known */
	assert_int_equal(w.n_fdb, 5);
	assert_int_equal(w.n_vips, 2);
	assert_int_equal(w.n_hosts, HOSTS);
	fabric_want_free(&w);
}

static void test_a_bucket_of_nobody(void **state)
{
	struct fabric_want w;
	uint8_t nobody[6];

	(void)state;
	assert_int_equal(want_make(&view, &self, carrier, &w), 0);
	router_mac(nobody, WANT_NOBODY_SWITCH);
	for (int i = 0; i < 16; i++)
		assert_memory_equal(w.vmac[i], nobody, 6);
	assert_null(fabric_want_row(&w, nobody));
	fabric_want_free(&w);
}

static void test_carrier_decides_the_way(void **state)
{
	struct fabric_want w;

	(void)state;
	carrier[0] = carrier[1] = false;
	assert_int_equal(want_make(&view, &self, carrier, &w), 0);
	assert_string_equal(port_of(&w, 1, 0, 0), "x2");
	assert_string_equal(port_of(&w, 2, 0, 0), "x3"); /* not by a peer that it is not wired to */
	fabric_want_free(&w);
	carrier[2] = false; /* no way at all: the dead port, which may come back */
	assert_int_equal(want_make(&view, &self, carrier, &w), 0);
	assert_string_equal(port_of(&w, 1, 0, 0), "p1");
	assert_string_equal(port_of(&w, 3, 0, 0), "-");
	fabric_want_free(&w);
}

static void test_rows_are_sorted_and_unique(void **state)
{
	struct fabric_want w, copy;

	(void)state;
	for (uint32_t i = 0; i < 16; i++)
		put(i, (uint16_t)(1 + i % 3), (uint16_t)(1 + (i + 1) % 3), 0);
	assert_int_equal(want_make(&view, &self, carrier, &w), 0);
	for (size_t i = 1; i < w.n_fdb; i++)
		assert_true(memcmp(w.fdb[i - 1].mac, w.fdb[i].mac, 6) < 0);
	assert_int_equal(w.n_fdb, 3 + 3);
	assert_int_equal(fabric_want_copy(&copy, &w), 0);
	assert_memory_equal(copy.fdb, w.fdb, w.n_fdb * sizeof(*w.fdb));
	fabric_want_free(&copy);
	fabric_want_free(&w);
}

static void test_a_table_of_another_size_is_refused(void **state)
{
	struct fabric_want w;

	(void)state;
	pop.buckets = 32;
	assert_int_equal(want_make(&view, &self, carrier, &w), -EINVAL);
	pop.buckets = 16;
}

/* The parser finds in each of the proof's frames the flow whose bucket proof_frames says. */
static void test_proof_frames_parse(void **state)
{
	static uint8_t frame[2000][PROOF_FRAME_LEN];
	static uint32_t bucket[2000];
	size_t errors = 0, v6 = 0, udp = 0, other = 0;
	struct address probe[2];

	(void)state;
	proof_vips(probe);
	proof_frames(probe, frame, bucket, 2000, 99, 256);
	for (size_t i = 0; i < 2000; i++) {
		struct packet_source s = { frame[i], PROOF_FRAME_LEN };
		struct packet p;

		assert_int_equal(packet_parse(&s, PROOF_FRAME_LEN, &p), PACKET_OK);
		assert_int_equal(flow_bucket(&p.flow, 99, 256), bucket[i]);
		other += flow_bucket(&p.flow, 98, 256) != bucket[i]; /* the control: the seed matters */
		errors += !!(p.shape & PACKET_ICMP_ERROR);
		v6 += p.ethertype_v6;
		udp += p.flow.protocol == PACKET_UDP;
	}
	assert_true(errors > 400 && v6 > 900 && udp > 600 && other > 1900);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_rows_for_every_shifted_form, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_bucket_of_nobody, setup, teardown),
		cmocka_unit_test_setup_teardown(test_carrier_decides_the_way, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rows_are_sorted_and_unique, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_table_of_another_size_is_refused, setup, teardown),
		cmocka_unit_test(test_proof_frames_parse),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
