/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whoever has connected to one of a daemon's small servers (the control socket, the metrics page): a bufferevent, one
 * deadline, and one of a bounded number.  A server's own record of a caller begins with a struct caller; its callbacks
 * get that record, as does the end of the deadline, which frees it.
 */
#ifndef BASE_CALLER_H
#define BASE_CALLER_H

#include <event2/bufferevent.h>
#include <event2/event.h>
#include <stddef.h>
#include <sys/queue.h>

struct caller {
	LIST_ENTRY(caller) link;
	struct callers *of;
	struct bufferevent *bev;
	struct event *deadline;
};

struct caller_kind {
	size_t size;	   /* of the server's record, zero at first */
	unsigned max;	   /* at once */
	size_t unread_max; /* bytes that wait for the server */
	int write_s;	   /* without the caller taking a byte: an event, BEV_EVENT_TIMEOUT */
	bufferevent_data_cb read, written;
	bufferevent_event_cb event;
	void (*gone)(struct caller *c); /* before its memory goes; may be NULL */
};

struct callers {
	const struct caller_kind *kind;
	struct event_base *base;
	LIST_HEAD(, caller) all;
	unsigned n;
};

void callers_init(struct callers *s, struct event_base *base, const struct caller_kind *kind);
/* Takes fd, which is closed unless 0 is returned.  -EUSERS: as many as there may be; -ENOMEM. */
int caller_take(struct callers *s, int fd, int due_s, struct caller **out);
void caller_due(struct caller *c, int seconds); /* the deadline anew, from now */
void caller_free(struct caller *c);
void callers_free(struct callers *s); /* all of them */

#endif
