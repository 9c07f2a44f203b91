/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The object server's decisions (ranges against a naive bitmap, dates, tags, preconditions in their order), and its files:
 * nothing outside the directory, nothing half written, hashes that a later edit takes away.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "l7/object/object_cache.h"

#define NOW 1700000000

static struct request_head h;
static struct store_conf conf = { .enabled = true, .writable = true, .object_max = 1000 };
static struct object_facts file = { .exists = true, .size = 100, .inode = 7, .modified_ns = 1600000000000000000 };
static const struct object_facts nothing;
static struct object_plan plan;

/* "Name: value" pairs up to NULL. */
static int plan_of(const char *method, const char *path, const struct object_facts *o, ...)
{
	const char *name, *value;
	va_list args;

	head_begin(&h, 16384);
	assert_int_equal(head_method(&h, method, strlen(method)), 0);
	assert_int_equal(head_target(&h, path, strlen(path)), 0);
	assert_int_equal(head_field(&h, "host", 4, "h", 1), 0);
	va_start(args, o);
	while ((name = va_arg(args, const char *))) {
		value = va_arg(args, const char *);
		assert_int_equal(head_field(&h, name, strlen(name), value, strlen(value)), 0);
	}
	va_end(args);
	assert_int_equal(head_finish(&h, 11), 0);
	object_plan(&conf, &h, o, NOW, 1, &plan);
	return plan.status;
}

static bool says(const char *line)
{
	const char *p = strstr(plan.fields, line);

	return p && (p == plan.fields || p[-1] == '\n') && p[strlen(line)] == '\r';
}

/* ---- ranges ---- */

/* The bytes that a list of "a-b", "a-", "-n" asks for, in order, written out.  -1: syntax. */
static int naive_ranges(const char *text, unsigned size, char *out)
{
	char copy[256], *save, *s;
	int parts = 0, n = 0, any = 0;

	if (strncmp(text, "bytes=", 6) != 0 || strlen(text) > 200)
		return -1;
	strcpy(copy, text + 6);
	if (!*copy || copy[strlen(copy) - 1] == ',' || strstr(copy, ",,") || *copy == ',')
		return -1;
	for (s = strtok_r(copy, ",", &save); s; s = strtok_r(NULL, ",", &save)) {
		unsigned a = 0, b = 0, has_a, has_b;
		char *dash = strchr(s, '-');

		if (!dash || strspn(s, "0123456789") != (size_t)(dash - s) || strspn(dash + 1, "0123456789") != strlen(dash + 1))
			return -1;
		has_a = dash > s;
		has_b = dash[1] != 0;
		a = (unsigned)strtoul(s, NULL, 10);
		b = (unsigned)strtoul(dash + 1, NULL, 10);
		if ((!has_a && !has_b) || (has_a && has_b && b < a))
			return -1;
		parts++;
		for (unsigned i = 0; i < size; i++)
			if (has_a ? i >= a && (!has_b || i <= b) : i + b >= size) {
				out[n++] = (char)i;
				any = 1;
			}
	}
	if (parts > OBJECT_RANGES_MAX)
		return -1;
	return any ? n : -2;
}

static void ranges_agree_with_a_naive_reader(void **state)
{
	static const char *const piece[] = { "0", "5", "17", "99", "-", "-", ",", ",", "100", "3" };
	unsigned good = 0, unsatisfied = 0;

	(void)state;
	srandom(3);
	for (int k = 0; k < 200000; k++) {
		char text[256] = "bytes=", want[8192], got[8192];
		struct object_range r[OBJECT_RANGES_MAX];
		unsigned size = (unsigned)random() % 21;
		int n = (int)(random() % 8), rc, naive, len = 0;
		uint8_t n_ranges;

		for (int i = 0; i < n; i++)
			strcat(text, piece[random() % 10]);
		naive = naive_ranges(text, size, want);
		rc = object_ranges(text, (uint32_t)strlen(text), size, r, &n_ranges);
		for (unsigned i = 0; i < n_ranges; i++)
			for (uint64_t b = 0; b < r[i].length; b++)
				got[len++] = (char)(r[i].first + b);
		if (naive == -1) {
			assert_int_equal(rc, 0);
			assert_int_equal(n_ranges, 0);
		} else if (naive == -2) {
			assert_int_equal(rc, -ERANGE);
			unsatisfied++;
		} else if (n_ranges) {
			assert_int_equal(len, naive);
			assert_memory_equal(got, want, (size_t)len);
			good++;
		} else {
			assert_true(naive > (int)size); /* more than the whole: ignored */
		}
	}
	assert_true(good > 5000 && unsatisfied > 1000);
}

