/* SPDX-License-Identifier: BSD-2-Clause */
/* What baton-l7d tells: metrics, and answers to the operator. */
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "l7/backend.h"
#include "l7/client.h"
#include "l7/handoff/handoff.h"
#include "l7/l7d.h"
#include "l7/object/object_server.h"
#include "l7/row/rows.h"
#include "l7/secret.h"
#include "l7/tls/cert_rules.h"
#include "l7/tls/ktls.h"
#include "l7/tls/tls.h"

#define FLIGHTS_SHOWN 4096

/* --- metrics ------------------------------------------------------------------------------------------------ */
#define SUM(d, field)                                                                                        \
	({                                                                                                       \
		double sum_ = 0;                                                                                     \
		for (unsigned i_ = 0; i_ < (d)->n_workers; i_++)                                                     \
			sum_ += (double)__atomic_load_n(&(d)->worker[i_]->stats.field, __ATOMIC_RELAXED);                \
		sum_;                                                                                                \
	})

static void collect_clients(struct l7d *d, struct metrics *m)
{
	enum cert_outcome k;
	enum h2_offence o;

	metric_family(m, "baton_l7_connections_total", METRIC_COUNTER, "Client connections accepted.");
	metric_sample(m, SUM(d, accepted), NULL);
	metric_family(m, "baton_l7_connections", METRIC_GAUGE, "Client connections now.");
	metric_sample(m, SUM(d, accepted) - SUM(d, closed), NULL);
	metric_family(m, "baton_l7_connections_refused_total", METRIC_COUNTER, "Connections refused at a limit.");
	metric_sample(m, SUM(d, refused_full), NULL);
	metric_family(m, "baton_l7_handshakes_total", METRIC_COUNTER, "TLS handshakes by outcome.");
	metric_sample(m, SUM(d, handshakes) - SUM(d, resumed), "outcome", "full", NULL);
	metric_sample(m, SUM(d, resumed), "outcome", "resumed", NULL);
	metric_sample(m, SUM(d, handshakes_failed), "outcome", "failed", NULL);
	metric_family(m, "baton_l7_client_certificates_total", METRIC_COUNTER,
		      "Handshakes of edges that ask for a client's certificate, by what became of it.");
	for (k = 0; k < CERT_OUTCOMES; k++)
		metric_sample(m, SUM(d, certificates[k]), "outcome", cert_outcome_name(k), NULL);
	metric_family(m, "baton_l7_requests_total", METRIC_COUNTER, "Requests forwarded or queued, by protocol.");
	metric_sample(m, SUM(d, requests[0]), "protocol", "http/1.0", NULL);
	metric_sample(m, SUM(d, requests[1]), "protocol", "http/1.1", NULL);
	metric_sample(m, SUM(d, requests[2]), "protocol", "h2", NULL);
	metric_family(m, "baton_l7_requests", METRIC_GAUGE, "Requests now.");
	metric_sample(m, SUM(d, active), NULL);
	metric_family(m, "baton_l7_answers_total", METRIC_COUNTER, "Answers by class; none: the client left before one.");
	metric_sample(m, SUM(d, answers[0]), "class", "none", NULL);
	metric_sample(m, SUM(d, answers[1]), "class", "1xx", NULL);
	metric_sample(m, SUM(d, answers[2]), "class", "2xx", NULL);
	metric_sample(m, SUM(d, answers[3]), "class", "3xx", NULL);
	metric_sample(m, SUM(d, answers[4]), "class", "4xx", NULL);
	metric_sample(m, SUM(d, answers[5]), "class", "5xx", NULL);
	metric_family(m, "baton_l7_refused_total", METRIC_COUNTER, "Requests answered by the edge itself: malformed, no route, too large.");
	metric_sample(m, SUM(d, refused), NULL);
	metric_family(m, "baton_l7_client_timeouts_total", METRIC_COUNTER, "Clients that were too slow, by what was awaited.");
	metric_sample(m, SUM(d, timeouts_head), "what", "head", NULL);
	metric_sample(m, SUM(d, timeouts_idle), "what", "request", NULL);
	metric_sample(m, SUM(d, timeouts_body), "what", "body", NULL);
	metric_family(m, "baton_l7_h2_offences_total", METRIC_COUNTER, "HTTP/2 connections ended for what their client did.");
	for (o = H2_FAIR + 1; o < H2_OFFENCES; o++)
		metric_sample(m, SUM(d, h2_offences[o]), "what", h2_offence_text(o), NULL);
	metric_family(m, "baton_l7_body_bytes_total", METRIC_COUNTER, "Bytes of bodies; spliced: of those sent (spliced_in: received), without a copy.");
	metric_sample(m, SUM(d, bytes_in), "direction", "received", NULL);
	metric_sample(m, SUM(d, bytes_out), "direction", "sent", NULL);
	metric_sample(m, SUM(d, spliced), "direction", "spliced", NULL);
	metric_sample(m, SUM(d, spliced_in), "direction", "spliced_in", NULL);
	metric_family(m, "baton_l7_kernel_tls", METRIC_GAUGE, "1: the kernel has TLS, and seals large answers from files.");
	metric_sample(m, ktls_here(), NULL);
	metric_family(m, "baton_l7_kernel_tls_connections_total", METRIC_COUNTER, "Connections for which the kernel seals: begun; denied: their suite is none of "
		      "its; ended: its key could not be renewed.");
	metric_sample(m, SUM(d, ktls_begun), "outcome", "begun", NULL);
	metric_sample(m, SUM(d, ktls_denied), "outcome", "denied", NULL);
	metric_sample(m, SUM(d, ktls_ended), "outcome", "ended", NULL);
	metric_family(m, "baton_l7_kernel_tls_bytes_total", METRIC_COUNTER, "Bytes of bodies that the kernel sealed, without a copy.");
	metric_sample(m, SUM(d, ktls_bytes), NULL);
	metric_family(m, "baton_l7_kernel_tls_stayed_total", METRIC_COUNTER, "Requests that did not move their connection, since the kernel had sealed what TCP "
		      "had no room for yet.");
	metric_sample(m, SUM(d, ktls_stayed), NULL);
	metric_family(m, "baton_l7_tunnels_total", METRIC_COUNTER, "Connections upgraded.");
	metric_sample(m, SUM(d, tunnels), NULL);
}

