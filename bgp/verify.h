/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Does BIRD do what was wanted?  A pure comparison of the announcements with what its protocols say;
 * the first thing that is wrong becomes a sentence for the operator, with the remedy.
 */
#ifndef BGP_VERIFY_H
#define BGP_VERIFY_H

#include "bgp/bird.h"
#include "bgp/speaker.h"

/* Fills all of *st but in_kernel.  `want` is sorted (announcements_sort); socket is for messages. */
void verify_bird(const struct announcement *want, size_t n, const struct bird_report *r, const char *socket,
		 struct speaker_status *st);

#endif
