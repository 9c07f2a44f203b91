// SPDX-License-Identifier: BSD-2-Clause
/*
 * What the module's netlink family does with requests that are wrong: each is refused and changes nothing, and no
 * sequence of random ones harms the kernel (the VM panics at a warning).
 */
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <cmocka.h>

#include <libmnl/libmnl.h>
#include <linux/genetlink.h>

#include "kmod/uapi.h"
#include "lb/flow.h"
#include "tests/vm/module_bed.h"
#include "tests/vm/rounds.h"

#define ROOM (160 * 1024)
#define RANDOM_REQUESTS 20000
#define RANDOM_REQUESTS_KASAN 2500 /* each takes ten times as long there */

static struct mnl_socket *nl;
static uint16_t family;
static char room[ROOM] __attribute__((aligned(8)));

/* --- Asking without libmnl's care ------------------------------------------------------------------------------ */

static struct nlmsghdr *request(uint16_t type, uint8_t command, uint16_t flags)
{
	struct nlmsghdr *nlh;
	struct genlmsghdr *genl;

	memset(room, 0, 256);
	nlh = mnl_nlmsg_put_header(room);
	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
	nlh->nlmsg_seq = 1;
	genl = mnl_nlmsg_put_extra_header(nlh, sizeof(*genl));
	genl->cmd = command;
	genl->version = BATON_GENL_VERSION;
	return nlh;
}

static int take_family(const struct nlattr *a, void *data)
{
	(void)data;
	if (mnl_attr_get_type(a) == CTRL_ATTR_FAMILY_ID)
		family = mnl_attr_get_u16(a);
	return MNL_CB_OK;
}

/* Sends, and reads until the acknowledgement or the end of a dump: 0 or -errno.  first: the first answer, or NULL. */
static int ask(const struct nlmsghdr *nlh, struct nlmsghdr *first, size_t first_room)
{
	static char answer[ROOM] __attribute__((aligned(8)));

	if (mnl_socket_sendto(nl, nlh, nlh->nlmsg_len) < 0)
		return -errno;
	for (;;) {
		ssize_t got = mnl_socket_recvfrom(nl, answer, sizeof(answer));
		const struct nlmsghdr *h = (const void *)answer;
		int left = (int)got;

		assert_true(got > 0);
		for (; mnl_nlmsg_ok(h, left); h = mnl_nlmsg_next(h, &left)) {
			if (h->nlmsg_type == NLMSG_ERROR)
				return ((const struct nlmsgerr *)mnl_nlmsg_get_payload(h))->error;
			if (h->nlmsg_type == NLMSG_DONE)
				return 0;
			if (first && h->nlmsg_len <= first_room) {
				memcpy(first, h, h->nlmsg_len);
				first = NULL;
			}
		}
	}
}

/* All that GET says, as bytes: to be the same after as before. */
static size_t configuration(char *out, size_t size)
{
	struct nlmsghdr *h = (struct nlmsghdr *)out;

	memset(out, 0, size);
	assert_int_equal(ask(request(family, BATON_CMD_GET, 0), h, size), 0);
	return h->nlmsg_len;
}

static int setup(void **state)
{
	struct timeval patience = { .tv_sec = 20 };
	struct nlmsghdr *nlh;
	char answer[4096];

	(void)state;
	shell("ip link add near type veth peer name far && ip link set near up && ip link set far up");
	nl = mnl_socket_open(NETLINK_GENERIC);
	if (!nl || mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0 ||
	    setsockopt(mnl_socket_get_fd(nl), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)))
		return -1;
	nlh = request(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 0);
	mnl_attr_put_strz(nlh, CTRL_ATTR_FAMILY_NAME, BATON_GENL_NAME);
	if (ask(nlh, (struct nlmsghdr *)answer, sizeof(answer)))
		return -1;
	mnl_attr_parse((struct nlmsghdr *)answer, sizeof(struct genlmsghdr), take_family, NULL);
	if (!family || open_module())
		return -1;
	attach_to("near");
	wire = raw_socket("far", ETH_P_ALL);
	return wire < 0;
}

static int teardown(void **state)
{
	(void)state;
	close(wire);
	mnl_socket_close(nl);
	datapath_module.close(path, true);
	return system("ip link del near") ? -1 : 0;
}

/* --- What is refused ------------------------------------------------------------------------------------------- */

