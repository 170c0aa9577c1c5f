// SPDX-License-Identifier: BSD-3-Clause
// The messages of the index sets, byte by byte.
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/hpsms/wire.h"
#include "core/hpsms/wire_bytes.h"
#include "core/rng.h"

#define ROOM (WIRE_BODY_MAX - WIRE_HEADER_SIZE)

// 7 goes; 16, 20 and 33 come. Their differences less one are 3 and 12, of which 3 lower bits are told as they
// are. From the lowest bit on: 1 110, then 01 001.
static const struct wire_delta sample = {
	.seq = 0x01020304,
	.flags = WIRE_INDEX_PARTIAL,
	.n_answers = 2,
	.answer = {{3, 0xaa}, {63, 0xbb}},
	.n = 4,
	.n_removes = 1,
	.fp = {7, 16, 20, 33},
};

static void delta__bytes_as_documented(void **state)
{
	static const uint8_t want[] = {0x01, 0x02, 0x03, 0x04, 1, 2, 3, 0xaa, 63, 0xbb, 0, 1, 0, 0,
		0, 0, 7, 3, 0, 0, 0, 16, 0x27, 0x01};
	struct wire_delta got, d = sample;
	uint8_t b[64];

	assert_int_equal(wire_put_delta(b, sizeof(b), &d), sizeof(want));
	assert_memory_equal(b, want, sizeof(want));
	assert_int_equal(wire_put_delta(b, sizeof(want) - 1, &d), -ENOSPC);
	assert_int_equal(wire_get_delta(b, sizeof(want), 4, &got), sizeof(want));
	assert_int_equal(got.seq, d.seq);
	assert_int_equal(got.flags, 1);
	assert_int_equal(got.n_answers, 2);
	assert_int_equal(got.answer[1].node, 63);
	assert_int_equal(got.answer[1].round, 0xbb);
	assert_int_equal(got.n, 4);
	assert_int_equal(got.n_removes, 1);
	assert_memory_equal(got.fp, d.fp, 4 * sizeof(d.fp[0]));
	for (size_t len = 0; len < sizeof(want); len++)
		assert_int_equal(wire_get_delta(b, len, 4, &got), -EINVAL);
	assert_int_equal(wire_get_delta(b, sizeof(want), WIRE_DELTA_MAX + 1, &got), -EINVAL);
	// Without changes there is nothing behind the answers; and there may be one list alone.
	assert_int_equal(wire_get_delta(b, sizeof(want), 0, &got), 10);
	assert_int_equal(got.n_removes, 0);
	d.n = d.n_removes = 0;
	assert_int_equal(wire_put_delta(b, sizeof(b), &d), 10);
	for (d.n = 1; d.n <= 4; d.n++) {
		for (unsigned goes = 0; goes < 2; goes++) {
			d.n_removes = goes ? d.n : 0;
			int n = wire_put_delta(b, sizeof(b), &d);
			assert_true(n >= 17);
			assert_int_equal(wire_get_delta(b, (size_t)n, d.n, &got), n);
			assert_int_equal(got.n_removes, d.n_removes);
			assert_memory_equal(got.fp, d.fp, d.n * sizeof(d.fp[0]));
		}
	}
}

static void delta__one_form_alone(void **state)
{
	static const struct {
		unsigned at;
		uint8_t value;
	} wrong[] = {
		{4, 2}, // a flag that there is not
		{5, 65}, {6, 64}, {6, 63}, {8, 3}, // answers
		{10, 1}, {11, 5}, // more that go than there are
		{12, 1}, {17, 4}, {17, 32}, {17, 255}, // other lower bits than an encoder takes
		{16, 0}, {21, 0}, // no fingerprint
		{23, 0x05}, {23, 0x81}, // bits behind the last
		{23, 0}, // a quotient that does not end
	};
	struct wire_delta got;
	uint8_t good[64], b[64];
	int n = wire_put_delta(good, sizeof(good), &sample);

	assert_int_equal(n, 24);
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		memcpy(b, good, sizeof(b));
		b[wrong[i].at] = wrong[i].value;
		assert_int_equal(wire_get_delta(b, (size_t)n, 4, &got), -EINVAL);
	}
	struct wire_delta bad[8] = {sample, sample, sample, sample, sample, sample, sample, sample};
	bad[0].fp[0] = 0;
	bad[1].fp[1] = 0;
	bad[2].fp[2] = 16; // twice
	bad[3].fp[2] = 34; // not ascending
	bad[4].n_removes = 5;
	bad[5].answer[1].node = 3;
	bad[6].flags = 2;
	bad[7].n = WIRE_DELTA_MAX + 1;
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(wire_put_delta(b, sizeof(b), &bad[i]), -EINVAL);
}