static void collect_backends(struct l7d *d, struct metrics *m)
{
	metric_family(m, "baton_l7_backend_connections_total", METRIC_COUNTER, "Requests' connections to backends.");
	metric_sample(m, SUM(d, backend_connects), "how", "made", NULL);
	metric_sample(m, SUM(d, backend_reuses), "how", "kept", NULL);
	metric_family(m, "baton_l7_backend_failures_total", METRIC_COUNTER, "Connections to backends that failed.");
	metric_sample(m, SUM(d, backend_failures), NULL);
	metric_family(m, "baton_l7_backend_handshakes_failed_total", METRIC_COUNTER, "TLS handshakes with backends that failed.");
	metric_sample(m, SUM(d, backend_handshakes_failed), NULL);
	metric_family(m, "baton_l7_backend_timeouts_total", METRIC_COUNTER, "Backends that did not answer in time.");
	metric_sample(m, SUM(d, timeouts_backend), NULL);
	metric_family(m, "baton_l7_retries_total", METRIC_COUNTER, "Second tries, and those that the budget denied.");
	metric_sample(m, SUM(d, retries), "outcome", "made", NULL);
	metric_sample(m, SUM(d, retries_denied), "outcome", "denied", NULL);
	metric_family(m, "baton_l7_no_backend_total", METRIC_COUNTER, "Requests for a pool in which nobody is up.");
	metric_sample(m, SUM(d, no_backend), NULL);
	metric_family(m, "baton_l7_queued_total", METRIC_COUNTER, "Requests that waited for a connection, and those for which the queue was full.");
	metric_sample(m, SUM(d, queued), "outcome", "waited", NULL);
	metric_sample(m, SUM(d, queue_full), "outcome", "full", NULL);
	metric_family(m, "baton_l7_answers_cut_total", METRIC_COUNTER, "Answers that ended in their middle.");
	metric_sample(m, SUM(d, cut), NULL);
	metric_family(m, "baton_l7_access_log_lost_total", METRIC_COUNTER, "Lines for which there was no room.");
	metric_sample(m, SUM(d, log_lost), NULL);
}

