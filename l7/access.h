/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The access log: one line a request, as JSON or in the combined format.  Workers write lines into a
 * buffer of their own; the main thread takes the buffers several times a second and writes the file.
 * A disk that does not keep up costs lines (counted), never a request.
 */
#ifndef L7_ACCESS_H
#define L7_ACCESS_H

#include "l7/conf.h"

#define ACCESS_BUFFER_MAX (1u << 20) /* bytes of a worker that wait to be written */

struct access_log;
struct client;
struct exchange;
struct worker;

struct access_log *access_log_new(void); /* one per worker */
void access_log_free(struct access_log *l);
void access_log_format(struct access_log *l, bool on, enum access_format format);
/* What has been gathered since; the caller frees *text. */
size_t access_log_take(struct access_log *l, char **text);

void access_log_exchange(struct worker *w, const struct exchange *x, uint64_t end_ns);
/* A request to the object server. */
struct access_object {
	const char *client, *method, *name;
	unsigned status; /* 0: it broke off before an answer */
	uint64_t bytes_in, bytes_out, took_ns;
	bool cut; /* the answer was not sent to its end */
};
void access_log_object(struct worker *w, const struct access_object *o);
void access_log_refused(struct worker *w, const struct client *c, unsigned status, const char *why);

#endif
