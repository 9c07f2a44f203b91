/* SPDX-License-Identifier: BSD-2-Clause */
/* The access log.  See access.h. */
#include "l7/access.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "l7/client.h"
#include "l7/exchange.h"
#include "l7/handoff/handoff.h"
#include "l7/tls/tls.h"
#include "l7/worker.h"

#define LINE_MAX_BYTES 4096 /* a longer line has its texts cut */
#define TEXT_MAX 1024

struct access_log {
	pthread_mutex_t lock; /* held for a memcpy, or for a swap of buffers */
	char *text;
	size_t len;
	bool on;
	enum access_format format;
	time_t second; /* the worker's: when `when` was made */
	char when[40];
};

struct line {
	char text[LINE_MAX_BYTES];
	size_t n;
};

struct access_log *access_log_new(void)
{
	struct access_log *l = calloc(1, sizeof(*l));

	if (l)
		pthread_mutex_init(&l->lock, NULL);
	return l;
}

void access_log_free(struct access_log *l)
{
	if (!l)
		return;
	pthread_mutex_destroy(&l->lock);
	free(l->text);
	free(l);
}

void access_log_format(struct access_log *l, bool on, enum access_format format)
{
	l->on = on;
	if (l->format != format)
		l->second = 0;
	l->format = format;
}

size_t access_log_take(struct access_log *l, char **text)
{
	size_t n;

	pthread_mutex_lock(&l->lock);
	*text = l->text;
	n = l->len;
	l->text = NULL;
	l->len = 0;
	pthread_mutex_unlock(&l->lock);
	return n;
}

static void append(struct worker *w, const struct line *line)
{
	struct access_log *l = w->log;

	pthread_mutex_lock(&l->lock);
	if (!l->text)
		l->text = malloc(ACCESS_BUFFER_MAX);
	if (l->text && l->len + line->n <= ACCESS_BUFFER_MAX) {
		memcpy(l->text + l->len, line->text, line->n);
		l->len += line->n;
	} else {
		stats_inc(w->stats.log_lost);
	}
	pthread_mutex_unlock(&l->lock);
}

static void put(struct line *l, const char *p, size_t n)
{
	if (n > sizeof(l->text) - l->n - 8)
		n = sizeof(l->text) - l->n - 8;
	memcpy(l->text + l->n, p, n);
	l->n += n;
}

#define put_text(l, text) put(l, text, strlen(text))

/* Quotes, backslashes and what is not printable never reach the log as they are: a line stays one line. */
static void put_quoted(struct line *l, const char *p, size_t n)
{
	static const char hex[] = "0123456789abcdef";
	size_t i;

	if (n > TEXT_MAX)
		n = TEXT_MAX;
	for (i = 0; i < n && l->n < sizeof(l->text) - 64; i++) {
		unsigned char c = (unsigned char)p[i];

		if (c == '"' || c == '\\') {
			l->text[l->n++] = '\\';
			l->text[l->n++] = (char)c;
		} else if (c >= 0x20 && c < 0x7f) {
			l->text[l->n++] = (char)c;
		} else {
			memcpy(l->text + l->n, "\\u00", 4);
			l->text[l->n + 4] = hex[c >> 4];
			l->text[l->n + 5] = hex[c & 15];
			l->n += 6;
		}
	}
}

static void put_number(struct line *l, const char *before, uint64_t v)
{
	char text[80];

	put(l, text, (size_t)snprintf(text, sizeof(text), "%s%llu", before, (unsigned long long)v));
}

static const char *when(struct access_log *l)
{
	struct timespec now;
	struct tm tm;

	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	if (now.tv_sec != l->second) {
		l->second = now.tv_sec;
		if (l->format == ACCESS_JSON) {
			gmtime_r(&now.tv_sec, &tm);
			strftime(l->when, sizeof(l->when), "%Y-%m-%dT%H:%M:%SZ", &tm);
		} else {
			localtime_r(&now.tv_sec, &tm);
			strftime(l->when, sizeof(l->when), "%d/%b/%Y:%H:%M:%S %z", &tm);
		}
	}
	return l->when;
}

static const char *version_text(uint8_t version)
{
	return version == 20 ? "HTTP/2" : version == 10 ? "HTTP/1.0" : "HTTP/1.1";
}

static void span(struct line *l, const struct exchange *x, struct head_span s)
{
	put_quoted(l, x->head + s.at, s.n);
}

static void combined(struct line *l, const struct access_log *log, const struct exchange *x)
{
	put_text(l, x->client_text);
	put_text(l, " - - [");
	put_text(l, log->when);
	put_text(l, "] \"");
	span(l, x, x->log_method);
	put_text(l, " ");
	span(l, x, x->log_target);
	put_text(l, " ");
	put_text(l, version_text(x->version));
	put_number(l, "\" ", x->status);
	put_number(l, " ", x->bytes_out);
	put_text(l, " \"");
	if (x->log_referer.n)
		span(l, x, x->log_referer);
	else
		put_text(l, "-");
	put_text(l, "\" \"");
	if (x->log_agent.n)
		span(l, x, x->log_agent);
	else
		put_text(l, "-");
	put_text(l, "\"\n");
}

/* Which connection it was, where its packets come in, who answered, and why from there. */
static void put_move(struct line *l, const struct exchange *x)
{
	static const char *const mode[] = { [MODE_PROXY] = "proxy", [MODE_HERE] = "here", [MODE_HANDOFF] = "handoff" };
	uint16_t self = handoff_self(x->w);
	char cid[32];

	put(l, cid, (size_t)snprintf(cid, sizeof(cid), ",\"cid\":\"%016llx\"", (unsigned long long)x->owner->cid));
	put_text(l, ",\"mode\":\"");
	put_text(l, mode[x->mode]);
	put_text(l, "\"");
	if (!self)
		return;
	put_number(l, ",\"ingress\":", x->owner->ingress ? x->owner->ingress : self);
	put_number(l, ",\"owner\":", self);
	if (x->reason < REASONS) {
		put_text(l, ",\"reason\":\"");
		put_text(l, move_reason_name((enum move_reason)x->reason));
		put_text(l, "\"");
	}
}