static void range_answers(void **state)
{
	char many[512] = "bytes=0-0", part[OBJECT_PART_MAX];
	uint64_t length;

	(void)state;
	assert_int_equal(plan_of("GET", "/a.txt", &file, "range", "bytes=10-19", NULL), 206);
	assert_int_equal(plan.length, 10);
	assert_true(says("Content-Range: bytes 10-19/100"));
	assert_true(says("Content-Length: 10"));
	assert_true(says("Content-Type: text/plain"));
	assert_int_equal(plan_of("GET", "/a", &file, "range", "bytes=100-", NULL), 416);
	assert_true(says("Content-Range: bytes */100"));
	assert_int_equal(plan_of("HEAD", "/a", &file, "range", "bytes=10-19", NULL), 200);
	assert_true(says("Content-Length: 100"));
	assert_int_equal(plan.action, OBJECT_ANSWER);
	assert_int_equal(plan_of("GET", "/a", &file, "range", "lines=1-2", NULL), 200);
	assert_int_equal(plan_of("GET", "/a", &file, "range", "bytes=0-18446744073709551616", NULL), 206);
	assert_int_equal(plan.length, 100);
	/* Several: the length is that of what is sent. */
	assert_int_equal(plan_of("GET", "/a.txt", &file, "range", "bytes=0-4, 50-59 ,-1", NULL), 206);
	assert_int_equal(plan.n_ranges, 3);
	length = 5 + 10 + 1;
	for (unsigned i = 0; i <= 3; i++)
		length += object_part(&plan, i, part);
	assert_int_equal(plan.length, length);
	assert_non_null(strstr(plan.fields, "Content-Type: multipart/byteranges; boundary="));
	assert_null(strstr(plan.fields, "\nContent-Range"));
	/* Attacks: overlapping ones that are more than the object, and too many. */
	assert_int_equal(plan_of("GET", "/a", &file, "range", "bytes=0-,0-,0-", NULL), 200);
	for (int i = 1; i <= OBJECT_RANGES_MAX; i++)
		sprintf(many + strlen(many), ",%d-%d", 2 * i, 2 * i);
	assert_int_equal(plan_of("GET", "/a", &file, "range", many, NULL), 200);
}

static void if_range(void **state)
{
	struct object_facts fresh = file;

	(void)state;
	fresh.modified_ns = NOW * 1000000000ll;
	assert_int_equal(plan_of("GET", "/a", &file, "range", "bytes=1-2", "if-range", "\"64-16345785d8a00000-7\"", NULL), 206);
	assert_int_equal(plan_of("GET", "/a", &file, "range", "bytes=1-2", "if-range", "W/\"64-16345785d8a00000-7\"", NULL), 200);
	assert_int_equal(plan_of("GET", "/a", &file, "range", "bytes=1-2", "if-range", "\"other\"", NULL), 200);
	assert_int_equal(plan_of("GET", "/a", &file, "range", "bytes=1-2", "if-range", "Sun, 13 Sep 2020 12:26:40 GMT", NULL), 206);
	assert_int_equal(plan_of("GET", "/a", &file, "range", "bytes=1-2", "if-range", "Sun, 13 Sep 2020 12:26:41 GMT", NULL), 200);
	assert_int_equal(plan_of("GET", "/a", &fresh, "range", "bytes=1-2", "if-range", "Tue, 14 Nov 2023 22:13:20 GMT", NULL), 200);
}

