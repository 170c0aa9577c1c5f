// SPDX-License-Identifier: BSD-3-Clause
// The tables against the sum over every failure, one by one.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/testing/churn.h"

static struct churn rack;

static double at(const struct minchurn_item *item, unsigned node)
{
	for (unsigned t = 0; t < item->n; t++) {
		if (item->node[t] == node)
			return (double)item->bytes[t] / ODDS_ONE;
	}
	return 0;
}

static void compare(enum odds_model model, double slack)
{
	for (uint64_t seed = 1; seed <= 60; seed++) {
		unsigned n = 2 + (unsigned)(seed % 9), k = 1 + (unsigned)(seed % 4);
		churn_draw(&rack, seed, n, k, model, 4);
		for (unsigned c = 0; c < rack.connections; c++) {
			struct minchurn_item item;
			struct minchurn_list naive;
			double bytes[MINCHURN_NODES], all = 0;
			churn_item(&rack, &rack.c[c], &item, &naive);
			churn_enumerate(&rack, &rack.c[c], bytes);
			for (unsigned j = 0; j < n; j++)
				all += j == rack.c[c].master ? 0 : bytes[j];
			for (unsigned j = 0; j < n; j++) {
				if (j == rack.c[c].master && model != ODDS_MODULO)
					continue; // it goes on as before
				if (fabs(at(&item, j) - bytes[j]) > slack * all + 1e-4)
					fail_msg("seed %d, connection %u, node %u: %g, not %g",
						(int)seed, c, j, at(&item, j), bytes[j]);
			}
		}
	}
}

// In 2^-31, with a few products rounded down: a part in a hundred thousand.
static void odds__modulo_is_exact(void **state)
{
	(void)state;
	compare(ODDS_MODULO, 1e-5);
}

static void odds__two_stage_is_exact(void **state)
{
	(void)state;
	compare(ODDS_TWO_STAGE, 1e-5);
}

static void odds__chain_is_exact(void **state)
{
	(void)state;
	compare(ODDS_CHAIN, 1e-5);
}

static void odds__chain_by_hand(void **state)
{
	const uint32_t dies[MINCHURN_NODES] = {ODDS_ONE / 8, ODDS_ONE / 4, ODDS_ONE / 16};
	const struct odds_route r = {.model = ODDS_CHAIN, .now = 1, .n = 2, .then = {0, 2}};
	struct minchurn_item item = {0};
	struct odds o;

	(void)state;
	odds_init(&o, 7, dies, 2);
	assert_true(odds_add(&o, &r, 128, &item));
	assert_int_equal(item.n, 2);
	assert_true(fabs(at(&item, 0) - 128 * 0.25 * 0.875) < 1e-6);
	assert_true(fabs(at(&item, 2) - 128 * 0.25 * 0.125 * 0.9375) < 1e-6);
	odds_init(&o, 7, dies, 1); // one failure at a time: the second is no matter
	item.n = 0;
	assert_true(odds_add(&o, &r, 128, &item));
	assert_int_equal(item.n, 1);
}

static void odds__unknown_nodes_are_refused(void **state)
{
	const uint32_t dies[MINCHURN_NODES] = {[3] = 1000, [9] = 1000};
	struct odds_route r = {.model = ODDS_MODULO, .now = 4, .n = 1};
	struct minchurn_item item = {0};
	struct odds o;

	(void)state;
	odds_init(&o, 1ull << 3 | 1ull << 9, dies, 2);
	assert_false(odds_add(&o, &r, 100, &item));
	r.now = 200;
	assert_false(odds_add(&o, &r, 100, &item));
	r = (struct odds_route){.model = ODDS_MODULO, .now = 3, .n = 2, .then = {250, 250}};
	assert_true(odds_add(&o, &r, 100, &item)); // places that there are not
	assert_int_equal(item.n, 0);
	r = (struct odds_route){.model = ODDS_CHAIN, .now = 3, .n = 2, .then = {5, 250}};
	assert_true(odds_add(&o, &r, 100, &item));
	assert_int_equal(item.n, 0);
	odds_init(&o, 0, dies, 2);
	r.now = 0;
	assert_false(odds_add(&o, &r, 100, &item));
}

// Of more nodes than have room, the likeliest are kept.
static void odds__targets_are_bounded(void **state)
{
	struct minchurn_item item = {0};

	(void)state;
	for (unsigned j = 0; j < MINCHURN_NODES; j++)
		minchurn_target(&item, j, 100 + j * 7 % 64);
	assert_int_equal(item.n, MINCHURN_TARGETS);
	for (unsigned t = 0; t < item.n; t++)
		assert_true(item.bytes[t] >= 100 + 64 - MINCHURN_TARGETS);
	minchurn_target(&item, item.node[3], 5); // one that is there
	assert_int_equal(item.n, MINCHURN_TARGETS);
	assert_int_equal(item.bytes[3], 105 + item.node[3] * 7 % 64);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(odds__modulo_is_exact),
		cmocka_unit_test(odds__two_stage_is_exact),
		cmocka_unit_test(odds__chain_is_exact),
		cmocka_unit_test(odds__chain_by_hand),
		cmocka_unit_test(odds__unknown_nodes_are_refused),
		cmocka_unit_test(odds__targets_are_bounded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
