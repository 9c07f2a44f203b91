// SPDX-License-Identifier: BSD-2-Clause
/*
 * Which data path a host uses: what pop.yaml says, or, where it says auto, what is there.
 */
#include "agent/datapath.h"

#include <stdio.h>
#include <unistd.h>

#include "lb/verdict.h"

void datapath_decision_text(const struct datapath_decision *d, const char *next, char *text, size_t len)
{
	const char *action = verdict_action_name(d->action), *reason = verdict_reason_name(d->reason);

	if (d->action != VERDICT_DETOUR)
		snprintf(text, len, "%s (%s)", action, reason);
	else if (next)
		snprintf(text, len, "%s (%s) to %s", action, reason, next);
	else
		snprintf(text, len, "%s (%s) to host %u", action, reason, d->next);
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

bool datapath_fits(enum datapath_kind kind, const struct datapath_ops *in_use)
{
	switch (kind) {
	case DATAPATH_AUTO: return true;
	case DATAPATH_EBPF: return in_use == &datapath_ebpf;
	case DATAPATH_MODULE: return in_use == &datapath_module;
	}
	return true;
}

void datapath_take_off_other(const struct datapath_ops *in_use, uint16_t self, const char *pin_dir,
			     const char (*ifname)[IF_NAMESIZE], size_t n)
{
	const struct datapath_ops *other = in_use == &datapath_ebpf ? &datapath_module : &datapath_ebpf;
	char path[512], why[128];
	struct datapath *d;

	/* Only what is there: opening would pin a program, or make the kernel load the module. */
	snprintf(path, sizeof(path), "%s/config", pin_dir);
	if (access(other == &datapath_ebpf ? path : "/sys/module/baton", F_OK))
		return;
	if (other->open(self, pin_dir, why, sizeof(why), &d))
		return;
	if (other == &datapath_ebpf) /* it takes off what it knows */
		(void)other->set_devices(d, ifname, n);
	other->close(d, true);
}