// Differences of any size, the longest that there can be, and what would lead beyond 32 bits.
static void delta__far_apart(void **state)
{
	static const uint32_t far[][3] = {{1, 2, 3}, {1, UINT32_MAX - 1, UINT32_MAX},
		{1, 2, UINT32_MAX}, {UINT32_MAX - 2, UINT32_MAX - 1, UINT32_MAX}};
	uint8_t b[64];

	for (unsigned i = 0; i < sizeof(far) / sizeof(far[0]); i++) {
		struct wire_delta got, d = {.n = 3};
		memcpy(d.fp, far[i], sizeof(far[i]));
		int n = wire_put_delta(b, sizeof(b), &d);
		assert_true(n > 0);
		assert_int_equal(wire_get_delta(b, (size_t)n, 3, &got), n);
		assert_memory_equal(got.fp, d.fp, sizeof(far[i]));
		wire_put32(b + 9, UINT32_MAX - 1); // what comes first
		assert_int_equal(wire_get_delta(b, (size_t)n, 3, &got), -EINVAL);
	}
}

// What takes the room that there is, fits with every answer that there can be.
static void delta__fills_the_room(void **state)
{
	struct rng r = {.state = 5};
	uint8_t b[ROOM];

	for (unsigned shift = 0; shift < 23; shift++) {
		struct wire_delta got, d = {.n_answers = 64};
		for (unsigned k = 0; k < 64; k++)
			d.answer[k].node = (uint8_t)k;
		uint32_t fp = 1;
		for (unsigned k = 0; k < WIRE_DELTA_MAX; k++) {
			fp = k == WIRE_DELTA_MAX / 4 ? 1 : fp + 1 + rng_below(&r, 1u << shift);
			d.fp[k] = fp;
		}
		d.n_removes = WIRE_DELTA_MAX / 4;
		d.n = WIRE_DELTA_MAX;
		while (wire_delta_size(d.fp, d.n_removes, d.n) > WIRE_DELTA_ROOM)
			d.n--;
		assert_true(d.n >= 384 - shift);
		int size = wire_put_delta(b, sizeof(b), &d);
		assert_int_equal(size, 6 + 128 + wire_delta_size(d.fp, d.n_removes, d.n));
		assert_int_equal(wire_get_delta(b, (size_t)size, d.n, &got), size);
		assert_memory_equal(got.fp, d.fp, d.n * sizeof(d.fp[0]));
	}
	assert_int_equal(wire_delta_size(NULL, 0, 0), 0);
}

static void snapshot__bytes_as_documented(void **state)
{
	static const uint8_t want[] = {
		0, 0, 0, 9, 0, 0, 1, 0, 0, 0, 0, 0x10, 0, 2, 0x11, 0x22, 0x33, 0x44};
	struct wire_snapshot got,
		s = {.seq = 9, .total = 256, .first = 16, .places = 2, .n = 1, .fp = {0x11223344}};
	uint8_t b[64];

	assert_int_equal(wire_put_snapshot(b, sizeof(b), &s), sizeof(want));
	assert_memory_equal(b, want, sizeof(want));
	assert_int_equal(wire_put_snapshot(b, sizeof(want) - 1, &s), -ENOSPC);
	assert_int_equal(wire_get_snapshot(b, sizeof(want), 1, &got), sizeof(want));
	assert_int_equal(got.seq, 9);
	assert_int_equal(got.total, 256);
	assert_int_equal(got.first, 16);
	assert_int_equal(got.places, 2);
	assert_int_equal(got.fp[0], 0x11223344);
	for (size_t len = 0; len < sizeof(want); len++)
		assert_int_equal(wire_get_snapshot(b, len, 1, &got), -EINVAL);
	b[13] = 0; // no places
	assert_int_equal(wire_get_snapshot(b, sizeof(want), 1, &got), -EINVAL);
	b[13] = 241; // one more than there are
	assert_int_equal(wire_get_snapshot(b, sizeof(want), 1, &got), -EINVAL);
	b[13] = 240;
	assert_int_equal(wire_get_snapshot(b, sizeof(want), 1, &got), sizeof(want));
	b[10] = 1; // behind the end
	assert_int_equal(wire_get_snapshot(b, sizeof(want), 1, &got), -EINVAL);
	s.fp[0] = 0;
	assert_int_equal(wire_put_snapshot(b, sizeof(b), &s), -EINVAL);
}

