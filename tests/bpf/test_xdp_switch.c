/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The switch's programs, XDP and TC, each run by BPF_PROG_TEST_RUN on packet fixtures: what they decide, what
 * they leave in the packet, which counter they count.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lb/packet.h"
#include "lb/vmac.h"
#include "port_guard.skel.h"
#include "switch/proof.h"
#include "switch/tc.h"
#include "uplink.skel.h"
#include "xdp_switch.skel.h"

#define SEED 4711u
#define BUCKETS 64
#define ACT_NEXT ((uint32_t)-1)
#define ACT_DROP 2u

static struct xdp_switch_bpf *xdp;
static struct uplink_bpf *tc;
static struct port_guard_bpf *guard;
static struct address vip[2];

static int setup(void **state)
{
	uint8_t router[6];

	(void)state;
	vip[0].family = AF_INET;
	inet_pton(AF_INET, "198.51.100.80", &vip[0].v4);
	vip[1].family = AF_INET6;
	inet_pton(AF_INET6, "2001:db8:80::80", &vip[1].v6);
	router_mac(router, 1);
	xdp = xdp_switch_bpf__open();
	memcpy((void *)xdp->rodata->router, router, 6);
	xdp->rodata->hash_seed = SEED;
	xdp->rodata->bucket_mask = BUCKETS - 1;
	tc = uplink_bpf__open();
	tc->rodata->hash_seed = SEED;
	tc->rodata->bucket_mask = BUCKETS - 1;
	guard = port_guard_bpf__open_and_load();
	if (xdp_switch_bpf__load(xdp) || uplink_bpf__load(tc) || !guard)
		return -1;
	vip_maps_set(bpf_map__fd(xdp->maps.vips4), bpf_map__fd(xdp->maps.vips6), vip, 2);
	vip_maps_set(bpf_map__fd(tc->maps.vips4), bpf_map__fd(tc->maps.vips6), vip, 2);
	/* Bucket b belongs to host b + 1; every port leads to the loopback device: redirected is redirected. */
	for (uint32_t b = 0; b < BUCKETS; b++) {
		struct triple t = { { (uint16_t)(b + 1) } };
		uint64_t e = 0;
		uint8_t mac[6];
		uint32_t slot = b + 1, lo = 1;

		vmac_encode(mac, &t);
		memcpy(&e, mac, 6);
		e |= (uint64_t)slot << 48;
		bpf_map_update_elem(bpf_map__fd(xdp->maps.buckets), &b, &e, BPF_ANY);
		bpf_map_update_elem(bpf_map__fd(xdp->maps.ports), &slot, &lo, BPF_ANY);
	}
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	xdp_switch_bpf__destroy(xdp);
	uplink_bpf__destroy(tc);
	port_guard_bpf__destroy(guard);
	return 0;
}

/* A frame: written at, and grown by, put(). */
struct frame {
	uint8_t b[2048], out[2048];
	size_t len;
};

static void put(struct frame *f, const void *data, size_t len)
{
	memcpy(f->b + f->len, data, len);
	f->len += len;
}

static void put_eth(struct frame *f, uint16_t type)
{
	uint8_t h[14] = { 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, (uint8_t)(type >> 8), (uint8_t)type };

	memset(f, 0, sizeof(*f));
	put(f, h, sizeof(h));
}

static uint16_t sum16(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint32_t s = 0;

	for (size_t i = 0; i < len; i += 2)
		s += (uint32_t)p[i] << 8 | p[i + 1];
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return (uint16_t)s;
}

struct shape {
	uint8_t ttl, options; /* option words */
	uint16_t frag, payload;
	uint8_t protocol;
	bool to_other;
};

static void put_v4(struct frame *f, struct shape s, size_t l4_len)
{
	struct packet_v4 h = { .version_ihl = (uint8_t)(0x45 + s.options), .ttl = s.ttl ? s.ttl : 64,
			       .len = htons((uint16_t)(20 + 4 * s.options + l4_len + s.payload)), .frag = htons(s.frag),
			       .protocol = s.protocol ? s.protocol : IPPROTO_TCP, .saddr = htonl(0xcb007107),
			       .daddr = s.to_other ? htonl(0xcb007108) : vip[0].v4.s_addr };
	uint8_t nop[40];

	memset(nop, 1, sizeof(nop));
	if (!s.options)
		h.check = htons((uint16_t)~sum16(&h, sizeof(h)));
	put(f, &h, sizeof(h));
	put(f, nop, (size_t)4 * s.options);
}

