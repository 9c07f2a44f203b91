// SPDX-License-Identifier: BSD-2-Clause
/* Capabilities and the filter of system calls (l7/privilege.h). */
#include "l7/privilege.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

#ifndef CAP_PERFMON
#define CAP_PERFMON 38
#endif
#ifndef CAP_BPF
#define CAP_BPF 39
#endif

#define BIT(n) (1ull << (n))
#define SERVES (BIT(CAP_NET_ADMIN) | BIT(CAP_BPF) | BIT(CAP_NET_BIND_SERVICE))

void privilege_start(void)
{
	struct rlimit none = { 0, 0 }, lock;

	if (!getrlimit(RLIMIT_MEMLOCK, &lock) && lock.rlim_cur < lock.rlim_max) {
		lock.rlim_cur = lock.rlim_max;
		setrlimit(RLIMIT_MEMLOCK, &lock);
	}
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (SANITIZED)
		return;
	setrlimit(RLIMIT_CORE, &none);
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

int privilege_keep(enum privilege what)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };
	uint64_t keep = SERVES | (what == PRIVILEGE_LOADS ? BIT(CAP_PERFMON) : 0);
	unsigned i;

	for (i = 0; i < 64; i++)
		if (!(keep & BIT(i)))
			prctl(PR_CAPBSET_DROP, i, 0, 0, 0); /* needs CAP_SETPCAP: under systemd it was done before */
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (syscall(SYS_capget, &head, data))
		return -errno;
	for (i = 0; i < 2; i++) {
		data[i].permitted &= (uint32_t)(keep >> (32 * i));
		data[i].effective = data[i].permitted;
		data[i].inheritable = 0;
	}
	return syscall(SYS_capset, &head, data) ? -errno : 0;
}

/* --- System calls --------------------------------------------------------------------------------------------------- */

#if defined(__x86_64__)
#define OUR_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OUR_ARCH AUDIT_ARCH_AARCH64
#endif

/* Only an intruder's. */
static const uint16_t deadly[] = {
	SYS_execve, SYS_execveat, SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev, SYS_mount, SYS_umount2, SYS_pivot_root,
	SYS_chroot, SYS_init_module, SYS_finit_module, SYS_delete_module, SYS_kexec_load, SYS_reboot, SYS_swapon, SYS_swapoff,
	SYS_setns, SYS_unshare, SYS_keyctl, SYS_add_key, SYS_request_key, SYS_userfaultfd, SYS_open_by_handle_at, SYS_perf_event_open,
	SYS_personality, SYS_acct, SYS_quotactl,
};

