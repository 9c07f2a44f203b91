/* SPDX-License-Identifier: BSD-2-Clause */
/* The letters of a move, written and read.  See move_wire.h. */
#include "l7/handoff/move_wire.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

/* The queues of the socket are small when it is exported (else it is not); these bounds are what memory is planned with. */
static const uint32_t section_max[SECTIONS] = {
	[SECTION_TCP] = 520 << 10, [SECTION_TLS] = 1024,	 [SECTION_RAW_IN] = 32 << 10,	    [SECTION_PLAIN_IN] = 128 << 10,
	[SECTION_RAW_OUT] = 128 << 10, [SECTION_HEAD] = 64 << 10, [SECTION_SNI] = 255,		    [SECTION_ALPN] = 255,
	[SECTION_CERTIFICATE] = 16 << 10, [SECTION_HISTORY] = 29};

uint32_t move_section_max(enum move_section section)
{
	return section_max[section];
}

static void put16(uint8_t *p, uint16_t v)
{
	v = htobe16(v);
	memcpy(p, &v, 2);
}

static void put32(uint8_t *p, uint32_t v)
{
	v = htobe32(v);
	memcpy(p, &v, 4);
}

static void put64(uint8_t *p, uint64_t v)
{
	v = htobe64(v);
	memcpy(p, &v, 8);
}

static uint16_t get16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, 2);
	return be16toh(v);
}

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, 4);
	return be32toh(v);
}

static uint64_t get64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, 8);
	return be64toh(v);
}

size_t move_letter_len(const struct move_letter *l)
{
	size_t n = MOVE_HEAD_LEN;

	for (unsigned i = 0; l->type == LETTER_OFFER && i < SECTIONS; i++) {
		if (l->section[i].n > section_max[i])
			return 0;
		if (l->section[i].n)
			n += MOVE_SECTION_HEAD + l->section[i].n;
	}
	return n <= MOVE_LETTER_MAX ? n : 0;
}

void move_letter_put(const struct move_letter *l, uint8_t *out)
{
	out[0] = MOVE_VERSION;
	out[1] = l->why;
	put16(out + 2, l->ingress);
	put32(out + 4, l->e);
	put64(out + 8, l->cid);
	put64(out + 16, l->to_inc);
	put64(out + 24, l->serial);
	out += MOVE_HEAD_LEN;
	for (unsigned i = 0; l->type == LETTER_OFFER && i < SECTIONS; i++) {
		if (!l->section[i].n)
			continue;
		assert(l->section[i].n <= section_max[i]);
		put16(out, (uint16_t)i);
		put16(out + 2, 0);
		put32(out + 4, l->section[i].n);
		memcpy(out + MOVE_SECTION_HEAD, l->section[i].p, l->section[i].n);
		out += MOVE_SECTION_HEAD + l->section[i].n;
	}
}

/* Rule 4: what each type must and must not say. */
static bool head_ok(const struct move_letter *l)
{
	static const uint8_t reasons[LETTER_TYPES] = {
		[LETTER_REFUSE] = REFUSE_REASONS - 1, [LETTER_ROW] = ROW_CONFIRMS, [LETTER_GONE] = GONE_ENDED};
	bool addressed = l->type == LETTER_OFFER || l->type == LETTER_STATUS;

	if (reasons[l->type] ? l->why < 1 || l->why > reasons[l->type] : l->why != 0)
		return false;
	if (addressed ? !l->to_inc || !l->serial : l->to_inc || l->serial)
		return false;
	return l->cid && l->e && l->ingress;
}

static int sections_get(const uint8_t *p, size_t n, struct move_letter *l)
{
	int next = 0;

	while (n > 0) {
		uint32_t len;
		uint16_t section;

		if (n < MOVE_SECTION_HEAD)
			return -EPROTO;
		section = get16(p);
		len = get32(p + 4);
		if (section < next || len == 0 || len > n - MOVE_SECTION_HEAD)
			return -EPROTO;
		if (section >= SECTIONS || get16(p + 2) != 0)
			return -EPROTONOSUPPORT;
		if (len > section_max[section])
			return -EPROTO;
		l->section[section] = (struct move_bytes){.p = p + MOVE_SECTION_HEAD, .n = len};
		next = section + 1;
		p += MOVE_SECTION_HEAD + len;
		n -= MOVE_SECTION_HEAD + len;
	}
	if (l->section[SECTION_HISTORY].n && l->section[SECTION_HISTORY].n != section_max[SECTION_HISTORY])
		return -EPROTO;
	return 0;
}

int move_letter_get(uint16_t type, const uint8_t *p, size_t n, struct move_letter *l)
{
	memset(l, 0, sizeof(*l));
	if (type < LETTER_OFFER || type >= LETTER_TYPES || n < MOVE_HEAD_LEN || n > MOVE_LETTER_MAX)
		return -EPROTO;
	l->type = (enum move_letter_type)type;
	l->why = p[1];
	l->ingress = get16(p + 2);
	l->e = get32(p + 4);
	l->cid = get64(p + 8);
	l->to_inc = get64(p + 16);
	l->serial = get64(p + 24);
	if (p[0] != MOVE_VERSION)
		return -EPROTONOSUPPORT;
	if (!head_ok(l))
		return -EPROTO;
	if (type != LETTER_OFFER)
		return n == MOVE_HEAD_LEN ? 0 : -EPROTO;
	return sections_get(p + MOVE_HEAD_LEN, n - MOVE_HEAD_LEN, l);
}

const char *move_letter_name(enum move_letter_type type)
{
	static const char *const name[LETTER_TYPES] = {"none", "offer", "status", "accept", "refuse", "row", "gone"};

	return name[type];
}

const char *move_refusal_name(uint8_t why)
{
	static const char *const name[REFUSE_REASONS] = {"none", "busy", "draining", "version", "state", "socket", "backend",
							 "never seen"};

	return why < REFUSE_REASONS ? name[why] : "unknown";
}
