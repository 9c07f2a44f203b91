/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Everything the controller and its followers decode: records (round trip: what decodes encodes to the
 * same bytes), bodies, snapshots into a state (the state stays sound), HELLO, and reports.
 * The first byte chooses; checksums are repaired so that the fuzzer gets past them.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "control/report.h"
#include "control/state.h"
#include "control/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void fuzz_record(const uint8_t *data, size_t len)
{
	uint8_t *copy, *again;
	struct record r, out;
	struct state s;
	unsigned what;
	char why[WHY_MAX];
	size_t again_len;

	if (len < RECORD_HEADER || len > RECORD_MAX)
		return;
	copy = malloc(len);
	memcpy(copy, data, len);
	put32(copy, (uint32_t)len);
	put32(copy + 4, crc32c(0, copy + 8, len - 8));
	if (!record_decode(copy, len, &r)) {
		out = r;
		again = record_encode(&out, &again_len);
		assert(again && again_len == len && !memcmp(again, copy, len) && !memcmp(out.hash, r.hash, HASH_LEN));
		free(again);
		state_init(&s);
		r.semantics = RECORD_SEMANTICS;
		if (!state_apply(&s, &r, &what, why, sizeof(why)))
			for (uint32_t b = 0; b < s.table.n_buckets; b++)
				assert(bucket_valid(&s.table.bucket[b]));
		state_free(&s);
	}
	free(copy);
}

static void fuzz_bodies(const uint8_t *data, size_t len)
{
	struct move *move = malloc(BUCKETS_MAX * sizeof(*move));
	struct change *change = malloc(BUCKETS_MAX * sizeof(*change));
	struct body_text t;
	uint8_t *again;
	size_t n = BUCKETS_MAX, again_len;

	if (!body_moves(data, len, move, &n)) {
		assert(!body_reason(data, len, &t));
		again = body_put_moves(t.reason, move, n, &again_len);
		assert(again_len == len && !memcmp(again, data, len));
		free(again);
	}
	n = BUCKETS_MAX;
	if (!body_changes(data, len, change, &n)) {
		assert(!body_reason(data, len, &t));
		again = body_put_changes(t.reason, change, n, &again_len);
		assert(again_len == len && !memcmp(again, data, len));
		free(again);
	}
	free(move);
	free(change);
}

static void fuzz_report(const uint8_t *data, size_t len)
{
	json_t *json = json_loadb((const char *)data, len, 0, NULL);
	struct switch_report *sw = malloc(sizeof(*sw));
	struct host_report *host = malloc(sizeof(*host));

	if (json) {
		switch_report_read(json, sw);
		host_report_read(json, host);
	}
	json_decref(json);
	free(sw);
	free(host);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct wire_hello h;
	uint8_t hello[WIRE_HELLO_LEN];

	if (!len)
		return 0;
	switch (data[0] & 3) {
	case 0:
		fuzz_record(data + 1, len - 1);
		break;
	case 1:
		fuzz_bodies(data + 1, len - 1);
		break;
	case 2:
		fuzz_report(data + 1, len - 1);
		break;
	default:
		if (!wire_get_hello(data + 1, len - 1, &h)) {
			wire_put_hello(hello, &h);
			assert(!memcmp(hello, data + 1, WIRE_HELLO_LEN));
		}
	}
	return 0;
}
