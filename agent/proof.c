/* SPDX-License-Identifier: BSD-2-Clause */
#include "agent/proof.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { STATE_ESTABLISHED = 1, STATE_SYN_RECV = 3, STATE_TIME_WAIT = 6, STATE_NEW_SYN_RECV = 12 }; /* include/net/tcp_states.h */

#define TIME_WAIT_LEN_MS 60000
#define QUIET_MS 300	    /* no probe to a socket that has sent or received data since */
#define ENDING_QUIET_MS 2000 /* nor, for this long, to one that is being closed, or may be when its request is answered */
#define WORK_MS 100	 /* between two listings while something is unknown, and at least 4 times their cost */
#define WORK_IDLE_MS 500 /* while nothing is */

struct suspect {
	struct tcp_iter_socket socket; /* as last listed */
	uint16_t stable;	       /* owner in the last complete round; HOST_NONE: born since, so our own */
	uint16_t running;	       /* owner in this round; HOST_NONE: not seen yet */
	bool in_round;		       /* a suspect of this round */
	bool present;		       /* in the present listing */
	uint16_t tries;
	uint64_t due_ms; /* next probe */
};

struct proof {
	uint16_t self;
	struct proof_io io;
	void *ctx;
	bool is_running;
	uint32_t time_wait_ms;

	struct suspect *suspect;
	size_t n, room;
	uint32_t *slot; /* hash table of positions + 1, twice as large as n may be */
	size_t slots;
	struct datapath_watch *watch;
	size_t watch_room;

	uint64_t index, began_ms;	       /* this round */
	uint64_t stable_index, stable_began_ms; /* the last complete one */
	bool has_stable, complete;
	unsigned listings; /* in this round */
	uint32_t sockets;  /* in the last listing, without what is too old */
	uint32_t overflow; /* suspects that found no room */
	size_t added;
	uint64_t work_due_ms, round_due_ms, next_index;
	uint32_t round_ms;
	struct proof_stats stats;
};

struct proof *proof_new(uint16_t self, const struct proof_io *io, void *ctx)
{
	struct proof *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->self = self;
	p->io = *io;
	p->ctx = ctx;
	return p;
}

void proof_free(struct proof *p)
{
	if (!p)
		return;
	free(p->suspect);
	free(p->slot);
	free(p->watch);
	free(p);
}

static void fault(struct proof *p, int err)
{
	p->stats.errors++;
	p->stats.last_error = err;
}

/* --- the suspects, found by their addresses -------------------------------------------------------- */
#define KEY_LEN (offsetof(struct tcp_iter_socket, snd_una) - offsetof(struct tcp_iter_socket, src))

static uint32_t hash(const struct tcp_iter_socket *s)
{
	const uint8_t *key = (const uint8_t *)s->src;
	uint32_t h = 2166136261u ^ s->family; /* FNV-1a: the worst a client can do is to slow its own proof */

	for (size_t i = 0; i < KEY_LEN; i++)
		h = (h ^ key[i]) * 16777619u;
	return h ^ h >> 15;
}

static bool same_flow(const struct tcp_iter_socket *a, const struct tcp_iter_socket *b)
{
	return a->family == b->family && !memcmp(a->src, b->src, KEY_LEN);
}

static uint32_t *slot_of(const struct proof *p, const struct tcp_iter_socket *s)
{
	size_t i = hash(s) & (p->slots - 1);

	while (p->slot[i] && !same_flow(&p->suspect[p->slot[i] - 1].socket, s))
		i = (i + 1) & (p->slots - 1);
	return &p->slot[i];
}

static void reindex(struct proof *p)
{
	memset(p->slot, 0, p->slots * sizeof(*p->slot));
	for (size_t i = 0; i < p->n; i++)
		*slot_of(p, &p->suspect[i].socket) = (uint32_t)i + 1;
}

static bool grow(struct proof *p)
{
	size_t room = p->room ? p->room * 2 : 1024;
	struct suspect *more;
	uint32_t *slot;

	if (p->n >= PROOF_SUSPECTS_MAX)
		return false;
	more = realloc(p->suspect, room * sizeof(*more));
	if (!more)
		return false;
	p->suspect = more;
	slot = calloc(room * 2, sizeof(*slot));
	if (!slot)
		return false;
	free(p->slot);
	p->slot = slot;
	p->slots = room * 2;
	p->room = room;
	reindex(p);
	return true;
}

/* --- one listing ------------------------------------------------------------------------------------ */
static bool aged_out(const struct proof *p, const struct tcp_iter_socket *s)
{
	return s->time_wait && s->state == STATE_TIME_WAIT && s->expires_ms + p->time_wait_ms <= TIME_WAIT_LEN_MS;
}

/* In flight: the kernel's own retransmissions and window probes make the peer speak; ours comes later. */
static uint64_t first_probe(const struct proof *p, const struct tcp_iter_socket *s)
{
	return p->began_ms + PROOF_PATIENCE_MS + (s->flags & TCP_ITER_IN_FLIGHT ? PROOF_RETRY_MS : 0);
}