static void collect_moves(struct l7d *d, struct metrics *m)
{
	static const char *const mode[] = { [MODE_PROXY] = "proxy", [MODE_HERE] = "here", [MODE_HANDOFF] = "handoff" };
	double bound[STATS_BOUNDS];
	unsigned i, k, p;

	metric_family(m, "baton_l7_handoff_sessions", METRIC_GAUGE, "Sessions with the workers of other hosts.");
	metric_sample(m, SUM(d, sessions), NULL);
	metric_family(m, "baton_l7_handoff_decisions_total", METRIC_COUNTER, "Requests by what was decided, and why.");
	for (i = 0; i < REASONS; i++)
		metric_sample(m, SUM(d, move_reasons[i]), "mode", mode[move_reason_mode((enum move_reason)i)], "reason",
			      move_reason_name((enum move_reason)i), NULL);
	metric_family(m, "baton_l7_handoffs_total", METRIC_COUNTER, "Moves that began here, by how they ended.");
	metric_sample(m, SUM(d, moves_given), "outcome", "given", NULL);
	metric_sample(m, SUM(d, moves_resumed), "outcome", "resumed", NULL);
	metric_sample(m, SUM(d, moves_lost), "outcome", "lost", NULL);
	metric_family(m, "baton_l7_handoffs_taken_total", METRIC_COUNTER, "Connections that came from other hosts.");
	metric_sample(m, SUM(d, moves_taken), NULL);
	metric_family(m, "baton_l7_handoffs_refused_total", METRIC_COUNTER, "Offers of other hosts that were refused.");
	for (i = REFUSE_BUSY; i < REFUSE_REASONS; i++)
		metric_sample(m, SUM(d, moves_refused[i]), "why", move_refusal_name((uint8_t)i), NULL);
	metric_family(m, "baton_l7_handoff_phase_seconds", METRIC_HISTOGRAM, "Time of a move's phases.");
	for (i = 0; i < STATS_BOUNDS; i++)
		bound[i] = STATS_MOVE_FIRST_US * 1e-6 * (double)(1u << i);
	for (p = 0; p < MOVE_PHASES; p++) {
		uint64_t count[STATS_BOUNDS + 1] = { 0 };

		for (i = 0; i < d->n_workers; i++)
			for (k = 0; k <= STATS_BOUNDS; k++)
				count[k] += __atomic_load_n(&d->worker[i]->stats.move_phase[p].count[k], __ATOMIC_RELAXED);
		metric_histogram(m, bound, count, STATS_BOUNDS, SUM(d, move_phase[p].sum_us) * 1e-6, "phase",
				 move_phase_name((enum move_phase)p), NULL);
	}
	metric_family(m, "baton_l7_handoffs_app_total", METRIC_COUNTER, "Connections that programs of this host got, and gave back.");
	metric_sample(m, SUM(d, apps_given), "outcome", "given", NULL);
	metric_sample(m, SUM(d, apps_returned), "outcome", "returned", NULL);
	metric_family(m, "baton_l7_handoffs_reset_total", METRIC_COUNTER, "Connections that came and that no packet reached any more.");
	metric_sample(m, SUM(d, moves_ended), NULL);
}

