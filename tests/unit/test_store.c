/* SPDX-License-Identifier: BSD-2-Clause */
/* The log's records and its disk: codec, chain, torn tails cut at every byte, damage in the middle, snapshots. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control/control.h"

static const char pop_text[] =
	"pop: {name: t, buckets: 64, hash_seed: 0x1badcafe}\n"
	"controllers: [{name: c1, id: 1, listen: \"192.0.2.10:7430\"}]\n"
	"switches: [{name: s1, id: 1, fabric: xdp, management: 192.0.2.21, bridge: br0, uplinks: [up0], ports: {p1: h1}}]\n"
	"hosts: [{name: h1, id: 1, weight: 100, management: 192.0.2.31, links: {s1: eth0}}]\n"
	"vips: [{name: www, addresses: [198.51.100.80], ports: [80/tcp], checks: [{tcp: {port: 80}}]}]\n";

static char dir[64];

struct seen {
	struct state s;
	unsigned n, configs;
	int refuse;
};

static int replay(void *ctx, const struct record *r, const uint8_t *bytes, size_t len, char *why, size_t why_len)
{
	struct seen *x = ctx;
	unsigned what;
	int err = state_apply(&x->s, r, &what, why, why_len);

	(void)bytes;
	(void)len;
	x->n += !err;
	x->configs += r->type == RECORD_CONFIG;
	return err == -EALREADY && r->type == RECORD_CONFIG ? 0 : err;
}

static void durable(void *ctx, int err)
{
	*(int *)ctx = err;
}

/* The next record of a log whose state is s: a change of health that goes to and fro. */
static uint8_t *next_record(struct state *s, size_t *len)
{
	struct record r = { .term = 1, .index = s->view.index + 1, .semantics = RECORD_SEMANTICS, .type = RECORD_STATE };
	struct change c = { SUBJECT_HOST_HEALTH, (uint8_t)(r.index % 2 ? HEALTH_UP : HEALTH_SICK), 1 };
	struct table empty;
	uint8_t *body, *bytes;
	struct record back;
	unsigned what;
	char why[WHY_MAX];

	memcpy(r.previous, s->hash, HASH_LEN);
	sha256(pop_text, strlen(pop_text), r.config_digest);
	table_init(&empty, 64);
	table_digest(&empty, r.table_digest);
	table_free(&empty);
	if (r.index == 1) {
		r.type = RECORD_CONFIG;
		body = body_put_text("first", pop_text, strlen(pop_text), &r.body_len);
	} else {
		body = body_put_changes("to and fro", &c, 1, &r.body_len);
	}
	r.body = body;
	bytes = record_encode(&r, len);
	free(body);
	assert_int_equal(record_decode(bytes, *len, &back), 0);
	assert_memory_equal(back.hash, r.hash, HASH_LEN);
	if (state_apply(s, &back, &what, why, sizeof(why)))
		fail_msg("%s", why);
	return bytes;
}

static void append(struct log *l, struct state *s, unsigned n)
{
	while (n--) {
		struct log_bytes b;
		int err = 1;

		b.data = next_record(s, &b.len);
		assert_int_equal(l->ops->append(l, &b, 1, durable, &err), 0);
		assert_int_equal(err, 0);
		free((void *)(uintptr_t)b.data);
	}
}

static struct log *open_log(struct seen *x, int expect)
{
	char why[WHY_MAX] = "";
	struct log *l = NULL;
	int err;

	memset(x, 0, sizeof(*x));
	state_init(&x->s);
	err = store_open(dir, replay, x, &l, why, sizeof(why));
	if (err != expect)
		fail_msg("%s (%d, not %d)", why, err, expect);
	return l;
}

static int fresh(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/bt-store-XXXXXX");
	return !mkdtemp(dir);
}

