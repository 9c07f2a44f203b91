// SPDX-License-Identifier: BSD-2-Clause
/* Packets that wait (l7/row/held.h). */
#include "l7/row/held.h"

#include <stdlib.h>
#include <string.h>

#define BUCKETS 4096

struct packet_held {
	struct packet_held *next;
	uint64_t at_ms;
	uint32_t len, seq, segment;
	uint8_t frame[];
};

/* A flow's packets, oldest first; it exists while there is one. */
struct queue {
	struct queue *next;
	struct flow flow;
	struct packet_held *head, **tail;
	uint32_t packets, bytes;
};

struct held {
	struct queue *bucket[BUCKETS];
	struct held_counts counts;
};

struct held *held_new(void)
{
	return calloc(1, sizeof(struct held));
}

static struct queue **find(struct held *h, const struct flow *f)
{
	struct queue **q = &h->bucket[flow_hash(f, 0) % BUCKETS];

	while (*q && memcmp(&(*q)->flow, f, sizeof(*f)))
		q = &(*q)->next;
	return q;
}

/* The oldest is gone. */
static void forget(struct held *h, struct queue *q)
{
	struct packet_held *p = q->head;

	q->head = p->next;
	if (!q->head)
		q->tail = &q->head;
	q->packets--;
	q->bytes -= p->len;
	h->counts.packets--;
	h->counts.bytes -= p->len;
	free(p);
}

static void drop_queue(struct held *h, struct queue **at)
{
	struct queue *q = *at;

	while (q->head) {
		h->counts.dropped++;
		forget(h, q);
	}
	*at = q->next;
	h->counts.flows--;
	free(q);
}

void held_free(struct held *h)
{
	size_t i;

	for (i = 0; h && i < BUCKETS; i++)
		while (h->bucket[i])
			drop_queue(h, &h->bucket[i]);
	free(h);
}

static struct queue *new_queue(struct held *h, struct queue **at, const struct flow *f)
{
	struct queue *q;

	if (h->counts.flows >= HELD_HOST_FLOWS_MAX)
		return NULL;
	q = calloc(1, sizeof(*q));
	if (!q)
		return NULL;
	q->flow = *f;
	q->tail = &q->head;
	*at = q;
	h->counts.flows++;
	return q;
}

static bool waits_already(const struct queue *q, uint32_t seq, uint32_t segment)
{
	const struct packet_held *p;

	for (p = q && segment ? q->head : NULL; p; p = p->next)
		if (p->seq == seq && p->segment == segment)
			return true;
	return false;
}

bool held_add(struct held *h, const struct flow *f, const uint8_t *frame, uint32_t len, uint32_t seq, uint32_t segment, uint64_t now_ms)
{
	struct queue **at = find(h, f), *q = *at;
	bool room = h->counts.bytes + len <= HELD_HOST_BYTES_MAX &&
		    (!q || (q->packets < HELD_FLOW_PACKETS_MAX && q->bytes + len <= HELD_FLOW_BYTES_MAX));
	struct packet_held *p;

	if (waits_already(q, seq, segment)) {
		h->counts.dropped++;
		h->counts.again++;
		return false;
	}
	p = room ? malloc(sizeof(*p) + len) : NULL;
	if (!p) {
		h->counts.dropped++;
		return false;
	}
	if (!q)
		q = new_queue(h, at, f);
	if (!q) {
		free(p);
		h->counts.dropped++;
		return false;
	}
	p->next = NULL;
	p->at_ms = now_ms;
	p->len = len;
	p->seq = seq;
	p->segment = segment;
	memcpy(p->frame, frame, len);
	*q->tail = p;
	q->tail = &p->next;
	q->packets++;
	q->bytes += len;
	h->counts.packets++;
	h->counts.bytes += len;
	return true;
}

void held_release(struct held *h, const struct flow *f, void (*each)(void *ctx, uint8_t *frame, uint32_t len), void *ctx)
{
	struct queue **at = find(h, f);

	if (!*at)
		return;
	while ((*at)->head) {
		each(ctx, (*at)->head->frame, (*at)->head->len);
		forget(h, *at);
	}
	drop_queue(h, at);
}

void held_drop(struct held *h, const struct flow *f)
{
	struct queue **at = find(h, f);

	if (*at)
		drop_queue(h, at);
}

void held_age(struct held *h, uint64_t now_ms)
{
	struct queue **at;
	size_t i;

	for (i = 0; i < BUCKETS && h->counts.packets; i++) {
		for (at = &h->bucket[i]; *at;) {
			struct queue *q = *at;

			while (q->head && q->head->at_ms + HELD_AGE_MAX_MS < now_ms) {
				h->counts.dropped++;
				forget(h, q);
			}
			if (q->head)
				at = &q->next;
			else
				drop_queue(h, at);
		}
	}
}

const struct held_counts *held_counts(const struct held *h)
{
	return &h->counts;
}