static void put_v6(struct frame *f, uint8_t hops, uint8_t next, size_t len)
{
	struct packet_v6 h = { .version_flow = htonl(6u << 28), .len = htons((uint16_t)len), .next = next, .hops = hops };

	inet_pton(AF_INET6, "2001:db8:1::7", h.saddr);
	memcpy(h.daddr, &vip[1].v6, 16);
	put(f, &h, sizeof(h));
}

static void put_tcp(struct frame *f, size_t payload)
{
	struct packet_tcp h = { .sport = htons(40000), .dport = htons(443), .doff = 5 << 4, .flags = TCP_FLAG_BIT_ACK };

	put(f, &h, sizeof(h));
	f->len += payload;
}

static struct frame tcp4(struct shape s)
{
	struct frame f;

	put_eth(&f, PACKET_ETH_V4);
	put_v4(&f, s, 20);
	put_tcp(&f, s.payload);
	return f;
}

static struct frame tcp6(uint8_t hops)
{
	struct frame f;

	put_eth(&f, PACKET_ETH_V6);
	put_v6(&f, hops, IPPROTO_TCP, 20);
	put_tcp(&f, 0);
	return f;
}

static uint32_t run(struct bpf_program *prog, struct frame *f, uint32_t *hash)
{
	struct __sk_buff skb = { 0 };
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = f->b, .data_size_in = (uint32_t)f->len, .data_out = f->out,
		    .data_size_out = sizeof(f->out), .repeat = 1);

	if (hash) {
		o.ctx_in = o.ctx_out = &skb;
		o.ctx_size_in = o.ctx_size_out = sizeof(skb);
	}
	int err = bpf_prog_test_run_opts(bpf_program__fd(prog), &o);

	if (err)
		fail_msg("test run of %s on %zu bytes: %d", bpf_program__name(prog), f->len, err);
	if (hash)
		*hash = skb.hash;
	return o.retval;
}

static uint64_t counted(int map, enum fabric_count reason)
{
	uint64_t c[COUNT_MAX] = { 0 };

	assert_int_equal(counters_add(map, c), 0);
	return c[reason];
}

static uint32_t bucket_of(const struct frame *f)
{
	struct packet_source s = { f->b, (uint32_t)f->len };
	struct packet p;

	assert_int_equal(packet_parse(&s, (uint32_t)f->len, &p), PACKET_OK);
	return flow_bucket(&p.flow, SEED, BUCKETS);
}

/* XDP forwards it to the owner of the bucket that user space computes. */
static void forwards(struct frame f)
{
	uint8_t router[6];
	struct triple t = { { 0 } };

	router_mac(router, 1);
	assert_int_equal(run(xdp->progs.xdp_uplink, &f, NULL), XDP_REDIRECT);
	assert_true(vmac_decode(f.out, &t));
	assert_int_equal(t.host[0] - 1, bucket_of(&f));
	assert_memory_equal(f.out + 6, router, 6);
	if (f.b[12] == 8) {
		assert_int_equal(f.out[14 + 8], f.b[14 + 8] - 1);
		assert_int_equal(sum16(f.out + 14, 20), 0xffff);
	} else {
		assert_int_equal(f.out[14 + 7], f.b[14 + 7] - 1);
	}
}

static void xdp_leaves(struct frame f, enum xdp_action what, enum fabric_count reason)
{
	uint64_t before = counted(bpf_map__fd(xdp->maps.counters), reason);

	assert_int_equal(run(xdp->progs.xdp_uplink, &f, NULL), what);
	assert_int_equal(counted(bpf_map__fd(xdp->maps.counters), reason), before + 1);
	assert_memory_equal(f.out, f.b, f.len); /* not half-changed */
}

static struct frame icmp_error(bool v6, bool forged)
{
	struct frame f;
	uint8_t icmp[8] = { v6 ? 2 : 3, v6 ? 0 : 4 };
	uint16_t ports[4] = { htons(443), htons(40000) };

