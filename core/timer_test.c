// SPDX-License-Identifier: BSD-3-Clause
#include "core/timer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include <cmocka.h>

#include "core/rng.h"

#define CAPACITY 64
#define NFS 4

struct bench {
	struct timers ts;
	void *mem;
};

static void bench_init(struct bench *b, tick_t now)
{
	struct arena a = {0};

	memset(b, 0, sizeof(*b));
	timers_init(&b->ts, &a, CAPACITY, now);
	a = (struct arena){.size = a.used, .base = aligned_alloc(64, a.used)};
	memset(a.base, 0, a.size);
	b->mem = a.base;
	timers_init(&b->ts, &a, CAPACITY, now);
}

static unsigned due(struct bench *b, tick_t now)
{
	struct timer t;
	unsigned n = 0;
	while (timers_due(&b->ts, now, &t))
		n++;
	return n;
}

static void timers__comes_up_once_at_its_time(void **state)
{
	struct bench b;
	struct timer t;

	bench_init(&b, 1000);
	assert_true(timers_set(&b.ts, 7, 99, 2, 1010));
	assert_false(timers_due(&b.ts, 1009, &t));
	assert_true(timers_due(&b.ts, 1010, &t));
	assert_int_equal(t.conn, 7);
	assert_int_equal(t.incarnation, 99);
	assert_int_equal(t.nf, 2);
	assert_int_equal(due(&b, 5000), 0);
	assert_int_equal(b.ts.used, 0);
	free(b.mem);
}

static void timers__moves(void **state)
{
	struct bench b;

	bench_init(&b, 0);
	assert_true(timers_set(&b.ts, 1, 1, 0, 10));
	assert_true(timers_set(&b.ts, 1, 1, 0, 500));
	assert_int_equal(b.ts.used, 1);
	assert_int_equal(due(&b, 499), 0);
	assert_true(timers_set(&b.ts, 1, 1, 0, 501));
	assert_int_equal(due(&b, 500), 0);
	assert_int_equal(due(&b, 501), 1);
	free(b.mem);
}

static void timers__goes_with_a_raised_life(void **state)
{
	struct bench b;
	struct timer t;

	bench_init(&b, 0);
	assert_true(timers_set(&b.ts, 1, 5, 0, 10));
	assert_true(timers_set(&b.ts, 1, 5, 1, 10));
	timers_raised(&b.ts, 1, 0, 6);
	timers_raised(&b.ts, 1, 2, 6); // that NF has none
	timers_raised(&b.ts, 2, 0, 6);
	for (unsigned n = 0; n < 2; n++) {
		assert_true(timers_due(&b.ts, 10, &t));
		assert_int_equal(t.incarnation, t.nf == 0 ? 6 : 5);
	}
	free(b.mem);
}

static void timers__cancel_is_of_one_nf(void **state)
{
	struct bench b;
	struct timer t;

	bench_init(&b, 0);
	assert_true(timers_set(&b.ts, 1, 1, 0, 10));
	assert_true(timers_set(&b.ts, 1, 1, 1, 10));
	assert_true(timers_set(&b.ts, 1 + TIMER_HASH, 1, 0, 10));
	timers_cancel(&b.ts, 1, 0);
	timers_cancel(&b.ts, 1, 3); // none is set
	assert_int_equal(b.ts.used, 2);
	assert_true(timers_due(&b.ts, 10, &t));
	assert_false(t.conn == 1 && t.nf == 0);
	assert_int_equal(due(&b, 10), 1);
	free(b.mem);
}

static void timers__full(void **state)
{
	struct bench b;

	bench_init(&b, 0);
	for (unsigned i = 1; i <= CAPACITY; i++)
		assert_true(timers_set(&b.ts, i, 1, 0, 100));
	assert_false(timers_set(&b.ts, CAPACITY + 1, 1, 0, 100));
	assert_true(timers_set(&b.ts, 1, 1, 0, 200)); // moving needs no place
	timers_cancel(&b.ts, 2, 0);
	assert_true(timers_set(&b.ts, CAPACITY + 1, 1, 0, 100));
	assert_int_equal(due(&b, 199), CAPACITY - 1);
	assert_int_equal(due(&b, 200), 1);
	free(b.mem);
}

