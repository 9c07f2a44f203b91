/* SPDX-License-Identifier: BSD-2-Clause */
/* What rows.c and rows_peers.c share. */
#ifndef L7_ROW_ROWS_PRIVATE_H
#define L7_ROW_ROWS_PRIVATE_H

#include "l7/row/rows.h"

#define ROWS_LINKS_MAX 64
#define ROWS_FRAME_MAX 65550

struct flow_bpf;

/* A FIN of this flow waits until then (flow.h, rule 8). */
struct settling {
	struct settling *next;
	struct flow flow;
	uint64_t due_ns;
};

/* Peers: what was asked for, so that learnt sizes can be forgotten and routes looked up again. */
struct peers {
	struct address *self;
	struct rows_peer *peer;
	size_t n_self, n;
	char device[ROWS_LINKS_MAX][IF_NAMESIZE]; /* besides links: where peers' packets leave and arrive */
	size_t n_devices;
	uint64_t due_ms; /* everything anew */
	struct rows_way {
		uint32_t ifindex; /* of the device by which its packets leave; 0: none */
		uint16_t mtu;	  /* of that device, or of the last one that there was; 0: there was none */
	} *way; /* of each peer */
	size_t looked;	 /* whose route was looked up last */
	uint64_t answered, answers_ms; /* ICMP errors in this second */
};

struct rows {
	struct flow_bpf *skel;
	int tap, ioctls, timer;
	char tap_name[IF_NAMESIZE];
	uint8_t mac[6]; /* of [self], and so of the TAP */
	char link[ROWS_LINKS_MAX][IF_NAMESIZE];
	size_t n_links;
	char pin_dir[256];
	struct held *held;
	struct settling *settling, **settling_end; /* by time */
	uint64_t released, late, dropped, too_big;
	struct flow_config config;
	struct peers peers;
	uint64_t looked_ms;
	uint8_t frame[ROWS_FRAME_MAX];
};

int rows_put_config(struct rows *r);

/* rows_links.c */
int rows_attach_links(struct rows *r); /* the first error; the others have their programs */
void rows_detach_link(const char *ifname);
int rows_choose_link(struct rows *r);
void rows_look_after_links(struct rows *r, uint64_t now_ms);
int rows_hook_on(struct rows *r, const char *ifname); /* the ingress program */
void rows_hook_off(const char *ifname);
bool rows_is_link(const struct rows *r, const char *ifname);

/* rows_peers.c */
void rows_peers_age(struct rows *r, uint64_t now_ms);
void rows_peers_free(struct rows *r, bool take_off);
/* A frame out of the TAP is too long for its owner's way: the client was told, or will be.  False: it is not. */
bool rows_peers_answer(struct rows *r, const struct row *row, const uint8_t *frame, size_t len, uint64_t now_ms);

#endif