static void listed(void *ctx, const struct tcp_iter_socket *s)
{
	struct proof *p = ctx;
	struct suspect *u = NULL;

	if (aged_out(p, s))
		return;
	p->sockets++;
	if (p->slots && *slot_of(p, s))
		u = &p->suspect[*slot_of(p, s) - 1];
	if (!u) {
		if (p->listings > 2)
			return; /* born under this table: ours */
		if (p->n == p->room && !grow(p)) {
			p->overflow++;
			return;
		}
		assert(p->suspect);
		u = &p->suspect[p->n++];
		*u = (struct suspect){ .socket = *s };
		*slot_of(p, s) = (uint32_t)p->n;
	}
	u->present = true;
	u->socket = *s;
	if (!u->in_round && p->listings <= 2) {
		u->in_round = true;
		u->running = HOST_NONE;
		u->tries = 0;
		u->due_ms = first_probe(p, s);
		p->added++;
	}
}

static void forget_the_absent(struct proof *p)
{
	size_t kept = 0;

	for (size_t i = 0; i < p->n; i++)
		if (p->suspect[i].present)
			p->suspect[kept++] = p->suspect[i];
	if (kept == p->n)
		return;
	p->n = kept;
	reindex(p);
}

/* The data path's watch: this round's suspects that have not been seen.  Where no room is, nothing is seen. */
static size_t unseen(struct proof *p)
{
	size_t n = 0;

	if (p->watch_room < p->n) {
		struct datapath_watch *more = realloc(p->watch, p->n * sizeof(*more));

		if (!more)
			return 0;
		p->watch = more;
		p->watch_room = p->n;
	}
	for (size_t i = 0; i < p->n; i++) {
		const struct suspect *u = &p->suspect[i];

		if (!u->in_round || u->running != HOST_NONE)
			continue;
		p->watch[n++] = (struct datapath_watch){
			.vip = address_of_words(u->socket.family, u->socket.src),
			.client = address_of_words(u->socket.family, u->socket.dst),
			.vip_port = u->socket.src_port,
			.client_port = u->socket.dst_port,
		};
	}
	return n;
}

static void collect(struct proof *p)
{
	size_t n = unseen(p), at = 0;
	int err;

	if (!n)
		return;
	err = p->io.watched(p->ctx, p->watch, n);
	if (err) {
		fault(p, err);
		return;
	}
	for (size_t i = 0; i < p->n && at < n; i++) {
		struct suspect *u = &p->suspect[i];

		if (!u->in_round || u->running != HOST_NONE)
			continue;
		if (p->watch[at].seen)
			u->running = p->watch[at].owner;
		at++;
	}
}

static void list(struct proof *p)
{
	size_t n;
	int err;

	p->sockets = p->overflow = 0;
	p->added = 0;
	p->listings++;
	for (size_t i = 0; i < p->n; i++)
		p->suspect[i].present = false;
	err = p->io.list(p->ctx, listed, p);
	if (err) {
		/* What was not listed may exist: nobody is forgotten, and the first two must succeed. */
		fault(p, err);
		p->listings--;
		return;
	}
	forget_the_absent(p);
	if (!p->added)
		return;
	n = unseen(p); /* first: it may move p->watch */
	err = p->io.watch(p->ctx, p->watch, n);
	if (err)
		fault(p, err);
}

/* --- rounds ----------------------------------------------------------------------------------------- */
static void begin_round(struct proof *p, uint64_t index, uint64_t now_ms)
{
	p->index = index;
	p->began_ms = now_ms;
	p->listings = 0;
	p->complete = false;
	p->round_due_ms = UINT64_MAX;
	p->work_due_ms = now_ms;
	p->stats.rounds++;
	for (size_t i = 0; i < p->n; i++)
		p->suspect[i].in_round = false;
}

void proof_begin(struct proof *p, uint64_t index, uint32_t time_wait_ms, uint64_t now_ms)
{
	p->is_running = true;
	p->time_wait_ms = time_wait_ms;
	p->has_stable = false;
	p->round_ms = PROOF_ROUND_MS;
	p->n = 0;
	p->sockets = p->overflow = 0;
	if (p->slots)
		memset(p->slot, 0, p->slots * sizeof(*p->slot));
	p->next_index = index;
	begin_round(p, index, now_ms);
}

void proof_renew(struct proof *p, uint64_t index)
{
	p->next_index = index;
	p->round_ms = PROOF_ROUND_MS;
	p->round_due_ms = 0; /* also when this round is not complete: a peer that never answers must not hold it up */
}

void proof_rewatch(struct proof *p)
{
	size_t n;
	int err;

	if (!p->is_running || p->complete)
		return; /* nothing is watched */
	n = unseen(p); /* first: it may move p->watch */
	err = p->io.watch(p->ctx, p->watch, n);
	if (err)
		fault(p, err);
}

void proof_stop(struct proof *p)
{
	int err = p->is_running ? p->io.watch(p->ctx, NULL, 0) : 0;

	if (err)
		fault(p, err);
	p->is_running = p->has_stable = p->complete = false;
	p->n = 0;
	if (p->slots)
		memset(p->slot, 0, p->slots * sizeof(*p->slot));
}