	if (v6) {
		struct packet_v6 q = { .version_flow = htonl(6u << 28), .len = htons(20), .next = IPPROTO_TCP, .hops = 9 };

		put_eth(&f, PACKET_ETH_V6);
		put_v6(&f, 64, IPPROTO_ICMPV6, 8 + 40 + 8);
		memcpy(q.saddr, &vip[1].v6, 16);
		inet_pton(AF_INET6, "2001:db8:1::7", q.daddr);
		put(&f, icmp, 8);
		put(&f, &q, sizeof(q));
	} else {
		struct packet_v4 q = { .version_ihl = 0x45, .len = htons(40), .ttl = 9, .protocol = IPPROTO_TCP,
				       .saddr = vip[0].v4.s_addr, .daddr = htonl(0xcb007107) };

		put_eth(&f, PACKET_ETH_V4);
		put_v4(&f, (struct shape){ .protocol = IPPROTO_ICMP, .to_other = forged }, 8 + 20 + 8);
		put(&f, icmp, 8);
		put(&f, &q, sizeof(q));
	}
	put(&f, ports, 8);
	return f;
}

static void test_xdp_forwards(void **state)
{
	struct frame f = tcp4((struct shape){ 0 });

	(void)state;
	forwards(f);
	forwards(tcp6(64));
	/* Every TTL, so that every carry of the checksum happens. */
	for (unsigned ttl = 2; ttl < 256; ttl++)
		forwards(tcp4((struct shape){ .ttl = (uint8_t)ttl }));
	forwards(tcp4((struct shape){ .frag = 0x2000 }));
	forwards(tcp4((struct shape){ .frag = 0x2005 }));
	forwards(tcp4((struct shape){ .payload = 1400 }));
	forwards(icmp_error(false, false));
	forwards(icmp_error(true, false));
	/* An ICMP error goes where its flow goes. */
	f = icmp_error(false, false);
	struct frame g = tcp4((struct shape){ 0 });

	assert_int_equal(bucket_of(&f), bucket_of(&g));
}

static void test_xdp_leaves_to_the_kernel(void **state)
{
	struct frame f = tcp4((struct shape){ 0 });

	(void)state;
	xdp_leaves(tcp4((struct shape){ .ttl = 1 }), XDP_PASS, COUNT_VIP_TTL);
	xdp_leaves(tcp6(1), XDP_PASS, COUNT_VIP_TTL);
	xdp_leaves(tcp4((struct shape){ .options = 2 }), XDP_PASS, COUNT_VIP_OPTIONS);
	xdp_leaves(tcp4((struct shape){ .to_other = true }), XDP_PASS, COUNT_UPLINK_PASS);
	xdp_leaves(tcp4((struct shape){ .payload = 1480 }), XDP_PASS, COUNT_VIP_MTU);
	xdp_leaves(icmp_error(false, true), XDP_PASS, COUNT_UPLINK_PASS); /* quotes a VIP, is for somebody else */
	f.b[12] = 0x81;
	f.b[13] = 0;
	xdp_leaves(f, XDP_PASS, COUNT_UPLINK_PASS);
	f.b[12] = 8;
	f.b[13] = 6; /* ARP */
	xdp_leaves(f, XDP_PASS, COUNT_UPLINK_PASS);
}

/* Cut anywhere, or with any byte of the headers turned over, it is forwarded as user space parses it, or passed. */
static void test_xdp_and_tc_on_anything(void **state)
{
	const struct frame whole[] = { tcp4((struct shape){ .payload = 16 }), tcp6(64), icmp_error(false, false),
				       icmp_error(true, false) };

	(void)state;
	for (size_t w = 0; w < 4; w++) {
		for (size_t i = 0; i < 2 * whole[w].len; i++) {
			struct frame f = whole[w];
			struct packet_source s = { f.b, 0 };
			uint32_t verdict;
			struct packet p;
			int status;

			if (i < f.len) {
				f.b[i] ^= 0xff;
			} else if (i - f.len >= 14) {
				f.len = i - whole[w].len;
			} else {
				continue; /* no kernel delivers less than an Ethernet header */
			}
			s.len = (uint32_t)f.len;
			status = packet_parse(&s, s.len, &p);
			verdict = run(xdp->progs.xdp_uplink, &f, NULL);
			if (status != PACKET_OK)
				assert_int_equal(verdict, XDP_PASS);
			else
				assert_true(verdict == XDP_PASS || verdict == XDP_REDIRECT);
			if (verdict == XDP_REDIRECT) {
				struct triple t = { { 0 } };

				assert_true(vmac_decode(f.out, &t));
				assert_int_equal(t.host[0] - 1, flow_bucket(&p.flow, SEED, BUCKETS));
			}
			/* TC hashes the same flow to the same bucket; bad packets to a VIP end there. */
			if (f.len <= 54)
				continue; /* the test run itself wants an IP header and more */
			verdict = run(tc->progs.uplink, &f, NULL);
			if (status == PACKET_OK || !p.flow.family)
				assert_int_equal(verdict, ACT_NEXT);
			else
				assert_true(verdict == ACT_DROP || verdict == ACT_NEXT);
		}
	}
}

