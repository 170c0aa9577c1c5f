// SPDX-License-Identifier: BSD-3-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/parse.h"
#include "core/rng.h"

static void checksum__rfc1071_example(void **state)
{
	const uint8_t data[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7},
		      want[] = {0xdd, 0xf2};
	uint16_t sum = checksum_partial(data, sizeof(data), 0);
	assert_memory_equal(&sum, want, 2);
}

// By the definition, a byte at a time, for every length, place and split.
static void prop__definition(void **state)
{
	struct rng r = {1071};
	printf("seed 1071\n");
	uint8_t data[1600];
	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(rng_below(&r, 4) ? 0xff : rng_next(&r));
	for (unsigned i = 0; i < 3000; i++) {
		size_t from = rng_below(&r, 64), len = rng_below(&r, 1500);
		uint32_t sum = 0;
		for (size_t j = 0; j < len; j++) {
			sum += j & 1 ? data[from + j] : (uint32_t)data[from + j] << 8;
			sum = (sum & 0xffff) + (sum >> 16);
		}
		const uint8_t want[2] = {(uint8_t)(sum >> 8), (uint8_t)sum};
		uint16_t got = checksum_partial(data + from, len, 0);
		assert_memory_equal(&got, want, 2);
		size_t split = rng_below(&r, (uint32_t)len + 1) & ~1u;
		got = checksum_partial(data + from, split, 0);
		got = checksum_partial(data + from + split, len - split, got);
		assert_memory_equal(&got, want, 2);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(checksum__rfc1071_example),
		cmocka_unit_test(prop__definition),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
