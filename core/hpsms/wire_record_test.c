// SPDX-License-Identifier: BSD-3-Clause
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/hpsms/wire_random.h"

#define SEED 7117

static void assert_record_equal(const struct wire_record *a, const struct wire_record *b)
{
	struct wire_record x = *a, y = *b;
	if (a->nf_size > 0)
		assert_memory_equal(a->nf, b->nf, a->nf_size);
	x.nf = y.nf = NULL;
	assert_int_equal(x.op, y.op);
	assert_int_equal(x.flags, y.flags);
	assert_int_equal(x.parts, y.parts);
	assert_int_equal(x.reason, y.reason);
	assert_memory_equal(&x.key, &y.key, sizeof(x.key));
	assert_true(x.hash == y.hash);
	assert_true(x.incarnation == y.incarnation);
	for (unsigned p = 0; p < PARTS; p++) {
		assert_int_equal(x.version[p].version, y.version[p].version);
		assert_int_equal(x.version[p].epoch, y.version[p].epoch);
		assert_int_equal(x.version[p].writer, y.version[p].writer);
	}
	for (unsigned d = 0; d < 2; d++) {
		assert_int_equal(x.dir[d].tcp_flags, y.dir[d].tcp_flags);
		assert_int_equal(x.dir[d].wscale, y.dir[d].wscale);
		assert_int_equal(x.dir[d].fin, y.dir[d].fin);
		assert_int_equal(x.dir[d].isn, y.dir[d].isn);
		assert_int_equal(x.dir[d].age_ms, y.dir[d].age_ms);
	}
	assert_memory_equal(&x.reversed, &y.reversed, sizeof(x.reversed));
	assert_true(x.chain == y.chain && x.holders == y.holders);
	assert_int_equal(x.nf_size, y.nf_size);
}

// A connection from outside to a load balanced service, as the built-in chain leaves it.
static struct wire_record plain_record(uint8_t *nf)
{
	struct wire_record w = {.op = WIRE_PUT,
		.flags = WIRE_RECORD_ANSWERED,
		.parts = 7,
		.incarnation = 0x12345,
		.chain = 0x1122334455667788,
		.holders = 1 << 2 | 1ull << 41,
		.nf_size = 42,
		.nf = nf};
	w.key = (struct tripod_tuple){.src = tripod_addr_v4(htonl(0xc6120001)),
		.dst = tripod_addr_v4(htonl(0xcb007150)),
		.sport = htons(0x3039),
		.dport = htons(80),
		.proto = 6};
	w.reversed = tripod_tuple_reverse(&w.key);
	w.reversed.src = tripod_addr_v4(htonl(0x0a020065));
	w.reversed.sport = htons(8080);
	for (unsigned p = 0; p < PARTS; p++)
		w.version[p] = (struct conn_version){.epoch = 1, .version = p + 1, .writer = 2};
	for (unsigned d = 0; d < 2; d++) {
		w.dir[d].tcp_flags = TCP_DIR_SYN | TCP_DIR_WSCALE | (d ? TCP_DIR_ACK : 0);
		w.dir[d].wscale = 7;
		w.dir[d].age_ms = d ? 1 : 200;
	}
	memset(nf, 0, 42);
	nf[0] = 3; // rule
	memcpy(nf + 4, &w.reversed.src, 16); // backend
	memcpy(nf + 20, &w.reversed.sport, 2);
	nf[22] = 1; // service
	return w;
}

