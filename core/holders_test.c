// SPDX-License-Identifier: BSD-3-Clause
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/holders.h"
#include "core/rng.h"

#define SEED 48

// The same with a whole mask for each mark.
struct model {
	uint64_t holders, mark[HOLDER_MARKS];
};

static void model_add(struct model *m, uint64_t nodes)
{
	for (nodes &= ~m->holders; nodes != 0; nodes &= nodes - 1) {
		if (__builtin_popcountll(m->holders) < HOLDERS_MAX)
			m->holders |= nodes & -nodes;
	}
}

static void assert_same(const struct conn_repl *r, const struct model *m)
{
	assert_true(r->holders == m->holders);
	for (unsigned k = 0; k < HOLDER_MARKS; k++) {
		assert_true(holders_with(r, k) == m->mark[k]);
		for (unsigned node = 0; node < 64; node++)
			assert_int_equal(holder_is(r, k, node), m->mark[k] >> node & 1);
	}
}

static void prop__marks_follow_their_nodes(void **state)
{
	struct rng rng = {SEED};
	struct conn_repl r = {0};
	struct model m = {0};
	unsigned full = 0;

	printf("seed %u\n", SEED);
	for (unsigned n = 0; n < 200000; n++) {
		unsigned few = rng_below(&rng, 4);
		uint64_t nodes = rng_next(&rng) & rng_next(&rng) & rng_next(&rng);
		enum holder_mark k = rng_below(&rng, HOLDER_MARKS);
		if (few > 0)
			nodes = 1ull << rng_below(&rng, 64);
		switch (rng_below(&rng, 5)) {
		case 0: {
			uint64_t left = holders_add(&r, nodes);
			model_add(&m, nodes);
			assert_true(left == (nodes & ~m.holders));
			full += left != 0;
			break;
		}
		case 1:
			holders_remove(&r, nodes);
			m.holders &= ~nodes;
			for (unsigned j = 0; j < HOLDER_MARKS; j++)
				m.mark[j] &= ~nodes;
			break;
		case 2:
			holders_mark(&r, k, nodes);
			m.mark[k] |= nodes & m.holders;
			break;
		case 3:
			holders_unmark(&r, k, nodes);
			m.mark[k] &= ~nodes;
			break;
		default:
			holders_mark_only(&r, k, nodes);
			m.mark[k] = nodes & m.holders;
			break;
		}
		assert_same(&r, &m);
	}
	assert_true(full > 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(prop__marks_follow_their_nodes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