/* ---- preconditions ---- */

#define TAG "\"64-16345785d8a00000-7\""
#define MODIFIED "Sun, 13 Sep 2020 12:26:40 GMT"
#define EARLIER "Sun, 13 Sep 2020 12:26:39 GMT"

static void conditions(void **state)
{
	(void)state;
	assert_int_equal(plan_of("GET", "/a", &file, NULL), 200);
	assert_true(says("ETag: " TAG));
	assert_true(says("Last-Modified: " MODIFIED));
	assert_int_equal(plan_of("GET", "/a", &file, "if-none-match", "\"x\", W/" TAG, NULL), 304);
	assert_true(says("ETag: " TAG));
	assert_null(strstr(plan.fields, "Content-Length"));
	assert_int_equal(plan_of("GET", "/a", &file, "if-none-match", "\"x\"", "if-none-match", TAG, NULL), 304);
	assert_int_equal(plan_of("HEAD", "/a", &file, "if-none-match", "*", NULL), 304);
	assert_int_equal(plan_of("GET", "/a", &file, "if-none-match", "\"x\"", "if-modified-since", MODIFIED, NULL), 200);
	assert_int_equal(plan_of("GET", "/a", &file, "if-modified-since", MODIFIED, NULL), 304);
	assert_int_equal(plan_of("GET", "/a", &file, "if-modified-since", EARLIER, NULL), 200);
	assert_int_equal(plan_of("GET", "/a", &file, "if-modified-since", "yesterday", NULL), 200);
	assert_int_equal(plan_of("GET", "/a", &file, "if-match", "\"x\"", NULL), 412);
	assert_int_equal(plan_of("GET", "/a", &file, "if-match", "W/" TAG, NULL), 412);
	assert_int_equal(plan_of("GET", "/a", &file, "if-match", TAG, "if-unmodified-since", EARLIER, NULL), 200);
	assert_int_equal(plan_of("GET", "/a", &file, "if-unmodified-since", EARLIER, NULL), 412);
	assert_int_equal(plan_of("GET", "/a", &nothing, "if-match", "*", NULL), 404);
	assert_int_equal(plan_of("PUT", "/a", &file, "content-length", "1", "if-none-match", "*", NULL), 412);
	assert_int_equal(plan_of("PUT", "/a", &nothing, "content-length", "1", "if-none-match", "*", NULL), 201);
	assert_true(plan.none_may_exist);
	assert_int_equal(plan_of("PUT", "/a", &nothing, "content-length", "1", "if-match", "*", NULL), 412);
	assert_int_equal(plan_of("PUT", "/a", &file, "content-length", "1", "if-match", TAG, NULL), 204);
	assert_true(plan.must_match);
	assert_int_equal(plan_of("DELETE", "/a", &file, "if-match", "\"x\"", NULL), 412);
	assert_int_equal(plan_of("DELETE", "/a", &file, NULL), 204);
	assert_int_equal(plan.action, OBJECT_DELETE);
}