struct abuse {
	const char *name;
	uint8_t command;
	uint16_t type; /* one attribute, */
	uint32_t len;  /* of so many bytes, */
	uint32_t value; /* that begin with this number */
};

static const struct abuse abuses[] = {
	{ "SELF of 1 byte", BATON_CMD_SET, BATON_ATTR_SELF, 1, 1 },
	{ "SELF of 8 bytes", BATON_CMD_SET, BATON_ATTR_SELF, 8, 1 },
	{ "SELF of none", BATON_CMD_SET, BATON_ATTR_SELF, 0, 0 },
	{ "SELF above 4094", BATON_CMD_SET, BATON_ATTR_SELF, 2, 4095 },
	{ "DETOURS of 2", BATON_CMD_SET, BATON_ATTR_DETOURS, 1, 2 },
	{ "DETOURS of 4 bytes", BATON_CMD_SET, BATON_ATTR_DETOURS, 4, 1 },
	{ "HOSTS of 3 bytes", BATON_CMD_SET, BATON_ATTR_HOSTS, 3, 0x00020002 },
	{ "HOSTS with host 0", BATON_CMD_SET, BATON_ATTR_HOSTS, 4, 0x00000002 },
	{ "HOSTS with host 65535", BATON_CMD_SET, BATON_ATTR_HOSTS, 2, 65535 },
	{ "more HOSTS than exist", BATON_CMD_SET, BATON_ATTR_HOSTS, 2 * HOST_ID_MAX + 2, 1 },
	{ "HOSTS of 60,000 bytes", BATON_CMD_SET, BATON_ATTR_HOSTS, 60000, 1 },
	{ "VIPS not marked as nested", BATON_CMD_SET, BATON_ATTR_VIPS, 24, 0 },
	{ "DEVICES not marked as nested", BATON_CMD_SET, BATON_ATTR_DEVICES, 8, 0 },
	{ "VIPS with 4 bytes of nothing", BATON_CMD_SET, BATON_ATTR_VIPS | NLA_F_NESTED, 4, 0 },
	{ "VIPS whose member is longer than they", BATON_CMD_SET, BATON_ATTR_VIPS | NLA_F_NESTED, 24, BATON_ATTR_VIP << 16 | 200 },
	{ "VIPS whose member is shorter than its head", BATON_CMD_SET, BATON_ATTR_VIPS | NLA_F_NESTED, 24, BATON_ATTR_VIP << 16 | 3 },
	{ "a VIP of 16 bytes", BATON_CMD_SET, BATON_ATTR_VIPS | NLA_F_NESTED, 20, BATON_ATTR_VIP << 16 | 20 },
	{ "a VIP of 24 bytes", BATON_CMD_SET, BATON_ATTR_VIPS | NLA_F_NESTED, 28, BATON_ATTR_VIP << 16 | 28 },
	{ "a VIP of family 0", BATON_CMD_SET, BATON_ATTR_VIPS | NLA_F_NESTED, 24, BATON_ATTR_VIP << 16 | 24 },
	{ "an IFINDEX among VIPS", BATON_CMD_SET, BATON_ATTR_VIPS | NLA_F_NESTED, 8, BATON_ATTR_IFINDEX << 16 | 8 },
	{ "a VIP among DEVICES", BATON_CMD_SET, BATON_ATTR_DEVICES | NLA_F_NESTED, 24, BATON_ATTR_VIP << 16 | 24 },
	{ "an IFINDEX of 2 bytes among DEVICES", BATON_CMD_SET, BATON_ATTR_DEVICES | NLA_F_NESTED, 8, BATON_ATTR_IFINDEX << 16 | 6 },
	{ "a DEVICE that is none", BATON_CMD_SET, BATON_ATTR_DEVICES | NLA_F_NESTED, 8, BATON_ATTR_IFINDEX << 16 | 8 },
	{ "an attribute of type 200", BATON_CMD_SET, 200, 4, 1 },
	{ "an answer's attribute in a request", BATON_CMD_SET, BATON_ATTR_REASONS, 8, 1 },
	{ "FLAGS of 2", BATON_CMD_WATCH, BATON_ATTR_FLAGS, 1, 2 },
	{ "FLOWS of one byte too much", BATON_CMD_WATCH, BATON_ATTR_FLOWS, sizeof(struct flow) + 1, 4 },
	{ "a batch and one FLOWS", BATON_CMD_WATCH, BATON_ATTR_FLOWS, (BATON_WATCH_BATCH + 1) * sizeof(struct flow), 4 },
	{ "EXPLAIN without a device", BATON_CMD_EXPLAIN, BATON_ATTR_FRAME, 60, 0 },
	{ "EXPLAIN without a frame", BATON_CMD_EXPLAIN, BATON_ATTR_IFINDEX, 4, 1 },
	{ "a FRAME of 2,049 bytes", BATON_CMD_EXPLAIN, BATON_ATTR_FRAME, BATON_FRAME_MAX + 1, 0 },
	{ "a command that is none", 99, BATON_ATTR_SELF, 2, 1 },
	{ "an event as a command", BATON_CMD_EVENT_DETACHED, BATON_ATTR_SELF, 2, 1 },
};

