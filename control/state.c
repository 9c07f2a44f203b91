/* SPDX-License-Identifier: BSD-2-Clause */
/* The state machine behind the log.  Every record is applied to a copy of what it touches, and checked
 * against its digests, before anything is replaced: a bad record changes nothing. */
#include "control/state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/conf.h"

static int refuse(char *why, size_t why_len, int err, const char *text)
{
	snprintf(why, why_len, "%s", text);
	return err;
}

struct config *config_new(const char *text, size_t len, char *why, size_t why_len)
{
	struct conf_errors errors = { .name = "pop.yaml" };
	struct config *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->refs = 1;
	c->pop = pop_parse(text, len, "pop.yaml", &errors);
	c->text = malloc(len + 1);
	if (!c->pop || !c->text) {
		snprintf(why, why_len, "the configuration is not valid: %s", errors.n ? errors.error[0].message : "no memory");
		conf_errors_free(&errors);
		config_unref(c);
		return NULL;
	}
	conf_errors_free(&errors);
	memcpy(c->text, text, len);
	c->text[len] = 0;
	c->len = len;
	sha256(text, len, c->digest);
	return c;
}

struct config *config_ref(struct config *c)
{
	if (c)
		c->refs++;
	return c;
}

void config_unref(struct config *c)
{
	if (!c || --c->refs)
		return;
	if (c->pop)
		pop_free(c->pop);
	free(c->text);
	free(c);
}

static void view_point(struct state *s)
{
	s->view.pop = s->config ? s->config->pop : NULL;
	s->view.table = s->config ? &s->table : NULL;
}

void state_init(struct state *s)
{
	memset(s, 0, sizeof(*s));
	memset(s->view.host_health, HEALTH_DEAD, sizeof(s->view.host_health));
}

void state_free(struct state *s)
{
	table_free(&s->table);
	free(s->changed);
	config_unref(s->config);
	state_init(s);
}

int state_copy(struct state *to, const struct state *from)
{
	*to = *from;
	to->changed = NULL;
	to->table.bucket = NULL;
	if (from->config) {
		to->changed = malloc(from->table.n_buckets * sizeof(*to->changed));
		if (!to->changed || table_copy(&to->table, &from->table)) {
			free(to->changed);
			state_init(to);
			return -ENOMEM;
		}
		memcpy(to->changed, from->changed, from->table.n_buckets * sizeof(*to->changed));
	}
	config_ref(to->config);
	view_point(to);
	return 0;
}

/* VIPs are known by position in the log: an admin state follows its VIP's name. */
static void carry_vips(struct state *s, const struct pop *old)
{
	uint8_t admin[POP_VIPS_MAX] = { 0 };
	uint32_t i, j;

	for (i = 0; i < s->view.pop->n_vips; i++)
		for (j = 0; old && j < old->n_vips; j++)
			if (!strcmp(s->view.pop->vip[i].name, old->vip[j].name))
				admin[i] = s->view.vip_admin[j];
	memcpy(s->view.vip_admin, admin, sizeof(admin));
}

/* What is no longer configured is as if it had never been. */
static void forget_removed(struct state *s)
{
	uint16_t id;

	for (id = HOST_ID_MIN; id <= HOST_ID_MAX; id++)
		if (!pop_host(s->view.pop, id)) {
			s->view.host_admin[id] = ADMIN_IN;
			s->view.host_health[id] = HEALTH_DEAD;
		}
	for (id = 1; id <= POP_SWITCHES_MAX; id++)
		if (!pop_switch(s->view.pop, id))
			s->view.switch_admin[id] = ADMIN_IN;
}

