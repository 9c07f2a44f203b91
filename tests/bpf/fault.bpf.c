// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* A signal to one process at the n-th time that it comes to a function, before the function's first instruction; for tests. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "Dual BSD/GPL";

const volatile __u32 tgid = 0, signal = 0, skip = 0;
__u32 hits = 0, sent = 0;

SEC("uprobe")
int at_entry(void *ctx)
{
	(void)ctx;
	if (bpf_get_current_pid_tgid() >> 32 != tgid || __sync_fetch_and_add(&hits, 1) < skip)
		return 0;
	if (!__sync_val_compare_and_swap(&sent, 0, 1))
		bpf_send_signal(signal); /* to all threads; this one goes no further */
	return 0;
}