static void record__whole_bytes_as_documented(void **state)
{
	static const uint8_t want[] = {
		0x41, 0x51, // PUT, ANSWERED; chain, reversed sport and src
		0, 6, 0x30, 0x39, 0, 80, 0xc6, 0x12, 0, 1, 0xcb, 0, 0x71, 0x50, // key
		0xc5, 0xc6, 4, // incarnation
		2, 1, 1, 0x21, 7, 0xc8, 1, // direction 0: writer, epoch, version, TCP, age
		2, 0x23, 7, 1, // direction 1: version, TCP, age
		3, // shared: version
		0x1f, 0x90, 0x0a, 2, 0, 0x65, // reversed
		0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, // chain
		0x21, 4, 2, // holders
		42, 0x40, 3, 2, 0x82, 0x86, 0x40, 1, 18, // NF state
	};
	uint8_t nf[42], b[256];
	uint64_t chain = 0;
	struct wire_record w = plain_record(nf), got;
	struct wire_log log = {0};
	assert_int_equal(wire_put_record(b, sizeof(b), &w, &chain), sizeof(want));
	assert_memory_equal(b, want, sizeof(want));
	assert_int_equal(wire_get_record(b, sizeof(want), &got, &log), sizeof(want));
	assert_record_equal(&w, &got);
	assert_true(chain == w.chain && log.chain == w.chain);
	// The next of the chain need not say so.
	assert_int_equal(wire_put_record(b, sizeof(b), &w, &chain), sizeof(want) - 8);
	assert_int_equal(wire_get_record(b, sizeof(want) - 8, &got, &log), sizeof(want) - 8);
	assert_record_equal(&w, &got);
	log.chain = 0;
	assert_int_equal(wire_get_record(b, sizeof(want) - 8, &got, &log), -EINVAL);
	printf("whole record %zu bytes, %zu with its chain\n", sizeof(want) - 8, sizeof(want));
}

static void record__others_as_documented(void **state)
{
	static const uint8_t update[] = {0x86, 1, 2, 3, 4, 5, 6, 7, 8, 0x80,
		1, // PINNED, direction 0
		63, 0x80, 4, 5, 0x0f, 0xac, 2};
	static const uint8_t both[] = {0x1e, 1, 2, 3, 4, 5, 6, 7, 8, 0x80, 1, // both, OWN
		63, 0x80, 4, 5, 0x0f, 0xac, 2, 62, 1, 6, 0x20, 14, 0};
	static const uint8_t bury[] = {0x07, 1, 2, 3, 4, 5, 6, 7, 8, 0x80, 1};
	struct wire_record w = {.op = WIRE_UPDATE,
		.flags = WIRE_RECORD_PINNED,
		.parts = 1,
		.hash = 0x0102030405060708,
		.incarnation = 128};
	uint8_t b[64];
	uint64_t chain = 9;
	w.version[0] = (struct conn_version){.writer = 63, .epoch = 0x200, .version = 5};
	w.dir[0].tcp_flags = 0x0f;
	w.dir[0].age_ms = 300;
	assert_int_equal(wire_put_record(b, sizeof(b), &w, &chain), sizeof(update));
	assert_memory_equal(b, update, sizeof(update));
	w.flags = 0;
	w.parts = 3;
	w.version[1] = (struct conn_version){.writer = 62, .epoch = 1, .version = 6};
	w.dir[1].tcp_flags = TCP_DIR_WSCALE;
	w.dir[1].wscale = 14;
	assert_int_equal(wire_put_record(b, sizeof(b), &w, &chain), sizeof(both));
	assert_memory_equal(b, both, sizeof(both));
	w.op = WIRE_BURY;
	w.parts = 0;
	w.reason = 1;
	assert_int_equal(wire_put_record(b, sizeof(b), &w, &chain), sizeof(bury));
	assert_memory_equal(b, bury, sizeof(bury));
	assert_true(chain == 9);
	printf("update of one direction %zu bytes, of both with owners %zu, tombstone %zu\n",
		sizeof(update), sizeof(both), sizeof(bury));
}

