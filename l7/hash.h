/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A 64-bit hash of bytes that is the same on every front end: for tables and for affinity.  Multiply and
 * fold over eight bytes at a time, the finish of splitmix64.  Not for defence against chosen keys.
 */
#ifndef L7_HASH_H
#define L7_HASH_H

#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t hash_mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

static inline uint64_t hash_bytes(const void *p, size_t n, uint64_t seed)
{
	const uint8_t *b = p;
	uint64_t h = hash_mix(seed + 0x9e3779b97f4a7c15ull * (n + 1)), word;

	for (; n >= 8; n -= 8, b += 8) {
		memcpy(&word, b, 8);
		h = hash_mix(h ^ le64toh(word));
	}
	word = 0;
	for (size_t i = 0; i < n; i++)
		word |= (uint64_t)b[i] << (8 * i);
	return hash_mix(h ^ word);
}

/* FNV-1a of text whose case does not matter. */
static inline uint32_t hash_text_lower(const char *p, size_t n, uint32_t seed)
{
	uint32_t h = 2166136261u ^ seed;

	for (size_t i = 0; i < n; i++)
		h = (h ^ (uint8_t)(p[i] >= 'A' && p[i] <= 'Z' ? p[i] | 0x20 : p[i])) * 16777619u;
	return h ^ (h >> 15);
}

#endif
