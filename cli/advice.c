/* SPDX-License-Identifier: BSD-2-Clause */
#include "cli/advice.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

struct advisor {
	advice_sink *sink;
	void *ctx;
};

static void say(const struct advisor *a, const char *id, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void say(const struct advisor *a, const char *id, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	a->sink(a->ctx, id, text);
}

static uint32_t weight_without(const struct pop *pop, uint16_t skip)
{
	uint32_t i, sum = 0;

	for (i = 0; i < pop->n_hosts; i++)
		sum += pop->host[i].id == skip ? 0 : pop->host[i].weight;
	return sum;
}

static uint32_t owners(const struct pop *pop)
{
	uint32_t i, n = 0;

	for (i = 0; i < pop->n_hosts; i++)
		n += !host_is_elsewhere(&pop->host[i]);
	return n;
}

/* The table keeps every host within one bucket of its exact share. */
struct spread pop_spread(const struct pop *pop, uint16_t skip)
{
	uint32_t i, whole = weight_without(pop, skip);
	struct spread s = { .least = pop->buckets };

	for (i = 0; i < pop->n_hosts && whole; i++) {
		const struct host_conf *h = &pop->host[i];
		double exact = (double)pop->buckets * h->weight / whole, over;
		uint32_t least = (uint32_t)exact, most = (uint32_t)ceil(exact);

		if (h->id == skip || !h->weight)
			continue;
		over = ((double)most / exact - 1) * 100;
		s.least = least < s.least ? least : s.least;
		s.most = most > s.most ? most : s.most;
		s.over_percent = over > s.over_percent ? over : s.over_percent;
	}
	return s;
}

static void advise_balance(const struct advisor *a, const struct pop *pop)
{
	struct spread now = pop_spread(pop, HOST_NONE), drained = now;
	uint32_t i, n = owners(pop);

	for (i = 0; i < pop->n_hosts && n > 1; i++) {
		struct spread s = pop_spread(pop, pop->host[i].id);

		if (s.over_percent > drained.over_percent)
			drained = s;
	}
	if (now.over_percent > 5 || drained.over_percent > 5)
		say(a, "balance",
		    "%u buckets for %u hosts: a host may get %.0f%% more than its share, %.0f%% while another is drained; more buckets spread finer, but their number is fixed for the life of the POP",
		    pop->buckets, n, now.over_percent, drained.over_percent);
	if (!now.least && now.most)
		say(a, "balance-none", "the smallest weight is less than one bucket of %u: such a host may get no traffic at all",
		    pop->buckets);
}

static void advise_floor(const struct advisor *a, const struct pop *pop)
{
	uint32_t i, whole = weight_without(pop, HOST_NONE), forbidden = 0, locks = 0;
	const struct host_conf *one = NULL, *loud = NULL, *owner = NULL;

	for (i = 0; i < pop->n_hosts && whole; i++) {
		const struct host_conf *h = &pop->host[i];
		uint64_t left = (uint64_t)weight_without(pop, h->id) * 100;

		owner = host_is_elsewhere(h) ? owner : h;
		if (h->weight && left < (uint64_t)pop->policy.floor_percent * whole) {
			forbidden++;
			one = one ? one : h;
		}
		if ((uint64_t)h->weight * 100 > (uint64_t)pop->policy.burst_percent * whole) {
			locks++;
			loud = loud ? loud : h;
		}
	}
	if (owner && owners(pop) == 1)
		say(a, "one-host", "host %s is alone: it cannot be drained, for nobody would take its traffic", owner->name);
	else if (one)
		say(a, "floor", "the floor of %u%% forbids draining host %s%s: without it %.0f%% of the weight serve; lower policy: floor",
		    pop->policy.floor_percent, one->name, forbidden > 1 ? " and others" : "",
		    100.0 * weight_without(pop, one->id) / whole);
	if (loud && owners(pop) > 1)
		say(a, "burst",
		    "host %s%s has more than %u%% of the weight: if it alone turns sick, that counts as a burst and it keeps its buckets; raise policy: burst",
		    loud->name, locks > 1 ? ", like others," : "", pop->policy.burst_percent);
}

static void advise_vips(const struct advisor *a, const struct pop *pop)
{
	uint32_t i, k;

	for (i = 0; i < pop->n_vips; i++) {
		const struct vip *v = &pop->vip[i];

		for (k = 0; k < v->n_ports; k++)
			if (v->port[k].protocol == IPPROTO_UDP)
				say(a, "udp",
				    "vip %s, port %u/udp: a drain breaks its flows, for nothing in a datagram says which host it belongs to (single questions and answers, as of DNS, do not notice)",
				    v->name, v->port[k].port);
		if (!v->n_checks)
			say(a, "no-check", "vip %s has no check: a host whose service is down goes on getting its traffic", v->name);
	}
}

static bool has_peer(const struct switch_conf *sw)
{
	uint32_t i;

	for (i = 0; i < sw->n_ports; i++)
		if (sw->port[i].peer)
			return true;
	return false;
}

static void advise_switches(const struct advisor *a, const struct pop *pop)
{
	uint32_t i, k, silent = 0;

	if (pop->n_switches == 1)
		say(a, "one-switch", "switch %s is alone: it cannot be drained", pop->switches[0].name);
	for (i = 0; i < pop->n_switches; i++) {
		const struct switch_conf *sw = &pop->switches[i];

		silent += !*sw->bird_socket;
		if (sw->fabric == FABRIC_PACED)
			say(a, "paced", "switch %s: the paced fabric applies rows as slowly as it can, for tests", sw->name);
		for (k = 0; k < pop->n_hosts; k++)
			if (!pop_port_to_host(sw, pop->host[k].id) && !has_peer(sw) && !host_is_elsewhere(&pop->host[k]))
				say(a, "unreachable",
				    "switch %s has neither a port to host %s nor a peer that has one: what it gets for %s is lost; add a peer port",
				    sw->name, pop->host[k].name, pop->host[k].name);
	}
	if (silent)
		say(a, "no-bird", "%u of %u switches have no 'bird' socket: they announce nothing", silent, pop->n_switches);
	for (k = 0; k < pop->n_hosts && pop->n_switches > 1; k++)
		if (pop->host[k].n_links == 1)
			say(a, "one-link", "host %s hangs on switch %s alone: draining that switch is refused while it serves",
			    pop->host[k].name, pop_switch(pop, pop->host[k].link[0].switch_id)->name);
}

static void advise_elsewhere(const struct advisor *a, const struct pop *pop)
{
	uint32_t i;

	for (i = 0; i < pop->n_hosts && !pop->l7.handoff.enabled; i++)
		if (host_is_elsewhere(&pop->host[i]))
			say(a, "elsewhere", "host %s is elsewhere, but there is no 'handoff' section: what it answers is proxied", pop->host[i].name);
}

void pop_advise(const struct pop *pop, advice_sink *sink, void *ctx)
{
	const struct advisor a = { .sink = sink, .ctx = ctx };

	advise_balance(&a, pop);
	advise_floor(&a, pop);
	advise_vips(&a, pop);
	advise_switches(&a, pop);
	advise_elsewhere(&a, pop);
}