static void what_is_wrong_is_refused(void **state)
{
	char before[2048], after[2048];
	size_t n = configuration(before, sizeof(before)), i;
	int wrong = 0;

	(void)state;
	for (i = 0; i < sizeof(abuses) / sizeof(abuses[0]); i++) {
		const struct abuse *a = &abuses[i];
		struct nlmsghdr *nlh = request(family, a->command, 0);
		static uint8_t value[65536];
		int err;

		memset(value, 0, a->len < 4 ? 4 : a->len);
		memcpy(value, &a->value, 4);
		mnl_attr_put(nlh, a->type, a->len, value);
		err = ask(nlh, NULL, 0);
		if (!err || configuration(after, sizeof(after)) != n || memcmp(before, after, n)) {
			print_error("%s: %s\n", a->name, err ? "refused, but it changed something" : "taken");
			wrong++;
		}
	}
	assert_int_equal(wrong, 0);
	expect_detour();
}

/* The control of the above: requests that are right change what GET says. */
static void what_is_right_is_taken(void **state)
{
	struct nlmsghdr *nlh = request(family, BATON_CMD_SET, 0);
	const uint16_t hosts[] = { 2, 3 };
	char before[2048], after[2048];
	size_t n = configuration(before, sizeof(before));

	(void)state;
	nlh = request(family, BATON_CMD_SET, 0);
	mnl_attr_put(nlh, BATON_ATTR_HOSTS, sizeof(hosts), hosts);
	assert_int_equal(ask(nlh, NULL, 0), 0);
	assert_int_equal(configuration(after, sizeof(after)), n);
	assert_memory_not_equal(before, after, n);
}

/* --- All or nothing --------------------------------------------------------------------------------------------- */

static void put_vips(struct nlmsghdr *nlh, uint16_t type, uint32_t first, uint32_t n)
{
	struct nlattr *nest = mnl_attr_nest_start(nlh, type);
	uint32_t i;

	for (i = first; i < first + n; i++) {
		struct baton_vip v = { .family = FLOW_V4 };

		v.addr[0] = htonl(0x0a000000 + i);
		mnl_attr_put(nlh, BATON_ATTR_VIP, sizeof(v), &v);
	}
	mnl_attr_nest_end(nlh, nest);
}

/* Other VIPs, other hosts, nobody, no detours, and both ends of the wire; with `missing`, and a device that is none. */
static struct nlmsghdr *everything(bool missing)
{
	struct nlmsghdr *nlh = request(family, BATON_CMD_SET, 0);
	const uint16_t hosts[] = { 2, 3, 4, 5, 6 };
	struct nlattr *nest;

	mnl_attr_put_u16(nlh, BATON_ATTR_SELF, 9);
	mnl_attr_put_u8(nlh, BATON_ATTR_DETOURS, 0);
	mnl_attr_put(nlh, BATON_ATTR_HOSTS, sizeof(hosts), hosts);
	put_vips(nlh, BATON_ATTR_VIPS, 1, 3);
	nest = mnl_attr_nest_start(nlh, BATON_ATTR_DEVICES);
	mnl_attr_put_u32(nlh, BATON_ATTR_IFINDEX, if_nametoindex("far"));
	mnl_attr_put_u32(nlh, BATON_ATTR_IFINDEX, if_nametoindex("near"));
	if (missing)
		mnl_attr_put_u32(nlh, BATON_ATTR_IFINDEX, 99999);
	mnl_attr_nest_end(nlh, nest);
	return nlh;
}

