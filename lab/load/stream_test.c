// SPDX-License-Identifier: BSD-3-Clause
#include "stream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

// However a stream is cut into pieces, its bytes are the same.
static void fill__pieces_are_the_whole(void **state)
{
	uint8_t whole[4096], piece[64];
	stream_fill(7, 1000, whole, sizeof(whole));
	for (size_t at = 0; at < sizeof(whole) - sizeof(piece); at += 5) {
		size_t len = 1 + at % sizeof(piece);
		stream_fill(7, 1000 + at, piece, len);
		assert_memory_equal(piece, whole + at, len);
	}
}

static void fill__streams_differ(void **state)
{
	uint8_t a[64], b[64];
	stream_fill(1, 0, a, sizeof(a));
	stream_fill(2, 0, b, sizeof(b));
	assert_memory_not_equal(a, b, 8);
	stream_fill(1, 8, b, sizeof(b));
	assert_memory_not_equal(a, b, 8);
	stream_fill(stream_answer(1), 0, b, sizeof(b));
	assert_memory_not_equal(a, b, 8);
}

static void match__finds_every_flipped_bit(void **state)
{
	uint8_t data[2100];
	stream_fill(3, 77, data, sizeof(data));
	assert_int_equal(stream_match(3, 77, data, sizeof(data)), sizeof(data));
	for (size_t at = 0; at < sizeof(data); at++) {
		uint8_t bit = (uint8_t)(1u << at % 8);
		data[at] ^= bit;
		assert_int_equal(stream_match(3, 77, data, sizeof(data)), at);
		data[at] ^= bit;
	}
}

static void match__sees_loss_and_doubling(void **state)
{
	uint8_t data[256];
	stream_fill(3, 0, data, sizeof(data));
	assert_true(stream_match(3, 1, data, sizeof(data)) < 8);
	memmove(data + 101, data + 100, sizeof(data) - 101);
	size_t matched = stream_match(3, 0, data, sizeof(data));
	assert_true(matched > 100 && matched < 110);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fill__pieces_are_the_whole),
		cmocka_unit_test(fill__streams_differ),
		cmocka_unit_test(match__finds_every_flipped_bit),
		cmocka_unit_test(match__sees_loss_and_doubling),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
