/* SPDX-License-Identifier: BSD-2-Clause */
/* The proof of bucket equality.  See proof.h. */
#include "switch/proof.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lb/flow.h"
#include "lb/packet.h"

#define IP_AT PACKET_ETH_LEN
#define PROOF_PORT 443

void proof_vips(struct address vip[2])
{
	memset(vip, 0, 2 * sizeof(*vip));
	vip[0].family = AF_INET;
	inet_pton(AF_INET, PROBE_VIP4, &vip[0].v4);
	vip[1].family = AF_INET6;
	inet_pton(AF_INET6, PROBE_VIP6, &vip[1].v6);
}

/* splitmix64: sampled flows are the same everywhere and at any time. */
static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ull;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

static uint16_t checksum(const void *data, size_t len, uint32_t sum)
{
	const uint8_t *p = data;

	for (size_t i = 0; i + 1 < len; i += 2) {
		uint16_t word;

		memcpy(&word, p + i, 2);
		sum += ntohs(word);
	}
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

/* An IP header of len bytes of packet; returns where the next header goes. */
static uint8_t *put_ip(uint8_t *at, const struct flow *f, uint8_t protocol, size_t len)
{
	if (f->family == FLOW_V6) {
		struct packet_v6 h = { .version_flow = htonl(6u << 28), .len = htons((uint16_t)(len - sizeof(h))),
				       .next = protocol, .hops = 64 };

		memcpy(h.saddr, f->saddr, 16);
		memcpy(h.daddr, f->daddr, 16);
		memcpy(at, &h, sizeof(h));
		return at + sizeof(h);
	}
	struct packet_v4 h = { .version_ihl = 0x45, .len = htons((uint16_t)len), .frag = htons(0x4000), .ttl = 64,
			       .protocol = protocol, .saddr = f->saddr[0], .daddr = f->daddr[0] };

	h.check = checksum(&h, sizeof(h), 0);
	memcpy(at, &h, sizeof(h));
	return at + sizeof(h);
}

static void put_l4(uint8_t *at, const struct flow *f)
{
	if (f->protocol == IPPROTO_TCP) {
		struct packet_tcp h = { .sport = f->sport, .dport = f->dport, .doff = 5 << 4,
					.flags = TCP_FLAG_BIT_ACK };

		memcpy(at, &h, sizeof(h));
	} else {
		uint16_t h[4] = { f->sport, f->dport, htons(8), 0 };

		memcpy(at, h, sizeof(h));
	}
}

static struct flow reversed(const struct flow *f)
{
	struct flow r = *f;

	memcpy(r.saddr, f->daddr, 16);
	memcpy(r.daddr, f->saddr, 16);
	r.sport = f->dport;
	r.dport = f->sport;
	return r;
}

static void put_frame(uint8_t frame[PROOF_FRAME_LEN], const struct flow *f, bool icmp_error)
{
	size_t len = PROOF_FRAME_LEN - IP_AT;
	bool v6 = f->family == FLOW_V6;
	uint8_t *at;

	memset(frame, 0, PROOF_FRAME_LEN);
	frame[0] = frame[6] = 0x02; /* the fabric sets the destination */
	frame[11] = 0x01;
	frame[12] = v6 ? 0x86 : 0x08;
	frame[13] = v6 ? 0xdd : 0x00;
	if (!icmp_error) {
		put_l4(put_ip(frame + IP_AT, f, f->protocol, len), f);
		return;
	}
	struct flow router = *f, quote = reversed(f); /* the quoted packet went from the VIP to the client */

	router.saddr[v6 ? 3 : 0] ^= htonl(0x0100);
	at = put_ip(frame + IP_AT, &router, v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP, len);
	at[0] = v6 ? 2 : 3; /* packet too big; destination unreachable, fragmentation needed */
	at[1] = v6 ? 0 : 4;
	at[6] = 0x05;
	put_l4(put_ip(at + 8, &quote, f->protocol, 60), &quote);
	len -= (size_t)(at - frame - IP_AT);
	uint16_t sum = checksum(at, len, 0); /* of ICMP; routers do not look at ICMPv6's, but be right for IPv4 */

	memcpy(at + 2, &sum, 2);
}

void proof_frames(const struct address vip[2], uint8_t (*frame)[PROOF_FRAME_LEN], uint32_t *bucket, size_t n,
		  uint32_t hash_seed, uint32_t n_buckets)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t r = mix(i);
		struct flow f = { .family = i % 2 ? FLOW_V6 : FLOW_V4,
				  .protocol = i % 3 ? IPPROTO_TCP : IPPROTO_UDP,
				  .sport = htons((uint16_t)(1024 + (r & 0x7fff))), .dport = htons(PROOF_PORT) };

		if (f.family == FLOW_V6) {
			f.saddr[0] = htonl(0x20010db8);
			f.saddr[2] = htonl((uint32_t)(r >> 32));
			f.saddr[3] = htonl((uint32_t)mix(r));
			memcpy(f.daddr, &vip[1].v6, 16);
		} else {
			f.saddr[0] = htonl(0xc6120000 | (uint32_t)(r >> 40 & 0x1ffff)); /* 198.18.0.0/15 */
			f.daddr[0] = vip[0].v4.s_addr;
		}
		bucket[i] = flow_bucket(&f, hash_seed, n_buckets);
		put_frame(frame[i], &f, i / 2 % 4 == 3);
	}
}

