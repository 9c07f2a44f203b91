/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Probes out of every host port; see host_probe.h.  Replies are addressed to the router's MAC, so the bridge
 * hands them up: one packet socket gets all.  Who answered is in the reply, and the source guard has made
 * sure that no host speaks for another.
 */
#include "switch/host_probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "lb/probe.h"
#include "switch/nl.h"

#define FRAME_LEN 60
#define PROBES_PER_SILENCE 5

struct watched {
	char ifname[IF_NAMESIZE];
	uint16_t host;
	int ifindex;
	uint64_t since_ms; /* carrier came, or we began */
	uint64_t heard_ms; /* last answer; 0: none since */
	bool answers;
};

struct host_probe {
	struct watched *port;
	bool *carrier;
	uint32_t n;
	uint16_t switch_id;
	uint32_t silence_ms;
	uint64_t nonce, strays;
	struct nl nl;
	int packet_fd, link_fd;
	struct event *packet, *link, *tick;
	void (*changed)(void *ctx);
	void *ctx;
};

static bool judge(struct host_probe *p)
{
	uint64_t now = monotonic_ms();
	bool changed = false;

	for (uint32_t i = 0; i < p->n; i++) {
		struct watched *w = &p->port[i];
		uint64_t from = w->heard_ms > w->since_ms ? w->heard_ms : w->since_ms;
		bool answers = p->carrier[i] && now - from < p->silence_ms;

		changed |= answers != w->answers;
		w->answers = answers;
	}
	return changed;
}

static bool read_links(struct host_probe *p)
{
	struct nl_links links;
	bool changed = false;

	if (nl_links_read(&p->nl, &links))
		return false; /* interrupted by a change: another notification follows */
	for (uint32_t i = 0; i < p->n; i++) {
		const struct nl_link *link = nl_links_find(&links, p->port[i].ifname);
		bool carrier = link && link->carrier;

		p->port[i].ifindex = link ? link->ifindex : 0;
		if (carrier && !p->carrier[i])
			p->port[i].since_ms = monotonic_ms();
		changed |= carrier != p->carrier[i];
		p->carrier[i] = carrier;
	}
	nl_links_free(&links);
	return changed;
}

static void on_link(evutil_socket_t fd, short what, void *arg)
{
	struct host_probe *p = arg;
	uint8_t buf[16384];
	bool changed;

	(void)what;
	while (recv(fd, buf, sizeof(buf), MSG_DONTWAIT) > 0 || errno == ENOBUFS)
		;
	changed = read_links(p);
	changed |= judge(p);
	if (changed)
		p->changed(p->ctx);
}

static void send_probe(struct host_probe *p, const struct watched *w)
{
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_ifindex = w->ifindex, .sll_halen = 6,
				  .sll_protocol = htons(PROBE_ETHERTYPE) };
	struct probe probe = { .magic = htons(PROBE_MAGIC), .version = PROBE_VERSION, .kind = PROBE_REQUEST,
			       .switch_id = htons(p->switch_id), .nonce = p->nonce };
	struct triple own = { { w->host } };
	uint8_t frame[FRAME_LEN] = { 0 };

	vmac_encode(frame, &own);
	router_mac(frame + 6, p->switch_id);
	frame[12] = PROBE_ETHERTYPE >> 8;
	frame[13] = PROBE_ETHERTYPE & 0xff;
	memcpy(frame + 14, &probe, sizeof(probe));
	memcpy(to.sll_addr, frame, 6);
	sendto(p->packet_fd, frame, sizeof(frame), MSG_DONTWAIT, (struct sockaddr *)&to, sizeof(to));
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct host_probe *p = arg;

	(void)fd;
	(void)what;
	for (uint32_t i = 0; i < p->n; i++)
		if (p->port[i].host != HOST_NONE && p->carrier[i])
			send_probe(p, &p->port[i]);
	if (judge(p))
		p->changed(p->ctx);
}