// Room for the largest that there can be.
static void record__largest(void **state)
{
	struct rng r = {SEED};
	struct wire_record w = wire_random_record(&r, true, 7, WIRE_NF_MAX);
	uint8_t b[WIRE_MESSAGE_MAX];
	uint64_t chain = 0;
	w.key.zone = w.reversed.zone = 1;
	w.incarnation = UINT64_MAX;
	w.holders = UINT64_MAX;
	w.reversed = wire_random_tuple(&r, true);
	w.reversed.proto = w.key.proto;
	w.reversed.zone = w.key.zone;
	w.reversed.direction = !w.key.direction;
	for (unsigned p = 0; p < PARTS; p++)
		w.version[p] = (struct conn_version){
			.writer = (uint8_t)(61 + p), .epoch = 0xffff, .version = UINT32_MAX};
	for (unsigned d = 0; d < 2; d++) {
		w.dir[d].tcp_flags = TCP_DIR_DURABLE | TCP_DIR_FIN_SEEN | WIRE_DIR_ISN;
		w.dir[d].fin = w.dir[d].isn = UINT32_MAX;
		w.dir[d].age_ms = UINT32_MAX;
	}
	for (unsigned i = 0; i < WIRE_NF_MAX; i++)
		wire_random_nf[i] = (uint8_t)(1 + i % 255); // no piece of the tuples, no zeros
	int n = wire_put_record(b, WIRE_BODY_MAX - WIRE_HEADER_SIZE, &w, &chain);
	assert_int_equal(n,
		1 + 1 + 40 + 10 + 2 * (1 + 3 + 5 + 2 + 4 + 4 + 5) + 9 + 36 + 8 + 9 + 2 + 1024 + 16);
	struct wire_log log = {0};
	struct wire_record got;
	assert_int_equal(wire_get_record(b, (size_t)n, &got, &log), n);
	assert_record_equal(&w, &got);
}

static void record__encoder_refuses(void **state)
{
	struct rng r = {SEED};
	const struct wire_record good = wire_random_record(&r, false, 7, 8),
				 update = wire_random_record(&r, false, 3, 0),
				 bury = wire_random_record(&r, false, 0, 0);
	uint8_t b[512];
	uint64_t chain = 0;
	assert_true(wire_put_record(b, sizeof(b), &good, &chain) > 0);
	assert_true(wire_put_record(b, sizeof(b), &update, &chain) > 0);
	assert_true(wire_put_record(b, sizeof(b), &bury, &chain) > 0);
#define REFUSED(record, change)                                                                    \
	do {                                                                                       \
		struct wire_record w = record;                                                     \
		change;                                                                            \
		assert_int_equal(wire_put_record(b, sizeof(b), &w, &chain), -EINVAL);              \
	} while (0)
	REFUSED(good, w.op = 0);
	REFUSED(good, w.op = 4);
	REFUSED(good, w.flags = 128);
	REFUSED(good, w.flags = WIRE_RECORD_SYNC | WIRE_RECORD_NONE);
	REFUSED(update, w.flags = WIRE_RECORD_SYNC);
	REFUSED(bury, w.flags = WIRE_RECORD_NONE);
	REFUSED(good, w.flags = WIRE_RECORD_FINAL);
	REFUSED(good, w.parts = 15);
	REFUSED(good, w.parts = 5);
	REFUSED(good, w.reason = 1);
	REFUSED(good, w.op = WIRE_UPDATE);
	REFUSED(good, w.op = WIRE_BURY);
	REFUSED(good, w.key.kind = 1);
	REFUSED(good, w.key.direction = 2);
	REFUSED(good, w.key.dst.b[0] = 0x20);
	REFUSED(good, w.key.src.b[0] = 0x20);
	REFUSED(good, w.version[PART_DIR1].writer = 64);
	REFUSED(good, w.version[PART_SHARED].writer = 64);
	REFUSED(good, w.dir[0].tcp_flags = WIRE_DIR_ISN; w.dir[0].wscale = 0; w.dir[0].fin = 0);
	REFUSED(good, w.dir[1].tcp_flags = TCP_DIR_SYN | TCP_DIR_ACK; w.dir[1].wscale = 0;
		w.dir[1].fin = 0; w.dir[1].isn = 1);
	REFUSED(good, w.dir[1].tcp_flags = TCP_DIR_WSCALE; w.dir[1].wscale = 15);
	REFUSED(good, w.dir[1].tcp_flags = 0; w.dir[1].wscale = 1);
	REFUSED(good, w.dir[1].tcp_flags = TCP_DIR_FIN_SEEN; w.dir[1].wscale = 0);
	REFUSED(good, w.dir[1].tcp_flags = TCP_DIR_FIN; w.dir[1].wscale = 0; w.dir[1].fin = 1);
	REFUSED(good, w.reversed.proto ^= 1);
	REFUSED(good, w.reversed.zone ^= 1);
	REFUSED(good, w.reversed.direction = w.key.direction);
	REFUSED(good, w.reversed.src.b[0] = 0x20);
	REFUSED(good, w.chain = 0);
	REFUSED(good, w.holders = 0);
	REFUSED(good, w.nf_size = WIRE_NF_MAX + 1);
	REFUSED(good, w.nf = NULL);
	REFUSED(update, w.parts = 0);
	REFUSED(update, w.parts = 4);
	REFUSED(update, w.parts = 7);
	REFUSED(update, w.reason = 1);
	REFUSED(update, w.flags = WIRE_RECORD_ANSWER);
	REFUSED(update, w.version[PART_DIR1].writer = 64);
	REFUSED(bury, w.reason = 3);
	REFUSED(bury, w.parts = 1);
	REFUSED(bury, w.flags = WIRE_RECORD_ANSWERED);
#undef REFUSED
}

