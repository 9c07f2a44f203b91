/* SPDX-License-Identifier: BSD-2-Clause */
/* The latest records in memory: a ring for followers to catch up from, and the configurations for rollback. */
#include <stdlib.h>
#include <string.h>

#include "control/controld.h"

void history_keep_config(struct history *h, const struct record *r)
{
	struct body_text t;
	char *copy;

	if (body_reason(r->body, r->body_len, &t) || history_config(h, r->index) || !(copy = malloc(t.rest_len + 1)))
		return;
	memcpy(copy, t.rest, t.rest_len);
	copy[t.rest_len] = 0;
	if (h->n_configs == CONFIGS_KEPT) {
		free(h->config[0].text);
		memmove(h->config, h->config + 1, sizeof(h->config[0]) * --h->n_configs);
	}
	h->config[h->n_configs].index = r->index;
	h->config[h->n_configs].text = copy;
	h->config[h->n_configs++].len = t.rest_len;
}

void history_add(struct history *h, const uint8_t *bytes, size_t len, uint64_t now_ms)
{
	struct entry *e;
	uint8_t *copy = malloc(len);

	if (!copy)
		return; /* a gap: who needs it gets a snapshot */
	memcpy(copy, bytes, len);
	if (h->n == HISTORY_MAX) {
		free(h->entry[h->first].bytes);
		h->first = (h->first + 1) % HISTORY_MAX;
		h->n--;
	}
	e = &h->entry[(h->first + h->n) % HISTORY_MAX];
	*e = (struct entry){ copy, len, { 0 }, now_ms };
	if (record_decode(copy, len, &e->r)) {
		free(copy);
		return;
	}
	h->n++;
	if (e->r.type == RECORD_CONFIG)
		history_keep_config(h, &e->r);
}

const struct entry *history_at(const struct history *h, uint64_t index)
{
	size_t i;

	/* Newest first: that is what is asked for. */
	for (i = h->n; i-- > 0;) {
		const struct entry *e = &h->entry[(h->first + i) % HISTORY_MAX];

		if (e->r.index == index && e->r.type != RECORD_SNAPSHOT)
			return e;
	}
	return NULL;
}

const struct kept_text *history_config(const struct history *h, uint64_t index)
{
	size_t i;

	for (i = 0; i < h->n_configs; i++)
		if (h->config[i].index == index)
			return &h->config[i];
	return NULL;
}

void history_free(struct history *h)
{
	size_t i;

	for (i = 0; i < h->n; i++)
		free(h->entry[(h->first + i) % HISTORY_MAX].bytes);
	for (i = 0; i < h->n_configs; i++)
		free(h->config[i].text);
	memset(h, 0, sizeof(*h));
}
