/* SPDX-License-Identifier: BSD-2-Clause */
/* Heads of HTTP/1.  See h1_parse.h. */
#include "l7/http/h1_parse.h"

#include <errno.h>
#include <llhttp.h>
#include <pthread.h>
#include <string.h>
#include <strings.h>

size_t h1_head_end(const uint8_t *p, size_t n, size_t *scanned)
{
	size_t at = *scanned;

	while (at < n) {
		const uint8_t *lf = memchr(p + at, '\n', n - at);

		if (!lf)
			break;
		at = (size_t)(lf - p);
		if (at + 1 < n && lf[1] == '\n')
			return at + 2;
		if (at + 2 < n && lf[1] == '\r' && lf[2] == '\n')
			return at + 3;
		if (at + 2 >= n && (at + 1 >= n || lf[1] == '\r')) {
			*scanned = at; /* its end may be the next bytes */
			return 0;
		}
		at++;
	}
	*scanned = n;
	return 0;
}

bool h1_plausible(const uint8_t *p, size_t n)
{
	size_t i;

	for (i = 0; i < n && i < 32; i++) {
		if (p[i] == ' ')
			return i > 0;
		if (p[i] == '\r' || p[i] == '\n')
			return i == 0; /* empty lines before a request are let pass by llhttp */
		if (!((p[i] >= 'A' && p[i] <= 'Z') || p[i] == '-'))
			return false;
	}
	return n < 32;
}

/* --- what llhttp calls: spans are whole, since heads are ------------------------------------------------ */
struct request_parse {
	struct request_head *head;
	const char *name;
	size_t n_name;
	int status;
};

struct answer_parse {
	struct answer *answer;
	bool too_many;
};

static int on_method(llhttp_t *l, const char *at, size_t n)
{
	struct request_parse *r = l->data;

	r->status = head_method(r->head, at, n);
	return r->status ? -1 : 0;
}

static int on_url(llhttp_t *l, const char *at, size_t n)
{
	struct request_parse *r = l->data;

	r->status = head_target(r->head, at, n);
	return r->status ? -1 : 0;
}

static int on_field(llhttp_t *l, const char *at, size_t n)
{
	struct request_parse *r = l->data;

	r->name = at;
	r->n_name = n;
	return 0;
}

/* An empty value has no span of its own: the value is given when the field is complete. */
static int on_value(llhttp_t *l, const char *at, size_t n)
{
	struct request_parse *r = l->data;

	while (n && (at[n - 1] == ' ' || at[n - 1] == '\t'))
		n--;
	r->status = r->name ? head_field(r->head, r->name, r->n_name, at, n) : 400; /* a second span: a folded line */
	r->name = NULL;
	return r->status ? -1 : 0;
}

static int on_value_complete(llhttp_t *l)
{
	struct request_parse *r = l->data;

	if (!r->name)
		return 0;
	r->status = head_field(r->head, r->name, r->n_name, "", 0);
	r->name = NULL;
	return r->status ? -1 : 0;
}

static int on_complete(llhttp_t *l)
{
	(void)l;
	return 2; /* llhttp stops here: bodies are ours */
}

static int answer_reason(llhttp_t *l, const char *at, size_t n)
{
	struct answer_parse *p = l->data;

	p->answer->reason = at;
	p->answer->n_reason = (uint32_t)n;
	return 0;
}

static int answer_name(llhttp_t *l, const char *at, size_t n)
{
	struct answer_parse *p = l->data;
	struct answer *a = p->answer;

	if (a->n_fields == ANSWER_FIELDS_MAX) {
		p->too_many = true;
		return -1;
	}
	a->field[a->n_fields] = (struct answer_field){ .name = at, .n_name = (uint32_t)n, .value = "" };
	a->n_fields++;
	return 0;
}

static int answer_value(llhttp_t *l, const char *at, size_t n)
{
	struct answer_parse *p = l->data;
	struct answer_field *f = &p->answer->field[p->answer->n_fields - 1];

	if (f->n_value)
		return -1; /* a folded line */
	while (n && (at[n - 1] == ' ' || at[n - 1] == '\t'))
		n--;
	f->value = at;
	f->n_value = (uint32_t)n;
	return 0;
}

static llhttp_settings_t request_settings, answer_settings;

static void make_settings(void)
{
	llhttp_settings_init(&request_settings);
	request_settings.on_method = on_method;
	request_settings.on_url = on_url;
	request_settings.on_header_field = on_field;
	request_settings.on_header_value = on_value;
	request_settings.on_header_value_complete = on_value_complete;
	request_settings.on_headers_complete = on_complete;
	llhttp_settings_init(&answer_settings);
	answer_settings.on_status = answer_reason;
	answer_settings.on_header_field = answer_name;
	answer_settings.on_header_value = answer_value;
	answer_settings.on_headers_complete = on_complete;
}

static void settings_once(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, make_settings);
}

/* A line that begins with white space continues the one before (obs-fold, RFC 9112 5.2): refused, since readers differ. */
static bool folded(const uint8_t *p, size_t n)
{
	const uint8_t *end = p + n, *lf;

	for (; (lf = memchr(p, '\n', (size_t)(end - p))) && lf + 1 < end; p = lf + 1)
		if (lf[1] == ' ' || lf[1] == '\t')
			return true;
	return false;
}