static int wipe(void **state)
{
	char command[100];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

static void file_name(char out[100], const char *name)
{
	snprintf(out, 100, "%s/%s", dir, name);
}

static void test_append_and_reopen(void **state)
{
	struct seen x;
	struct state s;
	struct log *l = open_log(&x, 0);

	(void)state;
	state_init(&s);
	append(l, &s, 20);
	assert_null(open_log(&x, -EWOULDBLOCK)); /* one owner at a time */
	l->ops->close(l);
	l = open_log(&x, 0);
	assert_int_equal(x.n, 20);
	assert_false(store_info(l)->repaired);
	assert_memory_equal(x.s.hash, s.hash, HASH_LEN);
	append(l, &s, 5);
	l->ops->close(l);
	state_free(&x.s);
	l = open_log(&x, 0);
	assert_int_equal(x.n, 25);
	l->ops->close(l);
	state_free(&x.s);
	state_free(&s);
}

/* Power lost while the last record was being written: whatever part of it is there. */
static void test_torn_tail(void **state)
{
	struct seen x;
	struct state s;
	struct log *l = open_log(&x, 0);
	char path[100];
	uint64_t before, after, cut;
	uint8_t *good;
	int fd;

	(void)state;
	state_init(&s);
	append(l, &s, 4);
	before = store_info(l)->bytes;
	append(l, &s, 1);
	after = store_info(l)->bytes;
	l->ops->close(l);
	file_name(path, "log");
	good = malloc(after);
	fd = open(path, O_RDWR);
	assert_int_equal(pread(fd, good, after, 0), (ssize_t)after);
	for (cut = before + 1; cut < after; cut++) {
		uint8_t zero[256] = { 0 };

		assert_int_equal(pwrite(fd, good, after, 0), (ssize_t)after);
		assert_int_equal(pwrite(fd, zero, after - cut, (off_t)cut), (ssize_t)(after - cut));
		if (cut & 1) /* the file may end there, too */
			assert_int_equal(ftruncate(fd, (off_t)cut), 0);
		l = open_log(&x, 0);
		if (x.n == 5) { /* the bytes that were lost were zero anyway */
			assert_false(store_info(l)->repaired);
		} else {
			assert_int_equal(x.n, 4);
			/* fewer than 4 bytes of the length: nothing is there at all */
			assert_true(store_info(l)->repaired || cut < before + 4);
			append(l, &x.s, 1); /* goes on behind the last whole record */
			assert_memory_equal(x.s.hash, s.hash, HASH_LEN);
		}
		l->ops->close(l);
		state_free(&x.s);
	}
	close(fd);
	free(good);
	state_free(&s);
}

static void test_damage_in_the_middle_is_not_a_torn_tail(void **state)
{
	struct seen x;
	struct state s;
	struct log *l = open_log(&x, 0);
	char path[100];
	uint8_t byte;
	int fd;

	(void)state;
	state_init(&s);
	append(l, &s, 30);
	l->ops->close(l);
	file_name(path, "log");
	fd = open(path, O_RDWR);
	assert_int_equal(pread(fd, &byte, 1, RECORD_HEADER + 900), 1);
	byte ^= 1;
	assert_int_equal(pwrite(fd, &byte, 1, RECORD_HEADER + 900), 1);
	close(fd);
	open_log(&x, -EBADMSG);
	state_free(&x.s);
	state_free(&s);
}

static void test_snapshot(void **state)
{
	struct seen x;
	struct state s;
	struct log *l = open_log(&x, 0);
	int i;

	(void)state;
	state_init(&s);
	for (i = 0; store_info(l)->snapshot_index == 0 && i < 2000; i++) {
		struct log_bytes b[LOG_BATCH_MAX];
		int err = 1, k;

		for (k = 0; k < LOG_BATCH_MAX; k++)
			b[k].data = next_record(&s, &b[k].len);
		assert_int_equal(l->ops->append(l, b, LOG_BATCH_MAX, durable, &err), 0);
		for (k = 0; k < LOG_BATCH_MAX; k++)
			free((void *)(uintptr_t)b[k].data);
		l->ops->compact(l, &s);
	}
	assert_true(store_info(l)->snapshot_index > 100);
	append(l, &s, 3);
	l->ops->close(l);
	l = open_log(&x, 0);
	assert_int_equal(x.s.view.index, s.view.index);
	assert_memory_equal(x.s.hash, s.hash, HASH_LEN);
	assert_memory_equal(x.s.log_id, s.log_id, HASH_LEN);
	assert_true(x.configs >= 1); /* for rollback */
	l->ops->close(l);
	state_free(&x.s);
	state_free(&s);
}

/* A file-size limit stands for the full disk. */
static void test_full_disk(void **state)
{
	struct rlimit unlimited, tight;
	struct seen x;
	struct state s, kept;
	struct log *l = open_log(&x, 0);
	struct log_bytes b;
	char path[100];
	struct stat st;
	int err = 1, refused;

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	state_init(&s);
	append(l, &s, 1);
	file_name(path, "log");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &unlimited), 0);
	tight = unlimited;
	tight.rlim_cur = (rlim_t)st.st_size;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
	do { /* room that was zeroed ahead is used up first */
		assert_int_equal(state_copy(&kept, &s), 0);
		b.data = next_record(&s, &b.len);
		refused = l->ops->append(l, &b, 1, durable, &err);
		free((void *)(uintptr_t)b.data);
		if (!refused)
			state_free(&kept);
	} while (!refused);
	assert_int_equal(refused, -EFBIG);
	assert_true(store_info(l)->error[0]);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &unlimited), 0);
	append(l, &kept, 2); /* room again: goes on where it was */
	assert_false(store_info(l)->error[0]);
	l->ops->close(l);
	l = open_log(&x, 0);
	assert_int_equal(x.s.view.index, kept.view.index);
	l->ops->close(l);
	state_free(&x.s);
	state_free(&s);
	state_free(&kept);
}

