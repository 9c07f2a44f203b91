// SPDX-License-Identifier: BSD-2-Clause
/* See object_server_commit.h. */
#include "l7/object/object_server_commit.h"

#include <errno.h>
#include <stdlib.h>

struct committer {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct commit *first, **end;
	bool stop;
};

static void *run(void *arg)
{
	struct committer *c = arg;
	struct commit *job;

	pthread_mutex_lock(&c->lock);
	for (;;) {
		while (!c->first && !c->stop)
			pthread_cond_wait(&c->more, &c->lock);
		job = c->first;
		if (!job)
			break;
		c->first = job->next;
		if (!c->first)
			c->end = &c->first;
		pthread_mutex_unlock(&c->lock);
		job->result = object_put_commit(job->put, job->name, job->plan, job->seen, job->tag);
		worker_call(job->w, job->done, job);
		pthread_mutex_lock(&c->lock);
	}
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

int committer_new(struct committer **out)
{
	struct committer *c = calloc(1, sizeof(*c));
	int rc;

	if (!c)
		return -ENOMEM;
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->more, NULL);
	c->end = &c->first;
	rc = -pthread_create(&c->thread, NULL, run, c);
	if (rc) {
		free(c);
		return rc;
	}
	*out = c;
	return 0;
}

void committer_add(struct committer *c, struct commit *job)
{
	job->next = NULL;
	pthread_mutex_lock(&c->lock);
	*c->end = job;
	c->end = &job->next;
	pthread_cond_signal(&c->more);
	pthread_mutex_unlock(&c->lock);
}

void committer_free(struct committer *c)
{
	pthread_mutex_lock(&c->lock);
	c->stop = true;
	pthread_cond_signal(&c->more);
	pthread_mutex_unlock(&c->lock);
	pthread_join(c->thread, NULL);
	pthread_mutex_destroy(&c->lock);
	pthread_cond_destroy(&c->more);
	free(c);
}