static void methods(void **state)
{
	static const struct object_facts folder = { .folder = true };

	(void)state;
	assert_int_equal(plan_of("GET", "/a", &nothing, NULL), 404);
	assert_int_equal(plan_of("GET", "/a", &folder, NULL), 404);
	assert_int_equal(plan_of("POST", "/a", &file, NULL), 405);
	assert_true(says("Allow: GET, HEAD, OPTIONS, PUT, DELETE"));
	assert_int_equal(plan_of("OPTIONS", "/a", &file, NULL), 204);
	assert_int_equal(plan_of("PUT", "/a", &nothing, NULL), 411);
	assert_int_equal(plan_of("PUT", "/a", &nothing, "transfer-encoding", "chunked", NULL), 201);
	assert_int_equal(plan_of("PUT", "/a", &nothing, "content-length", "1000", NULL), 201);
	assert_int_equal(plan_of("PUT", "/a", &nothing, "content-length", "1001", NULL), 413);
	assert_int_equal(plan_of("PUT", "/a", &nothing, "content-length", "1", "content-range", "bytes 0-0/2", NULL), 400);
	assert_int_equal(plan_of("PUT", "/a", &folder, "content-length", "1", NULL), 409);
	assert_int_equal(plan_of("PUT", "/a/", &nothing, "content-length", "1", NULL), 409);
	assert_int_equal(plan_of("DELETE", "/a", &nothing, NULL), 404);
	conf.writable = false;
	assert_int_equal(plan_of("PUT", "/a", &nothing, "content-length", "1", NULL), 405);
	assert_true(says("Allow: GET, HEAD, OPTIONS"));
	assert_int_equal(plan_of("DELETE", "/a", &file, NULL), 405);
	conf.writable = true;
}

static void dates(void **state)
{
	char text[HTTP_DATE_TEXT];

	(void)state;
	assert_int_equal(http_date_parse("Sun, 06 Nov 1994 08:49:37 GMT", 29), 784111777);
	assert_int_equal(http_date_parse("Sunday, 06-Nov-94 08:49:37 GMT", 30), 784111777);
	assert_int_equal(http_date_parse("Sun Nov  6 08:49:37 1994", 24), 784111777);
	assert_int_equal(http_date_parse("Sun, 06 Nov 1994 08:49:37 CET", 29), -1);
	assert_int_equal(http_date_parse("Sun, 06 Nox 1994 08:49:37 GMT", 29), -1);
	assert_int_equal(http_date_parse("Sun, 06 Nov 1994 28:49:37 GMT", 29), -1);
	assert_int_equal(http_date_parse("Sun, 06 Nov 1994 08:49:37 GMT ", 30), -1);
	assert_int_equal(http_date_parse("", 0), -1);
	for (int64_t t = 0; t < 4000000000; t += 86399 * 37 + 11) {
		http_date_print(t, text);
		assert_int_equal(http_date_parse(text, 29), t);
	}
}

/* ---- files ---- */

static char root[64];
static struct object_store store;

static int setup(void **state)
{
	char path[160];

	(void)state;
	strcpy(root, "/tmp/baton-object-XXXXXX");
	assert_non_null(mkdtemp(root));
	snprintf(path, sizeof(path), "%s/in", root);
	assert_int_equal(mkdir(path, 0755), 0);
	snprintf(conf.directory, sizeof(conf.directory), "%s", path);
	snprintf(path, sizeof(path), "%s/secret", root);
	close(open(path, O_CREAT | O_WRONLY, 0644));
	assert_int_equal(object_open(&store, &conf), 0);
	return 0;
}

static int teardown(void **state)
{
	char command[128];

	(void)state;
	object_close(&store);
	snprintf(command, sizeof(command), "rm -rf %s", root);
	return system(command);
}

static int put(const char *name, const char *text, const struct object_plan *p, const struct object_facts *seen, char *tag)
{
	static const struct object_plan any;
	struct object_put w;

	assert_int_equal(object_put_begin(&store, &w), 0);
	assert_int_equal(object_put_bytes(&w, text, strlen(text)), 0);
	return object_put_commit(&w, name, p ? p : &any, seen ? seen : &nothing, tag);
}

static unsigned staged(void)
{
	char command[160];
	FILE *f;
	unsigned n = 0;

	snprintf(command, sizeof(command), "ls -A %s/in/.baton-put", root);
	f = popen(command, "r");
	for (int c; (c = fgetc(f)) != EOF;)
		n += c == '\n';
	pclose(f);
	return n;
}