static void test_what_does_not_extend_is_refused(void **state)
{
	struct state a, b;
	struct record r;
	unsigned what;
	char why[WHY_MAX];
	uint8_t *bytes, *second, *snap;
	size_t len, second_len, snap_len;

	(void)state;
	state_init(&a);
	state_init(&b);
	free(next_record(&a, &len));
	free(next_record(&b, &len));
	bytes = next_record(&a, &len);
	second = next_record(&a, &second_len);
	assert_int_equal(record_decode(second, second_len, &r), 0);
	assert_int_equal(state_apply(&b, &r, &what, why, sizeof(why)), -ENOENT);
	assert_int_equal(record_decode(bytes, len, &r), 0);
	r.previous[0] ^= 1;
	assert_int_equal(state_apply(&b, &r, &what, why, sizeof(why)), -ESTALE);
	r.previous[0] ^= 1;
	r.table_digest[5] ^= 1;
	assert_int_equal(state_apply(&b, &r, &what, why, sizeof(why)), -EBADMSG);
	r.table_digest[5] ^= 1;
	r.semantics++;
	assert_int_equal(state_apply(&b, &r, &what, why, sizeof(why)), -EBADMSG);
	r.semantics--;
	assert_int_equal(b.view.index, 1);
	assert_int_equal(state_apply(&b, &r, &what, why, sizeof(why)), 0);
	assert_int_equal(state_apply(&b, &r, &what, why, sizeof(why)), -EALREADY);
	/* A snapshot of the same log brings b up to a; one of another log does not. */
	snap = state_snapshot(&a, &snap_len);
	assert_int_equal(record_decode(snap, snap_len, &r), 0);
	b.log_id[0] ^= 1;
	assert_int_equal(state_apply(&b, &r, &what, why, sizeof(why)), -ESTALE);
	b.log_id[0] ^= 1;
	assert_int_equal(state_apply(&b, &r, &what, why, sizeof(why)), 0);
	assert_memory_equal(a.hash, b.hash, HASH_LEN);
	free(snap);
	free(bytes);
	free(second);
	state_free(&a);
	state_free(&b);
}

static void test_crc32c(void **state)
{
	(void)state;
	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283); /* RFC 3720, B.4's polynomial */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_crc32c),
		cmocka_unit_test(test_what_does_not_extend_is_refused),
		cmocka_unit_test_setup_teardown(test_append_and_reopen, fresh, wipe),
		cmocka_unit_test_setup_teardown(test_torn_tail, fresh, wipe),
		cmocka_unit_test_setup_teardown(test_damage_in_the_middle_is_not_a_torn_tail, fresh, wipe),
		cmocka_unit_test_setup_teardown(test_snapshot, fresh, wipe),
		cmocka_unit_test_setup_teardown(test_full_disk, fresh, wipe),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