static void collect_rows(struct l7d *d, struct metrics *m)
{
	struct rows_counts c;
	unsigned i;

	if (!d->handoff || handoff_host_rows(d->handoff, &c))
		return;
	metric_family(m, "baton_l7_rows", METRIC_GAUGE, "Connections that live elsewhere and whose packets come here.");
	metric_sample(m, (double)c.rows, NULL);
	metric_family(m, "baton_l7_row_packets_total", METRIC_COUNTER, "Packets that the rows' program looked at, by what became of them.");
	for (i = 0; i < FLOW_COUNTS; i++)
		metric_sample(m, (double)c.kernel[i], "outcome", flow_count_name((enum flow_count)i), NULL);
	metric_family(m, "baton_l7_held_packets", METRIC_GAUGE, "Packets that wait while their connection moves.");
	metric_sample(m, (double)c.waiting, NULL);
	metric_family(m, "baton_l7_held_bytes", METRIC_GAUGE, "Their octets.");
	metric_sample(m, (double)c.waiting_bytes, NULL);
	metric_family(m, "baton_l7_held_released_total", METRIC_COUNTER, "Packets that went on, after they had waited or come late.");
	metric_sample(m, (double)c.released, NULL);
	metric_family(m, "baton_l7_held_dropped_total", METRIC_COUNTER, "Packets that could not wait: TCP sends them again.");
	metric_sample(m, (double)c.dropped, "where", "queue", NULL);
	metric_sample(m, (double)c.tap_dropped, "where", "tap", NULL);
}

static void collect_store(struct l7d *d, struct metrics *m)
{
	static const char *const class[] = { NULL, "1xx", "2xx", "3xx", "4xx", "5xx" };
	struct object_stats s;
	unsigned i;

	object_server_stats(d->store, &s);
	metric_family(m, "baton_l7_store_connections_total", METRIC_COUNTER, "Connections to the object server.");
	metric_sample(m, (double)s.connections, NULL);
	metric_family(m, "baton_l7_store_requests_total", METRIC_COUNTER, "Requests to the object server.");
	metric_sample(m, (double)s.requests, NULL);
	metric_family(m, "baton_l7_store_answers_total", METRIC_COUNTER, "Its answers by class.");
	for (i = 1; i < 6; i++)
		metric_sample(m, (double)s.answers[i], "class", class[i], NULL);
	metric_family(m, "baton_l7_store_bytes_total", METRIC_COUNTER, "Bytes of objects.");
	metric_sample(m, (double)s.bytes_in, "direction", "received", NULL);
	metric_sample(m, (double)s.bytes_out, "direction", "sent", NULL);
}

void l7d_collect(void *ctx, struct metrics *m)
{
	static const char *const name[] = { "handshake", "head", "queue", "connect", "answer", "total" };
	double bound[STATS_BOUNDS];
	struct secret_counts keys;
	struct l7d *d = ctx;
	unsigned i, k, p;

	collect_clients(d, m);
	collect_backends(d, m);
	if (d->store)
		collect_store(d, m);
	if (d->handoff)
		collect_moves(d, m);
	collect_rows(d, m);
	secret_counts(&keys);
	metric_family(m, "baton_l7_key_memory_bytes", METRIC_GAUGE,
		      "Memory of TLS connections' keys: used; unlocked: what may be swapped, LimitMEMLOCK being too small.");
	metric_sample(m, (double)keys.used, "state", "used", NULL);
	metric_sample(m, (double)keys.unlocked, "state", "unlocked", NULL);
	for (i = 0; i < STATS_BOUNDS; i++)
		bound[i] = STATS_BOUND_FIRST_US * 1e-6 * (double)(1u << i);
	metric_family(m, "baton_l7_phase_seconds", METRIC_HISTOGRAM, "Time of a request's phases.");
	for (p = 0; p < PHASES; p++) {
		uint64_t count[STATS_BOUNDS + 1] = { 0 };
		double sum = 0;

		for (i = 0; i < d->n_workers; i++) {
			const struct histogram *h = &d->worker[i]->stats.phase[p];

			for (k = 0; k <= STATS_BOUNDS; k++)
				count[k] += __atomic_load_n(&h->count[k], __ATOMIC_RELAXED);
			sum += (double)__atomic_load_n(&h->sum_us, __ATOMIC_RELAXED) * 1e-6;
		}
		metric_histogram(m, bound, count, STATS_BOUNDS, sum, "phase", name[p], NULL);
	}
	if (d->snapshot) {
		metric_family(m, "baton_l7_certificate_expiry_timestamp_seconds", METRIC_GAUGE,
			      "The soonest end of an edge's certificates, seconds since the epoch.");
		for (i = 0; i < d->snapshot->n_edges; i++) {
			int64_t expires;
			unsigned n;

			if (!d->snapshot->edge[i].tls)
				continue;
			tls_context_facts(d->snapshot->edge[i].tls, &n, &expires);
			metric_sample(m, (double)expires, "vip", d->snapshot->edge[i].vip, NULL);
		}
		metric_family(m, "baton_l7_crl_expiry_timestamp_seconds", METRIC_GAUGE,
			      "The soonest end of an edge's lists of revoked client certificates, seconds since the epoch: none is taken after it.");
		for (i = 0; i < d->snapshot->n_edges; i++) {
			const struct cert_rules *rules = tls_context_rules(d->snapshot->edge[i].tls);

			if (rules && cert_rules_crl_expires(rules))
				metric_sample(m, (double)cert_rules_crl_expires(rules), "vip", d->snapshot->edge[i].vip, NULL);
		}
	}
}

