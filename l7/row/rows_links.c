// SPDX-License-Identifier: BSD-2-Clause
/*
 * The rows' programs on links (l7/row/rows.h): TC's hooks, shared with whoever else has filters there, and which link carries
 * what comes out of the TAP.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <bpf/libbpf.h>

#include "base/tc_hook.h"
#include "flow.skel.h"
#include "l7/row/rows_private.h"

#define HANDLE 1
#define LOOK_MS 2000 /* between two looks at the links' hooks */

static struct tc_place place(bool egress)
{
	return (struct tc_place){ .egress = egress, .handle = HANDLE, .priority = ROWS_PRIORITY };
}

static int hook_on(const char *ifname, bool egress, int prog)
{
	return tc_hook_on((int)if_nametoindex(ifname), place(egress), prog);
}

static void hook_off(const char *ifname, bool egress)
{
	tc_hook_off((int)if_nametoindex(ifname), place(egress));
}

static bool is_hooked(const char *ifname, bool egress)
{
	int ifindex = (int)if_nametoindex(ifname);

	return !ifindex || tc_hook_holds(ifindex, place(egress)); /* without it there is nothing to hook on */
}

/* The first error; the other links must work. */
int rows_attach_links(struct rows *r)
{
	int in = bpf_program__fd(r->skel->progs.flow_ingress), out = bpf_program__fd(r->skel->progs.flow_egress);
	int err, first = 0;
	size_t i;

	for (i = 0; i < r->n_links; i++) {
		err = hook_on(r->link[i], false, in);
		if (!err)
			err = hook_on(r->link[i], true, out);
		first = first ? first : err;
	}
	return first;
}

void rows_detach_link(const char *ifname)
{
	hook_off(ifname, false);
	hook_off(ifname, true);
}

/* A link that was made anew has none of our programs; nor has one whose hook somebody took off. */
void rows_look_after_links(struct rows *r, uint64_t now_ms)
{
	size_t i;

	if (now_ms - r->looked_ms < LOOK_MS)
		return;
	r->looked_ms = now_ms;
	for (i = 0; i < r->n_links; i++) {
		if (is_hooked(r->link[i], false) && is_hooked(r->link[i], true))
			continue;
		(void)rows_attach_links(r); /* what fails is tried again */
		return;
	}
}

int rows_hook_on(struct rows *r, const char *ifname)
{
	return hook_on(ifname, false, bpf_program__fd(r->skel->progs.flow_ingress));
}

void rows_hook_off(const char *ifname)
{
	hook_off(ifname, false);
}

bool rows_is_link(const struct rows *r, const char *ifname)
{
	size_t i;

	for (i = 0; i < r->n_links && strcmp(r->link[i], ifname); i++)
		;
	return i < r->n_links;
}

static bool has_carrier(const struct rows *r, const char *ifname)
{
	struct ifreq ifr = { .ifr_flags = 0 };

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", ifname);
	return !ioctl(r->ioctls, SIOCGIFFLAGS, &ifr) && ifr.ifr_flags & IFF_RUNNING;
}

/* What comes out of the TAP for another host leaves by the first link that can carry it. */
int rows_choose_link(struct rows *r)
{
	struct ifreq ifr = { .ifr_flags = 0 };
	const char *name;
	uint32_t link;
	size_t i;

	for (i = 0; i < r->n_links && !has_carrier(r, r->link[i]); i++)
		;
	name = r->link[i < r->n_links ? i : 0];
	link = if_nametoindex(name);
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	if (ioctl(r->ioctls, SIOCGIFHWADDR, &ifr))
		memcpy(ifr.ifr_hwaddr.sa_data, r->mac, sizeof(r->mac));
	if (link == r->config.link && !memcmp(r->config.mac, ifr.ifr_hwaddr.sa_data, sizeof(r->config.mac)))
		return 0;
	r->config.link = link;
	memcpy(r->config.mac, ifr.ifr_hwaddr.sa_data, sizeof(r->config.mac));
	return rows_put_config(r);
}

int rows_set_links(struct rows *r, const char (*link)[IF_NAMESIZE], size_t n_links)
{
	size_t i, j;
	int err;

	if (!n_links || n_links > ROWS_LINKS_MAX)
		return -EINVAL;
	for (i = 0; i < r->n_links; i++) {
		for (j = 0; j < n_links && strcmp(r->link[i], link[j]); j++)
			;
		if (j == n_links)
			rows_detach_link(r->link[i]);
	}
	memcpy(r->link, link, n_links * sizeof(*link));
	r->n_links = n_links;
	err = rows_attach_links(r);
	rows_choose_link(r);
	return err;
}
