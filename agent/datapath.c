// SPDX-License-Identifier: BSD-2-Clause
/*
 * Which data path a host uses: what pop.yaml says, or, where it says auto, what is there.
 */
#include "agent/datapath.h"

#include <stdio.h>

#include "lb/verdict.h"

void datapath_explain_text(uint8_t action, uint8_t reason, uint16_t next, char *text, size_t len)
{
	if (action == VERDICT_DETOUR)
		snprintf(text, len, "%s (%s) to host %u", verdict_action_name(action), verdict_reason_name(reason), next);
	else
		snprintf(text, len, "%s (%s)", verdict_action_name(action), verdict_reason_name(reason));
}

const struct datapath_ops *datapath_open(enum datapath_kind kind, uint16_t self, const char *pin_dir, char *why,
					 size_t why_len, struct datapath **out)
{
	/* Somebody who loaded the module wants it used. */
	if (kind != DATAPATH_EBPF && !datapath_module.open(self, pin_dir, why, why_len, out))
		return &datapath_module;
	if (kind != DATAPATH_MODULE && !datapath_ebpf.open(self, pin_dir, why, why_len, out))
		return &datapath_ebpf;
	return NULL;
}