/* FNV-1a over the numbers, never 0. */
static uint64_t digest_of(const uint32_t *bucket, size_t n, uint32_t n_buckets)
{
	uint64_t h = (0xcbf29ce484222325ull ^ n_buckets) * 0x100000001b3ull;

	for (size_t i = 0; i < n; i++)
		h = (h ^ bucket[i]) * 0x100000001b3ull;
	return h ? h : 1;
}

int proof_run(const struct fabric_ops *ops, struct fabric *f, uint32_t hash_seed, uint32_t n_buckets, size_t n,
	      struct proof_digest *digest, char *why, size_t why_len)
{
	uint8_t(*frame)[PROOF_FRAME_LEN] = calloc(n, sizeof(*frame));
	uint32_t *want = calloc(n, sizeof(*want)), *got = calloc(n, sizeof(*got));
	int err = frame && want && got && n <= PROOF_FLOWS_MAX ? 0 : -ENOMEM;
	size_t wrong = 0, first = 0;
	struct address vip[2];

	if (digest)
		*digest = (struct proof_digest){ 0, 0 };
	if (!err) {
		proof_vips(vip);
		proof_frames(vip, frame, want, n, hash_seed, n_buckets);
		err = ops->probe_buckets(f, frame, PROOF_FRAME_LEN, n, got);
	}
	if (err) {
		snprintf(why, why_len, "probe frames did not come through the %s fabric: %s", ops->caps->name,
			 strerror(-err));
	} else {
		if (digest) {
			digest->all = digest_of(got, n, n_buckets);
			digest->few = digest_of(got, n < PROOF_FLOWS_FEW ? n : PROOF_FLOWS_FEW, n_buckets);
		}
		for (size_t i = n; i-- > 0;) {
			if (want[i] != got[i]) {
				wrong++;
				first = i;
			}
		}
		if (wrong) {
			snprintf(why, why_len,
				 "%zu of %zu sampled flows go to another bucket than hash %s with seed %#x says (flow %zu: "
				 "%u, not %u)",
				 wrong, n, HASH_FAMILY, hash_seed, first, got[first], want[first]);
			err = -EILSEQ;
		} else {
			why[0] = 0;
		}
	}
	free(frame);
	free(want);
	free(got);
	return err;
}

int proof_preview(const struct fabric_ops *ops, struct fabric *f, const struct fabric_want *want, size_t n,
		  struct proof_digest *digest, char *why, size_t why_len)
{
	uint8_t(*frame)[PROOF_FRAME_LEN] = calloc(n, sizeof(*frame));
	uint32_t *right = calloc(n, sizeof(*right)), *got = calloc(n, sizeof(*got));
	int err = frame && right && got && n <= PROOF_FLOWS_MAX ? 0 : -ENOMEM;
	struct address vip[2];

	*digest = (struct proof_digest){ 0, 0 };
	if (!err) {
		proof_vips(vip);
		proof_frames(vip, frame, right, n, want->hash_seed, want->n_buckets);
		err = ops->preview_buckets(f, want, frame, PROOF_FRAME_LEN, n, got);
	}
	if (err) {
		snprintf(why, why_len, "the %s fabric's programs cannot be tried: %s", ops->caps->name, strerror(-err));
	} else {
		digest->all = digest_of(got, n, want->n_buckets);
		digest->few = digest_of(got, n < PROOF_FLOWS_FEW ? n : PROOF_FLOWS_FEW, want->n_buckets);
	}
	free(frame);
	free(right);
	free(got);
	return err;
}