static int set_config(struct state *s, const uint8_t *text, size_t len, char *why, size_t why_len)
{
	struct config *c = config_new((const char *)text, len, why, why_len), *old = s->config;

	if (!c)
		return -EBADMSG;
	if (!old) {
		s->changed = calloc(c->pop->buckets, sizeof(*s->changed));
		if (!s->changed || table_init(&s->table, c->pop->buckets)) {
			config_unref(c);
			return refuse(why, why_len, -ENOMEM, "no memory for the table");
		}
	} else if (c->pop->buckets != s->table.n_buckets) {
		config_unref(c);
		return refuse(why, why_len, -EBADMSG, "the number of buckets changed");
	}
	s->config = c;
	view_point(s);
	carry_vips(s, old ? old->pop : NULL);
	forget_removed(s);
	config_unref(old);
	return 0;
}

static int apply_moves(struct state *s, const struct record *r)
{
	struct move *move = malloc(BUCKETS_MAX * sizeof(*move));
	size_t i, n = BUCKETS_MAX;
	int err = -EBADMSG;

	if (!move)
		return -ENOMEM;
	if (!s->config || body_moves(r->body, r->body_len, move, &n))
		goto out;
	if (n && move[n - 1].bucket >= s->table.n_buckets)
		goto out;
	table_apply(&s->table, move, n);
	for (i = 0; i < n; i++)
		s->changed[move[i].bucket] = r->index;
	err = 0;
out:
	free(move);
	return err;
}

static void apply_change(struct view *v, const struct change *c, unsigned *what)
{
	switch ((enum subject)c->subject) {
	case SUBJECT_HOST_ADMIN:
		v->host_admin[c->id] = c->value;
		*what |= VIEW_HOSTS;
		break;
	case SUBJECT_HOST_HEALTH:
		v->host_health[c->id] = c->value;
		*what |= VIEW_HOSTS;
		break;
	case SUBJECT_SWITCH_ADMIN:
		v->switch_admin[c->id] = c->value;
		*what |= VIEW_SWITCHES;
		break;
	case SUBJECT_VIP_ADMIN:
		v->vip_admin[c->id] = c->value;
		*what |= VIEW_VIPS;
		break;
	case SUBJECT_BUCKETS:
		v->buckets &= ~(0xffull << (56 - 8 * c->id));
		v->buckets |= (uint64_t)c->value << (56 - 8 * c->id);
		*what |= VIEW_SWITCHES;
		break;
	}
}

#define CHANGES_MAX (2 * HOST_ID_MAX + POP_SWITCHES_MAX + POP_VIPS_MAX + 8)

static int apply_changes(struct state *s, const uint8_t *body, size_t len, unsigned *what)
{
	struct change *c = malloc(CHANGES_MAX * sizeof(*c));
	size_t i, n = CHANGES_MAX;
	int err = -EBADMSG;

	if (!c)
		return -ENOMEM;
	if (s->config && !body_changes(body, len, c, &n)) {
		for (i = 0; i < n; i++)
			apply_change(&s->view, &c[i], what);
		err = 0;
	}
	free(c);
	return err;
}

#define SNAPSHOT_FIXED (2 * HASH_LEN + 16 + 4)
#define SNAPSHOT_ROW (sizeof(struct wire_move) + 8)

/* Into an empty state. */
static int load_snapshot(struct state *s, const struct record *r, unsigned *what, char *why, size_t why_len)
{
	const uint8_t *p = r->body, *end = r->body + r->body_len;
	uint32_t n, b;
	int err;

	if (r->body_len < SNAPSHOT_FIXED)
		return -EBADMSG;
	memcpy(s->log_id, p, HASH_LEN);
	s->settled_acked = get64(p + 32);
	s->settled_index = get64(p + 40);
	memcpy(s->hash, p + 48, HASH_LEN);
	n = get32(p + 80);
	p += SNAPSHOT_FIXED;
	if (n > (size_t)(end - p))
		return -EBADMSG;
	err = set_config(s, p, n, why, why_len);
	if (err)
		return err;
	p += n;
	if (end - p < 4 || (n = get32(p)) != s->table.n_buckets || (size_t)(end - p - 4) < n * SNAPSHOT_ROW)
		return -EBADMSG;
	for (p += 4, b = 0; b < n; b++, p += SNAPSHOT_ROW) {
		struct bucket k = { { { get16(p + 2), get16(p + 4), get16(p + 6) } }, get16(p + 8), get16(p + 10) };

		if (get16(p) != b || !bucket_valid(&k))
			return -EBADMSG;
		s->table.bucket[b] = k;
		s->changed[b] = get64(p + sizeof(struct wire_move));
	}
	*what = ~0u;
	return apply_changes(s, p, (size_t)(end - p), what);
}

