/* SPDX-License-Identifier: BSD-2-Clause */
/* The verbs of the control socket (docs/formats.md section 1). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/conf.h"
#include "control/controld.h"
#include "pop/diff.h"

static const char *text_of(json_t *args, const char *key)
{
	const char *s = json_string_value(json_object_get(args, key));

	return s ? s : "";
}

static bool flag(json_t *args, const char *key)
{
	return json_is_true(json_object_get(args, key));
}

/* "kind" and "name" of the request; false: refused. */
static bool object_of(struct controller *c, json_t *args, enum object_kind *kind, uint16_t *id, struct ctl_request *r)
{
	const struct pop *pop = c->core.state.view.pop;
	const char *k = text_of(args, "kind"), *name = text_of(args, "name");
	const struct host_conf *h;
	const struct switch_conf *s;
	const struct vip *v;
	char why[WHY_MAX];

	if (!strcmp(k, "host") && (h = pop_host_by_name(pop, name))) {
		*kind = OBJECT_HOST;
		*id = h->id;
		return true;
	}
	if (!strcmp(k, "switch") && (s = pop_switch_by_name(pop, name))) {
		*kind = OBJECT_SWITCH;
		*id = s->id;
		return true;
	}
	if (!strcmp(k, "vip") && (v = pop_vip_by_name(pop, name))) {
		*kind = OBJECT_VIP;
		*id = (uint16_t)(v - pop->vip);
		return true;
	}
	if (strcmp(k, "host") && strcmp(k, "switch") && strcmp(k, "vip")) {
		ctl_refuse(r, "\"kind\" must be host, switch or vip", "see docs/formats.md");
		return false;
	}
	snprintf(why, sizeof(why), "there is no %s %.100s in the configuration in force", k, name);
	ctl_refuse(r, why, !strcmp(k, "host") ? "see baton show hosts" : !strcmp(k, "switch") ? "see baton show switches" : "see baton show vips");
	return false;
}

/* Runs a command; true: it holds, and *reply says what it does. */
static bool run(struct controller *c, struct command *cmd, struct command_reply *reply, struct ctl_request *r)
{
	struct control_event e = { .kind = CONTROL_COMMAND, .command = cmd };
	char why[WHY_MAX + 64];

	c->append_err = 0;
	controller_step(c, &e, reply);
	if (reply->refused) {
		ctl_refuse(r, reply->error, reply->remedy);
		return false;
	}
	if (c->append_err) {
		snprintf(why, sizeof(why), "the log cannot be written (%.200s): nothing has changed", store_info(c->log)->error);
		ctl_refuse(r, why, "make room on the disk that holds the controller's state directory, or repair it");
		return false;
	}
	return true;
}

static void add_addresses(const struct vip *v, json_t *list)
{
	char text[ADDRESS_TEXT];
	uint32_t i;

	for (i = 0; i < v->n_addresses; i++)
		json_array_append_new(list, json_string(address_print(&v->address[i], text)));
}

/* What a switch's or a VIP's drain or fill is about: no bucket moves, so this is all there is to tell. */
static void add_steps(const struct controller *c, const struct command *cmd, json_t *o)
{
	const struct view *v = &c->core.state.view;
	json_t *list;
	uint32_t i;

	if (cmd->object == OBJECT_HOST)
		return;
	list = json_array();
	for (i = 0; i < v->pop->n_vips; i++)
		if (cmd->object == OBJECT_VIP ? i == cmd->id : v->vip_admin[i] == ADMIN_IN)
			add_addresses(&v->pop->vip[i], list);
	json_object_set_new(o, "addresses", list);
	if (cmd->object == OBJECT_SWITCH) {
		json_object_set_new(o, "graceful_s", json_real(v->pop->policy.graceful_shutdown_ms / 1000.0));
		json_object_set_new(o, "hosts", json_integer(v->pop->n_hosts));
	}
}

