// SPDX-License-Identifier: BSD-3-Clause
#include "sim/events.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/rng.h"

// Pushed and popped in any mixture, they come in the order of time, then of their draw.
static void events__in_order(void **state)
{
	struct rng r = {.state = 1};

	for (unsigned round = 0; round < 200; round++) {
		struct events all = {};
		struct event e, last = {};
		uint64_t floor = 0;
		unsigned pushed = 0, popped = 0;
		while (popped < 500) {
			if (pushed < 500 && (all.n == 0 || rng_below(&r, 5) < 3)) {
				e = (struct event){.at_ns = floor + rng_below(&r, 20),
					.tie = (uint32_t)rng_next(&r),
					.serial = pushed++};
				events_push(&all, &e);
				last.tie = 0; // the new one may stand before those of its time
				continue;
			}
			assert_true(events_pop(&all, &e));
			assert_true(e.at_ns > last.at_ns ||
				    (e.at_ns == last.at_ns && e.tie >= last.tie));
			floor = e.at_ns;
			last = e;
			popped++;
		}
		assert_false(events_pop(&all, &e));
		events_free(&all);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(events__in_order),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