static void a_missing_device_spoils_it_all(void **state)
{
	char before[2048], after[2048];
	size_t n = configuration(before, sizeof(before)), m;

	(void)state;
	assert_int_equal(ask(everything(true), NULL, 0), -ENODEV);
	assert_int_equal(configuration(after, sizeof(after)), n);
	assert_memory_equal(before, after, n);
	expect_detour(); /* the VIP of before, as host 1 */
	/* The control: without that device all of it is taken. */
	assert_int_equal(ask(everything(false), NULL, 0), 0);
	m = configuration(after, sizeof(after));
	assert_true(m != n || memcmp(before, after, n));
}

static uint32_t n_vips_in_force(void)
{
	char answer[2048];
	const struct nlattr *a;

	configuration(answer, sizeof(answer));
	mnl_attr_for_each(a, (struct nlmsghdr *)answer, sizeof(struct genlmsghdr))
		if (mnl_attr_get_type(a) == BATON_ATTR_N_VIPS)
			return mnl_attr_get_u32(a);
	fail_msg("no N_VIPS");
	return 0;
}

static void as_many_vips_as_there_may_be(void **state)
{
	struct address *a = calloc(BATON_VIPS_MAX + 1, sizeof(*a));
	struct vip vip[2] = { { .name = "many", .address = a, .n_addresses = BATON_VIPS_MAX - 1 },
			      { .name = "last", .address = a + BATON_VIPS_MAX - 1, .n_addresses = 1 } };
	struct nlmsghdr *nlh;
	uint32_t i;

	(void)state;
	assert_non_null(a);
	for (i = 0; i <= BATON_VIPS_MAX; i++) {
		a[i].family = AF_INET;
		a[i].v4.s_addr = htonl(0x0a000000 + i);
	}
	a[BATON_VIPS_MAX - 1].v4.s_addr = htonl(0xc6336450); /* the one that is asked for, at the very end */
	assert_int_equal(datapath_module.set_vips(path, vip, 1), 0);
	assert_int_equal(n_vips_in_force(), BATON_VIPS_MAX - 1);
	assert_int_equal(datapath_module.set_vips(path, vip, 2), 0);
	assert_int_equal(n_vips_in_force(), BATON_VIPS_MAX);
	expect_detour();
	/* One more is refused, by the agent's side and by the module, and changes nothing. */
	vip[1].n_addresses = 2;
	assert_int_equal(datapath_module.set_vips(path, vip, 2), -E2BIG);
	nlh = request(family, BATON_CMD_SET, 0);
	put_vips(nlh, BATON_ATTR_VIPS, 1, BATON_VIPS_PER_ATTRIBUTE);
	put_vips(nlh, BATON_ATTR_VIPS_MORE, BATON_VIPS_PER_ATTRIBUTE + 1, BATON_VIPS_MAX - BATON_VIPS_PER_ATTRIBUTE + 1);
	assert_int_equal(ask(nlh, NULL, 0), -E2BIG);
	assert_int_equal(n_vips_in_force(), BATON_VIPS_MAX);
	expect_detour();
	/* The second half alone would not say what it goes on with. */
	nlh = request(family, BATON_CMD_SET, 0);
	put_vips(nlh, BATON_ATTR_VIPS_MORE, 1, 1);
	assert_int_equal(ask(nlh, NULL, 0), -EINVAL);
	assert_int_equal(n_vips_in_force(), BATON_VIPS_MAX);
	free(a);
}

static void cut_messages(void **state)
{
	char before[2048], after[2048];
	size_t n = configuration(before, sizeof(before));
	const uint16_t hosts[] = { 2, 3, 4 };
	uint32_t whole, cut;

	(void)state;
	mnl_attr_put(request(family, BATON_CMD_SET, 0), BATON_ATTR_HOSTS, sizeof(hosts), hosts);
	whole = ((struct nlmsghdr *)room)->nlmsg_len;
	for (cut = NLMSG_HDRLEN; cut < whole - 2; cut++) { /* (the last two bytes are padding) */
		struct nlmsghdr *nlh = request(family, BATON_CMD_SET, 0);
		int err;

		mnl_attr_put(nlh, BATON_ATTR_HOSTS, sizeof(hosts), hosts);
		nlh->nlmsg_len = cut;
		err = ask(nlh, NULL, 0);
		if (cut == NLMSG_HDRLEN + GENL_HDRLEN)
			assert_int_equal(err, 0); /* whole, and it names nothing */
		else
			assert_int_not_equal(err, 0);
	}
	assert_int_equal(configuration(after, sizeof(after)), n);
	assert_memory_equal(before, after, n);
}

