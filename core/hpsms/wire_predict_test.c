// SPDX-License-Identifier: BSD-3-Clause
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/hpsms/wire.h"
#include "core/rng.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SEED 715

static struct wire_header header(uint8_t type)
{
	return (struct wire_header){
		.type = type,
		.length = WIRE_HEADER_SIZE + WIRE_TAG_SIZE,
		.from_node = 3,
		.from_worker = 1,
		.to_node = WIRE_ANY,
		.to_worker = WIRE_ANY,
		.count = 1,
		.cluster = 7,
		.boot = 9,
		.counter = 11,
	};
}

// A question goes to whoever gets it, an answer to the worker that has asked.
static void header__of_both(void **state)
{
	uint8_t b[WIRE_HEADER_SIZE];
	struct wire_header h = header(WIRE_PREDICATE);

	assert_int_equal(wire_put_header(b, sizeof(b), &h), WIRE_HEADER_SIZE);
	h.count = 2;
	assert_int_equal(wire_put_header(b, sizeof(b), &h), -EINVAL);
	h = header(WIRE_PREDICATE);
	h.to_node = 2;
	assert_int_equal(wire_put_header(b, sizeof(b), &h), -EINVAL);
	h = header(WIRE_PREDICATE);
	h.to_worker = 0;
	assert_int_equal(wire_put_header(b, sizeof(b), &h), -EINVAL);
	h = header(WIRE_PREDICATE);
	h.seq = 1;
	assert_int_equal(wire_put_header(b, sizeof(b), &h), -EINVAL);

	h = header(WIRE_CONFIRM);
	assert_int_equal(wire_put_header(b, sizeof(b), &h), -EINVAL);
	h.to_node = 2;
	assert_int_equal(wire_put_header(b, sizeof(b), &h), -EINVAL);
	h.to_worker = 0;
	assert_int_equal(wire_put_header(b, sizeof(b), &h), WIRE_HEADER_SIZE);
	h.count = 90;
	assert_int_equal(wire_put_header(b, sizeof(b), &h), WIRE_HEADER_SIZE);
	h.count = 0;
	assert_int_equal(wire_put_header(b, sizeof(b), &h), -EINVAL);
}

static void items__bytes_as_documented(void **state)
{
	static const uint8_t want[WIRE_PREDICATE_SIZE] = {
		1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 0xa, 0xb, 0xc, 0xd, 64};
	static const uint8_t answer[WIRE_CONFIRM_SIZE] = {
		1, 2, 3, 4, 5, 6, 7, 8, 0xa, 0xb, 0xc, 0xd, 64, 5};
	struct wire_predicate p = {0x0102030405060708, 0x090a0b0c0d0e0f10, 0x0a0b0c0d, 64}, q;
	struct wire_confirm c = {p.nonce, p.epoch, p.group, 5}, d;
	uint8_t b[WIRE_PREDICATE_SIZE];

	assert_int_equal(wire_put_predicate(b, sizeof(b), &p), sizeof(want));
	assert_memory_equal(b, want, sizeof(want));
	assert_int_equal(wire_put_predicate(b, sizeof(b) - 1, &p), -ENOSPC);
	assert_int_equal(wire_get_predicate(b, sizeof(b), &q), sizeof(want));
	assert_true(q.nonce == p.nonce && q.hash == p.hash && q.epoch == p.epoch);
	assert_int_equal(q.group, 64);
	assert_int_equal(wire_put_confirm(b, sizeof(answer), &c), sizeof(answer));
	assert_memory_equal(b, answer, sizeof(answer));
	assert_int_equal(wire_put_confirm(b, sizeof(answer) - 1, &c), -ENOSPC);
	assert_int_equal(wire_get_confirm(b, sizeof(b), &d), sizeof(answer));
	assert_true(d.nonce == c.nonce && d.epoch == c.epoch && d.group == c.group);
	assert_int_equal(d.place, 5);
	for (size_t len = 0; len < sizeof(want); len++)
		assert_int_equal(wire_get_predicate(want, len, &q), -EINVAL);
	for (size_t len = 0; len < sizeof(answer); len++)
		assert_int_equal(wire_get_confirm(answer, len, &d), -EINVAL);
}

