/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The set of VIP addresses, asked for every socket of the machine: sorted, so that 100,000 questions
 * take a few milliseconds.  IPv4-mapped IPv6 addresses (a dual-stack listener's) count as IPv4.
 */
#ifndef AGENT_VIPSET_H
#define AGENT_VIPSET_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pop/pop.h"

struct vipset_entry {
	struct address address;
	uint32_t vip; /* position in pop->vip */
};

struct vipset {
	struct vipset_entry *entry;
	size_t n;
};

/* be32 words as the kernel gives them; mapped addresses become IPv4. */
static inline struct address address_of_words(sa_family_t family, const void *words)
{
	struct address a = { .family = family };

	if (family == AF_INET) {
		memcpy(&a.v4, words, 4);
		return a;
	}
	memcpy(&a.v6, words, 16);
	if (IN6_IS_ADDR_V4MAPPED(&a.v6)) {
		uint32_t v4;

		memcpy(&v4, (const char *)words + 12, 4);
		memset(&a, 0, sizeof(a));
		a.family = AF_INET;
		a.v4.s_addr = v4;
	}
	return a;
}

static inline int vipset_compare(const void *a, const void *b)
{
	return address_compare(&((const struct vipset_entry *)a)->address, &((const struct vipset_entry *)b)->address);
}

/* 0 or -ENOMEM, the set unchanged. */
static inline int vipset_build(struct vipset *s, const struct pop *pop)
{
	struct vipset_entry *entry;
	size_t n = 0;

	for (uint32_t i = 0; i < pop->n_vips; i++)
		n += pop->vip[i].n_addresses;
	entry = calloc(n ? n : 1, sizeof(*entry));
	if (!entry)
		return -ENOMEM;
	n = 0;
	for (uint32_t i = 0; i < pop->n_vips; i++)
		for (uint32_t j = 0; j < pop->vip[i].n_addresses; j++)
			entry[n++] = (struct vipset_entry){ pop->vip[i].address[j], i };
	qsort(entry, n, sizeof(*entry), vipset_compare);
	free(s->entry);
	s->entry = entry;
	s->n = n;
	return 0;
}

static inline void vipset_free(struct vipset *s)
{
	free(s->entry);
	s->entry = NULL;
	s->n = 0;
}

/* The VIP's position, or -1. */
static inline long vipset_find(const struct vipset *s, const struct address *a)
{
	struct vipset_entry key = { .address = *a };
	const struct vipset_entry *e = bsearch(&key, s->entry, s->n, sizeof(*s->entry), vipset_compare);

	return e ? (long)e->vip : -1;
}

#endif