static uint32_t seed = 1;

static uint32_t dice(uint32_t below)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % below;
}

/* Any command, any attributes, nested or not, right about half of the time: the kernel stays well, and of use. */
static void random_requests(void **state)
{
	static const uint16_t sizes[] = { 0, 1, 2, 3, 4, 5, 8, 14, 20, 24, 40, 60, 64, 200, 2048 };
	int i, taken = 0, refused = 0;
	uint8_t bytes[2048];

	(void)state;
	for (i = 0; i < rounds(RANDOM_REQUESTS, RANDOM_REQUESTS_KASAN); i++) {
		struct nlmsghdr *nlh = request(family, (uint8_t)dice(9), dice(8) ? 0 : NLM_F_DUMP);
		uint32_t n = dice(4), j;
		int err;

		while (n--) {
			uint16_t type = (uint16_t)dice(BATON_ATTR_COUNT + 2), len = sizes[dice(15)];

			for (j = 0; j < len; j++)
				bytes[j] = (uint8_t)(dice(3) ? 0 : dice(256));
			if (dice(2) && len >= 4) { /* as a nest: its first member's head */
				bytes[0] = (uint8_t)(dice(2) ? len : dice(32)), bytes[1] = 0;
				bytes[2] = dice(2) ? BATON_ATTR_VIP : BATON_ATTR_IFINDEX, bytes[3] = 0;
				type |= NLA_F_NESTED;
			}
			mnl_attr_put(nlh, type, len, bytes);
		}
		err = ask(nlh, NULL, 0);
		taken += !err;
		refused += !!err;
	}
	print_message("%d taken, %d refused\n", taken, refused);
	assert_true(taken > 100 && refused > 100);
	/* Whatever was taken, it can be set right again. */
	datapath_module.close(path, true);
	assert_int_equal(open_module(), 0);
	attach_to("near");
	assert_int_equal(datapath_module.watch(path, NULL, 0), 0);
	expect_detour();
}

static void a_vanished_device_is_told(void **state)
{
	struct mnl_socket *events = mnl_socket_open(NETLINK_GENERIC);
	struct timeval patience = { .tv_sec = 20 };
	char answer[4096];
	const struct nlattr *a;
	struct nlmsghdr *nlh = request(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 0);
	const struct nlmsghdr *event = (const void *)answer;
	bool named = false;
	int group = 0;

	(void)state;
	mnl_attr_put_strz(nlh, CTRL_ATTR_FAMILY_NAME, BATON_GENL_NAME);
	assert_int_equal(ask(nlh, (struct nlmsghdr *)answer, sizeof(answer)), 0);
	mnl_attr_for_each(a, (struct nlmsghdr *)answer, sizeof(struct genlmsghdr)) {
		const struct nlattr *one, *of;

		if (mnl_attr_get_type(a) == CTRL_ATTR_MCAST_GROUPS)
			mnl_attr_for_each_nested(one, a) mnl_attr_for_each_nested(of, one) if (mnl_attr_get_type(of) ==
											       CTRL_ATTR_MCAST_GRP_ID) group =
				(int)mnl_attr_get_u32(of);
	}
	assert_true(group > 0);
	assert_true(mnl_socket_bind(events, 0, MNL_SOCKET_AUTOPID) >= 0);
	assert_int_equal(mnl_socket_setsockopt(events, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)), 0);
	assert_int_equal(setsockopt(mnl_socket_get_fd(events), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
	shell("ip link del near");
	assert_true(mnl_socket_recvfrom(events, answer, sizeof(answer)) > 0);
	assert_int_equal(((const struct genlmsghdr *)mnl_nlmsg_get_payload(event))->cmd, BATON_CMD_EVENT_DETACHED);
	mnl_attr_for_each(a, event, sizeof(struct genlmsghdr))
		named |= mnl_attr_get_type(a) == BATON_ATTR_NAME && !strcmp(mnl_attr_get_str(a), "near");
	assert_true(named);
	mnl_socket_close(events);
	shell("ip link add near type veth peer name far"); /* the teardown's */
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(what_is_right_is_taken), CASE(what_is_wrong_is_refused),  CASE(cut_messages),
		CASE(random_requests),	      CASE(a_vanished_device_is_told), CASE(a_missing_device_spoils_it_all),
		CASE(as_many_vips_as_there_may_be),
	};

	if (unshare(CLONE_NEWNET)) {
		perror("unshare");
		return 1;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
