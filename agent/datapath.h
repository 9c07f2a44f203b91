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
	uint64_t *reason;     /* by enum verdict_reason; names from verdict_reason_name(); the caller's, room for n_reasons */
	size_t n_reasons;     /* room, e.g. REASON_MAX */
	uint64_t *detour_to;  /* by host id, HOST_ID_MAX + 1 entries, the caller's; NULL: not asked */
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

/* What explain() says: of lb/verdict.h an action and a reason; the host that a detour goes to. */
struct datapath_decision {
	uint8_t action, reason;
	uint16_t next;
};

struct datapath_ops {
	const char *name; /* "ebpf", "module" */
	/*
	 * Adopts what an earlier agent pinned under pin_dir (counters, VIPs and watched flows go on), or makes it.
	 * Nothing is attached yet: set VIPs and hosts, then devices.  0, or -errno and a sentence in why.
	 */
	int (*open)(uint16_t self, const char *pin_dir, char *why, size_t why_len, struct datapath **out);
	/* Exactly these devices; on one that has the program already it is replaced in one step, no frame goes unjudged. */
	int (*set_devices)(struct datapath *d, const char (*ifname)[IF_NAMESIZE], size_t n);
	int (*set_vips)(struct datapath *d, const struct vip *vip, size_t n);
	/* The hosts to whom a packet without a known owner (later fragments, short ICMP quotes) is copied; self is skipped. */
	int (*set_hosts)(struct datapath *d, const uint16_t *id, size_t n);
	int (*set_detours)(struct datapath *d, bool on); /* the control of every claim: off, old flows break */
	int (*counters)(struct datapath *d, struct datapath_counters *out); /* -ESTALE: all it held is gone, open it anew */
	int (*watch)(struct datapath *d, const struct datapath_watch *w, size_t n); /* replaces the set */
	int (*watched)(struct datapath *d, struct datapath_watch *w, size_t n);	    /* fills owner and seen */
	/* What would be decided for a frame (explain); nothing is sent. */
	int (*explain)(struct datapath *d, const void *frame, size_t len, const char *ifname, struct datapath_decision *out);
	/* detach: take it off every device and remove the pins; else it goes on without us. */
	void (*close)(struct datapath *d, bool detach);
};

extern const struct datapath_ops datapath_ebpf;	/* redirect.bpf.c */
extern const struct datapath_ops datapath_module; /* kmod/ */

/* Opens the one that pop.yaml asks for (auto: the module where it is loaded, else eBPF).  NULL: none, see why. */
const struct datapath_ops *datapath_open(enum datapath_kind kind, uint16_t self, const char *pin_dir, char *why,
					 size_t why_len, struct datapath **out);
/* Is the one in use what pop.yaml asks for?  auto: whichever it is. */
bool datapath_fits(enum datapath_kind kind, const struct datapath_ops *in_use);
/*
 * Takes off what an agent before us left of the other data path on these devices, once ours is on them.  Two at the
 * same time judge every frame alike, so there is no moment in which an old flow is not recognised.
 */
void datapath_take_off_other(const struct datapath_ops *in_use, uint16_t self, const char *pin_dir,
			     const char (*ifname)[IF_NAMESIZE], size_t n);
/* In words; next: the name of the host that a detour goes to, NULL: it is called by its id. */
void datapath_decision_text(const struct datapath_decision *d, const char *next, char *text, size_t len);

#endif