/* --- answers -------------------------------------------------------------------------------------------------- */
/* A question to all workers, gathered one after the other in their own loops. */
struct gather {
	struct l7d *d;
	json_t *rows;
	void (*ask)(struct worker *w, struct gather *g);
	void (*answer)(void *to, json_t *a);
	void *to;
	const char *key;
	unsigned at;
	size_t limit;
	json_t *(*finish)(struct gather *g);
	struct event *back;
	int back_fd; /* a worker is done */
};

static void gather_next(struct gather *g);

static void gather_back(evutil_socket_t fd, short what, void *ctx)
{
	struct gather *g = ctx;

	(void)what;
	event_free(g->back);
	close(fd);
	g->at++;
	gather_next(g);
}

/* In the worker; g is the main thread's again once the descriptor is written to. */
static void gather_in_worker(struct worker *w, void *arg)
{
	struct gather *g = arg;
	int fd = g->back_fd;

	g->ask(w, g);
	if (eventfd_write(fd, 1))
		abort();
}

static void gather_next(struct gather *g)
{
	if (g->at == g->d->n_workers) {
		json_t *rows = g->finish ? g->finish(g) : json_incref(g->rows);

		g->answer(g->to, json_pack("{s:o}", g->key, rows));
		json_decref(g->rows);
		free(g);
		return;
	}
	g->back_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	g->back = g->back_fd >= 0 ? event_new(g->d->daemon.base, g->back_fd, EV_READ, gather_back, g) : NULL;
	if (!g->back || event_add(g->back, NULL))
		abort();
	worker_call(g->d->worker[g->at], gather_in_worker, g);
}

static json_t *row_of(json_t *rows, const char *pool, const char *backend)
{
	json_t *r;
	size_t i;

	json_array_foreach(rows, i, r)
		if (!strcmp(json_string_value(json_object_get(r, "pool")), pool) &&
		    !strcmp(json_string_value(json_object_get(r, "backend")), backend))
			return r;
	r = json_pack("{s:s, s:s}", "pool", pool, "backend", backend);
	json_array_append_new(rows, r);
	return r;
}

static void add(json_t *row, const char *key, uint64_t n)
{
	json_object_set_new(row, key, json_integer(json_integer_value(json_object_get(row, key)) + (json_int_t)n));
}

