// SPDX-License-Identifier: BSD-3-Clause
// What every placement keeps, whatever it is told; and that it is a good one, where all can be tried.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/testing/churn.h"

static struct churn rack;
static struct minchurn batch, second;
static struct minchurn_list naive[MINCHURN_BATCH];

static unsigned count_of(uint64_t set)
{
	return (unsigned)__builtin_popcountll(set);
}

// All connections of the rack, or the first 64, as one batch.
static void fill_batch(struct minchurn *m)
{
	m->n = 0;
	for (unsigned c = 0; c < rack.connections && m->n < MINCHURN_BATCH; c++) {
		churn_item(&rack, &rack.c[c], &m->item[m->n], &naive[m->n]);
		m->n++;
	}
	memset(m->load, 0, sizeof(m->load));
}

static void check(const struct minchurn *m)
{
	uint64_t mine[MINCHURN_NODES] = {0};

	for (unsigned c = 0; c < m->n; c++) {
		const struct minchurn_item *item = &m->item[c];
		uint64_t may = item->allowed & ~item->fixed;
		unsigned want = item->add < count_of(may) ? item->add : count_of(may);
		assert_int_equal(item->chosen & ~may, 0);
		assert_int_equal(count_of(item->chosen), want);
		for (unsigned t = 0; t < item->n; t++) {
			if (!((item->fixed | item->chosen) >> item->node[t] & 1))
				mine[item->node[t]] += item->bytes[t];
		}
	}
	assert_memory_equal(mine, m->mine, sizeof(mine));
}

static uint64_t highest(const struct minchurn *m)
{
	uint64_t top = 0;

	for (unsigned j = 0; j < MINCHURN_NODES; j++)
		top = m->load[j] + m->mine[j] > top ? m->load[j] + m->mine[j] : top;
	return top;
}

static void solve_all_ways(struct minchurn *m)
{
	minchurn_solve(m);
	check(m);
	minchurn_first(m, naive);
	check(m);
	minchurn_random(m);
	check(m);
}

// Any rack, some nodes dead, some connections with too many copies already.
static void minchurn__keeps_the_constraints(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 200; seed++) {
		struct rng r = {.state = seed};
		unsigned n = 2 + rng_below(&r, 47), k = rng_below(&r, 5);
		churn_draw(&rack, seed, n, k, rng_below(&r, 3), 1 + rng_below(&r, 4));
		fill_batch(&batch);
		for (unsigned c = 0; c < batch.n; c++) {
			if (rng_below(&r, 3) == 0)
				batch.item[c].allowed &= rng_next(&r);
			if (rng_below(&r, 5) == 0)
				batch.item[c].fixed |= rng_next(&r) & rng_next(&r);
			if (rng_below(&r, 7) == 0)
				batch.item[c].n = 0; // nothing is known of it
		}
		for (unsigned j = 0; j < MINCHURN_NODES; j++)
			batch.load[j] = rng_next(&r) >> rng_below(&r, 64) & (MINCHURN_LOAD_MAX - 1);
		solve_all_ways(&batch);
	}
}

static void minchurn__small_racks(void **state)
{
	(void)state;
	for (unsigned k = 0; k <= 4; k++) {
		for (unsigned n = 2; n <= 5; n++) { // N = 2, N = k + 1, and fewer
			churn_draw(&rack, n * 10 + k, n, k, ODDS_MODULO, 8);
			fill_batch(&batch);
			solve_all_ways(&batch);
			if (n <= k + 1) { // all have all
				minchurn_solve(&batch);
				assert_int_equal(highest(&batch), 0);
			}
		}
	}
	batch.n = 0;
	solve_all_ways(&batch);
}

static void minchurn__the_same_again(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		churn_draw(&rack, seed, 24, 2, ODDS_MODULO, 3);
		fill_batch(&batch);
		minchurn_solve(&batch);
		memset(&second, 0xa5, sizeof(second)); // nothing of what was there before matters
		fill_batch(&second);
		for (unsigned c = 0; c < second.n; c++)
			second.item[c].chosen = ~0ull;
		minchurn_solve(&second);
		for (unsigned c = 0; c < batch.n; c++)
			assert_int_equal(batch.item[c].chosen, second.item[c].chosen);
	}
}

// ---- Against all placements there are ----

static uint64_t best_of_all(struct minchurn *m, unsigned c)
{
	struct minchurn_item *item = &m->item[c];
	uint64_t best = ~0ull, may = item->allowed & ~item->fixed;

	if (c == m->n)
		return highest(m);
	for (uint64_t set = may;; set = (set - 1) & may) {
		if (count_of(set) == item->add) {
			for (unsigned t = 0; t < item->n; t++)
				m->mine[item->node[t]] += (item->fixed | set) >> item->node[t] & 1
								  ? 0
								  : item->bytes[t];
			uint64_t top = best_of_all(m, c + 1);
			best = top < best ? top : best;
			for (unsigned t = 0; t < item->n; t++)
				m->mine[item->node[t]] -= (item->fixed | set) >> item->node[t] & 1
								  ? 0
								  : item->bytes[t];
		}
		if (set == 0)
			return best;
	}
}

