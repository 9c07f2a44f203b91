/* SPDX-License-Identifier: BSD-2-Clause */
#include "control/conf_schema.h"

#include "pop/pop.h"

static const struct conf_field controller_field[] = {
	{ "name", CONF_AT(struct controller_conf, name), .type = &conf_name, .required = true, .unique = "controller",
	  .id_at = offsetof(struct controller_conf, id) },
	{ "id", CONF_AT(struct controller_conf, id), .type = &conf_integer, .required = true, .min = 1, .max = 255,
	  .unique = "controller id", .fixed = true },
	{ "listen", CONF_AT(struct controller_conf, endpoint), .type = &conf_endpoint, .required = true,
	  .unique = "controller's listen" },
	{ 0 },
};

const struct conf_schema controller_schema = { "controller", sizeof(struct controller_conf), controller_field, .check = NULL };

#define SECOND 1000
#define MINUTE (60 * SECOND)

static const struct conf_field policy_field[] = {
	{ "batch", CONF_AT(struct policy, batch_ms), .type = &conf_duration, .unless = "100ms", .min = 10,
	  .max = 10 * SECOND },
	{ "agent_silence", CONF_AT(struct policy, agent_silence_ms), .type = &conf_duration, .unless = "3s",
	  .min = 1200, .max = 5 * MINUTE },
	{ "datapath_silence", CONF_AT(struct policy, datapath_silence_ms), .type = &conf_duration, .unless = "500ms",
	  .min = 100, .max = MINUTE },
	{ "hold_down", CONF_AT(struct policy, hold_down_ms), .type = &conf_duration, .unless = "1s", .max = 10 * MINUTE },
	{ "hold_down_max", CONF_AT(struct policy, hold_down_max_ms), .type = &conf_duration, .unless = "1m",
	  .max = 60 * MINUTE },
	{ "floor", CONF_AT(struct policy, floor_percent), .type = &conf_percent, .unless = "50%" },
	{ "burst", CONF_AT(struct policy, burst_percent), .type = &conf_percent, .unless = "34%", .min = 1 },
	{ "time_wait", CONF_AT(struct policy, time_wait_ms), .type = &conf_duration, .unless = "4s", .max = MINUTE },
	{ "graceful_shutdown", CONF_AT(struct policy, graceful_shutdown_ms), .type = &conf_duration, .unless = "2s",
	  .max = 10 * MINUTE },
	{ "silence", CONF_AT(struct policy, silence_ms), .type = &conf_duration, .unless = "1s", .min = 100,
	  .max = MINUTE },
	{ 0 },
};

static void policy_check(struct conf *c, const void *object)
{
	const struct policy *p = object;

	if (p->hold_down_max_ms < p->hold_down_ms)
		conf_fault_at(c, &p->hold_down_max_ms, &p->hold_down_ms,
			      "'hold_down_max' is %ums, less than 'hold_down' with %ums", p->hold_down_max_ms,
			      p->hold_down_ms);
}

const struct conf_schema policy_schema = { "policy", sizeof(struct policy), policy_field, .check = policy_check };
