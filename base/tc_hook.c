/* SPDX-License-Identifier: BSD-2-Clause */
/* Programs at clsact hooks, by libbpf.  See tc_hook.h. */
#include "base/tc_hook.h"

#include <bpf/libbpf.h>
#include <errno.h>

#define HOOK(name, index, at) \
	DECLARE_LIBBPF_OPTS(bpf_tc_hook, name, .ifindex = (index), .attach_point = (at).egress ? BPF_TC_EGRESS : BPF_TC_INGRESS)

int tc_hook_on(int ifindex, struct tc_place at, int prog_fd)
{
	HOOK(hook, ifindex, at);
	DECLARE_LIBBPF_OPTS(bpf_tc_opts, opts, .handle = at.handle, .priority = at.priority, .prog_fd = prog_fd,
			    .flags = BPF_TC_F_REPLACE);
	libbpf_print_fn_t print;
	int err;

	if (!ifindex)
		return -ENODEV;
	print = libbpf_set_print(NULL); /* it complains of a hook that is there already */
	err = bpf_tc_hook_create(&hook);
	libbpf_set_print(print);
	if (err && err != -EEXIST)
		return err;
	return bpf_tc_attach(&hook, &opts);
}

void tc_hook_off(int ifindex, struct tc_place at)
{
	HOOK(hook, ifindex, at);
	DECLARE_LIBBPF_OPTS(bpf_tc_opts, opts, .handle = at.handle, .priority = at.priority);

	if (ifindex)
		bpf_tc_detach(&hook, &opts);
}

uint32_t tc_hook_holds(int ifindex, struct tc_place at)
{
	HOOK(hook, ifindex, at);
	DECLARE_LIBBPF_OPTS(bpf_tc_opts, opts, .handle = at.handle, .priority = at.priority);
	libbpf_print_fn_t print;
	int err;

	if (!ifindex)
		return 0;
	print = libbpf_set_print(NULL); /* it complains where there is none */
	err = bpf_tc_query(&hook, &opts);
	libbpf_set_print(print);
	return err ? 0 : opts.prog_id;
}
