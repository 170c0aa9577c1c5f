// SPDX-License-Identifier: BSD-3-Clause
#include "tally.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void percentile__of_nothing(void **state)
{
	struct tally t = {0};
	assert_int_equal(tally_percentile_ns(&t, 50), 0);
	tally_free(&t);
}

static void percentile__nearest_rank(void **state)
{
	struct tally t = {0};
	// 1..2000 in an order that is not sorted.
	for (uint64_t i = 0; i < 2000; i++)
		assert_true(tally_add(&t, 1 + i * 7 % 2000));
	assert_int_equal(tally_percentile_ns(&t, 0), 1);
	assert_int_equal(tally_percentile_ns(&t, 50), 1000);
	assert_int_equal(tally_percentile_ns(&t, 99), 1980);
	assert_int_equal(tally_percentile_ns(&t, 100), 2000);
	tally_free(&t);
}

static void percentile__of_one(void **state)
{
	struct tally t = {0};
	assert_true(tally_add(&t, 5));
	for (unsigned percent = 0; percent <= 100; percent++)
		assert_int_equal(tally_percentile_ns(&t, percent), 5);
	tally_free(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(percentile__of_nothing),
		cmocka_unit_test(percentile__nearest_rank),
		cmocka_unit_test(percentile__of_one),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
