// SPDX-License-Identifier: BSD-2-Clause
/* The object server's decisions.  The numbered rules are in object.h. */
#include "l7/object/object.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <strings.h>

#include "l7/hash.h"

#define READS "GET, HEAD, OPTIONS"
#define WRITES "GET, HEAD, OPTIONS, PUT, DELETE"

const char *http_reason(uint16_t status)
{
	static const struct {
		uint16_t status;
		const char *reason;
	} reasons[] = {
		{ 100, "Continue" },	 { 200, "OK" },
		{ 201, "Created" },	 { 204, "No Content" },
		{ 206, "Partial Content" }, { 304, "Not Modified" },
		{ 400, "Bad Request" },	 { 403, "Forbidden" },
		{ 404, "Not Found" },	 { 405, "Method Not Allowed" },
		{ 408, "Request Timeout" }, { 409, "Conflict" },
		{ 411, "Length Required" }, { 412, "Precondition Failed" },
		{ 413, "Content Too Large" }, { 414, "URI Too Long" },
		{ 416, "Range Not Satisfiable" }, { 417, "Expectation Failed" },
		{ 431, "Request Header Fields Too Large" }, { 500, "Internal Server Error" },
		{ 501, "Not Implemented" }, { 503, "Service Unavailable" },
		{ 505, "HTTP Version Not Supported" }, { 507, "Insufficient Storage" },
	};

	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
		if (reasons[i].status == status)
			return reasons[i].reason;
	return "Unknown";
}

const char *object_content_type(const struct request_head *h)
{
	static const char *const types[][2] = {
		{ "html", "text/html" },	 { "htm", "text/html" },
		{ "css", "text/css" },		 { "js", "text/javascript" },
		{ "mjs", "text/javascript" },	 { "json", "application/json" },
		{ "txt", "text/plain" },	 { "xml", "application/xml" },
		{ "svg", "image/svg+xml" },	 { "png", "image/png" },
		{ "jpg", "image/jpeg" },	 { "jpeg", "image/jpeg" },
		{ "gif", "image/gif" },		 { "webp", "image/webp" },
		{ "avif", "image/avif" },	 { "ico", "image/x-icon" },
		{ "woff", "font/woff" },	 { "woff2", "font/woff2" },
		{ "mp4", "video/mp4" },		 { "webm", "video/webm" },
		{ "ts", "video/mp2t" },		 { "m4s", "video/iso.segment" },
		{ "m3u8", "application/vnd.apple.mpegurl" }, { "mpd", "application/dash+xml" },
		{ "mp3", "audio/mpeg" },	 { "wasm", "application/wasm" },
		{ "pdf", "application/pdf" },	 { "zip", "application/zip" },
		{ "gz", "application/gzip" },	 { "tar", "application/x-tar" },
	};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (head_is(h, h->extension, types[i][0]))
			return types[i][1];
	return "application/octet-stream";
}

void object_tag(const struct object_facts *o, char tag[OBJECT_TAG_MAX])
{
	if (o->hash[0])
		snprintf(tag, OBJECT_TAG_MAX, "\"%s\"", o->hash);
	else
		snprintf(tag, OBJECT_TAG_MAX, "\"%llx-%llx-%llx\"", (unsigned long long)o->size,
			 (unsigned long long)o->modified_ns, (unsigned long long)o->inode);
}

__attribute__((format(printf, 2, 3))) static void add(struct object_plan *plan, const char *format, ...)
{
	size_t used = strlen(plan->fields);
	va_list args;

	va_start(args, format);
	vsnprintf(plan->fields + used, sizeof(plan->fields) - used, format, args);
	va_end(args);
}

static void add_date(struct object_plan *plan, const char *name, int64_t s)
{
	char text[HTTP_DATE_TEXT];

	http_date_print(s, text);
	add(plan, "%s: %s\r\n", name, text);
}

void object_refuse(struct object_plan *plan, uint16_t status, int64_t now_s)
{
	plan->action = OBJECT_ANSWER;
	plan->status = status;
	plan->n_ranges = 0;
	plan->length = 0;
	plan->fields[0] = '\0';
	add_date(plan, "Date", now_s);
	if (status != 204 && status != 304)
		add(plan, "Content-Length: 0\r\n");
}

