/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of hand-off (l7/handoff*.c) share, and nobody else sees. */
#ifndef L7_HANDOFF_HANDOFF_INSIDE_H
#define L7_HANDOFF_HANDOFF_INSIDE_H

#include <pthread.h>

#include "l7/handoff/carrier.h"
#include "l7/client.h"
#include "l7/handoff/handoff.h"
#include "l7/handoff/move.h"
#include "l7/handoff/move_policy.h"
#include "l7/row/rows.h"
#include "l7/tcp/tcp_move.h"
#include "l7/worker.h"

#define PLACE_CHAINS 16384 /* a power of two */
#define FLIGHTS 4096

enum flight_end { FLIGHT_GIVEN, FLIGHT_RESUMED, FLIGHT_LOST, FLIGHT_TAKEN, FLIGHT_REFUSED };

/* A move, as the flight recorder keeps it. */
struct flight {
	uint64_t at_ms, cid;
	uint64_t begun_ns; /* of the monotonic clock: when the request was read, or the offer */
	uint32_t e, octets;
	uint16_t from, to, ingress;
	int16_t error;
	uint8_t end, reason, why; /* enum flight_end, move_reason, move_refusal */
	uint32_t span[MOVE_PHASES]; /* ns; 0: not measured here */
};

struct app;
struct orphan;

struct handoff_host {
	uint16_t self, workers;
	uint64_t inc; /* of this process, random, not 0 */
	char tls_dir[256];
	pthread_mutex_t lock; /* of rows and orphans */
	struct rows *rows;
	struct orphan **orphan; /* by cid; NULL: none */
	uint32_t n_orphans, orphan_mask;
	uint64_t orphans_until_ms, orphans_look_ms;
};

/* What S keeps of a connection between its export and the end of the move. */
struct moving {
	struct tcp_move tcp; /* its queues only until the offer is sent */
	uint64_t begun_ns, exported_ns, offered_ns;
	uint32_t octets; /* of the letter */
	enum move_reason reason;
	int error;
	uint8_t why; /* enum move_refusal */
};

/* A connection, as this worker sees it: served here, on its way, or passed on to where it is. */
struct place {
	struct link chain, all; /* by cid; of the worker */
	struct grave grave;
	struct timer timer;
	struct handoff *h;
	uint64_t cid;
	struct flow flow;
	struct client *client; /* NULL: it is not here */
	uint16_t ingress;
	uint32_t last;	/* the counter e of its owner, while that is us */
	uint32_t since; /* the e by which it came */
	uint32_t gave;	/* the e of our tenure that a passing row stands for */
	uint64_t serial;
	struct move_send s;
	struct move_row row;
	bool waits_for_word; /* a request waits for I's confirmation of the move before, until then at most: */
	uint64_t word_by_ms;
	struct app *app; /* a program of this host has the connection, or is asked whether it takes it, until then at most: */
	uint64_t app_by_ms;
	struct moving *moving;
};

struct handoff {
	struct worker *w;
	struct handoff_host *host;
	struct tls_identity *tls;
	struct carrier *carrier;
	struct move_memory *memory;
	struct move_sizes *sizes;
	uint32_t n_routes;
	uint16_t self;
	size_t queue_max;
	struct link chain[PLACE_CHAINS], all, apps;
	uint8_t *app_room; /* for a letter of a program's */
	uint32_t n_places, n_arrived;
	uint64_t serial[HOST_ID_MAX + 1];
	struct move_backoff backoff[HOST_ID_MAX + 1];
	int spare[2]; /* a socket to import into, IPv4 and IPv6, made while there was time; negative: none */
	uint8_t why; /* of the refusal that is being said */
	uint64_t letter_ns; /* when the letter came that is being answered */
	uint64_t n_flights;
	struct flight flight[FLIGHTS];
};

/* --- Rows, in the kernel (handoff_row.c) -------------------------------------------------------------------- */
void row_sync(struct place *p);	       /* the kernel's row becomes what p->row says, if it is there still */
int row_hold(const struct place *p);   /* likewise, for a HOLD: 0, or -E2BIG: the table is full */
void row_ends(struct place *p);	       /* p->row becomes ENDED, before the socket is closed */
void row_clear(const struct place *p); /* the flow has none, whosever it was */
unsigned row_dropped(const struct place *p); /* enum row_dropped */
/* The packets that wait: to where the row says now, or nowhere.  A frame, as if from the network. */
void row_release(const struct place *p);
void row_pass(struct place *p); /* p->row forwards from now on, and nothing overtakes what has waited */
void row_drop(const struct place *p);
void row_inject(const struct place *p, uint8_t *frame, size_t n);
void row_nudge(const struct place *p, const struct tcp_move *m);