uint8_t *state_snapshot(const struct state *s, size_t *len)
{
	struct change *c = malloc(CHANGES_MAX * sizeof(*c));
	size_t n = 0, rows = s->table.n_buckets * SNAPSHOT_ROW, changes_len = 0;
	struct move *move = malloc(BUCKETS_MAX * sizeof(*move));
	uint8_t *body = NULL, *changes = NULL, *moves = NULL, *out = NULL, *p;
	struct record r = { .term = s->view.term, .index = s->view.index, .semantics = RECORD_SEMANTICS, .type = RECORD_SNAPSHOT };
	uint32_t b;
	uint16_t id;

	if (!c || !move || !s->config)
		goto done;
	for (id = HOST_ID_MIN; id <= HOST_ID_MAX; id++) {
		if (s->view.host_admin[id] != ADMIN_IN)
			c[n++] = (struct change){ SUBJECT_HOST_ADMIN, s->view.host_admin[id], id };
		if (s->view.host_health[id] != HEALTH_DEAD)
			c[n++] = (struct change){ SUBJECT_HOST_HEALTH, s->view.host_health[id], id };
	}
	for (id = 1; id <= POP_SWITCHES_MAX; id++)
		if (s->view.switch_admin[id] != ADMIN_IN)
			c[n++] = (struct change){ SUBJECT_SWITCH_ADMIN, s->view.switch_admin[id], id };
	for (id = 0; id < POP_VIPS_MAX; id++)
		if (s->view.vip_admin[id] != ADMIN_IN)
			c[n++] = (struct change){ SUBJECT_VIP_ADMIN, s->view.vip_admin[id], id };
	for (id = 0; id < 8 && s->view.buckets; id++)
		c[n++] = (struct change){ SUBJECT_BUCKETS, (uint8_t)(s->view.buckets >> (56 - 8 * id)), id };
	changes = body_put_changes("", c, n, &changes_len);
	for (b = 0; b < s->table.n_buckets; b++)
		move[b] = (struct move){ b, s->table.bucket[b] };
	moves = body_put_moves("", move, b, &r.body_len); /* 2 bytes of reason, 4 of count, then the rows */
	body = malloc(SNAPSHOT_FIXED + s->config->len + 4 + rows + changes_len);
	if (!changes || !moves || !body)
		goto done;
	memcpy(body, s->log_id, HASH_LEN);
	put64(body + 32, s->settled_acked);
	put64(body + 40, s->settled_index);
	memcpy(body + 48, s->hash, HASH_LEN);
	put32(body + 80, (uint32_t)s->config->len);
	p = body + SNAPSHOT_FIXED;
	memcpy(p, s->config->text, s->config->len);
	p += s->config->len;
	put32(p, s->table.n_buckets);
	for (p += 4, b = 0; b < s->table.n_buckets; b++, p += SNAPSHOT_ROW) {
		memcpy(p, moves + 6 + b * sizeof(struct wire_move), sizeof(struct wire_move));
		put64(p + sizeof(struct wire_move), s->changed[b]);
	}
	memcpy(p, changes, changes_len);
	r.body = body;
	r.body_len = (size_t)(p - body) + changes_len;
	memcpy(r.config_digest, s->config->digest, HASH_LEN);
	table_digest(&s->table, r.table_digest);
	out = record_encode(&r, len);
done:
	free(c);
	free(move);
	free(changes);
	free(moves);
	free(body);
	return out;
}