static void timers__more_than_a_turn_ahead(void **state)
{
	struct bench b;

	bench_init(&b, UINT32_MAX - 100); // ticks wrap on the way
	assert_true(timers_set(&b.ts, 1, 1, 0, 5 * TIMER_SLOTS));
	for (uint32_t i = 0; i < 5 * TIMER_SLOTS + 101; i += 13)
		assert_int_equal(due(&b, UINT32_MAX - 100 + i), 0);
	assert_int_equal(due(&b, 5 * TIMER_SLOTS - 1), 0);
	assert_int_equal(due(&b, 5 * TIMER_SLOTS), 1);
	free(b.mem);
}

static void timers__a_jump_loses_none(void **state)
{
	struct bench b;

	bench_init(&b, 0);
	for (unsigned i = 1; i <= CAPACITY; i++)
		assert_true(timers_set(&b.ts, i, 1, 0, i * 1000));
	assert_int_equal(due(&b, CAPACITY * 1000 - 1), CAPACITY - 1);
	assert_int_equal(due(&b, CAPACITY * 1000), 1);
	free(b.mem);
}

static void timers__set_in_the_past_comes_up_next(void **state)
{
	struct bench b;

	bench_init(&b, 5000);
	assert_true(timers_set(&b.ts, 1, 1, 0, 4000));
	assert_int_equal(due(&b, 5001), 1);
	free(b.mem);
}

// Against a plain array.
static void prop__timers(void **state)
{
	struct rng rng = {.state = (uint64_t)time(NULL)};
	struct bench b;
	tick_t now = (tick_t)rng_next(&rng), at[32][NFS];
	bool set[32][NFS] = {0};

	printf("seed %llu\n", (unsigned long long)rng.state);
	bench_init(&b, now);
	for (unsigned round = 0; round < 20000; round++) {
		unsigned conn = rng_below(&rng, 32), nf = rng_below(&rng, NFS), used = 0;
		tick_t when = now + rng_below(&rng, 3000);
		struct timer t;
		bool placed;
		switch (rng_below(&rng, 4)) {
		case 0:
		case 1:
			placed = timers_set(&b.ts, conn + 1, 1, nf, when);
			for (unsigned i = 0; i < 32 * NFS; i++)
				used += set[i / NFS][i % NFS];
			assert_int_equal(placed, set[conn][nf] || used < CAPACITY);
			if (placed) {
				set[conn][nf] = true;
				at[conn][nf] = when == now ? now + 1 : when;
			}
			break;
		case 2:
			timers_cancel(&b.ts, conn + 1, nf);
			set[conn][nf] = false;
			break;
		default:
			now += rng_below(&rng, rng_below(&rng, 50) == 0 ? 5000 : 40);
			while (timers_due(&b.ts, now, &t)) {
				assert_true(set[t.conn - 1][t.nf]);
				assert_true((int32_t)(now - at[t.conn - 1][t.nf]) >= 0);
				set[t.conn - 1][t.nf] = false;
			}
			for (unsigned i = 0; i < 32 * NFS; i++) {
				if (set[i / NFS][i % NFS])
					assert_true((int32_t)(at[i / NFS][i % NFS] - now) > 0);
			}
			break;
		}
	}
	free(b.mem);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(timers__comes_up_once_at_its_time),
		cmocka_unit_test(timers__moves),
		cmocka_unit_test(timers__goes_with_a_raised_life),
		cmocka_unit_test(timers__cancel_is_of_one_nf),
		cmocka_unit_test(timers__full),
		cmocka_unit_test(timers__more_than_a_turn_ahead),
		cmocka_unit_test(timers__a_jump_loses_none),
		cmocka_unit_test(timers__set_in_the_past_comes_up_next),
		cmocka_unit_test(prop__timers),
	};
	return cmocka_run_group_tests_name("timer", tests, NULL, NULL);
}
