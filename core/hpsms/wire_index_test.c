// SPDX-License-Identifier: BSD-3-Clause
// The messages of the index sets, byte by byte.
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/hpsms/wire.h"
#include "core/rng.h"

#define ROOM (WIRE_BODY_MAX - WIRE_HEADER_SIZE)

static void delta__bytes_as_documented(void **state)
{
	static const uint8_t want[] = {0x01, 0x02, 0x03, 0x04, 1, 2, 3, 0xaa, 63, 0xbb, 0x02, 0, 0,
		0, 2, 0x80, 0, 0, 0x01};
	struct wire_delta got, d = {
				       .seq = 0x01020304,
				       .flags = WIRE_INDEX_PARTIAL,
				       .n_answers = 2,
				       .answer = {{3, 0xaa}, {63, 0xbb}},
				       .n = 2,
				       .removes = {2},
				       .fp = {2, 0x80000001},
			       };
	uint8_t b[64];

	assert_int_equal(wire_put_delta(b, sizeof(b), &d), sizeof(want));
	assert_memory_equal(b, want, sizeof(want));
	assert_int_equal(wire_put_delta(b, sizeof(want) - 1, &d), -ENOSPC);
	assert_int_equal(wire_get_delta(b, sizeof(want), 2, &got), sizeof(want));
	assert_int_equal(got.seq, d.seq);
	assert_int_equal(got.flags, 1);
	assert_int_equal(got.n_answers, 2);
	assert_int_equal(got.answer[1].node, 63);
	assert_int_equal(got.answer[1].round, 0xbb);
	assert_int_equal(got.n, 2);
	assert_int_equal(got.removes[0], 2);
	assert_int_equal(got.fp[1], 0x80000001);
	for (size_t len = 0; len < sizeof(want); len++)
		assert_int_equal(wire_get_delta(b, len, 2, &got), -EINVAL);
	assert_int_equal(wire_get_delta(b, sizeof(want), WIRE_DELTA_MAX + 1, &got), -EINVAL);
}

static void delta__one_form_alone(void **state)
{
	static const struct {
		unsigned at;
		uint8_t value;
	} wrong[] = {{4, 2}, {5, 65}, {6, 64}, {6, 63}, {8, 3}, {10, 0x04}, {10, 0x80}, {14, 0}};
	struct wire_delta got, d = {
				       .n_answers = 2,
				       .answer = {{3, 1}, {7, 1}},
				       .n = 2,
				       .fp = {2, 5},
			       };
	uint8_t good[64], b[64];
	int n = wire_put_delta(good, sizeof(good), &d);

	assert_int_equal(n, 19);
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		memcpy(b, good, sizeof(b));
		b[wrong[i].at] = wrong[i].value;
		assert_int_equal(wire_get_delta(b, (size_t)n, 2, &got), -EINVAL);
	}
	struct wire_delta bad = d;
	bad.fp[1] = 0;
	assert_int_equal(wire_put_delta(b, sizeof(b), &bad), -EINVAL);
	bad = d;
	bad.removes[0] = 4;
	assert_int_equal(wire_put_delta(b, sizeof(b), &bad), -EINVAL);
	bad = d;
	bad.answer[1].node = 3;
	assert_int_equal(wire_put_delta(b, sizeof(b), &bad), -EINVAL);
	bad = d;
	bad.flags = 2;
	assert_int_equal(wire_put_delta(b, sizeof(b), &bad), -EINVAL);
	bad = d;
	bad.n = WIRE_DELTA_MAX + 1;
	assert_int_equal(wire_put_delta(b, sizeof(b), &bad), -EINVAL);
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
		d.n = (uint16_t)(i % 50 == 0 ? WIRE_DELTA_MAX : rng_below(&r, 60));
		for (unsigned k = 0; k < d.n; k++) {
			d.fp[k] = (uint32_t)rng_next(&r) | 1;
			d.removes[k / 8] |= (uint8_t)(rng_below(&r, 2) << k % 8);
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
		assert_memory_equal(d.removes, e.removes, (d.n + 7u) / 8);
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
		cmocka_unit_test(snapshot__bytes_as_documented),
		cmocka_unit_test(ask__ranges),
		cmocka_unit_test(prop__round_trip),
	};
	return cmocka_run_group_tests_name("wire_index", tests, NULL, NULL);
}