// What an encoder would have said otherwise is refused.
static void record__one_form(void **state)
{
	static const struct {
		const char *what;
		uint8_t at, value;
	} wrong[] = {{"two durabilities", 0, 0x4d}, {"FINAL alone", 0, 0x61},
		{"number with a zero behind", 18, 0}, {"TCP flag that is not durable", 22, 0x61},
		{"wscale", 23, 15}, {"sport as in the key", 1, 0x71}, {"holder byte 0", 46, 0},
		{"zeros that are no run", 51, 0x40}, {"unknown piece", 52, 0x89},
		{"run beyond the end", 56, 19}};
	static const uint8_t own[] = {0x1e, 1, 2, 3, 4, 5, 6, 7, 8, 1, // OWN, and the same
		63, 1, 5, 0, 0, 63, 1, 6, 0, 0};
	static const uint8_t own_of_one[] = {0x16, 1, 2, 3, 4, 5, 6, 7, 8, 1, 63, 1, 5, 0, 0};
	uint8_t nf[42], b[256];
	uint64_t chain = 0;
	struct wire_record w = plain_record(nf), got;
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct wire_log log = {0};
		chain = 0;
		int n = wire_put_record(b, sizeof(b), &w, &chain);
		b[wrong[i].at] = wrong[i].value;
		if (wire_get_record(b, (size_t)n, &got, &log) != -EINVAL)
			fail_msg("%s", wrong[i].what);
	}
	struct wire_log log = {.chain = w.chain}; // named again
	chain = 0;
	int n = wire_put_record(b, sizeof(b), &w, &chain);
	assert_int_equal(wire_get_record(b, (size_t)n, &got, &log), -EINVAL);
	assert_int_equal(wire_get_record(own, sizeof(own), &got, &log), -EINVAL);
	assert_int_equal(wire_get_record(own_of_one, sizeof(own_of_one), &got, &log), -EINVAL);
}