bool proof_running(const struct proof *p)
{
	return p->is_running;
}

static uint32_t count_unknown(const struct proof *p)
{
	uint32_t n = p->overflow;

	for (size_t i = 0; i < p->n; i++)
		n += p->suspect[i].in_round && p->suspect[i].running == HOST_NONE;
	return n;
}

static void finish_if_complete(struct proof *p, uint64_t now_ms)
{
	int err;

	if (p->complete || p->listings < 2 || count_unknown(p))
		return;
	for (size_t i = 0; i < p->n; i++)
		p->suspect[i].stable = p->suspect[i].in_round ? p->suspect[i].running : HOST_NONE;
	p->complete = p->has_stable = true;
	p->stable_index = p->index;
	p->stable_began_ms = p->began_ms;
	p->round_due_ms = now_ms + p->round_ms;
	p->round_ms = p->round_ms * 2 < PROOF_ROUND_MAX_MS ? p->round_ms * 2 : PROOF_ROUND_MAX_MS;
	err = p->io.watch(p->ctx, NULL, 0); /* the packets need not be looked at meanwhile */
	if (err)
		fault(p, err);
}

/*
 * A probe that reaches a peer which has just closed is answered with a reset: harmless, but seen on the
 * wire.  So a socket with traffic is left alone, since its traffic speaks for it, and one that is closing, or whose
 * application has yet to answer and may close then, is given time to do so.
 */
static bool can_be_probed(const struct tcp_iter_socket *s)
{
	if (s->state == STATE_SYN_RECV || s->state == STATE_NEW_SYN_RECV)
		return false;
	if (s->time_wait)
		return s->state != STATE_TIME_WAIT && s->expires_ms + ENDING_QUIET_MS <= TIME_WAIT_LEN_MS;
	return s->idle_ms >= (s->state == STATE_ESTABLISHED && !(s->flags & TCP_ITER_OWES) ? QUIET_MS : ENDING_QUIET_MS);
}

static bool send_probes(struct proof *p, uint64_t now_ms)
{
	unsigned sent = 0;

	for (size_t i = 0; i < p->n && sent < PROOF_PROBES_PER_STEP; i++) {
		struct suspect *u = &p->suspect[i];
		uint64_t pause;
		int err;

		if (!u->in_round || u->running != HOST_NONE || u->due_ms > now_ms || !can_be_probed(&u->socket))
			continue;
		err = p->io.probe(p->ctx, &u->socket);
		if (err > 0)
			continue; /* the next list says more */
		p->stats.probe_errors += err != 0;
		p->stats.probes += err == 0;
		pause = (uint64_t)PROOF_RETRY_MS << (u->tries < 3 ? u->tries : 3);
		u->due_ms = now_ms + (pause < PROOF_RETRY_MAX_MS ? pause : PROOF_RETRY_MAX_MS);
		u->tries++;
		sent++;
	}
	return sent;
}

static uint64_t clock_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

uint32_t proof_step(struct proof *p, uint64_t now_ms)
{
	bool fresh = false;

	if (!p->is_running)
		return WORK_IDLE_MS;
	if (now_ms >= p->round_due_ms)
		begin_round(p, p->next_index, now_ms);
	if (now_ms >= p->work_due_ms) {
		uint64_t before = clock_ms(), cost;

		collect(p);
		list(p);
		finish_if_complete(p, now_ms);
		fresh = true;
		cost = clock_ms() - before;
		p->work_due_ms = now_ms + (p->complete ? WORK_IDLE_MS : WORK_MS) + 4 * cost;
	}
	/* Only what was listed a moment ago: the peer of a connection that has ended answers a probe with a reset. */
	if (!p->complete && p->listings && fresh)
		send_probes(p, now_ms);
	return PROOF_STEP_MS;
}

bool proof_result(const struct proof *p, uint64_t now_ms, struct proof_result *out)
{
	uint32_t others = 0;

	if (!p->is_running || (!p->has_stable && p->listings < 2))
		return false;
	memset(out, 0, sizeof(*out));
	out->index = p->has_stable ? p->stable_index : p->index;
	out->age_ms = now_ms - (p->has_stable ? p->stable_began_ms : p->began_ms);
	out->unknown = p->has_stable ? 0 : p->overflow;
	for (size_t i = 0; i < p->n; i++) {
		const struct suspect *u = &p->suspect[i];
		uint16_t owner = p->has_stable ? u->stable : u->running;

		if (!p->has_stable && u->in_round && owner == HOST_NONE) {
			out->unknown++;
		} else if (owner != HOST_NONE && owner != p->self) {
			out->via[owner]++;
			others++;
		}
	}
	/* All that is not a suspect, or seen to come directly, came to us as the owner. */
	out->via[p->self] = p->sockets > others + out->unknown ? p->sockets - others - out->unknown : 0;
	return true;
}

const struct proof_stats *proof_stats(const struct proof *p)
{
	return &p->stats;
}
