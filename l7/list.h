/* SPDX-License-Identifier: BSD-2-Clause */
/* Doubly linked rings; a link in each object, one object in at most one ring per link. */
#ifndef L7_LIST_H
#define L7_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct link {
	struct link *next, *prev; /* NULL: in no ring */
};

#define LINK_OF(l, type, member) ((type *)(void *)((char *)(l) - offsetof(type, member)))

static inline void ring_init(struct link *head)
{
	head->next = head->prev = head;
}

static inline bool ring_empty(const struct link *head)
{
	return head->next == head;
}

static inline void link_before(struct link *head, struct link *l)
{
	l->next = head;
	l->prev = head->prev;
	head->prev->next = l;
	head->prev = l;
}

static inline void link_after(struct link *head, struct link *l)
{
	link_before(head->next, l);
}

static inline void link_out(struct link *l)
{
	if (!l->next)
		return;
	l->prev->next = l->next;
	l->next->prev = l->prev;
	l->next = l->prev = NULL;
}

/* Where a walk goes on whose step may have taken others out, freed later: at `next`, or anew if that is no longer there. */
static inline struct link *ring_onward(const struct link *head, struct link *next)
{
	return next->next ? next : head->next;
}

/* The first of a ring, out of it; NULL: it is empty. */
static inline struct link *ring_take(struct link *head)
{
	struct link *l = head->next;

	if (l == head)
		return NULL;
	head->next = l->next;
	l->next->prev = head;
	l->next = l->prev = NULL;
	return l;
}

#endif