/* --- Rows that a restart found (handoff_orphan.c) ------------------------------------------------------------ */
void orphans_adopt(struct handoff_host *host);
void orphans_free(struct handoff_host *host);
void orphans_age(struct handoff_host *host, uint64_t now_ms);
/* A session with a host is up: what it owned as another incarnation is no more.  Takes the lock. */
void orphans_peer(struct handoff_host *host, uint16_t owner, uint64_t inc);
/* A letter names the connection: its row is this worker's from now on, in a place of its own.  NULL: there is none. */
struct place *orphan_claim(struct handoff *h, uint64_t cid, uint16_t ingress);

/* --- A client as a letter, and back (handoff_client.c) --------------------------------------------------------- */
int freeze(struct place *p);		      /* out of the kernel: as tcp_move_export */
int offer(struct place *p);		      /* sent, or as carrier_send or tcp_move_refresh */
/* 0: p->client is served here from now on (h1_input is to be called for it); or enum move_refusal. */
uint8_t thaw(struct handoff *h, struct place *p, const struct move_letter *l);
/* Could thaw() do it, as far as can be known?  0 or enum move_refusal. */
uint8_t could_thaw(struct handoff *h, const struct move_letter *l);
int spare_take(struct handoff *h, int family); /* as tcp_move_socket */
void spare_make(struct handoff *h, int family);
void flow_of(const struct client *c, struct flow *f);
/* The same to a program of this host, with the descriptor in TCP's place; and what it gives back, or NULL (fd is closed). */
int offer_here(struct place *p, int to);
struct client *thaw_here(struct place *p, const struct move_letter *l, int fd);

/* --- Programs of this host (handoff_app.c) ------------------------------------------------------------------- */
struct app *app_at(struct handoff *h, const char *path); /* NULL: nobody there */
bool app_give(struct place *p, struct app *a, size_t head_len); /* false: it is to be served from here */
void app_tick(struct place *p);
void app_reset(struct place *p); /* nobody reaches the connection: the program is told */
void apps_end(struct handoff *h);

/* --- What happened (handoff_flight.c) ------------------------------------------------------------------------ */
void flight_sent(struct place *p, enum flight_end end);
void flight_offered(struct handoff *h, const struct move_letter *l, uint16_t from, uint64_t begun_ns);

struct place *place_find(struct handoff *h, uint64_t cid);
struct place *place_new(struct handoff *h, uint64_t cid);
void place_settle(struct place *p); /* after every event: may end it */
void place_client_left(struct place *p); /* its client is not served here any more, and the host is its owner still */
void place_reset(struct place *p); /* its client is reset, and closed */
void place_app_ended(struct place *p); /* the program's connection is over */
void end_moving(struct place *p);
struct move_recv *place_tenure(const struct place *p); /* ours, of the connection; NULL: there is none */
bool place_waits(const struct place *p); /* a move of ours is not settled */
const struct other_host *host_of(const struct snapshot *s, uint16_t id);
void place_say(struct handoff *h, uint16_t to, enum move_letter_type type, uint8_t why, const struct move_letter *of);

/* --- A connection comes (handoff_receiver.c) ------------------------------------------------------------------- */
void place_recv(struct place *p, enum move_recv_event event, uint64_t inc);
void place_confirmed(struct handoff *h, const struct move_letter *l);
/* `l`: the letter that this is about (e, cid, ingress), from host `from`; an offer with its sections. */
void place_received(struct handoff *h, struct move_recv *r, const struct move_letter *l, uint16_t from, const struct move_actions *out);

/* --- A connection leaves (handoff_sender.c) ------------------------------------------------------------------- */
void place_send(struct place *p, enum move_send_event event, uint64_t inc);

/* --- Whether it is to (handoff_decide.c) ---------------------------------------------------------------------- */
void place_decide_again(struct place *p); /* the word that was waited for has come, or it is late */

#endif
