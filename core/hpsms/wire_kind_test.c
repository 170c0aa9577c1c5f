// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/hpsms/wire_random.h"

#define SEED 20261125

static struct wire_kind zero(enum wire_kind_op op)
{
	struct wire_kind w;

	memset(&w, 0, sizeof(w));
	w.op = (uint8_t)op;
	return w;
}

static struct wire_kind some_ask(void)
{
	struct wire_kind w = zero(WIRE_KIND_ASK);

	w.key.kind = 0x01020304;
	w.key.tuple.kind = TRIPOD_KIND_SHARE;
	w.key.tuple.proto = 17;
	w.key.tuple.zone = 0x0506;
	w.seq = 0x0708090a;
	w.held = 2;
	w.units = 300;
	w.size = 2;
	w.bytes[0] = 0xaa;
	w.bytes[1] = 0xbb;
	return w;
}

static void kind__bytes_as_documented(void **state)
{
	static const uint8_t ask[] = {
		1, 1, 2, 3, 4, 0x50, 17, 5, 6, 7, 8, 9, 10, 2, 0xac, 2, 2, 0xaa, 0xbb};
	static const uint8_t answer[] = {2, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 9, 5, 1, 0xcc};
	static const uint8_t copy[] = {3, 0, 0, 0, 7, 4, 0, 80, 0, 2, 0, 0, 0, 3, 1, 1, 0xdd, 1, 4,
		1, 0, 0, 0, 5, 0, 0, 0, 6, 0xac, 2};
	static const uint8_t have[] = {4, 1, 2, 3, 4, 5, 6, 7, 8, 0, 2, 0, 0, 0, 3};
	struct wire_kind w = some_ask(), got;
	uint8_t b[64];

	assert_int_equal(wire_put_kind(b, sizeof(b), &w), sizeof(ask));
	assert_memory_equal(b, ask, sizeof(ask));
	w = zero(WIRE_KIND_ANSWER);
	w.hash = 0x0102030405060708;
	w.seq = 9;
	w.units = 5;
	w.size = 1;
	w.bytes[0] = 0xcc;
	assert_int_equal(wire_put_kind(b, sizeof(b), &w), sizeof(answer));
	assert_memory_equal(b, answer, sizeof(answer));
	w = zero(WIRE_KIND_COPY);
	w.key.kind = 7;
	memcpy(&w.key.tuple.sport, "\0\120", 2);
	w.key.tuple.kind = TRIPOD_KIND_SHARE;
	w.epoch = 2;
	w.version = 3;
	w.writer = 1;
	w.size = 1;
	w.bytes[0] = 0xdd;
	w.n_parts = 1;
	w.part[0] = (struct kind_part){.node = 4, .worker = 1, .boot = 5, .seq = 6, .units = 300};
	assert_int_equal(wire_put_kind(b, sizeof(b), &w), sizeof(copy));
	assert_memory_equal(b, copy, sizeof(copy));
	w = zero(WIRE_KIND_HAVE);
	w.hash = 0x0102030405060708;
	w.epoch = 2;
	w.version = 3;
	assert_int_equal(wire_put_kind(b, sizeof(b), &w), sizeof(have));
	assert_memory_equal(b, have, sizeof(have));
	assert_int_equal(wire_get_kind(have, sizeof(have), &got), sizeof(have));
	assert_int_equal(got.version, 3);
}