static void ask_backends(struct worker *w, struct gather *g)
{
	static const char *const health[] = { [BACKEND_UP] = "up", [BACKEND_DRAINING] = "draining", [BACKEND_DOWN] = "down" };
	uint64_t now = monotonic_ms();
	struct link *l;
	uint32_t i;

	for (l = w->pools.next; l != &w->pools; l = l->next) {
		const struct wpool *p = LINK_OF(l, struct wpool, link);

		for (i = 0; i < p->n_backends; i++) {
			const struct backend *b = p->backend[i];
			json_t *row = row_of(g->rows, p->conf->name, b->text);
			struct pool_backend_status s;

			pool_status(p->pool, (int)i, now, &s);
			json_object_set_new(row, "health", json_string(s.ejected ? "ejected" : health[s.health]));
			json_object_set_new(row, "weight", json_integer(p->conf->backend[i].weight));
			json_object_set_new(row, "share", json_real(s.share));
			add(row, "active", s.active);
			add(row, "requests", s.requests);
			add(row, "failures", s.failures);
			add(row, "connections", b->n_conns);
			add(row, "idle", b->n_idle);
			add(row, "made", b->connects);
			add(row, "kept", b->reuses);
		}
	}
}

static void ask_pools(struct worker *w, struct gather *g)
{
	static const char *const policy[] = { [POLICY_ROUND_ROBIN] = "round_robin",
					      [POLICY_LEAST_CONNECTIONS] = "least_connections",
					      [POLICY_AFFINITY] = "affinity", [POLICY_LARD] = "lard" };
	uint64_t now = monotonic_ms();
	struct link *l;
	uint32_t i, up;

	for (l = w->pools.next; l != &w->pools; l = l->next) {
		const struct wpool *p = LINK_OF(l, struct wpool, link);
		json_t *row = row_of(g->rows, p->conf->name, "");

		for (i = up = 0; i < p->n_backends; i++) {
			struct pool_backend_status s;

			pool_status(p->pool, (int)i, now, &s);
			up += s.health == BACKEND_UP && !s.ejected;
			add(row, "active", s.active);
			add(row, "requests", s.requests);
			add(row, "failures", s.failures);
		}
		json_object_set_new(row, "policy", json_string(policy[p->conf->policy]));
		json_object_set_new(row, "backends", json_integer(p->n_backends));
		json_object_set_new(row, "up", json_integer(up));
		add(row, "queued", p->n_queued);
	}
}

static void ask_moves(struct worker *w, struct gather *g)
{
	handoff_flights(w, g->rows, g->limit);
}

static void ask_connections(struct worker *w, struct gather *g)
{
	uint64_t now = monotonic_ms();
	struct link *l;

	for (l = w->clients.next; l != &w->clients && json_array_size(g->rows) < g->limit; l = l->next) {
		const struct client *c = LINK_OF(l, struct client, link);
		const struct endpoint peer = { c->peer.v4.sin_family == AF_INET
						       ? (struct address){ AF_INET, { .v4 = c->peer.v4.sin_addr } }
						       : (struct address){ AF_INET6, { .v6 = c->peer.v6.sin6_addr } },
					       ntohs(c->peer.v4.sin_port) };
		const struct cert_fact *f = c->s.tls ? tls_certificate(c->s.tls) : NULL;
		char text[ENDPOINT_TEXT], cid[20];

		snprintf(cid, sizeof(cid), "%016llx", (unsigned long long)c->cid);
		json_array_append_new(
			g->rows,
			json_pack("{s:s, s:s, s:s, s:i, s:s, s:s, s:I, s:I, s:s, s:s, s:I, s:I, s:i, s:i, s:s, s:s, s:s}", "cid", cid, "client",
				  endpoint_print(&peer, text), "vip", c->edge->vip, "port", c->edge->conf->port, "protocol",
				  c->h2 ? "h2" : c->tunnel ? "tunnel" : "http/1.1", "tls", c->s.tls ? tls_version(c->s.tls) : "",
				  "requests", (json_int_t)c->requests, "age_ms", (json_int_t)(now - c->since_ms), "state",
				  c->lingering		       ? "closing"
				  : c->moving		       ? "moving"
				  : c->x || (c->h2 && h2_active(c)) ? "busy"
							       : "idle",
				  "backend", c->x ? c->x->backend_text : "", "received", (json_int_t)c->s.received, "sent",
				  (json_int_t)c->s.sent, "ingress", c->ingress ? c->ingress : handoff_self(w), "moves", (int)c->moves,
				  "server_name", c->s.tls ? tls_server_name(c->s.tls) : "", "alpn", c->s.tls ? tls_alpn(c->s.tls) : "", "subject",
				  f && f->subject ? f->subject : ""));
	}
}