static void items__wrong_fields(void **state)
{
	struct wire_predicate p = {.nonce = 1, .group = 65};
	struct wire_confirm c = {.nonce = 0};
	uint8_t b[WIRE_PREDICATE_SIZE] = {[7] = 1, [12] = 65, [20] = 65};

	assert_int_equal(wire_put_predicate(b, sizeof(b), &p), -EINVAL); // no such group
	assert_int_equal(wire_get_predicate(b, sizeof(b), &p), -EINVAL);
	assert_int_equal(wire_get_confirm(b, sizeof(b), &c), -EINVAL);
	b[12] = b[20] = 64;
	assert_int_equal(wire_get_predicate(b, sizeof(b), &p), WIRE_PREDICATE_SIZE);
	assert_int_equal(wire_get_confirm(b, sizeof(b), &c), WIRE_CONFIRM_SIZE);
	b[13] = 64; // no such place
	assert_int_equal(wire_get_confirm(b, sizeof(b), &c), -EINVAL);
	b[13] = 63;
	assert_int_equal(wire_get_confirm(b, sizeof(b), &c), WIRE_CONFIRM_SIZE);
	c.place = 64;
	assert_int_equal(wire_put_confirm(b, sizeof(b), &c), -EINVAL);
	b[7] = 0; // no nonce
	assert_int_equal(wire_get_predicate(b, sizeof(b), &p), -EINVAL);
	assert_int_equal(wire_get_confirm(b, sizeof(b), &c), -EINVAL);
	c = (struct wire_confirm){0};
	p = (struct wire_predicate){0};
	assert_int_equal(wire_put_confirm(b, sizeof(b), &c), -EINVAL);
	assert_int_equal(wire_put_predicate(b, sizeof(b), &p), -EINVAL);
}

// Whatever is made of a message, what decodes encodes to the same bytes (the fuzz target's check).
static void prop__mutated(void **state)
{
	struct rng r = {.state = SEED};

	printf("seed %u\n", SEED);
	for (unsigned i = 0; i < 20000; i++) {
		uint8_t b[WIRE_HEADER_SIZE + 3 * WIRE_PREDICATE_SIZE + WIRE_TAG_SIZE] = {0};
		struct wire_header h = header(i & 1 ? WIRE_PREDICATE : WIRE_CONFIRM);
		uint16_t at = WIRE_HEADER_SIZE;
		if (h.type == WIRE_CONFIRM)
			h.to_node = h.to_worker = 2;
		h.count = (uint16_t)(h.type == WIRE_CONFIRM ? 1 + rng_below(&r, 3) : 1);
		for (unsigned n = 0; n < h.count; n++) {
			struct wire_predicate p = {rng_next(&r) | 1, rng_next(&r),
				(uint32_t)rng_next(&r), (uint8_t)rng_below(&r, 65)};
			struct wire_confirm c = {
				p.nonce, p.epoch, p.group, (uint8_t)rng_below(&r, 64)};
			int size = h.type == WIRE_PREDICATE
					   ? wire_put_predicate(b + at, sizeof(b) - at, &p)
					   : wire_put_confirm(b + at, sizeof(b) - at, &c);
			assert_true(size > 0);
			at += (uint16_t)size;
		}
		h.length = at + WIRE_TAG_SIZE;
		assert_int_equal(wire_put_header(b, sizeof(b), &h), WIRE_HEADER_SIZE);
		LLVMFuzzerTestOneInput(b, h.length);
		for (unsigned n = rng_below(&r, 4); n > 0; n--)
			b[rng_below(&r, h.length)] = (uint8_t)rng_next(&r);
		LLVMFuzzerTestOneInput(b, h.length - rng_below(&r, 8));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(header__of_both),
		cmocka_unit_test(items__bytes_as_documented),
		cmocka_unit_test(items__wrong_fields),
		cmocka_unit_test(prop__mutated),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