static bool has(const struct request_head *h, enum head_known k, struct head_span *s)
{
	*s = head_get(h, k);
	return s->at != UINT32_MAX;
}

/* All lines of If-Match or If-None-Match are one list. */
static bool listed(const struct request_head *h, enum head_known k, const struct object_facts *o, const char *tag, bool weak)
{
	if (!o->exists)
		return false;
	for (uint16_t i = h->known[k]; i && i <= h->n_entries; i++) {
		const struct head_entry *e = &h->entry[i - 1];

		if (e->known == k && object_tag_listed(head_text(h, e->value), e->value.n, tag, weak))
			return true;
	}
	return false;
}

/* RFC 9110 13.2.2.  0: go on; else the status. */
static uint16_t preconditions(const struct request_head *h, const struct object_facts *o, struct object_plan *plan)
{
	bool reads = h->method == METHOD_GET || h->method == METHOD_HEAD;
	int64_t modified_s = o->modified_ns / 1000000000, date;
	struct head_span s;

	if (has(h, KNOWN_IF_MATCH, &s)) {
		if (!listed(h, KNOWN_IF_MATCH, o, plan->tag, false))
			return 412;
		plan->must_match = true;
	} else if (has(h, KNOWN_IF_UNMODIFIED_SINCE, &s)) {
		date = http_date_parse(head_text(h, s), s.n);
		if (date >= 0 && (!o->exists || modified_s > date))
			return 412;
		plan->must_match = date >= 0;
	}
	if (has(h, KNOWN_IF_NONE_MATCH, &s)) {
		if (listed(h, KNOWN_IF_NONE_MATCH, o, plan->tag, true))
			return reads ? 304 : 412;
		plan->none_may_exist = s.n == 1 && *head_text(h, s) == '*';
	} else if (reads && has(h, KNOWN_IF_MODIFIED_SINCE, &s)) {
		date = http_date_parse(head_text(h, s), s.n);
		if (date >= 0 && o->exists && modified_s <= date)
			return 304;
	}
	return 0;
}

/* If-Range: a strong tag, or the exact date of a modification that is not of this very second. */
static bool range_applies(const struct request_head *h, const struct object_facts *o, const char *tag, int64_t now_s)
{
	int64_t modified_s = o->modified_ns / 1000000000;
	struct head_span s;

	if (!has(h, KNOWN_IF_RANGE, &s))
		return true;
	if (s.n && (*head_text(h, s) == '"' || *head_text(h, s) == 'W'))
		return head_is(h, s, tag);
	return http_date_parse(head_text(h, s), s.n) == modified_s && modified_s < now_s;
}

unsigned object_part(const struct object_plan *plan, unsigned i, char buf[OBJECT_PART_MAX])
{
	const struct object_range *r = &plan->range[i];
	unsigned long long boundary = plan->boundary;

	if (i == plan->n_ranges)
		return (unsigned)snprintf(buf, OBJECT_PART_MAX, "\r\n--%016llx--\r\n", boundary);
	return (unsigned)snprintf(buf, OBJECT_PART_MAX,
				  "%s--%016llx\r\nContent-Type: %s\r\nContent-Range: bytes %llu-%llu/%llu\r\n\r\n",
				  i ? "\r\n" : "", boundary, plan->type, (unsigned long long)r->first,
				  (unsigned long long)(r->first + r->length - 1), (unsigned long long)plan->size);
}

static void plan_read(const struct request_head *h, const struct object_facts *o, int64_t now_s, uint64_t salt,
		      struct object_plan *plan)
{
	struct head_span s;
	char part[OBJECT_PART_MAX];
	int rc = 0;