// One item has one form, and what cannot be is refused.
static void kind__refused(void **state)
{
	struct wire_kind w = some_ask(), got;
	uint8_t b[WIRE_KIND_MAX];
	int n = wire_put_kind(b, sizeof(b), &w);

	assert_int_equal(wire_get_kind(b, (size_t)n, &got), n);
	b[5] |= 128; // no such part of a key
	assert_int_equal(wire_get_kind(b, (size_t)n, &got), -EINVAL);
	b[5] &= 127;
	b[6] = 0; // a protocol that is said to be there
	assert_int_equal(wire_get_kind(b, (size_t)n, &got), -EINVAL);
	b[6] = 17;
	b[7] = b[8] = 0; // a zone
	assert_int_equal(wire_get_kind(b, (size_t)n, &got), -EINVAL);
	wire_put_kind(b, sizeof(b), &w);
	memset(b + 1, 0, 4); // no kind
	assert_int_equal(wire_get_kind(b, (size_t)n, &got), -EINVAL);
	wire_put_kind(b, sizeof(b), &w);
	memset(b + 9, 0, 4); // no number
	assert_int_equal(wire_get_kind(b, (size_t)n, &got), -EINVAL);
	wire_put_kind(b, sizeof(b), &w);
	for (unsigned op = 0; op < 256; op += op == 0 ? 5 : 1) {
		b[0] = (uint8_t)op;
		assert_int_equal(wire_get_kind(b, (size_t)n, &got), -EINVAL);
	}
	w.size = KIND_DATA_MAX + 1;
	assert_int_equal(wire_put_kind(b, sizeof(b), &w), -EINVAL);

	w = zero(WIRE_KIND_COPY);
	w.key = some_ask().key;
	w.n_parts = KIND_PARTS_MAX;
	for (unsigned p = 0; p < KIND_PARTS_MAX; p++)
		w.part[p] = (struct kind_part){.seq = 1, .units = UINT32_MAX};
	assert_true((n = wire_put_kind(b, sizeof(b), &w)) > 0);
	assert_int_equal(wire_get_kind(b, (size_t)n, &got), n);
	w.part[3].node = 64;
	assert_int_equal(wire_put_kind(b, sizeof(b), &w), -EINVAL);
	w.part[3].node = 0;
	w.part[3].worker = 16;
	assert_int_equal(wire_put_kind(b, sizeof(b), &w), -EINVAL);
	w.part[3].worker = 0;
	w.part[3].seq = 0;
	assert_int_equal(wire_put_kind(b, sizeof(b), &w), -EINVAL);
	w.part[3].seq = 1;
	w.writer = 64;
	assert_int_equal(wire_put_kind(b, sizeof(b), &w), -EINVAL);
	w.writer = 0;
	w.n_parts = KIND_PARTS_MAX + 1;
	assert_int_equal(wire_put_kind(b, sizeof(b), &w), -EINVAL);
	// The number of parts stands behind writer and state, which has no bytes.
	size_t at = 1 + 4 + 1 + 1 + 2 + 2 + 4 + 1 + 1;
	assert_int_equal(b[at], KIND_PARTS_MAX);
	b[at]++;
	assert_int_equal(wire_get_kind(b, sizeof(b), &got), -EINVAL);
}

static void prop__kinds(void **state)
{
	struct rng r = {SEED};

	printf("seed %u\n", SEED);
	for (unsigned i = 0; i < 20000; i++) {
		enum wire_kind_op op = (enum wire_kind_op)(1 + i % 4);
		struct wire_kind w = wire_random_kind(&r, op, KIND_PARTS_MAX), got;
		uint8_t b[WIRE_KIND_MAX];
		int n = wire_put_kind(b, sizeof(b), &w);
		assert_in_range(n, 14, op == WIRE_KIND_COPY ? WIRE_KIND_MAX : WIRE_KIND_SMALL);
		assert_int_equal(wire_put_kind(b, (size_t)n - 1, &w), -ENOSPC);
		for (int len = 0; len < n; len += 1 + n / 100)
			assert_int_equal(wire_get_kind(b, (size_t)len, &got), -EINVAL);
		memset(&got, 0, sizeof(got)); // parts that are not there stay as they are
		assert_int_equal(wire_get_kind(b, sizeof(b), &got), n);
		assert_memory_equal(&got.key, &w.key, sizeof(w.key));
		assert_true(got.op == w.op && got.hash == w.hash && got.seq == w.seq);
		assert_true(got.held == w.held && got.units == w.units && got.size == w.size);
		assert_true(got.version == w.version && got.epoch == w.epoch);
		assert_true(got.writer == w.writer && got.n_parts == w.n_parts);
		assert_memory_equal(got.bytes, w.bytes, sizeof(w.bytes));
		assert_memory_equal(got.part, w.part, w.n_parts * sizeof(w.part[0]));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kind__bytes_as_documented),
		cmocka_unit_test(kind__refused),
		cmocka_unit_test(prop__kinds),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
