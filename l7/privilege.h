/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What baton-l7d may do.  It speaks with everybody, so it gives up what it does not need, in this order:
 *
 *  1. privilege_start(), first of all: no core dumps, nobody attaches to read its memory (PR_SET_DUMPABLE), nothing it
 *     might start could gain privileges (no_new_privs), as much locked memory as the service manager grants.
 *  2. privilege_keep() in each thread, before it meets a client: of all capabilities it keeps
 *       CAP_NET_ADMIN         TCP_REPAIR (also to resume), TC filters, addresses and rules of the TAP
 *       CAP_BPF               maps and programs, on kernels that ask for it at each call
 *       CAP_NET_BIND_SERVICE  a listener, and an imported connection, binds the VIP's port, which is below 1024
 *     The main thread, which meets operators and controllers only, keeps CAP_PERFMON too (PRIVILEGE_LOADS) until hand-off's
 *     programs are loaded: they read kernel memory, and the verifier asks for that.  (Without hand-off it stays, for the
 *     next configuration may bring that.)
 *  3. privilege_confine(), when the threads run: a filter of system calls for all of them.  What is not on its list fails
 *     with EPERM; what only an intruder calls (execve, ptrace, mount, modules, other processes' memory) ends the process.
 *
 * Sanitizers need ptrace and dumps: in such builds 1 and 3 do nothing.
 */
#ifndef L7_PRIVILEGE_H
#define L7_PRIVILEGE_H

enum privilege { PRIVILEGE_SERVES, PRIVILEGE_LOADS };

void privilege_start(void);
int privilege_keep(enum privilege what); /* of this thread, and of those that it starts from here on; 0 or -errno */
int privilege_confine(void);	 /* of all threads; 0 or -errno */

#endif
