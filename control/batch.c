/* SPDX-License-Identifier: BSD-2-Clause */
/* Building a batch of records.  Each is applied to c->pending as a follower will apply it, so that a
 * record which followers would refuse is never written. */
#include "control/core.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int batch_begin(struct batch *b, struct control *c, struct control_actions *a)
{
	assert(!c->busy);
	*b = (struct batch){ c, a, 0 };
	return state_copy(&c->pending, &c->state);
}

void batch_drop(struct batch *b)
{
	size_t i;

	for (i = 0; i < b->a->n_records; i++)
		free((void *)(uintptr_t)b->a->record[i].data);
	b->a->n_records = 0;
	state_free(&b->c->pending);
}

void batch_keep(struct batch *b)
{
	if (!b->a->n_records) {
		batch_drop(b);
		return;
	}
	b->c->busy = true;
	b->c->pending_evicted = b->evicted;
}

/* table_digest and config_digest of r are set by the caller; body is freed. */
static int put(struct batch *b, struct record *r, uint8_t *body, char *why, size_t why_len)
{
	struct state *s = &b->c->pending;
	struct record decoded;
	unsigned what;
	size_t len;
	uint8_t *bytes = NULL;
	int err = -ENOMEM;

	if (b->a->n_records == LOG_BATCH_MAX) {
		free(body);
		return -EAGAIN; /* the next step goes on */
	}
	if (!body)
		return err;
	r->term = s->view.term ? s->view.term : 1;
	r->index = s->view.index + 1;
	r->semantics = RECORD_SEMANTICS;
	r->body = body;
	memcpy(r->previous, s->hash, HASH_LEN);
	bytes = record_encode(r, &len);
	if (bytes) {
		err = record_decode(bytes, len, &decoded);
		if (!err)
			err = state_apply(s, &decoded, &what, why, why_len);
	}
	free(body);
	if (err) {
		free(bytes);
		return err;
	}
	b->a->record[b->a->n_records++] = (struct log_bytes){ bytes, len };
	return 0;
}

static int put_as_is(struct batch *b, enum record_type type, uint8_t *body, size_t len)
{
	struct record r = { .type = (uint16_t)type, .body_len = len };
	char why[WHY_MAX];

	memcpy(r.config_digest, b->c->pending.config->digest, HASH_LEN);
	table_digest(&b->c->pending.table, r.table_digest);
	return put(b, &r, body, why, sizeof(why));
}

int batch_config(struct batch *b, const char *reason, const char *text, size_t len, char *why, size_t why_len)
{
	struct record r = { .type = RECORD_CONFIG };
	struct table empty;
	struct config *c;
	uint8_t *body;

	sha256(text, len, r.config_digest);
	if (b->c->pending.config) {
		table_digest(&b->c->pending.table, r.table_digest);
	} else {
		c = config_new(text, len, why, why_len);
		if (!c)
			return -EINVAL;
		if (table_init(&empty, c->pop->buckets)) {
			config_unref(c);
			return -EINVAL;
		}
		table_digest(&empty, r.table_digest);
		table_free(&empty);
		config_unref(c);
	}
	body = body_put_text(reason, text, len, &r.body_len);
	return put(b, &r, body, why, why_len);
}

int batch_changes(struct batch *b, const char *reason, const struct change *change, size_t n)
{
	size_t len;
	uint8_t *body = body_put_changes(reason, change, n, &len);

	return put_as_is(b, RECORD_STATE, body, len);
}

int batch_moves(struct batch *b, const char *reason, const struct move *move, size_t n)
{
	size_t len;
	uint8_t *body = body_put_moves(reason, move, n, &len);

	/* Applied already here for the digest, and once more, to no effect, by put(). */
	table_apply(&b->c->pending.table, move, n);
	return put_as_is(b, RECORD_TABLE, body, len);
}

int batch_settled(struct batch *b, uint64_t installed)
{
	uint8_t *body = malloc(8);

	if (body)
		put64(body, installed);
	return put_as_is(b, RECORD_SETTLED, body, 8);
}

int batch_event(struct batch *b, const char *reason, struct table_event *e, struct table_plan *plan)
{
	int err;

	plan->move = malloc(BUCKETS_MAX * sizeof(*plan->move));
	if (!plan->move)
		return -ENOMEM;
	err = table_step(&b->c->pending.table, e, plan);
	b->evicted += plan->n_evicted;
	if (!err && plan->n_moves)
		err = batch_moves(b, reason, plan->move, plan->n_moves);
	return err;
}

int batch_rebalance(struct batch *b, const char *reason, bool forced, struct table_plan *plan)
{
	const struct state *s = &b->c->pending;
	const struct pop *pop = s->view.pop;
	struct table_change *change = calloc(HOST_ID_MAX, sizeof(*change));
	struct table_event e = { .kind = TABLE_SET_HOST, .change = change, .forced = forced };
	uint32_t i;
	int err;

	plan->move = NULL;
	if (!change)
		return -ENOMEM;
	/* All hosts every time: who is not configured any more is gone by that alone.  Of one elsewhere the table never hears. */
	for (i = 0; i < pop->n_hosts; i++)
		if (!host_is_elsewhere(&pop->host[i]))
			change[e.n_changes++] = (struct table_change){ pop->host[i].id, pop->host[i].weight,
								       control_standing(s, pop->host[i].id) };
	err = batch_event(b, reason, &e, plan);
	free(change);
	return err;
}