/* Who the client has proven to be. */
static void put_certificate(struct line *l, const struct cert_fact *f)
{
	char hex[2 * sizeof(f->sha256) + 1];
	size_t i;

	for (i = 0; i < sizeof(f->sha256); i++)
		snprintf(hex + 2 * i, 3, "%02x", f->sha256[i]);
	put_text(l, ",\"certificate\":\"");
	put_text(l, hex);
	put_text(l, "\",\"subject\":\"");
	put_quoted(l, f->subject, strlen(f->subject));
	put_text(l, "\"");
}

static void json(struct line *l, const struct access_log *log, const struct exchange *x, uint64_t end_ns)
{
	const struct cert_fact *f = x->owner->s.tls ? tls_certificate(x->owner->s.tls) : NULL;

	put_text(l, "{\"time\":\"");
	put_text(l, log->when);
	put_text(l, "\",\"client\":\"");
	put_text(l, x->client_text);
	put_text(l, "\",\"method\":\"");
	span(l, x, x->log_method);
	put_text(l, "\",\"host\":\"");
	span(l, x, x->log_host);
	put_text(l, "\",\"target\":\"");
	span(l, x, x->log_target);
	put_text(l, "\",\"version\":\"");
	put_text(l, version_text(x->version));
	put_number(l, "\",\"status\":", x->status);
	put_number(l, ",\"bytes_in\":", x->bytes_in);
	put_number(l, ",\"bytes_out\":", x->bytes_out);
	put_text(l, ",\"pool\":\"");
	put_text(l, x->pool->conf->name);
	put_text(l, "\",\"backend\":\"");
	put_text(l, x->backend_text);
	put_number(l, "\",\"tries\":", x->attempts);
	put_number(l, ",\"total_us\":", (end_ns - x->begun_ns) / 1000);
	if (x->answer_ns > 1)
		put_number(l, ",\"answer_us\":", (x->answer_ns - x->begun_ns) / 1000);
	if (x->why) {
		put_text(l, ",\"why\":\"");
		put_quoted(l, x->why, strlen(x->why));
		put_text(l, "\"");
	}
	put_text(l, ",\"agent\":\"");
	span(l, x, x->log_agent);
	put_text(l, "\"");
	if (f && f->n_leaf)
		put_certificate(l, f);
	put_move(l, x);
	put_text(l, "}\n");
}

void access_log_exchange(struct worker *w, const struct exchange *x, uint64_t end_ns)
{
	struct line l;

	if (!w->log->on)
		return;
	l.n = 0;
	when(w->log);
	if (w->log->format == ACCESS_JSON)
		json(&l, w->log, x, end_ns);
	else
		combined(&l, w->log, x);
	append(w, &l);
}

void access_log_refused(struct worker *w, const struct client *c, unsigned status, const char *why)
{
	char text[ADDRESS_TEXT] = "";
	struct line l = { .n = 0 };

	if (!w->log->on)
		return;
	if (c->peer.v4.sin_family == AF_INET)
		inet_ntop(AF_INET, &c->peer.v4.sin_addr, text, sizeof(text));
	else
		inet_ntop(AF_INET6, &c->peer.v6.sin6_addr, text, sizeof(text));
	when(w->log);
	if (w->log->format == ACCESS_JSON) {
		put_text(&l, "{\"time\":\"");
		put_text(&l, w->log->when);
		put_text(&l, "\",\"client\":\"");
		put_text(&l, text);
		put_number(&l, "\",\"status\":", status);
		put_text(&l, ",\"why\":\"");
		put_quoted(&l, why, strlen(why));
		put_text(&l, "\",\"mode\":\"refused\"}\n");
	} else {
		put_text(&l, text);
		put_text(&l, " - - [");
		put_text(&l, w->log->when);
		put_number(&l, "] \"-\" ", status);
		put_text(&l, " 0 \"-\" \"-\"\n");
	}
	append(w, &l);
}

void access_log_object(struct worker *w, const struct access_object *o)
{
	struct line l = { .n = 0 };

	if (!w->log->on)
		return;
	when(w->log);
	if (w->log->format == ACCESS_JSON) {
		put_text(&l, "{\"time\":\"");
		put_text(&l, w->log->when);
		put_text(&l, "\",\"client\":\"");
		put_text(&l, o->client);
		put_text(&l, "\",\"method\":\"");
		put_text(&l, o->method);
		put_text(&l, "\",\"target\":\"/");
		put_quoted(&l, o->name, strlen(o->name));
		put_number(&l, "\",\"status\":", o->status);
		put_number(&l, ",\"bytes_in\":", o->bytes_in);
		put_number(&l, ",\"bytes_out\":", o->bytes_out);
		put_number(&l, ",\"total_us\":", o->took_ns / 1000);
		put_text(&l, o->cut ? ",\"why\":\"it broke off\"" : "");
		put_text(&l, ",\"mode\":\"store\"}\n");
	} else {
		put_text(&l, o->client);
		put_text(&l, " - - [");
		put_text(&l, w->log->when);
		put_text(&l, "] \"");
		put_text(&l, o->method);
		put_text(&l, " /");
		put_quoted(&l, o->name, strlen(o->name));
		put_number(&l, " HTTP/1.1\" ", o->status);
		put_number(&l, " ", o->bytes_out);
		put_text(&l, " \"-\" \"-\"\n");
	}
	append(w, &l);
}