static void verb_move(struct controller *c, enum command_kind kind, json_t *args, struct ctl_request *r)
{
	struct command cmd = { .kind = kind, .force = flag(args, "force"), .dry_run = flag(args, "dry_run"),
			       .reason = text_of(args, "reason") };
	struct command_reply *reply;
	json_t *o, *to;
	uint16_t id;

	if (!object_of(c, args, &cmd.object, &cmd.id, r))
		return;
	reply = calloc(1, sizeof(*reply));
	if (!reply) {
		ctl_refuse(r, "no memory", "free some memory");
		return;
	}
	if (run(c, &cmd, reply, r)) {
		to = json_object();
		for (id = HOST_ID_MIN; id <= HOST_ID_MAX; id++)
			if (reply->to[id])
				json_object_set_new(to, host_word(c, id), json_integer(reply->to[id]));
		o = json_pack("{s:s, s:s, s:I, s:b, s:b, s:I, s:o, s:I}", "kind", text_of(args, "kind"), "name", text_of(args, "name"),
			      "index", (json_int_t)c->core.state.view.index, "already", reply->already, "dry_run", cmd.dry_run,
			      "moves", (json_int_t)reply->moves, "to", to, "evicted", (json_int_t)reply->evicted);
		add_steps(c, &cmd, o);
		ctl_answer(r, o);
	}
	free(reply);
}

/* Faults of a text, all of them; NULL when there are none. */
static json_t *faults(const char *text, size_t len, struct pop **pop)
{
	struct conf_errors errors = { .name = "pop.yaml" };
	json_t *list = NULL;
	size_t i;

	*pop = pop_parse(text, len, "pop.yaml", &errors);
	if (!*pop) {
		list = json_array();
		for (i = 0; i < errors.n; i++)
			json_array_append_new(list, json_pack("{s:i, s:i, s:s?, s:s?}", "line", (int)errors.error[i].line, "column",
							      (int)errors.error[i].column, "message", errors.error[i].message,
							      "source", errors.error[i].source));
	}
	conf_errors_free(&errors);
	return list;
}

static void hex(const uint8_t *hash, char out[2 * HASH_LEN + 1])
{
	size_t i;

	for (i = 0; i < HASH_LEN; i++)
		snprintf(out + 2 * i, 3, "%02x", hash[i]);
}

static void apply_text(struct controller *c, const char *text, size_t len, const char *reason, json_t *args, struct ctl_request *r)
{
	struct command cmd = { .kind = COMMAND_APPLY, .force = flag(args, "force"), .dry_run = flag(args, "dry_run"),
			       .reason = reason, .text = text, .text_len = len };
	json_t *bad, *diff, *index = json_object_get(args, "index");
	const char *confirm = text_of(args, "confirm");
	struct pop_changes changes = { 0 };
	const struct pop_change *fixed;
	struct command_reply *reply;
	uint8_t digest[HASH_LEN];
	char digest_hex[2 * HASH_LEN + 1], why[WHY_MAX];
	struct pop *pop;

	bad = faults(text, len, &pop);
	if (bad) {
		snprintf(why, sizeof(why), "%zu errors in the configuration", json_array_size(bad));
		ctl_answer(r, json_pack("{s:b, s:s, s:s, s:o}", "ok", 0, "error", why, "remedy", "correct them and apply again",
					"errors", bad));
		return;
	}
	sha256(text, len, digest);
	hex(digest, digest_hex);
	if (*confirm && (strcmp(confirm, digest_hex) ||
			 (json_is_integer(index) && (uint64_t)json_integer_value(index) != c->core.state.view.index && !strcmp(text_of(args, "verb"), "apply")))) {
		ctl_refuse(r, "the text or the POP has changed since the dry run", "look at a new dry run");
		pop_free(pop);
		return;
	}
	pop_diff(c->core.state.view.pop, pop, &changes);
	diff = pop_changes_json(&changes);
	fixed = pop_changes_refused(&changes);
	reply = calloc(1, sizeof(*reply));
	if (fixed) {
		snprintf(why, sizeof(why), "%s %s is fixed for the life of a POP (%.100s)", fixed->kind, fixed->name, fixed->text);
		ctl_refuse(r, why, "keep it as it is: every flow's bucket follows from it");
		json_decref(diff);
	} else if (!reply) {
		ctl_refuse(r, "no memory", "free some memory");
		json_decref(diff);
	} else if (run(c, &cmd, reply, r)) {
		ctl_answer(r, json_pack("{s:b, s:I, s:s, s:b, s:I, s:I, s:o}", "dry_run", cmd.dry_run, "index",
					(json_int_t)c->core.state.view.index, "digest", digest_hex, "unchanged", reply->already,
					"moves", (json_int_t)reply->moves, "evicted", (json_int_t)reply->evicted, "diff", diff));
	} else {
		json_decref(diff);
	}
	free(reply);
	pop_changes_free(&changes);
	pop_free(pop);
}