static void test_tc_drops_malformed(void **state)
{
	struct frame f = tcp4((struct shape){ 0 });
	int map = bpf_map__fd(tc->maps.counters);
	uint64_t before = counted(map, COUNT_VIP_BAD);

	(void)state;
	f.b[14 + 20 + 12] = 0x10; /* data offset within the TCP header */
	assert_int_equal(run(tc->progs.uplink, &f, NULL), ACT_DROP);
	f = tcp4((struct shape){ 0 });
	f.len -= 10; /* cut: the IP layer drops it, by its length, before anything is read from it */
	assert_int_equal(run(tc->progs.uplink, &f, NULL), ACT_NEXT);
	assert_int_equal(counted(map, COUNT_VIP_BAD), before + 1);
	f = tcp4((struct shape){ 0 });
	assert_int_equal(run(tc->progs.uplink, &f, NULL), ACT_NEXT);
	f = tcp4((struct shape){ .options = 3 });
	before = counted(map, COUNT_VIP_TC);
	assert_int_equal(run(tc->progs.uplink, &f, NULL), ACT_NEXT);
	assert_int_equal(counted(map, COUNT_VIP_TC), before + 1);
	f = tcp4((struct shape){ .to_other = true });
	f.len -= 10;
	assert_int_equal(run(tc->progs.uplink, &f, NULL), ACT_NEXT); /* not for a VIP: not ours to judge */
}

static void test_v6_extension_headers(void **state)
{
	/* hop-by-hop, destination options, then TCP */
	static const uint8_t hbh[8] = { 60, 0, 1, 4 }, dst[8] = { 6, 0, 1, 4 };
	struct frame f, plain = tcp6(64);

	(void)state;
	put_eth(&f, PACKET_ETH_V6);
	put_v6(&f, 64, 0, 8 + 8 + 20);
	put(&f, hbh, 8);
	put(&f, dst, 8);
	put_tcp(&f, 0);
	assert_int_equal(bucket_of(&f), bucket_of(&plain));
	forwards(f);
	/* more of them than anybody follows */
	put_eth(&f, PACKET_ETH_V6);
	put_v6(&f, 64, 60, 12 * 8 + 20);
	for (int i = 0; i < 12; i++) {
		uint8_t more[8] = { i == 11 ? 6 : 60, 0, 1, 4 };

		put(&f, more, 8);
	}
	put_tcp(&f, 0);
	xdp_leaves(f, XDP_PASS, COUNT_UPLINK_PASS);
	assert_int_equal(run(tc->progs.uplink, &f, NULL), ACT_DROP);
}

static void test_nobody_owns_it(void **state)
{
	struct frame f = tcp4((struct shape){ 0 });
	uint32_t bucket = bucket_of(&f);
	uint64_t old, none = 0;

	(void)state;
	bpf_map_lookup_elem(bpf_map__fd(xdp->maps.buckets), &bucket, &old);
	bpf_map_update_elem(bpf_map__fd(xdp->maps.buckets), &bucket, &none, BPF_ANY);
	xdp_leaves(f, XDP_DROP, COUNT_VIP_NO_OWNER);
	bpf_map_update_elem(bpf_map__fd(xdp->maps.buckets), &bucket, &old, BPF_ANY);
	forwards(f);
}