	plan->action = h->method == METHOD_GET ? OBJECT_SEND : OBJECT_ANSWER;
	plan->status = 200;
	plan->length = o->size;
	if (h->method == METHOD_GET && has(h, KNOWN_RANGE, &s) && range_applies(h, o, plan->tag, now_s))
		rc = object_ranges(head_text(h, s), s.n, o->size, plan->range, &plan->n_ranges);
	if (rc) {
		object_refuse(plan, 416, now_s);
		add(plan, "Content-Range: bytes */%llu\r\n", (unsigned long long)o->size);
		return;
	}
	add_date(plan, "Date", now_s);
	add_date(plan, "Last-Modified", o->modified_ns / 1000000000);
	add(plan, "ETag: %s\r\nAccept-Ranges: bytes\r\n", plan->tag);
	if (plan->n_ranges)
		plan->status = 206;
	if (plan->n_ranges > 1) {
		plan->boundary = hash_bytes(plan->tag, strlen(plan->tag), salt);
		plan->length = object_part(plan, plan->n_ranges, part);
		for (unsigned i = 0; i < plan->n_ranges; i++)
			plan->length += object_part(plan, i, part) + plan->range[i].length;
		add(plan, "Content-Type: multipart/byteranges; boundary=%016llx\r\n", (unsigned long long)plan->boundary);
	} else {
		add(plan, "Content-Type: %s\r\n", plan->type);
	}
	if (plan->n_ranges == 1) {
		plan->length = plan->range[0].length;
		add(plan, "Content-Range: bytes %llu-%llu/%llu\r\n", (unsigned long long)plan->range[0].first,
		    (unsigned long long)(plan->range[0].first + plan->length - 1), (unsigned long long)o->size);
	}
	add(plan, "Content-Length: %llu\r\n", (unsigned long long)plan->length);
}

static uint16_t refuse_write(const struct store_conf *conf, const struct request_head *h, const struct object_facts *o)
{
	const char *path = head_text(h, h->path);

	if (o->folder || path[h->path.n - 1] == '/')
		return 409;
	if (h->method == METHOD_DELETE)
		return 0;
	if (h->known[KNOWN_CONTENT_RANGE])
		return 400;
	if (h->content_length < 0 && !h->chunked && h->version != 20)
		return 411;
	if (h->content_length > 0 && (uint64_t)h->content_length > __atomic_load_n(&conf->object_max, __ATOMIC_RELAXED))
		return 413;
	return 0;
}

void object_plan(const struct store_conf *conf, const struct request_head *h, const struct object_facts *o, int64_t now_s,
		uint64_t salt, struct object_plan *plan)
{
	bool reads = h->method == METHOD_GET || h->method == METHOD_HEAD,
	     writes = (h->method == METHOD_PUT || h->method == METHOD_DELETE) && __atomic_load_n(&conf->writable, __ATOMIC_ACQUIRE);
	uint16_t status;

	memset(plan, 0, offsetof(struct object_plan, fields) + 1);
	plan->type = object_content_type(h);
	plan->size = o->size;
	if (!reads && !writes) {
		object_refuse(plan, h->method == METHOD_OPTIONS ? 204 : 405, now_s);
		add(plan, "Allow: %s\r\n", __atomic_load_n(&conf->writable, __ATOMIC_RELAXED) ? WRITES : READS);
		return;
	}
	if (writes && (status = refuse_write(conf, h, o))) {
		object_refuse(plan, status, now_s);
		return;
	}
	if (o->exists)
		object_tag(o, plan->tag);
	/* Preconditions are about what would succeed otherwise (RFC 9110 13.2.1). */
	if (!o->exists && h->method != METHOD_PUT) {
		object_refuse(plan, 404, now_s);
		return;
	}
	status = preconditions(h, o, plan);
	if (status) {
		object_refuse(plan, status, now_s);
		if (status == 304) {
			add(plan, "ETag: %s\r\n", plan->tag);
			add_date(plan, "Last-Modified", o->modified_ns / 1000000000);
		}
		return;
	}
	if (reads) {
		plan_read(h, o, now_s, salt, plan);
		return;
	}
	object_refuse(plan, h->method == METHOD_PUT && !o->exists ? 201 : 204, now_s);
	plan->action = h->method == METHOD_PUT ? OBJECT_PUT : OBJECT_DELETE;
}