static void ask__ranges(void **state)
{
	static const uint8_t want[] = {1, 0xfe, 0, 0, 0, 0};
	struct wire_ask got, a = {.what = WIRE_ASK_ROUND, .round = 0xfe};
	uint8_t b[8];

	assert_int_equal(wire_put_ask(b, sizeof(b), &a), 6);
	assert_memory_equal(b, want, 6);
	assert_int_equal(wire_put_ask(b, 5, &a), -ENOSPC);
	assert_int_equal(wire_get_ask(b, 5, &got), -EINVAL);
	assert_int_equal(wire_get_ask(b, 6, &got), 6);
	assert_int_equal(got.round, 0xfe);
	b[5] = 1; // a round begins nowhere
	assert_int_equal(wire_get_ask(b, 6, &got), -EINVAL);
	for (unsigned what = 0; what < 6; what++) {
		bool right = what == WIRE_ASK_DELTAS || what == WIRE_ASK_SNAPSHOT;
		a = (struct wire_ask){.what = (uint8_t)what, .from = 77};
		assert_int_equal(wire_put_ask(b, sizeof(b), &a), right ? 6 : -EINVAL);
		a.round = 1;
		assert_int_equal(wire_put_ask(b, sizeof(b), &a), -EINVAL);
	}
}

static void prop__round_trip(void **state)
{
	struct rng r = {.state = 77};
	uint8_t b[ROOM];

	printf("seed 77\n");
	for (unsigned i = 0; i < 3000; i++) {
		struct wire_delta d = {.seq = (uint32_t)rng_next(&r)}, e;
		struct wire_snapshot s = {.seq = (uint32_t)rng_next(&r), .total = 100000}, t;
		unsigned most = i % 50 == 0 ? 360 : rng_below(&r, 60);
		uint32_t step = UINT32_MAX / (most + 1) >> rng_below(&r, 24);
		d.n_removes = (uint16_t)rng_below(&r, most + 1);
		for (uint32_t fp = 0; d.n < most; d.n++) {
			fp = (d.n == d.n_removes ? 0 : fp) + 1 + rng_below(&r, step + 1);
			d.fp[d.n] = fp;
		}
		for (unsigned node = 0; node < 64; node++) {
			if (i % 50 == 0 || rng_below(&r, 8) == 0) {
				d.answer[d.n_answers].node = (uint8_t)node;
				d.answer[d.n_answers++].round = (uint8_t)rng_next(&r);
			}
		}
		int n = wire_put_delta(b, sizeof(b), &d);
		assert_true(n > 0);
		assert_int_equal(wire_get_delta(b, sizeof(b), d.n, &e), n);
		assert_memory_equal(d.fp, e.fp, d.n * sizeof(d.fp[0]));
		assert_int_equal(d.n_removes, e.n_removes);
		assert_memory_equal(d.answer, e.answer, d.n_answers * 2u);

		s.n = (uint16_t)(i % 50 == 0 ? WIRE_SNAPSHOT_MAX : rng_below(&r, 60));
		s.first = rng_below(&r, 90000);
		s.places = (uint16_t)(1 + rng_below(&r, 10000));
		for (unsigned k = 0; k < s.n; k++)
			s.fp[k] = (uint32_t)rng_next(&r) | 1;
		n = wire_put_snapshot(b, sizeof(b), &s);
		assert_true(n > 0);
		assert_int_equal(wire_get_snapshot(b, sizeof(b), s.n, &t), n);
		assert_memory_equal(s.fp, t.fp, s.n * sizeof(s.fp[0]));
		assert_true(t.first == s.first && t.places == s.places);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(delta__bytes_as_documented),
		cmocka_unit_test(delta__one_form_alone),
		cmocka_unit_test(delta__far_apart),
		cmocka_unit_test(delta__fills_the_room),
		cmocka_unit_test(snapshot__bytes_as_documented),
		cmocka_unit_test(ask__ranges),
		cmocka_unit_test(prop__round_trip),
	};
	return cmocka_run_group_tests_name("wire_index", tests, NULL, NULL);
}