static const uint16_t allowed[] = {
	/* the loop and its sockets */
	SYS_epoll_pwait, SYS_epoll_ctl, SYS_epoll_create1, SYS_read, SYS_write, SYS_readv, SYS_writev, SYS_pread64, SYS_pwrite64,
	SYS_preadv, SYS_pwritev, SYS_preadv2, SYS_pwritev2, SYS_recvfrom, SYS_sendto, SYS_recvmsg, SYS_sendmsg, SYS_recvmmsg, SYS_sendmmsg, SYS_accept4, SYS_accept, SYS_connect,
	SYS_socket, SYS_socketpair, SYS_bind, SYS_listen, SYS_shutdown, SYS_getsockopt, SYS_setsockopt, SYS_getsockname,
	SYS_getpeername, SYS_close, SYS_ioctl, SYS_fcntl, SYS_splice, SYS_tee, SYS_sendfile, SYS_pipe2, SYS_eventfd2,
	SYS_timerfd_create, SYS_timerfd_settime, SYS_timerfd_gettime, SYS_signalfd4, SYS_ppoll, SYS_pselect6, SYS_dup, SYS_dup3,
	/* files: certificates, configuration, objects, logs */
	SYS_openat, SYS_fstat, SYS_newfstatat, SYS_statx, SYS_statfs, SYS_fstatfs, SYS_lseek, SYS_getdents64, SYS_mkdirat,
	SYS_unlinkat, SYS_renameat2, SYS_linkat, SYS_readlinkat, SYS_faccessat, SYS_fchmod, SYS_fchmodat, SYS_fchown, SYS_fchownat,
	SYS_ftruncate, SYS_fallocate, SYS_fsync, SYS_fdatasync, SYS_sync_file_range, SYS_fadvise64, SYS_readahead, SYS_copy_file_range, SYS_flock,
	SYS_utimensat, SYS_umask, SYS_getcwd, SYS_inotify_init1, SYS_inotify_add_watch, SYS_inotify_rm_watch, SYS_fsetxattr,
	SYS_fgetxattr, SYS_setxattr, SYS_getxattr,
	/* memory and threads */
	SYS_mmap, SYS_munmap, SYS_mremap, SYS_mprotect, SYS_madvise, SYS_brk, SYS_mlock, SYS_mlock2, SYS_munlock, SYS_msync,
	SYS_mincore, SYS_membarrier, SYS_clone, SYS_clone3, SYS_futex, SYS_set_robust_list, SYS_rseq, SYS_set_tid_address,
	SYS_exit, SYS_exit_group, SYS_sched_yield, SYS_sched_getaffinity, SYS_sched_setaffinity, SYS_getcpu, SYS_gettid,
	SYS_getpid, SYS_getppid, SYS_getuid, SYS_geteuid, SYS_getgid, SYS_getegid, SYS_getrlimit, SYS_setrlimit, SYS_prlimit64,
	SYS_getrusage, SYS_prctl, SYS_capget, SYS_capset, SYS_uname, SYS_sysinfo, SYS_times, SYS_seccomp,
	/* time and signals */
	SYS_clock_gettime, SYS_clock_getres, SYS_clock_nanosleep, SYS_nanosleep, SYS_gettimeofday, SYS_restart_syscall,
	SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_rt_sigsuspend, SYS_rt_sigtimedwait, SYS_sigaltstack,
	SYS_tgkill, SYS_getrandom,
	/* hand-off: maps, programs */
	SYS_bpf,
#if defined(__x86_64__) /* what newer architectures have left out */
	SYS_epoll_wait, SYS_epoll_create, SYS_poll, SYS_select, SYS_pipe, SYS_eventfd, SYS_dup2, SYS_open, SYS_stat, SYS_lstat,
	SYS_access, SYS_mkdir, SYS_rmdir, SYS_unlink, SYS_rename, SYS_link, SYS_readlink, SYS_chmod, SYS_chown, SYS_utimes,
	SYS_arch_prctl, SYS_time, SYS_getdents, SYS_sendfile, SYS_inotify_init,
#endif
#ifdef SYS_faccessat2
	SYS_faccessat2,
#endif
#ifdef SYS_epoll_pwait2
	SYS_epoll_pwait2,
#endif
#ifdef SYS_close_range
	SYS_close_range,
#endif
#ifdef SYS_openat2
	SYS_openat2,
#endif
#ifdef SYS_renameat
	SYS_renameat,
#endif
};

#define N(a) (sizeof(a) / sizeof((a)[0]))
#define X32 0x40000000u

int privilege_confine(void)
{
#ifdef OUR_ARCH
	struct sock_filter f[6 + 2 * N(deadly) + 2 * N(allowed) + 1];
	struct sock_fprog prog = { .filter = f };
	unsigned short n = 0;
	size_t i;

	if (SANITIZED)
		return 0;
	f[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
	f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OUR_ARCH, 1, 0);
	f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
	f[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32, 0, 1);
	f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
	for (i = 0; i < N(allowed); i++) {
		f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, allowed[i], 0, 1);
		f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	}
	for (i = 0; i < N(deadly); i++) {
		f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, deadly[i], 0, 1);
		f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
	}
	f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM);
	prog.len = n;
	/* The kernel keeps a bitmap of what is allowed whatever its arguments: the list's length costs nothing. */
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &prog) ? -errno : 0;
#else
	return -EOPNOTSUPP;
#endif
}
