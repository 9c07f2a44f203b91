/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The host data path: what accepts a frame or sends it on to the previous owner.  Two exist, the eBPF
 * program (redirect.bpf.c, TC ingress) and the kernel module; both take their decision from
 * lb/verdict.h and are spoken to through this interface.  Attached state is pinned: it goes on
 * deciding, and answers probes, when the agent is gone.
 */
#ifndef AGENT_DATAPATH_H
#define AGENT_DATAPATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lb/vmac.h"
#include "pop/pop.h"

struct datapath;

/* A counter by name for every reason to accept, detour, relay or drop; per source/next host for detours. */
struct datapath_counters {
	uint64_t *reason;     /* by enum verdict_reason; names from verdict_reason_name() */
	size_t n_reasons;
	uint64_t *detour_to;  /* by host id, HOST_ID_MAX + 1 entries */
	uint64_t *detour_from;
	uint64_t last_detour_in_ns, last_detour_out_ns, last_cookie_ns; /* CLOCK_MONOTONIC; 0: never */
};

/* One flow to be watched while a history is being proven empty: which owner its packets come through. */
struct datapath_watch {
	struct address client, vip;
	uint16_t client_port, vip_port; /* host byte order */
	uint16_t owner;	  /* out: HOST_NONE until seen; own id: came directly */
	bool seen;
};

struct datapath_ops {
	const char *name; /* "ebpf", "module" */
	/* Attach to (or adopt what is pinned on) these devices.  VIPs and self id are set before attach. */
	int (*open)(uint16_t self, const char *pin_dir, char *why, size_t why_len, struct datapath **out);
	int (*set_devices)(struct datapath *d, const char (*ifname)[IF_NAMESIZE], size_t n);
	int (*set_vips)(struct datapath *d, const struct vip *vip, size_t n);
	int (*set_detours)(struct datapath *d, bool on); /* the control of every claim: off, old flows break */
	int (*counters)(struct datapath *d, struct datapath_counters *out);
	int (*watch)(struct datapath *d, const struct datapath_watch *w, size_t n); /* replaces the set */
	int (*watched)(struct datapath *d, struct datapath_watch *w, size_t n);	    /* fills owner and seen */
	/* What would be decided for a frame (explain); nothing is sent. */
	int (*explain)(struct datapath *d, const void *frame, size_t len, const char *ifname, char *text, size_t text_len);
	void (*close)(struct datapath *d, bool detach);
};

extern const struct datapath_ops datapath_ebpf;

#endif