static void minchurn__near_the_best_of_all(void **state)
{
	unsigned exact = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= 150; seed++) {
		struct rng r = {.state = seed};
		churn_draw(&rack, seed, 5, 2, ODDS_MODULO, 1);
		fill_batch(&batch);
		for (unsigned c = 0; c < batch.n; c++) {
			batch.item[c].fixed = 1ull << rack.c[c].master;
			batch.item[c].add = 2;
		}
		for (unsigned j = 0; j < 5; j++)
			batch.load[j] = (uint64_t)rng_below(&r, 100) << 24;
		memset(batch.mine, 0, sizeof(batch.mine));
		uint64_t best = best_of_all(&batch, 0);
		minchurn_solve(&batch);
		assert_true(highest(&batch) >= best);
		exact += highest(&batch) == best;
		if (highest(&batch) > best + best / 5)
			fail_msg("seed %d: %llu, best is %llu", (int)seed,
				(unsigned long long)highest(&batch), (unsigned long long)best);
	}
	printf("%u of 150 are the best that there is\n", exact);
	assert_in_range(exact, 140, 150);
}

// ---- Nodes that hear each other ----

static uint64_t placed[MINCHURN_NODES][MINCHURN_NODES], at_tell[MINCHURN_NODES][MINCHURN_NODES];
static uint16_t told[MINCHURN_NODES][MINCHURN_NODES];

static void tell(unsigned n, unsigned i)
{
	for (unsigned j = 0; j < n; j++) {
		told[i][j] = minchurn_pack(placed[i][j]);
		at_tell[i][j] = placed[i][j];
	}
}

// Each node places batch after batch. The highest load at the end, in parts of a byte.
static uint64_t all_place(unsigned n, unsigned hears_every)
{
	uint64_t top;

	memset(placed, 0, sizeof(placed));
	memset(at_tell, 0, sizeof(at_tell));
	memset(told, 0, sizeof(told));
	for (unsigned b = 0; b < 12; b++) {
		for (unsigned i = 0; i < n; i++) {
			batch.n = 0;
			for (unsigned c = 0; c < rack.connections; c++) {
				if (rack.c[c].master == i && (c + b) % 2 == 0 && batch.n < 16)
					churn_item(
						&rack, &rack.c[c], &batch.item[batch.n++], naive);
			}
			for (unsigned j = 0; j < n; j++) {
				uint64_t all = 0;
				for (unsigned o = 0; o < n; o++)
					all += minchurn_unpack(told[o][j]);
				batch.load[j] =
					minchurn_share(all, n) + placed[i][j] - at_tell[i][j];
			}
			minchurn_solve(&batch);
			check(&batch);
			for (unsigned j = 0; j < n; j++)
				placed[i][j] += batch.mine[j];
		}
		for (unsigned i = 0; hears_every > 0 && b % hears_every == 0 && i < n; i++)
			tell(n, i);
	}
	top = 0;
	for (unsigned j = 0; j < n; j++) {
		uint64_t sum = 0;
		for (unsigned i = 0; i < n; i++)
			sum += placed[i][j];
		top = sum > top ? sum : top;
	}
	return top;
}

static void minchurn__what_others_tell_helps(void **state)
{
	uint64_t deaf = 0, late = 0, often = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= 8; seed++) {
		churn_draw(&rack, seed, 12, 2, ODDS_MODULO, 16);
		deaf += all_place(12, 0) >> 16;
		late += all_place(12, 5) >> 16;
		often += all_place(12, 1) >> 16;
	}
	printf("highest loads: deaf %llu, late %llu, often %llu\n", (unsigned long long)deaf,
		(unsigned long long)late, (unsigned long long)often);
	assert_true(late < deaf - deaf / 16);
	assert_true(often <= late);
}

static void minchurn__loads_in_two_bytes(void **state)
{
	struct rng r = {.state = 5};

	(void)state;
	assert_int_equal(minchurn_pack(0), 0);
	assert_int_equal(minchurn_unpack(0), 0);
	for (unsigned n = 0; n < 100000; n++) {
		uint64_t load = rng_next(&r) >> (8 + rng_below(&r, 56));
		uint64_t back = minchurn_unpack(minchurn_pack(load));
		assert_true(back >= load && back - load <= load / 512);
		assert_true(minchurn_pack(load) <= minchurn_pack(load + 1 + load / 256));
	}
	assert_true(minchurn_unpack(minchurn_pack(~0ull)) == MINCHURN_LOAD_MAX);
	for (unsigned packed = 0; packed < 65536; packed++) // whatever a peer sends
		assert_true(minchurn_unpack((uint16_t)packed) <= MINCHURN_LOAD_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(minchurn__keeps_the_constraints),
		cmocka_unit_test(minchurn__small_racks),
		cmocka_unit_test(minchurn__the_same_again),
		cmocka_unit_test(minchurn__near_the_best_of_all),
		cmocka_unit_test(minchurn__what_others_tell_helps),
		cmocka_unit_test(minchurn__loads_in_two_bytes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