static void objects_are_put_and_found(void **state)
{
	struct object_facts o;
	char tag[OBJECT_TAG_MAX], tag2[OBJECT_TAG_MAX], buf[16] = "", path[128];
	int fd;

	(void)state;
	assert_int_equal(put("a/b/c.txt", "hello", NULL, NULL, tag), 0);
	assert_int_equal(object_look(&store, "a/b/c.txt", &o, &fd), 0);
	assert_true(o.exists);
	assert_int_equal(read(fd, buf, sizeof(buf)), 5);
	close(fd);
	assert_string_equal(buf, "hello");
	object_tag(&o, tag2);
	assert_string_equal(tag, tag2);
	if (!o.hash[0]) {
		print_message("# the file system keeps no user attributes: tags are not hashes here\n");
	} else {
		/* The same content elsewhere has the same tag; sha256("hello") begins 2cf24dba5fb0a30e26e83b2ac5b9e29e. */
		assert_string_equal(tag, "\"2cf24dba5fb0a30e26e83b2ac5b9e29e\"");
		assert_int_equal(put("other", "hello", NULL, NULL, tag2), 0);
		assert_string_equal(tag, tag2);
	}
	/* Edited behind our back: the hash is no longer its tag. */
	snprintf(path, sizeof(path), "%s/in/a/b/c.txt", root);
	fd = open(path, O_WRONLY | O_APPEND);
	assert_int_equal(write(fd, "!", 1), 1);
	close(fd);
	assert_int_equal(object_look(&store, "a/b/c.txt", &o, NULL), 0);
	assert_int_equal(o.hash[0], 0);
	assert_int_equal(staged(), 0);
	assert_int_equal(object_delete(&store, "a/b/c.txt", &(struct object_plan){ 0 }, &o), 0);
	assert_int_equal(object_look(&store, "a/b/c.txt", &o, NULL), 0);
	assert_false(o.exists);
	assert_int_equal(object_delete(&store, "a/b/c.txt", &(struct object_plan){ 0 }, &o), -ENOENT);
}

static void nothing_outside_is_reached(void **state)
{
	static const char *const names[] = { "../secret", "a/../../secret", "/etc/passwd", "link", "folder/secret", "proc" };
	struct object_facts o;
	char path[128], tag[OBJECT_TAG_MAX];
	int fd;

	(void)state;
	snprintf(path, sizeof(path), "%s/in/link", root);
	assert_int_equal(symlink("../secret", path), 0);
	snprintf(path, sizeof(path), "%s/in/folder", root);
	assert_int_equal(symlink("..", path), 0);
	snprintf(path, sizeof(path), "%s/in/proc", root);
	assert_int_equal(symlink("/proc/self/root", path), 0);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		object_look(&store, names[i], &o, &fd);
		assert_false(o.exists);
		assert_int_equal(fd, -1);
		assert_int_not_equal(put(names[i], "x", NULL, NULL, tag), 0);
	}
	snprintf(path, sizeof(path), "%s/secret", root);
	assert_int_equal(access(path, F_OK), 0);
	/* A pipe that nobody writes does not hang us. */
	snprintf(path, sizeof(path), "%s/in/pipe", root);
	assert_int_equal(mkfifo(path, 0644), 0);
	assert_int_equal(object_look(&store, "pipe", &o, &fd), 0);
	assert_true(o.folder && !o.exists);
	assert_int_equal(staged(), 0);
}

static unsigned descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* What is read of a kept file, and whether its facts are those of a look without a cache. */
static void looks_as(struct object_cache *c, const char *name, const char *text, struct object_kept **kept)
{
	struct object_facts o, plain;
	char buf[16] = "";

	assert_int_equal(object_cache_look(c, name, 1000, &o, kept), 0);
	assert_int_equal(object_look(&store, name, &plain, NULL), 0);
	assert_memory_equal(&o, &plain, sizeof(o));
	assert_true(o.exists == (*kept != NULL) && o.exists == (text != NULL));
	if (!text)
		return;
	assert_true(pread((*kept)->fd, buf, sizeof(buf), 0) >= 0);
	assert_string_equal(buf, text);
}