/* --- explain --------------------------------------------------------------------------------------------------- */
static json_t *refuse(const char *error, const char *remedy)
{
	return json_pack("{s:b, s:s, s:s}", "ok", 0, "error", error, "remedy", remedy);
}

static const struct edge *edge_for(const struct snapshot *s, const char *vip, bool tls, unsigned port)
{
	uint32_t i;

	for (i = 0; i < s->n_edges; i++)
		if (s->edge[i].conf->tls == tls && (!port || s->edge[i].conf->port == port) && (!vip || !strcmp(vip, s->edge[i].vip)))
			return &s->edge[i];
	return NULL;
}

struct explain {
	char pool[EDGE_NAME_LEN];
	uint64_t hash;
};

static void ask_explain(struct worker *w, struct gather *g)
{
	struct explain *e = (void *)g->limit;
	struct wpool *p = wpool_find(w, e->pool);
	int backend[POOL_BACKENDS_MAX];
	unsigned n, i;

	if (w->id || !p)
		return;
	n = pool_replicas(p->pool, e->hash, p->conf->policy == POLICY_AFFINITY ? p->conf->replicas : POOL_BACKENDS_MAX, backend);
	for (i = 0; i < n; i++)
		json_array_append_new(g->rows, json_string(p->backend[backend[i]]->text));
}

static json_t *finish_explain(struct gather *g)
{
	struct explain *e = (void *)g->limit;
	json_t *a = json_pack("{s:s, s:O}", "pool", e->pool, "backends", g->rows);

	free(e);
	return a;
}

static void gather(struct l7d *d, const char *key, void (*ask)(struct worker *w, struct gather *g), size_t limit,
		   json_t *(*finish)(struct gather *g), void (*answer)(void *to, json_t *a), void *to)
{
	struct gather *g = calloc(1, sizeof(*g));

	if (!g)
		abort();
	*g = (struct gather){ .d = d, .rows = json_array(), .ask = ask, .answer = answer, .to = to, .key = key,
			      .limit = limit, .finish = finish };
	gather_next(g);
}

/* http[s]://HOST[:PORT]/PATH, for a client (an address) and a method, if given. */
static void explain(struct l7d *d, json_t *args, void (*answer)(void *to, json_t *a), void *to)
{
	const char *url = json_string_value(json_object_get(args, "url")), *method = json_string_value(json_object_get(args, "method")),
		   *vip = json_string_value(json_object_get(args, "vip")), *client = json_string_value(json_object_get(args, "client"));
	struct address from = { .family = AF_INET };
	struct request_head h = { 0 };
	const struct edge *edge;
	struct explain *e;
	uint32_t route;
	bool tls;

	if (!url || (strncmp(url, "http://", 7) && strncmp(url, "https://", 8))) {
		answer(to, refuse("the URL does not begin with http:// or https://", "give the URL as a client would"));
		return;
	}
	if (client && !address_parse(&from, client)) {
		answer(to, refuse("the client is not an address", "such as 192.0.2.1"));
		return;
	}
	tls = url[4] == 's';
	method = method ? method : "GET";
	head_begin(&h, 65536);
	if (head_method(&h, method, strlen(method)) || head_target(&h, url, strlen(url)) || head_field(&h, "host", 4, "x", 1) ||
	    head_finish(&h, 11)) {
		answer(to, refuse("the edge would refuse this request with 400", "see l7/http/head.h for how targets are read"));
		head_free(&h);
		return;
	}
	edge = d->snapshot ? edge_for(d->snapshot, vip, tls, h.port) : NULL;
	route = edge ? route_find(edge->routes, &h) : ROUTE_NONE;
	if (route == ROUTE_NONE) {
		answer(to, edge ? refuse("no route matches: 404", "add a route without conditions as the last one")
				: refuse("no edge serves this port", "see the edges in pop.yaml"));
		head_free(&h);
		return;
	}
	e = calloc(1, sizeof(*e));
	if (!e)
		abort();
	memcpy(e->pool, edge->conf->route[route].pool_name, sizeof(e->pool));
	e->hash = route_key(&d->snapshot->conf.pool[edge->conf->route[route].pool], &h, &from.v4, from.family == AF_INET ? 4 : 16);
	head_free(&h);
	gather(d, "explain", ask_explain, (size_t)e, finish_explain, answer, to);
}