static void on_packet(evutil_socket_t fd, short what, void *arg)
{
	struct host_probe *p = arg;
	uint8_t frame[256];
	struct sockaddr_ll from = { .sll_pkttype = PACKET_OUTGOING };
	socklen_t from_len = sizeof(from);
	bool changed;
	ssize_t len;

	(void)what;
	while ((len = recvfrom(fd, frame, sizeof(frame), MSG_DONTWAIT, (struct sockaddr *)&from, &from_len)) > 0) {
		struct probe probe;
		bool known = false;

		if (from.sll_pkttype == PACKET_OUTGOING || (size_t)len < 14 + sizeof(probe))
			continue;
		memcpy(&probe, frame + 14, sizeof(probe));
		for (uint32_t i = 0; i < p->n; i++) {
			struct watched *w = &p->port[i];

			if (probe.kind != PROBE_REPLY || probe.magic != htons(PROBE_MAGIC) || probe.nonce != p->nonce ||
			    w->host == HOST_NONE || probe.host != htons(w->host))
				continue;
			w->heard_ms = monotonic_ms();
			known = true;
		}
		p->strays += !known;
	}
	changed = judge(p);
	if (changed)
		p->changed(p->ctx);
}

static int open_sockets(struct host_probe *p)
{
	struct sockaddr_nl addr = { .nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK };
	int err = nl_open(&p->nl);

	if (err)
		return err;
	p->packet_fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(PROBE_ETHERTYPE));
	p->link_fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
	if (p->packet_fd < 0 || p->link_fd < 0 || bind(p->link_fd, (struct sockaddr *)&addr, sizeof(addr)))
		return -errno;
	return 0;
}

int host_probe_new(struct event_base *base, const struct switch_conf *sw, uint32_t silence_ms,
		   void (*changed)(void *ctx), void *ctx, struct host_probe **out)
{
	struct host_probe *p = calloc(1, sizeof(*p));
	uint32_t every_ms = silence_ms / PROBES_PER_SILENCE;
	struct timeval tv = { .tv_sec = every_ms / 1000, .tv_usec = every_ms % 1000 * 1000 };
	int err = -ENOMEM;

	if (!p)
		return -ENOMEM;
	p->packet_fd = p->link_fd = p->nl.fd = -1;
	p->n = sw->n_ports;
	p->switch_id = sw->id;
	p->silence_ms = silence_ms;
	p->changed = changed;
	p->ctx = ctx;
	p->port = calloc(sw->n_ports + 1, sizeof(*p->port));
	p->carrier = calloc(sw->n_ports + 1, sizeof(*p->carrier));
	if (!p->port || !p->carrier)
		goto fail;
	for (uint32_t i = 0; i < p->n; i++) {
		memcpy(p->port[i].ifname, sw->port[i].ifname, IF_NAMESIZE);
		p->port[i].host = sw->port[i].host;
	}
	if (getrandom(&p->nonce, sizeof(p->nonce), 0) != sizeof(p->nonce)) {
		err = -EIO;
		goto fail;
	}
	err = open_sockets(p);
	if (err)
		goto fail;
	err = -ENOMEM;
	p->packet = event_new(base, p->packet_fd, EV_READ | EV_PERSIST, on_packet, p);
	p->link = event_new(base, p->link_fd, EV_READ | EV_PERSIST, on_link, p);
	p->tick = event_new(base, -1, EV_PERSIST, on_tick, p);
	if (!p->packet || !p->link || !p->tick || event_add(p->packet, NULL) || event_add(p->link, NULL) ||
	    event_add(p->tick, &tv))
		goto fail;
	read_links(p);
	judge(p);
	*out = p;
	return 0;
fail:
	host_probe_free(p);
	return err;
}

void host_probe_free(struct host_probe *p)
{
	struct event *const event[] = { p ? p->packet : NULL, p ? p->link : NULL, p ? p->tick : NULL };

	if (!p)
		return;
	for (int i = 0; i < 3; i++)
		if (event[i])
			event_free(event[i]);
	if (p->packet_fd >= 0)
		close(p->packet_fd);
	if (p->link_fd >= 0)
		close(p->link_fd);
	nl_close(&p->nl);
	free(p->port);
	free(p->carrier);
	free(p);
}

const bool *host_probe_carrier(const struct host_probe *p)
{
	return p->carrier;
}

bool host_probe_answers(const struct host_probe *p, uint32_t port)
{
	return p->port[port].answers;
}

uint64_t host_probe_strays(const struct host_probe *p)
{
	return p->strays;
}
