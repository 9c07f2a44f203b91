/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A device with the kernel module on it and the switch's end of its wire, for tests in the VM:
 *
 *     far (the switch's end, raw frames) ---- near (the host's link, or what is built upon it)
 *
 * cmocka and <sys/socket.h> are included before.
 */
#ifndef TESTS_VM_MODULE_BED_H
#define TESTS_VM_MODULE_BED_H

#include <net/ethernet.h>
#include <net/if.h>
#include <netpacket/packet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/datapath.h"
#include "lb/probe.h"
#include "lb/verdict.h"

#define SELF 1
#define OTHER 2

static char why[256];
static struct datapath *path;
static int wire; /* packet socket on the far end */

static void shell(const char *command)
{
	int status = system(command);

	if (status)
		fail_msg("%s: status %d", command, status);
}

/* A raw socket on a device; ETH_P_ALL taps it before the module, any other protocol behind it. */
static int raw_socket(const char *device, uint16_t protocol)
{
	struct sockaddr_ll at = { .sll_family = AF_PACKET, .sll_protocol = htons(protocol) };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(protocol));

	at.sll_ifindex = (int)if_nametoindex(device);
	if (fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof(at))) {
		close(fd);
		return -1;
	}
	return fd;
}

__attribute__((unused)) static void attach_to(const char *device)
{
	char name[1][IF_NAMESIZE] = { { 0 } };

	snprintf(name[0], sizeof(name[0]), "%s", device);
	assert_int_equal(datapath_module.set_devices(path, name, 1), 0);
}

/* The module in this namespace, with one VIP and detours on, on no device yet. */
static int open_module(void)
{
	struct address a = { .family = AF_INET };
	struct vip vip = { .name = "v", .address = &a, .n_addresses = 1 };

	a.v4.s_addr = htonl(0xc6336450); /* 198.51.100.80 */
	if (datapath_module.open(SELF, "", why, sizeof(why), &path))
		return -1;
	return datapath_module.set_vips(path, &vip, 1) || datapath_module.set_detours(path, true);
}

/* A TCP segment to the VIP, in a frame to `to`; returns its length. */
static size_t segment(uint8_t *f, struct triple to, uint8_t flags)
{
	static const uint8_t ip[20] = { 0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0, 192, 0, 2, 7, 198, 51, 100, 80 };

	memset(f, 0, 60);
	vmac_encode(f, &to);
	router_mac(f + 6, 1);
	f[12] = 0x08;
	memcpy(f + 14, ip, sizeof(ip));
	f[34] = 0x9c;
	f[35] = 0x40;
	f[37] = 80;
	f[46] = 0x50;
	f[47] = flags;
	return 60;
}

__attribute__((unused)) static size_t probe_frame(uint8_t *f)
{
	struct triple self = { { SELF } };
	struct probe p = { .magic = htons(PROBE_MAGIC), .version = PROBE_VERSION, .kind = PROBE_REQUEST, .nonce = 42 };

	memset(f, 0, 60);
	vmac_encode(f, &self);
	router_mac(f + 6, 3);
	f[12] = PROBE_ETHERTYPE >> 8;
	f[13] = PROBE_ETHERTYPE & 0xff;
	memcpy(f + 14, &p, sizeof(p));
	return 60;
}

/* What came back on the wire and was not sent by us; 0: nothing within the time. */
__attribute__((unused)) static ssize_t receive(uint8_t *frame, size_t room, int ms)
{
	struct pollfd p = { .fd = wire, .events = POLLIN };
	struct sockaddr_ll from;
	socklen_t len = sizeof(from);
	ssize_t n;

	while (poll(&p, 1, ms) > 0) {
		n = recvfrom(wire, frame, room, 0, (struct sockaddr *)&from, &len);
		/* The kernel's own multicast chatter is not ours. */
		if (n > 0 && from.sll_pkttype != PACKET_OUTGOING && (frame[0] == MAC_KIND_VMAC || frame[0] == MAC_KIND_ROUTER))
			return n;
	}
	return 0;
}

__attribute__((unused)) static void send_frame(const uint8_t *f, size_t n)
{
	assert_int_equal(send(wire, f, n, 0), n);
}

__attribute__((unused)) static void count(uint64_t *reason, uint64_t *to)
{
	struct datapath_counters c = { .reason = reason, .n_reasons = REASON_MAX, .detour_to = to };

	assert_int_equal(datapath_module.counters(path, &c), 0);
}

/* A segment that nobody here knows goes to the other host, with a detour header. */
__attribute__((unused)) static void expect_detour(void)
{
	struct triple t = { { SELF, OTHER } }, got = { { 0 } };
	struct detour d = { 0 };
	uint8_t f[128];

	send_frame(f, segment(f, t, TCP_FLAG_BIT_ACK));
	assert_int_equal(receive(f, sizeof(f), 5000), 60);
	assert_true(vmac_decode(f, &got));
	assert_int_equal(got.host[0], OTHER);
	assert_int_equal(triple_len(&got), 1);
	assert_true(detour_decode(f + 6, &d));
	assert_int_equal(d.sender, SELF);
	assert_int_equal(d.first, SELF);
}

__attribute__((unused)) static void expect_probe_answered(void)
{
	struct probe p;
	uint8_t f[128];

	send_frame(f, probe_frame(f));
	assert_true(receive(f, sizeof(f), 5000) >= 38);
	memcpy(&p, f + 14, sizeof(p));
	assert_int_equal(p.kind, PROBE_REPLY);
	assert_int_equal(ntohs(p.host), SELF);
	assert_int_equal(p.nonce, 42);
	assert_int_equal(f[0], MAC_KIND_ROUTER);
}

#endif