/* Every source that a port may and may not see, in both programs. */
static void test_source_guard(void **state)
{
	static const struct {
		uint8_t mac[6];
		bool host, peer;
	} source[] = {
		{ { 0x42, 0x10, 0x05, 0x00, 0x50, 0x05 }, true, true },	 /* [5] */
		{ { 0x42, 0x10, 0x06, 0x00, 0x60, 0x06 }, false, true }, /* [6] */
		{ { 0x42, 0x10, 0x05, 0x00, 0x60, 0x06 }, false, false }, /* [5,6] is no source */
		{ { 0x42, 0x20, 0x05, 0x00, 0x50, 0x05 }, false, false }, /* another layout version */
		{ { 0x52, 0x10, 0x05, 0x00, 0x61, 0x10 }, true, true },	 /* a detour by 5 */
		{ { 0x52, 0x10, 0x06, 0x00, 0x51, 0x10 }, false, true }, /* a detour by 6 */
		{ { 0x52, 0x10, 0x05, 0x00, 0x61, 0x40 }, false, false }, /* budget out of range */
		{ { 0x62, 0x10, 0x00, 0x00, 0x00, 0x02 }, false, true }, /* a router */
		{ { 0x02, 0x00, 0x00, 0x00, 0x00, 0x01 }, false, false },
		{ { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff }, false, false },
	};
	int maps[2] = { bpf_map__fd(xdp->maps.roles), bpf_map__fd(guard->maps.roles) };

	(void)state;
	for (int peer = 0; peer < 2; peer++) {
		struct port_role role = { peer ? 0 : 5, 9 };
		uint32_t lo = 1;

		for (int m = 0; m < 2; m++)
			assert_int_equal(bpf_map_update_elem(maps[m], &lo, &role, BPF_ANY), 0);
		for (size_t i = 0; i < sizeof(source) / sizeof(source[0]); i++) {
			bool allowed = peer ? source[i].peer : source[i].host;
			struct frame f = tcp4((struct shape){ 0 });

			memcpy(f.b + 6, source[i].mac, 6);
			assert_int_equal(run(guard->progs.port_guard, &f, NULL), allowed ? ACT_NEXT : ACT_DROP);
			assert_int_equal(run(xdp->progs.xdp_port, &f, NULL), allowed ? XDP_PASS : XDP_DROP);
		}
	}
}

static void test_vmac_to_port(void **state)
{
	struct frame f = tcp4((struct shape){ 0 });
	struct port_role role = { 5, 9 };
	uint32_t lo = 1, owner = 7;
	uint64_t slot = 3, own = 9, none = 0;
	int map = bpf_map__fd(xdp->maps.host_slot);

	(void)state;
	bpf_map_update_elem(bpf_map__fd(xdp->maps.roles), &lo, &role, BPF_ANY);
	memcpy(f.b, "\x42\x10\x07\x00\x80\x08", 6); /* [7,8] */
	memcpy(f.b + 6, "\x52\x10\x05\x00\x61\x10", 6);
	bpf_map_update_elem(map, &owner, &none, BPF_ANY);
	assert_int_equal(run(xdp->progs.xdp_port, &f, NULL), XDP_DROP);
	bpf_map_update_elem(map, &owner, &own, BPF_ANY);
	assert_int_equal(run(xdp->progs.xdp_port, &f, NULL), XDP_DROP); /* never out of the port it came in */
	bpf_map_update_elem(map, &owner, &slot, BPF_ANY);
	assert_int_equal(run(xdp->progs.xdp_port, &f, NULL), XDP_REDIRECT);
	assert_memory_equal(f.out, f.b, f.len); /* bridged, not routed */
}

/* For the table of benchmarks see bench-l4; here only that the cost is not absurd, and flat. */
static void test_cost_is_flat(void **state)
{
	uint32_t few = 0, many = 0;

	(void)state;
	for (int pass = 0; pass < 2; pass++) {
		uint64_t ns = 0;

		for (int i = 0; i < 200; i++) {
			struct frame f = tcp4((struct shape){ 0 });
			LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = f.b, .data_size_in = (uint32_t)f.len, .repeat = 200);

			f.b[14 + 20] = pass ? (uint8_t)i : 1;
			f.b[14 + 15] = pass ? (uint8_t)(i * 7) : 1;
			f.b[14 + 8] = 255;
			assert_int_equal(bpf_prog_test_run_opts(bpf_program__fd(xdp->progs.xdp_uplink), &o), 0);
			ns += o.duration;
		}
		*(pass ? &many : &few) = (uint32_t)(ns / 200);
	}
	print_message("xdp_uplink: %u ns on one flow, %u on 200 (test run, 199 hops of TTL)\n", few, many);
	assert_true(many < 3 * few + 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_xdp_forwards),	   cmocka_unit_test(test_xdp_leaves_to_the_kernel),
		cmocka_unit_test(test_xdp_and_tc_on_anything), cmocka_unit_test(test_tc_drops_malformed),
		cmocka_unit_test(test_v6_extension_headers),   cmocka_unit_test(test_nobody_owns_it),
		cmocka_unit_test(test_source_guard),	       cmocka_unit_test(test_vmac_to_port),
		cmocka_unit_test(test_cost_is_flat),
	};

	if (geteuid()) {
		puts("skipped: needs root");
		return 77;
	}
	return cmocka_run_group_tests(tests, setup, teardown);
}