static void kept_files_are_those_that_are_there(void **state)
{
	unsigned before = descriptors();
	struct object_kept *a, *b, *held;
	struct object_cache c;
	char path[128], other[128];
	int fd;

	(void)state;
	object_cache_init(&c, &store);
	snprintf(path, sizeof(path), "%s/in/kept", root);
	snprintf(other, sizeof(other), "%s/in/kept.new", root);
	looks_as(&c, "kept", NULL, &a);
	assert_int_equal(put("kept", "one", NULL, NULL, (char[OBJECT_TAG_MAX]){ 0 }), 0);
	looks_as(&c, "kept", "one", &held);
	looks_as(&c, "kept", "one", &b);
	assert_ptr_equal(held, b); /* kept */
	object_cache_let_go(b);
	/* Replaced: found anew, while who reads the old one reads on. */
	assert_int_equal(put("kept", "two", NULL, NULL, (char[OBJECT_TAG_MAX]){ 0 }), 0);
	looks_as(&c, "kept", "two", &a);
	assert_int_equal(pread(held->fd, other + sizeof(other) - 4, 3, 0), 3);
	assert_memory_equal(other + sizeof(other) - 4, "one", 3);
	object_cache_let_go(held);
	object_cache_let_go(a);
	/* Edited where it lies, to the same length. */
	usleep(20000); /* times of files are those of the last tick */
	fd = open(path, O_WRONLY);
	assert_int_equal(pwrite(fd, "2", 1, 0), 1);
	close(fd);
	looks_as(&c, "kept", "2wo", &a);
	object_cache_let_go(a);
	/* Another file, with the same times, in its place; a link; nothing. */
	snprintf(other, sizeof(other), "%s/in/kept.new", root);
	fd = open(other, O_CREAT | O_WRONLY, 0644);
	assert_int_equal(write(fd, "new", 3), 3);
	close(fd);
	assert_int_equal(rename(other, path), 0);
	looks_as(&c, "kept", "new", &a);
	object_cache_let_go(a);
	assert_int_equal(rename(path, other), 0);
	assert_int_equal(symlink("kept.new", path), 0);
	looks_as(&c, "kept", NULL, &a);
	assert_int_equal(unlink(path), 0);
	looks_as(&c, "kept", NULL, &a);
	/* Nobody asks any more: closed, but for who reads. */
	looks_as(&c, "kept.new", "new", &held);
	assert_true(object_cache_sweep(&c, 1000 + OBJECT_KEPT_MS - 1));
	assert_false(object_cache_sweep(&c, 1000 + OBJECT_KEPT_MS));
	assert_int_equal(descriptors(), before + 1);
	assert_int_equal(pread(held->fd, other, 3, 0), 3);
	object_cache_let_go(held);
	assert_int_equal(descriptors(), before);
}

static void many_files_are_kept(void **state)
{
	unsigned before = descriptors();
	struct object_kept *kept;
	struct object_cache c;
	char name[32], text[16];

	(void)state;
	object_cache_init(&c, &store);
	for (int round = 0; round < 2; round++)
		for (int i = 0; i < 600; i++) {
			struct object_facts o;
			char path[128];
			int fd;

			snprintf(name, sizeof(name), "many%d", i);
			snprintf(text, sizeof(text), "%d", i);
			snprintf(path, sizeof(path), "%s/in/%s", root, name);
			if (!round) {
				fd = open(path, O_CREAT | O_WRONLY, 0644);
				assert_int_equal(write(fd, text, strlen(text)), strlen(text));
				close(fd);
			}
			assert_int_equal(object_cache_look(&c, name, 0, &o, &kept), 0);
			assert_int_equal(o.size, strlen(text));
			assert_int_equal(pread(kept->fd, path, 8, 0), strlen(text));
			assert_memory_equal(path, text, strlen(text));
			object_cache_let_go(kept);
			assert_true(descriptors() <= before + OBJECT_KEPT);
		}
	assert_false(object_cache_sweep(&c, UINT64_MAX));
	assert_int_equal(descriptors(), before);
}