static int check_order(const struct state *s, const struct record *r, char *why, size_t why_len)
{
	if (r->semantics != RECORD_SEMANTICS) {
		snprintf(why, why_len, "record %llu has semantics version %u, this program knows %u",
			 (unsigned long long)r->index, r->semantics, RECORD_SEMANTICS);
		return -EBADMSG;
	}
	if (r->type == RECORD_SNAPSHOT) {
		if (r->body_len < HASH_LEN)
			return refuse(why, why_len, -EBADMSG, "a snapshot is too short");
		if (s->view.index && memcmp(r->body, s->log_id, HASH_LEN))
			return refuse(why, why_len, -ESTALE, "the controller's log is another log than the one followed so far");
		if (r->index < s->view.index || r->term < s->view.term)
			return refuse(why, why_len, -ESTALE, "the controller's log is behind what was followed so far");
		return r->index == s->view.index ? -EALREADY : 0;
	}
	if (r->index <= s->view.index) {
		if (r->index == s->view.index && memcmp(r->hash, s->hash, HASH_LEN))
			return refuse(why, why_len, -ESTALE, "the controller's log has another record at the same index");
		return -EALREADY;
	}
	if (r->index != s->view.index + 1)
		return refuse(why, why_len, -ENOENT, "records are missing in between");
	if (r->term < s->view.term || memcmp(r->previous, s->hash, HASH_LEN))
		return refuse(why, why_len, -ESTALE, "the record does not extend the log followed so far");
	return 0;
}

static int apply_body(struct state *s, const struct record *r, unsigned *what, char *why, size_t why_len)
{
	struct body_text t;
	int err = -EBADMSG;

	switch ((enum record_type)r->type) {
	case RECORD_CONFIG:
		if (body_reason(r->body, r->body_len, &t))
			break;
		err = set_config(s, t.rest, t.rest_len, why, why_len);
		*what = s->view.index ? VIEW_POP | VIEW_HOSTS | VIEW_SWITCHES | VIEW_VIPS : ~0u;
		break;
	case RECORD_TABLE:
		err = apply_moves(s, r);
		*what = VIEW_TABLE;
		break;
	case RECORD_STATE:
		err = apply_changes(s, r->body, r->body_len, what);
		break;
	case RECORD_SETTLED:
		if (r->body_len != 8 || get64(r->body) >= r->index)
			break;
		s->settled_acked = get64(r->body);
		s->settled_index = r->index;
		*what = VIEW_TABLE; /* the same table, but a proof that begins now counts for more */
		err = 0;
		break;
	case RECORD_SNAPSHOT:
		err = load_snapshot(s, r, what, why, why_len);
		break;
	}
	return err;
}

int state_apply(struct state *s, const struct record *r, unsigned *what, char *why, size_t why_len)
{
	struct state next;
	uint8_t digest[HASH_LEN];
	int err;

	*what = 0;
	snprintf(why, why_len, "record %llu is malformed", (unsigned long long)r->index);
	err = check_order(s, r, why, why_len);
	if (err)
		return err;
	if (r->type == RECORD_SNAPSHOT)
		state_init(&next);
	else if (state_copy(&next, s))
		return -ENOMEM;
	err = apply_body(&next, r, what, why, why_len);
	if (!err && (!next.config || memcmp(r->config_digest, next.config->digest, HASH_LEN)))
		err = refuse(why, why_len, -EBADMSG, "the digest of the configuration differs from the record's");
	if (!err) {
		table_digest(&next.table, digest);
		if (memcmp(r->table_digest, digest, HASH_LEN))
			err = refuse(why, why_len, -EBADMSG, "the digest of the table differs from the record's");
	}
	if (err) {
		state_free(&next);
		return err;
	}
	next.view.term = r->term;
	next.view.index = r->index;
	if (r->type != RECORD_SNAPSHOT)
		memcpy(next.hash, r->hash, HASH_LEN);
	if (r->index == 1 && r->type != RECORD_SNAPSHOT)
		memcpy(next.log_id, r->hash, HASH_LEN);
	state_free(s);
	*s = next;
	view_point(s);
	why[0] = 0;
	return 0;
}
