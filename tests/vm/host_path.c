// SPDX-License-Identifier: BSD-2-Clause
/*
 * tests/vm/host_path ebpf|module ID HOSTS DEVICE VIP...: the agent's part, for a bed without agents: puts the data
 * path of host ID on a device of the network namespace that it is started in, and says "on".  For each line on its
 * standard input it tells its counters, {"mine_established": 7, ...}; at the end of it, it takes the data path off.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/datapath.h"
#include "lb/verdict.h"

#define HOSTS_MAX 64
#define VIPS_MAX 8

static int fail(const char *what, const char *why)
{
	fprintf(stderr, "host_path: %s: %s\n", what, why);
	return 1;
}

static int tell(const struct datapath_ops *ops, struct datapath *d)
{
	uint64_t n[REASON_MAX] = { 0 };
	struct datapath_counters c = { .reason = n, .n_reasons = REASON_MAX };
	const char *comma = "";
	int r;

	if (ops->counters(d, &c))
		return fail("counters", ops->name);
	printf("{");
	for (r = 0; r < REASON_MAX; r++) {
		if (!n[r] || !verdict_reason_name((enum verdict_reason)r)[0])
			continue;
		printf("%s\"%s\": %llu", comma, verdict_reason_name((enum verdict_reason)r), (unsigned long long)n[r]);
		comma = ", ";
	}
	printf("}\n");
	fflush(stdout);
	return 0;
}

static int address_of(const char *text, struct address *a)
{
	a->family = strchr(text, ':') ? AF_INET6 : AF_INET;
	return inet_pton(a->family, text, a->family == AF_INET6 ? (void *)&a->v6 : (void *)&a->v4) == 1 ? 0 : -1;
}

int main(int argc, char **argv)
{
	const struct datapath_ops *ops = argc > 1 && !strcmp(argv[1], "module") ? &datapath_module : &datapath_ebpf;
	struct address address[VIPS_MAX] = { { .family = 0 } };
	struct vip vip = { .name = "www", .address = address };
	char device[1][IF_NAMESIZE] = { "" }, dir[64], why[256] = "", line[16];
	uint16_t hosts[HOSTS_MAX], self, n;
	struct datapath *d;
	int err = 0;

	if (argc < 6 || argc - 5 > VIPS_MAX)
		return fail("usage", "host_path ebpf|module ID HOSTS DEVICE VIP...");
	self = (uint16_t)atoi(argv[2]);
	for (n = 0; n < HOSTS_MAX && n < atoi(argv[3]); n++)
		hosts[n] = (uint16_t)(n + 1);
	snprintf(device[0], IF_NAMESIZE, "%s", argv[4]);
	for (; vip.n_addresses < (uint32_t)argc - 5; vip.n_addresses++)
		if (address_of(argv[5 + vip.n_addresses], &address[vip.n_addresses]))
			return fail(argv[5 + vip.n_addresses], "not an address");
	snprintf(dir, sizeof(dir), "/sys/fs/bpf/bt-path-%d-h%u", getpid(), self);
	if (ops->open(self, dir, why, sizeof(why), &d))
		return fail(argv[1], why);
	if (ops->set_vips(d, &vip, 1) || ops->set_hosts(d, hosts, n) || ops->set_devices(d, (const char(*)[IF_NAMESIZE])device, 1))
		err = fail(argv[4], "does not take the data path");
	else
		puts("on");
	fflush(stdout);
	while (!err && fgets(line, sizeof(line), stdin))
		err = tell(ops, d);
	ops->close(d, true);
	return err;
}