static void verb_rollback(struct controller *c, json_t *args, struct ctl_request *r)
{
	const struct history *h = &c->history;
	uint64_t index = (uint64_t)json_integer_value(json_object_get(args, "index"));
	/* Without an index: the one before that in force.  The last one kept is in force. */
	const struct kept_text *k = index ? history_config(h, index) : h->n_configs > 1 ? &h->config[h->n_configs - 2] : NULL;
	char why[WHY_MAX], list[160] = "";
	char *copy;
	size_t i;

	if (!k && !index) {
		ctl_refuse(r, "there is no configuration before the one in force", "apply a file");
		return;
	}
	if (!k) {
		for (i = 0; i < c->history.n_configs; i++)
			snprintf(list + strlen(list), sizeof(list) - strlen(list), " %llu",
				 (unsigned long long)c->history.config[i].index);
		snprintf(why, sizeof(why), "the log keeps no configuration of index %llu; it keeps those of%s",
			 (unsigned long long)index, list);
		ctl_refuse(r, why, "choose one of these, or apply a file");
		return;
	}
	index = k->index;
	copy = strndup(k->text, k->len); /* applying may drop the one it came from */
	snprintf(why, sizeof(why), "rollback to %llu", (unsigned long long)index);
	if (copy)
		apply_text(c, copy, strlen(copy), why, args, r);
	else
		ctl_refuse(r, "no memory", "free some memory");
	free(copy);
}

static void verb_show(struct controller *c, json_t *args, struct ctl_request *r)
{
	json_t *o = show_what(c, text_of(args, "what"), args);

	if (o)
		ctl_answer(r, o);
	else
		ctl_refuse(r, "\"what\" must be hosts, buckets, switches, vips or log", "see docs/formats.md");
}

static void verb_flows(struct controller *c, json_t *args, struct ctl_request *r)
{
	const char *name = text_of(args, "host");
	const struct host_conf *h = *name ? pop_host_by_name(c->core.state.view.pop, name) : NULL;

	if (*name && !h) {
		char error[NAME_LEN + 64];

		snprintf(error, sizeof(error), "there is no host '%.*s' in the configuration in force", NAME_LEN, name);
		ctl_refuse(r, error, "see baton show hosts");
	} else {
		server_ask(c, args, false, h ? h->id : HOST_NONE, r);
	}
}

/* Only VIPs have buckets: of anything else every answer would mislead. */
static void verb_explain(struct controller *c, json_t *args, struct ctl_request *r)
{
	const struct pop *pop = c->core.state.view.pop;
	struct endpoint vip;
	char error[200];
	uint32_t i, k;

	if (endpoint_parse(&vip, text_of(args, "vip"))) {
		for (i = 0; i < pop->n_vips; i++)
			for (k = 0; k < pop->vip[i].n_addresses; k++)
				if (address_equal(&pop->vip[i].address[k], &vip.address)) {
					server_ask(c, args, true, HOST_NONE, r);
					return;
				}
	}
	snprintf(error, sizeof(error), "'%.100s' is not ADDRESS:PORT of a VIP", text_of(args, "vip"));
	ctl_refuse(r, error, "see baton show vips");
}

void verbs_handle(void *ctx, const char *verb, json_t *args, struct ctl_request *r)
{
	struct controller *c = ctx;
	enum object_kind kind;
	uint16_t id;

	if (!strcmp(verb, "status")) {
		ctl_answer(r, show_status(c));
	} else if (!strcmp(verb, "show")) {
		verb_show(c, args, r);
	} else if (!strcmp(verb, "drain")) {
		verb_move(c, COMMAND_DRAIN, args, r);
	} else if (!strcmp(verb, "fill")) {
		verb_move(c, COMMAND_FILL, args, r);
	} else if (!strcmp(verb, "drain_status")) {
		if (object_of(c, args, &kind, &id, r))
			ctl_answer(r, show_drain(c, kind, id));
	} else if (!strcmp(verb, "apply")) {
		json_t *text = json_object_get(args, "text");

		if (json_is_string(text))
			apply_text(c, json_string_value(text), json_string_length(text), text_of(args, "reason"), args, r);
		else
			ctl_refuse(r, "\"text\" is missing: the configuration to apply", "see docs/formats.md");
	} else if (!strcmp(verb, "rollback")) {
		verb_rollback(c, args, r);
	} else if (!strcmp(verb, "explain")) {
		verb_explain(c, args, r);
	} else if (!strcmp(verb, "flows") || !strcmp(verb, "rows")) {
		verb_flows(c, args, r);
	} else {
		ctl_refuse(r, "there is no such verb", "see docs/formats.md for the verbs of baton-controld");
	}
}