/* How requests were answered, and what became of moves, since the process began. */
static json_t *answered(struct l7d *d)
{
	double proxied = 0, refused = 0;
	unsigned i;

	for (i = 0; i < REASONS; i++)
		proxied += move_reason_mode((enum move_reason)i) == MODE_PROXY ? SUM(d, move_reasons[i]) : 0;
	for (i = 0; i < REFUSE_REASONS; i++)
		refused += SUM(d, moves_refused[i]);
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "proxied", (json_int_t)proxied, "here",
			 (json_int_t)SUM(d, move_reasons[REASON_STAYS]), "given", (json_int_t)SUM(d, moves_given), "resumed",
			 (json_int_t)SUM(d, moves_resumed), "lost", (json_int_t)SUM(d, moves_lost), "taken",
			 (json_int_t)SUM(d, moves_taken), "refused", (json_int_t)refused, "reset", (json_int_t)SUM(d, moves_ended));
}

static json_t *status(struct l7d *d)
{
	json_t *edges = json_array();
	uint32_t i;

	for (i = 0; d->snapshot && i < d->snapshot->n_edges; i++) {
		const struct edge *e = &d->snapshot->edge[i];
		int64_t expires = 0;
		unsigned n = 0;

		if (e->tls)
			tls_context_facts(e->tls, &n, &expires);
		json_array_append_new(edges, json_pack("{s:s, s:i, s:b, s:i, s:i, s:I}", "vip", e->vip, "port", e->conf->port, "tls",
						       e->tls != NULL, "routes", (int)e->conf->n_routes, "certificates", (int)n,
						       "expires", (json_int_t)expires));
	}
	return json_pack("{s:i, s:I, s:s, s:o, s:o}", "workers", (int)d->n_workers, "index",
			 (json_int_t)(d->snapshot ? d->snapshot->index : 0), "alarm", d->alarm, "edges", edges, "handoffs", answered(d));
}

void l7d_ask(struct l7d *d, const char *verb, json_t *args, void (*answer)(void *to, json_t *a), void *to)
{
	json_int_t limit = json_integer_value(json_object_get(args, "limit"));

	if (!strcmp(verb, "pools"))
		gather(d, "pools", ask_pools, 0, NULL, answer, to);
	else if (!strcmp(verb, "backends"))
		gather(d, "backends", ask_backends, 0, NULL, answer, to);
	else if (!strcmp(verb, "connections"))
		gather(d, "connections", ask_connections, limit > 0 ? (size_t)limit : 1000, NULL, answer, to);
	else if (!strcmp(verb, "moves"))
		gather(d, "moves", ask_moves, limit > 0 ? (size_t)limit : FLIGHTS_SHOWN, NULL, answer, to);
	else if (!strcmp(verb, "explain"))
		explain(d, args, answer, to);
	else if (!strcmp(verb, "status"))
		answer(to, status(d));
	else
		answer(to, refuse("this daemon does not know the verb", "pools, backends, connections, moves, explain, status"));
}