int h1_request(struct request_head *h, uint32_t text_max, const uint8_t *p, size_t n, bool *keep)
{
	struct request_parse r = { .head = h };
	llhttp_errno_t err;
	llhttp_t l;
	int status;

	settings_once();
	if (folded(p, n))
		return 400;
	head_begin(h, text_max);
	llhttp_init(&l, HTTP_REQUEST, &request_settings);
	l.data = &r;
	err = llhttp_execute(&l, (const char *)p, n);
	if (r.status)
		return r.status;
	if (err == HPE_INVALID_VERSION)
		return 505;
	/* llhttp stops at the end of the head and says so in this way; bytes left over would be a head within a head. */
	if (err != HPE_PAUSED_UPGRADE || llhttp_get_error_pos(&l) != (const char *)p + n)
		return 400;
	if (l.http_major != 1 || l.http_minor > 1)
		return 505;
	status = head_finish(h, (uint8_t)(10 + l.http_minor));
	if (status)
		return status;
	*keep = l.http_minor == 1 ? !head_has_token(h, KNOWN_CONNECTION, "close")
				  : head_has_token(h, KNOWN_CONNECTION, "keep-alive");
	return 0;
}

static bool is(const struct answer_field *f, const char *name)
{
	return strlen(name) == f->n_name && !strncasecmp(f->name, name, f->n_name);
}

static bool has_token(const struct answer_field *f, const char *token)
{
	const char *p = f->value, *end = p + f->n_value;
	size_t n = strlen(token);

	while (p < end) {
		const char *comma = memchr(p, ',', (size_t)(end - p)), *to = comma ? comma : end;

		while (p < to && (*p == ' ' || *p == '\t'))
			p++;
		while (to > p && (to[-1] == ' ' || to[-1] == '\t'))
			to--;
		if ((size_t)(to - p) == n && !strncasecmp(p, token, n))
			return true;
		p = comma ? comma + 1 : end;
	}
	return false;
}

static int answer_length(struct answer *a, const struct answer_field *f)
{
	int64_t v = 0;
	uint32_t i;

	for (i = 0; i < f->n_value; i++) {
		if (f->value[i] < '0' || f->value[i] > '9' || v > (INT64_MAX - 9) / 10)
			return -1;
		v = v * 10 + (f->value[i] - '0');
	}
	if (!f->n_value || (a->content_length >= 0 && a->content_length != v))
		return -1;
	a->content_length = v;
	return 0;
}

int h1_answer(struct answer *a, const uint8_t *p, size_t n, const char **why)
{
	struct answer_parse s = { .answer = a };
	bool close = false, keep = false;
	llhttp_errno_t err;
	llhttp_t l;
	uint32_t i;

	settings_once();
	a->n_fields = 0;
	a->reason = "";
	a->n_reason = 0;
	a->chunked = a->upgrade = false;
	a->content_length = -1;
	*why = "the head of the answer is not HTTP/1.1";
	llhttp_init(&l, HTTP_RESPONSE, &answer_settings);
	l.data = &s;
	err = llhttp_execute(&l, (const char *)p, n);
	if (err != HPE_PAUSED_UPGRADE || l.http_major != 1) {
		if (s.too_many)
			*why = "the answer has too many fields";
		return -EBADMSG;
	}
	a->status = (uint16_t)llhttp_get_status_code(&l);
	a->version = (uint8_t)(10 + (l.http_minor ? 1 : 0));
	if (a->status < 100 || a->status > 599)
		return -EBADMSG;
	for (i = 0; i < a->n_fields; i++) {
		const struct answer_field *f = &a->field[i];

		if (is(f, "content-length")) {
			*why = "the answer's Content-Length is no number, or there are two";
			if (answer_length(a, f))
				return -EBADMSG;
		} else if (is(f, "transfer-encoding")) {
			*why = "the answer's Transfer-Encoding is not chunked alone";
			if (a->chunked || f->n_value != 7 || strncasecmp(f->value, "chunked", 7))
				return -EBADMSG;
			a->chunked = true;
		} else if (is(f, "connection")) {
			close = close || has_token(f, "close");
			keep = keep || has_token(f, "keep-alive");
			a->upgrade = a->upgrade || has_token(f, "upgrade");
		}
	}
	*why = "the answer has a Content-Length and a Transfer-Encoding";
	if (a->chunked && a->content_length >= 0)
		return -EBADMSG;
	*why = NULL;
	a->keep = a->version == 11 ? !close : keep && !close;
	return 0;
}

bool h1_hop_by_hop(const char *name, size_t n)
{
	static const char *const word[] = { "connection", "keep-alive", "proxy-connection", "te", "trailer",
					    "transfer-encoding", "upgrade", "http2-settings" };
	size_t i;

	if (!n || !strchr("ckptuh", name[0] | 0x20)) /* most fields: told by one letter */
		return false;
	for (i = 0; i < sizeof(word) / sizeof(*word); i++)
		if (strlen(word[i]) == n && !strncasecmp(word[i], name, n))
			return true;
	return false;
}

void h1_put_field(struct buffer *to, const char *name, size_t n_name, const char *value, size_t n_value, size_t max)
{
	uint8_t *at = buffer_reserve(to, n_name + n_value + 4, max);

	if (!at)
		return;
	memcpy(at, name, n_name);
	at += n_name;
	*at++ = ':';
	*at++ = ' ';
	memcpy(at, value, n_value);
	at += n_value;
	*at++ = '\r';
	*at = '\n';
	buffer_commit(to, n_name + n_value + 4);
}