static int name_of(const char *target, char *name)
{
	head_begin(&h, 16384);
	head_method(&h, "GET", 3);
	assert_int_equal(head_target(&h, target, strlen(target)), 0);
	return object_name(&h, name);
}

static void names(void **state)
{
	char name[OBJECT_NAME_MAX];

	(void)state;
	assert_int_equal(name_of("/a%20b/c%c3%a4.txt?q", name), 0);
	assert_string_equal(name, "a b/c\xc3\xa4.txt");
	assert_int_equal(name_of("/a%2Fb", name), 404);
	assert_int_equal(name_of("/", name), 404);
	assert_int_equal(name_of("/.baton-put/1.2", name), 404);
	assert_int_equal(name_of("/.baton%2dput/1.2", name), 404);
	assert_int_equal(name_of("/x/.baton-put", name), 0); /* only at the top it is ours */
}

static void races_are_seen_at_the_rename(void **state)
{
	struct object_plan none = { .none_may_exist = true }, match = { .must_match = true };
	struct object_facts seen;
	char tag[OBJECT_TAG_MAX];
	struct object_put w;

	(void)state;
	assert_int_equal(put("o", "one", &none, NULL, tag), 0);
	assert_int_equal(put("o", "two", &none, NULL, tag), -EEXIST);
	assert_int_equal(object_status(-EEXIST), 412);
	object_look(&store, "o", &seen, NULL);
	assert_int_equal(put("o", "two", &match, &seen, tag), 0);
	assert_int_equal(put("o", "three", &match, &seen, tag), -ESTALE);
	assert_int_equal(object_delete(&store, "o", &match, &seen), -ESTALE);
	/* A folder is not replaced. */
	assert_int_equal(put("dir/x", "x", NULL, NULL, tag), 0);
	assert_int_equal(object_status(put("dir", "x", NULL, NULL, tag)), 409);
	assert_int_equal(object_status(put("o/x", "x", NULL, NULL, tag)), 409);
	/* Too large while it comes (its length was not said). */
	assert_int_equal(object_put_begin(&store, &w), 0);
	for (int i = 0; i < 10; i++)
		assert_int_equal(object_put_bytes(&w, h.text, 100), 0);
	assert_int_equal(object_put_bytes(&w, "x", 1), -EFBIG);
	assert_int_equal(staged(), 1);
	object_put_abort(&w);
	assert_int_equal(staged(), 0);
	/* What a crash left goes at the next start. */
	assert_int_equal(object_put_begin(&store, &w), 0);
	close(w.fd);
	EVP_MD_CTX_free(w.hash);
	object_close(&store);
	assert_int_equal(object_open(&store, &conf), 0);
	assert_int_equal(staged(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ranges_agree_with_a_naive_reader),
		cmocka_unit_test(range_answers),
		cmocka_unit_test(if_range),
		cmocka_unit_test(conditions),
		cmocka_unit_test(methods),
		cmocka_unit_test(dates),
		cmocka_unit_test_setup_teardown(objects_are_put_and_found, setup, teardown),
		cmocka_unit_test_setup_teardown(nothing_outside_is_reached, setup, teardown),
		cmocka_unit_test_setup_teardown(kept_files_are_those_that_are_there, setup, teardown),
		cmocka_unit_test_setup_teardown(many_files_are_kept, setup, teardown),
		cmocka_unit_test(names),
		cmocka_unit_test_setup_teardown(races_are_seen_at_the_rename, setup, teardown),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	head_free(&h);
	return failed;
}