// Each run of state has one form, the shortest by the rules.
static void state__one_form(void **state)
{
	static const struct {
		uint8_t n, size, bytes[20];
	} wrong[] = {
		{2, 2, {0, 0}}, // two runs of zeros and not one
		{2, 3, {0x41, 0, 0}}, // zeros as bytes
		{2, 4, {0x40, 1, 0x40, 2}}, // two runs of bytes
		{2, 3, {0x41, 0x30, 0x39}}, // a port as bytes
		{2, 1, {0x86}}, // the same port by its second place
		{16, 5, {0x88, 0x43, 0xc6, 0x12, 0, 1}}, // an address as prefix and bytes
		{12, 4, {9, 0x41, 0xff, 0xff}}, // the prefix as zeros and bytes
		{1, 1, {0x80}}, // more than there may be
		{1, 1, {0x89}}, {1, 1, {0xff}}, {1, 1, {0x40}}, // no such piece; no byte
	};
	struct tripod_tuple key = {
		.src = tripod_addr_v4(htonl(0xc6120001)), .sport = htons(0x3039)};
	struct tripod_tuple reversed = {.sport = htons(0x3039)};
	uint8_t out[64];
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(wire_get_state(wrong[i].bytes, wrong[i].size, out, wrong[i].n,
					 &key, &reversed),
			-EINVAL);
	assert_int_equal(wire_get_state((const uint8_t[]){0x84, 0}, 2, out, 3, &key, &reversed), 2);
	assert_memory_equal(out, ((const uint8_t[]){0x30, 0x39, 0}), 3);
}

// Every truncation fails, every changed byte fails or is a record of its own. The buffers are as
// long as the record to the byte, so that the address sanitizer sees a step too far.
static void mutate(const uint8_t *good, size_t n, struct rng *r)
{
	struct wire_record got;
	struct wire_log log;
	uint64_t chain;
	uint8_t again[WIRE_MESSAGE_MAX];
	for (size_t len = 0; len < n; len++) {
		uint8_t *cut = malloc(len + 1); // + 1: a size of 0 may give NULL
		memcpy(cut + 1, good, len);
		log.chain = 0;
		assert_int_equal(wire_get_record(cut + 1, len, &got, &log), -EINVAL);
		free(cut);
	}
	uint8_t *b = malloc(n);
	memcpy(b, good, n);
	for (size_t at = 0; at < n; at++) {
		for (unsigned k = 0; k < 6; k++) {
			uint8_t flip = (uint8_t)(1 << rng_below(r, 8));
			b[at] = k < 3 ? good[at] ^ flip : (uint8_t)rng_next(r);
			log.chain = chain = 0;
			int len = wire_get_record(b, n, &got, &log);
			if (len < 0)
				continue;
			assert_true((size_t)len <= n);
			assert_int_equal(wire_put_record(again, sizeof(again), &got, &chain), len);
			assert_memory_equal(again, b, (size_t)len);
		}
		b[at] = good[at];
	}
	free(b);
}

static void prop__records(void **state)
{
	struct rng r = {SEED};
	printf("seed %u\n", SEED);
	for (unsigned i = 0; i < 1500; i++) {
		uint16_t nf_size = (uint16_t)(i % 50 == 0 ? WIRE_NF_MAX : rng_below(&r, 64));
		static const uint8_t parts[] = {0, 1, 2, 3, 7, 7, 7, 7};
		struct wire_record w = wire_random_record(&r, i & 1, parts[i >> 1 & 7], nf_size),
				   got;
		uint8_t b[WIRE_MESSAGE_MAX];
		struct wire_log log = {0};
		uint64_t chain = 0;
		int n = wire_put_record(b, sizeof(b), &w, &chain);
		assert_true(n > 0 && chain == w.chain);
		chain = 0;
		for (int size = 0; size < n; size++)
			assert_int_equal(wire_put_record(b, (size_t)size, &w, &chain), -ENOSPC);
		assert_int_equal(wire_put_record(b, (size_t)n, &w, &chain), n);
		memset(b + n, 0xee, sizeof(b) - (size_t)n);
		assert_int_equal(wire_get_record(b, sizeof(b), &got, &log), n);
		assert_record_equal(&w, &got);
		mutate(b, (size_t)n, &r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(record__whole_bytes_as_documented),
		cmocka_unit_test(record__others_as_documented),
		cmocka_unit_test(record__largest),
		cmocka_unit_test(record__one_form),
		cmocka_unit_test(record__encoder_refuses),
		cmocka_unit_test(state__one_form),
		cmocka_unit_test(prop__records),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
